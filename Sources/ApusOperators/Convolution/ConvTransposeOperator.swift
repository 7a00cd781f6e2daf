import ApusCore
import ApusGraph
import CApusKernels

/// Transposed convolution: each input pixel spreads over the output pixels under a window.
///
/// The standard operator has channels first. `apus.ConvTranspose`, which the optimiser makes, has channels last, for float32
/// and the 16-bit floats, with the inputs and additional attributes of `apus.Conv` (winograd: 2, 3 or 4); W stays [C, M / group, kernel...].
struct ConvTransposeOperator: Operator {
    static let schemas = [
        Schema("ConvTranspose", since: [1, 11, 22], inputs: 2...3),
        Schema("ConvTranspose", domain: "apus", since: [1], inputs: 2...5),
    ]

    let window: WindowAttributes
    let outputPadding: [Int]?
    let outputShape: [Int]?
    let group: Int
    let isFused: Bool
    let isLast: Bool
    let activation: FusedActivation
    /// The greatest tile of Winograd's transforms that the optimiser allows; 0: none.
    let winograd: Int

    init(_ node: NodeReader) throws {
        isFused = node.domain == "apus"
        isLast = isFused ? try !node.bool("channels_first", default: false) : false
        window = try WindowAttributes(node)
        outputPadding = try node.optionalInts("output_padding")
        outputShape = try node.optionalInts("output_shape")
        group = try node.int("group", default: 1)
        guard group >= 1 else { throw ApusError(.invalidModel, "attribute \"group\" is \(group); it must be at least 1") }
        for (name, values) in [("output_padding", outputPadding), ("output_shape", outputShape)] {
            if let wrong = values?.first(where: { $0 < 0 }) {
                throw ApusError(.invalidModel, "attribute \"\(name)\" holds \(wrong); its elements must not be negative")
            }
        }
        activation = isFused ? try FusedActivation(node) : .none
        winograd = isFused ? try node.int("winograd", default: 0) : 0
        guard [0, 2, 3, 4].contains(winograd) else {
            throw ApusError(.invalidModel, "attribute \"winograd\" is \(winograd); it must be 0, 2, 3 or 4")
        }
    }

    // MARK: Shapes

