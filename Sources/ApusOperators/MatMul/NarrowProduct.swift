import ApusCore
import CApusKernels

/// A float32 product with constant weights that stay in memory as narrow as the model has them: 16-bit floats or float8.
///
/// One row reads them once, from one end to the other, and widens them in registers. More rows multiply with pieces of a panel
/// that are widened just before, into memory that stays in the second-level cache. Results have the bits of the product with
/// weights widened at load.
package struct NarrowProduct: @unchecked Sendable {
    /// Types of weights.
    package static let types: [ElementType] = [.float16, .bfloat16, .float8e4m3fn, .float8e4m3fnuz, .float8e5m2, .float8e5m2fnuz]

    let product: FloatProduct
    private let type: ElementType
    private let size: Int
    private let widen: apus_to_f32_fn
    private let rowKernels: UnsafePointer<apus_rowproduct_kernels>
    /// Terms of the sum that are widened at once.
    private let pieces: Int
    private let pieceByteCount: Int
    let workspaceByteCount: Int

    /// nil for weights that are not narrow, and for A whose rows are not contiguous.
    init?(levels: UInt32, _ product: FloatProduct, type: ElementType, aColumnStride: Int) throws {
        guard NarrowProduct.types.contains(type), aColumnStride == 1 || product.k <= 1, let format = SmallFloatKernels.format(type),
            let half = apus_half_select(levels), let widen = apus_half_to_f32(half, format), let rowKernels = apus_rowproduct_select(levels)
        else { return nil }
        self.product = product
        self.type = type
        self.widen = widen
        self.rowKernels = rowKernels
        size = type.bitWidth / 8
        let kernel = product.kernel.pointee, block = Int(kernel.k_block)
        pieces = max(1, product.k / block + (product.k % block == 0 ? 0 : 1))
        pieceByteCount = try min(product.k, block).multiplied(by: Int(kernel.nr)).multiplied(by: 4).roundedUp(to: Storage.alignment)
        let sums = try product.n.multiplied(by: 4).roundedUp(to: Storage.alignment)
        workspaceByteCount = try sums.adding(pieceByteCount.multiplied(by: product.sliceCount))
    }

    /// Whether one row is multiplied without widening in memory.
    private var isRow: Bool { product.m == 1 && size == 2 }

    var kernelName: String { String(cString: product.kernel.pointee.name) + " \(type.name) weights" }

    func packedKey(_ form: String) -> String { product.packedKey("\(type.name) \(form)") }

    /// Brings B, whose element (i, j) lies i * rowStride + j * columnStride elements into `tensor`, into the panels of the
    /// float32 product.
    func pack(_ tensor: Tensor, rowStride: Int, columnStride: Int, budget: MemoryBudget) throws -> Storage {
        let (k, n, nr) = (product.k, product.n, Int(product.kernel.pointee.nr))
        let storage = try Storage.allocate(byteCount: try product.packedCount.multiplied(by: size), budget: budget, purpose: "a packed matrix")
        for first in stride(from: 0, to: n, by: nr) {
            let columns = min(nr, n - first), target = storage.base + first * k * size
            if columns < nr { target.initializeMemory(as: UInt8.self, repeating: 0, count: nr * k * size) }
            let source = tensor.pointer + first * columnStride * size
            if columnStride == 1 {
                for row in 0..<k {
                    (target + row * nr * size).copyMemory(from: source + row * rowStride * size, byteCount: columns * size)
                }
            } else {
                _ = apus_transpose_2d(size, columns, k, source, columnStride, target, nr)
            }
        }
        return storage
    }

    /// Computes C. All pointers of `args` are set but B.
    func run(_ args: apus_sgemm_args, packed: UnsafeRawPointer, workspace: UnsafeMutableRawPointer, pool: ThreadPool) {
        pool.parallelUnlessStopped(product.sliceCount) { index in
            let (rows, columns) = product.slice(index)
            var args = args
            if isRow {
                runRow(&args, columns, packed, workspace.assumingMemoryBound(to: Float.self))
            } else {
                let scratch = workspace + (workspaceByteCount - pieceByteCount * (product.sliceCount - index))
                runPanels(&args, rows, columns, packed, scratch.assumingMemoryBound(to: Float.self), pool)
            }
        }
    }

    /// Columns of the only row: their sums in `sums`, then the epilogue from there. (C may be the residual.)
    private func runRow(_ args: inout apus_sgemm_args, _ columns: Range<Int>, _ packed: UnsafeRawPointer, _ sums: UnsafeMutablePointer<Float>) {
        let kernel = product.kernel.pointee, target = args.c
        let isPlain = args.epilogue.bias == nil && args.epilogue.residual == nil && args.epilogue.activation == APUS_ACTIVATION_NONE
        var row = apus_rowproduct_narrow_args()
        (row.n, row.k, row.nr, row.k_block) = (columns.count, product.k, Int(kernel.nr), Int(kernel.k_block))
        row.x = args.a
        row.b = (packed + columns.lowerBound * product.k * size).assumingMemoryBound(to: UInt16.self)
        row.is_bfloat = type == .bfloat16
        guard !isPlain, let target else {
            row.y = target.map { $0 + columns.lowerBound }
            return rowKernels.pointee.narrow(&row)
        }
        row.y = sums + columns.lowerBound
        rowKernels.pointee.narrow(&row)
        // Nothing more to sum.
        args.k = 0
        args.b = UnsafePointer(sums)
        args.c = sums
        args.accumulate = true
        apus_sgemm_run(product.kernel, &args, 0, 1, columns.lowerBound, columns.upperBound, nil)
        (target + columns.lowerBound).update(from: sums + columns.lowerBound, count: columns.count)
    }

    private func runPanels(
        _ args: inout apus_sgemm_args, _ rows: Range<Int>, _ columns: Range<Int>, _ packed: UnsafeRawPointer,
        _ scratch: UnsafeMutablePointer<Float>, _ pool: ThreadPool
    ) {
        let (k, nr) = (product.k, Int(product.kernel.pointee.nr))
        let full = args, none = apus_epilogue()
        // Partial sums are kept in C. A residual that is C itself is added before the first of them.
        let residualIsC = pieces > 1 && full.epilogue.residual == UnsafePointer(full.c) && full.epilogue.residual != nil
        for first in stride(from: columns.lowerBound, to: columns.upperBound, by: nr) {
            if pool.mustStop { return }
            var begin = 0
            for piece in 0..<pieces {
                let terms = k / pieces + (piece < k % pieces ? 1 : 0)
                widen(terms * nr, packed + (first * k + begin * nr) * size, scratch)
                args = full
                args.k = terms
                args.a = full.a + begin
                // The address that panel 0 would have, of which only this one's place is read.
                args.b = UnsafePointer(scratch) - first * terms
                args.accumulate = piece > 0 || residualIsC
                if piece < pieces - 1 {
                    args.epilogue = none
                } else if residualIsC {
                    args.epilogue.residual = nil
                }
                apus_sgemm_run(
                    product.kernel, &args, rows.lowerBound, rows.upperBound, first, min(first + nr, columns.upperBound), nil)
                begin += terms
            }
        }
    }
}
