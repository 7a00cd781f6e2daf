import ApusCore
import CApusKernels

/// The kernels that join elements of one type by one operation; 16-bit floats as the floats they stand for.
struct ReduceKernels: @unchecked Sendable {
    /// Bytes of an element and of a total.
    let elementSize: Int
    let totalSize: Int
    /// Whether totals are of the elements' type, so that they may lie where results go.
    let totalsAreElements: Bool
    /// A 16-bit float, which is widened on the way; nil for other types.
    private let short: ElementType?
    private let number: apus_number
    private let identity: UInt64
    private let runs: apus_reduce_runs_fn
    private let columns: apus_reduce_columns_fn
    private let find: apus_find_fn

    /// Runs that are reduced, and columns, together: their totals lie on the stack (1 KiB aligned to 16 bytes, the most that
    /// Swift puts there).
    static let tile = 128
    /// Widened elements on the stack, likewise.
    private static let block = 256

    /// nil where there are no kernels for the type.
    init?(_ op: apus_reduce_op, _ type: ElementType, levels: UInt32) {
        let isChoice = op == APUS_REDUCE_MAX || op == APUS_REDUCE_MIN, isMax = op == APUS_REDUCE_MAX
        let number: apus_number, limit: UInt64
        switch type {
        case .float32, .float16, .bfloat16: (number, limit) = (APUS_NUMBER_F32, UInt64((isMax ? -Float.infinity : .infinity).bitPattern))
        case .float64: (number, limit) = (APUS_NUMBER_F64, (isMax ? -Double.infinity : .infinity).bitPattern)
        case .int8: (number, limit) = (APUS_NUMBER_I8, isMax ? 0x80 : 0x7f)
        case .uint8, .bool: (number, limit) = (APUS_NUMBER_U8, isMax ? 0 : 0xff)
        case .int32: (number, limit) = (APUS_NUMBER_I32, isMax ? 0x8000_0000 : 0x7fff_ffff)
        case .int64: (number, limit) = (APUS_NUMBER_I64, isMax ? 1 << 63 : .max >> 1)
        default: return nil
        }
        let table = apus_reduce_select(levels)
        guard let runs = apus_reduce_runs(table, op, number), let columns = apus_reduce_columns(table, op, number),
            let find = apus_reduce_find(table, number)
        else { return nil }
        self.number = number
        self.runs = runs
        self.columns = columns
        self.find = find
        short = type.isShortFloat ? type : nil
        elementSize = type.byteWidth ?? 1
        totalSize = !isChoice ? 8 : short == nil ? elementSize : 4
        totalsAreElements = isChoice && short == nil
        identity = isChoice ? limit : 0
    }

    /// The totals of nothing.
    @inline(never)
    func clear(_ totals: UnsafeMutableRawPointer, _ count: Int) {
        switch totalSize {
        case 1: totals.assumingMemoryBound(to: UInt8.self).update(repeating: UInt8(truncatingIfNeeded: identity), count: count)
        case 4: totals.assumingMemoryBound(to: UInt32.self).update(repeating: UInt32(truncatingIfNeeded: identity), count: count)
        default: totals.assumingMemoryBound(to: UInt64.self).update(repeating: identity, count: count)
        }
    }

    /// Joins each of `count` totals with the n elements of its run; runs begin `step` elements apart.
    @inline(never)
    func joinRuns(_ count: Int, _ n: Int, _ x: UnsafeRawPointer, step: Int, _ totals: UnsafeMutableRawPointer) {
        guard let short else { return runs(count, n, x, step, totals) }
        withUnsafeTemporaryAllocation(of: Float.self, capacity: ReduceKernels.block) { block in
            guard let block = block.baseAddress else { return }
            if step == n, n > 0, n <= ReduceKernels.block / 2 {
                let together = ReduceKernels.block / n
                for first in stride(from: 0, to: count, by: together) {
                    let part = min(together, count - first)
                    widen(short, x + 2 &* first &* n, block, count: part * n)
                    runs(part, n, block, n, totals + first &* totalSize)
                }
                return
            }
            for run in 0..<count {
                for first in stride(from: 0, to: n, by: ReduceKernels.block) {
                    let part = min(ReduceKernels.block, n - first)
                    widen(short, x + 2 &* (run &* step &+ first), block, count: part)
                    runs(1, part, block, part, totals + run &* totalSize)
                }
            }
        }
    }

    /// Joins each of n totals, at most `tile`, with the elements of its column; rows begin `step` elements apart.
    @inline(never)
    func joinColumns(_ rows: Int, _ n: Int, _ x: UnsafeRawPointer, step: Int, _ totals: UnsafeMutableRawPointer) {
        guard let short else { return columns(rows, n, x, step, totals) }
        withUnsafeTemporaryAllocation(of: Float.self, capacity: ReduceKernels.block) { block in
            guard let block = block.baseAddress else { return }
            for row in 0..<rows {
                widen(short, x + 2 &* row &* step, block, count: n)
                columns(1, n, block, n, totals)
            }
        }
    }

    /// Where the first or last of n elements lies that is `total`, a total of them; the first NaN where that is NaN.
    @inline(never)
    func place(_ n: Int, _ x: UnsafeRawPointer, of total: UnsafeRawPointer, takesLast: Bool) -> Int {
        func isNotANumber<T: Arithmetic>(_: T.Type) -> Bool { total.assumingMemoryBound(to: T.self).pointee.isNotANumber }
        let isNaN = number == APUS_NUMBER_F32 ? isNotANumber(Float.self) : number == APUS_NUMBER_F64 && isNotANumber(Double.self)
        guard let short else { return place(n, x, total, isNaN, takesLast) ?? 0 }
        return withUnsafeTemporaryAllocation(of: Float.self, capacity: ReduceKernels.block) { block in
            guard let block = block.baseAddress else { return 0 }
            var result = 0
            for first in stride(from: 0, to: n, by: ReduceKernels.block) {
                let part = min(ReduceKernels.block, n - first)
                widen(short, x + 2 &* first, block, count: part)
                guard let place = place(part, block, total, isNaN, takesLast) else { continue }
                result = first + place
                if isNaN || !takesLast { break }
            }
            return result
        }
    }