    /// The axis for a concrete input size.
    private func axis(_ index: Int, _ input: Int, _ kernel: Int, axes: Int) throws -> TransposedAxis {
        let stride = window.strides?[index] ?? 1, dilation = window.dilations?[index] ?? 1
        let whole = try max(0, input - 1).multiplied(by: stride).adding(outputPadding?[index] ?? 0).adding(window.extent(kernel, index))
        var output: Int, begin = 0
        var target: Int?
        if let outputShape {
            // Some files give the whole shape, batch and channels included.
            target = outputShape[outputShape.count - axes + index]
        } else if case .same = window.padding {
            target = try input.multiplied(by: stride)
        }
        if let target {
            output = target
            let total = max(0, whole - target)
            if case .same(upper: true) = window.padding { begin = total / 2 } else { begin = total - total / 2 }
        } else {
            var end = 0
            if case .explicit(let pads?) = window.padding {
                begin = pads[index]
                end = pads[index + axes]
            }
            output = input == 0 ? 0 : try whole.subtracting(begin).subtracting(end)
            guard output > 0 || input == 0 else {
                throw ApusError(
                    .shapeMismatch, "axis \(index) of the output would have \(output) elements: the paddings \(begin) and \(end) are too large")
            }
            output = max(0, output)
        }
        return TransposedAxis(input: input, output: output, kernel: kernel, stride: stride, dilation: dilation, padBegin: begin)
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.commonType(isFused ? [0, 2, 3, 4] : [0, 1, 2, 3, 4])
        if isFused { _ = try context.type(1, oneOf: [type] + NarrowProduct.types) }
        _ = try context.type(0, oneOf: isFused ? [.float32, .float16, .bfloat16] : [.float32, .float16, .bfloat16, .float64])
        guard let x = try context.dimensions(0, rank: 3...), let w = try context.dimensions(1, rank: 3...) else {
            return [ValueInfo(type, .unknown)]
        }
        guard x.count == w.count else {
            throw ApusError(.shapeMismatch, "X \(PartialShape(x)) has rank \(x.count), W \(PartialShape(w)) has rank \(w.count)")
        }
        let channels = isLast ? x[x.count - 1] : x[1]
        let spatial = Array(isLast ? x[1..<(x.count - 1)] : x[2...])
        if let c = channels.known, let own = w[0].known, own != c || c % group != 0 {
            throw ApusError(
                .shapeMismatch, "X \(PartialShape(x)) has \(c) channels, W \(PartialShape(w)) takes \(own) in \(group) groups")
        }
        let m = w[1] * .known(group)
        for (index, name) in [(2, "the bias"), (4, "weight_scale")] where context.has(index) {
            if let found = try context.dimensions(index, rank: 1...1)?[0].known, let m = m.known, found != m {
                throw ApusError(.shapeMismatch, "\(name) has \(found) elements, W has \(m) output channels")
            }
        }
        try window.check(axes: spatial.count)
        if let outputPadding, outputPadding.count != spatial.count {
            throw ApusError(.shapeMismatch, "attribute \"output_padding\" has \(outputPadding.count) elements for \(spatial.count) spatial axes")
        }
        if let outputShape, outputShape.count != spatial.count, outputShape.count != x.count {
            throw ApusError(.shapeMismatch, "attribute \"output_shape\" has \(outputShape.count) elements for \(spatial.count) spatial axes")
        }
        var output: [Dimension] = []
        for (index, dimension) in spatial.enumerated() {
            let kernel = w[2 + index].known ?? window.kernel?[index]
            if let own = w[2 + index].known {
                guard own >= 1 else { throw ApusError(.shapeMismatch, "the kernel of W has \(own) elements on axis \(index)") }
                if let given = window.kernel?[index], given != own {
                    throw ApusError(.shapeMismatch, "attribute \"kernel_shape\" is \(window.kernel ?? []), the kernel of W has \(own) on axis \(index)")
                }
            }
            if let size = dimension.known, let kernel {
                output.append(.known(try axis(index, size, kernel, axes: spatial.count).output))
            } else if let outputShape {
                output.append(.known(outputShape[outputShape.count - spatial.count + index]))
            } else if case .same = window.padding {
                output.append(dimension * .known(window.strides?[index] ?? 1))
            } else if let kernel {
                var pads = 0
                if case .explicit(let given?) = window.padding { pads = try given[index].adding(given[index + spatial.count]) }
                let rest = try window.extent(kernel, index).adding(outputPadding?[index] ?? 0).subtracting(pads)
                let stride = window.strides?[index] ?? 1
                output.append(dimension * .known(stride) + .known(try rest.subtracting(stride)))
            } else {
                output.append(.unknown)
            }
        }
        let shape = PartialShape(isLast ? [x[0]] + output + [m] : [x[0], m] + output)
        if context.has(3), let residual = try context.shape(3).concrete(), let expected = try shape.concrete(), residual != expected {
            throw ApusError(.shapeMismatch, "the residual has shape \(residual), the convolution has shape \(expected)")
        }
        return [ValueInfo(type, shape)]
    }

    func multiplyAccumulates(_ inputs: [ValueInfo?], _ outputs: [ValueInfo]) -> Int {
        guard let w = try? inputs[1]?.concreteShape(), let x = try? inputs[0]?.concreteShape(), w.rank > 1 else { return 0 }
        return FloatProduct.saturatingProduct([x.count] + w.dimensions.dropFirst())
    }

