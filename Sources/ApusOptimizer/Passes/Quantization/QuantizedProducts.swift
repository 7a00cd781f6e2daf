import ApusCore
import ApusGraph
import ApusOperators

/// Makes integer products of DequantizeLinear → Conv, Gemm or MatMul → QuantizeLinear.
///
/// The integer form accumulates exactly and rounds once, where the float form rounds each sum; so a result differs from that of
/// the graph as written by at most one unit in the last place, where a sum lies beside a tie. Without QuantizeLinear behind it, a
/// MatMul or Gemm gives the exact sum, scaled to float.
struct QuantizedProducts: Pass {
    let name = "QuantizedProducts"

    func run(_ editor: GraphEditor, _ context: PassContext) throws {
        for index in editor.nodeIndices where !editor.isRemoved(index) {
            let node = editor.graph.nodes[index]
            guard node.domain.isEmpty else { continue }
            switch node.opType {
            case "Conv": try convolution(index, node, editor, context)
            case "Gemm": try gemm(index, node, editor, context)
            case "MatMul": try matMul(index, node, editor, context)
            default: continue
            }
        }
    }

    /// The operands, where both have 8 bits, the first one scale, and the second one scale or one along `axis`.
    private func operands(
        _ node: Node, _ editor: GraphEditor, _ context: PassContext, axis: Int?
    ) -> (Dequantization, Dequantization)? {
        guard node.inputs.count >= 2, let a = Dequantization(node.inputs[0], editor, context),
            let b = Dequantization(node.inputs[1], editor, context), a.isByte, b.isByte, a.isPerTensor, b.isPerTensor || b.axis == axis
        else { return nil }
        return (a, b)
    }

    /// The bias as 32-bit integers of scale a * b; nil where there is one that has no such form.
    private func bias(
        _ value: ValueID?, _ a: Dequantization, _ b: Dequantization, _ editor: GraphEditor, _ context: PassContext
    ) throws -> ValueID?? {
        guard let value else { return .some(nil) }
        guard let aScale = editor.floats(a.scale)?.first, let bScales = editor.floats(b.scale), !bScales.isEmpty else { return nil }
        if let data = Dequantization(value, editor, context) {
            guard data.type == .int32, let scales = editor.floats(data.scale), editor.isZero(data.zeroPoint) else { return nil }
            for index in 0..<max(scales.count, bScales.count) {
                let expected = aScale * bScales[bScales.count == 1 ? 0 : index], found = scales[scales.count == 1 ? 0 : index]
                guard abs(expected - found) <= 1e-5 * abs(expected) else { return nil }
            }
            return .some(data.source)
        }
        guard case .tensor(let tensor)? = editor.constant(value), tensor.type == .float32, tensor.shape.rank == 1,
            bScales.count == 1 || bScales.count == tensor.count
        else { return nil }
        var integers: [Int32] = []
        for (index, element) in tensor.array(Float.self).enumerated() {
            let exact = Double(element) / (Double(aScale) * Double(bScales[bScales.count == 1 ? 0 : index]))
            guard exact.magnitude < 0x1p30 else { return nil }
            integers.append(Int32(exact.rounded(.toNearestOrEven)))
        }
        return .some(editor.addInitializer(.tensor(try Tensor(.int32, [integers.count], integers, budget: context.evaluator.budget))))
    }

    private func convolution(_ index: Int, _ node: Node, _ editor: GraphEditor, _ context: PassContext) throws {
        guard let (x, w) = operands(node, editor, context, axis: 0), editor.constant(w.source) != nil,
            let y = Quantization.onlyReader(of: node.outputs[0], editor, context),
            let bias = try bias(node.inputs.count > 2 ? node.inputs[2] : nil, x, w, editor, context)
        else { return }
        let inputs = [
            x.source, x.scale, try editor.zeroPoint(x.zeroPoint, of: x.type), w.source, w.scale,
            try weightZeroPoint(w, editor), y.scale, try editor.zeroPoint(y.zeroPoint, of: y.type),
        ]
        editor.remove(y.index)
        editor.replace(
            index,
            with: Node(
                "QLinearConv", name: node.name, opset: 10, attributes: node.attributes, inputs: inputs + (bias.map { [$0] } ?? []),
                outputs: [y.output], origin: name))
    }

    /// The zero point of weights with scales for each channel, where it is left out: one 0 serves them all.
    private func weightZeroPoint(_ weights: Dequantization, _ editor: GraphEditor) throws -> ValueID {
        try editor.zeroPoint(weights.zeroPoint, of: weights.type)
    }

    private func gemm(_ index: Int, _ node: Node, _ editor: GraphEditor, _ context: PassContext) throws {
        let transposesB = node.integer("transB") ?? 0 != 0
        func isOne(_ attribute: String) -> Bool {
            guard case .float(let value)? = node.attribute(attribute) else { return true }
            return value == 1
        }
        guard node.opset >= 7, isOne("alpha"), isOne("beta"), let (a, b) = operands(node, editor, context, axis: transposesB ? 0 : 1),
            let bias = try bias(node.inputs.count > 2 ? node.inputs[2] : nil, a, b, editor, context)
        else { return }
        var inputs: [ValueID?] = [
            a.source, a.scale, try editor.zeroPoint(a.zeroPoint, of: a.type), b.source, b.scale, try weightZeroPoint(b, editor), bias,
        ]
        var output = node.outputs[0]
        if let y = Quantization.onlyReader(of: node.outputs[0], editor, context) {
            inputs += [y.scale, try editor.zeroPoint(y.zeroPoint, of: y.type)]
            output = y.output
            editor.remove(y.index)
        } else if bias == nil {
            inputs.removeLast()
        }
        editor.replace(
            index,
            with: Node(
                "QGemm", domain: "com.microsoft", name: node.name, opset: 1,
                attributes: node.attributes.filter { ["transA", "transB"].contains($0.name) }, inputs: inputs, outputs: [output], origin: name))
    }

    private func matMul(_ index: Int, _ node: Node, _ editor: GraphEditor, _ context: PassContext) throws {
        guard node.inputs.count == 2, let rank = editor.dimensions(node.inputs[1], context)?.count, rank >= 1,
            let (a, b) = operands(node, editor, context, axis: rank == 2 ? 1 : nil)
        else { return }
        let aZero = try editor.zeroPoint(a.zeroPoint, of: a.type), bZero = try weightZeroPoint(b, editor)
        if let y = Quantization.onlyReader(of: node.outputs[0], editor, context) {
            let inputs = [
                a.source, a.scale, aZero, b.source, b.scale, bZero, y.scale, try editor.zeroPoint(y.zeroPoint, of: y.type),
            ]
            editor.remove(y.index)
            editor.replace(
                index, with: Node("QLinearMatMul", name: node.name, opset: 21, inputs: inputs, outputs: [y.output], origin: name))
        } else {
            editor.replace(
                index,
                with: Node(
                    "MatMulIntegerToFloat", domain: "com.microsoft", name: node.name, opset: 1,
                    inputs: [a.source, b.source, a.scale, b.scale, aZero, bZero], outputs: node.outputs, origin: name))
        }
    }
}
