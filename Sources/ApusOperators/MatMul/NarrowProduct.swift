import ApusCore
import CApusKernels

/// A float32 product with constant weights that stay in memory as narrow as the model has them: 16-bit floats or float8.
///
/// One row reads them once, from one end to the other, and widens them in registers. More rows multiply with pieces of a panel
/// that are widened just before, into memory that stays in the second-level cache (`FloatProduct.weights`). Results have the bits of
/// the product with weights widened at load.
package struct NarrowProduct: @unchecked Sendable {
    /// Types of weights.
    package static let types: [ElementType] = [.float16, .bfloat16, .float8e4m3fn, .float8e4m3fnuz, .float8e5m2, .float8e5m2fnuz]

    let product: FloatProduct
    private let rowKernels: UnsafePointer<apus_rowproduct_kernels>
    /// Bytes for the sums of the only row.
    private let sumsByteCount: Int
    let workspaceByteCount: Int

    /// nil for weights that are not narrow, and for A whose rows are not contiguous.
    init?(levels: UInt32, _ product: FloatProduct, aColumnStride: Int = 1) throws {
        guard product.weights != .float32, aColumnStride == 1 || product.k <= 1, let rowKernels = apus_rowproduct_select(levels) else {
            return nil
        }
        self.product = product
        self.rowKernels = rowKernels
        let isRow = product.m == 1 && product.taps == 1 && product.elementSize == 2
        sumsByteCount = isRow ? try product.n.multiplied(by: 4).roundedUp(to: Storage.alignment) : 0
        workspaceByteCount = try sumsByteCount.adding(product.workspaceByteCount)
    }

    var kernelName: String { String(cString: product.kernel.pointee.name) + " \(product.weights.name) weights" }

    /// Computes C. All pointers of `args` are set but B.
    func run(_ args: apus_sgemm_args, packed: UnsafeRawPointer, workspace: UnsafeMutableRawPointer, pool: ThreadPool) {
        var args = args
        args.b = product.panels(packed)
        // One row is multiplied without widening in memory, where nothing comes between.
        guard sumsByteCount > 0, args.b_scale == nil else {
            return product.run(args, workspace: workspace + sumsByteCount, pool: pool)
        }
        let arguments = args, sums = workspace.assumingMemoryBound(to: Float.self)
        pool.parallelUnlessStopped(product.sliceCount) { index in
            var args = arguments
            runRow(&args, product.slice(index).columns, packed, sums)
        }
    }

    /// Columns of the only row: their sums in `sums`, then the epilogue from there. (C may be the residual.)
    private func runRow(_ args: inout apus_sgemm_args, _ columns: Range<Int>, _ packed: UnsafeRawPointer, _ sums: UnsafeMutablePointer<Float>) {
        let kernel = product.kernel.pointee, target = args.c
        let isPlain = args.epilogue.bias == nil && args.epilogue.residual == nil && args.epilogue.activation == APUS_ACTIVATION_NONE
        var row = apus_rowproduct_narrow_args()
        (row.n, row.k, row.nr, row.k_block) = (columns.count, product.k, Int(kernel.nr), Int(kernel.k_block))
        row.x = args.a
        row.b = (packed + columns.lowerBound * product.k * product.elementSize).assumingMemoryBound(to: UInt16.self)
        row.is_bfloat = product.weights == .bfloat16
        guard !isPlain, let target else {
            row.y = target.map { $0 + columns.lowerBound }
            return rowKernels.pointee.narrow(&row)
        }
        row.y = sums + columns.lowerBound
        rowKernels.pointee.narrow(&row)
        // Nothing more to sum.
        args.k = 0
        args.b_widen = nil
        args.b = UnsafePointer(sums)
        args.c = sums
        args.accumulate = true
        apus_sgemm_run(product.kernel, &args, 0, 1, columns.lowerBound, columns.upperBound, nil)
        (target + columns.lowerBound).update(from: sums + columns.lowerBound, count: columns.count)
    }
}

extension FloatProduct {
    /// Packs B of type `weights`, whose element (tap, i, j) lies tap * tapStride + i * rowStride + j * columnStride elements into
    /// `b`: rows or columns are contiguous, or the taps are, as in convolutions' weights [n, k, taps], for which `panel` is memory for
    /// one panel. `isDone` is told the bytes of `b` that are not read again.
    func packNarrow(
        _ b: UnsafeRawPointer, tapStride: Int = 0, rowStride: Int, columnStride: Int, to packed: UnsafeMutableRawPointer,
        panel: UnsafeMutableRawPointer? = nil, isDone: (Range<Int>) -> Void = { _ in }
    ) {
        let size = elementSize, depth = taps * k, nr = Int(kernel.pointee.nr)
        for first in stride(from: 0, to: n, by: nr) {
            let columns = min(nr, n - first), target = packed + first * depth * size
            let start = first * columnStride * size, source = b + start
            if columns < nr { target.initializeMemory(as: UInt8.self, repeating: 0, count: nr * depth * size) }
            if columnStride == 1 {
                for tap in 0..<taps {
                    for row in 0..<k {
                        (target + (tap * k + row) * nr * size).copyMemory(
                            from: source + (tap * tapStride + row * rowStride) * size, byteCount: columns * size)
                    }
                }
                continue
            }
            if taps == 1 {
                _ = apus_transpose_2d(size, columns, k, source, columnStride, target, nr)
            } else if let panel {
                // Taps are innermost: turned, then put in order.
                _ = apus_transpose_2d(size, columns, depth, source, columnStride, panel, columns)
                for tap in 0..<taps {
                    for row in 0..<k {
                        (target + (tap * k + row) * nr * size).copyMemory(
                            from: panel + (row * taps + tap) * columns * size, byteCount: columns * size)
                    }
                }
            }
            isDone(start..<(start + columns * columnStride * size))
        }
    }

    /// Packs a constant, from its element `offset` on. The pages of a mapped file are given back as it goes.
    func packNarrow(
        _ tensor: Tensor, offset: Int = 0, tapStride: Int = 0, rowStride: Int, columnStride: Int, to packed: UnsafeMutableRawPointer,
        panel: UnsafeMutableRawPointer? = nil
    ) {
        let bytes = offset * elementSize
        packNarrow(
            tensor.pointer + bytes, tapStride: tapStride, rowStride: rowStride, columnStride: columnStride, to: packed, panel: panel
        ) { tensor.storage.dropPages((tensor.offset + bytes + $0.lowerBound)..<(tensor.offset + bytes + $0.upperBound)) }
    }
}
