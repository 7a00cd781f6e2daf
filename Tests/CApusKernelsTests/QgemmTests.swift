import CApusKernels
import CKernelTwins
import TestSupport
import Testing

@Suite struct QgemmTests {
    static let levels = Level.all { apus_qgemm_at($0)?.pointee.isa }

    static let tested = levels + [Level.twin]

    static func kernel(_ level: Level) throws -> UnsafePointer<apus_qgemm_kernel> {
        try level.skipUnlessRunnable()
        return try #require(level.isTwin ? twin_qgemm() : apus_qgemm_at(level.index))
    }

    /// One product with everything drawn at random, and its sums by the definition.
    final class Problem {
        let m, n, k, taps: Int
        let a: GuardedBuffer<UInt8>, b: GuardedBuffer<UInt8>
        let table: GuardedBuffer<Int>, padding: GuardedBuffer<UInt8>
        let aZeros: GuardedBuffer<Int32>, bZeros: GuardedBuffer<Int32>, sumBias: GuardedBuffer<Int32>
        let scales: GuardedBuffer<Float>, rowScale: GuardedBuffer<Float>, bias: GuardedBuffer<Float>
        var source = apus_qgemm_b()
        var args = apus_qgemm_args()
        var sums: [Int32] = []

        init(
            _ random: inout SplitMix, m: Int, n: Int, k: Int, taps: Int, signs: Int, forms: Int, edge: GuardedBuffer<UInt8>.Edge
        ) {
            (self.m, self.n, self.k, self.taps) = (m, n, k, taps)
            let aSigned = signs & 1 != 0, bSigned = signs & 2 != 0
            let indirect = taps != 1 || forms & 64 != 0
            let columnMajorA = !indirect && forms & 1 != 0, transposedB = forms & 2 != 0
            func zero(_ signed: Bool) -> Int32 { signed ? Int32.random(in: -128...127, using: &random) : Int32.random(in: 0...255, using: &random) }
            let pixels = m + 2
            a = GuardedBuffer(random.bytes((indirect ? pixels : m) * k), guarding: edge)
            b = GuardedBuffer(random.bytes(taps * k * n), guarding: edge)
            var entries: [Int] = []
            for _ in 0..<(indirect ? m * taps : 0) {
                entries.append(Int.random(in: 0..<4, using: &random) == 0 ? -1 : Int.random(in: 0..<pixels, using: &random) * k)
            }
            table = GuardedBuffer(entries, guarding: edge.of(Int.self))
            let aZero = forms & 4 != 0 ? zero(aSigned) : 0, bZero = forms & 8 != 0 ? zero(bSigned) : 0
            padding = GuardedBuffer([UInt8](repeating: UInt8(truncatingIfNeeded: aZero), count: k), guarding: edge)
            let perRow = forms & 16 != 0, perColumn = forms & 32 != 0
            aZeros = GuardedBuffer((0..<m).map { _ in zero(aSigned) }, guarding: edge.of(Int32.self))
            bZeros = GuardedBuffer((0..<n).map { _ in zero(bSigned) }, guarding: edge.of(Int32.self))
            let hasBias = Bool.random(using: &random)
            sumBias = GuardedBuffer(random.bytes(n), guarding: edge.of(Int32.self))
            scales = GuardedBuffer(random.floats(n, 0.0001...0.01), guarding: edge.of(Float.self))
            rowScale = GuardedBuffer(random.floats(m, 0.5...2), guarding: edge.of(Float.self))
            bias = GuardedBuffer(random.floats(n), guarding: edge.of(Float.self))

            source.b = UnsafeRawPointer(b.pointer)
            source.is_signed = bSigned
            (source.taps, source.k, source.n) = (taps, k, n)
            source.tap_stride = k * n
            (source.k_stride, source.n_stride) = transposedB ? (1, k) : (n, 1)
            (args.m, args.n, args.k, args.taps) = (m, n, k, taps)
            args.a = UnsafeRawPointer(a.pointer)
            args.a_is_signed = aSigned
            (args.a_row_stride, args.a_k_stride) = columnMajorA ? (1, m) : (k, 1)
            if indirect {
                args.a_table = table.constant
                args.a_padding = UnsafeRawPointer(padding.pointer)
            }
            args.a_zero_point = aZero
            args.a_zero_points = perRow ? aZeros.constant : nil
            args.b_is_signed = bSigned
            args.b_zero_point = bZero
            args.b_zero_points = perColumn ? bZeros.constant : nil
            args.sum_bias = hasBias ? sumBias.constant : nil

            func value(_ byte: UInt8, _ signed: Bool) -> Int32 { signed ? Int32(Int8(bitPattern: byte)) : Int32(byte) }
            for row in 0..<m {
                let za = perRow ? aZeros[row] : aZero
                for column in 0..<n {
                    let zb = perColumn ? bZeros[column] : bZero
                    var sum = hasBias ? sumBias[column] : 0
                    for t in 0..<taps {
                        let start = indirect ? entries[row * taps + t] : 0
                        for i in 0..<k {
                            let x = indirect ? (start < 0 ? padding[i] : a[start + i]) : a[columnMajorA ? i * m + row : row * k + i]
                            let y = b[t * k * n + (transposedB ? column * k + i : i * n + column)]
                            sum &+= (value(x, aSigned) &- za) &* (value(y, bSigned) &- zb)
                        }
                    }
                    sums.append(sum)
                }
            }
        }

