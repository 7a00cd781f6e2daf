import ApusCore
import ApusGraph
import Glibc

/// The function by which support vectors are compared with a row.
private enum SupportKernel: Sendable {
    case linear
    case polynomial
    case radial
    case sigmoid
}

/// Support vectors with their kernel.
private struct SupportVectors: Sendable {
    let kernel: SupportKernel
    let gamma: Float
    let offset: Float
    let degree: Float
    /// [count, features]
    let vectors: [Float]
    let count: Int
    let features: Int

    init(_ node: NodeReader, count: Int, isLinear: Bool) throws {
        let name = try node.choice("kernel_type", of: ["LINEAR", "POLY", "RBF", "SIGMOID"], default: "LINEAR")
        kernel = isLinear || name == "LINEAR" ? .linear : name == "POLY" ? .polynomial : name == "RBF" ? .radial : .sigmoid
        let parameters = try node.floats("kernel_params", default: [])
        guard parameters.isEmpty || parameters.count == 3 else {
            throw ApusError(.invalidModel, "attribute \"kernel_params\" has \(parameters.count) elements; gamma, coef0 and degree expected")
        }
        gamma = parameters.isEmpty ? 0 : parameters[0]
        offset = parameters.isEmpty ? 0 : parameters[1]
        degree = parameters.isEmpty ? 0 : parameters[2]
        vectors = try node.floats("support_vectors", default: [])
        self.count = count
        guard count == 0 || vectors.count % count == 0 else {
            throw ApusError(.invalidModel, "attribute \"support_vectors\" has \(vectors.count) elements, which \(count) vectors cannot share")
        }
        features = count == 0 ? 0 : vectors.count / count
    }

    /// The kernel of a row and a vector of the same length.
    func value(_ row: UnsafePointer<Float>, _ vector: UnsafePointer<Float>, _ features: Int) -> Float {
        switch kernel {
        case .linear: innerProduct(row, vector, features)
        case .polynomial: powf(gamma * innerProduct(row, vector, features) + offset, degree)
        case .sigmoid: tanhf(gamma * innerProduct(row, vector, features) + offset)
        case .radial: expf(-gamma * squaredDistance(row, vector, features))
        }
    }

    /// The kernels of a row and every support vector.
    func values(_ row: UnsafePointer<Float>, _ target: UnsafeMutablePointer<Float>) {
        vectors.withUnsafeBufferPointer { vectors in
            guard let base = vectors.baseAddress else { return target.update(repeating: emptyValue, count: count) }
            for index in 0..<count { target[index] = value(row, base + index * features, features) }
        }
    }

    /// What vectors without features give.
    private var emptyValue: Float {
        withUnsafeTemporaryAllocation(of: Float.self, capacity: 1) { nothing in
            nothing.initialize(repeating: 0)
            guard let base = nothing.baseAddress else { return 0 }
            return value(base, base, 0)
        }
    }
}

/// Support vector regression, or (`one_class`) on which side of the learnt region a row lies.
struct SupportVectorRegressorOperator: Operator {
    static let schemas = [Schema("SVMRegressor", domain: "ai.onnx.ml", since: [1], inputs: 1...1)]

    private let vectors: SupportVectors
    /// One for each support vector, or one for each feature where there are none.
    private let coefficients: [Float]
    private let intercept: Float
    private let isOneClass: Bool
    private let transform: PostTransform
    private var features: Int { vectors.count > 0 ? vectors.features : coefficients.count }

