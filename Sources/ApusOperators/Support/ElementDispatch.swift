import ApusCore

/// A Swift type that is, bit for bit, an element of a dense tensor of 8 bits or more, and that can be computed with.
///
/// `bool` is computed with as `UInt8`; float8, complex and sub-byte types are not among these.
package protocol Element: BitwiseCopyable, Sendable {
    /// What arithmetic is done in: `Float` for the 16-bit floats, the type itself for all others.
    associatedtype Number: Arithmetic
    var number: Number { get }
    /// The element nearest to `number`, ties to even.
    init(rounding number: Number)
}

/// Numbers whose arithmetic never traps: integers wrap, floats follow IEEE 754.
package protocol Arithmetic: Element, Comparable where Number == Self {
    static var zero: Self { get }
    static var one: Self { get }
    /// The identity of `greater`: the least integer, or minus infinity.
    static var lowest: Self { get }
    /// The identity of `lesser`: the greatest integer, or infinity.
    static var highest: Self { get }
    static var isFloat: Bool { get }
    var isNotANumber: Bool { get }

    static func add(_ a: Self, _ b: Self) -> Self
    static func subtract(_ a: Self, _ b: Self) -> Self
    static func multiply(_ a: Self, _ b: Self) -> Self
    /// Integers: truncated towards zero; x / 0 is 0, least / -1 is least.
    static func divide(_ a: Self, _ b: Self) -> Self
    /// The remainder with the divisor's sign, as Python's %; integers: x mod 0 is 0.
    static func flooredRemainder(_ a: Self, _ b: Self) -> Self
    /// The remainder with the dividend's sign, as C's fmod; integers: x mod 0 is 0.
    static func truncatedRemainder(_ a: Self, _ b: Self) -> Self
    /// The lesser one; NaN if either is.
    static func lesser(_ a: Self, _ b: Self) -> Self
    /// The greater one; NaN if either is.
    static func greater(_ a: Self, _ b: Self) -> Self
    static func negate(_ a: Self) -> Self
    static func magnitude(_ a: Self) -> Self
    /// -1, 0 or 1; NaN stays.
    static func sign(_ a: Self) -> Self

    var double: Double { get }
    /// Truncated towards zero. What does not fit gives what x86 compilers' conversions give: the least value of the next
    /// signed type that the processor converts to, cut to this type's bits.
    init(converting double: Double)
    /// The low 64 bits of an integer, or a float truncated as `init(converting:)` does for Int64.
    var int64: Int64 { get }
    /// Integers keep the low bits; floats are rounded once.
    static func from<I: FixedWidthInteger>(integer: I) -> Self
    /// This number as another type, by the rules of `from(integer:)` or `init(converting:)`.
    func cast<T: Arithmetic>(to _: T.Type) -> T
}

extension Arithmetic {
    package var number: Self { self }
    package init(rounding number: Self) { self = number }
}

extension Arithmetic where Self: FixedWidthInteger {
    package static var one: Self { 1 }
    package static var lowest: Self { .min }
    package static var highest: Self { .max }
    package static var isFloat: Bool { false }
    package var isNotANumber: Bool { false }

    package static func add(_ a: Self, _ b: Self) -> Self { a &+ b }
    package static func subtract(_ a: Self, _ b: Self) -> Self { a &- b }
    package static func multiply(_ a: Self, _ b: Self) -> Self { a &* b }
    package static func divide(_ a: Self, _ b: Self) -> Self {
        b == 0 ? 0 : a.dividedReportingOverflow(by: b).partialValue
    }
    package static func truncatedRemainder(_ a: Self, _ b: Self) -> Self {
        b == 0 ? 0 : a.remainderReportingOverflow(dividingBy: b).partialValue
    }
    package static func flooredRemainder(_ a: Self, _ b: Self) -> Self {
        let rest = truncatedRemainder(a, b)
        return rest != 0 && (rest < 0) != (b < 0) ? rest &+ b : rest
    }
    package static func lesser(_ a: Self, _ b: Self) -> Self { a < b ? a : b }
    package static func greater(_ a: Self, _ b: Self) -> Self { a > b ? a : b }
    package static func negate(_ a: Self) -> Self { 0 &- a }
    package static func magnitude(_ a: Self) -> Self { a < 0 ? 0 &- a : a }
    package static func sign(_ a: Self) -> Self { a > 0 ? 1 : a == 0 ? 0 : 0 &- 1 }

