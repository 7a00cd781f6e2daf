import ApusCore
import CApusKernels

/// An IEEE 754 binary16 number as it lies in memory.
///
/// Not Swift's `Float16`: on x86-64's baseline its conversions are calls for each element, these vectorise.
package struct Half: Element, Equatable {
    package var bits: UInt16

    package init(bits: UInt16) { self.bits = bits }
    package init(_ number: Float) { self.init(rounding: number) }
    package static func == (a: Half, b: Half) -> Bool { a.number == b.number }

    /// The exponent is moved into place and re-biased by a multiplication, which makes subnormals right, too.
    package var number: Float {
        let sign = UInt32(bits & 0x8000) << 16
        let magnitude = UInt32(bits & 0x7fff) << 13
        let scaled = (Float(bitPattern: magnitude) * 0x1p112).bitPattern
        let special = magnitude | 0x7f80_0000
        return Float(bitPattern: sign | (magnitude >= 0x0f80_0000 ? special : scaled))
    }

    /// Normal results round by integer arithmetic on the bits, subnormal ones by adding a number whose last place is theirs.
    package init(rounding number: Float) {
        let pattern = number.bitPattern
        let magnitude = pattern & 0x7fff_ffff
        let normal = (magnitude &- 0x3800_0000 &+ 0xfff &+ ((magnitude >> 13) & 1)) >> 13
        let subnormal = (Float(bitPattern: magnitude) + 0.5).bitPattern &- 0x3f00_0000
        let special: UInt32 = magnitude > 0x7f80_0000 ? 0x7e00 | ((magnitude >> 13) & 0x1ff) : 0x7c00
        let finite = magnitude < 0x3880_0000 ? subnormal : normal
        let result = magnitude >= 0x477f_f000 ? special : finite
        bits = UInt16(truncatingIfNeeded: result | (pattern >> 16) & 0x8000)
    }
}

/// The upper half of a binary32 number as it lies in memory.
package struct BFloat16: Element, Equatable {
    package var bits: UInt16

    package init(bits: UInt16) { self.bits = bits }
    package init(_ number: Float) { self.init(rounding: number) }
    package static func == (a: BFloat16, b: BFloat16) -> Bool { a.number == b.number }

    package var number: Float { Float(bitPattern: UInt32(bits) << 16) }

    package init(rounding number: Float) {
        let pattern = number.bitPattern
        let rounded = (pattern &+ 0x7fff &+ ((pattern >> 16) & 1)) >> 16
        let isNaN = pattern & 0x7fff_ffff > 0x7f80_0000
        bits = UInt16(truncatingIfNeeded: isNaN ? (pattern >> 16) | 0x40 : rounded)
    }
}

/// The kernels that convert between float32 and narrower formats.
///
/// All levels give the same bits, so one table serves every session, whatever maximum its options set: the best that
/// APUS_CPU allows.
package enum SmallFloatKernels {
    nonisolated(unsafe) package static let table: UnsafePointer<apus_half_kernels>? = apus_half_select(
        CPUCap.levels((try? Environment.cpuCap()) ?? nil))

    package static func format(_ type: ElementType) -> apus_small_float? {
        switch type {
        case .float16: APUS_F16
        case .bfloat16: APUS_BF16
        case .float8e4m3fn: APUS_F8E4M3FN
        case .float8e4m3fnuz: APUS_F8E4M3FNUZ
        case .float8e5m2: APUS_F8E5M2
        case .float8e5m2fnuz: APUS_F8E5M2FNUZ
        case .float8e8m0: APUS_F8E8M0
        case .float6e2m3: APUS_F6E2M3
        case .float6e3m2: APUS_F6E3M2
        case .float4e2m1: APUS_F4E2M1
        default: nil
        }
    }

    fileprivate static let fromHalf = apus_half_to_f32(table, APUS_F16)
    fileprivate static let toHalf = apus_half_from_f32(table, APUS_F16)
    fileprivate static let fromBFloat = apus_half_to_f32(table, APUS_BF16)
    fileprivate static let toBFloat = apus_half_from_f32(table, APUS_BF16)
}

/// The elements of `type` (float16 or bfloat16) as floats.
package func widen(_ type: ElementType, _ source: UnsafeRawPointer, _ target: UnsafeMutablePointer<Float>, count: Int) {
    (type == .float16 ? SmallFloatKernels.fromHalf : SmallFloatKernels.fromBFloat)?(count, source, target)
}

/// Floats rounded to elements of `type` (float16 or bfloat16).
package func narrow(_ type: ElementType, _ source: UnsafePointer<Float>, _ target: UnsafeMutableRawPointer, count: Int) {
    (type == .float16 ? SmallFloatKernels.toHalf : SmallFloatKernels.toBFloat)?(count, source, target, false)
}

package func widen<T: Element>(_ source: UnsafePointer<T>, _ target: UnsafeMutablePointer<Float>, count: Int)
where T.Number == Float {
    for index in 0..<count { target[index] = source[index].number }
}

package func narrow<T: Element>(_ source: UnsafePointer<Float>, _ target: UnsafeMutablePointer<T>, count: Int)
where T.Number == Float {
    for index in 0..<count { target[index] = T(rounding: source[index]) }
}
