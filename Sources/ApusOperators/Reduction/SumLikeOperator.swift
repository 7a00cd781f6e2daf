import ApusCore
import ApusGraph
import CApusKernels

/// apus.SumLike: input 0 summed over the axes along which a tensor of the shape of input 1 was broadcast to it.
struct SumLikeOperator: Operator {
    static let schemas = [Schema("SumLike", domain: "apus", since: [1], inputs: 2...2)]

    init(_ node: NodeReader) throws {}

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: Types.numbers)
        if let x = try context.shape(0).concrete(), let like = try context.shape(1).concrete() { _ = try axes(x, like) }
        return [ValueInfo(type, try context.shape(1))]
    }

    private func axes(_ x: Shape, _ like: Shape) throws -> Set<Int> {
        guard try Shape.broadcast([x, like]) == x else {
            throw ApusError(.shapeMismatch, "a tensor of shape \(x) cannot be summed to shape \(like)")
        }
        let leading = x.rank - like.rank
        return Set((0..<x.rank).filter { $0 < leading || like[$0 - leading] == 1 })
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let shape = try context.shape(0)
        let geometry = ReduceGeometry(shape, axes: try axes(shape, try context.shape(1)))
        let loop = try growingReduceLoop(SumReduction.self, APUS_REDUCE_SUM, context.type(0), .none, levels: context.levels)
        return PreparedKernel("SumLike") { io in loop(geometry, io.pool, io.input(0), io.output(0)) }
    }
}
