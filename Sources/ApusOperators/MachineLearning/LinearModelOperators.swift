import ApusCore
import ApusGraph
import CApusKernels

/// coefficients · x + intercepts, for each target.
private struct LinearModel: Sendable {
    /// [targets, features]
    let coefficients: [Float]
    /// One for each target, or none.
    let intercepts: [Float]
    let targets: Int
    var features: Int { coefficients.count / targets }

    init(coefficients: [Float], intercepts: [Float], targets: Int) throws {
        guard targets >= 1, coefficients.count % targets == 0 else {
            throw ApusError(.invalidModel, "\(coefficients.count) coefficients cannot be divided among \(targets) targets")
        }
        guard intercepts.isEmpty || intercepts.count == targets else {
            throw ApusError(.invalidModel, "attribute \"intercepts\" has \(intercepts.count) elements for \(targets) targets")
        }
        self.coefficients = coefficients
        self.intercepts = intercepts
        self.targets = targets
    }

    /// A product of the input's rows with the coefficients, prepared.
    struct Product {
        /// Bytes of the workspace, from its start on.
        let workspaceByteCount: Int
        let rows: Int
        /// Writes [rows, targets].
        let run: (NodeIO, UnsafeMutablePointer<Float>) -> Void
    }

    func prepared(_ context: PrepareContext) throws -> Product {
        let input = try FloatRows(context)
        let product = try FloatProduct(
            levels: context.levels, m: input.rows, n: targets, k: features, threads: context.threads)
        let floats = try product.packedCount.adding(targets)
        let storage = try Storage.allocate(
            byteCount: try floats.multiplied(by: 4), budget: context.packed.budget, purpose: "packed coefficients")
        let packed = storage.base.assumingMemoryBound(to: Float.self)
        coefficients.withUnsafeBufferPointer { coefficients in
            if let base = coefficients.baseAddress { product.pack(base, rowStride: 1, columnStride: features, to: packed) }
        }
        for index in 0..<targets { packed[product.packedCount + index] = intercepts.isEmpty ? 0 : intercepts[index] }
        let arguments = product.arguments(aStride: features, cStride: targets), rows = input.rows
        let offset = input.workspaceByteCount
        return Product(workspaceByteCount: try offset.adding(product.workspaceByteCount), rows: rows) { io, target in
            var args = arguments
            args.a = input.read(io)
            let packed = storage.base.assumingMemoryBound(to: Float.self)
            args.b = UnsafePointer(packed)
            args.c = target
            args.epilogue.bias = UnsafePointer(packed + product.packedCount)
            if rows > 0 { product.run(args, workspace: io.workspace + offset, pool: io.pool) }
        }
    }
}

/// Several linear functions of the features.
struct LinearRegressorOperator: Operator {
    static let schemas = [Schema("LinearRegressor", domain: "ai.onnx.ml", since: [1], inputs: 1...1)]

    private let model: LinearModel
    private let transform: PostTransform

    init(_ node: NodeReader) throws {
        model = try LinearModel(
            coefficients: try node.floats("coefficients", default: []), intercepts: try node.floats("intercepts", default: []),
            targets: try node.int("targets", default: 1))
        transform = try PostTransform(node)
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        _ = try context.type(0, oneOf: classicalTypes)
        return [ValueInfo(.float32, PartialShape([try exactRows(context, model.features), .known(model.targets)]))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let product = try model.prepared(context), transform = transform, targets = model.targets
        return PreparedKernel("linear model", workspace: product.workspaceByteCount) { io in
            let scores = io.output(0, as: Float.self)
            product.run(io, scores)
            if transform != .none {
                for row in 0..<product.rows { transform.apply(scores + row * targets, count: targets) }
            }
        }
    }

    func multiplyAccumulates(_ inputs: [ValueInfo?], _ outputs: [ValueInfo]) -> Int {
        ((try? outputs[0].concreteShape()?.count) ?? 0).multipliedReportingOverflow(by: model.features).partialValue
    }
}

/// The class whose linear function of the features is greatest, and all scores.
///
/// With one function and two classes its sign decides. Then the scores are 1 - score and score where nothing is done to
/// them afterwards, as onnxruntime gives them, and otherwise the transform of -score and score, as the specification's
/// reference does.
struct LinearClassifierOperator: Operator {
    static let schemas = [Schema("LinearClassifier", domain: "ai.onnx.ml", since: [1], inputs: 1...1, outputs: 1...2)]

    private let model: LinearModel
    private let labels: ClassLabels
    private let transform: PostTransform
    private let addsSecondScore: Bool

    init(_ node: NodeReader) throws {
        let coefficients = try node.floats("coefficients", default: []), intercepts = try node.floats("intercepts", default: [])
        let given = try ClassLabels(node, integers: "classlabels_ints", strings: "classlabels_strings")
        // One function per class, unless the intercepts say that there is one for two classes.
        model = try LinearModel(
            coefficients: coefficients, intercepts: intercepts,
            targets: intercepts.isEmpty ? max(1, given?.count ?? 1) : intercepts.count)
        let classes = max(2, model.targets)
        labels =
            switch given {
            case nil: .integers(Array(0..<classes))
            // One label for one function is that of a positive score.
            case .integers(let labels)? where labels.count == 1 && model.targets == 1: .integers([0, labels[0]])
            case .strings(let labels)? where labels.count == 1 && model.targets == 1: .strings([.empty, labels[0]])
            case let given?: given
            }
        guard labels.count >= classes else {
            throw ApusError(.invalidModel, "\(model.targets) linear functions have \(labels.count) class labels")
        }
        addsSecondScore = model.targets == 1 && given?.count == 2
        transform = try PostTransform(node)
        node.ignore("multi_class")
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        _ = try context.type(0, oneOf: classicalTypes)
        let rows = try exactRows(context, model.features)
        let scores = ValueInfo(.float32, PartialShape([rows, .known(addsSecondScore ? 2 : model.targets)]))
        return Array([ValueInfo(labels.type, PartialShape([rows])), scores].prefix(context.outputCount))
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let product = try model.prepared(context), operation = self, targets = model.targets
        let scoresOffset = try product.workspaceByteCount.roundedUp(to: Storage.alignment)
        let total = try scoresOffset.adding(product.rows.multiplied(by: targets).multiplied(by: 4))
        return PreparedKernel("linear model", workspace: max(64, total)) { io in
            let scores = (io.workspace + scoresOffset).assumingMemoryBound(to: Float.self)
            product.run(io, scores)
            var winners = [Int](repeating: 0, count: product.rows)
            for row in 0..<product.rows {
                let own = scores + row * targets
                var winner = 0
                for index in 0..<targets where own[index] > own[winner] { winner = index }
                winners[row] = targets > 1 ? winner : own[0] > 0 ? 1 : 0
            }
            try operation.labels.set(io, winners)
            if io.hasOutput(1) { operation.write(scores, io.output(1, as: Float.self), rows: product.rows) }
        }
    }

    private func write(_ scores: UnsafePointer<Float>, _ target: UnsafeMutablePointer<Float>, rows: Int) {
        let targets = model.targets
        if addsSecondScore {
            for row in 0..<rows {
                let score = scores[row]
                target[2 * row] = transform == .none ? 1 - score : -score
                target[2 * row + 1] = score
                transform.apply(target + 2 * row, count: 2)
            }
            return
        }
        target.update(from: scores, count: rows * targets)
        if transform != .none {
            for row in 0..<rows { transform.apply(target + row * targets, count: targets) }
        }
    }
}
