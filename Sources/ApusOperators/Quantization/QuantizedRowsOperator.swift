import ApusCore
import ApusGraph
import CApusKernels

/// Operators on rows whose input and output have 8 bits and whose arithmetic is float: some rows at a time are dequantised into
/// a buffer, computed there and quantised, so that no tensor of floats passes through memory. The optimiser makes them.
///
/// Inputs: X, its scale and zero point, the output's scale and zero point; a normalisation's scale and bias (float32, one
/// element for each of a row). Results have the bits that DequantizeLinear, the operator and QuantizeLinear give.
struct QuantizedRowsOperator: Operator {
    static let schemas = [
        Schema("QuantizedLayerNormalization", domain: "apus", since: [1], inputs: 6...7),
        Schema("QuantizedSoftmax", domain: "apus", since: [1], inputs: 5...5),
    ]

    private let axis: Int
    private let isSoftmax: Bool
    private let epsilon: Float
    private let x = QuantizedInput(scale: 1, zeroPoint: 2)
    private let y = QuantizedInput(scale: 3, zeroPoint: 4)

    init(_ node: NodeReader) throws {
        axis = try node.int("axis", default: -1)
        isSoftmax = node.opType == "QuantizedSoftmax"
        epsilon = isSoftmax ? 0 : try node.float("epsilon", default: 1e-5)
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: [.uint8, .int8]), result = try context.type(4, oneOf: [.uint8, .int8])
        try x.check(context, type)
        try y.check(context, result)
        let shape = try context.shape(0)
        if let dimensions = shape.dimensions {
            let first = try normalizedAxis(axis, rank: dimensions.count)
            for index in [5, 6] where context.has(index) {
                _ = try context.type(index, oneOf: [.float32])
                guard let length = try shape.concrete()?.count(first...), let count = try context.shape(index).concrete()?.count,
                    count != length
                else { continue }
                throw ApusError(.shapeMismatch, "input \(index) has \(count) elements, the rows have \(length)")
            }
        }
        return [ValueInfo(result, shape)]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let shape = try context.shape(0), type = try context.type(0), result = try context.type(4)
        if shape.count == 0 { return PreparedKernel("nothing") { _ in } }
        guard let codes = apus_quantize_select(context.levels), let softmax = apus_softmax_select(context.levels),
            let normalization = apus_normalization_select(context.levels),
            let dequantize = apus_quantize_dequantizer(codes, type == .int8 ? APUS_S8 : APUS_U8), let quantize = codes.pointee.quantize8,
            let range = IntegerRange(result)
        else { throw ApusError(.internal, "there are no kernels of rows") }
        let length = shape.count(try normalizedAxis(axis, rank: shape.rank)...), rows = shape.count / length
        // Rows that the first-level cache holds, in about four pieces of work for each thread.
        let pieces = context.threads > 1 && shape.count > elementwiseChunk ? min(rows, 4 * context.threads) : 1
        let perPiece = (rows + pieces - 1) / pieces, step = max(1, min(perPiece, 4096 / length))
        let bytes = try step.multiplied(by: length).multiplied(by: 4).roundedUp(to: Storage.alignment)
        let (isSoftmax, epsilon, x, y) = (isSoftmax, epsilon, x, y)
        let name = isSoftmax ? "quantised_softmax_" : "quantised_layernorm_"
        return PreparedKernel(name + String(cString: codes.pointee.name), workspace: try bytes.multiplied(by: pieces).adding(Storage.alignment)) { io in
            let zeroPoints = io.workspace.assumingMemoryBound(to: Int32.self)
            (zeroPoints[0], zeroPoints[1]) = (x.load(io, type).zeroPoint, y.load(io, result).zeroPoint)
            io.pool.parallel(pieces) { piece in
                let buffer = (io.workspace + Storage.alignment + piece * bytes).assumingMemoryBound(to: Float.self)
                var row = min(rows, piece * perPiece)
                let end = min(rows, row + perPiece)
                while row < end {
                    let count = min(step, end - row)
                    var load = apus_dequantize_args(
                        n: count * length, x: io.input(0) + row * length, scale: io.input(1, as: Float.self),
                        zero_point: zeroPoints, per_element: false, y: buffer)
                    dequantize(&load)
                    if isSoftmax {
                        var args = apus_softmax_args(
                            rows: count, n: length, x: buffer, x_stride: length, scale: 1, mask: nil, mask_stride: 0, y: buffer,
                            y_stride: length, log: false)
                        softmax.pointee.softmax(&args)
                    } else {
                        var args = apus_row_norm_args()
                        (args.rows, args.n) = (count, length)
                        (args.x, args.x_stride) = (UnsafePointer(buffer), length)
                        (args.y, args.y_stride) = (buffer, length)
                        args.scale = io.input(5, as: Float.self)
                        if io.has(6) { args.bias = io.input(6, as: Float.self) }
                        args.epsilon = epsilon
                        normalization.pointee.layer_norm(&args)
                    }
                    var store = apus_quantize_args(
                        n: count * length, x: buffer, scale: io.input(3, as: Float.self), zero_point: zeroPoints + 1,
                        per_element: false, low: range.lowest, high: range.highest, y: io.output(0) + row * length)
                    quantize(&store)
                    row += count
                }
            }
        }
    }
}
