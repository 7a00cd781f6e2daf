import ApusCore
import CApusKernels

/// Where the matrix of each batch and head lies in a tensor, in floats.
struct AttentionView: Sendable {
    var batch: Int
    var head: Int
    /// From one position of the sequence to the next.
    var row: Int
    /// From one element of a head to the next; 1 but for transposed keys.
    var element = 1

    /// [batch, sequence, heads, size]
    static func sequenceFirst(_ sequence: Int, _ heads: Int, _ size: Int) -> AttentionView {
        AttentionView(batch: sequence &* heads &* size, head: size, row: heads &* size)
    }

    /// [batch, sequence, heads, parts, size], one of the parts
    static func packed(_ sequence: Int, _ heads: Int, _ parts: Int, _ size: Int) -> AttentionView {
        AttentionView(batch: sequence &* heads &* parts &* size, head: parts &* size, row: heads &* parts &* size)
    }

    /// [batch, heads, sequence, size]
    static func headsFirst(_ sequence: Int, _ heads: Int, _ size: Int) -> AttentionView {
        AttentionView(batch: heads &* sequence &* size, head: sequence &* size, row: size)
    }
}

/// What attention works on.
struct AttentionSizes: Sendable {
    let batch: Int
    let heads: Int
    /// Heads of keys and values; each serves heads / keyHeads query heads.
    let keyHeads: Int
    let queries: Int
    let keys: Int
    let headSize: Int
    let valueSize: Int
}

/// The memory of one run.
struct AttentionOperands {
    let q: UnsafePointer<Float>
    let k: UnsafePointer<Float>
    let v: UnsafePointer<Float>
    let output: UnsafeMutablePointer<Float>
    /// Added to the scaled scores: rows of `keys` floats at the view's place.
    var mask: UnsafePointer<Float>? = nil
    var maskView = AttentionView(batch: 0, head: 0, row: 0)
    /// Where scores go, [batch, heads, queries, keys]: see `scoresStage`.
    var scores: UnsafeMutablePointer<Float>? = nil
}

/// softmax(scale · Q · K' + mask) · V in float32, a tile of query rows at a time: the matrix of all scores never exists.
final class TiledAttention: @unchecked Sendable {
    private static let mostTileRows = 64
    /// With more queries than these, packing keys and values for the matrix product pays.
    private static let mostDirectQueries = 3

    private let sizes: AttentionSizes
    private let scale: Float
    private let softcap: Float
    private let views: (q: AttentionView, k: AttentionView, v: AttentionView, output: AttentionView)
    private let scoreProduct: FloatProduct
    private let valueProduct: FloatProduct
    /// Set where keys and values are read in place, for few queries.
    private let direct: UnsafePointer<apus_rowproduct_kernels>?
    private let softmax: apus_softmax_fn?
    private let tanh: apus_unary_fn?
    private let tile: Int
    private let parts: Int
    private let chunks: Int
    private let fillsMask: Bool
    /// Whether rows of the softmax that are no numbers become 0.
    private let zeroesNaN: Bool
    /// Which scores are wanted: 0, 1: before the mask, 2: after it, 3: after the softmax.
    private let scoresStage: Int
    private let byteCounts: (keys: Int, values: Int, tile: Int, chunk: Int)
    let workspaceByteCount: Int

    var kernelName: String {
        direct.map { "attention_row_" + String(cString: $0.pointee.name) } ?? "attention_" + String(cString: scoreProduct.kernel.pointee.name)
    }

