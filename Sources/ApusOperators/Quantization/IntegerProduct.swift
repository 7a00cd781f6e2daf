import ApusCore
import CApusKernels

/// A product of 8-bit integers of fixed sizes: the kernel, how B is packed, and how the work is cut for threads.
///
/// Its results have the same bits on every kernel and for every cut (apus_qgemm.h), so the cuts may follow the number of
/// threads.
struct IntegerProduct: @unchecked Sendable {
    let kernel: UnsafePointer<apus_qgemm_kernel>
    let m: Int
    let n: Int
    let k: Int
    let taps: Int
    /// Bytes of packed B, a multiple of 64.
    let packedByteCount: Int
    /// Bytes of scratch memory for `run`.
    let workspaceByteCount: Int
    /// Bytes of scratch memory for one piece of the work, a multiple of 64.
    let sliceWorkspaceByteCount: Int
    private let cuts: ProductCuts

    /// Multiply-accumulates below which waking a thread costs more than it saves.
    static let leastParallelWork = 1 << 21

    /// Throws where a size passes what memory can hold. `threads` 1: never cut.
    init(levels: UInt32, m: Int, n: Int, k: Int, taps: Int = 1, threads: Int) throws {
        guard let kernel = apus_qgemm_select(levels) else { throw ApusError(.internal, "there is no integer product kernel") }
        self.kernel = kernel
        self.m = m
        self.n = n
        self.k = k
        self.taps = taps
        let mr = Int(kernel.pointee.mr), nr = Int(kernel.pointee.nr)
        let panels = n / nr + (n % nr == 0 ? 0 : 1)
        let depth = try taps.multiplied(by: k).roundedUp(to: 4)
        packedByteCount = try panels.multiplied(by: nr).multiplied(by: try depth.adding(4)).roundedUp(to: Storage.alignment)
        _ = try m.multiplied(by: max(n, 1)).multiplied(by: 4)
        _ = try m.multiplied(by: taps).multiplied(by: 8)
        _ = try mr.multiplied(by: depth).multiplied(by: 2)
        sliceWorkspaceByteCount = try Int(apus_qgemm_workspace_size(kernel, taps, k)).roundedUp(to: Storage.alignment)

        cuts = ProductCuts(
            m: m, n: n, depth: FloatProduct.saturatingProduct([taps, k]), elementSize: 1, aCost: 24, tile: mr, by: nr,
            least: IntegerProduct.leastParallelWork, threads: threads)
        workspaceByteCount = try sliceWorkspaceByteCount.multiplied(by: cuts.count)
    }

    /// Names the packed form of B for caches.
    func packedKey(_ form: String) -> String {
        "integer \(String(cString: kernel.pointee.name)) \(taps)x\(k)x\(n) \(form)"
    }

    /// The arguments that do not change between runs, for dense A with `aStride` elements from row to row.
    func arguments(aStride: Int = 0, aColumnStride: Int = 1, cStride: Int, aIsSigned: Bool, bIsSigned: Bool) -> apus_qgemm_args {
        var args = apus_qgemm_args()
        args.m = m
        args.n = n
        args.k = k
        args.taps = taps
        args.a_is_signed = aIsSigned
        args.a_row_stride = aStride
        args.a_k_stride = aColumnStride
        args.b_is_signed = bIsSigned
        args.c_stride = cStride
        return args
    }

    /// Packs B, whose element (tap, i, j) lies at tap * tapStride + i * rowStride + j * columnStride. The zero point stays in.
    func pack(
        _ b: UnsafeRawPointer, isSigned: Bool, tapStride: Int = 0, rowStride: Int, columnStride: Int,
        to packed: UnsafeMutableRawPointer, pool: ThreadPool? = nil
    ) {
        let source = apus_qgemm_b(
            b: b, is_signed: isSigned, taps: taps, k: k, n: n, tap_stride: tapStride, k_stride: rowStride, n_stride: columnStride)
        let panels = Int(apus_qgemm_panels(kernel, n))
        guard let pool, packedByteCount >= 1 << 18 else {
            withUnsafePointer(to: source) { apus_qgemm_pack_b(kernel, $0, packed, 0, panels) }
            return
        }
        let chunk = max(1, (1 << 16) / max(1, packedByteCount / max(1, panels)))
        pool.inChunks(panels, of: chunk) { range in
            withUnsafePointer(to: source) { apus_qgemm_pack_b(kernel, $0, packed, range.lowerBound, range.upperBound) }
        }
    }