        /// Packs B in two ranges and runs in slices: rows cut at `rowCut`, columns at a panel in the middle.
        func run(_ kernel: UnsafePointer<apus_qgemm_kernel>, rowCut: Int) {
            let panels = apus_qgemm_panels(kernel, n), nr = kernel.pointee.nr
            let packed = GuardedBuffer<Int32>(count: apus_qgemm_packed_size(kernel, taps, k, n) / 4)
            apus_qgemm_pack_b(kernel, &source, packed.pointer, panels / 2, panels)
            apus_qgemm_pack_b(kernel, &source, packed.pointer, 0, panels / 2)
            args.b = UnsafeRawPointer(packed.pointer)
            let workspace = GuardedBuffer<Int32>(count: (apus_qgemm_workspace_size(kernel, taps, k) + 3) / 4)
            let columnCut = min(n, panels / 2 * nr)
            for (m0, m1) in [(0, rowCut), (rowCut, m)] {
                for (n0, n1) in [(0, columnCut), (columnCut, n)] { apus_qgemm_run(kernel, &args, m0, m1, n0, n1, workspace.pointer) }
            }
        }

        func expectSums(_ kernel: UnsafePointer<apus_qgemm_kernel>, _ edge: GuardedBuffer<UInt8>.Edge, rowCut: Int) {
            let c = GuardedBuffer<Int32>(count: m * n, guarding: edge.of(Int32.self))
            c.fill(repeating: 7)
            args.c = UnsafeMutableRawPointer(c.pointer)
            args.c_stride = n
            args.output = APUS_QGEMM_S32
            args.accumulate = false
            run(kernel, rowCut: rowCut)
            #expect(c.elements == sums, "\(m)x\(n)x\(k), \(taps) taps")
            args.accumulate = true
            run(kernel, rowCut: rowCut)
            #expect(c.elements == sums.map { $0 &+ $0 })
            #expect(c.isIntact)
        }
    }

    @Test func selectionObeysCaps() {
        expectSelectionObeysCaps(Self.levels) { apus_qgemm_select($0).pointee.isa }
    }

