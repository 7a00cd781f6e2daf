import ApusCore

/// Tensors as JSON.
///
/// Read are a plain nested array (`[[1, 2], [3, 4]]`) or number, and the form that is also written,
/// `{"type": "float32", "shape": [2, 2], "data": [[1, 2], [3, 4]]}`, whose `data` may be flat. Both `type` and `shape`
/// may be missing. NaN and infinities are the strings "NaN", "Infinity", "-Infinity"; a complex number is an array of
/// its two parts.
enum JSONTensor {
    /// What a document holds: one tensor without a name, or one for each name.
    enum Document {
        case single(JSONValue)
        case named([JSONValue.Member])
    }

    static func document(_ bytes: [UInt8]) throws -> Document {
        let value = try JSONValue(parsing: bytes[...])
        guard case .object(let members) = value, value["data"] == nil else { return .single(value) }
        return .named(members)
    }

    // MARK: Reading

    /// The tensor that a value describes.
    ///
    /// - Parameter type: its element type where the value names none; without either it is inferred: whole numbers are
    ///   int64, numbers float32, beside bool and string.
    static func tensor(_ value: JSONValue, as type: ElementType? = nil) throws -> HostTensor {
        guard case .object(let members) = value else { return try tensor(nested: value, type: type, shape: nil) }
        var named: ElementType?
        var shape: [Int]?
        var data: JSONValue?
        for member in members {
            switch member.name {
            case "type":
                guard case .string(let name) = member.value, let known = ElementType(named: name) else {
                    throw CLIError.file("JSON: 'type' is no element type")
                }
                named = known
            case "shape":
                guard case .array(let items) = member.value else { throw CLIError.file("JSON: 'shape' is no array") }
                shape = try items.map { item in
                    guard case .number(let text) = item, let dimension = Int(text), dimension >= 0 else {
                        throw CLIError.file("JSON: 'shape' holds something that is no dimension")
                    }
                    return dimension
                }
            case "data": data = member.value
            default: throw CLIError.file("JSON: a tensor has no member '\(member.name)', only type, shape and data")
            }
        }
        guard let data else { throw CLIError.file("JSON: a tensor without 'data'") }
        return try tensor(nested: data, type: named ?? type, shape: shape)
    }

    private static func tensor(nested value: JSONValue, type: ElementType?, shape: [Int]?) throws -> HostTensor {
        var leaves: [JSONValue] = []
        var found: [Int] = []
        try flatten(value, 0, &found, &leaves)
        let type = try type ?? infer(leaves)
        if type.isComplex {
            guard found.last == 2 else { throw CLIError.file("JSON: a complex number is an array of two numbers") }
            found.removeLast()
        }
        guard let shape else { return try tensor(leaves, type, found) }
        // Either nested as the shape says or a flat list; empty tensors nest in no way that shows their shape.
        guard shape == found || found.count <= 1 || leaves.isEmpty else {
            throw CLIError.file("JSON: 'data' is nested as \(found), 'shape' says \(shape)")
        }
        return try tensor(leaves, type, shape)
    }

    private static func tensor(_ leaves: [JSONValue], _ type: ElementType, _ shape: [Int]) throws -> HostTensor {
        if type == .string {
            return try HostTensor(shape, strings: leaves.map { leaf in
                guard case .string(let text) = leaf else { throw CLIError.file("JSON: a string expected") }
                return Array(text.utf8)
            })
        }
        var writer = ElementWriter(type)
        for leaf in leaves {
            switch leaf {
            case .bool(let value): try writer.append(value ? 1 : 0)
            case .number(let text):
                if type.isInteger, let value = Int64(text) {
                    try writer.append(integer: value)
                } else if type == .uint64, let value = UInt64(text) {
                    writer.append(bits: value)
                } else {
                    guard let value = Double(text) else { throw CLIError.file("JSON: \(text) is no number") }
                    try writer.append(value)
                }
            case .string("NaN") where !type.isInteger: try writer.append(.nan)
            case .string("Infinity") where !type.isInteger: try writer.append(.infinity)
            case .string("-Infinity") where !type.isInteger: try writer.append(-.infinity)
            default: throw CLIError.file("JSON: a number expected for \(type.numpyName)")
            }
        }
        return try HostTensor(type, shape, bytes: writer.finish())
    }

    /// Collects the leaves in order; `shape` grows on the first way down and is checked on all others.
    private static func flatten(
        _ value: JSONValue, _ depth: Int, _ shape: inout [Int], _ leaves: inout [JSONValue]
    ) throws {
        guard case .array(let items) = value else {
            guard depth == shape.count else { throw CLIError.file("JSON: arrays nested to different depths") }
            if case .object = value { throw CLIError.file("JSON: an object inside a tensor's data") }
            leaves.append(value)
            return
        }
        if depth == shape.count {
            // A leaf was already met at this depth if there are any leaves at all.
            guard leaves.isEmpty else { throw CLIError.file("JSON: arrays nested to different depths") }
            shape.append(items.count)
        }
        guard shape[depth] == items.count else {
            throw CLIError.file("JSON: arrays of \(shape[depth]) and \(items.count) elements side by side")
        }
        for item in items { try flatten(item, depth + 1, &shape, &leaves) }
    }

    private static func infer(_ leaves: [JSONValue]) throws -> ElementType {
        var type: ElementType?
        for leaf in leaves {
            let one: ElementType = switch leaf {
            case .bool: .bool
            case .number(let text): Int64(text) == nil ? .float32 : .int64
            case .string("NaN"), .string("Infinity"), .string("-Infinity"): type == .string ? .string : .float32
            case .string: .string
            default: throw CLIError.file("JSON: null is no element")
            }
            switch (type, one) {
            case (nil, _): type = one
            case (.int64, .float32), (.float32, .int64): type = .float32
            case (let known?, _) where known == one: break
            default: throw CLIError.file("JSON: elements of different kinds in one tensor")
            }
        }
        return type ?? .float32
    }

    // MARK: Writing

    /// `{"type", "shape", "data"}`, the data nested by shape.
    static func value(_ tensor: HostTensor) -> JSONValue {
        var leaves = elements(tensor)[...]
        return .object([
            .init("type", .string(tensor.type.numpyName)),
            .init("shape", .array(tensor.shape.map { JSONValue.integer($0) })),
            .init("data", nest(&leaves, tensor.shape[...])),
        ])
    }

    private static func nest(_ leaves: inout ArraySlice<JSONValue>, _ shape: ArraySlice<Int>) -> JSONValue {
        guard let first = shape.first else { return leaves.popFirst() ?? .null }
        // No element is left to show the dimensions below an empty one.
        if shape.contains(0) { return .array([]) }
        return .array((0..<first).map { _ in nest(&leaves, shape.dropFirst()) })
    }

    private static func elements(_ tensor: HostTensor) -> [JSONValue] {
        switch tensor.type {
        case .string: return tensor.strings.map { .string(String(decoding: $0, as: UTF8.self)) }
        case .bool: return tensor.bytes.map { .bool($0 != 0) }
        case .uint64: return tensor.codes().map { .integer($0) }
        case .float64: return tensor.doubles().map { .real($0) }
        case .complex64, .complex128:
            let parts = tensor.doubles()
            let digits: (Double) -> JSONValue = tensor.type == .complex64 ? { .real(Float($0)) } : { .real($0) }
            return stride(from: 0, to: parts.count - 1, by: 2).map { .array([digits(parts[$0]), digits(parts[$0 + 1])]) }
        default:
            return tensor.type.isInteger
                ? tensor.integers().map { .integer($0) } : tensor.doubles().map { .real(Float($0)) }
        }
    }
}
