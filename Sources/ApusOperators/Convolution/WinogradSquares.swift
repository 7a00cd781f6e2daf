import ApusCore
import CApusKernels

/// The squares into which Winograd's transforms (apus_winograd.h) cut the outputs of a convolution, or those of the phases of a
/// transposed one, which all read the same inputs.
struct WinogradSquares: @unchecked Sendable {
    let kernel: UnsafePointer<apus_winograd_kernel>
    /// Values of a square's transform.
    let positions: Int
    /// Squares of all images.
    let count: Int
    private let image: apus_winograd_image
    private let phases: [Phase]
    let outChannels: Int

    /// Where the outputs of a phase lie: those of one convolution with stride 1.
    private struct Phase {
        let target: apus_winograd_target
        /// Floats before its first pixel.
        let offset: Int
    }

    /// Columns of the products: the output channels of all phases, one phase after the other.
    var columns: Int { outChannels * phases.count }

    private init(
        levels: UInt32, window: [Int], tile: Int, image: apus_winograd_image, images: Int, outChannels: Int, phases: [Phase]
    ) throws {
        let axes = window.contains(1) ? 1 : 2
        guard let kernel = apus_winograd_select(levels, axes, window.max() ?? 0, tile) else {
            throw ApusError(.internal, "there is no Winograd kernel of tile \(tile) for windows \(window)")
        }
        self.kernel = kernel
        self.image = image
        self.phases = phases
        self.outChannels = outChannels
        positions = Int(apus_winograd_positions(kernel))
        count = try image.high.multiplied(by: image.wide).multiplied(by: images)
        _ = try outChannels.multiplied(by: phases.count)
    }

    /// `tile` must be one that `WinogradSize` has for the windows of `geometry`.
    init(levels: UInt32, tile: Int, geometry: WindowGeometry, images: Int, outChannels: Int) throws {
        // A missing height is 1.
        func pair(_ values: [Int], _ missing: Int) -> [Int] { values.count == 1 ? [missing] + values : values }
        let window = pair(geometry.kernel, 1), input = pair(geometry.input, 1), output = pair(geometry.output, 1)
        let pads = pair(geometry.padBegin, 0), wide = tile
        func squares(_ axis: Int) -> Int { window[axis] == 1 ? output[axis] : output[axis] / wide + (output[axis] % wide == 0 ? 0 : 1) }
        let row = try output[1].multiplied(by: outChannels)
        try self.init(
            levels: levels, window: window, tile: tile,
            image: apus_winograd_image(
                in_height: input[0], in_width: input[1], high: squares(0), wide: squares(1), pad_top: pads[0], pad_left: pads[1],
                down: window[1] == 1),
            images: images, outChannels: outChannels,
            phases: [
                Phase(
                    target: apus_winograd_target(
                        height: output[0], width: output[1], top: 0, left: 0, image_stride: try output[0].multiplied(by: row), row_stride: row,
                        pixel_stride: outChannels), offset: 0)
            ])
    }

    /// Of a transposed convolution. With y + pad = q * stride + phase, output y sees input q under tap `phase`, input q - 1 under
    /// tap phase + stride and so on: outputs of the same q see the same inputs, whatever their phase.
    init(levels: UInt32, tile: Int, transposed axes: [TransposedAxis], images: Int, outChannels: Int) throws {
        guard axes.count == 2, let window = WinogradSize.window(transposed: axes.map(\.kernel), strides: axes.map(\.stride)) else {
            throw ApusError(.internal, "there are no Winograd transforms for the transposed convolution")
        }
        // By axis: the first q with an output, and how many squares there are.
        let first = axes.map { $0.padBegin / $0.stride }
        let squares = try zip(axes, first).map { axis, first in
            let count = try axis.output.adding(axis.padBegin).adding(axis.stride - 1) / axis.stride - first
            return count / tile + (count % tile == 0 ? 0 : 1)
        }
        let row = try axes[1].output.multiplied(by: outChannels), whole = try axes[0].output.multiplied(by: row)
        /// An axis of a phase: outputs of the first square that are cut, the first pixel, how many pixels.
        func outputs(_ index: Int, _ phase: Int) -> (cut: Int, first: Int, count: Int) {
            let axis = axes[index], begin = first[index] * axis.stride + phase - axis.padBegin, cut = begin < 0 ? 1 : 0
            let pixel = begin + cut * axis.stride
            return (cut, pixel, max(0, axis.output - pixel + axis.stride - 1) / axis.stride)
        }
        var phases: [Phase] = []
        for phaseY in 0..<axes[0].stride {
            for phaseX in 0..<axes[1].stride {
                let (y, x) = (outputs(0, phaseY), outputs(1, phaseX))
                phases.append(
                    Phase(
                        target: apus_winograd_target(
                            height: y.count, width: x.count, top: y.cut, left: x.cut, image_stride: whole,
                            row_stride: try row.multiplied(by: axes[0].stride), pixel_stride: outChannels * axes[1].stride),
                        offset: y.first * row + x.first * outChannels))
            }
        }
        try self.init(
            levels: levels, window: window, tile: tile,
            image: apus_winograd_image(
                in_height: axes[0].input, in_width: axes[1].input, high: squares[0], wide: squares[1], pad_top: window[0] - 1 - first[0],
                pad_left: window[1] - 1 - first[1], down: false),
            images: images, outChannels: outChannels, phases: phases)
    }

    /// V of the squares [begin, end). `zeros`: one for each channel.
    func transformInput(
        _ input: UnsafePointer<Float>, channels: Int, zeros: UnsafePointer<Float>, _ begin: Int, _ end: Int,
        to v: UnsafeMutablePointer<Float>, positionStride: Int
    ) {
        var image = image
        apus_winograd_input(kernel, &image, channels, input, zeros, begin, end, v, positionStride)
    }

    /// The outputs of the squares [begin, end) from M, whose rows are `rowStride` floats apart and hold these channels of each phase.
    /// `output` and what `epilogue` points to are those of all channels.
    func transformOutput(
        _ m: UnsafePointer<Float>, rowStride: Int, positionStride: Int, channels: Range<Int>, _ begin: Int, _ end: Int,
        epilogue: apus_epilogue, to output: UnsafeMutablePointer<Float>
    ) {
        var image = image
        for (index, phase) in phases.enumerated() {
            var target = phase.target, epilogue = epilogue
            let offset = phase.offset + channels.lowerBound
            if let bias = epilogue.bias { epilogue.bias = bias + channels.lowerBound }
            if let residual = epilogue.residual { epilogue.residual = residual + offset }
            apus_winograd_output(
                kernel, &image, &target, channels.count, m + index * channels.count, rowStride, positionStride, begin, end, output + offset,
                &epilogue)
        }
    }
}
