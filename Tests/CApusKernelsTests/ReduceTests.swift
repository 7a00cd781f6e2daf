import CApusKernels
import TestSupport
import Testing

@Suite struct ReduceTests {
    static let levels = Level.all { apus_reduce_at($0)?.pointee.isa }

    static func kernels(_ level: Level) throws -> UnsafePointer<apus_reduce_kernels> {
        try level.skipUnlessRunnable()
        return try #require(apus_reduce_at(level.index))
    }

    static func reference(_ op: apus_reduce_op, _ x: [Float]) -> Double {
        let x = x.map(Double.init)
        return switch op {
        case APUS_REDUCE_SUM: x.reduce(0, +)
        case APUS_REDUCE_SUM_SQUARES: x.reduce(0) { $0 + $1 * $1 }
        case APUS_REDUCE_SUM_ABSOLUTE: x.reduce(0) { $0 + abs($1) }
        case APUS_REDUCE_MAX: x.contains { $0.isNaN } ? .nan : x.reduce(-.infinity, max)
        case APUS_REDUCE_MIN: x.contains { $0.isNaN } ? .nan : x.reduce(.infinity, min)
        default: x.reduce(1, *)
        }
    }

    static func close(_ op: apus_reduce_op, _ got: Float, _ want: Double, over x: [Float]) -> Bool {
        if want.isNaN || got.isNaN { return want.isNaN && got.isNaN }
        switch op {
        case APUS_REDUCE_MAX, APUS_REDUCE_MIN: return Double(got) == want
        case APUS_REDUCE_PRODUCT: return abs(Double(got) - want) <= abs(want) * Double(x.count) * 0x1p-24
        default:
            let size = x.reduce(0) { $0 + abs(Double($1)) * (op == APUS_REDUCE_SUM_SQUARES ? abs(Double($1)) : 1) }
            return abs(Double(got) - want) <= size * 0x1p-19
        }
    }

    @Test func selectionObeysCaps() {
        expectSelectionObeysCaps(Self.levels) { apus_reduce_select($0).pointee.isa }
        #expect(apus_reduce_row(apus_reduce_select(1), APUS_REDUCE_COUNT) == nil)
        #expect(apus_reduce_columns(apus_reduce_select(1), APUS_REDUCE_COUNT) == nil)
    }

    @Test(arguments: levels) func rows(level: Level) throws {
        let kernels = try Self.kernels(level)
        var random = SplitMix(21)
        let values = random.floats(140, -2...2)
        for raw in 0..<APUS_REDUCE_COUNT.rawValue {
            let op = apus_reduce_op(raw)
            let function = try #require(apus_reduce_row(kernels, op))
            for edge in edges {
                let slices = GuardedSlices<Float>(capacity: 140, edge.of(Float.self))
                for n in 0...140 {
                    let x = Array(values[..<n])
                    let got = function(n, slices.holding(x))
                    #expect(Self.close(op, got, Self.reference(op, x), over: x), "\(op) of \(n): \(got)")
                }
            }
            for n in [1, 5, 16, 63, 64, 65, 129] {
                for place in Set([0, n / 2, n - 1]) {
                    var x = Array(values[..<n])
                    x[place] = .nan
                    #expect(function(n, x).isNaN)
                    x[place] = .infinity
                    #expect(Self.close(op, function(n, x), Self.reference(op, x), over: x) || function(n, x).isInfinite)
                }
            }
        }
    }

    @Test(arguments: levels) func longSumsAreAccurate(level: Level) throws {
        let kernels = try Self.kernels(level)
        var random = SplitMix(22)
        let x = random.floats(1_000_003, 0...1)
        let sum = try #require(apus_reduce_row(kernels, APUS_REDUCE_SUM))
        let want = Self.reference(APUS_REDUCE_SUM, x)
        #expect(abs(Double(sum(x.count, x)) - want) <= want * 0x1p-22)
        let columns = try #require(apus_reduce_columns(kernels, APUS_REDUCE_SUM))
        var total: Float = 0
        columns(100_000, 1, x, 1, &total, false)
        let first = Self.reference(APUS_REDUCE_SUM, Array(x[..<100_000]))
        #expect(abs(Double(total) - first) <= first * 0x1p-17)
    }

    @Test(arguments: levels) func columns(level: Level) throws {
        let kernels = try Self.kernels(level)
        var random = SplitMix(23)
        for raw in 0..<APUS_REDUCE_COUNT.rawValue {
            let op = apus_reduce_op(raw)
            let function = try #require(apus_reduce_columns(kernels, op))
            for edge in edges {
                for n in Array(0...18) + [31, 32, 33, 40] {
                    for rows in [0, 1, 3, 64, 65, 130] {
                        let stride = n + 1
                        let count = rows == 0 || n == 0 ? 0 : (rows - 1) * stride + n
                        var values = random.floats(count, 0.5...1.5)
                        if count > 3 { values[count / 2] = .nan }
                        let x = GuardedBuffer(values, guarding: edge.of(Float.self))
                        let start = random.floats(n, 0.5...1.5)
                        for accumulate in [false, true] {
                            let y = GuardedBuffer(start, guarding: edge.of(Float.self))
                            function(rows, n, x.pointer, stride, y.pointer, accumulate)
                            for c in 0..<n {
                                var column = (0..<rows).map { values[$0 * stride + c] }
                                var want = Self.reference(op, column)
                                if accumulate {
                                    // What y held joins as it is, not squared.
                                    let held = start[c]
                                    switch op {
                                    case APUS_REDUCE_MAX: want = want.isNaN ? want : max(want, Double(held))
                                    case APUS_REDUCE_MIN: want = want.isNaN ? want : min(want, Double(held))
                                    case APUS_REDUCE_PRODUCT: want *= Double(held)
                                    default: want += Double(held)
                                    }
                                    column.append(2)
                                }
                                #expect(Self.close(op, y[c], want, over: column), "\(op) \(rows)x\(n): \(y[c]) is not \(want)")
                            }
                            #expect(y.isIntact)
                        }
                    }
                }
            }
        }
    }
}
