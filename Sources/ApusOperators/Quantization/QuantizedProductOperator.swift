import ApusCore
import ApusGraph
import CApusKernels

/// Matrix products of 8-bit integers: MatMulInteger, QLinearMatMul and com.microsoft's QGemm, DynamicQuantizeMatMul and
/// MatMulIntegerToFloat, which differ in where their parameters stand and in what becomes of the sums.
struct QuantizedProductOperator: Operator {
    /// Positions of the inputs; nil: the operator has none of that kind.
    fileprivate struct Form {
        var since: [Int]
        var domain = ""
        var inputs: ClosedRange<Int>
        var a = 0
        var b: Int
        var aScale: Int?
        var aZeroPoint: Int?
        var bScale: Int?
        var bZeroPoint: Int?
        /// Added to the 32-bit sums.
        var sumBias: Int?
        /// Added to the scaled sums.
        var bias: Int?
        var outputScale: Int?
        var outputZeroPoint: Int?
        /// Whether A is float and quantised in each run.
        var quantizesA = false
        /// Whether the operands are matrices that may be transposed, not batches.
        var isGemm = false
    }

    fileprivate static let forms: [String: Form] = [
        "MatMulInteger": Form(since: [10], inputs: 2...4, b: 1, aZeroPoint: 2, bZeroPoint: 3),
        "QLinearMatMul": Form(
            since: [10, 21], inputs: 8...8, b: 3, aScale: 1, aZeroPoint: 2, bScale: 4, bZeroPoint: 5, outputScale: 6,
            outputZeroPoint: 7),
        "QGemm": Form(
            since: [1], domain: "com.microsoft", inputs: 6...9, b: 3, aScale: 1, aZeroPoint: 2, bScale: 4, bZeroPoint: 5, sumBias: 6,
            outputScale: 7, outputZeroPoint: 8, isGemm: true),
        "DynamicQuantizeMatMul": Form(
            since: [1], domain: "com.microsoft", inputs: 3...5, b: 1, bScale: 2, bZeroPoint: 3, bias: 4, quantizesA: true),
        "MatMulIntegerToFloat": Form(
            since: [1], domain: "com.microsoft", inputs: 4...7, b: 1, aScale: 2, aZeroPoint: 4, bScale: 3, bZeroPoint: 5, bias: 6),
    ]

    static let schemas = forms.sorted { $0.key < $1.key }.map {
        Schema($0.key, domain: $0.value.domain, since: $0.value.since, inputs: $0.value.inputs)
    }

    fileprivate let form: Form
    private let alpha: Float
    private let transposesA: Bool
    private let transposesB: Bool

    init(_ node: NodeReader) throws {
        guard let form = Self.forms[node.opType] else { throw ApusError(.internal, "\(node.opType) has no form") }
        self.form = form
        alpha = form.isGemm ? try node.float("alpha", default: 1) : 1
        transposesA = form.isGemm ? try node.bool("transA", default: false) : false
        transposesB = form.isGemm ? try node.bool("transB", default: false) : false
        if form.isGemm, node.hasInput(8) != node.hasInput(7) {
            throw ApusError(.invalidModel, "y_scale and y_zero_point must be given together")
        }
    }

    // MARK: Inference

