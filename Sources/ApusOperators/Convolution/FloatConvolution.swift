import ApusCore
import CApusKernels

/// A float32 convolution of channels-last images, made ready: kernel, packed weights, table, cuts.
///
/// The weights are given as ONNX has them, [output channels, input channels of a group, kernel...]. Constant ones of a type of
/// `NarrowProduct` stay as narrow when they are packed, and give the bits of weights widened at load. Widened at load are: those of
/// depthwise and windowed convolutions, which are tiny, and those that Winograd's transforms keep transformed, which the pass of
/// that name chooses as if all were of float32.
final class FloatConvolution: @unchecked Sendable {
    private enum Method {
        /// One tap at its own place: a plain product over the pixels of all images.
        case pointwise(FloatProduct)
        case narrowPointwise(NarrowProduct)
        /// Through a table, once for each image and group.
        case indirect(FloatProduct, Storage)
        case depthwise(UnsafePointer<apus_depthwise_kernel>)
        case winograd(WinogradConvolution)
        case winogradInRun(WinogradInRunConvolution)
        case windowed(WindowedConvolution)
    }

    private let method: Method
    private let geometry: WindowGeometry
    private let batch: Int
    private let inChannels: Int
    private let outChannels: Int
    private let group: Int
    private let activation: PreparedActivation
    /// Zeros to read under padding taps.
    private let zeros: Storage
    /// Packed weights, where they are constant.
    private let packed: Storage?
    private let packedByteCount: Int
    /// Factors of the output channels with which narrow weights are multiplied when they are widened.
    private let factors: Tensor?
    private let chunks: Int
    private let scratchByteCount: Int
    /// Scratch memory for `run`.
    let workspaceByteCount: Int

    var kernelName: String {
        switch method {
        case .pointwise(let product): "conv_pointwise_" + String(cString: product.kernel.pointee.name)
        case .narrowPointwise(let product): "conv_pointwise_" + product.kernelName
        case .indirect(let product, _):
            "conv_" + String(cString: product.kernel.pointee.name) + (product.weights != .float32 ? " \(product.weights.name) weights" : "")
        case .depthwise(let kernel): String(cString: kernel.pointee.name)
        case .winograd(let convolution): convolution.name
        case .winogradInRun(let convolution): convolution.name
        case .windowed(let convolution): convolution.name
        }
    }

    /// Whether the packed weights are of the type of the constant, narrower than float32.
    private static func isNarrow(_ method: Method) -> Bool {
        switch method {
        case .pointwise(let product), .indirect(let product, _): product.weights != .float32
        case .narrowPointwise: true
        case .winogradInRun(let convolution): convolution.direct.weights != .float32
        case .winograd, .windowed, .depthwise: false
        }
    }

