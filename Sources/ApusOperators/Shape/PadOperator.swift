import ApusCore

/// Surrounds the input with constants, its mirror image, its edge or itself; negative pads cut off.
struct PadOperator: Operator {
    static let schemas = [
        Schema("Pad", since: [1, 2, 11, 13, 18, 19, 21, 23, 24, 25], inputs: 1...4),
        Schema("Pad", domain: "com.microsoft", since: [1], inputs: 2...3),
    ]

    private enum Mode: String {
        case constant, reflect, edge, wrap
    }

    private let mode: Mode
    /// Before opset 11.
    private let attributePads: [Int]?
    private let attributeValue: Float

    /// com.microsoft.Pad also takes its pads as a matrix of one row.
    private let takesRow: Bool

    init(_ node: NodeReader) throws {
        takesRow = !node.domain.isEmpty
        let opset = takesRow ? 18 : node.opset
        let modes = opset >= 19 ? ["constant", "reflect", "edge", "wrap"] : ["constant", "reflect", "edge"]
        mode = Mode(rawValue: try node.choice("mode", of: modes, default: "constant")) ?? .constant
        guard opset < 11 else {
            attributePads = nil
            attributeValue = 0
            guard opset >= 18 || !node.hasInput(3) else {
                throw ApusError(.invalidModel, "Pad of opset \(node.opset) takes 2 to 3 inputs, found 4")
            }
            return
        }
        attributePads = try node.ints(node.opset < 2 ? "paddings" : "pads")
        attributeValue = try node.float("value", default: 0)
        guard node.inputCount == 1 else {
            throw ApusError(.invalidModel, "Pad of opset \(node.opset) takes 1 input, found \(node.inputCount)")
        }
    }

    var parameterInputs: [Int] { attributePads == nil ? [1, 3] : [] }

    /// How much is added before and after each of `rank` axes; nil where that is not known yet.
    private func pads(rank: Int, _ pads: [Dimension]?, _ axes: [Int]?) throws -> [(before: Dimension, after: Dimension)]? {
        guard let pads else { return nil }
        let axes = try normalizedAxes(axes ?? Array(0..<rank), rank: rank)
        guard pads.count == 2 * axes.count else {
            throw ApusError(.shapeMismatch, "pads has \(pads.count) numbers, 2 for each of \(axes.count) axes expected")
        }
        var result = [(before: Dimension, after: Dimension)](repeating: (.known(0), .known(0)), count: rank)
        for (position, axis) in axes.enumerated() { result[axis] = (pads[position], pads[position + axes.count]) }
        return result
    }

    /// Pads of shape [1, 2 * rank].
    private func row(_ context: InferenceContext) throws -> [Dimension]? {
        guard try context.type(1) == .int64, try context.shape(1).dimensions?.first?.known ?? 1 == 1 else {
            throw ApusError(.shapeMismatch, "input 1 must be a vector or have one row, found shape \(try context.shape(1))")
        }
        return try context.integers(1)?.map(Dimension.known)
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0)
        var pads = attributePads?.map(Dimension.known)
        var axes: [Int]?
        if attributePads == nil {
            pads = try takesRow && context.shape(1).rank == 2 ? row(context) : context.dimensionsParameter(1)
            if context.has(2) {
                _ = try context.commonType([0, 2])
                if let shape = try context.shape(2).concrete(), shape.count != 1 {
                    throw ApusError(.shapeMismatch, "constant_value must be one element, found shape \(shape)")
                }
            }
            let given = try context.integerVector(3)
            if given.isPresent, given.values == nil { pads = nil }
            axes = given.values
        }
        let shape = try context.shape(0)
        guard let dimensions = shape.dimensions else { return [ValueInfo(type, .unknown)] }
        guard let pads = try self.pads(rank: dimensions.count, pads, axes) else { return [ValueInfo(type, .ofRank(dimensions.count))] }
        let padded = try zip(dimensions, pads).enumerated().map { axis, item -> Dimension in
            let (size, pad) = item
            if let size = size.known, let before = pad.before.known, let after = pad.after.known {
                let total = try size.adding(before).adding(after)
                guard total >= 0 else {
                    throw ApusError(.shapeMismatch, "pads \(before) and \(after) leave less than nothing of axis \(axis) of shape \(shape)")
                }
                if mode != .constant { _ = try AxisMap(size: size, before: before, after: after, mode: mode.rawValue) }
                return .known(total)
            }
            return size + pad.before + pad.after
        }
        return [ValueInfo(type, PartialShape(padded))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.type(0)
        let width = context.movedWidth(type)
        let input = try context.shape(0)
        let output = try context.outputShape(0)
        let given = try attributePads ?? context.integers(1) ?? []
        guard let pads = try self.pads(rank: input.rank, given.map(Dimension.known), try context.integers(3)) else {
            throw ApusError(.internal, "the pads are not known")
        }
        let before = pads.map { $0.before.known ?? 0 }
        if mode == .constant {
            let frame = FramedCopy(input: input, output: output, before: before, width: width)
            let hasValue = context.has(2)
            let value = try PadOperator.bits(attributeValue, type)
            return try context.movement("pad", type, inputs: hasValue ? [0, 2] : [0]) { access in
                withUnsafeBytes(of: value) { bits in
                    let constant = hasValue ? access.input(2) : bits.baseAddress
                    if let constant { frame.run(from: access.input(0), frame: constant, to: access.output(0), pool: access.io.pool) }
                }
            }
        }
        let maps = try zip(0..., pads).map { axis, pad in
            try AxisMap(size: input[axis], before: pad.before.known ?? 0, after: pad.after.known ?? 0, mode: mode.rawValue)
        }
        let strides = input.strides
        return try context.movement("pad_\(mode.rawValue)", type, inputs: [0]) { access in
            if output.count == 0 { return }
            let job = Mapping(
                source: access.input(0), target: access.output(0), output: output, strides: strides, maps: maps, pool: access.io.pool)
            withWidth(width, job)
        }
    }

