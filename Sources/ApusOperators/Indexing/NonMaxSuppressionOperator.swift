import ApusCore

/// Chooses boxes by score, leaving out those that overlap one already chosen; for each batch and class.
struct NonMaxSuppressionOperator: Operator {
    static let schemas = [Schema("NonMaxSuppression", since: [10, 11], inputs: 2...5)]

    private let isCentered: Bool

    init(_ node: NodeReader) throws {
        switch try node.int("center_point_box", default: 0) {
        case 0: isCentered = false
        case 1: isCentered = true
        case let other: throw ApusError(.invalidModel, "center_point_box is \(other); 0 or 1 expected")
        }
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        for index in [0, 1, 3, 4] where index < 2 || context.has(index) { _ = try context.type(index, oneOf: [.float32]) }
        if context.has(2) { _ = try context.type(2, oneOf: [.int64]) }
        for index in 2...4 where context.has(index) {
            if let shape = try context.shape(index).concrete(), shape.count != 1 {
                throw ApusError(.shapeMismatch, "input \(index) must be one number, found shape \(shape)")
            }
        }
        let boxes = try context.dimensions(0, rank: 3...3), scores = try context.dimensions(1, rank: 3...3)
        if let size = boxes?[2].known, size != 4 {
            throw ApusError(.shapeMismatch, "boxes have \(size) coordinates, 4 expected")
        }
        if let boxes, let scores {
            for (a, b, what) in [(boxes[0], scores[0], "batches"), (boxes[1], scores[2], "boxes")] {
                if let x = a.known, let y = b.known, x != y {
                    throw ApusError(.shapeMismatch, "there are \(x) \(what) of boxes, but \(y) of scores")
                }
            }
        }
        return [ValueInfo(.int64, PartialShape([.unknown, .known(3)]))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let scoreShape = try context.shape(1)
        let batches = scoreShape[0], classes = scoreShape[1], count = scoreShape[2]
        let hasMost = context.has(2), hasOverlap = context.has(3), hasScore = context.has(4), isCentered = isCentered
        return PreparedKernel("non_max_suppression") { io in
            let boxes = io.input(0, as: Float.self), scores = io.input(1, as: Float.self)
            let most = hasMost ? max(0, Int(io.input(2, as: Int64.self)[0])) : 0
            let overlap = hasOverlap ? io.input(3, as: Float.self)[0] : 0
            guard overlap >= 0, overlap <= 1 else { throw ApusError(.invalidValue, "iou_threshold \(overlap) is outside of [0, 1]") }
            let least = hasScore ? io.input(4, as: Float.self)[0] : -Float.infinity
            let bytes = try count.multiplied(by: 48)
            try io.budget.reserve(bytes, for: "the order of \(count) boxes")
            defer { io.budget.release(bytes) }
            var chosen: [(Int, Int, Int)] = []
            for batch in 0..<(most > 0 && count > 0 && classes > 0 ? batches : 0) {
                let corners = (0..<count).map { Box(boxes + (batch &* count &+ $0) &* 4, isCentered: isCentered) }
                for kind in 0..<classes {
                    try io.checkControl()
                    let own = scores + (batch &* classes &+ kind) &* count
                    // NaN is no score.
                    let candidates = (0..<count).filter { hasScore ? own[$0] > least : !own[$0].isNaN }.sorted {
                        own[$0] == own[$1] ? $0 < $1 : own[$0] > own[$1]
                    }
                    var kept: [Int] = []
                    for box in candidates {
                        if kept.count >= most { break }
                        if kept.contains(where: { corners[$0].overlap(corners[box]) > overlap }) { continue }
                        kept.append(box)
                    }
                    chosen += kept.map { (batch, kind, $0) }
                }
            }
            let target = try io.makeOutput(0, .int64, try Shape([chosen.count, 3])).assumingMemoryBound(to: Int64.self)
            for (row, item) in chosen.enumerated() {
                target[3 * row] = Int64(item.0)
                target[3 * row + 1] = Int64(item.1)
                target[3 * row + 2] = Int64(item.2)
            }
        }
    }

    /// A box by its corners.
    private struct Box {
        let low: (Float, Float)
        let high: (Float, Float)

        /// `values`: two opposite corners [y1, x1, y2, x2], or the center and size [x, y, width, height].
        init(_ values: UnsafePointer<Float>, isCentered: Bool) {
            if isCentered {
                low = (values[0] - values[2] / 2, values[1] - values[3] / 2)
                high = (values[0] + values[2] / 2, values[1] + values[3] / 2)
            } else {
                low = (min(values[0], values[2]), min(values[1], values[3]))
                high = (max(values[0], values[2]), max(values[1], values[3]))
            }
        }

        var area: Float { (high.0 - low.0) * (high.1 - low.1) }

        /// The intersection as a share of the union; 0 where there is none.
        func overlap(_ other: Box) -> Float {
            let height = min(high.0, other.high.0) - max(low.0, other.low.0)
            let width = min(high.1, other.high.1) - max(low.1, other.low.1)
            guard height > 0, width > 0, area > 0, other.area > 0 else { return 0 }
            let common = height * width
            return common / (area + other.area - common)
        }
    }
}