    private static let small: [ElementType] = [.uint8, .int8]
    private static let scaleTypes: [ElementType] = [.float32, .float16, .bfloat16]

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let a = try context.type(form.a, oneOf: form.quantizesA ? [.float32] : Self.small)
        let b = try context.type(form.b, oneOf: Self.small)
        try check(context, form.aZeroPoint, type: a)
        try check(context, form.bZeroPoint, type: b)
        var scaleType = ElementType.float32
        for index in [form.aScale, form.bScale, form.outputScale].compactMap({ $0 }) where context.has(index) || index < form.inputs.lowerBound {
            scaleType = try context.type(index, oneOf: Self.scaleTypes)
        }
        var type = ElementType.int32
        if let zeroPoint = form.outputZeroPoint, context.has(zeroPoint) {
            type = try context.type(zeroPoint, oneOf: Self.small)
        } else if form.bScale != nil {
            type = form.isGemm || form.quantizesA ? .float32 : scaleType
        }
        if let bias = form.sumBias, context.has(bias) { _ = try context.type(bias, oneOf: [.int32]) }
        if let bias = form.bias, context.has(bias) { _ = try context.type(bias, oneOf: [type]) }
        guard let left = try context.shape(form.a).dimensions, let right = try context.shape(form.b).dimensions else {
            return [ValueInfo(type, .unknown)]
        }
        let output = try ProductShape(
            left, right, transposesA: transposesA, transposesB: transposesB, isMatrix: form.isGemm)
        try checkParameters(context, output)
        return [ValueInfo(type, PartialShape(output.output))]
    }

    private func check(_ context: InferenceContext, _ index: Int?, type: ElementType) throws {
        guard let index, context.has(index) else { return }
        let found = try context.type(index)
        guard found == type else {
            throw ApusError(.typeMismatch, "input \(index) is \(found.name); the zero point must be \(type.name) like its operand")
        }
    }

    /// Parameters are for the tensor, or for each row of A and each column of B.
    private func checkParameters(_ context: InferenceContext, _ product: ProductShape) throws {
        func check(_ index: Int?, _ extent: Dimension?, batch: Int?, _ what: String) throws {
            guard let index, context.has(index), let shape = try context.shape(index).concrete() else { return }
            if shape.count == 1 { return }
            if let extent = extent?.known, shape.count == extent { return }
            if let extent = extent?.known, let batch, shape.rank >= 2, shape.count == (try extent.multiplied(by: batch)) { return }
            if extent != nil, extent?.known == nil { return }
            throw ApusError(
                .shapeMismatch, "input \(index) has shape \(shape); expected one element or one for each \(what) (\(extent?.description ?? "-"))")
        }
        let aBatch = try PartialShape(product.aBatch).concrete()?.count, bBatch = try PartialShape(product.bBatch).concrete()?.count
        try check(form.aScale, product.rows, batch: aBatch, "row of A")
        try check(form.aZeroPoint, product.rows, batch: aBatch, "row of A")
        try check(form.bScale, product.columns, batch: bBatch, "column of B")
        try check(form.bZeroPoint, product.columns, batch: bBatch, "column of B")
        try check(form.outputScale, nil, batch: nil, "tensor")
        try check(form.outputZeroPoint, nil, batch: nil, "tensor")
        if let bias = form.bias, context.has(bias), let dimensions = try context.dimensions(bias, rank: 1...1),
            let found = dimensions[0].known, let expected = product.columns?.known, found != expected
        {
            throw ApusError(.shapeMismatch, "the bias has \(found) elements, the product has \(expected) columns")
        }
        if let bias = form.sumBias, context.has(bias), let c = try context.shape(bias).concrete(),
            let y = try PartialShape(product.output).concrete()
        {
            guard c.rank <= 2, try Shape.broadcast([c, y]) == y else {
                throw ApusError(.shapeMismatch, "C of shape \(c) cannot be broadcast to \(y)")
            }
        }
    }

    func multiplyAccumulates(_ inputs: [ValueInfo?], _ outputs: [ValueInfo]) -> Int {
        guard let a = inputs[form.a]?.type.shape?.dimensions, let inner = (transposesA ? a.first : a.last)?.known,
            let count = try? outputs[0].concreteShape()?.count
        else { return 0 }
        return FloatProduct.saturatingProduct([inner, count])
    }

    // MARK: Preparation

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let isShort = try context.outputType(0).isShortFloat
        if isShort { return try context.throughFloat32 { try prepareIntegers($0) } }
        return try prepareIntegers(context)
    }

    private func prepareIntegers(_ context: PrepareContext) throws -> any PreparedNode {
        let aShape = try context.shape(form.a), bShape = try context.shape(form.b)
        let product = try ProductShape(
            aShape.dimensions.map(Dimension.known), bShape.dimensions.map(Dimension.known), transposesA: transposesA,
            transposesB: transposesB, isMatrix: form.isGemm)
        let plan = try BatchedProduct(
            product.operand(aShape, isLeft: true, transposes: transposesA),
            product.operand(bShape, isLeft: false, transposes: transposesB), budget: context.packed.budget)
        let parameters = try Parameters(form, context)
        let biasStrides = try sumBiasStrides(context)
        let hasPlainBias = biasStrides == nil || (biasStrides?.row == 0 && (biasStrides?.column == 1 || plan.n == 1))
        let run = try QuantizedProductRun(
            context, plan, aIsSigned: try context.type(form.a) == .int8, bIsSigned: try context.type(form.b) == .int8,
            matrices: try PartialShape(product.bBatch).concrete()?.count ?? 1,
            isRowwise: parameters.aScaleCount > 1 || !hasPlainBias
                || (parameters.aZeroPointCount > 1 && parameters.aZeroPointCount < plan.m))
        let packed = try context.packed(form.b, key: run.packedKey) { tensor, budget in
            let storage = try Storage.allocate(byteCount: run.allPackedByteCount, budget: budget, purpose: "a packed matrix")
            run.packAll(tensor.pointer, storage.base, nil)
            return storage
        }
        if let packed, let prepared = try prepareConstant(context, run, parameters, packed, biasColumnStride: biasStrides?.column) {
            return prepared
        }
        let packedBytes = packed == nil ? run.allPackedByteCount : 0
        let aBytes = form.quantizesA ? try aShape.count.roundedUp(to: 64) : 0
        let workspace = try packedBytes.adding(aBytes).adding(parameters.byteCount).adding(run.workspaceByteCount)
        let (form, alpha, aCount) = (form, alpha, aShape.count)
        let type = try context.outputType(0)
        let dynamicRange = DynamicRange(levels: context.levels)
        let outputScaleType = try form.outputScale.flatMap { context.has($0) ? try context.type($0) : nil }
        return PreparedKernel("qgemm_" + String(cString: run.product.kernel.pointee.name), workspace: max(64, workspace)) { io in
            var memory = io.workspace
            let packedB: UnsafeRawPointer
            if let packed {
                packedB = UnsafeRawPointer(packed.base)
            } else {
                run.packAll(io.input(form.b), memory, io.pool)
                packedB = UnsafeRawPointer(memory)
                memory += packedBytes
            }
            let values = parameters.load(io, memory)
            memory += parameters.byteCount
            var a = io.input(form.a)
            if form.quantizesA {
                let source = io.input(form.a, as: Float.self)
                let range = dynamicRange.parameters(source, count: aCount)
                dynamicRange.quantize(io.pool, source, memory.assumingMemoryBound(to: UInt8.self), count: aCount, range)
                a = UnsafeRawPointer(memory)
                values.aScales[0] = range.scale
                values.aZeroPoints[0] = range.zeroPoint
                memory += aBytes
            }
            var outputScale: Float?
            var outputZeroPoint: Int32 = 0
            if let index = form.outputScale, let scaleType = outputScaleType, let zeroPoint = form.outputZeroPoint {
                var loaded: Float = 0
                loadScales(scaleType, io.input(index), &loaded, count: 1)
                outputScale = loaded
                loadZeroPoints(type, io.input(zeroPoint), &outputZeroPoint, count: 1)
            }
            if alpha != 1 {
                for index in 0..<parameters.aScaleCount { values.aScales[index] = alpha * values.aScales[index] }
            }
            run.run(
                io, a: a, packedB: packedB, values, parameters, type: type, outputScale: outputScale,
                outputZeroPoint: outputZeroPoint,
                sumBias: form.sumBias.flatMap { index in
                    biasStrides.map { SumBias(values: io.input(index, as: Int32.self), rowStride: $0.row, columnStride: $0.column) }
                },
                bias: form.bias.flatMap { io.has($0) ? io.input($0, as: Float.self) : nil }, workspace: memory)
        }
    }

    /// One product whose parameters are all constants: they are brought into the kernel's form once. nil for other products.
    private func prepareConstant(
        _ context: PrepareContext, _ run: QuantizedProductRun, _ parameters: Parameters, _ packed: Storage, biasColumnStride: Int?
    ) throws -> (any PreparedNode)? {
        let plan = run.plan, type = try context.outputType(0)
        guard plan.count == 1, plan.m > 0, plan.n > 0, !run.isRowwise, !form.quantizesA, parameters.aScaleCount == 1,
            parameters.aZeroPointCount == 1, [1, plan.n].contains(parameters.bScaleCount), [1, plan.n].contains(parameters.bZeroPointCount),
            biasColumnStride ?? 1 == 1 || plan.n == 1
        else { return nil }
        for index in [form.aScale, form.bScale, form.aZeroPoint, form.bZeroPoint, form.outputScale, form.outputZeroPoint] {
            if let index, context.has(index), context.constant(index) == nil { return nil }
        }
        func scales(_ index: Int?, _ count: Int) -> [Float] {
            var result = [Float](repeating: 1, count: count)
            if let index, let tensor = context.constant(index) { loadScales(tensor.type, tensor.pointer, &result, count: count) }
            return result
        }
        func zeroPoints(_ index: Int?, _ count: Int) -> [Int32] {
            var result = [Int32](repeating: 0, count: count)
            if let index, let tensor = context.constant(index) { loadZeroPoints(tensor.type, tensor.pointer, &result, count: count) }
            return result
        }
        let numbers = try plan.n.multiplied(by: 4).roundedUp(to: Storage.alignment)
        let storage = try Storage.allocate(byteCount: numbers.multiplied(by: 2), budget: context.packed.budget, purpose: "scales")
        let factors = storage.base.assumingMemoryBound(to: Float.self)
        let bScales = scales(form.bScale, parameters.bScaleCount)
        let outputScale = form.outputScale.flatMap { context.has($0) ? scales($0, 1)[0] : nil }
        bScales.withUnsafeBufferPointer { pointer in
            guard let base = pointer.baseAddress else { return }
            fillProductScales(
                factors, count: plan.n, a: alpha * scales(form.aScale, 1)[0], b: base, bStep: bScales.count == 1 ? 0 : 1, output: outputScale)
        }
        var template = run.product.arguments(
            aStride: plan.aLayout.rowStride, aColumnStride: plan.aLayout.columnStride, cStride: plan.n, aIsSigned: run.aIsSigned,
            bIsSigned: run.bIsSigned)
        switch type {
        case .int32: template.output = APUS_QGEMM_S32
        case .float32: template.output = APUS_QGEMM_F32
        default: template.requantize(type, zeroPoint: outputScale == nil ? 0 : zeroPoints(form.outputZeroPoint, 1)[0])
        }
        template.scales = UnsafePointer(factors)
        template.a_zero_point = zeroPoints(form.aZeroPoint, 1)[0]
        let points = zeroPoints(form.bZeroPoint, parameters.bZeroPointCount)
        if points.allSatisfy({ $0 == points[0] }) {
            template.b_zero_point = points[0]
        } else {
            let kept = (storage.base + numbers).assumingMemoryBound(to: Int32.self)
            kept.update(from: points, count: points.count)
            template.b_zero_points = UnsafePointer(kept)
        }
        template.b = UnsafeRawPointer(packed.base) + plan.bOffset(0) / max(1, plan.k * plan.n) * run.packedByteCount
        let arguments = template, aInput = form.a, biasInput = form.bias.flatMap { type == .float32 && context.has($0) ? $0 : nil }
        let aOffset = plan.aOffset(0), product = run.product, sumBias = biasColumnStride == nil ? nil : form.sumBias
        return PreparedKernel("qgemm_" + String(cString: product.kernel.pointee.name), workspace: max(64, product.workspaceByteCount)) { io in
            var args = arguments
            args.a = io.input(aInput) + aOffset
            args.c = io.output(0)
            if let sumBias { args.sum_bias = io.input(sumBias, as: Int32.self) }
            if let biasInput { args.bias = io.input(biasInput, as: Float.self) }
            product.run(args, workspace: io.workspace, pool: io.pool)
            withExtendedLifetime((storage, packed)) {}
        }
    }

    private func sumBiasStrides(_ context: PrepareContext) throws -> (row: Int, column: Int)? {
        guard let bias = form.sumBias, context.has(bias) else { return nil }
        let strides = try context.shape(bias).broadcastStrides(to: try context.outputShape(0))
        return (strides[0], strides[1])
    }

    /// How many scales and zero points the operands have, and how they are brought into the workspace.
    fileprivate struct Parameters: Sendable {
        struct Values {
            let aScales: UnsafeMutablePointer<Float>
            let bScales: UnsafeMutablePointer<Float>
            let aZeroPoints: UnsafeMutablePointer<Int32>
            let bZeroPoints: UnsafeMutablePointer<Int32>
        }

        let aScaleCount: Int
        let bScaleCount: Int
        let aZeroPointCount: Int
        let bZeroPointCount: Int
        private let scaleTypes: [ElementType?]
        private let zeroPointTypes: [ElementType?]
        fileprivate let form: Form

        init(_ form: Form, _ context: PrepareContext) throws {
            func count(_ index: Int?) throws -> Int {
                guard let index, context.has(index) else { return 1 }
                return try context.shape(index).count
            }
            func type(_ index: Int?) throws -> ElementType? {
                guard let index, context.has(index) else { return nil }
                return try context.type(index)
            }
            self.form = form
            (aScaleCount, bScaleCount) = (try count(form.aScale), try count(form.bScale))
            (aZeroPointCount, bZeroPointCount) = (try count(form.aZeroPoint), try count(form.bZeroPoint))
            scaleTypes = [try type(form.aScale), try type(form.bScale)]
            zeroPointTypes = [try type(form.aZeroPoint), try type(form.bZeroPoint)]
        }

        var byteCount: Int {
            let count = aScaleCount + bScaleCount + aZeroPointCount + bZeroPointCount
            return (count * 4 + 63) / 64 * 64
        }

        func load(_ io: NodeIO, _ memory: UnsafeMutableRawPointer) -> Values {
            let aScales = memory.assumingMemoryBound(to: Float.self), bScales = aScales + aScaleCount
            let aZeroPoints = UnsafeMutableRawPointer(bScales + bScaleCount).assumingMemoryBound(to: Int32.self)
            let bZeroPoints = aZeroPoints + aZeroPointCount
            func scales(_ index: Int?, _ type: ElementType?, _ target: UnsafeMutablePointer<Float>, _ count: Int) {
                if let index, let type { loadScales(type, io.input(index), target, count: count) } else { target.update(repeating: 1, count: count) }
            }
            func zeroPoints(_ index: Int?, _ type: ElementType?, _ target: UnsafeMutablePointer<Int32>, _ count: Int) {
                loadZeroPoints(type ?? .uint8, type == nil ? nil : index.map { io.input($0) }, target, count: count)
            }
            scales(form.aScale, scaleTypes[0], aScales, aScaleCount)
            scales(form.bScale, scaleTypes[1], bScales, bScaleCount)
            zeroPoints(form.aZeroPoint, zeroPointTypes[0], aZeroPoints, aZeroPointCount)
            zeroPoints(form.bZeroPoint, zeroPointTypes[1], bZeroPoints, bZeroPointCount)
            return Values(aScales: aScales, bScales: bScales, aZeroPoints: aZeroPoints, bZeroPoints: bZeroPoints)
        }
    }
}

