import ApusCore
import ApusGraph
import ApusOperators

/// Lets Add, Mul and average pools between DequantizeLinear and QuantizeLinear work on 8 bits, and takes Relu and Clip behind
/// QuantizeLinear, where they are tables or nothing.
///
/// A result differs from that of the graph as written by at most one unit in the last place. Relu and Clip are exact: rounding
/// keeps the order of numbers, so limits may be applied before or after it.
struct QuantizedElementwise: Pass {
    let name = "QuantizedElementwise"

    private static let binary: [String: String] = ["Add": "QLinearAdd", "Mul": "QLinearMul"]
    private static let pools: [String: String] = ["AveragePool": "QLinearAveragePool", "GlobalAveragePool": "QLinearGlobalAveragePool"]

    func run(_ editor: GraphEditor, _ context: PassContext) throws {
        for index in editor.nodeIndices where !editor.isRemoved(index) {
            let node = editor.graph.nodes[index]
            guard node.domain.isEmpty, node.outputs.count == 1 else { continue }
            if let fused = QuantizedElementwise.binary[node.opType], node.inputs.count == 2, node.opset >= 7 {
                try replaceBinary(index, node, by: fused, editor, context)
            } else if let fused = QuantizedElementwise.pools[node.opType] {
                try replacePool(index, node, by: fused, editor, context)
            }
        }
    }

    private func parameters(_ data: Dequantization, _ editor: GraphEditor) throws -> [ValueID] {
        [data.source, data.scale, try editor.zeroPoint(data.zeroPoint, of: data.type)]
    }

    private func replaceBinary(_ index: Int, _ node: Node, by fused: String, _ editor: GraphEditor, _ context: PassContext) throws {
        guard let a = Dequantization(node.inputs[0], editor, context), let b = Dequantization(node.inputs[1], editor, context),
            let y = Quantization.onlyReader(of: node.outputs[0], editor, context), a.isByte, a.isPerTensor, b.isPerTensor, a.type == b.type,
            y.type == a.type
        else { return }
        let inputs = try parameters(a, editor) + parameters(b, editor) + [y.scale, try editor.zeroPoint(y.zeroPoint, of: y.type)]
        editor.remove(y.index)
        editor.replace(
            index, with: Node(fused, domain: "com.microsoft", name: node.name, opset: 1, inputs: inputs, outputs: [y.output], origin: name))
    }

    private func replacePool(_ index: Int, _ node: Node, by fused: String, _ editor: GraphEditor, _ context: PassContext) throws {
        // Dilations came with opset 19, and the 8-bit form has none.
        let allowed: Set<String> = ["auto_pad", "ceil_mode", "count_include_pad", "kernel_shape", "pads", "strides"]
        guard node.attributes.allSatisfy({ allowed.contains($0.name) }), let x = Dequantization(node.inputs[0], editor, context),
            let y = Quantization.onlyReader(of: node.outputs[0], editor, context), x.isByte, x.isPerTensor, y.type == x.type
        else { return }
        let inputs = try parameters(x, editor) + [y.scale, try editor.zeroPoint(y.zeroPoint, of: y.type)]
        editor.remove(y.index)
        editor.replace(
            index,
            with: Node(
                fused, domain: "com.microsoft", name: node.name, opset: 1, attributes: node.attributes, inputs: inputs, outputs: [y.output],
                origin: name))
    }
}

/// Takes Relu and Clip that stand between an operator and QuantizeLinear behind the latter, as limits of codes.
///
/// Exact: see QuantizedElementwise.
struct QuantizedLimits: Pass {
    let name = "QuantizedLimits"

    func run(_ editor: GraphEditor, _ context: PassContext) throws {
        for index in editor.nodeIndices where !editor.isRemoved(index) {
            let node = editor.graph.nodes[index]
            guard node.domain.isEmpty, node.opType == "Relu" || node.opType == "Clip", let input = node.inputs.first ?? nil,
                editor.useCount(input) == 1, let producer = editor.producer(input)?.node,
                ["Add", "Conv", "Gemm", "MatMul", "Mul"].contains(producer.opType),
                let y = Quantization.onlyReader(of: node.outputs.first ?? nil, editor, context),
                let table = try table(node, y, editor, context)
            else { continue }
            var quantize = editor.graph.nodes[y.index]
            quantize.inputs[0] = input
            quantize.origin = name
            if table.enumerated().allSatisfy({ $0 == Int($1) }) {
                editor.remove(index)
                editor.replace(y.index, with: quantize)
            } else {
                let narrow = editor.addValue(like: input, y.type, context)
                quantize.outputs = [narrow]
                let constant = editor.addInitializer(.tensor(try Tensor(y.type, [256], table, budget: context.evaluator.budget)))
                editor.replace(y.index, with: quantize)
                editor.replace(
                    index, with: Node("Lookup", domain: "apus", opset: 1, inputs: [narrow, constant], outputs: [y.output], origin: name))
            }
        }
    }

    /// By code: the code that the limits leave. nil where they are not known.
    private func table(_ node: Node, _ y: Quantization, _ editor: GraphEditor, _ context: PassContext) throws -> [UInt8]? {
        var low: Float = 0, high = Float.infinity
        if node.opType == "Clip" {
            func limit(_ name: String, _ position: Int, _ fallback: Float) -> Float? {
                if case .float(let value)? = node.attribute(name) { return value }
                guard node.inputs.count > position, let input = node.inputs[position] else { return fallback }
                return editor.scalar(input).map { Float($0) }
            }
            guard let least = limit("min", 1, -.infinity), let greatest = limit("max", 2, .infinity), least <= greatest else { return nil }
            (low, high) = (least, greatest)
        }
        guard let scale = editor.scalar(y.scale).map({ Float($0) }), scale > 0, scale.isFinite, y.zeroPoint == nil || editor.scalar(y.zeroPoint) != nil
        else { return nil }
        // What the limits themselves are quantised to, by the very operator.
        let limits = Value.tensor(try Tensor(.float32, [2], [low, high], budget: context.evaluator.budget))
        let parameters = [Optional(y.scale), y.zeroPoint].map { $0.flatMap { editor.constant($0) } }
        let operation = try Registry.make(editor.graph.nodes[y.index], in: editor.graph)
        guard let result = try? context.evaluator.evaluate(operation, [limits] + parameters, outputCount: 1).first, case .tensor(let codes)? = result
        else { return nil }
        if y.type == .int8 {
            let ends = codes.array(Int8.self)
            return (0..<256).map { UInt8(bitPattern: min(max(Int8(truncatingIfNeeded: $0), ends[0]), ends[1])) }
        }
        let ends = codes.array(UInt8.self)
        return (0..<256).map { min(max(UInt8($0), ends[0]), ends[1]) }
    }
}
