import ApusCore
import ApusGraph

/// Scaled dot-product attention: Attention of opsets 23 to 25, and `apus.Attention`, which the optimiser makes.
///
/// Inputs Q, K, V of rank 4, [batch, heads, sequence, size], or rank 3, [batch, sequence, heads · size], with the numbers of
/// heads as attributes; attn_mask, boolean or additive, broadcast to [batch, heads, queries, keys]; past_key, past_value;
/// nonpad_kv_seqlen. `apus.Attention` takes the first four, and attributes q_num_heads, kv_num_heads, scale, is_causal as
/// well as q_layout, k_layout, v_layout, output_layout: of tensors of rank 4, `bnsh` (default) or `bsnh`; for K also `bnhs`.
struct AttentionOperator: Operator {
    static let schemas = [
        Schema("Attention", since: [23, 24, 25], inputs: 3...7, outputs: 1...4),
        Schema("Attention", domain: "apus", since: [1], inputs: 3...4),
    ]

    private let scale: Float?
    private let softcap: Float
    private let isCausal: Bool
    private let queryHeads: Int?
    private let keyHeads: Int?
    private let scoresStage: Int
    private let window: (left: Int, right: Int)
    /// Of Q, K, V and the output.
    private let layouts: [String]
    private let isFused: Bool
    private let zeroesNaN: Bool

    init(_ node: NodeReader) throws {
        isFused = node.domain == "apus"
        zeroesNaN = isFused ? try node.bool("nan_to_zero", default: false) : false
        scale = try node.optionalFloat("scale")
        isCausal = try node.bool("is_causal", default: false)
        queryHeads = try node.optionalInt("q_num_heads")
        keyHeads = try node.optionalInt("kv_num_heads")
        softcap = isFused ? 0 : try node.float("softcap", default: 0)
        scoresStage = isFused ? 0 : try node.int("qk_matmul_output_mode", default: 0)
        if !isFused { _ = try node.optionalInt("softmax_precision") }
        let hasWindow = !isFused && node.opset >= 25
        window = hasWindow
            ? (try node.int("left_window_size", default: -1), try node.int("right_window_size", default: -1)) : (-1, -1)
        let plain = ["bnsh", "bsnh"]
        layouts = !isFused
            ? ["bnsh", "bnsh", "bnsh", "bnsh"]
            : [
                try node.choice("q_layout", of: plain, default: "bnsh"), try node.choice("k_layout", of: plain + ["bnhs"], default: "bnsh"),
                try node.choice("v_layout", of: plain, default: "bnsh"), try node.choice("output_layout", of: plain, default: "bnsh"),
            ]
        guard (0...3).contains(scoresStage) else {
            throw ApusError(.invalidModel, "attribute \"qk_matmul_output_mode\" is \(scoresStage); 0 to 3 expected")
        }
        for (name, heads) in [("q_num_heads", queryHeads), ("kv_num_heads", keyHeads)] {
            if let heads, heads < 1 { throw ApusError(.invalidModel, "attribute \"\(name)\" is \(heads); it must be at least 1") }
        }
        guard window.left >= -1, window.right >= -1 else {
            throw ApusError(.invalidModel, "window sizes must be -1 or more, found \(window.left) and \(window.right)")
        }
        guard node.opset < 24 && !isFused || node.hasInput(5) == node.hasInput(4) else {
            throw ApusError(.invalidModel, "past_key and past_value must be given together")
        }
    }

    // MARK: Shapes

    /// One of Q, K, V: sizes as dimensions.
    private struct Part {
        var batch: Dimension
        var heads: Dimension
        var sequence: Dimension
        var size: Dimension
    }

