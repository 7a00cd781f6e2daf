import ApusCore
import ApusGraph
import CApusKernels

/// What EmbedLayerNormalization and its 8-bit form have in common. Inputs: ids [batch, sequence], segments, tables of words
/// [words, hidden], positions and segments, gamma and beta [hidden], mask, and, in the former, ids of positions.
enum EmbeddingInputs {
    /// The dimensions of the ids, and the elements of a table's row. `positionIDs`: the input of ids of positions, which may be
    /// the same for all sequences.
    static func infer(_ context: InferenceContext, positionIDs: Int?) throws -> (ids: [Dimension], hidden: Dimension) {
        let like = [1, 7] + (positionIDs.map { [$0] } ?? [])
        for index in [0] + like where context.has(index) { _ = try context.type(index, oneOf: [.int32]) }
        let ids = try context.dimensions(0, rank: 2...2) ?? [.unknown, .unknown]
        let hidden = try context.dimensions(2, rank: 2...2)?[1] ?? .unknown
        for (index, rank) in [(3, 2), (4, 2), (5, 1), (6, 1)] where context.has(index) {
            if let own = try context.dimensions(index, rank: rank...rank)?[rank - 1].known, let width = hidden.known, own != width {
                throw ApusError(.shapeMismatch, "input \(index) has rows of \(own) elements, the words have \(width)")
            }
        }
        if let expected = try context.shape(0).concrete() {
            for index in like where context.has(index) {
                guard let own = try context.shape(index).concrete() else { continue }
                guard own == expected || index == positionIDs && own.dimensions == [1, expected[1]] else {
                    throw ApusError(.shapeMismatch, "input \(index) has shape \(own), \(expected) expected")
                }
            }
            let isInOrder = positionIDs.map { !context.has($0) } ?? true
            if isInOrder, let rows = try context.dimensions(3, rank: 2...2)?[0].known, expected[1] > rows {
                throw ApusError(.shapeMismatch, "there are \(rows) positions for sequences of \(expected[1])")
            }
        }
        return (ids, hidden)
    }

    /// The id at `place` of `input`, which must be that of one of the table's `count` rows.
    static func row(_ io: NodeIO, _ input: Int, _ place: Int, count: Int) throws -> Int {
        let found = Int(io.input(input, as: Int32.self)[place])
        guard found >= 0, found < count else {
            throw ApusError(.invalidValue, "input \(input) holds \(found); the table has \(count) rows")
        }
        return found
    }

    /// Writes to output 1 how many positions of each sequence the mask marks: none where there is no mask.
    static func countMarked(_ io: NodeIO, hasMask: Bool, sequences: Int, length: Int) {
        let counts = io.output(1, as: Int32.self)
        for sequence in 0..<sequences {
            var count: Int32 = 0
            if hasMask {
                for position in 0..<length where io.input(7, as: Int32.self)[sequence * length + position] == 1 { count += 1 }
            }
            counts[sequence] = count
        }
    }

    /// Normalises output 0, rows of `hidden` elements, in place.
    static func normalize(
        _ io: NodeIO, rows: Int, hidden: Int, gamma: UnsafePointer<Float>, beta: UnsafePointer<Float>, epsilon: Float,
        _ function: apus_row_norm_fn
    ) {
        let output = io.output(0, as: Float.self)
        var args = apus_row_norm_args()
        args.rows = rows
        args.n = hidden
        args.x = UnsafePointer(output)
        args.x_stride = hidden
        args.scale = gamma
        args.bias = beta
        args.epsilon = epsilon
        args.y = output
        args.y_stride = hidden
        function(&args)
    }
}
