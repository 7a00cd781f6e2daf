import ApusCore
import ApusGraph
import ApusOperators

/// The activation after a convolution is done while the result is at hand.
struct ConvolutionActivation: Rewrite {
    let name = "ConvolutionActivation"
    let pattern = Pattern.node(
        "activation", ops: EpilogueActivation.operators, domain: "", inputs: [ConvolutionNode.pattern], isCommutative: false)

    func apply(_ match: Match, _ editor: GraphEditor, _ context: PassContext) throws -> Outcome {
        guard let index = match.nodes["activation"], let old = match.nodes[ConvolutionNode.name], var own = ConvolutionNode(match, editor)
        else { return .refused("no node") }
        if own.hasActivation { return .refused("there is an activation already") }
        guard let type = own.elementType(context, editor),
            let activation = EpilogueActivation(editor.graph.nodes[index], type, editor)
        else { return .refused("its parameters are not constant") }
        own.setActivation(activation)
        own.absorb(index, from: old, name, editor)
        return .applied
    }
}