    /// `weights`: the input with the weights; `weightScale`: a constant input of one factor per output channel; `winograd`: the
    /// greatest tile of Winograd's transforms that may be used, 0 for none, with weights transformed in each run if `winogradInRun`;
    /// `readsChannelsFirst`: only the output has channels
    /// last, which few channels in one group and constant weights allow.
    init(
        _ context: PrepareContext, geometry: WindowGeometry, batch: Int, inChannels: Int, outChannels: Int, group: Int, weights: Int,
        weightScale: Int? = nil, activation: FusedActivation = .none, winograd: Int = 0, winogradInRun: Bool = false,
        readsChannelsFirst: Bool = false
    ) throws {
        self.geometry = geometry
        self.batch = batch
        self.inChannels = inChannels
        self.outChannels = outChannels
        self.group = group
        self.activation = activation.prepared(context.levels)
        let k = inChannels / group, n = outChannels / group, taps = geometry.taps, pixels = geometry.outputPixels
        let images = try batch.multiplied(by: group)
        let work = FloatProduct.saturatingProduct([batch, group, pixels, taps, k, n])
        let isParallel = context.threads > 1 && work >= FloatProduct.leastParallelWork
        zeros = try Storage.allocate(byteCount: k.multiplied(by: 4), budget: context.packed.budget, purpose: "zeros for padding")
        zeros.base.initializeMemory(as: UInt8.self, repeating: 0, count: zeros.byteCount)
        _ = try batch.multiplied(by: geometry.inputPixels).multiplied(by: inChannels)
        _ = try batch.multiplied(by: pixels).multiplied(by: outChannels)

        let type = context.constant(weights) == nil ? .float32 : try context.type(weights)
        let isWindowed = context.constant(weights) != nil
            && WindowedConvolution.accepts(geometry, group: group, inChannels: inChannels, outChannels: outChannels)
        if readsChannelsFirst, !isWindowed {
            throw ApusError(
                .invalidModel, "attribute \"input_first\" needs at most \(WindowedConvolution.mostWeights) constant weights, one group, "
                    + "undilated rows and at most \(WindowedConvolution.mostChannels) channels")
        }
        if isWindowed {
            let convolution = try WindowedConvolution(
                context, geometry: geometry, images: batch, inChannels: inChannels, outChannels: outChannels,
                channelsFirst: readsChannelsFirst)
            method = .windowed(convolution)
            packedByteCount = convolution.packedByteCount
            scratchByteCount = convolution.workspaceByteCount
            chunks = 1
        } else if group == inChannels, group == outChannels, geometry.kernel.count <= 2, group > 1,
            let kernel = apus_depthwise_select(context.levels)
        {
            method = .depthwise(kernel)
            packedByteCount = try taps.multiplied(by: outChannels).multiplied(by: 4)
            scratchByteCount = 0
            // Each takes several times as long as in a product.
            chunks = context.threads > 1 && work >= FloatProduct.leastParallelWork / 4 ? context.threads * 4 : 1
        } else if context.constant(weights) != nil,
            group == 1, geometry.strides.allSatisfy({ $0 == 1 }), geometry.dilations.allSatisfy({ $0 == 1 }),
            let size = WinogradSize(
                window: geometry.kernel, images: batch, output: geometry.output, inChannels: inChannels, outChannels: outChannels),
            let tile = size.tile(greatest: winograd, inRun: winogradInRun && size.mayTransformInRun)
        {
            let squares = try WinogradSquares(
                levels: context.levels, tile: tile, geometry: geometry, images: batch, outChannels: outChannels)
            if winogradInRun && size.mayTransformInRun {
                let convolution = try WinogradInRunConvolution(
                    levels: context.levels, squares: squares, inChannels: inChannels, weights: type, threads: context.threads)
                method = .winogradInRun(convolution)
                packedByteCount = try convolution.direct.packedCount.multiplied(by: convolution.direct.elementSize)
                scratchByteCount = convolution.workspaceByteCount
            } else {
                let convolution = try WinogradConvolution(
                    levels: context.levels, squares: squares, inChannels: inChannels, threads: context.threads)
                method = .winograd(convolution)
                packedByteCount = convolution.packedByteCount
                scratchByteCount = convolution.workspaceByteCount
            }
            chunks = 1
        } else if geometry.isPointwise, group == 1 {
            let product = try FloatProduct(
                levels: context.levels, m: try batch.multiplied(by: pixels), n: n, k: k, weights: type, threads: context.threads)
            let narrow = try NarrowProduct(levels: context.levels, product)
            method = narrow.map { .narrowPointwise($0) } ?? .pointwise(product)
            packedByteCount = try product.packedCount.multiplied(by: product.elementSize)
            scratchByteCount = narrow?.workspaceByteCount ?? product.workspaceByteCount
            chunks = 1
        } else {
            let cuts = images >= 2 * context.threads ? 1 : context.threads
            let product = try FloatProduct(
                levels: context.levels, m: pixels, n: n, k: k, taps: taps, rows: .table, weights: type, threads: cuts)
            method = .indirect(product, try geometry.table(pixelStride: inChannels, budget: context.packed.budget))
            packedByteCount = try product.packedCount.multiplied(by: group).multiplied(by: product.elementSize)
            scratchByteCount = product.sliceWorkspaceByteCount
            chunks = isParallel ? max(1, min(try images.multiplied(by: product.sliceCount), context.threads * 8)) : 1
        }
        var scale: (Tensor, String)?
        if let weightScale {
            guard let tensor = context.constant(weightScale) else {
                throw ApusError(.invalidModel, "input \(weightScale) (weight_scale) must be a constant")
            }
            scale = (tensor, "scale \(tensor.storage.identifier)+\(tensor.offset)")
        }
        let key: String
        let isNarrow = FloatConvolution.isNarrow(method)
        factors = isNarrow ? scale?.0 : nil
        if isNarrow { scale = nil }
        switch method {
        case .pointwise(let product), .indirect(let product, _): key = product.packedKey("conv group \(group) \(scale?.1 ?? "")")
        case .narrowPointwise(let narrow): key = narrow.product.packedKey("conv group \(group)")
        case .depthwise: key = "depthwise \(scale?.1 ?? "")"
        case .winogradInRun(let convolution): key = convolution.direct.packedKey("conv group \(group) \(scale?.1 ?? "")")
        case .winograd(let convolution): key = convolution.packedKey(scale?.1 ?? "")
        case .windowed(let convolution): key = convolution.packedKey(scale?.1 ?? "")
        }
        let method = method, byteCount = packedByteCount
        packed = try context.packed(weights, key: key) { tensor, budget in
            let storage = try Storage.allocate(byteCount: byteCount, budget: budget, purpose: "packed convolution weights")
            if isNarrow {
                try FloatConvolution.packNarrow(method, tensor, to: storage.base, group: group, budget: budget)
                return storage
            }
            // Other narrow weights are widened for as long as they are being packed.
            let tensor = try tensor.widened(budget)
            let source = UnsafePointer(tensor.pointer.assumingMemoryBound(to: Float.self))
            let factors = scale.map { UnsafePointer($0.0.pointer.assumingMemoryBound(to: Float.self)) }
            let target = storage.base.assumingMemoryBound(to: Float.self)
            if case .winograd(let convolution) = method {
                try convolution.pack(tensor, scale: factors, to: target, budget: budget)
            } else if case .windowed(let convolution) = method {
                try convolution.pack(tensor, scale: factors, to: target, budget: budget)
            } else {
                FloatConvolution.pack(
                    method, source, constant: tensor, scale: factors, to: target, channels: outChannels, group: group, taps: taps, k: k,
                    pool: nil)
            }
            return storage
        }
        if packed == nil, weightScale != nil { throw ApusError(.invalidModel, "weight_scale needs constant weights") }
        let scratch = try scratchByteCount.multiplied(by: chunks)
        workspaceByteCount = packed == nil ? try packedByteCount.roundedUp(to: Storage.alignment).adding(scratch) : scratch
    }

