import ApusCore
import ApusGraph
import CApusONNX

/// Reads a graph: the model's, a function's body, or a subgraph in an attribute.
///
/// Names are bytes. A name that a subgraph does not define is looked up in the graphs around it and captured from there;
/// a function's body sees nothing outside of itself. Nodes may come in any order.
struct GraphReader {
    /// Where a graph stands.
    enum Place {
        case main
        case function
        /// In an attribute of a node of the graph that `Names` belongs to.
        case subgraph(Names, inFunction: Bool)

        var isInFunction: Bool {
            switch self {
            case .main: false
            case .function: true
            case .subgraph(_, let inFunction): inFunction
            }
        }
    }

    /// The values of a graph by name.
    final class Names {
        let graph: Graph
        private let outer: Names?
        private var ids: [ByteString: ValueID] = [:]

        init(graph: Graph, outer: Names?) {
            self.graph = graph
            self.outer = outer
        }

        /// A new value; throws where the graph has one of that name.
        func define(_ name: ByteString, _ what: String, type: ValueType? = nil) throws -> ValueID {
            let id = graph.addValue(name, type: type)
            if ids.updateValue(id, forKey: name) != nil {
                throw ApusError(.invalidModel, "\(what) \"\(name)\": the graph has another value of that name")
            }
            return id
        }

        func defined(_ name: ByteString) -> ValueID? { ids[name] }

        /// The value a name stands for in this graph; nil where no graph around defines it either. The graphs around must
        /// have defined all their names.
        func resolve(_ name: ByteString) -> ValueID? {
            if let id = ids[name] { return id }
            guard let outer, let captured = outer.resolve(name) else { return nil }
            let id = graph.addValue(name, type: outer.graph.values[captured.index].type)
            graph.captures.append((outer: captured, inner: id))
            ids[name] = id
            return id
        }
    }

    let model: ModelReader
    let opsets: Opsets
    let place: Place

    // MARK: Graphs

    func read(_ handle: OpaquePointer) throws -> Graph {
        var info = capus_graph_info()
        capus_graph_read(handle, &info)
        let (graph, names) = empty(name: info.name)
        graph.documentation = ByteString(info.doc_string)
        graph.metadata = metadata(CAPUS_GRAPH, handle, count: info.metadata_count)
        for index in 0..<info.input_count {
            if let value = capus_graph_input(handle, index) { try readInput(value, names) }
        }
        for index in 0..<info.initializer_count {
            if let tensor = capus_graph_initializer(handle, index) { try readInitializer(tensor, names) }
        }
        for index in 0..<info.sparse_initializer_count {
            if let sparse = capus_graph_sparse_initializer(handle, index) { try readSparseInitializer(sparse, names) }
        }
        let nodes = (0..<info.node_count).compactMap { capus_graph_node(handle, $0) }
        let outputs = try defineOutputs(of: nodes, names)
        let results = (0..<info.output_count).compactMap { capus_graph_output(handle, $0) }
        for index in 0..<info.value_info_count {
            if let value = capus_graph_value_info(handle, index) { try annotate(value, names, isOutput: false) }
        }
        for value in results { try annotate(value, names, isOutput: true) }
        graph.nodes.reserveCapacity(nodes.count)
        for (node, outputs) in zip(nodes, outputs) { graph.nodes.append(try read(node, outputs: outputs, names)) }
        for value in results {
            var info = capus_value_info_info()
            capus_value_info_read(value, &info)
            graph.outputs.append(try output(ByteString(info.name), names))
        }
        try graph.sort()
        return graph
    }

    func read(function: OpaquePointer, _ info: capus_function_info) throws -> Graph {
        let (graph, names) = empty(name: info.name)
        for index in 0..<info.input_count {
            graph.inputs.append(try names.define(ByteString(capus_function_input(function, index)), "input"))
        }
        let nodes = (0..<info.node_count).compactMap { capus_function_node(function, $0) }
        let outputs = try defineOutputs(of: nodes, names)
        for index in 0..<info.value_info_count {
            if let value = capus_function_value_info(function, index) { try annotate(value, names, isOutput: false) }
        }
        for (node, outputs) in zip(nodes, outputs) { graph.nodes.append(try read(node, outputs: outputs, names)) }
        for index in 0..<info.output_count {
            graph.outputs.append(try output(ByteString(capus_function_output(function, index)), names))
        }
        try graph.sort()
        return graph
    }

