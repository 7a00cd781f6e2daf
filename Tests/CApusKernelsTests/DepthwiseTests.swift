import CApusKernels
import TestSupport
import Testing

/// A kernel of the table as a test argument.
struct DepthwiseKernel: CustomTestStringConvertible, Sendable {
    let index: Int

    static let all = (0..<apus_depthwise_kernel_count()).map(DepthwiseKernel.init)

    var pointer: UnsafePointer<apus_depthwise_kernel> { apus_depthwise_kernel_at(index) }
    var testDescription: String { String(cString: pointer.pointee.name) }

    /// The kernel, or the test case is listed as skipped because this CPU cannot run it.
    func require() throws -> UnsafePointer<apus_depthwise_kernel> {
        guard apus_cpu_levels() >> pointer.pointee.isa.rawValue & 1 == 1 else {
            try Test.cancel("this CPU cannot run \(testDescription)")
        }
        return pointer
    }
}

/// Input size, window, stride, dilation and padding before and after, alike in both directions unless given twice.
struct DepthwiseGeometry: CustomTestStringConvertible, Sendable {
    var input = (9, 20)
    var window = (3, 3)
    var stride = (1, 1)
    var dilation = (1, 1)
    var before = (1, 1)
    var after = (1, 1)

    var output: (Int, Int) {
        func size(_ input: Int, _ window: Int, _ stride: Int, _ dilation: Int, _ padding: Int) -> Int {
            let room = input + padding - ((window - 1) * dilation + 1)
            return room < 0 ? 0 : room / stride + 1
        }
        return (
            size(input.0, window.0, stride.0, dilation.0, before.0 + after.0),
            size(input.1, window.1, stride.1, dilation.1, before.1 + after.1)
        )
    }

    var testDescription: String {
        "\(input) by \(window), stride \(stride), dilation \(dilation), padding \(before) \(after)"
    }

    static let all: [DepthwiseGeometry] = [
        DepthwiseGeometry(),
        DepthwiseGeometry(stride: (2, 2)),
        DepthwiseGeometry(input: (10, 19), stride: (2, 2), before: (0, 0)),
        DepthwiseGeometry(input: (4, 14), window: (3, 3)), // whole tiles of seven
        DepthwiseGeometry(input: (5, 15), window: (3, 3), before: (0, 0), after: (0, 0)),
        DepthwiseGeometry(input: (5, 29), stride: (1, 2), before: (0, 4), after: (2, 9)),
        DepthwiseGeometry(input: (6, 14), window: (5, 5), dilation: (2, 1), before: (4, 2), after: (4, 2)),
        DepthwiseGeometry(input: (3, 4), window: (5, 5), stride: (2, 2), before: (2, 4), after: (2, 7)),
        DepthwiseGeometry(input: (7, 7), window: (5, 5), before: (2, 2), after: (2, 2)),
        DepthwiseGeometry(input: (14, 23), window: (5, 5), stride: (2, 2), before: (1, 2), after: (2, 1)),
        DepthwiseGeometry(input: (8, 21), dilation: (2, 3), before: (2, 3), after: (2, 3)),
        DepthwiseGeometry(input: (1, 40), window: (1, 7), before: (0, 6), after: (0, 0)),
        DepthwiseGeometry(input: (1, 40), window: (1, 2), stride: (1, 3), before: (0, 0), after: (0, 0)),
        DepthwiseGeometry(input: (1, 1)),
        DepthwiseGeometry(input: (2, 2), window: (7, 7), before: (3, 3), after: (3, 3)),
        DepthwiseGeometry(input: (3, 3), window: (1, 1), before: (4, 4), after: (4, 4)), // windows of nothing but padding
        DepthwiseGeometry(input: (5, 12), window: (2, 4), stride: (3, 2), dilation: (1, 2), before: (0, 5), after: (3, 0)),
    ]
}

@Suite struct DepthwiseTests {
    @Test func everyForcedLevelSelectsItsKernel() {
        let best: [(apus_isa, String)] = [
            (APUS_ISA_GENERIC, "generic"), (APUS_ISA_AVX2, "avx2"), (APUS_ISA_AVX512, "avx512"), (APUS_ISA_NEON, "neon"),
        ]
        for (level, name) in best where apus_cpu_levels() >> level.rawValue & 1 == 1 {
            #expect(String(cString: apus_depthwise_select(apus_cpu_levels_capped(level)).pointee.name) == name)
        }
        #expect(apus_depthwise_kernel_at(apus_depthwise_kernel_count()) == nil)
        #expect(DepthwiseKernel.all.last?.pointer.pointee.isa == APUS_ISA_GENERIC)
    }

    @Test(arguments: DepthwiseKernel.all, DepthwiseGeometry.all)
    func isRight(kernel: DepthwiseKernel, geometry g: DepthwiseGeometry) throws {
        let pointer = try kernel.require()
        let tile = pointer.pointee.channel_tile
        for channels in [0, 1, 3, tile / 2 - 1, tile / 2, tile / 2 + 1, tile - 1, tile, tile + 1, 2 * tile + 1] {
            try check(pointer, g, channels: channels, activation: SgemmTests.activations[channels % 7])
        }
    }

