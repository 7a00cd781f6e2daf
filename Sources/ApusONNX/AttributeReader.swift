import ApusCore
import ApusGraph
import CApusONNX

/// Reads attributes of nodes and defaults of functions' attributes.
struct AttributeReader {
    /// Reads the graphs in attributes.
    let graphs: GraphReader

    func read(_ handle: OpaquePointer) throws -> Attribute {
        var info = capus_attribute_info()
        capus_attribute_read(handle, &info)
        let name = try identifier(info.name, "attribute name")
        guard !name.isEmpty else { throw ApusError(.invalidModel, "an attribute without a name") }
        if !info.ref_attr_name.isEmpty {
            guard graphs.place.isInFunction else {
                throw ApusError(.invalidModel, "attribute \"\(name)\" refers to an attribute of a function, outside of any")
            }
            let target = try identifier(info.ref_attr_name, "attribute name")
            return Attribute(name, .reference(target), referencedType: info.has_type ? info.type : nil)
        }
        return Attribute(name, try value(handle, info, name))
    }

    private func value(_ handle: OpaquePointer, _ info: capus_attribute_info, _ name: String) throws -> AttributeValue {
        let type = try self.type(info, name)
        let what = "attribute \"\(name)\""
        switch Int(type) {
        case CAPUS_ATTRIBUTE_FLOAT: return .float(info.f)
        case CAPUS_ATTRIBUTE_INT: return .int(info.i)
        case CAPUS_ATTRIBUTE_STRING: return .string(ByteString(info.s))
        case CAPUS_ATTRIBUTE_TENSOR: return .tensor(try tensor(info.tensor, what))
        case CAPUS_ATTRIBUTE_SPARSE_TENSOR: return .sparse(try sparse(info.sparse_tensor, what))
        case CAPUS_ATTRIBUTE_GRAPH: return .graph(try graph(info.graph, what))
        case CAPUS_ATTRIBUTE_TYPE_PROTO: return .type(try self.type(info.type_proto, what))
        case CAPUS_ATTRIBUTE_FLOATS: return .floats(Array(UnsafeBufferPointer(start: info.floats, count: info.float_count)))
        case CAPUS_ATTRIBUTE_INTS: return .ints(Array(UnsafeBufferPointer(start: info.ints, count: info.int_count)))
        case CAPUS_ATTRIBUTE_STRINGS:
            return .strings((0..<info.string_count).map { ByteString(capus_attribute_string(handle, $0)) })
        case CAPUS_ATTRIBUTE_TENSORS:
            return .tensors(try (0..<info.tensor_count).map { try tensor(capus_attribute_tensor(handle, $0), what) })
        case CAPUS_ATTRIBUTE_SPARSE_TENSORS:
            return .sparses(
                try (0..<info.sparse_tensor_count).map { try sparse(capus_attribute_sparse_tensor(handle, $0), what) })
        case CAPUS_ATTRIBUTE_GRAPHS:
            return .graphs(try (0..<info.graph_count).map { try graph(capus_attribute_graph(handle, $0), what) })
        case CAPUS_ATTRIBUTE_TYPE_PROTOS:
            return .types(try (0..<info.type_proto_count).map { try self.type(capus_attribute_type_proto(handle, $0), what) })
        default:
            throw ApusError(.unsupported, "attribute \"\(name)\" is of type number \(type), which Apus does not know")
        }
    }

    /// The type that the attribute declares, or, where it declares none, the one whose field holds something.
    private func type(_ info: capus_attribute_info, _ name: String) throws -> Int64 {
        let fields: [(type: Int, name: String, isPresent: Bool)] = [
            (CAPUS_ATTRIBUTE_FLOAT, "float", info.has_f), (CAPUS_ATTRIBUTE_INT, "int", info.has_i),
            (CAPUS_ATTRIBUTE_STRING, "string", info.has_s), (CAPUS_ATTRIBUTE_TENSOR, "tensor", info.tensor != nil),
            (CAPUS_ATTRIBUTE_GRAPH, "graph", info.graph != nil), (CAPUS_ATTRIBUTE_FLOATS, "floats", info.float_count > 0),
            (CAPUS_ATTRIBUTE_INTS, "ints", info.int_count > 0), (CAPUS_ATTRIBUTE_STRINGS, "strings", info.string_count > 0),
            (CAPUS_ATTRIBUTE_TENSORS, "tensors", info.tensor_count > 0),
            (CAPUS_ATTRIBUTE_GRAPHS, "graphs", info.graph_count > 0),
            (CAPUS_ATTRIBUTE_SPARSE_TENSOR, "sparse_tensor", info.sparse_tensor != nil),
            (CAPUS_ATTRIBUTE_SPARSE_TENSORS, "sparse_tensors", info.sparse_tensor_count > 0),
            (CAPUS_ATTRIBUTE_TYPE_PROTO, "type_proto", info.type_proto != nil),
            (CAPUS_ATTRIBUTE_TYPE_PROTOS, "type_protos", info.type_proto_count > 0),
        ]
        let present = fields.filter(\.isPresent)
        if info.has_type, info.type != Int64(CAPUS_ATTRIBUTE_UNDEFINED) {
            guard let declared = fields.first(where: { Int64($0.type) == info.type }) else { return info.type }
            if let other = present.first(where: { $0.type != declared.type }) {
                throw ApusError(.invalidModel, "attribute \"\(name)\" is declared as \(declared.name) but holds \(other.name)")
            }
            return info.type
        }
        guard let only = present.first else {
            throw ApusError(.invalidModel, "attribute \"\(name)\" has neither a type nor a value")
        }
        guard present.count == 1 else {
            throw ApusError(.invalidModel, "attribute \"\(name)\" has no type and holds both \(only.name) and \(present[1].name)")
        }
        return Int64(only.type)
    }

    private func tensor(_ handle: OpaquePointer?, _ what: String) throws -> Value {
        guard let handle else { throw ApusError(.invalidModel, "\(what) is declared as tensor but holds none") }
        return try TensorReader(model: graphs.model).read(handle, as: what)
    }

    private func sparse(_ handle: OpaquePointer?, _ what: String) throws -> Value {
        guard let handle else { throw ApusError(.invalidModel, "\(what) is declared as sparse_tensor but holds none") }
        return .sparse(try TensorReader(model: graphs.model).readSparse(handle, as: what))
    }

    private func graph(_ handle: OpaquePointer?, _ what: String) throws -> Graph {
        guard let handle else { throw ApusError(.invalidModel, "\(what) is declared as graph but holds none") }
        return try graphs.read(handle)
    }

    private func type(_ handle: OpaquePointer?, _ what: String) throws -> ValueType {
        guard let handle, let type = try TypeReader.read(handle, of: what, tolerant: false) else {
            throw ApusError(.invalidModel, "\(what) is declared as type_proto but holds none")
        }
        return type
    }
}
