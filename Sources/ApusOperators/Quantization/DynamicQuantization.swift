import ApusCore
import ApusGraph
import CApusKernels

/// Quantises to uint8 with scale and zero point taken from the tensor's own range, which always includes 0.
struct DynamicQuantizeLinearOperator: Operator {
    static let schemas = [Schema("DynamicQuantizeLinear", since: [11], inputs: 1...1, outputs: 3...3)]

    init(_ node: NodeReader) throws {}

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        _ = try context.type(0, oneOf: [.float32])
        return [
            ValueInfo(.uint8, try context.shape(0)), ValueInfo(.float32, PartialShape.scalar), ValueInfo(.uint8, PartialShape.scalar),
        ]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let count = try context.shape(0).count
        let range = DynamicRange(levels: context.levels)
        return PreparedKernel("dynamic quantize") { io in
            let source = io.input(0, as: Float.self)
            let parameters = range.parameters(source, count: count)
            range.quantize(io.pool, source, io.output(0, as: UInt8.self), count: count, parameters)
            if io.hasOutput(1) { io.output(1, as: Float.self)[0] = parameters.scale }
            if io.hasOutput(2) { io.output(2, as: UInt8.self)[0] = UInt8(truncatingIfNeeded: parameters.zeroPoint) }
        }
    }
}

/// Quantisation of float tensors to uint8 at run time.
struct DynamicRange: @unchecked Sendable {
    private let kernels: UnsafePointer<apus_quantize_kernels>?

    init(levels: UInt32) {
        kernels = apus_quantize_select(levels)
    }

    struct Parameters: Sendable {
        let scale: Float
        let zeroPoint: Int32
    }

    /// Scale and zero point that map the range of the elements and 0 onto 0 ... 255. NaNs are passed over.
    func parameters(_ source: UnsafePointer<Float>, count: Int) -> Parameters {
        var least: Float = 0, greatest: Float = 0
        kernels?.pointee.min_max(count, source, &least, &greatest)
        if least.isNaN || greatest.isNaN {
            (least, greatest) = (0, 0)
            for index in 0..<count {
                let element = source[index]
                least = element < least ? element : least
                greatest = element > greatest ? element : greatest
            }
        }
        (least, greatest) = (min(0, least), max(0, greatest))
        let scale = greatest == least ? 1 : (greatest - least) / 255
        let exact = 0 - least / scale
        let limited: Float = exact > 0 ? (exact < 255 ? exact : 255) : 0
        return Parameters(scale: scale, zeroPoint: roundedHalfEven(limited))
    }

    func quantize(
        _ pool: ThreadPool, _ source: UnsafePointer<Float>, _ target: UnsafeMutablePointer<UInt8>, count: Int, _ parameters: Parameters
    ) {
        pool.inChunks(count) { range in
            var scale = parameters.scale, zeroPoint = parameters.zeroPoint
            withUnsafePointer(to: &scale) { scale in
                withUnsafePointer(to: &zeroPoint) { zeroPoint in
                    var args = apus_quantize_args()
                    args.n = range.count
                    args.x = source + range.lowerBound
                    args.scale = scale
                    args.zero_point = zeroPoint
                    (args.low, args.high) = (0, 255)
                    args.y = UnsafeMutableRawPointer(target + range.lowerBound)
                    kernels?.pointee.quantize8(&args)
                }
            }
        }
    }
}
