import ApusCore
import ApusGraph

/// Rotates pairs of elements of each head by angles that depend on the position.
///
/// Inputs of ai.onnx: X, cos_cache, sin_cache, position_ids (optional; without it the caches have a row for each batch and
/// position). com.microsoft: X, position_ids (one offset, or a position each), cos_cache, sin_cache.
struct RotaryEmbeddingOperator: Operator {
    static let schemas = [
        Schema("RotaryEmbedding", since: [23], inputs: 3...4),
        Schema("RotaryEmbedding", domain: "com.microsoft", since: [1], inputs: 4...4),
    ]

    private let isInterleaved: Bool
    private let rotated: Int
    private let heads: Int
    private let positions: Int
    private let cosine: Int
    private let sine: Int

    init(_ node: NodeReader) throws {
        let isContributed = node.domain == "com.microsoft"
        (positions, cosine, sine) = isContributed ? (1, 2, 3) : (3, 1, 2)
        isInterleaved = try node.bool("interleaved", default: false)
        rotated = try node.int("rotary_embedding_dim", default: 0)
        heads = try node.int("num_heads", default: 0)
        // onnxruntime, whose operator it is, reads these and computes without them.
        if isContributed { node.ignore("scale", "is_packed_batching") }
        guard rotated >= 0, rotated % 2 == 0, heads >= 0 else {
            throw ApusError(.invalidModel, "rotary_embedding_dim \(rotated) must be even, num_heads \(heads) must not be negative")
        }
    }

    private struct Sizes {
        var batch: Int
        var heads: Int
        var sequence: Int
        var size: Int
        var rotated: Int
        var view: AttentionView
    }

    private func sizes(_ x: Shape, cache: Shape) throws -> Sizes {
        var sizes: Sizes
        if x.rank == 4 {
            sizes = Sizes(
                batch: x[0], heads: x[1], sequence: x[2], size: x[3], rotated: 0, view: .headsFirst(x[2], x[1], x[3]))
        } else {
            // Without a number of heads the caches tell a head's size.
            let count = heads > 0 ? heads : rotated > 0 || cache.rank == 0 ? 0 : x[2] / max(1, cache[cache.rank - 1] &* 2)
            guard count > 0, x[2] % count == 0 else {
                throw ApusError(.shapeMismatch, "X of shape \(x) cannot be divided into \(count) heads")
            }
            sizes = Sizes(
                batch: x[0], heads: count, sequence: x[1], size: x[2] / count, rotated: 0,
                view: .sequenceFirst(x[1], count, x[2] / count))
        }
        sizes.rotated = rotated > 0 ? rotated : sizes.size
        guard sizes.rotated <= sizes.size, sizes.rotated % 2 == 0 else {
            throw ApusError(.shapeMismatch, "\(sizes.rotated) elements cannot be rotated in heads of \(sizes.size)")
        }
        return sizes
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: [.float32, .float16, .bfloat16])
        if context.has(positions) { _ = try context.type(positions, oneOf: [.int64]) }
        _ = try context.dimensions(0, rank: 3...4)
        if let x = try context.shape(0).concrete(), let cos = try context.shape(cosine).concrete(), let sin = try context.shape(sine).concrete() {
            let sizes = try sizes(x, cache: cos)
            let expectedRank = context.has(positions) ? 2 : 3
            guard cos == sin, cos.rank == expectedRank, cos[cos.rank - 1] == sizes.rotated / 2 else {
                throw ApusError(
                    .shapeMismatch, "the caches have shapes \(cos) and \(sin); rank \(expectedRank) ending with \(sizes.rotated / 2) expected")
            }
            if !context.has(positions), cos.dimensions.prefix(2) != [sizes.batch, sizes.sequence] {
                throw ApusError(.shapeMismatch, "the caches have shape \(cos), [\(sizes.batch),\(sizes.sequence),…] expected")
            }
            if context.has(positions), let ids = try context.shape(positions).concrete() {
                guard ids.count == 1 && positions == 1 || ids.dimensions == [sizes.batch, sizes.sequence] else {
                    throw ApusError(.shapeMismatch, "position_ids has shape \(ids), [\(sizes.batch),\(sizes.sequence)] expected")
                }
            }
        }
        return [ValueInfo(type, try context.shape(0))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        try context.throughFloat32(prepareFloat32)
    }

    private func prepareFloat32(_ context: PrepareContext) throws -> any PreparedNode {
        let cache = try context.shape(cosine)
        let sizes = try sizes(try context.shape(0), cache: cache)
        let ids = context.has(positions) ? try context.shape(positions) : nil
        let isOffset = ids.map { $0.count == 1 && $0.dimensions != [sizes.batch, sizes.sequence] } ?? false
        let half = sizes.rotated / 2, rows = half == 0 ? 0 : cache.count / half
        let (positions, cosine, sine, isInterleaved) = (positions, cosine, sine, isInterleaved)
        return PreparedKernel("rotary") { io in
            let x = io.input(0, as: Float.self), y = io.output(0, as: Float.self)
            let cosines = io.input(cosine, as: Float.self), sines = io.input(sine, as: Float.self)
            for batch in 0..<sizes.batch {
                for position in 0..<sizes.sequence {
                    var row = batch * sizes.sequence + position
                    if ids != nil {
                        let given = io.input(positions, as: Int64.self)
                        let found = isOffset ? given[0].addingReportingOverflow(Int64(position)).partialValue : given[row]
                        guard found >= 0, found < rows else {
                            throw ApusError(.invalidValue, "position \(found) lies outside of the caches' \(rows) rows")
                        }
                        row = Int(found)
                    }
                    for head in 0..<sizes.heads {
                        let offset = batch * sizes.view.batch + head * sizes.view.head + position * sizes.view.row
                        for index in 0..<half {
                            let first = offset + (isInterleaved ? 2 * index : index)
                            let second = isInterleaved ? first + 1 : first + half
                            let (a, b, c, s) = (x[first], x[second], cosines[row * half + index], sines[row * half + index])
                            y[first] = c * a - s * b
                            y[second] = s * a + c * b
                        }
                        for index in sizes.rotated..<sizes.size { y[offset + index] = x[offset + index] }
                    }
                }
            }
        }
    }
}
