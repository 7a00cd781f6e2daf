import CApusKernels
import TestSupport
import Testing

/// A kernel of the table as a test argument.
struct WinogradKernel: CustomTestStringConvertible, Sendable {
    let index: Int

    static let all = (0..<apus_winograd_kernel_count()).map(WinogradKernel.init)

    var pointer: UnsafePointer<apus_winograd_kernel> { apus_winograd_kernel_at(index) }
    var window: Int { Int(pointer.pointee.window) }
    var tile: Int { Int(pointer.pointee.tile) }
    var axes: Int { Int(pointer.pointee.axes) }
    var taps: Int { axes == 2 ? window * window : window }
    var points: Int { window + tile - 1 }
    var positions: Int { axes == 2 ? points * points : points }
    var testDescription: String { String(cString: pointer.pointee.name) }

    /// The kernel, or the test case is listed as skipped because this CPU cannot run it.
    func require() throws -> UnsafePointer<apus_winograd_kernel> {
        guard apus_cpu_levels() >> pointer.pointee.isa.rawValue & 1 == 1 else {
            try Test.cancel("this CPU cannot run \(testDescription)")
        }
        return pointer
    }
}

/// Images, input size, padding above, left, below, right.
struct WinogradGeometry: CustomTestStringConvertible, Sendable {
    var images = 1
    var input: (Int, Int)
    var padding = (1, 1, 1, 1)
    /// For windows of so many rows and columns.
    func output(_ window: (Int, Int)) -> (Int, Int) {
        (max(0, input.0 + padding.0 + padding.2 + 1 - window.0), max(0, input.1 + padding.1 + padding.3 + 1 - window.1))
    }
    var testDescription: String { "\(images) of \(input), padding \(padding)" }

    static let all = [
        WinogradGeometry(input: (8, 8)), WinogradGeometry(images: 2, input: (5, 7)), WinogradGeometry(input: (1, 1)),
        WinogradGeometry(input: (6, 10), padding: (0, 0, 0, 0)), WinogradGeometry(images: 3, input: (4, 3), padding: (2, 0, 1, 2)),
        WinogradGeometry(input: (3, 3), padding: (5, 4, 3, 6)), WinogradGeometry(input: (3, 2), padding: (0, 0, 0, 0)),
    ]
}

@Suite struct WinogradTests {
    @Test func everyForcedLevelSelectsItsKernel() {
        let forms = [(2, 3, 4, "f4x4_3x3"), (2, 3, 2, "f2x2_3x3"), (2, 5, 2, "f2x2_5x5"), (2, 2, 3, "f3x3_2x2"), (1, 3, 4, "f4_3"), (1, 7, 4, "f4_7")]
        for (axes, window, tile, form) in forms {
            let best: [(apus_isa, String)] = [
                (APUS_ISA_GENERIC, "generic"), (APUS_ISA_AVX2, "avx2"), (APUS_ISA_AVX512, "avx512"), (APUS_ISA_NEON, "neon"),
            ]
            for (level, name) in best where apus_cpu_levels() >> level.rawValue & 1 == 1 {
                let kernel = apus_winograd_select(apus_cpu_levels_capped(level), axes, window, tile)
                #expect(kernel.map { String(cString: $0.pointee.name) } == "\(name)_\(form)")
            }
            #expect(apus_winograd_select(0, axes, window, tile)?.pointee.isa == APUS_ISA_GENERIC)
        }
        #expect(apus_winograd_select(apus_cpu_levels(), 2, 3, 3) == nil)
        #expect(apus_winograd_select(apus_cpu_levels(), 1, 3, 2) == nil)
        #expect(apus_winograd_kernel_at(apus_winograd_kernel_count()) == nil)
        #expect(Set(WinogradKernel.all.map(\.testDescription)).count == WinogradKernel.all.count)
    }

    static let generic = WinogradKernel.all.filter { $0.pointer.pointee.isa == APUS_ISA_GENERIC }

