import ApusCore

/// A floating-point format of at most 8 bits: how its codes stand for numbers.
///
/// Numbers below the least normal one are subnormal, as in IEEE 754; formats differ in what they reserve at the top.
package struct SmallFloat: Sendable {
    package let exponentBits: UInt32
    package let mantissaBits: UInt32
    package let bias: Int32
    package let isSigned: Bool
    /// The code (without sign) of the greatest finite number.
    package let greatest: UInt32
    /// The code (without sign) of infinity; nil where the format has none.
    package let infinity: UInt32?
    /// The code of not-a-number; nil where the format has none.
    package let notANumber: UInt32?
    /// Whether the code of -0 is not a number, as in the "fnuz" formats.
    package let hasNegativeZero: Bool

    private init(
        _ exponentBits: UInt32, _ mantissaBits: UInt32, bias: Int32, greatest: UInt32, infinity: UInt32? = nil,
        notANumber: UInt32? = nil, isSigned: Bool = true, hasNegativeZero: Bool = true
    ) {
        self.exponentBits = exponentBits
        self.mantissaBits = mantissaBits
        self.bias = bias
        self.greatest = greatest
        self.infinity = infinity
        self.notANumber = notANumber
        self.isSigned = isSigned
        self.hasNegativeZero = hasNegativeZero
    }

    /// The format of an element type; nil for types that are no floats of at most 8 bits.
    package init?(_ type: ElementType) {
        switch type {
        case .float8e4m3fn: self.init(4, 3, bias: 7, greatest: 0x7e, notANumber: 0x7f)
        case .float8e4m3fnuz: self.init(4, 3, bias: 8, greatest: 0x7f, notANumber: 0x80, hasNegativeZero: false)
        case .float8e5m2: self.init(5, 2, bias: 15, greatest: 0x7b, infinity: 0x7c, notANumber: 0x7e)
        case .float8e5m2fnuz: self.init(5, 2, bias: 16, greatest: 0x7f, notANumber: 0x80, hasNegativeZero: false)
        case .float8e8m0: self.init(8, 0, bias: 127, greatest: 0xfe, notANumber: 0xff, isSigned: false)
        case .float4e2m1: self.init(2, 1, bias: 1, greatest: 0x7)
        case .float6e2m3: self.init(2, 3, bias: 1, greatest: 0x1f)
        case .float6e3m2: self.init(3, 2, bias: 3, greatest: 0x1f)
        default: return nil
        }
    }

    /// The number that `code` stands for. Exact: every format is a subset of binary32.
    package func decoded(_ code: UInt8) -> Float {
        let width = exponentBits + mantissaBits
        let magnitude = UInt32(code) & ((1 << width) - 1)
        let isNegative = isSigned && UInt32(code) >> width & 1 == 1
        if !isSigned {
            // Exponents only: 0 is 2^-127, not zero.
            return UInt32(code) == notANumber ? .nan : code == 0 ? 0x1p-127 : Float(bitPattern: UInt32(code) << 23)
        }
        if !hasNegativeZero, isNegative, magnitude == 0 { return .nan }
        if let infinity {
            if magnitude == infinity { return isNegative ? -.infinity : .infinity }
            if magnitude > infinity { return .nan }
        } else if hasNegativeZero, magnitude == notANumber {
            return .nan
        }
        let exponent = Int32(magnitude >> mantissaBits)
        let fraction = magnitude & ((1 << mantissaBits) - 1)
        let significand = Float(exponent == 0 ? fraction : fraction | 1 << mantissaBits)
        let power = max(exponent, 1) - bias - Int32(mantissaBits) + 127
        let number = significand * Float(bitPattern: UInt32(power) << 23)
        return isNegative ? -number : number
    }

    /// The code of the number nearest to `number`, ties to even. Beyond the greatest number: that, where `saturating` or
    /// where the format has neither infinity nor not-a-number; else infinity, or not-a-number. Powers of two without sign
    /// round half up, and have no code for what is not above zero.
    package func encoded(_ number: Float, saturating: Bool) -> UInt8 {
        let pattern = number.bitPattern
        guard isSigned else {
            let none = UInt8(truncatingIfNeeded: notANumber ?? greatest), last = UInt8(truncatingIfNeeded: greatest)
            guard number > 0 else { return none }
            // Subnormal numbers of binary32 from 2^-127 on have this format's least exponent, or round up to the next.
            if pattern < 0x0080_0000 { return pattern >= 0x0060_0000 ? 1 : 0 }
            let exponent = (pattern + 0x0040_0000) >> 23
            return exponent <= greatest ? UInt8(truncatingIfNeeded: exponent) : saturating ? last : none
        }
        let sign = (pattern >> 31) << (exponentBits + mantissaBits)
        let magnitude = pattern & 0x7fff_ffff
        if magnitude > 0x7f80_0000 {
            // Zero, of the sign that the reference implementation gives it.
            guard let notANumber else { return UInt8(truncatingIfNeeded: sign ^ (1 << (exponentBits + mantissaBits))) }
            return UInt8(truncatingIfNeeded: hasNegativeZero ? sign | notANumber : notANumber)
        }
        let exponent = Int32(magnitude >> 23) - 127
        // Bits to drop: the difference in precision, and more for what becomes subnormal.
        let drop = min(23 - Int32(mantissaBits) + max(0, 1 - bias - exponent), 25)
        let significand = magnitude >= 0x0080_0000 ? magnitude & 0x7f_ffff | 0x80_0000 : 0
        let half: UInt32 = 1 << UInt32(drop - 1)
        let kept = significand >> UInt32(drop)
        let rest = significand & ((half << 1) &- 1)
        let rounded = kept + (rest > half || (rest == half && kept & 1 == 1) ? 1 : 0)
        // A carry out of the significand moves into the exponent by itself.
        let normal = exponent >= 1 - bias
        let biased = normal ? UInt32(exponent + bias - 1) << mantissaBits : 0
        var code = magnitude == 0x7f80_0000 ? greatest + 1 : biased + rounded
        if code > greatest {
            if saturating {
                code = greatest
            } else if let infinity {
                code = infinity
            } else if let notANumber {
                return UInt8(truncatingIfNeeded: hasNegativeZero ? sign | notANumber : notANumber)
            } else {
                code = greatest
            }
        }
        if code == 0, !hasNegativeZero { return 0 }
        return UInt8(truncatingIfNeeded: sign | code)
    }
}

