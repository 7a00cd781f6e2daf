import CApusKernels
import TestSupport
import Testing

/// A kernel of the table as a test argument.
struct PoolingKernel: CustomTestStringConvertible, Sendable {
    let index: Int

    static let all = (0..<apus_pooling_kernel_count()).map(PoolingKernel.init)

    var pointer: UnsafePointer<apus_pooling_kernel> { apus_pooling_kernel_at(index) }
    var testDescription: String { String(cString: pointer.pointee.name) }

    /// The kernel, or the test case is listed as skipped because this CPU cannot run it.
    func require() throws -> apus_pooling_kernel {
        guard apus_cpu_levels() >> pointer.pointee.isa.rawValue & 1 == 1 else {
            try Test.cancel("this CPU cannot run \(testDescription)")
        }
        return pointer.pointee
    }
}

@Suite struct PoolingTests {
    static let channelCounts = Array(0...20) + [31, 32, 33, 47, 63, 64, 65, 127, 129, 150]

    @Test func everyForcedLevelSelectsItsKernel() {
        let best: [(apus_isa, String)] = [
            (APUS_ISA_GENERIC, "generic"), (APUS_ISA_AVX2, "avx2"), (APUS_ISA_AVX512, "avx512"), (APUS_ISA_NEON, "neon"),
        ]
        for (level, name) in best where apus_cpu_levels() >> level.rawValue & 1 == 1 {
            #expect(String(cString: apus_pooling_select(apus_cpu_levels_capped(level)).pointee.name) == name)
        }
        #expect(apus_pooling_kernel_at(apus_pooling_kernel_count()) == nil)
        #expect(PoolingKernel.all.last?.pointer.pointee.isa == APUS_ISA_GENERIC)
    }

    @Test(arguments: PoolingKernel.all, [0, 1, 2, 9])
    func windowsAreRight(kernel: PoolingKernel, taps: Int) throws {
        let kernel = try kernel.require()
        let (pixels, rows) = (7, 11)
        for channels in Self.channelCounts {
            let edge: GuardedBuffer<Float>.Edge = channels % 2 == 0 ? .start : .end
            var random = RandomFloats(seed: UInt64(channels * 10 + taps))
            var values = random.array(rows * channels)
            for at in stride(from: 5, to: values.count, by: 37) { values[at] = at % 2 == 0 ? .nan : .infinity }
            let input = GuardedBuffer(values, guarding: edge)
            let table = (0..<pixels * taps).map { entry -> Int in
                // Pixel 3 is all padding, some others are in part.
                entry / max(1, taps) == 3 || entry % 4 == 3 ? APUS_PADDING : (entry * 7 + entry / 3) % rows * channels
            }
            let guardedTable = GuardedBuffer(table)
            let scales = GuardedBuffer((0..<pixels).map { Float($0) / 8 })
            let stride = channels + 2
            let output = GuardedBuffer<Float>(count: max(0, pixels * stride - 2), guarding: edge)
            var a = apus_pooling_args(
                taps: taps, channels: channels, input: input.constant, table: guardedTable.constant,
                output: output.pointer, output_stride: stride, scales: nil)
            for (run, scaled, maximum) in [
                (kernel.max, false, true), (kernel.average, false, false), (kernel.average, true, false),
            ] {
                output.fill(repeating: 777)
                a.scales = scaled ? scales.constant : nil
                run!(&a, 0, 2) // a range at a time
                run!(&a, 4, pixels)
                run!(&a, 2, 4)
                var wrong = 0
                for pixel in 0..<pixels {
                    let inside = table[pixel * taps..<(pixel + 1) * taps].filter { $0 >= 0 }
                    for c in 0..<channels {
                        let window = inside.map { Double(values[$0 + c]) }
                        let expected: Double
                        if maximum {
                            expected = window.contains(where: \.isNaN) ? .nan : window.max() ?? -.infinity
                        } else {
                            let scale = scaled ? Double(scales[pixel]) : inside.isEmpty ? 0 : 1 / Double(inside.count)
                            expected = window.reduce(0, +) * scale
                        }
                        let got = Double(output[pixel * stride + c])
                        let right = expected.isNaN ? got.isNaN : got == expected || abs(got - expected) <= 2e-6
                        if !right { wrong += 1 }
                    }
                    for between in channels..<stride where pixel + 1 < pixels {
                        if output[pixel * stride + between] != 777 { wrong += 1 }
                    }
                }
                #expect(wrong == 0, "channels \(channels), taps \(taps), maximum \(maximum), scaled \(scaled)")
                #expect(input.isIntact && output.isIntact && guardedTable.isIntact && scales.isIntact)
            }
        }
    }

    @Test(arguments: PoolingKernel.all, [0, 1, 49, 64, 65, 1000])
    func sumsOfRowsAreRight(kernel: PoolingKernel, rows: Int) throws {
        let kernel = try kernel.require()
        for channels in Self.channelCounts where rows < 100 || channels % 4 == 3 {
            let edge: GuardedBuffer<Float>.Edge = channels % 2 == 0 ? .start : .end
            var random = RandomFloats(seed: UInt64(channels + rows))
            let stride = channels + 3
            let input = GuardedBuffer(random.array(max(0, rows * stride - 3)), guarding: edge)
            let output = GuardedBuffer<Float>(count: channels, guarding: edge)
            kernel.sum_rows(rows, channels, input.constant, stride, 0.25, output.pointer)
            for c in 0..<channels {
                let terms = (0..<rows).map { Double(input[$0 * stride + c]) }
                let size = terms.reduce(1) { $0 + abs($1) }
                #expect(abs(Double(output[c]) - terms.reduce(0, +) / 4) <= size * 8 / 16_777_216)
            }
            #expect(input.isIntact && output.isIntact)
        }
    }
}
