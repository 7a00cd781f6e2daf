import ApusCore

/// The k largest (or smallest) elements along an axis, in order, with their positions; equal ones by position.
struct TopKOperator: Operator {
    static let schemas = [Schema("TopK", since: [1, 10, 11, 24], inputs: 1...2, outputs: 1...2)]

    private let axis: Int
    private let attributeCount: Int?
    private let largest: Bool

    init(_ node: NodeReader) throws {
        axis = try node.int("axis", default: -1)
        attributeCount = node.opset < 10 ? try node.int("k") : nil
        guard attributeCount == nil || !node.hasInput(1) else {
            throw ApusError(.invalidModel, "TopK of opset \(node.opset) takes 1 input, found 2")
        }
        largest = node.opset >= 11 ? try node.bool("largest", default: true) : true
        // Any order is right where none is asked for.
        if node.opset >= 11 { _ = try node.bool("sorted", default: true) }
    }

    var parameterInputs: [Int] { attributeCount == nil ? [1] : [] }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0)
        guard type.isInteger || type.isFloatingPoint, (type.byteWidth ?? 0) > 1 || type == .int8 || type == .uint8 else {
            throw ApusError(.typeMismatch, "elements of type \(type.name) cannot be compared")
        }
        var count = attributeCount.map(Dimension.known) ?? .unknown
        if attributeCount == nil {
            _ = try context.type(1, oneOf: [.int64])
            if let shape = try context.shape(1).concrete(), shape.count != 1 {
                throw ApusError(.shapeMismatch, "K must be one number, found shape \(shape)")
            }
            if let known = try context.smallElements(1)?.first { count = known }
        }
        if let known = count.known, known < 0 { throw ApusError(.invalidValue, "K is \(known)") }
        let shape = try context.shape(0)
        var result = PartialShape.unknown
        if var dimensions = shape.dimensions {
            let axis = try normalizedAxis(axis, rank: dimensions.count)
            if let size = dimensions[axis].known, let known = count.known, known > size {
                throw ApusError(.invalidValue, "K is \(known), but axis \(axis) of shape \(shape) has \(size) elements")
            }
            dimensions[axis] = count
            result = PartialShape(dimensions)
        }
        return Array([ValueInfo(type, result), ValueInfo(.int64, result)].prefix(context.outputCount))
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let shape = try context.shape(0)
        let axis = try normalizedAxis(axis, rank: shape.rank)
        let count = try context.outputShape(0)[axis]
        let lanes = try Shape(shape.dimensions.enumerated().map { $0 == axis ? 1 : $1 }).count
        return try context.type(0).visit(
            Preparing(
                size: shape[axis], count: count, lanes: shape.count == 0 ? 0 : lanes, step: shape.count((axis + 1)...), largest: largest))
    }

    private struct Preparing: ElementVisitor {
        let size: Int
        let count: Int
        let lanes: Int
        let step: Int
        let largest: Bool

        func visit<T: Element>(_: T.Type) throws -> any PreparedNode {
            let job = self
            if count == 0 || lanes == 0 { return PreparedKernel("top_k") { _ in } }
            // Some lanes to each task, each task with a heap of its own.
            let tasks = min(lanes, 64)
            let bytes = try count.multiplied(by: MemoryLayout<Candidate<T.Number>>.stride).roundedUp(to: 64)
            return PreparedKernel("top_k", workspace: try bytes.multiplied(by: tasks)) { io in
                let workspace = io.workspace
                let source = io.input(0, as: T.self)
                let values = io.output(0, as: T.self)
                let positions: UnsafeMutablePointer<Int64>? = io.hasOutput(1) ? io.output(1, as: Int64.self) : nil
                io.pool.parallel(tasks) { task in
                    let heap = (workspace + task &* bytes).bindMemory(to: Candidate<T.Number>.self, capacity: job.count)
                    for lane in (task &* job.lanes / tasks)..<((task &+ 1) &* job.lanes / tasks) {
                        let outer = lane / job.step, inner = lane % job.step
                        let from = source + (outer &* job.size &* job.step &+ inner)
                        let start = outer &* job.count &* job.step &+ inner
                        if job.largest {
                            select(from, heap, job, descending: true)
                        } else {
                            select(from, heap, job, descending: false)
                        }
                        for rank in 0..<job.count {
                            values[start &+ rank &* job.step] = from[heap[rank].position &* job.step]
                            positions?[start &+ rank &* job.step] = Int64(heap[rank].position)
                        }
                    }
                }
            }
        }

        /// Leaves the best `count` elements of a lane in `heap`, best first: a heap with the worst on top, then sorted.
        @inline(__always)
        private func select<T: Element>(
            _ lane: UnsafePointer<T>, _ heap: UnsafeMutablePointer<Candidate<T.Number>>, _ job: Preparing, descending: Bool
        ) {
            @inline(__always)
            func sink(_ start: Int, _ end: Int) {
                let item = heap[start]
                var parent = start
                while true {
                    var child = 2 &* parent &+ 1
                    if child >= end { break }
                    if child &+ 1 < end, heap[child].isBetter(than: heap[child &+ 1], descending) { child &+= 1 }
                    if !item.isBetter(than: heap[child], descending) { break }
                    heap[parent] = heap[child]
                    parent = child
                }
                heap[parent] = item
            }
            for position in 0..<job.count {
                heap[position] = Candidate(value: lane[position &* job.step].number, position: position)
            }
            for start in stride(from: job.count / 2 - 1, through: 0, by: -1) { sink(start, job.count) }
            for position in job.count..<job.size {
                let candidate = Candidate(value: lane[position &* job.step].number, position: position)
                if candidate.isBetter(than: heap[0], descending) {
                    heap[0] = candidate
                    sink(0, job.count)
                }
            }
            var end = job.count - 1
            while end > 0 {
                let worst = heap[0]
                heap[0] = heap[end]
                heap[end] = worst
                sink(0, end)
                end -= 1
            }
        }
    }

    private struct Candidate<Number: Arithmetic>: BitwiseCopyable {
        var value: Number
        var position: Int

        /// A total order: NaN counts as greater than all numbers, equal values are ordered by position.
        @inline(__always)
        func isBetter(than other: Candidate, _ descending: Bool) -> Bool {
            if value == other.value { return position < other.position }
            if Number.isFloat {
                let a = value.isNotANumber, b = other.value.isNotANumber
                if a || b { return a && b ? position < other.position : a == descending }
            }
            return descending ? value > other.value : value < other.value
        }
    }
}
