import ApusCore
import ApusGraph
import ApusOperators

/// What follows a convolution and is linear in each channel becomes part of its weights and bias: BatchNormalization, and
/// Mul, Div, Add and Sub by constants. A chain of them is taken up one after the other.
struct ConvolutionScale: Rewrite {
    let name = "ConvolutionScale"
    let pattern = Pattern.node(
        "linear", ops: ["BatchNormalization", "Mul", "Div", "Add", "Sub"], domain: "", inputs: [ConvolutionNode.pattern],
        isCommutative: true)

    func apply(_ match: Match, _ editor: GraphEditor, _ context: PassContext) throws -> Outcome {
        guard let index = match.nodes["linear"], let old = match.nodes[ConvolutionNode.name], var own = ConvolutionNode(match, editor)
        else { return .refused("no node") }
        if own.hasActivation { return .refused("an activation comes before") }
        if own.residual != nil { return .refused("a residual is added before") }
        guard let channels = own.outputChannels(context, editor), let rank = own.weightDimensions(context, editor)?.count else {
            return .refused("the number of channels is unknown")
        }
        let node = editor.graph.nodes[index]
        guard let linear = ChannelwiseLinear(node, of: old, channels: channels, rank: rank, editor) else {
            return .refused("it is not linear in each channel with float32 constants")
        }
        guard let bias = own.constantBias(channels: channels, editor) else { return .refused("the bias is computed or not of float32") }
        if linear.factors.contains(where: { $0 != 1 }) {
            guard own.elementType(context, editor) == .float32, editor.constant(own.weights) != nil,
                let scale = own.constantScale(channels: channels, editor)
            else { return .refused("the weights are computed or not of float32") }
            own.weightScale = try editor.addVector(zip(scale, linear.factors).map { Float(Double($0) * $1) }, context)
        }
        own.bias = try editor.addVector(
            zip(bias, zip(linear.factors, linear.shifts)).map { Float(Double($0) * $1.0 + $1.1) }, context)
        own.absorb(index, from: old, name, editor)
        return .applied
    }
}

/// x * factor + shift for each channel: what a node does to one of its inputs.
struct ChannelwiseLinear {
    let factors: [Double]
    let shifts: [Double]

    /// nil where `node` does something else to the value that the node `producer` makes: images of `rank` axes, `channels`
    /// on the second.
    init?(_ node: Node, of producer: Int, channels: Int, rank: Int, _ editor: GraphEditor) {
        guard let position = node.inputs.firstIndex(where: { $0.flatMap { editor.producer($0)?.index } == producer }) else { return nil }
        self.init(node, position: position, channels: channels, rank: rank, editor)
    }

    /// The same for the input of `node` at `position`.
    init?(_ node: Node, position: Int, channels: Int, rank: Int, _ editor: GraphEditor) {
        if node.opType == "BatchNormalization" {
            guard position == 0 else { return nil }
            self.init(normalization: node, channels: channels, editor)
            return
        }
        // Before opset 7 broadcasting followed an attribute.
        guard node.inputs.count == 2, node.opset >= 7,
            let constants = editor.perChannel(node.inputs[1 - position], channels: channels, rank: rank)?.map(Double.init)
        else { return nil }
        let zeros = [Double](repeating: 0, count: channels), ones = [Double](repeating: 1, count: channels)
        switch (node.opType, position) {
        case ("Mul", _): self.init(constants, zeros)
        case ("Add", _): self.init(ones, constants)
        case ("Div", 0): self.init(constants.map { 1 / $0 }, zeros)
        case ("Sub", 0): self.init(ones, constants.map { -$0 })
        case ("Sub", 1): self.init(ones.map { -$0 }, constants)
        default: return nil
        }
    }

    /// nil where a factor is not finite.
    private init?(_ factors: [Double], _ shifts: [Double]) {
        guard factors.allSatisfy(\.isFinite) else { return nil }
        self.factors = factors
        self.shifts = shifts
    }

    private init?(normalization node: Node, channels: Int, _ editor: GraphEditor) {
        if case .int(let flag)? = node.attribute("training_mode"), flag != 0 { return nil }
        if case .int(0)? = node.attribute("spatial") { return nil }
        guard node.outputs.dropFirst().allSatisfy({ $0.map { editor.useCount($0) == 0 } ?? true }), node.inputs.count == 5 else { return nil }
        let parameters = node.inputs[1...].compactMap { editor.floats($0, count: channels) }
        guard parameters.count == 4 else { return nil }
        var epsilon: Float = 1e-5
        if case .float(let given)? = node.attribute("epsilon") { epsilon = given }
        let (scale, bias, mean, variance) = (parameters[0], parameters[1], parameters[2], parameters[3])
        let factors = (0..<channels).map { Double(scale[$0]) / (Double(variance[$0]) + Double(epsilon)).squareRoot() }
        self.init(factors, (0..<channels).map { Double(bias[$0]) - Double(mean[$0]) * factors[$0] })
    }
}
