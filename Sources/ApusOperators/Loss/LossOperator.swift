import ApusCore
import ApusGraph

/// The negative logarithm of the probability of each sample's label, weighted by class and reduced: of logarithms of
/// probabilities (NegativeLogLikelihoodLoss) or of scores, whose softmax is taken first (SoftmaxCrossEntropyLoss).
///
/// Samples with label `ignore_index` weigh nothing. "mean" divides by the sum of weights, 1 each where none are given; it
/// is not a number where that sum is 0. Sums are taken in double precision, in the order of the samples.
struct LossOperator: Operator {
    static let schemas = [
        Schema("NegativeLogLikelihoodLoss", since: [12, 13, 22], inputs: 2...3),
        Schema("SoftmaxCrossEntropyLoss", since: [12, 13], inputs: 2...3, outputs: 1...2),
    ]

    private enum Reduction: String {
        case none, mean, sum
    }

    private let takesScores: Bool
    private let reduction: Reduction
    private let ignoredLabel: Int?
    private let givesLogarithms: Bool

    init(_ node: NodeReader) throws {
        takesScores = node.opType == "SoftmaxCrossEntropyLoss"
        ignoredLabel = try node.optionalInt("ignore_index")
        let name = try node.choice("reduction", of: ["none", "mean", "sum"], default: "mean")
        reduction = Reduction(rawValue: name) ?? .mean
        givesLogarithms = node.outputCount > 1
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: Types.floats)
        _ = try context.type(1, oneOf: [.int32, .int64])
        if context.has(2) { _ = try context.commonType([0, 2]) }
        let x = try context.dimensions(0, rank: 2...), labels = try context.dimensions(1, rank: 1...)
        var samples = labels
        if let x {
            let expected = [x[0]] + x[2...]
            samples = expected
            if let labels {
                guard labels.count == expected.count, zip(labels, expected).allSatisfy(LossOperator.mayBeEqual) else {
                    throw ApusError(
                        .shapeMismatch,
                        "labels of shape \(PartialShape(labels)) do not fit \(PartialShape(x)), which asks for \(PartialShape(expected))")
                }
            }
        }
        if context.has(2), let weights = try context.dimensions(2, rank: 1...1), let x, !LossOperator.mayBeEqual(weights[0], x[1]) {
            throw ApusError(.shapeMismatch, "there are \(weights[0]) weights for \(x[1]) classes")
        }
        let loss = reduction == .none ? ValueInfo(type, PartialShape(samples)) : ValueInfo(type, Shape.scalar)
        return givesLogarithms ? [loss, ValueInfo(type, try context.shape(0))] : [loss]
    }

    private static func mayBeEqual(_ a: Dimension, _ b: Dimension) -> Bool {
        guard let a = a.known, let b = b.known else { return true }
        return a == b
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        try context.type(0).visitReal(Preparation(loss: self, context: context))
    }

    private struct Preparation: RealVisitor {
        let loss: LossOperator
        let context: PrepareContext

        func visit<T: Element>(_: T.Type) throws -> any PreparedNode where T.Number: Real {
            let shape = try context.shape(0)
            let classes = shape[1], inner = shape.count(2...)
            let samples = try checkedProduct([shape[0]] + shape.dimensions[2...])
            let readLabels = try castLoop(context.type(1), .int64)
            let reduction = loss.reduction, ignored = loss.ignoredLabel.map(Int64.init), takesScores = loss.takesScores
            let hasWeights = context.has(2)
            return PreparedKernel("loss", workspace: try samples.multiplied(by: 16)) { io in
                let x = io.input(0, as: T.self)
                let labels = io.workspace.assumingMemoryBound(to: Int64.self)
                let losses = (io.workspace + samples * 8).assumingMemoryBound(to: Double.self)
                readLabels(samples, io.input(1), labels)
                for index in 0..<samples where labels[index] != ignored {
                    guard labels[index] >= 0, labels[index] < classes else {
                        throw ApusError(
                            .invalidValue, "label \(labels[index]) of sample \(index) is outside of [0, \(classes - 1)]")
                    }
                }
                let logarithms = io.hasOutput(1) ? io.output(1, as: T.self) : nil
                io.pool.inChunks(samples, of: max(1, elementwiseChunk / 4 / max(1, classes))) { range in
                    for index in range {
                        let start = index / inner * classes * inner + index % inner
                        var highest = T.Number.zero, logarithm = T.Number.zero
                        if takesScores {
                            (highest, logarithm) = LossOperator.logarithmOfSum(x + start, classes, inner)
                            if let logarithms {
                                for c in 0..<classes {
                                    logarithms[start + c * inner] = T(rounding: x[start + c * inner].number - highest - logarithm)
                                }
                            }
                        }
                        guard labels[index] != ignored else {
                            losses[index] = 0
                            continue
                        }
                        losses[index] = -Double(x[start + Int(labels[index]) * inner].number - highest - logarithm)
                    }
                }
                let weights = hasWeights ? io.input(2, as: T.self) : nil
                let output = io.output(0, as: T.self)
                var sum = 0.0, total = 0.0
                for index in 0..<samples {
                    let isIgnored = labels[index] == ignored
                    let weight = isIgnored ? 0 : weights.map { Double($0[Int(labels[index])].number) } ?? 1
                    let value = isIgnored ? 0 : losses[index] * weight
                    if reduction == .none { output[index] = T(rounding: T.Number(value)) }
                    sum += value
                    total += weight
                }
                switch reduction {
                case .none: break
                case .sum: output[0] = T(rounding: T.Number(sum))
                case .mean: output[0] = T(rounding: T.Number(sum / total))
                }
            }
        }
    }

    /// The greatest of `count` elements, `stride` apart, and the logarithm of the sum of the exponentials of their
    /// differences from it: apart, because in the sum of both the second would lose its digits.
    private static func logarithmOfSum<T: Element>(
        _ x: UnsafePointer<T>, _ count: Int, _ stride: Int
    ) -> (highest: T.Number, logarithm: T.Number) where T.Number: Real {
        var highest = T.Number.lowest, sum = T.Number.zero
        for index in 0..<count { highest = T.Number.greater(highest, x[index * stride].number) }
        for index in 0..<count { sum += T.Number.exp(x[index * stride].number - highest) }
        return (highest, T.Number.log(sum))
    }
}
