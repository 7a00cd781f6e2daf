import ApusCore
import ApusGraph
import CApusKernels

/// Normalisation of rows, by mean and variance (LayerNormalization) or mean square (RMSNormalization), also of the sum of two
/// inputs (SkipLayerNormalization and its relatives).
struct LayerNormalizationOperator: Operator {
    static let schemas = [
        Schema("LayerNormalization", since: [1, 17], inputs: 2...3, outputs: 1...3),
        Schema("RMSNormalization", since: [23], inputs: 2...2),
        Schema("SimplifiedLayerNormalization", since: [1], inputs: 2...2, outputs: 1...2),
        Schema("LayerNormalization", domain: "com.microsoft", since: [1], inputs: 2...3, outputs: 1...3),
        Schema("SimplifiedLayerNormalization", domain: "com.microsoft", since: [1], inputs: 2...2, outputs: 1...2),
        Schema("SkipLayerNormalization", domain: "com.microsoft", since: [1], inputs: 3...5, outputs: 1...4),
        Schema("SkipSimplifiedLayerNormalization", domain: "com.microsoft", since: [1], inputs: 3...4, outputs: 1...4),
    ]

    /// Where an operator's inputs and outputs are; -1: it has none.
    private struct Form: Sendable {
        var centers: Bool
        var skip = -1
        var scale = 1
        var bias = -1
        var skipBias = -1
        var mean = -1
        var deviation = -1
        var sum = -1
    }

    private static let forms: [String: Form] = [
        "LayerNormalization": Form(centers: true, bias: 2, mean: 1, deviation: 2),
        "RMSNormalization": Form(centers: false),
        "SimplifiedLayerNormalization": Form(centers: false, deviation: 1),
        "SkipLayerNormalization": Form(centers: true, skip: 1, scale: 2, bias: 3, skipBias: 4, mean: 1, deviation: 2, sum: 3),
        "SkipSimplifiedLayerNormalization": Form(centers: false, skip: 1, scale: 2, skipBias: 3, mean: 1, deviation: 2, sum: 3),
    ]

    private let form: Form
    private let axis: Int
    private let epsilon: Float
    private let stashType: ElementType

    init(_ node: NodeReader) throws {
        guard let form = LayerNormalizationOperator.forms[node.opType] else {
            throw ApusError(.internal, "\(node.opType) is no normalisation of rows")
        }
        self.form = form
        axis = form.skip < 0 ? try node.int("axis", default: -1) : -1
        epsilon = try node.float("epsilon", default: form.skip < 0 ? 1e-5 : 1e-12)
        let stash = form.skip < 0 ? try node.int("stash_type", default: 1) : 1
        guard let type = ElementType(rawValue: Int32(truncatingIfNeeded: stash)), [.float32, .float64, .float16, .bfloat16].contains(type) else {
            throw ApusError(.invalidModel, "attribute \"stash_type\" is \(stash); a floating-point type expected")
        }
        stashType = type
    }

