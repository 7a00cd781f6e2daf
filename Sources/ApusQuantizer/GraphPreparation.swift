import ApusCore
import ApusGraph
import ApusOperators
import ApusOptimizer

/// Brings a graph into the form that is quantised, without changing what it computes: constants computed, nodes without effect
/// taken out, BatchNormalization made part of the convolution or Gemm before it, factors of a Gemm made part of its weights.
struct GraphPreparation {
    let settings: RunnerSettings

    /// - Parameter graph: with inferred types; it is left as it is.
    func prepared(_ original: Graph) throws -> Graph {
        let graph = original.copy()
        let names = graph.outputs.map { graph.values[$0.index].name }
        try Optimizer(level: 1, disabled: ["CommonSubexpressions", "TransposeCancelling"], evaluator: settings.evaluator).run(graph)
        let infos = try GraphInference(graph, evaluator: settings.evaluator).run()
        let editor = GraphEditor(graph)
        for index in editor.nodeIndices where !editor.isRemoved(index) {
            let node = graph.nodes[index]
            guard node.domain.isEmpty else { continue }
            if node.opType == "BatchNormalization" { try foldNormalization(index, node, editor) }
            if node.opType == "Gemm" { try normalizeGemm(index, editor) }
            if node.opType == "MatMul" { makeGemm(index, node, editor, infos) }
        }
        editor.removeDeadCode()
        restoreOutputs(names, editor)
        try editor.commit()
        try returnOwnValues(graph)
        return graph
    }

    /// Bodies of control flow give values that they make themselves, each once: others, which remain where an Identity was taken
    /// out, have no place in a file.
    private func returnOwnValues(_ graph: Graph) throws {
        for body in graph.nodes.flatMap(\.subgraphs) {
            let editor = GraphEditor(body)
            var used = Set(body.captures.map(\.inner) + body.inputs)
            for (position, id) in body.outputs.enumerated() where body.initializers[id] != nil || !used.insert(id).inserted {
                let copy = editor.addValue(type: body.values[id.index].type)
                editor.add(Node("Identity", opset: 13, inputs: [id], outputs: [copy]))
                body.outputs[position] = copy
            }
            try editor.commit()
            try returnOwnValues(body)
        }
    }

    /// Outputs keep their names although other nodes may make them now.
    private func restoreOutputs(_ names: [ByteString], _ editor: GraphEditor) {
        let graph = editor.graph
        var used: Set<ValueID> = []
        for (position, name) in names.enumerated() {
            let id = graph.outputs[position]
            let isOwn = !graph.inputs.contains(id) && graph.initializers[id] == nil && used.insert(id).inserted
            if graph.values[id.index].name == name, isOwn || graph.inputs.contains(id) { continue }
            if isOwn {
                graph.values[id.index].name = name
                continue
            }
            let copy = editor.addValue(type: graph.values[id.index].type)
            graph.values[copy.index].name = name
            editor.add(Node("Identity", name: name, opset: 13, inputs: [id], outputs: [copy]))
            graph.outputs[position] = copy
        }
    }

    /// Puts new contents in the place of a node's constant input, under its name.
    private func replaceConstant(_ input: Int, of node: inout Node, _ elements: [Float], _ dimensions: [Int], name: String, _ editor: GraphEditor) throws {
        let id = editor.addInitializer(.tensor(try Tensor(.float32, dimensions, elements, budget: settings.budget)))
        editor.graph.values[id.index].name = ByteString(name)
        while node.inputs.count <= input { node.inputs.append(nil) }
        node.inputs[input] = id
    }