    private func empty(name: capus_bytes) -> (Graph, Names) {
        let graph = Graph(name: ByteString(name))
        guard case .subgraph(let outer, _) = place else { return (graph, Names(graph: graph, outer: nil)) }
        return (graph, Names(graph: graph, outer: outer))
    }

    private var isMain: Bool {
        if case .main = place { return true }
        return false
    }

    private func output(_ name: ByteString, _ names: Names) throws -> ValueID {
        guard !name.isEmpty, let id = names.resolve(name) else {
            throw ApusError(.invalidModel, "output \"\(name)\" is produced by nothing")
        }
        return id
    }

    // MARK: Values

    private func readInput(_ handle: OpaquePointer, _ names: Names) throws {
        var info = capus_value_info_info()
        capus_value_info_read(handle, &info)
        let name = ByteString(info.name)
        guard !name.isEmpty else { throw ApusError(.invalidModel, "an input without a name") }
        var type: ValueType?
        if let handle = info.type {
            type = try TypeReader.read(handle, of: "input \"\(name)\"", tolerant: !isMain)
        }
        if type == nil, isMain { throw ApusError(.invalidModel, "input \"\(name)\" has no type") }
        let id = try names.define(name, "input", type: type)
        names.graph.inputs.append(id)
        keepAnnotation(handle, info, id, names.graph)
    }

    private func readInitializer(_ handle: OpaquePointer, _ names: Names) throws {
        var info = capus_tensor_info()
        capus_tensor_read(model.handle, handle, &info)
        let name = ByteString(info.name)
        let value = try TensorReader(model: model).read(handle, as: "initializer \"\(name)\"")
        let id = try addInitializer(value, name, names)
        if info.doc_string.isEmpty, info.metadata_count == 0 { return }
        names.graph.annotations[id] = .init(
            documentation: ByteString(info.doc_string), metadata: metadata(CAPUS_TENSOR, handle, count: info.metadata_count))
    }

    private func readSparseInitializer(_ handle: OpaquePointer, _ names: Names) throws {
        var info = capus_sparse_tensor_info()
        capus_sparse_tensor_read(handle, &info)
        guard let values = info.values else { throw ApusError(.invalidModel, "a sparse initializer without values") }
        var valuesInfo = capus_tensor_info()
        capus_tensor_read(model.handle, values, &valuesInfo)
        let name = ByteString(valuesInfo.name)
        let what = "sparse initializer \"\(name)\""
        let sparse = try TensorReader(model: model).readSparse(handle, as: what)
        let dense = try prefixingErrors(with: what) { try sparse.densified(budget: model.budget) }
        _ = try addInitializer(dense, name, names)
    }

    private func addInitializer(_ value: Value, _ name: ByteString, _ names: Names) throws -> ValueID {
        let graph = names.graph
        guard !name.isEmpty else { throw ApusError(.invalidModel, "an initializer without a name") }
        if let id = names.defined(name) {
            // An input with an initializer of its name has that as its default.
            guard graph.initializers[id] == nil else {
                throw ApusError(.invalidModel, "two initializers \"\(name)\"")
            }
            if case .tensor(let type, let shape)? = graph.values[id.index].type {
                guard case .tensor(type, _) = value.type, let own = value.shape, shape.admits(own) else {
                    throw ApusError(
                        .invalidModel,
                        "initializer \"\(name)\" is \(value.type), but the input of that name \(ValueType.tensor(type, shape))")
                }
            }
            graph.initializers[id] = value
            return id
        }
        let id = try names.define(name, "initializer", type: value.type)
        graph.initializers[id] = value
        return id
    }

    /// Takes up what `value_info` or an output's declaration says about a value that the graph defines.
    private func annotate(_ handle: OpaquePointer, _ names: Names, isOutput: Bool) throws {
        var info = capus_value_info_info()
        capus_value_info_read(handle, &info)
        let name = ByteString(info.name)
        guard let id = names.defined(name) else { return }
        keepAnnotation(handle, info, id, names.graph)
        guard let handle = info.type, names.graph.values[id.index].type == nil else { return }
        let what = isOutput ? "output \"\(name)\"" : "value \"\(name)\""
        // What is only said in passing need not be understood.
        names.graph.values[id.index].type = try TypeReader.read(handle, of: what, tolerant: !(isOutput && isMain))
    }