    init(_ node: NodeReader) throws {
        let count = try node.int("n_supports", default: 0)
        guard count >= 0 else { throw ApusError(.invalidModel, "attribute \"n_supports\" is \(count)") }
        vectors = try SupportVectors(node, count: count, isLinear: count == 0)
        coefficients = try node.floats("coefficients", default: [])
        guard count == 0 || coefficients.count == count else {
            throw ApusError(.invalidModel, "\(coefficients.count) coefficients are given for \(count) support vectors")
        }
        let rho = try node.floats("rho", default: [])
        guard let first = rho.first else { throw ApusError(.invalidModel, "attribute \"rho\" is missing") }
        intercept = first
        isOneClass = try node.bool("one_class", default: false)
        transform = try PostTransform(node)
        node.ignore("n_targets")
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        _ = try context.type(0, oneOf: classicalTypes)
        return [ValueInfo(.float32, PartialShape([try exactRows(context, features), .known(1)]))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let input = try FloatRows(context), operation = self
        let count = vectors.count
        let kernelsOffset = input.workspaceByteCount
        let total = try kernelsOffset.adding(input.rows.multiplied(by: count).multiplied(by: 4))
        return PreparedKernel("support vectors", workspace: total) { io in
            let source = input.read(io), target = io.output(0, as: Float.self)
            let kernels = (io.workspace + kernelsOffset).assumingMemoryBound(to: Float.self)
            io.pool.inChunks(input.rows, of: 16) { range in
                for row in range {
                    target[row] = operation.score(source + row * input.features, kernels + row * count)
                }
            }
        }
    }

    private func score(_ row: UnsafePointer<Float>, _ kernels: UnsafeMutablePointer<Float>) -> Float {
        var score = intercept
        coefficients.withUnsafeBufferPointer { coefficients in
            guard let base = coefficients.baseAddress else { return }
            if vectors.count > 0 {
                vectors.values(row, kernels)
                score += innerProduct(kernels, base, vectors.count)
            } else {
                score += innerProduct(row, base, coefficients.count)
            }
        }
        if isOneClass { return score > 0 ? 1 : -1 }
        transform.apply(&score, count: 1)
        return score
    }
}

/// Support vector classification: one decision for each pair of classes, or one linear function for each class.
struct SupportVectorClassifierOperator: Operator {
    static let schemas = [Schema("SVMClassifier", domain: "ai.onnx.ml", since: [1], inputs: 1...1, outputs: 1...2)]

    private let vectors: SupportVectors
    private let coefficients: [Float]
    private let intercepts: [Float]
    private let labels: ClassLabels
    private let transform: PostTransform
    /// Where each class' support vectors begin; one more entry than classes. Empty for linear functions.
    private let starts: [Int]
    private let slopes: [Float]
    private let shifts: [Float]
    private let classes: Int
    private let allPositive: Bool
    private var isLinear: Bool { vectors.count == 0 }
    private var features: Int { isLinear ? coefficients.count / classes : vectors.features }
    private var hasProbabilities: Bool { !slopes.isEmpty }
    private var pairs: Int { classes * (classes - 1) / 2 }
    /// Scores before one is made two.
    private var rawScores: Int { isLinear || hasProbabilities ? classes : pairs }
    private var scoreCount: Int { rawScores == 1 && labels.count == 2 ? 2 : rawScores }

    init(_ node: NodeReader) throws {
        let given = try ClassLabels(node, integers: "classlabels_ints", strings: "classlabels_strings")
        labels = given ?? .integers([0])
        classes = max(1, labels.count)
        let perClass = try node.ints("vectors_per_class", default: [])
        var starts = [0]
        for count in perClass {
            guard count >= 0, count <= Int(Int32.max) else { throw ApusError(.invalidModel, "attribute \"vectors_per_class\" contains \(count)") }
            starts.append(try starts[starts.count - 1].adding(count))
        }
        let total = starts[starts.count - 1]
        vectors = try SupportVectors(node, count: total, isLinear: total == 0)
        self.starts = total == 0 ? [] : starts
        coefficients = try node.floats("coefficients", default: [])
        intercepts = try node.floats("rho", default: [])
        slopes = total == 0 ? [] : try node.floats("prob_a", default: [])
        shifts = total == 0 ? [] : try node.floats("prob_b", default: [])
        if total == 0 { node.ignore("prob_a", "prob_b") }
        transform = try PostTransform(node)
        allPositive = coefficients.allSatisfy { $0 >= 0 }
        guard classes <= 1 << 12 else { throw ApusError(.invalidModel, "\(classes) classes; at most \(1 << 12) expected") }
        try check(perClass)
    }

