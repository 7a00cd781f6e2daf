import ApusCore
import CApusKernels

/// A convolution of channels-last images with fewer multiplications (apus_winograd.h), made ready for its sizes: with stride 1, or
/// transposed.
struct WinogradConvolution: @unchecked Sendable {
    private let squares: WinogradSquares
    /// One position of a block of squares.
    private let product: FloatProduct
    private let inChannels: Int
    /// Squares that go through the three steps together.
    private let block: Int
    /// Pieces that run at the same time, each with its own blocks; 0: one block, whose steps are cut instead.
    private let chunks: Int
    private let threads: Int
    private let vStride: Int
    private let mStride: Int
    private let scratchByteCount: Int
    let workspaceByteCount: Int
    /// Bytes of the transformed weights.
    let packedByteCount: Int

    init(levels: UInt32, squares: WinogradSquares, inChannels: Int, threads: Int) throws {
        self.squares = squares
        self.inChannels = inChannels
        self.threads = threads

        // A block of V and M should stay in L2; with many weights it is larger, since each block reads them all.
        let (positions, outChannels, count) = (squares.positions, squares.columns, squares.count)
        let perSquare = try inChannels.adding(outChannels).multiplied(by: positions * 4)
        let least = try inChannels.multiplied(by: outChannels) > 1 << 14 ? 48 : 24
        let wanted = max(least, min(96, (512 << 10) / max(1, perSquare)))
        let work = FloatProduct.saturatingProduct([count, positions, inChannels, outChannels])
        let isParallel = threads > 1 && work >= FloatProduct.leastParallelWork
        var blocks = max(1, (count + wanted - 1) / wanted)
        if isParallel, blocks < 2 * threads {
            chunks = 0
            block = count
        } else {
            // As many for each thread.
            if isParallel { blocks = (blocks + threads - 1) / threads * threads }
            chunks = !isParallel ? 1 : blocks % (2 * threads) == 0 ? 2 * threads : threads
            block = (count + blocks - 1) / blocks
        }
        product = try FloatProduct(levels: levels, m: block, n: outChannels, k: inChannels, threads: 1)
        packedByteCount = try product.packedCount.multiplied(by: positions * 4)
        // A cache line more than a power of two, lest all positions fall into the same sets of the cache.
        vStride = try block.multiplied(by: inChannels).adding(16).roundedUp(to: 16)
        mStride = try block.multiplied(by: outChannels).adding(16).roundedUp(to: 16)
        scratchByteCount = try vStride.adding(mStride).multiplied(by: positions * 4).adding(product.workspaceByteCount)
            .roundedUp(to: Storage.alignment)
        // When the steps are cut, each position's product needs scratch memory of its own.
        let extra = chunks == 0 ? try product.workspaceByteCount.multiplied(by: positions) : 0
        workspaceByteCount = try scratchByteCount.multiplied(by: max(1, chunks)).adding(extra)
    }

    var name: String { "winograd_" + String(cString: squares.kernel.pointee.name) }

    func packedKey(_ form: String) -> String {
        let kernel = squares.kernel.pointee
        return product.packedKey("winograd \(kernel.axes) \(kernel.window) \(kernel.tile) \(form)")
    }

    /// Transforms ONNX's weights [n, k, taps], each output channel's times its scale, into `packed`. Gives the pages of a mapped
    /// file back as it goes.
    func pack(
        _ tensor: Tensor, scale: UnsafePointer<Float>?, to packed: UnsafeMutablePointer<Float>, budget: MemoryBudget
    ) throws {
        let weights = UnsafePointer(tensor.pointer.assumingMemoryBound(to: Float.self)), channel = tensor.count / max(1, squares.columns)
        try packPanels(scale, to: packed, budget) { columns, transform in
            transform(weights + columns.lowerBound * channel)
            let first = tensor.offset + columns.lowerBound * channel * 4
            tensor.storage.dropPages(first..<(first + columns.count * channel * 4))
        }
    }

    /// Transforms ONNX's weights [k, n, kernel...] of a transposed convolution likewise.
    func pack(
        transposed weights: UnsafePointer<Float>, _ axes: [TransposedAxis], scale: UnsafePointer<Float>?,
        to packed: UnsafeMutablePointer<Float>, budget: MemoryBudget
    ) throws {
        let window = Int(squares.kernel.pointee.window), taps = window * window, n = squares.outChannels
        let kernel = axes.map(\.kernel), strides = axes.map(\.stride)
        let panel = try Storage.allocate(
            byteCount: try inChannels.multiplied(by: taps).multiplied(by: Int(product.kernel.pointee.nr)).multiplied(by: 4), budget: budget,
            purpose: "a panel of reordered weights")
        let own = panel.base.assumingMemoryBound(to: Float.self)
        try packPanels(scale, to: packed, budget) { columns, transform in
            var to = own
            for column in columns {
                let phase = column / n, phaseY = phase / strides[1], phaseX = phase % strides[1]
                for inner in 0..<inChannels {
                    let from = weights + (inner * n + column % n) * kernel[0] * kernel[1]
                    for tap in 0..<taps {
                        // The first input of a window is the farthest.
                        let y = phaseY + (window - 1 - tap / window) * strides[0], x = phaseX + (window - 1 - tap % window) * strides[1]
                        to[tap] = y < kernel[0] && x < kernel[1] ? from[y * kernel[1] + x] : 0
                    }
                    to += taps
                }
            }
            transform(UnsafePointer(own))
        }
    }

