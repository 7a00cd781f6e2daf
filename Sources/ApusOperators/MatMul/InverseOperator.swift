import ApusCore

/// com.microsoft.Inverse: the inverse of each square matrix, by Gauss-Jordan elimination with partial pivoting in double
/// precision. A singular matrix gives infinities and NaN.
struct InverseOperator: Operator {
    static let schemas = [Schema("Inverse", domain: "com.microsoft", since: [1], inputs: 1...1)]

    init(_ node: NodeReader) throws {}

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: [.float32, .float64, .float16, .bfloat16]), shape = try context.shape(0)
        if let dimensions = try context.dimensions(0, rank: 2...), let rows = dimensions[dimensions.count - 2].known,
            let columns = dimensions[dimensions.count - 1].known, rows != columns
        {
            throw ApusError(.shapeMismatch, "only square matrices have an inverse, found shape \(shape)")
        }
        return [ValueInfo(type, shape)]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let shape = try context.shape(0), size = shape[shape.rank - 1]
        // No matrices, or some without elements: sizes need not fit together then.
        if shape.count == 0 { return PreparedKernel("nothing") { _ in } }
        return try context.type(0).visitFloat(
            Visitor(size: size, count: shape.count / (size * size), bytes: try checkedProduct([2, size, size, 8])))
    }

    private struct Visitor: ElementVisitor {
        let size: Int
        let count: Int
        /// Of the matrix that is reduced and the one that becomes its inverse.
        let bytes: Int

        func visit<T: Element>(_: T.Type) throws -> any PreparedNode {
            let (size, count) = (size, count)
            return PreparedKernel("inverse", workspace: bytes) { io in
                let source = io.input(0, as: T.self), target = io.output(0, as: T.self)
                let work = io.workspace.assumingMemoryBound(to: Double.self), inverse = work + size * size
                for matrix in 0..<count {
                    let offset = matrix * size * size
                    for index in 0..<size * size { work[index] = source[offset + index].number.double }
                    invert(work, inverse, size)
                    for index in 0..<size * size { target[offset + index] = T(rounding: T.Number(converting: inverse[index])) }
                }
            }
        }
    }
}

/// Turns `a` into the unit matrix and `inverse` into what `a` was the inverse of.
private func invert(_ a: UnsafeMutablePointer<Double>, _ inverse: UnsafeMutablePointer<Double>, _ size: Int) {
    inverse.update(repeating: 0, count: size * size)
    for row in 0..<size { inverse[row * size + row] = 1 }
    for column in 0..<size {
        var pivot = column
        for row in column..<size where abs(a[row * size + column]) > abs(a[pivot * size + column]) { pivot = row }
        if pivot != column {
            for index in 0..<size {
                swap(&a[pivot * size + index], &a[column * size + index])
                swap(&inverse[pivot * size + index], &inverse[column * size + index])
            }
        }
        let factor = 1 / a[column * size + column]
        for index in 0..<size {
            a[column * size + index] *= factor
            inverse[column * size + index] *= factor
        }
        for row in 0..<size where row != column {
            let factor = a[row * size + column]
            for index in 0..<size {
                a[row * size + index] -= factor * a[column * size + index]
                inverse[row * size + index] -= factor * inverse[column * size + index]
            }
        }
    }
}
