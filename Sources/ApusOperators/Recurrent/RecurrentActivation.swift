import ApusCore
import CApusKernels
import Glibc

/// An activation of a recurrent operator: a function of one number with up to two parameters.
struct RecurrentActivation: Sendable {
    fileprivate enum Function: Sendable {
        case affine, elu, hardSigmoid, leakyRelu, relu, scaledTanh, sigmoid, softplus, softsign, tanh, thresholdedRelu
    }

    private struct Entry {
        let function: Function
        var alpha: Float? = nil
        var beta: Float? = nil
    }

    /// By lower-case name, with the parameters it takes and their defaults.
    private static let table: [String: Entry] = [
        "affine": Entry(function: .affine, alpha: 1, beta: 0),
        "elu": Entry(function: .elu, alpha: 1),
        "hardsigmoid": Entry(function: .hardSigmoid, alpha: 0.2, beta: 0.5),
        "leakyrelu": Entry(function: .leakyRelu, alpha: 0.01),
        "relu": Entry(function: .relu),
        "scaledtanh": Entry(function: .scaledTanh, alpha: 1, beta: 1),
        "sigmoid": Entry(function: .sigmoid),
        "softplus": Entry(function: .softplus),
        "softsign": Entry(function: .softsign),
        "tanh": Entry(function: .tanh),
        "thresholdedrelu": Entry(function: .thresholdedRelu, alpha: 1),
    ]

    fileprivate let function: Function
    fileprivate let alpha: Float
    fileprivate let beta: Float

    /// The activations of a node: `names`, or `defaults` for each direction. Parameters are taken, in order, by those
    /// activations that have them.
    static func list(_ node: NodeReader, defaults: [String], directions: Int) throws -> [RecurrentActivation] {
        let names = try node.optionalStrings("activations")?.map(\.description) ?? Array(repeating: defaults, count: directions).flatMap { $0 }
        var alphas = try node.floats("activation_alpha", default: [])[...]
        var betas = try node.floats("activation_beta", default: [])[...]
        guard names.count == defaults.count * directions || names.count > defaults.count * directions && node.opType == "RNN" else {
            throw ApusError(
                .invalidModel, "attribute \"activations\" has \(names.count) names, \(defaults.count * directions) expected")
        }
        return try names.prefix(defaults.count * directions).map { name in
            guard let entry = table[name.lowercased()] else {
                throw ApusError(.invalidModel, "\"\(name)\" is no activation of a recurrent operator")
            }
            return RecurrentActivation(
                function: entry.function, alpha: entry.alpha.map { alphas.popFirst() ?? $0 } ?? 0,
                beta: entry.beta.map { betas.popFirst() ?? $0 } ?? 0)
        }
    }

    /// Applies the function in place by kernels of `levels`.
    func float32(_ levels: UInt32) -> (UnsafeMutablePointer<Float>, Int) -> Void {
        let operations: [Function: apus_unary_op] = [
            .affine: APUS_UNARY_LINEAR, .elu: APUS_UNARY_ELU, .hardSigmoid: APUS_UNARY_HARD_SIGMOID, .leakyRelu: APUS_UNARY_LEAKY_RELU,
            .relu: APUS_UNARY_RELU, .scaledTanh: APUS_UNARY_TANH, .sigmoid: APUS_UNARY_SIGMOID, .softplus: APUS_UNARY_SOFTPLUS,
            .softsign: APUS_UNARY_SOFTSIGN, .tanh: APUS_UNARY_TANH, .thresholdedRelu: APUS_UNARY_THRESHOLDED_RELU,
        ]
        let kernel = operations[function].flatMap { apus_elementwise_unary(apus_elementwise_select(levels), $0) }
        let alpha = alpha, beta = beta
        if case .scaledTanh = function {
            return { values, count in
                for index in 0..<count { values[index] *= beta }
                kernel?(count, values, values, nil)
                for index in 0..<count { values[index] *= alpha }
            }
        }
        return { values, count in
            withUnsafeTemporaryAllocation(of: Float.self, capacity: 2) { parameters in
                parameters.initialize(repeating: alpha)
                parameters[1] = beta
                kernel?(count, values, values, parameters.baseAddress)
            }
        }
    }

    /// Applies the function in place, in double precision.
    func float64() -> (UnsafeMutablePointer<Double>, Int) -> Void {
        let alpha = Double(alpha), beta = Double(beta), function = function
        return { values, count in
            for index in 0..<count {
                let x = values[index]
                switch function {
                case .affine: values[index] = alpha * x + beta
                case .elu: values[index] = x < 0 ? alpha * expm1(x) : x
                case .hardSigmoid: values[index] = min(max(alpha * x + beta, 0), 1)
                case .leakyRelu: values[index] = x < 0 ? alpha * x : x
                case .relu: values[index] = x < 0 ? 0 : x
                case .scaledTanh: values[index] = alpha * Glibc.tanh(beta * x)
                case .sigmoid: values[index] = 1 / (1 + exp(-x))
                case .softplus: values[index] = x > 0 ? x + log1p(exp(-x)) : log1p(exp(x))
                case .softsign: values[index] = x / (1 + abs(x))
                case .tanh: values[index] = Glibc.tanh(x)
                case .thresholdedRelu: values[index] = x > alpha ? x : 0
                }
            }
        }
    }
}