    private static func pack(
        _ method: Method, _ weights: UnsafePointer<Float>, constant: Tensor?, scale: UnsafePointer<Float>?, to packed: UnsafeMutablePointer<Float>,
        channels: Int, group: Int, taps: Int, k: Int, pool: ThreadPool?
    ) {
        let n = channels / group
        func pack(_ product: FloatProduct) {
            for index in 0..<group {
                let target = packed + index * product.packedCount
                let offset = index * n * k * taps
                if let constant {
                    product.pack(
                        constant: constant, offset: offset, tapStride: 1, rowStride: taps, columnStride: k * taps, to: target)
                } else {
                    product.pack(
                        weights + offset, tapStride: 1, rowStride: taps, columnStride: k * taps, to: target, pool: pool)
                }
                if let scale { product.scaleColumns(target, by: scale + index * n) }
            }
        }
        switch method {
        case .pointwise(let product), .indirect(let product, _): pack(product)
        case .depthwise:
            apus_depthwise_pack_weights(channels, taps, weights, packed)
            if let scale {
                for index in 0..<(taps * channels) { packed[index] *= scale[index % channels] }
            }
        case .winogradInRun(let convolution): pack(convolution.direct)
        case .windowed, .winograd, .narrowPointwise: break // pack their own weights, which are always constant
        }
    }

    private static func packNarrow(
        _ method: Method, _ tensor: Tensor, to packed: UnsafeMutableRawPointer, group: Int, budget: MemoryBudget
    ) throws {
        let product: FloatProduct
        switch method {
        case .pointwise(let own), .indirect(let own, _): product = own
        case .narrowPointwise(let own): product = own.product
        case .winogradInRun(let own): product = own.direct
        case .winograd, .windowed, .depthwise: return
        }
        let (k, n, taps, size) = (product.k, product.n, product.taps, product.elementSize)
        let panel = taps == 1 ? nil : try Storage.allocate(
            byteCount: try k.multiplied(by: taps).multiplied(by: Int(product.kernel.pointee.nr)).multiplied(by: size), budget: budget,
            purpose: "a panel of reordered weights")
        for index in 0..<group {
            product.packNarrow(
                tensor, offset: index * n * k * taps, tapStride: 1, rowStride: taps, columnStride: k * taps,
                to: packed + index * product.packedCount * size, panel: panel?.base)
        }
    }

