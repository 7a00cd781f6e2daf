import ApusCore

/// Joins strings elementwise, with broadcasting.
struct StringConcatOperator: Operator {
    static let schemas = [Schema("StringConcat", since: [20], inputs: 2...2)]

    init(_ node: NodeReader) throws {}

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        for index in 0..<2 { _ = try context.type(index, oneOf: [.string]) }
        return [ValueInfo(.string, try PartialShape.broadcast([try context.shape(0), try context.shape(1)]))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let shape = try context.outputShape(0)
        let a = try context.shape(0).broadcastStrides(to: shape), b = try context.shape(1).broadcastStrides(to: shape)
        let bytes = try shape.count.multiplied(by: MemoryLayout<ByteString>.stride)
        return PreparedKernel("string_concat") { io in
            try io.budget.reserve(bytes, for: "\(shape.count) strings")
            defer { io.budget.release(bytes) }
            let left = try io.value(0).asStrings().elements, right = try io.value(1).asStrings().elements
            var others: [Int] = []
            others.reserveCapacity(shape.count)
            forEachPosition(shape.dimensions, b) { _, offset in others.append(offset) }
            var elements: [ByteString] = []
            elements.reserveCapacity(shape.count)
            forEachPosition(shape.dimensions, a) { position, offset in
                elements.append(ByteString(left[offset].bytes + right[others[position]].bytes))
            }
            try io.setOutput(0, .strings(StringTensor(shape: shape, elements: elements)))
        }
    }
}

/// Cuts strings at a delimiter, or at whitespace, into a row each; rows are filled up with empty strings.
struct StringSplitOperator: Operator {
    static let schemas = [Schema("StringSplit", since: [20], inputs: 1...1, outputs: 2...2)]

    private let delimiter: [UInt8]
    private let most: Int

    init(_ node: NodeReader) throws {
        delimiter = try node.optionalBytes("delimiter")?.bytes ?? []
        most = try node.optionalInt("maxsplit") ?? .max
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        _ = try context.type(0, oneOf: [.string])
        let shape = try context.shape(0)
        return [
            ValueInfo(.string, PartialShape(shape.dimensions.map { $0 + [.unknown] })),
            ValueInfo(.int64, shape),
        ]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let shape = try context.shape(0)
        let delimiter = delimiter, most = most < 0 ? Int.max : most
        return PreparedKernel("string_split") { io in
            let parts = try io.value(0).asStrings().elements.map { string in
                delimiter.isEmpty
                    ? StringSplitOperator.splitAtSpace(string.bytes[...], most) : StringSplitOperator.split(string.bytes[...], delimiter, most)
            }
            let widest = parts.map(\.count).max() ?? 0
            let result = try Shape(shape.dimensions + [widest])
            let bytes = try result.count.multiplied(by: MemoryLayout<ByteString>.stride)
            try io.budget.reserve(bytes, for: "\(result.count) strings")
            defer { io.budget.release(bytes) }
            let counts = io.output(1, as: Int64.self)
            for (index, row) in parts.enumerated() { counts[index] = Int64(row.count) }
            let elements = parts.flatMap { $0 + [ByteString](repeating: .empty, count: widest - $0.count) }
            try io.setOutput(0, .strings(StringTensor(shape: result, elements: elements)))
        }
    }

    private static func isSpace(_ byte: UInt8) -> Bool { byte == 32 || (byte >= 9 && byte <= 13) }

    /// Runs of whitespace separate, as in Python's split without a separator.
    private static func splitAtSpace(_ bytes: ArraySlice<UInt8>, _ most: Int) -> [ByteString] {
        var parts: [ByteString] = []
        var rest = bytes.drop(while: isSpace)
        while !rest.isEmpty {
            if parts.count == most {
                while let last = rest.last, isSpace(last) { rest.removeLast() }
                parts.append(ByteString(Array(rest)))
                break
            }
            let word = rest.prefix { !isSpace($0) }
            parts.append(ByteString(Array(word)))
            rest = rest.dropFirst(word.count).drop(while: isSpace)
        }
        return parts
    }

    private static func split(_ bytes: ArraySlice<UInt8>, _ delimiter: [UInt8], _ most: Int) -> [ByteString] {
        if bytes.isEmpty { return [] }
        var parts: [ByteString] = []
        var start = bytes.startIndex, index = start
        while index + delimiter.count <= bytes.endIndex, parts.count < most {
            if bytes[index..<(index + delimiter.count)].elementsEqual(delimiter) {
                parts.append(ByteString(Array(bytes[start..<index])))
                index += delimiter.count
                start = index
            } else {
                index += 1
            }
        }
        parts.append(ByteString(Array(bytes[start...])))
        return parts
    }
}
