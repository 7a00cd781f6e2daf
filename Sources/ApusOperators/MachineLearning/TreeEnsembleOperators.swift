import ApusCore
import ApusGraph

/// The aggregate of the trees' votes for each target.
struct TreeEnsembleRegressorOperator: Operator {
    static let schemas = [Schema("TreeEnsembleRegressor", domain: "ai.onnx.ml", since: [1, 3, 5], inputs: 1...1)]

    private enum Aggregate: String, CaseIterable {
        case average = "AVERAGE"
        case sum = "SUM"
        case least = "MIN"
        case greatest = "MAX"
    }

    private let trees: TreeEnsemble
    private let targetCount: Int
    private let aggregate: Aggregate
    private let transform: PostTransform
    private let base: [Double]

    init(_ node: NodeReader) throws {
        targetCount = try node.int("n_targets", default: 1)
        guard targetCount >= 1, targetCount <= 1 << 20 else {
            throw ApusError(.invalidModel, "attribute \"n_targets\" is \(targetCount); from 1 to \(1 << 20) expected")
        }
        trees = try TreeEnsemble(node, prefix: "target", targetCount: targetCount)
        let name = try node.choice("aggregate_function", of: Aggregate.allCases.map(\.rawValue), default: "SUM")
        aggregate = Aggregate(rawValue: name) ?? .sum
        transform = try PostTransform(node)
        base = try baseValues(node)
        guard base.isEmpty || base.count == targetCount else {
            throw ApusError(.invalidModel, "attribute \"base_values\" has \(base.count) elements for \(targetCount) targets")
        }
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        _ = try context.type(0, oneOf: classicalTypes)
        let rows = try checkedRows(context, trees.featureCount)
        return [ValueInfo(.float32, PartialShape([rows, .known(targetCount)]))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let shape = try context.shape(0), type = try context.type(0), operation = self
        let rows = shape.rank == 1 ? 1 : shape[0], features = shape.rank == 1 ? shape[0] : shape[1]
        return PreparedKernel("tree ensemble") { io in
            let source = io.input(0), target = io.output(0, as: Float.self)
            io.pool.inChunks(rows, of: 64) { range in
                for row in range {
                    operation.score({ feature(source, type, row * features + $0) }, target + row * operation.targetCount)
                }
            }
        }
    }

    private func score(_ feature: (Int) -> Double, _ target: UnsafeMutablePointer<Float>) {
        withUnsafeTemporaryAllocation(of: Double.self, capacity: targetCount) { sums in
            withUnsafeTemporaryAllocation(of: Bool.self, capacity: targetCount) { hasVote in
                sums.initialize(repeating: 0)
                hasVote.initialize(repeating: false)
                for root in trees.roots {
                    for vote in trees.leaf(from: root, feature) {
                        let old = sums[vote.target]
                        switch aggregate {
                        case .sum, .average:
                            sums[vote.target] = trees.isDouble ? old + vote.weight : Double(Float(old) + Float(vote.weight))
                        case .least: sums[vote.target] = hasVote[vote.target] ? min(old, vote.weight) : vote.weight
                        case .greatest: sums[vote.target] = hasVote[vote.target] ? max(old, vote.weight) : vote.weight
                        }
                        hasVote[vote.target] = true
                    }
                }
                for index in 0..<targetCount {
                    if aggregate == .average { sums[index] /= Double(max(1, trees.roots.count)) }
                    target[index] = Float(sums[index] + (base.isEmpty ? 0 : base[index]))
                }
            }
        }
        transform.apply(target, count: targetCount)
    }
}

/// Throws unless the input has the features that the model looks at; returns its rows.
func checkedRows(_ context: InferenceContext, _ featureCount: Int) throws -> Dimension {
    guard let (rows, features) = try rowsAndFeatures(try context.shape(0)) else { return .unknown }
    if let found = features.known, found < featureCount {
        throw ApusError(.shapeMismatch, "the input has \(found) features, the model looks at feature \(featureCount - 1)")
    }
    return rows
}

/// The class for which the trees vote most, and the scores of all classes.
struct TreeEnsembleClassifierOperator: Operator {
    static let schemas = [
        Schema("TreeEnsembleClassifier", domain: "ai.onnx.ml", since: [1, 3, 5], inputs: 1...1, outputs: 1...2)
    ]

    private let trees: TreeEnsemble
    private let labels: ClassLabels
    private let transform: PostTransform
    private let base: [Double]
    /// With two classes and votes for one of them only, that vote decides between both.
    private let isBinaryWithOneVote: Bool

