import ApusCore
import ApusGraph

/// A depthwise convolution over time that sees only the present and the past, with the last inputs carried from call to
/// call, as in Mamba and Gated DeltaNet.
struct CausalConvWithStateOperator: Operator {
    static let schemas = [Schema("CausalConvWithState", since: [27], inputs: 2...4, outputs: 1...2)]

    private let isSwish: Bool
    private let outputCount: Int

    init(_ node: NodeReader) throws {
        isSwish = try node.choice("activation", of: ["none", "silu", "swish"], default: "none") != "none"
        outputCount = node.outputCount
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: [.float32, .float16, .bfloat16])
        _ = try context.commonType(0..<4)
        let x = try context.dimensions(0, rank: 3...3), w = try context.dimensions(1, rank: 3...3)
        let channels = x?[1] ?? w?[0] ?? .unknown, history = (w?[2] ?? .unknown) - .known(1)
        if let length = w?[2].known, length < 1 { throw ApusError(.shapeMismatch, "the kernel has no elements") }
        func check(_ what: String, _ found: [Dimension]?, _ expected: [Dimension]) throws {
            guard let found else { return }
            for (a, b) in zip(found, expected) {
                if let a = a.known, let b = b.known, a != b {
                    throw ApusError(.shapeMismatch, "\(what) has shape \(PartialShape(found)), \(PartialShape(expected)) expected")
                }
            }
        }
        try check("weight", w, [channels, .known(1), .unknown])
        if context.has(2) { try check("bias", context.dimensions(2, rank: 1...1), [channels]) }
        let state = [x?[0] ?? .unknown, channels, history]
        if context.has(3) { try check("past_state", context.dimensions(3, rank: 3...3), state) }
        return [ValueInfo(type, try context.shape(0)), ValueInfo(type, PartialShape(state))].prefix(outputCount) + []
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        try context.type(0).visitReal(Preparation(node: self, context: context))
    }

    private struct Preparation: RealVisitor {
        let node: CausalConvWithStateOperator
        let context: PrepareContext

        func visit<T: Element>(_: T.Type) throws -> any PreparedNode where T.Number: Real {
            let shape = try context.shape(0), taps = try context.shape(1)[2], history = taps - 1
            let channels = shape[1], length = shape[2], lines = shape[0] &* shape[1]
            let hasBias = context.has(2), hasPast = context.has(3), isSwish = node.isSwish
            // Both are empty, whatever the other dimensions are.
            if shape.count == 0, history == 0 || lines == 0 { return PreparedKernel("nothing") { _ in } }
            return PreparedKernel("causal_conv") { io in
                let x = io.input(0, as: T.self), w = io.input(1, as: T.self), y = io.output(0, as: T.self)
                let bias = hasBias ? io.input(2, as: T.self) : nil, past = hasPast ? io.input(3, as: T.self) : nil
                let present = io.hasOutput(1) ? io.output(1, as: T.self) : nil
                io.pool.inChunks(lines, of: max(1, elementwiseChunk / max(1, length))) { range in
                    for line in range {
                        let x = x + line * length, y = y + line * length
                        let kernel = w + line % channels * taps, before = past.map { $0 + line * history }
                        let start = bias?[line % channels].number ?? 0
                        for t in 0..<length {
                            var sum = start
                            for tap in 0..<taps {
                                let place = t + tap - history
                                let value = place >= 0 ? x[place].number : before?[history + place].number ?? 0
                                sum += kernel[tap].number * value
                            }
                            var result = T(rounding: sum)
                            if isSwish { result = T(rounding: result.number * SigmoidFunction.sigmoid(result.number)) }
                            y[t] = result
                        }
                        guard let present else { continue }
                        for index in 0..<history {
                            let place = length - history + index
                            present[line * history + index] =
                                place >= 0 ? x[place] : before?[history + place] ?? T(rounding: 0)
                        }
                    }
                }
            }
        }
    }
}
