import ApusCore
import ApusGraph
import ApusOperators

/// Mul, Div, Add and Sub by constants of each channel after an InstanceNormalization or GroupNormalization become part of its
/// scale and bias.
struct NormalizationScale: Rewrite {
    let name = "NormalizationScale"
    let pattern = Pattern.node(
        "linear", ops: ["Mul", "Div", "Add", "Sub"], domain: "",
        inputs: [.oneOf(["InstanceNormalization", "GroupNormalization"], as: "normalization")], isCommutative: true)

    func apply(_ match: Match, _ editor: GraphEditor, _ context: PassContext) throws -> Outcome {
        guard let last = match.nodes["linear"], let inner = match.nodes["normalization"] else { return .refused("no node") }
        var own = editor.graph.nodes[inner]
        guard own.opType == "InstanceNormalization" || own.opset >= 21 else { return .refused("the scale is one for each group") }
        guard own.inputs.count == 3, let shape = context.dimensions(own.inputs[0]), shape.count >= 3, let channels = shape[1].known,
            let scale = editor.floats(own.inputs[1], count: channels), let bias = editor.floats(own.inputs[2], count: channels)
        else { return .refused("scale and bias are not constants of float32") }
        guard let linear = ChannelwiseLinear(editor.graph.nodes[last], of: inner, channels: channels, rank: shape.count, editor) else {
            return .refused("it is not linear in each channel with float32 constants")
        }
        own.inputs[1] = try editor.addVector(zip(scale, linear.factors).map { Float(Double($0) * $1) }, context)
        own.inputs[2] = try editor.addVector(
            zip(bias, zip(linear.factors, linear.shifts)).map { Float(Double($0) * $1.0 + $1.1) }, context)
        own.outputs = editor.graph.nodes[last].outputs
        own.origin = name
        editor.remove(inner)
        editor.replace(last, with: own)
        return .applied
    }
}
