import CApusKernels
import TestSupport
import Testing

@Suite struct ReduceTests {
    static let levels = Level.all { apus_reduce_at($0)?.pointee.isa }

    static func kernels(_ level: Level) throws -> UnsafePointer<apus_reduce_kernels> {
        try level.skipUnlessRunnable()
        return try #require(apus_reduce_at(level.index))
    }

    private static let sums = [APUS_REDUCE_SUM, APUS_REDUCE_SUM_SQUARES, APUS_REDUCE_SUM_ABSOLUTE]
    private static let choices = [APUS_REDUCE_MAX, APUS_REDUCE_MIN]
    private static let lengths = Array(0...18) + [31, 32, 33, 63, 64, 65, 127, 128, 129, 160, 300]

    @Test func selectionObeysCaps() {
        expectSelectionObeysCaps(Self.levels) { apus_reduce_select($0).pointee.isa }
        #expect(apus_reduce_runs(apus_reduce_select(1), APUS_REDUCE_COUNT, APUS_NUMBER_F32) == nil)
        #expect(apus_reduce_columns(apus_reduce_select(1), APUS_REDUCE_SUM, APUS_NUMBER_COUNT) == nil)
        #expect(apus_reduce_runs(apus_reduce_select(1), APUS_REDUCE_SUM, APUS_NUMBER_I8) == nil)
        #expect(apus_reduce_find(apus_reduce_select(1), APUS_NUMBER_COUNT) == nil)
    }

    /// `runs` and `columns` of a matrix, both ways of walking it, against `join` of each line's elements.
    private static func check<T: BitwiseCopyable, Total: BitwiseCopyable>(
        _ kernels: UnsafePointer<apus_reduce_kernels>, _ op: apus_reduce_op, _ number: apus_number, lines: [Int], lengths: [Int],
        element: (Int) -> T, start: Total, join: (Total, T) -> Total, isClose: (Total, Total, Int) -> Bool
    ) throws {
        let runs = try #require(apus_reduce_runs(kernels, op, number)), columns = try #require(apus_reduce_columns(kernels, op, number))
        for edge in edges {
            for count in lines {
                for n in lengths {
                    for isColumns in [false, true] {
                        // Lines of runs lie behind one another, those of columns beside one another.
                        let inner = isColumns ? count : n, outer = isColumns ? n : count, stride = inner + 3
                        let values = (0..<(outer == 0 || inner == 0 ? 0 : (outer - 1) * stride + inner)).map(element)
                        let x = GuardedBuffer(values, guarding: edge.of(T.self))
                        let total = GuardedBuffer([Total](repeating: start, count: count), guarding: edge.of(Total.self))
                        if isColumns {
                            columns(n, count, x.pointer, stride, total.pointer)
                        } else {
                            runs(count, n, x.pointer, stride, total.pointer)
                        }
                        for line in 0..<count {
                            let want = (0..<n).reduce(start) { join($0, values[isColumns ? $1 * stride + line : line * stride + $1]) }
                            #expect(isClose(total[line], want, n), "\(op) \(number) \(count) of \(n): \(total[line]) is not \(want)")
                        }
                        #expect(total.isIntact)
                    }
                }
            }
        }
    }

    private static func term(_ op: apus_reduce_op, _ x: Double) -> Double {
        op == APUS_REDUCE_SUM ? x : op == APUS_REDUCE_SUM_SQUARES ? x * x : abs(x)
    }

    @Test(arguments: levels) func sumsOfFloats(level: Level) throws {
        let kernels = try Self.kernels(level)
        var random = SplitMix(21)
        let values = random.floats(400, -2...2)
        for op in Self.sums {
            try Self.check(
                kernels, op, APUS_NUMBER_F32, lines: [0, 1, 3, 17], lengths: Self.lengths, element: { values[$0 % 397] }, start: 0.5,
                join: { $0 + Self.term(op, Double($1)) }, isClose: { abs($0 - $1) <= 1e-13 * Double($2 + 1) })
            try Self.check(
                kernels, op, APUS_NUMBER_F64, lines: [1, 40], lengths: [0, 5, 8, 33, 70], element: { Double(values[$0 % 397]) / 3 },
                start: 0.5, join: { $0 + Self.term(op, $1) }, isClose: { abs($0 - $1) <= 1e-13 * Double($2 + 1) })
            let runs = try #require(apus_reduce_runs(kernels, op, APUS_NUMBER_F32))
            for special in [Float.nan, .infinity] {
                var x = values, total = 0.0
                x[200] = special
                runs(1, x.count, x, x.count, &total)
                #expect(special.isNaN ? total.isNaN : total == .infinity)
            }
        }
    }

