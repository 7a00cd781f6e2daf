import ApusCore
import CApusKernels

/// A convolution of 8-bit channels-last images, made ready: kernel, packed weights, table, cuts.
///
/// The weights are given as ONNX has them, [output channels, input channels of a group, kernel...]. Results have the same bits on
/// every kernel.
final class IntegerConvolution: @unchecked Sendable {
    /// What is known of the weights' zero points when the weights are packed.
    enum WeightZeroPoints {
        /// They are 0.
        case none
        case constant(Tensor)
        /// Known only in a run.
        case computed

        var areKnown: Bool {
            if case .computed = self { return false }
            return true
        }

        /// Whether all are known to be in the middle of the range: 0, or 128 where weights are unsigned.
        func areCentred(_ isSigned: Bool) -> Bool {
            switch self {
            case .none: return isSigned
            case .constant(let tensor):
                var points = [Int32](repeating: 0, count: max(1, tensor.count))
                loadZeroPoints(tensor.type, tensor.pointer, &points, count: points.count)
                return points.allSatisfy { $0 == (isSigned ? 0 : 128) }
            case .computed: return false
            }
        }
    }

    /// Whether a 3×3 convolution may be computed by Winograd's transforms, where sums are known to fit them.
    enum Winograd {
        case none
        /// With inputs of this zero point; nil: known only in a run.
        case allowed(zeroPoint: Int32?)
    }

    private enum Method {
        /// One tap at its own place: a plain product over the pixels of all images.
        case pointwise(IntegerProduct)
        /// Through a table, once for each image and group.
        case indirect(IntegerProduct, Storage)
        /// Through a table into a padded copy of one image at a time.
        case padded(IntegerProduct, PaddedWindows)
        case winograd(IntegerProduct, IntegerWinograd)
        case depthwise(UnsafePointer<apus_qdepthwise_kernels>)
    }

    /// What a run works on.
    struct Call: @unchecked Sendable {
        /// [batch, pixels, channels], as the output.
        var input: UnsafeRawPointer
        var zeroPoint: Int32
        /// Read where the weights are not constant.
        var weights: UnsafeRawPointer
        var weightZeroPoints: UnsafePointer<Int32>
        var hasWeightZeroPointPerChannel: Bool
        var output: UnsafeMutableRawPointer
        /// One per output channel, or nil.
        var bias: UnsafePointer<Int32>?
        /// One per output channel; nil: the output is the 32-bit sums.
        var scales: UnsafePointer<Float>?
        var outputType: ElementType
        var outputZeroPoint: Int32
    }

    private let method: Method
    private let geometry: WindowGeometry
    private let batch: Int
    private let inChannels: Int
    private let outChannels: Int
    private let group: Int
    private let isSigned: Bool
    private let weightsAreSigned: Bool
    /// Packed weights, where they are constant.
    private let packed: Storage?
    private let packedByteCount: Int
    private let paddingByteCount: Int
    private let chunks: Int
    private let scratchByteCount: Int
    /// Scratch memory for `run`.
    let workspaceByteCount: Int

    var kernelName: String {
        switch method {
        case .pointwise(let product): "qconv_pointwise_" + String(cString: product.kernel.pointee.name)
        case .indirect(let product, _): "qconv_" + String(cString: product.kernel.pointee.name)
        case .padded(let product, _): "qconv_padded_" + String(cString: product.kernel.pointee.name)
        case .winograd(_, let winograd): winograd.name
        case .depthwise(let kernel): "qdepthwise_" + String(cString: kernel.pointee.name)
        }
    }

