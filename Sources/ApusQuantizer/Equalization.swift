import ApusCore
import ApusGraph

/// Brings the channels between two products to equal ranges: the first's output channels are divided by factors, the second's
/// input channels multiplied by them. What lies between must commute with positive factors.
///
/// Activations have one scale for all channels, and so has each row of the second product's weights: channels of unequal range
/// waste codes. The factors make a channel's share of the activation's range equal to its share of the weights' (Nagel et al.,
/// 2019, section 4.1, with measured ranges of activations in the place of the first product's weights).
struct Equalization {
    let graph: Graph
    let finder: ProductFinder

    /// Operators that keep channels apart and commute with positive factors.
    private static let homogeneous: Set<String> = ["AveragePool", "GlobalAveragePool", "Identity", "LeakyRelu", "MaxPool", "Relu"]

    struct Pair {
        let first, second: Product
        /// What the second reads.
        var tensor: ValueID { second.input }
        let channels: Int
    }

    init(_ finder: ProductFinder) {
        graph = finder.graph
        self.finder = finder
    }

    /// Pairs of convolutions, or of Gemms, one of which alone reads what becomes of the other's output.
    func pairs() -> [Pair] {
        let products = finder.products()
        let byNode = Dictionary(products.map { ($0.node, $0) }, uniquingKeysWith: { first, _ in first })
        return products.compactMap { first in
            guard first.weights == 1, let weights = tensor(first), let axis = first.axis, first.kind != .matMul else { return nil }
            var value = first.sums
            while let reader = finder.onlyReader(value) {
                let node = graph.nodes[reader]
                if let second = byNode[reader], second.kind == first.kind, second.weights == 1, second.input == value, let own = tensor(second) {
                    let channels = weights.shape[axis]
                    // The same weights twice cannot be scaled twice.
                    guard inputChannels(second, own) == channels, graph.nodes[first.node].inputs[1] != node.inputs[1] else { return nil }
                    return Pair(first: first, second: second, channels: channels)
                }
                guard node.domain.isEmpty, Equalization.homogeneous.contains(node.opType), node.inputs.first == value,
                    let output = node.outputs.first ?? nil, node.outputs.dropFirst().allSatisfy({ $0 == nil })
                else { return nil }
                value = output
            }
            return nil
        }
    }

    private func tensor(_ product: Product) -> Tensor? {
        // Weights that others read, too, must stay as they are.
        guard let id = graph.nodes[product.node].inputs[1], finder.readers(id).count == 1 else { return nil }
        if let bias = product.bias, finder.readers(bias).count != 1 { return nil }
        return graph.floatConstant(id)
    }

    /// Input channels of a product; nil for groups that are neither one nor one for each channel.
    private func inputChannels(_ product: Product, _ weights: Tensor) -> Int? {
        if product.kind == .gemm {
            return graph.nodes[product.node].integer("transA", 0) == 0 ? weights.shape[1 - (product.axis ?? 0)] : nil
        }
        let group = graph.nodes[product.node].integer("group", 1)
        if group == 1 { return weights.shape[1] }
        return group == weights.shape[0] && weights.shape[1] == 1 ? group : nil
    }

    /// A copy of the graph with equal channels; nil where there is nothing to equalise.
    ///
    /// - Parameter largest: by tensor: the largest magnitude of each channel.
    func applied(_ largest: [ValueID: [Float]]) throws -> Graph? {
        let pairs = pairs().filter { largest[$0.tensor]?.count == $0.channels }
        if pairs.isEmpty { return nil }
        let copy = graph.copy()
        var weights: [Int: [Float]] = [:], biases: [Int: [Float]] = [:]
        func elements(_ product: Product) -> [Float] {
            weights[product.node] ?? graph.floatConstant(graph.nodes[product.node].inputs[1])?.array(Float.self) ?? []
        }
        for pair in pairs {
            guard let first = tensor(pair.first), let second = tensor(pair.second), let ranges = largest[pair.tensor] else { continue }
            // Position of an element's channel in each of the two.
            let outChannel = channelOf(first.shape, axis: pair.first.axis ?? 0)
            let isDepthwise = pair.second.kind == .convolution && second.shape[1] == 1 && pair.channels > 1
            let inChannel = channelOf(second.shape, axis: isDepthwise ? 0 : pair.second.kind == .convolution ? 1 : 1 - (pair.second.axis ?? 0))
            var own = elements(pair.first), next = elements(pair.second)
            var widths = [Float](repeating: 0, count: pair.channels)
            for (position, element) in next.enumerated() { widths[inChannel(position)] = max(widths[inChannel(position)], element.magnitude) }
            let factors = Equalization.factors(ranges, widths)
            for position in own.indices { own[position] /= factors[outChannel(position)] }
            for position in next.indices { next[position] *= factors[inChannel(position)] }
            weights[pair.first.node] = own
            weights[pair.second.node] = next
            if let bias = biases[pair.first.node] ?? graph.floatConstant(pair.first.bias)?.array(Float.self) {
                biases[pair.first.node] = bias.enumerated().map { $1 / factors[$0] }
            }
        }
        for (index, elements) in weights {
            try replace(1, of: index, elements, in: copy)
            if let bias = biases[index] { try replace(2, of: index, bias, in: copy) }
        }
        return copy
    }

    private func channelOf(_ shape: Shape, axis: Int) -> (Int) -> Int {
        let inner = max(1, shape.count((axis + 1)...)), channels = max(1, shape[axis])
        return { $0 / inner % channels }
    }

    /// The square root of a channel's range before over its range behind, around a mean of 1: powers of 2, which change no digits.
    static func factors(_ before: [Float], _ behind: [Float]) -> [Float] {
        let logarithms = zip(before, behind).map { a, b -> Double? in
            a > 0 && b > 0 && a.isFinite && b.isFinite ? (Double(a) / Double(b)).logarithm2 / 2 : nil
        }
        let known = logarithms.compactMap { $0 }
        let mean = known.isEmpty ? 0 : known.reduce(0, +) / Double(known.count)
        return logarithms.map { value in
            value.map { Float(sign: .plus, exponent: Int(min(max($0 - mean, -10), 10).rounded()), significand: 1) } ?? 1
        }
    }

    private func replace(_ input: Int, of index: Int, _ elements: [Float], in copy: Graph) throws {
        guard let id = graph.nodes[index].inputs[input], let old = graph.floatConstant(id) else { return }
        copy.initializers[id] = .tensor(try Tensor(.float32, old.shape.dimensions, elements))
    }
}

extension Double {
    /// The logarithm to base 2, to within what a factor needs.
    fileprivate var logarithm2: Double { Double(exponent) + (significand - 1) }
}