    @Test(arguments: levels) func sumsOfIntegersWrap(level: Level) throws {
        let kernels = try Self.kernels(level)
        var random = SplitMix(22)
        let small: [Int32] = random.bytes(400), great: [Int64] = random.bytes(400)
        try Self.check(
            kernels, APUS_REDUCE_SUM, APUS_NUMBER_I32, lines: [0, 1, 3, 33], lengths: Self.lengths, element: { small[$0 % 397] },
            start: Int64(-7), join: { $0 &+ Int64($1) }, isClose: { got, want, _ in got == want })
        try Self.check(
            kernels, APUS_REDUCE_SUM, APUS_NUMBER_I64, lines: [1, 33], lengths: [0, 5, 8, 33, 70], element: { great[$0 % 397] },
            start: Int64(-7), join: { $0 &+ $1 }, isClose: { got, want, _ in got == want })
    }

    /// Integers of one type, their extremes among them.
    private static func checkChoices<T: FixedWidthInteger & BitwiseCopyable>(
        _ kernels: UnsafePointer<apus_reduce_kernels>, _ number: apus_number, _: T.Type
    ) throws {
        var random = SplitMix(23)
        let values: [T] = random.bytes(400)
        for op in choices {
            try check(
                kernels, op, number, lines: [0, 1, 3, 70, 130], lengths: [0, 1, 7, 16, 63, 64, 65, 130, 300],
                element: { $0 % 97 == 5 ? ($0 % 2 == 0 ? T.min : .max) : values[$0 % 397] / 2 }, start: T(7),
                join: { op == APUS_REDUCE_MAX ? max($0, $1) : min($0, $1) }, isClose: { got, want, _ in got == want })
        }
    }

    @Test(arguments: levels) func choicesOfIntegers(level: Level) throws {
        let kernels = try Self.kernels(level)
        try Self.checkChoices(kernels, APUS_NUMBER_I8, Int8.self)
        try Self.checkChoices(kernels, APUS_NUMBER_U8, UInt8.self)
        try Self.checkChoices(kernels, APUS_NUMBER_I32, Int32.self)
        try Self.checkChoices(kernels, APUS_NUMBER_I64, Int64.self)
    }

    private static func checkChoices<T: BinaryFloatingPoint & BitwiseCopyable>(
        _ kernels: UnsafePointer<apus_reduce_kernels>, _ number: apus_number, _: T.Type
    ) throws {
        var random = SplitMix(24)
        let values = random.floats(400, -2...2)
        for op in choices {
            // NaN in some lines, and in what a total held.
            for (place, start) in [(-1, T(0.25)), (11, 0.25), (160, -.infinity), (-1, .nan)] {
                try check(
                    kernels, op, number, lines: [0, 1, 3, 40], lengths: lengths, element: { $0 == place ? T.nan : T(values[$0 % 397]) },
                    start: start,
                    join: { $0.isNaN || $1.isNaN ? .nan : op == APUS_REDUCE_MAX ? Swift.max($0, $1) : Swift.min($0, $1) },
                    isClose: { got, want, _ in got == want || got.isNaN && want.isNaN })
            }
        }
    }

    @Test(arguments: levels) func choicesOfFloats(level: Level) throws {
        let kernels = try Self.kernels(level)
        try Self.checkChoices(kernels, APUS_NUMBER_F32, Float.self)
        try Self.checkChoices(kernels, APUS_NUMBER_F64, Double.self)
    }

    @Test(arguments: levels) func longSumsAreAccurate(level: Level) throws {
        let kernels = try Self.kernels(level)
        var random = SplitMix(25)
        let x = random.floats(1_000_003, 0...1), want = x.reduce(0.0) { $0 + Double($1) }
        var total = 0.0
        let runs = try #require(apus_reduce_runs(kernels, APUS_REDUCE_SUM, APUS_NUMBER_F32))
        runs(1, x.count, x, x.count, &total)
        #expect(abs(total - want) <= want * 0x1p-40)
    }

    @Test(arguments: levels) func theFirstOfEqualElementsIsFound(level: Level) throws {
        let kernels = try Self.kernels(level)
        func check<T: Equatable & BitwiseCopyable>(_ number: apus_number, _ others: T, _ wanted: T) throws {
            let find = try #require(apus_reduce_find(kernels, number))
            var wanted = wanted
            for edge in edges {
                for n in [0, 1, 5, 15, 16, 17, 32, 50] {
                    for place in Set([0, n / 2, n - 1, n]) where place >= 0 {
                        var values = [T](repeating: others, count: n)
                        for later in place..<max(n, place) { values[later] = wanted }
                        let x = GuardedBuffer(values, guarding: edge.of(T.self))
                        #expect(find(n, x.pointer, &wanted) == min(place, n))
                        #expect(x.isIntact)
                    }
                }
            }
        }
        try check(APUS_NUMBER_F32, Float.nan, 2.5)
        try check(APUS_NUMBER_F64, -2.5, 2.5)
        try check(APUS_NUMBER_I8, Int8(-1), 1)
        try check(APUS_NUMBER_U8, UInt8(255), 0)
        try check(APUS_NUMBER_I32, Int32(256), 1)
        try check(APUS_NUMBER_I64, Int64(1 << 40), 1)
        // Zero equals zero of the other sign.
        var zero: Float = 0
        let find = try #require(apus_reduce_find(kernels, APUS_NUMBER_F32)), signed: [Float] = [1, -0.0]
        #expect(find(2, signed, &zero) == 1)
    }
}