    private func part(_ index: Int, _ shape: [Dimension]) throws -> Part {
        if shape.count == 3 {
            guard let heads = index == 0 ? queryHeads : keyHeads else {
                throw ApusError(.invalidModel, "inputs of rank 3 need the attributes q_num_heads and kv_num_heads")
            }
            if let size = shape[2].known, size % heads != 0 {
                throw ApusError(.shapeMismatch, "input \(index) \(PartialShape(shape)) cannot be divided into \(heads) heads")
            }
            return Part(batch: shape[0], heads: .known(heads), sequence: shape[1], size: shape[2].floorDivided(by: .known(heads)))
        }
        switch layouts[index] {
        case "bsnh": return Part(batch: shape[0], heads: shape[2], sequence: shape[1], size: shape[3])
        case "bnhs": return Part(batch: shape[0], heads: shape[1], sequence: shape[3], size: shape[2])
        default: return Part(batch: shape[0], heads: shape[1], sequence: shape[2], size: shape[3])
        }
    }

    private func view(_ layout: String, rank: Int, _ sequence: Int, _ heads: Int, _ size: Int) -> AttentionView {
        if rank == 3 || layout == "bsnh" { return .sequenceFirst(sequence, heads, size) }
        if layout == "bnhs" { return AttentionView(batch: heads &* size &* sequence, head: size &* sequence, row: 1, element: sequence) }
        return .headsFirst(sequence, heads, size)
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let floats: [ElementType] = isFused ? [.float32, .float16, .bfloat16] : Types.floats
        let type = try context.type(0, oneOf: floats)
        for index in [1, 2, 4, 5] where context.has(index) { _ = try context.type(index, oneOf: floats) }
        let valueType = try context.type(2)
        if context.has(6) { _ = try context.type(6, oneOf: [.int64]) }
        if context.has(3) { _ = try context.type(3, oneOf: isFused ? floats : Types.numbers + [.bool]) }
        guard let q = try context.dimensions(0, rank: 3...4), let k = try context.dimensions(1, rank: 3...4),
            let v = try context.dimensions(2, rank: 3...4)
        else { return (0..<context.outputCount).map { _ in ValueInfo(type, .unknown) } }
        let (query, key, value) = (try part(0, q), try part(1, k), try part(2, v))
        func equal(_ a: Dimension, _ b: Dimension, _ what: String) throws {
            if let x = a.known, let y = b.known, x != y {
                throw ApusError(.shapeMismatch, "\(what) differ: Q \(PartialShape(q)), K \(PartialShape(k)), V \(PartialShape(v))")
            }
        }
        try equal(query.batch, key.batch, "the batches of Q and K")
        try equal(key.batch, value.batch, "the batches of K and V")
        try equal(query.size, key.size, "the head sizes of Q and K")
        try equal(key.heads, value.heads, "the heads of K and V")
        try equal(key.sequence, value.sequence, "the lengths of K and V")
        if let x = query.heads.known, let y = key.heads.known, y == 0 ? x != 0 : x % y != 0 {
            throw ApusError(.shapeMismatch, "\(x) query heads cannot share \(y) key heads evenly")
        }
        var past = Dimension.known(0)
        for (index, part) in [(4, key), (5, value)] where context.has(index) {
            guard let shape = try context.dimensions(index, rank: 4...4) else {
                past = .unknown
                continue
            }
            past = shape[2]
            try equal(shape[0], part.batch, "the batches of the cache and K")
            try equal(shape[1], part.heads, "the heads of the cache and K")
            try equal(shape[3], part.size, "the head sizes of the cache and of K or V")
        }
        let keys = past + key.sequence
        if context.has(3), let mask = try context.shape(3).concrete(), let target = try PartialShape([query.batch, query.heads, query.sequence, keys]).concrete() {
            // The optimiser may find a scalar added to the scores.
            var padded = isFused && mask.rank == 0 ? [1] : mask.dimensions
            guard let last = padded.last, last <= target[3], mask.rank <= 4 else {
                throw ApusError(.shapeMismatch, "attn_mask of shape \(mask) does not fit scores of shape \(target)")
            }
            // A shorter mask is continued by positions that are masked.
            if last != 1 || !isFused { padded[padded.count - 1] = target[3] }
            guard (try? Shape.broadcast([try Shape(padded), target])) == target else {
                throw ApusError(.shapeMismatch, "attn_mask of shape \(mask) cannot be broadcast to \(target)")
            }
        }
        if context.has(6), let lengths = try context.shape(6).concrete(), let batch = query.batch.known, lengths.count != batch {
            throw ApusError(.shapeMismatch, "nonpad_kv_seqlen has \(lengths.count) elements for a batch of \(batch)")
        }
        let output: PartialShape
        if q.count == 3 {
            output = PartialShape([query.batch, query.sequence, query.heads * value.size])
        } else if layouts[3] == "bsnh" {
            output = PartialShape([query.batch, query.sequence, query.heads, value.size])
        } else {
            output = PartialShape([query.batch, query.heads, query.sequence, value.size])
        }
        let all = [
            ValueInfo(type, output), ValueInfo(try context.type(1), PartialShape([key.batch, key.heads, keys, key.size])),
            ValueInfo(valueType, PartialShape([value.batch, value.heads, keys, value.size])),
            ValueInfo(type, PartialShape([query.batch, query.heads, query.sequence, keys])),
        ]
        return Array(all.prefix(context.outputCount))
    }

