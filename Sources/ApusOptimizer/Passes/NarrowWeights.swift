import ApusCore
import ApusGraph
import ApusOperators

/// Products take constant weights of 8 and 16 bits as they are, without the Cast to float32 in between: they stay as small in
/// memory, and are read as such.
struct NarrowWeights: RewritePass {
    let name = "NarrowWeights"

    let rules = [
        Rule(.own("MatMul", .any("a"), .any("b"), as: "product")) { match, editor, context in
            guard let cast = editor.producer(try match.value("b"))?.node, cast.domain.isEmpty, cast.opType == "Cast",
                let source = cast.inputs.first ?? nil, case .tensor(let tensor)? = editor.constant(source)
            else { return .inapplicable }
            guard NarrowProduct.types.contains(tensor.type), context.elementType(try match.value("b")) == .float32 else {
                return .refused("the Cast does not widen floats of 8 or 16 bits to float32")
            }
            var node = try match.node("product", editor)
            node.inputs[1] = source
            match.replace(with: node, by: "NarrowWeights", editor)
            return .applied
        }
    ]
}
