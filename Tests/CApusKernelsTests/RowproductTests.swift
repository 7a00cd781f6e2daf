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

    /// Weights of 16 bits in panels as wide as the level's product of matrices has them: every number of columns, sums in one piece and in several.
    @Test(arguments: levels) func narrow(level: Level) throws {
        let kernels = try Self.kernels(level), function = try #require(kernels.narrow)
        let nr = try #require(apus_sgemm_select(1 << kernels.isa.rawValue)).pointee.nr
        var random = SplitMix(33)
        for edge in edges {
            for n in Self.sizes + [130, 200, 300] {
                for k in [0, 1, 4, 11] {
                    let panels = (n + nr - 1) / nr, isBFloat = k % 2 == 0
                    let numbers = (0..<(panels * k * nr)).map { _ in Float(Int.random(in: -128...128, using: &random)) / 64 }
                    let codes = numbers.map { isBFloat ? UInt16($0.bitPattern >> 16) : Float16($0).bitPattern }
                    let b = GuardedBuffer(codes, guarding: edge.of(UInt16.self))
                    let x = GuardedBuffer(random.floats(k, -1...1), guarding: edge.of(Float.self))
                    let y = GuardedBuffer([Float](repeating: 9, count: n), guarding: edge.of(Float.self))
                    var args = apus_rowproduct_narrow_args(
                        n: n, k: k, nr: nr, k_block: 4, x: x.pointer, b: b.pointer, is_bfloat: isBFloat, y: y.pointer)
                    function(&args)
                    for j in 0..<n {
                        let want = (0..<k).reduce(0.0) { $0 + Double(x[$1]) * Double(numbers[(j / nr * k + $1) * nr + j % nr]) }
                        #expect(abs(Double(y[j]) - want) <= 1e-6 * Double(k + 1), "\(k)x\(n): \(y[j]) is not \(want)")
                    }
                    #expect(y.isIntact)
                }
            }
        }
    }

    @Test(arguments: levels) func doubles(level: Level) throws {
        let function = try #require(try Self.kernels(level).doubles)
        var random = SplitMix(33)
        for edge in edges {
            for (m, n, k) in [(0, 3, 2), (1, 1, 1), (3, 0, 2), (2, 3, 0), (4, 2, 7), (6, 8, 5), (8, 16, 9), (9, 17, 3), (13, 37, 20), (50, 5, 4)] {
                for isTransposed in [false, true] {
                    let aRow = isTransposed ? 1 : k + 2, aColumn = isTransposed ? m + 2 : 1, bRow = n + 3
                    let aCount = m == 0 || k == 0 ? 0 : (m - 1) * aRow + (k - 1) * aColumn + 1
                    let bCount = k == 0 || n == 0 ? 0 : (k - 1) * bRow + n
                    let left = random.floats(aCount, -1...1).map { Double($0) / 3 }, right = random.floats(bCount, -1...1).map { Double($0) / 7 }
                    let a = GuardedBuffer(left, guarding: edge.of(Double.self)), b = GuardedBuffer(right, guarding: edge.of(Double.self))
                    let c = GuardedBuffer([Double](repeating: 9, count: m * n), guarding: edge.of(Double.self))
                    function(m, n, k, a.pointer, aRow, aColumn, b.pointer, bRow, c.pointer)
                    for place in 0..<m * n {
                        let (row, column) = (place / n, place % n)
                        let want = (0..<k).reduce(0.0) { $0 + left[row * aRow + $1 * aColumn] * right[$1 * bRow + column] }
                        #expect(abs(c[place] - want) <= 1e-16 * Double(k), "\(m)x\(n)x\(k) \(place): \(c[place]) is not \(want)")
                    }
                    #expect(c.isIntact)
                }
            }
        }
    }
}
