import ApusCore
import ApusGraph

/// Attention over [batch, heads, length, size] whose scores and probabilities subgraphs may change.
///
/// Heads of keys and values serve contiguous groups of query heads. Scores are rounded to the inputs' type, then computed
/// with in `softmax_precision`: float32, or double for double inputs, where nothing is said.
struct FlexAttentionOperator: Operator {
    static let schemas = [Schema("FlexAttention", domain: "ai.onnx.preview", since: [1], inputs: 3...3)]

    /// A subgraph that makes a tensor from one of the same shape and type.
    private struct Modifier {
        let name: String
        let graph: Graph
        let index: Int

        init?(_ name: String, _ node: NodeReader) throws {
            guard let graph = try node.optionalGraph(name) else { return nil }
            guard graph.inputs.count == 1, graph.outputs.count == 1 else {
                throw ApusError(
                    .invalidModel, "\(name) must have one input and one output, found \(graph.inputs.count) and \(graph.outputs.count)")
            }
            self.name = name
            self.graph = graph
            index = try subgraphIndex(graph, in: node)
        }

        /// What the subgraph makes of the scores: a copy, since the softmax is computed in place and not in memory that is the subgraph's.
        func apply(_ scores: Tensor, _ io: NodeIO) throws -> Tensor {
            let results = try io.runSubgraph(index, [.tensor(scores)])
            guard let result = try results.first?.asTensor(), result.type == scores.type, result.shape == scores.shape else {
                throw ApusError(
                    .shapeMismatch,
                    "\(name) must make tensor(\(scores.type.name))\(scores.shape), found \(results.first?.type.description ?? "nothing")")
            }
            return try result.copied(budget: io.budget)
        }
    }

    private let scale: Float?
    private let precision: ElementType?
    private let scoreModifier: Modifier?
    private let probabilityModifier: Modifier?

    init(_ node: NodeReader) throws {
        scale = try node.optionalFloat("scale")
        precision = try node.optionalElementType("softmax_precision")
        if let precision, !Types.floats.contains(precision) {
            throw ApusError(.invalidModel, "attribute \"softmax_precision\" is \(precision.name); a float of 16 bits or more expected")
        }
        scoreModifier = try Modifier("score_mod", node)
        probabilityModifier = try Modifier("prob_mod", node)
    }

    var isFoldable: Bool { scoreModifier == nil && probabilityModifier == nil }

