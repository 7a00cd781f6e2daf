import ApusCore
import ApusGraph
import ApusOperators

/// An InstanceNormalization between two Reshapes that make channels of groups and back, as exporters write it before opset 18,
/// becomes a GroupNormalization.
struct GroupNormalizationForm: Rewrite {
    let name = "GroupNormalizationForm"
    let pattern = Pattern.op(
        "Reshape",
        .op("InstanceNormalization", .op("Reshape", .any("x"), .any("groups"), as: "split"), .constant("scale"), .constant("bias")),
        .any("shape"), as: "join")

    func apply(_ match: Match, _ editor: GraphEditor, _ context: PassContext) throws -> Outcome {
        guard let last = match.nodes["join"], let inner = match.nodes["InstanceNormalization"], let split = match.nodes["split"],
            let source = match.values["x"]
        else { return .refused("no node") }
        let node = editor.graph.nodes[last], normalization = editor.graph.nodes[inner]
        guard let shape = context.dimensions(source), shape.count >= 3, !shape.contains(.unknown), context.dimensions(node.outputs[0]) == shape
        else { return .refused("the shapes before and after are not surely the same") }
        guard let grouped = context.dimensions(editor.graph.nodes[split].outputs[0]), grouped.count >= 3, grouped[0] == shape[0],
            let channels = shape[1].known, let groups = grouped[1].known, groups > 0, channels % groups == 0
        else { return .refused("the middle has no groups of channels") }
        guard let scale = editor.floats(match.values["scale"], count: groups), let bias = editor.floats(match.values["bias"], count: groups)
        else { return .refused("scale or bias are not of float32") }
        let perGroup = channels / groups
        func spread(_ elements: [Float]) throws -> ValueID {
            try editor.addVector((0..<channels).map { elements[$0 / perGroup] }, context)
        }
        editor.replace(
            last,
            with: Node(
                "GroupNormalization", name: normalization.name, opset: 21,
                attributes: normalization.attributes.filter { $0.name == "epsilon" } + [Attribute("num_groups", .int(Int64(groups)))],
                inputs: [source, try spread(scale), try spread(bias)], outputs: node.outputs, origin: name))
        return .applied
    }
}
