import ApusCore
import CApusKernels

/// The matrix products and activations of a recurrent operator, for one floating-point type.
///
/// Products are with a transposed part of a weight tensor: C += A · B', B's rows contiguous.
protocol RecurrentMath {
    associatedtype Number: BinaryFloatingPoint
    /// Scratch memory of each direction.
    var workspaceByteCount: Int { get }
    /// inputs [rows, input] · W' + bias, a row of gates * hidden, into `result` [rows, gates * hidden].
    func project(
        _ io: NodeIO, _ direction: Int, _ input: UnsafePointer<Number>, bias: UnsafePointer<Number>,
        _ result: UnsafeMutablePointer<Number>, _ workspace: UnsafeMutableRawPointer)
    /// state [batch, hidden] · (part of R)' added to columns of `result`, whose rows are `stride` apart.
    func recur(
        _ io: NodeIO, _ direction: Int, step: Int, part: Int, _ state: UnsafePointer<Number>,
        _ result: UnsafeMutablePointer<Number>, stride: Int, _ workspace: UnsafeMutableRawPointer
    )
    /// Called once for each direction and run, before anything else.
    func begin(_ io: NodeIO, _ direction: Int, _ workspace: UnsafeMutableRawPointer)
    func activation(_ activation: RecurrentActivation) -> (UnsafeMutablePointer<Number>, Int) -> Void
}

/// Sizes of a recurrent operator.
struct RecurrentSizes: Sendable {
    let steps: Int
    let batch: Int
    let input: Int
    let hidden: Int
    let gates: Int
    let directions: Int
    /// The gates that each recurrent product computes, in order: all in one, or in two parts (GRU).
    let parts: [Range<Int>]
}

/// float32: packed weights and kernels.
final class FloatRecurrentMath: RecurrentMath, @unchecked Sendable {
    private let sizes: RecurrentSizes
    private let projection: FloatProduct
    private let recurrences: [FloatProduct]
    /// By direction, where W is constant.
    private let packedInput: Storage?
    private let packedState: Storage?
    private let inputByteCount: Int
    private let stateByteCount: Int
    private let stateOffsets: [Int]
    private let levels: UInt32
    let workspaceByteCount: Int

    /// Steps follow one another at once, so that no thread falls asleep between them.
    private static let leastParallelWork = 1 << 15

    init(_ context: PrepareContext, _ sizes: RecurrentSizes) throws {
        self.sizes = sizes
        levels = context.levels
        // Two directions are two threads' work already.
        let threads = sizes.directions > 1 ? 1 : context.threads
        let gates = try sizes.gates.multiplied(by: sizes.hidden)
        let projection = try FloatProduct(
            levels: context.levels, m: try sizes.steps.multiplied(by: sizes.batch), n: gates, k: sizes.input, threads: threads)
        let recurrences = try sizes.parts.map {
            try FloatProduct(
                levels: context.levels, m: sizes.batch, n: $0.count * sizes.hidden, k: sizes.hidden, threads: threads,
                least: FloatRecurrentMath.leastParallelWork)
        }
        self.projection = projection
        self.recurrences = recurrences
        inputByteCount = try projection.packedCount.multiplied(by: 4).roundedUp(to: Storage.alignment)
        var offset = 0
        stateOffsets = try recurrences.map {
            let own = offset
            offset = try offset.adding($0.packedCount.multiplied(by: 4).roundedUp(to: Storage.alignment))
            return own
        }
        stateByteCount = offset
        let (inputBytes, stateBytes, offsets) = (inputByteCount, stateByteCount, stateOffsets)
        packedInput = try context.packed(1, key: projection.packedKey("recurrent input x\(sizes.directions)")) { tensor, budget in
            let storage = try Storage.allocate(
                byteCount: try inputBytes.multiplied(by: sizes.directions), budget: budget, purpose: "packed recurrent weights")
            for direction in 0..<sizes.directions {
                FloatRecurrentMath.packInput(
                    projection, tensor.pointer.assumingMemoryBound(to: Float.self), direction, sizes, to: storage.base + direction * inputBytes)
            }
            return storage
        }
        let stateKey = recurrences.map { $0.packedKey("") }.joined() + "recurrent state x\(sizes.directions)"
        packedState = try context.packed(2, key: stateKey) { tensor, budget in
            let storage = try Storage.allocate(
                byteCount: try stateBytes.multiplied(by: sizes.directions), budget: budget, purpose: "packed recurrent weights")
            for direction in 0..<sizes.directions {
                FloatRecurrentMath.packState(
                    recurrences, offsets, tensor.pointer.assumingMemoryBound(to: Float.self), direction, sizes,
                    to: storage.base + direction * stateBytes)
            }
            return storage
        }
        let scratch = max(projection.workspaceByteCount, recurrences.map(\.workspaceByteCount).max() ?? 0)
        workspaceByteCount = try scratch.adding(packedInput == nil ? inputByteCount : 0).adding(packedState == nil ? stateByteCount : 0)
    }

    private static func packInput(
        _ product: FloatProduct, _ w: UnsafePointer<Float>, _ direction: Int, _ sizes: RecurrentSizes, to target: UnsafeMutableRawPointer
    ) {
        product.pack(
            w + direction * product.n * sizes.input, rowStride: 1, columnStride: sizes.input,
            to: target.assumingMemoryBound(to: Float.self))
    }

