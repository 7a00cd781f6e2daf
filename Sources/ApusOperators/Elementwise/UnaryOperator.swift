import ApusCore
import CApusKernels

/// What distinguishes one function of one tensor from another.
struct UnaryDescriptor: Sendable {
    let schema: Schema
    let types: [ElementType]
    /// The float32 kernel; nil: the C library's function in a loop.
    let kernel: apus_unary_op?
    let loops: RealLoops
    /// The loop for an integer type; nil where `types` has none.
    let integer: (@Sendable (ElementType, SIMD2<Float>) throws -> UnaryLoop)?
    let parameters: @Sendable (NodeReader) throws -> SIMD2<Float>
    /// The loop for a 16-bit float where it needs no arithmetic.
    var ofBits: (@Sendable (ElementType) -> UnaryLoop)?

    /// A function of floats only.
    init<F: RealFunction>(
        _ opType: String, domain: String = "", since: [Int], _: F.Type, _ kernel: apus_unary_op? = nil,
        parameters: @escaping @Sendable (NodeReader) throws -> SIMD2<Float> = { _ in .zero }
    ) {
        schema = Schema(opType, domain: domain, since: since, inputs: 1...1)
        types = Types.floats
        self.kernel = kernel
        loops = RealLoops(F.self)
        integer = nil
        self.parameters = parameters
    }

    /// A function that integers have, too, with an integer definition of its own.
    init<F: RealFunction & ArithmeticFunction>(
        _ opType: String, since: [Int], _: F.Type, _ kernel: apus_unary_op, types: [ElementType],
        ofBits: (@Sendable (ElementType) -> UnaryLoop)? = nil
    ) {
        schema = Schema(opType, since: since, inputs: 1...1)
        self.types = types
        self.ofBits = ofBits
        self.kernel = kernel
        loops = RealLoops(F.self)
        integer = { type, _ in try type.visitArithmetic(UnaryLoopVisitor<F>()) }
        parameters = { _ in .zero }
    }

    /// A real function whose value for integers is its value in the reals, truncated.
    init<F: RealFunction>(
        truncating opType: String, since: [Int], _: F.Type, _ kernel: apus_unary_op? = nil,
        parameters: @escaping @Sendable (NodeReader) throws -> SIMD2<Float> = { _ in .zero }
    ) {
        schema = Schema(opType, since: since, inputs: 1...1)
        types = Types.numbers
        self.kernel = kernel
        let loops = RealLoops(F.self)
        self.loops = loops
        integer = { try loops.integer($1, $0) }
        self.parameters = parameters
    }

    /// The loop for elements of `type`.
    func loop(_ type: ElementType, _ parameters: SIMD2<Float>, _ kernels: FloatKernels) throws -> UnaryLoop {
        switch type {
        case .float32: return try kernel.map { try kernels.loop($0, parameters) } ?? loops.float(parameters)
        case .float64: return kernel.flatMap(kernels.doubles) ?? loops.double(parameters)
        case .float16, .bfloat16: return try ofBits?(type) ?? throughFloat32(type, try loop(.float32, parameters, kernels))
        default:
            guard let integer else { throw type.unsupported("a float") }
            return try integer(type, parameters)
        }
    }
}

/// The functions of one tensor, element by element: output and input have one type and shape.
struct UnaryOperator: Operator {
    private static let descriptors = mathDescriptors + activationDescriptors
    private static let byName = Dictionary(
        uniqueKeysWithValues: descriptors.map { ($0.schema.domain + ":" + $0.schema.opType, $0) })

    static let schemas = descriptors.map(\.schema)

    private let descriptor: UnaryDescriptor
    private let parameters: SIMD2<Float>
    private let negates: Bool

    init(_ node: NodeReader) throws {
        guard let descriptor = UnaryOperator.byName[node.domain + ":" + node.opType] else {
            throw ApusError(.internal, "\(node.opType) is no unary operator")
        }
        self.descriptor = descriptor
        parameters = try descriptor.parameters(node)
        negates = node.opType == "Neg"
    }

