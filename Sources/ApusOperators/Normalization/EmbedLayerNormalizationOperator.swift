import ApusCore
import ApusGraph
import CApusKernels

/// com.microsoft.EmbedLayerNormalization: the sum of word, position and segment embeddings, normalised; further outputs are
/// the number of positions that `mask` marks in each sequence, and the sum itself.
struct EmbedLayerNormalizationOperator: Operator {
    static let schemas = [
        Schema("EmbedLayerNormalization", domain: "com.microsoft", since: [1], inputs: 7...9, outputs: 1...3)
    ]

    private let epsilon: Float

    init(_ node: NodeReader) throws {
        epsilon = try node.float("epsilon", default: 1e-12)
        _ = try node.optionalInt("mask_index_type")
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        _ = try context.type(2, oneOf: [.float32, .float16, .bfloat16])
        let type = try context.commonType([2, 3, 4, 5, 6])
        let (ids, hidden) = try EmbeddingInputs.infer(context, positionIDs: 8)
        let output = ValueInfo(type, PartialShape(ids + [hidden]))
        return Array([output, ValueInfo(.int32, PartialShape([ids[0]])), output].prefix(context.outputCount))
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        try context.throughFloat32(prepareFloat32)
    }

    private func prepareFloat32(_ context: PrepareContext) throws -> any PreparedNode {
        let ids = try context.shape(0), words = try context.shape(2), positions = try context.shape(3)
        let segments = context.has(4) ? try context.shape(4)[0] : 0
        let rows = ids.count, length = ids[1], hidden = words[1], epsilon = epsilon
        let hasSegments = context.has(1) && context.has(4), hasMask = context.has(7), hasPositions = context.has(8)
        let repeats = hasPositions ? try context.shape(8)[0] == 1 : false
        guard let kernels = apus_normalization_select(context.levels), let function = kernels.pointee.layer_norm else {
            throw ApusError(.internal, "there are no normalisation kernels")
        }
        return PreparedKernel("embed_" + String(cString: kernels.pointee.name)) { io in
            func row(_ input: Int, _ place: Int, _ table: Int, _ count: Int) throws -> UnsafePointer<Float> {
                io.input(table, as: Float.self) + (try EmbeddingInputs.row(io, input, place, count: count)) * hidden
            }
            let output = io.output(0, as: Float.self)
            for index in 0..<rows {
                let target = output + index * hidden
                let word = try row(0, index, 2, words[0])
                let position = hasPositions
                    ? try row(8, repeats ? index % length : index, 3, positions[0])
                    : io.input(3, as: Float.self) + index % length * hidden
                let segment = hasSegments ? try row(1, index, 4, segments) : nil
                for i in 0..<hidden { target[i] = word[i] + position[i] + (segment.map { $0[i] } ?? 0) }
            }
            if io.hasOutput(2) { io.output(2, as: Float.self).update(from: output, count: rows * hidden) }
            if io.hasOutput(1) {
                EmbeddingInputs.countMarked(io, hasMask: hasMask, sequences: ids[0], length: length)
            }
            EmbeddingInputs.normalize(
                io, rows: rows, hidden: hidden, gamma: io.input(5, as: Float.self), beta: io.input(6, as: Float.self), epsilon: epsilon,
                function)
        }
    }
}
