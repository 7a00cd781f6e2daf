import ApusCore

/// For each index a vector of `depth` elements that are off, except the one the index names.
struct OneHotOperator: Operator {
    static let schemas = [Schema("OneHot", since: [9, 11, 28], inputs: 3...3)]

    private let axis: Int

    init(_ node: NodeReader) throws {
        axis = try node.int("axis", default: -1)
    }

    var parameterInputs: [Int] { [1] }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(2)
        _ = try context.type(0).visit(Reading())
        _ = try context.type(1).visit(Reading())
        if let shape = try context.shape(1).concrete(), shape.count != 1 {
            throw ApusError(.shapeMismatch, "depth must be one number, found shape \(shape)")
        }
        if let values = try context.shape(2).dimensions, values.count != 1 || (values[0].known ?? 2) != 2 {
            throw ApusError(.shapeMismatch, "values must be [off, on], found shape \(PartialShape(values))")
        }
        var depth = Dimension.unknown
        if let constant = context.optional(1)?.constant {
            depth = .known(try OneHotOperator.depth(try constant.asTensor()))
        } else if let element = try context.smallElements(1)?.first {
            depth = element
        }
        guard var dimensions = try context.shape(0).dimensions else { return [ValueInfo(type, .unknown)] }
        dimensions.insert(depth, at: try normalizedAxis(axis, rank: dimensions.count + 1))
        return [ValueInfo(type, PartialShape(dimensions))]
    }

    private static func depth(_ tensor: Tensor) throws -> Int {
        var depth = 0
        try tensor.type.visit(Reading())(tensor.pointer, &depth, 1)
        guard depth >= 0 else { throw ApusError(.invalidValue, "depth \(depth) is negative") }
        return depth
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.type(2)
        let width = context.movedWidth(type)
        let indices = try context.shape(0)
        let output = try context.outputShape(0)
        let axis = try normalizedAxis(axis, rank: output.rank)
        let depth = output[axis]
        let outer = indices.count(0..<axis), inner = indices.count(axis...)
        let read = try context.type(0).visit(Reading())
        let total = output.count
        return try context.movement("one_hot", type, inputs: [2], workspace: try indices.count.multiplied(by: 8)) { access in
            if total == 0 { return }
            let numbers = access.workspace.bindMemory(to: Int.self, capacity: indices.count)
            read(access.io.input(0), numbers, indices.count)
            let values = access.input(2)
            let target = access.output(0)
            fill(target, count: total, width: width, with: values)
            for part in 0..<outer {
                for place in 0..<inner {
                    let index = numbers[part &* inner &+ place]
                    let counted = index < 0 ? index &+ depth : index
                    guard counted >= 0, counted < depth else { continue }
                    (target + ((part &* depth &+ counted) &* inner &+ place) &* width).copyMemory(
                        from: values + width, byteCount: width)
                }
            }
        }
    }

    /// Numbers of any type as integers, cut off after the point.
    private struct Reading: ElementVisitor {
        func visit<T: Element>(_: T.Type) throws -> @Sendable (UnsafeRawPointer, UnsafeMutablePointer<Int>, Int) -> Void {
            { source, target, count in
                let source = source.assumingMemoryBound(to: T.self)
                for index in 0..<count { target[index] = Int(source[index].number.int64) }
            }
        }
    }
}
