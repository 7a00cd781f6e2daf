import ApusCore

/// How the second operand of a binary operator is laid against the first.
enum BroadcastRule: Sendable, Equatable {
    /// Both are broadcast as numpy does (opset 7 on).
    case numpy
    /// Both have one shape (before opset 7, without `broadcast`).
    case none
    /// The second operand's axes are consecutive ones of the first's, from `axis` on; nil: the last ones (before opset 7).
    case aligned(axis: Int?)

    init(_ node: NodeReader) throws {
        guard node.opset < 7 else {
            self = .numpy
            return
        }
        let axis = try node.optionalInt("axis")
        self = try node.bool("broadcast", default: false) ? .aligned(axis: axis) : .none
    }

    /// The second operand's shape with axes of 1 appended so that numpy's rule does the rest.
    func second(_ second: PartialShape, against first: PartialShape) throws -> PartialShape {
        guard let a = first.dimensions, let b = second.dimensions else { return second }
        switch self {
        case .numpy: return second
        case .none:
            guard a.count == b.count, zip(a, b).allSatisfy({ $0.known == nil || $1.known == nil || $0 == $1 }) else {
                throw ApusError(.shapeMismatch, "shapes \(first) and \(second) differ and attribute \"broadcast\" is 0")
            }
            return second
        case .aligned(let axis):
            guard b.count <= a.count else {
                throw ApusError(.shapeMismatch, "shape \(second) of input 1 has more axes than \(first), that of input 0")
            }
            // A scalar in the disguise of a vector needs no place.
            if b.allSatisfy({ $0 == .known(1) }) { return PartialShape(b) }
            let start = try axis.map { try normalizedAxis($0, rank: Swift.max(a.count, 1)) } ?? a.count - b.count
            guard start + b.count <= a.count else {
                throw ApusError(.shapeMismatch, "shape \(second) of input 1 does not fit \(first) from axis \(start) on")
            }
            return PartialShape(b + [Dimension](repeating: .known(1), count: a.count - b.count - start))
        }
    }

    /// The same for concrete shapes.
    func second(_ second: Shape, against first: Shape) throws -> Shape {
        guard let shape = try self.second(PartialShape(second), against: PartialShape(first)).concrete() else {
            throw ApusError(.internal, "shape \(second) is no longer concrete")
        }
        return shape
    }

    /// The shape of the result; `names` tells in errors which operands are meant.
    func result(_ first: PartialShape, _ second: PartialShape) throws -> PartialShape {
        let result = try PartialShape.broadcast([first, self.second(second, against: first)])
        if self == .numpy { return result }
        guard first.rank == nil || result.rank == first.rank,
            zip(first.dimensions ?? [], result.dimensions ?? []).allSatisfy({ $0.known == nil || $1.known == nil || $0 == $1 })
        else { throw ApusError(.shapeMismatch, "shape \(second) of input 1 cannot be broadcast to \(first), that of input 0") }
        return first
    }
}