    private func check(_ perClass: [Int]) throws {
        if isLinear {
            guard coefficients.count % classes == 0, !intercepts.isEmpty else {
                throw ApusError(
                    .invalidModel, "\(classes) linear functions cannot be made of \(coefficients.count) coefficients and \(intercepts.count) intercepts")
            }
            return
        }
        guard perClass.count == classes, classes >= 2 else {
            throw ApusError(.invalidModel, "attribute \"vectors_per_class\" has \(perClass.count) elements for \(classes) classes")
        }
        let expected = try vectors.count.multiplied(by: classes - 1)
        guard coefficients.count == expected else {
            throw ApusError(.invalidModel, "\(coefficients.count) coefficients are given, \(expected) expected")
        }
        guard intercepts.count >= pairs, slopes.isEmpty || slopes.count >= pairs && shifts.count >= pairs else {
            throw ApusError(.invalidModel, "\(pairs) pairs of classes need as many elements of \"rho\", \"prob_a\" and \"prob_b\"")
        }
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        _ = try context.type(0, oneOf: classicalTypes)
        let rows = try exactRows(context, features)
        let scores = ValueInfo(.float32, PartialShape([rows, .known(scoreCount)]))
        return Array([ValueInfo(labels.type, PartialShape([rows])), scores].prefix(context.outputCount))
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let input = try FloatRows(context), operation = self, classes = classes
        // Scratch of one row: kernels, pair decisions, votes, matrix of pair probabilities, its product with itself, scores.
        let matrix = hasProbabilities ? 2 * classes * classes + classes : 0
        let perRow = try vectors.count.adding(pairs + classes + matrix + scoreCount + classes)
        let scratchOffset = input.workspaceByteCount
        let total = try scratchOffset.adding(input.rows.multiplied(by: perRow).multiplied(by: 4))
        return PreparedKernel("support vectors", workspace: max(64, total)) { io in
            let source = input.read(io)
            let scratch = (io.workspace + scratchOffset).assumingMemoryBound(to: Float.self)
            // Winners of all rows are kept as the first float of a row's scratch while rows run on several threads.
            io.pool.inChunks(input.rows, of: 16) { range in
                for row in range {
                    let own = scratch + row * perRow
                    let winner = operation.score(source + row * input.features, own, own + perRow - operation.scoreCount)
                    own[0] = Float(bitPattern: UInt32(winner))
                }
            }
            var winners = [Int](repeating: 0, count: input.rows)
            for row in 0..<input.rows {
                let own = scratch + row * perRow
                winners[row] = Int(own[0].bitPattern)
                if io.hasOutput(1) {
                    (io.output(1, as: Float.self) + row * operation.scoreCount).update(
                        from: own + perRow - operation.scoreCount, count: operation.scoreCount)
                }
            }
            try operation.labels.set(io, winners)
        }
    }

    /// Writes the transformed scores of one row and returns the number of its class.
    private func score(_ row: UnsafePointer<Float>, _ scratch: UnsafeMutablePointer<Float>, _ target: UnsafeMutablePointer<Float>) -> Int {
        if isLinear {
            coefficients.withUnsafeBufferPointer { coefficients in
                for index in 0..<classes {
                    let product = coefficients.baseAddress.map { innerProduct(row, $0 + index * features, features) } ?? 0
                    target[index] = intercepts[0] + product
                }
            }
            let winner = greatest(target, classes)
            return finish(target, winner, weight: target[winner])
        }
        let kernels = scratch, decisions = kernels + vectors.count, votes = decisions + pairs
        vectors.values(row, kernels)
        decide(kernels, decisions, votes)
        let winner = greatest(votes, classes)
        if hasProbabilities {
            probabilities(decisions, votes + classes, target)
            return finish(target, winner, weight: votes[winner])
        }
        let weight = votes[winner]
        target.update(from: decisions, count: pairs)
        return finish(target, winner, weight: weight)
    }

