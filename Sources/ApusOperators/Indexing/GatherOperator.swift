import ApusCore

/// Takes slices of the data at indices along one axis: rows of a table, elements of a shape.
struct GatherOperator: Operator {
    static let schemas = [Schema("Gather", since: [1, 11, 13], inputs: 2...2)]

    private let axis: Int

    init(_ node: NodeReader) throws {
        axis = try node.int("axis", default: 0)
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0)
        _ = try context.type(1, oneOf: indexTypes)
        let indices = try context.shape(1)
        guard let data = try context.shape(0).dimensions else { return [ValueInfo(type, .unknown)] }
        let axis = try normalizedAxis(axis, rank: data.count)
        guard let places = indices.dimensions else { return [ValueInfo(type, .unknown)] }
        var info = ValueInfo(type, PartialShape(data[..<axis] + places + data[(axis + 1)...]))
        if data.count == 1, places.count <= 1, let elements = try context.smallElements(0),
            let chosen = try context.smallElements(1)?.map(\.known), chosen.allSatisfy({ $0 != nil })
        {
            info.elements = try chosen.compactMap { $0 }.map { index in
                let counted = index < 0 ? index &+ elements.count : index
                guard elements.indices.contains(counted) else { throw ApusError.outOfRange(index, elements.count) }
                return elements[counted]
            }
        }
        return [info]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.type(0)
        let indexType = try context.type(1)
        let width = context.movedWidth(type)
        let data = try context.shape(0)
        let axis = try normalizedAxis(axis, rank: data.rank)
        let size = data[axis]
        let count = try context.shape(1).count
        let isEmpty = try context.outputShape(0).count == 0
        let outer = isEmpty ? 0 : data.count(0..<axis)
        let block = isEmpty ? 0 : data.count((axis + 1)...) &* width
        let plane = size &* block
        // How the work is cut depends on shapes only.
        let perTask = max(1, 32768 / max(1, block))
        let tasksPerPlane = (count + perTask - 1) / perTask
        return try context.movement("gather", type, inputs: [0]) { access in
            let indices = IndexReader(access.io.input(1), indexType)
            for position in 0..<count { _ = try indices.checked(position, size: size) }
            let source = access.input(0)
            let target = access.output(0)
            access.io.pool.parallel(outer &* tasksPerPlane) { task in
                let part = task / tasksPerPlane
                let first = task % tasksPerPlane &* perTask
                let from = source + part &* plane
                let to = target + (part &* count &+ first) &* block
                let range = first..<min(count, first &+ perTask)
                if !withWidth(
                    block, Picking(source: from, target: to, indices: indices, range: range, size: size))
                {
                    for position in range {
                        let index = indices[position]
                        (to + (position &- first) &* block).copyMemory(
                            from: from + (index < 0 ? index &+ size : index) &* block, byteCount: block)
                    }
                }
            }
        }
    }

    /// Blocks of the size of a machine word.
    private struct Picking: WidthVisitor {
        let source: UnsafeRawPointer
        let target: UnsafeMutableRawPointer
        let indices: IndexReader
        let range: Range<Int>
        let size: Int

        func visit<T: BitwiseCopyable>(_: T.Type) {
            let width = MemoryLayout<T>.stride
            var to = target
            for position in range {
                let index = indices[position]
                let value = source.loadUnaligned(fromByteOffset: (index < 0 ? index &+ size : index) &* width, as: T.self)
                to.storeBytes(of: value, as: T.self)
                to += width
            }
        }
    }
}
