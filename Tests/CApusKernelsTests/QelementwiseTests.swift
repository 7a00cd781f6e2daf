import CApusKernels
import TestSupport
import Testing

@Suite struct QelementwiseTests {
    static let levels = Level.all { apus_qelementwise_at($0)?.pointee.isa }

    @Test func selectionObeysCaps() {
        expectSelectionObeysCaps(Self.levels) { apus_qelementwise_select($0).pointee.isa }
    }

    private func number(_ code: UInt8, _ isSigned: Bool) -> Int32 { isSigned ? Int32(Int8(bitPattern: code)) : Int32(code) }

    private func saturated(_ value: Float, _ isSigned: Bool) -> UInt8 {
        let low: Float = isSigned ? -128 : 0, high: Float = isSigned ? 127 : 255
        let limited = value > low ? min(value, high) : low
        return UInt8(truncatingIfNeeded: Int32(limited.rounded(.toNearestOrEven)))
    }

    @Test(arguments: levels) func sumsAndProductsMatchTheDefinition(level: Level) throws {
        try level.skipUnlessRunnable()
        let kernels = try #require(apus_qelementwise_at(level.index)?.pointee)
        var random = SplitMix(5)
        for edge in edges {
            for n in Array(0...35) + [63, 64, 65, 100] {
                for isSigned in [false, true] {
                    for hasB in [false, true] {
                        let x: [UInt8] = random.bytes(n), z: [UInt8] = random.bytes(n)
                        let a = GuardedBuffer<UInt8>(x, guarding: edge), b = GuardedBuffer<UInt8>(z, guarding: edge)
                        let y = GuardedBuffer<UInt8>(count: n, guarding: edge)
                        var add = apus_qadd_args()
                        add.n = n
                        add.is_signed = isSigned
                        add.a = UnsafeRawPointer(a.pointer)
                        add.b = hasB ? UnsafeRawPointer(b.pointer) : nil
                        (add.base, add.a_ratio, add.b_ratio) = (n == 5 || n == 100 ? .nan : random.float(-90...90), n == 65 ? 1e8 : random.float(0...1), random.float(0...1))
                        add.y = UnsafeMutableRawPointer(y.pointer)
                        kernels.add(&add)
                        for i in 0..<n {
                            var sum = add.base + Float(number(x[i], isSigned)) * add.a_ratio
                            if hasB { sum = sum + Float(number(z[i], isSigned)) * add.b_ratio }
                            #expect(y.pointer[i] == saturated(sum, isSigned))
                        }
                        var mul = apus_qmul_args()
                        mul.n = n
                        mul.is_signed = isSigned
                        mul.a = add.a
                        mul.b = add.b
                        (mul.a_zero, mul.b_zero, mul.factor) = (isSigned ? -7 : 120, isSigned ? 100 : 3, -17)
                        (mul.ratio, mul.zero_point) = (random.float(0...0.02), 11)
                        // In place.
                        mul.y = UnsafeMutableRawPointer(a.pointer)
                        kernels.mul(&mul)
                        for i in 0..<n {
                            let right = hasB ? number(z[i], isSigned) - mul.b_zero : mul.factor
                            let product = Float((number(x[i], isSigned) - mul.a_zero) * right) * mul.ratio
                            #expect(a.pointer[i] == saturated(product + mul.zero_point, isSigned))
                        }
                    }
                }
            }
        }
    }

    @Test(arguments: levels) func maximaMatchTheDefinition(level: Level) throws {
        try level.skipUnlessRunnable()
        let kernels = try #require(apus_qelementwise_at(level.index)?.pointee)
        var random = SplitMix(6)
        for edge in edges {
            for channels in Array(0...20) + [63, 64, 65, 130] {
                for isSigned in [false, true] {
                    let pixels = 5, taps = 3, codes: [UInt8] = random.bytes(4 * channels)
                    let input = GuardedBuffer<UInt8>(codes, guarding: edge), output = GuardedBuffer<UInt8>(count: pixels * channels, guarding: edge)
                    var table = (0..<(pixels * taps)).map { _ in Int.random(in: -1...3, using: &random) }.map { $0 < 0 ? -1 : $0 * channels }
                    table.replaceSubrange(3..<6, with: [-1, -1, -1])
                    try table.withUnsafeBufferPointer { entries in
                        var args = apus_qmax_args()
                        (args.taps, args.channels, args.is_signed) = (taps, channels, isSigned)
                        args.input = UnsafeRawPointer(input.pointer)
                        args.table = try #require(entries.baseAddress)
                        args.output = UnsafeMutableRawPointer(output.pointer)
                        kernels.max(&args, 0, 2)
                        kernels.max(&args, 2, pixels)
                    }
                    for pixel in 0..<pixels {
                        for channel in 0..<channels {
                            let seen = table[(pixel * taps)..<((pixel + 1) * taps)].filter { $0 >= 0 }.map { number(codes[$0 + channel], isSigned) }
                            let expected = seen.max() ?? (isSigned ? -128 : 0)
                            #expect(number(output.pointer[pixel * channels + channel], isSigned) == expected)
                        }
                    }
                }
            }
        }
    }

    @Test(arguments: levels) func sumsOverPixelsMatchTheDefinition(level: Level) throws {
        try level.skipUnlessRunnable()
        let kernels = try #require(apus_qelementwise_at(level.index)?.pointee)
        var random = SplitMix(7)
        for edge in edges {
            for channels in Array(0...20) + [31, 32, 63, 64, 65, 130] {
                for (pixels, gap) in [(0, 0), (1, 0), (5, 0), (5, 3)] {
                    for isSigned in [false, true] {
                        let stride = channels + gap, count = pixels == 0 ? 0 : pixels * stride - gap
                        let codes: [UInt8] = random.bytes(count)
                        let input = GuardedBuffer<UInt8>(codes, guarding: edge)
                        let sums = GuardedBuffer<Int32>(count: channels, guarding: edge.of(Int32.self))
                        var args = apus_qsum_args()
                        (args.pixels, args.channels, args.is_signed, args.pixel_stride) = (pixels, channels, isSigned, stride)
                        args.input = UnsafeRawPointer(input.pointer)
                        args.sums = sums.pointer
                        kernels.sum(&args)
                        for channel in 0..<channels {
                            let expected = (0..<pixels).reduce(Int32(0)) { $0 + number(codes[$1 * stride + channel], isSigned) }
                            #expect(sums[channel] == expected)
                        }
                        #expect(sums.isIntact)
                    }
                }
            }
        }
    }
}
