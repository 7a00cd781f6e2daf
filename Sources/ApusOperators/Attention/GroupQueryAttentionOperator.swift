import ApusCore
import ApusGraph
import Glibc

/// com.microsoft.GroupQueryAttention: causal attention with a cache, in which several query heads share one head of keys and
/// values.
///
/// Inputs: query [batch, sequence, hidden] (or queries, keys and values side by side), key, value, past_key and past_value
/// [batch, kv heads, past, size], seqlens_k [batch] (positions in use, less one), total_sequence_length (the greatest of them),
/// cos_cache, sin_cache [positions, half of what is rotated], position_ids, attention_bias, head_sink. Outputs: the
/// attention, and the caches with the new positions.
struct GroupQueryAttentionOperator: Operator {
    static let schemas = [Schema("GroupQueryAttention", domain: "com.microsoft", since: [1], inputs: 7...14, outputs: 1...4)]

    private let heads: Int
    private let keyHeads: Int
    private let scale: Float?
    private let softcap: Float
    /// Positions up to its own that a query attends to; nil: all.
    private let window: Int?
    private let rotates: Bool
    private let isInterleaved: Bool
    private let isSmooth: Bool
    /// 1: the scores before the softmax are an output, 2: those after it.
    private let scoresStage: Int

    init(_ node: NodeReader) throws {
        heads = try node.int("num_heads")
        keyHeads = try node.int("kv_num_heads")
        scale = try node.optionalFloat("scale").flatMap { $0 == 0 ? nil : $0 }
        softcap = try node.float("softcap", default: 0)
        let window = try node.int("local_window_size", default: -1)
        self.window = window > 0 ? window : nil
        rotates = try node.bool("do_rotary", default: false)
        isInterleaved = try node.bool("rotary_interleaved", default: false)
        isSmooth = try node.int("smooth_softmax", default: -1) == 1
        scoresStage = try node.int("qk_output", default: 0)
        guard heads >= 1, keyHeads >= 1, heads % keyHeads == 0, heads <= 1 << 20 else {
            throw ApusError(.invalidModel, "\(heads) query heads cannot share \(keyHeads) key heads evenly")
        }
        guard (0...2).contains(scoresStage), scoresStage > 0 || !node.hasOutput(3) else {
            throw ApusError(.invalidModel, "attribute \"qk_output\" is \(scoresStage), which makes no output 3")
        }
        for name in ["k_quant_type", "v_quant_type"] {
            let type = try node.string(name, default: "NONE")
            guard type == "NONE" else { throw ApusError(.unsupported, "attribute \"\(name)\" is \"\(type)\": quantised caches are unknown") }
        }
        guard try node.int("kv_cache_bit_width", default: 0) == 0 else {
            throw ApusError(.unsupported, "attribute \"kv_cache_bit_width\": quantised caches are unknown")
        }
        guard node.hasInput(3) == node.hasInput(4), node.hasInput(1) == node.hasInput(2) else {
            throw ApusError(.invalidModel, "keys and values, and past keys and past values, must be given together")
        }
        guard !rotates || node.hasInput(7) && node.hasInput(8) else {
            throw ApusError(.invalidModel, "cos_cache and sin_cache are missing")
        }
    }

    /// The caches' length follows from the contents.
    var parameterInputs: [Int] { [6] }

    private struct Plan {
        var batch: Int
        var sequence: Int
        var size: Int
        var past: Int
        var total: Int
        /// Positions of the new caches.
        var present: Int { max(past, total) }
        var isPacked: Bool
    }