    /// Convolves. `weights` is read only where they are not constant. `residual` lies as the output does.
    func run(
        input: UnsafePointer<Float>, weights: UnsafePointer<Float>, bias: UnsafePointer<Float>?, residual: UnsafePointer<Float>?,
        output: UnsafeMutablePointer<Float>, workspace: UnsafeMutableRawPointer, pool: ThreadPool
    ) {
        var scratch = workspace
        var panels = packed.map { UnsafePointer($0.base.assumingMemoryBound(to: Float.self)) }
        if panels == nil {
            let target = workspace.assumingMemoryBound(to: Float.self)
            FloatConvolution.pack(
                method, weights, constant: nil, scale: nil, to: target, channels: outChannels, group: group, taps: geometry.taps,
                k: inChannels / group, pool: pool)
            panels = UnsafePointer(target)
            scratch += (packedByteCount + Storage.alignment - 1) / Storage.alignment * Storage.alignment
        }
        guard let panels else { return }
        let epilogue = epilogue(bias, residual)
        switch method {
        case .pointwise(let product):
            var args = product.arguments(aStride: inChannels, cStride: outChannels)
            args.a = input
            args.b = panels
            args.c = output
            args.epilogue = epilogue
            product.run(args, workspace: scratch, pool: pool)
        case .narrowPointwise(let narrow):
            var args = narrow.product.arguments(aStride: inChannels, cStride: outChannels)
            args.a = input
            args.b_scale = factorPointer
            args.c = output
            args.epilogue = epilogue
            narrow.run(args, packed: UnsafeRawPointer(panels), workspace: scratch, pool: pool)
        case .indirect(let product, let table):
            runIndirect(product, table, input, panels, epilogue, output, scratch, pool)
        case .winograd(let convolution):
            convolution.run(
                input: input, panels: panels, zeros: UnsafePointer(zeros.base.assumingMemoryBound(to: Float.self)), epilogue: epilogue,
                output: output, scratch: scratch, pool: pool)
        case .winogradInRun(let convolution):
            convolution.run(
                input: input, packed: panels, factors: factorPointer, zeros: UnsafePointer(zeros.base.assumingMemoryBound(to: Float.self)), epilogue: epilogue,
                output: output, scratch: scratch, pool: pool)
        case .windowed(let convolution):
            convolution.run(input: input, panels: panels, epilogue: epilogue, output: output, scratch: scratch, pool: pool)
        case .depthwise(let kernel):
            runDepthwise(kernel, input, panels, epilogue, output, pool)
        }
        withExtendedLifetime(activation) {}
    }

    private var factorPointer: UnsafePointer<Float>? {
        factors.map { UnsafePointer($0.pointer.assumingMemoryBound(to: Float.self)) }
    }

    private func epilogue(_ bias: UnsafePointer<Float>?, _ residual: UnsafePointer<Float>?) -> apus_epilogue {
        var epilogue = activation.epilogue
        epilogue.bias = bias
        epilogue.residual = residual
        epilogue.residual_stride = outChannels
        return epilogue
    }

    private func runIndirect(
        _ product: FloatProduct, _ table: Storage, _ input: UnsafePointer<Float>, _ panels: UnsafePointer<Float>,
        _ epilogue: apus_epilogue, _ output: UnsafeMutablePointer<Float>, _ scratch: UnsafeMutableRawPointer, _ pool: ThreadPool
    ) {
        let slices = product.sliceCount, jobs = batch * group * slices
        let perChunk = (jobs + chunks - 1) / max(chunks, 1)
        let imageIn = geometry.inputPixels * inChannels, imageOut = geometry.outputPixels * outChannels
        let k = inChannels / group, n = outChannels / group, factors = factorPointer
        var template = product.arguments(aStride: 0, cStride: outChannels)
        template.a_table = UnsafePointer(table.base.assumingMemoryBound(to: Int.self))
        template.a_zero = UnsafePointer(zeros.base.assumingMemoryBound(to: Float.self))
        let arguments = template
        pool.parallelUnlessStopped(chunks) { chunk in
            var args = arguments
            for job in (chunk * perChunk)..<max(chunk * perChunk, min(jobs, (chunk + 1) * perChunk)) {
                let image = job / slices / group, part = job / slices % group
                args.a = input + image * imageIn + part * k
                args.b = product.panels(panels, part)
                args.b_scale = factors.map { $0 + part * n }
                args.c = output + image * imageOut + part * n
                args.epilogue = epilogue
                if let bias = epilogue.bias { args.epilogue.bias = bias + part * n }
                if let residual = epilogue.residual { args.epilogue.residual = residual + image * imageOut + part * n }
                product.runSlice(job % slices, &args, scratch: scratch + chunk * scratchByteCount, pool: pool)
            }
        }
    }