    /// `weights`: the input with the weights. Input 0 and the weights are uint8 or int8.
    init(
        _ context: PrepareContext, geometry: WindowGeometry, batch: Int, inChannels: Int, outChannels: Int, group: Int, weights: Int,
        weightZeroPoints: WeightZeroPoints, winograd: Winograd = .none
    ) throws {
        self.geometry = geometry
        self.batch = batch
        self.inChannels = inChannels
        self.outChannels = outChannels
        self.group = group
        let isSigned = try context.type(0) == .int8, weightsAreSigned = try context.type(weights) == .int8
        self.isSigned = isSigned
        self.weightsAreSigned = weightsAreSigned
        let k = inChannels / group, n = outChannels / group, taps = geometry.taps, pixels = geometry.outputPixels
        let images = try batch.multiplied(by: group)
        let work = FloatProduct.saturatingProduct([batch, group, pixels, taps, k, n])
        _ = try batch.multiplied(by: geometry.inputPixels).multiplied(by: inChannels)
        _ = try batch.multiplied(by: pixels).multiplied(by: outChannels).multiplied(by: 4)

        if group == inChannels, group == outChannels, geometry.kernel.count <= 2, group > 1,
            let kernel = apus_qdepthwise_select(context.levels)
        {
            method = .depthwise(kernel)
            packedByteCount = try taps.multiplied(by: outChannels).multiplied(by: 2).roundedUp(to: Storage.alignment)
            scratchByteCount = 0
            paddingByteCount = 0
            chunks = context.threads > 1 && work >= FloatProduct.leastParallelWork ? context.threads * 4 : 1
            // The zero points are taken off when the weights are packed.
            switch weightZeroPoints {
            case .none: packed = try IntegerConvolution.packDepthwise(context, weights, taps, outChannels, weightsAreSigned, nil, packedByteCount)
            case .constant(let points):
                packed = try IntegerConvolution.packDepthwise(context, weights, taps, outChannels, weightsAreSigned, points, packedByteCount)
            case .computed: packed = nil
            }
        } else if group == 1, context.constant(weights) != nil, weightZeroPoints.areKnown,
            let windows = try PaddedWindows(geometry, channels: inChannels, budget: context.packed.budget)
        {
            let product = try IntegerProduct(
                levels: context.levels, m: pixels, n: n, k: windows.k, taps: windows.taps, threads: context.threads)
            method = .padded(product, windows)
            scratchByteCount = product.workspaceByteCount
            chunks = 1
            paddingByteCount = windows.byteCount
            packedByteCount = product.packedByteCount
            packed = try IntegerConvolution.packPadded(context, weights, product, windows, weightsAreSigned, weightZeroPoints)
        } else {
            let product: IntegerProduct
            let transformed = try IntegerConvolution.transformed(
                context, geometry, batch: batch, inChannels, outChannels, group, weights, weightZeroPoints, winograd)
            if let transformed, transformed.isExact {
                product = transformed.product
                method = .winograd(product, transformed.transforms)
                scratchByteCount = transformed.transforms.workspaceByteCount
                chunks = 1
                paddingByteCount = try k.roundedUp(to: Storage.alignment)
            } else if geometry.isPointwise, group == 1 {
                product = try IntegerProduct(
                    levels: context.levels, m: try batch.multiplied(by: pixels), n: n, k: k, threads: context.threads)
                method = .pointwise(product)
                scratchByteCount = product.workspaceByteCount
                chunks = 1
                paddingByteCount = 0
            } else {
                let cuts = images >= 2 * context.threads ? 1 : context.threads
                product = try IntegerProduct(levels: context.levels, m: pixels, n: n, k: k, taps: taps, threads: cuts)
                method = .indirect(product, try geometry.table(pixelStride: inChannels, budget: context.packed.budget))
                scratchByteCount = product.sliceWorkspaceByteCount
                let isParallel = context.threads > 1 && work >= IntegerProduct.leastParallelWork
                chunks = isParallel ? max(1, min(try images.multiplied(by: product.sliceCount), context.threads * 8)) : 1
                paddingByteCount = try k.roundedUp(to: Storage.alignment)
            }
            packedByteCount = try product.packedByteCount.multiplied(by: group)
            packed = try transformed?.packed ?? IntegerConvolution.packed(context, weights, product, group, weightsAreSigned)
        }
        workspaceByteCount = try (packed == nil ? packedByteCount : 0).adding(paddingByteCount)
            .adding(try scratchByteCount.multiplied(by: chunks))
    }

    /// Weights in the product's form, group by group, where they are constant. `verdict`: what is told of them in a byte behind it.
    private static func packed(
        _ context: PrepareContext, _ weights: Int, _ product: IntegerProduct, _ group: Int, _ isSigned: Bool, form: String = "",
        verdict: ((Tensor) -> Bool)? = nil
    ) throws -> Storage? {
        let bytes = try product.packedByteCount.multiplied(by: group)
        return try context.packed(weights, key: product.packedKey("convolution x\(group)\(form)")) { tensor, budget in
            let storage = try Storage.allocate(
                byteCount: try bytes.adding(verdict == nil ? 0 : 1), budget: budget, purpose: "packed weights")
            pack(product, group, tensor.pointer, isSigned, to: storage.base)
            if let verdict { storage.base.storeBytes(of: verdict(tensor) ? 1 : 0, toByteOffset: bytes, as: UInt8.self) }
            return storage
        }
    }