    private func plan(_ shape: (Int) throws -> Shape?, total: Int?) throws -> Plan? {
        guard let q = try shape(0), let total else { return nil }
        func wrong(_ index: Int, _ found: Shape, _ expected: String) -> ApusError {
            ApusError(.shapeMismatch, "input \(index) has shape \(found), \(expected) expected")
        }
        let key = try shape(1), isPacked = key == nil
        let all = isPacked ? heads + 2 * keyHeads : heads
        guard q.rank == 3, q[2] % all == 0 else { throw wrong(0, q, "[batch, sequence, \(all) heads]") }
        var plan = Plan(batch: q[0], sequence: q[1], size: q[2] / all, past: 0, total: total, isPacked: isPacked)
        for index in [1, 2] {
            if let other = try shape(index), other.dimensions != [plan.batch, plan.sequence, keyHeads * plan.size] {
                throw wrong(index, other, "[\(plan.batch),\(plan.sequence),\(keyHeads * plan.size)]")
            }
        }
        if let past = try shape(3) { plan.past = past.rank == 4 ? past[2] : 0 }
        for index in [3, 4] {
            if let past = try shape(index), past.dimensions != [plan.batch, keyHeads, plan.past, plan.size] {
                throw wrong(index, past, "[\(plan.batch),\(keyHeads),past,\(plan.size)]")
            }
        }
        if let lengths = try shape(5), lengths.count != plan.batch { throw wrong(5, lengths, "[\(plan.batch)]") }
        guard total >= plan.sequence || plan.batch == 0 else {
            throw ApusError(.invalidValue, "total_sequence_length is \(total), the queries alone are \(plan.sequence)")
        }
        if rotates {
            guard let cos = try shape(7), let sin = try shape(8), cos == sin, cos.rank == 2, cos[1] <= plan.size / 2 else {
                throw ApusError(.shapeMismatch, "cos_cache and sin_cache must have one shape, [positions, up to \(plan.size / 2)]")
            }
        }
        if let ids = try shape(9), ids.dimensions != [plan.batch, plan.sequence] { throw wrong(9, ids, "[\(plan.batch),\(plan.sequence)]") }
        if let bias = try shape(10) {
            guard bias.rank == 4, bias[3] >= total, bias[2] == plan.sequence, [1, heads].contains(bias[1]), [1, plan.batch].contains(bias[0]) else {
                throw wrong(10, bias, "[batch or 1, \(heads) or 1, \(plan.sequence), \(total)]")
            }
        }
        if let sink = try shape(11), sink.dimensions != [heads] { throw wrong(11, sink, "[\(heads)]") }
        return plan
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: [.float32, .float16, .bfloat16])
        _ = try context.commonType([0, 1, 2, 3, 4, 7, 8, 10, 11])
        for index in [5, 6] { _ = try context.type(index, oneOf: [.int32]) }
        if context.has(9) { _ = try context.type(9, oneOf: [.int64]) }
        for index in [12, 13] where context.has(index) {
            throw ApusError(.unsupported, "input \(index): quantised caches are unknown")
        }
        let total = try context.integers(6)?.first
        guard let plan = try plan({ context.has($0) ? try context.shape($0).concrete() : nil }, total: total) else {
            let q = try context.dimensions(0, rank: 3...3)
            let all = context.has(1) ? heads : heads + 2 * keyHeads
            let size = q?[2].floorDivided(by: .known(all)) ?? .unknown
            let cache = PartialShape([q?[0] ?? .unknown, .known(keyHeads), .unknown, size])
            let shapes = [PartialShape([q?[0] ?? .unknown, q?[1] ?? .unknown, size * .known(heads)]), cache, cache,
                PartialShape([q?[0] ?? .unknown, .known(heads), q?[1] ?? .unknown, .unknown])]
            return (0..<context.outputCount).map { ValueInfo(type, shapes[$0]) }
        }
        let cache = [plan.batch, keyHeads, plan.present, plan.size]
        let shapes = [[plan.batch, plan.sequence, heads * plan.size], cache, cache, [plan.batch, heads, plan.sequence, plan.total]]
        return try (0..<context.outputCount).map { ValueInfo(type, try Shape(shapes[$0])) }
    }

    func multiplyAccumulates(_ inputs: [ValueInfo?], _ outputs: [ValueInfo]) -> Int {
        guard let y = try? outputs[0].concreteShape(), outputs.count > 1, let cache = try? outputs[1].concreteShape() else { return 0 }
        return FloatProduct.saturatingProduct([2, y.count, cache[2]])
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        try context.throughFloat32(prepareFloat32)
    }

    private func prepareFloat32(_ context: PrepareContext) throws -> any PreparedNode {
        let total = try context.integers(6)?.first
        guard let plan = try plan({ context.has($0) ? try context.shape($0) : nil }, total: total) else {
            throw ApusError(.internal, "attention is prepared without shapes")
        }
        // Heads without elements: nothing to compute, however many there are.
        if plan.size == 0, scoresStage == 0 { return PreparedKernel("nothing") { _ in } }
        let rotary = rotates ? try context.shape(7) : nil
        let bias = context.has(10) ? try context.shape(10) : nil
        let queryBytes = try checkedProduct([plan.batch, plan.sequence, heads, plan.size, 4]).roundedUp(to: Storage.alignment)
        let cacheBytes = try checkedProduct([plan.batch, keyHeads, plan.present, plan.size, 4]).roundedUp(to: Storage.alignment)
        let rowBytes = try checkedProduct([plan.batch, heads, plan.total, 4])
        let workspace = try queryBytes.adding(cacheBytes.multiplied(by: 2)).adding(rowBytes)
        let work = Work(operation: self, plan: plan, rotary: rotary, bias: bias)
        return PreparedKernel("group query attention", workspace: workspace) { io in
            let queries = io.workspace.assumingMemoryBound(to: Float.self)
            let ownKeys = (io.workspace + queryBytes).assumingMemoryBound(to: Float.self)
            let ownValues = (io.workspace + queryBytes + cacheBytes).assumingMemoryBound(to: Float.self)
            let keys = io.hasOutput(1) ? io.output(1, as: Float.self) : ownKeys
            let values = io.hasOutput(2) ? io.output(2, as: Float.self) : ownValues
            try work.gather(io, queries, keys, values)
            work.attend(
                io, queries, keys, values, rows: (io.workspace + queryBytes + 2 * cacheBytes).assumingMemoryBound(to: Float.self))
        }
    }

    /// What one run does.
    private struct Work: Sendable {
        let operation: GroupQueryAttentionOperator
        let plan: Plan
        let rotary: Shape?
        let bias: Shape?

        /// Positions that image `batch` has in use before the new ones, and after them.
        private func lengths(_ io: NodeIO, _ batch: Int) throws -> (before: Int, after: Int) {
            let after = Int(io.input(5, as: Int32.self)[batch]) + 1
            guard after >= 1, after <= plan.total else {
                throw ApusError(.invalidValue, "seqlens_k says \(after - 1) for batch \(batch), total_sequence_length \(plan.total)")
            }
            // The first call has no past; shorter sequences of its batch are padded on the right.
            if plan.sequence == plan.total { return (0, after) }
            guard after >= plan.sequence, after - plan.sequence <= plan.past else {
                throw ApusError(
                    .invalidValue, "batch \(batch) has \(after) positions of which \(plan.sequence) are new, the past has \(plan.past)")
            }
            return (after - plan.sequence, after)
        }

        /// Rotated queries, [batch, heads, sequence, size], and the caches with the new keys and values.
        func gather(
            _ io: NodeIO, _ queries: UnsafeMutablePointer<Float>, _ keys: UnsafeMutablePointer<Float>, _ values: UnsafeMutablePointer<Float>
        ) throws {
            let (heads, keyHeads, size) = (operation.heads, operation.keyHeads, plan.size)
            let width = plan.isPacked ? (heads + 2 * keyHeads) * size : heads * size
            let keyWidth = plan.isPacked ? width : keyHeads * size
            let query = io.input(0, as: Float.self)
            let key = plan.isPacked ? query + heads * size : io.input(1, as: Float.self)
            let value = plan.isPacked ? query + (heads + keyHeads) * size : io.input(2, as: Float.self)
            for batch in 0..<plan.batch {
                let (before, _) = try lengths(io, batch)
                let rows = try positions(io, batch, before)
                for head in 0..<keyHeads {
                    let place = (batch * keyHeads + head) * plan.present * size
                    let old = (batch * keyHeads + head) * plan.past * size, used = (before + plan.sequence) * size
                    for (index, cache) in [(3, keys), (4, values)] {
                        if before > 0 { (cache + place).update(from: io.input(index, as: Float.self) + old, count: before * size) }
                        let rest = plan.present * size - used
                        if rest > 0 { (cache + place + used).update(repeating: 0, count: rest) }
                    }
                    for position in 0..<plan.sequence {
                        let source = (batch * plan.sequence + position) * keyWidth + head * size
                        let target = place + (before + position) * size
                        rotate(io, key + source, keys + target, row: rows(position))
                        (values + target).update(from: value + source, count: size)
                    }
                }
                for head in 0..<heads {
                    for position in 0..<plan.sequence {
                        rotate(
                            io, query + (batch * plan.sequence + position) * width + head * size,
                            queries + ((batch * heads + head) * plan.sequence + position) * size, row: rows(position))
                    }
                }
            }
        }

        /// The row of the rotary caches for each new position.
        private func positions(_ io: NodeIO, _ batch: Int, _ before: Int) throws -> (Int) -> Int {
            guard let rotary else { return { _ in 0 } }
            let ids = io.has(9) ? io.input(9, as: Int64.self) + batch * plan.sequence : nil
            for position in 0..<plan.sequence {
                let row = ids.map { $0[position] } ?? Int64(before + position)
                guard row >= 0, row < rotary[0] else {
                    throw ApusError(.invalidValue, "position \(row) lies outside of the caches' \(rotary[0]) rows")
                }
            }
            return { position in ids.map { Int($0[position]) } ?? before + position }
        }

        /// Copies a head, its front rotated where the node asks for it.
        private func rotate(_ io: NodeIO, _ x: UnsafePointer<Float>, _ y: UnsafeMutablePointer<Float>, row: Int) {
            y.update(from: x, count: plan.size)
            guard let half = rotary?[1] else { return }
            let cos = io.input(7, as: Float.self) + row * half, sin = io.input(8, as: Float.self) + row * half
            for index in 0..<half {
                let first = operation.isInterleaved ? 2 * index : index, second = operation.isInterleaved ? first + 1 : first + half
                y[first] = cos[index] * x[first] - sin[index] * x[second]
                y[second] = sin[index] * x[first] + cos[index] * x[second]
            }
        }

        func attend(
            _ io: NodeIO, _ queries: UnsafePointer<Float>, _ keys: UnsafePointer<Float>, _ values: UnsafePointer<Float>,
            rows: UnsafeMutablePointer<Float>
        ) {
            let heads = operation.heads, size = plan.size, shared = heads / operation.keyHeads
            io.pool.parallelUnlessStopped(plan.batch * heads) { job in
                let batch = job / heads, head = job % heads
                guard let (before, after) = try? lengths(io, batch) else { return }
                let cache = (batch * operation.keyHeads + head / shared) * plan.present * size
                let scores = rows + job * plan.total
                for query in 0..<plan.sequence {
                    let q = queries + (job * plan.sequence + query) * size
                    // A padded query sees what the last real one sees.
                    let end = min(before + query + 1, after)
                    let start = operation.window.map { max(0, end - $0) } ?? 0
                    score(io, q, keys + cache, scores, batch, head, query, start..<end)
                    let output = io.output(0, as: Float.self) + ((batch * plan.sequence + query) * heads + head) * size
                    output.update(repeating: 0, count: size)
                    for key in start..<end {
                        let weight = scores[key], v = values + cache + key * size
                        for index in 0..<size { output[index] += weight * v[index] }
                    }
                }
            }
        }

        /// Probabilities of the keys in `range`.
        private func score(
            _ io: NodeIO, _ q: UnsafePointer<Float>, _ keys: UnsafePointer<Float>, _ scores: UnsafeMutablePointer<Float>, _ batch: Int,
            _ head: Int, _ query: Int, _ range: Range<Int>
        ) {
            let scale = operation.scale ?? 1 / Float(max(plan.size, 1)).squareRoot(), softcap = operation.softcap
            var greatest = -Float.infinity
            for key in range {
                var score = innerProduct(q, keys + key * plan.size, plan.size) * scale
                if softcap > 0 { score = tanhf(score / softcap) * softcap }
                if let bias {
                    let strides = bias.strides
                    score += io.input(10, as: Float.self)[
                        (bias[0] == 1 ? 0 : batch * strides[0]) + (bias[1] == 1 ? 0 : head * strides[1]) + query * strides[2] + key]
                }
                scores[key] = score
                greatest = max(greatest, score)
            }
            report(io, scores, batch, head, query, range, stage: 1)
            var sum: Float = 0
            let sink: Float? = io.has(11) ? io.input(11, as: Float.self)[head] : operation.isSmooth ? 0 : nil
            if let sink {
                greatest = max(greatest, sink)
                sum = expf(sink - greatest)
            }
            for key in range {
                scores[key] = expf(scores[key] - greatest)
                sum += scores[key]
            }
            for key in range { scores[key] /= sum }
            report(io, scores, batch, head, query, range, stage: 2)
        }

        private func report(
            _ io: NodeIO, _ scores: UnsafePointer<Float>, _ batch: Int, _ head: Int, _ query: Int, _ range: Range<Int>, stage: Int
        ) {
            guard operation.scoresStage == stage, io.hasOutput(3) else { return }
            let target = io.output(3, as: Float.self) + ((batch * operation.heads + head) * plan.sequence + query) * plan.total
            target.update(repeating: 0, count: plan.total)
            (target + range.lowerBound).update(from: scores + range.lowerBound, count: range.count)
        }
    }
}
