import ApusCore
import ApusGraph

/// Counts which n-grams of a pool occur in each row of tokens, and weighs the counts.
///
/// The tokens of an n-gram lie up to `max_skip_count` tokens apart, equally far from each other; single tokens are counted
/// once. Weights belong to places in the output, as onnxruntime reads them.
struct TfIdfVectorizerOperator: Operator {
    static let schemas = [Schema("TfIdfVectorizer", since: [9], inputs: 1...1)]

    /// An n-gram's tokens as a path from node to node.
    private struct Trie {
        struct Edge: Hashable {
            let node: Int
            let token: Int
        }

        private(set) var edges: [Edge: Int] = [:]
        /// By node: the n-gram that ends there; -1: none.
        private(set) var grams = [-1]

        /// Adds `path` as n-gram `gram`; the first one of equal ones counts no more.
        mutating func insert(_ path: some Sequence<Int>, gram: Int) {
            var node = 0
            for token in path {
                let edge = Edge(node: node, token: token)
                if let next = edges[edge] {
                    node = next
                } else {
                    edges[edge] = grams.count
                    node = grams.count
                    grams.append(-1)
                }
            }
            grams[node] = gram
        }
    }

    private enum Mode: String {
        case tf = "TF"
        case idf = "IDF"
        case tfidf = "TFIDF"
    }

    private let mode: Mode
    private let lengths: ClosedRange<Int>
    private let mostSkips: Int
    private let places: [Int]
    private let weights: [Float]?
    private let size: Int
    private let trie: Trie
    private let integerTokens: [Int: Int]
    private let stringTokens: [ByteString: Int]
    private let takesStrings: Bool

    init(_ node: NodeReader) throws {
        mode = Mode(rawValue: try node.choice("mode", of: ["TF", "IDF", "TFIDF"], default: node.string("mode"))) ?? .tf
        let shortest = try node.int("min_gram_length"), longest = try node.int("max_gram_length")
        guard shortest >= 1, longest >= shortest else {
            throw ApusError(.invalidModel, "n-grams of \(shortest) to \(longest) tokens make no sense")
        }
        lengths = shortest...longest
        mostSkips = try node.int("max_skip_count")
        guard mostSkips >= 0 else { throw ApusError(.invalidModel, "attribute \"max_skip_count\" is \(mostSkips), a negative number") }
        places = try node.ints("ngram_indexes")
        guard let last = places.max(), places.allSatisfy({ $0 >= 0 }) else {
            throw ApusError(.invalidModel, "attribute \"ngram_indexes\" must hold numbers that are not negative")
        }
        let size = try last.adding(1)
        self.size = size
        weights = try node.optionalFloats("weights").flatMap { $0.isEmpty ? nil : $0 }
        if let weights, weights.count != size {
            throw ApusError(.invalidModel, "there are \(weights.count) weights for \(size) outputs")
        }

        let integers = try node.optionalInts("pool_int64s"), strings = try node.optionalStrings("pool_strings")
        takesStrings = strings != nil
        guard (integers == nil) != (strings == nil) else {
            throw ApusError(.invalidModel, "one of the attributes \"pool_int64s\" and \"pool_strings\" must be given")
        }
        var integerTokens: [Int: Int] = [:], stringTokens: [ByteString: Int] = [:]
        for token in integers ?? [] where integerTokens[token] == nil { integerTokens[token] = integerTokens.count }
        for token in strings ?? [] where stringTokens[token] == nil { stringTokens[token] = stringTokens.count }
        let pool = integers?.map { integerTokens[$0] ?? 0 } ?? strings?.map { stringTokens[$0] ?? 0 } ?? []
        self.integerTokens = integerTokens
        self.stringTokens = stringTokens

        let starts = try node.ints("ngram_counts")
        var trie = Trie(), gram = 0
        for (index, start) in starts.enumerated() {
            let end = index + 1 < starts.count ? starts[index + 1] : pool.count, length = index + 1
            guard start >= 0, start <= end, end <= pool.count, (end - start) % length == 0 else {
                throw ApusError(
                    .invalidModel, "attribute \"ngram_counts\" \(starts) does not divide a pool of \(pool.count) tokens into n-grams")
            }
            for first in stride(from: start, to: end, by: length) {
                guard gram < places.count else { throw ApusError(.invalidModel, "there are more n-grams than ngram_indexes, \(places.count)") }
                if lengths.contains(length) { trie.insert(pool[first..<(first + length)], gram: gram) }
                gram += 1
            }
        }
        self.trie = trie
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        _ = try context.type(0, oneOf: takesStrings ? [.string] : [.int32, .int64])
        guard let x = try context.dimensions(0, rank: 0...2) else { return [ValueInfo(.float32, .unknown)] }
        return [ValueInfo(.float32, PartialShape((x.count == 2 ? [x[0]] : []) + [.known(size)]))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let shape = try context.shape(0), output = try context.outputShape(0).count
        let rows = shape.rank == 2 ? shape[0] : 1, length = shape.rank == 0 ? 1 : shape[shape.rank - 1]
        let node = self
        return PreparedKernel("ngrams") { io in
            let y = io.output(0, as: Float.self)
            y.update(repeating: 0, count: output)
            let bytes = try shape.count.multiplied(by: 8)
            try io.budget.reserve(bytes, for: "\(shape.count) tokens")
            defer { io.budget.release(bytes) }
            // A token that no n-gram has is -1.
            let tokens: [Int]
            if node.takesStrings {
                tokens = try io.borrowedValue(0).asStrings().elements.map { node.stringTokens[$0] ?? -1 }
            } else {
                tokens = try io.view(0).integers().map { node.integerTokens[$0] ?? -1 }
            }
            io.pool.parallel(rows) { row in
                node.count(tokens[(row * length)..<((row + 1) * length)], y + row * node.size)
            }
        }
    }

    private func count(_ tokens: ArraySlice<Int>, _ y: UnsafeMutablePointer<Float>) {
        var shortest = lengths.lowerBound
        for distance in 1...(mostSkips < .max ? mostSkips + 1 : .max) {
            // From here on no n-gram of two tokens fits.
            if distance >= tokens.count, shortest > 1 || distance > 1 { break }
            for start in tokens.indices {
                var node = 0, place = start
                for length in 1...lengths.upperBound {
                    guard let next = trie.edges[Trie.Edge(node: node, token: tokens[place])] else { break }
                    node = next
                    if length >= shortest, trie.grams[node] >= 0 { y[places[trie.grams[node]]] += 1 }
                    guard distance < tokens.endIndex - place else { break }
                    place += distance
                }
            }
            // The distance means nothing to single tokens.
            if shortest == 1 { shortest = 2 }
            if shortest > lengths.upperBound { break }
        }
        guard mode != .tf else { return }
        for index in 0..<size {
            let weight = weights?[index] ?? 1
            y[index] = mode == .tfidf ? y[index] * weight : y[index] > 0 ? weight : 0
        }
    }
}
