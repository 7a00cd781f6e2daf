import ApusCore
import ApusGraph
import CApusONNX

/// Writes one graph to the border's writer.
struct GraphWriter {
    let builder: ModelBuilder
    let graph: Graph
    let names: GraphNames

    private var handle: OpaquePointer { builder.handle }
    private var arena: ByteArena { builder.arena }

    typealias ErrorPointer = UnsafeMutablePointer<capus_error>

    func write(to message: OpaquePointer) throws {
        try builder.add(graph.metadata, CAPUS_GRAPH, message)
        for id in graph.inputs { try writeValueInfo(id, CAPUS_INPUT, message) }
        for id in graph.outputs { try writeValueInfo(id, CAPUS_OUTPUT, message) }
        for id in graph.initializers.keys.sorted() {
            if let value = graph.initializers[id] { try writeInitializer(id, value, message) }
        }
        for node in graph.nodes {
            try add(node) { fields, error in capus_out_graph_add_node(handle, message, fields, error) }
        }
        let declared = Set(graph.inputs + graph.outputs + graph.initializers.keys + graph.captures.map(\.inner))
        try writeValueInfos(skipping: declared) { name, documentation, error in
            capus_out_graph_add_value_info(handle, message, CAPUS_VALUE, name, documentation, error)
        }
    }

    // MARK: Values

    private func writeValueInfo(_ id: ValueID, _ role: capus_value_role, _ message: OpaquePointer) throws {
        try writeValueInfo(id) { name, documentation, error in
            capus_out_graph_add_value_info(handle, message, role, name, documentation, error)
        }
    }

    private func writeValueInfo(_ id: ValueID, _ make: (capus_bytes, capus_bytes, ErrorPointer) -> OpaquePointer?) throws {
        let annotation = graph.annotations[id]
        let name = arena.bytes(names[id])
        let documentation = arena.bytes(annotation?.documentation ?? .empty)
        let value = try handleFromBorder { make(name, documentation, $0) }
        if let annotation { try builder.add(annotation.metadata, CAPUS_VALUE_INFO, value) }
        if let type = graph.values[id.index].type {
            try write(type, to: try handleFromBorder { capus_out_value_info_type(handle, value, $0) })
        }
    }

    /// Declares what is known of values that `skipping` does not hold.
    func writeValueInfos(
        skipping: Set<ValueID>, _ make: (capus_bytes, capus_bytes, ErrorPointer) -> OpaquePointer?
    ) throws {
        for index in graph.values.indices {
            let id = ValueID(index)
            guard !skipping.contains(id), graph.values[index].type != nil || graph.annotations[id] != nil else { continue }
            try writeValueInfo(id, make)
        }
    }

    func write(_ type: ValueType, to message: OpaquePointer) throws {
        var fields = capus_out_type_fields()
        var inner: ValueType?
        func setShape(_ type: ElementType, _ shape: PartialShape) {
            fields.elem_type = type.rawValue
            guard let dimensions = shape.dimensions else { return }
            fields.has_shape = true
            fields.rank = dimensions.count
            fields.dims = arena.list(dimensions.map { dim($0) })
        }
        switch type {
        case .tensor(let type, let shape):
            fields.kind = CAPUS_TYPE_TENSOR
            setShape(type, shape)
        case .sparse(let type, let shape):
            fields.kind = CAPUS_TYPE_SPARSE_TENSOR
            setShape(type, shape)
        case .sequence(let element):
            fields.kind = CAPUS_TYPE_SEQUENCE
            inner = element
        case .optional(let element):
            fields.kind = CAPUS_TYPE_OPTIONAL
            inner = element
        case .map(let key, let value):
            fields.kind = CAPUS_TYPE_MAP
            fields.elem_type = key.rawValue
            inner = value
        }
        var element: OpaquePointer?
        try checkBorder { capus_out_type_set(handle, message, &fields, &element, $0) }
        if let inner, let element { try write(inner, to: element) }
    }

