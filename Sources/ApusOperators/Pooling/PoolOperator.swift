import ApusCore
import ApusGraph
import CApusKernels
import Glibc

/// MaxPool, AveragePool and LpPool over any number of spatial axes; `apus.MaxPool` and `apus.AveragePool` are the same with
/// channels last, and so is com.microsoft.NhwcMaxPool.
struct PoolOperator: Operator {
    static let schemas = [
        Schema("MaxPool", since: [1, 8, 10, 11, 12, 22], inputs: 1...1, outputs: 1...2),
        Schema("AveragePool", since: [1, 7, 10, 11, 19, 22], inputs: 1...1),
        Schema("LpPool", since: [1, 2, 11, 18, 22], inputs: 1...1),
        Schema("MaxPool", domain: "apus", since: [1], inputs: 1...1),
        Schema("AveragePool", domain: "apus", since: [1], inputs: 1...1),
        Schema("NhwcMaxPool", domain: "com.microsoft", since: [1], inputs: 1...1),
    ]

    private enum Kind: Sendable {
        case max
        case average
        case power
    }

    /// The operator set from which an attribute exists, by operator.
    private struct Era {
        let kind: Kind
        let ceilMode: Int
        let dilations: Int
    }

    private static let eras: [String: Era] = [
        "MaxPool": Era(kind: .max, ceilMode: 10, dilations: 10),
        "NhwcMaxPool": Era(kind: .max, ceilMode: 1, dilations: 1),
        "AveragePool": Era(kind: .average, ceilMode: 10, dilations: 19),
        "LpPool": Era(kind: .power, ceilMode: 18, dilations: 18),
    ]

    private let kind: Kind
    private let window: WindowAttributes
    private let isLast: Bool
    private let countsPadding: Bool
    private let columnMajor: Bool
    private let exponent: Double
    private let wantsIndices: Bool

    init(_ node: NodeReader) throws {
        guard let era = PoolOperator.eras[node.opType] else {
            throw ApusError(.internal, "\(node.opType) is no pool")
        }
        kind = era.kind
        isLast = !node.domain.isEmpty
        let opset = isLast ? Int.max : node.opset
        let isOldPower = era.kind == .power && opset < 2
        window = try WindowAttributes(
            node, requiresKernel: !isOldPower, hasDilations: opset >= era.dilations, hasCeilMode: opset >= era.ceilMode)
        guard window.kernel != nil else { throw ApusError(.invalidModel, "attribute \"kernel_shape\" is missing") }
        countsPadding = kind == .average && opset >= 7 ? try node.bool("count_include_pad", default: false) : false
        columnMajor = kind == .max && opset >= 8 ? try node.bool("storage_order", default: false) : false
        switch kind {
        case .power: exponent = isOldPower ? Double(try node.float("p", default: 2)) : Double(try node.int("p", default: 2))
        default: exponent = 0
        }
        guard kind != .power || exponent > 0 else { throw ApusError(.invalidModel, "attribute \"p\" is \(exponent); it must be positive") }
        wantsIndices = node.outputCount > 1
        guard !wantsIndices || opset >= 8 else { throw ApusError(.invalidModel, "MaxPool has no second output before opset 8") }
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        var types: [ElementType] = [.float32, .float16, .bfloat16, .float64]
        if kind == .max { types += [.int8, .uint8] }
        let type = try context.type(0, oneOf: types)
        let kernel = window.kernel ?? []
        guard let x = try context.dimensions(0, rank: 3...) else {
            let shape = PartialShape.ofRank(kernel.count + 2)
            return [ValueInfo(type, shape)] + (wantsIndices ? [ValueInfo(.int64, shape)] : [])
        }
        let spatial = Array(isLast ? x[1..<(x.count - 1)] : x[2...])
        let output = try window.outputDimensions(spatial, kernel: kernel)
        let shape = PartialShape(isLast ? [x[0]] + output + [x[x.count - 1]] : [x[0], x[1]] + output)
        return [ValueInfo(type, shape)] + (wantsIndices ? [ValueInfo(.int64, shape)] : [])
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.type(0)
        if type.bitWidth == 8, isLast, !wantsIndices { return try prepareCodes(context, isSigned: type == .int8) }
        switch type {
        case .int8: return try prepareGeneric(Int8.self, context)
        case .uint8: return try prepareGeneric(UInt8.self, context)
        case .float64: return try prepareGeneric(Double.self, context)
        default:
            return try context.throughFloat32 { context in
                kind == .power || wantsIndices ? try prepareGeneric(Float.self, context) : try prepareFloat32(context)
            }
        }
    }

