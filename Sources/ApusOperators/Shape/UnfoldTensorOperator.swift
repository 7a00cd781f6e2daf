import ApusCore
import ApusGraph

/// com.microsoft.UnfoldTensor: the windows of `size` elements along an axis, `step` apart; their elements are a new last axis.
struct UnfoldTensorOperator: Operator {
    static let schemas = [Schema("UnfoldTensor", domain: "com.microsoft", since: [1], inputs: 1...1)]

    private let axis: Int
    private let size: Int
    private let step: Int

    init(_ node: NodeReader) throws {
        axis = try node.int("dim", default: -1)
        size = try node.int("size")
        step = try node.int("step", default: 1)
        guard size > 0, step > 0 else {
            throw ApusError(.invalidModel, "attributes \"size\" and \"step\" must be positive, found \(size) and \(step)")
        }
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0)
        guard var dimensions = try context.dimensions(0, rank: 1...) else { return [ValueInfo(type, .unknown)] }
        let axis = try normalizedAxis(axis, rank: dimensions.count)
        if let length = dimensions[axis].known, length < size {
            throw ApusError(.shapeMismatch, "axis \(axis) has \(length) elements, a window \(size)")
        }
        dimensions[axis] = (dimensions[axis] - .known(size)).floorDivided(by: .known(step)) + .known(1)
        return [ValueInfo(type, PartialShape(dimensions + [.known(size)]))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.type(0), shape = try context.shape(0), axis = try normalizedAxis(axis, rank: shape.rank)
        var strides = shape.strides + [shape.strides[axis]]
        // A step beyond the only window leads nowhere.
        let windows = try context.outputShape(0)[axis]
        strides[axis] = windows > 1 ? strides[axis] &* step : 0
        let copy = StridedCopy(
            toContiguous: try context.outputShape(0).dimensions, source: strides, width: context.movedWidth(type))
        return try context.movement("unfold", type, inputs: [0]) { access in
            copy.run(from: access.input(0), to: access.output(0), pool: access.io.pool)
        }
    }
}
