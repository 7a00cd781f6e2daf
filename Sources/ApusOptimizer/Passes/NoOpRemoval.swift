import ApusCore
import ApusGraph
import ApusOperators

/// Takes out nodes that give one of their inputs unchanged: an Identity, a Cast to the type at hand, a Reshape to the
/// same shape, an Add of zero.
struct NoOpRemoval: Pass {
    let name = "NoOpRemoval"

    func run(_ editor: GraphEditor, _ context: PassContext) throws {
        for index in editor.nodeIndices {
            let node = editor.graph.nodes[index]
            guard node.domain.isEmpty, let rule = NoOpRemoval.rules[node.opType], let output = node.outputs.first ?? nil,
                node.outputs.dropFirst().allSatisfy({ $0.map { editor.useCount($0) == 0 } ?? true }),
                let position = rule(node, editor, context), node.inputs.indices.contains(position),
                let source = node.inputs[position]
            else { continue }
            editor.replaceUses(of: output, with: source)
            editor.remove(index)
        }
    }

    /// By operator: the input that the node gives unchanged, if it does.
    private typealias Rule = @Sendable (Node, GraphEditor, PassContext) -> Int?

    private static let rules: [String: Rule] = [
        "Identity": { _, _, _ in 0 },
        "Dropout": { node, editor, _ in
            // From opset 12 on the third input may ask for training.
            let isTraining = node.inputs.count > 2 && node.inputs[2] != nil && editor.scalar(node.inputs[2]) != 0
            let hasMask = node.outputs.count > 1 && node.outputs[1].map { editor.useCount($0) > 0 } ?? false
            return isTraining || hasMask || node.attribute("is_test").map(isZero) ?? (node.opset < 7) ? nil : 0
        },
        "Cast": { node, _, context in
            guard case .int(let to)? = node.attribute("to"), let type = context.elementType(node.inputs[0]) else { return nil }
            return Int64(type.rawValue) == to ? 0 : nil
        },
        "Reshape": sameShape, "Flatten": sameShape, "Squeeze": sameShape, "Unsqueeze": sameShape, "Expand": sameShape,
        "Tile": sameShape,
        "Transpose": { node, _, _ in
            guard case .ints(let permutation)? = node.attribute("perm") else { return nil }
            return permutation.elementsEqual(0..<Int64(permutation.count)) ? 0 : nil
        },
        "Concat": { node, _, _ in node.inputs.count == 1 ? 0 : nil },
        "Sum": { node, _, _ in node.inputs.count == 1 ? 0 : nil },
        "Max": { node, _, _ in node.inputs.count == 1 ? 0 : nil },
        "Min": { node, _, _ in node.inputs.count == 1 ? 0 : nil },
        "Mean": { node, _, _ in node.inputs.count == 1 ? 0 : nil },
        "Pad": { node, editor, _ in
            let pads: [Int64]? =
                if case .ints(let ints)? = node.attribute("pads") ?? node.attribute("paddings") { ints } else if
                    node.inputs.count > 1, case .tensor(let tensor)? = editor.constant(node.inputs[1]) { tensor.array(Int64.self) } else { nil }
            return pads?.allSatisfy { $0 == 0 } ?? false ? 0 : nil
        },
        "Mul": neutral(1, commutes: true), "Div": neutral(1, commutes: false),
        "Add": neutral(0, commutes: true), "Sub": neutral(0, commutes: false),
    ]

    private static func isZero(_ value: AttributeValue) -> Bool {
        if case .int(0) = value { return true }
        return false
    }

    /// The output has the very shape of the input, every dimension known to be equal.
    private static let sameShape: Rule = { node, _, context in
        guard let before = context.dimensions(node.inputs.first ?? nil), let after = context.dimensions(node.outputs.first ?? nil),
            before == after, !before.contains(.unknown)
        else { return nil }
        return 0
    }

    /// The other operand is the constant `element` everywhere and does not change shape or type.
    private static func neutral(_ element: Double, commutes: Bool) -> Rule {
        { node, editor, context in
            guard node.inputs.count == 2, node.opset >= 7 else { return nil }
            for position in commutes ? [1, 0] : [1] {
                // x + 0 is x except that -0 + 0 is 0, which compares equal.
                if editor.scalar(node.inputs[position]) == element,
                    let kept = context.dimensions(node.inputs[1 - position]), !kept.contains(.unknown),
                    kept == context.dimensions(node.outputs[0])
                {
                    return 1 - position
                }
            }
            return nil
        }
    }
}
