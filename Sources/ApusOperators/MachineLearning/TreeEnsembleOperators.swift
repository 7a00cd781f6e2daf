import ApusCore
import ApusGraph

/// How the rows of a tree ensemble's input are scored.
private struct Scoring: Sendable {
    let ensemble: TreeEnsemble
    let targets: Int
    let aggregate: Forest.Aggregate

    /// Rows that one thread takes at a time.
    private static let chunk = 64

    /// A forest's work on an input of one shape.
    struct Prepared {
        let rows: Int
        let workspaceByteCount: Int
        /// Scores all rows, and calls the function with the number of each row, its sums and which of them have votes.
        let run: (NodeIO, (Int, UnsafePointer<Double>, UnsafePointer<Bool>) -> Void) -> Void
    }

    /// `sumsOffset`: where the sums may lie in the workspace, in bytes.
    func prepared(_ context: PrepareContext, sumsOffset: Int = 0) throws -> Prepared {
        let shape = try context.shape(0)
        let rows = shape.rank == 1 ? 1 : shape[0], features = shape.rank == 1 ? shape[0] : shape[1]
        let sumBytes = try rows.multiplied(by: targets).multiplied(by: 8)
        let total = try sumsOffset.adding(sumBytes).adding(rows.multiplied(by: targets))
        let score = try context.type(0).visitClassical(
            Visitor(scoring: self, rows: rows, features: features, sumsOffset: sumsOffset, flagsOffset: sumsOffset.adding(sumBytes)))
        return Prepared(rows: rows, workspaceByteCount: max(64, total), run: score)
    }

    private struct Visitor: ElementVisitor {
        let scoring: Scoring
        let rows: Int, features: Int, sumsOffset: Int, flagsOffset: Int

        func visit<T: Element>(_: T.Type) throws -> (NodeIO, (Int, UnsafePointer<Double>, UnsafePointer<Bool>) -> Void) -> Void {
            let visitor = self
            return { io, finish in
                let source = io.input(0, as: T.self)
                io.pool.inChunks(visitor.rows, of: Scoring.chunk) { range in
                    if visitor.scoring.ensemble.isDouble {
                        visitor.score(io, source, range, of: Double.self, finish)
                    } else {
                        visitor.score(io, source, range, of: Float.self, finish)
                    }
                }
            }
        }

        private func score<T: Element, Sum: Arithmetic & BinaryFloatingPoint>(
            _ io: NodeIO, _ source: UnsafePointer<T>, _ range: Range<Int>, of _: Sum.Type,
            _ finish: (Int, UnsafePointer<Double>, UnsafePointer<Bool>) -> Void
        ) {
            let targets = scoring.targets, first = range.lowerBound * targets, count = range.count * targets
            let doubles = (io.workspace + sumsOffset).assumingMemoryBound(to: Double.self) + first
            let sums = UnsafeMutableRawPointer(doubles).assumingMemoryBound(to: Sum.self)
            let flags = (io.workspace + flagsOffset).assumingMemoryBound(to: Bool.self) + first
            scoring.ensemble.forest.aggregate(
                scoring.aggregate, source + range.lowerBound * features, stride: features, count: range.count, targets: targets, sums,
                flags)
            // Backwards: a double lies where two floats lay.
            if Sum.self != Double.self {
                for index in Swift.stride(from: count - 1, through: 0, by: -1) { doubles[index] = sums[index].double }
            }
            for row in range {
                let own = (row - range.lowerBound) * targets
                finish(row, doubles + own, flags + own)
            }
        }
    }
}

private func checkedTargetCount(_ count: Int) throws -> Int {
    guard count >= 1, count <= 1 << 20 else {
        throw ApusError(.invalidModel, "attribute \"n_targets\" is \(count); from 1 to \(1 << 20) expected")
    }
    return count
}

/// The aggregate of the trees' votes for each target, in the older form of the ensemble.
struct TreeEnsembleRegressorOperator: Operator {
    static let schemas = [Schema("TreeEnsembleRegressor", domain: "ai.onnx.ml", since: [1, 3, 5], inputs: 1...1)]

