import ApusCore
import CApusKernels

/// Columns reduced together, and rows of 16-bit floats widened together: both lie on the stack.
private let tileWidth = 128
private let rowBlock = 16

/// The loop over float32, or over 16-bit floats as float32, with the kernels for `levels`. Runs are combined in double.
func floatReduceLoop(_ type: ElementType, _ op: apus_reduce_op, _ finish: ReduceFinish, _ levels: UInt32) throws -> ReduceLoop {
    let kernels = apus_reduce_select(levels)
    guard let reduceRow = apus_reduce_row(kernels, op), let reduceColumns = apus_reduce_columns(kernels, op) else {
        throw ApusError(.internal, "no kernel for \(op)")
    }
    let read = try castLoop(type, .float32), write = try castLoop(.float32, type), isFloat = type == .float32, size = isFloat ? 4 : 2
    @Sendable func merged(_ a: Double, _ b: Float) -> Double {
        switch op {
        case APUS_REDUCE_MAX: Double.greater(a, Double(b))
        case APUS_REDUCE_MIN: Double.lesser(a, Double(b))
        default: a + Double(b)
        }
    }
    let initial = op == APUS_REDUCE_MAX ? -Double.infinity : op == APUS_REDUCE_MIN ? .infinity : 0
    return { geometry, pool, x, y in
        let depth = geometry.depth
        geometry.forEachTile(pool, tile: tileWidth) { block, columns in
            let base = x + geometry.blockOffset(block) &* size
            withUnsafeTemporaryAllocation(of: Double.self, capacity: tileWidth) { totals in
                withUnsafeTemporaryAllocation(of: Float.self, capacity: tileWidth * (rowBlock + 1)) { floats in
                    guard let totals = totals.baseAddress, let results = floats.baseAddress else { return }
                    let wide = results + tileWidth
                    totals.update(repeating: initial, count: columns.count)
                    if geometry.innerIsReduced {
                        for row in 0..<geometry.rows {
                            let source = base + geometry.rowOffset(row) &* size
                            if isFloat {
                                totals[0] = merged(totals[0], reduceRow(geometry.inner, source.assumingMemoryBound(to: Float.self)))
                                continue
                            }
                            for start in stride(from: 0, to: geometry.inner, by: tileWidth * rowBlock) {
                                let part = min(tileWidth * rowBlock, geometry.inner - start)
                                read(part, source + start &* size, wide)
                                totals[0] = merged(totals[0], reduceRow(part, wide))
                            }
                        }
                    } else {
                        // Rows that lie at one distance go together.
                        let run = geometry.rowRun
                        for first in stride(from: 0, to: geometry.rows, by: max(1, run.count)) {
                            let source = base + (geometry.rowOffset(first) &+ columns.lowerBound) &* size
                            if isFloat {
                                reduceColumns(run.count, columns.count, source.assumingMemoryBound(to: Float.self), run.stride, results, false)
                                for column in 0..<columns.count { totals[column] = merged(totals[column], results[column]) }
                                continue
                            }
                            for start in stride(from: 0, to: run.count, by: rowBlock) {
                                let part = min(rowBlock, run.count - start)
                                for row in 0..<part {
                                    read(columns.count, source + (start &+ row) &* run.stride &* size, wide + row &* tileWidth)
                                }
                                reduceColumns(part, columns.count, wide, tileWidth, results, false)
                                for column in 0..<columns.count { totals[column] = merged(totals[column], results[column]) }
                            }
                        }
                    }
                    for column in 0..<columns.count { results[column] = Float(finish.apply(totals[column], depth)) }
                    write(columns.count, results, y + (block &* geometry.width &+ columns.lowerBound) &* size)
                }
            }
        }
    }
}