    private func dim(_ dimension: Dimension) -> capus_dim {
        var dim = capus_dim()
        switch dimension {
        case .known(let value):
            dim.kind = CAPUS_DIM_VALUE
            dim.value = Int64(value)
        case .symbolic(let expression):
            dim.kind = CAPUS_DIM_PARAM
            dim.param = arena.bytes(expression.plainName ?? ByteString("\(dimension)"))
        case .unknown:
            dim.kind = CAPUS_DIM_UNKNOWN
        }
        return dim
    }

    // MARK: Tensors

    private func writeInitializer(_ id: ValueID, _ value: Value, _ message: OpaquePointer) throws {
        let annotation = graph.inputs.contains(id) ? nil : graph.annotations[id]
        if case .sparse(let sparse) = value {
            let sparseMessage = try handleFromBorder { capus_out_graph_add_sparse_initializer(handle, message, $0) }
            return try write(sparse, name: names[id], to: sparseMessage)
        }
        let tensor = try handleFromBorder { capus_out_graph_add_initializer(handle, message, $0) }
        try prefixingErrors(with: "initializer \"\(names[id])\"") {
            try write(value, name: names[id], documentation: annotation?.documentation ?? .empty, to: tensor)
        }
        if let annotation { try builder.add(annotation.metadata, CAPUS_TENSOR, tensor) }
    }

    private func write(
        _ value: Value, name: ByteString = .empty, documentation: ByteString = .empty, to message: OpaquePointer
    ) throws {
        var fields = capus_out_tensor_fields()
        fields.name = arena.bytes(name)
        fields.doc_string = arena.bytes(documentation)
        switch value {
        case .tensor(let tensor):
            fields.data_type = tensor.type.rawValue
            fields.dims = arena.list(tensor.shape.dimensions.map { Int64($0) })
            fields.rank = tensor.shape.rank
            fields.has_raw_data = true
            let bytes = UnsafePointer(tensor.pointer.assumingMemoryBound(to: UInt8.self))
            fields.raw_data = capus_bytes(data: bytes, size: tensor.byteCount)
        case .strings(let strings):
            fields.data_type = ElementType.string.rawValue
            fields.dims = arena.list(strings.shape.dimensions.map { Int64($0) })
            fields.rank = strings.shape.rank
            fields.strings = arena.list(strings.elements)
            fields.string_count = strings.elements.count
        default:
            throw ApusError(.unsupported, "ONNX has no constants of type \(value.type)")
        }
        try checkBorder { capus_out_tensor_set(handle, message, &fields, $0) }
    }

    private func write(_ sparse: SparseTensor, name: ByteString = .empty, to message: OpaquePointer) throws {
        let values = try handleFromBorder { capus_out_sparse_tensor_values(handle, message, $0) }
        try write(sparse.values, name: name, to: values)
        let indices = try handleFromBorder { capus_out_sparse_tensor_indices(handle, message, $0) }
        try write(.tensor(sparse.indices), to: indices)
        let dims = arena.list(sparse.shape.dimensions.map { Int64($0) })
        try checkBorder { capus_out_sparse_tensor_set_dims(handle, message, dims, sparse.shape.rank, $0) }
    }

    // MARK: Nodes

    /// Adds a node that `make` begins.
    func add(_ node: Node, _ make: (UnsafePointer<capus_out_node_fields>, ErrorPointer) -> OpaquePointer?) throws {
        try attributed(to: graph.displayName(node)) {
            var fields = capus_out_node_fields()
            fields.name = arena.bytes(node.name)
            fields.op_type = arena.bytes(node.opType)
            fields.domain = arena.bytes(node.domain)
            fields.overload = arena.bytes(node.overload)
            fields.doc_string = arena.bytes(node.documentation)
            fields.inputs = arena.list(node.inputs.map { $0.map { names[$0] } ?? .empty })
            fields.input_count = node.inputs.count
            fields.outputs = arena.list(node.outputs.map { $0.map { names[$0] } ?? .empty })
            fields.output_count = node.outputs.count
            let message = try handleFromBorder { make(&fields, $0) }
            try builder.add(node.metadata, CAPUS_NODE, message)
            for attribute in node.attributes {
                try add(attribute) { fields, error in capus_out_node_add_attribute(handle, message, fields, error) }
            }
        }
    }