    private func geometry(_ context: PrepareContext) throws -> (WindowGeometry, batch: Int, channels: Int) {
        let x = try context.shape(0)
        let spatial = Array(isLast ? x.dimensions[1..<(x.rank - 1)] : x.dimensions[2...])
        return (try window.geometry(input: spatial, kernel: window.kernel ?? []), x[0], isLast ? x[x.rank - 1] : x[1])
    }

    /// For each output pixel 1 / taps, where padding counts; taps beyond the padding, under windows that ceil_mode adds,
    /// do not.
    private func scales(_ geometry: WindowGeometry, _ budget: MemoryBudget) throws -> Storage {
        let storage = try Storage.allocate(
            byteCount: try geometry.outputPixels.multiplied(by: 4), budget: budget, purpose: "the weights of an average")
        let scales = storage.base.assumingMemoryBound(to: Float.self)
        let counts = geometry.input.indices.map { axis in
            (0..<geometry.output[axis]).map { output in
                let begin = output * geometry.strides[axis] - geometry.padBegin[axis]
                return (0..<geometry.kernel[axis]).reduce(0) {
                    begin + $1 * geometry.dilations[axis] < geometry.input[axis] + geometry.padEnd[axis] ? $0 + 1 : $0
                }
            }
        }
        for pixel in 0..<geometry.outputPixels {
            var rest = pixel, count = 1
            for axis in geometry.output.indices.reversed() {
                count *= counts[axis][rest % geometry.output[axis]]
                rest /= geometry.output[axis]
            }
            scales[pixel] = 1 / Float(max(count, 1))
        }
        return storage
    }

    private func prepareFloat32(_ context: PrepareContext) throws -> any PreparedNode {
        let (geometry, batch, channels) = try geometry(context)
        guard let kernel = apus_pooling_select(context.levels) else { throw ApusError(.internal, "there is no pooling kernel") }
        let table = try geometry.table(pixelStride: channels, budget: context.packed.budget)
        let scales = countsPadding ? try scales(geometry, context.packed.budget) : nil
        let function = kind == .max ? kernel.pointee.max : kernel.pointee.average
        let pixels = geometry.inputPixels, outPixels = geometry.outputPixels, taps = geometry.taps
        let work = FloatProduct.saturatingProduct([outPixels, taps, channels])
        // Pieces of about 64 Ki reads.
        let pieces = max(1, min(outPixels, work >> 16)), step = max(1, (outPixels + pieces - 1) / pieces)
        func run(_ pool: ThreadPool, _ input: UnsafePointer<Float>, _ output: UnsafeMutablePointer<Float>) {
            pool.parallel(batch * pieces) { index in
                let image = index / pieces, begin = min(outPixels, index % pieces * step)
                var args = apus_pooling_args()
                args.taps = taps
                args.channels = channels
                args.input = input + image * pixels * channels
                args.table = UnsafePointer(table.base.assumingMemoryBound(to: Int.self))
                args.output = output + image * outPixels * channels
                args.output_stride = channels
                args.scales = scales.map { UnsafePointer($0.base.assumingMemoryBound(to: Float.self)) }
                function?(&args, begin, min(outPixels, begin + step))
            }
        }
        let name = "pool_" + String(cString: kernel.pointee.name)
        if isLast {
            return PreparedKernel(name) { io in run(io.pool, io.input(0, as: Float.self), io.output(0, as: Float.self)) }
        }
        return try channelsFirstNode(name, x: try context.shape(0), y: try context.outputShape(0), workspace: 0) { io, input, output, _ in
            run(io.pool, input, output)
        }
    }

