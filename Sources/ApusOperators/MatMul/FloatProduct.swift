import ApusCore
import CApusKernels

/// A float32 matrix product of fixed sizes: the kernel, how B is packed, and how the work is cut for threads.
///
/// The kernel's results do not depend on the cuts, so these may follow the number of threads.
struct FloatProduct: @unchecked Sendable {
    let kernel: UnsafePointer<apus_sgemm_kernel>
    let m: Int
    let n: Int
    let k: Int
    let taps: Int
    /// Elements of packed B.
    let packedCount: Int
    /// Type of packed B: float32, or a narrower one whose panels are widened a piece at a time, just before they are used.
    let weights: ElementType
    private let widen: apus_to_f32_fn?
    /// Bytes of scratch memory for `run`.
    let workspaceByteCount: Int
    private let cuts: ProductCuts
    private let sliceWorkspace: Int

    /// How A is given, which decides whether the kernel must copy it.
    enum Rows {
        /// Each row contiguous.
        case dense
        /// Elements of a row lie apart.
        case strided
        case table
    }

    /// Multiply-accumulates below which waking a thread costs more than it saves.
    static let leastParallelWork = 1 << 19

    /// Throws where a size passes what memory can hold. `weights`: float32 or one of `NarrowProduct.types`; `threads` 1: never cut;
    /// `least`: nor below so many multiply-accumulates.
    init(
        levels: UInt32, m: Int, n: Int, k: Int, taps: Int = 1, rows: Rows = .dense, weights: ElementType = .float32, threads: Int,
        least: Int = FloatProduct.leastParallelWork
    ) throws {
        guard let kernel = apus_sgemm_select(levels) else { throw ApusError(.internal, "there is no matrix product kernel") }
        self.kernel = kernel
        self.weights = weights
        widen = weights == .float32 ? nil : SmallFloatKernels.format(weights).flatMap { format in
            apus_half_select(levels).flatMap { apus_half_to_f32($0, format) }
        }
        guard weights == .float32 || widen != nil && NarrowProduct.types.contains(weights) else {
            throw ApusError(.internal, "there is no product with weights of \(weights.name)")
        }
        self.m = m
        self.n = n
        self.k = k
        self.taps = taps
        let mr = Int(kernel.pointee.mr), nr = Int(kernel.pointee.nr)
        let panels = n / nr + (n % nr == 0 ? 0 : 1)
        packedCount = try panels.multiplied(by: nr).multiplied(by: taps).multiplied(by: k)
        _ = try packedCount.multiplied(by: 4)
        _ = try m.multiplied(by: max(n, 1)).multiplied(by: 8)
        _ = try m.multiplied(by: taps).multiplied(by: 8)

        let marker = UnsafePointer<Float>(bitPattern: 64)
        var args = apus_sgemm_args()
        args.m = m
        args.n = n
        args.k = k
        args.taps = taps
        args.a = marker
        args.a_row_stride = k
        args.a_k_stride = rows == .strided ? 2 : 1
        args.a_table = rows == .table ? UnsafePointer<Int>(bitPattern: 64) : nil
        args.a_zero = marker
        args.b_widen = widen
        args.c_stride = n
        sliceWorkspace = try Int(apus_sgemm_workspace_size(kernel, &args)).roundedUp(to: Storage.alignment)

        // Tiles of fewer rows take less time, so that many rows can be cut anywhere.
        cuts = ProductCuts(
            m: m, n: n, depth: FloatProduct.saturatingProduct([k, taps]), elementSize: 4, aCost: 2, tile: m / 8 >= mr ? 1 : mr, by: nr,
            least: least, threads: threads)
        workspaceByteCount = try sliceWorkspace.multiplied(by: cuts.count)
    }

    /// The product of factors that are not negative; Int.max where it overflows.
    static func saturatingProduct(_ factors: [Int]) -> Int {
        factors.reduce(1) {
            let (product, overflow) = $0.multipliedReportingOverflow(by: $1)
            return overflow ? .max : product
        }
    }

    /// Names the packed form of B for caches.
    func packedKey(_ form: String) -> String {
        "\(String(cString: kernel.pointee.name)) \(taps)x\(k)x\(n) \(weights.name) \(form)"
    }

