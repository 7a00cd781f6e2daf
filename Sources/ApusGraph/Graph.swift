import ApusCore

/// Identifies a value within one graph.
package struct ValueID: Hashable, Sendable, Comparable {
    package let index: Int

    package init(_ index: Int) {
        self.index = index
    }

    package static func < (a: ValueID, b: ValueID) -> Bool { a.index < b.index }
}

/// An operator applied to values.
package struct Node: Sendable {
    /// "" is the ai.onnx domain.
    package var domain: String
    package var opType: String
    package var overload: String
    package var name: ByteString
    /// The version of the domain's operator set under which the node was written.
    package var opset: Int
    package var attributes: [Attribute]
    /// nil: an optional input left out.
    package var inputs: [ValueID?]
    package var outputs: [ValueID?]
    package var documentation: ByteString
    package var metadata: [(key: ByteString, value: ByteString)]
    /// The pass that made this node, where the optimiser did.
    package var origin: String?
    /// What makes the node's operator, where that is one of the host program's.
    package var implementation: (any AnyObject & Sendable)?

    package init(
        _ opType: String, domain: String = "", overload: String = "", name: ByteString = .empty, opset: Int,
        attributes: [Attribute] = [], inputs: [ValueID?], outputs: [ValueID?],
        documentation: ByteString = .empty, metadata: [(key: ByteString, value: ByteString)] = [], origin: String? = nil
    ) {
        self.domain = domain
        self.opType = opType
        self.overload = overload
        self.name = name
        self.opset = opset
        self.attributes = attributes
        self.inputs = inputs
        self.outputs = outputs
        self.documentation = documentation
        self.metadata = metadata
        self.origin = origin
    }

    package func attribute(_ name: String) -> AttributeValue? {
        attributes.first { $0.name == name }?.value
    }

    /// `Conv`, or with another domain than ai.onnx `com.microsoft.Gelu`.
    package var qualifiedType: String {
        domain.isEmpty ? opType : "\(domain).\(opType)"
    }

    /// The graphs among the attributes, in the order of the attributes.
    package var subgraphs: [Graph] {
        attributes.flatMap { attribute -> [Graph] in
            switch attribute.value {
            case .graph(let graph): [graph]
            case .graphs(let graphs): graphs
            default: []
            }
        }
    }

    /// The outer values that the node's subgraphs read, each once, in order of first use.
    package var capturedValues: [ValueID] {
        if attributes.isEmpty { return [] }
        var seen = Set<ValueID>()
        return subgraphs.flatMap(\.captures).map(\.outer).filter { seen.insert($0).inserted }
    }

    /// Every value the node needs: its inputs and what its subgraphs capture.
    package var dependencies: [ValueID] {
        inputs.compactMap { $0 } + capturedValues
    }
}

