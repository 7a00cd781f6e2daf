import ApusCore
import CApusKernels

/// A 3×3 convolution of 8-bit channels-last images with fewer multiplications (apus_qwinograd.h), exact, with weights as the direct sum
/// has them.
struct IntegerWinograd: @unchecked Sendable {
    let kernel: UnsafePointer<apus_qwinograd_kernel>
    private let image: apus_qwinograd_image
    private let inChannels: Int
    /// Panels of output channels.
    private let panels: Int
    /// Squares of all images, and how many of them go through the steps together.
    private let squares: Int
    private let block: Int
    private let threads: Int
    /// Blocks that run at the same time, each with scratch memory of its own; 1: one after the other, and the threads share the steps.
    private let chunks: Int
    /// Pieces of the panels that run at the same time, each with transformed weights and sums of its own.
    private let lanes: Int
    private let rowStride: Int
    private let vStride: Int
    private let vByteCount: Int
    private let laneByteCount: Int
    let workspaceByteCount: Int

    private static let positions = 36
    /// Bytes of V and of the sums of a panel that stay in L2 beside the transformed weights.
    private static let blockByteCount = 640 << 10

    /// For one group. nil where the direct sum is faster or the only way. The sums' limit is left to `fits`.
    init?(
        levels: UInt32, product: IntegerProduct, geometry: WindowGeometry, images: Int, inChannels: Int, outChannels: Int,
        threads: Int
    ) throws {
        guard geometry.kernel == [3, 3], geometry.strides == [1, 1], geometry.dilations == [1, 1], inChannels > 0,
            inChannels % 4 == 0, outChannels > 0, let kernel = apus_qwinograd_select(levels), kernel.pointee.product == product.kernel
        else { return nil }
        let image = apus_qwinograd_image(
            in_height: geometry.input[0], in_width: geometry.input[1], out_height: geometry.output[0], out_width: geometry.output[1],
            pad_top: geometry.padBegin[0], pad_left: geometry.padBegin[1])
        let squares = try withUnsafePointer(to: image) { try Int(apus_qwinograd_squares($0)).multiplied(by: images) }
        let nr = Int(product.kernel.pointee.nr), panels = Int(apus_qgemm_panels(product.kernel, outChannels))
        rowStride = Int(apus_qwinograd_row(inChannels))
        let perSquare = try rowStride.multiplied(by: 2).adding(nr * 4).multiplied(by: IntegerWinograd.positions)
        let fitting = max(32, min(96, IntegerWinograd.blockByteCount / perSquare))
        let work = FloatProduct.saturatingProduct([squares, IntegerWinograd.positions, inChannels, outChannels])
        let isParallel = threads > 1 && work >= IntegerProduct.leastParallelWork
        if isParallel, squares >= FloatProduct.saturatingProduct([threads, fitting / 2]) {
            // As many blocks for each thread.
            let each = (squares + threads * fitting - 1) / (threads * fitting)
            block = (squares + each * threads - 1) / (each * threads)
            (chunks, lanes) = (threads, 1)
        } else {
            let most = isParallel ? 96 : fitting, blocks = max(1, (squares + most - 1) / most)
            block = (squares + blocks - 1) / blocks
            (chunks, lanes) = (1, isParallel ? max(1, min(panels, threads)) : 1)
        }
        guard
            IntegerWinograd.pays(
                kernel.pointee.isa, squares: Double(squares), blocks: Double((squares + max(1, block) - 1) / max(1, block)),
                pixels: Double(images) * Double(geometry.outputPixels), k: Double(inChannels), n: Double(panels * nr))
        else { return nil }
        (self.kernel, self.image, self.inChannels, self.panels, self.squares) = (kernel, image, inChannels, panels, squares)
        self.threads = isParallel ? threads : 1
        // A cache line more than a power of two, lest all positions fall into the same sets of the cache.
        vStride = try block.multiplied(by: rowStride).adding(32)
        vByteCount = try vStride.multiplied(by: IntegerWinograd.positions * 2).roundedUp(to: Storage.alignment)
        _ = try block.multiplied(by: nr).multiplied(by: IntegerWinograd.positions * 4)
        laneByteCount = try Int(apus_qwinograd_workspace_size(kernel, inChannels, block)).roundedUp(to: Storage.alignment)
        workspaceByteCount = try vByteCount.adding(try laneByteCount.multiplied(by: lanes)).multiplied(by: chunks)
    }