    /// Where B lies: row-major, column-major, and convolution weights [n, k, taps] or [n, taps, k].
    @Test(arguments: tested, 0..<4) func packedOfEveryLayout(level: Level, layout: Int) throws {
        let kernel = try Self.kernel(level), nr = kernel.pointee.nr
        var random = SplitMix(UInt64(67 + layout))
        for (taps, k, n) in [(1, 21, nr + 19), (1, 4, 3), (9, 16, nr), (9, 20, 2 * nr - 1), (4, 3, nr + 5), (2, 69, 7), (0, 4, 5)] {
            let signed = (k + n) % 2 == 0
            let b = GuardedBuffer<UInt8>(count: taps * k * n, guarding: .end)
            for index in 0..<b.count { b[index] = UInt8.random(in: 0...255, using: &random) }
            var source = apus_qgemm_b()
            (source.b, source.is_signed, source.taps, source.k, source.n) = (UnsafeRawPointer(b.pointer), signed, taps, k, n)
            switch layout {
            case 0: (source.tap_stride, source.k_stride, source.n_stride) = (k * n, n, 1)
            case 1: (source.tap_stride, source.k_stride, source.n_stride) = (k * n, 1, k)
            case 2: (source.tap_stride, source.k_stride, source.n_stride) = (1, taps, taps * k)
            default: (source.tap_stride, source.k_stride, source.n_stride) = (k, 1, taps * k)
            }
            let panels = (n + nr - 1) / nr, depth = (taps * k + 3) / 4 * 4, panelSize = nr * depth + nr * 4
            var expected = [UInt8](repeating: 0, count: panels * panelSize)
            for column in 0..<n {
                var sum: Int32 = 0
                let panel = column / nr * panelSize, place = column % nr
                for row in 0..<(taps * k) {
                    let byte = b[row / k * source.tap_stride + row % k * source.k_stride + column * source.n_stride] ^ (signed ? 0 : 0x80)
                    expected[panel + row / 4 * 4 * nr + 4 * place + row % 4] = byte
                    sum += Int32(Int8(bitPattern: byte))
                }
                for part in 0..<4 { expected[panel + nr * depth + 4 * place + part] = UInt8(truncatingIfNeeded: sum >> (8 * Int32(part))) }
            }
            let packed = GuardedBuffer<UInt8>(count: expected.count, guarding: .end)
            packed.fill(repeating: 0xA5)
            apus_qgemm_pack_b(kernel, &source, packed.pointer, 0, panels)
            #expect(packed.elements == expected, "\(taps) taps, \(k) x \(n)")
        }
    }

    @Test(arguments: tested) func everyTail(level: Level) throws {
        let kernel = try Self.kernel(level)
        var random = SplitMix(61)
        let nr = kernel.pointee.nr
        for edge in edges {
            for m in 1...(2 * kernel.pointee.mr + 1) {
                for n in Set([1, 3, nr - 1, nr, nr + 1, 2 * nr + 1]).sorted() {
                    for k in [1, 2, 3, 4, 5, 8, 11] {
                        let forms = Int.random(in: 0..<64, using: &random)
                        let problem = Problem(&random, m: m, n: n, k: k, taps: 1, signs: (m + n + k) % 4, forms: forms, edge: edge)
                        problem.expectSums(kernel, edge, rowCut: m / 2)
                    }
                }
            }
        }
    }

    /// All signs, all forms of zero points, both layouts of each operand, dense and through a table.
    @Test(arguments: tested) func everyForm(level: Level) throws {
        let kernel = try Self.kernel(level)
        var random = SplitMix(62)
        for signs in 0..<4 {
            for forms in 0..<128 {
                // Rows of whole groups of four are read in place, others copied.
                for (taps, k) in [(1, 7), (3, 7), (1, 8), (3, 4)] {
                    let problem = Problem(&random, m: 5, n: 19, k: k, taps: taps, signs: signs, forms: forms, edge: .end)
                    problem.expectSums(kernel, .end, rowCut: 3)
                }
            }
        }
    }

    @Test(arguments: tested) func nothingToSum(level: Level) throws {
        let kernel = try Self.kernel(level)
        var random = SplitMix(63)
        for (m, n, k, taps) in [(3, 5, 0, 1), (0, 5, 4, 1), (3, 0, 4, 1), (3, 5, 4, 0)] {
            let problem = Problem(&random, m: m, n: n, k: k, taps: taps, signs: 1, forms: 4, edge: .end)
            problem.expectSums(kernel, .end, rowCut: m / 2)
        }
    }

