import ApusCore
import CApusKernels

/// A matrix product for each index of a batch, with broadcasting.
struct BatchedProduct: @unchecked Sendable {
    /// A tensor seen as matrices. Sizes and strides in elements.
    struct Operand {
        var batch: [Int]
        var batchStrides: [Int]
        var matrix: MatrixLayout
    }

    /// Where the matrices of the batch begin.
    private enum Offsets {
        case regular(stride: Int)
        case table(Storage)
    }

    /// Products.
    let count: Int
    let m: Int
    let n: Int
    let k: Int
    let aLayout: MatrixLayout
    let bLayout: MatrixLayout
    private let aOffsets: Offsets
    private let bOffsets: Offsets
    /// Matrices that B holds where they follow one another densely; nil where it must be packed anew for each run.
    private let bMatrices: Int?

    init(_ a: Operand, _ b: Operand, budget: MemoryBudget) throws {
        let batch = try Shape.broadcast([try Shape(a.batch), try Shape(b.batch)])
        var aLayout = a.matrix
        let bCount = b.batch.reduce(1, &*)
        // One B for all: the batches of A are just more rows of one product, where they follow one another evenly.
        let stacks = bCount == 1 && batch.count > 1 && BatchedProduct.isRegular(a, batch) == aLayout.rows * aLayout.rowStride
            && aLayout.columnStride == 1
        if stacks {
            aLayout.rows = try aLayout.rows.multiplied(by: batch.count)
            count = 1
        } else {
            count = batch.count
        }
        m = aLayout.rows
        n = b.matrix.columns
        k = aLayout.columns
        self.aLayout = aLayout
        bLayout = b.matrix
        aOffsets = stacks ? .regular(stride: 0) : try BatchedProduct.offsets(a, batch, budget)
        bOffsets = stacks ? .regular(stride: 0) : try BatchedProduct.offsets(b, batch, budget)
        let isDense = BatchedProduct.isRegular(b, try Shape(b.batch)) != nil
        bMatrices = bCount == 1 || isDense && b.batchStrides.last == k * n ? bCount : nil
        _ = try m.multiplied(by: n).multiplied(by: count)
    }

    /// The distance between consecutive matrices where it is always the same.
    private static func isRegular(_ operand: Operand, _ batch: Shape) -> Int? {
        if operand.batch.reduce(1, &*) == 1 { return 0 }
        guard operand.batch.count <= batch.rank else { return nil }
        let leading = batch.dimensions.dropLast(operand.batch.count)
        guard leading.allSatisfy({ $0 == 1 }), operand.batch == Array(batch.dimensions.suffix(operand.batch.count)) else { return nil }
        guard let stride = operand.batchStrides.last else { return 0 }
        var expected = stride
        for (dimension, own) in zip(operand.batch, operand.batchStrides).reversed() {
            if dimension != 1, own != expected { return nil }
            expected = expected &* dimension
        }
        return stride
    }

    private static func offsets(_ operand: Operand, _ batch: Shape, _ budget: MemoryBudget) throws -> Offsets {
        if let stride = isRegular(operand, batch) { return .regular(stride: stride) }
        let bytes = try batch.count.multiplied(by: MemoryLayout<Int>.stride)
        let storage = try Storage.allocate(byteCount: bytes, budget: budget, purpose: "the batch offsets of a matrix product")
        let table = storage.base.assumingMemoryBound(to: Int.self)
        let leading = batch.rank - operand.batch.count
        for index in 0..<batch.count {
            var rest = index, offset = 0
            for axis in (0..<batch.rank).reversed() {
                let position = rest % batch[axis]
                rest /= batch[axis]
                if axis >= leading, operand.batch[axis - leading] != 1 { offset += position * operand.batchStrides[axis - leading] }
            }
            table[index] = offset
        }
        return .table(storage)
    }

    @inline(__always)
    private func offset(_ offsets: Offsets, _ index: Int) -> Int {
        switch offsets {
        case .regular(let stride): index * stride
        case .table(let storage): storage.base.assumingMemoryBound(to: Int.self)[index]
        }
    }

    /// Elements before the A of product `index`.
    func aOffset(_ index: Int) -> Int { offset(aOffsets, index) }
    /// Elements before the B of product `index`.
    func bOffset(_ index: Int) -> Int { offset(bOffsets, index) }

