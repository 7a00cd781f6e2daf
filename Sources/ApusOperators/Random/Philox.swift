/// The counter-based generator Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as
/// 1, 2, 3" (SC 2011).
///
/// Number i of a sequence depends on the key and i only, so that threads may make any part of it in any order.
package struct Philox: Sendable {
    private let key: SIMD2<UInt32>

    package init(key: UInt64) {
        self.key = SIMD2(UInt32(truncatingIfNeeded: key), UInt32(truncatingIfNeeded: key >> 32))
    }

    /// 128 random bits for a counter of 128 bits.
    package func block(_ counter: SIMD4<UInt32>) -> SIMD4<UInt32> {
        var c = counter, k = key
        for _ in 0..<10 {
            let p = (c.x.multipliedFullWidth(by: 0xd251_1f53), c.z.multipliedFullWidth(by: 0xcd9e_8d57))
            c = SIMD4(p.1.high ^ c.y ^ k.x, p.1.low, p.0.high ^ c.w ^ k.y, p.0.low)
            k &+= SIMD2(0x9e37_79b9, 0xbb67_ae85)
        }
        return c
    }

    /// Numbers 2 * index and 2 * index + 1 of the sequence of 53-bit numbers, uniform in [0, 1).
    @inline(__always)
    package func uniformPair(_ index: Int) -> (Double, Double) {
        let position = UInt64(truncatingIfNeeded: index)
        let bits = block(SIMD4(UInt32(truncatingIfNeeded: position), UInt32(truncatingIfNeeded: position >> 32), 0, 0))
        func number(_ low: UInt32, _ high: UInt32) -> Double {
            Double((UInt64(high) << 32 | UInt64(low)) >> 11) * 0x1p-53
        }
        return (number(bits.x, bits.y), number(bits.z, bits.w))
    }
}