    // MARK: Preparation

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        // Nothing bounds the sizes of an output without elements.
        if try context.outputShape(0).count == 0 { return PreparedKernel("nothing") { _ in } }
        if try context.type(0) == .float64 { return try prepareGeneric(Double.self, context) }
        // Narrow constant weights stay as they are, or are widened when they are packed.
        return try context.through(.float32, NarrowProduct.types, except: context.constant(1) == nil ? [] : [1], prepareFloat32)
    }

    private func axes(_ context: PrepareContext) throws -> [TransposedAxis] {
        let x = try context.shape(0), w = try context.shape(1)
        return try (2..<w.rank).map { try axis($0 - 2, x[isLast ? $0 - 1 : $0], w[$0], axes: w.rank - 2) }
    }

    private func prepareFloat32(_ context: PrepareContext) throws -> any PreparedNode {
        let x = try context.shape(0), w = try context.shape(1), y = try context.outputShape(0)
        let axes = try axes(context)
        if !isFused, FloatTransposedConvolution.phaseCount(axes) > FloatTransposedConvolution.mostPhases {
            return try prepareGeneric(Float.self, context)
        }
        let convolution = try FloatTransposedConvolution(
            context, axes: axes, batch: x[0], inChannels: w[0], outChannels: w[1] * group, group: group, weights: 1,
            weightScale: context.has(4) ? 4 : nil, activation: activation, winograd: winograd)
        let hasBias = context.has(2), hasResidual = context.has(3)
        func run(
            _ io: NodeIO, _ input: UnsafePointer<Float>, _ output: UnsafeMutablePointer<Float>, _ workspace: UnsafeMutableRawPointer
        ) {
            convolution.run(
                input: input, weights: io.input(1, as: Float.self), bias: hasBias ? io.input(2, as: Float.self) : nil,
                residual: hasResidual ? isLast ? io.input(3, as: Float.self) : channelsLastResidual(io, 3, shape: y, output) : nil,
                output: output, workspace: workspace, pool: io.pool)
        }
        if !isLast {
            return try channelsFirstNode(convolution.kernelName, x: x, y: y, workspace: convolution.workspaceByteCount, run)
        }
        return PreparedKernel(convolution.kernelName, workspace: convolution.workspaceByteCount) { io in
            run(io, io.input(0, as: Float.self), io.output(0, as: Float.self), io.workspace)
        }
    }

    /// Channels first, in the plainest way: what reaches an output pixel is gathered tap by tap.
    private func prepareGeneric<T: ProductElement>(_: T.Type, _ context: PrepareContext) throws -> any PreparedNode {
        let axes = try axes(context), w = try context.shape(1), y = try context.outputShape(0)
        let outputBytes = try y.count.multiplied(by: MemoryLayout<T>.stride), limit = context.packed.budget.limit
        guard outputBytes <= limit else {
            throw ApusError(.memoryLimit, "the output needs \(outputBytes) bytes, the limit is \(limit) bytes")
        }
        let table = try windowTable(
            axes.map { axis in
                WindowAxis(
                    input: axis.input, output: axis.output, taps: axis.kernel,
                    position: { output, tap in
                        let reach = output &+ axis.padBegin &- tap &* axis.dilation
                        return reach % axis.stride == 0 ? reach / axis.stride : -1
                    })
            }, pixelStride: 1, budget: context.packed.budget)
        let taps = w.count(2...), pixels = axes.reduce(1) { $0 * $1.input }, outPixels = y.count(2...)
        let n = w[1], channels = w[0], k = channels / group, m = y[1], hasBias = context.has(2)
        return PreparedKernel("convtranspose_generic") { io in
            let source = io.input(0, as: T.self), weights = io.input(1, as: T.self), result = io.output(0, as: T.self)
            let entries = table.base.assumingMemoryBound(to: Int.self)
            io.pool.parallelUnlessStopped(y[0] * m) { index in
                let image = index / m, channel = index % m, part = channel / n
                let out = result + index * outPixels
                let start = hasBias ? io.input(2, as: T.self)[channel] : T.additiveIdentity
                for pixel in 0..<outPixels { out[pixel] = start }
                for inner in (part * k)..<((part + 1) * k) {
                    let plane = source + (image * channels + inner) * pixels
                    for tap in 0..<taps {
                        let weight = weights[(inner * n + channel % n) * taps + tap]
                        for pixel in 0..<outPixels where entries[pixel * taps + tap] >= 0 {
                            out[pixel] = T.accumulate(out[pixel], plane[entries[pixel * taps + tap]], weight)
                        }
                    }
                }
            }
        }
    }
}
