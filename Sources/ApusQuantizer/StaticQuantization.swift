import ApusCore
import ApusGraph

/// Writes QuantizeLinear and DequantizeLinear into a copy of a prepared graph.
struct StaticQuantization {
    let graph: Graph
    let opset: Int
    let isPerChannel: Bool
    let type: ElementType

    struct Result {
        let graph: Graph
        /// By tensor of the prepared graph: the value that holds it in the quantised graph, back in float.
        let restored: [ValueID: ValueID]
    }

    /// - Parameters:
    ///   - ranges: of every quantised tensor that does not share another's.
    ///   - biasCorrections: by node of a product: what to add to its bias, for each channel.
    func quantized(_ placement: Placement, _ ranges: [ValueID: ValueRange], biasCorrections: [Int: [Float]] = [:]) throws -> Result {
        let copy = graph.copy()
        let writer = QuantizationWriter(copy, opset: opset)
        var codes: [ValueID: AffineCodes] = [:]
        for tensor in placement.tensors {
            let source = placement.shares[tensor] ?? tensor
            guard let range = ranges[source] else {
                throw ApusError(.internal, "no range was measured for \"\(graph.displayName(source))\"")
            }
            codes[tensor] = AffineCodes(range, type)
        }
        // Weights first: their nodes' other inputs are replaced with the tensors.
        for product in placement.products {
            try attributed(to: product.name) {
                try quantizeOperands(product, codes[product.input]?.scale, biasCorrections[product.node], ranges, writer)
            }
        }
        for (node, input) in placement.constants { try quantizeConstant(node, input, writer) }
        var parameters: [ValueID: (scale: ValueID, zeroPoint: ValueID)] = [:]
        var restored: [ValueID: ValueID] = [:]
        for tensor in placement.tensors {
            guard let code = codes[tensor] else { continue }
            let source = placement.shares[tensor] ?? tensor
            let shared = try parameters[source] ?? writer.parameters(code, graph.displayName(source))
            parameters[source] = shared
            restored[tensor] = quantize(tensor, shared, writer)
        }
        writer.editor.removeDeadCode()
        try writer.editor.commit()
        return Result(graph: copy, restored: restored)
    }

    /// Lets everyone who reads `tensor` read its codes' meaning instead.
    private func quantize(_ tensor: ValueID, _ parameters: (scale: ValueID, zeroPoint: ValueID), _ writer: QuantizationWriter) -> ValueID {
        let name = graph.displayName(tensor)
        let inputs = [parameters.scale, parameters.zeroPoint]
        let isOutput = writer.editor.isOutput(tensor)
        let restored = writer.editor.addValue(type: graph.values[tensor.index].type)
        writer.editor.replaceUses(of: tensor, with: restored)
        let quantized = writer.node("QuantizeLinear", [tensor] + inputs, named: "\(name)_QuantizeLinear")
        let back = "\(name)_DequantizeLinear"
        writer.node("DequantizeLinear", [quantized] + inputs, named: back, outputs: [restored])
        // An output of the model keeps its name: what is quantised for it gets another.
        writer.graph.values[restored.index].name = isOutput ? graph.values[tensor.index].name : ByteString(back)
        if isOutput { writer.graph.values[tensor.index].name = ByteString("\(name)_before_quantization") }
        return restored
    }

    private func quantizeOperands(
        _ product: Product, _ inputScale: Float?, _ correction: [Float]?, _ ranges: [ValueID: ValueRange], _ writer: QuantizationWriter
    ) throws {
        guard let position = product.weights else { return }
        let node = graph.nodes[product.node]
        guard let id = node.inputs[position], let tensor = graph.floatConstant(id), let inputScale else {
            throw ApusError(.internal, "the weights are no constant")
        }
        let axis = isPerChannel ? product.axis : nil
        let matrix = try WeightMatrix(tensor, axis: axis)
        var bias = graph.floatConstant(product.bias)?.array(Float.self)
        if let correction, product.addedBias == nil {
            bias = zip(bias ?? [Float](repeating: 0, count: correction.count), correction).map { $0 + $1 }
        }
        // With one scale for all channels the largest bias decides.
        let limits = axis == nil ? bias.map { [$0.map(\.magnitude).max() ?? 0] } : bias
        let weights = QuantizedWeights(matrix, bias: limits, inputScale: inputScale)
        writer.setInput(position, of: product.node, to: try writer.dequantized(weights, of: id, tensor.shape, axis: axis))
        if let bias { try setBias(bias, of: product, scales: weights.scales.map { $0 * inputScale }, isPerChannel: axis != nil, writer) }
        if let correction, let (add, input) = product.addedBias, let old = graph.nodes[add].inputs[input], let row = graph.floatConstant(old) {
            let elements = row.array(Float.self)
            let sum = correction.indices.map { elements[elements.count == 1 ? 0 : $0 % elements.count] + correction[$0] }
            let dimensions = row.shape.rank == 0 ? [sum.count] : row.shape.dimensions.dropLast() + [sum.count]
            writer.setInput(input, of: add, to: try writer.constant(.float32, dimensions, sum, graph.displayName(old)))
        }
    }

    /// The bias as 32-bit codes of the scale that the product's sums have.
    private func setBias(_ bias: [Float], of product: Product, scales: [Float], isPerChannel: Bool, _ writer: QuantizationWriter) throws {
        let codes = bias.enumerated().map { channel, value -> Int32 in
            let exact = Double(value) / Double(scales[isPerChannel ? channel : 0])
            return exact.isFinite ? Int32(min(max(exact.rounded(.toNearestOrEven), -0x1p30), 0x1p30)) : 0
        }
        let name = product.bias.map { graph.displayName($0) } ?? "\(graph.displayName(product.sums))_bias"
        let length = isPerChannel ? [scales.count] : []
        let inputs: [ValueID?] = [
            try writer.constant(.int32, [codes.count], codes, "\(name)_quantized"), try writer.constant(.float32, length, scales, "\(name)_scale"),
            try writer.constant(.int32, length, [Int32](repeating: 0, count: scales.count), "\(name)_zero_point"),
        ]
        let value = writer.node(
            "DequantizeLinear", inputs, isPerChannel ? [Attribute("axis", .int(0))] : [], named: "\(name)_DequantizeLinear")
        var node = writer.graph.nodes[product.node]
        while node.inputs.count < 3 { node.inputs.append(nil) }
        node.inputs[2] = value
        writer.editor.replace(product.node, with: node)
    }

    /// A constant beside quantised activations, in their type.
    private func quantizeConstant(_ index: Int, _ input: Int, _ writer: QuantizationWriter) throws {
        guard let id = graph.nodes[index].inputs[input], let tensor = graph.floatConstant(id) else { return }
        let elements = tensor.array(Float.self)
        guard let range = elements.withUnsafeBufferPointer({ ValueRange($0) }) else {
            throw ApusError(.invalidValue, "constant \"\(graph.displayName(id))\" holds NaN or infinity")
        }
        let codes = AffineCodes(range, type)
        let name = graph.displayName(id)
        let parameters = try writer.parameters(codes, name)
        let quantized = try writer.constant(type, tensor.shape.dimensions, elements.map { codes.code($0) }, "\(name)_quantized")
        let restored = writer.node("DequantizeLinear", [quantized, parameters.scale, parameters.zeroPoint], named: "\(name)_DequantizeLinear")
        writer.setInput(input, of: index, to: restored)
    }
}
