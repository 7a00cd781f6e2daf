import ApusCore
import CApusKernels

/// A 3×3 convolution of channels-last images with fewer multiplications (apus_winograd.h), made ready for its sizes.
package struct WinogradConvolution: @unchecked Sendable {
    let kernel: UnsafePointer<apus_winograd_kernel>
    /// One position of a block of squares.
    private let product: FloatProduct
    private let image: apus_winograd_image
    private let inChannels: Int
    private let outChannels: Int
    private let positions: Int
    /// Squares of all images, and how many of them go through the three steps together.
    private let squares: Int
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

    /// What decides whether the transforms pay: the output's size and the channels. Sizes are numbers of any magnitude, for a
    /// shape without elements may have dimensions that no sum of them fits.
    package struct Size {
        private let images: Double
        private let height: Double
        private let width: Double
        private let k: Double
        private let n: Double

        /// nil where there are too few channels for any tile.
        package init?(images: Int, height: Int, width: Int, inChannels: Int, outChannels: Int) {
            guard inChannels >= 16, outChannels >= 16 else { return nil }
            self.images = Double(images)
            self.height = Double(height)
            self.width = Double(width)
            k = Double(inChannels)
            n = Double(outChannels)
        }

        /// In multiply-accumulates that take as long. The transforms' share was measured on Zen 4 (19 for each value of the
        /// input, 13 of the output), as was that of reading the weights.
        fileprivate func cost(_ tile: Int, inRun: Bool) -> Double {
            let side = Double(tile), positions = (side + 2) * (side + 2)
            let squares = images * (height / side).rounded(.up) * (width / side).rounded(.up)
            let passes = inRun ? (squares / Double(WinogradInRunConvolution.mostSquares)).rounded(.up) : 1
            return squares * positions * (k * n + 19 * k + 13 * n) + passes * positions * k * n * (inRun ? 5 : 4)
        }

        /// The multiply-accumulates that `tile` saves of those of the direct sum; nil where it does not pay. `inRun`: the weights
        /// are transformed in each run.
        package func saving(_ tile: Int, inRun: Bool = false) -> Double? {
            let direct = images * height * width * 9 * k * n, cost = cost(tile, inRun: inRun)
            return cost < 0.85 * direct ? direct - cost : nil
        }
    }

    /// The tile, at most `greatest`, with which the transforms pay; nil: the direct sum is faster or the only way.
    static func tile(
        greatest: Int, inRun: Bool = false, geometry: WindowGeometry, group: Int, images: Int, inChannels: Int, outChannels: Int
    ) -> Int? {
        guard geometry.kernel == [3, 3], geometry.strides == [1, 1], geometry.dilations == [1, 1], group == 1,
            let size = Size(
                images: images, height: geometry.output[0], width: geometry.output[1], inChannels: inChannels, outChannels: outChannels)
        else { return nil }
        // The larger tile has more than twice the weights: it must be well ahead.
        if greatest >= 4, size.cost(4, inRun: inRun) < 0.85 * size.cost(2, inRun: inRun), size.saving(4, inRun: inRun) != nil { return 4 }
        return greatest >= 2 && size.saving(2, inRun: inRun) != nil ? 2 : nil
    }

    /// `geometry` must be one that `tile(…)` accepts.
    init(
        levels: UInt32, tile: Int, geometry: WindowGeometry, images: Int, inChannels: Int, outChannels: Int, threads: Int
    ) throws {
        let cut = try WinogradSquares(levels: levels, tile: tile, geometry: geometry, images: images)
        (kernel, image, positions, squares) = (cut.kernel, cut.image, cut.positions, cut.count)
        self.inChannels = inChannels
        self.outChannels = outChannels
        self.threads = threads

        // A block of V and M should stay in L2; with many weights it is larger, since each block reads them all.
        let perSquare = try inChannels.adding(outChannels).multiplied(by: positions * 4)
        let least = try inChannels.multiplied(by: outChannels) > 1 << 14 ? 48 : 24
        let wanted = max(least, min(96, (512 << 10) / max(1, perSquare)))
        let work = FloatProduct.saturatingProduct([squares, positions, inChannels, outChannels])
        let isParallel = threads > 1 && work >= FloatProduct.leastParallelWork
        var blocks = max(1, (squares + wanted - 1) / wanted)
        if isParallel, blocks < 2 * threads {
            chunks = 0
            block = squares
        } else {
            // As many for each thread.
            if isParallel { blocks = (blocks + threads - 1) / threads * threads }
            chunks = !isParallel ? 1 : blocks % (2 * threads) == 0 ? 2 * threads : threads
            block = (squares + blocks - 1) / blocks
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

    var name: String { "winograd_" + String(cString: kernel.pointee.name) }

    func packedKey(_ form: String) -> String { product.packedKey("winograd \(kernel.pointee.tile) \(form)") }

    /// Transforms ONNX's weights [n, k, 3, 3], each output channel's times its scale, into `packed`. Gives the pages of a mapped
    /// file back as it goes.
    func pack(
        _ tensor: Tensor, scale: UnsafePointer<Float>?, to packed: UnsafeMutablePointer<Float>, budget: MemoryBudget
    ) throws {
        let weights = UnsafePointer(tensor.pointer.assumingMemoryBound(to: Float.self))
        let columns = Int(product.kernel.pointee.nr), k = inChannels
        let stride = try k.multiplied(by: columns)
        let panel = try Storage.allocate(
            byteCount: try stride.multiplied(by: positions * 4), budget: budget, purpose: "a panel of transformed weights")
        let u = panel.base.assumingMemoryBound(to: Float.self)
        for begin in Swift.stride(from: 0, to: outChannels, by: columns) {
            let n = min(columns, outChannels - begin)
            apus_winograd_weights(Int(kernel.pointee.tile), weights, k, begin, begin + n, u, stride)
            for position in 0..<positions {
                let from = u + position * stride
                if let scale {
                    for index in 0..<(k * n) { from[index] *= scale[begin + index % n] }
                }
                var source = apus_sgemm_b(b: from, taps: 1, k: k, n: n, tap_stride: 0, k_stride: n, n_stride: 1)
                apus_sgemm_pack_b(product.kernel, &source, packed + position * product.packedCount + begin * k, 0, 1)
            }
            let first = tensor.offset + begin * k * 36
            tensor.storage.dropPages(first..<(first + n * k * 36))
        }
    }

    /// Convolves with weights as `pack` makes them. `zeros`: one for each input channel.
    func run(
        input: UnsafePointer<Float>, panels: UnsafePointer<Float>, zeros: UnsafePointer<Float>, epilogue: apus_epilogue,
        output: UnsafeMutablePointer<Float>, scratch: UnsafeMutableRawPointer, pool: ThreadPool
    ) {
        if squares == 0 { return }
        let run = Run(input: input, panels: panels, zeros: zeros, epilogue: epilogue, output: output)
        if chunks == 0 { return runSteps(run, scratch, pool) }
        let blocks = (squares + block - 1) / block
        pool.parallelUnlessStopped(chunks) { chunk in
            let v = (scratch + chunk * scratchByteCount).assumingMemoryBound(to: Float.self)
            let m = v + vStride * positions, own = UnsafeMutableRawPointer(m + mStride * positions)
            for index in (blocks * chunk / chunks)..<(blocks * (chunk + 1) / chunks) {
                let begin = index * block, end = min(squares, begin + block)
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
        let v = scratch.assumingMemoryBound(to: Float.self), m = v + vStride * positions
        let own = scratch + scratchByteCount
        let pieces = min(squares, threads * 4)
        pool.parallelUnlessStopped(pieces) { piece in
            let begin = squares * piece / pieces
            transformInput(run, begin, squares * (piece + 1) / pieces, v + begin * inChannels)
        }
        pool.parallelUnlessStopped(positions) { position in
            multiply(run, position, rows: squares, v, m, own + position * product.workspaceByteCount)
        }
        pool.parallelUnlessStopped(pieces) { piece in
            let begin = squares * piece / pieces
            transformOutput(run, begin, squares * (piece + 1) / pieces, m + begin * outChannels)
        }
    }

    private func transformInput(_ run: Run, _ begin: Int, _ end: Int, _ v: UnsafeMutablePointer<Float>) {
        var image = image
        apus_winograd_input(kernel, &image, inChannels, run.input, run.zeros, begin, end, v, vStride)
    }

    private func multiply(
        _ run: Run, _ position: Int, rows: Int, _ v: UnsafeMutablePointer<Float>, _ m: UnsafeMutablePointer<Float>,
        _ workspace: UnsafeMutableRawPointer
    ) {
        var args = product.arguments(aStride: inChannels, cStride: outChannels)
        args.m = rows
        args.a = UnsafePointer(v + position * vStride)
        args.b = run.panels + position * product.packedCount
        args.c = m + position * mStride
        apus_sgemm_run(product.kernel, &args, 0, rows, 0, outChannels, workspace)
    }

    private func transformOutput(_ run: Run, _ begin: Int, _ end: Int, _ m: UnsafeMutablePointer<Float>) {
        var image = image, epilogue = run.epilogue
        apus_winograd_output(kernel, &image, outChannels, m, mStride, begin, end, run.output, outChannels, &epilogue)
    }
}
