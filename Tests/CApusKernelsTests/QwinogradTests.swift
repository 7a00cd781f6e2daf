import CApusKernels
import CKernelTwins
import TestSupport
import Testing

@Suite struct QwinogradTests {
    static let levels = Level.all { apus_qwinograd_at($0)?.pointee.isa }

    static let tested = levels + [Level.twin]

    static func kernel(_ level: Level) throws -> UnsafePointer<apus_qwinograd_kernel> {
        try level.skipUnlessRunnable()
        return try #require(level.isTwin ? twin_qwinograd() : apus_qwinograd_at(level.index))
    }

    /// One convolution and its sums by the definition.
    private final class Problem {
        let geometry: WinogradGeometry
        let k, n: Int
        let input: GuardedBuffer<UInt8>, weights: GuardedBuffer<UInt8>, padding: GuardedBuffer<UInt8>
        let bias: GuardedBuffer<Int32>, scales: GuardedBuffer<Float>
        var args = apus_qgemm_args()
        var image: apus_qwinograd_image
        /// [image, y, x, output channel], without the bias.
        var sums: [Int32] = []
        let edge: GuardedBuffer<UInt8>.Edge

        init(
            _ geometry: WinogradGeometry, k: Int, n: Int, signs: Int, zeroPoint: Int32, edge: GuardedBuffer<UInt8>.Edge,
            random: inout SplitMix, input codes: [UInt8]? = nil, weights numbers: [Int8]? = nil
        ) {
            (self.geometry, self.k, self.n, self.edge) = (geometry, k, n, edge)
            let (height, width) = geometry.input, (outHigh, outWide) = geometry.output((3, 3))
            let isSigned = signs & 1 != 0, weightsAreSigned = signs & 2 != 0
            input = GuardedBuffer(codes ?? random.bytes(geometry.images * height * width * k), guarding: edge)
            weights = GuardedBuffer(
                numbers.map { $0.map { UInt8(bitPattern: $0) ^ (weightsAreSigned ? 0 : 0x80) } } ?? random.bytes(n * k * 9), guarding: edge)
            padding = GuardedBuffer([UInt8](repeating: UInt8(truncatingIfNeeded: zeroPoint), count: k), guarding: edge)
            bias = GuardedBuffer(random.bytes(n), guarding: edge.of(Int32.self))
            scales = GuardedBuffer(random.floats(n, 0.0001...0.01), guarding: edge.of(Float.self))
            image = apus_qwinograd_image(
                in_height: height, in_width: width, out_height: outHigh, out_width: outWide, pad_top: geometry.padding.0,
                pad_left: geometry.padding.1)
            (args.m, args.n, args.k, args.taps) = (geometry.images * outHigh * outWide, n, k, 9)
            args.a = UnsafeRawPointer(input.pointer)
            args.a_padding = UnsafeRawPointer(padding.pointer)
            args.a_is_signed = isSigned
            args.a_zero_point = zeroPoint
            args.b_is_signed = weightsAreSigned
            args.b_zero_point = weightsAreSigned ? 0 : 128
            args.c_stride = n
            for index in 0..<args.m * n {
                let column = index % n, pixel = index / n % (outHigh * outWide), picture = index / n / (outHigh * outWide)
                var sum: Int32 = 0
                for tap in 0..<9 {
                    let y = pixel / outWide + tap / 3 - geometry.padding.0, x = pixel % outWide + tap % 3 - geometry.padding.1
                    guard y >= 0, y < height, x >= 0, x < width else { continue }
                    let from = input.pointer + ((picture * height + y) * width + x) * k, w = weights.pointer + column * k * 9 + tap
                    for i in 0..<k {
                        let a = isSigned ? Int32(Int8(bitPattern: from[i])) : Int32(from[i])
                        sum &+= (a &- zeroPoint) &* Int32(Int8(bitPattern: w[i &* 9] ^ (weightsAreSigned ? 0 : 0x80)))
                    }
                }
                sums.append(sum)
            }
        }

