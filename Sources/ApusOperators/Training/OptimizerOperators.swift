import ApusCore
import ApusGraph
import Glibc

/// One step of gradient descent for any number of tensors: Adagrad (Duchi, Hazan and Singer, 2011), Adam (Kingma and Ba,
/// 2015), and momentum, also Nesterov's.
///
/// Inputs are the learning rate, the number of steps so far, then all tensors, all gradients, and all tensors of each
/// statistic; outputs are the new tensors and the new statistics in the same order.
struct OptimizerOperator: Operator {
    static let schemas = ["Adagrad", "Adam", "Momentum"].map {
        Schema($0, domain: "ai.onnx.preview.training", since: [1], inputs: 3...Int.max, outputs: 1...Int.max)
    }

    /// How one element changes. `rate` is the rate for this step.
    private enum Rule: Sendable {
        case adagrad(regularization: Double, epsilon: Double)
        case adam(regularization: Double, after: Double, alpha: Double, beta: Double, epsilon: Double)
        case momentum(regularization: Double, alpha: Double, beta: Double, isNesterov: Bool)

        var statistics: Int { if case .adam = self { 2 } else { 1 } }
    }

    private let rule: Rule
    private let decay: Double
    private let tensorCount: Int

    init(_ node: NodeReader) throws {
        func number(_ name: String, default value: Float? = nil) throws -> Double {
            Double(try value.map { try node.float(name, default: $0) } ?? node.float(name))
        }
        var decay = 0.0
        switch node.opType {
        case "Adagrad":
            rule = .adagrad(regularization: try number("norm_coefficient", default: 0), epsilon: try number("epsilon", default: 1e-6))
            decay = try number("decay_factor", default: 0)
        case "Adam":
            rule = .adam(
                regularization: try number("norm_coefficient", default: 0), after: try number("norm_coefficient_post", default: 0),
                alpha: try number("alpha", default: 0.9), beta: try number("beta", default: 0.999),
                epsilon: try number("epsilon", default: 1e-6))
        default:
            let mode = try node.choice("mode", of: ["standard", "nesterov"], default: node.string("mode"))
            rule = .momentum(
                regularization: try number("norm_coefficient"), alpha: try number("alpha"), beta: try number("beta"),
                isNesterov: mode == "nesterov")
        }
        self.decay = decay
        let kinds = 2 + rule.statistics, given = node.inputCount - 2
        guard given > 0, given % kinds == 0, node.outputCount == given / kinds * (kinds - 1) else {
            throw ApusError(
                .invalidModel,
                "\(node.inputCount) inputs and \(node.outputCount) outputs; for n tensors, 2 + \(kinds) * n and \(kinds - 1) * n expected")
        }
        tensorCount = given / kinds
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        _ = try context.type(0, oneOf: [.float32, .float64])
        _ = try context.type(1, oneOf: [.int64])
        for index in 0..<2 {
            if let shape = try context.shape(index).concrete(), shape.count != 1 {
                throw ApusError(.shapeMismatch, "input \(index) must be a scalar, its shape is \(shape)")
            }
        }
        let tensors = try (0..<tensorCount).map { index -> ValueInfo in
            let type = try context.type(2 + index, oneOf: [.float32, .float64])
            var shape = try context.shape(2 + index)
            for kind in 1..<(2 + rule.statistics) {
                let input = 2 + kind * tensorCount + index
                _ = try context.commonType([2 + index, input])
                let other = try context.shape(input)
                if let a = shape.dimensions, let b = other.dimensions {
                    let differ = zip(a, b).contains { a, b in a.known != nil && b.known != nil && a != b }
                    guard a.count == b.count, !differ else {
                        throw ApusError(.shapeMismatch, "input \(input) has shape \(other), but the tensor it belongs to \(shape)")
                    }
                }
                shape = shape.refined(by: other)
            }
            return ValueInfo(type, shape)
        }
        return (0..<(1 + rule.statistics)).flatMap { _ in tensors }
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let updates = try (0..<tensorCount).map { index in
            try context.type(2 + index) == .float64
                ? update(Double.self, index, context.shape(2 + index).count) : update(Float.self, index, context.shape(2 + index).count)
        }
        let isDouble = try context.type(0) == .float64, rule = rule, decay = decay
        return PreparedKernel("optimizer") { io in
            let rate = isDouble ? io.input(0, as: Double.self)[0] : Double(io.input(0, as: Float.self)[0])
            let step = Double(io.input(1, as: Int64.self)[0])
            var adjusted = rate
            switch rule {
            case .adagrad: adjusted = rate / (1 + step * decay)
            case .adam(_, _, let alpha, let beta, _):
                if step > 0 { adjusted = rate * (1 - pow(beta, step)).squareRoot() / (1 - pow(alpha, step)) }
            case .momentum: break
            }
            for update in updates { update(io, adjusted, step > 0) }
        }
    }

    /// Updates tensor `index`; the flag tells whether this is a later step than the first.
    private func update<T: Real>(_: T.Type, _ index: Int, _ count: Int) -> @Sendable (NodeIO, Double, Bool) -> Void {
        let rule = rule, tensors = tensorCount
        return { io, rate, isLater in
            let x = io.input(2 + index, as: T.self), g = io.input(2 + tensors + index, as: T.self)
            let s = io.input(2 + 2 * tensors + index, as: T.self)
            func output(_ kind: Int) -> UnsafeMutablePointer<T>? {
                io.hasOutput(kind * tensors + index) ? io.output(kind * tensors + index, as: T.self) : nil
            }
            let newX = output(0), newS = output(1), rate = T(rate)
            io.pool.inChunks(count) { range in
                switch rule {
                case .adagrad(let regularization, let epsilon):
                    for i in range {
                        let gradient = T(regularization) * x[i] + g[i], squares = s[i] + gradient * gradient
                        newS?[i] = squares
                        newX?[i] = x[i] - rate * gradient / (squares.squareRoot() + T(epsilon))
                    }
                case .adam(let regularization, let after, let alpha, let beta, let epsilon):
                    let h = io.input(2 + 3 * tensors + index, as: T.self), newH = output(2)
                    for i in range {
                        let gradient = T(regularization) * x[i] + g[i]
                        let average = T(alpha) * s[i] + T(1 - alpha) * gradient
                        let squares = T(beta) * h[i] + T(1 - beta) * gradient * gradient
                        newS?[i] = average
                        newH?[i] = squares
                        newX?[i] = T(1 - after) * (x[i] - rate * average / (squares.squareRoot() + T(epsilon)))
                    }
                case .momentum(let regularization, let alpha, let beta, let isNesterov):
                    for i in range {
                        let gradient = T(regularization) * x[i] + g[i]
                        let momentum = T(alpha) * s[i] + T(isLater ? beta : 1) * gradient
                        newS?[i] = momentum
                        newX?[i] = x[i] - rate * (isNesterov ? gradient + T(alpha) * momentum : momentum)
                    }
                }
            }
        }
    }
}
