import CApusKernels
import TestSupport
import Testing

@Suite struct QuantizeTests {
    static let levels = Level.all { apus_quantize_at($0)?.pointee.isa }

    static func kernels(_ level: Level) throws -> apus_quantize_kernels {
        try level.skipUnlessRunnable()
        return try #require(apus_quantize_at(level.index)).pointee
    }

    /// The definition, one float operation at a time.
    static func quantize(_ x: Float, _ scale: Float, _ zeroPoint: Int32, _ low: Int32, _ high: Int32) -> Int32 {
        let shifted = (x / scale).rounded(.toNearestOrEven) + Float(zeroPoint)
        if !(shifted > Float(low)) { return low }
        return shifted > Float(high) ? high : Int32(shifted)
    }

    static func requantize(_ x: Int32, _ bias: Int32, _ scale: Float, _ zeroPoint: Int32, _ low: Int32, _ high: Int32) -> Int32 {
        let product = Float(x &+ bias) * scale
        let shifted = product.rounded(.toNearestOrEven) + Float(zeroPoint)
        if !(shifted > Float(low)) { return low }
        return shifted > Float(high) ? high : Int32(shifted)
    }

    @Test func selectionObeysCaps() {
        expectSelectionObeysCaps(Self.levels) { apus_quantize_select($0).pointee.isa }
        #expect(apus_quantize_dequantizer(apus_quantize_select(1), APUS_INTEGER_TYPE_COUNT) == nil)
    }

    static let bounds: [(low: Int32, high: Int32, wide: Bool)] = [
        (0, 255, false), (-128, 127, false), (0, 65535, true), (-32768, 32767, true), (0, 15, false), (-8, 7, false), (-2, 1, false),
    ]

    @Test(arguments: levels) func quantizes(level: Level) throws {
        let kernels = try Self.kernels(level)
        var random = SplitMix(51)
        for (low, high, wide) in Self.bounds {
            for edge in edges {
                for n in Array(0...36) + [65, 100] {
                    for form in 0..<4 {
                        let perElement = form & 1 != 0, hasZero = form & 2 != 0
                        var values = random.floats(n, Float(low) * 0.6...Float(high) * 0.6)
                        for i in values.indices {
                            if i % 5 == 3 { values[i] = (values[i] * 2).rounded() / 4 }  // ties
                            if i % 7 == 2 { values[i] = specialFloats[Int.random(in: 0..<specialFloats.count, using: &random)] }
                        }
                        let x = GuardedBuffer(values, guarding: edge.of(Float.self))
                        let count = perElement ? n : 1
                        let scale = GuardedBuffer((0..<count).map { _ in [Float(0.5), 0.25, 1, 0.3, 0.007][Int.random(in: 0..<5, using: &random)] }, guarding: edge.of(Float.self))
                        let zero = GuardedBuffer((0..<count).map { _ in Int32.random(in: low...high, using: &random) }, guarding: edge.of(Int32.self))
                        let y = GuardedBuffer<UInt8>(count: n * (wide ? 2 : 1), guarding: edge)
                        var args = apus_quantize_args(
                            n: n, x: x.constant, scale: scale.constant, zero_point: hasZero ? zero.constant : nil,
                            per_element: perElement, low: low, high: high, y: y.pointer)
                        if wide { kernels.quantize16(&args) } else { kernels.quantize8(&args) }
                        for i in 0..<n {
                            let j = perElement ? i : 0
                            let want = Self.quantize(values[i], scale[j], hasZero ? zero[j] : 0, low, high)
                            let got = wide ? UInt16(y[2 * i]) | UInt16(y[2 * i + 1]) << 8 : UInt16(y[i])
                            let wantBits = wide ? UInt16(truncatingIfNeeded: want) : UInt16(UInt8(truncatingIfNeeded: want))
                            #expect(got == wantBits, "\(values[i]) / \(scale[j]) + \(hasZero ? zero[j] : 0)")
                        }
                        #expect(y.isIntact)
                    }
                }
            }
        }
    }

    func checkDequantize<T: FixedWidthInteger & BitwiseCopyable>(_: T.Type, _ type: apus_integer_type, _ level: Level) throws {
        _ = try Self.kernels(level)
        let function = try #require(apus_quantize_dequantizer(apus_quantize_at(level.index), type))
        var random = SplitMix(52)
        for edge in edges {
            for n in Array(0...36) + [65] {
                for form in 0..<4 {
                    let perElement = form & 1 != 0, hasZero = form & 2 != 0
                    let count = perElement ? n : 1
                    let x = GuardedBuffer(random.bytes(n, as: T.self), guarding: edge.of(T.self))
                    let scale = GuardedBuffer(random.floats(count, 0.001...2), guarding: edge.of(Float.self))
                    let zero = GuardedBuffer(random.bytes(count, as: T.self).map { Int32(truncatingIfNeeded: $0) }, guarding: edge.of(Int32.self))
                    let y = GuardedBuffer<Float>(count: n, guarding: edge.of(Float.self))
                    var args = apus_dequantize_args(
                        n: n, x: x.pointer, scale: scale.constant, zero_point: hasZero ? zero.constant : nil,
                        per_element: perElement, y: y.pointer)
                    function(&args)
                    for i in 0..<n {
                        let j = perElement ? i : 0
                        let want = Float(Int32(truncatingIfNeeded: x[i]) &- (hasZero ? zero[j] : 0)) * scale[j]
                        #expect(y[i] == want)
                    }
                    #expect(y.isIntact)
                }
            }
        }
    }

