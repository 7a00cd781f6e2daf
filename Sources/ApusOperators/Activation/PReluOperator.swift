import ApusCore
import CApusKernels

/// PRelu: negative elements multiplied by a slope that is broadcast to the data.
struct PReluOperator: Operator {
    static let schemas = [Schema("PRelu", since: [1, 6, 7, 9, 16], inputs: 2...2)]

    /// Before opset 7 a vector of slopes belonged to axis 1.
    private let slopesAreChannels: Bool

    init(_ node: NodeReader) throws {
        slopesAreChannels = node.opset < 7
    }

    var overwrites: [(output: Int, input: Int)] { [(0, 0)] }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: Types.numbers)
        _ = try context.commonType([0, 1])
        let data = try context.shape(0)
        _ = try rule(context.shape(1)).result(data, context.shape(1))
        if let x = try data.concrete(), let slope = try context.shape(1).concrete() {
            let laid = try rule(context.shape(1)).second(slope, against: x)
            guard try Shape.broadcast([x, laid]) == x else {
                throw ApusError(.shapeMismatch, "slope of shape \(slope) cannot be broadcast to \(x), the shape of input 0")
            }
        }
        return [ValueInfo(type, data)]
    }

    private func rule(_ slope: PartialShape) -> BroadcastRule {
        slopesAreChannels && slope.rank == 1 ? .aligned(axis: 1) : .numpy
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.type(0), x = try context.shape(0), kernels = try FloatKernels(context.levels)
        let slope = try rule(PartialShape(context.shape(1))).second(context.shape(1), against: x)
        let size = type.byteWidth ?? 1
        return binaryKernel(
            "PRelu \(kernels.name)", try BroadcastPlan(x, operands: [x, slope]), sizes: (size, size, size),
            try BinaryArithmetic.prelu.loop(type, kernels))
    }
}
