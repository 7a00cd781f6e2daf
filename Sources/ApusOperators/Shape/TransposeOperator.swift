import ApusCore

/// Permutes the axes; without `perm`, reverses them.
struct TransposeOperator: Operator {
    static let schemas = [Schema("Transpose", since: [1, 13, 21, 23, 24, 25], inputs: 1...1)]

    private let permutation: [Int]?

    init(_ node: NodeReader) throws {
        permutation = try node.optionalInts("perm")
    }

    private func axes(rank: Int) throws -> [Int] {
        guard let permutation else { return (0..<rank).reversed() }
        guard permutation.count == rank, permutation.sorted().elementsEqual(0..<rank) else {
            throw ApusError(.shapeMismatch, "perm \(permutation) is no permutation of the \(rank) axes of the input")
        }
        return permutation
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        guard let dimensions = try context.shape(0).dimensions else {
            return [ValueInfo(try context.type(0), permutation.map { .ofRank($0.count) } ?? .unknown)]
        }
        let axes = try axes(rank: dimensions.count)
        return [
            ValueInfo(
                try context.type(0), PartialShape(axes.map { dimensions[$0] }),
                elements: axes.count <= 1 ? try context.smallElements(0) : nil)
        ]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.type(0)
        let shape = try context.shape(0)
        let strides = shape.strides
        let axes = try axes(rank: shape.rank)
        let copy = StridedCopy(
            toContiguous: axes.map { shape[$0] }, source: axes.map { strides[$0] }, width: context.movedWidth(type))
        return try context.movement("transpose", type, inputs: [0]) { access in
            copy.run(from: access.input(0), to: access.output(0), pool: access.io.pool)
        }
    }
}
