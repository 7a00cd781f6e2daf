import ApusCore
import ApusGraph
import ApusOperators

/// Lets Softmax and LayerNormalization between DequantizeLinear and QuantizeLinear read and write 8 bits, with floats inside.
///
/// Exact: the operations are the same.
struct QuantizedRows: Pass {
    let name = "QuantizedRows"

    func run(_ editor: GraphEditor, _ context: PassContext) throws {
        for index in editor.nodeIndices where !editor.isRemoved(index) {
            let node = editor.graph.nodes[index]
            let isSoftmax = node.opType == "Softmax" && node.domain.isEmpty
            guard isSoftmax || node.isStandard("LayerNormalization"),
                node.outputs.dropFirst().allSatisfy({ $0.map { editor.useCount($0) == 0 } ?? true }), node.integer("stash_type") ?? 1 == 1,
                let x = Dequantization(node.inputs.first ?? nil, editor, context), x.isByte, x.isPerTensor,
                let y = Quantization.onlyReader(of: node.outputs.first ?? nil, editor, context),
                let dimensions = editor.dimensions(x.source, context), !dimensions.isEmpty
            else { continue }
            let rank = dimensions.count, given = node.integer("axis") ?? (isSoftmax && node.opset < 13 ? 1 : -1)
            let axis = given < 0 ? given + rank : given
            guard axis >= 0, axis < rank, !isSoftmax || node.opset < 13 || axis == rank - 1 else { continue }
            // One element for each of a row, surely.
            let row = Array(dimensions[axis...])
            guard node.inputs.dropFirst().allSatisfy({ input in
                guard let input else { return true }
                return editor.elementType(input, context) == .float32 && editor.dimensions(input, context) == row
                    && row.allSatisfy { $0.known != nil }
            }) else { continue }
            let inputs = [x.source, x.scale, try editor.zeroPoint(x.zeroPoint, of: x.type), y.scale, try editor.zeroPoint(y.zeroPoint, of: y.type)]
            editor.remove(y.index)
            editor.replace(
                index,
                with: Node(
                    isSoftmax ? "QuantizedSoftmax" : "QuantizedLayerNormalization", domain: "apus", name: node.name, opset: 1,
                    attributes: node.attributes.filter { $0.name == "epsilon" } + [Attribute("axis", .int(Int64(axis)))],
                    inputs: inputs + node.inputs.dropFirst(), outputs: [y.output], origin: name))
        }
    }
}
