import ApusCore

/// What a scattered update does to the element it meets.
enum ScatterReduction: String {
    case none, add, mul, min, max

    /// The node's `reduction`, as far as its opset has it.
    static func read(_ node: NodeReader) throws -> ScatterReduction {
        guard node.opset >= 16, node.opType != "Scatter" else { return .none }
        let names = node.opset >= 18 ? ["none", "add", "mul", "max", "min"] : ["none", "add", "mul"]
        return ScatterReduction(rawValue: try node.choice("reduction", of: names, default: "none")) ?? .none
    }

    func check(_ type: ElementType) throws {
        guard self != .none else { return }
        guard type.isInteger || type.isFloatingPoint || type == .bool, (type.byteWidth ?? 0) > 0,
            type.byteWidth != 1 || !type.isFloatingPoint
        else { throw ApusError(.typeMismatch, "reduction \"\(rawValue)\" is not defined for \(type.name)") }
    }

    /// The same for booleans, whose sum is "or" and whose product is "and".
    func adapted(to type: ElementType) -> ScatterReduction {
        guard type == .bool else { return self }
        switch self {
        case .add: return .max
        case .mul: return .min
        default: return self
        }
    }

    @inline(__always)
    func apply<T: Element>(_ target: UnsafeMutablePointer<T>, _ update: T) {
        let a = target.pointee.number, b = update.number
        switch self {
        case .none: target.pointee = update
        case .add: target.pointee = T(rounding: T.Number.add(a, b))
        case .mul: target.pointee = T(rounding: T.Number.multiply(a, b))
        case .min: target.pointee = T(rounding: T.Number.lesser(a, b))
        case .max: target.pointee = T(rounding: T.Number.greater(a, b))
        }
    }
}

extension ElementAccess {
    /// Makes output 0 start as a copy of input 0, unless they are one.
    func copyThrough(byteCount: Int) {
        let source = input(0)
        let target = output(0)
        if source != UnsafeRawPointer(target) { target.copyMemory(from: source, byteCount: byteCount) }
    }
}

/// A copy of the data with elements replaced, or combined with, updates at indices along one axis.
struct ScatterElementsOperator: Operator {
    static let schemas = [
        Schema("Scatter", since: [9, 11], inputs: 3...3),
        Schema("ScatterElements", since: [11, 13, 16, 18], inputs: 3...3),
    ]

    private let axis: Int
    private let reduction: ScatterReduction

    init(_ node: NodeReader) throws {
        axis = try node.int("axis", default: 0)
        reduction = try ScatterReduction.read(node)
    }

