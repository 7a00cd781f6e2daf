import ApusCore
import ApusGraph
import CApusONNX
import Glibc

/// Writes models as ONNX.
///
/// Names, documentation, metadata, opset imports and functions are kept. Values without a name, or with one that the graph
/// uses already, get a new one; the model's inputs and outputs keep theirs. Dense tensors are
/// written as raw_data. Training information and quantisation annotations, which Apus does not read, are not written.
package enum ModelWriter {
    /// The model as bytes. Throws `memoryLimit` for a model of 2 GiB or more, `unsupported` for constants that ONNX cannot
    /// hold (sequences and maps).
    package static func bytes(of model: Model) throws -> [UInt8] {
        let writer = try ModelBuilder(model)
        var data: UnsafeMutablePointer<UInt8>?
        var size = 0
        try checkBorder { capus_writer_write_to_buffer(writer.handle, &data, &size, $0) }
        defer { capus_buffer_destroy(data) }
        return Array(UnsafeBufferPointer(start: data, count: size))
    }

    /// Writes the model to a file. An existing file is replaced when all is written, so that the model may come from it;
    /// on failure it stays as it was.
    package static func write(_ model: Model, to path: String) throws {
        if path.utf8.contains(0) { throw ApusError(.io, "a path may not hold a NUL character") }
        let writer = try ModelBuilder(model)
        let temporary = "\(path).\(getpid()).part"
        let file = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
        guard file >= 0 else { throw ApusError(.io, "cannot create \"\(temporary)\": \(systemMessage(errno))") }
        do {
            defer { close(file) }
            try checkBorder { capus_writer_write_to_fd(writer.handle, file, $0) }
        } catch {
            unlink(temporary)
            throw error
        }
        guard rename(temporary, path) == 0 else {
            let reason = errno
            unlink(temporary)
            throw ApusError(.io, "cannot replace \"\(path)\": \(systemMessage(reason))")
        }
    }
}

/// Holds bytes in place while a model is built.
final class ByteArena {
    private var blocks: [UnsafeMutableRawPointer] = []
    private var next: UnsafeMutableRawPointer?
    private var left = 0

    deinit {
        for block in blocks { block.deallocate() }
    }

    private func take(_ byteCount: Int, alignment: Int) -> UnsafeMutableRawPointer {
        if let pointer = next?.alignedUp(toMultipleOf: alignment), let start = next, pointer - start + byteCount <= left {
            left -= pointer - start + byteCount
            next = pointer + byteCount
            return pointer
        }
        let size = max(byteCount, 64 << 10)
        let block = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 16)
        blocks.append(block)
        next = block + byteCount
        left = size - byteCount
        return block
    }

    func bytes(_ string: ByteString) -> capus_bytes {
        bytes(string.bytes)
    }

    func bytes(_ text: String) -> capus_bytes {
        bytes(Array(text.utf8))
    }

    private func bytes(_ bytes: [UInt8]) -> capus_bytes {
        if bytes.isEmpty { return capus_bytes(data: nil, size: 0) }
        let copy = take(bytes.count, alignment: 1)
        bytes.withUnsafeBytes { copy.copyMemory(from: $0.baseAddress ?? UnsafeRawPointer(copy), byteCount: $0.count) }
        return capus_bytes(data: UnsafePointer(copy.assumingMemoryBound(to: UInt8.self)), size: bytes.count)
    }

    /// The elements in one piece.
    func list<Element: BitwiseCopyable>(_ elements: [Element]) -> UnsafePointer<Element>? {
        if elements.isEmpty { return nil }
        let copy = take(elements.count * MemoryLayout<Element>.stride, alignment: MemoryLayout<Element>.alignment)
        let typed = copy.bindMemory(to: Element.self, capacity: elements.count)
        for (index, element) in elements.enumerated() { typed[index] = element }
        return UnsafePointer(typed)
    }

    func list(_ strings: [ByteString]) -> UnsafePointer<capus_bytes>? {
        list(strings.map { bytes($0) })
    }
}

/// Builds a model in the border's writer.
final class ModelBuilder {
    let handle: OpaquePointer
    let arena = ByteArena()
    /// Borrowed by the writer until it is destroyed: their data go straight to the output.
    private let model: Model

    init(_ model: Model) throws {
        self.model = model
        var writer: OpaquePointer?
        try checkBorder { capus_writer_create(&writer, $0) }
        guard let writer else { throw ApusError(.internal, "the border gave no writer") }
        handle = writer
        try build()
    }

    deinit { capus_writer_destroy(handle) }

    func add(_ metadata: [(key: ByteString, value: ByteString)], _ kind: capus_kind, _ message: OpaquePointer) throws {
        for entry in metadata {
            let entry = capus_entry(key: arena.bytes(entry.key), value: arena.bytes(entry.value))
            try checkBorder { capus_writer_add_metadata(handle, kind, UnsafeMutableRawPointer(message), entry, $0) }
        }
    }

