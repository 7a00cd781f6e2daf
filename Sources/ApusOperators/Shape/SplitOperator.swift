import ApusCore

/// Cuts a tensor along one axis into as many parts as there are outputs.
struct SplitOperator: Operator {
    static let schemas = [Schema("Split", since: [1, 2, 11, 13, 18], inputs: 1...2, outputs: 1...Int.max)]

    private enum Sizes {
        /// The first parts rounded up, the last smaller (opset 18), or all the same.
        case equal(roundsUp: Bool)
        case given([Int])
        case input
    }

    private let axis: Int
    private let sizes: Sizes

    init(_ node: NodeReader) throws {
        axis = try node.int("axis", default: 0)
        let attribute = node.opset < 13 ? try node.optionalInts("split") : nil
        let count = node.opset >= 18 ? try node.optionalInt("num_outputs") : nil
        if let count, count != node.outputCount {
            throw ApusError(.invalidModel, "num_outputs is \(count), but the node has \(node.outputCount) outputs")
        }
        if node.hasInput(1) {
            guard node.opset == 1 || node.opset >= 13 else {
                throw ApusError(.invalidModel, "Split of opset \(node.opset) takes 1 input, found 2")
            }
            guard count == nil else { throw ApusError(.invalidModel, "Split has both input \"split\" and num_outputs") }
            sizes = .input
        } else if let attribute, !attribute.isEmpty {
            sizes = .given(attribute)
        } else {
            sizes = .equal(roundsUp: node.opset >= 18)
        }
    }

    var parameterInputs: [Int] {
        if case .input = sizes { return [1] }
        return []
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0)
        let shape = try context.shape(0)
        guard let dimensions = shape.dimensions else {
            return [ValueInfo](repeating: ValueInfo(type, .unknown), count: context.outputCount)
        }
        let axis = try normalizedAxis(axis, rank: dimensions.count)
        let parts = try parts(of: dimensions[axis], context)
        var elements = dimensions.count == 1 ? try context.smallElements(0) : nil
        return parts.map { part in
            var dimensions = dimensions
            dimensions[axis] = part
            var info = ValueInfo(type, PartialShape(dimensions))
            if let known = elements, let size = part.known, size <= known.count {
                info.elements = Array(known.prefix(size))
                elements = Array(known.dropFirst(size))
            } else {
                elements = nil
            }
            return info
        }
    }

    private func parts(of dimension: Dimension, _ context: InferenceContext) throws -> [Dimension] {
        let count = context.outputCount
        let sizes: [Dimension]
        switch self.sizes {
        case .given(let given): sizes = given.map(Dimension.known)
        case .input:
            guard let given = try givenSizes(context) else { return [Dimension](repeating: .unknown, count: count) }
            sizes = given
        case .equal(let roundsUp):
            guard let size = dimension.known else {
                let part = dimension.dividedExactly(by: .known(count))
                return [Dimension](repeating: part ?? .unknown, count: count)
            }
            let part = size / count + (size % count == 0 ? 0 : 1)
            let last = size - part * (count - 1)
            guard last >= 0, roundsUp || last == part else {
                throw ApusError(.shapeMismatch, "axis \(axis) of size \(size) cannot be split into \(count) parts")
            }
            return [Dimension](repeating: .known(part), count: count - 1) + [.known(last)]
        }
        guard sizes.count == count else {
            throw ApusError(.shapeMismatch, "split has \(sizes.count) sizes for \(count) outputs")
        }
        var total = Dimension.known(0)
        for size in sizes {
            if let known = size.known, known < 0 { throw ApusError(.shapeMismatch, "split has the negative size \(known)") }
            total = total + size
        }
        if let known = dimension.known, sizes.allSatisfy({ $0.known != nil }), total != .known(known) {
            throw ApusError(.shapeMismatch, "the sizes of split sum up to \(total), but axis \(axis) has size \(known)")
        }
        return sizes
    }

    private func givenSizes(_ context: InferenceContext) throws -> [Dimension]? {
        guard let constant = context.optional(1)?.constant, case .tensor(let tensor) = constant, tensor.type == .float32 else {
            return try context.smallElements(1)
        }
        // Opset 1: sizes of the type of the data.
        return try tensor.array(Float.self).map {
            guard let size = Int(exactly: $0) else { throw ApusError(.invalidValue, "split has the size \($0)") }
            return .known(size)
        }
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.type(0)
        let width = context.movedWidth(type)
        let shape = try context.shape(0)
        let axis = try normalizedAxis(axis, rank: shape.rank)
        let outer = shape.count(0..<axis)
        let row = shape.count(axis...)
        var start = 0
        let copies = try context.outputs.indices.map { index in
            let part = try context.outputShape(index).count(axis...)
            defer { start &+= part }
            return StridedCopy(extents: [outer, part], source: [row, 1], target: [part, 1], sourceStart: start, width: width)
        }
        return try context.movement("split", type, inputs: [0], outputs: Array(copies.indices)) { access in
            for index in copies.indices where access.io.hasOutput(index) {
                copies[index].run(from: access.input(0), to: access.output(index), pool: access.io.pool)
            }
        }
    }
}