/// A 32-bit addend of the sums; element [row, column] at row * rowStride + column * columnStride.
struct SumBias: @unchecked Sendable {
    let values: UnsafePointer<Int32>
    let rowStride: Int
    let columnStride: Int
}

/// Runs the products of a batch.
private struct QuantizedProductRun: @unchecked Sendable {
    let plan: BatchedProduct
    let product: IntegerProduct
    /// Matrices that B holds.
    let matrices: Int
    let aIsSigned: Bool
    let bIsSigned: Bool
    /// Of one matrix of B, and of all.
    let packedByteCount: Int
    let allPackedByteCount: Int
    let workspaceByteCount: Int
    /// Whether scales or addends differ from row to row, which the kernel does not know: each row is a product of its own.
    let isRowwise: Bool
    /// Parts of the batch that may run at the same time, and what each of them needs.
    private let chunks: Int
    private let chunkByteCount: Int
    private let columnBytes: Int

    init(
        _ context: PrepareContext, _ plan: BatchedProduct, aIsSigned: Bool, bIsSigned: Bool, matrices: Int, isRowwise: Bool
    ) throws {
        self.plan = plan
        self.matrices = matrices
        self.aIsSigned = aIsSigned
        self.bIsSigned = bIsSigned
        self.isRowwise = isRowwise
        let work = FloatProduct.saturatingProduct([plan.m, plan.n, plan.k])
        // Many products: each thread takes whole ones. Few large ones: each is cut.
        let takesWhole = plan.count > 1 && (work < IntegerProduct.leastParallelWork || plan.count >= 2 * context.threads)
        let isParallel = takesWhole && context.threads > 1
            && FloatProduct.saturatingProduct([work, plan.count]) >= IntegerProduct.leastParallelWork
        product = try IntegerProduct(
            levels: context.levels, m: plan.m, n: plan.n, k: plan.k, threads: takesWhole || isRowwise ? 1 : context.threads)
        packedByteCount = product.packedByteCount
        allPackedByteCount = try packedByteCount.multiplied(by: matrices)
        chunks = isParallel ? min(plan.count, context.threads * 2) : 1
        columnBytes = try plan.n.multiplied(by: 4).roundedUp(to: Storage.alignment)
        chunkByteCount = try product.workspaceByteCount.adding(columnBytes.multiplied(by: 2))
        workspaceByteCount = try chunkByteCount.multiplied(by: chunks)
    }

