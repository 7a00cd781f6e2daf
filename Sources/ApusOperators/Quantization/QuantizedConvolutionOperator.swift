import ApusCore
import ApusGraph

/// Convolutions of 8-bit integers: ConvInteger gives the 32-bit sums, QLinearConv scales them back to 8 bits.
/// com.microsoft's QLinearConv may have its channels last.
struct QuantizedConvolutionOperator: Operator {
    static let schemas = [
        Schema("ConvInteger", since: [10], inputs: 2...4),
        Schema("QLinearConv", since: [10], inputs: 8...9),
        Schema("QLinearConv", domain: "com.microsoft", since: [1], inputs: 8...9),
    ]

    /// Positions of the inputs.
    private struct Form {
        let weights: Int
        let zeroPoint: Int
        let weightZeroPoint: Int
        let scale: Int?
        let weightScale: Int?
        let outputScale: Int?
        let outputZeroPoint: Int?
        let bias: Int?
    }

    private static let forms: [String: Form] = [
        "ConvInteger": Form(
            weights: 1, zeroPoint: 2, weightZeroPoint: 3, scale: nil, weightScale: nil, outputScale: nil, outputZeroPoint: nil, bias: nil),
        "QLinearConv": Form(
            weights: 3, zeroPoint: 2, weightZeroPoint: 5, scale: 1, weightScale: 4, outputScale: 6, outputZeroPoint: 7, bias: 8),
    ]

    private let form: Form
    private let window: WindowAttributes
    private let group: Int
    private let isChannelsLast: Bool

    init(_ node: NodeReader) throws {
        guard let form = Self.forms[node.opType] else { throw ApusError(.internal, "\(node.opType) has no form") }
        self.form = form
        window = try WindowAttributes(node)
        group = try node.int("group", default: 1)
        guard group >= 1 else { throw ApusError(.invalidModel, "attribute \"group\" is \(group); at least 1 expected") }
        isChannelsLast = node.domain.isEmpty ? false : try node.bool("channels_last", default: false)
    }

