import ApusCore
import ApusGraph
import ApusOperators

/// Conv and ConvTranspose become `apus.Conv` and `apus.ConvTranspose`, channels first as they are: the form to which the
/// following passes add scales, residuals and activations.
struct OwnConvolutions: Rewrite {
    let name = "OwnConvolutions"
    let pattern = Pattern.oneOf(["Conv", "ConvTranspose"], as: ConvolutionNode.name)

    /// A transposed convolution is as many plain ones as its strides have phases; beyond this the standard operator has
    /// another way.
    private static let mostPhases = 1024

    func apply(_ match: Match, _ editor: GraphEditor, _ context: PassContext) throws -> Outcome {
        guard let index = match.nodes[ConvolutionNode.name], var own = ConvolutionNode(match, editor) else { return .refused("no node") }
        guard let type = context.elementType(own.input), [.float32, .float16, .bfloat16].contains(type) else {
            return .refused("the elements are not of float32, float16 or bfloat16")
        }
        if own.isTransposed, case .ints(let strides)? = own.node.attribute("strides") {
            let phases = strides.reduce(Int64(1)) { product, stride in
                let (next, overflow) = product.multipliedReportingOverflow(by: stride)
                return overflow || stride < 1 ? .max : next
            }
            guard phases <= OwnConvolutions.mostPhases else { return .refused("the strides have \(phases) phases") }
        }
        own.node.domain = "apus"
        own.node.opset = 1
        own.node.origin = name
        own.setAttribute("channels_first", .int(1))
        editor.replace(index, with: own.node)
        return .applied
    }
}