    private func build() throws {
        var fields = capus_out_model_fields()
        fields.ir_version = model.irVersion
        fields.model_version = model.modelVersion
        fields.has_model_version = model.modelVersion != 0
        fields.producer_name = arena.bytes(model.producerName)
        fields.producer_version = arena.bytes(model.producerVersion)
        fields.domain = arena.bytes(model.domain)
        fields.doc_string = arena.bytes(model.documentation)
        try checkBorder { capus_writer_set_model(handle, &fields, $0) }
        for opset in model.opsets {
            let domain = arena.bytes(opset.domain)
            try checkBorder { capus_writer_add_opset_import(handle, domain, opset.version, $0) }
        }
        try add(model.metadata, CAPUS_MODEL, handle)
        let (name, documentation) = (arena.bytes(model.graph.name), arena.bytes(model.graph.documentation))
        let graph = try handleFromBorder { capus_writer_graph(handle, name, documentation, $0) }
        try GraphWriter(builder: self, graph: model.graph, names: GraphNames(model.graph, outer: nil)).write(to: graph)
        for function in model.functions {
            try attributed(to: "function \(function.domain).\(function.name)") { try add(function) }
        }
    }

    private func add(_ function: Function) throws {
        let body = function.body
        let names = GraphNames(body, outer: nil)
        let writer = GraphWriter(builder: self, graph: body, names: names)
        var fields = capus_out_function_fields()
        fields.name = arena.bytes(function.name)
        fields.domain = arena.bytes(function.domain)
        fields.overload = arena.bytes(function.overload)
        fields.doc_string = arena.bytes(function.documentation)
        fields.inputs = arena.list(body.inputs.map { names[$0] })
        fields.input_count = body.inputs.count
        fields.outputs = arena.list(body.outputs.map { names[$0] })
        fields.output_count = body.outputs.count
        fields.attribute_names = arena.list(function.attributeNames.map { ByteString($0) })
        fields.attribute_name_count = function.attributeNames.count
        let message = try handleFromBorder { capus_writer_add_function(handle, &fields, $0) }
        try add(function.metadata, CAPUS_FUNCTION, message)
        for opset in function.opsets {
            let domain = arena.bytes(opset.domain)
            try checkBorder { capus_out_function_add_opset_import(handle, message, domain, opset.version, $0) }
        }
        for attribute in function.defaults {
            try writer.add(attribute) { fields, error in
                capus_out_function_add_attribute_default(self.handle, message, fields, error)
            }
        }
        // A function has no initializers: constants become nodes.
        for id in body.initializers.keys.sorted() {
            guard let value = body.initializers[id] else { continue }
            let constant = Node(
                "Constant", opset: 13, attributes: [Attribute("value", .tensor(value))], inputs: [], outputs: [id])
            try writer.add(constant) { fields, error in capus_out_function_add_node(self.handle, message, fields, error) }
        }
        for node in body.nodes {
            try writer.add(node) { fields, error in capus_out_function_add_node(self.handle, message, fields, error) }
        }
        try writer.writeValueInfos(skipping: []) { name, documentation, error in
            capus_out_function_add_value_info(self.handle, message, name, documentation, error)
        }
    }
}

/// The names that values of a graph get in the file: unique among the graph's own values and those it captures. A name of
/// the graphs around it that it does not capture may return, as it does in files; names made here never do.
final class GraphNames {
    private var names: [ByteString]
    private var taken: Set<ByteString> = []
    private let outer: GraphNames?

    init(_ graph: Graph, outer: GraphNames?) {
        self.outer = outer
        names = [ByteString](repeating: .empty, count: graph.values.count)
        // What others refer to by name comes first: captured values, then inputs, outputs and constants.
        for capture in graph.captures {
            guard let outer else { continue }
            names[capture.inner.index] = outer[capture.outer]
            taken.insert(outer[capture.outer])
        }
        for id in graph.inputs + graph.outputs + graph.initializers.keys.sorted() { assign(id, graph) }
        for index in names.indices { assign(ValueID(index), graph) }
    }

    private func isTakenAround(_ name: ByteString) -> Bool {
        taken.contains(name) || (outer?.isTakenAround(name) ?? false)
    }

    private func assign(_ id: ValueID, _ graph: Graph) {
        guard names[id.index].isEmpty else { return }
        var name = graph.values[id.index].name
        if name.isEmpty || taken.contains(name) {
            var suffix = id.index
            repeat {
                name = ByteString("\(graph.values[id.index].name)_v\(suffix)")
                suffix += names.count
            } while isTakenAround(name)
        }
        names[id.index] = name
        taken.insert(name)
    }

    subscript(_ id: ValueID) -> ByteString { names[id.index] }
}