    var packedKey: String { product.packedKey("\(plan.bLayout.rowStride) \(plan.bLayout.columnStride) x\(matrices)") }

    /// Packs all matrices of B, their zero points left in: one packed form serves whatever these are.
    func packAll(_ b: UnsafeRawPointer, _ target: UnsafeMutableRawPointer, _ pool: ThreadPool?) {
        func pack(_ index: Int, _ pool: ThreadPool?) {
            product.pack(
                b + index * plan.k * plan.n, isSigned: bIsSigned, rowStride: plan.bLayout.rowStride,
                columnStride: plan.bLayout.columnStride, to: target + index * packedByteCount, pool: pool)
        }
        if let pool, matrices > 1, plan.k * plan.n >= 1 << 10 {
            pool.parallel(matrices) { pack($0, nil) }
        } else {
            for index in 0..<matrices { pack(index, pool) }
        }
    }

    func run(
        _ io: NodeIO, a: UnsafeRawPointer, packedB: UnsafeRawPointer, _ values: QuantizedProductOperator.Parameters.Values,
        _ parameters: QuantizedProductOperator.Parameters, type: ElementType, outputScale: Float?, outputZeroPoint: Int32,
        sumBias: SumBias?, bias: UnsafePointer<Float>?, workspace: UnsafeMutableRawPointer
    ) {
        if plan.m == 0 || plan.n == 0 { return }
        let matrix = max(1, plan.k * plan.n), size = plan.m * plan.n
        var template = product.arguments(
            aStride: plan.aLayout.rowStride, aColumnStride: plan.aLayout.columnStride, cStride: plan.n, aIsSigned: aIsSigned,
            bIsSigned: bIsSigned)
        switch type {
        case .int32: template.output = APUS_QGEMM_S32
        case .float32:
            template.output = APUS_QGEMM_F32
            template.bias = bias
        default: template.requantize(type, zeroPoint: outputZeroPoint)
        }
        let arguments = template, target = io.output(0), elementSize = type.bitWidth / 8, perChunk = (plan.count + chunks - 1) / chunks
        io.pool.parallelUnlessStopped(chunks) { chunk in
            let own = workspace + chunk * chunkByteCount
            let scales = own.assumingMemoryBound(to: Float.self)
            let addends = (own + columnBytes).assumingMemoryBound(to: Int32.self)
            let scratch = own + 2 * columnBytes
            var args = arguments
            args.scales = UnsafePointer(scales)
            for index in min(plan.count, chunk * perChunk)..<min(plan.count, (chunk + 1) * perChunk) {
                let bIndex = plan.bOffset(index) / matrix
                // Parameters for each row or column of a batch follow one another; fewer of them start again.
                let bStep = parameters.bScaleCount == 1 ? 0 : 1
                let bScales = values.bScales + (bIndex * plan.n * bStep) % max(1, parameters.bScaleCount)
                if parameters.bZeroPointCount == 1 {
                    args.b_zero_point = values.bZeroPoints[0]
                } else {
                    args.b_zero_points = UnsafePointer(values.bZeroPoints + (bIndex * plan.n) % parameters.bZeroPointCount)
                }
                let row = plan.aOffset(index) / max(1, plan.k)
                let (aScales, aScaleCount) = QuantizedProductRun.rows(values.aScales, parameters.aScaleCount, row, plan.m)
                let (aZeroPoints, aZeroPointCount) = QuantizedProductRun.rows(values.aZeroPoints, parameters.aZeroPointCount, row, plan.m)
                if aZeroPointCount == plan.m { args.a_zero_points = aZeroPoints } else { args.a_zero_point = aZeroPoints[0] }
                args.a = a + plan.aOffset(index)
                args.b = packedB + bIndex * packedByteCount
                args.c = target + index * size * elementSize
                fillProductScales(scales, count: plan.n, a: aScales[0], b: bScales, bStep: bStep, output: outputScale)
                guard isRowwise else {
                    args.sum_bias = sumBias?.values
                    product.run(args, workspace: scratch, pool: io.pool)
                    continue
                }
                for row in 0..<plan.m {
                    if aScaleCount > 1 {
                        fillProductScales(
                            scales, count: plan.n, a: aScales[row % aScaleCount], b: bScales, bStep: bStep, output: outputScale)
                    }
                    if aZeroPointCount != plan.m { args.a_zero_point = aZeroPoints[row % aZeroPointCount] }
                    if let sumBias {
                        let line = sumBias.values + row * sumBias.rowStride
                        for column in 0..<plan.n { addends[column] = line[column * sumBias.columnStride] }
                        args.sum_bias = UnsafePointer(addends)
                    }
                    product.runRow(row, &args, scratch: scratch)
                }
            }
        }
    }