    var overwrites: [(output: Int, input: Int)] { [(0, 0)] }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.commonType([0, 2])
        _ = try context.input(2)
        _ = try context.type(1, oneOf: indexTypes)
        try reduction.check(type)
        let data = try context.shape(0), indices = try context.shape(1), updates = try context.shape(2)
        try ElementwiseIndexing.check(data: data, indices: indices, axis: axis)
        if let a = indices.dimensions, let b = updates.dimensions,
            a.count != b.count || zip(a, b).contains(where: { $0.known != nil && $1.known != nil && $0 != $1 })
        {
            throw ApusError(.shapeMismatch, "indices of shape \(indices) and updates of shape \(updates) must have one shape")
        }
        return [ValueInfo(type, data)]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.type(0)
        let indexType = try context.type(1)
        let width = context.movedWidth(type)
        let data = try context.shape(0)
        let bytes = data.count &* width
        let indexing = ElementwiseIndexing(
            data: data, indices: try context.shape(1), axis: try normalizedAxis(axis, rank: data.rank))
        guard reduction == .none else {
            return try type.visit(Combining(indexing: indexing, indexType: indexType, bytes: bytes, reduction: reduction.adapted(to: type)))
        }
        return try context.movement("scatter_elements", type, inputs: [0, 2]) { access in
            let indices = IndexReader(access.io.input(1), indexType)
            try indexing.check(indices)
            access.copyThrough(byteCount: bytes)
            withWidth(width, Placing(source: access.input(2), target: access.output(0), indices: indices, indexing: indexing))
        }
    }

    private struct Placing: WidthVisitor {
        let source: UnsafeRawPointer
        let target: UnsafeMutableRawPointer
        let indices: IndexReader
        let indexing: ElementwiseIndexing

        func visit<T: BitwiseCopyable>(_: T.Type) {
            let source = source.assumingMemoryBound(to: T.self)
            let target = target.assumingMemoryBound(to: T.self)
            indexing.forEach(indices) { place, element in target[element] = source[place] }
        }
    }

    private struct Combining: ElementVisitor {
        let indexing: ElementwiseIndexing
        let indexType: ElementType
        let bytes: Int
        let reduction: ScatterReduction

        func visit<T: Element>(_: T.Type) throws -> any PreparedNode {
            let (indexing, indexType, bytes, reduction) = (indexing, indexType, bytes, reduction)
            return PreparedKernel("scatter_elements") { io in
                let indices = IndexReader(io.input(1), indexType)
                try indexing.check(indices)
                if io.input(0) != UnsafeRawPointer(io.output(0)) { io.output(0).copyMemory(from: io.input(0), byteCount: bytes) }
                let target = io.output(0, as: T.self)
                let updates = io.input(2, as: T.self)
                indexing.forEach(indices) { place, element in reduction.apply(target + element, updates[place]) }
            }
        }
    }
}

/// A copy of the data with elements or slices replaced, or combined with, updates at tuples of coordinates.
struct ScatterNDOperator: Operator {
    static let schemas = [Schema("ScatterND", since: [11, 13, 16, 18], inputs: 3...3)]

    private let reduction: ScatterReduction

    init(_ node: NodeReader) throws {
        reduction = try ScatterReduction.read(node)
    }

    var overwrites: [(output: Int, input: Int)] { [(0, 0)] }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.commonType([0, 2])
        _ = try context.input(2)
        _ = try context.type(1, oneOf: [.int64])
        try reduction.check(type)
        let data = try context.shape(0), indices = try context.shape(1), updates = try context.shape(2)
        if data.rank == 0 || indices.rank == 0 { throw ApusError(.shapeMismatch, "data and indices must not be scalars") }
        if let a = data.dimensions, let b = indices.dimensions, let length = b[b.count - 1].known {
            guard length >= 1, length <= a.count else {
                throw ApusError(.shapeMismatch, "indices of shape \(indices) name \(length) coordinates in data of shape \(data)")
            }
            let expected = Array(b.dropLast()) + Array(a[length...])
            if let found = updates.dimensions,
                found.count != expected.count
                    || zip(found, expected).contains(where: { $0.known != nil && $1.known != nil && $0 != $1 })
            {
                throw ApusError(
                    .shapeMismatch, "updates have shape \(updates), \(PartialShape(expected)) expected for data \(data) and indices \(indices)")
            }
        }
        return [ValueInfo(type, data)]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.type(0)
        let width = context.movedWidth(type)
        let data = try context.shape(0)
        let bytes = data.count &* width
        let indexing = TupleIndexing(data: data, indices: try context.shape(1), batchAxes: 0)
        guard reduction == .none else {
            return try type.visit(Combining(indexing: indexing, bytes: bytes, reduction: reduction.adapted(to: type)))
        }
        let block = indexing.block &* width
        return try context.movement("scatter_nd", type, inputs: [0, 2]) { access in
            let indices = access.io.input(1, as: Int64.self)
            access.copyThrough(byteCount: bytes)
            let updates = access.input(2)
            let target = access.output(0)
            for number in 0..<indexing.count {
                let start = try indexing.start(indices, number)
                (target + start &* width).copyMemory(from: updates + number &* block, byteCount: block)
            }
        }
    }

    private struct Combining: ElementVisitor {
        let indexing: TupleIndexing
        let bytes: Int
        let reduction: ScatterReduction

        func visit<T: Element>(_: T.Type) throws -> any PreparedNode {
            let (indexing, bytes, reduction) = (indexing, bytes, reduction)
            return PreparedKernel("scatter_nd") { io in
                let indices = io.input(1, as: Int64.self)
                if io.input(0) != UnsafeRawPointer(io.output(0)) { io.output(0).copyMemory(from: io.input(0), byteCount: bytes) }
                let target = io.output(0, as: T.self)
                let updates = io.input(2, as: T.self)
                for number in 0..<indexing.count {
                    let start = try indexing.start(indices, number)
                    for element in 0..<indexing.block {
                        reduction.apply(target + (start &+ element), updates[number &* indexing.block &+ element])
                    }
                }
            }
        }
    }
}