    @Test(arguments: DepthwiseKernel.all)
    func epiloguesAreRight(kernel: DepthwiseKernel) throws {
        let pointer = try kernel.require()
        for activation in SgemmTests.activations {
            for flags in 0..<4 {
                try check(
                    pointer, DepthwiseGeometry(), channels: pointer.pointee.channel_tile + 3, activation: activation,
                    bias: flags & 1 != 0, residual: flags & 2 != 0)
            }
        }
    }

    func check(
        _ kernel: UnsafePointer<apus_depthwise_kernel>, _ g: DepthwiseGeometry, channels: Int,
        activation: (apus_activation, Float, Float), bias: Bool = true, residual: Bool = true
    ) throws {
        let (outHigh, outWide) = g.output
        let edge: GuardedBuffer<Float>.Edge = channels % 2 == 0 ? .start : .end
        var random = RandomFloats(seed: UInt64(channels + 1))
        let gap = channels % 3 // floats between pixels, of other values
        let pixel = channels + gap
        let inputCount = g.input.0 * g.input.1 * pixel - (channels == 0 ? 0 : gap)
        let input = GuardedBuffer(random.array(max(0, inputCount)), guarding: edge)
        let onnxWeights = random.array(channels * g.window.0 * g.window.1)
        let weights = GuardedBuffer<Float>(count: onnxWeights.count, guarding: edge)
        apus_depthwise_pack_weights(channels, g.window.0 * g.window.1, onnxWeights, weights.pointer)
        let biases = GuardedBuffer(random.array(channels), guarding: edge)
        let residuals = GuardedBuffer(random.array(outHigh * outWide * channels), guarding: edge)
        let outputCount = max(0, outHigh * outWide * pixel - (channels == 0 ? 0 : gap))
        let output = GuardedBuffer([Float](repeating: 777, count: outputCount), guarding: edge)
        var a = apus_depthwise_args()
        a.channels = channels
        (a.in_height, a.in_width) = g.input
        (a.in_row_stride, a.in_pixel_stride) = (g.input.1 * pixel, pixel)
        (a.out_height, a.out_width) = g.output
        (a.out_row_stride, a.out_pixel_stride) = (outWide * pixel, pixel)
        (a.kernel_height, a.kernel_width) = g.window
        (a.stride_y, a.stride_x) = g.stride
        (a.dilation_y, a.dilation_x) = g.dilation
        (a.pad_top, a.pad_left) = g.before
        a.input = input.constant
        a.weights = weights.constant
        a.output = output.pointer
        a.epilogue.bias = bias ? biases.constant : nil
        a.epilogue.residual = residual ? residuals.constant : nil
        a.epilogue.residual_stride = channels
        (a.epilogue.activation, a.epilogue.alpha, a.epilogue.beta) = activation
        a.epilogue.function = { row, n, _ in for i in 0..<n { row![i] = 2 * row![i] + 1 } }
        apus_depthwise_run(kernel, &a, 0, outHigh, 0, channels)

        var wrong = 0
        for y in 0..<outHigh {
            for x in 0..<outWide {
                let at = (y * outWide + x)
                for c in 0..<channels {
                    var (sum, size) = (0.0, 1.0)
                    for i in 0..<g.window.0 {
                        for j in 0..<g.window.1 {
                            let v = y * g.stride.0 + i * g.dilation.0 - g.before.0
                            let u = x * g.stride.1 + j * g.dilation.1 - g.before.1
                            guard v >= 0, v < g.input.0, u >= 0, u < g.input.1 else { continue }
                            let term = Double(input[(v * g.input.1 + u) * pixel + c])
                                * Double(onnxWeights[(c * g.window.0 + i) * g.window.1 + j])
                            sum += term
                            size += abs(term)
                        }
                    }
                    if bias { sum += Double(biases[c]) }
                    if residual { sum += Double(residuals[at * channels + c]) }
                    let error = abs(Double(output[at * pixel + c]) - SgemmTests.activate(sum, a.epilogue))
                    if !(error <= size * 40 / 16_777_216) { wrong += 1 }
                }
                for between in channels..<pixel where at * pixel + between < output.count {
                    if output[at * pixel + between] != 777 { wrong += 1 }
                }
            }
        }
        #expect(wrong == 0, "\(g.testDescription), channels \(channels), activation \(activation.0.rawValue)")
        #expect(
            input.isIntact && weights.isIntact && output.isIntact && biases.isIntact && residuals.isIntact,
            "\(g.testDescription), channels \(channels)")

        // Slices give the same bits.
        let whole = output.elements.map(\.bitPattern)
        output.fill(repeating: 777)
        let step = max(1, kernel.pointee.channel_tile / 2 - 1)
        for channel in stride(from: 0, to: channels, by: step).reversed() {
            for row in (0..<outHigh).reversed() {
                apus_depthwise_run(kernel, &a, row, row + 1, channel, min(channel + step, channels))
            }
        }
        #expect(output.elements.map(\.bitPattern) == whole, "\(g.testDescription), channels \(channels)")
    }
}