    /// The bytes of `value` as an element of `type`: 0, except in the opsets whose value is an attribute.
    private static func bits(_ value: Float, _ type: ElementType) throws -> (UInt64, UInt64) {
        guard value != 0 else { return (0, 0) }
        return (try type.visit(Encoding(value: value)), 0)
    }

    private struct Encoding: ElementVisitor {
        let value: Float

        func visit<T: Element>(_: T.Type) throws -> UInt64 {
            var bits: UInt64 = 0
            withUnsafeMutableBytes(of: &bits) { $0.storeBytes(of: T(rounding: T.Number(converting: Double(value))), as: T.self) }
            return bits
        }
    }

    /// Copies elements from where one map for each axis says.
    private struct Mapping: WidthVisitor {
        let source: UnsafeRawPointer
        let target: UnsafeMutableRawPointer
        let output: Shape
        let strides: [Int]
        let maps: [AxisMap]
        let pool: ThreadPool

        func visit<T: BitwiseCopyable>(_: T.Type) {
            let source = source.assumingMemoryBound(to: T.self)
            let target = target.assumingMemoryBound(to: T.self)
            guard let last = maps.last else {
                target[0] = source[0]
                return
            }
            let rank = output.rank
            let length = output[rank - 1]
            let rows = output.count / max(1, length)
            pool.inChunks(rows, of: max(1, 16384 / max(1, length))) { range in
                for row in range {
                    var rest = row
                    var offset = 0
                    for axis in stride(from: rank - 2, through: 0, by: -1) {
                        offset = offset &+ maps[axis].source(of: rest % output[axis]) &* strides[axis]
                        rest /= output[axis]
                    }
                    let from = source + offset
                    let to = target + row &* length
                    let middle = last.copied
                    for column in 0..<middle.lowerBound { to[column] = from[last.source(of: column)] }
                    (to + middle.lowerBound).update(from: from + last.first, count: middle.count)
                    for column in middle.upperBound..<length { to[column] = from[last.source(of: column)] }
                }
            }
        }
    }
}

/// Which element of an axis each element of the padded axis repeats.
struct AxisMap {
    private enum Mode {
        case reflect, edge, wrap
    }

    /// The first element that is kept, and how many are.
    let first: Int
    private let kept: Int
    private let before: Int
    private let mode: Mode

    /// The part of the padded axis that is a plain copy.
    var copied: Range<Int> { before..<before + kept }

    /// Throws where there is not enough to repeat.
    init(size: Int, before: Int, after: Int, mode: String) throws {
        first = max(0, 0 - before)
        kept = max(0, size - first - max(0, 0 - after))
        self.before = max(0, before)
        self.mode = mode == "reflect" ? .reflect : mode == "edge" ? .edge : .wrap
        let most = max(before, after)
        guard most <= 0 || (kept > 0 && (mode != "reflect" || most < kept)) else {
            throw ApusError(.shapeMismatch, "mode \"\(mode)\" cannot pad an axis of size \(kept) by \(before) and \(after)")
        }
    }

