import ApusCore
import ApusGraph
import Glibc

/// com.microsoft.GroupQueryAttention: attention with a cache, in which several query heads share one head of keys and values.
///
/// Inputs: query [batch, sequence, hidden] (or queries, keys and values side by side), key, value, past_key and past_value
/// [batch, kv heads, past, size], seqlens_k [batch] (positions in use, less one), total_sequence_length (the greatest of them),
/// cos_cache, sin_cache [positions, half of what is rotated], position_ids, attention_bias, head_sink, k_scale and v_scale of
/// quantised caches, q_norm_weight and k_norm_weight [size]. Outputs: the attention, and the caches with the new positions.
///
/// With `sliding_window_cache` the caches hold the last positions only, contiguously from row 0: `resident` says how many.
struct GroupQueryAttentionOperator: Operator {
    static let schemas = [Schema("GroupQueryAttention", domain: "com.microsoft", since: [1], inputs: 7...16, outputs: 1...4)]

    private let heads: Int
    private let keyHeads: Int
    private let scale: Float?
    private let softcap: Float
    /// Positions up to its own that a query attends to; nil: all.
    private let window: Int?
    private let isCausal: Bool
    /// Whether the caches are as long as the window, or little longer, and positions are dropped from them.
    private let slides: Bool
    private let normEpsilon: Float
    private let codecs: (keys: CacheCodec, values: CacheCodec)
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
        isCausal = try node.bool("causal", default: true)
        slides = try node.bool("sliding_window_cache", default: false)
        normEpsilon = try node.float("qk_norm_epsilon", default: 1e-6)
        let bits = try node.int("kv_cache_bit_width", default: 0)
        codecs = (
            try CacheCodec(node, type: "k_quant_type", bits: bits, scale: 12), try CacheCodec(node, type: "v_quant_type", bits: bits, scale: 13)
        )
        guard isCausal || self.window == nil, !slides || self.window != nil && node.hasInput(3) else {
            throw ApusError(.invalidModel, "local_window_size \(window) does not go with causal \(isCausal ? 1 : 0) and a cache that \(slides ? "slides" : "grows")")
        }
        guard node.hasInput(14) == node.hasInput(15) else {
            throw ApusError(.invalidModel, "q_norm_weight and k_norm_weight must be given together")
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
        var present: Int
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
        var plan = Plan(batch: q[0], sequence: q[1], size: q[2] / all, past: 0, total: total, present: total, isPacked: isPacked)
        for index in [1, 2] {
            if let other = try shape(index), other.dimensions != [plan.batch, plan.sequence, keyHeads * plan.size] {
                throw wrong(index, other, "[\(plan.batch),\(plan.sequence),\(keyHeads * plan.size)]")
            }
        }
        if let past = try shape(3) { plan.past = past.rank == 4 ? past[2] : 0 }
        for index in [3, 4] {
            let width = (index == 3 ? codecs.keys : codecs.values).width(plan.size)
            if let past = try shape(index), past.dimensions != [plan.batch, keyHeads, plan.past, width] {
                throw wrong(index, past, "[\(plan.batch),\(keyHeads),past,\(width)]")
            }
        }
        plan.present = slides ? plan.past : max(plan.past, total)
        if slides, plan.past < window ?? 0 {
            throw ApusError(.shapeMismatch, "the caches have room for \(plan.past) positions, the window is \(window ?? 0)")
        }
        for (index, codec) in [(12, codecs.keys), (13, codecs.values)] {
            if let scales = try shape(index) { try codec.check(scales, heads: keyHeads, size: plan.size) }
        }
        for index in [14, 15] {
            if let weights = try shape(index), weights.dimensions != [plan.size] { throw wrong(index, weights, "[\(plan.size)]") }
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
        _ = try context.commonType([0, 1, 2, 7, 8, 10, 11, 14, 15])
        let types = [type, try codecs.keys.type(context, 3, type), try codecs.values.type(context, 4, type), type]
        for index in [5, 6] { _ = try context.type(index, oneOf: [.int32]) }
        if context.has(9) { _ = try context.type(9, oneOf: [.int64]) }
        for index in [12, 13] where context.has(index) { _ = try context.type(index, oneOf: [.float32]) }
        let total = try context.integers(6)?.first
        guard let plan = try plan({ context.has($0) ? try context.shape($0).concrete() : nil }, total: total) else {
            let q = try context.dimensions(0, rank: 3...3)
            let all = context.has(1) ? heads : heads + 2 * keyHeads
            let size = q?[2].floorDivided(by: .known(all)) ?? .unknown
            let cache = PartialShape([q?[0] ?? .unknown, .known(keyHeads), .unknown, codecs.keys.isPacked || codecs.values.isPacked ? .unknown : size])
            let shapes = [PartialShape([q?[0] ?? .unknown, q?[1] ?? .unknown, size * .known(heads)]), cache, cache,
                PartialShape([q?[0] ?? .unknown, .known(heads), q?[1] ?? .unknown, .unknown])]
            return (0..<context.outputCount).map { ValueInfo(types[$0], shapes[$0]) }
        }
        let shapes = [
            [plan.batch, plan.sequence, heads * plan.size], [plan.batch, keyHeads, plan.present, codecs.keys.width(plan.size)],
            [plan.batch, keyHeads, plan.present, codecs.values.width(plan.size)], [plan.batch, heads, plan.sequence, plan.total],
        ]
        return try (0..<context.outputCount).map { ValueInfo(types[$0], try Shape(shapes[$0])) }
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
        // Keys and values as floats lie in the outputs where these are nothing else.
        let room = slides ? try plan.past.adding(plan.sequence) : plan.present
        let cacheBytes = try checkedProduct([plan.batch, keyHeads, room, plan.size, 4]).roundedUp(to: Storage.alignment)
        let rowBytes = try checkedProduct([plan.batch, heads, plan.total, 4])
        let codeBytes = try checkedProduct([plan.batch, plan.sequence, keyHeads, plan.size, 4]).roundedUp(to: Storage.alignment)
        let workspace = try queryBytes.adding(cacheBytes.multiplied(by: 2)).adding(codeBytes).adding(rowBytes)
        let codecs = (keys: try codecs.keys.resolved(context), values: try codecs.values.resolved(context))
        let work = Work(operation: self, plan: plan, codecs: codecs, room: room, rotary: rotary, bias: bias)
        let keysAreOutput = !slides && !codecs.keys.isQuantized, valuesAreOutput = !slides && !codecs.values.isQuantized
        return PreparedKernel("group query attention", workspace: workspace) { io in
            let queries = io.workspace.assumingMemoryBound(to: Float.self)
            let ownKeys = (io.workspace + queryBytes).assumingMemoryBound(to: Float.self)
            let ownValues = (io.workspace + queryBytes + cacheBytes).assumingMemoryBound(to: Float.self)
            let keys = keysAreOutput && io.hasOutput(1) ? io.output(1, as: Float.self) : ownKeys
            let values = valuesAreOutput && io.hasOutput(2) ? io.output(2, as: Float.self) : ownValues
            let codes = io.workspace + queryBytes + 2 * cacheBytes
            try work.gather(io, queries, keys, values, codes: codes)
            work.attend(io, queries, keys, values, rows: (codes + codeBytes).assumingMemoryBound(to: Float.self))
        }
    }

    /// What one run does.
    private struct Work: Sendable {
        let operation: GroupQueryAttentionOperator
        let plan: Plan
        let codecs: (keys: CacheCodec, values: CacheCodec)
        /// Positions of the caches as floats.
        let room: Int
        let rotary: Shape?
        let bias: Shape?

        /// Of image `batch`: rows of the cache in use before the new positions and after them, and the position of row 0.
        private func lengths(_ io: NodeIO, _ batch: Int) throws -> (before: Int, after: Int, first: Int) {
            let after = Int(io.input(5, as: Int32.self)[batch]) + 1
            guard after >= 1, after <= plan.total else {
                throw ApusError(.invalidValue, "seqlens_k says \(after - 1) for batch \(batch), total_sequence_length \(plan.total)")
            }
            // The first call has no past; shorter sequences of its batch are padded on the right.
            if plan.sequence == plan.total { return (0, after, 0) }
            let old = after - plan.sequence
            let kept = operation.slides && old > 0 ? resident(old) : old
            guard old >= 0, kept <= plan.past else {
                throw ApusError(.invalidValue, "batch \(batch) has \(after) positions of which \(plan.sequence) are new, the past has \(plan.past)")
            }
            return (kept, kept + plan.sequence, old - kept)
        }

        /// How many positions a sliding cache holds after `count`: positions are dropped so many at a time that the cache is full of
        /// them, but for the window.
        private func resident(_ count: Int) -> Int {
            guard count > plan.past else { return count }
            let step = plan.past - (operation.window ?? 0) + 1
            return count - step * ((count - plan.past + step - 1) / step)
        }

        /// Rotated queries, [batch, heads, sequence, size], and the caches with the new keys and values.
        func gather(
            _ io: NodeIO, _ queries: UnsafeMutablePointer<Float>, _ keys: UnsafeMutablePointer<Float>, _ values: UnsafeMutablePointer<Float>,
            codes: UnsafeMutableRawPointer
        ) throws {
            let isMade = operation.slides
            let (heads, keyHeads, size) = (operation.heads, operation.keyHeads, plan.size)
            let width = plan.isPacked ? (heads + 2 * keyHeads) * size : heads * size
            let keyWidth = plan.isPacked ? width : keyHeads * size
            let query = io.input(0, as: Float.self)
            let key = plan.isPacked ? query + heads * size : io.input(1, as: Float.self)
            let value = plan.isPacked ? query + (heads + keyHeads) * size : io.input(2, as: Float.self)
            let norms = io.has(14) ? (query: io.input(14, as: Float.self), key: io.input(15, as: Float.self)) : nil
            for batch in 0..<plan.batch {
                let (before, after, first) = try lengths(io, batch)
                let rows = try positions(io, batch, first + before)
                for head in 0..<keyHeads {
                    let index = batch * keyHeads + head, place = index * room * size
                    let new = place + before * size
                    for position in 0..<plan.sequence {
                        let source = (batch * plan.sequence + position) * keyWidth + head * size, target = new + position * size
                        turn(io, key + source, keys + target, row: rows(position), norm: norms?.key)
                        (values + target).update(from: value + source, count: size)
                    }
                    let parts: [(Int, CacheCodec, UnsafeMutablePointer<Float>)] = [
                        (3, codecs.keys, keys + place), (4, codecs.values, values + place),
                    ]
                    for (input, codec, cache) in parts {
                        let bytes = codec.byteCount(size), scales = codec.scales(io, head: head, size: size)
                        let old = io.has(input) ? io.input(input) + index * plan.past * bytes : nil
                        if let old { codec.decode(old, cache, rows: before, size: size, scales) }
                        guard isMade || codec.isQuantized else {
                            // The cache is the output.
                            (cache + (before + plan.sequence) * size).update(repeating: 0, count: max(0, room - before - plan.sequence) * size)
                            continue
                        }
                        // What is new is quantised before it is attended to.
                        let fresh = cache + before * size, made = codes + index * plan.sequence * bytes
                        codec.encode(fresh, made, rows: plan.sequence, size: size, scales)
                        codec.decode(made, fresh, rows: plan.sequence, size: size, scales)
                        guard io.hasOutput(input - 2) else { continue }
                        let output = io.output(input - 2) + index * plan.present * bytes
                        let kept = operation.slides ? resident(first + after) : after, dropped = after - kept
                        let moved = max(0, before - dropped), skipped = max(0, dropped - before)
                        if let old { output.copyMemory(from: old + dropped * bytes, byteCount: moved * bytes) }
                        (output + moved * bytes).copyMemory(from: made + skipped * bytes, byteCount: (kept - moved) * bytes)
                        let rest = (plan.present - kept) * bytes
                        if rest > 0 { (output + kept * bytes).initializeMemory(as: UInt8.self, repeating: 0, count: rest) }
                    }
                }
                for head in 0..<heads {
                    for position in 0..<plan.sequence {
                        turn(
                            io, query + (batch * plan.sequence + position) * width + head * size,
                            queries + ((batch * heads + head) * plan.sequence + position) * size, row: rows(position), norm: norms?.query)
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

        /// Copies a head, scaled by its root mean square and the front rotated where the node asks for it.
        private func turn(_ io: NodeIO, _ x: UnsafePointer<Float>, _ y: UnsafeMutablePointer<Float>, row: Int, norm: UnsafePointer<Float>?) {
            y.update(from: x, count: plan.size)
            if let norm {
                let scale = 1 / (innerProduct(x, x, plan.size) / Float(max(plan.size, 1)) + operation.normEpsilon).squareRoot()
                for index in 0..<plan.size { y[index] = x[index] * scale * norm[index] }
            }
            guard let half = rotary?[1] else { return }
            let cos = io.input(7, as: Float.self) + row * half, sin = io.input(8, as: Float.self) + row * half
            for index in 0..<half {
                let first = operation.isInterleaved ? 2 * index : index, second = operation.isInterleaved ? first + 1 : first + half
                let (a, b) = (y[first], y[second])
                y[first] = cos[index] * a - sin[index] * b
                y[second] = sin[index] * a + cos[index] * b
            }
        }

        func attend(
            _ io: NodeIO, _ queries: UnsafePointer<Float>, _ keys: UnsafePointer<Float>, _ values: UnsafePointer<Float>,
            rows: UnsafeMutablePointer<Float>
        ) {
            let heads = operation.heads, size = plan.size, shared = heads / operation.keyHeads
            io.pool.parallelUnlessStopped(plan.batch * heads) { job in
                let batch = job / heads, head = job % heads
                guard let (before, after, first) = try? lengths(io, batch) else { return }
                let cache = (batch * operation.keyHeads + head / shared) * room * size
                let scores = rows + job * plan.total
                for query in 0..<plan.sequence {
                    let q = queries + (job * plan.sequence + query) * size
                    // A padded query sees what the last real one sees.
                    let end = operation.isCausal ? min(before + query + 1, after) : after
                    let start = operation.window.map { max(0, end - $0) } ?? 0
                    score(io, q, keys + cache, scores, batch, head, query, start..<end, first: first)
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
            _ head: Int, _ query: Int, _ range: Range<Int>, first: Int
        ) {
            let scale = operation.scale ?? 1 / Float(max(plan.size, 1)).squareRoot(), softcap = operation.softcap
            var greatest = -Float.infinity
            for key in range {
                var score = innerProduct(q, keys + key * plan.size, plan.size) * scale
                if softcap > 0 { score = tanhf(score / softcap) * softcap }
                if let bias {
                    let strides = bias.strides
                    score += io.input(10, as: Float.self)[
                        (bias[0] == 1 ? 0 : batch * strides[0]) + (bias[1] == 1 ? 0 : head * strides[1]) + query * strides[2] + first + key]
                }
                scores[key] = score
                greatest = max(greatest, score)
            }
            report(io, scores, batch, head, query, range, first: first, stage: 1)
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
            report(io, scores, batch, head, query, range, first: first, stage: 2)
        }

        private func report(
            _ io: NodeIO, _ scores: UnsafePointer<Float>, _ batch: Int, _ head: Int, _ query: Int, _ range: Range<Int>, first: Int, stage: Int
        ) {
            guard operation.scoresStage == stage, io.hasOutput(3) else { return }
            let target = io.output(3, as: Float.self) + ((batch * operation.heads + head) * plan.sequence + query) * plan.total
            target.update(repeating: 0, count: plan.total)
            (target + first + range.lowerBound).update(from: scores + range.lowerBound, count: range.count)
        }
    }
}
