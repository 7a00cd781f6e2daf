import CApusKernels
import Glibc
import TestSupport
import Testing

@Suite struct ElementwiseTests {
    static let levels = Level.all { apus_elementwise_at($0)?.pointee.isa }

    struct Reference: Sendable {
        let op: apus_unary_op
        var params: [Float] = []
        /// Allowed error in units in the last place, or, where `relative`, as a fraction of |x|.
        var tolerance: Double
        var relative = false
        let value: @Sendable (Double) -> Double
    }

    static func sigmoid(_ x: Double) -> Double { 1 / (1 + exp(-x)) }
    static func keepNaN(_ x: Double, _ y: Double) -> Double { x.isNaN ? x : y }

    static let references: [Reference] = [
        Reference(op: APUS_UNARY_EXP, tolerance: 1.1) { exp($0) },
        Reference(op: APUS_UNARY_LOG, tolerance: 1) { log($0) },
        Reference(op: APUS_UNARY_TANH, tolerance: 2.5) { tanh($0) },
        Reference(op: APUS_UNARY_SIGMOID, tolerance: 2.5) { sigmoid($0) },
        Reference(op: APUS_UNARY_ERF, tolerance: 1.5) { erf($0) },
        Reference(op: APUS_UNARY_SQRT, tolerance: 0.5) { $0.squareRoot() },
        Reference(op: APUS_UNARY_RECIPROCAL, tolerance: 0.5) { 1 / $0 },
        Reference(op: APUS_UNARY_NEG, tolerance: 0) { -$0 },
        Reference(op: APUS_UNARY_ABS, tolerance: 0) { abs($0) },
        Reference(op: APUS_UNARY_SIGN, tolerance: 0) { $0 > 0 ? 1 : $0 < 0 ? -1 : $0 },
        Reference(op: APUS_UNARY_FLOOR, tolerance: 0) { floor($0) },
        Reference(op: APUS_UNARY_CEIL, tolerance: 0) { ceil($0) },
        Reference(op: APUS_UNARY_ROUND, tolerance: 0) { $0.rounded(.toNearestOrEven) },
        Reference(op: APUS_UNARY_RELU, tolerance: 0) { $0 < 0 ? 0 : $0 },
        Reference(op: APUS_UNARY_LEAKY_RELU, params: [0.3], tolerance: 0.5) { $0 < 0 ? Double(Float(0.3)) * $0 : $0 },
        Reference(op: APUS_UNARY_ELU, params: [1.5], tolerance: 2.5) { $0 < 0 ? 1.5 * expm1($0) : $0 },
        Reference(op: APUS_UNARY_SELU, params: [1.75, 1.125], tolerance: 3) { 1.125 * ($0 < 0 ? 1.75 * expm1($0) : $0) },
        Reference(op: APUS_UNARY_CELU, params: [2], tolerance: 2.5) { $0 < 0 ? 2 * expm1($0 / 2) : $0 },
        Reference(op: APUS_UNARY_SOFTPLUS, tolerance: 2) { $0 > 0 ? $0 + log1p(exp(-$0)) : log1p(exp($0)) },
        Reference(op: APUS_UNARY_SOFTSIGN, tolerance: 1.5) { $0 / (1 + abs($0)) },
        Reference(op: APUS_UNARY_HARD_SIGMOID, params: [0.25, 0.5], tolerance: 1) { x in
            keepNaN(x, max(0, min(1, 0.25 * x + 0.5)))
        },
        Reference(op: APUS_UNARY_HARD_SWISH, tolerance: 0x1p-23, relative: true) { x in
            x * keepNaN(x, max(0, min(1, x / 6 + 0.5)))
        },
        Reference(op: APUS_UNARY_SILU, params: [1.5], tolerance: 100) { $0 * sigmoid(1.5 * $0) },
        Reference(op: APUS_UNARY_SILU, params: [1], tolerance: 0x1p-22, relative: true) { $0 * sigmoid($0) },
        Reference(op: APUS_UNARY_GELU_ERF, tolerance: 0x1p-23, relative: true) { 0.5 * $0 * (1 + erf($0 * 0.5.squareRoot())) },
        Reference(op: APUS_UNARY_GELU_TANH, tolerance: 0x1p-22, relative: true) { x in
            0.5 * x * (1 + tanh((2 / Double.pi).squareRoot() * (x + 0.044715 * x * x * x)))
        },
        Reference(op: APUS_UNARY_MISH, tolerance: 0x1p-21, relative: true) { $0 * tanh($0 > 30 ? $0 : log1p(exp($0))) },
        Reference(op: APUS_UNARY_SIN, tolerance: 0.51) { sin($0) },
        Reference(op: APUS_UNARY_COS, tolerance: 0.51) { cos($0) },
        Reference(op: APUS_UNARY_CLIP, params: [-1, 2.5], tolerance: 0) { $0 < -1 ? -1 : $0 > 2.5 ? 2.5 : $0 },
        Reference(op: APUS_UNARY_CLIP, params: [2, 1], tolerance: 0) { $0.isNaN ? $0 : 1 },
        Reference(op: APUS_UNARY_THRESHOLDED_RELU, params: [1], tolerance: 0) { $0 > 1 ? $0 : 0 },
        Reference(op: APUS_UNARY_POW, params: [2], tolerance: 0.51) { pow($0, 2) },
        Reference(op: APUS_UNARY_POW, params: [3], tolerance: 1.5) { pow($0, 3) },
        Reference(op: APUS_UNARY_POW, params: [-1], tolerance: 0.51) { pow($0, -1) },
        Reference(op: APUS_UNARY_POW, params: [0.5], tolerance: 0.51) { pow($0, 0.5) },
        Reference(op: APUS_UNARY_POW, params: [0], tolerance: 0) { pow($0, 0) },
        Reference(op: APUS_UNARY_POW, params: [-3], tolerance: 0.51) { pow($0, -3) },
        Reference(op: APUS_UNARY_POW, params: [5], tolerance: 0.51) { pow($0, 5) },
        Reference(op: APUS_UNARY_POW, params: [.infinity], tolerance: 0) { pow($0, .infinity) },
        Reference(op: APUS_UNARY_POW, params: [.nan], tolerance: 0) { pow($0, .nan) },
        Reference(op: APUS_UNARY_LINEAR, params: [2, -1], tolerance: 0.5) { 2 * $0 - 1 },
    ]