    private func greatest(_ numbers: UnsafePointer<Float>, _ count: Int) -> Int {
        var best = 0
        for index in 0..<count where numbers[index] > numbers[best] { best = index }
        return best
    }

    /// The decision of each pair of classes, and how often each class won.
    private func decide(
        _ kernels: UnsafePointer<Float>, _ decisions: UnsafeMutablePointer<Float>, _ votes: UnsafeMutablePointer<Float>
    ) {
        votes.update(repeating: 0, count: classes)
        coefficients.withUnsafeBufferPointer { coefficients in
            guard let base = coefficients.baseAddress else { return decisions.update(repeating: 0, count: pairs) }
            var pair = 0
            for i in 0..<classes {
                for j in i + 1..<max(i + 1, classes) {
                    let first = base + (j - 1) * vectors.count + starts[i], second = base + i * vectors.count + starts[j]
                    let sum = intercepts[pair] + innerProduct(first, kernels + starts[i], starts[i + 1] - starts[i])
                        + innerProduct(second, kernels + starts[j], starts[j + 1] - starts[j])
                    decisions[pair] = sum
                    votes[sum > 0 ? i : j] += 1
                    pair += 1
                }
            }
        }
    }

    /// The probability of each class from the decisions of all pairs: Platt's sigmoid for each pair, joined as in Wu, Lin and
    /// Weng, "Probability estimates for multi-class classification by pairwise coupling" (2004), second approach.
    private func probabilities(_ decisions: UnsafePointer<Float>, _ scratch: UnsafeMutablePointer<Float>, _ p: UnsafeMutablePointer<Float>) {
        let k = classes
        let r = scratch, q = r + k * k, qp = q + k * k
        var pair = 0
        for i in 0..<k {
            r[i * k + i] = 0
            for j in i + 1..<max(i + 1, k) {
                var value = decisions[pair] * slopes[pair] + shifts[pair]
                PostTransform.logistic.apply(&value, count: 1)
                let probability = min(max(1 - value, 1e-7), 1 - 1e-7)
                r[i * k + j] = probability
                r[j * k + i] = 1 - probability
                pair += 1
            }
        }
        for t in 0..<k {
            p[t] = 1 / Float(k)
            q[t * k + t] = 0
            for j in 0..<k where j != t {
                q[t * k + t] += r[j * k + t] * r[j * k + t]
                q[t * k + j] = -r[j * k + t] * r[t * k + j]
            }
        }
        for _ in 0..<max(100, k) {
            var total: Float = 0
            for t in 0..<k {
                qp[t] = innerProduct(q + t * k, p, k)
                total += p[t] * qp[t]
            }
            var greatest: Float = 0
            for t in 0..<k { greatest = max(greatest, abs(qp[t] - total)) }
            if greatest < 0.005 / Float(k) { break }
            for t in 0..<k {
                let change = (total - qp[t]) / q[t * k + t]
                p[t] += change
                total = (total + change * (change * q[t * k + t] + 2 * qp[t])) / (1 + change) / (1 + change)
                for j in 0..<k {
                    qp[j] = (qp[j] + change * q[t * k + j]) / (1 + change)
                    p[j] /= 1 + change
                }
            }
        }
    }

    /// Transforms the scores and gives the number of the class. `weight` is what the winner won by.
    private func finish(_ scores: UnsafeMutablePointer<Float>, _ winner: Int, weight: Float) -> Int {
        var winner = winner
        if intercepts.count == 1, labels.count == 2, !hasProbabilities, allPositive, weight >= 0.5 { winner = 1 }
        if rawScores == 1, scoreCount == 2 {
            scores[1] = scores[0]
            if transform != .probit { scores[0] = -scores[1] } else { scores[0] = 1 - scores[1] }
        }
        transform.apply(scores, count: scoreCount)
        return winner
    }
}
