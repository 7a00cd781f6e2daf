import ApusCore
import ApusGraph

/// A convolution that reads its input at places moved by offsets, between elements by linear interpolation and zero
/// outside (Dai et al., "Deformable convolutional networks", 2017; with a mask: Zhu et al., 2018).
struct DeformConvOperator: Operator {
    static let schemas = [Schema("DeformConv", since: [19, 22], inputs: 3...5)]

    /// An interpolation reads 2 to the power of this many elements.
    private static let mostSpatialAxes = 8

    private let kernel: [Int]?
    private let strides: [Int]?
    private let dilations: [Int]?
    private let pads: [Int]?
    private let group: Int
    private let offsetGroup: Int

    init(_ node: NodeReader) throws {
        kernel = try node.optionalInts("kernel_shape")
        strides = try node.optionalInts("strides")
        dilations = try node.optionalInts("dilations")
        pads = try node.optionalInts("pads")
        group = try node.int("group", default: 1)
        offsetGroup = try node.int("offset_group", default: 1)
        guard group >= 1, offsetGroup >= 1, [kernel, strides, dilations].allSatisfy({ ($0 ?? []).allSatisfy { $0 >= 1 } }) else {
            throw ApusError(.invalidModel, "group, offset_group, kernel_shape, strides and dilations must be at least 1")
        }
        guard (pads ?? []).allSatisfy({ $0 >= 0 }) else { throw ApusError(.invalidModel, "pads must not be negative, found \(pads ?? [])") }
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: Types.floats)
        _ = try context.commonType(0..<5)
        guard let x = try context.dimensions(0, rank: 3...(2 + Self.mostSpatialAxes)) else {
            return [ValueInfo(type, .unknown)]
        }
        let w = try context.dimensions(1, rank: x.count...x.count), offset = try context.dimensions(2, rank: x.count...x.count)
        let axes = x.count - 2
        for (name, list, length) in [("kernel_shape", kernel, axes), ("strides", strides, axes), ("dilations", dilations, axes), ("pads", pads, 2 * axes)] {
            if let list, list.count != length {
                throw ApusError(.shapeMismatch, "\(name) must have \(length) elements for \(axes) spatial axes, found \(list.count)")
            }
        }
        func require(_ found: Dimension?, _ expected: Dimension, _ what: @autoclosure () -> String) throws {
            if let found = found?.known, let expected = expected.known, found != expected {
                throw ApusError(.shapeMismatch, "\(what()) must be \(expected), found \(found)")
            }
        }
        if let channels = x[1].known {
            guard channels % group == 0, channels % offsetGroup == 0 else {
                throw ApusError(.shapeMismatch, "\(channels) channels cannot be divided into \(group) groups and \(offsetGroup) offset groups")
            }
            try require(w?[1], .known(channels / group), "dimension 1 of the weights")
        }
        if let channels = w?[0].known, channels % group != 0 {
            throw ApusError(.shapeMismatch, "\(channels) output channels cannot be divided into \(group) groups")
        }
        var taps = Dimension.known(1)
        let spatial = try (0..<axes).map { axis -> Dimension in
            let size = kernel.map { Dimension.known($0[axis]) } ?? w?[2 + axis] ?? .unknown
            try require(w?[2 + axis], size, "dimension \(2 + axis) of the weights")
            if let size = size.known, size < 1 { throw ApusError(.shapeMismatch, "the kernel has no elements along axis \(axis)") }
            taps = taps * size
            guard let input = x[2 + axis].known, let size = size.known else { return offset?[2 + axis] ?? .unknown }
            let extent = try (size - 1).multiplied(by: dilations?[axis] ?? 1).adding(1)
            let padded = try input.adding(pads?[axis] ?? 0).adding(pads?[axis + axes] ?? 0)
            guard padded >= extent else {
                throw ApusError(.shapeMismatch, "a kernel that spans \(extent) elements does not fit a padded input of \(padded)")
            }
            let output = Dimension.known((padded - extent) / (strides?[axis] ?? 1) + 1)
            try require(offset?[2 + axis], output, "dimension \(2 + axis) of the offsets")
            return output
        }
        try require(offset?[0], x[0], "dimension 0 of the offsets")
        try require(offset?[1], taps * .known(offsetGroup) * .known(axes), "dimension 1 of the offsets")
        if context.has(3), let bias = try context.dimensions(3, rank: 1...1) { try require(bias[0], w?[0] ?? .unknown, "the length of the bias") }
        if context.has(4), let mask = try context.dimensions(4, rank: x.count...x.count) {
            try require(mask[0], x[0], "dimension 0 of the mask")
            try require(mask[1], taps * .known(offsetGroup), "dimension 1 of the mask")
            for axis in 0..<axes { try require(mask[2 + axis], spatial[axis], "dimension \(2 + axis) of the mask") }
        }
        return [ValueInfo(type, PartialShape([x[0], w?[0] ?? .unknown] + spatial))]
    }

    func multiplyAccumulates(_ inputs: [ValueInfo?], _ outputs: [ValueInfo]) -> Int {
        guard inputs.count > 1, let weights = try? inputs[1]?.concreteShape(), let output = try? outputs.first?.concreteShape(),
            weights.rank > 0, let product = try? output.count.multiplied(by: weights.count(1...))
        else { return 0 }
        return product
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        try context.type(0).visitReal(Preparation(node: self, context: context))
    }

    /// Positions of the output that one step of work computes: their columns stay in the cache.
    private static let tile = 64

    private struct Preparation: RealVisitor {
        let node: DeformConvOperator
        let context: PrepareContext

        func visit<T: Element>(_: T.Type) throws -> any PreparedNode where T.Number: Real {
            let x = try context.shape(0), w = try context.shape(1), output = try context.outputShape(0)
            if output.count == 0 { return PreparedKernel("nothing") { _ in } }
            let axes = x.rank - 2, group = node.group, offsetGroup = node.offsetGroup
            let positions = output.count(2...), taps = w.count(2...), plane = x.count(2...)
            let channels = x[1], groupInputs = w[1], groupOutputs = w[0] / group, outputs = w[0]
            let channelsPerOffset = max(1, channels / offsetGroup)
            let grid = SamplingGrid(
                input: Array(x.dimensions[2...]), output: Array(output.dimensions[2...]), kernel: Array(w.dimensions[2...]),
                strides: node.strides ?? [Int](repeating: 1, count: axes), dilations: node.dilations ?? [Int](repeating: 1, count: axes),
                pads: node.pads ?? [Int](repeating: 0, count: 2 * axes))
            let tiles = (positions - 1) / DeformConvOperator.tile + 1
            let steps = x[0] * group * tiles, parts = max(1, min(steps, context.threads))
            let columns = try groupInputs.multiplied(by: taps).multiplied(by: DeformConvOperator.tile)
            let scratch = try columns.adding(DeformConvOperator.tile)
            let hasBias = context.has(3), hasMask = context.has(4)
            let bytes = try scratch.multiplied(by: parts).multiplied(by: MemoryLayout<T.Number>.stride)
            return PreparedKernel("deform_conv", workspace: bytes) { io in
                let source = io.input(0, as: T.self), weights = io.input(1, as: T.self), offsets = io.input(2, as: T.self)
                let bias = hasBias ? io.input(3, as: T.self) : nil, mask = hasMask ? io.input(4, as: T.self) : nil
                let target = io.output(0, as: T.self)
                let workspace = io.workspace.assumingMemoryBound(to: T.Number.self)
                io.pool.inParts(steps, parts) { part, range in
                    let matrix = workspace + part * scratch, sums = matrix + columns
                    for step in range {
                        let first = step % tiles * DeformConvOperator.tile, count = min(DeformConvOperator.tile, positions - first)
                        let image = step / tiles / group, g = step / tiles % group
                        for c in 0..<groupInputs {
                            let channel = g * groupInputs + c, offsetBase = image * offsetGroup + channel / channelsPerOffset
                            for tap in 0..<taps {
                                let place = offsetBase * taps + tap
                                let row = matrix + (c * taps + tap) * DeformConvOperator.tile
                                for p in 0..<count {
                                    var value = grid.sample(
                                        source + (image * channels + channel) * plane, offsets + place * axes * positions, positions,
                                        tap: tap, position: first + p)
                                    if let mask { value *= mask[place * positions + first + p].number }
                                    row[p] = value
                                }
                            }
                        }
                        for o in 0..<groupOutputs {
                            let out = g * groupOutputs + o, kernel = weights + out * groupInputs * taps
                            sums.update(repeating: bias?[out].number ?? 0, count: count)
                            for k in 0..<groupInputs * taps {
                                let factor = kernel[k].number, row = matrix + k * DeformConvOperator.tile
                                for p in 0..<count { sums[p] += factor * row[p] }
                            }
                            let line = target + (image * outputs + out) * positions + first
                            for p in 0..<count { line[p] = T(rounding: sums[p]) }
                        }
                    }
                }
            }
        }
    }
}

