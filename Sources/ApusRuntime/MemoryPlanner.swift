import ApusCore

/// Gives buffers their places in one arena: a pure function from lifetimes and sizes to offsets.
package enum MemoryPlanner {
    /// A buffer that is needed from step `first` to step `last`, both included.
    package struct Buffer: Sendable {
        package var byteCount: Int
        package var first: Int
        package var last: Int

        package init(byteCount: Int, first: Int, last: Int) {
            self.byteCount = byteCount
            self.first = first
            self.last = last
        }
    }

    package struct Layout: Sendable {
        package var offsets: [Int]
        package var byteCount: Int
    }

    /// Up to this many buffers the quadratic method, which packs tighter, is used.
    private static let mostForBestFit = 1024

    /// Offsets (multiples of 64) such that buffers alive at the same time never overlap; throws `memoryLimit` where the
    /// arena would pass an `Int`.
    package static func plan(_ buffers: [Buffer]) throws -> Layout {
        let sizes = try buffers.map { try max($0.byteCount, 1).roundedUp(to: Storage.alignment) }
        return try buffers.count <= mostForBestFit ? planBySize(buffers, sizes) : planByTime(buffers, sizes)
    }

    /// Largest first, each into the lowest gap between the buffers it lives beside.
    private static func planBySize(_ buffers: [Buffer], _ sizes: [Int]) throws -> Layout {
        let order = buffers.indices.sorted { (sizes[$0], $1) > (sizes[$1], $0) }
        var offsets = [Int](repeating: 0, count: buffers.count)
        var placed: [Int] = []  // By offset.
        var total = 0
        for index in order {
            var offset = 0
            for other in placed
            where buffers[other].first <= buffers[index].last && buffers[index].first <= buffers[other].last {
                if offsets[other] >= offset, offsets[other] - offset >= sizes[index] { break }
                offset = max(offset, try offsets[other].adding(sizes[other]))
            }
            offsets[index] = offset
            let position = placed.firstIndex { offsets[$0] > offset } ?? placed.count
            placed.insert(index, at: position)
            total = max(total, try offset.adding(sizes[index]))
        }
        return Layout(offsets: offsets, byteCount: total)
    }

    /// In the order of the steps, with a list of free gaps; near linear.
    private static func planByTime(_ buffers: [Buffer], _ sizes: [Int]) throws -> Layout {
        var offsets = [Int](repeating: 0, count: buffers.count)
        var gaps: [(offset: Int, size: Int)] = []  // By offset, never adjacent.
        var total = 0
        let byStart = buffers.indices.sorted { (buffers[$0].first, $0) < (buffers[$1].first, $1) }
        let byEnd = buffers.indices.sorted { (buffers[$0].last, $0) < (buffers[$1].last, $1) }
        var ended = 0
        for index in byStart {
            while ended < byEnd.count, buffers[byEnd[ended]].last < buffers[index].first {
                free(&gaps, offsets[byEnd[ended]], sizes[byEnd[ended]])
                ended += 1
            }
            if let fitting = bestFit(gaps, sizes[index]) {
                offsets[index] = gaps[fitting].offset
                gaps[fitting] = (gaps[fitting].offset + sizes[index], gaps[fitting].size - sizes[index])
                if gaps[fitting].size == 0 { gaps.remove(at: fitting) }
            } else if let last = gaps.last, last.offset + last.size == total {
                offsets[index] = last.offset
                total = try last.offset.adding(sizes[index])
                gaps.removeLast()
            } else {
                offsets[index] = total
                total = try total.adding(sizes[index])
            }
        }
        return Layout(offsets: offsets, byteCount: total)
    }

    /// The smallest gap that holds `size`.
    private static func bestFit(_ gaps: [(offset: Int, size: Int)], _ size: Int) -> Int? {
        var best: Int?
        for index in gaps.indices where gaps[index].size >= size {
            if gaps[index].size == size { return index }
            if best.map({ gaps[index].size < gaps[$0].size }) ?? true { best = index }
        }
        return best
    }

    private static func free(_ gaps: inout [(offset: Int, size: Int)], _ offset: Int, _ size: Int) {
        // The first gap behind it.
        var position = 0, end = gaps.count
        while position < end {
            let middle = (position + end) / 2
            if gaps[middle].offset > offset { end = middle } else { position = middle + 1 }
        }
        gaps.insert((offset, size), at: position)
        if position + 1 < gaps.count, offset + size == gaps[position + 1].offset {
            gaps[position].size += gaps[position + 1].size
            gaps.remove(at: position + 1)
        }
        if position > 0, gaps[position - 1].offset + gaps[position - 1].size == offset {
            gaps[position - 1].size += gaps[position].size
            gaps.remove(at: position)
        }
    }
}
