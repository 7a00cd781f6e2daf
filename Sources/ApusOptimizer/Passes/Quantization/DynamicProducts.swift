import ApusCore
import ApusGraph
import ApusOperators

/// Makes one operator of MatMulInteger → Cast → Mul by the product of both scales [→ Add of a bias], which is what dynamic
/// quantisation writes. DynamicQuantizeLinear stays: several products may share what it makes.
///
/// Exact: the same operations in the same order.
struct DynamicProducts: Pass {
    let name = "DynamicProducts"

    func run(_ editor: GraphEditor, _ context: PassContext) throws {
        for index in editor.nodeIndices where !editor.isRemoved(index) {
            let node = editor.graph.nodes[index]
            guard node.domain.isEmpty, node.opType == "MatMulInteger", let sums = node.outputs[0],
                let (castIndex, cast) = onlyReader(of: sums, "Cast", editor), cast.integer("to") == 1,
                let (mulIndex, mul) = onlyReader(of: cast.outputs[0], "Mul", editor), mul.opset >= 7
            else { continue }
            let factor = mul.inputs[0] == cast.outputs[0] ? mul.inputs[1] : mul.inputs[0]
            guard let factor, let product = editor.producer(factor)?.node, product.domain.isEmpty, product.opType == "Mul",
                let a = node.inputs[0], let b = node.inputs[1]
            else { continue }
            // The scale of A is one number; that of B one, or one for each column.
            let pairs = [(product.inputs[0], product.inputs[1]), (product.inputs[1], product.inputs[0])]
            let columns = editor.dimensions(b, context)?.last
            guard let (aScale, bScale) = pairs.first(where: {
                isScale($0, columns: .known(1), editor, context) && isScale($1, columns: columns, editor, context)
            }) else { continue }
            var inputs: [ValueID?] = [a, b, aScale, bScale] + [2, 3].map { node.inputs.count > $0 ? node.inputs[$0] : nil }
            // A zero point for each row belongs to a scale that is a column.
            if let zero = inputs[4], editor.dimensions(zero, context)?.allSatisfy({ $0 == .known(1) }) != true { continue }
            var output = mul.outputs[0]
            editor.remove(castIndex)
            if let (addIndex, add) = onlyReader(of: mul.outputs[0], "Add", editor), add.opset >= 7,
                let bias = add.inputs[0] == mul.outputs[0] ? add.inputs[1] : add.inputs[0],
                let length = editor.dimensions(bias, context), length.count == 1, length[0] == columns, editor.constant(bias) != nil,
                editor.elementType(bias, context) == .float32
            {
                inputs.append(bias)
                output = add.outputs[0]
                editor.remove(addIndex)
            }
            editor.remove(mulIndex)
            editor.replace(
                index,
                with: Node(
                    "MatMulIntegerToFloat", domain: "com.microsoft", name: node.name, opset: 1, inputs: inputs, outputs: [output], origin: name))
        }
    }

    private func onlyReader(of value: ValueID?, _ op: String, _ editor: GraphEditor) -> (Int, Node)? {
        guard let value, editor.useCount(value) == 1, let index = editor.consumers(value).first else { return nil }
        let node = editor.graph.nodes[index]
        return node.domain.isEmpty && node.opType == op ? (index, node) : nil
    }

    /// Whether the value is float32 and has one element, or a vector of `columns`.
    private func isScale(_ value: ValueID?, columns: Dimension?, _ editor: GraphEditor, _ context: PassContext) -> Bool {
        guard editor.elementType(value, context) == .float32, let dimensions = editor.dimensions(value, context) else { return false }
        if dimensions.allSatisfy({ $0 == .known(1) }) && dimensions.count <= 1 { return true }
        return dimensions.count == 1 && dimensions[0] == columns && columns?.known != nil
    }
}
