import CApusKernels
import TestSupport
import Testing

#if canImport(Glibc)
import Glibc
#endif

/// A kernel of the table as a test argument.
struct SgemmKernel: CustomTestStringConvertible, Sendable {
    let index: Int

    static let all = (0..<apus_sgemm_kernel_count()).map(SgemmKernel.init)

    var pointer: UnsafePointer<apus_sgemm_kernel> { apus_sgemm_kernel_at(index) }
    var mr: Int { pointer.pointee.mr }
    var nr: Int { pointer.pointee.nr }
    var testDescription: String { String(cString: pointer.pointee.name) }

    /// The kernel, or the test case is listed as skipped because this CPU cannot run it.
    func require() throws -> UnsafePointer<apus_sgemm_kernel> {
        guard apus_cpu_levels() >> pointer.pointee.isa.rawValue & 1 == 1 else {
            try Test.cancel("this CPU cannot run \(testDescription)")
        }
        return pointer
    }
}

@Suite struct SgemmTests {
    // MARK: Selection

    @Test func everyForcedLevelSelectsItsKernel() {
        let best: [(apus_isa, String)] = [
            (APUS_ISA_GENERIC, "generic_6x8"), (APUS_ISA_AVX2, "avx2_6x16"), (APUS_ISA_AVX512, "avx512_6x64"),
            (APUS_ISA_NEON, "neon_6x16"),
        ]
        for (level, name) in best where apus_cpu_levels() >> level.rawValue & 1 == 1 {
            let kernel = apus_sgemm_select(apus_cpu_levels_capped(level))!
            #expect(String(cString: kernel.pointee.name) == name)
            #expect(kernel.pointee.isa == level)
        }
        #expect(String(cString: apus_sgemm_select(0).pointee.name) == "generic_6x8")
        #expect(apus_sgemm_kernel_at(apus_sgemm_kernel_count()) == nil)
        #expect(SgemmKernel.all.last?.pointer.pointee.isa == APUS_ISA_GENERIC)
        #expect(Set(SgemmKernel.all.map(\.testDescription)).count == SgemmKernel.all.count)
    }

    // MARK: Products

    /// Every corner of one problem: all numbers of rows and columns up to twice the tile and one more.
    func checkCorners(_ kernel: SgemmKernel, taps: Int, k: Int, form: SgemmForm) throws {
        let pointer = try kernel.require()
        let problem = SgemmProblem(
            m: 2 * kernel.mr + 1, n: 2 * kernel.nr + 1, k: k, taps: taps, padding: form == .indirect,
            seed: UInt64(taps * 1000 + k))
        let (sums, magnitudes) = problem.reference()
        for n in 0...problem.n {
            let edge: GuardedBuffer<Float>.Edge = n % 2 == 0 ? .start : .end
            let packed = problem.packed(for: pointer, n: n, guarding: edge)
            #expect(packed.isIntact)
            // All m at the interesting n, all n at some m.
            let interesting = n % kernel.nr <= 1 || n % kernel.nr == kernel.nr - 1
            let rows = interesting ? Array(0...problem.m) : [1 + n % problem.m, kernel.mr]
            for m in rows {
                let call = SgemmCall(
                    problem, kernel: pointer, m: m, n: n, form: form, packed: packed, edge: edge, withBias: n % 3 != 0)
                call.run()
                var wrong = 0
                for row in 0..<m {
                    for column in 0..<n {
                        let at = row * problem.n + column
                        let bias = n % 3 != 0 ? Double(problem.bias[column]) : 0
                        let expected = sums[at] + bias
                        let error = abs(Double(call.c[row * n + column]) - expected)
                        if !(error <= problem.tolerance(magnitudes[at] + abs(bias))) { wrong += 1 }
                    }
                }
                #expect(wrong == 0, "m \(m), n \(n), k \(k), taps \(taps), \(form)")
                #expect(call.areBuffersIntact, "m \(m), n \(n), k \(k), taps \(taps), \(form)")
            }
        }
    }

    @Test(arguments: SgemmKernel.all, [0, 1, 2, 3, 8, 17, 70])
    func denseIsRight(kernel: SgemmKernel, k: Int) throws {
        try checkCorners(kernel, taps: 1, k: k, form: .dense)
    }

