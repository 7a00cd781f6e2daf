import ApusCore
import CApusKernels

/// Pow: the first tensor's elements to the powers of the second's, in the first one's type.
struct PowOperator: Operator {
    static let schemas = [Schema("Pow", since: [1, 7, 12, 13, 15], inputs: 2...2)]

    private let rule: BroadcastRule

    init(_ node: NodeReader) throws {
        rule = try BroadcastRule(node)
    }

    var overwrites: [(output: Int, input: Int)] { [(0, 0)] }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: Types.numbers)
        _ = try context.type(1, oneOf: Types.numbers)
        return [ValueInfo(type, try rule.result(context.shape(0), context.shape(1)))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let base = try context.type(0), exponent = try context.type(1), kernels = try FloatKernels(context.levels)
        let a = try context.shape(0), b = try rule.second(context.shape(1), against: a)
        let plan = try BroadcastPlan(Shape.broadcast([a, b]), operands: [a, b])
        let sizes = (base.byteWidth ?? 1, exponent.byteWidth ?? 1, base.byteWidth ?? 1)
        return binaryKernel("Pow \(kernels.name)", plan, sizes: sizes, try PowOperator.loop(base, exponent, kernels))
    }

    private static func loop(_ base: ElementType, _ exponent: ElementType, _ kernels: FloatKernels) throws -> BinaryLoop {
        if base == .float32 && exponent == .float32 { return try floats(kernels) }
        if base.isShortFloat && exponent == base { return throughFloat32(base, try floats(kernels)) }
        if base == .float64 && exponent == .float64 { return doubles }
        if base.isInteger && exponent.isInteger {
            return try throughBlocks(base, exponent, .int64, integers)
        }
        // Float32 holds exponents of up to 24 bits exactly; others, and integer bases, take double precision.
        let isNarrow = exponent.bitWidth < 32 || exponent == .float32
        if base.isFloatingPoint && base != .float64 && isNarrow {
            return try throughBlocks(base, exponent, .float32, floats(kernels))
        }
        if base.isFloatingPoint && base != .float64 {
            return try throughBlocks(base, exponent, .float64, doubles, shortExponent: unary(kernels))
        }
        return try throughBlocks(base, exponent, .float64, doubles)
    }

    private static func floats(_ kernels: FloatKernels) throws -> BinaryLoop {
        let pair = try kernels.loop(APUS_BINARY_POW), single = try unary(kernels)
        return { count, a, aStep, b, bStep, y in
            // One exponent for all: the kernel knows squares, roots and the like.
            if bStep == 0 { return single(count, a, b.load(as: Float.self), y) }
            pair(count, a, aStep, b, bStep, y)
        }
    }

    private typealias SinglePower = @Sendable (Int, UnsafeRawPointer, Float, UnsafeMutableRawPointer) -> Void

    private static func unary(_ kernels: FloatKernels) throws -> SinglePower {
        let function = try kernels.unary(APUS_UNARY_POW)
        return { count, x, exponent, y in
            withUnsafePointer(to: exponent) { exponent in
                function(count, x.assumingMemoryBound(to: Float.self), y.assumingMemoryBound(to: Float.self), exponent)
            }
        }
    }

    private static let doubles: BinaryLoop = { count, a, aStep, b, bStep, y in
        forEachPair(count, a, aStep, b, bStep, y) { (x: Double, y: Double) -> Double in Double.pow(x, y) }
    }

    /// Integer powers wrap; negative exponents give what remains of a fraction: 0, or ±1 for the bases ±1.
    private static let integers: BinaryLoop = { count, a, aStep, b, bStep, y in
        forEachPair(count, a, aStep, b, bStep, y) { (base: Int64, exponent: Int64) -> Int64 in
            if exponent < 0 { return base == 1 ? 1 : base == -1 ? (exponent & 1 == 0 ? 1 : -1) : 0 }
            var result: Int64 = 1, square = base, rest = exponent
            while rest > 0 {
                if rest & 1 == 1 { result &*= square }
                square &*= square
                rest >>= 1
            }
            return result
        }
    }

    /// `loop` over numbers of type `number` as a loop over elements of `base` and `exponent`. `shortExponent` is used where
    /// one exponent serves a whole run of float32 bases and is a float, too.
    private static func throughBlocks(
        _ base: ElementType, _ exponent: ElementType, _ number: ElementType, _ loop: @escaping BinaryLoop,
        shortExponent: SinglePower? = nil
    ) throws -> BinaryLoop {
        let blockSize = 128, width = number.byteWidth ?? 8
        let baseSize = base.byteWidth ?? 1, exponentSize = exponent.byteWidth ?? 1
        let fromBase = try castLoop(base, number), fromExponent = try castLoop(exponent, number)
        let back = try castLoop(number, base)
        return { count, a, aStep, b, bStep, y in
            withUnsafeTemporaryAllocation(byteCount: 1024, alignment: 16) { aBlock in
                withUnsafeTemporaryAllocation(byteCount: 1024, alignment: 16) { bBlock in
                    guard let aBlock = aBlock.baseAddress, let bBlock = bBlock.baseAddress, width <= 8 else { return }
                    if bStep == 0 {
                        fromExponent(1, b, bBlock)
                        if let shortExponent, base == .float32 {
                            let power = bBlock.load(as: Double.self)
                            if Double(Float(power)) == power { return shortExponent(count, a, Float(power), y) }
                        }
                    }
                    for start in stride(from: 0, to: count, by: blockSize) {
                        let part = min(blockSize, count - start)
                        // The result lies where the bases are, so a base for all is read anew.
                        fromBase(aStep == 0 ? 1 : part, a + (start &* aStep) &* baseSize, aBlock)
                        if bStep != 0 { fromExponent(part, b + start &* exponentSize, bBlock) }
                        let result = aStep == 0 ? bBlock : aBlock
                        loop(part, aBlock, aStep, bBlock, bStep, result)
                        back(part, result, y + start &* baseSize)
                    }
                }
            }
        }
    }
}
