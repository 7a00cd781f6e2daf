import CApusKernels
import Glibc
import TestSupport
import Testing

@Suite struct HalfTests {
    static let levels = Level.all { apus_half_at($0)?.pointee.isa }

    static func kernels(_ level: Level) throws -> UnsafePointer<apus_half_kernels> {
        try level.skipUnlessRunnable()
        return try #require(apus_half_at(level.index))
    }

    enum Specials { case ieee, finiteWithNaN, unsignedZero, numbersOnly }

    struct Format: CustomTestStringConvertible, Sendable {
        let format: apus_small_float
        let testDescription: String
        let exponentBits: Int, mantissaBits: Int, bias: Int
        let specials: Specials

        var bits: Int { 1 + exponentBits + mantissaBits }
        var signBit: Int { 1 << (bits - 1) }
        var bytes: Int { bits > 8 ? 2 : 1 }

        /// What a code means, by the definition of the format; infinity and NaN included.
        func value(_ code: Int) -> Double {
            let magnitude = code & (signBit - 1)
            let sign: Double = code & signBit != 0 ? -1 : 1
            let exponent = magnitude >> mantissaBits, mantissa = magnitude & ((1 << mantissaBits) - 1)
            switch specials {
            case .ieee where exponent == (1 << exponentBits) - 1: return mantissa == 0 ? sign * .infinity : .nan
            case .finiteWithNaN where magnitude == signBit - 1: return .nan
            case .unsignedZero where code == signBit: return .nan
            default: break
            }
            if exponent == 0 { return sign * Double(mantissa) * pow(2, Double(1 - bias - mantissaBits)) }
            return sign * (1 + Double(mantissa) / pow(2, Double(mantissaBits))) * pow(2, Double(exponent - bias))
        }
    }

    static let formats = [
        Format(format: APUS_F16, testDescription: "f16", exponentBits: 5, mantissaBits: 10, bias: 15, specials: .ieee),
        Format(format: APUS_BF16, testDescription: "bf16", exponentBits: 8, mantissaBits: 7, bias: 127, specials: .ieee),
        Format(format: APUS_F8E4M3FN, testDescription: "e4m3fn", exponentBits: 4, mantissaBits: 3, bias: 7, specials: .finiteWithNaN),
        Format(format: APUS_F8E4M3FNUZ, testDescription: "e4m3fnuz", exponentBits: 4, mantissaBits: 3, bias: 8, specials: .unsignedZero),
        Format(format: APUS_F8E5M2, testDescription: "e5m2", exponentBits: 5, mantissaBits: 2, bias: 15, specials: .ieee),
        Format(format: APUS_F8E5M2FNUZ, testDescription: "e5m2fnuz", exponentBits: 5, mantissaBits: 2, bias: 16, specials: .unsignedZero),
        Format(format: APUS_F6E2M3, testDescription: "e2m3", exponentBits: 2, mantissaBits: 3, bias: 1, specials: .numbersOnly),
        Format(format: APUS_F6E3M2, testDescription: "e3m2", exponentBits: 3, mantissaBits: 2, bias: 3, specials: .numbersOnly),
        Format(format: APUS_F4E2M1, testDescription: "e2m1", exponentBits: 2, mantissaBits: 1, bias: 1, specials: .numbersOnly),
    ]

    static func decode(_ kernels: UnsafePointer<apus_half_kernels>, _ format: Format, _ codes: [Int]) throws -> [Float] {
        let function = try #require(apus_half_to_f32(kernels, format.format))
        var y = [Float](repeating: 0, count: codes.count)
        if format.bytes == 2 {
            function(codes.count, codes.map { UInt16($0) }, &y)
        } else {
            function(codes.count, codes.map { UInt8($0) }, &y)
        }
        return y
    }

