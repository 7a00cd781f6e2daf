import ApusCore

/// How operands of broadcast shapes are read while a dense output is written from front to back.
///
/// Axes along which every operand either advances or stays are merged, so what remains is as few outer axes as possible
/// around runs along which each operand is contiguous (step 1) or one element (step 0).
package struct BroadcastPlan: Sendable {
    /// Elements of the output.
    package let count: Int
    /// Elements of one run; at least 1 unless `count` is 0.
    package let run: Int
    /// By operand: 1 where it advances along a run, 0 where one element serves the whole run.
    package let steps: [Int]
    /// Innermost axis first.
    private let extents: [Int]
    /// [operand][axis] in elements, innermost axis first.
    private let strides: [[Int]]

    /// For operands that broadcast to `shape`; throws where one does not.
    package init(_ shape: Shape, operands: [Shape]) throws {
        guard try Shape.broadcast([shape] + operands) == shape else {
            throw ApusError(
                .shapeMismatch, "shapes \(operands.map(\.description).joined(separator: ", ")) do not broadcast to \(shape)")
        }
        let all = operands.map { $0.broadcastStrides(to: shape) }
        var extents: [Int] = []
        var strides = [[Int]](repeating: [], count: operands.count)
        for axis in (0..<shape.rank).reversed() where shape[axis] != 1 {
            // An axis continues the one inside it where, for each operand, stepping here is stepping past the end there.
            let merges = extents.last.map { inner in
                operands.indices.allSatisfy { all[$0][axis] == (strides[$0].last ?? 0) &* inner }
            } ?? false
            if merges, let inner = extents.popLast() {
                extents.append(inner &* shape[axis])
            } else {
                extents.append(shape[axis])
                for operand in operands.indices { strides[operand].append(all[operand][axis]) }
            }
        }
        count = shape.count
        run = extents.first ?? 1
        steps = strides.map { min($0.first ?? 0, 1) }
        self.extents = Array(extents.dropFirst())
        self.strides = strides.map { Array($0.dropFirst()) }
    }

    /// Whether one run covers everything.
    package var isSingleRun: Bool { extents.isEmpty }

    /// The operand that is one run for all of the outputs, where two operands advance along runs and the other one is all of them.
    package var repeatedOperand: Int? {
        guard extents.count == 1, steps == [1, 1], strides[0][0] + strides[1][0] == run else { return nil }
        return strides[0][0] == 0 ? 0 : strides[1][0] == 0 ? 1 : nil
    }

    /// The number of outer axes that were left.
    package var outerRank: Int { extents.count }

    /// Calls `body(offset, count, starts)` for the runs (or parts of runs) that make up the outputs in `range`, in order:
    /// `count` outputs from `offset` on, for which operand i is read from its element `starts[i]` on.
    @inline(__always)
    package func forEachRun(in range: Range<Int>, _ body: (Int, Int, UnsafeMutablePointer<Int>) -> Void) {
        guard !range.isEmpty, run > 0 else { return }
        let operands = strides.count, axes = extents.count
        withUnsafeTemporaryAllocation(of: Int.self, capacity: max(1, axes + 2 * operands)) { memory in
            guard let counters = memory.baseAddress else { return }
            let bases = counters + axes, starts = bases + operands
            bases.update(repeating: 0, count: 2 * operands)
            var rest = range.lowerBound / run
            var inner = range.lowerBound % run
            for axis in 0..<axes {
                counters[axis] = rest % extents[axis]
                rest /= extents[axis]
                for operand in 0..<operands { bases[operand] &+= counters[axis] &* strides[operand][axis] }
            }
            var offset = range.lowerBound
            while true {
                let count = min(run - inner, range.upperBound - offset)
                for operand in 0..<operands { starts[operand] = bases[operand] &+ inner &* steps[operand] }
                body(offset, count, starts)
                offset += count
                if offset >= range.upperBound { return }
                inner = 0
                var axis = 0
                while axis < axes {
                    counters[axis] += 1
                    for operand in 0..<operands { bases[operand] &+= strides[operand][axis] }
                    if counters[axis] < extents[axis] { break }
                    for operand in 0..<operands { bases[operand] &-= extents[axis] &* strides[operand][axis] }
                    counters[axis] = 0
                    axis += 1
                }
            }
        }
    }
}

/// Elements that one thread takes at a time of elementwise work: enough to be worth a wake-up, little enough for L2.
package let elementwiseChunk = 32768

extension ThreadPool {
    /// Calls `body` for consecutive parts of 0 ..< count, of `chunk` elements each, on several threads where there is
    /// more than one part. The parts depend on `count` and `chunk` only.
    @inline(__always)
    package func inChunks(_ count: Int, of chunk: Int = elementwiseChunk, _ body: (Range<Int>) -> Void) {
        let chunk = max(1, chunk)
        if count <= chunk {
            if count > 0 { body(0..<count) }
            return
        }
        parallel((count - 1) / chunk + 1) { index in
            body(index * chunk..<min(count, (index + 1) * chunk))
        }
    }
}
