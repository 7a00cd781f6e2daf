import ApusCore
import ApusGraph
import CApusKernels
import Glibc

/// Checks and loads what com.microsoft's QLinear operators share: 8-bit tensors, each with a scale and a zero point of
/// one element.
struct QuantizedInput: Sendable {
    let scale: Int
    let zeroPoint: Int

    /// Throws unless scale and zero point are right for tensors of `type`.
    func check(_ context: InferenceContext, _ type: ElementType) throws {
        _ = try context.type(scale, oneOf: [.float32])
        try checkSingle(context, scale)
        guard context.has(zeroPoint) else { return }
        _ = try context.type(zeroPoint, oneOf: [type])
        try checkSingle(context, zeroPoint)
    }

    private func checkSingle(_ context: InferenceContext, _ index: Int) throws {
        if let shape = try context.shape(index).concrete(), shape.count != 1 {
            throw ApusError(.shapeMismatch, "input \(index) has shape \(shape), one element expected")
        }
    }

    func load(_ io: NodeIO, _ type: ElementType) -> (scale: Float, zeroPoint: Int32) {
        var zero: Int32 = 0
        if io.has(zeroPoint) { loadZeroPoints(type, io.input(zeroPoint), &zero, count: 1) }
        return (io.input(scale, as: Float.self)[0], zero)
    }
}

/// Sums and products of 8-bit tensors with broadcasting.
struct QuantizedBinaryOperator: Operator {
    static let schemas = [
        Schema("QLinearAdd", domain: "com.microsoft", since: [1], inputs: 7...8),
        Schema("QLinearMul", domain: "com.microsoft", since: [1], inputs: 7...8),
    ]

    private static let multiplying: Set<String> = ["QLinearMul"]
    private let multiplies: Bool
    private let a = QuantizedInput(scale: 1, zeroPoint: 2)
    private let b = QuantizedInput(scale: 4, zeroPoint: 5)
    private let c = QuantizedInput(scale: 6, zeroPoint: 7)

    init(_ node: NodeReader) throws {
        multiplies = Self.multiplying.contains(node.opType)
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: [.uint8, .int8])
        _ = try context.type(3, oneOf: [type])
        for input in [a, b, c] { try input.check(context, type) }
        return [ValueInfo(type, try PartialShape.broadcast([try context.shape(0), try context.shape(3)]))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.type(0), (a, b, c, multiplies) = (a, b, c, multiplies)
        let plan = try BroadcastPlan(try context.outputShape(0), operands: [try context.shape(0), try context.shape(3)])
        guard let kernels = apus_qelementwise_select(context.levels) else { throw ApusError(.internal, "there is no 8-bit kernel") }
        let isSigned = type == .int8
        return PreparedKernel("quantised_elementwise_" + String(cString: kernels.pointee.name)) { io in
            let (x, y, z) = (a.load(io, type), b.load(io, type), c.load(io, type))
            let left = io.input(0, as: UInt8.self), right = io.input(3, as: UInt8.self), out = io.output(0, as: UInt8.self)
            func number(_ code: UInt8) -> Int32 { isSigned ? Int32(Int8(bitPattern: code)) : Int32(code) }
            // The parameters are folded in the order in which onnxruntime does it.
            let leftRatio = x.scale / z.scale, rightRatio = y.scale / z.scale
            let fixed = Float(z.zeroPoint) - (leftRatio * Float(x.zeroPoint) + rightRatio * Float(y.zeroPoint))
            let ratio = x.scale * y.scale / z.scale
            func sum(_ count: Int, _ p: UnsafePointer<UInt8>, _ q: UnsafePointer<UInt8>, _ steps: (Int, Int), _ target: UnsafeMutablePointer<UInt8>) {
                var args = apus_qadd_args()
                args.n = count
                args.is_signed = isSigned
                args.y = UnsafeMutableRawPointer(target)
                (args.base, args.a_ratio, args.b_ratio) = (fixed, leftRatio, rightRatio)
                (args.a, args.b) = (UnsafeRawPointer(p), UnsafeRawPointer(q))
                if steps.1 == 0 {
                    args.base = fixed + Float(number(q[0])) * rightRatio
                    args.b = nil
                } else if steps.0 == 0 {
                    args.base = fixed + Float(number(p[0])) * leftRatio
                    (args.a, args.a_ratio, args.b) = (UnsafeRawPointer(q), rightRatio, nil)
                }
                kernels.pointee.add(&args)
            }
            func product(_ count: Int, _ p: UnsafePointer<UInt8>, _ q: UnsafePointer<UInt8>, _ steps: (Int, Int), _ target: UnsafeMutablePointer<UInt8>) {
                var args = apus_qmul_args()
                args.n = count
                args.is_signed = isSigned
                args.y = UnsafeMutableRawPointer(target)
                (args.ratio, args.zero_point) = (ratio, Float(z.zeroPoint))
                (args.a, args.a_zero, args.b, args.b_zero) = (UnsafeRawPointer(p), x.zeroPoint, UnsafeRawPointer(q), y.zeroPoint)
                if steps.1 == 0 {
                    (args.b, args.factor) = (nil, number(q[0]) &- y.zeroPoint)
                } else if steps.0 == 0 {
                    (args.a, args.a_zero, args.b, args.factor) = (UnsafeRawPointer(q), y.zeroPoint, nil, number(p[0]) &- x.zeroPoint)
                }
                kernels.pointee.mul(&args)
            }
            io.pool.inChunks(plan.count) { range in
                plan.forEachRun(in: range) { offset, count, starts in
                    let steps = (plan.steps[0], plan.steps[1])
                    if multiplies {
                        product(count, left + starts[0], right + starts[1], steps, out + offset)
                    } else {
                        sum(count, left + starts[0], right + starts[1], steps, out + offset)
                    }
                }
            }
        }
    }
}