    /// Bytes of an element of packed B.
    var elementSize: Int { weights.bitWidth / 8 }

    /// Packed B number `index` of those that follow one another from `base`, as the arguments want it.
    func panels(_ base: UnsafeRawPointer, _ index: Int = 0) -> UnsafePointer<Float> {
        (base + index * packedCount * elementSize).assumingMemoryBound(to: Float.self)
    }

    /// The arguments that do not change between runs, for dense A with `aStride` floats from row to row.
    func arguments(aStride: Int, aColumnStride: Int = 1, cStride: Int) -> apus_sgemm_args {
        var args = apus_sgemm_args()
        args.m = m
        args.n = n
        args.k = k
        args.taps = taps
        args.a_row_stride = aStride
        args.a_k_stride = aColumnStride
        args.b_widen = widen
        args.b_size = elementSize
        args.c_stride = cStride
        return args
    }

    /// Packs B, whose element (tap, i, j) lies at tap * tapStride + i * rowStride + j * columnStride.
    func pack(
        _ b: UnsafePointer<Float>, tapStride: Int = 0, rowStride: Int, columnStride: Int, to packed: UnsafeMutablePointer<Float>,
        pool: ThreadPool? = nil
    ) {
        let source = apus_sgemm_b(
            b: b, taps: taps, k: k, n: n, tap_stride: tapStride, k_stride: rowStride, n_stride: columnStride)
        let panels = apus_sgemm_panels(kernel, n)
        guard let pool, packedCount >= 1 << 16 else {
            withUnsafePointer(to: source) { apus_sgemm_pack_b(kernel, $0, packed, 0, panels) }
            return
        }
        let chunk = max(1, (1 << 15) / max(1, packedCount / max(1, panels)))
        pool.parallel((panels + chunk - 1) / chunk) { index in
            withUnsafePointer(to: source) {
                apus_sgemm_pack_b(kernel, $0, packed, index * chunk, min(panels, (index + 1) * chunk))
            }
        }
    }

    /// Packs B from a constant, whose element (tap, i, j) lies `offset` + tap * tapStride + i * rowStride + j * columnStride
    /// floats into it.
    ///
    /// A large one is packed in pieces of about `piece` bytes, and the pages of a mapped file are given back after each: at no
    /// time is a large matrix in memory twice.
    func pack(
        constant tensor: Tensor, offset: Int = 0, tapStride: Int = 0, rowStride: Int, columnStride: Int,
        to packed: UnsafeMutablePointer<Float>, piece: Int = 4 << 20
    ) {
        let b = tensor.pointer.assumingMemoryBound(to: Float.self) + offset
        func drop(_ first: Int, _ end: Int) {
            let start = tensor.offset + (offset + first) * 4
            tensor.storage.dropPages(start..<max(start, tensor.offset + (offset + end) * 4))
        }
        let panels = apus_sgemm_panels(kernel, n), nr = Int(kernel.pointee.nr)
        if packedCount > piece / 4, (k - 1) * rowStride + (taps - 1) * tapStride < columnStride {
            // A panel's columns follow one another.
            let source = apus_sgemm_b(
                b: b, taps: taps, k: k, n: n, tap_stride: tapStride, k_stride: rowStride, n_stride: columnStride)
            let step = max(1, piece / (4 * nr * columnStride))
            for first in stride(from: 0, to: panels, by: step) {
                let end = min(panels, first + step)
                withUnsafePointer(to: source) { apus_sgemm_pack_b(kernel, $0, packed, first, end) }
                drop(first * nr * columnStride, min(n, end * nr) * columnStride)
            }
        } else if packedCount > piece / 4, taps == 1, (n - 1) * columnStride < rowStride {
            // Rows follow one another: each piece is a part of every panel. Few rows at a time, for where their length is a multiple of
            // a power of two they fall into the same sets of the caches.
            let step = max(1, min(64, piece / (4 * rowStride)))
            var dropped = 0
            for first in stride(from: 0, to: k, by: step) {
                let rows = min(step, k - first)
                let source = apus_sgemm_b(
                    b: b + first * rowStride, taps: 1, k: rows, n: n, tap_stride: 0, k_stride: rowStride, n_stride: columnStride)
                for panel in 0..<panels {
                    // Where panel 0 would have to lie for this one's part to come to its place.
                    let target = packed + (panel * (k - rows) + first) * nr
                    withUnsafePointer(to: source) { apus_sgemm_pack_b(kernel, $0, target, panel, panel + 1) }
                }
                if first + rows == k || (first + rows - dropped) * rowStride * 4 >= piece {
                    drop(dropped * rowStride, (first + rows) * rowStride)
                    dropped = first + rows
                }
            }
        } else {
            pack(b, tapStride: tapStride, rowStride: rowStride, columnStride: columnStride, to: packed)
        }
    }

