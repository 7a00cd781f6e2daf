import ApusCore
import ApusGraph
import ApusOperators

/// Products and convolutions take constant weights of 8 and 16 bits as they are, without the Cast to float32 in between, and what a Gather takes out of
/// such constants is widened afterwards: they stay as small in memory, and are read as such.
struct NarrowWeights: RewritePass {
    let name = "NarrowWeights"

    let rules = [
        Rule(.own("MatMul", .any("a"), .any("constant"), as: "reader"), takeWeights),
        Rule(.own("Conv", .any("x"), .any("constant"), as: "reader"), takeWeights),
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
        guard let (source, _) = try narrow(match, editor, context) else { return .inapplicable }
        var node = try match.node("reader", editor)
        node.inputs[1] = source
        match.replace(with: node, by: "NarrowWeights", editor)
        return .applied
    }

    /// The constant behind a Cast that widens it to float32, and the Cast.
    private static func narrow(_ match: Match, _ editor: GraphEditor, _ context: PassContext) throws -> (ValueID, Node)? {
        let value = try match.value("constant")
        guard let cast = editor.producer(value)?.node, cast.domain.isEmpty, cast.opType == "Cast", let source = cast.inputs.first ?? nil,
            case .tensor(let tensor)? = editor.constant(source), NarrowProduct.types.contains(tensor.type),
            editor.elementType(value, context) == .float32
        else { return nil }
        return (source, cast)
    }
}
