import ApusCore
import ApusGraph
import CApusKernels
import Glibc

/// com.microsoft.Attention (one product makes Q, K and V), QAttention (the same of 8-bit integers) and MultiHeadAttention (Q, K
/// and V are inputs, which may be packed as [batch, sequence, heads, 3, size], or K and V as [batch, keys, heads, 2, size]), and
/// DecoderMaskedMultiHeadAttention (the same with other inputs; what is packed is [batch, sequence, 3 · hidden]).
///
/// Masks count as onnxruntime has them: masked positions get `mask_filter_value`, later ones of a causal mask the least number.
/// With `past_sequence_length` the cache is a buffer of fixed length, of which that many positions are filled. With
/// `cache_indirection`, [batch / beams, beams, positions], each says which of a batch's beams the cached position is taken from.
struct ContributedAttentionOperator: Operator {
    /// Positions of the inputs; nil: the operator has none of that kind.
    private struct Form: Sendable {
        var inputs: ClosedRange<Int>
        var outputs: ClosedRange<Int>
        /// The matrix that makes Q, K and V.
        var weights: Int?
        var bias: Int
        var mask: Int
        var added: Int?
        var past: Int
        /// Where the cache is two tensors, the other one.
        var pastValues: Int?
        var pastLength: Int?
        var indirection: Int?
        var quantized: QuantizedProjection.Inputs?
        var floats: [Int]
    }

    private static let forms: [String: Form] = [
        "Attention": Form(
            inputs: 2...7, outputs: 1...2, weights: 1, bias: 2, mask: 3, added: 5, past: 4, pastLength: 6, floats: [0, 1, 2, 4, 5]),
        "MultiHeadAttention": Form(
            inputs: 1...10, outputs: 1...4, bias: 3, mask: 4, added: 5, past: 6, pastValues: 7, pastLength: 8, indirection: 9,
            floats: [0, 1, 2, 3, 5, 6, 7]),
        "DecoderMaskedMultiHeadAttention": Form(
            inputs: 1...11, outputs: 1...4, bias: 10, mask: 3, added: 4, past: 5, pastValues: 6, pastLength: 7, indirection: 9,
            floats: [0, 1, 2, 4, 5, 6, 10]),
        "QAttention": Form(
            inputs: 5...9, outputs: 1...2, weights: 1, bias: 2, mask: 5, past: 8,
            quantized: .init(a: 0, b: 1, aScale: 3, aZeroPoint: 6, bScale: 4, bZeroPoint: 7, bias: 2), floats: [2, 3, 4, 8]),
    ]

    static let schemas = forms.sorted { $0.key < $1.key }.map {
        Schema($0.key, domain: "com.microsoft", since: [1], inputs: $0.value.inputs, outputs: $0.value.outputs)
    }

    private let form: Form
    private let heads: Int
    private let isCausal: Bool
    private let scale: Float?
    private let filter: Float
    private let hiddenSizes: [Int]?
    /// Whether the cache has room for more than it holds.
    private let hasPastLength: Bool
    private let isDecoder: Bool
    /// How many elements of each head of Q and K are rotated; nil: none, 0: all.
    private let rotated: Int?

    private var isMultiHead: Bool { form.weights == nil }

