import ApusCore
import ApusGraph
import ApusOperators

/// A convolution of few channels reads its input as the caller gives it: the Transpose to channels last in front of the first
/// convolution of a network of images goes.
struct ChannelsFirstInput: Rewrite {
    let name = "ChannelsFirstInput"
    let pattern = Pattern.node(
        ConvolutionNode.name, ops: ["Conv"], domain: "apus", inputs: [.oneOf(["Transpose"], as: "transpose")], isCommutative: false)

    func apply(_ match: Match, _ editor: GraphEditor, _ context: PassContext) throws -> Outcome {
        guard let index = match.nodes[ConvolutionNode.name], let before = match.nodes["transpose"],
            var own = ConvolutionNode(match, editor), let source = editor.graph.nodes[before].inputs.first ?? nil
        else { return .refused("no node") }
        guard !own.isChannelsFirst, own.node.attribute("input_first") == nil, own.node.attribute("winograd") == nil else {
            return .refused("it reads channels last for a reason")
        }
        guard case .tensor(let weights)? = editor.constant(own.weights),
            weights.type == .float32 || NarrowProduct.types.contains(weights.type),
            case .ints(let permutation)? = editor.graph.nodes[before].attribute("perm"), permutation.count == weights.shape.rank,
            permutation == ImageAxes.toLast(permutation.count).map(Int64.init)
        else { return .refused("the weights are computed or no floats, or the Transpose moves other axes") }
        let axes = weights.shape.rank - 2
        var dilation: Int64 = 1
        if case .ints(let dilations)? = own.node.attribute("dilations") { dilation = dilations.last ?? 1 }
        guard own.group == 1, dilation == 1, (1...2).contains(axes), weights.shape.count(2...) > 1,
            (1...WindowedConvolution.mostChannels).contains(weights.shape[1]), weights.count <= WindowedConvolution.mostWeights
        else { return .refused("it has many channels or weights, groups, or windows with holes") }
        own.setPart(0, source)
        own.setAttribute("input_first", .int(1))
        own.node.origin = name
        editor.replace(index, with: own.node)
        return .applied
    }
}