    /// Maxima of 8-bit codes with channels last.
    private func prepareCodes(_ context: PrepareContext, isSigned: Bool) throws -> any PreparedNode {
        let (geometry, batch, channels) = try geometry(context)
        guard let kernels = apus_qelementwise_select(context.levels) else { throw ApusError(.internal, "there is no 8-bit kernel") }
        let table = try geometry.table(pixelStride: channels, budget: context.packed.budget)
        let imageIn = geometry.inputPixels * channels, pixels = geometry.outputPixels, taps = geometry.taps
        let work = FloatProduct.saturatingProduct([pixels, taps, channels])
        let pieces = max(1, min(pixels, work >> 18)), step = max(1, (pixels + pieces - 1) / pieces)
        return PreparedKernel("pool_codes_" + String(cString: kernels.pointee.name)) { io in
            io.pool.parallel(batch * pieces) { index in
                let image = index / pieces, begin = min(pixels, index % pieces * step)
                var args = apus_qmax_args()
                args.taps = taps
                args.channels = channels
                args.is_signed = isSigned
                args.input = io.input(0) + image * imageIn
                args.table = UnsafePointer(table.base.assumingMemoryBound(to: Int.self))
                args.output = io.output(0) + image * pixels * channels
                kernels.pointee.max(&args, begin, min(pixels, begin + step))
            }
        }
    }

    /// Plain loops for other types, indices and powers.
    private func prepareGeneric<T: Arithmetic>(_: T.Type, _ context: PrepareContext) throws -> any PreparedNode {
        let (geometry, batch, channels) = try geometry(context)
        let table = try geometry.table(pixelStride: 1, budget: context.packed.budget)
        let scales = countsPadding ? try scales(geometry, context.packed.budget) : nil
        let pixels = geometry.inputPixels, outPixels = geometry.outputPixels, taps = geometry.taps
        let (pixelStride, channelStride, outChannelStride) = isLast ? (channels, 1, 1) : (1, pixels, outPixels)
        let kind = kind, exponent = exponent, columnMajor = columnMajor, input = geometry.input
        return PreparedKernel("pool_generic") { io in
            let source = io.input(0, as: T.self), target = io.output(0, as: T.self)
            let indices = io.hasOutput(1) ? io.output(1, as: Int64.self) : nil
            let entries = table.base.assumingMemoryBound(to: Int.self)
            io.pool.parallel(batch * channels) { plane in
                let image = plane / max(channels, 1), channel = plane % max(channels, 1)
                let from = source + image * channels * pixels + channel * channelStride
                let to = target + image * channels * outPixels + channel * outChannelStride
                for pixel in 0..<outPixels {
                    let line = entries + pixel * taps
                    switch kind {
                    case .max:
                        var best = T.lowest, place = -1
                        for tap in 0..<taps where line[tap] >= 0 {
                            let value = from[line[tap] * pixelStride]
                            if place < 0 || value > best || value.isNotANumber && !best.isNotANumber {
                                best = value
                                place = line[tap]
                            }
                        }
                        to[pixel * pixelStride] = best
                        if let indices {
                            let within = columnMajor ? PoolOperator.columnMajorPlace(place, input) : place
                            indices[plane * outPixels + pixel] = place < 0 ? -1 : Int64(plane * pixels + within)
                        }
                    case .average:
                        var sum = 0.0, count = 0
                        for tap in 0..<taps where line[tap] >= 0 {
                            sum += from[line[tap] * pixelStride].double
                            count += 1
                        }
                        if let scales {
                            sum *= Double(scales.base.assumingMemoryBound(to: Float.self)[pixel])
                        } else if count > 0 {
                            sum /= Double(count)
                        }
                        to[pixel * pixelStride] = T(converting: sum)
                    case .power:
                        var sum = 0.0
                        for tap in 0..<taps where line[tap] >= 0 {
                            let value = abs(from[line[tap] * pixelStride].double)
                            sum += exponent == 2 ? value * value : exponent == 1 ? value : pow(value, exponent)
                        }
                        to[pixel * pixelStride] = T(converting: exponent == 2 ? sum.squareRoot() : exponent == 1 ? sum : pow(sum, 1 / exponent))
                    }
                }
            }
        }
    }

    /// The number of a pixel when the first axis counts fastest.
    private static func columnMajorPlace(_ place: Int, _ input: [Int]) -> Int {
        var rest = place, result = 0, extent = input.reduce(1, *)
        for size in input.reversed() {
            extent /= max(size, 1)
            result += rest % max(size, 1) * extent
            rest /= max(size, 1)
        }
        return result
    }
}