    init(_ node: NodeReader) throws {
        guard let labels = try ClassLabels(node, integers: "classlabels_int64s", strings: "classlabels_strings") else {
            throw ApusError(.invalidModel, "the classifier has no class labels")
        }
        self.labels = labels
        trees = try TreeEnsemble(node, prefix: "class", targetCount: labels.count)
        transform = try PostTransform(node)
        base = try baseValues(node)
        guard base.isEmpty || base.count == labels.count || (labels.count == 2 && base.count == 1) else {
            throw ApusError(.invalidModel, "attribute \"base_values\" has \(base.count) elements for \(labels.count) classes")
        }
        isBinaryWithOneVote = labels.count == 2 && trees.votedTargets.count == 1
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        _ = try context.type(0, oneOf: classicalTypes)
        let rows = try checkedRows(context, trees.featureCount)
        let outputs = [
            ValueInfo(labels.type, PartialShape([rows])), ValueInfo(.float32, PartialShape([rows, .known(labels.count)])),
        ]
        return Array(outputs.prefix(context.outputCount))
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let shape = try context.shape(0), type = try context.type(0), operation = self
        let rows = shape.rank == 1 ? 1 : shape[0], features = shape.rank == 1 ? shape[0] : shape[1]
        let classes = labels.count
        let workspace = try rows.multiplied(by: classes).multiplied(by: 4)
        return PreparedKernel("tree ensemble", workspace: max(64, workspace)) { io in
            let source = io.input(0), scores = io.workspace.assumingMemoryBound(to: Float.self)
            var winners = [Int](repeating: 0, count: rows)
            for row in 0..<rows {
                winners[row] = operation.score({ feature(source, type, row * features + $0) }, scores + row * classes)
            }
            try operation.labels.set(io, winners)
            if io.hasOutput(1) {
                io.output(1, as: Float.self).update(from: scores, count: rows * classes)
            }
        }
    }

    /// Writes the transformed scores of one row and returns the number of the winning class.
    private func score(_ feature: (Int) -> Double, _ target: UnsafeMutablePointer<Float>) -> Int {
        let count = labels.count
        for index in 0..<count { target[index] = 0 }
        for root in trees.roots {
            for vote in trees.leaf(from: root, feature) { target[vote.target] += Float(vote.weight) }
        }
        if isBinaryWithOneVote {
            let voted = trees.votedTargets.first ?? 0
            let score = target[voted] + Float(base.count == 2 ? base[1] : base.first ?? 0)
            let isProbability = trees.weightsAreNotNegative
            let isPositive = isProbability ? score > 0.5 : score > 0
            if transform == .none || transform == .probit {
                target[0] = isProbability ? 1 - score : -score
                target[1] = score
                transform.apply(target, count: 2)
            } else {
                target[0] = transform == .logistic || !isProbability ? -score : 1 - score
                target[1] = score
                transform.apply(target, count: 2)
            }
            return isPositive ? 1 : 0
        }
        for index in 0..<count { target[index] += Float(index < base.count ? base[index] : 0) }
        var winner = 0
        for index in 0..<count where target[index] > target[winner] { winner = index }
        transform.apply(target, count: count)
        return winner
    }
}

/// A map from labels to scores for each row of a matrix of scores.
struct ZipMapOperator: Operator {
    static let schemas = [Schema("ZipMap", domain: "ai.onnx.ml", since: [1], inputs: 1...1)]

    private let labels: ClassLabels

    init(_ node: NodeReader) throws {
        guard let labels = try ClassLabels(node, integers: "classlabels_int64s", strings: "classlabels_strings") else {
            throw ApusError(.invalidModel, "ZipMap has no class labels")
        }
        self.labels = labels
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        _ = try context.type(0, oneOf: [.float32])
        if let (_, columns) = try rowsAndFeatures(try context.shape(0)), let found = columns.known, found != labels.count {
            throw ApusError(.shapeMismatch, "the input has \(found) columns for \(labels.count) class labels")
        }
        return [ValueInfo(.sequence(.map(key: labels.type, value: .tensor(.float32, .scalar))))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let shape = try context.shape(0), labels = labels
        let rows = shape.rank == 1 ? 1 : shape[0]
        return PreparedKernel("zip map") { io in
            let scores = io.input(0, as: Float.self)
            let keys: MapValue.Keys =
                switch labels {
                case .integers(let labels): .integers(.int64, labels.map(Int64.init))
                case .strings(let labels): .strings(labels)
                }
            var maps: [Value] = []
            maps.reserveCapacity(rows)
            for row in 0..<rows {
                let values = try Tensor.allocate(.float32, .vector(labels.count), budget: io.budget)
                values.pointer.assumingMemoryBound(to: Float.self).update(from: scores + row * labels.count, count: labels.count)
                maps.append(.map(MapValue(keys: keys, values: .tensor(values))))
            }
            try io.setOutput(
                0, .sequence(SequenceValue(elementType: .map(key: labels.type, value: .tensor(.float32, .scalar)), elements: maps)))
        }
    }
}
