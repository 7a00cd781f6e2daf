import ApusCore
import ApusGraph
import CApusKernels

/// Y = (X - mean) / sqrt(var + epsilon) * scale + B, for each channel, by given statistics; with `training_mode` (opset 14)
/// by those of X, and with the running statistics updated as further outputs.
///
/// Before opset 14 only inference is computed; outputs beyond Y then repeat the given statistics. `spatial` 0 (before opset 9)
/// has statistics for every element of an image. `apus.BatchNormalization`, which the optimiser makes, is the same with
/// channels last, for inference.
struct BatchNormalizationOperator: Operator {
    static let schemas = [
        Schema("BatchNormalization", since: [1, 6, 7, 9, 14, 15], inputs: 5...5, outputs: 1...5),
        Schema("BatchNormalization", domain: "apus", since: [1], inputs: 5...5),
    ]

    private let epsilon: Float
    private let momentum: Float
    private let isTraining: Bool
    private let isSpatial: Bool
    private let isLast: Bool

    init(_ node: NodeReader) throws {
        epsilon = try node.float("epsilon", default: 1e-5)
        isLast = node.domain == "apus"
        if isLast {
            momentum = 0
            isTraining = false
            isSpatial = true
            return
        }
        momentum = try node.float("momentum", default: 0.9)
        isTraining = node.opset >= 14 ? try node.bool("training_mode", default: false) : false
        isSpatial = node.opset < 9 ? try node.bool("spatial", default: true) : true
        if node.opset < 7 { _ = try node.optionalInt("is_test") }
        guard node.opset < 14 || node.outputCount <= 3 else {
            throw ApusError(.invalidModel, "BatchNormalization has 1 to 3 outputs from opset 14 on, found \(node.outputCount)")
        }
        guard isTraining || node.opset < 14 || node.outputCount == 1 else {
            throw ApusError(.invalidModel, "without training_mode there is 1 output, found \(node.outputCount)")
        }
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: [.float32, .float16, .bfloat16, .float64])
        let x = try context.dimensions(0, rank: 1...)
        for index in 1..<5 {
            _ = try context.type(index, oneOf: [.float32, .float16, .bfloat16, .float64])
            let found = try context.shape(index)
            guard let x else { continue }
            let expected = isSpatial ? [x.count > 1 ? x[isLast ? x.count - 1 : 1] : .known(1)] : Array(x.dropFirst())
            guard let own = found.dimensions else { continue }
            if !isSpatial, own.count == 1, let count = own[0].known,
                let all = try PartialShape(expected).concrete()?.count, count == all { continue }
            guard own.count == expected.count, zip(own, expected).allSatisfy({ $0.known == nil || $1.known == nil || $0.known == $1.known })
            else {
                throw ApusError(.shapeMismatch, "input \(index) has shape \(found), \(PartialShape(expected)) expected")
            }
        }
        let statistics = try context.type(3), shape = try context.shape(3)
        return try [ValueInfo(type, context.shape(0))] + (1..<max(1, context.outputCount)).map { _ in ValueInfo(statistics, shape) }
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        if try (0..<5).contains(where: { try context.type($0) == .float64 }) {
            return try context.through(.float64, [.float32, .float16, .bfloat16]) { try prepareGeneric(Double.self, $0) }
        }
        return try context.throughFloat32 { context in
            isTraining ? try prepareGeneric(Float.self, context) : try prepareFloat32(context)
        }
    }

    private func sizes(_ context: PrepareContext) throws -> (batch: Int, channels: Int, pixels: Int) {
        let x = try context.shape(0)
        if x.rank == 1 { return (x[0], 1, 1) }
        // With channels last, a pixel is an image of its own.
        if isLast { return (x.count(0..<(x.rank - 1)), x[x.rank - 1], 1) }
        return isSpatial ? (x[0], x[1], x.count(2...)) : (x[0], x.count(1...), 1)
    }

    private func prepareFloat32(_ context: PrepareContext) throws -> any PreparedNode {
        let (batch, channels, pixels) = try sizes(context)
        guard let kernels = apus_elementwise_select(context.levels), let linear = apus_elementwise_unary(kernels, APUS_UNARY_LINEAR)
        else { throw ApusError(.internal, "there are no elementwise kernels") }
        let scaleShift = kernels.pointee.scale_shift, epsilon = epsilon
        let factorBytes = try channels.multiplied(by: 8)
        return PreparedKernel("batchnorm_" + String(cString: kernels.pointee.name), workspace: factorBytes) { io in
            let scale = io.input(1, as: Float.self), bias = io.input(2, as: Float.self)
            let mean = io.input(3, as: Float.self), variance = io.input(4, as: Float.self)
            let factors = io.workspace.assumingMemoryBound(to: Float.self)
            let x = io.input(0, as: Float.self), y = io.output(0, as: Float.self)
            if pixels == 1 {
                let shifts = factors + channels
                for channel in 0..<channels {
                    factors[channel] = scale[channel] / (variance[channel] + epsilon).squareRoot()
                    shifts[channel] = bias[channel] - mean[channel] * factors[channel]
                }
                io.pool.inChunks(batch, of: max(1, elementwiseChunk / max(1, channels))) { rows in
                    scaleShift?(
                        rows.count, channels, x + rows.lowerBound * channels, channels, factors, shifts, y + rows.lowerBound * channels,
                        channels)
                }
            } else {
                for channel in 0..<channels {
                    factors[2 * channel] = scale[channel] / (variance[channel] + epsilon).squareRoot()
                    factors[2 * channel + 1] = bias[channel] - mean[channel] * factors[2 * channel]
                }
                io.pool.inChunks(batch * channels, of: max(1, elementwiseChunk / max(1, pixels))) { planes in
                    for plane in planes { linear(pixels, x + plane * pixels, y + plane * pixels, factors + 2 * (plane % channels)) }
                }
            }
            for output in 1..<max(1, io.outputCount) where io.hasOutput(output) {
                io.output(output, as: Float.self).update(from: output % 2 == 1 ? mean : variance, count: channels)
            }
        }
    }

    private func prepareGeneric<T: Arithmetic & BinaryFloatingPoint>(_: T.Type, _ context: PrepareContext) throws -> any PreparedNode {
        let (batch, channels, pixels) = try sizes(context)
        let epsilon = Double(epsilon), momentum = Double(momentum), isTraining = isTraining
        return PreparedKernel("batchnorm_generic") { io in
            let scale = io.input(1, as: T.self), bias = io.input(2, as: T.self)
            let mean = io.input(3, as: T.self), variance = io.input(4, as: T.self)
            let x = io.input(0, as: T.self), y = io.output(0, as: T.self)
            io.pool.parallel(channels) { channel in
                var center = Double(mean[channel]), spread = Double(variance[channel])
                if isTraining {
                    let count = Double(batch * pixels)
                    var sum = 0.0, squares = 0.0
                    for image in 0..<batch {
                        let plane = x + (image * channels + channel) * pixels
                        for pixel in 0..<pixels { sum += Double(plane[pixel]) }
                    }
                    center = sum / count
                    for image in 0..<batch {
                        let plane = x + (image * channels + channel) * pixels
                        for pixel in 0..<pixels { squares += (Double(plane[pixel]) - center) * (Double(plane[pixel]) - center) }
                    }
                    spread = squares / count
                }
                if io.hasOutput(1) {
                    io.output(1, as: T.self)[channel] = isTraining
                        ? T(Double(mean[channel]) * momentum + center * (1 - momentum)) : mean[channel]
                }
                if io.hasOutput(2) {
                    io.output(2, as: T.self)[channel] = isTraining
                        ? T(Double(variance[channel]) * momentum + spread * (1 - momentum)) : variance[channel]
                }
                for output in 3..<max(3, io.outputCount) where io.hasOutput(output) {
                    io.output(output, as: T.self)[channel] = output == 3 ? mean[channel] : variance[channel]
                }
                let factor = Double(scale[channel]) / (spread + epsilon).squareRoot()
                for image in 0..<batch {
                    let offset = (image * channels + channel) * pixels
                    for pixel in offset..<(offset + pixels) { y[pixel] = T((Double(x[pixel]) - center) * factor + Double(bias[channel])) }
                }
            }
        }
    }
}
