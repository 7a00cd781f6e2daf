import ApusCore
import ApusGraph
import ApusOperators

/// Merges Transposes that follow one another and takes out those that move only axes of size 1's neighbours nowhere.
struct TransposeCancelling: Pass {
    let name = "TransposeCancelling"

    func run(_ editor: GraphEditor, _ context: PassContext) throws {
        for index in editor.nodeIndices {
            guard !editor.isRemoved(index) else { continue }
            let node = editor.graph.nodes[index]
            guard node.domain.isEmpty, node.opType == "Transpose", let input = node.inputs.first ?? nil,
                let output = node.outputs.first ?? nil, let second = permutation(node, context)
            else { continue }
            guard let before = editor.producer(input), before.node.domain.isEmpty, before.node.opType == "Transpose",
                let source = before.node.inputs.first ?? nil, let first = permutation(before.node, context),
                first.count == second.count, second.allSatisfy({ first.indices.contains($0) })
            else { continue }
            let merged = second.map { first[$0] }
            if merged.elementsEqual(merged.indices) {
                editor.replaceUses(of: output, with: source)
                editor.remove(index)
            } else {
                var replacement = node
                replacement.inputs = [source]
                replacement.attributes = [Attribute("perm", .ints(merged.map(Int64.init)))]
                replacement.origin = name
                editor.replace(index, with: replacement)
            }
        }
    }

    private func permutation(_ node: Node, _ context: PassContext) -> [Int]? {
        if case .ints(let ints)? = node.attribute("perm") { return ints.map(Int.init) }
        return context.dimensions(node.inputs.first ?? nil).map { Array($0.indices.reversed()) }
    }
}