        /// In two slices of squares and two of panels.
        func run(_ kernel: UnsafePointer<apus_qwinograd_kernel>, cut: Int) {
            let product = kernel.pointee.product!, panels = apus_qgemm_panels(product, n)
            var source = apus_qgemm_b(
                b: UnsafeRawPointer(weights.pointer), is_signed: args.b_is_signed, taps: 9, k: k, n: n, tap_stride: 1, k_stride: 9,
                n_stride: 9 * k)
            let packed = GuardedBuffer<Int32>(count: apus_qgemm_packed_size(product, 9, k, n) / 4)
            apus_qgemm_pack_b(product, &source, packed.pointer, 0, panels)
            args.b = UnsafeRawPointer(packed.pointer)
            let squares = apus_qwinograd_squares(&image) * geometry.images, row = apus_qwinograd_row(k), middle = min(squares, cut)
            for (begin, end) in [(middle, squares), (0, middle)] {
                let stride = (end - begin) * row + 3
                let v = GuardedBuffer<Int16>(count: 35 * stride + (end - begin) * row, guarding: edge.of(Int16.self))
                apus_qwinograd_input(kernel, &image, &args, begin, end, v.pointer, stride)
                let workspace = GuardedBuffer<Int32>(count: (apus_qwinograd_workspace_size(kernel, k, end - begin) + 3) / 4)
                apus_qwinograd_run(kernel, &image, &args, v.pointer, stride, begin, end, panels / 2, panels, workspace.pointer)
                apus_qwinograd_run(kernel, &image, &args, v.pointer, stride, begin, end, 0, panels / 2, workspace.pointer)
                #expect(v.isIntact && workspace.isIntact)
            }
            #expect(packed.isIntact && input.isIntact && weights.isIntact && padding.isIntact && bias.isIntact && scales.isIntact)
        }

        func expectSums(_ kernel: UnsafePointer<apus_qwinograd_kernel>, cut: Int) {
            let c = GuardedBuffer<Int32>(count: args.m * n, guarding: edge.of(Int32.self))
            args.c = UnsafeMutableRawPointer(c.pointer)
            args.output = APUS_QGEMM_S32
            run(kernel, cut: cut)
            #expect(c.elements == sums, "\(geometry.testDescription), \(k) to \(n) channels, zero point \(args.a_zero_point)")
            #expect(c.isIntact)
        }
    }

    @Test func selectionObeysCaps() {
        expectSelectionObeysCaps(Self.levels) { apus_qwinograd_select($0).pointee.isa }
        for level in Self.levels { #expect(apus_qwinograd_at(level.index)?.pointee.product.pointee.isa == level.isa) }
    }

    /// Full-range numbers, every zero point that is special, sizes with tails.
    @Test(arguments: tested, 0..<4) func sumsAreExact(level: Level, signs: Int) throws {
        let kernel = try Self.kernel(level), nr = kernel.pointee.product.pointee.nr
        var random = SplitMix(UInt64(signs))
        for (number, geometry) in WinogradGeometry.all.enumerated() {
            let k = [4, 20, 32, 36, 12, 8, 28][number % 7], n = [nr + 3, 1, nr, 2 * nr - 1][(number + signs) % 4]
            let zeroPoint = [0, 1, 127, 128, 255][(number + signs) % 5] - (signs & 1 != 0 ? 128 : 0)
            let problem = Problem(
                geometry, k: k, n: n, signs: signs, zeroPoint: Int32(zeroPoint), edge: edges[number % 2], random: &random)
            problem.expectSums(kernel, cut: number)
        }
    }

    /// More input channels than are transformed at a time.
    @Test(arguments: tested) func manyChannels(level: Level) throws {
        let kernel = try Self.kernel(level)
        var random = SplitMix(5)
        let k = kernel.pointee.product.pointee.nr == 32 ? 140 : 300
        // Small weights: sums of full-range ones would pass the limit.
        let problem = Problem(
            WinogradGeometry(input: (3, 5)), k: k, n: 9, signs: 2, zeroPoint: 128, edge: .end, random: &random,
            weights: (0..<k * 81).map { _ in Int8.random(in: -30...30, using: &random) })
        problem.expectSums(kernel, cut: 1)
    }

    /// What becomes of the sums: as the direct product has it.
    @Test(arguments: tested) func outputs(level: Level) throws {
        let kernel = try Self.kernel(level), nr = kernel.pointee.product.pointee.nr
        var random = SplitMix(11)
        for form in 0..<8 {
            let problem = Problem(
                WinogradGeometry(images: 2, input: (5, 19)), k: 8, n: nr + 5, signs: form, zeroPoint: form & 1 != 0 ? -7 : 130,
                edge: edges[form / 4], random: &random)
            if form & 2 != 0 { problem.args.sum_bias = problem.bias.constant }
            problem.args.scale = 0.0004
            if form & 4 != 0 { problem.args.scales = problem.scales.constant }
            (problem.args.low, problem.args.high) = form & 1 != 0 ? (-128, 127) : (0, 255)
            problem.args.zero_point = problem.args.low + Int32(form * 31)
            let n = problem.n, count = problem.sums.count
            let results = problem.sums.enumerated().map { index, sum in
                (sum: sum &+ (form & 2 != 0 ? problem.bias[index % n] : 0), scale: form & 4 != 0 ? problem.scales[index % n] : 0.0004)
            }
            let floats = GuardedBuffer<Float>(count: count, guarding: problem.edge.of(Float.self))
            problem.args.c = UnsafeMutableRawPointer(floats.pointer)
            problem.args.output = APUS_QGEMM_F32
            problem.run(kernel, cut: 3)
            #expect(floats.elements == results.map { Float($0.sum) * $0.scale } && floats.isIntact)
            let codes = GuardedBuffer<UInt8>(count: count, guarding: problem.edge)
            problem.args.c = UnsafeMutableRawPointer(codes.pointer)
            problem.args.output = APUS_QGEMM_Q8
            problem.run(kernel, cut: 4)
            let (low, high, zero) = (Float(problem.args.low), Float(problem.args.high), Float(problem.args.zero_point))
            #expect(
                codes.elements == results.map {
                    UInt8(truncatingIfNeeded: Int(min(max((Float($0.sum) * $0.scale).rounded(.toNearestOrEven) + zero, low), high)))
                } && codes.isIntact)
        }
    }

