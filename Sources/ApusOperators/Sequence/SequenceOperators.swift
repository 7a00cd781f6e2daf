import ApusCore

extension InferenceContext {
    /// The element type of a sequence input.
    func sequenceElement(_ index: Int) throws -> ValueType {
        switch try input(index).type {
        case .sequence(let element): return element
        case .optional(.sequence(let element)): return element
        case let other: throw ApusError(.typeMismatch, "input \(index) must be a sequence, found \(other)")
        }
    }
}

extension ValueType {
    /// The same without what is known of shapes.
    var withoutShapes: ValueType {
        switch self {
        case .tensor(let type, _): .tensor(type, .unknown)
        case .sparse(let type, _): .sparse(type, .unknown)
        case .sequence(let element): .sequence(element.withoutShapes)
        case .map(let key, let value): .map(key: key, value: value.withoutShapes)
        case .optional(let element): .optional(element.withoutShapes)
        }
    }

    /// What holds of values of both types; throws where they are of different kinds.
    func union(_ other: ValueType) throws -> ValueType {
        switch (self, other) {
        case (.tensor(let type, let a), .tensor(let otherType, let b)) where type == otherType: return .tensor(type, a.union(b))
        case (.sequence(let a), .sequence(let b)): return .sequence(try a.union(b))
        case (.optional(let a), .optional(let b)): return .optional(try a.union(b))
        default:
            guard withoutShapes == other.withoutShapes else {
                throw ApusError(.typeMismatch, "a sequence cannot hold both \(self) and \(other)")
            }
            return self
        }
    }
}

/// Makes a sequence of tensors, or an empty one.
struct SequenceConstructOperator: Operator {
    static let schemas = [
        Schema("SequenceConstruct", since: [11], inputs: 1...Int.max),
        Schema("SequenceEmpty", since: [11], inputs: 0...0),
    ]

    private let emptyType: ElementType?

    init(_ node: NodeReader) throws {
        emptyType = node.opType == "SequenceEmpty" ? try node.optionalElementType("dtype") ?? .float32 : nil
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        if let emptyType { return [ValueInfo(.sequence(.tensor(emptyType, .unknown)))] }
        var element = try context.input(0).type
        _ = try context.commonType(context.inputs.indices)
        for index in context.inputs.indices { element = try element.union(try context.input(index).type) }
        return [ValueInfo(.sequence(element))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let count = context.inputs.count
        guard case .sequence(let element) = context.outputs[0].type else { throw ApusError(.internal, "no sequence was inferred") }
        return PreparedKernel("sequence") { io in
            try io.setOutput(0, .sequence(SequenceValue(elementType: element, elements: try (0..<count).map { try io.value($0) })))
        }
    }
}

/// Operators that give a part of a sequence, or a sequence with one element more or less.
struct SequenceEditOperator: Operator {
    static let schemas = [
        Schema("SequenceAt", since: [11], inputs: 2...2),
        Schema("SequenceErase", since: [11], inputs: 1...2),
        Schema("SequenceInsert", since: [11], inputs: 2...3),
        Schema("SequenceLength", since: [11], inputs: 1...1),
    ]

    private enum Action: String {
        case at = "SequenceAt"
        case erase = "SequenceErase"
        case insert = "SequenceInsert"
        case length = "SequenceLength"
    }

    private let action: Action

    init(_ node: NodeReader) throws {
        guard let action = Action(rawValue: node.opType) else { throw ApusError(.internal, "\(node.opType) edits no sequence") }
        self.action = action
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let element = try context.sequenceElement(0)
        let positionInput = action == .insert ? 2 : 1
        if action != .length, context.has(positionInput) {
            _ = try context.type(positionInput, oneOf: indexTypes)
            if let shape = try context.shape(positionInput).concrete(), shape.count != 1 {
                throw ApusError(.shapeMismatch, "position must be a scalar, found shape \(shape)")
            }
        }
        switch action {
        case .at: return [ValueInfo(element)]
        case .erase: return [ValueInfo(.sequence(element))]
        case .insert: return [ValueInfo(.sequence(try element.union(try context.input(1).type)))]
        case .length: return [ValueInfo(.int64, PartialShape.scalar)]
        }
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let action = action
        let output = context.outputs[0].type
        return PreparedKernel("sequence") { io in
            var sequence = try io.sequence(0)
            /// The position given, counted from the front; the end where none is.
            func position(_ input: Int, limit: Int, default end: Int) throws -> Int {
                guard io.has(input) else { return end }
                let index = try io.view(input).integers().first ?? 0
                let counted = index < 0 ? index &+ sequence.elements.count : index
                guard counted >= 0, counted < limit else {
                    throw ApusError(
                        .invalidValue, "position \(index) is outside of a sequence of \(sequence.elements.count) elements")
                }
                return counted
            }
            switch action {
            case .at:
                let index = try position(1, limit: sequence.elements.count, default: 0)
                try io.setOutput(0, sequence.elements[index])
            case .erase:
                let index = try position(1, limit: sequence.elements.count, default: sequence.elements.count - 1)
                guard index >= 0 else { throw ApusError(.invalidValue, "an empty sequence has nothing to erase") }
                sequence.elements.remove(at: index)
                try io.setOutput(0, .sequence(sequence))
            case .insert:
                let index = try position(2, limit: sequence.elements.count + 1, default: sequence.elements.count)
                sequence.elements.insert(try io.value(1), at: index)
                if case .sequence(let element) = output { sequence.elementType = element }
                try io.setOutput(0, .sequence(sequence))
            case .length:
                io.output(0, as: Int64.self)[0] = Int64(sequence.elements.count)
            }
        }
    }
}

extension NodeIO {
    /// Input `index` as a sequence; an optional must hold one.
    func sequence(_ index: Int) throws -> SequenceValue {
        let value = try value(index)
        if case .optional(let optional) = value {
            guard let element = optional.element else { throw ApusError(.invalidValue, "input \(index) is an empty optional") }
            return try element.asSequence()
        }
        return try value.asSequence()
    }
}

/// Cuts a tensor along an axis into a sequence.
struct SplitToSequenceOperator: Operator {
    static let schemas = [Schema("SplitToSequence", since: [11, 24], inputs: 1...2)]

