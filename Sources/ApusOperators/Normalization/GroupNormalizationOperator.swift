import ApusCore
import ApusGraph
import CApusKernels

/// Normalisation of each image by itself: every channel (InstanceNormalization) or every group of channels
/// (GroupNormalization; its scale and bias are per group in opset 18, per channel from 21 on).
///
/// `apus.GroupNormalization` and `apus.InstanceNormalization`, which the optimiser makes, are the same with channels last; the
/// attribute scales_groups stands for opset 18.
struct GroupNormalizationOperator: Operator {
    static let schemas = [
        Schema("GroupNormalization", since: [18, 21], inputs: 3...3),
        Schema("InstanceNormalization", since: [1, 6, 22], inputs: 3...3),
        Schema("GroupNormalization", domain: "apus", since: [1], inputs: 3...3),
        Schema("InstanceNormalization", domain: "apus", since: [1], inputs: 3...3),
    ]

    private let epsilon: Float
    /// nil: as many as channels.
    private let groups: Int?
    private let scalesGroups: Bool
    private let isLast: Bool

    init(_ node: NodeReader) throws {
        epsilon = try node.float("epsilon", default: 1e-5)
        let hasGroups = node.opType == "GroupNormalization"
        groups = hasGroups ? try node.int("num_groups") : nil
        isLast = node.domain == "apus"
        scalesGroups = isLast ? try node.bool("scales_groups", default: false) : hasGroups && node.opset < 21
        if hasGroups, !isLast, node.opset >= 21 { _ = try node.int("stash_type", default: 1) }
        if let groups, groups < 1 { throw ApusError(.invalidModel, "attribute \"num_groups\" is \(groups); it must be at least 1") }
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        _ = try context.type(0, oneOf: [.float32, .float16, .bfloat16, .float64])
        let type = try context.commonType(0..<3)
        let x = try context.dimensions(0, rank: (groups == nil ? 3 : 2)...)
        if let x, let channels = x[isLast ? x.count - 1 : 1].known {
            if let groups, channels % groups != 0 {
                throw ApusError(.shapeMismatch, "\(channels) channels cannot be divided into \(groups) groups")
            }
            let expected = scalesGroups ? groups ?? channels : channels
            for index in 1...2 {
                if let found = try context.dimensions(index, rank: 1...1)?[0].known, found != expected {
                    throw ApusError(.shapeMismatch, "input \(index) has \(found) elements, \(expected) expected")
                }
            }
        }
        return [ValueInfo(type, try context.shape(0))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        if try context.type(0) == .float64 { return try prepareDouble(context) }
        return try context.throughFloat32(prepareFloat32)
    }

    private func prepareFloat32(_ context: PrepareContext) throws -> any PreparedNode {
        let x = try context.shape(0)
        let channels = isLast ? x[x.rank - 1] : x[1], groups = groups ?? channels, epsilon = epsilon
        let pixels = isLast ? x.count(1..<(x.rank - 1)) : x.count(2...)
        if x.count == 0 { return PreparedKernel("nothing") { _ in } }
        let perGroup = channels / groups, planes = x[0] * groups, size = perGroup * pixels
        guard let kernels = apus_normalization_select(context.levels), let function = kernels.pointee.group_norm else {
            throw ApusError(.internal, "there are no normalisation kernels")
        }
        let scalesGroups = scalesGroups, batch = x[0]
        let scaleBytes = scalesGroups ? try channels.multiplied(by: 8).roundedUp(to: Storage.alignment) : 0
        let statisticsBytes = isLast ? try channels.multiplied(by: 8).roundedUp(to: Storage.alignment) : 0
        let lastFunction = isLast ? kernels.pointee.group_norm_nhwc : nil
        return PreparedKernel(
            "groupnorm_" + String(cString: kernels.pointee.name), workspace: try scaleBytes.adding(statisticsBytes.multiplied(by: batch))
        ) { io in
            var scale = io.input(1, as: Float.self), bias = io.input(2, as: Float.self)
            if scalesGroups {
                let spread = io.workspace.assumingMemoryBound(to: Float.self)
                for channel in 0..<channels {
                    spread[channel] = scale[channel / perGroup]
                    spread[channels + channel] = bias[channel / perGroup]
                }
                scale = UnsafePointer(spread)
                bias = UnsafePointer(spread + channels)
            }
            let source = io.input(0, as: Float.self), target = io.output(0, as: Float.self)
            let (factors, shifts) = (scale, bias)
            if let lastFunction {
                let statistics = io.workspace + scaleBytes, size = pixels * channels
                io.pool.inChunks(batch, of: max(1, elementwiseChunk / 2 / max(1, size))) { images in
                    for image in images {
                        lastFunction(
                            pixels, channels, groups, source + image * size, channels, factors, shifts, epsilon, target + image * size,
                            channels, (statistics + image * statisticsBytes).assumingMemoryBound(to: Float.self))
                    }
                }
                return
            }
            io.pool.inChunks(planes, of: max(1, elementwiseChunk / 2 / max(1, size))) { range in
                for plane in range {
                    let first = plane % groups * perGroup
                    function(perGroup, pixels, source + plane * size, factors + first, shifts + first, epsilon, target + plane * size)
                }
            }
        }
    }

    private func prepareDouble(_ context: PrepareContext) throws -> any PreparedNode {
        let x = try context.shape(0)
        let channels = isLast ? x[x.rank - 1] : x[1], groups = groups ?? channels, epsilon = Double(epsilon)
        let pixels = isLast ? x.count(1..<(x.rank - 1)) : x.count(2...)
        if x.count == 0 { return PreparedKernel("nothing") { _ in } }
        let perGroup = channels / groups, scalesGroups = scalesGroups, count = Double(perGroup * pixels)
        let (channelStride, pixelStride) = isLast ? (1, channels) : (pixels, 1)
        return PreparedKernel("groupnorm_double") { io in
            let scale = io.input(1, as: Double.self), bias = io.input(2, as: Double.self)
            io.pool.parallel(x[0] * groups) { plane in
                let group = plane % groups, start = plane / groups * channels * pixels + group * perGroup * channelStride
                let source = io.input(0, as: Double.self) + start, target = io.output(0, as: Double.self) + start
                func forEach(_ body: (_ channel: Int, _ place: Int) -> Void) {
                    for channel in 0..<perGroup {
                        for pixel in 0..<pixels { body(channel, channel * channelStride + pixel * pixelStride) }
                    }
                }
                var sum = 0.0, squares = 0.0
                forEach { sum += source[$1] }
                let mean = sum / count
                forEach { squares += (source[$1] - mean) * (source[$1] - mean) }
                let inverse = 1 / (squares / count + epsilon).squareRoot()
                forEach { channel, place in
                    let factor = scalesGroups ? group : group * perGroup + channel
                    target[place] = (source[place] - mean) * inverse * scale[factor] + bias[factor]
                }
            }
        }
    }
}