    init(_ node: NodeReader) throws {
        guard let form = Self.forms[node.opType] else { throw ApusError(.internal, "\(node.opType) has no form") }
        self.form = form
        heads = try node.int("num_heads")
        isDecoder = node.opType == "DecoderMaskedMultiHeadAttention"
        isCausal = isDecoder ? false : try node.bool("unidirectional", default: false)
        scale = try node.optionalFloat("scale").flatMap { $0 == 0 ? nil : $0 }
        filter = try node.float("mask_filter_value", default: -10000)
        let isPlain = form.weights != nil && form.quantized == nil
        hiddenSizes = isPlain ? try node.optionalInts("qkv_hidden_sizes").flatMap { $0.isEmpty ? nil : $0 } : nil
        guard heads >= 1 else { throw ApusError(.invalidModel, "attribute \"num_heads\" is \(heads); it must be at least 1") }
        hasPastLength = form.pastLength.map(node.hasInput) ?? false
        if form.weights != nil {
            let dimension = isPlain ? try node.int("rotary_embedding_dim", default: 0) : 0
            rotated = try node.bool("do_rotary", default: false) ? dimension : nil
            let shares = try node.bool("past_present_share_buffer", default: false)
            guard shares == hasPastLength else {
                throw ApusError(.invalidModel, "past_sequence_length must be given where past_present_share_buffer is set, and only there")
            }
        } else {
            rotated = nil
        }
        if isDecoder { for name in ["past_present_share_buffer", "output_qk"] { _ = try node.bool(name, default: false) } }
        if let hiddenSizes {
            guard hiddenSizes.count == 3, hiddenSizes.allSatisfy({ $0 >= 0 && $0 % heads == 0 }), hiddenSizes[0] == hiddenSizes[1] else {
                throw ApusError(.invalidModel, "qkv_hidden_sizes \(hiddenSizes) must be three multiples of \(heads), the first two equal")
            }
        }
        if let pastValues = form.pastValues, node.hasInput(form.past) != node.hasInput(pastValues) {
            throw ApusError(.invalidModel, "past_key and past_value must be given together")
        }
        guard !hasPastLength || node.hasInput(form.past) else {
            throw ApusError(.invalidModel, "past_sequence_length needs a cache")
        }
    }

    var parameterInputs: [Int] { hasPastLength ? form.pastLength.map { [$0] } ?? [] : [] }

    /// Concrete sizes, and where Q, K and V come from.
    private struct Plan {
        var batch: Int
        var queries: Int
        /// Without the cache.
        var keys: Int
        var past: Int
        /// Positions of the cache, filled or not; nil: as many as are filled.
        var capacity: Int?
        var size: Int
        var valueSize: Int
        var q: AttentionView
        var k: AttentionView
        var v: AttentionView

        /// Positions of the cache after the run.
        var present: Int { capacity ?? past + keys }
    }