    /// A convolution by Winograd's transforms, which read the weights of the direct product.
    private struct Transformed {
        let product: IntegerProduct
        let transforms: IntegerWinograd
        let packed: Storage
        /// Whether no sum can pass the transforms' limit.
        let isExact: Bool
    }

    /// nil where the transforms are not allowed, do not pay or cannot be.
    private static func transformed(
        _ context: PrepareContext, _ geometry: WindowGeometry, batch: Int, _ inChannels: Int, _ outChannels: Int, _ group: Int,
        _ weights: Int, _ weightZeroPoints: WeightZeroPoints, _ winograd: Winograd
    ) throws -> Transformed? {
        let isSigned = try context.type(weights) == .int8, inputIsSigned = try context.type(0) == .int8
        guard case .allowed(let zeroPoint) = winograd, group == 1, geometry.taps == 9, context.constant(weights) != nil,
            weightZeroPoints.areCentred(isSigned)
        else { return nil }
        let product = try IntegerProduct(
            levels: context.levels, m: try batch.multiplied(by: geometry.outputPixels), n: outChannels, k: inChannels, taps: 9, threads: 1)
        guard
            let transforms = try IntegerWinograd(
                levels: context.levels, product: product, geometry: geometry, images: batch, inChannels: inChannels,
                outChannels: outChannels, threads: context.threads),
            // Whether the sums fit is found once, while the weights are read anyway.
            let storage = try packed(
                context, weights, product, 1, isSigned, form: " of inputs less \(zeroPoint.map { "\($0)" } ?? "any")",
                verdict: {
                    IntegerWinograd.fits(
                        $0.pointer, isSigned: isSigned, k: inChannels, n: outChannels, inputIsSigned: inputIsSigned, inputZeroPoint: zeroPoint)
                })
        else { return nil }
        return Transformed(
            product: product, transforms: transforms, packed: storage,
            isExact: storage.base.load(fromByteOffset: product.packedByteCount, as: UInt8.self) == 1)
    }

    private static func packDepthwise(
        _ context: PrepareContext, _ weights: Int, _ taps: Int, _ channels: Int, _ isSigned: Bool, _ zeroPoints: Tensor?, _ bytes: Int
    ) throws -> Storage? {
        var points = [Int32](repeating: 0, count: max(1, zeroPoints?.count ?? 1))
        loadZeroPoints(zeroPoints?.type ?? .int8, zeroPoints?.pointer, &points, count: points.count)
        let isUniform = points.allSatisfy { $0 == points[0] }
        let key = isUniform ? "\(points[0])" : points.map { "\($0)" }.joined(separator: " ")
        return try context.packed(weights, key: "integer depthwise \(taps)x\(channels) less \(key)") { tensor, budget in
            let storage = try Storage.allocate(byteCount: bytes, budget: budget, purpose: "packed weights")
            apus_qdepthwise_pack_weights(
                channels, taps, tensor.pointer, isSigned, points[0], points.count > 1 ? points : nil,
                storage.base.assumingMemoryBound(to: Int16.self))
            return storage
        }
    }

    private static func packPadded(
        _ context: PrepareContext, _ weights: Int, _ product: IntegerProduct, _ windows: PaddedWindows, _ isSigned: Bool,
        _ zeroPoints: WeightZeroPoints
    ) throws -> Storage? {
        var points: [Int32] = [0]
        if case .constant(let tensor) = zeroPoints {
            points = [Int32](repeating: 0, count: max(1, tensor.count))
            loadZeroPoints(tensor.type, tensor.pointer, &points, count: points.count)
        }
        let key = product.packedKey("padded rows of \(windows.channels) less \(points.map { "\($0)" }.joined(separator: " "))")
        return try context.packed(weights, key: key) { tensor, budget in
            let storage = try Storage.allocate(byteCount: product.packedByteCount, budget: budget, purpose: "packed weights")
            let rows = try Storage.allocate(
                byteCount: try product.n.multiplied(by: product.taps).multiplied(by: product.k), budget: budget, purpose: "weights")
            windows.arrange(
                tensor.pointer.assumingMemoryBound(to: UInt8.self), outputs: product.n, zeroPoints: points,
                zeroPointStep: points.count > 1 ? 1 : 0, to: rows.base.assumingMemoryBound(to: UInt8.self))
            product.pack(
                rows.base, isSigned: isSigned, tapStride: product.k, rowStride: 1, columnStride: product.k * product.taps,
                to: storage.base)
            return storage
        }
    }

