import ApusCore
import ApusGraph
import CApusKernels

/// Convolution over any number of spatial axes.
///
/// The standard operator has channels first: [N, C, D1, D2, ...]. `apus.Conv`, which the optimiser makes, has channels last,
/// [N, D1, D2, ..., C], for float32 and the 16-bit floats, and computes activation(X * (W · weight_scale) + bias + residual): inputs X, W
/// (as the standard operator has it), bias [M] (optional), residual (optional, of the output's shape), weight_scale [M]
/// (optional, constant as W then must be), where W may be of a narrower type of floats than the others; attributes of Conv, activation, activation_params; channels_first, which says
/// that X, residual and output have the standard operator's layout; input_first, which says that only X has; winograd: the greatest tile, 2 or 4, with which the
/// convolution may be computed by Winograd's transforms, where there are some for its window, 0 (default) for none; winograd_in_run,
/// which says that the weights of 3×3 windows are transformed in each run, not kept so.
struct ConvOperator: Operator {
    static let schemas = [
        Schema("Conv", since: [1, 11, 22], inputs: 2...3),
        Schema("Conv", domain: "apus", since: [1], inputs: 2...5),
    ]

    let window: WindowAttributes
    let group: Int
    let isFused: Bool
    let isLast: Bool
    /// Whether X has its channels last.
    let readsLast: Bool
    let activation: FusedActivation
    /// The greatest tile of Winograd's transforms that the optimiser allows; 0: none.
    let winograd: Int
    let winogradInRun: Bool

    init(_ node: NodeReader) throws {
        isFused = node.domain == "apus"
        isLast = isFused ? try !node.bool("channels_first", default: false) : false
        readsLast = isFused ? try isLast && !node.bool("input_first", default: false) : false
        window = try WindowAttributes(node)
        group = try node.int("group", default: 1)
        guard group >= 1 else { throw ApusError(.invalidModel, "attribute \"group\" is \(group); it must be at least 1") }
        activation = isFused ? try FusedActivation(node) : .none
        winograd = isFused ? try node.int("winograd", default: 0) : 0
        winogradInRun = isFused ? try node.bool("winograd_in_run", default: false) : false
        guard [0, 2, 4].contains(winograd) else {
            throw ApusError(.invalidModel, "attribute \"winograd\" is \(winograd); it must be 0, 2 or 4")
        }
    }

