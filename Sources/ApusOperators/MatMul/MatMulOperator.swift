import ApusCore
import ApusGraph
import CApusKernels

/// Matrix product in numpy's sense: leading axes are batches and broadcast, a vector is a row on the left and a column on
/// the right.
///
/// `com.microsoft.FusedMatMul`, once `TransposeMatMul`, adds alpha and transpositions. `apus.MatMul`, which the optimiser makes, computes
/// activation(alpha · A · B + bias + residual): inputs A, B, bias [n] (optional), residual (optional, of the output's
/// shape); attributes transB, alpha, activation, activation_params. It takes floats of 16 and 32 bits, and as B narrower ones beside
/// others, too. Constant B of 8 and 16 bits stays as it is in memory.
struct MatMulOperator: Operator {
    static let schemas = [
        Schema("MatMul", since: [1, 9, 13], inputs: 2...2),
        Schema("MatMul", domain: "apus", since: [1], inputs: 2...4),
        Schema("FusedMatMul", domain: "com.microsoft", since: [1], inputs: 2...2),
        Schema("TransposeMatMul", domain: "com.microsoft", since: [1], inputs: 2...2),
    ]

    let alpha: Float
    let transposesA: Bool
    let transposesB: Bool
    let transposesBatchA: Bool
    let transposesBatchB: Bool
    let activation: FusedActivation
    let isFused: Bool

    init(_ node: NodeReader) throws {
        isFused = node.domain == "apus"
        let hasAttributes = node.domain != ""
        alpha = hasAttributes ? try node.float("alpha", default: 1) : 1
        transposesA = hasAttributes ? try node.bool("transA", default: false) : false
        transposesB = hasAttributes ? try node.bool("transB", default: false) : false
        transposesBatchA = hasAttributes ? try node.bool("transBatchA", default: false) : false
        transposesBatchB = hasAttributes ? try node.bool("transBatchB", default: false) : false
        activation = isFused ? try FusedActivation(node) : .none
    }

    var overwrites: [(output: Int, input: Int)] { isFused ? [(0, 3)] : [] }

    // MARK: Shapes

    /// The axes of an operand: batches, rows and columns; a vector lacks one of the latter.
    private struct Axes {
        var batch: [Int]
        var rows: Int?
        var columns: Int?
    }

    private func axes(rank: Int, isLeft: Bool) throws -> Axes {
        guard rank > 0 else {
            throw ApusError(.shapeMismatch, "\(isLeft ? "A" : "B") is a scalar; at least one axis expected")
        }
        if rank == 1 { return isLeft ? Axes(batch: [], rows: nil, columns: 0) : Axes(batch: [], rows: 0, columns: nil) }
        var batch = Array(0..<(rank - 2)), rows = rank - 2
        if isLeft ? transposesBatchA : transposesBatchB {
            rows = 0
            batch = Array(1..<(rank - 1))
        }
        return (isLeft ? transposesA : transposesB)
            ? Axes(batch: batch, rows: rank - 1, columns: rows) : Axes(batch: batch, rows: rows, columns: rank - 1)
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.commonType(isFused ? [0, 2, 3] : [0, 1])
        let allowed = isFused ? [.float32, .float16, .bfloat16] : productTypes
        _ = try context.type(0, oneOf: allowed)
        if isFused { _ = try context.type(1, oneOf: [type] + NarrowProduct.types) }
        guard let a = try context.shape(0).dimensions, let b = try context.shape(1).dimensions else {
            return [ValueInfo(type, .unknown)]
        }
        let left = try axes(rank: a.count, isLeft: true), right = try axes(rank: b.count, isLeft: false)
        let inner = left.columns.map { a[$0] } ?? .known(1), other = right.rows.map { b[$0] } ?? .known(1)
        if let x = inner.known, let y = other.known, x != y {
            throw ApusError(
                .shapeMismatch,
                "A \(PartialShape(a)) has \(x) columns, B \(PartialShape(b)) has \(y) rows; they must be equal")
        }
        let batch = try PartialShape.broadcast([
            PartialShape(left.batch.map { a[$0] }), PartialShape(right.batch.map { b[$0] }),
        ])
        guard var dimensions = batch.dimensions else { return [ValueInfo(type, .unknown)] }
        if let rows = left.rows { dimensions.append(a[rows]) }
        if let columns = right.columns { dimensions.append(b[columns]) }
        let output = PartialShape(dimensions)
        if isFused { try checkEpilogue(context, output, columns: right.columns.map { b[$0] } ?? .known(1)) }
        return [ValueInfo(type, output)]
    }

