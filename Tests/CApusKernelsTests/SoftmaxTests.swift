import CApusKernels
import Glibc
import TestSupport
import Testing

@Suite struct SoftmaxTests {
    static let levels = Level.all { apus_softmax_at($0)?.pointee.isa }

    static func kernel(_ level: Level) throws -> apus_softmax_fn {
        try level.skipUnlessRunnable()
        return try #require(apus_softmax_at(level.index)?.pointee.softmax)
    }

    static func reference(_ x: [Float], scale: Float, mask: [Float]?, log takesLog: Bool) -> [Double] {
        let t = x.indices.map { Double(x[$0]) * Double(scale) + Double(mask?[$0] ?? 0) }
        let top = t.contains { $0.isNaN } ? .nan : t.max() ?? 0
        let sum = t.reduce(0) { $0 + exp($1 - top) }
        return t.map { takesLog ? $0 - top - log(sum) : exp($0 - top) / sum }
    }

    @Test func selectionObeysCaps() {
        expectSelectionObeysCaps(Self.levels) { apus_softmax_select($0).pointee.isa }
    }

    @Test(arguments: levels) func lengthsMasksAndForms(level: Level) throws {
        let softmax = try Self.kernel(level)
        var random = SplitMix(11)
        for edge in edges {
            for n in Array(0...68) + [129, 300] {
                let rows = 2
                for (scale, maskRows) in [(Float(1), 0), (0.125, 0), (1, 1), (-0.5, 2)] {
                    for takesLog in [false, true] {
                        let x = GuardedBuffer(random.floats(rows * n, -30...30), guarding: edge.of(Float.self))
                        let mask = GuardedBuffer(random.floats(maskRows * n, -20...0), guarding: edge.of(Float.self))
                        let y = GuardedBuffer<Float>(count: rows * n, guarding: edge.of(Float.self))
                        var args = apus_softmax_args(
                            rows: rows, n: n, x: x.pointer, x_stride: n, scale: scale,
                            mask: maskRows > 0 ? UnsafePointer(mask.pointer) : nil, mask_stride: maskRows == 2 ? n : 0,
                            y: y.pointer, y_stride: n, log: takesLog)
                        softmax(&args)
                        for r in 0..<rows {
                            let maskRow = maskRows == 0 ? nil : Array(mask.elements[(maskRows == 2 ? r * n : 0)...].prefix(n))
                            let want = Self.reference(Array(x.elements[(r * n)...].prefix(n)), scale: scale, mask: maskRow, log: takesLog)
                            for i in 0..<n {
                                let got = Double(y[r * n + i])
                                // The products scale * x are rounded to float before anything else.
                                let tolerance = takesLog ? 2e-5 : max(want[i] * 1e-5, 1.2e-38)
                                #expect(abs(got - want[i]) <= tolerance, "n \(n), \(got) is not \(want[i])")
                            }
                        }
                        // In place gives the same bits.
                        let apart = y.elements
                        args.y = x.pointer
                        softmax(&args)
                        #expect(x.elements.map(\.bitPattern) == apart.map(\.bitPattern))
                        #expect(x.isIntact && y.isIntact)
                    }
                }
            }
        }
    }

    @Test(arguments: levels) func accuracyOfLongRows(level: Level) throws {
        let softmax = try Self.kernel(level)
        var random = SplitMix(12)
        let n = 100_003
        let x = random.floats(n, -10...10)
        let want = Self.reference(x, scale: 1, mask: nil, log: false)
        var y = [Float](repeating: 0, count: n)
        y.withUnsafeMutableBufferPointer { y in
            x.withUnsafeBufferPointer { x in
                var args = apus_softmax_args(
                    rows: 1, n: n, x: x.baseAddress, x_stride: n, scale: 1, mask: nil, mask_stride: 0,
                    y: y.baseAddress, y_stride: n, log: false)
                softmax(&args)
            }
        }
        let top = x.max() ?? 0
        for i in 0..<n {
            let error = abs(Double(y[i]) - want[i]) / want[i]
            if error > 0x1p-24 * Double(top - x[i]) + 0x1p-20 { Issue.record("element \(i): relative error \(error)") }
        }
    }

    @Test(arguments: levels) func extremes(level: Level) throws {
        let softmax = try Self.kernel(level)
        let inf = Float.infinity
        for n in [1, 7, 16, 40] {
            let rows: [[Float]] = [
                Array(repeating: -inf, count: n), Array(repeating: inf, count: n), Array(repeating: .nan, count: n),
                (0..<n).map { $0 == n - 1 ? .nan : 1 }, (0..<n).map { $0 == 0 ? inf : 1 },
                (0..<n).map { $0 == 0 ? 3 : -inf }, Array(repeating: 3e38, count: n), Array(repeating: -3e38, count: n),
                (0..<n).map { $0 == 0 ? 3e38 : -3e38 },
            ]
            for x in rows {
                for takesLog in [false, true] {
                    let want = Self.reference(x, scale: 1, mask: nil, log: takesLog)
                    var y = x
                    y.withUnsafeMutableBufferPointer { y in
                        var args = apus_softmax_args(
                            rows: 1, n: n, x: y.baseAddress, x_stride: n, scale: 1, mask: nil, mask_stride: 0,
                            y: y.baseAddress, y_stride: n, log: takesLog)
                        softmax(&args)
                    }
                    for (got, want) in zip(y, want) {
                        let alike = want.isNaN ? got.isNaN : got == Float(want) || abs(Double(got) - want) < 1e-6 * max(1, abs(want))
                        #expect(alike, "softmax(\(x)) log \(takesLog): \(got) is not \(want)")
                    }
                }
            }
        }
    }
}
