import ApusCore
import ApusGraph

/// com.microsoft.NGramRepeatBlock: scores of the next token, minus infinity for each one that would repeat a sequence of `ngram_size`
/// tokens of those that came before.
struct NGramRepeatBlockOperator: Operator {
    static let schemas = [Schema("NGramRepeatBlock", domain: "com.microsoft", since: [1], inputs: 2...2)]

    private let size: Int

    init(_ node: NodeReader) throws {
        size = try node.int("ngram_size")
        guard size > 0 else { throw ApusError(.invalidModel, "attribute \"ngram_size\" is \(size), at least 1 expected") }
    }

    var overwrites: [(output: Int, input: Int)] { [(0, 1)] }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        _ = try context.type(0, oneOf: [.int64])
        let type = try context.type(1, oneOf: [.float32])
        let ids = try context.dimensions(0, rank: 2...2), scores = try context.dimensions(1, rank: 2...2)
        if let a = ids?[0].known, let b = scores?[0].known, a != b {
            throw ApusError(.shapeMismatch, "there are \(a) sequences, and scores for \(b)")
        }
        return [ValueInfo(type, try context.shape(1))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let ids = try context.shape(0), vocabulary = try context.shape(1)[1], length = ids[1], rest = size - 1
        return PreparedKernel("ngram_repeat_block") { io in
            let tokens = io.input(0, as: Int64.self), scores = io.input(1, as: Float.self), output = io.output(0, as: Float.self)
            if UnsafePointer(output) != scores { output.update(from: scores, count: ids[0] &* vocabulary) }
            guard length > rest else { return }
            for sequence in 0..<ids[0] {
                let own = tokens + sequence &* length, last = own + (length - rest)
                for start in 0..<length - rest where (0..<rest).allSatisfy({ own[start &+ $0] == last[$0] }) {
                    let token = own[start &+ rest]
                    guard token >= 0, token < Int64(vocabulary) else {
                        throw ApusError(.invalidValue, "token \(token) is outside of a vocabulary of \(vocabulary)")
                    }
                    output[sequence &* vocabulary &+ Int(token)] = -.infinity
                }
            }
        }
    }
}