    func multiplyAccumulates(_ inputs: [ValueInfo?], _ outputs: [ValueInfo]) -> Int {
        guard let y = try? outputs[0].concreteShape(), let k = try? inputs[1]?.concreteShape(), k.rank >= 3,
            let keys = try? part(1, k.dimensions.map(Dimension.known)).sequence.known
        else { return 0 }
        return FloatProduct.saturatingProduct([2, y.count, keys])
    }

    // MARK: Preparation

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        // Lengths stay integers, and flags flags. Doubles are computed with in float, too.
        try context.through(.float32, Types.numbers.filter { $0 != .float32 }, except: [6], prepareFloat32)
    }

    private func prepareFloat32(_ context: PrepareContext) throws -> any PreparedNode {
        func sizes(_ index: Int) throws -> (batch: Int, heads: Int, sequence: Int, size: Int) {
            let part = try part(index, context.shape(index).dimensions.map(Dimension.known))
            guard let batch = part.batch.known, let heads = part.heads.known, let sequence = part.sequence.known, let size = part.size.known
            else { throw ApusError(.internal, "input \(index) has no known shape") }
            return (batch, heads, sequence, size)
        }
        let (q, k, v) = (try sizes(0), try sizes(1), try sizes(2))
        let past = context.has(4) ? try context.shape(4)[2] : 0
        let keys = try past.adding(k.sequence)
        let qRank = try context.shape(0).rank, kRank = try context.shape(1).rank, vRank = try context.shape(2).rank
        let kView = view(layouts[1], rank: kRank, k.sequence, k.heads, k.size)
        let vView = view(layouts[2], rank: vRank, v.sequence, v.heads, v.size)
        // With a cache, or where the whole is asked for, keys and values are put together first.
        let joins = context.has(4) || context.outputs.count > 1
        let kJoined = AttentionView.headsFirst(keys, k.heads, k.size), vJoined = AttentionView.headsFirst(keys, v.heads, v.size)
        let kBytes = joins ? try checkedProduct([k.batch, k.heads, keys, k.size, 4]).roundedUp(to: Storage.alignment) : 0
        let vBytes = joins ? try checkedProduct([v.batch, v.heads, keys, v.size, 4]).roundedUp(to: Storage.alignment) : 0
        let sizes = AttentionSizes(
            batch: q.batch, heads: q.heads, keyHeads: max(1, k.heads), queries: q.sequence, keys: keys, headSize: q.size, valueSize: v.size)

        let scores = try Shape([q.batch, q.heads, q.sequence, keys])
        let maskShape = context.has(3) ? try context.shape(3) : nil
        let maskType = context.has(3) ? try context.type(3) : .float32
        var maskStrides = [0, 0, 0, 0], maskKeys = 0
        if let maskShape {
            maskKeys = maskShape.dimensions.last ?? 1
            for (axis, stride) in maskShape.strides.enumerated() where maskShape[axis] != 1 {
                maskStrides[axis + 4 - maskShape.rank] = stride
            }
        }
        let isWindowed = window.left >= 0 || window.right >= 0, hasLengths = context.has(6)
        let fills = isCausal || isWindowed || hasLengths || maskType == .bool
            || maskShape != nil && (maskKeys != keys || !isFused)
        let attention = try TiledAttention(
            context, sizes, q: view(layouts[0], rank: qRank, q.sequence, q.heads, q.size), k: joins ? kJoined : kView,
            v: joins ? vJoined : vView, output: view(layouts[3], rank: qRank, q.sequence, q.heads, v.size),
            scale: scale ?? 1 / Float(max(q.size, 1)).squareRoot(), softcap: softcap, fillsMask: fills, zeroesNaN: zeroesNaN,
            scoresStage: scoresStage)
        let isCausal = isCausal, window = window, isFused = isFused
        let total = try kBytes.adding(vBytes).adding(attention.workspaceByteCount)
        let strides = maskStrides, columns = maskKeys
        return PreparedKernel(attention.kernelName, workspace: total) { io in
            var keyData = io.input(1, as: Float.self), valueData = io.input(2, as: Float.self)
            let workspace = io.workspace
            if joins {
                let own = workspace.assumingMemoryBound(to: Float.self), ownValues = (workspace + kBytes).assumingMemoryBound(to: Float.self)
                let allKeys = io.hasOutput(1) ? io.output(1, as: Float.self) : own
                let allValues = io.hasOutput(2) ? io.output(2, as: Float.self) : ownValues
                if past > 0 {
                    copyHeads(
                        batch: k.batch, heads: k.heads, rows: past, size: k.size, from: io.input(4, as: Float.self),
                        .headsFirst(past, k.heads, k.size), to: allKeys, kJoined)
                    copyHeads(
                        batch: v.batch, heads: v.heads, rows: past, size: v.size, from: io.input(5, as: Float.self),
                        .headsFirst(past, v.heads, v.size), to: allValues, vJoined)
                }
                copyHeads(
                    batch: k.batch, heads: k.heads, rows: k.sequence, size: k.size, from: keyData, kView, to: allKeys + past * k.size, kJoined)
                copyHeads(
                    batch: v.batch, heads: v.heads, rows: v.sequence, size: v.size, from: valueData, vView, to: allValues + past * v.size,
                    vJoined)
                keyData = UnsafePointer(allKeys)
                valueData = UnsafePointer(allValues)
            }
            var operands = AttentionOperands(q: io.input(0, as: Float.self), k: keyData, v: valueData, output: io.output(0, as: Float.self))
            if io.hasOutput(3), scores.count > 0 { operands.scores = io.output(3, as: Float.self) }
            let rest = workspace + kBytes + vBytes
            guard fills else {
                if maskShape != nil {
                    operands.mask = io.input(3, as: Float.self)
                    operands.maskView = AttentionView(batch: strides[0], head: strides[1], row: strides[2])
                }
                return attention.run(operands, workspace: rest, pool: io.pool)
            }
            let lengths = hasLengths ? io.input(6, as: Int64.self) : nil
            let mask = maskShape == nil ? nil : io.input(3)
            attention.run(operands, workspace: rest, pool: io.pool) { batch, head, query, row in
                if let mask {
                    let offset = batch * strides[0] + head * strides[1] + query * strides[2]
                    if maskType == .bool {
                        let flags = mask.assumingMemoryBound(to: UInt8.self) + offset
                        for key in 0..<columns { row[key] = flags[key * strides[3]] != 0 ? 0 : -.infinity }
                    } else {
                        let summands = mask.assumingMemoryBound(to: Float.self) + offset
                        for key in 0..<columns { row[key] = summands[key * strides[3]] }
                    }
                    let beyond: Float = columns == 1 && (isFused || keys == 1) ? row[0] : -.infinity
                    for key in columns..<max(columns, keys) { row[key] = beyond }
                } else {
                    row.update(repeating: 0, count: keys)
                }
                let length = lengths.map { Int(clamping: $0[batch]) } ?? keys
                // How many keys precede the first query.
                let offset = past > 0 || lengths == nil ? past : length &- sizes.queries
                let position = offset &+ query
                for key in 0..<keys {
                    if isCausal && key > position || key >= length || window.left >= 0 && position &- key > window.left
                        || window.right >= 0 && key &- position > window.right
                    {
                        row[key] = -.infinity
                    }
                }
            }
        }
    }
}
