import ApusCore
import ApusGraph
import ApusOperators

/// Computes what depends on constants and known shapes alone, once.
struct ConstantFolding: Pass {
    let name = "ConstantFolding"
    /// Whether DequantizeLinear stays, for the passes that look for it.
    var keepsQuantized = false
    /// Whether what widens matrices of narrow floats stays, for the passes that take these as they are.
    var keepsNarrow = false

    /// Results larger than this, and larger than what they are made of, stay in the graph: folding would trade a file's
    /// mapped pages for memory.
    private static let mostBytes = 1 << 20

    func run(_ editor: GraphEditor, _ context: PassContext) throws {
        for index in editor.nodeIndices {
            let node = editor.graph.nodes[index]
            if keepsQuantized, node.isStandard("DequantizeLinear") { continue }
            if keepsNarrow, widensMatrix(node, editor) || node.inputs.contains(where: { widensMatrix($0.flatMap { editor.producer($0)?.node }, editor) }) {
                continue
            }
            // Inference has computed small results, those of shapes among them.
            let known = node.outputs.map { context.info($0)?.constant }
            if !node.outputs.isEmpty, zip(node.outputs, known).allSatisfy({ $0 == nil || $1 != nil }) {
                replace(index, node, known, editor)
                continue
            }
            let inputs = node.inputs.map { editor.constant($0) }
            guard node.subgraphs.isEmpty, zip(node.inputs, inputs).allSatisfy({ $0 == nil || $1 != nil }) else { continue }
            let operation = try Registry.make(node, in: editor.graph)
            guard operation.isFoldable, let bytes = try outputBytes(operation, inputs, node.outputs.count),
                bytes <= max(ConstantFolding.mostBytes, smallInputBytes(inputs))
            else { continue }
            let results = try attributed(to: editor.graph.displayName(node)) {
                try context.evaluator.evaluate(operation, inputs, outputCount: node.outputs.count)
            }
            replace(index, node, results, editor)
        }
    }

    /// Whether the node brings a constant of narrow floats into wider ones, which has more than one axis, not counting those of length 1.
    private func widensMatrix(_ node: Node?, _ editor: GraphEditor) -> Bool {
        guard let node, node.isStandard("Cast") || node.isStandard("DequantizeLinear"), case .tensor(let tensor)? = editor.constant(node.inputs.first ?? nil)
        else { return false }
        return NarrowProduct.types.contains(tensor.type) && tensor.shape.dimensions.filter { $0 > 1 }.count > 1
    }

    private func replace(_ index: Int, _ node: Node, _ results: [Value?], _ editor: GraphEditor) {
        for (output, result) in zip(node.outputs, results) {
            guard let output, let result, editor.useCount(output) > 0 else { continue }
            editor.replaceUses(of: output, with: editor.addInitializer(result))
        }
        editor.remove(index)
    }

    /// Size of the outputs; nil where they are not dense or not known.
    private func outputBytes(_ operation: any Operator, _ inputs: [Value?], _ count: Int) throws -> Int? {
        let context = InferenceContext(inputs: inputs.map { $0.map { ValueInfo(constant: $0) } }, outputCount: count)
        var total = 0
        for info in try operation.inferOutputs(context) {
            guard try info.isStatic(), let shape = try info.concreteShape(), let bytes = info.type.elementType?.byteCount(shape.count)
            else { return nil }
            let (sum, overflow) = total.addingReportingOverflow(bytes)
            if overflow { return nil }
            total = sum
        }
        return total
    }

    /// Bytes of inputs that are in memory of our own, which the result would replace.
    private func smallInputBytes(_ inputs: [Value?]) -> Int {
        inputs.reduce(0) { sum, value in
            if case .tensor(let tensor)? = value, tensor.storage.isOwned { return sum + tensor.byteCount }
            return sum
        }
    }
}
