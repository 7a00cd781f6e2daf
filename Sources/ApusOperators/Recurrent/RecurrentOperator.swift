import ApusCore
import ApusGraph

/// LSTM, GRU and RNN: X [steps, batch, input] (layout 1: batch first) through one or two directions of a recurrent cell.
///
/// The input's products of all steps are computed at once; the loop over steps multiplies the state only. With `clip`, what
/// goes into the gates' activations is bounded; the cell state is not.
///
/// com.microsoft's DynamicQuantizeLSTM has 8-bit weights, with the gates along the last axis, and their scales and zero points (for
/// a direction, or for each of its columns) as inputs 8 to 11.
struct RecurrentOperator: Operator {
    static let schemas = [
        Schema("DynamicQuantizeLSTM", domain: "com.microsoft", since: [1], inputs: 12...12, outputs: 0...3),
        Schema("GRU", since: [1, 3, 7, 14, 22], inputs: 3...6, outputs: 0...2),
        Schema("LSTM", since: [1, 7, 14, 22], inputs: 3...8, outputs: 0...3),
        Schema("RNN", since: [1, 7, 14, 22], inputs: 3...6, outputs: 0...2),
    ]

    enum Kind: Sendable {
        case gru(resetsAfter: Bool)
        case lstm(couplesInputForget: Bool)
        case rnn
    }

    private struct Form {
        let gates: Int
        let activations: [String]
        var isQuantized = false
    }

    private static let forms: [String: Form] = [
        "DynamicQuantizeLSTM": Form(gates: 4, activations: ["Sigmoid", "Tanh", "Tanh"], isQuantized: true),
        "GRU": Form(gates: 3, activations: ["Sigmoid", "Tanh"]),
        "LSTM": Form(gates: 4, activations: ["Sigmoid", "Tanh", "Tanh"]),
        "RNN": Form(gates: 1, activations: ["Tanh"]),
    ]

    private let kind: Kind
    private let isQuantized: Bool
    private let gates: Int
    private let activationsPerDirection: Int
    /// By direction: whether time runs backwards.
    private let reversed: [Bool]
    private let hidden: Int?
    private let activations: [RecurrentActivation]
    private let clip: Float?
    private let isBatchFirst: Bool

    init(_ node: NodeReader) throws {
        guard let form = RecurrentOperator.forms[node.opType] else {
            throw ApusError(.internal, "\(node.opType) is no recurrent operator")
        }
        isQuantized = form.isQuantized
        gates = form.gates
        activationsPerDirection = form.activations.count
        let direction = try node.choice("direction", of: ["forward", "reverse", "bidirectional", "foward"], default: "forward")
        reversed = direction == "bidirectional" ? [false, true] : [direction == "reverse"]
        hidden = try node.optionalInt("hidden_size")
        if let hidden, hidden < 1 { throw ApusError(.invalidModel, "attribute \"hidden_size\" is \(hidden); it must be at least 1") }
        activations = try RecurrentActivation.list(node, defaults: form.activations, directions: reversed.count)
        clip = try node.optionalFloat("clip").flatMap { $0 > 0 ? $0 : nil }
        isBatchFirst = node.opset >= 14 ? try node.bool("layout", default: false) : false
        if node.opset < 7 { _ = try node.optionalInt("output_sequence") }
        switch node.opType {
        case "GRU": kind = .gru(resetsAfter: node.opset >= 3 ? try node.bool("linear_before_reset", default: false) : false)
        case "LSTM", "DynamicQuantizeLSTM": kind = .lstm(couplesInputForget: try node.bool("input_forget", default: false))
        default: kind = .rnn
        }
    }

