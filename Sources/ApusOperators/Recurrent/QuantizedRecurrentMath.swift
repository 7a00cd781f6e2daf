import ApusCore
import CApusKernels

/// float32 inputs and states with 8-bit weights W [directions, input, gates * hidden] and R [directions, hidden, gates * hidden]:
/// what is multiplied is quantised to uint8 by its own range beforehand, as DynamicQuantizeLinear does.
final class QuantizedRecurrentMath: RecurrentMath, @unchecked Sendable {
    /// One of the two weight tensors.
    private struct Weights {
        let product: IntegerProduct
        let isSigned: Bool
        /// By direction, where the weights are constant.
        let packed: Storage?
        let weights: Int
        let scale: Int
        let zeroPoint: Int
        let scalesPerDirection: Int
        let zeroPointsPerDirection: Int

        var packedByteCount: Int { packed == nil ? product.packedByteCount : 0 }
    }

    /// Offsets into the workspace of a direction.
    private struct Layout {
        let packed: [Int]
        /// Those of W and R; behind each, whether they are all the same.
        let zeroPoints: [Int]
        let codes: Int
        let rowScales: Int
        let scratch: Int
    }

    /// Multiply-accumulates of all steps' inputs below which one thread computes them: the others sleep while the steps follow one
    /// another, and to wake them takes longer than they save.
    private static let leastParallelWork = 1 << 25

    private let sizes: RecurrentSizes
    private let input: Weights
    private let state: Weights
    private let layout: Layout
    private let range: DynamicRange
    private let levels: UInt32
    let workspaceByteCount: Int

    init(_ context: PrepareContext, _ sizes: RecurrentSizes) throws {
        self.sizes = sizes
        levels = context.levels
        range = DynamicRange(levels: context.levels)
        let rows = try sizes.steps.multiplied(by: sizes.batch), width = try sizes.gates.multiplied(by: sizes.hidden)
        let work = FloatProduct.saturatingProduct([rows, width, sizes.input])
        let threads = sizes.directions > 1 || work < QuantizedRecurrentMath.leastParallelWork ? 1 : context.threads
        func prepare(_ index: Int, scale: Int, m: Int, k: Int) throws -> Weights {
            let product = try IntegerProduct(levels: context.levels, m: m, n: width, k: k, threads: threads)
            let isSigned = try context.type(index) == .int8
            let packed = try context.packed(index, key: product.packedKey("recurrent x\(sizes.directions)")) { tensor, budget in
                let storage = try Storage.allocate(
                    byteCount: try product.packedByteCount.multiplied(by: sizes.directions), budget: budget,
                    purpose: "packed recurrent weights")
                for direction in 0..<sizes.directions {
                    product.pack(
                        tensor.pointer + direction * k * width, isSigned: isSigned, rowStride: width, columnStride: 1,
                        to: storage.base + direction * product.packedByteCount)
                }
                return storage
            }
            return Weights(
                product: product, isSigned: isSigned, packed: packed, weights: index, scale: scale, zeroPoint: scale + 1,
                scalesPerDirection: try context.shape(scale).count / sizes.directions,
                zeroPointsPerDirection: try context.shape(scale + 1).count / sizes.directions)
        }
        input = try prepare(1, scale: 8, m: rows, k: sizes.input)
        state = try prepare(2, scale: 10, m: sizes.batch, k: sizes.hidden)
        var offset = 0
        func reserve(_ bytes: Int) throws -> Int {
            let own = offset
            offset = try offset.adding(bytes.roundedUp(to: Storage.alignment))
            return own
        }
        layout = Layout(
            packed: [try reserve(input.packedByteCount), try reserve(state.packedByteCount)],
            zeroPoints: [try reserve(try width.adding(1).multiplied(by: 4)), try reserve(try width.adding(1).multiplied(by: 4))],
            codes: try reserve(max(try rows.multiplied(by: sizes.input), try sizes.batch.multiplied(by: sizes.hidden))),
            rowScales: try reserve(try max(rows, sizes.batch).multiplied(by: 4)),
            scratch: try reserve(max(input.product.workspaceByteCount, state.product.workspaceByteCount)))
        workspaceByteCount = offset
    }

