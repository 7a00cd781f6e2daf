import ApusCore

/// A binary floating-point format of at most 16 bits, described by its fields.
///
/// One description serves decoding and encoding of every narrow format ONNX has; speed is of no concern here.
struct SmallFloat: Sendable {
    /// What the topmost codes mean.
    enum Specials: Sendable {
        /// Exponent all ones: infinity and NaN, as in IEEE 754.
        case ieee
        /// No infinity; only the all-ones code is NaN (`fn`).
        case nanAtTop
        /// No infinity and no negative zero, whose code is the only NaN (`fnuz`).
        case nanAtNegativeZero
        /// Every code is a finite number.
        case none
    }

    let exponentBits: Int
    let mantissaBits: Int
    let bias: Int
    let specials: Specials

    /// The format of a type, or nil when it is no narrow signed float.
    init?(_ type: ElementType) {
        switch type {
        case .float16: self.init(5, 10, 15, .ieee)
        case .bfloat16: self.init(8, 7, 127, .ieee)
        case .float8e4m3fn: self.init(4, 3, 7, .nanAtTop)
        case .float8e4m3fnuz: self.init(4, 3, 8, .nanAtNegativeZero)
        case .float8e5m2: self.init(5, 2, 15, .ieee)
        case .float8e5m2fnuz: self.init(5, 2, 16, .nanAtNegativeZero)
        case .float4e2m1: self.init(2, 1, 1, .none)
        case .float6e2m3: self.init(2, 3, 1, .none)
        case .float6e3m2: self.init(3, 2, 3, .none)
        default: return nil
        }
    }

    private init(_ exponentBits: Int, _ mantissaBits: Int, _ bias: Int, _ specials: Specials) {
        self.exponentBits = exponentBits
        self.mantissaBits = mantissaBits
        self.bias = bias
        self.specials = specials
    }

    private var signBit: UInt16 { 1 << UInt16(exponentBits + mantissaBits) }
    private var magnitudeMask: UInt16 { signBit &- 1 }

    /// The number that a code stands for.
    func decode(_ code: UInt16) -> Double {
        let negative = code & signBit != 0
        let magnitude = code & magnitudeMask
        let mantissa = Int(magnitude & (1 << UInt16(mantissaBits) - 1))
        let exponent = Int(magnitude >> UInt16(mantissaBits))
        switch specials {
        case .ieee where exponent == 1 << exponentBits - 1:
            return mantissa != 0 ? .nan : negative ? -.infinity : .infinity
        case .nanAtTop where magnitude == magnitudeMask: return .nan
        case .nanAtNegativeZero where negative && magnitude == 0: return .nan
        default: break
        }
        let significand = exponent == 0 ? mantissa : mantissa | 1 << mantissaBits
        let value = Double(sign: .plus, exponent: max(exponent, 1) - bias - mantissaBits, significand: Double(significand))
        return negative ? -value : value
    }

    /// The nearest code, ties to even. Too large a number becomes infinity where there is one, else NaN where there is
    /// one (as a cast that does not saturate), else the largest number.
    func encode(_ value: Double) -> UInt16 {
        let sign: UInt16 = value.sign == .minus ? signBit : 0
        if value.isNaN { return nan ?? 0 }
        if value == 0 { return specials == .nanAtNegativeZero ? 0 : sign }
        let tooLarge: UInt16 = switch specials {
        case .ieee: sign | (magnitudeMask & ~(1 << UInt16(mantissaBits) - 1))
        case .nanAtTop: sign | magnitudeMask
        case .nanAtNegativeZero: signBit
        case .none: sign | magnitudeMask
        }
        guard value.isFinite else { return tooLarge }
        let absolute = value.magnitude
        let smallest = 1 - bias
        let exponent = max(Int(absolute.exponent), smallest)
        // In units of the last place of its binade the number is below 2^(mantissaBits + 2): exact to round.
        let scaled = Double(sign: .plus, exponent: mantissaBits - exponent, significand: absolute)
        let units = Int(scaled.rounded(.toNearestOrEven))
        // Adding the units onto the exponent field lets a carry walk into the next binade by itself.
        let code = (exponent - smallest) << mantissaBits + units
        let top: Int = switch specials {
        case .ieee: (1 << exponentBits - 1) << mantissaBits - 1
        case .nanAtTop: Int(magnitudeMask) - 1
        case .nanAtNegativeZero, .none: Int(magnitudeMask)
        }
        if code > top { return tooLarge }
        if code == 0 && specials == .nanAtNegativeZero { return 0 }
        return sign | UInt16(truncatingIfNeeded: code)
    }

    /// A code that is NaN, if the format has one.
    private var nan: UInt16? {
        switch specials {
        case .ieee, .nanAtTop: magnitudeMask
        case .nanAtNegativeZero: signBit
        case .none: nil
        }
    }
}