    /// Number of independent pieces of the work.
    var sliceCount: Int { cuts.count }

    /// Computes one piece; pieces may run at the same time, each with scratch memory of its own.
    func runSlice(_ index: Int, _ args: inout apus_qgemm_args, scratch: UnsafeMutableRawPointer, pool: ThreadPool) {
        let (rows, columns) = cuts.slice(index)
        pool.inPieces(
            rows: rows, columns: columns, depth: FloatProduct.saturatingProduct([taps, k]), unit: Int(kernel.pointee.nr)
        ) { rows, columns in
            apus_qgemm_run(
                kernel, &args, rows.lowerBound, rows.upperBound, columns.lowerBound, columns.upperBound, scratch)
        }
    }

    /// Computes C. All pointers of `args` are set.
    func run(_ args: apus_qgemm_args, workspace: UnsafeMutableRawPointer, pool: ThreadPool) {
        let count = sliceCount
        if count == 1 {
            var args = args
            return runSlice(0, &args, scratch: workspace, pool: pool)
        }
        pool.parallelUnlessStopped(count) { index in
            var args = args
            runSlice(index, &args, scratch: workspace + index * sliceWorkspaceByteCount, pool: pool)
        }
    }

    /// As `run`, but the later half of the columns first if `isReversed`. Where every second one of many products with the same B goes
    /// that way, it begins with what of B the one before has left in the first-level cache.
    func run(_ args: apus_qgemm_args, workspace: UnsafeMutableRawPointer, pool: ThreadPool, isReversed: Bool) {
        let nr = Int(kernel.pointee.nr), middle = n / nr / 2 * nr
        guard isReversed, sliceCount == 1, middle > 0 else { return run(args, workspace: workspace, pool: pool) }
        var args = args
        apus_qgemm_run(kernel, &args, 0, m, middle, n, workspace)
        apus_qgemm_run(kernel, &args, 0, m, 0, middle, workspace)
    }

    /// Computes row `row` of C, all columns, with one slice's scratch memory.
    func runRow(_ row: Int, _ args: inout apus_qgemm_args, scratch: UnsafeMutableRawPointer) {
        apus_qgemm_run(kernel, &args, row, row + 1, 0, n, scratch)
    }
}

extension apus_qgemm_args {
    /// Lets C be 8 bits with this zero point: saturate(round(sum * scale) + zero point).
    mutating func requantize(_ type: ElementType, zeroPoint: Int32) {
        let limits: IntegerRange = type == .int8 ? .int8 : .uint8
        output = APUS_QGEMM_Q8
        zero_point = zeroPoint
        low = limits.lowest
        high = limits.highest
    }
}

/// The factors of a product's sums: (scale of A's row * scale of B's column), divided by the output's scale where there
/// is one. The order of the operations is onnxruntime's.
func fillProductScales(
    _ target: UnsafeMutablePointer<Float>, count: Int, a: Float, b: UnsafePointer<Float>, bStep: Int, output: Float?
) {
    for column in 0..<count {
        let product = a * b[column * bStep]
        target[column] = output.map { product / $0 } ?? product
    }
}

extension IntegerRange {
    static let uint8 = IntegerRange(lowest: 0, highest: 255)
    static let int8 = IntegerRange(lowest: -128, highest: 127)

    private init(lowest: Int32, highest: Int32) {
        self.lowest = lowest
        self.highest = highest
    }
}
