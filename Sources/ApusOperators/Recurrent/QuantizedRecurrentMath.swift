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
        let codes: Int
        let scales: Int
        let zeroPoints: Int
        let result: Int
        let scratch: Int
    }

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
        let threads = sizes.directions > 1 ? 1 : context.threads
        let rows = try sizes.steps.multiplied(by: sizes.batch), width = try sizes.gates.multiplied(by: sizes.hidden)
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
            codes: try reserve(max(try rows.multiplied(by: sizes.input), try sizes.batch.multiplied(by: sizes.hidden))),
            scales: try reserve(try width.multiplied(by: 4)), zeroPoints: try reserve(try width.multiplied(by: 4)),
            result: try reserve(try max(rows, sizes.batch).multiplied(by: width).multiplied(by: 4)),
            scratch: try reserve(max(input.product.workspaceByteCount, state.product.workspaceByteCount)))
        workspaceByteCount = offset
    }

    func begin(_ io: NodeIO, _ direction: Int, _ workspace: UnsafeMutableRawPointer) {
        func pack(_ part: Weights, _ target: UnsafeMutableRawPointer) {
            guard part.packed == nil else { return }
            let product = part.product
            product.pack(
                io.input(part.weights) + direction * product.k * product.n, isSigned: part.isSigned, rowStride: product.n, columnStride: 1,
                to: target)
        }
        pack(input, workspace + layout.packed[0])
        pack(state, workspace + layout.packed[1])
    }

    func project(
        _ io: NodeIO, _ direction: Int, _ input: UnsafePointer<Float>, bias: UnsafePointer<Float>,
        _ result: UnsafeMutablePointer<Float>, _ workspace: UnsafeMutableRawPointer
    ) {
        repeatRow(bias, self.input.product.n, rows: self.input.product.m, result)
        add(io, direction, self.input, packed: workspace + layout.packed[0], input, result, stride: self.input.product.n, workspace)
    }

    func recur(
        _ io: NodeIO, _ direction: Int, step: Int, part: Int, _ state: UnsafePointer<Float>,
        _ result: UnsafeMutablePointer<Float>, stride: Int, _ workspace: UnsafeMutableRawPointer
    ) {
        add(io, direction, self.state, packed: workspace + layout.packed[1], state, result, stride: stride, workspace)
    }

    /// Quantises `a`, multiplies it with `part` and adds the result to `target`.
    private func add(
        _ io: NodeIO, _ direction: Int, _ part: Weights, packed: UnsafeMutableRawPointer, _ a: UnsafePointer<Float>,
        _ target: UnsafeMutablePointer<Float>, stride: Int, _ workspace: UnsafeMutableRawPointer
    ) {
        let product = part.product, width = product.n
        let codes = (workspace + layout.codes).assumingMemoryBound(to: UInt8.self)
        let parameters = range.parameters(a, count: product.m * product.k)
        range.quantize(io.pool, a, codes, count: product.m * product.k, parameters)
        let scales = (workspace + layout.scales).assumingMemoryBound(to: Float.self)
        let zeroPoints = (workspace + layout.zeroPoints).assumingMemoryBound(to: Int32.self)
        let isPerColumn = part.scalesPerDirection > 1
        let own = io.input(part.scale, as: Float.self) + direction * part.scalesPerDirection
        fillProductScales(scales, count: width, a: parameters.scale, b: own, bStep: isPerColumn ? 1 : 0, output: nil)
        let points = io.input(part.zeroPoint) + direction * part.zeroPointsPerDirection
        loadZeroPoints(part.isSigned ? .int8 : .uint8, points, zeroPoints, count: part.zeroPointsPerDirection)
        var args = product.arguments(aStride: product.k, cStride: width, aIsSigned: false, bIsSigned: part.isSigned)
        args.a = UnsafeRawPointer(codes)
        args.a_zero_point = parameters.zeroPoint
        args.b = part.packed.map { UnsafeRawPointer($0.base + direction * product.packedByteCount) } ?? UnsafeRawPointer(packed)
        if part.zeroPointsPerDirection > 1 { args.b_zero_points = UnsafePointer(zeroPoints) } else { args.b_zero_point = zeroPoints[0] }
        args.output = APUS_QGEMM_F32
        args.scales = UnsafePointer(scales)
        let result = (workspace + layout.result).assumingMemoryBound(to: Float.self)
        args.c = UnsafeMutableRawPointer(result)
        product.run(args, workspace: workspace + layout.scratch, pool: io.pool)
        for row in 0..<product.m {
            let from = result + row * width, to = target + row * stride
            for column in 0..<width { to[column] += from[column] }
        }
    }

    func activation(_ activation: RecurrentActivation) -> (UnsafeMutablePointer<Float>, Int) -> Void { activation.float32(levels) }
}
