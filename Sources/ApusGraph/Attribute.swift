import ApusCore

/// A named constant of a node.
package struct Attribute: Sendable {
    package let name: String
    package let value: AttributeValue
    /// Of a reference: the number of its type in ONNX's `AttributeProto.AttributeType`, for writing it back.
    package let referencedType: Int64?

    package init(_ name: String, _ value: AttributeValue, referencedType: Int64? = nil) {
        self.name = name
        self.value = value
        self.referencedType = referencedType
    }
}

/// What an attribute can hold.
package enum AttributeValue: Sendable {
    case int(Int64)
    case float(Float)
    case string(ByteString)
    case tensor(Value)
    case sparse(Value)
    case graph(Graph)
    case type(ValueType)
    case ints([Int64])
    case floats([Float])
    case strings([ByteString])
    case tensors([Value])
    case sparses([Value])
    case graphs([Graph])
    case types([ValueType])
    /// Inside of a function body: the attribute of that name of the calling node.
    case reference(String)

    /// What kind it is, in ONNX's words.
    package var kind: String {
        switch self {
        case .int: "int"
        case .float: "float"
        case .string: "string"
        case .tensor: "tensor"
        case .sparse: "sparse_tensor"
        case .graph: "graph"
        case .type: "type_proto"
        case .ints: "ints"
        case .floats: "floats"
        case .strings: "strings"
        case .tensors: "tensors"
        case .sparses: "sparse_tensors"
        case .graphs: "graphs"
        case .types: "type_protos"
        case .reference: "reference"
        }
    }
}