    /// What a run of the depthwise kernel over whole images is told, but for the places of input and output.
    private func depthwiseArguments(_ weights: UnsafePointer<Float>, _ epilogue: apus_epilogue) -> apus_depthwise_args {
        // A missing height is 1.
        func pair(_ values: [Int]) -> (Int, Int) { values.count == 2 ? (values[0], values[1]) : (1, values.first ?? 1) }
        let (inHeight, inWidth) = pair(geometry.input), (outHeight, outWidth) = pair(geometry.output)
        let (kernelHeight, kernelWidth) = pair(geometry.kernel), (strideY, strideX) = pair(geometry.strides)
        let (dilationY, dilationX) = pair(geometry.dilations)
        var args = apus_depthwise_args()
        args.channels = inChannels
        (args.in_height, args.in_width) = (inHeight, inWidth)
        (args.in_row_stride, args.in_pixel_stride) = (inWidth * inChannels, inChannels)
        (args.out_height, args.out_width) = (outHeight, outWidth)
        (args.out_row_stride, args.out_pixel_stride) = (outWidth * inChannels, inChannels)
        (args.kernel_height, args.kernel_width) = (kernelHeight, kernelWidth)
        (args.stride_y, args.stride_x) = (strideY, strideX)
        (args.dilation_y, args.dilation_x) = (dilationY, dilationX)
        args.pad_top = geometry.padBegin.count == 2 ? geometry.padBegin[0] : 0
        args.pad_left = geometry.padBegin.last ?? 0
        args.weights = weights
        args.epilogue = epilogue
        return args
    }

    private func runDepthwise(
        _ kernel: UnsafePointer<apus_depthwise_kernel>, _ input: UnsafePointer<Float>, _ weights: UnsafePointer<Float>,
        _ epilogue: apus_epilogue, _ output: UnsafeMutablePointer<Float>, _ pool: ThreadPool
    ) {
        let arguments = depthwiseArguments(weights, epilogue), outHeight = Int(arguments.out_height)
        let imageIn = geometry.inputPixels * inChannels, imageOut = geometry.outputPixels * outChannels
        let tile = Int(kernel.pointee.channel_tile)
        let parts = max(1, min(chunks, batch == 0 ? 1 : (chunks + batch - 1) / batch)), vectors = (inChannels + tile - 1) / tile
        // Few rows are cut between channels instead, and so are rows that threads cannot share evenly.
        let rowStep = ThreadPool.evenStep(outHeight, most: parts, threads: pool.size)
        let turns = (outHeight + rowStep * pool.size - 1) / (rowStep * pool.size)
        let byChannels = outHeight < parts || vectors >= 2 * parts && turns * rowStep * pool.size * 10 > outHeight * 11
        let extent = byChannels ? vectors : outHeight
        let step = byChannels ? ThreadPool.evenStep(vectors, most: parts, threads: pool.size) : rowStep
        let pieces = max(1, extent / step + (extent % step == 0 ? 0 : 1))
        let channels = inChannels
        pool.parallelUnlessStopped(chunks == 1 ? 1 : batch * pieces) { index in
            var args = arguments
            for image in chunks == 1 ? 0..<batch : (index / pieces)..<(index / pieces + 1) {
                args.input = input + image * imageIn
                args.output = output + image * imageOut
                if let residual = arguments.epilogue.residual { args.epilogue.residual = residual + image * imageOut }
                let begin = chunks == 1 ? 0 : min(extent, index % pieces * step)
                let end = chunks == 1 ? extent : min(extent, begin + step)
                if byChannels {
                    apus_depthwise_run(kernel, &args, 0, outHeight, begin * tile, min(channels, end * tile))
                } else {
                    apus_depthwise_run(kernel, &args, begin, end, 0, channels)
                }
            }
        }
    }

