import ApusCore
import Glibc

/// Floats with the elementary functions of the C library.
protocol Real: Arithmetic, BinaryFloatingPoint {
    static func exp(_ x: Self) -> Self
    static func expMinusOne(_ x: Self) -> Self
    static func log(_ x: Self) -> Self
    static func logOnePlus(_ x: Self) -> Self
    static func sin(_ x: Self) -> Self
    static func cos(_ x: Self) -> Self
    static func tan(_ x: Self) -> Self
    static func asin(_ x: Self) -> Self
    static func acos(_ x: Self) -> Self
    static func atan(_ x: Self) -> Self
    static func sinh(_ x: Self) -> Self
    static func cosh(_ x: Self) -> Self
    static func tanh(_ x: Self) -> Self
    static func asinh(_ x: Self) -> Self
    static func acosh(_ x: Self) -> Self
    static func atanh(_ x: Self) -> Self
    static func erf(_ x: Self) -> Self
    static func pow(_ x: Self, _ y: Self) -> Self
}

extension Float: Real {
    static func exp(_ x: Float) -> Float { expf(x) }
    static func expMinusOne(_ x: Float) -> Float { expm1f(x) }
    static func log(_ x: Float) -> Float { logf(x) }
    static func logOnePlus(_ x: Float) -> Float { log1pf(x) }
    static func sin(_ x: Float) -> Float { sinf(x) }
    static func cos(_ x: Float) -> Float { cosf(x) }
    static func tan(_ x: Float) -> Float { tanf(x) }
    static func asin(_ x: Float) -> Float { asinf(x) }
    static func acos(_ x: Float) -> Float { acosf(x) }
    static func atan(_ x: Float) -> Float { atanf(x) }
    static func sinh(_ x: Float) -> Float { sinhf(x) }
    static func cosh(_ x: Float) -> Float { coshf(x) }
    static func tanh(_ x: Float) -> Float { tanhf(x) }
    static func asinh(_ x: Float) -> Float { asinhf(x) }
    static func acosh(_ x: Float) -> Float { acoshf(x) }
    static func atanh(_ x: Float) -> Float { atanhf(x) }
    static func erf(_ x: Float) -> Float { erff(x) }
    static func pow(_ x: Float, _ y: Float) -> Float { powf(x, y) }
}

extension Double: Real {
    static func exp(_ x: Double) -> Double { Glibc.exp(x) }
    static func expMinusOne(_ x: Double) -> Double { Glibc.expm1(x) }
    static func log(_ x: Double) -> Double { Glibc.log(x) }
    static func logOnePlus(_ x: Double) -> Double { Glibc.log1p(x) }
    static func sin(_ x: Double) -> Double { Glibc.sin(x) }
    static func cos(_ x: Double) -> Double { Glibc.cos(x) }
    static func tan(_ x: Double) -> Double { Glibc.tan(x) }
    static func asin(_ x: Double) -> Double { Glibc.asin(x) }
    static func acos(_ x: Double) -> Double { Glibc.acos(x) }
    static func atan(_ x: Double) -> Double { Glibc.atan(x) }
    static func sinh(_ x: Double) -> Double { Glibc.sinh(x) }
    static func cosh(_ x: Double) -> Double { Glibc.cosh(x) }
    static func tanh(_ x: Double) -> Double { Glibc.tanh(x) }
    static func asinh(_ x: Double) -> Double { Glibc.asinh(x) }
    static func acosh(_ x: Double) -> Double { Glibc.acosh(x) }
    static func atanh(_ x: Double) -> Double { Glibc.atanh(x) }
    static func erf(_ x: Double) -> Double { Glibc.erf(x) }
    static func pow(_ x: Double, _ y: Double) -> Double { Glibc.pow(x, y) }
}

/// A function of one real number and up to two parameters, which are attributes of the node.
protocol RealFunction: SendableMetatype {
    static func apply<T: Real>(_ x: T, _ p0: T, _ p1: T) -> T
}

/// The specialised loops of a real function.
struct RealLoops: Sendable {
    let float: @Sendable (SIMD2<Float>) -> UnaryLoop
    let double: @Sendable (SIMD2<Float>) -> UnaryLoop
    /// Integers: computed in double precision and truncated.
    let integer: @Sendable (SIMD2<Float>, ElementType) throws -> UnaryLoop

    init<F: RealFunction>(_: F.Type) {
        float = { RealLoops.loop(F.self, Float.self, $0) }
        double = { RealLoops.loop(F.self, Double.self, $0) }
        integer = { try $1.visitArithmetic(ThroughDouble<F>(parameters: $0)) }
    }

    private static func loop<F: RealFunction, T: Real>(_: F.Type, _: T.Type, _ parameters: SIMD2<Float>) -> UnaryLoop {
        let p0 = T(parameters.x), p1 = T(parameters.y)
        return { count, x, y in
            let x = x.assumingMemoryBound(to: T.self), y = y.assumingMemoryBound(to: T.self)
            for index in 0..<count { y[index] = F.apply(x[index], p0, p1) }
        }
    }

