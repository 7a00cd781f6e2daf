import ApusCore
import ApusGraph
import ApusOperators

/// A product of a value and a function of it, as exporters write activations, becomes the one operator that ONNX has for it.
struct GatedActivation: Rewrite {
    let name: String
    let pattern: Pattern
    private let operation: String
    private let opset: Int
    /// Attributes of the new node from those of the matched ones; nil where these have other values than the pattern means.
    private let attributes: @Sendable (Match, GraphEditor) -> [Attribute]?

    func apply(_ match: Match, _ editor: GraphEditor, _ context: PassContext) throws -> Outcome {
        guard let last = match.indices.first, let source = match.values["x"] else { return .refused("no node") }
        let node = editor.graph.nodes[last]
        guard match.indices.allSatisfy({ editor.graph.nodes[$0].opset >= 7 }) else { return .refused("opset is below 7") }
        guard let type = context.elementType(source), [.float32, .float16, .bfloat16, .float64].contains(type) else {
            return .refused("the elements are no floats")
        }
        guard let attributes = attributes(match, editor) else { return .refused("the parameters are other ones") }
        // A constant of higher rank would have changed the shape.
        guard let shape = context.dimensions(source), !shape.contains(.unknown), context.dimensions(node.outputs[0]) == shape else {
            return .refused("the shapes are not surely the same")
        }
        editor.replace(
            last, with: Node(operation, name: node.name, opset: opset, attributes: attributes, inputs: [source], outputs: node.outputs, origin: name))
        return .applied
    }

    /// All of them.
    static let passes: [GatedActivation] = [
        GatedActivation(
            name: "SiluForm", pattern: .op("Mul", .any("x"), .op("Sigmoid", .any("x"))), operation: "Swish", opset: 24,
            attributes: { _, _ in [] }),
        GatedActivation(
            name: "SwishForm", pattern: .op("Mul", .any("x"), .op("Sigmoid", .op("Mul", .any("x"), .constant("alpha"), as: "scaled"))),
            operation: "Swish", opset: 24,
            attributes: { match, editor in
                editor.scalar(match.values["alpha"]).map { [Attribute("alpha", .float(Float($0)))] }
            }),
        GatedActivation(
            name: "MishForm", pattern: .op("Mul", .any("x"), .op("Tanh", .op("Softplus", .any("x")))), operation: "Mish", opset: 18,
            attributes: { _, _ in [] }),
        GatedActivation(
            name: "HardSwishForm", pattern: .op("Mul", .any("x"), .op("HardSigmoid", .any("x"))), operation: "HardSwish", opset: 14,
            attributes: { match, editor in
                guard let index = match.nodes["HardSigmoid"] else { return nil }
                var found: [Float] = [0.2, 0.5]
                for (position, name) in ["alpha", "beta"].enumerated() {
                    if case .float(let given)? = editor.graph.nodes[index].attribute(name) { found[position] = given }
                }
                return abs(found[0] - 1 / 6) < 1e-6 && found[1] == 0.5 ? [] : nil
            }),
        GatedActivation(
            name: "HardSwishQuotientForm",
            pattern: .op("Div", .op("Mul", .any("x"), .op("Clip", .op("Add", .any("x"), .scalar(3)))), .scalar(6)),
            operation: "HardSwish", opset: 14, attributes: hardSwishLimits),
        GatedActivation(
            name: "HardSwishProductForm",
            pattern: .op("Mul", .any("x"), .op("Div", .op("Clip", .op("Add", .any("x"), .scalar(3))), .scalar(6))),
            operation: "HardSwish", opset: 14, attributes: hardSwishLimits),
    ]

    /// Nothing, where the Clip of the match limits to 0 and 6.
    private static let hardSwishLimits: @Sendable (Match, GraphEditor) -> [Attribute]? = { match, editor in
        guard let index = match.nodes["Clip"] else { return nil }
        let limits = EpilogueActivation(editor.graph.nodes[index], .float32, editor)
        return limits?.parameters == [0, 6] ? [] : nil
    }
}
