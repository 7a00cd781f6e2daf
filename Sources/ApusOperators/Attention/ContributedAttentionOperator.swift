import ApusCore
import ApusGraph
import CApusKernels

/// com.microsoft.Attention (one product makes Q, K and V) and com.microsoft.MultiHeadAttention (Q, K and V are inputs).
///
/// Masks count as onnxruntime has them: masked positions get `mask_filter_value`, later ones of a causal mask the least number.
struct ContributedAttentionOperator: Operator {
    static let schemas = [
        Schema("Attention", domain: "com.microsoft", since: [1], inputs: 2...7, outputs: 1...2),
        Schema("MultiHeadAttention", domain: "com.microsoft", since: [1], inputs: 1...8, outputs: 1...3),
    ]

    private let isMultiHead: Bool
    private let heads: Int
    private let isCausal: Bool
    private let scale: Float?
    private let filter: Float
    private let hiddenSizes: [Int]?

    /// Positions of inputs that differ between the two.
    private var bias: Int { isMultiHead ? 3 : 2 }
    private var mask: Int { isMultiHead ? 4 : 3 }
    private var added: Int { 5 }
    private var pastKey: Int { isMultiHead ? 6 : 4 }

    init(_ node: NodeReader) throws {
        isMultiHead = node.opType == "MultiHeadAttention"
        heads = try node.int("num_heads")
        isCausal = try node.bool("unidirectional", default: false)
        scale = try node.optionalFloat("scale").flatMap { $0 == 0 ? nil : $0 }
        filter = try node.float("mask_filter_value", default: -10000)
        hiddenSizes = isMultiHead ? nil : try node.optionalInts("qkv_hidden_sizes").flatMap { $0.isEmpty ? nil : $0 }
        guard heads >= 1 else { throw ApusError(.invalidModel, "attribute \"num_heads\" is \(heads); it must be at least 1") }
        if !isMultiHead {
            for name in ["do_rotary", "past_present_share_buffer"] where try node.int(name, default: 0) != 0 {
                throw ApusError(.unsupported, "com.microsoft.Attention with \(name) is not supported")
            }
            _ = try node.optionalInt("rotary_embedding_dim")
            if node.hasInput(6) { throw ApusError(.unsupported, "com.microsoft.Attention with a shared cache is not supported") }
        }
        if let hiddenSizes {
            guard hiddenSizes.count == 3, hiddenSizes.allSatisfy({ $0 >= 0 && $0 % heads == 0 }), hiddenSizes[0] == hiddenSizes[1] else {
                throw ApusError(.invalidModel, "qkv_hidden_sizes \(hiddenSizes) must be three multiples of \(heads), the first two equal")
            }
        }
        guard !isMultiHead || node.hasInput(6) == node.hasInput(7) else {
            throw ApusError(.invalidModel, "past_key and past_value must be given together")
        }
    }

    /// Concrete sizes, and where Q, K and V come from.
    private struct Plan {
        var batch: Int
        var queries: Int
        /// Without the cache.
        var keys: Int
        var past: Int
        var size: Int
        var valueSize: Int
    }