    private let scoring: Scoring
    private let transform: PostTransform
    private let base: [Double]

    init(_ node: NodeReader) throws {
        let targets = try checkedTargetCount(try node.int("n_targets", default: 1))
        let names: [(String, Forest.Aggregate)] = [("AVERAGE", .average), ("SUM", .sum), ("MIN", .least), ("MAX", .greatest)]
        let name = try node.choice("aggregate_function", of: names.map(\.0), default: "SUM")
        scoring = Scoring(
            ensemble: try TreeEnsemble(node, prefix: "target", targetCount: targets), targets: targets,
            aggregate: names.first { $0.0 == name }?.1 ?? .sum)
        transform = try PostTransform(node)
        base = try baseValues(node)
        guard base.isEmpty || base.count == targets else {
            throw ApusError(.invalidModel, "attribute \"base_values\" has \(base.count) elements for \(targets) targets")
        }
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        _ = try context.type(0, oneOf: classicalTypes)
        let rows = try checkedRows(context, scoring.ensemble.forest.featureCount)
        return [ValueInfo(.float32, PartialShape([rows, .known(scoring.targets)]))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let prepared = try scoring.prepared(context), targets = scoring.targets, base = base, transform = transform
        return PreparedKernel("tree ensemble", workspace: prepared.workspaceByteCount) { io in
            let target = io.output(0, as: Float.self)
            prepared.run(io) { row, sums, _ in
                let own = target + row * targets
                for index in 0..<targets { own[index] = Float(sums[index] + (base.isEmpty ? 0 : base[index])) }
                transform.apply(own, count: targets)
            }
        }
    }
}

/// The aggregate of the trees' votes for each target.
struct TreeEnsembleOperator: Operator {
    static let schemas = [Schema("TreeEnsemble", domain: "ai.onnx.ml", since: [5], inputs: 1...1)]

    private let scoring: Scoring
    private let transform: PostTransform

    init(_ node: NodeReader) throws {
        let targets = try checkedTargetCount(try node.int("n_targets", default: 1))
        let aggregates: [Forest.Aggregate] = [.average, .sum, .least, .greatest]
        let number = try node.int("aggregate_function", default: 1)
        guard aggregates.indices.contains(number) else {
            throw ApusError(.invalidModel, "attribute \"aggregate_function\" is \(number); 0 to 3 expected")
        }
        scoring = Scoring(
            ensemble: try TreeEnsemble(node, targetCount: targets), targets: targets, aggregate: aggregates[number])
        transform = try PostTransform(number: try node.int("post_transform", default: 0))
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: [.float32, .float64, .float16])
        let rows = try checkedRows(context, scoring.ensemble.forest.featureCount)
        return [ValueInfo(type, PartialShape([rows, .known(scoring.targets)]))]
    }

    private struct Writer: ElementVisitor {
        let targets: Int
        let transform: PostTransform

        func visit<T: Element>(_: T.Type) throws -> @Sendable (UnsafePointer<Double>, Int, UnsafeMutableRawPointer) -> Void {
            let targets = targets, transform = transform
            return { sums, row, output in
                let own = output.assumingMemoryBound(to: T.self) + row * targets
                if transform == .none {
                    for index in 0..<targets { own[index] = T(rounding: T.Number(converting: sums[index])) }
                    return
                }
                withUnsafeTemporaryAllocation(of: Float.self, capacity: targets) { scores in
                    guard let scores = scores.baseAddress else { return }
                    for index in 0..<targets { scores[index] = Float(sums[index]) }
                    transform.apply(scores, count: targets)
                    for index in 0..<targets { own[index] = T(rounding: T.Number(converting: Double(scores[index]))) }
                }
            }
        }
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let prepared = try scoring.prepared(context)
        let write = try context.type(0).visitClassical(Writer(targets: scoring.targets, transform: transform))
        return PreparedKernel("tree ensemble", workspace: prepared.workspaceByteCount) { io in
            prepared.run(io) { row, sums, _ in write(sums, row, io.output(0)) }
        }
    }
}