    @Test(arguments: SgemmKernel.all, [1, 2, 9, 33])
    func transposedIsRight(kernel: SgemmKernel, k: Int) throws {
        try checkCorners(kernel, taps: 1, k: k, form: .transposed)
    }

    @Test(arguments: SgemmKernel.all, [(0, 4), (1, 1), (1, 20), (2, 3), (3, 0), (4, 9), (9, 1), (9, 3), (9, 16)])
    func indirectIsRight(kernel: SgemmKernel, shape: (taps: Int, k: Int)) throws {
        try checkCorners(kernel, taps: shape.taps, k: shape.k, form: .indirect)
    }

    @Test(arguments: SgemmKernel.all, [(0, 4), (1, 1), (1, 20), (2, 3), (3, 0), (5, 7), (21, 7), (9, 16)])
    func windowedIsRight(kernel: SgemmKernel, shape: (taps: Int, k: Int)) throws {
        try checkCorners(kernel, taps: shape.taps, k: shape.k, form: .windowed)
    }

    /// Sums longer than one block, in each way that they are cut.
    @Test(
        arguments: SgemmKernel.all,
        [(1, 300), (1, 1025), (2, 257), (3, 600), (9, 64), (25, 30), (300, 3), (300, 1)])
    func longSumsAreRight(kernel: SgemmKernel, shape: (taps: Int, k: Int)) throws {
        let pointer = try kernel.require()
        let (m, n) = (kernel.mr + 3, kernel.nr + 5)
        let problem = SgemmProblem(
            m: m, n: n, k: shape.k, taps: shape.taps, padding: shape.taps > 1, seed: UInt64(shape.k))
        let (sums, magnitudes) = problem.reference()
        for form in SgemmForm.allCases where shape.taps == 1 || form == .indirect || form == .windowed {
            let call = SgemmCall(problem, kernel: pointer, m: m, n: n, form: form, withResidual: true)
            call.arguments.accumulate = true
            call.run()
            for at in 0..<m * n {
                let extra = [problem.bias[at % n], problem.residual[at], problem.before[at]].map(Double.init)
                let error = abs(Double(call.c[at]) - extra.reduce(sums[at], +))
                #expect(error <= problem.tolerance(magnitudes[at] + extra.map(abs).reduce(0, +)), "\(form) \(at)")
            }
            #expect(call.areBuffersIntact)
        }
    }

    /// Many rows: several blocks of rows, dense and packed.
    @Test(arguments: SgemmKernel.all)
    func manyRowsAreRight(kernel: SgemmKernel) throws {
        let pointer = try kernel.require()
        let problem = SgemmProblem(m: 601, n: 19, k: 40, taps: 1, padding: false, seed: 77)
        let (sums, magnitudes) = problem.reference()
        for form in [SgemmForm.dense, .transposed] {
            let call = SgemmCall(problem, kernel: pointer, m: 601, n: 19, form: form, withBias: false)
            call.run()
            let errors = (0..<601 * 19).map { abs(Double(call.c[$0]) - sums[$0]) - problem.tolerance(magnitudes[$0]) }
            #expect(errors.allSatisfy { $0 <= 0 })
            #expect(call.areBuffersIntact)
        }
    }

    // MARK: Bits

    @Test(arguments: SgemmKernel.all, [(1, 20), (1, 700), (9, 5), (9, 40), (2, 300)])
    func slicesAndFormsGiveTheSameBits(kernel: SgemmKernel, shape: (taps: Int, k: Int)) throws {
        let pointer = try kernel.require()
        let (m, n) = (4 * kernel.mr + 5, 3 * kernel.nr + 7)
        let problem = SgemmProblem(m: m, n: n, k: shape.k, taps: shape.taps, padding: shape.taps > 1, seed: 5)
        func bits(_ form: SgemmForm, _ run: (SgemmCall) -> Void) -> [UInt32] {
            let call = SgemmCall(problem, kernel: pointer, m: m, n: n, form: form, withResidual: true)
            call.arguments.epilogue.activation = APUS_ACTIVATION_LEAKY_RELU
            call.arguments.epilogue.alpha = 0.1
            run(call)
            return call.c.elements.map(\.bitPattern)
        }
        let whole = bits(.indirect) { $0.run() }
        for form in SgemmForm.allCases where shape.taps == 1 || form == .indirect || form == .windowed {
            #expect(bits(form) { $0.run() } == whole, "\(form) whole")
            for step in [1, 3, kernel.mr, kernel.mr + 1, 29] {
                let sliced = bits(form) { call in
                    for columns in stride(from: 0, to: n, by: kernel.nr * (1 + step % 2)).reversed() {
                        for row in stride(from: 0, to: m, by: step) {
                            call.run(
                                rows: row..<min(row + step, m),
                                columns: columns..<min(columns + kernel.nr * (1 + step % 2), n))
                        }
                    }
                }
                #expect(sliced == whole, "\(form) rows by \(step)")
            }
        }
    }

