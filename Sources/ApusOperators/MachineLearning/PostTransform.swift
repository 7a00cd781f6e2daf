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
            if sum != 0 { for index in 0..<count { scores[index] /= sum } }
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

/// Class labels, as integers or as strings.
enum ClassLabels: Sendable {
    case integers([Int])
    case strings([ByteString])

    /// Reads one of two attributes of which exactly one must be there; nil where neither is.
    init?(_ node: NodeReader, integers: String, strings: String) throws {
        let ints = try node.optionalInts(integers), texts = try node.optionalStrings(strings)
        switch (ints?.isEmpty == true ? nil : ints, texts?.isEmpty == true ? nil : texts) {
        case (let ints?, nil): self = .integers(ints)
        case (nil, let texts?): self = .strings(texts)
        case (nil, nil): return nil
        default: throw ApusError(.invalidModel, "attributes \"\(integers)\" and \"\(strings)\" exclude one another")
        }
    }

    var count: Int {
        switch self {
        case .integers(let labels): labels.count
        case .strings(let labels): labels.count
        }
    }

    var type: ElementType {
        switch self {
        case .integers: .int64
        case .strings: .string
        }
    }

    /// Gives the labels with these numbers as output 0 of a classifier.
    func set(_ io: NodeIO, _ numbers: [Int]) throws {
        switch self {
        case .integers(let labels):
            let target = try io.makeOutput(0, .int64, .vector(numbers.count)).assumingMemoryBound(to: Int64.self)
            for (index, number) in numbers.enumerated() { target[index] = Int64(labels[number]) }
        case .strings(let labels):
            try io.setOutput(0, .strings(try StringTensor(shape: .vector(numbers.count), elements: numbers.map { labels[$0] })))
        }
    }
}

/// Input types of the classical models, whose numbers are used as floats.
let classicalTypes: [ElementType] = [.float32, .float64, .int64, .int32]

/// Rows and features of a classical model's input: [N, F], or [F] as one row.
func rowsAndFeatures(_ shape: PartialShape) throws -> (rows: Dimension, features: Dimension)? {
    guard let dimensions = shape.dimensions else { return nil }
    switch dimensions.count {
    case 1: return (.known(1), dimensions[0])
    case 2: return (dimensions[0], dimensions[1])
    default: throw ApusError(.shapeMismatch, "the input must have shape [N, F] or [F], found \(shape)")
    }
}

/// Element `index` of a classical model's input.
@inline(__always)
func feature(_ source: UnsafeRawPointer, _ type: ElementType, _ index: Int) -> Double {
    switch type {
    case .float64: source.assumingMemoryBound(to: Double.self)[index]
    case .int64: Double(source.assumingMemoryBound(to: Int64.self)[index])
    case .int32: Double(source.assumingMemoryBound(to: Int32.self)[index])
    default: Double(source.assumingMemoryBound(to: Float.self)[index])
    }
}
