import ApusCore
import ApusGraph
import CApusKernels

/// Y = alpha · A' · B' + beta · C, where A' and B' may be transposed and C is broadcast to Y. C is optional from opset 11.
struct GemmOperator: Operator {
    static let schemas = [Schema("Gemm", since: [1, 6, 7, 9, 11, 13], inputs: 2...3)]

    let alpha: Float
    let beta: Float
    let transposesA: Bool
    let transposesB: Bool
    /// Before opset 7, C was broadcast only where the attribute said so.
    let broadcastsC: Bool

    init(_ node: NodeReader) throws {
        alpha = try node.float("alpha", default: 1)
        beta = try node.float("beta", default: 1)
        transposesA = try node.bool("transA", default: false)
        transposesB = try node.bool("transB", default: false)
        broadcastsC = node.opset < 7 ? try node.bool("broadcast", default: false) : true
        if node.opset < 11, !node.hasInput(2) {
            throw ApusError(.invalidModel, "input 2 (C) is required before opset 11")
        }
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.commonType(0..<3)
        _ = try context.type(0, oneOf: productTypes)
        let a = try context.dimensions(0, rank: 2...2), b = try context.dimensions(1, rank: 2...2)
        if let x = a?[transposesA ? 0 : 1].known, let y = b?[transposesB ? 1 : 0].known, x != y {
            throw ApusError(
                .shapeMismatch,
                "A\(transposesA ? " transposed" : "") has \(x) columns, B\(transposesB ? " transposed" : "") has \(y) rows; they must be equal")
        }
        let output = PartialShape([a?[transposesA ? 1 : 0] ?? .unknown, b?[transposesB ? 0 : 1] ?? .unknown])
        if context.has(2), let c = try context.shape(2).concrete(), let y = try output.concrete() {
            // An opset-6 file without the attribute is taken at its word only as far as its shapes are equal.
            let fits = broadcastsC ? try Shape.broadcast([c, y]) == y && c.rank <= 2 : c == y
            guard fits else {
                throw ApusError(.shapeMismatch, "C of shape \(c) cannot be \(broadcastsC ? "broadcast to" : "added to") shape \(y)")
            }
        }
        return [ValueInfo(type, output)]
    }

    func multiplyAccumulates(_ inputs: [ValueInfo?], _ outputs: [ValueInfo]) -> Int {
        guard let inner = inputs[0]?.type.shape?.dimensions?.dropFirst(transposesA ? 0 : 1).first?.known,
            let count = try? outputs[0].concreteShape()?.count
        else { return 0 }
        return FloatProduct.saturatingProduct([inner, count])
    }

    private func layouts(_ context: PrepareContext) throws -> (a: MatrixLayout, b: MatrixLayout) {
        func layout(_ shape: Shape, _ transposes: Bool) -> MatrixLayout {
            transposes
                ? MatrixLayout(rows: shape[1], columns: shape[0], rowStride: 1, columnStride: shape[1])
                : MatrixLayout(rows: shape[0], columns: shape[1], rowStride: shape[1], columnStride: 1)
        }
        return (layout(try context.shape(0), transposesA), layout(try context.shape(1), transposesB))
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.type(0)
        if type == .float32 || type.isShortFloat { return try context.throughFloat32(prepareFloat32) }
        return try withProductElement(type) { try prepareGeneric($0, context) }
    }

    /// How far apart the elements of C are that rows and columns of the result use; nil without C.
    private func strides(_ context: PrepareContext) throws -> (row: Int, column: Int)? {
        guard context.has(2), beta != 0 else { return nil }
        let strides = try context.shape(2).broadcastStrides(to: try context.outputShape(0))
        return (strides[0], strides[1])
    }

    private func prepareFloat32(_ context: PrepareContext) throws -> any PreparedNode {
        let (a, b) = try layouts(context)
        let product = try BatchedProduct(
            .init(batch: [], batchStrides: [], matrix: a), .init(batch: [], batchStrides: [], matrix: b), budget: context.packed.budget)
        let m = product.m, n = product.n
        guard let c = try strides(context) else { return try product.prepareFloat32(context, a: 0, b: 1, alpha: alpha) }
        let beta = beta
        if beta == 1, c.column == 1 || n == 1 && c.column == 0 {
            if c.row == 0 || m == 1 { return try product.prepareFloat32(context, a: 0, b: 1, alpha: alpha, bias: 2) }
            return try product.prepareFloat32(context, a: 0, b: 1, alpha: alpha, residual: 2)
        }
        let inner = try product.prepareFloat32(context, a: 0, b: 1, alpha: alpha)
        return PreparedKernel(inner.kernelName, workspace: inner.workspaceByteCount) { io in
            try inner.run(io)
            addBroadcast(io.input(2, as: Float.self), c, beta, io.output(0, as: Float.self), rows: m, columns: n)
        }
    }

    private func prepareGeneric<T: ProductElement>(_: T.Type, _ context: PrepareContext) throws -> any PreparedNode {
        let (aLayout, bLayout) = try layouts(context)
        let c = try strides(context), alpha = alpha, beta = beta
        let m = aLayout.rows, n = bLayout.columns, doubles = DoubleProduct(levels: context.levels)
        return PreparedKernel("gemm_generic") { io in
            let a = io.input(0, as: T.self), b = io.input(1, as: T.self), y = io.output(0, as: T.self)
            io.pool.parallelUnlessStopped((m + DoubleProduct.rows - 1) / DoubleProduct.rows) { part in
                let first = part * DoubleProduct.rows, rows = first..<min(m, first + DoubleProduct.rows)
                multiplyMatrices(a, aLayout, b, bLayout, y, rows: rows, doubles)
                if alpha != 1 {
                    for element in first * n..<rows.upperBound * n { y[element] = T.scaled(y[element], by: alpha) }
                }
            }
            if let c { addBroadcast(io.input(2, as: T.self), c, beta, y, rows: m, columns: n) }
        }
    }
}

/// y += factor * c, where element (row, column) of c lies at row * strides.row + column * strides.column.
private func addBroadcast<T: ProductElement>(
    _ c: UnsafePointer<T>, _ strides: (row: Int, column: Int), _ factor: Float, _ y: UnsafeMutablePointer<T>, rows: Int, columns: Int
) {
    for row in 0..<rows {
        let line = c + row * strides.row, out = y + row * columns
        for column in 0..<columns {
            out[column] = T.sum(out[column], T.scaled(line[column * strides.column], by: factor))
        }
    }
}
