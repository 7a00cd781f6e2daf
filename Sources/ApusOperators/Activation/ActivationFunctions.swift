import ApusCore

// The activations in scalar form, for float64 and as the definition of what the float32 kernels compute.

enum SigmoidFunction: RealFunction {
    static func apply<T: Real>(_ x: T, _: T, _: T) -> T { sigmoid(x) }

    /// The exponential is of a number ≤ 0, so it cannot overflow.
    static func sigmoid<T: Real>(_ x: T) -> T {
        if x >= 0 { return 1 / (1 + T.exp(-x)) }
        let e = T.exp(x)
        return e / (1 + e)
    }
}
enum ReluFunction: RealFunction, ArithmeticFunction {
    static func apply<T: Real>(_ x: T, _: T, _: T) -> T { x < 0 ? 0 : x }
    static func apply<T: Arithmetic>(_ x: T) -> T { x < T.zero ? T.zero : x }
}
enum LeakyReluFunction: RealFunction {
    static func apply<T: Real>(_ x: T, _ alpha: T, _: T) -> T { x < 0 ? alpha * x : x }
}
enum EluFunction: RealFunction {
    static func apply<T: Real>(_ x: T, _ alpha: T, _: T) -> T { x < 0 ? alpha * T.expMinusOne(x) : x }
}
enum SeluFunction: RealFunction {
    static func apply<T: Real>(_ x: T, _ alpha: T, _ gamma: T) -> T { gamma * (x < 0 ? alpha * T.expMinusOne(x) : x) }
}
enum CeluFunction: RealFunction {
    static func apply<T: Real>(_ x: T, _ alpha: T, _: T) -> T {
        T.greater(0, x) + T.lesser(0, alpha * T.expMinusOne(x / alpha))
    }
}
enum ThresholdedReluFunction: RealFunction {
    static func apply<T: Real>(_ x: T, _ alpha: T, _: T) -> T { x > alpha ? x : 0 }
}
enum SoftplusFunction: RealFunction {
    static func apply<T: Real>(_ x: T, _: T, _: T) -> T { softplus(x) }

    static func softplus<T: Real>(_ x: T) -> T {
        x > 0 ? x + T.logOnePlus(T.exp(-x)) : T.logOnePlus(T.exp(x))
    }
}
enum SoftsignFunction: RealFunction {
    static func apply<T: Real>(_ x: T, _: T, _: T) -> T { x / (1 + x.magnitude) }
}
enum HardSigmoidFunction: RealFunction {
    static func apply<T: Real>(_ x: T, _ alpha: T, _ beta: T) -> T { T.greater(0, T.lesser(1, alpha * x + beta)) }
}
enum HardSwishFunction: RealFunction {
    static func apply<T: Real>(_ x: T, _: T, _: T) -> T { x * T.greater(0, T.lesser(1, x / 6 + 0.5)) }
}
enum MishFunction: RealFunction {
    static func apply<T: Real>(_ x: T, _: T, _: T) -> T { x * T.tanh(SoftplusFunction.softplus(x)) }
}
enum SwishFunction: RealFunction {
    static func apply<T: Real>(_ x: T, _ alpha: T, _: T) -> T { x * SigmoidFunction.sigmoid(alpha * x) }
}
enum GeluFunction: RealFunction {
    static func apply<T: Real>(_ x: T, _: T, _: T) -> T { x / 2 * (1 + T.erf(x / T(2).squareRoot())) }
}
enum GeluTanhFunction: RealFunction {
    static func apply<T: Real>(_ x: T, _: T, _: T) -> T {
        x / 2 * (1 + T.tanh((2 / T.pi).squareRoot() * (x + 0.044715 * x * x * x)))
    }
}
enum ShrinkFunction: RealFunction {
    static func apply<T: Real>(_ x: T, _ bias: T, _ lambd: T) -> T { x < -lambd ? x + bias : x > lambd ? x - bias : 0 }
}