    /// Whether the transforms pay, in multiply-accumulates of the direct sum that take as long. Measured on Zen 4, on layers from
    /// 56×56×64 to 7×7×512: with products of 8 bits (AVX-512 VNNI), and without (AVX2, AVX-512).
    private static func pays(_ isa: apus_isa, squares: Double, blocks: Double, pixels: Double, k: Double, n: Double) -> Bool {
        let hasVNNI = isa == APUS_ISA_AVX512VNNI || isa == APUS_ISA_AVXVNNI
        let (product, weight, input, output): (Double, Double, Double, Double) = hasVNNI ? (2, 200, 520, 590) : (1.05, 130, 250, 250)
        let cost = squares * (Double(positions) * product * k * n + input * k + output * n) + blocks * weight * k * n
        return cost < 0.92 * 9 * pixels * k * n
    }

    /// Whether no input with this zero point (nil: any) can make sums that pass the limit. `weights`: [n, k, 3, 3], less a zero point
    /// of 0 (int8) or 128 (uint8).
    static func fits(
        _ weights: UnsafeRawPointer, isSigned: Bool, k: Int, n: Int, inputIsSigned: Bool, inputZeroPoint: Int32?
    ) -> Bool {
        let lowest: Int32 = inputIsSigned ? -128 : 0
        return apus_qwinograd_fits(
            weights, isSigned, k, n, inputZeroPoint.map { lowest - $0 } ?? -255, inputZeroPoint.map { lowest + 255 - $0 } ?? 255)
    }

    var name: String { "qwinograd_" + String(cString: kernel.pointee.name) }

    /// Convolves. Of `args` everything that apus_qwinograd.h names is set.
    func run(_ args: apus_qgemm_args, scratch: UnsafeMutableRawPointer, pool: ThreadPool) {
        let call = Call(args: args), blocks = (squares + max(1, block) - 1) / max(1, block)
        if chunks > 1 {
            pool.parallelUnlessStopped(chunks) { chunk in
                let own = scratch + chunk * (vByteCount + laneByteCount)
                for index in (blocks * chunk / chunks)..<(blocks * (chunk + 1) / chunks) {
                    let begin = index * block, end = min(squares, begin + block)
                    transform(call, begin, begin..<end, own)
                    multiply(call, begin..<end, 0..<panels, own, own + vByteCount)
                }
            }
            return
        }
        for index in 0..<blocks {
            let begin = index * block, end = min(squares, begin + block)
            let pieces = threads == 1 ? 1 : min(end - begin, threads * 2)
            pool.parallelUnlessStopped(pieces) { piece in
                let first = begin + (end - begin) * piece / pieces, last = begin + (end - begin) * (piece + 1) / pieces
                transform(call, begin, first..<last, scratch)
            }
            pool.parallelUnlessStopped(lanes) { lane in
                multiply(
                    call, begin..<end, (panels * lane / lanes)..<(panels * (lane + 1) / lanes), scratch,
                    scratch + vByteCount + lane * laneByteCount)
            }
        }
    }

    private struct Call: @unchecked Sendable {
        let args: apus_qgemm_args
    }

    /// V of some squares of the block that begins with square `first`.
    private func transform(_ call: Call, _ first: Int, _ part: Range<Int>, _ scratch: UnsafeMutableRawPointer) {
        if part.isEmpty { return }
        let v = scratch.assumingMemoryBound(to: Int16.self) + (part.lowerBound - first) * rowStride
        var (image, args) = (image, call.args)
        apus_qwinograd_input(kernel, &image, &args, part.lowerBound, part.upperBound, v, vStride)
    }

    private func multiply(
        _ call: Call, _ part: Range<Int>, _ panels: Range<Int>, _ scratch: UnsafeMutableRawPointer, _ own: UnsafeMutableRawPointer
    ) {
        if part.isEmpty { return }
        var (image, args) = (image, call.args)
        apus_qwinograd_run(
            kernel, &image, &args, scratch.assumingMemoryBound(to: Int16.self), vStride, part.lowerBound, part.upperBound, panels.lowerBound,
            panels.upperBound, own)
    }
}