/// Where the taps of a deformed kernel lie.
private struct SamplingGrid: Sendable {
    let input: [Int]
    let output: [Int]
    let kernel: [Int]
    let strides: [Int]
    let dilations: [Int]
    let pads: [Int]

    /// The input at one tap of the kernel for one position of the output. `offsets` holds one number for each axis, each
    /// `offsetStride` elements after the one before, at this tap; it is read at `position`.
    func sample<T: Element>(
        _ plane: UnsafePointer<T>, _ offsets: UnsafePointer<T>, _ offsetStride: Int, tap: Int, position: Int
    ) -> T.Number where T.Number: Real {
        let axes = input.count
        return withUnsafeTemporaryAllocation(of: T.Number.self, capacity: 8) { fractions in
            withUnsafeTemporaryAllocation(of: Int.self, capacity: 8) { floors in
                var tap = tap, place = position
                for axis in stride(from: axes - 1, through: 0, by: -1) {
                    let steps = place % output[axis] * strides[axis] + tap % kernel[axis] * dilations[axis] - pads[axis]
                    tap /= kernel[axis]
                    place /= output[axis]
                    let coordinate = T.Number(steps) + offsets[axis * offsetStride + position].number
                    // Also false for what is not a number.
                    guard coordinate > -1, coordinate < T.Number(input[axis]) else { return 0 }
                    let floor = coordinate.rounded(.down)
                    floors[axis] = Int(floor)
                    fractions[axis] = coordinate - floor
                }
                var sum = T.Number.zero
                for corner in 0..<(1 << axes) {
                    var weight: T.Number = 1, index = 0, isInside = true
                    for axis in 0..<axes {
                        let upper = corner >> axis & 1
                        weight *= upper == 1 ? fractions[axis] : 1 - fractions[axis]
                        let coordinate = floors[axis] + upper
                        isInside = isInside && coordinate >= 0 && coordinate < input[axis]
                        index = index &* input[axis] &+ coordinate
                    }
                    if isInside { sum += weight * plane[index].number }
                }
                return sum
            }
        }
    }
}
