import ApusCore
import ApusGraph
import CApusKernels

/// com.microsoft.QEmbedLayerNormalization: EmbedLayerNormalization of 8-bit tables, scale and bias, each with one scale and one zero
/// point. Inputs: ids, segments, tables of words, positions and segments, gamma, beta, mask; the scales of the tables, of gamma and
/// beta; their zero points.
struct QEmbedLayerNormalizationOperator: Operator {
    static let schemas = [
        Schema("QEmbedLayerNormalization", domain: "com.microsoft", since: [1], inputs: 18...18, outputs: 2...2)
    ]

    private let epsilon: Float

    init(_ node: NodeReader) throws {
        epsilon = try node.float("epsilon", default: 1e-12)
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let hasSegments = context.has(1)
        for index in [4, 10, 15] where context.has(index) != hasSegments {
            throw ApusError(.invalidModel, "segments, their table, its scale and zero point belong together; input \(index) does not fit")
        }
        let code = try context.type(2, oneOf: [.uint8, .int8])
        for index in 3...6 where context.has(index) { _ = try context.type(index, oneOf: [code]) }
        for index in 8...17 where context.has(index) {
            _ = try context.type(index, oneOf: index < 13 ? [.float32] : [code])
            if let shape = try context.shape(index).concrete(), shape.count != 1 {
                throw ApusError(.shapeMismatch, "input \(index) has shape \(shape), one number expected")
            }
        }
        let (ids, hidden) = try EmbeddingInputs.infer(context, positionIDs: nil)
        return [ValueInfo(.float32, PartialShape(ids + [hidden])), ValueInfo(.int32, PartialShape([ids[0]]))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let ids = try context.shape(0), words = try context.shape(2)
        let segments = context.has(4) ? try context.shape(4)[0] : 0
        let rows = ids.count, length = ids[1], hidden = words[1], epsilon = epsilon
        let hasSegments = context.has(1), hasMask = context.has(7)
        guard let function = apus_normalization_select(context.levels)?.pointee.layer_norm else {
            throw ApusError(.internal, "there are no normalisation kernels")
        }
        let read = try castLoop(context.type(2), .float32)
        return PreparedKernel("qembed", workspace: try hidden.multiplied(by: 12)) { io in
            let output = io.output(0, as: Float.self)
            let gamma = io.workspace.assumingMemoryBound(to: Float.self), beta = gamma + hidden, line = beta + hidden
            /// Adds row `row` of table `input`, the scale of which is input `scale`, to `target`.
            func add(_ input: Int, _ row: Int, _ scale: Int, _ target: UnsafeMutablePointer<Float>) {
                QEmbedLayerNormalizationOperator.add(
                    hidden, io.input(input) + row * hidden, io.input(scale + 5), io.input(scale, as: Float.self)[0], read, line, target)
            }
            for index in 0..<rows {
                let target = output + index * hidden
                target.update(repeating: 0, count: hidden)
                add(2, try EmbeddingInputs.row(io, 0, index, count: words[0]), 8, target)
                add(3, index % length, 9, target)
                if hasSegments { add(4, try EmbeddingInputs.row(io, 1, index, count: segments), 10, target) }
            }
            EmbeddingInputs.countMarked(io, hasMask: hasMask, sequences: ids[0], length: length)
            gamma.update(repeating: 0, count: 2 * hidden)
            add(5, 0, 11, gamma)
            add(6, 0, 12, beta)
            EmbeddingInputs.normalize(
                io, rows: rows, hidden: hidden, gamma: UnsafePointer(gamma), beta: UnsafePointer(beta), epsilon: epsilon, function)
        }
    }

    /// target += (codes - zero) · factor; `line` has room for the codes as floats.
    @inline(never)
    private static func add(
        _ count: Int, _ codes: UnsafeRawPointer, _ zero: UnsafeRawPointer, _ factor: Float, _ read: UnaryLoop,
        _ line: UnsafeMutablePointer<Float>, _ target: UnsafeMutablePointer<Float>
    ) {
        var offset: Float = 0
        withUnsafeMutableBytes(of: &offset) { bytes in
            if let base = bytes.baseAddress { read(1, zero, base) }
        }
        read(count, codes, line)
        for index in 0..<count { target[index] += (line[index] - offset) * factor }
    }
}