    var overwrites: [(output: Int, input: Int)] { isFused ? [(0, 3)] : [] }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.commonType(isFused ? [0, 2, 3, 4] : [0, 1, 2, 3, 4])
        _ = try context.type(0, oneOf: isFused ? [.float32, .float16, .bfloat16] : [.float32, .float16, .bfloat16, .float64])
        if isFused { _ = try context.type(1, oneOf: [type] + NarrowProduct.types) }
        let x = try context.dimensions(0, rank: 3...), w = try context.dimensions(1, rank: 3...)
        guard let x, let w else {
            return [ValueInfo(type, (x ?? w).map { PartialShape.ofRank($0.count) } ?? .unknown)]
        }
        guard x.count == w.count else {
            throw ApusError(.shapeMismatch, "X \(PartialShape(x)) has rank \(x.count), W \(PartialShape(w)) has rank \(w.count)")
        }
        let channels = readsLast ? x[x.count - 1] : x[1]
        let spatial = Array(readsLast ? x[1..<(x.count - 1)] : x[2...])
        if let c = channels.known, let own = w[1].known, try own.multiplied(by: group) != c {
            throw ApusError(
                .shapeMismatch,
                "X \(PartialShape(x)) has \(c) channels, W \(PartialShape(w)) in \(group) groups takes \(own) each")
        }
        if let m = w[0].known, m % group != 0 {
            throw ApusError(.shapeMismatch, "\(m) output channels cannot be divided into \(group) groups")
        }
        if context.has(2), let bias = try context.dimensions(2, rank: 1...1), let found = bias[0].known, let m = w[0].known, found != m {
            throw ApusError(.shapeMismatch, "the bias has \(found) elements, W has \(m) output channels")
        }
        if context.has(4), let scale = try context.dimensions(4, rank: 1...1), let found = scale[0].known, let m = w[0].known, found != m {
            throw ApusError(.shapeMismatch, "weight_scale has \(found) elements, W has \(m) output channels")
        }
        try window.check(axes: spatial.count)
        let kernel = w[2...].map(\.known)
        var output = [Dimension](repeating: .unknown, count: spatial.count)
        if let sizes = try kernelSizes(kernel) { output = try window.outputDimensions(spatial, kernel: sizes) }
        let shape = PartialShape(isLast ? [x[0]] + output + [w[0]] : [x[0], w[0]] + output)
        if context.has(3), let residual = try context.shape(3).concrete(), let expected = try shape.concrete(), residual != expected {
            throw ApusError(.shapeMismatch, "the residual has shape \(residual), the convolution has shape \(expected)")
        }
        return [ValueInfo(type, shape)]
    }

    /// The kernel by attribute and weights, which must agree; nil where neither tells.
    private func kernelSizes(_ weights: [Int?]) throws -> [Int]? {
        for (axis, size) in weights.enumerated() {
            if let size, let given = window.kernel?[axis], given != size {
                throw ApusError(.shapeMismatch, "attribute \"kernel_shape\" is \(window.kernel ?? []), the kernel of W has \(size) on axis \(axis)")
            }
            if let size, size < 1 { throw ApusError(.shapeMismatch, "the kernel of W has \(size) elements on axis \(axis)") }
        }
        let known = weights.compactMap { $0 }
        return known.count == weights.count ? known : window.kernel
    }

    func multiplyAccumulates(_ inputs: [ValueInfo?], _ outputs: [ValueInfo]) -> Int {
        guard let w = try? inputs[1]?.concreteShape(), let y = try? outputs[0].concreteShape(), w.rank > 1 else { return 0 }
        return FloatProduct.saturatingProduct([y.count] + w.dimensions.dropFirst())
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        // Nothing bounds the sizes of an output without elements.
        if try context.outputShape(0).count == 0 { return PreparedKernel("nothing") { _ in } }
        if try context.type(0) == .float64 { return try prepareGeneric(Double.self, context) }
        // Constant weights are widened when they are packed.
        return try context.through(
            .float32, NarrowProduct.types, except: context.constant(1) == nil ? [] : [1], isLast ? prepareLast : prepareFirst)
    }

    /// A convolution of `batch` images made ready; `weights` and `scale` are inputs.
    private func convolution(
        _ context: PrepareContext, batch: Int, spatial: [Int], channels: Int, weights: Int = 1, scale: Int?
    ) throws -> FloatConvolution {
        let w = try context.shape(weights)
        return try FloatConvolution(
            context, geometry: try window.geometry(input: spatial, kernel: Array(w.dimensions.dropFirst(2))), batch: batch,
            inChannels: channels, outChannels: w[0], group: group, weights: weights, weightScale: scale, activation: activation,
            winograd: winograd, winogradInRun: winogradInRun, readsChannelsFirst: isLast && !readsLast)
    }

    /// The same of images of shape `x`, with channels last at least in the output.
    func convolutionLast(_ context: PrepareContext, x: Shape, weights: Int, scale: Int?) throws -> FloatConvolution {
        try convolution(
            context, batch: x[0], spatial: Array(readsLast ? x.dimensions[1..<(x.rank - 1)] : x.dimensions[2...]),
            channels: readsLast ? x[x.rank - 1] : x[1], weights: weights, scale: scale)
    }

    /// Channels last, at least in the output.
    private func prepareLast(_ context: PrepareContext) throws -> any PreparedNode {
        let convolution = try convolutionLast(context, x: try context.shape(0), weights: 1, scale: context.has(4) ? 4 : nil)
        let hasBias = context.has(2), hasResidual = context.has(3)
        return PreparedKernel(convolution.kernelName, workspace: convolution.workspaceByteCount) { io in
            convolution.run(
                input: io.input(0, as: Float.self), weights: io.input(1, as: Float.self),
                bias: hasBias ? io.input(2, as: Float.self) : nil, residual: hasResidual ? io.input(3, as: Float.self) : nil,
                output: io.output(0, as: Float.self), workspace: io.workspace, pool: io.pool)
        }
    }

    /// Channels first: transposed on the way in and out.
    private func prepareFirst(_ context: PrepareContext) throws -> any PreparedNode {
        let x = try context.shape(0), y = try context.outputShape(0)
        let convolution = try convolution(
            context, batch: x[0], spatial: Array(x.dimensions[2...]), channels: x[1], scale: context.has(4) ? 4 : nil)
        let hasBias = context.has(2), hasResidual = context.has(3)
        return try channelsFirstNode(convolution.kernelName, x: x, y: y, workspace: convolution.workspaceByteCount) {
            io, input, output, workspace in
            convolution.run(
                input: input, weights: io.input(1, as: Float.self), bias: hasBias ? io.input(2, as: Float.self) : nil,
                residual: hasResidual ? channelsLastResidual(io, 3, shape: y, output) : nil, output: output, workspace: workspace,
                pool: io.pool)
        }
    }

    /// Channels first, in the plainest way.
    private func prepareGeneric<T: ProductElement>(_: T.Type, _ context: PrepareContext) throws -> any PreparedNode {
        let x = try context.shape(0), w = try context.shape(1), y = try context.outputShape(0)
        let geometry = try window.geometry(input: Array(x.dimensions[2...]), kernel: Array(w.dimensions[2...]))
        let table = try geometry.table(pixelStride: 1, budget: context.packed.budget)
        let taps = geometry.taps, pixels = geometry.inputPixels, outPixels = geometry.outputPixels
        let k = w[1], m = w[0], perGroup = max(1, m / group), hasBias = context.has(2), channels = x[1]
        return PreparedKernel("conv_generic") { io in
            let source = io.input(0, as: T.self), weights = io.input(1, as: T.self), result = io.output(0, as: T.self)
            let entries = table.base.assumingMemoryBound(to: Int.self)
            io.pool.parallelUnlessStopped(y[0] * m) { index in
                let image = index / m, channel = index % m, part = channel / perGroup
                let out = result + index * outPixels
                let start = hasBias ? io.input(2, as: T.self)[channel] : T.additiveIdentity
                for pixel in 0..<outPixels { out[pixel] = start }
                for inner in 0..<k {
                    let plane = source + (image * channels + part * k + inner) * pixels
                    for tap in 0..<taps {
                        let weight = weights[(channel * k + inner) * taps + tap]
                        for pixel in 0..<outPixels where entries[pixel * taps + tap] >= 0 {
                            out[pixel] = T.accumulate(out[pixel], plane[entries[pixel * taps + tap]], weight)
                        }
                    }
                }
            }
        }
    }
}