    private func place(_ n: Int, _ x: UnsafeRawPointer, _ total: UnsafeRawPointer, _ isNaN: Bool, _ takesLast: Bool) -> Int? {
        guard isNaN || takesLast else {
            let place = find(n, x, total)
            return place < n ? place : nil
        }
        return switch number {
        case APUS_NUMBER_F32: scan(n, x, total, isNaN, Float.self)
        case APUS_NUMBER_F64: scan(n, x, total, isNaN, Double.self)
        case APUS_NUMBER_I8, APUS_NUMBER_U8: scan(n, x, total, isNaN, UInt8.self)
        case APUS_NUMBER_I32: scan(n, x, total, isNaN, Int32.self)
        default: scan(n, x, total, isNaN, Int64.self)
        }
    }

    /// The first NaN, or the last element that is `total`.
    private func scan<T: Arithmetic>(_ n: Int, _ x: UnsafeRawPointer, _ total: UnsafeRawPointer, _ isNaN: Bool, _: T.Type) -> Int? {
        let x = x.assumingMemoryBound(to: T.self), total = total.assumingMemoryBound(to: T.self).pointee
        return isNaN ? (0..<n).first { x[$0].isNotANumber } : (0..<n).last { x[$0] == total }
    }
}

/// The reduction of `type` by the kernels for `op`; nil where there are none.
func kernelReduceLoop(
    _ op: apus_reduce_op, _ type: ElementType, _ finish: ReduceFinish, levels: UInt32
) -> ReduceLoop? {
    guard let kernels = ReduceKernels(op, type, levels: levels) else { return nil }
    let isChoice = op == APUS_REDUCE_MAX || op == APUS_REDUCE_MIN, size = kernels.elementSize
    let write: FinishLoop?
    switch type {
    case _ where kernels.totalsAreElements: write = nil
    case _ where isChoice: write = { count, _, totals, y in narrow(type, totals.assumingMemoryBound(to: Float.self), y, count: count) }
    case .float32: write = finishLoop(Double.self, Float.self, finish)
    case .float64: write = finishLoop(Double.self, Double.self, finish)
    case .float16: write = finishLoop(Double.self, Half.self, finish)
    case .bfloat16: write = finishLoop(Double.self, BFloat16.self, finish)
    // Logarithms and roots of integers are taken in the reals.
    case .int32 where finish != .root && finish != .log: write = finishLoop(Int64.self, Int32.self, finish)
    case .int64 where finish != .root && finish != .log: write = finishLoop(Int64.self, Int64.self, finish)
    default: return nil
    }
    return { geometry, pool, x, y in
        let depth = geometry.depth
        /// Clears `count` totals, has `join` fill them and writes the results.
        func results(_ first: Int, _ count: Int, _ join: (UnsafeMutableRawPointer) -> Void) {
            let target = y + first &* size
            guard let write else {
                kernels.clear(target, count)
                return join(target)
            }
            withUnsafeTemporaryAllocation(byteCount: ReduceKernels.tile * 8, alignment: 16) { memory in
                guard let totals = memory.baseAddress else { return }
                kernels.clear(totals, count)
                join(totals)
                write(count, depth, totals, target)
            }
        }
        if geometry.innerIsReduced {
            let step = geometry.rows == 1 ? geometry.blockStep : nil
            pool.inChunks(geometry.blocks, of: max(1, elementwiseChunk / max(1, depth))) { range in
                for first in stride(from: range.lowerBound, to: range.upperBound, by: ReduceKernels.tile) {
                    let count = min(ReduceKernels.tile, range.upperBound - first)
                    results(first, count) { totals in
                        if let step { return kernels.joinRuns(count, geometry.inner, x + first &* step &* size, step: step, totals) }
                        for block in 0..<count {
                            let base = geometry.blockOffset(first + block)
                            for row in 0..<geometry.rows {
                                kernels.joinRuns(
                                    1, geometry.inner, x + (base &+ geometry.rowOffset(row)) &* size, step: geometry.inner,
                                    totals + block &* kernels.totalSize)
                            }
                        }
                    }
                }
            }
            return
        }
        geometry.forEachTile(pool, tile: ReduceKernels.tile) { block, columns in
            let base = geometry.blockOffset(block) &+ columns.lowerBound
            results(block &* geometry.width &+ columns.lowerBound, columns.count) { totals in
                if let step = geometry.rowStep {
                    return kernels.joinColumns(geometry.rows, columns.count, x + base &* size, step: step, totals)
                }
                for row in 0..<geometry.rows {
                    kernels.joinColumns(1, columns.count, x + (base &+ geometry.rowOffset(row)) &* size, step: 0, totals)
                }
            }
        }
    }
}

/// Makes results of totals.
private typealias FinishLoop = @Sendable (_ count: Int, _ depth: Int, _ totals: UnsafeRawPointer, _ y: UnsafeMutableRawPointer) -> Void

private func finishLoop<A: Arithmetic, T: Element>(_: A.Type, _: T.Type, _ finish: ReduceFinish) -> FinishLoop {
    { count, depth, totals, y in
        let totals = totals.assumingMemoryBound(to: A.self), y = y.assumingMemoryBound(to: T.self)
        for index in 0..<count { y[index] = T(rounding: finish.apply(totals[index], depth).cast(to: T.Number.self)) }
    }
}