    /// Every lane count of a vector and every slice of output channels.
    @Test(arguments: generic) func weightsOfASlice(kernel: WinogradKernel) {
        let positions = kernel.positions, k = 3, n = 37
        var random = SplitMix(7)
        let weights = GuardedBuffer(random.floats(n * k * kernel.taps), guarding: .end)
        let whole = GuardedBuffer<Float>(count: positions * k * n, guarding: .end)
        apus_winograd_weights(kernel.pointer, weights.constant, k, 0, n, whole.pointer, k * n)
        for (begin, end) in [(0, 16), (5, 6), (16, 37), (30, 30)] {
            let part = GuardedBuffer<Float>(count: positions * k * (end - begin), guarding: .end)
            apus_winograd_weights(kernel.pointer, weights.constant, k, begin, end, part.pointer, k * (end - begin))
            var wrong = 0
            for position in 0..<positions {
                for i in 0..<k {
                    for j in begin..<end where part[(position * k + i) * (end - begin) + j - begin] != whole[(position * k + i) * n + j] {
                        wrong += 1
                    }
                }
            }
            #expect(wrong == 0)
            #expect(part.isIntact)
        }
        #expect(weights.isIntact && whole.isIntact)
    }

    /// Packed weights transformed in a run, against those by the definition; every tail of a vector.
    @Test(arguments: WinogradKernel.all.filter { $0.taps == 9 }, [0, 1, 7, 16, 45])
    func packedWeights(kernel: WinogradKernel, count: Int) throws {
        let pointer = try kernel.require(), positions = kernel.positions, pitch = count + 3
        var random = SplitMix(11)
        let weights = random.floats(count * 9)
        var expected = [Float](repeating: 0, count: positions * count)
        apus_winograd_weights(pointer, weights, 1, 0, count, &expected, count)
        // By tap, as panels have them.
        let packed = GuardedBuffer<Float>(count: count == 0 ? 0 : 8 * pitch + count, guarding: .end)
        for tap in 0..<9 { for j in 0..<count { packed[tap * pitch + j] = weights[j * 9 + tap] } }
        let found = GuardedBuffer<Float>(count: count == 0 ? 0 : (positions - 1) * pitch + count, guarding: .end)
        apus_winograd_packed_weights(pointer, packed.constant, pitch, count, found.pointer, pitch)
        let worst = (0..<positions * count).map { abs(found[$0 / count * pitch + $0 % count] - expected[$0]) }.max() ?? 0
        #expect(worst <= 1e-6)
        #expect(packed.isIntact && found.isIntact)
    }

    @Test(arguments: WinogradKernel.all, WinogradGeometry.all)
    func convolves(kernel: WinogradKernel, geometry: WinogradGeometry) throws {
        _ = try kernel.require()
        for channels in [1, 4, 8, 15, 17, 35] {
            try check(kernel, geometry, k: channels, n: 36 - channels, SgemmTests.activations[channels % 7], bias: true, residual: channels % 2 == 0)
        }
    }

    @Test(arguments: WinogradKernel.all)
    func epilogues(kernel: WinogradKernel) throws {
        _ = try kernel.require()
        for activation in SgemmTests.activations {
            for flags in 0..<4 {
                try check(
                    kernel, WinogradGeometry(input: (5, 6), padding: (1, 2, 2, 1)), k: 2, n: 19, activation, bias: flags & 1 != 0, residual: flags & 2 != 0)
            }
        }
    }