    private func softmaxType(_ type: ElementType) -> ElementType { precision ?? (type == .float64 ? .float64 : .float32) }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: Types.floats)
        _ = try context.commonType(0..<3)
        let q = try context.dimensions(0, rank: 4...4), k = try context.dimensions(1, rank: 4...4)
        let v = try context.dimensions(2, rank: 4...4)
        func agree(_ a: Dimension?, _ b: Dimension?, _ what: String) throws {
            if let a = a?.known, let b = b?.known, a != b {
                throw ApusError(.shapeMismatch, "\(what) must be equal, found \(a) and \(b)")
            }
        }
        try agree(q?[0], k?[0], "the batch sizes of Q and K")
        try agree(q?[0], v?[0], "the batch sizes of Q and V")
        try agree(q?[3], k?[3], "the head sizes of Q and K")
        try agree(k?[1], v?[1], "the numbers of heads of K and V")
        try agree(k?[2], v?[2], "the lengths of K and V")
        if let queries = q?[1].known, let keys = k?[1].known, keys == 0 ? queries != 0 : queries % keys != 0 {
            throw ApusError(.shapeMismatch, "\(queries) query heads cannot share \(keys) heads of keys")
        }
        let scores = ValueInfo(
            softmaxType(type), PartialShape([q?[0] ?? .unknown, q?[1] ?? .unknown, q?[2] ?? .unknown, k?[2] ?? .unknown]))
        for modifier in [scoreModifier, probabilityModifier] {
            guard let modifier, let result = try context.inferSubgraph(modifier.graph, [scores]).first else { continue }
            guard result.type.elementType == scores.type.elementType else {
                throw ApusError(.typeMismatch, "\(modifier.name) must make \(scores.type), but makes \(result.type)")
            }
        }
        return [ValueInfo(type, PartialShape([q?[0] ?? .unknown, q?[1] ?? .unknown, q?[2] ?? .unknown, v?[3] ?? .unknown]))]
    }

    func multiplyAccumulates(_ inputs: [ValueInfo?], _ outputs: [ValueInfo]) -> Int {
        guard inputs.count > 2, let q = try? inputs[0]?.concreteShape(), let v = try? inputs[2]?.concreteShape(), q.rank == 4, v.rank == 4,
            let width = try? q[3].adding(v[3]), let product = try? checkedProduct([q[0], q[1], q[2], v[2], width])
        else { return 0 }
        return product
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.type(0), scoreType = softmaxType(type)
        let q = try context.shape(0), k = try context.shape(1), v = try context.shape(2)
        let size = q[3], keys = k[2], length = q[2]
        let scoreShape = try Shape([q[0], q[1], length, keys])
        let sizes = Sizes(
            rows: try checkedProduct([q[0], q[1], length]), length: length, keys: keys, size: size, width: v[3],
            group: k[1] == 0 ? 1 : max(1, q[1] / k[1]), scale: scale ?? (size == 0 ? 1 : 1 / Float(size).squareRoot()))
        let scoreModifier = scoreModifier, probabilityModifier = probabilityModifier
        if try context.outputShape(0).count == 0 { return PreparedKernel("nothing") { _ in } }
        let loops = try type.visitReal(LoopsVisitor(softmaxType: scoreType, sizes: sizes))
        return PreparedKernel("flex_attention") { io in
            var scores = try Tensor.allocate(scoreType, scoreShape, budget: io.budget)
            loops.score(io, scores.pointer)
            if let scoreModifier { scores = try scoreModifier.apply(scores, io) }
            loops.softmax(io, scores.pointer)
            if let probabilityModifier { scores = try probabilityModifier.apply(scores, io) }
            loops.combine(io, scores.pointer)
            withExtendedLifetime(scores) {}
        }
    }

    private struct Sizes: Sendable {
        /// Rows of scores: one for each query of each head.
        let rows: Int
        let length: Int
        let keys: Int
        let size: Int
        let width: Int
        /// Heads of queries that share one of keys and values.
        let group: Int
        let scale: Float

        var chunk: Int { max(1, elementwiseChunk / max(1, keys &* max(1, size))) }
    }

    /// What happens to the scores, each over all rows.
    private struct Loops: Sendable {
        typealias Loop = @Sendable (NodeIO, UnsafeMutableRawPointer) -> Void
        let score: Loop
        let softmax: Loop
        let combine: Loop
    }

    private struct LoopsVisitor: RealVisitor {
        let softmaxType: ElementType
        let sizes: Sizes

        func visit<T: Element>(_: T.Type) throws -> Loops where T.Number: Real {
            try softmaxType.visitReal(SoftmaxLoopsVisitor<T>(sizes: sizes))
        }
    }

    private struct SoftmaxLoopsVisitor<T: Element>: RealVisitor where T.Number: Real {
        let sizes: Sizes

        func visit<S: Element>(_: S.Type) throws -> Loops where S.Number: Real {
            let sizes = sizes
            return Loops(
                score: { io, scores in
                    FlexAttentionOperator.score(io, T.self, scores.assumingMemoryBound(to: S.self), sizes)
                },
                softmax: { io, scores in
                    FlexAttentionOperator.softmax(io, scores.assumingMemoryBound(to: S.self), sizes)
                },
                combine: { io, scores in
                    FlexAttentionOperator.combine(io, T.self, scores.assumingMemoryBound(to: S.self), sizes)
                })
        }
    }

    private static func score<T: Element, S: Element>(_ io: NodeIO, _: T.Type, _ scores: UnsafeMutablePointer<S>, _ sizes: Sizes) {
        let queries = io.input(0, as: T.self), keyRows = io.input(1, as: T.self), size = sizes.size, keys = sizes.keys
        // Half of the scale goes to each factor, rounded to their type.
        let half = T(rounding: T.Number(converting: Double(sizes.scale.squareRoot()))).number
        io.pool.inChunks(sizes.rows, of: sizes.chunk) { range in
            for row in range {
                let query = queries + row * size, keyHead = keyRows + row / sizes.length / sizes.group * keys * size
                for key in 0..<keys {
                    var sum = T.Number.zero
                    for i in 0..<size {
                        let a = T(rounding: T.Number.multiply(query[i].number, half)).number
                        let b = T(rounding: T.Number.multiply(keyHead[key * size + i].number, half)).number
                        sum = T.Number.add(sum, T.Number.multiply(a, b))
                    }
                    scores[row * keys + key] = S(rounding: T(rounding: sum).number.cast(to: S.Number.self))
                }
            }
        }
    }

    private static func combine<T: Element, S: Element>(_ io: NodeIO, _: T.Type, _ scores: UnsafeMutablePointer<S>, _ sizes: Sizes) {
        let values = io.input(2, as: T.self), output = io.output(0, as: T.self), width = sizes.width, keys = sizes.keys
        io.pool.inChunks(sizes.rows, of: sizes.chunk) { range in
            for row in range {
                let valueHead = values + row / sizes.length / sizes.group * keys * width
                for i in 0..<width {
                    var sum = S.Number.zero
                    for key in 0..<keys {
                        let value = valueHead[key * width + i].number.cast(to: S.Number.self)
                        sum = S.Number.add(sum, S.Number.multiply(scores[row * keys + key].number, value))
                    }
                    output[row * width + i] = T(rounding: S(rounding: sum).number.cast(to: T.Number.self))
                }
            }
        }
    }

    private static func softmax<S: Element>(_ io: NodeIO, _ scores: UnsafeMutablePointer<S>, _ sizes: Sizes) where S.Number: Real {
        io.pool.inChunks(sizes.rows, of: sizes.chunk) { range in
            for row in range { softmax(scores + row * sizes.keys, sizes.keys) }
        }
    }

    private static func softmax<S: Element>(_ x: UnsafeMutablePointer<S>, _ count: Int) where S.Number: Real {
        var greatest = S.Number.lowest, sum = S.Number.zero
        for index in 0..<count { greatest = S.Number.greater(greatest, x[index].number) }
        for index in 0..<count {
            x[index] = S(rounding: S.Number.exp(x[index].number - greatest))
            sum += x[index].number
        }
        for index in 0..<count { x[index] = S(rounding: x[index].number / sum) }
    }
}