    private static func pack(
        _ product: IntegerProduct, _ group: Int, _ weights: UnsafeRawPointer, _ isSigned: Bool, to target: UnsafeMutableRawPointer
    ) {
        for part in 0..<group {
            product.pack(
                weights + part * product.n * product.k * product.taps, isSigned: isSigned, tapStride: 1, rowStride: product.taps,
                columnStride: product.k * product.taps, to: target + part * product.packedByteCount)
        }
    }

    /// Computes all images.
    func run(_ call: Call, workspace: UnsafeMutableRawPointer, pool: ThreadPool) {
        var weights = UnsafeRawPointer(workspace), rest = workspace
        if let packed {
            weights = UnsafeRawPointer(packed.base)
        } else {
            rest += packedByteCount
            switch method {
            case .pointwise(let product), .indirect(let product, _), .padded(let product, _), .winograd(let product, _):
                IntegerConvolution.pack(product, group, call.weights, weightsAreSigned, to: workspace)
            case .depthwise:
                apus_qdepthwise_pack_weights(
                    outChannels, geometry.taps, call.weights, weightsAreSigned, call.weightZeroPoints[0],
                    call.hasWeightZeroPointPerChannel ? call.weightZeroPoints : nil, workspace.assumingMemoryBound(to: Int16.self))
            }
        }
        switch method {
        case .pointwise(let product):
            var args = arguments(product, call)
            args.a = call.input
            args.a_row_stride = inChannels
            args.b = weights
            args.c = call.output
            product.run(args, workspace: rest, pool: pool)
        case .indirect(let product, let table):
            let padding = rest.assumingMemoryBound(to: UInt8.self)
            padding.update(repeating: UInt8(truncatingIfNeeded: call.zeroPoint), count: product.k)
            runIndirect(product, table, call, weights, padding, rest + paddingByteCount, pool)
        case .winograd(let product, let winograd):
            let padding = rest.assumingMemoryBound(to: UInt8.self)
            padding.update(repeating: UInt8(truncatingIfNeeded: call.zeroPoint), count: product.k)
            var args = arguments(product, call)
            args.a = call.input
            args.a_padding = UnsafeRawPointer(padding)
            args.b = weights
            args.c = call.output
            winograd.run(args, scratch: rest + paddingByteCount, pool: pool)
        case .padded(let product, let windows):
            let image = rest.assumingMemoryBound(to: UInt8.self)
            var args = arguments(product, call)
            args.a = UnsafeRawPointer(image)
            args.a_table = UnsafePointer(windows.table.base.assumingMemoryBound(to: Int.self))
            args.b = weights
            for index in 0..<batch {
                windows.pad(
                    call.input.assumingMemoryBound(to: UInt8.self) + index * geometry.inputPixels * inChannels,
                    zeroPoint: UInt8(truncatingIfNeeded: call.zeroPoint), to: image)
                args.c = call.output + index * geometry.outputPixels * outChannels * (call.outputType.bitWidth / 8)
                product.run(args, workspace: rest + paddingByteCount, pool: pool)
            }
        case .depthwise(let kernel):
            runDepthwise(kernel, call, weights.assumingMemoryBound(to: Int16.self), pool)
        }
    }

    private func arguments(_ product: IntegerProduct, _ call: Call) -> apus_qgemm_args {
        var args = product.arguments(cStride: outChannels, aIsSigned: isSigned, bIsSigned: weightsAreSigned)
        args.a_zero_point = call.zeroPoint
        args.b_zero_point = call.weightZeroPoints[0]
        if call.hasWeightZeroPointPerChannel { args.b_zero_points = call.weightZeroPoints }
        args.sum_bias = call.bias
        args.scales = call.scales
        if call.scales == nil { args.output = APUS_QGEMM_S32 } else { args.requantize(call.outputType, zeroPoint: call.outputZeroPoint) }
        return args
    }

