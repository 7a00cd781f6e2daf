import ApusCore
import ApusGraph
import ApusOperators

/// A convolution of single pixels or of few channels, the depthwise one behind it and, where nothing lies between, the convolution of
/// pixels behind that become one node, which takes bands of rows through all of them: what is between is several times as large as
/// what comes and goes, and would leave the caches.
///
/// Results do not change by a bit. Whether bands are faster than one convolution after another is decided for the sizes of a run; here
/// only images that are small for certain are left alone.
struct ConvolutionChains: RewritePass {
    let name = "ConvolutionChains"

    let rules = [
        Rule(.own("Conv", .own("Conv", as: "first"), as: "second"), join),
        Rule(.own("Conv", .own("ConvChain", as: "chain"), as: "last"), extend),
    ]

    @Sendable private static func join(_ match: Match, _ editor: GraphEditor, _ context: PassContext) throws -> Outcome {
        let first = ConvolutionNode(try match.node("first", editor)), second = ConvolutionNode(try match.node("second", editor))
        guard isByPixel(first, context, editor) || seesFewChannels(first, context, editor), isDepthwise(second, context, editor) else {
            return .inapplicable
        }
        if first.residual != nil || second.residual != nil { return .refused("something is added on the way") }
        guard let between = context.dimensions(first.node.outputs.first ?? nil), between.count == 4 else {
            return .refused("the sizes between are not known")
        }
        if let image = try PartialShape(Array(between.dropFirst())).concrete(), image.count < ConvChain.leastElements {
            return .refused("the images are small")
        }
        let chain = Node(
            "ConvChain", domain: "apus", name: second.node.name, opset: 1, attributes: attributes(first, 0) + attributes(second, 1),
            inputs: [first.input] + operands(first) + operands(second), outputs: [])
        match.replace(with: chain, by: "ConvolutionChains", editor)
        return .applied
    }

    @Sendable private static func extend(_ match: Match, _ editor: GraphEditor, _ context: PassContext) throws -> Outcome {
        let last = ConvolutionNode(try match.node("last", editor))
        var chain = try match.node("chain", editor)
        guard chain.inputs.count == ConvChain.weights(2), isByPixel(last, context, editor) else { return .inapplicable }
        if let output = last.node.outputs.first ?? nil, !editor.isOutput(output), case let readers = editor.consumers(output), readers.count == 1,
            case let reader = editor.graph.nodes[readers[0]], reader.domain == "apus", reader.opType == "Conv",
            isDepthwise(ConvolutionNode(reader), context, editor)
        {
            return .refused("it begins a chain")
        }
        chain.inputs += operands(last)
        if let residual = last.residual { chain.inputs.append(residual) }
        chain.attributes += attributes(last, 2)
        chain.name = last.node.name
        match.replace(with: chain, by: "ConvolutionChains", editor)
        return .applied
    }

    /// The constant weights of a float32 convolution of images with channels last, at least in the output.
    private static func weights(_ node: ConvolutionNode, _ context: PassContext, _ editor: GraphEditor) -> Tensor? {
        guard !node.isChannelsFirst, context.elementType(node.input) == .float32, case .tensor(let weights)? = editor.constant(node.weights),
            weights.shape.rank == 4
        else { return nil }
        return weights
    }

    private static func all(_ node: ConvolutionNode, _ name: String, _ wanted: Int64) -> Bool {
        guard case .ints(let values)? = node.node.attribute(name) else { return node.node.attribute(name) == nil }
        return values.allSatisfy { $0 == wanted }
    }

    /// Whether each pixel of the output is made of the one at its place.
    private static func isByPixel(_ node: ConvolutionNode, _ context: PassContext, _ editor: GraphEditor) -> Bool {
        guard let weights = weights(node, context, editor), weights.type == .float32, weights.shape.count(2...) == 1, node.group == 1 else {
            return false
        }
        return node.node.attribute("input_first") == nil && all(node, "strides", 1) && all(node, "pads", 0)
    }

    /// Whether windows are runs of pixels with few channels, as in the first convolution of a network.
    private static func seesFewChannels(_ node: ConvolutionNode, _ context: PassContext, _ editor: GraphEditor) -> Bool {
        guard let weights = weights(node, context, editor), weights.count <= WindowedConvolution.mostWeights, node.group == 1 else { return false }
        return (1...WindowedConvolution.mostChannels).contains(weights.shape[1]) && all(node, "dilations", 1)
            && node.node.attribute("winograd") == nil
    }

    private static func isDepthwise(_ node: ConvolutionNode, _ context: PassContext, _ editor: GraphEditor) -> Bool {
        guard let weights = weights(node, context, editor), weights.shape[1] == 1 else { return false }
        return node.group == weights.shape[0] && node.group > 1
    }

    private static func operands(_ node: ConvolutionNode) -> [ValueID?] { [node.weights, node.bias, node.weightScale] }

    private static func attributes(_ node: ConvolutionNode, _ position: Int) -> [Attribute] {
        node.node.attributes.map { Attribute(ConvChain.prefixes[position] + $0.name, $0.value) }
    }
}