/// The integer nearest to `value`, ties to even, within the type. NaN gives the lowest.
@inline(__always)
func saturated<T: FixedWidthInteger>(_ value: Float) -> T {
    let lowest = Float(T.min), highest = Float(T.max)
    let above = value > lowest ? value : lowest
    return T(truncatingIfNeeded: roundedHalfEven(above < highest ? above : highest))
}

/// 256 results, one for each 8-bit code: dequantise, apply a function, quantise.
func fillTable(
    _ table: UnsafeMutablePointer<UInt8>, _ type: ElementType, _ x: (scale: Float, zeroPoint: Int32), _ y: (scale: Float, zeroPoint: Int32),
    _ function: (Float) -> Float
) {
    let requantize = Requantization(type == .int8 ? .int8 : .uint8, zeroPoint: y.zeroPoint)
    for code in 0..<256 {
        let number = type == .int8 ? Int32(Int8(truncatingIfNeeded: code)) : Int32(code)
        let value = function(x.scale * Float(number &- x.zeroPoint))
        table[code] = UInt8(truncatingIfNeeded: requantize(value / y.scale))
    }
}

/// Functions of one 8-bit tensor, by table.
struct QuantizedUnaryOperator: Operator {
    static let schemas = [
        Schema("QLinearLeakyRelu", domain: "com.microsoft", since: [1], inputs: 4...5),
        Schema("QLinearSigmoid", domain: "com.microsoft", since: [1], inputs: 4...5),
    ]

    private enum Function: Sendable {
        case leakyRelu
        case sigmoid
    }

    private static let functions: [String: Function] = ["QLinearLeakyRelu": .leakyRelu, "QLinearSigmoid": .sigmoid]
    private let function: Function
    private let alpha: Float
    private let x = QuantizedInput(scale: 1, zeroPoint: 2)
    private let y = QuantizedInput(scale: 3, zeroPoint: 4)

    init(_ node: NodeReader) throws {
        guard let function = Self.functions[node.opType] else { throw ApusError(.internal, "\(node.opType) has no function") }
        self.function = function
        alpha = function == .leakyRelu ? try node.float("alpha", default: 0.01) : 0
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: [.uint8, .int8])
        try x.check(context, type)
        try y.check(context, type)
        return [ValueInfo(type, try context.shape(0))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.type(0), count = try context.shape(0).count
        let (x, y, function, alpha) = (x, y, function, alpha)
        let kernels = apus_quantize_select(context.levels)
        return PreparedKernel("quantised table", workspace: 256) { io in
            let table = io.workspace.assumingMemoryBound(to: UInt8.self)
            fillTable(table, type, x.load(io, type), y.load(io, type)) { value in
                switch function {
                case .leakyRelu: value >= 0 ? value : alpha * value
                case .sigmoid: 1 / (1 + expf(-value))
                }
            }
            let source = io.input(0, as: UInt8.self), target = io.output(0, as: UInt8.self)
            io.pool.inChunks(count) { range in
                kernels?.pointee.lookup(range.count, source + range.lowerBound, table, target + range.lowerBound)
            }
        }
    }
}