    // MARK: Some rows of an image, on the calling thread

    /// Whether rows can be computed from an image, by `runRows`: those that see one pixel each, or few channels; with constant
    /// weights, as floats.
    var isByRow: Bool {
        switch method {
        case .pointwise(let product): packed != nil && product.weights == .float32 && geometry.output.count == 2
        case .windowed: geometry.output.count == 2
        default: false
        }
    }

    /// Whether rows can be computed from those that they see, by `runDepthwiseRows`; with constant weights.
    var isDepthwise: Bool {
        if case .depthwise = method { packed != nil && geometry.output.count == 2 } else { false }
    }

    /// Scratch memory for `runRows`.
    var rowsByteCount: Int {
        if case .windowed(let convolution) = method { convolution.rowsByteCount } else { 0 }
    }

    /// Convolves rows of one image, whose output and residual begin with the first of them.
    func runRows(
        _ rows: Range<Int>, image: UnsafePointer<Float>, bias: UnsafePointer<Float>?, residual: UnsafePointer<Float>?,
        output: UnsafeMutablePointer<Float>, scratch: UnsafeMutableRawPointer, pool: ThreadPool
    ) {
        guard let packed else { return }
        let panels = UnsafePointer(packed.base.assumingMemoryBound(to: Float.self)), epilogue = epilogue(bias, residual)
        switch method {
        case .pointwise(let product):
            let width = geometry.output[1]
            var args = product.arguments(aStride: inChannels, cStride: outChannels)
            args.m = rows.count * width
            args.a = image + rows.lowerBound * width * inChannels
            args.b = panels
            args.c = output
            args.epilogue = epilogue
            let unit = Int(product.kernel.pointee.nr)
            pool.inPieces(rows: 0..<rows.count * width, columns: 0..<outChannels, depth: inChannels, unit: unit) { rows, columns in
                // Dense rows need no workspace.
                apus_sgemm_run(product.kernel, &args, rows.lowerBound, rows.upperBound, columns.lowerBound, columns.upperBound, nil)
            }
        case .windowed(let convolution):
            convolution.runRows(rows, image: image, panels: panels, epilogue: epilogue, output: output, scratch: scratch, pool: pool)
        default: break
        }
        withExtendedLifetime(activation) {}
    }

    /// The rows of an input image that some rows of the output see, at least one, without padding.
    func inputRows(_ rows: Range<Int>) -> Range<Int> {
        let first = rows.lowerBound * geometry.strides[0] - geometry.padBegin[0], height = geometry.input[0]
        let end = (rows.upperBound - 1) * geometry.strides[0] - geometry.padBegin[0] + (geometry.kernel[0] - 1) * geometry.dilations[0] + 1
        let low = min(max(0, first), height)
        return low..<max(low, min(end, height))
    }

    /// How many rows of an input image, padding included, so many rows of the output see, at least one.
    func windowRows(_ rows: Int) throws -> Int {
        try (rows - 1).multiplied(by: geometry.strides[0]).adding((geometry.kernel[0] - 1).multiplied(by: geometry.dilations[0])).adding(1)
    }

    /// Convolves rows of one image, at least one. `input` holds `inputRows(rows)` and nothing else, `output` gets the rows.
    func runDepthwiseRows(
        _ rows: Range<Int>, input: UnsafePointer<Float>, bias: UnsafePointer<Float>?, output: UnsafeMutablePointer<Float>
    ) {
        guard case .depthwise(let kernel) = method, let packed else { return }
        var args = depthwiseArguments(UnsafePointer(packed.base.assumingMemoryBound(to: Float.self)), epilogue(bias, nil))
        args.in_height = inputRows(rows).count
        args.out_height = rows.count
        // Where no row is left of the input, any padding will do.
        args.pad_top = max(0, geometry.padBegin[0] - rows.lowerBound * geometry.strides[0])
        args.input = input
        args.output = output
        apus_depthwise_run(kernel, &args, 0, rows.count, 0, inChannels)
        withExtendedLifetime(activation) {}
    }
}
