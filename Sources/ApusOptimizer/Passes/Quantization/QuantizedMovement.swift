import ApusCore
import ApusGraph
import ApusOperators

/// Lets operators that only move elements, or choose the largest, work on 8 bits: DequantizeLinear goes behind them,
/// QuantizeLinear in front of them.
///
/// Exact: scaling each element by the same numbers and moving it commute, and with a positive scale so do scaling and taking the
/// greatest.
struct QuantizedMovement: Pass {
    let name = "QuantizedMovement"

    private static let moving: Set<String> = [
        "DepthToSpace", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "Reshape", "Slice", "SpaceToDepth",
        "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
    ]

    func run(_ editor: GraphEditor, _ context: PassContext) throws {
        for index in editor.nodeIndices where !editor.isRemoved(index) {
            let node = editor.graph.nodes[index]
            guard node.domain.isEmpty else { continue }
            if QuantizedMovement.moving.contains(node.opType) || isPlainMaxPool(node, editor) {
                if !pushDown(index, node, editor, context) { pullUp(index, node, editor, context) }
            } else if node.opType == "Concat" {
                choose(index, node, Array(node.inputs.indices), editor, context)
            } else if node.opType == "Where", node.inputs.count == 3 {
                choose(index, node, [1, 2], editor, context)
            }
        }
    }

    /// Puts the DequantizeLinear that makes input 0 behind the node.
    private func pushDown(_ index: Int, _ node: Node, _ editor: GraphEditor, _ context: PassContext) -> Bool {
        guard let data = Dequantization(node.inputs.first ?? nil, editor, context), data.isPerTensor, data.isByte,
            isPositive(data.scale, editor), let first = node.inputs[0], let made = editor.producer(first)?.node
        else { return false }
        var moved = node
        moved.inputs[0] = data.source
        if node.opType == "MaxPool" { moved.opset = max(12, node.opset) }
        moved.origin = name
        var dequantized: [Node] = []
        for (position, output) in node.outputs.enumerated() {
            guard let output else { continue }
            let narrow = editor.addValue(like: output, data.type, context)
            moved.outputs[position] = narrow
            var copy = made
            copy.inputs[0] = narrow
            copy.outputs = [output]
            copy.origin = name
            dequantized.append(copy)
        }
        editor.replace(index, with: moved)
        dequantized.forEach { editor.add($0) }
        return true
    }

    /// Puts the QuantizeLinear that alone reads the output before the node.
    private func pullUp(_ index: Int, _ node: Node, _ editor: GraphEditor, _ context: PassContext) {
        guard node.outputs.count == 1, let input = node.inputs.first ?? nil,
            let quantization = Quantization.onlyReader(of: node.outputs[0], editor, context), isPositive(quantization.scale, editor),
            editor.elementType(input, context) == .float32, editor.useCount(input) == 1, editor.producer(input) != nil
        else { return }
        var quantize = editor.graph.nodes[quantization.index]
        let narrow = editor.addValue(like: input, quantization.type, context)
        quantize.inputs[0] = input
        quantize.outputs = [narrow]
        quantize.origin = name
        var moved = node
        moved.inputs[0] = narrow
        moved.outputs = [quantization.output]
        moved.origin = name
        if node.opType == "MaxPool" { moved.opset = max(12, node.opset) }
        editor.remove(quantization.index)
        editor.replace(index, with: moved)
        editor.add(quantize)
    }

    /// A Concat of dequantised tensors, or a Where of such or constants, that is quantised again: each part (the inputs at `places`)
    /// is brought to the result's scale, by table.
    private func choose(_ index: Int, _ node: Node, _ places: [Int], _ editor: GraphEditor, _ context: PassContext) {
        guard let quantization = Quantization.onlyReader(of: node.outputs.first ?? nil, editor, context) else { return }
        guard places.allSatisfy({ place in
            if node.opType == "Where", let part = node.inputs[place], editor.constant(part) != nil { return true }
            return Dequantization(node.inputs[place], editor, context).map { $0.isPerTensor && $0.isByte } ?? false
        }) else { return }
        let template = editor.graph.nodes[quantization.index]
        var joined = node
        for position in places {
            let input = node.inputs[position]
            var quantize = template
            let narrow = editor.addValue(like: input, quantization.type, context)
            quantize.inputs[0] = input
            quantize.outputs = [narrow]
            quantize.origin = name
            editor.add(quantize)
            joined.inputs[position] = narrow
        }
        joined.outputs = [quantization.output]
        joined.origin = name
        editor.remove(quantization.index)
        editor.replace(index, with: joined)
    }

    private func isPositive(_ scale: ValueID, _ editor: GraphEditor) -> Bool {
        editor.scalar(scale).map { $0 > 0 && $0.isFinite } ?? false
    }

    /// A MaxPool without indices, all of whose windows see an element.
    private func isPlainMaxPool(_ node: Node, _ editor: GraphEditor) -> Bool {
        guard node.opType == "MaxPool", node.outputs.dropFirst().allSatisfy({ $0.map { editor.useCount($0) == 0 } ?? true }),
            case .ints(let kernel)? = node.attribute("kernel_shape")
        else { return false }
        guard case .ints(let pads)? = node.attribute("pads"), !kernel.isEmpty else { return true }
        return pads.enumerated().allSatisfy { $1 < kernel[$0 % kernel.count] }
    }
}
