import ApusCore

/// Collects one tensor from each iteration and stacks them. Memory grows with what is there, never by a promised count.
struct ValueStack {
    private(set) var count = 0
    private var type: ElementType?
    private var shape = Shape.scalar
    private var buffer: Tensor?
    private var capacity = 0
    private var strings: [ByteString] = []
    private var reservation: Reservation?
    private let budget: MemoryBudget
    private let name: String

    /// The part of the budget that strings take while they are collected.
    private final class Reservation {
        var byteCount = 0
        let budget: MemoryBudget
        init(_ budget: MemoryBudget) { self.budget = budget }
        deinit { budget.release(byteCount) }
    }

    init(_ name: String, budget: MemoryBudget) {
        self.name = name
        self.budget = budget
    }

    /// Adds a tensor, which must have type and shape of those before it.
    mutating func append(_ value: Value) throws {
        guard let found = value.type.elementType, let foundShape = value.shape else {
            throw ApusError(.typeMismatch, "\(name) must be a tensor, found \(value.type)")
        }
        if let type {
            guard type == found, shape == foundShape else {
                throw ApusError(
                    .shapeMismatch, "\(name) was \(type.name)\(shape) in the first iteration, is \(found.name)\(foundShape) in iteration \(count)")
            }
        } else {
            type = found
            shape = foundShape
        }
        switch value {
        case .tensor(let tensor): try append(tensor)
        case .strings(let tensor): try append(tensor)
        default: break
        }
        count += 1
    }

    private mutating func append(_ tensor: Tensor) throws {
        if count == capacity {
            let grown = max(try count.adding(count / 2), 4)
            let bigger = try Tensor.allocate(tensor.type, try Shape([grown] + shape.dimensions), budget: budget)
            if let buffer, let used = tensor.type.byteCount(try count.multiplied(by: shape.count)) {
                bigger.pointer.copyMemory(from: buffer.pointer, byteCount: used)
            }
            buffer = bigger
            capacity = grown
        }
        guard let buffer else { return }
        let bits = tensor.type.bitWidth
        copyBits(from: tensor.pointer, at: 0, to: buffer.pointer, at: count * shape.count * bits, count: shape.count * bits)
    }

    private mutating func append(_ tensor: StringTensor) throws {
        let reservation = self.reservation ?? Reservation(budget)
        self.reservation = reservation
        let bytes = tensor.elements.reduce(0) { $0 &+ $1.bytes.count &+ 32 }
        try budget.reserve(bytes, for: name)
        reservation.byteCount += bytes
        strings.append(contentsOf: tensor.elements)
    }

    /// The stack with the iterations along a new axis, last first where `reversed`. Without iterations, `expected` says
    /// what one of them would have been; dimensions it leaves open become 0.
    func stacked(axis: Int = 0, reversed: Bool = false, expected: ValueType) throws -> Value {
        guard let type else { return try empty(axis, expected) }
        let axis = try normalizedAxis(axis, rank: try shape.rank.adding(1), name: "the axis of \(name)")
        var dimensions = shape.dimensions
        dimensions.insert(count, at: axis)
        let result = try Shape(dimensions)
        let outer = shape.count(0..<axis)
        let inner = shape.count(axis...)
        if result.count == 0 { return try emptyValue(type, result) }
        guard type != .string else {
            var elements: [ByteString] = []
            elements.reserveCapacity(strings.count)
            for o in 0..<outer {
                for i in 0..<count {
                    let start = ((reversed ? count - 1 - i : i) * outer + o) * inner
                    elements.append(contentsOf: strings[start..<start + inner])
                }
            }
            return .strings(try StringTensor(shape: result, elements: elements))
        }
        guard let buffer else { throw ApusError(.internal, "\(name) has no memory") }
        if outer == 1, !reversed {
            return .tensor(try Tensor(type: type, shape: result, storage: buffer.storage))
        }
        let output = try Tensor.allocate(type, result, budget: budget)
        let bits = inner * type.bitWidth
        for o in 0..<outer {
            for i in 0..<count {
                let start = ((reversed ? count - 1 - i : i) * outer + o) * bits
                copyBits(from: buffer.pointer, at: start, to: output.pointer, at: (o * count + i) * bits, count: bits)
            }
        }
        return .tensor(output)
    }

