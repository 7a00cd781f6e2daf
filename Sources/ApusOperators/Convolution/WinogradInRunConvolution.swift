import ApusCore
import CApusKernels

/// A 3×3 convolution of channels-last images with fewer multiplications (apus_winograd.h), whose weights stay as the direct sum has
/// them. A run transforms them a panel of output channels at a time, just before they are used: where an image has few squares,
/// reading transformed weights (1.8 or 4 times as many) from memory takes longer than transforming them.
struct WinogradInRunConvolution: @unchecked Sendable {
    private let squares: WinogradSquares
    /// How the weights are packed: as for the direct sum.
    let direct: FloatProduct
    private let inChannels: Int
    /// Squares that go through the three steps together.
    private let block: Int
    /// Input channels whose transformed weights are in a cache together.
    private let depth: Int
    private let threads: Int
    /// Pieces of the output channels that run at the same time, each with transformed weights and sums of its own.
    private let lanes: Int
    /// Output channels of which a piece has a whole number: what a vector of the kernel holds at most.
    private let grain: Int
    private let vStride: Int
    private let uStride: Int
    private let mStride: Int
    /// Bytes of narrow weights of a panel that are widened before they are transformed.
    private let wideByteCount: Int
    private let laneByteCount: Int
    let workspaceByteCount: Int

    /// Squares at most for which weights are transformed once.
    static let mostSquares = 256
    /// Bytes of transformed weights at a time: they should stay in L2 beside the sums.
    private static let weightByteCount = 384 << 10

    /// `squares` must be those of 3×3 windows; `weights`: the type of the weights, as they stay in memory.
    init(levels: UInt32, squares: WinogradSquares, inChannels: Int, weights: ElementType = .float32, threads: Int) throws {
        self.squares = squares
        self.inChannels = inChannels
        let (positions, outChannels, count) = (squares.positions, squares.outChannels, squares.count)
        let most = WinogradInRunConvolution.mostSquares, blocks = max(1, count / most + (count % most == 0 ? 0 : 1))
        block = count / blocks + (count % blocks == 0 ? 0 : 1)
        direct = try FloatProduct(levels: levels, m: block, n: outChannels, k: inChannels, taps: 9, rows: .table, weights: weights, threads: 1)

        let columns = Int(direct.kernel.pointee.nr)
        let fitting = max(8, WinogradInRunConvolution.weightByteCount / (positions * columns * 4))
        let cuts = inChannels / fitting + (inChannels % fitting == 0 ? 0 : 1)
        depth = max(1, inChannels / max(1, cuts) + (inChannels % max(1, cuts) == 0 ? 0 : 1))
        grain = columns % 16 == 0 ? 16 : columns
        let work = FloatProduct.saturatingProduct([count, positions, inChannels, outChannels])
        self.threads = work >= FloatProduct.leastParallelWork ? threads : 1
        lanes = max(1, min(outChannels / grain, self.threads))
        // A cache line more than a power of two, lest all positions fall into the same sets of the cache.
        vStride = try block.multiplied(by: inChannels).adding(16).roundedUp(to: 16)
        uStride = depth * columns + 16
        mStride = try block.multiplied(by: columns).adding(16).roundedUp(to: 16)
        wideByteCount = weights == .float32 ? 0 : depth * columns * 9 * 4
        laneByteCount = try uStride.adding(mStride).multiplied(by: positions * 4).adding(wideByteCount).roundedUp(to: Storage.alignment)
        workspaceByteCount = try vStride.multiplied(by: positions * 4).roundedUp(to: Storage.alignment)
            .adding(try laneByteCount.multiplied(by: lanes))
    }

    var name: String { "winograd_" + String(cString: squares.kernel.pointee.name) + "_in_run" }