    /// The parameters of the rows from `row` on: all of a batch's, or those that every matrix shares.
    private static func rows<T>(_ values: UnsafeMutablePointer<T>, _ count: Int, _ row: Int, _ m: Int) -> (UnsafePointer<T>, Int) {
        count > m ? (UnsafePointer(values + row % count), m) : (UnsafePointer(values), max(1, count))
    }
}

/// Shapes of a product's operands and result in numpy's sense, or of two matrices that may be transposed.
struct ProductShape {
    let aBatch: [Dimension]
    let bBatch: [Dimension]
    /// nil where A, or B, is a vector.
    let rows: Dimension?
    let columns: Dimension?
    let output: [Dimension]

    init(_ a: [Dimension], _ b: [Dimension], transposesA: Bool, transposesB: Bool, isMatrix: Bool) throws {
        guard !isMatrix || (a.count == 2 && b.count == 2) else {
            throw ApusError(.shapeMismatch, "A \(PartialShape(a)) and B \(PartialShape(b)) must be matrices")
        }
        guard !a.isEmpty, !b.isEmpty else {
            throw ApusError(.shapeMismatch, "\(a.isEmpty ? "A" : "B") is a scalar; at least one axis expected")
        }
        aBatch = Array(a.dropLast(2))
        bBatch = Array(b.dropLast(2))
        let aMatrix = a.suffix(2).map { $0 }, bMatrix = b.suffix(2).map { $0 }
        rows = a.count == 1 ? nil : aMatrix[transposesA ? 1 : 0]
        columns = b.count == 1 ? nil : bMatrix[transposesB ? 0 : 1]
        let inner = a.count == 1 ? a[0] : aMatrix[transposesA ? 0 : 1]
        let other = b.count == 1 ? b[0] : bMatrix[transposesB ? 1 : 0]
        if let x = inner.known, let y = other.known, x != y {
            throw ApusError(
                .shapeMismatch, "A \(PartialShape(a)) has \(x) columns, B \(PartialShape(b)) has \(y) rows; they must be equal")
        }
        output = (try PartialShape.broadcast([PartialShape(aBatch), PartialShape(bBatch)]).dimensions ?? [])
            + [rows, columns].compactMap { $0 }
    }

    func operand(_ shape: Shape, isLeft: Bool, transposes: Bool) -> BatchedProduct.Operand {
        let strides = shape.strides
        if shape.rank == 1 {
            return BatchedProduct.Operand(
                batch: [], batchStrides: [],
                matrix: isLeft
                    ? MatrixLayout(rows: 1, columns: shape[0], rowStride: shape[0], columnStride: 1)
                    : MatrixLayout(rows: shape[0], columns: 1, rowStride: 1, columnStride: 1))
        }
        let rank = shape.rank, first = shape[rank - 2], second = shape[rank - 1]
        return BatchedProduct.Operand(
            batch: Array(shape.dimensions.dropLast(2)), batchStrides: Array(strides.dropLast(2)),
            matrix: transposes
                ? MatrixLayout(rows: second, columns: first, rowStride: 1, columnStride: second)
                : MatrixLayout(rows: first, columns: second, rowStride: second, columnStride: 1))
    }
}