    // MARK: Inference

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: [.uint8, .int8])
        let weightType = try context.type(form.weights, oneOf: [.uint8, .int8])
        try checkType(context, form.zeroPoint, type)
        try checkType(context, form.weightZeroPoint, weightType)
        for index in [form.scale, form.weightScale, form.outputScale].compactMap({ $0 }) {
            _ = try context.type(index, oneOf: [.float32])
        }
        let outputType = try form.outputZeroPoint.map { try context.type($0, oneOf: [.uint8, .int8]) } ?? .int32
        if let bias = form.bias, context.has(bias) { _ = try context.type(bias, oneOf: [.int32]) }
        guard let x = try context.dimensions(0, rank: 3...), let w = try context.dimensions(form.weights, rank: 3...) else {
            return [ValueInfo(outputType, .unknown)]
        }
        guard x.count == w.count else {
            throw ApusError(.shapeMismatch, "the input has \(x.count) axes, the weights \(w.count); they must be equal")
        }
        let channels = isChannelsLast ? x[x.count - 1] : x[1]
        if let found = channels.known, let per = w[1].known, found != (try per.multiplied(by: group)) {
            throw ApusError(.shapeMismatch, "the input has \(found) channels, the weights take \(per) in \(group) groups")
        }
        if let outputs = w[0].known, outputs % group != 0 {
            throw ApusError(.shapeMismatch, "\(outputs) output channels cannot be divided into \(group) groups")
        }
        try checkCounts(context, outputs: w[0])
        let spatial = isChannelsLast ? Array(x[1..<(x.count - 1)]) : Array(x[2...])
        let kernel = try kernel(w)
        try window.check(axes: spatial.count)
        let output = try kernel.map { try window.outputDimensions(spatial, kernel: $0) } ?? spatial.map { _ in Dimension.unknown }
        return [ValueInfo(outputType, PartialShape(isChannelsLast ? [x[0]] + output + [w[0]] : [x[0], w[0]] + output))]
    }

    /// The spatial extents of the weights, with which the attribute must agree.
    private func kernel(_ weights: [Dimension]) throws -> [Int]? {
        let sizes = weights[2...].compactMap(\.known)
        guard sizes.count == weights.count - 2 else { return window.kernel }
        if let kernel = window.kernel, kernel != sizes {
            throw ApusError(.shapeMismatch, "attribute \"kernel_shape\" is \(kernel), the weights have \(sizes)")
        }
        guard sizes.allSatisfy({ $0 > 0 }) else { throw ApusError(.shapeMismatch, "the weights have an empty kernel \(sizes)") }
        return sizes
    }

    private func checkType(_ context: InferenceContext, _ index: Int, _ type: ElementType) throws {
        guard context.has(index) else { return }
        let found = try context.type(index)
        guard found == type else {
            throw ApusError(.typeMismatch, "input \(index) is \(found.name); the zero point must be \(type.name) like what it belongs to")
        }
    }

    private func checkCounts(_ context: InferenceContext, outputs: Dimension) throws {
        for (index, perChannel) in [
            (form.scale, false), (form.zeroPoint, false), (form.outputScale, false), (form.outputZeroPoint, false),
            (form.weightScale, true), (form.weightZeroPoint, true),
        ] {
            guard let index, context.has(index), let shape = try context.shape(index).concrete() else { continue }
            let fits = shape.count == 1 || (perChannel && shape.rank == 1 && (outputs.known == nil || outputs.known == shape.count))
            guard fits else {
                throw ApusError(
                    .shapeMismatch,
                    "input \(index) has shape \(shape); expected one element\(perChannel ? " or one for each of \(outputs) output channels" : "")")
            }
        }
        if let bias = form.bias, context.has(bias), let shape = try context.dimensions(bias, rank: 1...1), let found = shape[0].known,
            let expected = outputs.known, found != expected
        {
            throw ApusError(.shapeMismatch, "the bias has \(found) elements for \(expected) output channels")
        }
    }

    func multiplyAccumulates(_ inputs: [ValueInfo?], _ outputs: [ValueInfo]) -> Int {
        guard let w = try? inputs[form.weights]?.concreteShape(), let y = try? outputs[0].concreteShape() else { return 0 }
        return FloatProduct.saturatingProduct([y.count, w.count(1...)])
    }

    // MARK: Preparation

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let x = try context.shape(0), w = try context.shape(form.weights), y = try context.outputShape(0)
        if y.count == 0 { return PreparedKernel("nothing") { _ in } }
        let spatial = isChannelsLast ? Array(x.dimensions[1..<(x.rank - 1)]) : Array(x.dimensions[2...])
        let geometry = try window.geometry(input: spatial, kernel: Array(w.dimensions[2...]))
        let perGroup = w[1], channels = w[1] * group, rows = w[0] / group
        let (inputPixels, outputPixels, taps) = (geometry.inputPixels, geometry.outputPixels, geometry.taps)
        let table = try geometry.table(pixelStride: isChannelsLast ? max(channels, 1) : 1, budget: context.packed.budget)
        let product = try IntegerProduct(k: try perGroup.multiplied(by: taps))
        let weightBytes = try product.byteCount(lines: w[0]).roundedUp(to: 64)
        let weightsAreSigned = try context.type(form.weights) == .int8, isSigned = try context.type(0) == .int8
        let weightCount = w[0]
        func pack(_ source: UnsafeRawPointer, _ target: UnsafeMutableRawPointer) {
            let lines = target.assumingMemoryBound(to: Int16.self)
            if weightsAreSigned {
                product.fill(
                    nil, MatrixLines(source, Int8.self, lineStride: product.k, elementStride: 1, k: product.k), 0..<weightCount, lines)
            } else {
                product.fill(
                    nil, MatrixLines(source, UInt8.self, lineStride: product.k, elementStride: 1, k: product.k), 0..<weightCount, lines)
            }
        }
        let packed = try context.packed(form.weights, key: "integer convolution \(product.k)") { tensor, budget in
            let storage = try Storage.allocate(byteCount: weightBytes, budget: budget, purpose: "packed weights")
            pack(tensor.pointer, storage.base)
            return storage
        }
        let packedBytes = packed == nil ? weightBytes : 0
        let pass = product.linesPerPass(outputPixels)
        let lineBytes = try product.byteCount(lines: pass).roundedUp(to: 64)
        let sumBytes = try pass.multiplied(by: 4).roundedUp(to: 64)
        let weightZeroCount = context.has(form.weightZeroPoint) ? try context.shape(form.weightZeroPoint).count : 1
        let weightScaleCount = try form.weightScale.map { try context.shape($0).count } ?? 1
        let zeroBytes = try weightZeroCount.multiplied(by: 4).roundedUp(to: 64)
        let workspace = try packedBytes.adding(lineBytes).adding(sumBytes).adding(zeroBytes)
        let (form, group, isChannelsLast) = (form, group, isChannelsLast)
        let (type, weightType, outputType) = (try context.type(0), try context.type(form.weights), try context.outputType(0))
        let batch = x[0], imageIn = channels * inputPixels, imageOut = w[0] * outputPixels
        let pixelStep = isChannelsLast ? weightCount : 1, channelStep = isChannelsLast ? 1 : outputPixels
        let inputChannelStep = isChannelsLast ? 1 : inputPixels

        return PreparedKernel("integer convolution", workspace: workspace) { io in
            var weights = UnsafeRawPointer(io.workspace)
            if let packed { weights = UnsafeRawPointer(packed.base) } else { pack(io.input(form.weights), io.workspace) }
            let lines = (io.workspace + packedBytes).assumingMemoryBound(to: Int16.self)
            let sums = (io.workspace + packedBytes + lineBytes).assumingMemoryBound(to: Int32.self)
            let weightZeros = (io.workspace + packedBytes + lineBytes + sumBytes).assumingMemoryBound(to: Int32.self)
            loadZeroPoints(weightType, io.has(form.weightZeroPoint) ? io.input(form.weightZeroPoint) : nil, weightZeros, count: weightZeroCount)
            var zeroPoint: Int32 = 0, outputZeroPoint: Int32 = 0
            loadZeroPoints(type, io.has(form.zeroPoint) ? io.input(form.zeroPoint) : nil, &zeroPoint, count: 1)
            if let index = form.outputZeroPoint { loadZeroPoints(outputType, io.input(index), &outputZeroPoint, count: 1) }
            let bias = form.bias.flatMap { io.has($0) ? io.input($0, as: Int32.self) : nil }
            let offsets = table.base.assumingMemoryBound(to: Int.self)
            for image in 0..<batch {
                for part in 0..<group {
                    let first = part * rows
                    let source = io.input(0) + image * imageIn + part * perGroup * inputChannelStep
                    func run<Epilogue: IntegerEpilogue>(_ epilogue: Epilogue) {
                        for begin in stride(from: 0, to: outputPixels, by: max(1, pass)) {
                            let end = min(outputPixels, begin + pass)
                            func fill<T: FixedWidthInteger>(_: T.Type) {
                                product.fill(
                                    io.pool,
                                    WindowLines(
                                        elements: source.assumingMemoryBound(to: T.self), table: offsets, taps: taps, channels: perGroup,
                                        channelStride: inputChannelStep, zeroPoint: Int16(truncatingIfNeeded: zeroPoint)),
                                    begin..<end, lines, sums: sums)
                            }
                            if isSigned { fill(Int8.self) } else { fill(UInt8.self) }
                            product.multiply(
                                io.pool, rows: weights.assumingMemoryBound(to: Int16.self) + first * product.stride, rowCount: rows,
                                rowFactors: LineFactors(
                                    values: weightZeros + (weightZeroCount == 1 ? 0 : first), step: weightZeroCount == 1 ? 0 : 1),
                                columns: lines, columnCount: end - begin, columnFactors: LineFactors(values: sums, step: 1),
                                firstColumn: begin, epilogue)
                        }
                    }
                    let place = image * imageOut + first * channelStep
                    guard let scale = form.scale, let weightScale = form.weightScale, let outputScale = form.outputScale else {
                        run(StoringEpilogue(target: io.output(0, as: Int32.self) + place, stride: channelStep))
                        continue
                    }
                    let scales = ProductScales(
                        a: io.input(weightScale, as: Float.self) + (weightScaleCount == 1 ? 0 : first),
                        aCount: weightScaleCount == 1 ? 1 : rows, b: io.input(scale, as: Float.self), bStep: 0,
                        output: io.input(outputScale, as: Float.self)[0])
                    let sumBias = bias.map { SumBias(values: $0 + first, rowStride: 1, columnStride: 0) }
                    if outputType == .int8 {
                        run(
                            RequantizingEpilogue(
                                io.output(0) + place, Int8.self, stride: channelStep, columnStride: pixelStep, scales: scales,
                                bias: sumBias, zeroPoint: outputZeroPoint))
                    } else {
                        run(
                            RequantizingEpilogue(
                                io.output(0) + place, UInt8.self, stride: channelStep, columnStride: pixelStep, scales: scales,
                                bias: sumBias, zeroPoint: outputZeroPoint))
                    }
                }
            }
            withExtendedLifetime(table) {}
        }
    }
}

/// What a window sees at each output pixel: channel by channel, tap by tap. Padding is the zero point.
private struct WindowLines<Element: FixedWidthInteger>: LineSource, @unchecked Sendable {
    let elements: UnsafePointer<Element>
    /// By pixel and tap: where the pixel lies; negative: padding.
    let table: UnsafePointer<Int>
    let taps: Int
    let channels: Int
    let channelStride: Int
    let zeroPoint: Int16

    @inline(__always)
    func fill(_ index: Int, _ target: UnsafeMutablePointer<Int16>) {
        let offsets = table + index * taps
        for channel in 0..<channels {
            let plane = elements + channel * channelStride, line = target + channel * taps
            for tap in 0..<taps {
                let offset = offsets[tap]
                line[tap] = offset < 0 ? 0 : Int16(truncatingIfNeeded: plane[offset]) &- zeroPoint
            }
        }
    }
}
