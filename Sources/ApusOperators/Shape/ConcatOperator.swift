import ApusCore

/// Joins tensors along one axis.
struct ConcatOperator: Operator {
    static let schemas = [Schema("Concat", since: [1, 4, 11, 13], inputs: 1...Int.max)]

    private let axis: Int

    init(_ node: NodeReader) throws {
        axis = node.opset < 4 ? try node.int("axis", default: 1) : try node.int("axis")
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        for index in context.inputs.indices { _ = try context.input(index) }
        let type = try context.commonType(context.inputs.indices)
        let shapes = try context.inputs.indices.map { try context.shape($0) }
        let shape = try ConcatOperator.joined(shapes, axis: axis)
        var info = ValueInfo(type, shape)
        if shape.rank == 1 {
            var elements: [Dimension] = []
            for index in context.inputs.indices {
                guard let part = try context.smallElementsOrUnknown(index), elements.count <= InferenceContext.mostElements
                else { return [info] }
                elements += part
            }
            info.elements = elements
        }
        return [info]
    }

    /// The shape of tensors of `shapes` joined along `axis`.
    static func joined(_ shapes: [PartialShape], axis: Int) throws -> PartialShape {
        guard let known = shapes.first(where: { $0.rank != nil }), let rank = known.rank else { return .unknown }
        let axis = try normalizedAxis(axis, rank: rank)
        var result = [Dimension](repeating: .unknown, count: rank)
        result[axis] = .known(0)
        for shape in shapes {
            guard let dimensions = shape.dimensions else {
                result[axis] = .unknown
                continue
            }
            guard dimensions.count == rank else { throw mismatch(shapes, axis) }
            for (index, dimension) in dimensions.enumerated() {
                if index == axis {
                    result[axis] = result[axis] + dimension
                } else if case .known(let size) = dimension {
                    if let other = result[index].known, other != size { throw mismatch(shapes, axis) }
                    result[index] = dimension
                } else if result[index] == .unknown {
                    result[index] = dimension
                }
            }
        }
        return PartialShape(result)
    }

    private static func mismatch(_ shapes: [PartialShape], _ axis: Int) -> ApusError {
        let text = shapes.prefix(8).map(\.description).joined(separator: ", ") + (shapes.count > 8 ? ", …" : "")
        return ApusError(.shapeMismatch, "tensors of shapes \(text) cannot be joined along axis \(axis)")
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.outputType(0)
        let width = context.movedWidth(type)
        let output = try context.outputShape(0)
        let axis = try normalizedAxis(axis, rank: output.rank)
        let outer = output.count(0..<axis)
        let row = output.count(axis...)
        var start = 0
        let copies = try context.inputs.indices.map { index in
            let part = try context.shape(index).count(axis...)
            defer { start &+= part }
            return StridedCopy(extents: [outer, part], source: [part, 1], target: [row, 1], targetStart: start, width: width)
        }
        return try context.movement("concat", type, inputs: Array(copies.indices)) { access in
            for index in copies.indices {
                copies[index].run(from: access.input(index), to: access.output(0), pool: access.io.pool)
            }
        }
    }
}
