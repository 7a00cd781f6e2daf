import ApusCore
import ApusGraph
import CApusKernels

/// y = saturate(round(x / scale) + zero point), with one scale for the tensor, an axis' index or a block.
struct QuantizeLinearOperator: Operator {
    static let schemas = [
        Schema("QuantizeLinear", since: [10, 13, 19, 21, 23, 24, 25, 28], inputs: 2...3),
        Schema("QuantizeLinear", domain: "com.microsoft", since: [1], inputs: 2...3),
    ]

    static let resultTypes: [ElementType] = [
        .uint8, .int8, .uint16, .int16, .uint4, .int4, .uint2, .int2, .float8e4m3fn, .float8e4m3fnuz, .float8e5m2,
        .float8e5m2fnuz, .float4e2m1, .float6e2m3, .float6e3m2,
    ]
    private static let sourceTypes: [ElementType] = [.float32, .float16, .bfloat16, .int32]

    private let axis: Int
    private let blockSize: Int
    private let allowsAxis: Bool
    private let saturates: Bool
    private let outputType: ElementType?
    /// The 16-bit type in which the division is done; nil: float32.
    private let precision: ElementType?

    init(_ node: NodeReader) throws {
        let isMicrosoft = !node.domain.isEmpty
        let opset = isMicrosoft ? 13 : node.opset
        allowsAxis = opset >= 13
        axis = opset >= 13 ? try node.int("axis", default: 1) : 1
        saturates = opset >= 19 ? try node.bool("saturate", default: true) : true
        blockSize = opset >= 21 ? try node.int("block_size", default: 0) : 0
        let number = opset >= 21 ? try node.int("output_dtype", default: 0) : 0
        outputType = number == 0 ? nil : try node.elementType("output_dtype")
        if let outputType, !Self.resultTypes.contains(outputType) {
            throw ApusError(.invalidModel, "attribute \"output_dtype\" is \(outputType.name), to which nothing is quantised")
        }
        let precisionNumber = opset >= 23 ? try node.int("precision", default: 0) : 0
        let precision = precisionNumber == 0 ? ElementType.float32 : try node.elementType("precision")
        guard precision == .float32 || precision.isShortFloat else {
            throw ApusError(.invalidModel, "attribute \"precision\" is \(precision.name); float, float16 or bfloat16 expected")
        }
        self.precision = precision == .float32 ? nil : precision
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        _ = try context.type(0, oneOf: Self.sourceTypes)
        _ = try context.type(1, oneOf: Self.sourceTypes + [.float8e8m0])
        var type = outputType ?? .uint8
        if context.has(2) {
            type = try context.type(2, oneOf: Self.resultTypes)
            if let outputType, outputType != type {
                throw ApusError(.typeMismatch, "the zero point is \(type.name), output_dtype \(outputType.name)")
            }
        }
        let shape = try context.shape(0)
        _ = try granularity(context)
        try checkZeroPoint(context)
        return [ValueInfo(type, shape)]
    }

    private func granularity(_ context: InferenceContext) throws -> Granularity? {
        try Granularity(
            x: try context.shape(0), scale: try context.shape(1), axis: axis, blockSize: blockSize, allowsAxis: allowsAxis)
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        if precision != nil { return try prepareFloat(context) }
        return try context.throughFloat32 { try prepareFloat($0) }
    }

    private func prepareFloat(_ context: PrepareContext) throws -> any PreparedNode {
        let shape = try context.shape(0), scaleShape = try context.shape(1)
        let (sourceType, scaleType, type) = (try context.type(0), try context.type(1), try context.outputType(0))
        guard
            let granularity = try Granularity(
                x: PartialShape(shape), scale: PartialShape(scaleShape), axis: axis, blockSize: blockSize, allowsAxis: allowsAxis)
        else { throw ApusError(.internal, "the granularity is unknown") }
        let quantizer = Quantizer(
            sourceType: sourceType, type: type, shape: shape, runs: QuantizationRuns(granularity, shape),
            precision: precision, saturates: saturates, kernels: apus_quantize_select(context.levels))
        let scaleCount = scaleShape.count
        let zeroPointOffset = try scaleCount.multiplied(by: 4).roundedUp(to: 64)
        let codesOffset = try zeroPointOffset.multiplied(by: 2)
        // Types below 8 bits are made one a byte first: threads must not share a byte.
        let workspace = try codesOffset.adding(type.bitWidth < 8 ? shape.count : 0)
        let hasZeroPoint = context.has(2)
        return PreparedKernel("quantize", workspace: max(64, workspace)) { io in
            let scales = io.workspace.assumingMemoryBound(to: Float.self)
            let zeroPoints = (io.workspace + zeroPointOffset).assumingMemoryBound(to: Int32.self)
            loadScales(scaleType, io.input(1), scales, count: scaleCount)
            loadZeroPoints(type, hasZeroPoint ? io.input(2) : nil, zeroPoints, count: scaleCount)
            let codes = type.bitWidth < 8 ? io.workspace + codesOffset : io.output(0)
            quantizer.run(io.pool, io.input(0), scales, zeroPoints, codes)
            if type.bitWidth < 8 {
                packCodes(
                    codes.assumingMemoryBound(to: UInt8.self), io.output(0, as: UInt8.self), count: shape.count, bitWidth: type.bitWidth)
            }
        }
    }
}

