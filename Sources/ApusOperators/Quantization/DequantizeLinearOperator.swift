import ApusCore
import ApusGraph
import CApusKernels

/// y = (x - zero point) * scale, with one scale for the tensor, an axis' index or a block.
struct DequantizeLinearOperator: Operator {
    static let schemas = [
        Schema("DequantizeLinear", since: [10, 13, 19, 21, 23, 24, 25, 28], inputs: 2...3),
        Schema("DequantizeLinear", domain: "com.microsoft", since: [1], inputs: 2...3),
    ]

    private let axis: Int
    private let blockSize: Int
    private let allowsAxis: Bool
    private let outputType: ElementType?

    init(_ node: NodeReader) throws {
        let opset = node.domain.isEmpty ? node.opset : 13
        allowsAxis = opset >= 13
        axis = opset >= 13 ? try node.int("axis", default: 1) : 1
        blockSize = opset >= 21 ? try node.int("block_size", default: 0) : 0
        let number = opset >= 23 ? try node.int("output_dtype", default: 0) : 0
        outputType = number == 0 ? nil : try node.elementType("output_dtype")
        if let outputType, outputType != .float32, !outputType.isShortFloat {
            throw ApusError(.invalidModel, "attribute \"output_dtype\" is \(outputType.name); float, float16 or bfloat16 expected")
        }
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: QuantizeLinearOperator.resultTypes + [.int32])
        let scaleType = try context.type(1, oneOf: [.float32, .float16, .bfloat16, .float8e8m0])
        if context.has(2) {
            let found = try context.type(2)
            guard found == type else {
                throw ApusError(.typeMismatch, "the zero point is \(found.name), the input \(type.name); they must agree")
            }
        }
        let shape = try context.shape(0)
        _ = try Granularity(x: shape, scale: try context.shape(1), axis: axis, blockSize: blockSize, allowsAxis: allowsAxis)
        try checkZeroPoint(context)
        return [ValueInfo(outputType ?? (scaleType == .float8e8m0 ? .float32 : scaleType), shape)]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        try context.throughFloat32 { try prepareFloat($0) }
    }

    private func prepareFloat(_ context: PrepareContext) throws -> any PreparedNode {
        let shape = try context.shape(0), scaleShape = try context.shape(1)
        let type = try context.type(0), scaleType = try context.type(1)
        guard
            let granularity = try Granularity(
                x: PartialShape(shape), scale: PartialShape(scaleShape), axis: axis, blockSize: blockSize, allowsAxis: allowsAxis)
        else { throw ApusError(.internal, "the granularity is unknown") }
        let runs = QuantizationRuns(granularity, shape)
        let scaleCount = scaleShape.count
        let zeroPointOffset = try scaleCount.multiplied(by: 4).roundedUp(to: 64)
        let hasZeroPoint = context.has(2)
        let function = integerTypes[type].flatMap { apus_quantize_dequantizer(apus_quantize_select(context.levels), $0) }
        return PreparedKernel("dequantize", workspace: max(64, try zeroPointOffset.multiplied(by: 2))) { io in
            let scales = io.workspace.assumingMemoryBound(to: Float.self)
            let zeroPoints = (io.workspace + zeroPointOffset).assumingMemoryBound(to: Int32.self)
            loadScales(scaleType, io.input(1), scales, count: scaleCount)
            loadZeroPoints(type, hasZeroPoint ? io.input(2) : nil, zeroPoints, count: scaleCount)
            let source = io.input(0), target = io.output(0, as: Float.self)
            io.pool.inChunks(runs.runCount, of: runs.runsPerChunk) { range in
                if let function {
                    dequantize(range, runs, function, source, type.bitWidth / 8, scales, zeroPoints, target)
                } else if let table = CodeTable(type) {
                    dequantizeCodes(range, runs, table, source.assumingMemoryBound(to: UInt8.self), scales, zeroPoints, target)
                }
            }
        }
    }
}

/// The integer types that kernels dequantise.
private let integerTypes: [ElementType: apus_integer_type] = [
    .uint8: APUS_U8, .int8: APUS_S8, .uint16: APUS_U16, .int16: APUS_S16, .int32: APUS_S32,
]

private func dequantize(
    _ range: Range<Int>, _ runs: QuantizationRuns, _ function: apus_dequantize_fn, _ source: UnsafeRawPointer, _ size: Int,
    _ scales: UnsafePointer<Float>, _ zeroPoints: UnsafePointer<Int32>, _ target: UnsafeMutablePointer<Float>
) {
    var args = apus_dequantize_args()
    runs.forEach(in: range) { offset, count, scaleIndex, step in
        args.n = count
        args.x = source + offset * size
        args.scale = scales + scaleIndex
        args.zero_point = zeroPoints + scaleIndex
        args.per_element = step != 0
        args.y = target + offset
        function(&args)
    }
}

/// Small floats and types below 8 bits, by table. Zero points of floats are 0 by definition and not read.
private func dequantizeCodes(
    _ range: Range<Int>, _ runs: QuantizationRuns, _ table: CodeTable, _ source: UnsafePointer<UInt8>, _ scales: UnsafePointer<Float>,
    _ zeroPoints: UnsafePointer<Int32>, _ target: UnsafeMutablePointer<Float>
) {
    runs.forEach(in: range) { offset, count, scaleIndex, step in
        for index in 0..<count {
            let number = table.number(source, offset + index)
            target[offset + index] = (number - Float(zeroPoints[scaleIndex + index * step])) * scales[scaleIndex + index * step]
        }
    }
}