    /// Convolves with weights that are packed for `direct`. `factors`: one for each output channel, by which narrow weights are
    /// multiplied, or nil; `zeros`: one for each input channel.
    func run(
        input: UnsafePointer<Float>, packed: UnsafeRawPointer, factors: UnsafePointer<Float>?, zeros: UnsafePointer<Float>, epilogue: apus_epilogue,
        output: UnsafeMutablePointer<Float>, scratch: UnsafeMutableRawPointer, pool: ThreadPool
    ) {
        let v = scratch.assumingMemoryBound(to: Float.self)
        let own = scratch + (workspaceByteCount - lanes * laneByteCount)
        for begin in stride(from: 0, to: squares.count, by: max(1, block)) {
            let rows = min(block, squares.count - begin), pieces = threads == 1 ? 1 : min(rows, threads * 4)
            pool.parallelUnlessStopped(pieces) { piece in
                let first = rows * piece / pieces
                squares.transformInput(
                    input, channels: inChannels, zeros: zeros, begin + first, begin + rows * (piece + 1) / pieces,
                    to: v + first * inChannels, positionStride: vStride)
            }
            let job = Job(begin: begin, rows: rows, v: UnsafePointer(v), packed: packed, factors: factors, epilogue: epilogue, output: output)
            let columns = Int(direct.kernel.pointee.nr), outChannels = squares.outChannels, grains = outChannels / grain
            if lanes == 1 {
                for first in stride(from: 0, to: outChannels, by: columns) {
                    pool.parallelUnlessStopped(1) { _ in compute(job, first..<min(first + columns, outChannels), own) }
                }
            } else {
                pool.parallelUnlessStopped(lanes) { lane in
                    // As many channels for each, so that the border between two may lie within a panel.
                    let end = lane == lanes - 1 ? outChannels : grains * (lane + 1) / lanes * grain
                    var first = grains * lane / lanes * grain
                    while first < end {
                        let last = min(end, first / columns * columns + columns)
                        compute(job, first..<last, own + lane * laneByteCount)
                        first = last
                    }
                }
            }
        }
    }

    /// Squares whose input is transformed.
    private struct Job: @unchecked Sendable {
        let begin: Int
        let rows: Int
        let v: UnsafePointer<Float>
        let packed: UnsafeRawPointer
        let factors: UnsafePointer<Float>?
        let epilogue: apus_epilogue
        let output: UnsafeMutablePointer<Float>
    }

    /// Output channels of one panel.
    private func compute(_ job: Job, _ channels: Range<Int>, _ own: UnsafeMutableRawPointer) {
        let columns = Int(direct.kernel.pointee.nr), first = channels.lowerBound, count = channels.count
        let (positions, outChannels) = (squares.positions, squares.outChannels)
        let u = own.assumingMemoryBound(to: Float.self), m = u + uStride * positions
        let begin = first % columns, isWhole = begin == 0 && (count == columns || channels.upperBound == outChannels)
        let size = direct.elementSize, panel = job.packed + (first - begin) * 9 * inChannels * size
        let wide = wideByteCount == 0 ? nil : m + mStride * positions
        var args = apus_sgemm_args()
        args.m = job.rows
        args.n = count
        args.taps = 1
        args.a_row_stride = inChannels
        args.a_k_stride = 1
        args.c_stride = count
        for channel in stride(from: 0, to: inChannels, by: depth) {
            let part = min(depth, inChannels - channel)
            var weights = (panel + channel * columns * size).assumingMemoryBound(to: Float.self), tapStride = inChannels * columns
            if let wide {
                tapStride = part * columns
                direct.widen(
                    panel + channel * columns * size, tapStride: inChannels * columns, rows: part, to: wide,
                    factors: job.factors.map { $0 + (first - begin) }, columns: min(columns, outChannels - (first - begin)))
                weights = UnsafePointer(wide)
            }
            if isWhole {
                apus_winograd_packed_weights(squares.kernel, weights, tapStride, part * columns, u, uStride)
            } else {
                for row in 0..<part {
                    apus_winograd_packed_weights(
                        squares.kernel, weights + row * columns + begin, tapStride, count, u + row * columns, uStride)
                }
            }
            args.k = part
            args.accumulate = channel > 0
            // The weights that are transformed next come from memory meanwhile, a piece of a tap with each position.
            let following = panel + (channel + part < inChannels ? channel + part : 9 * inChannels) * columns * size
            let isLast = first - begin + columns >= outChannels && channel + part == inChannels, pieces = (positions + 8) / 9
            args.ahead_size = part * columns * size / pieces
            for position in 0..<positions {
                args.ahead = isLast || position >= 9 * pieces ? nil
                    : following + position / pieces * inChannels * columns * size + position % pieces * args.ahead_size
                args.a = job.v + position * vStride + channel
                args.b = UnsafePointer(u + position * uStride)
                args.c = m + position * mStride
                apus_sgemm_run(direct.kernel, &args, 0, job.rows, 0, count, nil)
            }
        }
        squares.transformOutput(
            m, rowStride: count, positionStride: mStride, channels: first..<(first + count), job.begin, job.begin + job.rows,
            epilogue: job.epilogue, to: job.output)
    }
}