    private func runIndirect(
        _ product: IntegerProduct, _ table: Storage, _ call: Call, _ weights: UnsafeRawPointer, _ padding: UnsafePointer<UInt8>,
        _ scratch: UnsafeMutableRawPointer, _ pool: ThreadPool
    ) {
        var template = arguments(product, call)
        template.a_table = UnsafePointer(table.base.assumingMemoryBound(to: Int.self))
        template.a_padding = UnsafeRawPointer(padding)
        let arguments = template, slices = product.sliceCount, total = batch * group * slices
        let imageIn = geometry.inputPixels * inChannels, imageOut = geometry.outputPixels * outChannels
        let outputSize = call.outputType.bitWidth / 8, perChunk = (total + chunks - 1) / chunks
        pool.parallelUnlessStopped(chunks) { chunk in
            for piece in min(total, chunk * perChunk)..<min(total, (chunk + 1) * perChunk) {
                var args = arguments
                let slice = piece % slices, part = piece / slices % group, image = piece / slices / group
                let first = part * product.n
                args.a = call.input + image * imageIn + part * product.k
                args.b = weights + part * product.packedByteCount
                args.c = call.output + (image * imageOut + first) * outputSize
                if let bias = call.bias { args.sum_bias = bias + first }
                if let scales = call.scales { args.scales = scales + first }
                if let points = arguments.b_zero_points { args.b_zero_points = points + first }
                product.runSlice(slice, &args, scratch: scratch + chunk * scratchByteCount, pool: pool)
            }
        }
    }

    private func runDepthwise(
        _ kernel: UnsafePointer<apus_qdepthwise_kernels>, _ call: Call, _ weights: UnsafePointer<Int16>, _ pool: ThreadPool
    ) {
        let isFlat = geometry.kernel.count == 1
        func pair(_ values: [Int], _ neutral: Int) -> (Int, Int) { isFlat ? (neutral, values[0]) : (values[0], values[1]) }
        var template = apus_qdepthwise_args()
        template.channels = inChannels
        (template.in_height, template.in_width) = pair(geometry.input, 1)
        (template.out_height, template.out_width) = pair(geometry.output, 1)
        (template.kernel_height, template.kernel_width) = pair(geometry.kernel, 1)
        (template.stride_y, template.stride_x) = pair(geometry.strides, 1)
        (template.dilation_y, template.dilation_x) = pair(geometry.dilations, 1)
        (template.pad_top, template.pad_left) = pair(geometry.padBegin, 0)
        (template.in_pixel_stride, template.out_pixel_stride) = (inChannels, outChannels)
        (template.in_row_stride, template.out_row_stride) = (template.in_width * inChannels, template.out_width * outChannels)
        template.in_is_signed = isSigned
        template.in_zero_point = call.zeroPoint
        template.weights = weights
        template.sum_bias = call.bias
        template.scales = call.scales
        if call.scales != nil {
            let limits: IntegerRange = call.outputType == .int8 ? .int8 : .uint8
            template.requantizes = true
            template.zero_point = call.outputZeroPoint
            (template.low, template.high) = (limits.lowest, limits.highest)
        }
        let arguments = template, rows = Int(template.out_height), outputSize = call.outputType.bitWidth / 8
        let imageIn = geometry.inputPixels * inChannels, imageOut = geometry.outputPixels * outChannels
        let parts = max(1, min(rows, chunks == 1 ? 1 : (chunks + batch - 1) / max(batch, 1)))
        let step = (rows + parts - 1) / parts
        pool.parallelUnlessStopped(chunks == 1 ? 1 : batch * parts) { index in
            var args = arguments
            for image in chunks == 1 ? 0..<batch : (index / parts)..<(index / parts + 1) {
                args.input = call.input + image * imageIn
                args.output = call.output + image * imageOut * outputSize
                let begin = chunks == 1 ? 0 : min(rows, index % parts * step)
                kernel.pointee.run(&args, begin, chunks == 1 ? rows : min(rows, begin + step))
            }
        }
    }
}
