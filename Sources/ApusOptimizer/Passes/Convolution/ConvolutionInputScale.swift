import ApusCore
import ApusGraph
import ApusOperators

/// What comes before a convolution and is linear in each channel becomes part of its weights and bias: BatchNormalization,
/// and Mul, Div, Add and Sub by constants. A shift must not meet padding: padded zeros are not shifted.
struct ConvolutionInputScale: Rewrite {
    let name = "ConvolutionInputScale"
    let pattern = Pattern.node(
        ConvolutionNode.name, ops: ["Conv"], domain: "apus",
        inputs: [.oneOf(["BatchNormalization", "Mul", "Div", "Add", "Sub"], as: "linear")], isCommutative: false)

    func apply(_ match: Match, _ editor: GraphEditor, _ context: PassContext) throws -> Outcome {
        guard let index = match.nodes[ConvolutionNode.name], let before = match.nodes["linear"], var own = ConvolutionNode(match, editor)
        else { return .refused("no node") }
        guard own.isChannelsFirst else { return .refused("the channels are last") }
        guard case .tensor(let weights)? = editor.constant(own.weights), weights.type == .float32, weights.shape.rank > 2 else {
            return .refused("the weights are computed or not of float32")
        }
        let shape = weights.shape, group = own.group, perGroup = shape[1], outputs = shape[0]
        let (channels, overflow) = perGroup.multipliedReportingOverflow(by: group)
        guard !overflow, outputs > 0, outputs % group == 0 else { return .refused("the weights do not fit the groups") }
        let node = editor.graph.nodes[before]
        guard let position = node.inputs.firstIndex(where: { editor.constant($0) == nil }), let source = node.inputs[position],
            let linear = ChannelwiseLinear(node, position: position, channels: channels, rank: shape.rank, editor)
        else { return .refused("it is not linear in each channel with float32 constants") }
        guard let dimensions = context.dimensions(source), dimensions.count == shape.rank, dimensions[1] == .known(channels) else {
            return .refused("its operand has not surely the shape of its result")
        }
        let isShifted = linear.shifts.contains { $0 != 0 }
        if isShifted && pads(own.node) { return .refused("padding would be shifted") }
        guard let bias = own.constantBias(channels: outputs, editor), let scale = own.constantScale(channels: outputs, editor) else {
            return .refused("the bias is computed or not of float32")
        }
        let taps = shape.count(2...), scaled = try weights.copied(budget: context.evaluator.budget)
        let elements = scaled.pointer.assumingMemoryBound(to: Float.self)
        var newBias = bias
        for output in 0..<outputs {
            var sum = 0.0
            for inner in 0..<perGroup {
                let channel = output / (outputs / group) * perGroup + inner
                for tap in 0..<taps {
                    let place = (output * perGroup + inner) * taps + tap
                    sum += Double(elements[place]) * linear.shifts[channel]
                    elements[place] = Float(Double(elements[place]) * linear.factors[channel])
                }
            }
            newBias[output] = Float(Double(bias[output]) + sum * Double(scale[output]))
        }
        own.setPart(0, source)
        own.setPart(1, editor.addInitializer(.tensor(scaled)))
        if isShifted { own.bias = try editor.addVector(newBias, context) }
        own.node.origin = name
        editor.replace(index, with: own.node)
        return .applied
    }

    /// Whether the convolution may see padding.
    private func pads(_ node: Node) -> Bool {
        if case .string(let mode)? = node.attribute("auto_pad"), !["NOTSET", "VALID", ""].contains(mode.description) { return true }
        if case .ints(let pads)? = node.attribute("pads") { return pads.contains { $0 != 0 } }
        return false
    }
}
