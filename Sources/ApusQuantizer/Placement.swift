import ApusCore
import ApusGraph
import ApusOperators

/// Where a graph is quantised: which products, which operators between them, and so which tensors have 8 bits.
///
/// A product takes 8 bits; a convolution gives 8 bits, another product only to readers that want them. Between products,
/// operators work on 8 bits where all of what they read has them already and what they make is wanted in 8 bits: so data stay
/// narrow from one product to the next, and nothing is narrowed for an operator that gains nothing.
struct Placement {
    /// The products that are quantised.
    let products: [Product]
    /// The quantised activations in the order in which they are made, graph inputs first.
    let tensors: [ValueID]
    /// By quantised tensor that only moves elements of another: that other, whose scale it has.
    let shares: [ValueID: ValueID]
    /// Constant operands of quantised sums, products and concatenations: (node, input).
    let constants: [(node: Int, input: Int)]

    /// Operators that give elements of their first input; QuantizedMovement of the optimiser knows the same.
    private static let moving: Set<String> = [
        "DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "MaxPool", "Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile",
        "Transpose", "Unsqueeze",
    ]
    private static let functions: Set<String> = [
        "Clip", "Elu", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "Relu", "Selu", "Sigmoid", "Softplus", "Tanh",
    ]
    private static let pools: Set<String> = ["AveragePool", "GlobalAveragePool"]
    private static let several: Set<String> = ["Add", "Mul", "Concat"]

    /// A node between products that could work on 8 bits.
    private struct Candidate {
        let node: Int
        let inputs: [ValueID]
        let outputs: [ValueID]
        let constants: [Int]
        let isMoving: Bool
    }

    init(_ finder: ProductFinder, selects: (Int) -> Bool) {
        let graph = finder.graph
        let products = finder.products().filter { selects($0.node) }
        let owned = Set(products.flatMap(\.nodes))
        var candidates = graph.nodes.indices.compactMap { index -> Candidate? in
            owned.contains(index) || !selects(index) ? nil : Placement.candidate(index, finder)
        }
        // An activation that limits a sum belongs to it.
        let limiting = Set(candidates.flatMap { candidate in candidate.outputs.compactMap { graph.producerOfLimit($0, candidate.node) } })
        candidates.removeAll { limiting.contains($0.node) }

        let operands = Set(products.flatMap { product in
            graph.nodes[product.node].inputs.prefix(2).compactMap { $0 }.filter { graph.initializers[$0] == nil || graph.inputs.contains($0) }
        })
        var wanted: Set<ValueID> = []
        while true {
            wanted = operands
            for candidate in candidates.reversed() where !wanted.isDisjoint(with: candidate.outputs) { wanted.formUnion(candidate.inputs) }
            var narrow = operands
            for product in products where product.kind == .convolution || wanted.contains(product.output) { narrow.insert(product.output) }
            var kept: [Candidate] = []
            for candidate in candidates
            where !wanted.isDisjoint(with: candidate.outputs) && candidate.inputs.allSatisfy({ narrow.contains($0) }) {
                kept.append(candidate)
                narrow.formUnion(candidate.outputs)
            }
            if kept.count == candidates.count { break }
            candidates = kept
        }

        var tensors = operands
        for product in products where product.kind == .convolution || wanted.contains(product.output) { tensors.insert(product.output) }
        for candidate in candidates { tensors.formUnion(candidate.inputs + candidate.outputs) }
        self.products = products
        var order = graph.inputs.filter { tensors.contains($0) }
        for node in graph.nodes { order += node.outputs.compactMap { $0 }.filter { tensors.contains($0) } }
        order += graph.captures.map(\.inner).filter { tensors.contains($0) }
        self.tensors = order
        var shares: [ValueID: ValueID] = [:]
        for candidate in candidates where candidate.isMoving {
            for output in candidate.outputs { shares[output] = shares[candidate.inputs[0]] ?? candidate.inputs[0] }
        }
        self.shares = shares
        constants = candidates.flatMap { candidate in candidate.constants.map { (candidate.node, $0) } }
    }

    private static func candidate(_ index: Int, _ finder: ProductFinder) -> Candidate? {
        let node = finder.graph.nodes[index]
        guard node.domain.isEmpty, let first = node.inputs.first ?? nil, let output = node.outputs.first ?? nil else { return nil }
        func make(_ inputs: [ValueID], _ outputs: [ValueID], constants: [Int] = [], isMoving: Bool = false) -> Candidate? {
            guard (inputs + outputs).allSatisfy({ finder.isFloat($0) }), !inputs.isEmpty else { return nil }
            return Candidate(node: index, inputs: inputs, outputs: outputs, constants: constants, isMoving: isMoving)
        }
        switch node.opType {
        case let op where moving.contains(op):
            // The indices of a MaxPool have no 8-bit form, and neither has a constant that is moved.
            guard finder.graph.floatConstant(first) == nil, op != "MaxPool" || isPlainMaxPool(node) else { return nil }
            return make([first], op == "MaxPool" ? [output] : node.outputs.compactMap { $0 }, isMoving: true)
        case let op where functions.contains(op):
            guard node.inputs.dropFirst().allSatisfy({ $0 == nil || finder.graph.floatConstant($0)?.count == 1 }) else { return nil }
            return make([first], [output])
        case let op where pools.contains(op):
            return node.attribute("dilations") == nil ? make([first], [output]) : nil
        case let op where several.contains(op):
            guard op == "Concat" || (node.opset >= 7 && node.inputs.count == 2) else { return nil }
            let constants = node.inputs.indices.filter { finder.graph.floatConstant(node.inputs[$0]) != nil }
            let inputs = node.inputs.indices.filter { !constants.contains($0) }.compactMap { node.inputs[$0] }
            guard inputs.count + constants.count == node.inputs.count else { return nil }
            let limit = op == "Concat" ? nil : finder.limiter(of: output)
            return make(inputs, [limit?.output ?? output], constants: constants)
        default: return nil
        }
    }

    /// A MaxPool without indices, all of whose windows see an element.
    private static func isPlainMaxPool(_ node: Node) -> Bool {
        guard node.outputs.dropFirst().allSatisfy({ $0 == nil }), let kernel = node.integers("kernel_shape"), !kernel.isEmpty else { return false }
        return (node.integers("pads") ?? []).enumerated().allSatisfy { $1 < kernel[$0 % kernel.count] }
    }
}

extension Graph {
    /// The node that makes `value`, where that is another than `node`.
    fileprivate func producerOfLimit(_ value: ValueID, _ node: Int) -> Int? {
        nodes[node].outputs.contains(value) ? nil : nodes.firstIndex { $0.outputs.contains(value) }
    }
}