    static func kernels(_ level: Level) throws -> UnsafePointer<apus_elementwise_kernels> {
        try level.skipUnlessRunnable()
        return try #require(apus_elementwise_at(level.index))
    }

    @Test func selectionObeysCaps() {
        expectSelectionObeysCaps(Self.levels) { apus_elementwise_select($0).pointee.isa }
    }

    @Test func everyOperationHasAReferenceAndAName() {
        let covered = Set(Self.references.map(\.op.rawValue))
        #expect(covered == Set(0..<APUS_UNARY_COUNT.rawValue))
        for reference in Self.references {
            #expect(Int(apus_unary_param_count(reference.op)) == reference.params.count)
            #expect(apus_unary_name(reference.op) != nil)
        }
        #expect(apus_unary_name(APUS_UNARY_COUNT) == nil)
        #expect(apus_unary_param_count(APUS_UNARY_COUNT) == -1)
        let kernels = apus_elementwise_select(1)
        #expect(apus_elementwise_unary(kernels, APUS_UNARY_COUNT) == nil)
        #expect(apus_elementwise_binary(kernels, APUS_BINARY_COUNT, APUS_VECTOR_VECTOR) == nil)
        #expect(apus_elementwise_integer(kernels, APUS_INTEGER_ADD, APUS_VECTOR_VECTOR, 2) == nil)
        #expect(apus_elementwise_blend(kernels, 3) == nil)
        for op in 0..<APUS_BINARY_COUNT.rawValue { #expect(apus_binary_name(apus_binary_op(op)) != nil) }
    }

    @Test(arguments: levels) func unaryValues(level: Level) throws {
        let kernels = try Self.kernels(level)
        var random = SplitMix(1)
        let x = specialFloats + random.floats(400, -12...12) + (0..<400).map { _ in random.anyFloat() }
        var y = [Float](repeating: 0, count: x.count)
        for reference in Self.references {
            let function = try #require(apus_elementwise_unary(kernels, reference.op))
            function(x.count, x, &y, reference.params)
            for (x, y) in zip(x, y) {
                let want = reference.value(Double(x))
                // A fraction of |x| says nothing where the result is not finite.
                let relative = reference.relative && want.isFinite && x.isFinite
                let error = relative ? abs(Double(y) - want) / max(Double(abs(x)), 1e-37) : ulps(y, want)
                if !(error <= reference.tolerance) {
                    Issue.record("\(String(cString: apus_unary_name(reference.op)))\(reference.params)(\(x)) is \(y), not \(want)")
                }
            }
        }
    }

    /// Every length, at both edges of the memory, apart and in place, gives what one long array gives.
    @Test(arguments: levels) func unaryLengths(level: Level) throws {
        let kernels = try Self.kernels(level)
        var random = SplitMix(2)
        let values = random.floats(70, -6...6)
        for reference in Self.references {
            let function = try #require(apus_elementwise_unary(kernels, reference.op))
            var expected = [Float](repeating: 0, count: values.count)
            function(values.count, values, &expected, reference.params)
            for edge in edges {
                let input = GuardedSlices<Float>(capacity: 70, edge.of(Float.self))
                let output = GuardedSlices<Float>(capacity: 70, edge.of(Float.self))
                for n in 0...70 {
                    let x = input.holding(values[..<n])
                    output.buffer.fill(repeating: -77)
                    function(n, x, output.pointer(n), reference.params)
                    if n.isMultiple(of: 2) {
                        function(n, x, x, reference.params)
                    } else {
                        apus_elementwise_row(kernels, reference.op)?(x, n, reference.params)
                    }
                    #expect(output.values(n).map(\.bitPattern) == expected[..<n].map(\.bitPattern))
                    #expect(input.values(n).map(\.bitPattern) == expected[..<n].map(\.bitPattern))
                    #expect(output.buffer.elements.filter { $0 == -77 }.count >= 70 - n)
                }
                #expect(output.buffer.isIntact)
            }
        }
    }

    static func binary(_ op: apus_binary_op, _ a: Double, _ b: Double) -> Double {
        switch op {
        case APUS_BINARY_ADD: a + b
        case APUS_BINARY_SUB: a - b
        case APUS_BINARY_MUL: a * b
        case APUS_BINARY_DIV: a / b
        case APUS_BINARY_MIN: a.isNaN || b.isNaN ? .nan : min(a, b)
        case APUS_BINARY_MAX: a.isNaN || b.isNaN ? .nan : max(a, b)
        case APUS_BINARY_POW: pow(a, b)
        default: a < 0 ? a * b : a
        }
    }

    @Test(arguments: levels) func binaryValues(level: Level) throws {
        let kernels = try Self.kernels(level)
        var random = SplitMix(3)
        var a: [Float] = [], b: [Float] = []
        for x in specialFloats { for y in specialFloats { a.append(x); b.append(y) } }
        a += random.floats(500, 0...20) + (0..<500).map { _ in random.anyFloat() }
        b += random.floats(1000, -20...20)
        var y = [Float](repeating: 0, count: a.count)
        for raw in 0..<APUS_BINARY_COUNT.rawValue {
            let op = apus_binary_op(raw)
            let function = try #require(apus_elementwise_binary(kernels, op, APUS_VECTOR_VECTOR))
            function(a.count, a, b, &y)
            for i in a.indices {
                let want = Self.binary(op, Double(a[i]), Double(b[i]))
                if !(ulps(y[i], want) <= 0.51) {
                    Issue.record("\(String(cString: apus_binary_name(op)))(\(a[i]), \(b[i])) is \(y[i]), not \(want)")
                }
            }
        }
    }

    @Test(arguments: levels) func binaryFormsAndLengths(level: Level) throws {
        let kernels = try Self.kernels(level)
        var random = SplitMix(4)
        let a = random.floats(70, 0.1...3), b = random.floats(70, -3...3)
        for raw in 0..<APUS_BINARY_COUNT.rawValue {
            let op = apus_binary_op(raw)
            for form in [APUS_VECTOR_VECTOR, APUS_VECTOR_SCALAR, APUS_SCALAR_VECTOR] {
                let function = try #require(apus_elementwise_binary(kernels, op, form))
                for edge in edges {
                    let left = GuardedSlices<Float>(capacity: 70, edge.of(Float.self))
                    let right = GuardedSlices<Float>(capacity: 70, edge.of(Float.self))
                    let output = GuardedSlices<Float>(capacity: 70, edge.of(Float.self))
                    for n in 0...70 {
                        let aCount = form == APUS_SCALAR_VECTOR ? min(n, 1) : n
                        let bCount = form == APUS_VECTOR_SCALAR ? min(n, 1) : n
                        let x = left.holding(a[..<aCount]), y = right.holding(b[..<bCount])
                        function(n, x, y, output.pointer(n))
                        let want = (0..<n).map { Self.binary(op, Double(a[aCount == n ? $0 : 0]), Double(b[bCount == n ? $0 : 0])) }
                        let got = output.values(n)
                        #expect(zip(got, want).allSatisfy { ulps($0, $1) <= 1.5 })
                        // In place of the array operand.
                        let inPlace = aCount == n ? x : y
                        function(n, x, y, inPlace)
                        #expect((0..<n).allSatisfy { inPlace[$0].bitPattern == got[$0].bitPattern })
                    }
                    #expect(output.buffer.isIntact)
                }
            }
        }
    }

    @Test(arguments: levels) func scaleShift(level: Level) throws {
        let kernels = try Self.kernels(level)
        var random = SplitMix(5)
        for channels in [0, 1, 7, 8, 15, 16, 17, 33, 40] {
            for edge in edges {
                let rows = 3, stride = channels + 2
                let count = channels == 0 ? 0 : (rows - 1) * stride + channels
                let x = GuardedBuffer(random.floats(count), guarding: edge.of(Float.self))
                let y = GuardedBuffer([Float](repeating: -77, count: count), guarding: edge.of(Float.self))
                let scale = GuardedBuffer(random.floats(channels), guarding: edge.of(Float.self))
                let shift = GuardedBuffer(random.floats(channels), guarding: edge.of(Float.self))
                for withShift in [true, false] {
                    kernels.pointee.scale_shift(
                        rows, channels, x.pointer, stride, scale.pointer, withShift ? shift.pointer : nil, y.pointer, stride)
                    for i in 0..<count {
                        let c = i % stride
                        if c >= channels {
                            #expect(y[i] == -77)
                        } else {
                            let want = Double(x[i]) * Double(scale[c]) + (withShift ? Double(shift[c]) : 0)
                            #expect(abs(Double(y[i]) - want) <= 2e-6)
                        }
                    }
                }
            }
        }
    }

    func checkIntegers<T: FixedWidthInteger & BitwiseCopyable>(
        _: T.Type, _ kernels: UnsafePointer<apus_elementwise_kernels>
    ) throws {
        var random = SplitMix(6)
        let a = [T.min, T.max, -1, 0] + random.bytes(67, as: T.self), b = [T.min, T.max, T.min, -1] + random.bytes(67, as: T.self)
        let operations: [(apus_integer_op, (T, T) -> T)] = [
            (APUS_INTEGER_ADD, { $0 &+ $1 }), (APUS_INTEGER_SUB, { $0 &- $1 }), (APUS_INTEGER_MUL, { $0 &* $1 }),
        ]
        for (op, reference) in operations {
            for form in [APUS_VECTOR_VECTOR, APUS_VECTOR_SCALAR, APUS_SCALAR_VECTOR] {
                let function = try #require(apus_elementwise_integer(kernels, op, form, MemoryLayout<T>.size))
                for edge in edges {
                    let left = GuardedSlices<T>(capacity: 71, edge.of(T.self)), right = GuardedSlices<T>(capacity: 71, edge.of(T.self))
                    for n in 0...71 {
                        let aCount = form == APUS_SCALAR_VECTOR ? min(n, 1) : n
                        let bCount = form == APUS_VECTOR_SCALAR ? min(n, 1) : n
                        let x = left.holding(a[..<aCount]), y = right.holding(b[..<bCount])
                        let inPlace = aCount == n ? x : y
                        function(n, x, y, inPlace)
                        let want = (0..<n).map { reference(a[aCount == n ? $0 : 0], b[bCount == n ? $0 : 0]) }
                        #expect((0..<n).allSatisfy { inPlace[$0] == want[$0] })
                    }
                }
            }
        }
    }

    @Test(arguments: levels) func integers(level: Level) throws {
        let kernels = try Self.kernels(level)
        try checkIntegers(Int32.self, kernels)
        try checkIntegers(Int64.self, kernels)
    }

    func checkBlend<T: FixedWidthInteger & BitwiseCopyable>(_: T.Type, _ kernels: UnsafePointer<apus_elementwise_kernels>) throws {
        var random = SplitMix(7)
        let a = random.bytes(70, as: T.self), b = random.bytes(70, as: T.self)
        let condition: [UInt8] = (0..<70).map { _ in [0, 1, 255, 0, 2][Int.random(in: 0..<5, using: &random)] }
        let function = try #require(apus_elementwise_blend(kernels, MemoryLayout<T>.size))
        for edge in edges {
            let c = GuardedSlices<UInt8>(capacity: 70, edge.of(UInt8.self))
            let left = GuardedSlices<T>(capacity: 70, edge.of(T.self)), right = GuardedSlices<T>(capacity: 70, edge.of(T.self))
            let output = GuardedSlices<T>(capacity: 70, edge.of(T.self))
            for n in 0...70 {
                for (aStep, bStep) in [(1, 1), (1, 0), (0, 1), (0, 0)] {
                    let aCount = aStep == 0 ? min(n, 1) : n, bCount = bStep == 0 ? min(n, 1) : n
                    function(
                        n, c.holding(condition[..<n]), left.holding(a[..<aCount]), aStep, right.holding(b[..<bCount]), bStep,
                        output.pointer(n))
                    #expect(output.values(n) == (0..<n).map { condition[$0] != 0 ? a[$0 * aStep] : b[$0 * bStep] })
                }
            }
        }
    }

    @Test(arguments: levels) func blends(level: Level) throws {
        let kernels = try Self.kernels(level)
        try checkBlend(UInt8.self, kernels)
        try checkBlend(UInt16.self, kernels)
        try checkBlend(UInt32.self, kernels)
        try checkBlend(UInt64.self, kernels)
    }

    @Test(arguments: levels) func doubles(level: Level) throws {
        let kernels = try Self.kernels(level)
        var random = SplitMix(61)
        var values = specialFloats.map(Double.init) + [709.78, 709.79, 710, -708, -745, -745.2, 746, 22, -22, 1e-310, -1e-310, 5e-324]
        for range in [-745...709, -30...30, -2...2, -1e-3...1e-3] as [ClosedRange<Float>] { values += random.floats(300, range).map(Double.init) }
        let functions: [(apus_unary_op, Double, (Double) -> Double)] = [
            (APUS_UNARY_EXP, 1, { Glibc.exp($0) }), (APUS_UNARY_TANH, 2.5, { Glibc.tanh($0) }), (APUS_UNARY_SQRT, 0, { $0.squareRoot() }),
        ]
        for (op, most, reference) in functions {
            let function = try #require(apus_elementwise_double(kernels, op))
            for edge in edges {
                for n in [0, 1, 7, 8, 9, 17, values.count] {
                    let x = GuardedBuffer(values[..<n], guarding: edge.of(Double.self)), y = GuardedBuffer<Double>(count: n, guarding: edge.of(Double.self))
                    function(n, x.pointer, y.pointer)
                    for i in 0..<n {
                        let want = reference(values[i]), got = y[i]
                        // The C library's own error is below one unit; denormal results are rounded twice.
                        let isClose = got == want || got.isNaN && want.isNaN || abs(got - want) <= (most + 0.6) * want.ulp
                        #expect(isClose && got.sign == want.sign || want.isNaN, "\(op) of \(values[i]): \(got) is not \(want)")
                    }
                    #expect(y.isIntact)
                    function(n, x.pointer, x.pointer)
                    #expect((0..<n).allSatisfy { x[$0].bitPattern == y[$0].bitPattern })
                }
            }
        }
        #expect(apus_elementwise_double(kernels, APUS_UNARY_COUNT) == nil)
    }
}