/// Throws unless the zero point (input 2), where present, has the shape of the scale (input 1); one element may be a
/// scalar or a vector.
func checkZeroPoint(_ context: InferenceContext) throws {
    guard context.has(2) else { return }
    let scale = try context.shape(1), zeroPoint = try context.shape(2)
    guard let a = try scale.concrete(), let b = try zeroPoint.concrete() else { return }
    guard a == b || (a.count == 1 && b.count == 1 && a.rank <= 1 && b.rank <= 1) else {
        throw ApusError(.shapeMismatch, "the zero point has shape \(zeroPoint), the scale \(scale); they must agree")
    }
}

/// The loop of QuantizeLinear: elements of one source type to codes, one a byte (or 16 bits) each.
private struct Quantizer: @unchecked Sendable {
    let sourceType: ElementType
    let type: ElementType
    let shape: Shape
    let runs: QuantizationRuns
    let precision: ElementType?
    let saturates: Bool
    let kernels: UnsafePointer<apus_quantize_kernels>?

    func run(
        _ pool: ThreadPool, _ source: UnsafeRawPointer, _ scales: UnsafePointer<Float>, _ zeroPoints: UnsafePointer<Int32>,
        _ target: UnsafeMutableRawPointer
    ) {
        pool.inChunks(runs.runCount, of: runs.runsPerChunk) { range in
            if sourceType == .float32, precision == nil, let limits = IntegerRange(type) {
                // Codes of types below 8 bits are the low bits of their two's complement.
                integers(range, source.assumingMemoryBound(to: Float.self), scales, zeroPoints, target, limits)
            } else {
                general(range, source, scales, zeroPoints, target)
            }
        }
    }

    private func integers(
        _ range: Range<Int>, _ source: UnsafePointer<Float>, _ scales: UnsafePointer<Float>, _ zeroPoints: UnsafePointer<Int32>,
        _ target: UnsafeMutableRawPointer, _ limits: IntegerRange
    ) {
        var args = apus_quantize_args()
        (args.low, args.high) = (limits.lowest, limits.highest)
        let isWide = type.bitWidth == 16
        runs.forEach(in: range) { offset, count, scaleIndex, step in
            args.n = count
            args.x = source + offset
            args.scale = scales + scaleIndex
            args.zero_point = zeroPoints + scaleIndex
            args.per_element = step != 0
            args.y = target + (isWide ? 2 * offset : offset)
            if isWide { kernels?.pointee.quantize16(&args) } else { kernels?.pointee.quantize8(&args) }
        }
    }

    /// Everything that is rare: small floats, integers to be quantised, division in 16 bits.
    private func general(
        _ range: Range<Int>, _ source: UnsafeRawPointer, _ scales: UnsafePointer<Float>, _ zeroPoints: UnsafePointer<Int32>,
        _ target: UnsafeMutableRawPointer
    ) {
        let format = SmallFloat(type), limits = IntegerRange(type)
        runs.forEach(in: range) { offset, count, scaleIndex, step in
            for index in 0..<count {
                let scale = scales[scaleIndex + index * step], zeroPoint = zeroPoints[scaleIndex + index * step]
                let quotient = quotient(source, offset + index, scale)
                if let format {
                    target.storeBytes(of: format.encoded(quotient, saturating: saturates), toByteOffset: offset + index, as: UInt8.self)
                } else if let limits {
                    let code = Requantization(limits, zeroPoint: zeroPoint)(quotient)
                    if type.bitWidth == 16 {
                        target.storeBytes(of: UInt16(truncatingIfNeeded: code), toByteOffset: 2 * (offset + index), as: UInt16.self)
                    } else {
                        target.storeBytes(of: UInt8(truncatingIfNeeded: code), toByteOffset: offset + index, as: UInt8.self)
                    }
                }
            }
        }
    }

    private func quotient(_ source: UnsafeRawPointer, _ index: Int, _ scale: Float) -> Float {
        switch (sourceType, precision) {
        case (.int32, nil):
            // Beyond 2^24 a float would not hold the dividend.
            return Float(Double(source.assumingMemoryBound(to: Int32.self)[index]) / Double(scale))
        case (.int32, let precision?):
            return QuantizedArithmetic.rounded(
                QuantizedArithmetic.rounded(Float(source.assumingMemoryBound(to: Int32.self)[index]), precision)
                    / QuantizedArithmetic.rounded(scale, precision), precision)
        case (.float32, nil): return source.assumingMemoryBound(to: Float.self)[index] / scale
        case (let type, let precision):
            let element: Float =
                switch type {
                case .float16: source.assumingMemoryBound(to: Half.self)[index].number
                case .bfloat16: source.assumingMemoryBound(to: BFloat16.self)[index].number
                default: source.assumingMemoryBound(to: Float.self)[index]
                }
            guard let precision else { return element / scale }
            return QuantizedArithmetic.rounded(
                QuantizedArithmetic.rounded(element, precision) / QuantizedArithmetic.rounded(scale, precision), precision)
        }
    }
}

enum QuantizedArithmetic {
    /// `number` rounded to a 16-bit float type.
    static func rounded(_ number: Float, _ type: ElementType) -> Float {
        type == .bfloat16 ? BFloat16(number).number : Half(number).number
    }
}
