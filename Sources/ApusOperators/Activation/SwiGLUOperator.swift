import ApusCore
import ApusGraph
import CApusKernels

/// Swish of one input times another of the same shape.
struct SwiGLUOperator: Operator {
    static let schemas = [Schema("SwiGLU", since: [28], inputs: 2...2)]

    private let alpha: Float

    init(_ node: NodeReader) throws {
        alpha = try node.float("alpha", default: 1)
    }

    var overwrites: [(output: Int, input: Int)] { [(0, 0)] }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: Types.floats)
        _ = try context.commonType(0..<2)
        let a = try context.shape(0), b = try context.shape(1)
        if let a = a.dimensions, let b = b.dimensions {
            let differ = zip(a, b).contains { a, b in a.known != nil && b.known != nil && a != b }
            guard a.count == b.count, !differ else {
                throw ApusError(.shapeMismatch, "both inputs must have one shape, found \(PartialShape(a)) and \(PartialShape(b))")
            }
        }
        return [ValueInfo(type, a.refined(by: b))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.type(0), count = try context.shape(0).count, size = type.byteWidth ?? 1, alpha = alpha
        if type == .float64 {
            return PreparedKernel("swiglu") { io in
                let a = io.input(0, as: Double.self), b = io.input(1, as: Double.self), y = io.output(0, as: Double.self)
                io.pool.inChunks(count) { range in
                    for index in range { y[index] = SwishFunction.apply(a[index], Double(alpha), 0) * b[index] }
                }
            }
        }
        let kernels = try FloatKernels(context.levels)
        var swish = try kernels.loop(APUS_UNARY_SILU, SIMD2(alpha, 0)), multiply = try kernels.loop(APUS_BINARY_MUL)
        if type.isShortFloat {
            swish = throughFloat32(type, swish)
            multiply = throughFloat32(type, multiply)
        }
        let (first, second) = (swish, multiply)
        return PreparedKernel("swiglu_" + kernels.name) { io in
            let a = io.input(0), b = io.input(1), y = io.output(0)
            // Parts that stay in the cache between both steps.
            io.pool.inChunks(count, of: 4096) { range in
                let offset = range.lowerBound * size
                first(range.count, a + offset, y + offset)
                second(range.count, y + offset, 1, b + offset, 1, y + offset)
            }
        }
    }
}