    var overwrites: [(output: Int, input: Int)] { [(0, 0)] }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: descriptor.types)
        let elements = negates ? try context.elements(0, ifShapeLike: type)?.map { (.known(0) - $0).fitting(type) } : nil
        return [ValueInfo(type, try context.shape(0), elements: elements)]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.type(0), kernels = try FloatKernels(context.levels)
        let size = type.byteWidth ?? 1
        return unaryKernel(
            "\(descriptor.schema.opType) \(kernels.name)", count: try context.shape(0).count, inputSize: size, outputSize: size,
            try descriptor.loop(type, parameters, kernels))
    }

    /// A loop over elements of 16 bits.
    @inline(__always)
    private static func bitsLoop(_ function: @escaping @Sendable (UInt16) -> UInt16) -> UnaryLoop {
        { count, x, y in
            let x = x.assumingMemoryBound(to: UInt16.self), y = y.assumingMemoryBound(to: UInt16.self)
            for index in 0..<count { y[index] = function(x[index]) }
        }
    }

    private static let mathDescriptors: [UnaryDescriptor] = [
        .init("Abs", since: [1, 6, 13], AbsFunction.self, APUS_UNARY_ABS, types: Types.numbers) { _ in bitsLoop { $0 & 0x7fff } },
        .init("Neg", since: [1, 6, 13], NegFunction.self, APUS_UNARY_NEG, types: Types.floats + Types.signed) { _ in bitsLoop { $0 ^ 0x8000 } },
        .init("Sign", since: [9, 13], SignFunction.self, APUS_UNARY_SIGN, types: Types.numbers),
        .init("Sqrt", since: [1, 6, 13], SqrtFunction.self, APUS_UNARY_SQRT),
        .init("Reciprocal", since: [1, 6, 13], ReciprocalFunction.self, APUS_UNARY_RECIPROCAL),
        .init("Exp", since: [1, 6, 13], ExpFunction.self, APUS_UNARY_EXP),
        .init("Log", since: [1, 6, 13], LogFunction.self, APUS_UNARY_LOG),
        .init("Sin", since: [7, 22], SinFunction.self, APUS_UNARY_SIN),
        .init("Cos", since: [7, 22], CosFunction.self, APUS_UNARY_COS),
        .init("Tan", since: [7, 22], TanFunction.self),
        .init("Asin", since: [7, 22], AsinFunction.self),
        .init("Acos", since: [7, 22], AcosFunction.self),
        .init("Atan", since: [7, 22], AtanFunction.self),
        .init("Sinh", since: [9, 22], SinhFunction.self),
        .init("Cosh", since: [9, 22], CoshFunction.self),
        .init("Tanh", since: [1, 6, 13], TanhFunction.self, APUS_UNARY_TANH),
        .init("Asinh", since: [9, 22], AsinhFunction.self),
        .init("Acosh", since: [9, 22], AcoshFunction.self),
        .init("Atanh", since: [9, 22], AtanhFunction.self),
        .init(truncating: "Erf", since: [9, 13], ErfFunction.self, APUS_UNARY_ERF),
        .init("Floor", since: [1, 6, 13], FloorFunction.self, APUS_UNARY_FLOOR),
        .init("Ceil", since: [1, 6, 13], CeilFunction.self, APUS_UNARY_CEIL),
        .init("Round", since: [11, 22], RoundFunction.self, APUS_UNARY_ROUND),
    ]
}

extension Dimension {
    /// This number as an element of `type`; unknown where it is beyond its range, in which it would wrap.
    func fitting(_ type: ElementType) -> Dimension {
        guard type == .int32, let known, Int32(exactly: known) == nil else { return self }
        return .unknown
    }
}

extension InferenceContext {
    /// The input's elements as dimensions, where its type is one that shapes are computed in.
    func elements(_ index: Int, ifShapeLike type: ElementType) throws -> [Dimension]? {
        guard type == .int64 || type == .int32, try shape(index).rank ?? 2 <= 1 else { return nil }
        return try elements(index)
    }
}
