import ApusCore
import ApusGraph

/// Determinants of square matrices, by elimination with row exchanges in double precision.
struct DetOperator: Operator {
    static let schemas = [Schema("Det", since: [11, 22], inputs: 1...1)]

    init(_ node: NodeReader) throws {}

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: Types.floats)
        guard let x = try context.dimensions(0, rank: 2...) else { return [ValueInfo(type, .unknown)] }
        if let rows = x[x.count - 2].known, let columns = x[x.count - 1].known, rows != columns {
            throw ApusError(.shapeMismatch, "matrices must be square, found shape \(PartialShape(x))")
        }
        return [ValueInfo(type, PartialShape(Array(x.dropLast(2))))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let shape = try context.shape(0), size = shape[shape.rank - 1]
        let count = try context.outputShape(0).count
        let parts = max(1, min(count, context.threads))
        // Without matrices their size is nothing to allocate for.
        let elements = count == 0 ? 0 : try size.multiplied(by: size)
        let type = try context.type(0), width = type.byteWidth ?? 1
        let read = try castLoop(type, .float64), write = try castLoop(.float64, type)
        return PreparedKernel("elimination", workspace: try elements.multiplied(by: parts).multiplied(by: 8)) { io in
            let x = io.input(0), y = io.output(0), workspace = io.workspace.assumingMemoryBound(to: Double.self)
            io.pool.inParts(count, parts) { part, range in
                let matrix = workspace + part * elements
                for index in range {
                    read(elements, x + index * elements * width, matrix)
                    let value = DetOperator.determinant(matrix, size)
                    withUnsafeBytes(of: value) { if let base = $0.baseAddress { write(1, base, y + index * width) } }
                }
            }
        }
    }

    /// The determinant of a matrix that is destroyed.
    private static func determinant(_ a: UnsafeMutablePointer<Double>, _ size: Int) -> Double {
        var result = 1.0
        for column in 0..<size {
            var pivot = column
            for row in column..<size where a[row * size + column].magnitude > a[pivot * size + column].magnitude { pivot = row }
            if pivot != column {
                for k in column..<size {
                    let held = a[column * size + k]
                    a[column * size + k] = a[pivot * size + k]
                    a[pivot * size + k] = held
                }
                result = -result
            }
            let diagonal = a[column * size + column]
            result *= diagonal
            // A column of zeros: the product stays 0, but what is not a number must be seen.
            guard diagonal != 0 else { return result }
            for row in (column + 1)..<max(size, column + 1) {
                let factor = a[row * size + column] / diagonal
                for k in column..<size { a[row * size + k] -= factor * a[column * size + k] }
            }
        }
        return result
    }
}
