import ApusCore
import ApusGraph

/// Writes products of integers whose activations are quantised as they come: DynamicQuantizeLinear, then MatMulInteger or
/// ConvInteger, then the scales.
struct DynamicQuantization {
    let graph: Graph
    let opset: Int
    let isPerChannel: Bool

    /// Whether a product has a form with dynamic activations: constant weights on the right.
    static func takes(_ product: Product, _ graph: Graph) -> Bool {
        product.weights == 1 && graph.nodes[product.node].integer("transA", 0) == 0
    }

    /// - Parameter recurrent: LSTM nodes.
    func quantized(_ products: [Product], _ recurrent: [Layer]) throws -> Graph {
        let copy = graph.copy()
        let writer = QuantizationWriter(copy, opset: opset)
        var quantized: [ValueID: [ValueID]] = [:]
        for product in products where DynamicQuantization.takes(product, graph) {
            let node = graph.nodes[product.node]
            guard let id = node.inputs[1], let tensor = graph.floatConstant(id) else { continue }
            try attributed(to: product.name) {
                let input = try quantized[product.input] ?? quantizedInput(product.input, writer)
                quantized[product.input] = input
                try replace(product, node, tensor, of: id, by: input, writer)
            }
        }
        try DynamicRecurrence(graph: graph, isPerChannel: isPerChannel).replace(recurrent, writer)
        writer.editor.removeDeadCode()
        try writer.editor.commit()
        return copy
    }

    /// Codes, scale and zero point of an activation.
    private func quantizedInput(_ value: ValueID, _ writer: QuantizationWriter) throws -> [ValueID] {
        let name = graph.displayName(value)
        let outputs = ["quantized", "scale", "zero_point"].map { part -> ValueID in
            let id = writer.editor.addValue()
            writer.graph.values[id.index].name = ByteString("\(name)_\(part)")
            return id
        }
        writer.node("DynamicQuantizeLinear", [value], named: "\(name)_DynamicQuantizeLinear", outputs: outputs)
        return outputs
    }

    private func replace(
        _ product: Product, _ node: Node, _ tensor: Tensor, of weightsID: ValueID, by input: [ValueID], _ writer: QuantizationWriter
    ) throws {
        let isConvolution = product.kind == .convolution
        // MatMulInteger wants columns as output channels.
        let transposes = product.kind == .gemm && product.axis == 0
        let weights = transposes ? try tensor.transposedMatrix() : tensor
        let axis: Int? = isPerChannel ? (transposes ? 1 : product.axis) : nil
        let quantized = QuantizedWeights(try WeightMatrix(weights, axis: axis))
        // Runtimes know ConvInteger for uint8 weights at least.
        let codes = try writer.shared(weightsID, transposes ? "quantized_transposed" : "quantized") { name in
            isConvolution
                ? try writer.constant(.uint8, weights.shape.dimensions, quantized.codes.map { UInt8(truncatingIfNeeded: Int($0) + 128) }, name)
                : try writer.constant(.int8, weights.shape.dimensions, quantized.codes, name)
        }
        let zero = isConvolution ? try writer.shared(weightsID, "zero_point") { try writer.constant(.uint8, [], [UInt8(128)], $0) } : nil
        // Scales of channels lie along the axis of channels of the result.
        let spatial = isConvolution && axis != nil ? [Int](repeating: 1, count: weights.shape.rank - 2) : []
        let scales = try writer.shared(weightsID, isConvolution ? "scale_column" : transposes ? "scale_transposed" : "scale") {
            try writer.constant(.float32, axis == nil ? [] : [quantized.scales.count] + spatial, quantized.scales, $0)
        }

        let base = product.name
        let sums = writer.node(
            isConvolution ? "ConvInteger" : "MatMulInteger", [input[0], codes, input[2], zero], isConvolution ? node.attributes : [],
            named: "\(base)_integer")
        let real = writer.node("Cast", [sums], [Attribute("to", .int(1))], named: "\(base)_cast")
        let scale = writer.node("Mul", [input[1], scales], named: "\(base)_scales")
        let bias = node.inputs.count > 2 ? node.inputs[2] : nil
        writer.editor.remove(product.node)
        guard let bias else {
            writer.node("Mul", [real, scale], named: base, outputs: [product.sums])
            return
        }
        let scaled = writer.node("Mul", [real, scale], named: "\(base)_scaled")
        var row = bias
        if isConvolution, let constant = graph.floatConstant(bias) {
            let shape = try Shape([constant.count] + [Int](repeating: 1, count: weights.shape.rank - 2))
            row = writer.constant(try constant.reshaped(shape), "\(graph.displayName(bias))_row")
        }
        writer.node("Add", [scaled, row], named: base, outputs: [product.sums])
    }
}

extension Tensor {
    /// A float32 matrix with its axes exchanged.
    func transposedMatrix() throws -> Tensor {
        let (rows, columns) = (shape[0], shape[1])
        let elements = array(Float.self)
        var result = [Float](repeating: 0, count: elements.count)
        for row in 0..<rows {
            for column in 0..<columns { result[column * rows + row] = elements[row * columns + column] }
        }
        return try Tensor(.float32, [columns, rows], result)
    }
}