    /// nil: a shape, or the filled part of the cache, is not known yet.
    private func plan(
        _ shape: (Int) throws -> Shape?, isMissing: (Int) throws -> Bool, integers: (Int) throws -> [Int]?
    ) throws -> Plan? {
        guard let q = try shape(0) else { return nil }
        func wrong(_ index: Int, _ found: Shape, _ expected: String) -> ApusError {
            ApusError(.shapeMismatch, "input \(index) has shape \(found), \(expected) expected")
        }
        guard q.rank == 3 || q.rank == 5 && isMultiHead else { throw wrong(0, q, "[batch, sequence, hidden]") }
        let none = AttentionView(batch: 0, head: 0, row: 0)
        var plan = Plan(batch: q[0], queries: q[1], keys: q[1], past: 0, size: 0, valueSize: 0, q: none, k: none, v: none)
        if q.rank == 5 {
            guard q[2] == heads, q[3] == 3 else { throw wrong(0, q, "[batch, sequence, \(heads), 3, size]") }
            (plan.size, plan.valueSize) = (q[4], q[4])
            plan.q = .packed(q[1], heads, 3, q[4])
            (plan.k, plan.v) = (plan.q, plan.q)
        } else if isMultiHead, isDecoder, try isMissing(1) {
            guard q[2] % (3 * heads) == 0 else { throw wrong(0, q, "[batch, sequence, 3 · hidden], hidden a multiple of \(heads)") }
            (plan.size, plan.valueSize) = (q[2] / 3 / heads, q[2] / 3 / heads)
            plan.q = AttentionView(batch: plan.queries &* q[2], head: plan.size, row: q[2])
            (plan.k, plan.v) = (plan.q, plan.q)
        } else if isMultiHead {
            guard let k = try shape(1) else { return nil }
            guard q[2] % heads == 0 else { throw wrong(0, q, "a hidden size that \(heads) divides") }
            plan.size = q[2] / heads
            plan.q = .sequenceFirst(q[1], heads, plan.size)
            if k.rank == 5 {
                guard k[0] == q[0], k[2] == heads, k[3] == 2, k[4] == plan.size else { throw wrong(1, k, "[batch, keys, \(heads), 2, \(plan.size)]") }
                (plan.keys, plan.valueSize) = (k[1], plan.size)
                plan.k = .packed(k[1], heads, 2, k[4])
                plan.v = plan.k
            } else if k.rank == 4 {
                guard let v = try shape(2) else { return nil }
                guard k[0] == q[0], k[1] == heads, k[3] == plan.size else { throw wrong(1, k, "[batch, heads, keys, size]") }
                guard v.rank == 4, v[0] == q[0], v[1] == heads, v[2] == k[2] else { throw wrong(2, v, "[batch, heads, keys, size]") }
                (plan.keys, plan.valueSize) = (k[2], v[3])
                (plan.k, plan.v) = (.headsFirst(k[2], heads, plan.size), .headsFirst(k[2], heads, v[3]))
            } else {
                guard let v = try shape(2) else { return nil }
                guard k.rank == 3, k[0] == q[0], k[2] == q[2] else { throw wrong(1, k, "[\(q[0]), keys, \(q[2])]") }
                guard v.rank == 3, v[0] == q[0], v[1] == k[1], v[2] % heads == 0 else { throw wrong(2, v, "[\(q[0]), \(k[1]), hidden]") }
                (plan.keys, plan.valueSize) = (k[1], v[2] / heads)
                (plan.k, plan.v) = (.sequenceFirst(k[1], heads, plan.size), .sequenceFirst(k[1], heads, plan.valueSize))
            }
        } else if let weights = form.weights {
            guard let w = try shape(weights) else { return nil }
            guard w.rank == 2, w[0] == q[2] else { throw wrong(weights, w, "[\(q[2]), hidden sizes of Q, K, V]") }
            let sizes = hiddenSizes ?? [w[1] / 3, w[1] / 3, w[1] / 3]
            guard try sizes[0].multiplied(by: 2).adding(sizes[2]) == w[1], sizes[0] % heads == 0, sizes[2] % heads == 0 else {
                throw wrong(weights, w, "a width that makes Q, K and V of \(heads) heads")
            }
            (plan.size, plan.valueSize) = (sizes[0] / heads, sizes[2] / heads)
            plan.q = AttentionView(batch: plan.queries &* w[1], head: plan.size, row: w[1])
            (plan.k, plan.v) = (plan.q, AttentionView(batch: plan.queries &* w[1], head: plan.valueSize, row: w[1]))
        }
        if let rotated, rotated < 0 || rotated > plan.size || (rotated == 0 ? plan.size : rotated) % 2 != 0 {
            throw ApusError(.invalidModel, "\(rotated == 0 ? plan.size : rotated) elements cannot be rotated in heads of \(plan.size)")
        }
        if let past = try shape(form.past) {
            var length: Int
            if let index = form.pastValues {
                guard let values = try shape(index) else { return nil }
                guard past.rank == 4, past[0] == q[0], past[1] == heads, past[3] == plan.size else {
                    throw wrong(form.past, past, "[batch, heads, past, size]")
                }
                guard values.rank == 4, values[0] == q[0], values[1] == heads, values[2] == past[2], values[3] == plan.valueSize else {
                    throw wrong(index, values, "[batch, heads, past, size]")
                }
                length = past[2]
            } else {
                guard past.rank == 5, past[0] == 2, past[1] == q[0], past[2] == heads, past[4] == plan.size, plan.size == plan.valueSize else {
                    throw wrong(form.past, past, "[2, batch, heads, past, size]")
                }
                length = past[3]
            }
            if hasPastLength, let index = form.pastLength {
                guard let given = try integers(index) else { return nil }
                guard given.count == 1, given[0] >= 0, try given[0].adding(plan.keys) <= length else {
                    throw ApusError(.invalidValue, "past_sequence_length is \(given); a cache of \(length) must hold it and \(plan.keys) more")
                }
                (plan.capacity, length) = (length, given[0])
            }
            plan.past = length
        }
        let width = try plan.size.multiplied(by: 2).adding(plan.valueSize).multiplied(by: heads)
        if let bias = try shape(form.bias), bias.dimensions != [width] { throw wrong(form.bias, bias, "[\(width)]") }
        let total = try plan.past.adding(plan.keys)
        if let mask = try shape(form.mask) {
            let fits =
                switch mask.rank {
                case 1: mask[0] == plan.batch || mask[0] == 2 * plan.batch && !isMultiHead || mask[0] == 3 * plan.batch + 2
                case 2: mask[0] == plan.batch && (mask[1] == total || mask[1] == plan.keys && isMultiHead)
                case 3: mask.dimensions == [plan.batch, plan.queries, total]
                case 4: mask[0] == plan.batch && mask[1] == 1 && mask[2] >= total && mask[3] >= total
                default: false
                }
            guard fits else { throw wrong(form.mask, mask, "[\(plan.batch)], [\(plan.batch),\(total)] or [\(plan.batch),\(plan.queries),\(total)]") }
        }
        if let index = form.indirection, let beams = try shape(index) {
            guard beams.rank == 3, try beams[0].multiplied(by: beams[1]) == plan.batch, beams[2] >= plan.past, hasPastLength else {
                throw wrong(index, beams, "[batches, beams, positions], for a batch of \(plan.batch) and \(plan.past) positions of a shared cache,")
            }
        }
        if let index = form.added, let added = try shape(index) {
            let target = try Shape([plan.batch, heads, plan.queries, total])
            guard added.rank == 4, added[3] == total, added[2] == plan.queries, (try? Shape.broadcast([added, target])) == target else {
                throw wrong(index, added, "\(target)")
            }
        }
        return plan
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.commonType(form.floats)
        guard [.float32, .float16, .bfloat16].contains(type) else {
            throw ApusError(.typeMismatch, "inputs must be float, float16 or bfloat16, found \(type.name)")
        }
        try form.quantized?.check(context)
        for index in [form.mask, form.pastLength ?? form.mask, form.indirection ?? form.mask] where context.has(index) { _ = try context.type(index, oneOf: [.int32]) }
        if isMultiHead, !isDecoder || context.has(1), let rank = try context.shape(0).rank, rank != 5 {
            let keyRank = try context.shape(1).rank
            guard keyRank == nil || keyRank == 5 || context.has(2) else { throw ApusError(.invalidModel, "input 2 is missing") }
        }
        let plan = try plan(
            { context.has($0) ? try context.shape($0).concrete() : nil }, isMissing: { !context.has($0) }, integers: { try context.integers($0) })
        guard let plan else {
            let q = try context.shape(0).dimensions
            var width = Dimension.unknown
            if let hiddenSizes {
                width = .known(hiddenSizes[2])
            } else if isMultiHead, isDecoder, !context.has(1) {
                width = (q?.last ?? .unknown).floorDivided(by: .known(3))
            } else if isMultiHead {
                if context.has(2), let values = try context.shape(2).dimensions, let last = values.last {
                    width = values.count == 3 ? last : last * .known(heads)
                } else if let packed = context.has(1) ? try context.shape(1).dimensions : q, let last = packed.last {
                    width = last * .known(heads)
                }
            } else if let weights = form.weights, let last = try context.shape(weights).dimensions?.last {
                width = last.floorDivided(by: .known(3))
            }
            let others = PartialShape.ofRank(isMultiHead ? 4 : 5)
            return (0..<context.outputCount).map {
                ValueInfo(type, $0 > 0 ? others : PartialShape([q?.first ?? .unknown, q?.dropFirst().first ?? .unknown, width]))
            }
        }
        let total = try plan.past.adding(plan.keys)
        let cache = isMultiHead ? [plan.batch, heads, plan.present, plan.size] : [2, plan.batch, heads, plan.present, plan.size]
        let shapes = [
            [plan.batch, plan.queries, try heads.multiplied(by: plan.valueSize)], cache,
            [plan.batch, heads, plan.present, plan.valueSize], [plan.batch, heads, plan.queries, total],
        ]
        guard context.outputCount < 2 || isMultiHead || plan.size == plan.valueSize else {
            throw ApusError(.shapeMismatch, "a cache needs heads of one size, found \(plan.size) and \(plan.valueSize)")
        }
        return try (0..<context.outputCount).map { ValueInfo(type, try Shape(shapes[$0])) }
    }

