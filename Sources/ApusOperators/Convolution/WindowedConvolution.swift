import ApusCore
import CApusKernels

/// A convolution of images with few channels, such as the first of a network, made ready for its sizes.
///
/// A window is a few runs of floats that lie next to each other: its rows, over all channels where these are last, of one
/// channel where they are first. Bands of the image are copied with their padding, so that all windows of a row of the output
/// lie equally far apart and need no table.
package struct WindowedConvolution: @unchecked Sendable {
    private let product: FloatProduct
    private let channelsFirst: Bool
    private let images: Int
    private let inChannels: Int
    private let outChannels: Int
    private let height: Axis
    private let width: Axis
    /// Floats between runs of a window, by tap.
    private let offsets: Storage
    /// Floats from a row, and from a channel's plane, to the next in what the windows read: a band, or the image itself.
    private let rowStride: Int
    private let planeStride: Int
    /// Whether bands are copied, and how many rows of the output each gives.
    private let copies: Bool
    private let bandRows: Int
    private let bands: Int
    private let chunks: Int
    private let bandByteCount: Int

    /// A spatial axis.
    private struct Axis {
        let input: Int
        let output: Int
        let taps: Int
        let stride: Int
        let dilation: Int
        let padBegin: Int

        /// Positions of the padded input that `count` windows see.
        func extent(_ count: Int) -> Int { (count - 1) * stride + (taps - 1) * dilation + 1 }

        var leavesInput: Bool { padBegin > 0 || extent(output) - padBegin > input }
    }

    /// The most channels for which this is faster than a table of windows.
    package static let mostChannels = 7
    /// The most weights: each row of the output reads all of them.
    package static let mostWeights = 1 << 16
    /// Floats of a band that stay in L2 beside the weights.
    private static let bandFloats = 1 << 14

    /// Whether `init` accepts a convolution.
    static func accepts(_ geometry: WindowGeometry, group: Int, inChannels: Int, outChannels: Int) -> Bool {
        group == 1 && inChannels <= mostChannels && inChannels > 0 && (1...2).contains(geometry.kernel.count)
            && FloatProduct.saturatingProduct(geometry.kernel + [inChannels, outChannels]) <= mostWeights
            && geometry.dilations[geometry.dilations.count - 1] == 1 && !geometry.isPointwise
    }

    /// `channelsFirst`: how the input lies; the output has its channels last.
    init(
        _ context: PrepareContext, geometry: WindowGeometry, images: Int, inChannels: Int, outChannels: Int, channelsFirst: Bool
    ) throws {
        self.channelsFirst = channelsFirst
        self.images = images
        self.inChannels = inChannels
        self.outChannels = outChannels
        func axis(_ index: Int) -> Axis {
            Axis(
                input: geometry.input[index], output: geometry.output[index], taps: geometry.kernel[index],
                stride: geometry.strides[index], dilation: geometry.dilations[index], padBegin: geometry.padBegin[index])
        }
        let last = geometry.kernel.count - 1
        width = axis(last)
        height = last == 1 ? axis(0) : Axis(input: 1, output: 1, taps: 1, stride: 1, dilation: 1, padBegin: 0)
        let width = width, height = height
        // What follows computes with these and smaller numbers.
        _ = try images.multiplied(by: geometry.outputPixels).multiplied(by: outChannels).multiplied(by: 4)
        for axis in [height, width] { _ = try axis.output.multiplied(by: axis.stride).adding(axis.taps.multiplied(by: axis.dilation)) }
        let paddedWidth = width.extent(max(1, width.output))
        _ = try paddedWidth.multiplied(by: inChannels).multiplied(by: height.extent(max(1, height.output)).multiplied(by: 4))
        let taps = try channelsFirst ? inChannels.multiplied(by: height.taps) : height.taps
        let run = try channelsFirst ? width.taps : inChannels.multiplied(by: width.taps)
        product = try FloatProduct(levels: context.levels, m: width.output, n: outChannels, k: run, taps: taps, threads: 1)

        copies = height.leavesInput || width.leavesInput
        let work = FloatProduct.saturatingProduct([images, geometry.outputPixels, taps, run, outChannels])
        let isParallel = context.threads > 1 && work >= FloatProduct.leastParallelWork
        let fitting = Self.bandFloats / max(1, paddedWidth * inChannels)
        var rows = max(1, (fitting - height.taps * height.dilation) / height.stride)
        if isParallel { rows = min(rows, max(1, images * height.output / (4 * context.threads))) }
        bandRows = min(rows, max(1, height.output))
        bands = height.output / bandRows + (height.output % bandRows == 0 ? 0 : 1)
        chunks = isParallel ? max(1, min(try images.multiplied(by: bands), context.threads * 4)) : 1
        let pixel = channelsFirst ? 1 : inChannels
        rowStride = (copies ? paddedWidth : width.input) * pixel
        planeStride = rowStride * (copies ? height.extent(bandRows) : height.input)
        bandByteCount = copies ? try (planeStride * (channelsFirst ? inChannels : 1) * 4).roundedUp(to: Storage.alignment) : 0

        offsets = try Storage.allocate(
            byteCount: max(1, taps) * MemoryLayout<Int>.stride, budget: context.packed.budget, purpose: "offsets of a window")
        let entries = offsets.base.assumingMemoryBound(to: Int.self)
        for tap in 0..<taps {
            entries[tap] = tap / height.taps * planeStride + tap % height.taps * height.dilation * rowStride
        }
    }

    var name: String { "conv_window_" + String(cString: product.kernel.pointee.name) }

    var packedByteCount: Int { product.packedCount * 4 }

    var workspaceByteCount: Int { bandByteCount * chunks }

    func packedKey(_ form: String) -> String { product.packedKey("window \(channelsFirst) \(form)") }

    /// Packs ONNX's weights [outputs, channels, height, width], each output's times its scale.
    func pack(
        _ tensor: Tensor, scale: UnsafePointer<Float>?, to packed: UnsafeMutablePointer<Float>, budget: MemoryBudget
    ) throws {
        let weights = tensor.pointer.assumingMemoryBound(to: Float.self)
        let taps = height.taps * width.taps, count = inChannels * taps
        if channelsFirst || inChannels == 1 {
            product.pack(weights, tapStride: width.taps, rowStride: 1, columnStride: count, to: packed)
        } else {
            // With the channels last, as the runs have them.
            let copy = try Storage.allocate(
                byteCount: try outChannels.multiplied(by: count * 4), budget: budget, purpose: "weights with channels last")
            let target = copy.base.assumingMemoryBound(to: Float.self)
            for index in 0..<(outChannels * count) {
                target[index] = weights[index / count * count + index % inChannels * taps + index % count / inChannels]
            }
            product.pack(target, tapStride: width.taps * inChannels, rowStride: 1, columnStride: count, to: packed)
        }
        if let scale { product.scaleColumns(packed, by: scale) }
    }

    /// Convolves with weights as `pack` makes them.
    func run(
        input: UnsafePointer<Float>, panels: UnsafePointer<Float>, epilogue: apus_epilogue, output: UnsafeMutablePointer<Float>,
        scratch: UnsafeMutableRawPointer, pool: ThreadPool
    ) {
        if width.output == 0 || outChannels == 0 { return }
        let jobs = images * bands, arguments = arguments(panels, epilogue)
        pool.parallelUnlessStopped(chunks) { chunk in
            let band = (scratch + chunk * bandByteCount).assumingMemoryBound(to: Float.self)
            for job in (jobs * chunk / chunks)..<(jobs * (chunk + 1) / chunks) {
                let image = job / bands, first = job % bands * bandRows, end = min(height.output, first + bandRows)
                let place = (image * height.output + first) * width.output * outChannels
                var args = arguments
                args.c = output + place
                if let residual = arguments.epilogue.residual { args.epilogue.residual = residual + place }
                runBand(first..<end, input + image * height.input * width.input * inChannels, args, band, pool)
            }
        }
    }

    /// Bytes of scratch memory for `runRows`.
    var rowsByteCount: Int { bandByteCount }

    /// Convolves some rows of the output of one image, on the calling thread: `output` stands on the first of them, and so does a
    /// residual.
    func runRows(
        _ rows: Range<Int>, image: UnsafePointer<Float>, panels: UnsafePointer<Float>, epilogue: apus_epilogue,
        output: UnsafeMutablePointer<Float>, scratch: UnsafeMutableRawPointer, pool: ThreadPool
    ) {
        var args = arguments(panels, epilogue)
        args.c = output
        var first = rows.lowerBound
        while first < rows.upperBound {
            let end = min(rows.upperBound, first + bandRows), count = (end - first) * width.output * outChannels
            runBand(first..<end, image, args, scratch.assumingMemoryBound(to: Float.self), pool)
            args.c += count
            if let residual = args.epilogue.residual { args.epilogue.residual = residual + count }
            first = end
        }
    }

    private func arguments(_ panels: UnsafePointer<Float>, _ epilogue: apus_epilogue) -> apus_sgemm_args {
        // A single window has no neighbour, and its stride may be any number.
        let step = width.output > 1 ? width.stride * (channelsFirst ? 1 : inChannels) : 0
        var args = product.arguments(aStride: step, cStride: outChannels)
        args.a_offsets = UnsafePointer(offsets.base.assumingMemoryBound(to: Int.self))
        args.b = panels
        args.epilogue = epilogue
        return args
    }

    /// As many rows as a band gives, or fewer.
    private func runBand(
        _ rows: Range<Int>, _ image: UnsafePointer<Float>, _ arguments: apus_sgemm_args, _ band: UnsafeMutablePointer<Float>,
        _ pool: ThreadPool
    ) {
        var args = arguments, window = image + rows.lowerBound * height.stride * rowStride
        if copies {
            copyBand(image, first: rows.lowerBound, count: rows.count, to: band)
            window = UnsafePointer(band)
        }
        for row in 0..<rows.count {
            args.a = window + row * height.stride * rowStride
            // A row of the output is all that the product has, and it needs no scratch memory.
            product.runSlice(0, &args, scratch: band, pool: pool)
            args.c += width.output * outChannels
            if let residual = args.epilogue.residual { args.epilogue.residual = residual + width.output * outChannels }
        }
    }

    /// The rows that `count` rows of the output from `first` on see, with zeros for padding.
    private func copyBand(_ image: UnsafePointer<Float>, first: Int, count: Int, to band: UnsafeMutablePointer<Float>) {
        let pixel = 4 * (channelsFirst ? 1 : inChannels)
        let left = min(width.padBegin, rowStride) * pixel, rowBytes = width.input * pixel, row = first * height.stride - height.padBegin
        for plane in 0..<(channelsFirst ? inChannels : 1) {
            let source = image + plane * height.input * width.input, target = band + plane * planeStride
            copyPaddedRows(
                source, rows: height.input, rowBytes: rowBytes, first: row, count: height.extent(count), left: left, lineBytes: 4 * rowStride,
                fill: 0, to: target)
        }
    }
}