    private let axis: Int
    private let keepsAxis: Bool

    init(_ node: NodeReader) throws {
        axis = try node.int("axis", default: 0)
        // Given sizes keep the axis, whatever the attribute says.
        keepsAxis = try node.bool("keepdims", default: true) || node.hasInput(1)
    }

    var parameterInputs: [Int] { [1] }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0)
        let given = try context.integerVector(1)
        guard var dimensions = try context.shape(0).dimensions else { return [ValueInfo(.sequence(.tensor(type, .unknown)))] }
        let axis = try normalizedAxis(axis, rank: dimensions.count)
        if let sizes = given.values, let size = dimensions[axis].known {
            _ = try SplitToSequenceOperator.parts(size, sizes, isScalar: try context.shape(1).rank == 0)
        }
        if keepsAxis {
            dimensions[axis] = given.isPresent ? .unknown : .known(1)
        } else {
            dimensions.remove(at: axis)
        }
        return [ValueInfo(.sequence(.tensor(type, PartialShape(dimensions))))]
    }

    /// The sizes of the parts of an axis.
    private static func parts(_ size: Int, _ given: [Int], isScalar: Bool) throws -> [Int] {
        if let negative = given.first(where: { $0 < 0 }) { throw ApusError(.invalidValue, "split has the negative size \(negative)") }
        guard isScalar, let part = given.first else {
            var total = 0
            for part in given { total = try total.adding(part) }
            guard total == size else {
                throw ApusError(.shapeMismatch, "the sizes of split sum up to \(total), but the axis has size \(size)")
            }
            return given
        }
        guard part > 0 else { throw ApusError(.invalidValue, "split is 0") }
        // An axis beside an empty one may be of any size.
        guard size / part < 1 << 26 else { throw ApusError(.memoryLimit, "a sequence of \(size / part) parts passes what memory can hold") }
        var parts = [Int](repeating: part, count: size / part)
        if size % part > 0 { parts.append(size % part) }
        return parts
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.type(0)
        let shape = try context.shape(0)
        let axis = try normalizedAxis(axis, rank: shape.rank)
        let given = try context.integers(1)
        let parts = try given.map { try Self.parts(shape[axis], $0, isScalar: try context.shape(1).rank == 0) }
            ?? Self.parts(shape[axis], [1], isScalar: true)
        let keepsAxis = keepsAxis
        guard case .sequence(let element) = context.outputs[0].type else { throw ApusError(.internal, "no sequence was inferred") }
        return PreparedKernel("split_to_sequence") { io in
            let value = try io.value(0)
            var start = 0
            let elements = try parts.map { part -> Value in
                defer { start += part }
                let piece = try SequenceJoining.slice(value, type, shape, axis: axis, start: start, count: part, budget: io.budget)
                guard !keepsAxis else { return piece }
                var dimensions = shape.dimensions
                dimensions.remove(at: axis)
                return try SequenceJoining.reshaped(piece, try Shape(dimensions))
            }
            try io.setOutput(0, .sequence(SequenceValue(elementType: element, elements: elements)))
        }
    }
}

/// Joins the elements of a sequence along an axis, one of theirs or a new one.
struct ConcatFromSequenceOperator: Operator {
    static let schemas = [Schema("ConcatFromSequence", since: [11], inputs: 1...1)]

    private let axis: Int
    private let makesAxis: Bool