    /// B of two bytes and of one, with and without factors of the columns: the bits of B in floats.
    @Test(arguments: SgemmKernel.all, [(1, 0), (1, 20), (1, 800), (9, 5), (3, 300)])
    func narrowBGivesTheSameBits(kernel: SgemmKernel, shape: (taps: Int, k: Int)) throws {
        let pointer = try kernel.require(), half = try #require(apus_half_select(0))
        let n = kernel.nr + 7, factors = GuardedBuffer((0..<n).map { Float($0 % 7) * 0.3 - 1 })
        for (format, size) in [(APUS_F16, 2), (APUS_F8E4M3FN, 1)] {
            for m in [1, shape.k == 20 ? 530 : kernel.mr + 1] {
                let problem = SgemmProblem(m: m, n: n, k: shape.k, taps: shape.taps, padding: shape.taps > 1, seed: 9)
                let wide = problem.packed(for: pointer, n: n), narrow = GuardedBuffer<UInt8>(count: wide.count * size)
                apus_half_from_f32(half, format)?(wide.count, wide.constant, narrow.pointer, true)
                let widen = try #require(apus_half_to_f32(half, format))
                for isScaled in [false, true] {
                    widen(wide.count, narrow.pointer, wide.pointer)
                    if isScaled {
                        for column in 0..<n {
                            let first = column / kernel.nr * shape.taps * shape.k * kernel.nr + column % kernel.nr
                            for row in 0..<(shape.taps * shape.k) { wide[first + row * kernel.nr] *= factors[column] }
                        }
                    }
                    for form in SgemmForm.allCases where shape.taps == 1 || form == .indirect || form == .windowed {
                        let expected = SgemmCall(problem, kernel: pointer, m: m, n: n, form: form, packed: wide, withResidual: true)
                        expected.run()
                        let call = SgemmCall(
                            problem, kernel: pointer, m: m, n: n, form: form, packed: wide, withResidual: true, widen: (widen, size))
                        call.arguments.b = UnsafeRawPointer(narrow.pointer).assumingMemoryBound(to: Float.self)
                        call.arguments.b_scale = isScaled ? factors.constant : nil
                        call.run()
                        #expect(call.c.elements.map(\.bitPattern) == expected.c.elements.map(\.bitPattern), "\(form) \(m) rows, \(size) bytes")
                        #expect(call.areBuffersIntact && narrow.isIntact && factors.isIntact)
                    }
                }
            }
        }
    }

    // MARK: Packing

    @Test(arguments: SgemmKernel.all)
    func packingOrdersAndRangesAgree(kernel: SgemmKernel) throws {
        let pointer = try kernel.require()
        for (taps, k, n) in [(1, 5, kernel.nr), (1, 37, 3 * kernel.nr + 5), (9, 20, kernel.nr + 3), (4, 1, 2)] {
            let problem = SgemmProblem(m: 0, n: n, k: k, taps: taps, padding: false, seed: 3)
            let packed = problem.packed(for: pointer, n: n)
            let nr = kernel.nr
            for at in 0..<packed.count {
                let (column, row) = (at / (taps * k * nr) * nr + at % nr, at / nr % (taps * k))
                let expected = column < n ? problem.b[row * n + column] : 0
                #expect(packed[at] == expected)
            }
            // The same matrix stored as [n, k] by tap, and as ONNX's convolution weights [n, k, taps].
            var byColumn = [Float](repeating: 0, count: taps * k * n)
            var weights = byColumn
            for t in 0..<taps {
                for i in 0..<k {
                    for j in 0..<n {
                        byColumn[(t * n + j) * k + i] = problem.b[(t * k + i) * n + j]
                        weights[(j * k + i) * taps + t] = problem.b[(t * k + i) * n + j]
                    }
                }
            }
            for (values, ts, ks, ns) in [(byColumn, n * k, 1, k), (weights, 1, taps, k * taps)] {
                let source = GuardedBuffer(values)
                var b = apus_sgemm_b(
                    b: source.constant, taps: taps, k: k, n: n, tap_stride: ts, k_stride: ks, n_stride: ns)
                let again = GuardedBuffer<Float>(count: packed.count, guarding: .start)
                for panel in (0..<apus_sgemm_panels(pointer, n)).reversed() {
                    apus_sgemm_pack_b(pointer, &b, again.pointer, panel, panel + 1)
                }
                #expect(again.elements == packed.elements)
                #expect(again.isIntact && source.isIntact)
            }
        }
    }