    /// Sums beyond 2^31 wrap alike everywhere, and extreme products never saturate.
    @Test(arguments: tested) func extremes(level: Level) throws {
        let kernel = try Self.kernel(level)
        let m = 1, n = 2, k = 70_000
        for (x, y, aSigned, bSigned) in [(UInt8(255), UInt8(255), false, false), (255, 128, false, true), (128, 128, true, true), (128, 255, true, false)] {
            var random = SplitMix(64)
            let problem = Problem(&random, m: m, n: n, k: k, taps: 1, signs: (aSigned ? 1 : 0) | (bSigned ? 2 : 0), forms: 0, edge: .end)
            problem.a.fill(repeating: x)
            problem.b.fill(repeating: y)
            let product = (aSigned ? Int(Int8(bitPattern: x)) : Int(x)) * (bSigned ? Int(Int8(bitPattern: y)) : Int(y))
            problem.sums = [Int32](repeating: Int32(truncatingIfNeeded: product * k), count: m * n)
            problem.args.sum_bias = nil
            problem.expectSums(kernel, .end, rowCut: 0)
        }
    }

    /// Scaled and requantised results have the bits that the sequence of operations defines.
    @Test(arguments: tested) func outputs(level: Level) throws {
        let kernel = try Self.kernel(level)
        var random = SplitMix(65)
        for form in 0..<64 {
            for (m, n, k, taps) in [(1, 5, 9, 1), (9, 33, 16, 1), (4, 70, 30, 1), (11, 47, 8, 3), (5, 64, 4, 1)] {
                let problem = Problem(&random, m: m, n: n, k: k, taps: taps, signs: form % 4, forms: form * 2, edge: .end)
                let perColumn = form & 1 != 0, hasRowScale = form & 2 != 0, hasBias = form & 4 != 0
                // A large one lets products pass the range of integers.
                let scale: Float = form & 32 != 0 ? 300_000 : 0.003
                problem.scales.pointer[n - 1] = scale
                problem.args.scale = scale
                problem.args.scales = perColumn ? problem.scales.constant : nil
                problem.args.row_scale = hasRowScale ? problem.rowScale.constant : nil
                problem.args.bias = hasBias ? problem.bias.constant : nil
                problem.args.c_stride = n

                let c = GuardedBuffer<Float>(count: m * n)
                problem.args.c = UnsafeMutableRawPointer(c.pointer)
                problem.args.output = APUS_QGEMM_F32
                problem.run(kernel, rowCut: m / 2)
                let floats = (0..<(m * n)).map { i in
                    var want = Float(problem.sums[i]) * (perColumn ? problem.scales[i % n] : scale)
                    if hasRowScale { want *= problem.rowScale[i / n] }
                    if hasBias { want += problem.bias[i % n] }
                    return want
                }
                #expect(c.elements.map(\.bitPattern) == floats.map(\.bitPattern), "form \(form)")
                problem.args.accumulate = true
                problem.run(kernel, rowCut: m / 2)
                #expect(c.elements == floats.map { $0 + $0 }, "form \(form)")
                problem.args.accumulate = false

                let q = GuardedBuffer<UInt8>(count: m * n)
                let (low, high): (Int32, Int32) = form & 8 != 0 ? (-128, 127) : (0, 255)
                problem.args.c = UnsafeMutableRawPointer(q.pointer)
                problem.args.output = APUS_QGEMM_Q8
                problem.args.zero_point = form & 16 != 0 ? 5 : 0
                (problem.args.low, problem.args.high) = (low, high)
                problem.run(kernel, rowCut: m / 2)
                let codes = (0..<(m * n)).map { i in
                    let factor = perColumn ? problem.scales[i % n] : scale
                    return UInt8(truncatingIfNeeded: QuantizeTests.requantize(problem.sums[i], 0, factor, problem.args.zero_point, low, high))
                }
                #expect(q.elements == codes, "form \(form)")
                #expect(c.isIntact && q.isIntact)
            }
        }
    }
}
