import ApusCore
import ApusGraph

/// Puts nodes that compute derivatives in the place of ai.onnx.preview.training.Gradient.
///
/// Reverse-mode differentiation of the graph as it is written: the nodes between the variables xs and the result y are walked
/// backwards, and each adds, by the rule of its operator, to the derivatives with respect to its inputs. Where the node is
/// given other values for xs and zs than the tensors of these names, the nodes in between are copied for them.
package struct GradientExpansion {
    package static let domain = "ai.onnx.preview.training"

    private let graph: Graph
    private var names: [ByteString: ValueID] = [:]

    private init(_ graph: Graph) {
        self.graph = graph
        for (index, value) in graph.values.enumerated() where !value.name.isEmpty { names[value.name] = ValueID(index) }
    }

    /// Replaces every Gradient node of a sorted graph and its subgraphs; the graph is sorted again.
    package static func expand(_ graph: Graph) throws {
        for node in graph.nodes {
            for subgraph in node.subgraphs { try expand(subgraph) }
        }
        guard graph.nodes.contains(where: isGradient) else { return }
        let expansion = GradientExpansion(graph)
        while graph.nodes.contains(where: isGradient) {
            // One may differentiate what another makes: that comes first.
            var wasFound = false
            for index in graph.nodes.indices where isGradient(graph.nodes[index]) {
                let node = graph.nodes[index]
                let isDone = try attributed(to: graph.displayName(node)) { try expansion.expand(node, at: index) }
                guard isDone else { continue }
                wasFound = true
                break
            }
            guard wasFound else { throw ApusError(.invalidModel, "Gradient nodes differentiate one another") }
            try graph.sort()
        }
    }

    private static func isGradient(_ node: Node) -> Bool { node.domain == domain && node.opType == "Gradient" }

    private func value(_ name: ByteString, _ attribute: String) throws -> ValueID {
        guard let id = names[name] else {
            throw ApusError(.invalidModel, "attribute \"\(attribute)\" names \"\(name)\", which is no tensor of the graph")
        }
        return id
    }

    private func strings(_ node: Node, _ name: String) throws -> [ByteString] {
        switch node.attribute(name) {
        case nil: return []
        case .strings(let strings)?: return strings
        default: throw ApusError(.invalidModel, "attribute \"\(name)\" must be of type strings")
        }
    }

    /// Replaces the node at `index`; false where another Gradient node must be replaced before.
    private func expand(_ node: Node, at index: Int) throws -> Bool {
        if let other = node.attributes.first(where: { !["xs", "zs", "y"].contains($0.name) }) {
            throw ApusError(.invalidModel, "Gradient has no attribute \"\(other.name)\"")
        }
        guard case .string(let target)? = node.attribute("y") else { throw ApusError(.invalidModel, "attribute \"y\" of Gradient is missing") }
        let xs = try strings(node, "xs").map { try value($0, "xs") }, zs = try strings(node, "zs").map { try value($0, "zs") }
        let variables = xs + zs
        guard !xs.isEmpty, node.outputs.count <= xs.count else {
            throw ApusError(.invalidModel, "Gradient has \(node.outputs.count) outputs, attribute \"xs\" \(xs.count) names")
        }
        let given = try (0..<node.inputs.count).map { index -> ValueID in
            guard let input = node.inputs[index] else { throw ApusError(.invalidModel, "input \(index) is missing") }
            return input
        }
        guard given.count == variables.count else {
            throw ApusError(.invalidModel, "Gradient has \(given.count) inputs, attributes \"xs\" and \"zs\" \(variables.count) names")
        }
        let y = try value(target, "y")
        let path = nodes(from: Set(variables), to: y)
        if path.contains(where: Self.isGradient) { return false }
        guard path.contains(where: { $0.outputs.contains(y) }) || xs.contains(y) else {
            throw ApusError(.invalidModel, "\"\(target)\" does not depend on the tensors of attribute \"xs\"")
        }
        if let outer = path.first(where: { !$0.subgraphs.isEmpty }) {
            throw ApusError(.unsupported, "the derivative of \(outer.qualifiedType) is not known")
        }
        graph.nodes.remove(at: index)
        let substituted = substitute(path, variables: variables, given: given, y: y)
        // What depends on zs alone needs no derivatives.
        var active = Set(substituted.variables.prefix(xs.count))
        let walked = substituted.nodes.filter { node in
            guard node.dependencies.contains(where: active.contains) else { return false }
            for case let output? in node.outputs { active.insert(output) }
            return true
        }
        let builder = GradientBuilder(graph, origin: "gradient")
        var derivatives = [substituted.y: try builder.ones(like: substituted.y)]
        for node in walked.reversed() {
            let incoming = node.outputs.map { $0.flatMap { derivatives[$0] } }
            guard incoming.contains(where: { $0 != nil }) else { continue }
            let made = try attributed(to: graph.displayName(node)) { try GradientRules.apply(node, incoming, builder) }
            for (input, derivative) in zip(node.inputs, made) {
                guard let input, let derivative, active.contains(input) else { continue }
                derivatives[input] = derivatives[input].map { builder("Add", [$0, derivative]) } ?? derivative
            }
        }
        for (index, output) in node.outputs.enumerated() {
            guard let output else { continue }
            let variable = substituted.variables[index]
            let result = try derivatives[variable] ?? builder.zeros(like: variable)
            graph.nodes.append(Node("Identity", opset: GradientBuilder.opset, inputs: [result], outputs: [output], origin: "gradient"))
        }
        return true
    }

    /// The nodes on the ways from the independent `variables` to `y`, in order.
    private func nodes(from variables: Set<ValueID>, to y: ValueID) -> [Node] {
        var needed: Set<ValueID> = [y]
        for node in graph.nodes.reversed() where node.outputs.contains(where: { $0.map(needed.contains) ?? false }) {
            for input in node.dependencies where !variables.contains(input) { needed.insert(input) }
        }
        var dependent = variables
        return graph.nodes.filter { node in
            let isNeeded = node.outputs.contains { $0.map { needed.contains($0) && !variables.contains($0) } ?? false }
            guard isNeeded, node.dependencies.contains(where: dependent.contains) else { return false }
            for case let output? in node.outputs { dependent.insert(output) }
            return true
        }
    }

    /// The nodes for the given values of the variables: those that are there where the values are the variables themselves.
    private func substitute(
        _ path: [Node], variables: [ValueID], given: [ValueID], y: ValueID
    ) -> (nodes: [Node], variables: [ValueID], y: ValueID) {
        if variables == given { return (path, variables, y) }
        // One value may be given for two variables, which stay two.
        let own = given.map { value in
            let copy = graph.addValue(type: graph.values[value.index].type)
            graph.nodes.append(Node("Identity", opset: GradientBuilder.opset, inputs: [value], outputs: [copy], origin: "gradient"))
            return copy
        }
        var replaced = Dictionary(zip(variables, own), uniquingKeysWith: { first, _ in first })
        let copies = path.map { node in
            var copy = node
            copy.name = .empty
            copy.inputs = node.inputs.map { $0.map { replaced[$0] ?? $0 } }
            copy.outputs = node.outputs.map { output in
                output.map { output in
                    let new = graph.addValue(type: graph.values[output.index].type)
                    replaced[output] = new
                    return new
                }
            }
            return copy
        }
        graph.nodes += copies
        return (copies, own, replaced[y] ?? y)
    }
}

