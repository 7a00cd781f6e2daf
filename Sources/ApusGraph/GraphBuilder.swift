import ApusCore

/// Builds graphs as expressions: in tests, and where the runtime expands one operator into several.
package struct GraphBuilder {
    package let graph: Graph
    package let opset: Int

    package init(_ name: ByteString = "main", opset: Int = 21) {
        graph = Graph(name: name)
        self.opset = opset
    }

    /// Adds to a graph that exists.
    package init(adding graph: Graph, opset: Int) {
        self.graph = graph
        self.opset = opset
    }

    package func input(_ name: ByteString, _ type: ElementType, _ dimensions: [Dimension]?) -> ValueID {
        let id = graph.addValue(name, type: .tensor(type, PartialShape(dimensions)))
        graph.inputs.append(id)
        return id
    }

    package func input(_ name: ByteString, _ type: ElementType, _ dimensions: [Int]) -> ValueID {
        input(name, type, dimensions.map(Dimension.known))
    }

    package func constant(_ tensor: Tensor, name: ByteString = .empty) -> ValueID {
        graph.addInitializer(.tensor(tensor), name: name)
    }

    /// A node with one output.
    package func node(
        _ opType: String, _ inputs: [ValueID?], _ attributes: [String: AttributeValue] = [:], domain: String = "",
        opset: Int? = nil, name: ByteString = .empty, origin: String? = nil
    ) -> ValueID {
        nodes(opType, inputs, attributes, outputs: 1, domain: domain, opset: opset, name: name, origin: origin)[0]
    }

    /// A node with several outputs.
    package func nodes(
        _ opType: String, _ inputs: [ValueID?], _ attributes: [String: AttributeValue] = [:], outputs: Int, domain: String = "",
        opset: Int? = nil, name: ByteString = .empty, origin: String? = nil
    ) -> [ValueID] {
        let results = (0..<outputs).map { _ in graph.addValue() }
        graph.nodes.append(
            Node(
                opType, domain: domain, name: name, opset: opset ?? self.opset,
                attributes: attributes.sorted { $0.key < $1.key }.map { Attribute($0.key, $0.value) },
                inputs: inputs, outputs: results, origin: origin))
        return results
    }

    package func output(_ id: ValueID, _ name: ByteString? = nil) {
        if let name { graph.values[id.index].name = name }
        graph.outputs.append(id)
    }
}
