import Testing

@testable import ApusOperators

/// Conversions of the 16-bit floats, checked for every pattern.
struct ShortFloatTests {
    @Test func everyHalfWidensExactly() {
        for bits in UInt16.min...UInt16.max {
            let expected = Float(Float16(bitPattern: bits)), found = Half(bits: bits).number
            if expected.isNaN {
                #expect(found.isNaN)
            } else if expected.bitPattern != found.bitPattern {
                Issue.record("half \(bits): \(found) instead of \(expected)")
            }
        }
    }

    /// All halves, the midpoints between neighbours and the floats next to these: where rounding could go wrong.
    @Test func floatsRoundToHalfAsIEEE754Says() {
        for bits in UInt16(0)..<0x7c00 {
            let low = Float(Float16(bitPattern: bits))
            let high = bits == 0x7bff ? Float(65536) : Float(Float16(bitPattern: bits + 1))
            let middle = (low + high) / 2
            for value in [low, middle.nextDown, middle, middle.nextUp] {
                for signed in [value, -value] {
                    let expected = Float16(signed).bitPattern
                    if Half(rounding: signed).bits != expected {
                        Issue.record("\(signed): \(Half(rounding: signed).bits) instead of \(expected)")
                    }
                }
            }
        }
        #expect(Half(rounding: .infinity).bits == 0x7c00)
        #expect(Half(rounding: -.greatestFiniteMagnitude).bits == 0xfc00)
        #expect(Half(rounding: .nan).number.isNaN)
        #expect(Half(rounding: .leastNonzeroMagnitude).bits == 0)
    }

    @Test func bfloat16RoundsToEven() {
        let cases: [(UInt32, UInt16)] = [
            (0x3f80_0000, 0x3f80), (0x3f80_8000, 0x3f80), (0x3f81_8000, 0x3f82), (0x3f80_8001, 0x3f81), (0x7f7f_ffff, 0x7f80),
            (0xff80_0000, 0xff80), (0x0000_8000, 0), (0x0000_8001, 1), (0x8000_0000, 0x8000),
        ]
        for (pattern, expected) in cases {
            #expect(BFloat16(rounding: Float(bitPattern: pattern)).bits == expected)
        }
        #expect(BFloat16(rounding: Float(bitPattern: 0x7f80_0001)).number.isNaN)
        for bits in UInt16.min...UInt16.max where !BFloat16(bits: bits).number.isNaN {
            if BFloat16(rounding: BFloat16(bits: bits).number).bits != bits { Issue.record("\(bits)") }
        }
    }
}