/// Adds nodes to a graph.
struct GradientBuilder {
    /// The operator set of the nodes that are added.
    static let opset = 21

    private let builder: GraphBuilder
    private let origin: String

    init(_ graph: Graph, origin: String) {
        builder = GraphBuilder(adding: graph, opset: Self.opset)
        self.origin = origin
    }

    /// A node with one output.
    func callAsFunction(
        _ opType: String, _ inputs: [ValueID?], _ attributes: [String: AttributeValue] = [:], domain: String = "", opset: Int? = nil
    ) -> ValueID {
        builder.node(opType, inputs, attributes, domain: domain, opset: domain.isEmpty ? opset : 1, origin: origin)
    }

    /// A node with several outputs.
    func several(_ opType: String, _ inputs: [ValueID?], _ attributes: [String: AttributeValue], outputs: Int) -> [ValueID] {
        builder.nodes(opType, inputs, attributes, outputs: outputs, origin: origin)
    }

    func integers(_ values: [Int64]) throws -> ValueID {
        builder.constant(try Tensor(.int64, [values.count], values))
    }

    /// A scalar of the element type of `like`.
    func number(_ value: Float, like: ValueID) throws -> ValueID {
        self("CastLike", [builder.constant(try Tensor(.float32, [], [value])), like])
    }

    func shape(_ value: ValueID) -> ValueID { self("Shape", [value]) }
    func zeros(like value: ValueID) throws -> ValueID { try filled(0, like: value) }
    func ones(like value: ValueID) throws -> ValueID { try filled(1, like: value) }

    private func filled(_ number: Float, like value: ValueID) throws -> ValueID {
        let tensor = Value.tensor(try Tensor(.float32, [1], [number]))
        return self("CastLike", [self("ConstantOfShape", [shape(value)], ["value": .tensor(tensor)]), value])
    }

    /// Summed over the axes along which `like` was broadcast.
    func sum(_ value: ValueID, like: ValueID) -> ValueID { self("SumLike", [value, like], domain: "apus") }

    /// With the elements of `value` and the shape of `like`.
    func reshape(_ value: ValueID, like: ValueID) -> ValueID { self("Reshape", [value, shape(like)], ["allowzero": .int(1)]) }
}