    private func plan(_ shape: (Int) throws -> Shape?) throws -> Plan? {
        guard let q = try shape(0) else { return nil }
        func wrong(_ index: Int, _ found: Shape, _ expected: String) -> ApusError {
            ApusError(.shapeMismatch, "input \(index) has shape \(found), \(expected) expected")
        }
        guard q.rank == 3 else { throw wrong(0, q, "[batch, sequence, hidden]") }
        var plan = Plan(batch: q[0], queries: q[1], keys: q[1], past: 0, size: 0, valueSize: 0)
        if isMultiHead {
            guard let k = try shape(1), let v = try shape(2) else { return nil }
            guard q[2] % heads == 0 else { throw wrong(0, q, "a hidden size that \(heads) divides") }
            plan.size = q[2] / heads
            if k.rank == 4 {
                guard v.rank == 4, k[0] == q[0], k[1] == heads, k[3] == plan.size else { throw wrong(1, k, "[batch, heads, keys, size]") }
                guard v[0] == q[0], v[1] == heads, v[2] == k[2] else { throw wrong(2, v, "[batch, heads, keys, size]") }
                (plan.keys, plan.valueSize) = (k[2], v[3])
            } else {
                guard k.rank == 3, k[0] == q[0], k[2] == q[2] else { throw wrong(1, k, "[\(q[0]), keys, \(q[2])]") }
                guard v.rank == 3, v[0] == q[0], v[1] == k[1], v[2] % heads == 0 else { throw wrong(2, v, "[\(q[0]), \(k[1]), hidden]") }
                (plan.keys, plan.valueSize) = (k[1], v[2] / heads)
            }
            if let past = try shape(6), let values = try shape(7) {
                guard past.rank == 4, past[0] == q[0], past[1] == heads, past[3] == plan.size else { throw wrong(6, past, "[batch, heads, past, size]") }
                guard values.rank == 4, values[0] == q[0], values[1] == heads, values[2] == past[2], values[3] == plan.valueSize else {
                    throw wrong(7, values, "[batch, heads, past, size]")
                }
                plan.past = past[2]
            }
        } else {
            guard let w = try shape(1) else { return nil }
            guard w.rank == 2, w[0] == q[2] else { throw wrong(1, w, "[\(q[2]), hidden sizes of Q, K, V]") }
            let sizes = hiddenSizes ?? [w[1] / 3, w[1] / 3, w[1] / 3]
            guard try sizes[0].multiplied(by: 2).adding(sizes[2]) == w[1], sizes[0] % heads == 0, sizes[2] % heads == 0 else {
                throw wrong(1, w, "a width that makes Q, K and V of \(heads) heads")
            }
            (plan.size, plan.valueSize) = (sizes[0] / heads, sizes[2] / heads)
            if let past = try shape(4) {
                guard past.rank == 5, past[0] == 2, past[1] == q[0], past[2] == heads, past[4] == plan.size, plan.size == plan.valueSize else {
                    throw wrong(4, past, "[2, batch, heads, past, size]")
                }
                plan.past = past[3]
            }
        }
        if let bias = try shape(bias), bias.dimensions != [heads * (2 * plan.size + plan.valueSize)] {
            throw wrong(self.bias, bias, "[\(heads * (2 * plan.size + plan.valueSize))]")
        }
        let total = try plan.past.adding(plan.keys)
        if let mask = try shape(mask) {
            let fits =
                switch mask.rank {
                case 1: mask[0] == plan.batch || mask[0] == 2 * plan.batch && !isMultiHead
                case 2: mask[0] == plan.batch && mask[1] == total
                case 3: mask.dimensions == [plan.batch, plan.queries, total]
                case 4: mask[0] == plan.batch && mask[1] == 1 && mask[2] >= total && mask[3] >= total
                default: false
                }
            guard fits else { throw wrong(self.mask, mask, "[\(plan.batch)], [\(plan.batch),\(total)] or [\(plan.batch),\(plan.queries),\(total)]") }
        }
        if let added = try shape(added) {
            let target = try Shape([plan.batch, heads, plan.queries, total])
            guard added.rank == 4, added[3] == total, added[2] == plan.queries, (try? Shape.broadcast([added, target])) == target else {
                throw wrong(self.added, added, "\(target)")
            }
        }
        return plan
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: [.float32, .float16, .bfloat16])
        let floats = isMultiHead ? [0, 1, 2, 3, 5, 6, 7] : [0, 1, 2, 4, 5]
        _ = try context.commonType(floats)
        if context.has(mask) { _ = try context.type(mask, oneOf: [.int32]) }
        guard isMultiHead ? context.has(1) && context.has(2) : true else {
            throw ApusError(.unsupported, "MultiHeadAttention with packed keys and values is not supported")
        }
        guard let plan = try plan({ context.has($0) ? try context.shape($0).concrete() : nil }) else {
            let q = try context.dimensions(0, rank: 3...3)
            var width = Dimension.unknown
            if let hiddenSizes {
                width = .known(hiddenSizes[2])
            } else if let other = try context.shape(isMultiHead ? 2 : 1).dimensions, let last = other.last {
                width = !isMultiHead ? last.floorDivided(by: .known(3)) : other.count == 3 ? last : last * .known(heads)
            }
            let cache = PartialShape.ofRank(isMultiHead ? 4 : 5)
            return (0..<context.outputCount).map {
                ValueInfo(type, $0 > 0 ? cache : PartialShape([q?[0] ?? .unknown, q?[1] ?? .unknown, width]))
            }
        }
        let total = plan.past + plan.keys
        let cache = isMultiHead ? [plan.batch, heads, total, plan.size] : [2, plan.batch, heads, total, plan.size]
        let shapes = [
            [plan.batch, plan.queries, try heads.multiplied(by: plan.valueSize)], cache, [plan.batch, heads, total, plan.valueSize],
        ]
        guard context.outputCount < 2 || isMultiHead || plan.size == plan.valueSize else {
            throw ApusError(.shapeMismatch, "a cache needs heads of one size, found \(plan.size) and \(plan.valueSize)")
        }
        return try (0..<context.outputCount).map { ValueInfo(type, try Shape(shapes[$0])) }
    }

    func multiplyAccumulates(_ inputs: [ValueInfo?], _ outputs: [ValueInfo]) -> Int {
        guard let plan = try? plan({ inputs.indices.contains($0) ? try inputs[$0]?.concreteShape() : nil }) else { return 0 }
        let scores = FloatProduct.saturatingProduct([plan.batch, heads, plan.queries, plan.past + plan.keys, plan.size + plan.valueSize])
        let width = FloatProduct.saturatingProduct([heads, 2 * plan.size + plan.valueSize])
        let projection = isMultiHead
            ? 0 : FloatProduct.saturatingProduct([plan.batch, plan.queries, (try? inputs[1]?.concreteShape())??[0] ?? 0, width])
        return scores.addingReportingOverflow(projection).partialValue
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        try context.throughFloat32(prepareFloat32)
    }

    private func prepareFloat32(_ context: PrepareContext) throws -> any PreparedNode {
        guard let plan = try plan({ context.has($0) ? try context.shape($0) : nil }) else {
            throw ApusError(.internal, "attention is prepared without shapes")
        }
        let heads = heads, total = try plan.past.adding(plan.keys)
        let (size, valueSize) = (plan.size, plan.valueSize)
        let qWidth = heads * size, vWidth = heads * valueSize, width = 2 * qWidth + vWidth
        // The product that makes Q, K and V, side by side in each row.
        let projection = isMultiHead ? nil : try BatchedProduct(
            .init(
                batch: [], batchStrides: [],
                matrix: MatrixLayout(rows: plan.batch * plan.queries, columns: try context.shape(0)[2], rowStride: try context.shape(0)[2], columnStride: 1)),
            .init(batch: [], batchStrides: [], matrix: MatrixLayout(rows: try context.shape(1)[0], columns: width, rowStride: width, columnStride: 1)),
            budget: context.packed.budget)
        let projectionNode = try projection?.call(context, a: 0, b: 1, bias: context.has(2) ? 2 : nil)
        let projected = projection == nil ? 0 : try checkedProduct([plan.batch, plan.queries, width, 4]).roundedUp(to: Storage.alignment)

        let keyRank = isMultiHead ? try context.shape(1).rank : 0
        let queryView: AttentionView, keyView: AttentionView, valueView: AttentionView
        if isMultiHead {
            queryView = .sequenceFirst(plan.queries, heads, size)
            keyView = keyRank == 4 ? .headsFirst(plan.keys, heads, size) : .sequenceFirst(plan.keys, heads, size)
            valueView = keyRank == 4 ? .headsFirst(plan.keys, heads, valueSize) : .sequenceFirst(plan.keys, heads, valueSize)
        } else {
            queryView = AttentionView(batch: plan.queries * width, head: size, row: width)
            keyView = queryView
            valueView = AttentionView(batch: plan.queries * width, head: valueSize, row: width)
        }
        let hasBias = isMultiHead && context.has(3)
        let joins = plan.past > 0 || context.outputs.count > 1 || hasBias
        let keyJoined = AttentionView.headsFirst(total, heads, size), valueJoined = AttentionView.headsFirst(total, heads, valueSize)
        let queryBytes = hasBias ? try checkedProduct([plan.batch, plan.queries, qWidth, 4]).roundedUp(to: Storage.alignment) : 0
        let keyBytes = joins ? try checkedProduct([plan.batch, total, qWidth, 4]).roundedUp(to: Storage.alignment) : 0
        let valueBytes = joins ? try checkedProduct([plan.batch, total, vWidth, 4]).roundedUp(to: Storage.alignment) : 0
        let maskShape = context.has(mask) ? try context.shape(mask) : nil
        let addedShape = context.has(added) ? try context.shape(added) : nil
        let addedStrides = try addedShape?.broadcastStrides(to: try Shape([plan.batch, heads, plan.queries, total])) ?? []
        let fills = isCausal || maskShape != nil
        let attention = try TiledAttention(
            context,
            AttentionSizes(
                batch: plan.batch, heads: heads, keyHeads: heads, queries: plan.queries, keys: total, headSize: size, valueSize: valueSize),
            q: queryView, k: joins ? keyJoined : keyView, v: joins ? valueJoined : valueView,
            output: .sequenceFirst(plan.queries, heads, valueSize), scale: scale ?? 1 / Float(max(size, 1)).squareRoot(), fillsMask: fills)
        let productWorkspace = projectionNode?.workspaceByteCount ?? 0
        let fixed = try projected.adding(queryBytes).adding(keyBytes).adding(valueBytes)
        let workspaceBytes = try fixed.adding(max(productWorkspace, attention.workspaceByteCount))
        let (isMultiHead, isCausal, filter, maskIndex, addedIndex, pastIndex) = (isMultiHead, isCausal, filter, mask, added, pastKey)
        return PreparedKernel(attention.kernelName, workspace: workspaceBytes) { io in
            let workspace = io.workspace
            let rest = workspace + fixed
            var q = io.input(0, as: Float.self)
            var k = isMultiHead ? io.input(1, as: Float.self) : q, v = isMultiHead ? io.input(2, as: Float.self) : q
            if let projectionNode {
                let made = workspace.assumingMemoryBound(to: Float.self)
                projectionNode.compute(io, made, rest)
                q = UnsafePointer(made)
                k = q + qWidth
                v = q + 2 * qWidth
            }
            let biases = hasBias ? io.input(3, as: Float.self) : nil
            if hasBias {
                let own = (workspace + projected).assumingMemoryBound(to: Float.self)
                copyHeads(batch: plan.batch, heads: heads, rows: plan.queries, size: size, from: q, queryView, to: own, queryView, bias: biases)
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
                    values = keys + plan.batch * total * qWidth
                }
                if plan.past > 0 {
                    let pastKeys = io.input(pastIndex, as: Float.self)
                    let pastValues = isMultiHead ? io.input(7, as: Float.self) : pastKeys + plan.batch * plan.past * qWidth
                    copyHeads(
                        batch: plan.batch, heads: heads, rows: plan.past, size: size, from: pastKeys, .headsFirst(plan.past, heads, size),
                        to: keys, keyJoined)
                    copyHeads(
                        batch: plan.batch, heads: heads, rows: plan.past, size: valueSize, from: pastValues,
                        .headsFirst(plan.past, heads, valueSize), to: values, valueJoined)
                }
                copyHeads(
                    batch: plan.batch, heads: heads, rows: plan.keys, size: size, from: k, keyView, to: keys + plan.past * size, keyJoined,
                    bias: biases.map { $0 + qWidth })
                copyHeads(
                    batch: plan.batch, heads: heads, rows: plan.keys, size: valueSize, from: v, valueView, to: values + plan.past * valueSize,
                    valueJoined, bias: biases.map { $0 + 2 * qWidth })
                k = UnsafePointer(keys)
                v = UnsafePointer(values)
            }
            var operands = AttentionOperands(q: q, k: k, v: v, output: io.output(0, as: Float.self))
            let summands = addedShape == nil ? nil : io.input(addedIndex, as: Float.self)
            guard fills else {
                if let summands {
                    operands.mask = summands
                    operands.maskView = AttentionView(batch: addedStrides[0], head: addedStrides[1], row: addedStrides[2])
                }
                return attention.run(operands, workspace: rest, pool: io.pool)
            }
            let flags = maskShape == nil ? nil : io.input(maskIndex, as: Int32.self)
            attention.run(operands, workspace: rest, pool: io.pool) { batch, head, query, row in
                for key in 0..<total {
                    var value = summands.map { $0[batch * addedStrides[0] + head * addedStrides[1] + query * addedStrides[2] + key] } ?? 0
                    if let flags, let maskShape {
                        let isKept =
                            switch maskShape.rank {
                            case 1:
                                key < Int(flags[batch]) && (maskShape[0] == plan.batch || key >= Int(flags[plan.batch + batch]))
                            case 2: flags[batch * total + key] > 0
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
}