    /// Weights whose largest sum, with inputs of 0 to 255, is the last one below the limit.
    private static func atTheLimit(negative: Bool, k: Int) -> [Int8] {
        let total = 131_586, count = k * 9
        return (0..<count).map { index in
            let size = total / count + (index < total % count ? 1 : 0)
            return Int8(negative ? -size : size)
        }
    }

    @Test(arguments: tested) func exactUpToTheLimit(level: Level) throws {
        let kernel = try Self.kernel(level)
        let k = 120, geometry = WinogradGeometry(input: (6, 6), padding: (0, 0, 0, 0))
        var random = SplitMix(3)
        for negative in [false, true] {
            let problem = Problem(
                geometry, k: k, n: 1, signs: 2, zeroPoint: 0, edge: .end, random: &random, input: [UInt8](repeating: 255, count: 36 * k),
                weights: Self.atTheLimit(negative: negative, k: k))
            #expect(problem.sums.allSatisfy { $0 == (negative ? -33_554_430 : 33_554_430) })
            problem.expectSums(kernel, cut: 0)
        }
    }

    @Test func theLimit() {
        let k = 120
        func fits(_ numbers: [Int8], _ low: Int32, _ high: Int32) -> Bool {
            let n = numbers.count / (k * 9)
            let signed = GuardedBuffer(numbers, guarding: .end)
            let unsigned = GuardedBuffer(numbers.map { UInt8(bitPattern: $0) ^ 0x80 }, guarding: .end)
            let result = apus_qwinograd_fits(signed.pointer, true, k, n, low, high)
            #expect(apus_qwinograd_fits(unsigned.pointer, false, k, n, low, high) == result)
            return result
        }
        for negative in [false, true] {
            var numbers = Self.atTheLimit(negative: negative, k: k)
            #expect(fits(numbers, 0, 255))
            // Inputs of both signs, of which either alone would do.
            #expect(fits(numbers, -127, 128) && fits(numbers, -255, 0))
            numbers[1] += negative ? -1 : 1
            #expect(!fits(numbers, 0, 255) && fits(numbers, -127, 128) && !fits(numbers, -255, 255))
            // The second of two channels.
            #expect(!fits([Int8](repeating: 1, count: k * 9) + numbers, 0, 255))
        }
        // -2^25 itself is a sum that fits, 2^25 is none: 1024 times -128 times 256.
        var powers = [Int8](repeating: 0, count: 2 * k * 9)
        for index in 0..<1024 { powers[index] = -128 }
        #expect(fits(powers, 0, 255) && fits(powers, 0, 256) && !fits(powers, 0, 257) && !fits(powers, -256, 0))
        // Weights of both signs, of which only one half can add up.
        let mixed = (0..<k * 9).map { Int8($0 % 2 == 0 ? 127 : -127) }
        #expect(fits(mixed, 0, 255) && !fits(mixed, -255, 255))
        #expect(apus_qwinograd_fits(nil, true, 0, 3, 0, 255) && apus_qwinograd_fits(nil, true, 8, 0, 0, 255))
    }

    @Test func noChannels() throws {
        let kernel = apus_qwinograd_select(apus_cpu_levels())!
        var random = SplitMix(1)
        let problem = Problem(WinogradGeometry(input: (4, 4)), k: 0, n: 3, signs: 2, zeroPoint: 0, edge: .end, random: &random)
        problem.expectSums(kernel, cut: 0)
    }
}