    package var double: Double { Double(self) }
    package var int64: Int64 { Int64(truncatingIfNeeded: self) }
    package static func from<I: FixedWidthInteger>(integer: I) -> Self { Self(truncatingIfNeeded: integer) }
    package func cast<T: Arithmetic>(to _: T.Type) -> T { T.from(integer: self) }
    package init(converting double: Double) {
        if Self.bitWidth < 32 || (Self.bitWidth == 32 && Self.isSigned) {
            self.init(truncatingIfNeeded: double > -2147483649.0 && double < 2147483648.0 ? Int32(double) : Int32.min)
        } else if Self.bitWidth == 64 && !Self.isSigned && double >= 9223372036854775808.0 && double < 18446744073709551616.0 {
            self.init(truncatingIfNeeded: UInt64(double))
        } else {
            let fits = double >= -9223372036854775808.0 && double < 9223372036854775808.0
            self.init(truncatingIfNeeded: fits ? Int64(double) : Int64.min)
        }
    }
}

extension Arithmetic where Self: BinaryFloatingPoint {
    package static var one: Self { 1 }
    package static var lowest: Self { -.infinity }
    package static var highest: Self { .infinity }
    package static var isFloat: Bool { true }
    package var isNotANumber: Bool { self != self }

    package static func add(_ a: Self, _ b: Self) -> Self { a + b }
    package static func subtract(_ a: Self, _ b: Self) -> Self { a - b }
    package static func multiply(_ a: Self, _ b: Self) -> Self { a * b }
    package static func divide(_ a: Self, _ b: Self) -> Self { a / b }
    package static func truncatedRemainder(_ a: Self, _ b: Self) -> Self { a.truncatingRemainder(dividingBy: b) }
    package static func flooredRemainder(_ a: Self, _ b: Self) -> Self {
        let rest = a.truncatingRemainder(dividingBy: b)
        if rest == 0 { return b < 0 ? -0.0 : 0.0 }
        return (rest < 0) != (b < 0) ? rest + b : rest
    }
    package static func lesser(_ a: Self, _ b: Self) -> Self { a < b || a != a ? a : b }
    package static func greater(_ a: Self, _ b: Self) -> Self { a > b || a != a ? a : b }
    package static func negate(_ a: Self) -> Self { -a }
    package static func magnitude(_ a: Self) -> Self { a.magnitude }
    package static func sign(_ a: Self) -> Self { a > 0 ? 1 : a < 0 ? -1 : a }

    package var double: Double { Double(self) }
    package init(converting double: Double) { self.init(double) }
    package var int64: Int64 { Int64(converting: Double(self)) }
    package static func from<I: FixedWidthInteger>(integer: I) -> Self { Self(integer) }
    package func cast<T: Arithmetic>(to _: T.Type) -> T { T(converting: Double(self)) }
}

extension Float: Arithmetic {}
extension Double: Arithmetic {}
extension UInt8: Arithmetic {}
extension Int8: Arithmetic {}
extension UInt16: Arithmetic {}
extension Int16: Arithmetic {}
extension UInt32: Arithmetic {}
extension Int32: Arithmetic {}
extension UInt64: Arithmetic {}
extension Int64: Arithmetic {}

/// Something to be done for the Swift type of an element type: the body of a switch over element types.
///
/// A struct with a generic method, because a closure cannot be generic. Made and called when preparing; what it returns
/// (a specialised loop) runs.
package protocol ElementVisitor {
    associatedtype Output
    func visit<T: Element>(_: T.Type) throws -> Output
}

/// As `ElementVisitor`, for types that need no conversion to compute with: not the 16-bit floats.
package protocol ArithmeticVisitor {
    associatedtype Output
    func visit<T: Arithmetic>(_: T.Type) throws -> Output
}

/// As `ElementVisitor`, for integers only.
package protocol IntegerVisitor {
    associatedtype Output
    func visit<T: Arithmetic & FixedWidthInteger>(_: T.Type) throws -> Output
}