    private func keepAnnotation(_ handle: OpaquePointer, _ info: capus_value_info_info, _ id: ValueID, _ graph: Graph) {
        if info.doc_string.isEmpty, info.metadata_count == 0 { return }
        graph.annotations[id] = .init(
            documentation: ByteString(info.doc_string),
            metadata: metadata(CAPUS_VALUE_INFO, handle, count: info.metadata_count))
    }

    // MARK: Nodes

    /// Defines the values that the nodes make, so that any node may read them.
    private func defineOutputs(of nodes: [OpaquePointer], _ names: Names) throws -> [[ValueID?]] {
        try nodes.map { node in
            var info = capus_node_info()
            capus_node_read(node, &info)
            var outputs: [ValueID?] = []
            outputs.reserveCapacity(info.output_count)
            for index in 0..<info.output_count {
                let name = capus_node_output(node, index)
                if name.isEmpty {
                    outputs.append(nil)
                } else {
                    outputs.append(
                        try attributed(to: shown(info, node)) { try names.define(ByteString(name), "output") })
                }
            }
            return outputs
        }
    }

    private func read(_ handle: OpaquePointer, outputs: [ValueID?], _ names: Names) throws -> Node {
        var info = capus_node_info()
        capus_node_read(handle, &info)
        return try attributed(to: shown(info, handle)) {
            let opType = try identifier(info.op_type, "operator name")
            guard !opType.isEmpty else { throw ApusError(.invalidModel, "a node without an operator name") }
            let domain = Opsets.canonical(try identifier(info.domain, "domain"))
            var inputs: [ValueID?] = []
            inputs.reserveCapacity(info.input_count)
            for index in 0..<info.input_count {
                let name = capus_node_input(handle, index)
                if name.isEmpty {
                    inputs.append(nil)
                } else if let id = names.resolve(ByteString(name)) {
                    inputs.append(id)
                } else {
                    throw ApusError(.invalidModel, "reads \"\(name.shown)\", which nothing produces")
                }
            }
            return Node(
                opType, domain: domain, overload: try identifier(info.overload, "overload"), name: ByteString(info.name),
                opset: try opsets.version(of: domain), attributes: try readAttributes(handle, info.attribute_count, names),
                inputs: inputs, outputs: outputs, documentation: ByteString(info.doc_string),
                metadata: metadata(CAPUS_NODE, handle, count: info.metadata_count))
        }
    }

    private func readAttributes(_ node: OpaquePointer, _ count: Int, _ names: Names) throws -> [Attribute] {
        if count == 0 { return [] }
        let inner = GraphReader(model: model, opsets: opsets, place: .subgraph(names, inFunction: place.isInFunction))
        let reader = AttributeReader(graphs: inner)
        let attributes = try (0..<count).compactMap { index in
            try capus_node_attribute(node, index).map { try reader.read($0) }
        }
        if count > 1 {
            var seen = Set<String>(minimumCapacity: count)
            for attribute in attributes where !seen.insert(attribute.name).inserted {
                throw ApusError(.invalidModel, "attribute \"\(attribute.name)\" is given twice")
            }
        }
        return attributes
    }

    /// What to call a node in messages; as `Graph.displayName`.
    private func shown(_ info: capus_node_info, _ node: OpaquePointer) -> String {
        let type = info.domain.isEmpty ? info.op_type.shown : "\(info.domain.shown).\(info.op_type.shown)"
        if !info.name.isEmpty { return "\(type) \"\(info.name.shown)\"" }
        for index in 0..<info.output_count {
            let output = capus_node_output(node, index)
            if !output.isEmpty { return "\(type) making \"\(output.shown)\"" }
        }
        return type
    }
}

/// Runs `body`; the message of an error it throws begins with `what`.
func prefixingErrors<Result>(with what: @autoclosure () -> String, _ body: () throws -> Result) throws -> Result {
    do {
        return try body()
    } catch let error as ApusError {
        throw ApusError(error.code, "\(what()): \(error.message)", node: error.node)
    }
}
