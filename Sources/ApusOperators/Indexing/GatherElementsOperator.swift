import ApusCore

/// Where GatherElements and ScatterElements reach: for each place of the indices, the element of the data with the same
/// coordinates except along one axis, where the index says which.
struct ElementwiseIndexing {
    let size: Int
    private let step: Int
    /// Rows of the indices, along their last axis.
    private let rowExtents: [Int]
    private let rowStrides: [Int]
    let rowLength: Int
    /// Step along a row in the data, beside the index.
    private let rowStep: Int
    let count: Int

    init(data: Shape, indices: Shape, axis: Int) {
        let strides = data.strides
        size = data[axis]
        step = strides[axis]
        count = indices.count
        let last = indices.rank - 1
        rowLength = indices[last]
        rowExtents = Array(indices.dimensions[..<last])
        rowStrides = (0..<last).map { $0 == axis ? 0 : strides[$0] }
        rowStep = axis == last ? 0 : 1
    }

    func check(_ indices: IndexReader) throws {
        let range = indices.isWide ? limits(indices.pointer, Int64.self) : limits(indices.pointer, Int32.self)
        if range.least >= -size, range.greatest < size { return }
        for position in 0..<count { _ = try indices.checked(position, size: size) }
    }

    private func limits<Index: FixedWidthInteger>(_ pointer: UnsafeRawPointer, _: Index.Type) -> (least: Int, greatest: Int) {
        let indices = pointer.assumingMemoryBound(to: Index.self)
        var least: Index = 0, greatest: Index = -1
        for position in 0..<count {
            least = min(least, indices[position])
            greatest = max(greatest, indices[position])
        }
        return (Int(least), Int(greatest))
    }

    /// Calls `body(place, element)` with positions in the indices and in the data. The indices must have been checked.
    @inline(__always)
    func forEach(_ indices: IndexReader, _ body: (Int, Int) -> Void) {
        forEach({ indices[$0] }, body)
    }

    /// As `forEach`, a loop for each type of indices: faster, and larger.
    @inline(__always)
    func forEachFast(_ indices: IndexReader, _ body: (Int, Int) -> Void) {
        if indices.isWide {
            let indices = indices.pointer.assumingMemoryBound(to: Int64.self)
            forEach({ Int(indices[$0]) }, body)
        } else {
            let indices = indices.pointer.assumingMemoryBound(to: Int32.self)
            forEach({ Int(indices[$0]) }, body)
        }
    }

    @inline(__always)
    private func forEach(_ index: (Int) -> Int, _ body: (Int, Int) -> Void) {
        if count == 0 { return }
        let size = size, step = step, rowLength = rowLength, rowStep = rowStep
        forEachPosition(rowExtents, rowStrides) { row, offset in
            let first = row &* rowLength
            for column in 0..<rowLength {
                let index = index(first &+ column)
                body(first &+ column, offset &+ (index < 0 ? index &+ size : index) &* step &+ column &* rowStep)
            }
        }
    }

    /// Checks the shapes of data and indices as far as they are known.
    static func check(data: PartialShape, indices: PartialShape, axis: Int) throws {
        guard let rank = data.rank ?? indices.rank else { return }
        let axis = try normalizedAxis(axis, rank: rank)
        guard let a = data.dimensions, let b = indices.dimensions else { return }
        guard a.count == b.count else {
            throw ApusError(.shapeMismatch, "data of shape \(data) and indices of shape \(indices) must have the same rank")
        }
        for index in a.indices where index != axis {
            if let size = a[index].known, let other = b[index].known, other > size {
                throw ApusError(.shapeMismatch, "indices of shape \(indices) reach beyond axis \(index) of data of shape \(data)")
            }
        }
    }
}

/// Takes from the data, at each place, the element that an index along one axis names.
struct GatherElementsOperator: Operator {
    static let schemas = [Schema("GatherElements", since: [11, 13], inputs: 2...2)]

    private let axis: Int

    init(_ node: NodeReader) throws {
        axis = try node.int("axis", default: 0)
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0)
        _ = try context.type(1, oneOf: indexTypes)
        let indices = try context.shape(1)
        try ElementwiseIndexing.check(data: try context.shape(0), indices: indices, axis: axis)
        return [ValueInfo(type, indices)]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.type(0)
        let indexType = try context.type(1)
        let width = context.movedWidth(type)
        let data = try context.shape(0)
        let indexing = ElementwiseIndexing(
            data: data, indices: try context.shape(1), axis: try normalizedAxis(axis, rank: data.rank))
        return try context.movement("gather_elements", type, inputs: [0]) { access in
            let indices = IndexReader(access.io.input(1), indexType)
            try indexing.check(indices)
            withWidth(width, Picking(source: access.input(0), target: access.output(0), indices: indices, indexing: indexing))
        }
    }

    private struct Picking: WidthVisitor {
        let source: UnsafeRawPointer
        let target: UnsafeMutableRawPointer
        let indices: IndexReader
        let indexing: ElementwiseIndexing

        func visit<T: BitwiseCopyable>(_: T.Type) {
            let source = source.assumingMemoryBound(to: T.self)
            let target = target.assumingMemoryBound(to: T.self)
            indexing.forEachFast(indices) { place, element in target[place] = source[element] }
        }
    }
}