    /// Calls `each` for the columns of every panel with a function that transforms and packs their weights, [columns, k, taps].
    private func packPanels(
        _ scale: UnsafePointer<Float>?, to packed: UnsafeMutablePointer<Float>, _ budget: MemoryBudget,
        _ each: (Range<Int>, (UnsafePointer<Float>) -> Void) throws -> Void
    ) throws {
        let columns = Int(product.kernel.pointee.nr), k = inChannels, positions = squares.positions
        let stride = try k.multiplied(by: columns)
        let panel = try Storage.allocate(
            byteCount: try stride.multiplied(by: positions * 4), budget: budget, purpose: "a panel of transformed weights")
        let u = panel.base.assumingMemoryBound(to: Float.self)
        for begin in Swift.stride(from: 0, to: squares.columns, by: columns) {
            let n = min(columns, squares.columns - begin)
            try each(begin..<(begin + n)) { weights in
                apus_winograd_weights(squares.kernel, weights, k, 0, n, u, stride)
                for position in 0..<positions {
                    let from = u + position * stride
                    if let scale {
                        for index in 0..<(k * n) { from[index] *= scale[(begin + index % n) % squares.outChannels] }
                    }
                    var source = apus_sgemm_b(b: from, taps: 1, k: k, n: n, tap_stride: 0, k_stride: n, n_stride: 1)
                    apus_sgemm_pack_b(product.kernel, &source, packed + position * product.packedCount + begin * k, 0, 1)
                }
            }
        }
    }

    /// Convolves with weights as `pack` makes them. `zeros`: one for each input channel.
    func run(
        input: UnsafePointer<Float>, panels: UnsafePointer<Float>, zeros: UnsafePointer<Float>, epilogue: apus_epilogue,
        output: UnsafeMutablePointer<Float>, scratch: UnsafeMutableRawPointer, pool: ThreadPool
    ) {
        let count = squares.count, positions = squares.positions
        if count == 0 { return }
        let run = Run(input: input, panels: panels, zeros: zeros, epilogue: epilogue, output: output)
        if chunks == 0 { return runSteps(run, scratch, pool) }
        let blocks = (count + block - 1) / block
        pool.parallelUnlessStopped(chunks) { chunk in
            let v = (scratch + chunk * scratchByteCount).assumingMemoryBound(to: Float.self)
            let m = v + vStride * positions, own = UnsafeMutableRawPointer(m + mStride * positions)
            for index in (blocks * chunk / chunks)..<(blocks * (chunk + 1) / chunks) {
                let begin = index * block, end = min(count, begin + block)
                if begin >= end { break }
                transformInput(run, begin, end, v)
                for position in 0..<positions { multiply(run, position, rows: end - begin, v, m, own) }
                transformOutput(run, begin, end, m)
            }
        }
    }

    private struct Run: @unchecked Sendable {
        let input: UnsafePointer<Float>
        let panels: UnsafePointer<Float>
        let zeros: UnsafePointer<Float>
        let epilogue: apus_epilogue
        let output: UnsafeMutablePointer<Float>
    }

    /// All squares at once; the threads share the work of each step.
    private func runSteps(_ run: Run, _ scratch: UnsafeMutableRawPointer, _ pool: ThreadPool) {
        let v = scratch.assumingMemoryBound(to: Float.self), m = v + vStride * squares.positions
        let own = scratch + scratchByteCount, count = squares.count
        let pieces = min(count, threads * 4)
        pool.parallelUnlessStopped(pieces) { piece in
            let begin = count * piece / pieces
            transformInput(run, begin, count * (piece + 1) / pieces, v + begin * inChannels)
        }
        pool.parallelUnlessStopped(squares.positions) { position in
            multiply(run, position, rows: count, v, m, own + position * product.workspaceByteCount)
        }
        pool.parallelUnlessStopped(pieces) { piece in
            let begin = count * piece / pieces
            transformOutput(run, begin, count * (piece + 1) / pieces, m + begin * squares.columns)
        }
    }

    private func transformInput(_ run: Run, _ begin: Int, _ end: Int, _ v: UnsafeMutablePointer<Float>) {
        squares.transformInput(run.input, channels: inChannels, zeros: run.zeros, begin, end, to: v, positionStride: vStride)
    }

    private func multiply(
        _ run: Run, _ position: Int, rows: Int, _ v: UnsafeMutablePointer<Float>, _ m: UnsafeMutablePointer<Float>,
        _ workspace: UnsafeMutableRawPointer
    ) {
        var args = product.arguments(aStride: inChannels, cStride: squares.columns)
        args.m = rows
        args.a = UnsafePointer(v + position * vStride)
        args.b = run.panels + position * product.packedCount
        args.c = m + position * mStride
        apus_sgemm_run(product.kernel, &args, 0, rows, 0, squares.columns, workspace)
    }

    private func transformOutput(_ run: Run, _ begin: Int, _ end: Int, _ m: UnsafeMutablePointer<Float>) {
        squares.transformOutput(
            m, rowStride: squares.columns, positionStride: mStride, channels: 0..<squares.outChannels, begin, end, epilogue: run.epilogue,
            to: run.output)
    }
}
