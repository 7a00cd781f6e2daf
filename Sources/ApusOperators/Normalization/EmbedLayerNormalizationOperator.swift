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
        for index in [0, 1, 7, 8] where context.has(index) { _ = try context.type(index, oneOf: [.int32]) }
        _ = try context.type(2, oneOf: [.float32, .float16, .bfloat16])
        let type = try context.commonType([2, 3, 4, 5, 6])
        let ids = try context.dimensions(0, rank: 2...2) ?? [.unknown, .unknown]
        let words = try context.dimensions(2, rank: 2...2), hidden = words?[1] ?? .unknown
        for index in [3, 4] where context.has(index) {
            if let own = try context.dimensions(index, rank: 2...2)?[1].known, let width = hidden.known, own != width {
                throw ApusError(.shapeMismatch, "input \(index) has rows of \(own) elements, the words have \(width)")
            }
        }
        for index in 5...6 {
            if let own = try context.dimensions(index, rank: 1...1)?[0].known, let width = hidden.known, own != width {
                throw ApusError(.shapeMismatch, "input \(index) has \(own) elements, \(width) expected")
            }
        }
        if let expected = try context.shape(0).concrete() {
            for index in [1, 7, 8] where context.has(index) {
                guard let own = try context.shape(index).concrete() else { continue }
                guard own == expected || index == 8 && own.dimensions == [1, expected[1]] else {
                    throw ApusError(.shapeMismatch, "input \(index) has shape \(own), \(expected) expected")
                }
            }
            if !context.has(8), let rows = try context.dimensions(3, rank: 2...2)?[0].known, expected[1] > rows {
                throw ApusError(.shapeMismatch, "there are \(rows) positions for sequences of \(expected[1])")
            }
        }
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
                let found = Int(io.input(input, as: Int32.self)[place])
                guard found >= 0, found < count else {
                    throw ApusError(.invalidValue, "input \(input) holds \(found); the table has \(count) rows")
                }
                return io.input(table, as: Float.self) + found * hidden
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
                let counts = io.output(1, as: Int32.self)
                for sequence in 0..<ids[0] {
                    var count: Int32 = 0
                    if hasMask {
                        for position in 0..<length where io.input(7, as: Int32.self)[sequence * length + position] == 1 { count += 1 }
                    }
                    counts[sequence] = count
                }
            }
            var args = apus_row_norm_args()
            args.rows = rows
            args.n = hidden
            args.x = UnsafePointer(output)
            args.x_stride = hidden
            args.scale = io.input(5, as: Float.self)
            args.bias = io.input(6, as: Float.self)
            args.epsilon = epsilon
            args.y = output
            args.y_stride = hidden
            function(&args)
        }
    }
}
