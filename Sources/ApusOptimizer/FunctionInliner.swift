import ApusCore
import ApusGraph

/// Puts the bodies of model-local functions in the place of the nodes that call them.
package struct FunctionInliner {
    /// A model whose functions unfold to more nodes than this is refused: functions that call one another can double at
    /// each level, and a file of a few hundred bytes would fill any memory.
    package static let mostNodes = 500_000

    private struct Key: Hashable {
        let domain: ByteString
        let name: ByteString
        let overload: ByteString
    }

    private let functions: [Key: Function]
    private var nodeCount = 0
    private var active: [Key] = []

    private init(_ functions: [Function]) throws {
        var table: [Key: Function] = [:]
        for function in functions {
            let key = Key(domain: FunctionInliner.canonical(function.domain), name: function.name, overload: function.overload)
            guard table.updateValue(function, forKey: key) == nil else {
                throw ApusError(.invalidModel, "function \(function.domain).\(function.name) is defined twice")
            }
        }
        self.functions = table
    }

    /// Replaces every call in `graph` and its subgraphs; `graph` is changed.
    package static func inline(_ functions: [Function], into graph: Graph) throws {
        if functions.isEmpty { return }
        var inliner = try FunctionInliner(functions)
        try inliner.inline(graph)
    }

    private static func canonical(_ domain: ByteString) -> ByteString {
        domain.equals("ai.onnx") ? .empty : domain
    }

    private mutating func inline(_ graph: Graph) throws {
        let nodes = graph.nodes
        graph.nodes = []
        for node in nodes { try append(node, to: graph) }
    }

    /// Adds `node`, or the body of the function it calls, to `graph`.
    private mutating func append(_ node: Node, to graph: Graph) throws {
        let key = Key(domain: ByteString(node.domain), name: ByteString(node.opType), overload: ByteString(node.overload))
        guard let function = functions[key] else {
            nodeCount += 1
            guard nodeCount <= FunctionInliner.mostNodes else {
                throw ApusError(.invalidModel, "the model's functions unfold to more than \(FunctionInliner.mostNodes) nodes")
            }
            for subgraph in node.subgraphs { try inline(subgraph) }
            return graph.nodes.append(node)
        }
        let name = graph.displayName(node)
        guard !active.contains(key) else { throw ApusError(.invalidModel, "function calls itself", node: name) }
        active.append(key)
        defer { active.removeLast() }
        try attributed(to: name) { try expand(function, calledBy: node, in: graph) }
    }

    private mutating func expand(_ function: Function, calledBy node: Node, in graph: Graph) throws {
        let body = function.body
        guard node.inputs.count <= body.inputs.count, node.outputs.count <= body.outputs.count else {
            throw ApusError(
                .invalidModel,
                "function \(function.name) takes \(body.inputs.count) inputs and gives \(body.outputs.count) outputs, found \(node.inputs.count) and \(node.outputs.count)")
        }
        var values = [ValueID?](repeating: nil, count: body.values.count)
        var isBound = [Bool](repeating: false, count: body.values.count)
        for (position, formal) in body.inputs.enumerated() {
            values[formal.index] = node.inputs.indices.contains(position) ? node.inputs[position] : nil
            isBound[formal.index] = true
        }
        // An output that is also an input (or a second output) needs a node of its own to be made.
        var copies: [(source: ValueID, target: ValueID)] = []
        for (position, formal) in body.outputs.enumerated() where node.outputs.indices.contains(position) {
            guard let actual = node.outputs[position] else { continue }
            if isBound[formal.index] {
                guard let source = values[formal.index] else {
                    throw ApusError(.invalidModel, "output \(position) of function \(function.name) is an input that the call leaves out")
                }
                copies.append((source, actual))
            } else {
                values[formal.index] = actual
                isBound[formal.index] = true
            }
        }
        for index in body.values.indices where !isBound[index] {
            values[index] = graph.addValue(body.values[index].name, type: nil)
        }
        for (id, value) in body.initializers {
            guard let target = values[id.index] else { continue }
            graph.initializers[target] = value
        }
        let given = Dictionary(
            (function.defaults + node.attributes).map { ($0.name, $0.value) }, uniquingKeysWith: { _, call in call })
        for inner in body.nodes {
            var copy = inner
            copy.inputs = inner.inputs.map { $0.flatMap { values[$0.index] } }
            copy.outputs = inner.outputs.map { $0.flatMap { values[$0.index] } }
            copy.attributes = FunctionInliner.bound(inner.attributes, given) { values[$0.index] }
            try append(copy, to: graph)
        }
        for copy in copies {
            graph.nodes.append(Node("Identity", opset: 1, inputs: [copy.source], outputs: [copy.target]))
        }
    }

    /// The attributes with references replaced by what the call gives (dropped where it gives nothing) and subgraphs
    /// copied, their captures renumbered by `renumber`.
    private static func bound(
        _ attributes: [Attribute], _ given: [String: AttributeValue], _ renumber: (ValueID) -> ValueID?
    ) -> [Attribute] {
        attributes.compactMap { attribute in
            switch attribute.value {
            case .reference(let name): given[name].map { Attribute(attribute.name, $0) }
            case .graph(let graph): Attribute(attribute.name, .graph(bound(graph, given, renumber)))
            case .graphs(let graphs): Attribute(attribute.name, .graphs(graphs.map { bound($0, given, renumber) }))
            default: attribute
            }
        }
    }

    private static func bound(_ graph: Graph, _ given: [String: AttributeValue], _ renumber: (ValueID) -> ValueID?) -> Graph {
        let copy = graph.copy()
        var absent = Set<ValueID>()
        copy.captures = copy.captures.compactMap { capture in
            if let outer = renumber(capture.outer) { return (outer, capture.inner) }
            absent.insert(capture.inner)
            return nil
        }
        for index in copy.nodes.indices {
            copy.nodes[index].inputs = copy.nodes[index].inputs.map { $0.flatMap { absent.contains($0) ? nil : $0 } }
            copy.nodes[index].attributes = bound(copy.nodes[index].attributes, given) { $0 }
        }
        return copy
    }
}