    private struct ThroughDouble<F: RealFunction>: ArithmeticVisitor {
        let parameters: SIMD2<Float>
        func visit<T: Arithmetic>(_: T.Type) throws -> UnaryLoop {
            let p0 = Double(parameters.x), p1 = Double(parameters.y)
            return { count, x, y in
                let x = x.assumingMemoryBound(to: T.self), y = y.assumingMemoryBound(to: T.self)
                for index in 0..<count { y[index] = T(converting: F.apply(x[index].double, p0, p1)) }
            }
        }
    }
}

// MARK: - Mathematical functions

enum AbsFunction: RealFunction, ArithmeticFunction {
    static func apply<T: Real>(_ x: T, _: T, _: T) -> T { x.magnitude }
    static func apply<T: Arithmetic>(_ x: T) -> T { T.magnitude(x) }
}
enum NegFunction: RealFunction, ArithmeticFunction {
    static func apply<T: Real>(_ x: T, _: T, _: T) -> T { -x }
    static func apply<T: Arithmetic>(_ x: T) -> T { T.negate(x) }
}
enum SignFunction: RealFunction, ArithmeticFunction {
    static func apply<T: Real>(_ x: T, _: T, _: T) -> T { T.sign(x) }
    static func apply<T: Arithmetic>(_ x: T) -> T { T.sign(x) }
}
enum SqrtFunction: RealFunction {
    static func apply<T: Real>(_ x: T, _: T, _: T) -> T { x.squareRoot() }
}
enum ReciprocalFunction: RealFunction {
    static func apply<T: Real>(_ x: T, _: T, _: T) -> T { 1 / x }
}
enum ExpFunction: RealFunction {
    static func apply<T: Real>(_ x: T, _: T, _: T) -> T { T.exp(x) }
}
enum LogFunction: RealFunction {
    static func apply<T: Real>(_ x: T, _: T, _: T) -> T { T.log(x) }
}
enum SinFunction: RealFunction {
    static func apply<T: Real>(_ x: T, _: T, _: T) -> T { T.sin(x) }
}
enum CosFunction: RealFunction {
    static func apply<T: Real>(_ x: T, _: T, _: T) -> T { T.cos(x) }
}
enum TanFunction: RealFunction {
    static func apply<T: Real>(_ x: T, _: T, _: T) -> T { T.tan(x) }
}
enum AsinFunction: RealFunction {
    static func apply<T: Real>(_ x: T, _: T, _: T) -> T { T.asin(x) }
}
enum AcosFunction: RealFunction {
    static func apply<T: Real>(_ x: T, _: T, _: T) -> T { T.acos(x) }
}
enum AtanFunction: RealFunction {
    static func apply<T: Real>(_ x: T, _: T, _: T) -> T { T.atan(x) }
}
enum SinhFunction: RealFunction {
    static func apply<T: Real>(_ x: T, _: T, _: T) -> T { T.sinh(x) }
}
enum CoshFunction: RealFunction {
    static func apply<T: Real>(_ x: T, _: T, _: T) -> T { T.cosh(x) }
}
enum TanhFunction: RealFunction {
    static func apply<T: Real>(_ x: T, _: T, _: T) -> T { T.tanh(x) }
}
enum AsinhFunction: RealFunction {
    static func apply<T: Real>(_ x: T, _: T, _: T) -> T { T.asinh(x) }
}
enum AcoshFunction: RealFunction {
    static func apply<T: Real>(_ x: T, _: T, _: T) -> T { T.acosh(x) }
}
enum AtanhFunction: RealFunction {
    static func apply<T: Real>(_ x: T, _: T, _: T) -> T { T.atanh(x) }
}
enum ErfFunction: RealFunction {
    static func apply<T: Real>(_ x: T, _: T, _: T) -> T { T.erf(x) }
}
enum FloorFunction: RealFunction {
    static func apply<T: Real>(_ x: T, _: T, _: T) -> T {
        let near = roundedByAddition(x)
        return near > x ? near - 1 : near
    }
}
enum CeilFunction: RealFunction {
    static func apply<T: Real>(_ x: T, _: T, _: T) -> T {
        let near = roundedByAddition(x)
        // What is above -1 becomes -0.
        return near < x ? T(signOf: x, magnitudeOf: near + 1) : near
    }
}
enum RoundFunction: RealFunction {
    static func apply<T: Real>(_ x: T, _: T, _: T) -> T { roundedByAddition(x) }
}

/// The integer nearest to x, ties to even, by way of a number so great that its last place is 1: a loop of this fills vectors, one of
/// the C library's function does not.
@inline(__always)
private func roundedByAddition<T: Real>(_ x: T) -> T {
    let great = 1 / T.ulpOfOne, magnitude = x.magnitude
    return magnitude < great ? T(signOf: x, magnitudeOf: (magnitude + great) - great) : x
}
