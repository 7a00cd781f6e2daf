import ApusCore
import ApusGraph
import ApusOperators

/// A convolution or matrix product with what belongs to it: the unit that is quantised or left in float.
package struct Product: Sendable {
    package enum Kind: Sendable { case convolution, gemm, matMul }

    package let kind: Kind
    /// Index of the node.
    package let node: Int
    /// As people know it: the node's name, else that of its output.
    package let name: String
    /// The operand that is not constant.
    package let input: ValueID
    /// Position of the constant operand among the node's inputs; nil: both operands are computed.
    package let weights: Int?
    /// The axis of the output channels in the weights; nil where they are no matrix.
    package let axis: Int?
    /// The constant bias of the node itself: one number for each output channel.
    package let bias: ValueID?
    /// The bias that an Add behind a MatMul adds, and its position: (node, input).
    let addedBias: (node: Int, input: Int)?
    /// What the product itself makes.
    package let sums: ValueID
    /// What the unit makes: behind the added bias and an activation that limits.
    package let output: ValueID
    /// The nodes of the unit.
    let nodes: [Int]
}

/// Finds the products of a graph that integer arithmetic can take over.
struct ProductFinder {
    let graph: Graph
    let infos: [ValueInfo?]
    private let readers: [[Int]]
    private let outputs: Set<ValueID>

    init(_ graph: Graph, _ infos: [ValueInfo?]) {
        self.graph = graph
        self.infos = infos
        readers = graph.readers()
        outputs = Set(graph.outputs)
    }

    func isFloat(_ value: ValueID?) -> Bool {
        guard let value else { return false }
        return infos[value.index]?.type.elementType == .float32
    }

    func rank(_ value: ValueID) -> Int? { infos[value.index]?.type.shape?.dimensions?.count }

    /// The node that alone reads a value which is no output of the graph.
    func onlyReader(_ value: ValueID) -> Int? {
        outputs.contains(value) || readers[value.index].count != 1 ? nil : readers[value.index][0]
    }

    func readers(_ value: ValueID) -> [Int] { readers[value.index] }

    func products() -> [Product] {
        graph.nodes.indices.compactMap { product($0) }
    }

    private func product(_ index: Int) -> Product? {
        let node = graph.nodes[index]
        guard node.domain.isEmpty, node.inputs.count >= 2, let a = node.inputs[0], let b = node.inputs[1], let output = node.outputs.first ?? nil,
            isFloat(a), isFloat(b), isFloat(output)
        else { return nil }
        let aTensor = graph.floatConstant(a), bTensor = graph.floatConstant(b)
        if aTensor != nil && bTensor != nil { return nil }
        switch node.opType {
        case "Conv":
            guard let bTensor, bTensor.shape.rank >= 3, bTensor.count > 0, let bias = bias(node, channels: bTensor.shape[0]) else { return nil }
            return unit(.convolution, index, input: a, weights: 1, axis: 0, bias: bias, output)
        case "Gemm":
            guard node.opset >= 7, aTensor == nil, node.float("alpha", 1) == 1, node.float("beta", 1) == 1 else { return nil }
            let axis = node.integer("transB", 0) != 0 ? 0 : 1
            guard let bTensor else {
                guard node.inputs.count < 3 || node.inputs[2] == nil else { return nil }
                return unit(.gemm, index, input: a, weights: nil, axis: nil, bias: nil, output)
            }
            guard bTensor.shape.rank == 2, bTensor.count > 0, let bias = bias(node, channels: bTensor.shape[axis]) else { return nil }
            return unit(.gemm, index, input: a, weights: 1, axis: axis, bias: bias, output)
        case "MatMul":
            if let bTensor {
                guard bTensor.count > 0, bTensor.shape.rank >= 1 else { return nil }
                return unit(.matMul, index, input: a, weights: 1, axis: bTensor.shape.rank == 2 ? 1 : nil, bias: nil, output)
            }
            if aTensor != nil { return aTensor?.count == 0 ? nil : unit(.matMul, index, input: b, weights: 0, axis: nil, bias: nil, output) }
            return unit(.matMul, index, input: a, weights: nil, axis: nil, bias: nil, output)
        default: return nil
        }
    }

    /// nil: there is a bias that has no integer form.
    private func bias(_ node: Node, channels: Int) -> ValueID?? {
        guard node.inputs.count > 2, let bias = node.inputs[2] else { return .some(nil) }
        guard let tensor = graph.floatConstant(bias), tensor.count == channels, tensor.shape.dimensions.last == channels,
            tensor.array(Float.self).allSatisfy(\.isFinite)
        else { return nil }
        return .some(bias)
    }

    private func unit(
        _ kind: Product.Kind, _ index: Int, input: ValueID, weights: Int?, axis: Int?, bias: ValueID?, _ sums: ValueID
    ) -> Product {
        var output = sums, nodes = [index]
        var added: (node: Int, input: Int)?
        if kind == .matMul, let reader = onlyReader(output), let position = biasPosition(reader, output), let sum = graph.nodes[reader].outputs[0] {
            added = (reader, position)
            nodes.append(reader)
            output = sum
        }
        if let limit = limiter(of: output) {
            nodes.append(limit.node)
            output = limit.output
        }
        let node = graph.nodes[index]
        return Product(
            kind: kind, node: index, name: node.name.isEmpty ? graph.displayName(sums) : node.name.description, input: input, weights: weights,
            axis: axis, bias: bias, addedBias: added, sums: sums, output: output, nodes: nodes)
    }

    /// Where an Add has a constant row beside `value`.
    private func biasPosition(_ index: Int, _ value: ValueID) -> Int? {
        let node = graph.nodes[index]
        guard node.domain.isEmpty, node.opType == "Add", node.opset >= 7, node.inputs.count == 2 else { return nil }
        let position = node.inputs[0] == value ? 1 : 0
        guard let tensor = graph.floatConstant(node.inputs[position]), tensor.shape.dimensions.dropLast().allSatisfy({ $0 == 1 }),
            infos[node.outputs[0]?.index ?? 0]?.type.shape?.dimensions?.count == rank(value)
        else { return nil }
        return position
    }

    /// The Relu or Clip between constants that alone reads `value`: it costs nothing when `value`'s integers are limited instead.
    func limiter(of value: ValueID) -> (node: Int, output: ValueID)? {
        guard let reader = onlyReader(value) else { return nil }
        let node = graph.nodes[reader]
        guard node.domain.isEmpty, node.inputs.first == value, let output = node.outputs.first ?? nil else { return nil }
        let hasConstantLimits = node.inputs.dropFirst().allSatisfy { $0 == nil || graph.floatConstant($0)?.count == 1 }
        return node.opType == "Relu" || (node.opType == "Clip" && hasConstantLimits) ? (reader, output) : nil
    }
}