/// Averages of 8-bit images over windows or over everything.
struct QuantizedAveragePoolOperator: Operator {
    static let schemas = [
        Schema("QLinearAveragePool", domain: "com.microsoft", since: [1], inputs: 4...5),
        Schema("QLinearGlobalAveragePool", domain: "com.microsoft", since: [1], inputs: 5...5),
    ]

    private static let global: Set<String> = ["QLinearGlobalAveragePool"]
    private let window: WindowAttributes?
    private let includesPadding: Bool
    private let isChannelsLast: Bool
    private let x = QuantizedInput(scale: 1, zeroPoint: 2)
    private let y = QuantizedInput(scale: 3, zeroPoint: 4)

    init(_ node: NodeReader) throws {
        let isGlobal = Self.global.contains(node.opType)
        window = isGlobal ? nil : try WindowAttributes(node, requiresKernel: true, hasDilations: false, hasCeilMode: true)
        includesPadding = isGlobal ? false : try node.bool("count_include_pad", default: false)
        isChannelsLast = try node.bool("channels_last", default: false)
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: [.uint8, .int8])
        try x.check(context, type)
        try y.check(context, type)
        guard let dimensions = try context.dimensions(0, rank: 3...) else { return [ValueInfo(type, .unknown)] }
        let spatial = isChannelsLast ? Array(dimensions[1..<(dimensions.count - 1)]) : Array(dimensions[2...])
        let output = try window.map { try $0.outputDimensions(spatial, kernel: $0.kernel ?? []) } ?? spatial.map { _ in Dimension.known(1) }
        return [
            ValueInfo(
                type, PartialShape(isChannelsLast ? [dimensions[0]] + output + [dimensions[dimensions.count - 1]] : Array(dimensions[..<2]) + output))
        ]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let shape = try context.shape(0), type = try context.type(0)
        if try context.outputShape(0).count == 0 { return PreparedKernel("nothing") { _ in } }
        let spatial = isChannelsLast ? Array(shape.dimensions[1..<(shape.rank - 1)]) : Array(shape.dimensions[2...])
        let channels = isChannelsLast ? shape[shape.rank - 1] : shape[1], batch = shape[0]
        let pixels = spatial.reduce(1, &*)
        let geometry = try window.map { try $0.geometry(input: spatial, kernel: $0.kernel ?? []) }
        let table = try geometry?.table(pixelStride: 1, budget: context.packed.budget)
        let taps = geometry?.taps ?? pixels, outputPixels = geometry?.outputPixels ?? 1
        let pixelStep = isChannelsLast ? channels : 1, channelStep = isChannelsLast ? 1 : pixels
        let outputPixelStep = isChannelsLast ? channels : 1, outputChannelStep = isChannelsLast ? 1 : outputPixels
        let (x, y, includesPadding) = (x, y, includesPadding)
        if isChannelsLast, window == nil, let kernels = apus_qelementwise_select(context.levels) {
            let name = "quantised_average_" + String(cString: kernels.pointee.name)
            return PreparedKernel(name, workspace: try channels.multiplied(by: batch).multiplied(by: 4)) { io in
                let input = x.load(io, type), result = y.load(io, type)
                let requantize = Requantization(type == .int8 ? .int8 : .uint8, zeroPoint: result.zeroPoint)
                let scale = input.scale / (result.scale * Float(pixels)), zero = Int32(truncatingIfNeeded: pixels) &* input.zeroPoint
                io.pool.inChunks(batch, of: 1) { range in
                    for image in range {
                        let sums = io.workspace.assumingMemoryBound(to: Int32.self) + image * channels
                        var args = apus_qsum_args()
                        (args.pixels, args.channels, args.pixel_stride) = (pixels, channels, channels)
                        args.is_signed = type == .int8
                        args.input = io.input(0) + image * pixels * channels
                        args.sums = sums
                        kernels.pointee.sum(&args)
                        let target = io.output(0, as: UInt8.self) + image * channels
                        for channel in 0..<channels {
                            target[channel] = UInt8(truncatingIfNeeded: requantize(Float(sums[channel] &- zero) * scale))
                        }
                    }
                }
            }
        }
        return PreparedKernel("quantised average") { io in
            let input = x.load(io, type), result = y.load(io, type)
            let offsets = table?.base.assumingMemoryBound(to: Int.self)
            func run<T: FixedWidthInteger>(_: T.Type) {
                let requantize = Requantization(T.isSigned ? .int8 : .uint8, zeroPoint: result.zeroPoint)
                io.pool.inChunks(batch * channels, of: 8) { range in
                    for plane in range {
                        let image = plane / channels, channel = plane % channels
                        let source = io.input(0, as: T.self) + image * channels * pixels + channel * channelStep
                        let target = io.output(0, as: T.self) + image * channels * outputPixels + channel * outputChannelStep
                        for pixel in 0..<outputPixels {
                            if let offsets {
                                var sum: Float = 0, seen = 0
                                for tap in 0..<taps {
                                    let offset = offsets[pixel * taps + tap]
                                    if offset < 0 { continue }
                                    sum += input.scale * Float(Int32(source[offset * pixelStep]) &- input.zeroPoint)
                                    seen += 1
                                }
                                let mean = sum / Float(includesPadding ? taps : max(1, seen))
                                target[pixel * outputPixelStep] = saturated(mean / result.scale + Float(result.zeroPoint))
                            } else {
                                var sum: Int32 = 0
                                for offset in 0..<pixels { sum &+= Int32(source[offset * pixelStep]) &- input.zeroPoint }
                                let scale = input.scale / (result.scale * Float(pixels))
                                target[pixel * outputPixelStep] = T(truncatingIfNeeded: requantize(Float(sum) * scale))
                            }
                        }
                    }
                }
            }
            if type == .int8 { run(Int8.self) } else { run(UInt8.self) }
            withExtendedLifetime(table) {}
        }
    }
}

