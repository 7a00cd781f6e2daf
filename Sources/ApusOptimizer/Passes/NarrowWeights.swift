import ApusCore
import ApusGraph
import ApusOperators

/// Products and convolutions take constant weights of 8 and 16 bits as they are, without the Cast to float32 in between, and what a Gather takes out of
/// such constants is widened afterwards: they stay as small in memory, and are read as such. Factors of a convolution's output
/// channels between Cast and convolution, or in a DequantizeLinear, become its weight_scale.
struct NarrowWeights: RewritePass {
    let name = "NarrowWeights"

    let rules = [
        Rule(.own("MatMul", .any("a"), .any("constant"), as: "reader")) { match, editor, context in
            guard let (source, _) = try narrow(match, editor, context) else { return .inapplicable }
            var node = try match.node("reader", editor)
            node.inputs[1] = source
            match.replace(with: node, by: "NarrowWeights", editor)
            return .applied
        },
        Rule(ConvolutionNode.pattern, takeWeights),
        Rule(.op("Gather", .any("constant"), .any("indices"), as: "reader")) { match, editor, context in
            guard let (source, cast) = try narrow(match, editor, context) else { return .inapplicable }
            let node = try match.node("reader", editor)
            let elements = editor.addValue(like: node.outputs.first ?? nil, editor.elementType(source, context) ?? .float32, context)
            editor.add(
                Node(
                    "Gather", opset: node.opset, attributes: node.attributes, inputs: [source] + node.inputs.dropFirst(), outputs: [elements],
                    origin: "NarrowWeights"))
            match.replace(
                with: Node("Cast", name: node.name, opset: cast.opset, attributes: cast.attributes, inputs: [elements], outputs: []),
                by: "NarrowWeights", editor)
            return .applied
        },
    ]

    @Sendable private static func takeWeights(_ match: Match, _ editor: GraphEditor, _ context: PassContext) throws -> Outcome {
        guard let index = match.nodes[ConvolutionNode.name], var own = ConvolutionNode(match, editor), let weights = own.weights,
            let producer = editor.producer(weights)?.node, own.elementType(context, editor) == .float32
        else { return .inapplicable }
        var source = narrow(weights, editor, context)?.source, factors: [Float]?
        if source == nil, let channels = own.outputChannels(context, editor), let rank = own.weightDimensions(context, editor)?.count,
            let scale = own.constantScale(channels: channels, editor), !own.isTransposed || own.group == 1,
            let (constant, own) = scaled(producer, axis: own.isTransposed ? 1 : 0, channels: channels, rank: rank, editor, context)
        {
            source = constant
            factors = zip(own, scale).map { $0 * $1 }
        }
        guard let source else { return .inapplicable }
        own.setPart(1, source)
        if let factors { own.weightScale = try editor.addVector(factors, context) }
        own.node.origin = "NarrowWeights"
        editor.replace(index, with: own.node)
        return .applied
    }

    /// The narrow constant and the factors of its `channels` channels on `axis` that `node` brings into float32; nil where it does
    /// something else.
    private static func scaled(
        _ node: Node, axis: Int, channels: Int, rank: Int, _ editor: GraphEditor, _ context: PassContext
    ) -> (ValueID, [Float])? {
        guard node.domain.isEmpty, node.inputs.count >= 2, let first = node.inputs[0], let second = node.inputs[1] else { return nil }
        if node.opType == "Mul", node.opset >= 7 {
            for (value, other) in [(first, second), (second, first)] {
                guard let (source, _) = narrow(value, editor, context), case .tensor(let tensor)? = editor.constant(other),
                    tensor.type == .float32, tensor.shape.rank <= rank
                else { continue }
                // Broadcast from the last axis on, all of length 1 but the channels'.
                let place = axis - (rank - tensor.shape.rank)
                guard tensor.count == 1 || place >= 0 && tensor.count == channels && tensor.shape[place] == channels else { return nil }
                return (source, spread(tensor, channels))
            }
            return nil
        }
        guard node.opType == "DequantizeLinear", case .tensor(let constant)? = editor.constant(first), constant.shape.rank == rank,
            constant.type.bitWidth == 8, NarrowProduct.types.contains(constant.type), case .tensor(let scale)? = editor.constant(second),
            scale.type == .float32
        else { return nil }
        if case .int(let size)? = node.attribute("block_size"), size != 0 { return nil }
        if node.inputs.count > 2, let zero = node.inputs[2] {
            guard case .tensor(let tensor)? = editor.constant(zero), tensor.type == constant.type,
                tensor.array(UInt8.self).allSatisfy({ $0 == 0 })
            else { return nil }
        }
        var given = 1
        if case .int(let value)? = node.attribute("axis") { given = Int(clamping: value) }
        guard scale.shape.rank == 0 || scale.shape.rank == 1 && scale.count == channels && (given < 0 ? given &+ rank : given) == axis else {
            return nil
        }
        return (first, spread(scale, channels))
    }

    private static func spread(_ tensor: Tensor, _ channels: Int) -> [Float] {
        let elements = tensor.array(Float.self)
        return elements.count == channels ? elements : [Float](repeating: elements.first ?? 1, count: channels)
    }

    private static func narrow(_ match: Match, _ editor: GraphEditor, _ context: PassContext) throws -> (source: ValueID, cast: Node)? {
        narrow(try match.value("constant"), editor, context)
    }

    /// The constant behind a Cast that widens it to float32, and the Cast.
    private static func narrow(_ value: ValueID, _ editor: GraphEditor, _ context: PassContext) -> (source: ValueID, cast: Node)? {
        guard let cast = editor.producer(value)?.node, cast.domain.isEmpty, cast.opType == "Cast", let source = cast.inputs.first ?? nil,
            case .tensor(let tensor)? = editor.constant(source), NarrowProduct.types.contains(tensor.type),
            editor.elementType(value, context) == .float32
        else { return nil }
        return (source, cast)
    }
}
