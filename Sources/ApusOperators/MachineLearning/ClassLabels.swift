import ApusCore
import ApusGraph

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

    /// The labels as a vector.
    func value() throws -> Value {
        switch self {
        case .integers(let labels): .tensor(try Tensor.int64(labels))
        case .strings(let labels): .strings(try StringTensor(shape: .vector(labels.count), elements: labels))
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
