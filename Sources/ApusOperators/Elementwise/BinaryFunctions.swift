import ApusCore
import CApusKernels

enum AddFunction: BinaryFunction {
    static func apply<T: Arithmetic>(_ a: T, _ b: T) -> T { T.add(a, b) }
}
enum SubFunction: BinaryFunction {
    static func apply<T: Arithmetic>(_ a: T, _ b: T) -> T { T.subtract(a, b) }
}
enum MulFunction: BinaryFunction {
    static func apply<T: Arithmetic>(_ a: T, _ b: T) -> T { T.multiply(a, b) }
}
enum DivFunction: BinaryFunction {
    static func apply<T: Arithmetic>(_ a: T, _ b: T) -> T { T.divide(a, b) }
}
enum MinFunction: BinaryFunction {
    static func apply<T: Arithmetic>(_ a: T, _ b: T) -> T { T.lesser(a, b) }
}
enum MaxFunction: BinaryFunction {
    static func apply<T: Arithmetic>(_ a: T, _ b: T) -> T { T.greater(a, b) }
}
enum FlooredModFunction: BinaryFunction {
    static func apply<T: Arithmetic>(_ a: T, _ b: T) -> T { T.flooredRemainder(a, b) }
}
enum TruncatedModFunction: BinaryFunction {
    static func apply<T: Arithmetic>(_ a: T, _ b: T) -> T { T.truncatedRemainder(a, b) }
}
enum PReluFunction: BinaryFunction {
    static func apply<T: Arithmetic>(_ a: T, _ b: T) -> T { a < T.zero ? T.multiply(a, b) : a }
}

enum AndBitsFunction: BinaryIntegerFunction {
    static func apply<T: Arithmetic & FixedWidthInteger>(_ a: T, _ b: T) -> T { a & b }
}
enum OrBitsFunction: BinaryIntegerFunction {
    static func apply<T: Arithmetic & FixedWidthInteger>(_ a: T, _ b: T) -> T { a | b }
}
enum XorBitsFunction: BinaryIntegerFunction {
    static func apply<T: Arithmetic & FixedWidthInteger>(_ a: T, _ b: T) -> T { a ^ b }
}
/// A negative distance shifts everything out, as one that passes the width does.
enum LeftShiftFunction: BinaryIntegerFunction {
    static func apply<T: Arithmetic & FixedWidthInteger>(_ a: T, _ b: T) -> T {
        b < 0 || b >= T.bitWidth ? 0 : a &<< b
    }
}
/// Arithmetic for signed types: what is shifted out leaves the sign.
enum RightShiftFunction: BinaryIntegerFunction {
    static func apply<T: Arithmetic & FixedWidthInteger>(_ a: T, _ b: T) -> T {
        b < 0 || b >= T.bitWidth ? (a < 0 ? ~0 : 0) : a &>> b
    }
}

enum AndFunction: BinaryIntegerFunction {
    static func apply<T: Arithmetic & FixedWidthInteger>(_ a: T, _ b: T) -> T { a != 0 && b != 0 ? 1 : 0 }
}
enum OrFunction: BinaryIntegerFunction {
    static func apply<T: Arithmetic & FixedWidthInteger>(_ a: T, _ b: T) -> T { a != 0 || b != 0 ? 1 : 0 }
}
enum XorFunction: BinaryIntegerFunction {
    static func apply<T: Arithmetic & FixedWidthInteger>(_ a: T, _ b: T) -> T { (a != 0) != (b != 0) ? 1 : 0 }
}
enum SameTruthFunction: BinaryIntegerFunction {
    static func apply<T: Arithmetic & FixedWidthInteger>(_ a: T, _ b: T) -> T { (a != 0) == (b != 0) ? 1 : 0 }
}

enum EqualRelation: Relation {
    static func holds<T: Arithmetic>(_ a: T, _ b: T) -> Bool { a == b }
}
enum GreaterRelation: Relation {
    static func holds<T: Arithmetic>(_ a: T, _ b: T) -> Bool { a > b }
}
enum LessRelation: Relation {
    static func holds<T: Arithmetic>(_ a: T, _ b: T) -> Bool { a < b }
}
enum GreaterOrEqualRelation: Relation {
    static func holds<T: Arithmetic>(_ a: T, _ b: T) -> Bool { a >= b }
}
enum LessOrEqualRelation: Relation {
    static func holds<T: Arithmetic>(_ a: T, _ b: T) -> Bool { a <= b }
}

/// A function of two tensors of one type, by element type.
struct BinaryArithmetic: Sendable {
    /// The loop for elements of that type.
    let loop: @Sendable (ElementType, FloatKernels) throws -> BinaryLoop

    /// With kernels for float32 and, for integers of 32 and 64 bits, where there are any.
    init<F: BinaryFunction>(_: F.Type, _ float: apus_binary_op? = nil, _ integer: apus_integer_op? = nil) {
        loop = { type, kernels in
            switch type {
            case .float32:
                return try float.map { try kernels.loop($0) } ?? BinaryLoopVisitor<F>().visit(Float.self)
            case .float16, .bfloat16:
                return throughFloat32(
                    type, try float.map { try kernels.loop($0) } ?? BinaryLoopVisitor<F>().visit(Float.self))
            case .int32, .uint32, .int64, .uint64:
                if let integer { return try kernels.loop(integer, bytes: type.byteWidth ?? 0) }
                return try type.visitArithmetic(BinaryLoopVisitor<F>())
            default: return try type.visitArithmetic(BinaryLoopVisitor<F>())
            }
        }
    }

    init<F: BinaryIntegerFunction>(integer _: F.Type) {
        loop = { type, _ in try type.visitInteger(BinaryIntegerLoopVisitor<F>()) }
    }

    init<R: Relation>(relation _: R.Type) {
        loop = { type, _ in
            if type.isShortFloat {
                return throughFloat32(type, givesBytes: true, try RelationLoopVisitor<R>().visit(Float.self))
            }
            return try type.visitArithmetic(RelationLoopVisitor<R>())
        }
    }

    static let add = BinaryArithmetic(AddFunction.self, APUS_BINARY_ADD, APUS_INTEGER_ADD)
    static let sub = BinaryArithmetic(SubFunction.self, APUS_BINARY_SUB, APUS_INTEGER_SUB)
    static let mul = BinaryArithmetic(MulFunction.self, APUS_BINARY_MUL, APUS_INTEGER_MUL)
    static let div = BinaryArithmetic(DivFunction.self, APUS_BINARY_DIV)
    static let min = BinaryArithmetic(MinFunction.self, APUS_BINARY_MIN)
    static let max = BinaryArithmetic(MaxFunction.self, APUS_BINARY_MAX)
    static let flooredMod = BinaryArithmetic(FlooredModFunction.self)
    static let truncatedMod = BinaryArithmetic(TruncatedModFunction.self)
    static let prelu = BinaryArithmetic(PReluFunction.self, APUS_BINARY_PRELU)
}
