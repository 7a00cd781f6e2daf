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
        try context.type(0).visitReal(Preparation(node: self, context: context))
    }

    private struct Preparation: RealVisitor {
        let node: FlexAttentionOperator
        let context: PrepareContext

        func visit<T: Element>(_: T.Type) throws -> any PreparedNode where T.Number: Real {
            try node.softmaxType(context.type(0)).visitReal(SoftmaxPreparation<T>(node: node, context: context))
        }
    }

    private struct SoftmaxPreparation<T: Element>: RealVisitor where T.Number: Real {
        let node: FlexAttentionOperator
        let context: PrepareContext

        func visit<S: Element>(_: S.Type) throws -> any PreparedNode where S.Number: Real {
            let q = try context.shape(0), k = try context.shape(1), v = try context.shape(2)
            let size = q[3], width = v[3], keys = k[2], length = q[2]
            let group = k[1] == 0 ? 1 : max(1, q[1] / k[1])
            let scoreType = try node.softmaxType(context.type(0)), scoreShape = try Shape([q[0], q[1], length, keys])
            let rows = try checkedProduct([q[0], q[1], length])
            let scale = node.scale ?? (size == 0 ? 1 : 1 / Float(size).squareRoot())
            // Half of the scale goes to each factor, rounded to their type.
            let half = T(rounding: T.Number(scale.squareRoot())).number
            let scoreModifier = node.scoreModifier, probabilityModifier = node.probabilityModifier
            if try context.outputShape(0).count == 0 { return PreparedKernel("nothing") { _ in } }
            return PreparedKernel("flex_attention") { io in
                let queries = io.input(0, as: T.self), keyRows = io.input(1, as: T.self), values = io.input(2, as: T.self)
                let output = io.output(0, as: T.self)
                var scores = try Tensor.allocate(scoreType, scoreShape, budget: io.budget)
                var elements = scores.pointer.assumingMemoryBound(to: S.self)
                let chunk = max(1, elementwiseChunk / max(1, keys &* max(1, size)))
                /// What a subgraph makes of the scores.
                func modify(_ modifier: Modifier) throws {
                    let results = try io.runSubgraph(modifier.index, [.tensor(scores)])
                    guard let result = try results.first?.asTensor(), result.type == scoreType, result.shape == scoreShape else {
                        throw ApusError(
                            .shapeMismatch,
                            "\(modifier.name) must make tensor(\(scoreType.name))\(scoreShape), found \(results.first?.type.description ?? "nothing")")
                    }
                    // The softmax is computed in place: not in memory that is the subgraph's.
                    scores = try result.copied(budget: io.budget)
                    elements = scores.pointer.assumingMemoryBound(to: S.self)
                }
                let first = elements
                io.pool.inChunks(rows, of: chunk) { range in
                    for row in range {
                        let query = queries + row * size, keyHead = keyRows + row / length / group * keys * size
                        for key in 0..<keys {
                            var sum = T.Number.zero
                            for i in 0..<size {
                                let a = T(rounding: query[i].number * half).number, b = T(rounding: keyHead[key * size + i].number * half).number
                                sum += a * b
                            }
                            first[row * keys + key] = S(rounding: S.Number(T(rounding: sum).number))
                        }
                    }
                }
                if let scoreModifier { try modify(scoreModifier) }
                let second = elements
                io.pool.inChunks(rows, of: chunk) { range in
                    for row in range { FlexAttentionOperator.softmax(second + row * keys, keys) }
                }
                if let probabilityModifier { try modify(probabilityModifier) }
                let third = elements
                io.pool.inChunks(rows, of: chunk) { range in
                    for row in range {
                        let valueHead = values + row / length / group * keys * width
                        for i in 0..<width {
                            var sum = S.Number.zero
                            for key in 0..<keys { sum += third[row * keys + key].number * S.Number(valueHead[key * width + i].number) }
                            output[row * width + i] = T(rounding: T.Number(S(rounding: sum).number))
                        }
                    }
                }
                withExtendedLifetime(scores) {}
            }
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