    private static func packState(
        _ products: [FloatProduct], _ offsets: [Int], _ r: UnsafePointer<Float>, _ direction: Int, _ sizes: RecurrentSizes,
        to target: UnsafeMutableRawPointer
    ) {
        let hidden = sizes.hidden
        for (index, product) in products.enumerated() {
            product.pack(
                r + (direction * sizes.gates + sizes.parts[index].lowerBound) * hidden * hidden, rowStride: 1, columnStride: hidden,
                to: (target + offsets[index]).assumingMemoryBound(to: Float.self))
        }
    }

    private func inputPanels(_ direction: Int, _ workspace: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer {
        packedInput.map { $0.base + direction * inputByteCount } ?? workspace
    }

    private func statePanels(_ direction: Int, _ workspace: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer {
        packedState.map { $0.base + direction * stateByteCount } ?? workspace + (packedInput == nil ? inputByteCount : 0)
    }

    private func scratch(_ workspace: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer {
        workspace + (packedInput == nil ? inputByteCount : 0) + (packedState == nil ? stateByteCount : 0)
    }

    func begin(_ io: NodeIO, _ direction: Int, _ workspace: UnsafeMutableRawPointer) {
        if packedInput == nil {
            FloatRecurrentMath.packInput(
                projection, io.input(1, as: Float.self), direction, sizes, to: inputPanels(direction, workspace))
        }
        if packedState == nil {
            FloatRecurrentMath.packState(
                recurrences, stateOffsets, io.input(2, as: Float.self), direction, sizes, to: statePanels(direction, workspace))
        }
    }

    func project(
        _ io: NodeIO, _ direction: Int, _ input: UnsafePointer<Float>, bias: UnsafePointer<Float>,
        _ result: UnsafeMutablePointer<Float>, _ workspace: UnsafeMutableRawPointer
    ) {
        var args = projection.arguments(aStride: sizes.input, cStride: projection.n)
        args.a = input
        args.b = UnsafePointer(inputPanels(direction, workspace).assumingMemoryBound(to: Float.self))
        args.c = result
        args.epilogue.bias = bias
        projection.run(args, workspace: scratch(workspace), pool: io.pool)
    }

    func recur(
        _ io: NodeIO, _ direction: Int, step: Int, part: Int, _ state: UnsafePointer<Float>,
        _ result: UnsafeMutablePointer<Float>, stride: Int, _ workspace: UnsafeMutableRawPointer
    ) {
        var args = recurrences[part].arguments(aStride: sizes.hidden, cStride: stride)
        args.a = state
        args.b = UnsafePointer((statePanels(direction, workspace) + stateOffsets[part]).assumingMemoryBound(to: Float.self))
        args.c = result
        args.accumulate = true
        recurrences[part].run(args, workspace: scratch(workspace), pool: io.pool, isReversed: step & 1 != 0)
    }

    func activation(_ activation: RecurrentActivation) -> (UnsafeMutablePointer<Float>, Int) -> Void { activation.float32(levels) }
}

/// float64: plain loops.
struct DoubleRecurrentMath: RecurrentMath {
    let sizes: RecurrentSizes
    var workspaceByteCount: Int { 0 }

    func begin(_ io: NodeIO, _ direction: Int, _ workspace: UnsafeMutableRawPointer) {}

    func project(
        _ io: NodeIO, _ direction: Int, _ input: UnsafePointer<Double>, bias: UnsafePointer<Double>,
        _ result: UnsafeMutablePointer<Double>, _ workspace: UnsafeMutableRawPointer
    ) {
        let columns = sizes.gates * sizes.hidden
        for row in 0..<(sizes.steps * sizes.batch) { (result + row * columns).update(from: bias, count: columns) }
        DoubleRecurrentMath.add(
            input, rows: sizes.steps * sizes.batch, sizes.input, io.input(1, as: Double.self) + direction * columns * sizes.input,
            columns: columns, result, stride: columns)
    }

    func recur(
        _ io: NodeIO, _ direction: Int, step: Int, part: Int, _ state: UnsafePointer<Double>,
        _ result: UnsafeMutablePointer<Double>, stride: Int, _ workspace: UnsafeMutableRawPointer
    ) {
        let gates = sizes.parts[part], hidden = sizes.hidden
        DoubleRecurrentMath.add(
            state, rows: sizes.batch, hidden,
            io.input(2, as: Double.self) + (direction * sizes.gates + gates.lowerBound) * hidden * hidden, columns: gates.count * hidden,
            result, stride: stride)
    }

    private static func add(
        _ a: UnsafePointer<Double>, rows: Int, _ inner: Int, _ b: UnsafePointer<Double>, columns: Int,
        _ c: UnsafeMutablePointer<Double>, stride: Int
    ) {
        for row in 0..<rows {
            for column in 0..<columns {
                var sum = 0.0
                for i in 0..<inner { sum += a[row * inner + i] * b[column * inner + i] }
                c[row * stride + column] += sum
            }
        }
    }

    func activation(_ activation: RecurrentActivation) -> (UnsafeMutablePointer<Double>, Int) -> Void { activation.float64() }
}