    private func foldNormalization(_ index: Int, _ node: Node, _ editor: GraphEditor) throws {
        let graph = editor.graph
        guard node.inputs.count == 5, node.integer("training_mode", 0) == 0, node.integer("spatial", 1) != 0,
            node.outputs.dropFirst().allSatisfy({ $0.map { editor.useCount($0) == 0 } ?? true }), let input = node.inputs[0],
            let output = node.outputs[0], editor.useCount(input) == 1, let (product, before) = editor.producer(input), before.domain.isEmpty,
            before.opType == "Conv" || before.opType == "Gemm", before.inputs.count >= 2, let weightsID = before.inputs[1],
            let weights = graph.floatConstant(weightsID)
        else { return }
        let axis = before.opType == "Gemm" && before.integer("transB", 0) == 0 ? 1 : 0
        guard weights.shape.rank >= 2, before.opType == "Conv" || (before.opset >= 7 && before.float("alpha", 1) == 1 && before.float("beta", 1) == 1)
        else { return }
        let channels = weights.shape[axis]
        let parameters = node.inputs.dropFirst().compactMap { graph.floatConstant($0)?.array(Float.self) }
        guard parameters.count == 4, parameters.allSatisfy({ $0.count == channels }) else { return }
        var bias = [Float](repeating: 0, count: channels)
        if before.inputs.count > 2, let given = before.inputs[2] {
            guard let tensor = graph.floatConstant(given), tensor.count == channels || tensor.count == 1 else { return }
            let elements = tensor.array(Float.self)
            bias = (0..<channels).map { elements[elements.count == 1 ? 0 : $0] }
        }
        let epsilon = Double(node.float("epsilon", 1e-5))
        let factors = (0..<channels).map { channel -> Double in
            Double(parameters[0][channel]) / (Double(parameters[3][channel]) + epsilon).squareRoot()
        }
        guard factors.allSatisfy(\.isFinite) else { return }
        var folded = before
        try replaceConstant(
            1, of: &folded, scaled(weights, axis: axis, by: factors), weights.shape.dimensions, name: graph.displayName(weightsID), editor)
        let shifted = (0..<channels).map { channel -> Float in
            let centred = Double(bias[channel]) - Double(parameters[2][channel])
            return Float(centred * factors[channel] + Double(parameters[1][channel]))
        }
        try replaceConstant(2, of: &folded, shifted, [channels], name: "\(graph.displayName(output))_bias", editor)
        folded.outputs = [output]
        editor.remove(index)
        editor.replace(product, with: folded)
    }

    private func scaled(_ weights: Tensor, axis: Int, by factors: [Double]) -> [Float] {
        let inner = weights.shape.count((axis + 1)...)
        return weights.array(Float.self).enumerated().map { Float(Double($1) * factors[$0 / max(inner, 1) % factors.count]) }
    }

    /// alpha becomes part of constant weights, beta of a constant bias; a bias of one number becomes a row.
    private func normalizeGemm(_ index: Int, _ editor: GraphEditor) throws {
        var node = editor.graph.nodes[index]
        let alpha = node.float("alpha", 1), beta = node.float("beta", 1)
        guard node.opset >= 7, node.inputs.count >= 2, let weightsID = node.inputs[1], let weights = editor.graph.floatConstant(weightsID),
            weights.shape.rank == 2
        else { return }
        let columns = weights.shape[node.integer("transB", 0) != 0 ? 0 : 1]
        let biasID = node.inputs.count > 2 ? node.inputs[2] : nil
        let bias = editor.graph.floatConstant(biasID)
        let widens = bias.map { $0.count == 1 && columns > 1 } ?? false
        guard alpha != 1 || beta != 1 || widens, biasID == nil || bias != nil else { return }
        if alpha != 1 {
            try replaceConstant(
                1, of: &node, weights.array(Float.self).map { $0 * alpha }, weights.shape.dimensions, name: editor.graph.displayName(weightsID), editor)
        }
        if let bias, let biasID {
            let elements = bias.array(Float.self).map { $0 * beta }
            let row = widens ? [Float](repeating: elements[0], count: columns) : elements
            try replaceConstant(2, of: &node, row, widens ? [columns] : bias.shape.dimensions, name: editor.graph.displayName(biasID), editor)
        }
        node.attributes.removeAll { $0.name == "alpha" || $0.name == "beta" }
        editor.replace(index, with: node)
    }

    /// A MatMul of a matrix with constant weights and an Add of a constant row are a Gemm, whose bias has an integer form.
    private func makeGemm(_ index: Int, _ node: Node, _ editor: GraphEditor, _ infos: [ValueInfo?]) {
        guard node.inputs.count == 2, let a = node.inputs[0], let output = node.outputs[0], infos.indices.contains(a.index),
            infos[a.index]?.type.shape?.dimensions?.count == 2, let weights = editor.graph.floatConstant(node.inputs[1]), weights.shape.rank == 2,
            editor.useCount(output) == 1, let reader = editor.consumers(output).first
        else { return }
        let add = editor.graph.nodes[reader]
        guard add.domain.isEmpty, add.opType == "Add", add.opset >= 7, let bias = add.inputs[0] == output ? add.inputs[1] : add.inputs[0],
            let tensor = editor.graph.floatConstant(bias), tensor.count == weights.shape[1], tensor.shape.rank <= 2,
            tensor.shape.dimensions.last == tensor.count
        else { return }
        editor.remove(reader)
        editor.replace(
            index,
            with: Node("Gemm", name: node.name, opset: max(7, node.opset), inputs: [a, node.inputs[1], bias], outputs: add.outputs))
    }
}