    func begin(_ io: NodeIO, _ direction: Int, _ workspace: UnsafeMutableRawPointer) {
        for (index, part) in [input, state].enumerated() {
            let product = part.product
            if part.packed == nil {
                product.pack(
                    io.input(part.weights) + direction * product.k * product.n, isSigned: part.isSigned, rowStride: product.n,
                    columnStride: 1, to: workspace + layout.packed[index])
            }
            let points = (workspace + layout.zeroPoints[index]).assumingMemoryBound(to: Int32.self), count = part.zeroPointsPerDirection
            loadZeroPoints(
                part.isSigned ? .int8 : .uint8, io.input(part.zeroPoint) + direction * count, points, count: count)
            points[product.n] = (0..<count).allSatisfy { points[$0] == points[0] } ? 1 : 0
        }
    }

    func project(
        _ io: NodeIO, _ direction: Int, _ input: UnsafePointer<Float>, bias: UnsafePointer<Float>,
        _ result: UnsafeMutablePointer<Float>, _ workspace: UnsafeMutableRawPointer
    ) {
        multiply(io, direction, 0, input, bias: bias, result, stride: self.input.product.n, isReversed: false, workspace)
    }

    func recur(
        _ io: NodeIO, _ direction: Int, step: Int, part: Int, _ state: UnsafePointer<Float>,
        _ result: UnsafeMutablePointer<Float>, stride: Int, _ workspace: UnsafeMutableRawPointer
    ) {
        multiply(io, direction, 1, state, bias: nil, result, stride: stride, isReversed: step & 1 != 0, workspace)
    }

    /// Quantises `a` and multiplies it with W (0) or R (1): plus `bias` to `target`, or added to it where there is none.
    private func multiply(
        _ io: NodeIO, _ direction: Int, _ index: Int, _ a: UnsafePointer<Float>, bias: UnsafePointer<Float>?,
        _ target: UnsafeMutablePointer<Float>, stride: Int, isReversed: Bool, _ workspace: UnsafeMutableRawPointer
    ) {
        let part = index == 0 ? input : state, product = part.product
        let codes = (workspace + layout.codes).assumingMemoryBound(to: UInt8.self)
        let parameters = range.parameters(a, count: product.m * product.k)
        range.quantize(io.pool, a, codes, count: product.m * product.k, parameters)
        let rowScales = (workspace + layout.rowScales).assumingMemoryBound(to: Float.self)
        rowScales.update(repeating: parameters.scale, count: product.m)
        let scales = io.input(part.scale, as: Float.self) + direction * part.scalesPerDirection
        let zeroPoints = UnsafePointer((workspace + layout.zeroPoints[index]).assumingMemoryBound(to: Int32.self))
        var args = product.arguments(aStride: product.k, cStride: stride, aIsSigned: false, bIsSigned: part.isSigned)
        args.a = UnsafeRawPointer(codes)
        args.a_zero_point = parameters.zeroPoint
        args.b = part.packed.map { UnsafeRawPointer($0.base + direction * product.packedByteCount) }
            ?? UnsafeRawPointer(workspace + layout.packed[index])
        if zeroPoints[product.n] != 0 { args.b_zero_point = zeroPoints[0] } else { args.b_zero_points = zeroPoints }
        args.output = APUS_QGEMM_F32
        args.scale = scales[0]
        if part.scalesPerDirection > 1 { args.scales = scales }
        args.row_scale = UnsafePointer(rowScales)
        args.bias = bias
        args.accumulate = bias == nil
        args.c = UnsafeMutableRawPointer(target)
        product.run(args, workspace: workspace + layout.scratch, pool: io.pool, isReversed: isReversed)
    }

    func activation(_ activation: RecurrentActivation) -> (UnsafeMutablePointer<Float>, Int) -> Void { activation.float32(levels) }
}