    // MARK: Shapes

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: isQuantized ? [.float32] : [.float32, .float16, .bfloat16, .float64])
        _ = try context.commonType(isQuantized ? [0, 3, 5, 6, 7] : [0, 1, 2, 3, 5, 6, 7])
        if context.has(4) { _ = try context.type(4, oneOf: [.int32]) }
        let x = try context.dimensions(0, rank: 3...3), w = try context.dimensions(1, rank: 3...3), r = try context.dimensions(2, rank: 3...3)
        let count = reversed.count
        let size: Dimension = hidden.map { .known($0) } ?? r?[isQuantized ? 1 : 2] ?? .unknown
        if let h = size.known, h < 1 { throw ApusError(.shapeMismatch, "the hidden size is \(h); it must be at least 1") }
        let batch = x?[isBatchFirst ? 0 : 1] ?? .unknown, steps = x?[isBatchFirst ? 1 : 0] ?? .unknown, input = x?[2] ?? .unknown
        func check(_ index: Int, _ name: String, _ found: [Dimension]?, _ expected: [Dimension]) throws {
            guard let found else { return }
            guard found.count == expected.count,
                zip(found, expected).allSatisfy({ $0.known == nil || $1.known == nil || $0.known == $1.known })
            else {
                throw ApusError(
                    .shapeMismatch, "input \(index) (\(name)) has shape \(PartialShape(found)), \(PartialShape(expected)) expected")
            }
        }
        let all = size * .known(gates), directions = Dimension.known(count)
        try check(1, "W", w, isQuantized ? [directions, input, all] : [directions, all, input])
        try check(2, "R", r, isQuantized ? [directions, size, all] : [directions, all, size])
        if isQuantized { try checkParameters(context, all) }
        if context.has(3) { try check(3, "B", try context.shape(3).dimensions, [directions, all * .known(2)]) }
        if context.has(4) { try check(4, "sequence_lens", try context.shape(4).dimensions, [batch]) }
        let state = isBatchFirst ? [batch, directions, size] : [directions, batch, size]
        if context.has(5) { try check(5, "initial_h", try context.shape(5).dimensions, state) }
        if context.has(6) { try check(6, "initial_c", try context.shape(6).dimensions, state) }
        if context.has(7) { try check(7, "P", try context.shape(7).dimensions, [directions, size * .known(3)]) }
        let sequence = isBatchFirst ? [batch, steps, directions, size] : [steps, directions, batch, size]
        return (0..<context.outputCount).map { ValueInfo(type, PartialShape($0 == 0 ? sequence : state)) }
    }

    /// Scales and zero points of W and R: one for each direction, or for each column of each direction.
    private func checkParameters(_ context: InferenceContext, _ columns: Dimension) throws {
        for (weights, scale) in [(1, 8), (2, 10)] {
            let type = try context.type(weights, oneOf: [.uint8, .int8])
            _ = try context.type(scale, oneOf: [.float32])
            _ = try context.type(scale + 1, oneOf: [type])
            for index in [scale, scale + 1] {
                guard let shape = try context.shape(index).concrete(), let columns = columns.known else { continue }
                let perColumn = try columns.multiplied(by: reversed.count)
                guard shape.count == reversed.count || shape.count == perColumn else {
                    throw ApusError(
                        .shapeMismatch, "input \(index) has shape \(shape); \(reversed.count) or \(perColumn) elements expected")
                }
            }
        }
    }

    func multiplyAccumulates(_ inputs: [ValueInfo?], _ outputs: [ValueInfo]) -> Int {
        guard let x = try? inputs[0]?.concreteShape(), let w = try? inputs[1]?.concreteShape(), let r = try? inputs[2]?.concreteShape(),
            x.rank == 3
        else { return 0 }
        return FloatProduct.saturatingProduct([x[0], x[1], w.count + r.count])
    }

    // MARK: Preparation

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        if try context.type(0) == .float64 {
            let sizes = try sizes(context)
            return try prepare(context, sizes, DoubleRecurrentMath(sizes: sizes), "recurrent_double")
        }
        if isQuantized {
            let sizes = try sizes(context)
            return try prepare(context, sizes, try QuantizedRecurrentMath(context, sizes), "recurrent_quantised")
        }
        return try context.throughFloat32 { context in
            let sizes = try sizes(context)
            return try prepare(context, sizes, try FloatRecurrentMath(context, sizes), "recurrent_float")
        }
    }

    private func sizes(_ context: PrepareContext) throws -> RecurrentSizes {
        let x = try context.shape(0), r = try context.shape(2)
        var parts = [0..<gates]
        if case .gru = kind { parts = [0..<2, 2..<3] }
        return RecurrentSizes(
            steps: x[isBatchFirst ? 1 : 0], batch: x[isBatchFirst ? 0 : 1], input: x[2], hidden: r[isQuantized ? 1 : 2], gates: gates,
            directions: reversed.count, parts: parts)
    }

    private func prepare<Math: RecurrentMath>(
        _ context: PrepareContext, _ sizes: RecurrentSizes, _ math: Math, _ name: String
    ) throws -> any PreparedNode {
        let functions = activations.map(math.activation)
        let cells = reversed.indices.map { direction in
            RecurrentCell(
                kind: kind, sizes: sizes, math: math, direction: direction, isReversed: reversed[direction], isBatchFirst: isBatchFirst,
                functions: Array(functions[(direction * activationsPerDirection)..<((direction + 1) * activationsPerDirection)]),
                clip: clip.map { Math.Number($0) })
        }
        let bytes = try cells[0].workspaceByteCount()
        return PreparedKernel(name, workspace: try bytes.multiplied(by: cells.count)) { io in
            if io.has(4) {
                let lengths = io.input(4, as: Int32.self)
                for index in 0..<sizes.batch where lengths[index] < 0 || Int(lengths[index]) > sizes.steps {
                    throw ApusError(
                        .invalidValue, "sequence_lens holds \(lengths[index]); lengths must lie in [0, \(sizes.steps)]")
                }
            }
            if sizes.batch == 0 { return }
            let workspace = io.workspace
            io.pool.parallel(cells.count) { cells[$0].run(io, workspace + $0 * bytes) }
        }
    }
}