    private func checkEpilogue(_ context: InferenceContext, _ output: PartialShape, columns: Dimension) throws {
        if context.has(2), let bias = try context.dimensions(2, rank: 1...1), let found = bias[0].known, let expected = columns.known,
            found != expected
        {
            throw ApusError(.shapeMismatch, "the bias has \(found) elements, the product has \(expected) columns")
        }
        if context.has(3), let residual = try context.shape(3).concrete(), let expected = try output.concrete(), residual != expected {
            throw ApusError(.shapeMismatch, "the residual has shape \(residual), the product has shape \(expected)")
        }
    }

    func multiplyAccumulates(_ inputs: [ValueInfo?], _ outputs: [ValueInfo]) -> Int {
        guard let a = inputs[0]?.type.shape?.dimensions, let left = try? axes(rank: a.count, isLeft: true),
            let inner = left.columns.map({ a[$0] })?.known, let count = try? outputs[0].concreteShape()?.count
        else { return 0 }
        return FloatProduct.saturatingProduct([inner, count])
    }

    // MARK: Preparation

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.type(0)
        if type == .float32 || type.isShortFloat {
            let keepsNarrow = try geometry(context).keepsNarrow(context, b: 1, alpha: alpha)
            return try context.through(.float32, NarrowProduct.types, except: keepsNarrow ? [1] : [], prepareFloat32)
        }
        return try withProductElement(type) { try prepareGeneric($0, context) }
    }

    private func geometry(_ context: PrepareContext) throws -> BatchedProduct {
        func operand(_ index: Int, isLeft: Bool) throws -> BatchedProduct.Operand {
            let shape = try context.shape(index)
            let strides = shape.strides
            let axes = try axes(rank: shape.rank, isLeft: isLeft)
            return BatchedProduct.Operand(
                batch: axes.batch.map { shape[$0] }, batchStrides: axes.batch.map { strides[$0] },
                matrix: MatrixLayout(
                    rows: axes.rows.map { shape[$0] } ?? 1, columns: axes.columns.map { shape[$0] } ?? 1,
                    rowStride: axes.rows.map { strides[$0] } ?? shape.count, columnStride: axes.columns.map { strides[$0] } ?? 1))
        }
        return try BatchedProduct(operand(0, isLeft: true), operand(1, isLeft: false), budget: context.packed.budget)
    }

    private func prepareFloat32(_ context: PrepareContext) throws -> any PreparedNode {
        try geometry(context).prepareFloat32(
            context, a: 0, b: 1, alpha: alpha, bias: context.has(2) ? 2 : nil, residual: context.has(3) ? 3 : nil,
            activation: activation)
    }

    private func prepareGeneric<T: ProductElement>(_: T.Type, _ context: PrepareContext) throws -> any PreparedNode {
        let product = try geometry(context), alpha = alpha, doubles = DoubleProduct(levels: context.levels)
        let size = product.m * product.n, parts = max(1, (product.m + DoubleProduct.rows - 1) / DoubleProduct.rows)
        return PreparedKernel("matmul_generic") { io in
            let a = io.input(0, as: T.self), b = io.input(1, as: T.self), c = io.output(0, as: T.self)
            io.pool.parallelUnlessStopped(product.count &* parts) { part in
                let index = part / parts, out = c + index * size
                let first = part % parts * DoubleProduct.rows, rows = first..<min(product.m, first + DoubleProduct.rows)
                multiplyMatrices(
                    a + product.aOffset(index), product.aLayout, b + product.bOffset(index), product.bLayout, out, rows: rows, doubles)
                if alpha != 1 {
                    for element in first * product.n..<rows.upperBound * product.n { out[element] = T.scaled(out[element], by: alpha) }
                }
            }
        }
    }
}