/// Writes rows of an update into a cache, for each batch at a position of its own: the key/value cache of a decoder.
struct TensorScatterOperator: Operator {
    static let schemas = [Schema("TensorScatter", since: [24], inputs: 2...3)]

    private let axis: Int
    private let wraps: Bool

    init(_ node: NodeReader) throws {
        axis = try node.int("axis", default: -2)
        wraps = try node.choice("mode", of: ["linear", "circular"], default: "linear") == "circular"
    }

    var overwrites: [(output: Int, input: Int)] { [(0, 0)] }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.commonType([0, 1])
        let cache = try context.shape(0), update = try context.shape(1)
        if context.has(2) { _ = try context.type(2, oneOf: [.int64]) }
        if let a = cache.dimensions {
            let axis = try normalizedAxis(axis, rank: a.count)
            guard axis > 0 else { throw ApusError(.shapeMismatch, "axis must not be the batch axis 0") }
            if let b = update.dimensions {
                guard a.count == b.count,
                    a.indices.allSatisfy({ index in
                        guard let x = a[index].known, let y = b[index].known else { return true }
                        return index == axis ? y <= x : x == y
                    })
                else { throw ApusError(.shapeMismatch, "an update of shape \(update) does not fit a cache of shape \(cache)") }
            }
            if context.has(2), let places = try context.shape(2).dimensions,
                places.count != 1 || (places[0].known != nil && a[0].known != nil && places[0] != a[0])
            {
                throw ApusError(.shapeMismatch, "write_indices have shape \(PartialShape(places)), [\(a[0])] expected")
            }
        }
        return [ValueInfo(type, cache)]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.type(0)
        let width = context.movedWidth(type)
        let cache = try context.shape(0), update = try context.shape(1)
        let axis = try normalizedAxis(axis, rank: cache.rank)
        let batches = cache[0], middle = cache.count(1..<axis)
        let size = cache[axis], length = update[axis]
        let row = cache.count((axis + 1)...) &* width
        let bytes = cache.count &* width
        let hasIndices = context.has(2), wraps = wraps
        return try context.movement("tensor_scatter", type, inputs: [0, 1]) { access in
            access.copyThrough(byteCount: bytes)
            if length == 0 || row == 0 { return }
            let target = access.output(0)
            let source = access.input(1)
            for batch in 0..<batches {
                let start = hasIndices ? Int(access.io.input(2, as: Int64.self)[batch]) : 0
                guard start >= 0, wraps ? start < size : start <= size - length else {
                    throw ApusError(
                        .invalidValue, "write index \(start) of batch \(batch) leaves no place for \(length) rows in a cache of \(size)")
                }
                // What fits before the end, and what begins anew.
                let first = min(length, size - start)
                for part in 0..<middle {
                    let block = batch &* middle &+ part
                    let from = source + block &* length &* row
                    let to = target + block &* size &* row
                    (to + start &* row).copyMemory(from: from, byteCount: first &* row)
                    to.copyMemory(from: from + first &* row, byteCount: (length &- first) &* row)
                }
            }
        }
    }
}
