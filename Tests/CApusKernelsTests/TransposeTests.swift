import CApusKernels
import TestSupport
import Testing

@Suite struct TransposeTests {
    /// All small shapes, so that every block with every remainder occurs; tight buffers, then strided and misaligned ones.
    func check<Element: FixedWidthInteger & BitwiseCopyable & Sendable>(_: Element.Type) {
        let size = MemoryLayout<Element>.size
        let block = 16 / size
        let sizes = Set(Array(0...block + 1) + [2 * block - 1, 2 * block, 2 * block + 1, 64 / size + 3, 3 * 64 / size])
        for rows in sizes {
            for cols in sizes {
                let edge: GuardedBuffer<UInt8>.Edge = (rows + cols) % 2 == 0 ? .start : .end
                for gap in [0, 3] {
                    let (fromStride, toStride) = (cols + gap, rows + gap)
                    let fromCount = rows == 0 || cols == 0 ? 0 : rows * fromStride - gap
                    let toCount = rows == 0 || cols == 0 ? 0 : cols * toStride - gap
                    // With a gap, addresses are odd as well.
                    let odd = gap == 0 ? 0 : 1
                    let from = GuardedBuffer<UInt8>(count: fromCount * size + odd, guarding: edge)
                    let to = GuardedBuffer<UInt8>(count: toCount * size + odd, guarding: edge)
                    var random = RandomFloats(seed: UInt64(rows * 100 + cols))
                    for i in 0..<from.count { from[i] = UInt8(truncatingIfNeeded: Int(random.next() * 1_000_000)) }
                    let source = UnsafeRawPointer(from.pointer) + (edge == .start ? odd : 0)
                    let result = UnsafeMutableRawPointer(to.pointer) + (edge == .start ? odd : 0)
                    #expect(apus_transpose_2d(size, rows, cols, source, fromStride, result, toStride))
                    var wrong = 0
                    for r in 0..<rows {
                        for c in 0..<cols {
                            let expected = source.loadUnaligned(fromByteOffset: (r * fromStride + c) * size, as: Element.self)
                            let got = UnsafeRawPointer(result)
                                .loadUnaligned(fromByteOffset: (c * toStride + r) * size, as: Element.self)
                            if expected != got { wrong += 1 }
                        }
                    }
                    for c in 0..<max(0, cols - 1) where toCount > 0 {
                        for between in rows * size..<toStride * size where result.load(
                            fromByteOffset: c * toStride * size + between, as: UInt8.self) != 0xA5
                        {
                            wrong += 1
                        }
                    }
                    #expect(wrong == 0, "\(rows) x \(cols) of \(size) bytes, gap \(gap)")
                    #expect(from.isIntact && to.isIntact, "\(rows) x \(cols) of \(size) bytes, gap \(gap)")
                }
            }
        }
    }

    @Test func bytes() { check(UInt8.self) }
    @Test func words16() { check(UInt16.self) }
    @Test func words32() { check(UInt32.self) }
    @Test func words64() { check(UInt64.self) }

    @Test func otherSizesAreRefused() {
        var (from, to): ([UInt8], [UInt8]) = ([1, 2, 3], [4, 5, 6])
        for size in [0, 3, 16] { #expect(!apus_transpose_2d(size, 1, 1, &from, 1, &to, 1)) }
        #expect(to == [4, 5, 6])
    }
}