    // MARK: Epilogues

    static func activate(_ x: Double, _ e: apus_epilogue) -> Double {
        let (alpha, beta) = (Double(e.alpha), Double(e.beta))
        if x.isNaN { return x }
        switch e.activation {
        case APUS_ACTIVATION_RELU: return max(x, 0)
        case APUS_ACTIVATION_CLAMP: return min(max(x, alpha), beta)
        case APUS_ACTIVATION_LEAKY_RELU: return x < 0 ? alpha * x : x
        case APUS_ACTIVATION_HARD_SIGMOID: return min(max(alpha * x + beta, 0), 1)
        case APUS_ACTIVATION_HARD_SWISH: return x * min(max(alpha * x + beta, 0), 1)
        case APUS_ACTIVATION_FUNCTION: return 2 * x + 1
        default: return x
        }
    }

    static let activations: [(apus_activation, Float, Float)] = [
        (APUS_ACTIVATION_NONE, 0, 0), (APUS_ACTIVATION_RELU, 0, 0), (APUS_ACTIVATION_CLAMP, -0.5, 1.5),
        (APUS_ACTIVATION_LEAKY_RELU, 0.25, 0), (APUS_ACTIVATION_HARD_SIGMOID, 0.2, 0.5),
        (APUS_ACTIVATION_HARD_SWISH, 1 / 6, 0.5), (APUS_ACTIVATION_FUNCTION, 0, 0),
    ]

    @Test(arguments: SgemmKernel.all)
    func epiloguesAreRight(kernel: SgemmKernel) throws {
        let pointer = try kernel.require()
        let (m, n) = (kernel.mr + 2, 2 * kernel.nr - 3)
        for k in [9, 300] {
            let problem = SgemmProblem(m: m, n: n, k: k, taps: 1, padding: false, seed: 11)
            let (sums, magnitudes) = problem.reference()
            for (activation, alpha, beta) in Self.activations {
                for flags in 0..<8 {
                    let (bias, residual, accumulate) = (flags & 1 != 0, flags & 2 != 0, flags & 4 != 0)
                    let call = SgemmCall(
                        problem, kernel: pointer, m: m, n: n, form: .dense, withBias: bias, withResidual: residual,
                        cPitch: 3)
                    call.arguments.accumulate = accumulate
                    call.arguments.epilogue.activation = activation
                    call.arguments.epilogue.alpha = alpha
                    call.arguments.epilogue.beta = beta
                    let params: [Float] = [2, 1]
                    params.withUnsafeBufferPointer { params in
                        call.arguments.epilogue.params = params.baseAddress
                        call.arguments.epilogue.function = { row, n, params in
                            for i in 0..<n { row![i] = params![0] * row![i] + params![1] }
                        }
                        call.run()
                    }
                    var wrong = 0
                    for row in 0..<m {
                        for column in 0..<n {
                            let at = row * n + column
                            let extra = [
                                bias ? problem.bias[column] : 0, residual ? problem.residual[at] : 0,
                                accumulate ? problem.before[at] : 0,
                            ].map(Double.init)
                            let expected = Self.activate(extra.reduce(sums[at], +), call.arguments.epilogue)
                            let error = abs(Double(call.c[row * (n + 3) + column]) - expected)
                            let size = magnitudes[at] + extra.map(abs).reduce(1, +)
                            if !(error <= 4 * problem.tolerance(size)) { wrong += 1 }
                        }
                        for column in n..<n + 3 where row + 1 < m { // between the rows of C
                            if call.c[row * (n + 3) + column] != 12345 { wrong += 1 }
                        }
                    }
                    #expect(wrong == 0, "k \(k), activation \(activation.rawValue), flags \(flags)")
                    #expect(call.areBuffersIntact)
                }
            }
        }
    }

