import ApusCore
import CApusKernels

/// What distinguishes one function of two tensors from another.
struct BinaryDescriptor: Sendable {
    let schema: Schema
    let types: [ElementType]
    /// Whether the result is bool rather than of the operands' type.
    let givesBool: Bool
    /// What the result's elements are where the operands' are known dimensions.
    let dimensions: (@Sendable (Dimension, Dimension) -> Dimension)?
    /// Reads attributes and gives the function.
    let function: @Sendable (NodeReader) throws -> BinaryArithmetic

    init(
        _ opType: String, since: [Int], types: [ElementType], givesBool: Bool = false, _ function: BinaryArithmetic,
        dimensions: (@Sendable (Dimension, Dimension) -> Dimension)? = nil
    ) {
        self.init(opType, since: since, types: types, givesBool: givesBool, dimensions: dimensions) { _ in function }
    }

    init(
        _ opType: String, since: [Int], types: [ElementType], givesBool: Bool = false,
        dimensions: (@Sendable (Dimension, Dimension) -> Dimension)? = nil,
        function: @escaping @Sendable (NodeReader) throws -> BinaryArithmetic
    ) {
        schema = Schema(opType, since: since, inputs: 2...2)
        self.types = types
        self.givesBool = givesBool
        self.dimensions = dimensions
        self.function = function
    }
}

/// The functions of two tensors of one type, element by element.
struct BinaryOperator: Operator {
    private static let byName = Dictionary(uniqueKeysWithValues: descriptors.map { ($0.schema.opType, $0) })

    static let schemas = descriptors.map(\.schema)

    private let descriptor: BinaryDescriptor
    private let function: BinaryArithmetic
    private let rule: BroadcastRule
    private let dimensions: (@Sendable (Dimension, Dimension) -> Dimension)?

    init(_ node: NodeReader) throws {
        guard let descriptor = BinaryOperator.byName[node.opType] else {
            throw ApusError(.internal, "\(node.opType) is no binary operator")
        }
        self.descriptor = descriptor
        function = try descriptor.function(node)
        rule = try BroadcastRule(node)
        // Sizes have Python's remainder, not C's.
        dimensions = try node.has("fmod") && node.int("fmod", default: 0) != 0 ? nil : descriptor.dimensions
    }

    // Which input has the output's size is known to the planner only; where both have, either will do.
    var overwrites: [(output: Int, input: Int)] { [(0, 0), (0, 1)] }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: descriptor.types)
        _ = try context.commonType([0, 1])
        let a = try context.shape(0), b = try context.shape(1)
        let shape = try rule.result(a, b)
        return [
            ValueInfo(
                descriptor.givesBool ? .bool : type, shape,
                elements: dimensions == nil ? nil : try elements(context, type, dimensions))
        ]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.type(0)
        let plan = try self.plan(context)
        if type == .string { return equalStrings(plan) }
        let kernels = try FloatKernels(context.levels), size = type.byteWidth ?? 1
        // Bytes of bools other than 0 and 1 are true, too.
        let loop = type == .bool && descriptor.schema.opType == "Equal"
            ? try BinaryArithmetic(integer: SameTruthFunction.self).loop(type, kernels) : try function.loop(type, kernels)
        return binaryKernel(
            "\(descriptor.schema.opType) \(kernels.name)", plan, sizes: (size, size, descriptor.givesBool ? 1 : size), loop)
    }

    private func plan(_ context: PrepareContext) throws -> BroadcastPlan {
        let a = try context.shape(0), b = try rule.second(context.shape(1), against: a)
        return try BroadcastPlan(Shape.broadcast([a, b]), operands: [a, b])
    }

    private func equalStrings(_ plan: BroadcastPlan) -> PreparedKernel {
        PreparedKernel("Equal strings") { io in
            let a = try io.value(0).asStrings().elements, b = try io.value(1).asStrings().elements
            let y = io.output(0, as: UInt8.self)
            plan.forEachRun(in: 0..<plan.count) { offset, count, starts in
                for index in 0..<count {
                    let isEqual = a[starts[0] + index * plan.steps[0]] == b[starts[1] + index * plan.steps[1]]
                    y[offset + index] = isEqual ? 1 : 0
                }
            }
        }
    }

    private static let descriptors: [BinaryDescriptor] = [
        .init("Add", since: [1, 6, 7, 13, 14], types: Types.numbers, .add) { $0 + $1 },
        .init("Sub", since: [1, 6, 7, 13, 14], types: Types.numbers, .sub) { $0 - $1 },
        .init("Mul", since: [1, 6, 7, 13, 14], types: Types.numbers, .mul) { $0 * $1 },
        .init("Div", since: [1, 6, 7, 13, 14], types: Types.numbers, .div, dimensions: Dimension.truncatedQuotient),
        .init("Mod", since: [10, 13, 28], types: Types.numbers, dimensions: Dimension.flooredRemainder) { node in
            try node.bool("fmod", default: false) ? .truncatedMod : .flooredMod
        },
        .init("And", since: [1, 7], types: [.bool], BinaryArithmetic(integer: AndFunction.self)),
        .init("Or", since: [1, 7], types: [.bool], BinaryArithmetic(integer: OrFunction.self)),
        .init("Xor", since: [1, 7], types: [.bool], BinaryArithmetic(integer: XorFunction.self)),
        .init("BitwiseAnd", since: [18], types: Types.integers, BinaryArithmetic(integer: AndBitsFunction.self)),
        .init("BitwiseOr", since: [18], types: Types.integers, BinaryArithmetic(integer: OrBitsFunction.self)),
        .init("BitwiseXor", since: [18], types: Types.integers, BinaryArithmetic(integer: XorBitsFunction.self)),
        .init("BitShift", since: [11, 28], types: Types.integers) { node in
            guard node.has("direction") else { throw ApusError(.invalidModel, "attribute \"direction\" of BitShift is missing") }
            return try node.choice("direction", of: ["LEFT", "RIGHT"], default: "LEFT") == "LEFT"
                ? BinaryArithmetic(integer: LeftShiftFunction.self) : BinaryArithmetic(integer: RightShiftFunction.self)
        },
        .init(
            "Equal", since: [1, 7, 11, 13, 19], types: Types.numbers + [.bool, .string], givesBool: true,
            BinaryArithmetic(relation: EqualRelation.self), dimensions: Dimension.equality),
        .init(
            "Greater", since: [1, 7, 9, 13], types: Types.numbers, givesBool: true,
            BinaryArithmetic(relation: GreaterRelation.self)),
        .init(
            "Less", since: [1, 7, 9, 13], types: Types.numbers, givesBool: true,
            BinaryArithmetic(relation: LessRelation.self)),
        .init(
            "GreaterOrEqual", since: [12, 16], types: Types.numbers, givesBool: true,
            BinaryArithmetic(relation: GreaterOrEqualRelation.self)),
        .init(
            "LessOrEqual", since: [12, 16], types: Types.numbers, givesBool: true,
            BinaryArithmetic(relation: LessOrEqualRelation.self)),
    ]
}