    /// `fillsMask`: rows of the mask are made by the closure given to `run`.
    init(
        _ context: PrepareContext, _ sizes: AttentionSizes, q: AttentionView, k: AttentionView, v: AttentionView, output: AttentionView,
        scale: Float, softcap: Float = 0, fillsMask: Bool = false, zeroesNaN: Bool = false, scoresStage: Int = 0
    ) throws {
        self.sizes = sizes
        self.scale = scale
        self.softcap = softcap
        self.fillsMask = fillsMask
        self.zeroesNaN = zeroesNaN
        self.scoresStage = scoresStage
        views = (q, k, v, output)
        tile = max(1, min(sizes.queries, TiledAttention.mostTileRows))
        scoreProduct = try FloatProduct(levels: context.levels, m: tile, n: sizes.keys, k: sizes.headSize, threads: 1)
        valueProduct = try FloatProduct(levels: context.levels, m: tile, n: sizes.valueSize, k: sizes.keys, threads: 1)
        let isDirect = sizes.queries <= TiledAttention.mostDirectQueries && q.element == 1 && k.element == 1 && v.element == 1
        direct = isDirect ? apus_rowproduct_select(context.levels) : nil
        softmax = apus_softmax_select(context.levels)?.pointee.softmax
        tanh = apus_elementwise_unary(apus_elementwise_select(context.levels), APUS_UNARY_TANH)
        let heads = try sizes.batch.multiplied(by: sizes.heads)
        let tiles = (sizes.queries + tile - 1) / tile
        parts = heads >= context.threads ? 1 : max(1, min(tiles, context.threads))
        // Few queries take as long as reading keys and values.
        let work = FloatProduct.saturatingProduct(
            [heads, max(sizes.queries, ProductCuts.rowsInReading), sizes.keys, sizes.headSize &+ sizes.valueSize])
        chunks = context.threads > 1 && work >= FloatProduct.leastParallelWork
            ? max(1, min(try heads.multiplied(by: parts), context.threads * 2)) : 1
        let keyBytes = isDirect ? 0 : try scoreProduct.packedCount.multiplied(by: 4).roundedUp(to: Storage.alignment)
        let valueBytes = isDirect ? 0 : try valueProduct.packedCount.multiplied(by: 4).roundedUp(to: Storage.alignment)
        let tileBytes = try tile.multiplied(by: sizes.keys).multiplied(by: 4).roundedUp(to: Storage.alignment)
        let scratch = max(scoreProduct.workspaceByteCount, valueProduct.workspaceByteCount)
        let chunkBytes = try keyBytes.adding(valueBytes).adding(tileBytes.multiplied(by: fillsMask ? 2 : 1)).adding(scratch)
        byteCounts = (keyBytes, valueBytes, tileBytes, chunkBytes)
        workspaceByteCount = try chunkBytes.multiplied(by: chunks)
    }

    /// `fill` writes the mask's row of (batch, head, query).
    func run(
        _ operands: AttentionOperands, workspace: UnsafeMutableRawPointer, pool: ThreadPool,
        fill: (Int, Int, Int, UnsafeMutablePointer<Float>) -> Void = { _, _, _, _ in }
    ) {
        let jobs = sizes.batch * sizes.heads * parts, perChunk = (jobs + chunks - 1) / chunks
        if jobs == 0 || sizes.queries == 0 || sizes.valueSize == 0 { return }
        pool.parallelUnlessStopped(chunks) { chunk in
            let own = workspace + chunk * byteCounts.chunk
            var packedFor = -1
            for job in min(jobs, chunk * perChunk)..<min(jobs, (chunk + 1) * perChunk) {
                let batch = job / parts / sizes.heads, head = job / parts % sizes.heads, part = job % parts
                let keyHead = head / max(1, sizes.heads / sizes.keyHeads)
                if direct == nil, packedFor != batch * sizes.keyHeads + keyHead {
                    pack(operands, batch, keyHead, own)
                    packedFor = batch * sizes.keyHeads + keyHead
                }
                let tiles = (sizes.queries + tile - 1) / tile
                for index in (tiles * part / parts)..<(tiles * (part + 1) / parts) {
                    attend(operands, batch, head, keyHead, index * tile, min(tile, sizes.queries - index * tile), own, fill)
                }
            }
        }
    }

    private func pack(_ operands: AttentionOperands, _ batch: Int, _ head: Int, _ own: UnsafeMutableRawPointer) {
        scoreProduct.pack(
            operands.k + batch * views.k.batch + head * views.k.head, rowStride: views.k.element, columnStride: views.k.row,
            to: own.assumingMemoryBound(to: Float.self))
        valueProduct.pack(
            operands.v + batch * views.v.batch + head * views.v.head, rowStride: views.v.row, columnStride: views.v.element,
            to: (own + byteCounts.keys).assumingMemoryBound(to: Float.self))
    }