    func multiplyAccumulates(_ inputs: [ValueInfo?], _ outputs: [ValueInfo]) -> Int {
        let known = try? plan(
            { inputs.indices.contains($0) ? try inputs[$0]?.concreteShape() : nil },
            isMissing: { !inputs.indices.contains($0) || inputs[$0] == nil }, integers: { try inputs[$0]?.constant?.asTensor().integers() })
        guard let plan = known else { return 0 }
        let scores = FloatProduct.saturatingProduct([plan.batch, heads, plan.queries, plan.past + plan.keys, plan.size + plan.valueSize])
        let width = FloatProduct.saturatingProduct([heads, 2 * plan.size + plan.valueSize])
        let rows = form.weights.flatMap { (try? inputs[$0]?.concreteShape())??[0] } ?? 0
        let projection = FloatProduct.saturatingProduct([plan.batch, plan.queries, rows, width])
        return scores.addingReportingOverflow(projection).partialValue
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        try context.throughFloat32(prepareFloat32)
    }

    private func prepareFloat32(_ context: PrepareContext) throws -> any PreparedNode {
        let known = try plan(
            { context.has($0) ? try context.shape($0) : nil }, isMissing: { !context.has($0) }, integers: { try context.integers($0) })
        guard let plan = known else { throw ApusError(.internal, "attention is prepared without shapes") }
        let heads = heads, form = form, total = try plan.past.adding(plan.keys)
        let (size, valueSize) = (plan.size, plan.valueSize)
        let qWidth = heads * size, vWidth = heads * valueSize, width = 2 * qWidth + vWidth
        let rows = try plan.batch.multiplied(by: plan.queries)
        // The product that makes Q, K and V, side by side in each row.
        let projection = try form.weights.map { weights in
            let depth = try context.shape(weights)[0]
            if let inputs = form.quantized { return try QuantizedProjection.call(context, inputs, m: rows, n: width, k: depth) }
            let product = try BatchedProduct(
                .init(batch: [], batchStrides: [], matrix: MatrixLayout(rows: rows, columns: depth, rowStride: depth, columnStride: 1)),
                .init(batch: [], batchStrides: [], matrix: MatrixLayout(rows: depth, columns: width, rowStride: width, columnStride: 1)),
                budget: context.packed.budget)
            return try product.call(context, a: 0, b: weights, bias: context.has(form.bias) ? form.bias : nil)
        }
        let projected = projection == nil ? 0 : try checkedProduct([rows, width, 4]).roundedUp(to: Storage.alignment)
        // Where Q, K and V begin in the memory that holds them together.
        let packing: (key: Int, value: Int)? =
            if projection != nil || isDecoder && !context.has(1) { (qWidth, 2 * qWidth) } else if try context.shape(0).rank == 5 { (size, 2 * size) } else { nil }
        let isKeyPacked = packing == nil ? try context.shape(1).rank == 5 : false

        let hasBias = isMultiHead && context.has(form.bias), hasPast = context.has(form.past)
        let keepsCache = context.outputs.count > 1
        let joins = hasPast || keepsCache || hasBias
        let present = plan.present
        let keyJoined = AttentionView.headsFirst(present, heads, size), valueJoined = AttentionView.headsFirst(present, heads, valueSize)
        let queryBytes = hasBias ? try checkedProduct([plan.batch, plan.queries, qWidth, 4]).roundedUp(to: Storage.alignment) : 0
        let keyBytes = joins ? try checkedProduct([plan.batch, present, qWidth, 4]).roundedUp(to: Storage.alignment) : 0
        let valueBytes = joins ? try checkedProduct([plan.batch, present, vWidth, 4]).roundedUp(to: Storage.alignment) : 0
        // Keys and values as the beams' histories have them.
        let indirection = form.indirection.flatMap { context.has($0) ? $0 : nil }
        let beams = try indirection.map { try context.shape($0) }
        let beamBytes = indirection == nil ? 0 : try checkedProduct([plan.batch, total, qWidth + vWidth, 4]).roundedUp(to: Storage.alignment)
        let maskShape = context.has(form.mask) ? try context.shape(form.mask) : nil
        let addedIndex = form.added.flatMap { context.has($0) ? $0 : nil }
        let addedStrides = try addedIndex.map {
            try context.shape($0).broadcastStrides(to: try Shape([plan.batch, heads, plan.queries, total]))
        } ?? []
        let fills = isCausal || maskShape != nil
        let dense = AttentionView.sequenceFirst(plan.queries, heads, size)
        let attention = try TiledAttention(
            context,
            AttentionSizes(
                batch: plan.batch, heads: heads, keyHeads: heads, queries: plan.queries, keys: total, headSize: size, valueSize: valueSize),
            q: hasBias ? dense : plan.q, k: indirection != nil ? .headsFirst(total, heads, size) : joins ? keyJoined : plan.k,
            v: indirection != nil ? .headsFirst(total, heads, valueSize) : joins ? valueJoined : plan.v,
            output: .sequenceFirst(plan.queries, heads, valueSize), scale: scale ?? 1 / Float(max(size, 1)).squareRoot(), fillsMask: fills,
            scoresStage: 2)
        let fixed = try projected.adding(queryBytes).adding(keyBytes).adding(valueBytes).adding(beamBytes)
        let workspaceBytes = try fixed.adding(max(projection?.workspaceByteCount ?? 0, attention.workspaceByteCount))
        let (isMultiHead, isCausal, filter, rotated) = (isMultiHead, isCausal, filter, rotated)
        // Positions of the cache that are copied: what is not filled stays as it was.
        let copied = hasPast ? plan.capacity ?? plan.past : 0
        return PreparedKernel(attention.kernelName, workspace: workspaceBytes) { io in
            let workspace = io.workspace
            let rest = workspace + fixed
            var q: UnsafePointer<Float>
            if let projection {
                let made = workspace.assumingMemoryBound(to: Float.self)
                projection.compute(io, made, rest)
                if let rotated { rotate(made, plan, width: width, count: rotated == 0 ? size : rotated) }
                q = UnsafePointer(made)
            } else {
                q = io.input(0, as: Float.self)
            }
            var k: UnsafePointer<Float>, v: UnsafePointer<Float>
            if let packing {
                (k, v) = (q + packing.key, q + packing.value)
            } else {
                k = io.input(1, as: Float.self)
                v = isKeyPacked ? k + size : io.input(2, as: Float.self)
            }
            let biases = hasBias ? io.input(form.bias, as: Float.self) : nil
            if hasBias {
                let own = (workspace + projected).assumingMemoryBound(to: Float.self)
                copyHeads(batch: plan.batch, heads: heads, rows: plan.queries, size: size, from: q, plan.q, to: own, dense, bias: biases)
                q = UnsafePointer(own)
            }
            if joins {
                var keys = (workspace + projected + queryBytes).assumingMemoryBound(to: Float.self)
                var values = (workspace + projected + queryBytes + keyBytes).assumingMemoryBound(to: Float.self)
                if isMultiHead {
                    if io.hasOutput(1) { keys = io.output(1, as: Float.self) }
                    if io.hasOutput(2) { values = io.output(2, as: Float.self) }
                } else if io.hasOutput(1) {
                    keys = io.output(1, as: Float.self)
                    values = keys + plan.batch * present * qWidth
                }
                if copied > 0 {
                    let pastKeys = io.input(form.past, as: Float.self)
                    let pastValues = form.pastValues.map { io.input($0, as: Float.self) } ?? pastKeys + plan.batch * copied * qWidth
                    // A caller may give one buffer as cache and as result.
                    if pastKeys != UnsafePointer(keys) {
                        copyHeads(
                            batch: plan.batch, heads: heads, rows: copied, size: size, from: pastKeys, .headsFirst(copied, heads, size),
                            to: keys, keyJoined)
                    }
                    if pastValues != UnsafePointer(values) {
                        copyHeads(
                            batch: plan.batch, heads: heads, rows: copied, size: valueSize, from: pastValues,
                            .headsFirst(copied, heads, valueSize), to: values, valueJoined)
                    }
                }
                copyHeads(
                    batch: plan.batch, heads: heads, rows: plan.keys, size: size, from: k, plan.k, to: keys + plan.past * size, keyJoined,
                    bias: biases.map { $0 + qWidth })
                copyHeads(
                    batch: plan.batch, heads: heads, rows: plan.keys, size: valueSize, from: v, plan.v, to: values + plan.past * valueSize,
                    valueJoined, bias: biases.map { $0 + 2 * qWidth })
                k = UnsafePointer(keys)
                v = UnsafePointer(values)
                if let indirection, let beams {
                    let own = (workspace + fixed - beamBytes).assumingMemoryBound(to: Float.self)
                    let sources = io.input(indirection, as: Int32.self)
                    try followBeams(plan, sources, beams, size, from: k, to: own)
                    try followBeams(plan, sources, beams, valueSize, from: v, to: own + plan.batch * total * qWidth)
                    k = UnsafePointer(own)
                    v = UnsafePointer(own + plan.batch * total * qWidth)
                }
            }
            var operands = AttentionOperands(q: q, k: k, v: v, output: io.output(0, as: Float.self))
            if io.hasOutput(3) { operands.scores = io.output(3, as: Float.self) }
            let summands = addedIndex.map { io.input($0, as: Float.self) }
            guard fills else {
                if let summands {
                    operands.mask = summands
                    operands.maskView = AttentionView(batch: addedStrides[0], head: addedStrides[1], row: addedStrides[2])
                }
                return attention.run(operands, workspace: rest, pool: io.pool)
            }
            let flags = maskShape == nil ? nil : io.input(form.mask, as: Int32.self)
            attention.run(operands, workspace: rest, pool: io.pool) { batch, head, query, row in
                for key in 0..<total {
                    var value = summands.map { $0[batch * addedStrides[0] + head * addedStrides[1] + query * addedStrides[2] + key] } ?? 0
                    if let flags, let maskShape {
                        let isKept =
                            switch maskShape.rank {
                            case 1:
                                key < Int(flags[batch]) && (maskShape[0] != 2 * plan.batch || key >= Int(flags[plan.batch + batch]))
                            case 2:
                                // A mask of the new keys alone hides nothing of the cache.
                                key < total - maskShape[1] || flags[batch * maskShape[1] + key - (total - maskShape[1])] > 0
                            case 3: flags[(batch * plan.queries + query) * total + key] > 0
                            default: flags[(batch * maskShape[2] + plan.past + query) * maskShape[3] + key] > 0
                            }
                        if !isKept { value += filter }
                    }
                    if isCausal && key > plan.past + query { value = -.greatestFiniteMagnitude }
                    row[key] = value
                }
            }
        }
    }

