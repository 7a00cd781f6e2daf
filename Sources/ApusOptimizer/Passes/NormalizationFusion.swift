import ApusCore
import ApusGraph

/// Recognises layer and root-mean-square normalisations that exporters write as reductions and arithmetic, and makes one node
/// of each.
struct NormalizationFusion: RewritePass {
    let name = "NormalizationFusion"
    let rules: [Rule]

    init() {
        let name = name
        let x = Pattern.any("x"), scale = Pattern.any("scale"), bias = Pattern.any("bias"), epsilon = Pattern.constant("epsilon")
        /// x / deviation in the forms that exporters use.
        func divided(_ x: Pattern, _ variance: Pattern) -> [Pattern] {
            let root = Pattern.op("Sqrt", .op("Add", variance, epsilon, as: "shifted"))
            return [
                .op("Div", x, root, as: "normalized"),
                .op("Mul", .op("Reciprocal", root), x, as: "normalized"),
                .op("Mul", .op("Div", .scalar(1), root), x, as: "normalized"),
                .op("Mul", .op("Pow", .op("Add", variance, epsilon, as: "shifted"), .scalar(-0.5)), x, as: "normalized"),
            ]
        }
        func squares(_ x: Pattern) -> [Pattern] {
            [.op("Pow", x, .scalar(2)), .op("Mul", x, x, as: "square")]
        }
        // Exporters that compute the difference twice are served by the merging of equal nodes before.
        let centered = Pattern.shared(.op("Sub", x, .op("ReduceMean", x, as: "mean"), as: "centered"))
        let layers = squares(centered).flatMap { divided(centered, .op("ReduceMean", $0, as: "variance")) }
        let roots = squares(x).flatMap { divided(x, .op("ReduceMean", $0, as: "variance")) }

        let layer: @Sendable (Match, GraphEditor, PassContext) throws -> Outcome = { match, editor, context in
            try NormalizationFusion.fuse(match, "LayerNormalization", opset: 17, reductions: ["mean", "variance"], editor, context, name)
        }
        let root: @Sendable (Match, GraphEditor, PassContext) throws -> Outcome = { match, editor, context in
            try NormalizationFusion.fuse(match, "RMSNormalization", opset: 23, reductions: ["variance"], editor, context, name)
        }
        // The differences alone match as a root mean square, so layers come first.
        rules = layers.map { Rule(.op("Mul", $0, scale, as: "last"), layer) } + roots.map { Rule(.op("Mul", $0, scale, as: "last"), root) }
            + [
                Rule(.op("Add", .op("LayerNormalization", x, scale, as: "layer"), bias, as: "last")) { match, editor, context in
                    try NormalizationFusion.takeBias(match, editor, context, name)
                }
            ]
    }

    private static func takeBias(_ match: Match, _ editor: GraphEditor, _ context: PassContext, _ pass: String) throws -> Outcome {
        var node = try match.node("layer", editor)
        let bias = try match.value("bias"), scale = try match.value("scale"), result = node.outputs.first ?? nil
        guard node.inputs.count == 2, node.outputs.count == 1 else { return .inapplicable }
        guard context.sameShape(scale, bias), context.elementType(bias) == context.elementType(scale),
            context.sameShape(result, editor.graph.nodes[match.indices[0]].outputs.first ?? nil)
        else { return .refused("what is added to the normalised rows has another shape than the scale") }
        node.inputs.append(bias)
        match.replace(with: node, by: pass, editor)
        return .applied
    }

    private static func fuse(
        _ match: Match, _ op: String, opset: Int, reductions: [String], _ editor: GraphEditor, _ context: PassContext, _ pass: String
    ) throws -> Outcome {
        let x = try match.value("x"), scale = try match.value("scale")
        guard context.isReal(x), let shape = context.dimensions(x), !shape.isEmpty else { return .refused("the input is no tensor of floats of known rank") }
        guard let epsilon = editor.scalar(match.values["epsilon"]), epsilon >= 0 else { return .refused("epsilon is no constant scalar") }
        var first = shape.count
        for reduction in reductions {
            guard let axes = reducedAxes(try match.node(reduction, editor), rank: shape.count, editor) else {
                return .refused("the axes of a mean are not known, or it drops them")
            }
            guard axes == Array((shape.count - axes.count)..<shape.count), !axes.isEmpty else {
                return .refused("the means are not over the last axes")
            }
            if reduction != reductions[0], first != axes[0] { return .refused("the means are over different axes") }
            first = axes[0]
        }
        let normalized = Array(shape[first...])
        guard !normalized.contains(.unknown) else { return .refused("the length of the rows is not known") }
        guard context.dimensions(scale) == normalized, context.elementType(scale) == context.elementType(x) else {
            return .refused("the scale has another shape than the rows")
        }
        guard context.sameShape(x, editor.graph.nodes[match.indices[0]].outputs.first ?? nil) else {
            return .refused("the result has another shape than the input")
        }
        match.replace(
            with: Node(
                op, opset: opset, attributes: [Attribute("axis", .int(Int64(first - shape.count))), Attribute("epsilon", .float(Float(epsilon)))],
                inputs: [x, scale], outputs: []), by: pass, editor)
        return .applied
    }

    /// The axes of a ReduceMean that keeps them, from 0, in rising order; nil where they are not known.
    private static func reducedAxes(_ node: Node, rank: Int, _ editor: GraphEditor) -> [Int]? {
        if case .int(0)? = node.attribute("keepdims") { return nil }
        var given: [Int]?
        if case .ints(let axes)? = node.attribute("axes") { given = axes.map(Int.init) }
        if node.inputs.count > 1, let input = node.inputs[1] {
            guard case .tensor(let tensor)? = editor.constant(input), let axes = try? tensor.integers() else { return nil }
            given = axes
        }
        guard let given, given.allSatisfy({ $0 >= -rank && $0 < rank }) else { return nil }
        return Set(given.map { $0 < 0 ? $0 + rank : $0 }).sorted()
    }
}
