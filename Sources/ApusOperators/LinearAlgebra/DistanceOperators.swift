import ApusCore
import ApusGraph

/// com.microsoft.CDist: the distance of each row of A [m, k] and each row of B [n, k], Euclidean or its square.
struct CDistOperator: Operator {
    static let schemas = [Schema("CDist", domain: "com.microsoft", since: [1], inputs: 2...2)]

    private let isSquared: Bool

    init(_ node: NodeReader) throws {
        isSquared = try node.choice("metric", of: ["sqeuclidean", "euclidean"], default: "sqeuclidean") == "sqeuclidean"
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        _ = try context.type(0, oneOf: [.float32, .float64])
        let type = try context.commonType(0..<2)
        let a = try context.dimensions(0, rank: 2...2), b = try context.dimensions(1, rank: 2...2)
        if let x = a?[1].known, let y = b?[1].known, x != y {
            throw ApusError(.shapeMismatch, "A has \(x) columns, B has \(y); they must be equal")
        }
        return [ValueInfo(type, PartialShape([a?[0] ?? .unknown, b?[0] ?? .unknown]))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let a = try context.shape(0), rows = try context.shape(1)[0]
        return try context.type(0) == .float32
            ? kernel(Float.self, a[0], rows, columns: a[1]) : kernel(Double.self, a[0], rows, columns: a[1])
    }

    private func kernel<T: Arithmetic>(_: T.Type, _ m: Int, _ n: Int, columns: Int) -> PreparedKernel {
        let isSquared = isSquared
        return PreparedKernel("cdist") { io in
            let a = io.input(0, as: T.self), b = io.input(1, as: T.self), y = io.output(0, as: T.self)
            io.pool.inChunks(m &* n, of: max(1, elementwiseChunk / max(1, columns))) { range in
                for index in range {
                    let left = a + index / n &* columns, right = b + index % n &* columns
                    var sum = 0.0
                    for column in 0..<columns {
                        let difference = left[column].double - right[column].double
                        sum += difference * difference
                    }
                    y[index] = T(converting: isSquared ? sum : sum.squareRoot())
                }
            }
        }
    }
}

/// com.microsoft.DynamicTimeWarping: the cheapest way through a matrix of costs, [m, n] or [1, m, n], from its first element to its last
/// one by steps down, to the right or both; its rows and columns as [2, length].
struct DynamicTimeWarpingOperator: Operator {
    static let schemas = [Schema("DynamicTimeWarping", domain: "com.microsoft", since: [1], inputs: 1...1)]

    init(_ node: NodeReader) throws {}

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        _ = try context.type(0, oneOf: [.float32])
        if let dimensions = try context.dimensions(0, rank: 2...3) {
            for (axis, dimension) in dimensions.enumerated() {
                guard let size = dimension.known else { continue }
                guard dimensions.count == 3 && axis == 0 ? size == 1 : size > 0 else {
                    throw ApusError(.shapeMismatch, "a matrix of costs expected, found shape \(PartialShape(dimensions))")
                }
            }
        }
        return [ValueInfo(.int32, PartialShape([.known(2), .unknown]))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let shape = try context.shape(0), columns = shape[shape.rank - 1], rows = shape[shape.rank - 2]
        // Costs of the ways to each element, with a border before the first row and column; and the way back.
        let width = try columns.adding(1), cells = try width.multiplied(by: rows.adding(1))
        let steps = try rows.adding(columns)
        let bytes = try cells.multiplied(by: 4).adding(steps.multiplied(by: 8))
        guard rows > 0, columns > 0 else { throw ApusError(.shapeMismatch, "there are no costs in shape \(shape)") }
        return PreparedKernel("dynamic_time_warping", workspace: bytes) { io in
            let x = io.input(0, as: Float.self), costs = io.workspace.assumingMemoryBound(to: Float.self)
            let path = (io.workspace + cells * 4).assumingMemoryBound(to: Int32.self)
            costs.update(repeating: .infinity, count: cells)
            costs[0] = 0
            for row in 0..<rows {
                for column in 0..<columns {
                    let before = costs + (row &* width &+ column)
                    costs[(row &+ 1) &* width &+ column &+ 1] = x[row &* columns &+ column] + min(before[0], before[1], before[width])
                }
            }
            var row = rows, column = columns, length = 0
            while true {
                (path[2 * length], path[2 * length + 1]) = (Int32(truncatingIfNeeded: row - 1), Int32(truncatingIfNeeded: column - 1))
                length += 1
                if row == 1, column == 1 { break }
                let before = costs + ((row - 1) &* width &+ column - 1)
                let both = before[0], down = before[1], right = before[width]
                // In the first row and column there is one way only, whatever it costs.
                if row > 1, column > 1, both < down, both < right {
                    (row, column) = (row - 1, column - 1)
                } else if column == 1 || row > 1 && down < both && down < right {
                    row -= 1
                } else {
                    column -= 1
                }
            }
            let output = try io.makeOutput(0, .int32, Shape([2, length])).assumingMemoryBound(to: Int32.self)
            for step in 0..<length {
                output[step] = path[2 * (length - 1 - step)]
                output[length + step] = path[2 * (length - 1 - step) + 1]
            }
        }
    }
}