    var overwrites: [(output: Int, input: Int)] { [(0, 0)] }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let floats: [ElementType] = [.float32, .float16, .bfloat16, .float64]
        let type = try context.type(0, oneOf: floats), shape = try context.shape(0)
        for index in 1..<5 where context.has(index) {
            let own = try context.type(index, oneOf: floats)
            // Only the scale of RMSNormalization has a type of its own.
            guard form.skip < 0 && !form.centers || (own == .float64) == (type == .float64) else {
                throw ApusError(.typeMismatch, "input \(index) is \(own.name), X is \(type.name)")
            }
        }
        // The operator's element type is that of scale where they differ (RMSNormalization).
        let result = form.skip < 0 && !form.centers ? try context.type(form.scale) : type
        guard let x = shape.dimensions else {
            return (0..<context.outputCount).map { ValueInfo($0 == 0 || $0 == form.sum ? result : .float32, .unknown) }
        }
        let first = try normalizedAxis(axis, rank: x.count)
        for index in [form.scale, form.bias, form.skipBias] where index >= 0 && context.has(index) {
            let own = try context.shape(index)
            // Never larger than X: a parameter may be broadcast, X may not.
            guard let expected = try shape.concrete(), let concrete = try own.concrete() else { continue }
            guard (try? Shape.broadcast([expected, concrete])) == expected else {
                throw ApusError(.shapeMismatch, "input \(index) of shape \(own) cannot be broadcast to X of shape \(shape)")
            }
            if form.skip >= 0, concrete.dimensions != Array(expected.dimensions.suffix(1)) {
                throw ApusError(.shapeMismatch, "input \(index) has shape \(own), [\(expected.dimensions.last ?? 0)] expected")
            }
        }
        if form.skip >= 0, let expected = try shape.concrete(), let skip = try context.shape(form.skip).concrete() {
            let fits = skip.rank <= expected.rank && skip.dimensions.suffix(2) == expected.dimensions.suffix(2)
                && (try? Shape.broadcast([expected, skip])) == expected
            guard fits else {
                throw ApusError(.shapeMismatch, "skip of shape \(skip) cannot be added to the input of shape \(expected)")
            }
        }
        let reduced = PartialShape(x.enumerated().map { $0 < first ? $1 : .known(1) })
        return (0..<context.outputCount).map { index in
            index == 0 || index == form.sum
                ? ValueInfo(index == 0 ? result : type, shape) : ValueInfo(type == .float64 ? .float64 : stashType, reduced)
        }
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        if try context.type(0) == .float64 || context.type(form.scale) == .float64 {
            return try context.through(.float64, [.float32, .float16, .bfloat16], prepareDouble)
        }
        return try context.throughFloat32(prepareFloat32)
    }

    /// Whether the parameter has exactly one element for each element of a row.
    private func isRow(_ context: PrepareContext, _ index: Int, _ length: Int, _ axes: Int) throws -> Bool {
        guard index >= 0, context.has(index) else { return true }
        let shape = try context.shape(index)
        return shape.count == length && shape.dimensions.dropLast(axes).allSatisfy { $0 == 1 }
    }

    private func prepareFloat32(_ context: PrepareContext) throws -> any PreparedNode {
        let x = try context.shape(0)
        let first = try normalizedAxis(axis, rank: x.rank)
        let rows = x.count(..<first), length = x.count(first...), form = form, epsilon = epsilon
        guard let kernels = apus_normalization_select(context.levels) else {
            throw ApusError(.internal, "there are no normalisation kernels")
        }
        let function = form.centers ? kernels.pointee.layer_norm : kernels.pointee.rms_norm
        // Parameters that are broadcast otherwise are applied afterwards.
        let axes = x.rank - first
        let fused = try isRow(context, form.scale, length, axes) && isRow(context, form.bias, length, axes)
        let scaleStrides = fused ? [] : try context.shape(form.scale).broadcastStrides(to: x)
        let biasStrides = !fused && form.bias >= 0 && context.has(form.bias) ? try context.shape(form.bias).broadcastStrides(to: x) : nil
        // Rows of skip repeat where it has no batch.
        let skipRows = form.skip >= 0 ? try context.shape(form.skip).count / max(length, 1) : 0
        let hasBias = form.bias >= 0 && context.has(form.bias), hasSkipBias = form.skipBias >= 0 && context.has(form.skipBias)
        let name = (form.centers ? "layernorm_" : "rmsnorm_") + String(cString: kernels.pointee.name)
        return PreparedKernel(name) { io in
            let source = io.input(0, as: Float.self), target = io.output(0, as: Float.self)
            // A piece of rows never crosses the end of a repeated skip.
            let period = skipRows > 0 ? skipRows : max(rows, 1)
            let step = max(1, min(period, elementwiseChunk / 2 / max(1, length)))
            let pieces = (period + step - 1) / step
            if rows == 0 { return }
            io.pool.parallel(rows / period * pieces) { index in
                let within = index % pieces * step, row = index / pieces * period + within
                var args = apus_row_norm_args()
                args.rows = min(step, period - within)
                args.n = length
                args.x = source + row * length
                args.x_stride = length
                if form.skip >= 0 {
                    args.residual = io.input(form.skip, as: Float.self) + within * length
                    args.residual_stride = length
                }
                if hasSkipBias { args.residual_bias = io.input(form.skipBias, as: Float.self) }
                if form.sum >= 0, io.hasOutput(form.sum) {
                    args.sum = io.output(form.sum, as: Float.self) + row * length
                    args.sum_stride = length
                }
                if fused {
                    args.scale = io.input(form.scale, as: Float.self)
                    if hasBias { args.bias = io.input(form.bias, as: Float.self) }
                }
                args.epsilon = epsilon
                args.y = target + row * length
                args.y_stride = length
                if form.mean >= 0, io.hasOutput(form.mean) {
                    args.mean = io.output(form.mean, as: Float.self) + row
                    if !form.centers { args.mean.update(repeating: 0, count: args.rows) }
                }
                if form.deviation >= 0, io.hasOutput(form.deviation) {
                    args.inverse_deviation = io.output(form.deviation, as: Float.self) + row
                }
                function?(&args)
            }
            if !fused {
                applyBroadcast(target, x, scale: io.input(form.scale, as: Float.self), scaleStrides,
                    bias: hasBias ? io.input(form.bias, as: Float.self) : nil, biasStrides ?? [])
            }
        }
    }

    private func prepareDouble(_ context: PrepareContext) throws -> any PreparedNode {
        let x = try context.shape(0)
        let first = try normalizedAxis(axis, rank: x.rank)
        let rows = x.count(..<first), length = x.count(first...), form = form, epsilon = Double(epsilon)
        let scaleStrides = try context.shape(form.scale).broadcastStrides(to: x)
        let hasBias = form.bias >= 0 && context.has(form.bias), hasSkipBias = form.skipBias >= 0 && context.has(form.skipBias)
        let biasStrides = hasBias ? try context.shape(form.bias).broadcastStrides(to: x) : []
        let skipCount = form.skip >= 0 ? try context.shape(form.skip).count : 1
        return PreparedKernel("layernorm_double") { io in
            let source = io.input(0, as: Double.self), target = io.output(0, as: Double.self)
            for row in 0..<rows {
                let y = target + row * length
                var sum = 0.0, squares = 0.0
                for i in 0..<length {
                    var value = source[row * length + i]
                    if form.skip >= 0 { value += io.input(form.skip, as: Double.self)[(row * length + i) % max(skipCount, 1)] }
                    if hasSkipBias { value += io.input(form.skipBias, as: Double.self)[i] }
                    y[i] = value
                    sum += value
                }
                if form.sum >= 0, io.hasOutput(form.sum) {
                    (io.output(form.sum, as: Double.self) + row * length).update(from: y, count: length)
                }
                let mean = form.centers ? sum / Double(length) : 0
                for i in 0..<length { squares += (y[i] - mean) * (y[i] - mean) }
                let inverse = 1 / (squares / Double(length) + epsilon).squareRoot()
                for i in 0..<length { y[i] = (y[i] - mean) * inverse }
                if form.mean >= 0, io.hasOutput(form.mean) { io.output(form.mean, as: Double.self)[row] = mean }
                if form.deviation >= 0, io.hasOutput(form.deviation) { io.output(form.deviation, as: Double.self)[row] = inverse }
            }
            applyBroadcast(target, x, scale: io.input(form.scale, as: Double.self), scaleStrides,
                bias: hasBias ? io.input(form.bias, as: Double.self) : nil, biasStrides)
        }
    }
}

/// y = y * scale + bias, both broadcast to `shape` by their strides.
private func applyBroadcast<T: BinaryFloatingPoint>(
    _ y: UnsafeMutablePointer<T>, _ shape: Shape, scale: UnsafePointer<T>, _ scaleStrides: [Int], bias: UnsafePointer<T>?,
    _ biasStrides: [Int]
) {
    for index in 0..<shape.count {
        var rest = index, scaleAt = 0, biasAt = 0
        for axis in (0..<shape.rank).reversed() {
            let position = rest % shape[axis]
            rest /= shape[axis]
            scaleAt += position * scaleStrides[axis]
            if bias != nil { biasAt += position * biasStrides[axis] }
        }
        y[index] = y[index] * scale[scaleAt]
        if let bias { y[index] += bias[biasAt] }
    }
}