    @Test(arguments: levels) func dequantizes(level: Level) throws {
        try checkDequantize(UInt8.self, APUS_U8, level)
        try checkDequantize(Int8.self, APUS_S8, level)
        try checkDequantize(UInt16.self, APUS_U16, level)
        try checkDequantize(Int16.self, APUS_S16, level)
        try checkDequantize(Int32.self, APUS_S32, level)
    }

    @Test(arguments: levels) func requantizes(level: Level) throws {
        let kernels = try Self.kernels(level)
        var random = SplitMix(53)
        for (low, high, wide) in Self.bounds where !wide {
            for edge in edges {
                for n in Array(0...36) + [65, 200] {
                    for form in 0..<4 {
                        let perElement = form & 1 != 0, hasBias = form & 2 != 0
                        let x = GuardedBuffer(
                            (0..<n).map { i in
                                let value = Int32(truncatingIfNeeded: random.next())
                                return i % 3 == 0 ? value : value % 100_000
                            }, guarding: edge.of(Int32.self))
                        let bias = GuardedBuffer((0..<n).map { _ in Int32(truncatingIfNeeded: random.next()) >> 14 }, guarding: edge.of(Int32.self))
                        let choices: [Float] = [1, 0.5, 0.0017, 1e-6, .infinity, .nan, 0x1p-133, 0.25]
                        let scale = GuardedBuffer((0..<(perElement ? n : 1)).map { _ in choices[Int.random(in: 0..<8, using: &random)] }, guarding: edge.of(Float.self))
                        let y = GuardedBuffer<UInt8>(count: n, guarding: edge)
                        let zeroPoint = Int32.random(in: low...high, using: &random)
                        var args = apus_requantize_args(
                            n: n, x: x.constant, bias: hasBias ? bias.constant : nil, scale: scale.constant,
                            per_element: perElement, zero_point: zeroPoint, low: low, high: high, y: y.pointer)
                        kernels.requantize(&args)
                        for i in 0..<n {
                            let want = Self.requantize(x[i], hasBias ? bias[i] : 0, scale[perElement ? i : 0], zeroPoint, low, high)
                            #expect(y[i] == UInt8(truncatingIfNeeded: want), "\(x[i]) \(scale[perElement ? i : 0])")
                        }
                        #expect(y.isIntact)
                    }
                }
            }
        }
    }

    @Test(arguments: levels) func minMax(level: Level) throws {
        let kernels = try Self.kernels(level)
        var random = SplitMix(54)
        let values = random.floats(70)
        for edge in edges {
            let x = GuardedSlices<Float>(capacity: 70, edge.of(Float.self))
            for n in 0...70 {
                let p = x.holding(values[..<n])
                var least: Float = 0, largest: Float = 0
                kernels.min_max(n, p, &least, &largest)
                #expect(least == values[..<n].min() ?? .infinity)
                #expect(largest == values[..<n].max() ?? -.infinity)
                if n > 0 {
                    p[n / 2] = .nan
                    kernels.min_max(n, p, &least, &largest)
                    #expect(least.isNaN && largest.isNaN)
                }
            }
        }
    }

    @Test(arguments: levels) func lookupAndPacking(level: Level) throws {
        let kernels = try Self.kernels(level)
        var random = SplitMix(55)
        let table = GuardedBuffer<UInt8>(random.bytes(256))
        let values: [UInt8] = random.bytes(300)
        for edge in edges {
            for n in Array(0...70) + [300] {
                let x = GuardedBuffer(values[..<n], guarding: edge)
                kernels.lookup(n, x.pointer, table.pointer, x.pointer)
                #expect(x.elements == values[..<n].map { table[Int($0)] })

                for (bits, pack, unpack) in [(4, kernels.pack4, kernels.unpack4), (2, kernels.pack2, kernels.unpack2)] {
                    let packed = GuardedBuffer<UInt8>(count: (n * bits + 7) / 8, guarding: edge)
                    let source = GuardedBuffer(values[..<n], guarding: edge), y = GuardedBuffer<UInt8>(count: n, guarding: edge)
                    pack?(n, source.pointer, packed.pointer)
                    let mask = UInt8(1 << bits - 1)
                    for i in 0..<n { #expect((packed[i * bits / 8] >> UInt8(i * bits % 8)) & mask == values[i] & mask) }
                    if n * bits % 8 != 0, let last = packed.elements.last { #expect(last >> UInt8(n * bits % 8) == 0) }
                    unpack?(n, packed.pointer, false, y.pointer)
                    #expect(y.elements == values[..<n].map { $0 & mask })
                    unpack?(n, packed.pointer, true, y.pointer)
                    let shift = UInt8(8 - bits)
                    #expect(y.elements == values[..<n].map { UInt8(bitPattern: Int8(bitPattern: $0 << shift) >> Int8(shift)) })
                    #expect(packed.isIntact && y.isIntact)
                }
            }
        }
    }
}