/// The number that each code of a type of at most 8 bits stands for, integer or float.
package struct CodeTable: @unchecked Sendable {
    /// 256 numbers; codes of narrower types fill the front.
    package let numbers: UnsafePointer<Float>
    package let bitWidth: Int

    /// nil for types of more than 8 bits.
    package init?(_ type: ElementType) {
        guard type.bitWidth > 0, type.bitWidth <= 8, let table = CodeTable.tables[type] else { return nil }
        numbers = table
        bitWidth = type.bitWidth
    }

    /// The code of element `index` of packed elements.
    @inline(__always)
    package func code(_ elements: UnsafePointer<UInt8>, _ index: Int) -> Int {
        switch bitWidth {
        case 8: return Int(elements[index])
        case 4: return Int(elements[index >> 1] >> UInt8((index & 1) << 2)) & 15
        case 2: return Int(elements[index >> 2] >> UInt8((index & 3) << 1)) & 3
        default:
            let bit = index * bitWidth
            let shift = bit & 7
            var code = Int(elements[bit >> 3]) >> shift
            if shift + bitWidth > 8 { code |= Int(elements[(bit >> 3) + 1]) << (8 - shift) }
            return code & ((1 << bitWidth) - 1)
        }
    }

    @inline(__always)
    package func number(_ elements: UnsafePointer<UInt8>, _ index: Int) -> Float { numbers[code(elements, index)] }

    // Made once, never freed.
    nonisolated(unsafe) private static let tables: [ElementType: UnsafePointer<Float>] = {
        var tables: [ElementType: UnsafePointer<Float>] = [:]
        for type in ElementType.allCases where type.bitWidth > 0 && type.bitWidth <= 8 {
            let table = UnsafeMutablePointer<Float>.allocate(capacity: 256)
            for code in 0..<256 {
                if let format = SmallFloat(type) {
                    table[code] = format.decoded(UInt8(code))
                } else {
                    let value = code & ((1 << type.bitWidth) - 1)
                    let isNegative = type.isSigned && type != .bool && value >= 1 << (type.bitWidth - 1)
                    table[code] = Float(isNegative ? value - (1 << type.bitWidth) : value)
                }
            }
            tables[type] = UnsafePointer(table)
        }
        return tables
    }()
}

/// Packs codes, one a byte, as elements of `bitWidth` (2, 4 or 6) bits, from the low bits of a byte up.
package func packCodes(_ codes: UnsafePointer<UInt8>, _ target: UnsafeMutablePointer<UInt8>, count: Int, bitWidth: Int) {
    switch bitWidth {
    case 4:
        for pair in 0..<count / 2 { target[pair] = codes[2 * pair] & 15 | codes[2 * pair + 1] << 4 }
        if count & 1 == 1 { target[count / 2] = codes[count - 1] & 15 }
    default:
        let byteCount = (count * bitWidth + 7) / 8
        var index = 0, held: UInt32 = 0, bits = 0
        for byte in 0..<byteCount {
            while bits < 8, index < count {
                held |= (UInt32(codes[index]) & ((1 << UInt32(bitWidth)) - 1)) << UInt32(bits)
                bits += bitWidth
                index += 1
            }
            target[byte] = UInt8(truncatingIfNeeded: held)
            held >>= 8
            bits = max(0, bits - 8)
        }
    }
}
