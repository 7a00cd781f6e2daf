import ApusCore
import ApusGraph

/// What rounded weights add to a product on average, and the biases that take it away: (W' - W) times the mean of each input
/// channel (Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019, section 4.2).
///
/// The mean is taken over all positions: beside the padding of a convolution the correction is a little too large.
struct BiasCorrection {
    let graph: Graph
    let isPerChannel: Bool

    private func rounded(_ product: Product) throws -> (tensor: Tensor, matrix: WeightMatrix, restored: [Float])? {
        guard let input = product.weights, let tensor = graph.floatConstant(graph.nodes[product.node].inputs[input]) else { return nil }
        let matrix = try attributed(to: product.name) { try WeightMatrix(tensor, axis: isPerChannel ? product.axis : nil) }
        return (tensor, matrix, QuantizedWeights(matrix).restored(matrix))
    }

    /// By node: the relative error of the weights.
    func weightErrors(_ products: [Product]) throws -> [Int: Double] {
        var errors: [Int: Double] = [:]
        for product in products {
            if let weights = try rounded(product) { errors[product.node] = relativeError(weights.restored, from: weights.matrix.elements) }
        }
        return errors
    }

    /// By node: what to add to the bias of each output channel. Products without a bias anywhere are left as they are.
    func corrections(_ products: [Product], _ calibration: Calibration, _ batches: [QuantizationBatch]) throws -> [Int: [Float]] {
        let taken = products.filter { $0.weights == 1 && $0.axis != nil && ($0.kind != .matMul || $0.addedBias != nil) }
        var seen = Set<ValueID>()
        let inputs = taken.filter { seen.insert($0.input).inserted }.map { (value: $0.input, axis: $0.kind == .convolution ? 1 : -1) }
        let means = try calibration.channelMeans(inputs, batches)
        var corrections: [Int: [Float]] = [:]
        for product in taken {
            guard let mean = means[product.input], let axis = product.axis, let weights = try rounded(product) else { continue }
            let dimensions = weights.tensor.shape.dimensions
            let channels = dimensions[axis]
            var sums = [Double](repeating: 0, count: channels)
            let group = max(1, product.kind == .convolution ? graph.nodes[product.node].integer("group", 1) : 1)
            let perGroup = dimensions[1], inner = weights.tensor.shape.count(2...)
            guard product.kind != .convolution ? mean.count == dimensions[1 - axis] : mean.count == perGroup * group && channels % group == 0
            else { continue }
            for position in weights.restored.indices {
                let error = Double(weights.restored[position]) - Double(weights.matrix.elements[position])
                let row = position / max(1, perGroup * inner), column = position / max(1, inner) % perGroup
                if product.kind == .convolution {
                    sums[row] += error * mean[row / (channels / group) * perGroup + column]
                } else {
                    sums[axis == 0 ? row : column] += error * mean[axis == 0 ? column : row]
                }
            }
            corrections[product.node] = sums.map { Float(-$0) }
        }
        return corrections
    }
}