    private func empty(_ axis: Int, _ expected: ValueType) throws -> Value {
        guard case .tensor(let type, let partial) = expected else {
            throw ApusError(.typeMismatch, "\(name) must be a tensor, found \(expected)")
        }
        var dimensions = (partial.dimensions ?? []).map { $0.known ?? 0 }
        dimensions.insert(0, at: try normalizedAxis(axis, rank: dimensions.count + 1, name: "the axis of \(name)"))
        return try emptyValue(type, try Shape(dimensions))
    }

    private func emptyValue(_ type: ElementType, _ shape: Shape) throws -> Value {
        if type == .string { return .strings(try StringTensor(shape: shape, elements: [])) }
        return .tensor(try Tensor.allocate(type, shape, budget: budget))
    }
}

/// Copies `count` bits between bit positions of two regions that do not overlap. Whole bytes move as such; the rest, which
/// only types below 8 bits have, bit by bit. Bits of the last byte beyond what was written become 0.
func copyBits(
    from source: UnsafeRawPointer, at sourceBit: Int, to target: UnsafeMutableRawPointer, at targetBit: Int, count: Int
) {
    guard count > 0 else { return }
    if (sourceBit | targetBit | count) & 7 == 0 {
        (target + targetBit / 8).copyMemory(from: source + sourceBit / 8, byteCount: count / 8)
        return
    }
    for i in 0..<count {
        let from = sourceBit + i, to = targetBit + i
        let bit = (source.load(fromByteOffset: from / 8, as: UInt8.self) >> UInt8(from & 7)) & 1
        let kept = to & 7 == 0 ? 0 : target.load(fromByteOffset: to / 8, as: UInt8.self) & ((1 << UInt8(to & 7)) &- 1)
        target.storeBytes(of: kept | bit << UInt8(to & 7), toByteOffset: to / 8, as: UInt8.self)
    }
}

/// Slice `index` of `value` along `axis`, without that axis. Shares memory where the slice lies in one piece.
func slice(_ value: Value, axis: Int, index: Int, budget: MemoryBudget) throws -> Value {
    guard let shape = value.shape, axis >= 0, axis < shape.rank, index >= 0, index < shape[axis] else {
        throw ApusError(.shapeMismatch, "there is no slice \(index) of axis \(axis) in \(value.type)")
    }
    var dimensions = shape.dimensions
    dimensions.remove(at: axis)
    let result = try Shape(dimensions)
    // Products of some of the dimensions mean nothing where the others are 0.
    let outer = result.count == 0 ? 0 : shape.count(0..<axis)
    let inner = result.count == 0 ? 0 : shape.count((axis + 1)...)
    switch value {
    case .strings(let tensor):
        var elements: [ByteString] = []
        elements.reserveCapacity(result.count)
        for o in 0..<outer {
            let start = (o * shape[axis] + index) * inner
            elements.append(contentsOf: tensor.elements[start..<start + inner])
        }
        return .strings(try StringTensor(shape: result, elements: elements))
    case .tensor(let tensor):
        let bits = inner * tensor.type.bitWidth
        if outer == 1, bits & 7 == 0 {
            return .tensor(
                try Tensor(type: tensor.type, shape: result, storage: tensor.storage, offset: tensor.offset + index * (bits / 8)))
        }
        let output = try Tensor.allocate(tensor.type, result, budget: budget)
        for o in 0..<outer {
            copyBits(
                from: tensor.pointer, at: (o * shape[axis] + index) * bits, to: output.pointer, at: o * bits, count: bits)
        }
        return .tensor(output)
    default:
        throw ApusError(.typeMismatch, "a tensor expected, found \(value.type)")
    }
}
