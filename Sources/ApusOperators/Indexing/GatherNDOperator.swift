import ApusCore

/// Blocks of a tensor named by tuples of coordinates: what GatherND and ScatterND share.
struct TupleIndexing {
    /// Tuples in all.
    let count: Int
    /// Coordinates in a tuple.
    let length: Int
    /// Elements of a block.
    let block: Int
    /// Sizes of and steps along the axes that a tuple names.
    private let sizes: [Int]
    private let strides: [Int]
    /// Tuples of one batch, and elements of the data of one batch.
    private let tuplesPerBatch: Int
    private let batchStride: Int

    init(data: Shape, indices: Shape, batchAxes: Int) {
        let all = data.strides
        length = indices[indices.rank - 1]
        count = indices.count(0..<(indices.rank - 1))
        block = data.count((batchAxes + length)...)
        sizes = Array(data.dimensions[batchAxes..<(batchAxes + length)])
        strides = Array(all[batchAxes..<(batchAxes + length)])
        tuplesPerBatch = indices.count(batchAxes..<(indices.rank - 1))
        batchStride = data.count(batchAxes...)
    }

    /// The first element of the block that tuple `number` names; throws where a coordinate is out of range.
    @inline(__always)
    func start(_ indices: UnsafePointer<Int64>, _ number: Int) throws -> Int {
        var offset = tuplesPerBatch > 0 ? number / tuplesPerBatch &* batchStride : 0
        for axis in 0..<length {
            let index = Int(indices[number &* length &+ axis])
            let counted = index < 0 ? index &+ sizes[axis] : index
            guard counted >= 0, counted < sizes[axis] else { throw ApusError.outOfRange(index, sizes[axis], "coordinate \(axis)") }
            offset = offset &+ counted &* strides[axis]
        }
        return offset
    }
}

/// Takes the elements or slices that tuples of coordinates name.
struct GatherNDOperator: Operator {
    static let schemas = [Schema("GatherND", since: [11, 12, 13], inputs: 2...2)]

    private let batchAxes: Int

    init(_ node: NodeReader) throws {
        batchAxes = node.opset >= 12 ? try node.int("batch_dims", default: 0) : 0
        guard batchAxes >= 0 else { throw ApusError(.invalidModel, "batch_dims \(batchAxes) is negative") }
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0)
        _ = try context.type(1, oneOf: [.int64])
        let data = try context.shape(0), indices = try context.shape(1)
        for (name, rank) in [("data", data.rank), ("indices", indices.rank)] {
            if let rank, rank < 1 { throw ApusError(.shapeMismatch, "\(name) must not be a scalar") }
            if let rank, batchAxes >= rank {
                throw ApusError(.shapeMismatch, "batch_dims \(batchAxes) must be less than the rank \(rank) of \(name)")
            }
        }
        guard let a = data.dimensions, let b = indices.dimensions, let length = b[b.count - 1].known else {
            return [ValueInfo(type, .unknown)]
        }
        guard length >= 1, length <= a.count - batchAxes else {
            throw ApusError(
                .shapeMismatch, "indices of shape \(indices) name \(length) coordinates in data of shape \(data) with batch_dims \(batchAxes)")
        }
        for axis in 0..<batchAxes {
            if let x = a[axis].known, let y = b[axis].known, x != y {
                throw ApusError(.shapeMismatch, "batch axis \(axis) differs between data of shape \(data) and indices of shape \(indices)")
            }
        }
        return [ValueInfo(type, PartialShape(Array(b.dropLast()) + Array(a[(batchAxes + length)...])))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.type(0)
        let width = context.movedWidth(type)
        let indexing = TupleIndexing(data: try context.shape(0), indices: try context.shape(1), batchAxes: batchAxes)
        let block = indexing.block &* width
        return try context.movement("gather_nd", type, inputs: [0]) { access in
            let indices = access.io.input(1, as: Int64.self)
            let source = access.input(0)
            let target = access.output(0)
            for number in 0..<indexing.count {
                let start = try indexing.start(indices, number)
                (target + number &* block).copyMemory(from: source + start &* width, byteCount: block)
            }
        }
    }
}
