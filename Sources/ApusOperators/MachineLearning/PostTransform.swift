import ApusCore
import ApusGraph
import Glibc

/// What the classical models do with the scores of one row at the end.
enum PostTransform: String, CaseIterable {
    case none = "NONE"
    case softmax = "SOFTMAX"
    case logistic = "LOGISTIC"
    case softmaxZero = "SOFTMAX_ZERO"
    case probit = "PROBIT"

    init(_ node: NodeReader) throws {
        let name = try node.choice("post_transform", of: Self.allCases.map(\.rawValue), default: "NONE")
        self = PostTransform(rawValue: name) ?? .none
    }

    /// As newer operators number them.
    init(number: Int) throws {
        guard Self.allCases.indices.contains(number) else {
            throw ApusError(.invalidModel, "attribute \"post_transform\" is \(number); 0 to \(Self.allCases.count - 1) expected")
        }
        self = Self.allCases[number]
    }

    /// Transforms the scores of one row in place.
    func apply(_ scores: UnsafeMutablePointer<Float>, count: Int) {
        guard count > 0 else { return }
        switch self {
        case .none: return
        case .logistic:
            for index in 0..<count {
                // The exponential of a negative number only: it cannot overflow.
                let score = scores[index]
                let value = 1 / (1 + expf(-abs(score)))
                scores[index] = score < 0 ? 1 - value : value
            }
        case .softmax, .softmaxZero:
            var greatest = scores[0]
            for index in 1..<max(1, count) { greatest = max(greatest, scores[index]) }
            var sum: Float = 0
            for index in 0..<count {
                let isZero = self == .softmaxZero && abs(scores[index]) <= 1e-7
                scores[index] = isZero ? scores[index] * expf(-greatest) : expf(scores[index] - greatest)
                sum += scores[index]
            }
            // A row of zeros under SOFTMAX_ZERO: nothing tells its classes apart.
            for index in 0..<count { scores[index] = sum == 0 ? 0.5 : scores[index] / sum }
        case .probit:
            for index in 0..<count { scores[index] = 1.41421356 * PostTransform.inverseErrorFunction(2 * scores[index] - 1) }
        }
    }

    /// Winitzki's approximation of the inverse error function.
    private static func inverseErrorFunction(_ x: Float) -> Float {
        let sign: Float = x < 0 ? -1 : 1
        let logarithm = logf((1 - x) * (1 + x))
        let a = 2 / (Float.pi * 0.147) + 0.5 * logarithm
        return sign * sqrtf(-a + sqrtf(a * a - logarithm / 0.147))
    }
}