    /// Adds an attribute that `make` begins.
    func add(_ attribute: Attribute, _ make: (UnsafePointer<capus_out_attribute_fields>, ErrorPointer) -> OpaquePointer?) throws {
        var fields = capus_out_attribute_fields()
        fields.name = arena.bytes(attribute.name)
        fields.has_type = true
        fields.type = Int64(typeNumber(attribute.value))
        switch attribute.value {
        case .int(let value): (fields.has_i, fields.i) = (true, value)
        case .float(let value): (fields.has_f, fields.f) = (true, value)
        case .string(let value): (fields.has_s, fields.s) = (true, arena.bytes(value))
        case .ints(let values): (fields.ints, fields.int_count) = (arena.list(values), values.count)
        case .floats(let values): (fields.floats, fields.float_count) = (arena.list(values), values.count)
        case .strings(let values): (fields.strings, fields.string_count) = (arena.list(values), values.count)
        case .reference(let name):
            fields.ref_attr_name = arena.bytes(name)
            fields.has_type = attribute.referencedType != nil
            fields.type = attribute.referencedType ?? 0
        default: break
        }
        let message = try handleFromBorder { make(&fields, $0) }
        switch attribute.value {
        case .tensor(let value): try add(value, to: message, repeated: false)
        case .tensors(let values): for value in values { try add(value, to: message, repeated: true) }
        case .sparse(let value): try addSparse(value, to: message, repeated: false)
        case .sparses(let values): for value in values { try addSparse(value, to: message, repeated: true) }
        case .graph(let graph): try add(graph, to: message, repeated: false)
        case .graphs(let graphs): for graph in graphs { try add(graph, to: message, repeated: true) }
        case .type(let type): try add(type, to: message, repeated: false)
        case .types(let types): for type in types { try add(type, to: message, repeated: true) }
        default: break
        }
    }

    private func typeNumber(_ value: AttributeValue) -> Int {
        switch value {
        case .float: CAPUS_ATTRIBUTE_FLOAT
        case .int: CAPUS_ATTRIBUTE_INT
        case .string: CAPUS_ATTRIBUTE_STRING
        case .tensor: CAPUS_ATTRIBUTE_TENSOR
        case .sparse: CAPUS_ATTRIBUTE_SPARSE_TENSOR
        case .graph: CAPUS_ATTRIBUTE_GRAPH
        case .type: CAPUS_ATTRIBUTE_TYPE_PROTO
        case .floats: CAPUS_ATTRIBUTE_FLOATS
        case .ints: CAPUS_ATTRIBUTE_INTS
        case .strings: CAPUS_ATTRIBUTE_STRINGS
        case .tensors: CAPUS_ATTRIBUTE_TENSORS
        case .sparses: CAPUS_ATTRIBUTE_SPARSE_TENSORS
        case .graphs: CAPUS_ATTRIBUTE_GRAPHS
        case .types: CAPUS_ATTRIBUTE_TYPE_PROTOS
        case .reference: CAPUS_ATTRIBUTE_UNDEFINED
        }
    }

    private func add(_ value: Value, to attribute: OpaquePointer, repeated: Bool) throws {
        try write(value, to: try handleFromBorder { capus_out_attribute_tensor(handle, attribute, repeated, $0) })
    }

    private func addSparse(_ value: Value, to attribute: OpaquePointer, repeated: Bool) throws {
        guard case .sparse(let sparse) = value else {
            throw ApusError(.internal, "a sparse attribute holds \(value.type)")
        }
        try write(sparse, to: try handleFromBorder { capus_out_attribute_sparse_tensor(handle, attribute, repeated, $0) })
    }

    private func add(_ type: ValueType, to attribute: OpaquePointer, repeated: Bool) throws {
        try write(type, to: try handleFromBorder { capus_out_attribute_type(handle, attribute, repeated, $0) })
    }

    private func add(_ inner: Graph, to attribute: OpaquePointer, repeated: Bool) throws {
        let (name, documentation) = (arena.bytes(inner.name), arena.bytes(inner.documentation))
        let message = try handleFromBorder {
            capus_out_attribute_graph(handle, attribute, repeated, name, documentation, $0)
        }
        try GraphWriter(builder: builder, graph: inner, names: GraphNames(inner, outer: names)).write(to: message)
    }
}