    /// Number of independent pieces of the work.
    var sliceCount: Int { cuts.count }

    /// The rows and columns of C of one piece.
    func slice(_ index: Int) -> (rows: Range<Int>, columns: Range<Int>) { cuts.slice(index) }

    /// Scratch memory for one piece.
    var sliceWorkspaceByteCount: Int { sliceWorkspace }

    /// Computes one piece; pieces may run at the same time, each with scratch memory of its own.
    func runSlice(_ index: Int, _ args: inout apus_sgemm_args, scratch: UnsafeMutableRawPointer, pool: ThreadPool) {
        let (rows, columns) = slice(index)
        pool.inPieces(
            rows: rows, columns: columns, depth: FloatProduct.saturatingProduct([taps, k]), unit: Int(kernel.pointee.nr)
        ) { rows, columns in
            apus_sgemm_run(
                kernel, &args, rows.lowerBound, rows.upperBound, columns.lowerBound, columns.upperBound, scratch)
        }
    }

    /// As `run`, but from the last columns to the first if `isReversed`. Where every second one of many products with the same B
    /// goes that way, it begins with what of B the one before has left in the caches.
    func run(_ args: apus_sgemm_args, workspace: UnsafeMutableRawPointer, pool: ThreadPool, isReversed: Bool) {
        guard isReversed else { return run(args, workspace: workspace, pool: pool) }
        let width = 2 * Int(kernel.pointee.nr)
        pool.parallel(sliceCount) { index in
            var args = args
            let (rows, columns) = slice(index)
            var end = columns.upperBound
            while end > columns.lowerBound {
                let first = columns.lowerBound + (end - 1 - columns.lowerBound) / width * width
                apus_sgemm_run(kernel, &args, rows.lowerBound, rows.upperBound, first, end, workspace + index * sliceWorkspace)
                end = first
            }
        }
    }

    /// Widens `rows` rows of each tap of a panel of narrow B, of which `panel` points to the first and the taps lie `tapStride` elements
    /// apart, into `target` [taps, rows, nr]; multiplies its `columns` columns by `factors`, where there are some.
    func widen(
        _ panel: UnsafeRawPointer, tapStride: Int, rows: Int, to target: UnsafeMutablePointer<Float>, factors: UnsafePointer<Float>?,
        columns: Int
    ) {
        let nr = Int(kernel.pointee.nr)
        for tap in 0..<taps {
            widen?(rows * nr, panel + tap * tapStride * elementSize, target + tap * rows * nr)
        }
        if let factors { apus_sgemm_scale_rows(kernel, target, taps * rows, factors, columns) }
    }

    /// Multiplies column j of packed B by `factors[j]`.
    func scaleColumns(_ packed: UnsafeMutablePointer<Float>, by factors: UnsafePointer<Float>) {
        let nr = Int(kernel.pointee.nr), depth = taps * k
        for column in 0..<n {
            let first = packed + column / nr * depth * nr + column % nr
            for inner in 0..<depth { first[inner * nr] *= factors[column] }
        }
    }

    /// Computes C. All pointers of `args` are set.
    func run(_ args: apus_sgemm_args, workspace: UnsafeMutableRawPointer, pool: ThreadPool) {
        let count = sliceCount
        if count == 1 {
            var args = args
            return runSlice(0, &args, scratch: workspace, pool: pool)
        }
        pool.parallelUnlessStopped(count) { index in
            var args = args
            runSlice(index, &args, scratch: workspace + index * sliceWorkspace, pool: pool)
        }
    }
}
