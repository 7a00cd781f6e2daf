import ApusCore
import ApusGraph
import ApusOperators

/// The addition of another value of the same shape to a convolution's result is done while the result is at hand.
struct ConvolutionResidual: Rewrite {
    let name = "ConvolutionResidual"
    let pattern = Pattern.node("sum", ops: ["Add", "Sum"], domain: "", inputs: [ConvolutionNode.pattern], isCommutative: true)

    func apply(_ match: Match, _ editor: GraphEditor, _ context: PassContext) throws -> Outcome {
        guard let index = match.nodes["sum"], let old = match.nodes[ConvolutionNode.name], var own = ConvolutionNode(match, editor) else {
            return .refused("no node")
        }
        let node = editor.graph.nodes[index]
        guard node.inputs.count == 2 else { return .refused("it adds more than two values") }
        let position = node.inputs.firstIndex { $0.flatMap { editor.producer($0)?.index } == old } ?? 0
        guard let result = node.inputs[position], let residual = node.inputs[1 - position] else { return .refused("an input is missing") }
        if own.hasActivation { return .refused("an activation comes before") }
        if own.residual != nil { return .refused("a residual is added already") }
        guard let shape = context.dimensions(result), !shape.contains(.unknown), context.dimensions(residual) == shape else {
            return .refused("the shapes are not surely the same")
        }
        guard context.elementType(residual) == context.elementType(result) else { return .refused("the element types differ") }
        own.residual = residual
        own.absorb(index, from: old, name, editor)
        return .applied
    }
}