    /// Prepares activation(alpha · A · B + bias + residual) of float32 inputs `a`, `b`, `bias` [n], `residual` (as the
    /// output). B is packed once where it is constant, in every run otherwise.
    func prepareFloat32(
        _ context: PrepareContext, a: Int, b: Int, alpha: Float = 1, bias: Int? = nil, residual: Int? = nil,
        activation: FusedActivation = .none
    ) throws -> any PreparedNode {
        let call = try call(context, a: a, b: b, alpha: alpha, bias: bias, residual: residual, activation: activation)
        return PreparedKernel(call.kernelName, workspace: call.workspaceByteCount) { io in
            call.compute(io, io.output(0, as: Float.self), io.workspace)
        }
    }

    /// A prepared product: `compute` writes the result anywhere.
    struct Call {
        let kernelName: String
        let workspaceByteCount: Int
        let compute: (NodeIO, UnsafeMutablePointer<Float>, UnsafeMutableRawPointer) -> Void
    }

    /// The same as a part of a larger node.
    func call(
        _ context: PrepareContext, a: Int, b: Int, alpha: Float = 1, bias: Int? = nil, residual: Int? = nil,
        activation: FusedActivation = .none
    ) throws -> Call {
        let rows: FloatProduct.Rows = aLayout.columnStride == 1 || k <= 1 ? .dense : .strided
        let work = FloatProduct.saturatingProduct([m, n, k])
        // Many products: each thread takes whole ones. Few large ones: each is cut.
        let takesWhole = count > 1 && (work < FloatProduct.leastParallelWork || count >= 2 * context.threads)
        let product = try FloatProduct(
            levels: context.levels, m: m, n: n, k: k, rows: rows, weights: try context.type(b),
            threads: takesWhole ? 1 : context.threads)
        let isParallel = takesWhole && context.threads > 1
            && FloatProduct.saturatingProduct([work, count]) >= FloatProduct.leastParallelWork
        let chunks = isParallel ? min(count, context.threads * 2) : 1
        let perChunk = (count + chunks - 1) / max(chunks, 1)

        if try context.type(b) != .float32 {
            return try narrowCall(context, product, a: a, b: b, bias: bias, residual: residual, activation: activation)
        }
        let packed = try packedConstant(context, b, product, alpha)
        let packedBytes = packed == nil ? try product.packedCount.multiplied(by: 4).roundedUp(to: Storage.alignment) : 0
        let chunkBytes = try packedBytes.adding(product.workspaceByteCount)
        let fused = activation.prepared(context.levels)
        var template = product.arguments(aStride: aLayout.rowStride, aColumnStride: aLayout.columnStride, cStride: n)
        template.epilogue = fused.epilogue
        template.epilogue.residual_stride = n
        let arguments = template, bLayout = bLayout, packedCount = product.packedCount
        let matrix = max(1, k * n), outSize = m * n, count = count
        if outSize == 0 || count == 0 { return Call(kernelName: "nothing", workspaceByteCount: 0) { _, _, _ in } }
        let name = String(cString: product.kernel.pointee.name)
        return Call(kernelName: name, workspaceByteCount: try chunkBytes.multiplied(by: chunks)) { io, c, workspace in
            let aBase = io.input(a, as: Float.self), bBase = io.input(b, as: Float.self)
            io.pool.parallelUnlessStopped(chunks) { chunk in
                var args = arguments
                let own = workspace + chunk * chunkBytes
                var packedOffset = -1
                if let bias { args.epilogue.bias = io.input(bias, as: Float.self) }
                for index in min(count, chunk * perChunk)..<min(count, (chunk + 1) * perChunk) {
                    let bOffset = bOffset(index)
                    if let packed {
                        args.b = UnsafePointer(packed.base.assumingMemoryBound(to: Float.self) + bOffset / matrix * packedCount)
                    } else {
                        let target = own.assumingMemoryBound(to: Float.self)
                        if bOffset != packedOffset {
                            product.pack(
                                bBase + bOffset, rowStride: bLayout.rowStride, columnStride: bLayout.columnStride, to: target,
                                pool: takesWhole ? nil : io.pool)
                            if alpha != 1 { scale(target, packedCount, by: alpha) }
                            packedOffset = bOffset
                        }
                        args.b = UnsafePointer(target)
                    }
                    args.a = aBase + aOffset(index)
                    args.c = c + index * outSize
                    if let residual { args.epilogue.residual = io.input(residual, as: Float.self) + index * outSize }
                    product.run(args, workspace: own + packedBytes, pool: io.pool)
                }
            }
            withExtendedLifetime(fused) {}
        }
    }