    static func encode(_ kernels: UnsafePointer<apus_half_kernels>, _ format: Format, _ x: [Float], saturate: Bool) throws -> [Int] {
        let function = try #require(apus_half_from_f32(kernels, format.format))
        if format.bytes == 2 {
            var y = [UInt16](repeating: 0, count: x.count)
            function(x.count, x, &y, saturate)
            return y.map(Int.init)
        }
        var y = [UInt8](repeating: 0, count: x.count)
        function(x.count, x, &y, saturate)
        return y.map(Int.init)
    }

    @Test func selectionObeysCaps() {
        expectSelectionObeysCaps(Self.levels) { apus_half_select($0).pointee.isa }
        #expect(apus_half_to_f32(apus_half_select(1), APUS_SMALL_FLOAT_COUNT) == nil)
        #expect(apus_half_from_f32(apus_half_select(1), APUS_SMALL_FLOAT_COUNT) == nil)
    }

    @Test(arguments: levels, formats) func everyCode(level: Level, format: Format) throws {
        let kernels = try Self.kernels(level)
        let codes = Array(0..<(1 << format.bits))
        let values = try Self.decode(kernels, format, codes)
        for (code, value) in zip(codes, values) {
            let want = format.value(code)
            if want.isNaN ? !value.isNaN : Double(value) != want || (value.sign != want.sign) {
                Issue.record("code \(code) is \(value), not \(want)")
            }
        }
        // And back: every number has its own code; NaN becomes some NaN.
        let back = try Self.encode(kernels, format, values, saturate: false)
        for (code, again) in zip(codes, back) {
            #expect(code == again || (format.value(code).isNaN && format.value(again).isNaN))
        }
    }

    @Test(arguments: levels, formats) func roundsToNearestEven(level: Level, format: Format) throws {
        let kernels = try Self.kernels(level)
        let positive = (0..<format.signBit).filter { format.value($0).isFinite }
        let numbers = positive.map { format.value($0) }
        // Numbers, the middles between neighbours, and what lies just beside both.
        var x: [Float] = []
        for (low, high) in zip(numbers, numbers.dropFirst()) where format.bytes == 1 || Int(high.bitPattern >> 40) % 5 == 0 {
            let middle = Float((low + high) / 2)
            x += [Float(low), middle, middle.nextUp, middle.nextDown, Float(high).nextDown]
        }
        // Half a step beyond the largest number still rounds to it only below the middle.
        let largestCode = positive.count - 1
        let largest = numbers[numbers.count - 1], step = largest - numbers[numbers.count - 2]
        let limit = Float(largest + step / 2)
        x += [limit, limit.nextUp, limit.nextDown, .infinity, .nan, .greatestFiniteMagnitude, .leastNonzeroMagnitude]
        var random = SplitMix(41)
        x += random.floats(300, -20...20)
        x += x.map { -$0 }
        for saturate in [true, false] {
            let codes = try Self.encode(kernels, format, x, saturate: saturate)
            for (x, code) in zip(x, codes) {
                let sign = x.sign == .minus ? format.signBit : 0
                let magnitude = Double(abs(x))
                if x.isNaN {
                    if format.specials == .numbersOnly {
                        #expect(code == sign ^ format.signBit)
                    } else {
                        #expect(format.value(code).isNaN)
                    }
                    continue
                }
                // The first number not below x, and the one before it.
                var low = 0, high = numbers.count
                while low < high {
                    let middle = (low + high) / 2
                    if numbers[middle] < magnitude { low = middle + 1 } else { high = middle }
                }
                var want: Int
                let limit = largest + step / 2
                let tieGoesUp = positive.last.map { $0 % 2 == 1 } ?? false
                if magnitude > limit || (magnitude == limit && tieGoesUp) {
                    switch format.specials {
                    case .numbersOnly: want = sign | largestCode
                    case .unsignedZero: want = saturate ? sign | largestCode : format.signBit
                    case .finiteWithNaN: want = sign | (saturate ? largestCode : format.signBit - 1)
                    case .ieee: want = sign | (saturate && format.bytes == 1 ? largestCode : largestCode + 1)
                    }
                } else if low == numbers.count {
                    want = sign | largestCode
                } else if low == 0 || numbers[low] == magnitude {
                    want = sign | low
                } else {
                    let below = magnitude - numbers[low - 1], above = numbers[low] - magnitude
                    want = sign | (below < above || (below == above && (low - 1) % 2 == 0) ? low - 1 : low)
                }
                if format.specials == .unsignedZero && want == format.signBit && magnitude < 1 { want = 0 }
                if code != want { Issue.record("\(x) became code \(code), not \(want) (saturate \(saturate))") }
            }
        }
    }