    init(_ node: NodeReader) throws {
        axis = try node.int("axis")
        makesAxis = try node.bool("new_axis", default: false)
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        guard case .tensor(let type, let shape) = try context.sequenceElement(0) else {
            throw ApusError(.typeMismatch, "a sequence of tensors expected, found \(try context.input(0).type)")
        }
        guard var dimensions = shape.dimensions else { return [ValueInfo(type, .unknown)] }
        let axis = try normalizedAxis(axis, rank: dimensions.count + (makesAxis ? 1 : 0))
        if makesAxis {
            dimensions.insert(.unknown, at: axis)
        } else {
            dimensions[axis] = .unknown
        }
        return [ValueInfo(type, PartialShape(dimensions))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let axis = axis, makesAxis = makesAxis
        return PreparedKernel("concat_from_sequence") { io in
            var values = try io.sequence(0).elements
            if makesAxis {
                values = try values.map { value in
                    guard let shape = value.shape else { throw ApusError(.typeMismatch, "a tensor expected, found \(value.type)") }
                    var dimensions = shape.dimensions
                    dimensions.insert(1, at: try normalizedAxis(axis, rank: shape.rank + 1))
                    return try SequenceJoining.reshaped(value, try Shape(dimensions))
                }
            }
            try io.setOutput(0, try SequenceJoining.joined(values, axis: axis, budget: io.budget))
        }
    }
}

/// Cutting and joining of values at hand.
enum SequenceJoining {
    /// The same elements under another shape.
    static func reshaped(_ value: Value, _ shape: Shape) throws -> Value {
        if case .strings(let strings) = value { return .strings(try StringTensor(shape: shape, elements: strings.elements)) }
        return .tensor(try value.asTensor().reshaped(shape))
    }

    /// `count` positions of an axis from `start` on, as a value of its own.
    static func slice(
        _ value: Value, _ type: ElementType, _ shape: Shape, axis: Int, start: Int, count: Int, budget: MemoryBudget
    ) throws -> Value {
        var dimensions = shape.dimensions
        dimensions[axis] = count
        let result = try Shape(dimensions)
        let outer = shape.count(0..<axis), inner = shape.count((axis + 1)...), size = shape[axis]
        if case .strings(let strings) = value {
            var elements: [ByteString] = []
            for part in 0..<outer {
                let first = (part * size + start) * inner
                elements += strings.elements[first..<(first + count * inner)]
            }
            return .strings(try StringTensor(shape: result, elements: elements))
        }
        let tensor = try value.asTensor()
        let target = try Tensor.allocate(type, result, budget: budget)
        try copy(tensor, from: start, of: size, to: target, at: 0, of: count, count: count, outer: outer, inner: inner)
        return .tensor(target)
    }

    /// The values joined along an axis they have.
    static func joined(_ values: [Value], axis: Int, budget: MemoryBudget) throws -> Value {
        guard let first = values.first else { throw ApusError(.invalidValue, "an empty sequence cannot be joined") }
        let shapes = try values.map { value -> Shape in
            guard let shape = value.shape else { throw ApusError(.typeMismatch, "a tensor expected, found \(value.type)") }
            return shape
        }
        guard let shape = try ConcatOperator.joined(shapes.map { PartialShape($0) }, axis: axis).concrete() else {
            throw ApusError(.shapeMismatch, "the shapes of the elements cannot be joined")
        }
        let axis = try normalizedAxis(axis, rank: shape.rank)
        let outer = shape.count(0..<axis), inner = shape.count((axis + 1)...)
        if case .strings = first {
            let parts = try values.map { try $0.asStrings().elements }
            var joined: [ByteString] = []
            for part in 0..<outer {
                for (elements, own) in zip(parts, shapes) {
                    let block = own[axis] * inner
                    joined += elements[(part * block)..<((part + 1) * block)]
                }
            }
            return .strings(try StringTensor(shape: shape, elements: joined))
        }
        let type = try first.asTensor().type
        let target = try Tensor.allocate(type, shape, budget: budget)
        var start = 0
        for (value, own) in zip(values, shapes) {
            let tensor = try value.asTensor()
            guard tensor.type == type else {
                throw ApusError(.typeMismatch, "elements of types \(type.name) and \(tensor.type.name) cannot be joined")
            }
            try copy(tensor, from: 0, of: own[axis], to: target, at: start, of: shape[axis], count: own[axis], outer: outer, inner: inner)
            start += own[axis]
        }
        return .tensor(target)
    }

    /// Copies `count` positions of [outer, of, inner] between two tensors of one type.
    private static func copy(
        _ source: Tensor, from: Int, of size: Int, to target: Tensor, at place: Int, of total: Int, count: Int, outer: Int, inner: Int
    ) throws {
        guard let width = source.type.byteWidth else {
            throw ApusError(.unsupported, "sequences of \(source.type.name) cannot be cut or joined")
        }
        for part in 0..<outer {
            (target.pointer + (part * total + place) * inner * width).copyMemory(
                from: source.pointer + (part * size + from) * inner * width, byteCount: count * inner * width)
        }
    }
}