/// As `ElementVisitor`, for what only moves elements: called with an unsigned integer of the element's size.
package protocol BitsVisitor {
    associatedtype Output
    func visit<T: BitwiseCopyable & Equatable & Sendable>(_: T.Type) throws -> Output
}

/// Sixteen bytes that are aligned like eight: an element of complex128.
package struct Bits128: BitwiseCopyable, Equatable, Sendable {
    package var low: UInt64
    package var high: UInt64
}

extension ElementType {
    /// Calls the visitor with the Swift type of this type: floats of 16 bits and more, integers of 8 and more, bool.
    package func visit<Visitor: ElementVisitor>(_ visitor: Visitor) throws -> Visitor.Output {
        switch self {
        case .float32: try visitor.visit(Float.self)
        case .float64: try visitor.visit(Double.self)
        case .float16: try visitor.visit(Half.self)
        case .bfloat16: try visitor.visit(BFloat16.self)
        case .uint8, .bool: try visitor.visit(UInt8.self)
        case .int8: try visitor.visit(Int8.self)
        case .uint16: try visitor.visit(UInt16.self)
        case .int16: try visitor.visit(Int16.self)
        case .uint32: try visitor.visit(UInt32.self)
        case .int32: try visitor.visit(Int32.self)
        case .uint64: try visitor.visit(UInt64.self)
        case .int64: try visitor.visit(Int64.self)
        default: throw unsupported("a float of 16 bits or more, an integer of 8 bits or more, or bool")
        }
    }

    /// As `visit`, for floats of 16 bits and more only.
    package func visitFloat<Visitor: ElementVisitor>(_ visitor: Visitor) throws -> Visitor.Output {
        switch self {
        case .float32: try visitor.visit(Float.self)
        case .float64: try visitor.visit(Double.self)
        case .float16: try visitor.visit(Half.self)
        case .bfloat16: try visitor.visit(BFloat16.self)
        default: throw unsupported("a float of 16 bits or more")
        }
    }

    /// Calls the visitor with the Swift type of this type: float, double, integers of 8 bits and more, bool.
    package func visitArithmetic<Visitor: ArithmeticVisitor>(_ visitor: Visitor) throws -> Visitor.Output {
        switch self {
        case .float32: try visitor.visit(Float.self)
        case .float64: try visitor.visit(Double.self)
        case .uint8, .bool: try visitor.visit(UInt8.self)
        case .int8: try visitor.visit(Int8.self)
        case .uint16: try visitor.visit(UInt16.self)
        case .int16: try visitor.visit(Int16.self)
        case .uint32: try visitor.visit(UInt32.self)
        case .int32: try visitor.visit(Int32.self)
        case .uint64: try visitor.visit(UInt64.self)
        case .int64: try visitor.visit(Int64.self)
        default: throw unsupported("float, double, an integer of 8 bits or more, or bool")
        }
    }

    /// Calls the visitor with the Swift type of this type: integers of 8 bits and more, bool.
    package func visitInteger<Visitor: IntegerVisitor>(_ visitor: Visitor) throws -> Visitor.Output {
        switch self {
        case .uint8, .bool: try visitor.visit(UInt8.self)
        case .int8: try visitor.visit(Int8.self)
        case .uint16: try visitor.visit(UInt16.self)
        case .int16: try visitor.visit(Int16.self)
        case .uint32: try visitor.visit(UInt32.self)
        case .int32: try visitor.visit(Int32.self)
        case .uint64: try visitor.visit(UInt64.self)
        case .int64: try visitor.visit(Int64.self)
        default: throw unsupported("an integer of 8 bits or more, or bool")
        }
    }

    /// Calls the visitor with an unsigned integer of this type's size; for every fixed-size type of 8 bits and more.
    package func visitBits<Visitor: BitsVisitor>(_ visitor: Visitor) throws -> Visitor.Output {
        switch byteWidth {
        case 1: try visitor.visit(UInt8.self)
        case 2: try visitor.visit(UInt16.self)
        case 4: try visitor.visit(UInt32.self)
        case 8: try visitor.visit(UInt64.self)
        case 16: try visitor.visit(Bits128.self)
        default: throw unsupported("a fixed-size type of 8 bits or more")
        }
    }

    func unsupported(_ expected: String) -> ApusError {
        ApusError(.typeMismatch, "element type \(name) found where \(expected) is expected")
    }
}
