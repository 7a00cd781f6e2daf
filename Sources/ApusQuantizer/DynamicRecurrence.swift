import ApusCore
import ApusGraph

/// LSTM with 8-bit weights whose inputs and states are quantised as they come: com.microsoft's DynamicQuantizeLSTM, which
/// onnxruntime knows, too. GRU and RNN have no such form.
struct DynamicRecurrence {
    let graph: Graph
    let isPerChannel: Bool

    /// Inputs of the LSTM that hold its weights: W [directions, 4 hidden, input], R [directions, 4 hidden, hidden].
    private static let weights = [1, 2]

    /// The nodes that can be replaced.
    static func nodes(_ finder: ProductFinder) -> [Layer] {
        finder.graph.nodes.enumerated().compactMap { index, node in
            guard node.domain.isEmpty, node.opType == "LSTM", node.opset >= 7, node.integer("layout", 0) == 0,
                finder.isFloat(node.inputs.first ?? nil), let output = node.outputs.lazy.compactMap({ $0 }).first,
                weights.allSatisfy({ position in
                    guard node.inputs.count > position, let tensor = finder.graph.floatConstant(node.inputs[position]) else { return false }
                    return tensor.shape.rank == 3 && tensor.count > 0
                })
            else { return nil }
            return Layer(node: index, name: node.name.isEmpty ? finder.graph.displayName(output) : node.name.description, output: output)
        }
    }

    /// The codes of one of the weight tensors with the gates along the last axis, as DynamicQuantizeLSTM has them, their scales, and the
    /// relative error of the worse direction.
    private func rounded(_ tensor: Tensor) throws -> (codes: [Int8], scales: [Float], error: Double) {
        let (directions, rows, columns) = (tensor.shape[0], tensor.shape[1], tensor.shape[2])
        let elements = tensor.array(Float.self), count = rows * columns
        var codes: [Int8] = [], scales: [Float] = [], error = 0.0
        codes.reserveCapacity(elements.count)
        for direction in 0..<directions {
            let part = try Tensor(.float32, [rows, columns], Array(elements[(direction * count)..<((direction + 1) * count)]))
            let matrix = try WeightMatrix(part, axis: isPerChannel ? 0 : nil), quantized = QuantizedWeights(matrix)
            for column in 0..<columns {
                for row in 0..<rows { codes.append(quantized.codes[row * columns + column]) }
            }
            scales += quantized.scales
            error = max(error, relativeError(quantized.restored(matrix), from: matrix.elements))
        }
        return (codes, scales, error)
    }

    /// By node: the relative error of the worse of its weights.
    func weightErrors(_ layers: [Layer]) throws -> [Int: Double] {
        var errors: [Int: Double] = [:]
        for layer in layers {
            for position in DynamicRecurrence.weights {
                guard let tensor = graph.floatConstant(graph.nodes[layer.node].inputs[position]) else { continue }
                errors[layer.node] = max(errors[layer.node] ?? 0, try attributed(to: layer.name) { try rounded(tensor).error })
            }
        }
        return errors
    }

    /// Puts the 8-bit form in the place of the nodes of `layers`.
    func replace(_ layers: [Layer], _ writer: QuantizationWriter) throws {
        for layer in layers {
            try attributed(to: layer.name) {
                let node = graph.nodes[layer.node]
                var inputs = node.inputs + [ValueID?](repeating: nil, count: 12 - node.inputs.count)
                for (index, position) in DynamicRecurrence.weights.enumerated() {
                    guard let id = node.inputs[position], let tensor = graph.floatConstant(id) else { continue }
                    let (directions, rows, columns) = (tensor.shape[0], tensor.shape[1], tensor.shape[2])
                    let weights = try rounded(tensor)
                    let length = isPerChannel ? [directions, rows] : [directions]
                    inputs[position] = try writer.shared(id, "quantized_lstm") { name in
                        try writer.constant(.int8, [directions, columns, rows], weights.codes, name)
                    }
                    inputs[8 + 2 * index] = try writer.shared(id, "scale_lstm") { try writer.constant(.float32, length, weights.scales, $0) }
                    inputs[9 + 2 * index] = try writer.shared(id, "zero_point_lstm") { name in
                        try writer.constant(.int8, length, [Int8](repeating: 0, count: weights.scales.count), name)
                    }
                }
                writer.editor.replace(
                    layer.node,
                    with: Node(
                        "DynamicQuantizeLSTM", domain: "com.microsoft", name: node.name, opset: 1,
                        attributes: node.attributes.filter { $0.name != "layout" }, inputs: inputs, outputs: node.outputs))
            }
        }
    }
}