/// The class for which the trees vote most, and the scores of all classes.
struct TreeEnsembleClassifierOperator: Operator {
    static let schemas = [
        Schema("TreeEnsembleClassifier", domain: "ai.onnx.ml", since: [1, 3, 5], inputs: 1...1, outputs: 1...2)
    ]

    private let scoring: Scoring
    private let labels: ClassLabels
    private let transform: PostTransform
    private let base: [Double]
    /// With two classes and votes for one of them only, that class' score decides between both.
    private let onlyVoted: Int?
    private let scoresAreProbabilities: Bool

    init(_ node: NodeReader) throws {
        guard let labels = try ClassLabels(node, integers: "classlabels_int64s", strings: "classlabels_strings") else {
            throw ApusError(.invalidModel, "the classifier has no class labels")
        }
        self.labels = labels
        let ensemble = try TreeEnsemble(node, prefix: "class", targetCount: labels.count)
        scoring = Scoring(ensemble: ensemble, targets: labels.count, aggregate: .sum)
        transform = try PostTransform(node)
        base = try baseValues(node)
        guard base.isEmpty || base.count == labels.count || (labels.count == 2 && base.count == 1) else {
            throw ApusError(.invalidModel, "attribute \"base_values\" has \(base.count) elements for \(labels.count) classes")
        }
        let voted = ensemble.forest.votedTargets
        onlyVoted = labels.count == 2 && voted.count == 1 ? voted.first : nil
        scoresAreProbabilities = ensemble.forest.weightsAreNotNegative
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        _ = try context.type(0, oneOf: classicalTypes)
        let rows = try checkedRows(context, scoring.ensemble.forest.featureCount)
        let outputs = [
            ValueInfo(labels.type, PartialShape([rows])), ValueInfo(.float32, PartialShape([rows, .known(labels.count)])),
        ]
        return Array(outputs.prefix(context.outputCount))
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let shape = try context.shape(0), operation = self, classes = labels.count
        let rows = shape.rank == 1 ? 1 : shape[0]
        let winnersOffset = try rows.multiplied(by: classes).multiplied(by: 4).roundedUp(to: 8)
        let prepared = try scoring.prepared(context, sumsOffset: try winnersOffset.adding(rows.multiplied(by: 8)))
        return PreparedKernel("tree ensemble", workspace: prepared.workspaceByteCount) { io in
            let scores = io.workspace.assumingMemoryBound(to: Float.self)
            let winners = (io.workspace + winnersOffset).assumingMemoryBound(to: Int.self)
            prepared.run(io) { row, sums, _ in winners[row] = operation.finish(sums, scores + row * classes) }
            try operation.labels.set(io, Array(UnsafeBufferPointer(start: winners, count: rows)))
            if io.hasOutput(1) { io.output(1, as: Float.self).update(from: scores, count: rows * classes) }
        }
    }

    /// Writes the transformed scores of one row and returns the number of the winning class.
    private func finish(_ sums: UnsafePointer<Double>, _ target: UnsafeMutablePointer<Float>) -> Int {
        if let onlyVoted {
            let score = Float(sums[onlyVoted]) + Float(base.count == 2 ? base[1] : base.first ?? 0)
            let complements = scoresAreProbabilities && (transform == .none || transform == .probit)
            target[0] = complements ? 1 - score : -score
            target[1] = score
            transform.apply(target, count: 2)
            return score > (scoresAreProbabilities ? 0.5 : 0) ? 1 : 0
        }
        let count = labels.count
        for index in 0..<count { target[index] = Float(sums[index]) + Float(index < base.count ? base[index] : 0) }
        var winner = 0
        for index in 0..<count where target[index] > target[winner] { winner = index }
        transform.apply(target, count: count)
        return winner
    }
}
