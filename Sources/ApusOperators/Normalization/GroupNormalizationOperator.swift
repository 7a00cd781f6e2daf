import ApusCore
import ApusGraph
import CApusKernels

/// Normalisation of each image by itself: every channel (InstanceNormalization) or every group of channels
/// (GroupNormalization; its scale and bias are per group in opset 18, per channel from 21 on).
struct GroupNormalizationOperator: Operator {
    static let schemas = [
        Schema("GroupNormalization", since: [18, 21], inputs: 3...3),
        Schema("InstanceNormalization", since: [1, 6, 22], inputs: 3...3),
    ]

    private let epsilon: Float
    /// nil: as many as channels.
    private let groups: Int?
    private let scalesGroups: Bool

    init(_ node: NodeReader) throws {
        epsilon = try node.float("epsilon", default: 1e-5)
        let hasGroups = node.opType == "GroupNormalization"
        groups = hasGroups ? try node.int("num_groups") : nil
        scalesGroups = hasGroups && node.opset < 21
        if hasGroups, node.opset >= 21 { _ = try node.int("stash_type", default: 1) }
        if let groups, groups < 1 { throw ApusError(.invalidModel, "attribute \"num_groups\" is \(groups); it must be at least 1") }
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        _ = try context.type(0, oneOf: [.float32, .float16, .bfloat16, .float64])
        let type = try context.commonType(0..<3)
        let x = try context.dimensions(0, rank: (groups == nil ? 3 : 2)...)
        if let channels = x?[1].known {
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
        let channels = x[1], groups = groups ?? channels, pixels = x.count(2...), epsilon = epsilon
        if x.count == 0 { return PreparedKernel("nothing") { _ in } }
        let perGroup = channels / groups, planes = x[0] * groups, size = perGroup * pixels
        guard let kernels = apus_normalization_select(context.levels), let function = kernels.pointee.group_norm else {
            throw ApusError(.internal, "there are no normalisation kernels")
        }
        let scalesGroups = scalesGroups
        return PreparedKernel(
            "groupnorm_" + String(cString: kernels.pointee.name), workspace: scalesGroups ? try channels.multiplied(by: 8) : 0
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
        let channels = x[1], groups = groups ?? channels, pixels = x.count(2...), epsilon = Double(epsilon)
        if x.count == 0 { return PreparedKernel("nothing") { _ in } }
        let perGroup = channels / groups, size = perGroup * pixels, scalesGroups = scalesGroups
        return PreparedKernel("groupnorm_double") { io in
            let scale = io.input(1, as: Double.self), bias = io.input(2, as: Double.self)
            io.pool.parallel(x[0] * groups) { plane in
                let source = io.input(0, as: Double.self) + plane * size, target = io.output(0, as: Double.self) + plane * size
                var sum = 0.0, squares = 0.0
                for i in 0..<size { sum += source[i] }
                let mean = sum / Double(size)
                for i in 0..<size { squares += (source[i] - mean) * (source[i] - mean) }
                let inverse = 1 / (squares / Double(size) + epsilon).squareRoot()
                for i in 0..<size {
                    let channel = scalesGroups ? plane % groups : plane % groups * perGroup + i / pixels
                    target[i] = (source[i] - mean) * inverse * scale[channel] + bias[channel]
                }
            }
        }
    }
}