/// A graph of ONNX operators: a model's, or the body of a control-flow operator.
///
/// Values are numbered; `values` holds their names and, where the file declares them, their types. A value is an input,
/// an initializer, a capture or the output of exactly one node. Nodes are in topological order once `sort()` has run.
package final class Graph: @unchecked Sendable {
    package struct ValueRecord: Sendable {
        package var name: ByteString
        /// As the file declares it; nil where it does not.
        package var type: ValueType?

        package init(name: ByteString, type: ValueType? = nil) {
            self.name = name
            self.type = type
        }
    }

    /// What a file says about a value beside its type; kept for writing the graph back.
    package struct ValueAnnotation: Sendable {
        package var documentation: ByteString
        package var metadata: [(key: ByteString, value: ByteString)]

        package init(documentation: ByteString, metadata: [(key: ByteString, value: ByteString)] = []) {
            self.documentation = documentation
            self.metadata = metadata
        }
    }

    package var name: ByteString
    package var documentation: ByteString = .empty
    package var metadata: [(key: ByteString, value: ByteString)] = []
    /// The values about which the file says something.
    package var annotations: [ValueID: ValueAnnotation] = [:]
    package var values: [ValueRecord] = []
    package var nodes: [Node] = []
    package var inputs: [ValueID] = []
    package var outputs: [ValueID] = []
    package var initializers: [ValueID: Value] = [:]
    /// In a subgraph: values of the enclosing graph read here, with the number they have in each.
    package var captures: [(outer: ValueID, inner: ValueID)] = []

    package init(name: ByteString = .empty) {
        self.name = name
    }

    /// A new value. An empty name is replaced by a unique one when the graph is printed or written.
    package func addValue(_ name: ByteString = .empty, type: ValueType? = nil) -> ValueID {
        values.append(ValueRecord(name: name, type: type))
        return ValueID(values.count - 1)
    }

    /// A new value with a constant content.
    package func addInitializer(_ value: Value, name: ByteString = .empty) -> ValueID {
        let id = addValue(name, type: value.type)
        initializers[id] = value
        return id
    }

    /// The value's name, or `%12` where it has none.
    package func displayName(_ id: ValueID) -> String {
        let name = values[id.index].name
        return name.isEmpty ? "%\(id.index)" : name.description
    }

    /// What to call a node in messages: its name, or its operator and first output.
    package func displayName(_ node: Node) -> String {
        if !node.name.isEmpty { return "\(node.qualifiedType) \"\(node.name)\"" }
        let output = node.outputs.lazy.compactMap { $0 }.first
        return output.map { "\(node.qualifiedType) making \"\(displayName($0))\"" } ?? node.qualifiedType
    }

    /// A copy that shares nothing that can be changed with the original; subgraphs are copied, too.
    package func copy() -> Graph {
        let graph = Graph(name: name)
        graph.documentation = documentation
        graph.metadata = metadata
        graph.annotations = annotations
        graph.values = values
        graph.inputs = inputs
        graph.outputs = outputs
        graph.initializers = initializers
        graph.captures = captures
        graph.nodes = nodes.map { node in
            guard !node.subgraphs.isEmpty else { return node }
            var node = node
            node.attributes = node.attributes.map { attribute in
                switch attribute.value {
                case .graph(let graph): Attribute(attribute.name, .graph(graph.copy()))
                case .graphs(let graphs): Attribute(attribute.name, .graphs(graphs.map { $0.copy() }))
                default: attribute
                }
            }
            return node
        }
        return graph
    }

    // MARK: Order

    /// Puts the nodes in topological order, keeping the given order where it allows; throws on a cycle and on a value
    /// that nothing produces.
    package func sort() throws {
        var producer = [Int](repeating: -1, count: values.count)
        for (index, node) in nodes.enumerated() {
            for output in node.outputs {
                if let output { producer[output.index] = index }
            }
        }
        var consumers = [[Int32]](repeating: [], count: nodes.count)
        var missing = [Int](repeating: 0, count: nodes.count)
        var alreadySorted = true
        for (index, node) in nodes.enumerated() {
            for value in node.dependencies where producer[value.index] >= 0 {
                consumers[producer[value.index]].append(Int32(index))
                missing[index] += 1
                if producer[value.index] >= index { alreadySorted = false }
            }
        }
        if alreadySorted { return }
        var ready = MinimumHeap(nodes.indices.filter { missing[$0] == 0 })
        var order: [Int] = []
        order.reserveCapacity(nodes.count)
        while let next = ready.popMinimum() {
            order.append(next)
            for consumer in consumers[next] {
                missing[Int(consumer)] -= 1
                if missing[Int(consumer)] == 0 { ready.insert(Int(consumer)) }
            }
        }
        guard order.count == nodes.count else {
            let stuck = nodes.indices.first { missing[$0] > 0 } ?? 0
            throw ApusError(.invalidModel, "the graph has a cycle", node: displayName(nodes[stuck]))
        }
        nodes = order.map { nodes[$0] }
    }

    /// Throws unless every value that is read is made exactly once: by a node, as an input, an initializer or a capture.
    package func verify() throws {
        var made = [Bool](repeating: false, count: values.count)
        func make(_ id: ValueID, _ what: @autoclosure () -> String) throws {
            guard made.indices.contains(id.index) else { throw ApusError(.invalidModel, "\(what()) has no value") }
            guard !made[id.index] else {
                throw ApusError(.invalidModel, "\"\(displayName(id))\" is made twice: \(what()) makes it again")
            }
            made[id.index] = true
        }
        for input in inputs { try make(input, "an input") }
        for id in initializers.keys where !inputs.contains(id) { try make(id, "an initializer") }
        for capture in captures { try make(capture.inner, "a captured value") }
        for node in nodes {
            for output in node.outputs {
                if let output { try make(output, displayName(node)) }
            }
        }
        for node in nodes {
            for value in node.dependencies where !made[value.index] {
                throw ApusError(.invalidModel, "reads \"\(displayName(value))\", which nothing produces", node: displayName(node))
            }
        }
        for output in outputs where !made[output.index] {
            throw ApusError(.invalidModel, "output \"\(displayName(output))\" is produced by nothing")
        }
    }
}

/// A binary heap of node numbers.
private struct MinimumHeap {
    private var items: [Int]

    init(_ sorted: [Int]) {
        items = sorted  // Ascending numbers are a heap already.
    }

    mutating func insert(_ item: Int) {
        items.append(item)
        var child = items.count - 1
        while child > 0, items[(child - 1) / 2] > items[child] {
            items.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    mutating func popMinimum() -> Int? {
        guard let minimum = items.first else { return nil }
        let last = items.removeLast()
        if items.isEmpty { return minimum }
        items[0] = last
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < items.count && items[child] < items[least] {
                least = child
            }
            if least == parent { return minimum }
            items.swapAt(parent, least)
            parent = least
        }
    }
}