    /// The function is called on whole blocks of C, or on each tile of a block that is too large for that.
    @Test(arguments: SgemmKernel.all, [(m: 100, n: 40, pitch: 0), (m: 100, n: 40, pitch: 5), (m: 97, n: 400, pitch: 0)])
    func functionsSeeEveryElementOnce(kernel: SgemmKernel, shape: (m: Int, n: Int, pitch: Int)) throws {
        let pointer = try kernel.require()
        let problem = SgemmProblem(m: shape.m, n: shape.n, k: 5, taps: 1, padding: false, seed: 31)
        func elements(_ activation: apus_activation) -> [Float] {
            let call = SgemmCall(problem, kernel: pointer, m: shape.m, n: shape.n, form: .dense, cPitch: shape.pitch)
            call.arguments.epilogue.activation = activation
            call.arguments.epilogue.function = { row, n, _ in for i in 0..<n { row![i] = 2 * row![i] + 1 } }
            call.run()
            #expect(call.areBuffersIntact)
            return call.c.elements
        }
        let pitch = shape.n + shape.pitch
        let expected = elements(APUS_ACTIVATION_NONE).enumerated().map { $0 % pitch < shape.n ? 2 * $1 + 1 : $1 }
        #expect(elements(APUS_ACTIVATION_FUNCTION) == expected)
    }

    /// The residual is the output itself, also when partial sums pass through the output.
    @Test(arguments: SgemmKernel.all, [40, 900])
    func residualMayBeTheOutput(kernel: SgemmKernel, k: Int) throws {
        let pointer = try kernel.require()
        let (m, n) = (kernel.mr + 1, kernel.nr + 1)
        let problem = SgemmProblem(m: m, n: n, k: k, taps: 1, padding: false, seed: 23)
        let (sums, magnitudes) = problem.reference()
        let call = SgemmCall(problem, kernel: pointer, m: m, n: n, form: .dense)
        call.arguments.epilogue.residual = UnsafePointer(call.c.pointer)
        call.arguments.epilogue.residual_stride = n
        call.run()
        for at in 0..<m * n {
            let (bias, before) = (Double(problem.bias[at % n]), Double(problem.before[at]))
            let error = abs(Double(call.c[at]) - (sums[at] + bias + before))
            #expect(error <= problem.tolerance(magnitudes[at] + abs(bias) + abs(before)))
        }
    }

    @Test(arguments: SgemmKernel.all)
    func nanAndInfinityPropagate(kernel: SgemmKernel) throws {
        let pointer = try kernel.require()
        let (m, n, k) = (kernel.mr, kernel.nr + 1, 6)
        var problem = SgemmProblem(m: m, n: n, k: k, taps: 1, padding: false, seed: 9)
        problem.a[2] = .nan // row 0
        problem.a[k + 1] = .infinity // row 1
        for i in 0..<k { problem.a[2 * k + i] = 0 } // row 2
        problem.b[3] = .nan // column 3, with 0 * NaN in row 2
        let before = problem
        for (activation, alpha, beta) in Self.activations where activation != APUS_ACTIVATION_FUNCTION {
            let call = SgemmCall(before, kernel: pointer, m: m, n: n, form: .dense)
            call.arguments.epilogue.activation = activation
            call.arguments.epilogue.alpha = alpha
            call.arguments.epilogue.beta = beta
            call.run()
            for column in 0..<n { #expect(call.c[column].isNaN, "activation \(activation.rawValue)") }
            for row in 0..<m { #expect(call.c[row * n + 3].isNaN, "activation \(activation.rawValue)") }
            for column in 0..<n where column != 3 {
                let x = problem.b[n + column] > 0 ? Double.infinity : -.infinity
                let expected = Self.activate(x, call.arguments.epilogue)
                let got = Double(call.c[n + column])
                #expect(expected.isNaN ? got.isNaN : got == expected, "activation \(activation.rawValue)")
                #expect(call.c[2 * n + column].isFinite)
            }
        }
    }
}