    /// Turns the first `count` elements of each head of Q and K, whose rows of `width` floats begin with them: element i and i + count / 2
    /// by the position times 10000 to the power of -2 i / count.
    private func rotate(_ rows: UnsafeMutablePointer<Float>, _ plan: Plan, width: Int, count: Int) {
        let half = count / 2
        for row in 0..<(plan.batch * plan.queries) {
            let position = Double(plan.past + row % max(plan.queries, 1))
            for index in 0..<half {
                let angle = position * pow(10000, -2 * Double(index) / Double(count))
                let (c, s) = (Float(cos(angle)), Float(sin(angle)))
                for head in 0..<(2 * heads) {
                    let x = rows + row * width + head * plan.size + index
                    (x[0], x[half]) = (c * x[0] - s * x[half], s * x[0] + c * x[half])
                }
            }
        }
    }

    /// The rows in use of a cache [batch, heads, present, size], those before the new ones from the beam that `beams` names for each.
    private func followBeams(
        _ plan: Plan, _ beams: UnsafePointer<Int32>, _ shape: Shape, _ size: Int, from cache: UnsafePointer<Float>,
        to target: UnsafeMutablePointer<Float>
    ) throws {
        let total = plan.past + plan.keys
        for batch in 0..<plan.batch {
            for position in 0..<total {
                var source = batch
                if position < plan.past {
                    let beam = Int(beams[batch * shape[2] + position])
                    guard beam >= 0, beam < shape[1] else {
                        throw ApusError(.invalidValue, "cache_indirection names beam \(beam) of \(shape[1])")
                    }
                    source = batch / shape[1] * shape[1] + beam
                }
                for head in 0..<heads {
                    (target + ((batch * heads + head) * total + position) * size)
                        .update(from: cache + ((source * heads + head) * plan.present + position) * size, count: size)
                }
            }
        }
    }
}
