import ApusCore

/// How a tensor is walked to reduce some of its axes: kept and reduced axes merged into groups.
///
/// The innermost group is walked along memory. Where it is reduced, each output is made from `rows` runs of `inner`
/// elements; where it is kept, `inner` neighbouring outputs are made together from `rows` rows of `inner` elements.
struct ReduceGeometry: Sendable {
    /// Elements of the innermost group.
    let inner: Int
    let innerIsReduced: Bool
    /// Combinations of the other kept groups: independent pieces of work.
    let blocks: Int
    /// Combinations of the other reduced groups.
    let rows: Int
    private let keptExtents: [Int]
    private let keptStrides: [Int]
    private let reducedExtents: [Int]
    private let reducedStrides: [Int]

    /// `axes`: which axes of `shape` are reduced.
    init(_ shape: Shape, axes: Set<Int>) {
        var groups: [(extent: Int, stride: Int, isReduced: Bool)] = []
        let strides = shape.strides
        for axis in (0..<shape.rank).reversed() where shape[axis] != 1 {
            let isReduced = axes.contains(axis)
            if let last = groups.last, last.isReduced == isReduced {
                groups[groups.count - 1].extent = last.extent &* shape[axis]
            } else {
                groups.append((shape[axis], strides[axis], isReduced))
            }
        }
        inner = groups.first?.extent ?? 1
        innerIsReduced = groups.first?.isReduced ?? false
        let kept = groups.dropFirst().filter { !$0.isReduced }, reduced = groups.dropFirst().filter(\.isReduced)
        keptExtents = kept.map(\.extent)
        keptStrides = kept.map(\.stride)
        reducedExtents = reduced.map(\.extent)
        reducedStrides = reduced.map(\.stride)
        blocks = keptExtents.reduce(1, &*)
        // Runs without elements need no walk, however many there are.
        rows = inner == 0 ? 0 : reducedExtents.reduce(1, &*)
    }

    /// Elements from which each output is made.
    var depth: Int { innerIsReduced ? rows &* inner : rows }
    /// Outputs of a block.
    var width: Int { innerIsReduced ? 1 : inner }

    /// Where block `index` starts in the input.
    @inline(__always)
    func blockOffset(_ index: Int) -> Int { ReduceGeometry.offset(index, keptExtents, keptStrides) }

    /// Where row `index` starts, from the start of its block.
    @inline(__always)
    func rowOffset(_ index: Int) -> Int { ReduceGeometry.offset(index, reducedExtents, reducedStrides) }

    /// The distance between blocks, and between rows, where it is always the same.
    var blockStep: Int? { keptExtents.count > 1 ? nil : keptStrides.first ?? 0 }
    var rowStep: Int? { reducedExtents.count > 1 ? nil : reducedStrides.first ?? 0 }

    @inline(__always)
    private static func offset(_ index: Int, _ extents: [Int], _ strides: [Int]) -> Int {
        if extents.count == 1 { return index &* strides[0] }
        var rest = index, offset = 0
        for group in extents.indices {
            offset &+= rest % extents[group] &* strides[group]
            rest /= extents[group]
        }
        return offset
    }

    /// Calls `body(block, columns)` for all outputs, in parallel where that is worth it: `columns` of a block of `width`
    /// outputs, at most `tile` at a time.
    @inline(__always)
    func forEachTile(_ pool: ThreadPool, tile: Int, _ body: (Int, Range<Int>) -> Void) {
        guard width > 0, blocks > 0 else { return }
        let tiles = (width - 1) / tile + 1, count = blocks &* tiles
        let work = max(1, depth &* min(width, tile))
        pool.inChunks(count, of: max(1, elementwiseChunk / work)) { range in
            for index in range {
                let start = index % tiles * tile
                body(index / tiles, start..<min(width, start + tile))
            }
        }
    }
}
