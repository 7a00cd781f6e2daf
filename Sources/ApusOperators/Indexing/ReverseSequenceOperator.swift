import ApusCore

/// Reverses the beginning of each sequence of a batch.
struct ReverseSequenceOperator: Operator {
    static let schemas = [Schema("ReverseSequence", since: [10, 28], inputs: 2...2)]

    private let timeAxis: Int
    private let batchAxis: Int

    init(_ node: NodeReader) throws {
        timeAxis = try node.int("time_axis", default: 0)
        batchAxis = try node.int("batch_axis", default: 1)
        guard [timeAxis, batchAxis].sorted() == [0, 1] else {
            throw ApusError(.invalidModel, "time_axis \(timeAxis) and batch_axis \(batchAxis) must be 0 and 1, or 1 and 0")
        }
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0)
        _ = try context.type(1, oneOf: [.int64])
        let dimensions = try context.dimensions(0, rank: 2...)
        let lengths = try context.dimensions(1, rank: 1...1)
        if let batch = dimensions?[batchAxis].known, let count = lengths?[0].known, batch != count {
            throw ApusError(.shapeMismatch, "sequence_lens has \(count) numbers for a batch of \(batch)")
        }
        return [ValueInfo(type, try context.shape(0))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.type(0)
        let shape = try context.shape(0)
        let block = shape.count(2...) &* context.movedWidth(type)
        let times = shape[timeAxis], batches = shape[batchAxis]
        let timeStep = timeAxis == 0 ? shape[1] : 1, batchStep = batchAxis == 0 ? shape[1] : 1
        return try context.movement("reverse_sequence", type, inputs: [0]) { access in
            if block == 0 { return }
            let lengths = access.io.input(1, as: Int64.self)
            let source = access.input(0)
            let target = access.output(0)
            for batch in 0..<batches {
                let length = Int(lengths[batch])
                guard length >= 0, length <= times else {
                    throw ApusError(.invalidValue, "sequence_lens[\(batch)] is \(length), but the sequences have \(times) steps")
                }
                for time in 0..<times {
                    let from = time < length ? length &- 1 &- time : time
                    (target + (time &* timeStep &+ batch &* batchStep) &* block).copyMemory(
                        from: source + (from &* timeStep &+ batch &* batchStep) &* block, byteCount: block)
                }
            }
        }
    }
}

/// Keeps the slices along an axis (or the elements) for which a condition holds.
struct CompressOperator: Operator {
    static let schemas = [Schema("Compress", since: [9, 11, 28], inputs: 2...2)]

    private let axis: Int?

    init(_ node: NodeReader) throws {
        axis = try node.optionalInt("axis")
    }

    var parameterInputs: [Int] { [1] }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0)
        _ = try context.type(1, oneOf: [.bool])
        _ = try context.dimensions(1, rank: 1...1)
        guard var dimensions = try context.shape(0).dimensions else {
            return [ValueInfo(type, axis == nil ? .ofRank(1) : .unknown)]
        }
        let axis = try self.axis.map { try normalizedAxis($0, rank: dimensions.count) }
        let size = axis.map { dimensions[$0] } ?? dimensions.reduce(.known(1), *)
        var kept = Dimension.unknown
        if let condition = try context.integers(1), let size = size.known {
            kept = .known(condition.prefix(size).count { $0 != 0 })
        }
        guard let axis else { return [ValueInfo(type, PartialShape([kept]))] }
        dimensions[axis] = kept
        return [ValueInfo(type, PartialShape(dimensions))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.type(0)
        let shape = try context.shape(0)
        let axis = try axis.map { try normalizedAxis($0, rank: shape.rank) }
        let outer = axis.map { shape.count(0..<$0) } ?? 1
        let size = axis.map { shape[$0] } ?? shape.count
        let block = (axis.map { shape.count(($0 + 1)...) } ?? 1) &* context.movedWidth(type)
        let usable = min(size, try context.shape(1).count)
        let isEmpty = try context.outputShape(0).count == 0
        return try context.movement("compress", type, inputs: [0]) { access in
            if isEmpty { return }
            let condition = access.io.input(1, as: UInt8.self)
            var target = access.output(0)
            for part in 0..<outer {
                let source = access.input(0) + part &* size &* block
                for position in 0..<usable where condition[position] != 0 {
                    target.copyMemory(from: source + position &* block, byteCount: block)
                    target += block
                }
            }
        }
    }
}
