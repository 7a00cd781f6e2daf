import ApusCore

/// Writes a graph as stable text: the same graph gives the same text on every machine and run.
package struct GraphPrinter {
    private let graph: Graph
    private let type: (ValueID) -> ValueType?
    private let indent: String

    /// `type` gives what is known of a value (after inference, say); by default what the file declares.
    package static func text(_ graph: Graph, type: ((ValueID) -> ValueType?)? = nil) -> String {
        GraphPrinter(graph: graph, type: type ?? { graph.values[$0.index].type }, indent: "").print()
    }

    private func print() -> String {
        var text = "\(indent)graph \(quoted(graph.name)) {\n"
        for capture in graph.captures {
            text += "\(indent)  capture \(reference(capture.inner))\n"
        }
        for input in graph.inputs {
            text += "\(indent)  input \(described(input))\n"
        }
        for id in graph.initializers.keys.sorted() {
            text += "\(indent)  initializer \(reference(id)): \(graph.initializers[id].map { "\($0.type)" } ?? "?")\n"
        }
        for node in graph.nodes {
            text += "\(indent)  \(line(node))\n"
            for subgraph in node.subgraphs {
                text += GraphPrinter(graph: subgraph, type: { subgraph.values[$0.index].type }, indent: indent + "    ").print()
            }
        }
        for output in graph.outputs {
            text += "\(indent)  output \(described(output))\n"
        }
        return text + "\(indent)}\n"
    }

    private func line(_ node: Node) -> String {
        let outputs = node.outputs.map { $0.map(described) ?? "_" }.joined(separator: ", ")
        let inputs = node.inputs.map { $0.map(reference) ?? "_" }.joined(separator: ", ")
        let attributes = node.attributes.sorted { $0.name < $1.name }.map { "\($0.name)=\(described($0.value))" }
        return "\(outputs) = \(node.qualifiedType)(\(inputs))"
            + (attributes.isEmpty ? "" : " {\(attributes.joined(separator: ", "))}")
            + (node.origin.map { " // \($0)" } ?? "")
    }

    private func described(_ id: ValueID) -> String {
        reference(id) + (type(id).map { ": \($0)" } ?? "")
    }

    private func reference(_ id: ValueID) -> String {
        let name = graph.values[id.index].name
        return name.isEmpty ? "%\(id.index)" : quoted(name)
    }

    private func described(_ value: AttributeValue) -> String {
        switch value {
        case .int(let int): "\(int)"
        case .float(let float): "\(float)"
        case .string(let string): quoted(string)
        case .tensor(let value), .sparse(let value): "\(value.type)"
        case .graph(let graph): "graph \(quoted(graph.name))"
        case .type(let type): "\(type)"
        case .ints(let ints): "\(ints)"
        case .floats(let floats): "\(floats)"
        case .strings(let strings): "[\(strings.map(quoted).joined(separator: ", "))]"
        case .tensors(let values), .sparses(let values): "[\(values.map { "\($0.type)" }.joined(separator: ", "))]"
        case .graphs(let graphs): "[\(graphs.map { "graph \(quoted($0.name))" }.joined(separator: ", "))]"
        case .types(let types): "[\(types.map { "\($0)" }.joined(separator: ", "))]"
        case .reference(let name): "@\(name)"
        }
    }

    /// The bytes between quotes; what is not printable ASCII or valid UTF-8 as \xNN.
    private func quoted(_ string: ByteString) -> String {
        let text = string.description
        let isClean = text.utf8.elementsEqual(string.bytes) && !string.bytes.contains { $0 < 32 || $0 == 34 || $0 == 92 }
        if isClean { return "\"\(text)\"" }
        let digits = Array("0123456789abcdef")
        return "\"" + string.bytes.map { byte in
            byte < 32 || byte > 126 || byte == 34 || byte == 92
                ? "\\x\(digits[Int(byte >> 4)])\(digits[Int(byte & 15)])" : String(UnicodeScalar(byte))
        }.joined() + "\""
    }
}
