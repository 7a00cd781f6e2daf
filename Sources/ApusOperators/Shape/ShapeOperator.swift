import ApusCore

/// The dimensions of the input, or a range of them, as an int64 vector.
struct ShapeOperator: Operator {
    static let schemas = [Schema("Shape", since: [1, 13, 15, 19, 21, 23, 24, 25], inputs: 1...1)]

    private let start: Int
    private let end: Int?

    init(_ node: NodeReader) throws {
        start = node.opset >= 15 ? try node.int("start", default: 0) : 0
        end = node.opset >= 15 ? try node.optionalInt("end") : nil
    }

    /// The axes that are told, of an input of `rank` axes.
    private func axes(rank: Int) -> Range<Int> {
        func clamped(_ axis: Int) -> Int { max(0, min(rank, axis < 0 ? axis + rank : axis)) }
        let first = clamped(start)
        return first..<max(first, clamped(end ?? rank))
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        guard let dimensions = try context.shape(0).dimensions else { return [ValueInfo(.int64, .ofRank(1))] }
        let told = Array(dimensions[axes(rank: dimensions.count)])
        return [ValueInfo(.int64, .vector(told.count), elements: told)]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let shape = try context.shape(0)
        let told = shape.dimensions[axes(rank: shape.rank)].map(Int64.init)
        return PreparedKernel("shape") { io in
            told.withUnsafeBytes { bytes in
                if let base = bytes.baseAddress { io.output(0).copyMemory(from: base, byteCount: bytes.count) }
            }
        }
    }
}

/// The number of elements of the input as an int64 scalar.
struct SizeOperator: Operator {
    static let schemas = [Schema("Size", since: [1, 13, 19, 21, 23, 24, 25], inputs: 1...1)]

    init(_ node: NodeReader) throws {}

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let count = try context.shape(0).dimensions.map { $0.reduce(.known(1), *) }
        return [ValueInfo(.int64, PartialShape.scalar, elements: count.map { [$0] })]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let count = Int64(try context.shape(0).count)
        return PreparedKernel("size") { io in io.output(0, as: Int64.self)[0] = count }
    }
}

extension PartialShape {
    static func vector(_ count: Int) -> PartialShape { PartialShape([.known(count)]) }
}