/// Softmax of an 8-bit tensor; the exponentials come from a table.
struct QuantizedSoftmaxOperator: Operator {
    static let schemas = [Schema("QLinearSoftmax", domain: "com.microsoft", since: [1], inputs: 5...5)]

    private let axis: Int
    private let viewsInputAsMatrix: Bool
    private let x = QuantizedInput(scale: 1, zeroPoint: 2)
    private let y = QuantizedInput(scale: 3, zeroPoint: 4)

    init(_ node: NodeReader) throws {
        viewsInputAsMatrix = try node.int("opset") < 13
        axis = try node.int("axis", default: viewsInputAsMatrix ? 1 : -1)
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: [.uint8, .int8])
        try x.check(context, type)
        try y.check(context, type)
        let shape = try context.shape(0)
        if let rank = shape.rank { _ = try normalizedAxis(axis, rank: rank) }
        return [ValueInfo(type, shape)]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let shape = try context.shape(0), type = try context.type(0)
        if shape.count == 0 { return PreparedKernel("nothing") { _ in } }
        let position = try normalizedAxis(axis, rank: shape.rank)
        let length = viewsInputAsMatrix ? shape.count(position...) : shape[position]
        let inner = viewsInputAsMatrix ? 1 : shape.count((position + 1)...)
        let lanes = shape.count / length
        let (x, y) = (x, y)
        return PreparedKernel("quantised softmax", workspace: 1024) { io in
            let input = x.load(io, type), result = y.load(io, type)
            let table = io.workspace.assumingMemoryBound(to: Float.self)
            // The greatest exponential is as large as lets a sum of `length` of them stay below the greatest float.
            let room = max(0, log(Double(Float.greatestFiniteMagnitude / Float(length))) - 5) / Double(input.scale)
            for index in 0..<256 { table[index] = Float(exp((Double(index) - 255 + room) * Double(input.scale))) }
            let factor = (1 / result.scale).rounded(.down)
            let flip: UInt8 = type == .int8 ? 128 : 0
            let lowest: Float = type == .int8 ? -128 : 0, highest: Float = type == .int8 ? 127 : 255
            io.pool.inChunks(lanes, of: max(1, 4096 / length)) { range in
                for lane in range {
                    let start = lane / inner * length * inner + lane % inner
                    let source = io.input(0, as: UInt8.self) + start, target = io.output(0, as: UInt8.self) + start
                    var greatest = 0
                    for index in 0..<length { greatest = max(greatest, Int(source[index * inner] ^ flip)) }
                    var sum: Float = 0
                    for index in 0..<length { sum += table[Int(source[index * inner] ^ flip) + 255 - greatest] }
                    for index in 0..<length {
                        let share = sum == 0 ? 0 : table[Int(source[index * inner] ^ flip) + 255 - greatest] * factor / sum
                        let code = share.rounded(.toNearestOrEven) + Float(result.zeroPoint)
                        let limited = code > lowest ? min(code, highest) : lowest
                        target[index * inner] = UInt8(truncatingIfNeeded: roundedHalfEven(limited))
                    }
                }
            }
        }
    }
}
