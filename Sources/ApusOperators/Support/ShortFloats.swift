import ApusCore

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

/// The elements of `type` (float16 or bfloat16) as floats.
package func widen(_ type: ElementType, _ source: UnsafeRawPointer, _ target: UnsafeMutablePointer<Float>, count: Int) {
    if type == .float16 {
        widen(source.assumingMemoryBound(to: Half.self), target, count: count)
    } else {
        widen(source.assumingMemoryBound(to: BFloat16.self), target, count: count)
    }
}

/// Floats rounded to elements of `type` (float16 or bfloat16).
package func narrow(_ type: ElementType, _ source: UnsafePointer<Float>, _ target: UnsafeMutableRawPointer, count: Int) {
    if type == .float16 {
        narrow(source, target.assumingMemoryBound(to: Half.self), count: count)
    } else {
        narrow(source, target.assumingMemoryBound(to: BFloat16.self), count: count)
    }
}

package func widen<T: Element>(_ source: UnsafePointer<T>, _ target: UnsafeMutablePointer<Float>, count: Int)
where T.Number == Float {
    for index in 0..<count { target[index] = source[index].number }
}

package func narrow<T: Element>(_ source: UnsafePointer<Float>, _ target: UnsafeMutablePointer<T>, count: Int)
where T.Number == Float {
    for index in 0..<count { target[index] = T(rounding: source[index]) }
}