    /// Whether B may stay in memory as narrow as it is, as a constant of one of `NarrowProduct.types`.
    func keepsNarrow(_ context: PrepareContext, b: Int, alpha: Float) throws -> Bool {
        NarrowProduct.types.contains(try context.type(b)) && context.constant(b) != nil && alpha == 1 && count == 1 && bMatrices == 1
            && m > 0 && n > 0 && k > 0 && (aLayout.columnStride == 1 || k == 1) && (bLayout.columnStride == 1 || bLayout.rowStride == 1)
    }

    /// A product with narrow constant weights; `keepsNarrow` has said that it may be.
    private func narrowCall(
        _ context: PrepareContext, _ product: FloatProduct, a: Int, b: Int, bias: Int?, residual: Int?, activation: FusedActivation
    ) throws -> Call {
        guard let narrow = try NarrowProduct(levels: context.levels, product, aColumnStride: aLayout.columnStride) else {
            throw ApusError(.internal, "a product with weights of \(try context.type(b).name) has no kernel")
        }
        let bLayout = bLayout
        let packed = try context.packed(b, key: product.packedKey("strides \(bLayout.rowStride) \(bLayout.columnStride)")) { tensor, budget in
            let storage = try Storage.allocate(
                byteCount: try product.packedCount.multiplied(by: product.elementSize), budget: budget, purpose: "a packed matrix")
            product.packNarrow(tensor, rowStride: bLayout.rowStride, columnStride: bLayout.columnStride, to: storage.base)
            return storage
        }
        guard let packed else { throw ApusError(.internal, "weights of \(try context.type(b).name) are no constant") }
        let fused = activation.prepared(context.levels)
        var template = product.arguments(aStride: aLayout.rowStride, cStride: n)
        template.epilogue = fused.epilogue
        template.epilogue.residual_stride = n
        let arguments = template, aOffset = aOffset(0)
        return Call(kernelName: narrow.kernelName, workspaceByteCount: narrow.workspaceByteCount) { io, c, workspace in
            var args = arguments
            args.a = io.input(a, as: Float.self) + aOffset
            args.c = c
            if let bias { args.epilogue.bias = io.input(bias, as: Float.self) }
            if let residual { args.epilogue.residual = io.input(residual, as: Float.self) }
            narrow.run(args, packed: UnsafeRawPointer(packed.base), workspace: workspace, pool: io.pool)
            withExtendedLifetime(fused) {}
        }
    }

    /// All matrices of constant B, packed and multiplied by alpha.
    private func packedConstant(_ context: PrepareContext, _ b: Int, _ product: FloatProduct, _ alpha: Float) throws -> Storage? {
        guard let bMatrices else { return nil }
        let key = product.packedKey("strides \(bLayout.rowStride) \(bLayout.columnStride) x\(bMatrices) alpha \(alpha.bitPattern)")
        return try context.packed(b, key: key) { tensor, budget in
            let bytes = try product.packedCount.multiplied(by: bMatrices).multiplied(by: 4)
            let storage = try Storage.allocate(byteCount: bytes, budget: budget, purpose: "a packed matrix")
            let target = storage.base.assumingMemoryBound(to: Float.self)
            for index in 0..<bMatrices {
                product.pack(
                    constant: tensor, offset: index * k * n, rowStride: bLayout.rowStride, columnStride: bLayout.columnStride,
                    to: target + index * product.packedCount)
            }
            if alpha != 1 { scale(target, bytes / 4, by: alpha) }
            return storage
        }
    }
}

/// Multiplies `count` floats in place.
func scale(_ values: UnsafeMutablePointer<Float>, _ count: Int, by factor: Float) {
    for index in 0..<count { values[index] *= factor }
}
