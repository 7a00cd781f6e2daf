import ApusCore
import ApusGraph

/// Convolutions of 8-bit integers: ConvInteger gives the 32-bit sums, QLinearConv scales them back to 8 bits.
/// com.microsoft's QLinearConv may have its channels last. The optimizer's attribute winograd allows 3×3 convolutions to be computed by
/// Winograd's transforms, which give the same bits.
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
    private let allowsWinograd: Bool

    init(_ node: NodeReader) throws {
        guard let form = Self.forms[node.opType] else { throw ApusError(.internal, "\(node.opType) has no form") }
        self.form = form
        window = try WindowAttributes(node)
        group = try node.int("group", default: 1)
        guard group >= 1 else { throw ApusError(.invalidModel, "attribute \"group\" is \(group); at least 1 expected") }
        isChannelsLast = node.domain.isEmpty ? false : try node.bool("channels_last", default: false)
        allowsWinograd = try node.bool("winograd", default: false)
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

    /// nil where it is known only in a run.
    private func inputZeroPoint(_ context: PrepareContext) -> Int32? {
        guard context.has(form.zeroPoint) else { return 0 }
        guard let tensor = context.constant(form.zeroPoint), tensor.count == 1 else { return nil }
        var point: Int32 = 0
        loadZeroPoints(tensor.type, tensor.pointer, &point, count: 1)
        return point
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let x = try context.shape(0), w = try context.shape(form.weights), y = try context.outputShape(0)
        if y.count == 0 { return PreparedKernel("nothing") { _ in } }
        let spatial = isChannelsLast ? Array(x.dimensions[1..<(x.rank - 1)]) : Array(x.dimensions[2...])
        let channels = isChannelsLast ? x[x.rank - 1] : x[1]
        let zeroPoints = context.has(form.weightZeroPoint) ? context.constant(form.weightZeroPoint) : nil
        let convolution = try IntegerConvolution(
            context, geometry: try window.geometry(input: spatial, kernel: Array(w.dimensions[2...])), batch: x[0], inChannels: channels,
            outChannels: w[0], group: group, weights: form.weights,
            weightZeroPoints: context.has(form.weightZeroPoint) ? zeroPoints.map { .constant($0) } ?? .computed : .none,
            winograd: allowsWinograd ? .allowed(zeroPoint: inputZeroPoint(context)) : .none)
        let weightZeroCount = context.has(form.weightZeroPoint) ? try context.shape(form.weightZeroPoint).count : 0
        let weightScaleCount = try form.weightScale.map { try context.shape($0).count } ?? 1
        let columns = try w[0].multiplied(by: 4).roundedUp(to: Storage.alignment)
        // Scales and zero points of the weights, then the images with their channels last, then what the convolution needs.
        let pixels = spatial.reduce(1, &*), outputPixels = y.count / (y[0] * w[0])
        let movesInput = !isChannelsLast && channels > 1 && pixels > 1, movesOutput = !isChannelsLast && w[0] > 1 && outputPixels > 1
        let (type, weightType, outputType) = (try context.type(0), try context.type(form.weights), try context.outputType(0))
        let outputSize = outputType.bitWidth / 8
        let inputBytes = movesInput ? try x.count.roundedUp(to: Storage.alignment) : 0
        let outputBytes = movesOutput ? try y.count.multiplied(by: outputSize).roundedUp(to: Storage.alignment) : 0
        let workspace = try columns.multiplied(by: 2).adding(inputBytes).adding(outputBytes).adding(convolution.workspaceByteCount)
        let (form, batch, outChannels) = (form, x[0], w[0])

        return PreparedKernel(convolution.kernelName, workspace: workspace) { io in
            let scales = io.workspace.assumingMemoryBound(to: Float.self)
            let weightZeros = (io.workspace + columns).assumingMemoryBound(to: Int32.self)
            let moved = io.workspace + 2 * columns
            loadZeroPoints(
                weightType, weightZeroCount > 0 ? io.input(form.weightZeroPoint) : nil, weightZeros, count: max(1, weightZeroCount))
            var zeroPoint: Int32 = 0, outputZeroPoint: Int32 = 0
            loadZeroPoints(type, io.has(form.zeroPoint) ? io.input(form.zeroPoint) : nil, &zeroPoint, count: 1)
            if let index = form.outputZeroPoint { loadZeroPoints(outputType, io.input(index), &outputZeroPoint, count: 1) }
            if let scale = form.scale, let weightScale = form.weightScale, let outputScale = form.outputScale {
                fillProductScales(
                    scales, count: outChannels, a: io.input(scale, as: Float.self)[0], b: io.input(weightScale, as: Float.self),
                    bStep: weightScaleCount == 1 ? 0 : 1, output: io.input(outputScale, as: Float.self)[0])
            }
            var input = io.input(0)
            if movesInput {
                transposeImages(
                    batch, rows: channels, columns: pixels, elementSize: 1, from: input, to: moved, pool: io.pool)
                input = UnsafeRawPointer(moved)
            }
            let output = movesOutput ? moved + inputBytes : io.output(0)
            convolution.run(
                IntegerConvolution.Call(
                    input: input, zeroPoint: zeroPoint, weights: io.input(form.weights), weightZeroPoints: weightZeros,
                    hasWeightZeroPointPerChannel: weightZeroCount > 1, output: output,
                    bias: form.bias.flatMap { io.has($0) ? io.input($0, as: Int32.self) : nil },
                    scales: form.scale == nil ? nil : UnsafePointer(scales), outputType: outputType, outputZeroPoint: outputZeroPoint),
                workspace: moved + inputBytes + outputBytes, pool: io.pool)
            if movesOutput {
                transposeImages(
                    batch, rows: outputPixels, columns: outChannels, elementSize: outputSize, from: UnsafeRawPointer(output),
                    to: io.output(0), pool: io.pool)
            }
        }
    }
}
