import ApusCore
import ApusGraph

/// Attention by a recurrent state, a matrix for each head, instead of scores: each step decays it, corrects it, adds the
/// product of key and value, and reads it with the query.
struct LinearAttentionOperator: Operator {
    static let schemas = [Schema("LinearAttention", since: [27], inputs: 3...6, outputs: 1...2)]

    private let queryHeads: Int
    private let keyHeads: Int
    private let scale: Float
    private let decays: Bool
    private let corrects: Bool
    private let outputCount: Int

    init(_ node: NodeReader) throws {
        queryHeads = try node.int("q_num_heads")
        keyHeads = try node.int("kv_num_heads")
        guard queryHeads >= 1, keyHeads >= 1, queryHeads % keyHeads == 0 else {
            throw ApusError(.invalidModel, "q_num_heads must be a positive multiple of kv_num_heads, found \(queryHeads) and \(keyHeads)")
        }
        scale = try node.float("scale", default: 0)
        // How many steps others take at once; the result is the same.
        _ = try node.int("chunk_size", default: 64)
        let rule = try node.choice("update_rule", of: ["linear", "gated", "delta", "gated_delta"], default: "gated_delta")
        let decays = rule == "gated" || rule == "gated_delta", corrects = rule == "delta" || rule == "gated_delta"
        self.decays = decays
        self.corrects = corrects
        outputCount = node.outputCount
        for (name, index, isNeeded) in [("decay", 4, decays), ("beta", 5, corrects)] where node.hasInput(index) != isNeeded {
            throw ApusError(.invalidModel, "update_rule \"\(rule)\" \(isNeeded ? "needs" : "takes no") input \"\(name)\"")
        }
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let types: [ElementType] = [.float32, .float16, .bfloat16]
        let type = try context.type(0, oneOf: types)
        _ = try context.commonType([0, 1, 2, 4, 5])
        let state = context.has(3) ? try context.type(3, oneOf: types) : type
        let q = try context.dimensions(0, rank: 3...3), k = try context.dimensions(1, rank: 3...3)
        let v = try context.dimensions(2, rank: 3...3)
        func check(_ what: String, _ found: [Dimension]?, _ expected: [Dimension?]) throws {
            guard let found else { return }
            for (a, b) in zip(found, expected) {
                if let a = a.known, let b = b?.known, a != b {
                    throw ApusError(
                        .shapeMismatch, "\(what) has shape \(PartialShape(found)), \(PartialShape(expected.map { $0 ?? .unknown })) expected")
                }
            }
        }
        let keySize = try headSize(q?[2], queryHeads, "query"), valueSize = try headSize(v?[2], keyHeads, "value")
        try check("key", k, [q?[0], q?[1], keySize * .known(keyHeads)])
        try check("value", v, [q?[0], q?[1], nil])
        let stateShape = [q?[0] ?? .unknown, .known(keyHeads), keySize, valueSize]
        if context.has(3) { try check("past_state", context.dimensions(3, rank: 4...4), stateShape) }
        if context.has(4), let decay = try context.dimensions(4, rank: 3...3) {
            try check("decay", decay, [q?[0], q?[1], nil])
            if let found = decay[2].known, let size = keySize.known, found != keyHeads, found != keyHeads * size {
                throw ApusError(.shapeMismatch, "decay has \(found) elements a step; \(keyHeads) or \(keyHeads * size) expected")
            }
        }
        if context.has(5), let beta = try context.dimensions(5, rank: 3...3) {
            try check("beta", beta, [q?[0], q?[1], nil])
            if let found = beta[2].known, found != keyHeads, found != 1 {
                throw ApusError(.shapeMismatch, "beta has \(found) elements a step; \(keyHeads) or 1 expected")
            }
        }
        let output = PartialShape([q?[0] ?? .unknown, q?[1] ?? .unknown, valueSize * .known(queryHeads)])
        return [ValueInfo(type, output), ValueInfo(state, PartialShape(stateShape))].prefix(outputCount) + []
    }

    private func headSize(_ width: Dimension?, _ heads: Int, _ what: String) throws -> Dimension {
        guard let width else { return .unknown }
        if let width = width.known, width % heads != 0 {
            throw ApusError(.shapeMismatch, "\(what) has \(width) elements a step, which \(heads) heads cannot share")
        }
        return width.floorDivided(by: .known(heads))
    }

