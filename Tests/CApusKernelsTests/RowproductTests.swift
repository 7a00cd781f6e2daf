import CApusKernels
import TestSupport
import Testing

@Suite struct RowproductTests {
    static let levels = Level.all { apus_rowproduct_at($0)?.pointee.isa }

    static func kernels(_ level: Level) throws -> apus_rowproduct_kernels {
        try level.skipUnlessRunnable()
        return try #require(apus_rowproduct_at(level.index)).pointee
    }

    @Test func selectionObeysCaps() {
        expectSelectionObeysCaps(Self.levels) { apus_rowproduct_select($0).pointee.isa }
    }

    private static let sizes = [0, 1, 3, 4, 5, 8, 15, 16, 17, 31, 33, 64, 65, 80]

    @Test(arguments: levels) func dot(level: Level) throws {
        let function = try #require(try Self.kernels(level).dot)
        var random = SplitMix(31)
        for edge in edges {
            for n in Self.sizes {
                for rows in [0, 1, 3, 4, 5, 9] {
                    let stride = n + 3
                    let values = random.floats(rows == 0 || n == 0 ? 0 : (rows - 1) * stride + n, -1...1), other = random.floats(n, -1...1)
                    let a = GuardedBuffer(values, guarding: edge.of(Float.self)), x = GuardedBuffer(other, guarding: edge.of(Float.self))
                    let y = GuardedBuffer([Float](repeating: 9, count: rows), guarding: edge.of(Float.self))
                    function(rows, n, a.pointer, stride, x.pointer, y.pointer)
                    for row in 0..<rows {
                        let want = (0..<n).reduce(0.0) { $0 + Double(values[row * stride + $1]) * Double(other[$1]) }
                        #expect(abs(Double(y[row]) - want) <= 1e-6 * Double(max(n, 1)), "\(rows)x\(n): \(y[row]) is not \(want)")
                    }
                    #expect(y.isIntact)
                }
            }
        }
    }

    @Test(arguments: levels) func combine(level: Level) throws {
        let function = try #require(try Self.kernels(level).combine)
        var random = SplitMix(32)
        for edge in edges {
            for n in Self.sizes {
                for rows in [0, 1, 2, 3, 8] {
                    let stride = n + 3
                    let values = random.floats(rows == 0 || n == 0 ? 0 : (rows - 1) * stride + n, -1...1), other = random.floats(rows, -1...1)
                    let a = GuardedBuffer(values, guarding: edge.of(Float.self)), x = GuardedBuffer(other, guarding: edge.of(Float.self))
                    let y = GuardedBuffer([Float](repeating: 9, count: n), guarding: edge.of(Float.self))
                    function(rows, n, a.pointer, stride, x.pointer, y.pointer)
                    for i in 0..<n {
                        let want = (0..<rows).reduce(0.0) { $0 + Double(values[$1 * stride + i]) * Double(other[$1]) }
                        #expect(abs(Double(y[i]) - want) <= 1e-6 * Double(max(rows, 1)), "\(rows)x\(n): \(y[i]) is not \(want)")
                    }
                    #expect(y.isIntact)
                }
            }
        }
    }
}
