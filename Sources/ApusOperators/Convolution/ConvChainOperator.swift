import ApusCore
import ApusGraph

/// Where the parts of an `apus.ConvChain` are.
package enum ConvChain {
    /// Of the attributes, by convolution.
    package static let prefixes = ["first_", "second_", "last_"]

    /// The input with the weights of a convolution; bias and weight_scale follow.
    package static func weights(_ position: Int) -> Int { 1 + 3 * position }

    package static let residual = 10

    /// Elements of an image between the first and the second below which they run one after another: as many stay in L2 anyhow.
    package static let leastElements = 1 << 17
}

/// `apus.ConvChain`, which the optimiser makes: two or three `apus.Conv` of float32 images with channels last, each of which
/// reads what the one before makes and nobody else does. As a rule the first has windows of one pixel or is the first of a network, the
/// second is depthwise and the last has windows of one pixel, as in the blocks of MobileNet; what is between, several times as
/// large as what comes and goes, then never leaves the caches.
///
/// Inputs: X; W, bias (optional), weight_scale (optional) of the first, of the second, and of the last, where there is one; residual
/// (optional, of the output's shape), which the last one adds. Attributes: those of `apus.Conv`, each with a prefix that says whose it
/// is: `first_`, `second_`, `last_`. The result is that of the nodes one after another, bit for bit.
struct ConvChainOperator: Operator {
    static let schemas = [Schema("ConvChain", domain: "apus", since: [1], inputs: 5...11)]

    private let convolutions: [ConvOperator]
    /// For tests to change.
    var limits = ConvolutionChain.Limits()

    init(_ node: NodeReader) throws {
        convolutions = try ConvChain.prefixes.prefix(node.hasInput(ConvChain.weights(2)) ? 3 : 2).map { prefix in
            let own = node.node.attributes.filter { $0.name.hasPrefix(prefix) }
            own.forEach { node.ignore($0.name) }
            let reader = try NodeReader(
                Node(
                    "Conv", domain: "apus", name: node.node.name, opset: 1,
                    attributes: own.map { Attribute(String($0.name.dropFirst(prefix.count)), $0.value) }, inputs: [], outputs: []))
            let convolution = try ConvOperator(reader)
            try reader.finish()
            guard convolution.isLast, convolution.readsLast || prefix == ConvChain.prefixes[0] else {
                throw ApusError(.invalidModel, "attribute \"\(prefix)channels_first\" or \"\(prefix)input_first\": channels must be last")
            }
            return convolution
        }
        if node.hasInput(ConvChain.residual), convolutions.count < 3 {
            throw ApusError(.invalidModel, "input \(ConvChain.residual) (residual) belongs to a third convolution, there are two")
        }
    }

    /// What convolution `position` sees, which reads `x`.
    private func inputs(_ position: Int, _ x: ValueInfo, _ all: InferenceContext) -> InferenceContext {
        let w = ConvChain.weights(position), residual = position == 2 ? all.optional(ConvChain.residual) : nil
        return InferenceContext(
            inputs: [x, all.optional(w), all.optional(w + 1), residual, all.optional(w + 2)], outputCount: 1)
    }

    /// What each convolution makes.
    private func results(_ context: InferenceContext) throws -> [ValueInfo] {
        var results: [ValueInfo] = []
        for position in convolutions.indices {
            let x = try position == 0 ? context.input(0) : results[position - 1]
            results += try convolutions[position].inferOutputs(inputs(position, x, context))
        }
        return results
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        _ = try context.type(0, oneOf: [.float32])
        let results = try results(context)
        return [results[results.count - 1]]
    }

    func multiplyAccumulates(_ inputs: [ValueInfo?], _ outputs: [ValueInfo]) -> Int {
        guard let results = try? results(InferenceContext(inputs: inputs, outputCount: 1)) else { return 0 }
        var total = 0
        for position in results.indices {
            let w = ConvChain.weights(position)
            let own = convolutions[position].multiplyAccumulates([nil, w < inputs.count ? inputs[w] : nil], [results[position]])
            let (sum, overflow) = total.addingReportingOverflow(own)
            total = overflow ? .max : sum
        }
        return total
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        if try context.outputShape(0).count == 0 { return PreparedKernel("nothing") { _ in } }
        let results = try results(InferenceContext(inputs: context.inputs, outputCount: 1))
        var shapes = [try context.shape(0)], parts: [FloatConvolution] = []
        for position in convolutions.indices {
            let w = ConvChain.weights(position)
            parts.append(
                try convolutions[position].convolutionLast(
                    context, x: shapes[position], weights: w, scale: context.has(w + 2) ? w + 2 : nil))
            guard let shape = try results[position].concreteShape() else { throw ApusError(.internal, "a convolution of no known shape") }
            shapes.append(shape)
        }
        let chain = try ConvolutionChain(parts, shapes: shapes, threads: context.threads, limits: limits)
        let hasBias = parts.indices.map { context.has(ConvChain.weights($0) + 1) }
        let hasResidual = context.has(ConvChain.residual)
        func pointer(_ io: NodeIO, _ index: Int, if isThere: Bool) -> UnsafePointer<Float>? {
            isThere ? io.input(index, as: Float.self) : nil
        }
        return PreparedKernel(chain.kernelName, workspace: chain.workspaceByteCount) { io in
            func operands(_ position: Int) -> ConvolutionChain.Operands {
                let w = ConvChain.weights(position)
                return (io.input(w, as: Float.self), pointer(io, w + 1, if: hasBias[position]))
            }
            chain.run(
                input: io.input(0, as: Float.self), operands(0), operands(1), hasBias.count > 2 ? operands(2) : nil,
                residual: pointer(io, ConvChain.residual, if: hasResidual), output: io.output(0, as: Float.self),
                workspace: io.workspace, pool: io.pool)
        }
    }
}