    @inline(__always)
    func source(of position: Int) -> Int {
        var index = position &- before
        if index < 0 {
            switch mode {
            case .reflect: index = 0 &- index
            case .edge: index = 0
            case .wrap: index = kept &- 1 &- (0 &- index &- 1) % kept
            }
        } else if index >= kept {
            switch mode {
            case .reflect: index = 2 &* (kept &- 1) &- index
            case .edge: index = kept &- 1
            case .wrap: index %= kept
            }
        }
        return first &+ index
    }
}

/// A copy of a box with a frame of one repeated element around it.
struct FramedCopy {
    private let box: StridedCopy
    private let frame: [StridedCopy]

    /// `before`: elements of frame before the box along each axis; negative ones are cut off the box.
    init(input: Shape, output: Shape, before: [Int], width: Int) {
        let rank = input.rank
        let from = input.strides, to = output.strides
        let starts = before.map { max(0, $0) }
        let cuts = before.map { max(0, 0 - $0) }
        let extents = (0..<rank).map { max(0, min(input[$0] - cuts[$0], output[$0] - starts[$0])) }
        var offset = 0, place = 0
        for axis in 0..<rank {
            offset = offset &+ cuts[axis] &* from[axis]
            place = place &+ starts[axis] &* to[axis]
        }
        let nothing = [Int](repeating: 0, count: rank)
        if extents.contains(0) {
            box = StridedCopy(extents: [0], source: [0], target: [0], width: width)
            frame = [StridedCopy(extents: output.dimensions, source: nothing, target: to, width: width)]
            return
        }
        box = StridedCopy(extents: extents, source: from, target: to, sourceStart: offset, targetStart: place, width: width)
        var frame: [StridedCopy] = []
        var start = 0
        for axis in 0..<rank {
            // Beside the box along this axis; inside of it along the axes before, everywhere along those after.
            func side(_ first: Int, _ count: Int) {
                guard count > 0 else { return }
                let sides = Array(extents[..<axis]) + [count] + output.dimensions[(axis + 1)...]
                frame.append(
                    StridedCopy(extents: sides, source: nothing, target: to, targetStart: start &+ first &* to[axis], width: width))
            }
            side(0, starts[axis])
            side(starts[axis] + extents[axis], output[axis] - starts[axis] - extents[axis])
            start = start &+ starts[axis] &* to[axis]
        }
        self.frame = frame
    }

    func run(from source: UnsafeRawPointer, frame element: UnsafeRawPointer, to target: UnsafeMutableRawPointer, pool: ThreadPool) {
        for part in frame { part.run(from: element, to: target, pool: pool) }
        box.run(from: source, to: target, pool: pool)
    }
}

/// Cuts or pads the input with zeros on both sides alike to a given size.
struct CenterCropPadOperator: Operator {
    static let schemas = [Schema("CenterCropPad", since: [18], inputs: 2...2)]

    private let axes: [Int]?

    init(_ node: NodeReader) throws {
        axes = try node.optionalInts("axes")
    }

    var parameterInputs: [Int] { [1] }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0)
        let wanted = try context.dimensionsParameter(1, allowsInt32: true)
        guard var dimensions = try context.shape(0).dimensions else { return [ValueInfo(type, .unknown)] }
        let axes = try normalizedAxes(axes ?? Array(0..<dimensions.count), rank: dimensions.count)
        guard let wanted else {
            for axis in axes { dimensions[axis] = .unknown }
            return [ValueInfo(type, PartialShape(dimensions))]
        }
        guard wanted.count == axes.count else {
            throw ApusError(.shapeMismatch, "shape has \(wanted.count) numbers for \(axes.count) axes")
        }
        for (axis, size) in zip(axes, wanted) {
            if let size = size.known, size < 0 { throw ApusError(.shapeMismatch, "the shape has the negative dimension \(size)") }
            dimensions[axis] = size
        }
        return [ValueInfo(type, PartialShape(dimensions))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.type(0)
        let width = context.movedWidth(type)
        let input = try context.shape(0)
        let output = try context.outputShape(0)
        let before = zip(input.dimensions, output.dimensions).map { from, to in
            to >= from ? (to - from) / 2 : -((from - to) / 2)
        }
        let frame = FramedCopy(input: input, output: output, before: before, width: width)
        return try context.movement("center_crop_pad", type, inputs: [0]) { access in
            withUnsafeBytes(of: (UInt64(0), UInt64(0))) { zero in
                if let zero = zero.baseAddress {
                    frame.run(from: access.input(0), frame: zero, to: access.output(0), pool: access.io.pool)
                }
            }
        }
    }
}