/// The elements of the result of a function of the elements of inputs 0 and 1, where these are known dimensions.
func elements(
    _ context: InferenceContext, _ type: ElementType, _ function: ((Dimension, Dimension) -> Dimension)?
) throws -> [Dimension]? {
    guard let function, let a = try context.elements(0, ifShapeLike: type), let b = try context.elements(1, ifShapeLike: type)
    else { return nil }
    return broadcastElements([a, b])?.map { function($0[0], $0[1]).fitting(type) }
}

/// The elements of vectors (or scalars) side by side, broadcast to one length; nil where the lengths do not fit.
func broadcastElements(_ operands: [[Dimension]]) -> [[Dimension]]? {
    // A vector without elements makes all others its like.
    let count = operands.contains { $0.isEmpty } ? 0 : operands.map(\.count).max() ?? 0
    guard operands.allSatisfy({ $0.count == count || $0.count == 1 }) else { return nil }
    return (0..<count).map { index in operands.map { $0.count == 1 ? $0[0] : $0[index] } }
}

extension Dimension {
    /// The quotient as integer tensors divide: truncated. Sizes are not negative, for them that is rounding down.
    static func truncatedQuotient(_ a: Dimension, _ b: Dimension) -> Dimension {
        if case .known(let x) = a, case .known(let y) = b { return .known(Int(Int64.divide(Int64(x), Int64(y)))) }
        return a.isNonNegative && b.isNonNegative ? a.floorDivided(by: b) : a.dividedExactly(by: b) ?? .unknown
    }

    static func flooredRemainder(_ a: Dimension, _ b: Dimension) -> Dimension {
        if case .known(let x) = a, case .known(let y) = b { return .known(Int(Int64.flooredRemainder(Int64(x), Int64(y)))) }
        return a.isNonNegative && b.isNonNegative ? a - a.floorDivided(by: b) * b : .unknown
    }

    static func minimum(_ a: Dimension, _ b: Dimension) -> Dimension {
        if case .known(let x) = a, case .known(let y) = b { return .known(min(x, y)) }
        return a + b - maximum(a, b)
    }

    /// 1 where both are surely equal, 0 where they surely differ.
    static func equality(_ a: Dimension, _ b: Dimension) -> Dimension {
        if case .known(let x) = a, case .known(let y) = b { return .known(x == y ? 1 : 0) }
        if a == .unknown || b == .unknown { return .unknown }
        if a == b { return .known(1) }
        if let x = a.known, x < 0, b.isNonNegative { return .known(0) }
        if let y = b.known, y < 0, a.isNonNegative { return .known(0) }
        return .unknown
    }
}