    @Test(arguments: levels) func powersOfTwo(level: Level) throws {
        let kernels = try Self.kernels(level)
        let decode = try #require(apus_half_to_f32(kernels, APUS_F8E8M0))
        var values = [Float](repeating: 0, count: 256)
        decode(256, Array(UInt8.min...UInt8.max), &values)
        for code in 0..<255 { #expect(Double(values[code]) == pow(2, Double(code - 127))) }
        #expect(values[255].isNaN)

        let encode = try #require(kernels.pointee.f32_to_e8m0)
        let x: [Float] = [
            0, 0x1p-149, 0x1p-127, 0x1.00002p-127, 0x1.8p-127, 0x1.7fffp-127, 0x1p-126, 1, 1.5, 1.25, 1.75, -2, 3,
            0x1.8p127, 0x1.7p127, .infinity, -.infinity, .nan,
        ]
        let up: [UInt8] = [0, 0, 0, 1, 1, 1, 1, 127, 128, 128, 128, 128, 129, 254, 254, 254, 254, 255]
        let down: [UInt8] = [0, 0, 0, 0, 0, 0, 1, 127, 127, 127, 127, 128, 128, 254, 254, 254, 254, 255]
        let nearest: [UInt8] = [0, 0, 0, 0, 1, 0, 1, 127, 128, 127, 128, 128, 129, 254, 254, 254, 254, 255]
        for (rounding, saturated) in [(APUS_E8M0_UP, up), (APUS_E8M0_DOWN, down), (APUS_E8M0_NEAREST, nearest)] {
            var y = [UInt8](repeating: 0, count: x.count)
            encode(x.count, x, &y, true, rounding)
            #expect(y == saturated)
            encode(x.count, x, &y, false, rounding)
            for (i, code) in y.enumerated() {
                let overflows = x[i].isInfinite || (rounding == APUS_E8M0_UP && x[i] > 0x1p127)
                    || (rounding == APUS_E8M0_NEAREST && x[i] >= 0x1.8p127)
                #expect(code == (overflows ? 255 : saturated[i]))
            }
        }
    }

    @Test(arguments: levels) func doubles(level: Level) throws {
        let kernels = try Self.kernels(level)
        var random = SplitMix(42)
        var d: [Double] = [0, -0.0, .infinity, -.infinity, .nan, 1e300, -1e300, 1e-300, -1e-300, 3.5e38, 1e-45, 0x1.000001p0, 0.1]
        d += (0..<500).map { _ in Double(bitPattern: random.next()) } + (0..<500).map { _ in Double.random(in: -10...10, using: &random) }
        let n = d.count
        var nearest = [Float](repeating: 0, count: n), odd = nearest
        kernels.pointee.f64_to_f32(n, d, &nearest)
        kernels.pointee.f64_to_f32_odd(n, d, &odd)
        for i in 0..<n {
            if d[i].isNaN {
                #expect(nearest[i].isNaN && odd[i].isNaN)
                continue
            }
            #expect(nearest[i].bitPattern == Float(d[i]).bitPattern)
            if Double(Float(d[i])) == d[i] {
                #expect(odd[i].bitPattern == Float(d[i]).bitPattern)
            } else {
                #expect(odd[i].bitPattern % 2 == 1 && odd[i].sign == d[i].sign)
                #expect(abs(Double(odd[i]) - d[i]) <= Double(max(odd[i].ulp, .leastNonzeroMagnitude)) || odd[i].magnitude == .greatestFiniteMagnitude)
            }
        }
        var back = [Double](repeating: 0, count: n)
        kernels.pointee.f32_to_f64(n, nearest, &back)
        #expect(zip(back, nearest).allSatisfy { $0.isNaN ? $1.isNaN : $0 == Double($1) })
    }

    @Test(arguments: levels, formats) func lengthsAndEdges(level: Level, format: Format) throws {
        let kernels = try Self.kernels(level)
        let decode = try #require(apus_half_to_f32(kernels, format.format)), encode = try #require(apus_half_from_f32(kernels, format.format))
        var random = SplitMix(43)
        let values = random.floats(70, -3...3)
        let want = try Self.encode(UnsafePointer(apus_half_select(1)), format, values, saturate: true)
        let wantBack = try Self.decode(UnsafePointer(apus_half_select(1)), format, want)
        let width = format.bytes
        for edge in edges {
            let x = GuardedSlices<Float>(capacity: 70, edge.of(Float.self)), y = GuardedSlices<UInt8>(capacity: 70 * width, edge)
            let back = GuardedSlices<Float>(capacity: 70, edge.of(Float.self))
            for n in 0...70 {
                let codes = y.pointer(n * width)
                encode(n, x.holding(values[..<n]), codes, true)
                for i in 0..<n {
                    #expect(width == 2 ? Int(codes[2 * i]) | Int(codes[2 * i + 1]) << 8 == want[i] : Int(codes[i]) == want[i])
                }
                decode(n, codes, back.pointer(n))
                #expect(back.values(n) == Array(wantBack[..<n]))
            }
            #expect(y.buffer.isIntact && back.buffer.isIntact)
        }
    }

    @Test(arguments: levels) func truncatedToIntegers(level: Level) throws {
        let kernels = try Self.kernels(level)
        var values: [Double] = specialFloats.map(Double.init)
        for power in [7, 8, 15, 16, 31, 32, 63, 64] as [Double] {
            for step in [-1, -0.5, 0, 0.5, 1] as [Double] { values += [pow(2, power) + step, -pow(2, power) + step] }
        }
        var random = SplitMix(44)
        values += random.floats(70, -300...300).map(Double.init)
        func check<T: FixedWidthInteger & BitwiseCopyable>(_: T.Type, fromDouble: Bool) throws {
            let convert = try #require(apus_half_to_bits(kernels, fromDouble, MemoryLayout<T>.size))
            let floats = values.map { Float($0) }
            let wanted = (fromDouble ? values : floats.map(Double.init)).map { x -> T in
                if T.bitWidth == 64 { return x >= -0x1p63 && x < 0x1p63 ? T(truncatingIfNeeded: Int64(x)) : T(truncatingIfNeeded: Int64.min) }
                return T(truncatingIfNeeded: x > -2147483649 && x < 2147483648 ? Int32(x) : Int32.min)
            }
            for edge in edges {
                for n in [0, 1, 7, 16, 33, values.count] {
                    let y = GuardedBuffer<T>(count: n, guarding: edge.of(T.self))
                    let wide = GuardedBuffer(values[..<n], guarding: edge.of(Double.self))
                    let narrow = GuardedBuffer(floats[..<n], guarding: edge.of(Float.self))
                    convert(n, fromDouble ? UnsafeRawPointer(wide.pointer) : UnsafeRawPointer(narrow.pointer), y.pointer)
                    #expect(wide.isIntact && narrow.isIntact)
                    #expect((0..<n).allSatisfy { y[$0] == wanted[$0] }, "\(T.self) of \(fromDouble ? "double" : "float")")
                    #expect(y.isIntact)
                }
            }
        }
        for fromDouble in [false, true] {
            try check(UInt8.self, fromDouble: fromDouble)
            try check(UInt16.self, fromDouble: fromDouble)
            try check(UInt32.self, fromDouble: fromDouble)
            try check(UInt64.self, fromDouble: fromDouble)
        }
        #expect(apus_half_to_bits(kernels, false, 3) == nil)
    }
}