    /// Against the direct sum in double precision.
    private func check(
        _ kernel: WinogradKernel, _ g: WinogradGeometry, k: Int, n: Int,
        _ activation: (apus_activation, Float, Float), bias: Bool, residual: Bool
    ) throws {
        let edge: GuardedBuffer<Float>.Edge = k % 2 == 0 ? .start : .end
        // Of the kernels with one axis, windows of a row with many channels, of a column with few.
        let (pointer, positions, taps, tile) = (kernel.pointer, kernel.positions, kernel.taps, kernel.tile)
        let down = kernel.axes == 1 && k > n, high = kernel.axes == 2 || down ? kernel.window : 1, wide = taps / high
        let (outHigh, outWide) = g.output((high, wide))
        var random = SplitMix(UInt64(k * 100 + n))
        let input = GuardedBuffer(random.floats(g.images * g.input.0 * g.input.1 * k, -1...1), guarding: edge)
        let weights = GuardedBuffer(random.floats(n * k * taps, -1...1), guarding: edge)
        let zeros = GuardedBuffer([Float](repeating: 0, count: k), guarding: edge)
        let biases = GuardedBuffer(random.floats(n, -1...1), guarding: edge)
        let count = g.images * outHigh * outWide * n
        let residuals = GuardedBuffer(random.floats(count, -1...1), guarding: edge)
        let output = GuardedBuffer([Float](repeating: 777, count: count), guarding: edge)
        // Squares that begin one output before the image, if the padding leaves room for that.
        let (top, left) = (kernel.axes == 2 || down ? k % 2 : 0, kernel.axes == 2 || !down ? k % 2 : 0)
        func cut(_ outputs: Int, _ window: Int, _ before: Int) -> Int { window == 1 ? outputs : (outputs + before + tile - 1) / tile }
        var image = apus_winograd_image(
            in_height: g.input.0, in_width: g.input.1, high: cut(outHigh, high, top), wide: cut(outWide, wide, left),
            pad_top: g.padding.0 + top, pad_left: g.padding.1 + left, down: down)
        var target = apus_winograd_target(
            height: outHigh, width: outWide, top: top, left: left, image_stride: outHigh * outWide * n, row_stride: outWide * n,
            pixel_stride: n)
        let squares = Int(image.high * image.wide) * g.images
        var u = [Float](repeating: 0, count: positions * k * n)
        apus_winograd_weights(pointer, weights.constant, k, 0, n, &u, k * n)
        var epilogue = apus_epilogue()
        epilogue.bias = bias ? biases.constant : nil
        epilogue.residual = residual ? residuals.constant : nil
        epilogue.residual_stride = n
        (epilogue.activation, epilogue.alpha, epilogue.beta) = activation
        epilogue.function = { row, n, _ in for i in 0..<n { row![i] = 2 * row![i] + 1 } }

        // In slices, the last ones first.
        let step = max(1, squares / 2)
        for begin in stride(from: 0, to: squares, by: step).reversed() {
            let rows = min(step, squares - begin), pitch = n + k % 3, vStride = rows * k + 5, mStride = rows * pitch + 3
            let v = GuardedBuffer<Float>(count: positions * vStride - 5, guarding: edge)
            apus_winograd_input(pointer, &image, k, input.constant, zeros.constant, begin, begin + rows, v.pointer, vStride)
            let m = GuardedBuffer<Float>(count: positions * mStride - 3, guarding: edge)
            for position in 0..<positions {
                for row in 0..<rows {
                    for column in 0..<n {
                        var sum = 0.0
                        for i in 0..<k { sum += Double(v[position * vStride + row * k + i]) * Double(u[(position * k + i) * n + column]) }
                        m.pointer[position * mStride + row * pitch + column] = Float(sum)
                    }
                }
            }
            apus_winograd_output(
                pointer, &image, &target, n, m.constant, pitch, mStride, begin, begin + rows, output.pointer, &epilogue)
            #expect(v.isIntact && m.isIntact)
        }
        var wrong = 0
        for image in 0..<g.images {
            for y in 0..<outHigh {
                for x in 0..<outWide {
                    for column in 0..<n {
                        var (sum, size) = (0.0, 1.0)
                        for tap in 0..<taps {
                            let (v, w) = (y + tap / wide - g.padding.0, x + tap % wide - g.padding.1)
                            guard v >= 0, v < g.input.0, w >= 0, w < g.input.1 else { continue }
                            for i in 0..<k {
                                let term = Double(input[((image * g.input.0 + v) * g.input.1 + w) * k + i])
                                    * Double(weights[(column * k + i) * taps + tap])
                                sum += term
                                size += abs(term)
                            }
                        }
                        let at = ((image * outHigh + y) * outWide + x) * n + column
                        if bias { sum += Double(biases[column]) }
                        if residual { sum += Double(residuals[at]) }
                        if !(abs(Double(output[at]) - SgemmTests.activate(sum, epilogue)) <= (size + 10) * 4e-6) { wrong += 1 }
                    }
                }
            }
        }
        #expect(wrong == 0, "\(g.testDescription), \(kernel.testDescription), \(k) to \(n) channels, activation \(activation.0.rawValue)")
        #expect(
            input.isIntact && weights.isIntact && zeros.isIntact && biases.isIntact && residuals.isIntact && output.isIntact,
            "\(g.testDescription), \(k) to \(n) channels")
    }
}
