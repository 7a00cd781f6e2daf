import ApusCore

/// Broadcasts the input with a shape.
struct ExpandOperator: Operator {
    static let schemas = [Schema("Expand", since: [8, 13], inputs: 2...2)]

    init(_ node: NodeReader) throws {}

    var parameterInputs: [Int] { [1] }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0)
        guard let wanted = try context.dimensionsParameter(1) else { return [ValueInfo(type, .unknown)] }
        for dimension in wanted {
            if let size = dimension.known, size < 0 { throw ApusError(.shapeMismatch, "the shape has the negative dimension \(size)") }
        }
        let shape = try PartialShape.broadcast([try context.shape(0), PartialShape(wanted)])
        var info = ValueInfo(type, shape)
        if let dimensions = shape.dimensions, dimensions.count <= 1, let elements = try context.smallElements(0) {
            if let count = dimensions.first?.known, count <= InferenceContext.mostElements, elements.count == 1 {
                info.elements = [Dimension](repeating: elements[0], count: count)
            } else if dimensions.first?.known ?? 1 == elements.count {
                info.elements = elements
            }
        }
        return [info]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.type(0)
        let output = try context.outputShape(0)
        let strides = try context.shape(0).broadcastStrides(to: output)
        let copy = StridedCopy(toContiguous: output.dimensions, source: strides, width: context.movedWidth(type))
        return try context.movement("expand", type, inputs: [0]) { access in
            copy.run(from: access.input(0), to: access.output(0), pool: access.io.pool)
        }
    }
}

/// Repeats the input along its axes.
struct TileOperator: Operator {
    static let schemas = [Schema("Tile", since: [1, 6, 13], inputs: 2...3)]

    /// Opset 1: how often and along which axis, as scalars of the data's type.
    private let takesAxis: Bool

    init(_ node: NodeReader) throws {
        takesAxis = node.opset < 6
        guard takesAxis == node.hasInput(2) else {
            throw ApusError(.invalidModel, "Tile of opset \(node.opset) takes \(takesAxis ? 3 : 2) inputs, found \(node.inputCount)")
        }
    }

    var parameterInputs: [Int] { takesAxis ? [1, 2] : [1] }

    /// By axis of an input of `rank` axes; nil where unknown.
    private func repeats(rank: Int, _ constant: (Int) throws -> Tensor?) throws -> [Int]? {
        guard let first = try constant(1) else { return nil }
        let repeats: [Int]
        if takesAxis {
            guard let second = try constant(2) else { return nil }
            let axis = try normalizedAxis(try TileOperator.number(second), rank: rank)
            var all = [Int](repeating: 1, count: rank)
            all[axis] = try TileOperator.number(first)
            repeats = all
        } else {
            repeats = try first.integers()
        }
        guard repeats.count == rank else {
            throw ApusError(.shapeMismatch, "repeats has \(repeats.count) numbers for an input of rank \(rank)")
        }
        if let negative = repeats.first(where: { $0 < 0 }) { throw ApusError(.invalidValue, "repeats has the negative number \(negative)") }
        return repeats
    }

    private static func number(_ tensor: Tensor) throws -> Int {
        guard tensor.count == 1 else { throw ApusError(.shapeMismatch, "a scalar expected, found shape \(tensor.shape)") }
        let value: Double
        switch tensor.type {
        case .float32: value = Double(tensor.array(Float.self)[0])
        case .float64: value = tensor.array(Double.self)[0]
        case .float16: value = Double(Half(bits: tensor.array(UInt16.self)[0]).number)
        default: return try tensor.integers()[0]
        }
        guard let number = Int(exactly: value) else { throw ApusError(.invalidValue, "a whole number expected, found \(value)") }
        return number
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0)
        if !takesAxis { _ = try context.dimensionsParameter(1) }
        let shape = try context.shape(0)
        guard let dimensions = shape.dimensions else { return [ValueInfo(type, .unknown)] }
        let repeats: [Dimension]
        if let known = try self.repeats(rank: dimensions.count, { try context.optional($0)?.constant?.asTensor() }) {
            repeats = known.map(Dimension.known)
        } else if !takesAxis, let elements = try context.smallElementsOrUnknown(1), elements.count == dimensions.count {
            repeats = elements
        } else {
            return [ValueInfo(type, .ofRank(dimensions.count))]
        }
        let tiled = try zip(dimensions, repeats).map { dimension, count -> Dimension in
            guard let a = dimension.known, let b = count.known else { return dimension * count }
            return .known(try checkedProduct([a, b]))
        }
        var info = ValueInfo(type, PartialShape(tiled))
        if dimensions.count <= 1, let elements = try context.smallElements(0), let count = (repeats.first ?? .known(1)).known,
            count >= 0, let total = try? count.multiplied(by: elements.count), total <= InferenceContext.mostElements
        {
            info.elements = (0..<count).flatMap { _ in elements }
        }
        return [info]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.type(0)
        let shape = try context.shape(0)
        let output = try context.outputShape(0)
        let strides = shape.strides
        guard let repeats = try self.repeats(rank: shape.rank, context.constant) else {
            throw ApusError(.internal, "the repeats are not known")
        }
        let extents = output.count == 0 ? [0] : zip(repeats, shape.dimensions).flatMap { [$0, $1] }
        let copy = StridedCopy(
            toContiguous: extents, source: output.count == 0 ? [0] : strides.flatMap { [0, $0] }, width: context.movedWidth(type))
        return try context.movement("tile", type, inputs: [0]) { access in
            copy.run(from: access.input(0), to: access.output(0), pool: access.io.pool)
        }
    }
}
