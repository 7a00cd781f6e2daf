import ApusCore
import ApusGraph
import ApusOperators

/// Makes tables of functions of one 8-bit tensor: whatever elementwise operators lie between DequantizeLinear and
/// QuantizeLinear, with constants of one element beside it, several such groups in a row or a fork and join of them (GELU)
/// included.
///
/// Exact: the table's 256 results are what the operators themselves give for the 256 codes.
struct QuantizedFunctions: Pass {
    let name = "QuantizedFunctions"

    private static let elementwise: [String: Set<String>] = [
        "": [
            "Abs", "Add", "Ceil", "Celu", "Clip", "Cos", "DequantizeLinear", "Div", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid",
            "HardSwish", "Identity", "LeakyRelu", "Log", "Max", "Min", "Mish", "Mul", "Neg", "PRelu", "Pow", "QuantizeLinear", "Reciprocal",
            "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Sqrt", "Sub", "Swish", "Tanh", "ThresholdedRelu",
        ],
        "com.microsoft": [
            "BiasGelu", "DequantizeLinear", "FastGelu", "Gelu", "QLinearLeakyRelu", "QLinearSigmoid", "QuantizeLinear", "QuickGelu",
        ],
    ]

    /// Operators whose own loops over 8-bit elements are faster than a table, where no more than one of them is to be done.
    private static let direct: Set<String> = ["Abs", "Clip", "Max", "Min", "Neg", "Sign"]

    /// What is known of a value: 256 results for the codes of `root`, or a constant.
    private struct Table {
        /// nil: a constant.
        let root: ValueID?
        let value: Value
    }

    func run(_ editor: GraphEditor, _ context: PassContext) throws {
        var tables: [ValueID: Table] = [:]
        for index in editor.nodeIndices {
            let node = editor.graph.nodes[index]
            guard QuantizedFunctions.elementwise[node.domain]?.contains(node.opType) ?? false, node.outputs.count == 1,
                let output = node.outputs[0], let table = try table(node, tables, editor, context)
            else { continue }
            tables[output] = table
            guard let root = table.root, case .tensor(let tensor) = table.value, tensor.type == .uint8 || tensor.type == .int8,
                let before = context.dimensions(root), let after = context.dimensions(output), before == after,
                !before.contains(.unknown)
            else { continue }
            if context.elementType(root) == tensor.type, tensor.array(UInt8.self).enumerated().allSatisfy({ $0 == Int($1) }) {
                editor.replaceUses(of: output, with: root)
                editor.remove(index)
                continue
            }
            // What follows may still use its table.
            if node.inputs.contains(root), QuantizedFunctions.direct.contains(node.opType) { continue }
            let constant = editor.addInitializer(table.value)
            editor.replace(
                index,
                with: Node("Lookup", domain: "apus", name: node.name, opset: 1, inputs: [root, constant], outputs: [output], origin: name))
        }
    }

    private func table(_ node: Node, _ tables: [ValueID: Table], _ editor: GraphEditor, _ context: PassContext) throws -> Table? {
        var root: ValueID?, inputs: [Value?] = []
        for input in node.inputs {
            guard let input else {
                inputs.append(nil)
                continue
            }
            if let table = tables[input] {
                if let own = table.root {
                    guard root == nil || root == own else { return nil }
                    root = own
                }
                inputs.append(table.value)
            } else if case .tensor(let tensor)? = editor.constant(input) {
                guard tensor.count == 1 else { return nil }
                inputs.append(.tensor(try tensor.reshaped(Shape([]))))
            } else if let type = context.elementType(input), type == .uint8 || type == .int8, root == nil || root == input {
                root = input
                inputs.append(.tensor(try Tensor(type, [256], (0..<256).map { UInt8($0) }, budget: .shared)))
            } else {
                return nil
            }
        }
        // Types are checked by the operator; a node that cannot be evaluated here is left as it is.
        let operation = try Registry.make(node, in: editor.graph)
        guard let result = try? context.evaluator.evaluate(operation, inputs, outputCount: 1).first ?? nil, case .tensor(let tensor) = result
        else { return nil }
        guard root != nil else {
            return tensor.count == 1 ? Table(root: nil, value: .tensor(try tensor.reshaped(Shape([])))) : nil
        }
        guard tensor.count == 256 else { return nil }
        return Table(root: root, value: .tensor(try tensor.reshaped(Shape([256]))))
    }
}