    func multiplyAccumulates(_ inputs: [ValueInfo?], _ outputs: [ValueInfo]) -> Int {
        guard inputs.count > 2, let q = try? inputs[0]?.concreteShape(), let v = try? inputs[2]?.concreteShape(),
            q.rank == 3, v.rank == 3, let state = try? (v[2] / keyHeads).multiplied(by: q[2]),
            let product = try? checkedProduct([q[0], q[1], state, corrects ? 3 : 2])
        else { return 0 }
        return product
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        try context.type(0).visitReal(Preparation(node: self, context: context))
    }

    private struct Preparation: RealVisitor {
        let node: LinearAttentionOperator
        let context: PrepareContext

        func visit<T: Element>(_: T.Type) throws -> any PreparedNode where T.Number: Real {
            let q = try context.shape(0), v = try context.shape(2)
            let heads = node.keyHeads, group = node.queryHeads / heads, corrects = node.corrects
            let batch = q[0], steps = q[1], rows = q[2] / node.queryHeads, columns = v[2] / heads
            let stateType = context.has(3) ? try context.type(3) : try context.type(0), stateSize = stateType.byteWidth ?? 1
            let read = try castLoop(stateType, .float32), write = try castLoop(.float32, stateType)
            let hasPast = context.has(3), decayWidth = node.decays ? try context.shape(4)[2] : 0
            let betaWidth = corrects ? try context.shape(5)[2] : 0
            let scale = node.scale == 0 ? 1 / Float(rows).squareRoot() : node.scale
            let states = batch == 0 ? 0 : try rows.multiplied(by: columns), lines = try batch.multiplied(by: heads)
            // A state and the value to be added, for each head of each batch element.
            let scratch = try states.adding(columns)
            return PreparedKernel("linear_attention", workspace: try scratch.multiplied(by: lines).multiplied(by: 4)) { io in
                let queries = io.input(0, as: T.self), keys = io.input(1, as: T.self), values = io.input(2, as: T.self)
                let decay = decayWidth > 0 ? io.input(4, as: T.self) : nil, beta = betaWidth > 0 ? io.input(5, as: T.self) : nil
                let output = io.output(0, as: T.self), workspace = io.workspace.assumingMemoryBound(to: Float.self)
                io.pool.parallelUnlessStopped(lines) { line in
                    let b = line / heads, h = line % heads
                    let state = workspace + line * scratch, added = state + states
                    if hasPast {
                        read(states, io.input(3) + line * states * stateSize, state)
                    } else {
                        state.update(repeating: 0, count: states)
                    }
                    for t in 0..<steps {
                        let step = b * steps + t
                        let key = keys + (step * heads + h) * rows, value = values + (step * heads + h) * columns
                        if let decay {
                            let gates = decay + step * decayWidth + (decayWidth == heads ? h : h * rows)
                            for row in 0..<rows {
                                let factor = Float.exp(Float(gates[decayWidth == heads ? 0 : row].number))
                                for column in 0..<columns { state[row * columns + column] *= factor }
                            }
                        }
                        for column in 0..<columns { added[column] = Float(value[column].number) }
                        if corrects {
                            for row in 0..<rows {
                                let factor = Float(key[row].number)
                                for column in 0..<columns { added[column] -= factor * state[row * columns + column] }
                            }
                            let rate = beta.map { Float($0[step * betaWidth + (betaWidth == 1 ? 0 : h)].number) } ?? 1
                            for column in 0..<columns { added[column] *= rate }
                        }
                        for row in 0..<rows {
                            let factor = Float(key[row].number)
                            for column in 0..<columns { state[row * columns + column] += factor * added[column] }
                        }
                        for member in 0..<group {
                            let head = (step * heads + h) * group + member
                            let query = queries + head * rows, target = output + head * columns
                            added.update(repeating: 0, count: columns)
                            for row in 0..<rows {
                                let factor = Float(query[row].number)
                                for column in 0..<columns { added[column] += factor * state[row * columns + column] }
                            }
                            for column in 0..<columns { target[column] = T(rounding: T.Number(added[column] * scale)) }
                        }
                    }
                    if io.hasOutput(1) { write(states, state, io.output(1) + line * states * stateSize) }
                }
            }
        }
    }
}