    /// Rows [first, first + rows) of one head.
    private func attend(
        _ operands: AttentionOperands, _ batch: Int, _ head: Int, _ keyHead: Int, _ first: Int, _ rows: Int, _ own: UnsafeMutableRawPointer,
        _ fill: (Int, Int, Int, UnsafeMutablePointer<Float>) -> Void
    ) {
        let keys = sizes.keys
        let panels = own.assumingMemoryBound(to: Float.self)
        let valuePanels = (own + byteCounts.keys).assumingMemoryBound(to: Float.self)
        let scores = (own + byteCounts.keys + byteCounts.values).assumingMemoryBound(to: Float.self)
        let masks = (own + byteCounts.keys + byteCounts.values + byteCounts.tile).assumingMemoryBound(to: Float.self)
        let scratch = own + byteCounts.keys + byteCounts.values + byteCounts.tile * (fillsMask ? 2 : 1)

        let queries = operands.q + batch * views.q.batch + head * views.q.head + first * views.q.row
        if let direct {
            let matrix = operands.k + batch * views.k.batch + keyHead * views.k.head
            for row in 0..<rows {
                direct.pointee.dot(keys, sizes.headSize, matrix, views.k.row, queries + row * views.q.row, scores + row * keys)
            }
        } else {
            var args = scoreProduct.arguments(aStride: views.q.row, aColumnStride: views.q.element, cStride: keys)
            args.m = rows
            args.a = queries
            args.b = UnsafePointer(panels)
            args.c = scores
            apus_sgemm_run(scoreProduct.kernel, &args, 0, rows, 0, keys, scratch)
        }

        var soft = apus_softmax_args()
        soft.rows = rows
        soft.n = keys
        soft.x = UnsafePointer(scores)
        soft.x_stride = keys
        soft.y = scores
        soft.y_stride = keys
        soft.scale = scale
        let place = ((batch * sizes.heads + head) * sizes.queries + first) * keys
        if softcap > 0 || operands.scores != nil {
            soft.scale = 1
            for index in 0..<(rows * keys) { scores[index] *= scale }
            if softcap > 0 {
                for index in 0..<(rows * keys) { scores[index] /= softcap }
                tanh?(rows * keys, scores, scores, nil)
                for index in 0..<(rows * keys) { scores[index] *= softcap }
            }
            if let out = operands.scores, scoresStage < 2 { (out + place).update(from: scores, count: rows * keys) }
        }
        if fillsMask {
            for row in 0..<rows { fill(batch, head, first + row, masks + row * keys) }
            soft.mask = UnsafePointer(masks)
            soft.mask_stride = keys
        } else if let mask = operands.mask {
            soft.mask = mask + batch * operands.maskView.batch + head * operands.maskView.head + first * operands.maskView.row
            soft.mask_stride = operands.maskView.row
        }
        if let out = operands.scores, scoresStage == 2 {
            for row in 0..<rows {
                for key in 0..<keys {
                    out[place + row * keys + key] = scores[row * keys + key] + (soft.mask.map { $0[row * soft.mask_stride + key] } ?? 0)
                }
            }
        }
        softmax?(&soft)
        if zeroesNaN {
            // The sum of a row with one such weight is none, either: the first tells.
            for row in 0..<rows where keys > 0 && scores[row * keys].isNaN { (scores + row * keys).update(repeating: 0, count: keys) }
        }
        if fillsMask {
            // A query that may attend to nothing gets nothing.
            for row in 0..<rows {
                let line = masks + row * keys
                var isMasked = true
                for key in 0..<keys where line[key] != -.infinity {
                    isMasked = false
                    break
                }
                if isMasked { (scores + row * keys).update(repeating: 0, count: keys) }
            }
        }
        if let out = operands.scores, scoresStage == 3 { (out + place).update(from: scores, count: rows * keys) }

        let output = operands.output + batch * views.output.batch + head * views.output.head + first * views.output.row
        if let direct {
            let matrix = operands.v + batch * views.v.batch + keyHead * views.v.head
            for row in 0..<rows {
                direct.pointee.combine(keys, sizes.valueSize, matrix, views.v.row, scores + row * keys, output + row * views.output.row)
            }
            return
        }
        var values = valueProduct.arguments(aStride: keys, cStride: views.output.row)
        values.m = rows
        values.a = UnsafePointer(scores)
        values.b = UnsafePointer(valuePanels)
        values.c = output
        apus_sgemm_run(valueProduct.kernel, &values, 0, rows, 0, sizes.valueSize, scratch)
    }
}

/// Copies [batch, heads, rows, size] by views: for caches of keys and values, biases and changes of layout.
/// `bias`, heads · size floats, is added where given.
func copyHeads(
    batch: Int, heads: Int, rows: Int, size: Int, from source: UnsafePointer<Float>, _ view: AttentionView,
    to target: UnsafeMutablePointer<Float>, _ targetView: AttentionView, bias: UnsafePointer<Float>? = nil
) {
    for index in 0..<(batch * heads) {
        let image = index / heads, head = index % heads
        for row in 0..<rows {
            let x = source + image * view.batch + head * view.head + row * view.row
            let y = target + image * targetView.batch + head * targetView.head + row * targetView.row
            if let bias {
                for i in 0..<size { y[i] = x[i] + bias[head * size + i] }
            } else {
                y.update(from: x, count: size)
            }
        }
    }
}
