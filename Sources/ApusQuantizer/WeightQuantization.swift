import ApusCore
import ApusGraph

/// Stores weights in 4 or 8 bits behind a DequantizeLinear; the arithmetic stays float, unless a runtime knows better.
///
/// Matrices may have a scale for each block of rows. Weights of other forms (convolutions, recurrent operators) have one for each
/// output channel, and only in 8 bits.
struct WeightQuantization {
    let graph: Graph
    let opset: Int
    let options: QuantizationOptions

    /// Constant weights of a node that can be stored in fewer bits.
    struct Weights {
        let node: Int
        let name: String
        let input: Int
        /// Matrices: the summed axis.
        let summedAxis: Int?
        /// Others: the axis of channels.
        let channelAxis: Int
        /// What the node makes.
        let output: ValueID
    }

    /// By operator that is no product: positions of its weights and their axis of channels.
    private static let stored: [String: (inputs: [Int], axis: Int)] = [
        "LSTM": ([1, 2], 1), "GRU": ([1, 2], 1), "RNN": ([1, 2], 1), "ConvTranspose": ([1], 1),
    ]

    /// All that `options` allow, apart from a choice of nodes.
    func weights(_ products: [Product]) -> [Weights] {
        var found: [Weights] = products.compactMap { product in
            guard let input = product.weights, input == 1, let tensor = graph.floatConstant(graph.nodes[product.node].inputs[1]) else { return nil }
            let isMatrix = product.kind != .convolution && tensor.shape.rank == 2
            if !isMatrix && (options.weightType == .int4 || product.axis == nil) { return nil }
            let axis = product.axis ?? 0
            return Weights(
                node: product.node, name: product.name, input: 1, summedAxis: isMatrix ? 1 - axis : nil, channelAxis: axis, output: product.output)
        }
        guard options.weightType == .int8 else { return found }
        for (index, node) in graph.nodes.enumerated() {
            guard node.domain.isEmpty, let (inputs, axis) = WeightQuantization.stored[node.opType], let output = node.outputs.lazy.compactMap({ $0 }).first
            else { continue }
            for input in inputs where input < node.inputs.count {
                guard let tensor = graph.floatConstant(node.inputs[input]), tensor.shape.rank > axis, tensor.count > 0 else { continue }
                let name = node.name.isEmpty ? graph.displayName(output) : node.name.description
                found.append(Weights(node: index, name: name, input: input, summedAxis: nil, channelAxis: axis, output: output))
            }
        }
        return found
    }

    /// - Parameter weightErrors: set to the relative error of each of `weights`.
    func quantized(_ weights: [Weights], _ weightErrors: inout [Double], progress: (Double) -> Void) throws -> Graph {
        let copy = graph.copy()
        let writer = QuantizationWriter(copy, opset: opset)
        let coder = BlockCodes(
            bits: options.weightType == .int4 ? 4 : 8, hasZeroPoint: options.hasZeroPoints, searches: options.searchesScales)
        var known: [ValueID: [(axis: Int, value: ValueID, error: Double)]] = [:]
        for (position, entry) in weights.enumerated() {
            guard let id = graph.nodes[entry.node].inputs[entry.input], let tensor = graph.floatConstant(id) else { continue }
            try attributed(to: entry.name) {
                let axis = entry.summedAxis ?? -1 - entry.channelAxis
                if let made = known[id]?.first(where: { $0.axis == axis }) {
                    writer.setInput(entry.input, of: entry.node, to: made.value)
                    weightErrors.append(made.error)
                    return
                }
                var value: ValueID, error: Double
                if let summed = entry.summedAxis {
                    let blocked = try BlockedWeights(tensor, axis: summed, blockSize: options.blockSize, coder)
                    (value, error) = (dequantized(blocked, summed, graph.displayName(id), writer), blocked.relativeError)
                } else {
                    let axis = options.isPerChannel ? entry.channelAxis : nil
                    let matrix = try WeightMatrix(tensor, axis: axis), rounded = QuantizedWeights(matrix)
                    value = try writer.dequantized(rounded, of: id, tensor.shape, axis: axis)
                    error = relativeError(rounded.restored(matrix), from: matrix.elements)
                }
                known[id, default: []].append((axis, value, error))
                writer.setInput(entry.input, of: entry.node, to: value)
                weightErrors.append(error)
            }
            progress(Double(position + 1) / Double(weights.count))
        }
        writer.editor.removeDeadCode()
        try writer.editor.commit()
        return copy
    }

    private func dequantized(_ weights: BlockedWeights, _ summed: Int, _ name: String, _ writer: QuantizationWriter) -> ValueID {
        var inputs: [ValueID?] = [writer.constant(weights.codes, "\(name)_quantized"), writer.constant(weights.scales, "\(name)_scale")]
        if let zeros = weights.zeroPoints { inputs.append(writer.constant(zeros, "\(name)_zero_point")) }
        // A scale for each column lies along the other axis.
        let attributes =
            options.blockSize > 0
            ? [Attribute("axis", .int(Int64(summed))), Attribute("block_size", .int(Int64(options.blockSize)))]
            : [Attribute("axis", .int(Int64(1 - summed)))]
        return writer.node("DequantizeLinear", inputs, attributes, named: "\(name)_DequantizeLinear")
    }
}
