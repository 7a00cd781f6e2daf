import ApusCore
import ApusGraph
import ApusOperators

/// Brings a graph's ai.onnx nodes to a later version of the operator set, for the operators that came with it.
///
/// Most changes of ONNX's operators add types or optional parts, and then the version is all that changes. Those that changed
/// the form or the meaning of what was there are rewritten; what cannot be is an error that names the nodes.
package struct OpsetUpgrade {
    let target: Int

    /// The least version of the file format in which an operator set may be used.
    package static func irVersion(for opset: Int) -> Int64 {
        switch opset {
        case ..<11: 5
        case 11: 6
        case 12...14: 7
        case 15...18: 8
        case 19...20: 9
        case 21...22: 10
        case 23: 11
        default: 12
        }
    }

    /// Rewrites `graph` and its subgraphs in place.
    func apply(to graph: Graph) throws {
        var problems: [String] = []
        upgrade(graph, &problems)
        guard problems.isEmpty else {
            throw ApusError(
                .unsupported, "the quantised model needs version \(target) of ai.onnx, to which not all nodes can be brought: "
                    + problems.joined(separator: "; "))
        }
    }

    private func upgrade(_ graph: Graph, _ problems: inout [String]) {
        let editor = GraphEditor(graph)
        for index in editor.nodeIndices {
            for subgraph in graph.nodes[index].subgraphs { upgrade(subgraph, &problems) }
            var node = graph.nodes[index]
            guard node.domain.isEmpty, node.opset < target else { continue }
            if let problem = upgrade(&node, editor) {
                problems.append("\(graph.displayName(node)): \(problem)")
                continue
            }
            node.opset = target
            editor.replace(index, with: node)
        }
        // Every problem is reported; a graph that has one is thrown away.
        if problems.isEmpty { try? editor.commit() }
    }

    private func upgrade(_ node: inout Node, _ editor: GraphEditor) -> String? {
        let from = node.opset
        /// Whether the node crosses the version in which something changed.
        func crosses(_ version: Int) -> Bool { from < version && target >= version }
        if from < 7 { return "operators of version \(from) broadcast and normalise by rules that have gone" }
        switch node.opType {
        case "BatchNormalization" where crosses(9):
            if node.integer("spatial", 1) == 0 { return "spatial=0 has no later form" }
            node.attributes.removeAll { $0.name == "spatial" }
        case "Dropout" where crosses(12):
            node.attributes.removeAll { $0.name == "ratio" }
        case "Upsample" where crosses(10):
            return upgradeUpsample(&node, editor)
        case "Resize" where crosses(11):
            resizeByCorner(&node, node.inputs.count > 1 ? node.inputs[1] : nil, editor)
        case "Slice" where crosses(10):
            let starts = node.integers("starts") ?? [], axes = node.integers("axes") ?? Array(starts.indices)
            moveToInputs(&node, [("starts", starts), ("ends", node.integers("ends") ?? []), ("axes", axes)], from: 1, editor)
        case "TopK" where crosses(10):
            moveToInputs(&node, [("k", [node.integer("k", 1)])], from: 1, editor)
        case "Clip" where crosses(11), "Pad" where crosses(11):
            guard isFloat32(node.inputs.first ?? nil, editor) else { return "its attributes would become inputs of another type than float32" }
            upgradeLimits(&node, editor)
        case "Scatter" where crosses(11):
            node.opType = "ScatterElements"
        case "Softmax" where crosses(13), "LogSoftmax" where crosses(13), "Hardmax" where crosses(13):
            // Before, all axes from `axis` on were one.
            guard let rank = editor.graph.values[(node.inputs.first ?? nil)?.index ?? 0].type?.shape?.dimensions?.count else {
                return "the rank of its input is not known"
            }
            let given = node.integer("axis", 1), axis = given < 0 ? given + rank : given
            if axis != rank - 1 { flatten(&node, axis: axis, editor) }
            node.attributes.removeAll { $0.name == "axis" }
            node.attributes.append(Attribute("axis", .int(-1)))
        case "Squeeze" where crosses(13), "Unsqueeze" where crosses(13), "ReduceSum" where crosses(13):
            if let axes = node.integers("axes") { moveToInputs(&node, [("axes", axes)], from: 1, editor) }
        case "Split" where crosses(13) && node.integers("split") != nil:
            moveToInputs(&node, [("split", node.integers("split") ?? [])], from: 1, editor)
        case "Split" where crosses(18) && node.inputs.count < 2:
            node.attributes.append(Attribute("num_outputs", .int(Int64(node.outputs.count))))
        case "RoiAlign" where crosses(16) && node.attribute("coordinate_transformation_mode") == nil:
            node.attributes.append(Attribute("coordinate_transformation_mode", .string("output_half_pixel")))
        case "ReduceMax" where crosses(18), "ReduceMin" where crosses(18), "ReduceMean" where crosses(18), "ReduceProd" where crosses(18),
            "ReduceL1" where crosses(18), "ReduceL2" where crosses(18), "ReduceLogSum" where crosses(18),
            "ReduceLogSumExp" where crosses(18), "ReduceSumSquare" where crosses(18):
            if let axes = node.integers("axes") { moveToInputs(&node, [("axes", axes)], from: 1, editor) }
        case "GridSample" where crosses(20):
            guard case .string(let mode)? = node.attribute("mode") else { break }
            node.attributes.removeAll { $0.name == "mode" }
            let names = ["bilinear": "linear", "bicubic": "cubic"]
            node.attributes.append(Attribute("mode", .string(ByteString(names[mode.description] ?? mode.description))))
        case "Scan" where crosses(9): return "Scan of version 8 has a batch axis"
        case "DFT" where crosses(20): return "its axis has become an input"
        case "GroupNormalization" where crosses(21): return "its scale has become one of channels"
        default: break
        }
        return nil
    }

    // MARK: Forms

    private func isFloat32(_ value: ValueID?, _ editor: GraphEditor) -> Bool {
        value.flatMap { editor.graph.values[$0.index].type?.elementType } == .float32
    }

    /// Lets a node that worked on a matrix, with all axes from `axis` on as one, do so by way of Flatten and Reshape.
    private func flatten(_ node: inout Node, axis: Int, _ editor: GraphEditor) {
        guard let input = node.inputs.first ?? nil, let output = node.outputs.first ?? nil else { return }
        let name = editor.graph.displayName(node)
        func add(_ opType: String, _ inputs: [ValueID?], _ attributes: [Attribute], _ output: ValueID) {
            editor.add(
                Node(opType, name: ByteString("\(name)_\(opType)"), opset: target, attributes: attributes, inputs: inputs, outputs: [output]))
        }
        let matrix = editor.addValue(), shape = editor.addValue(), result = editor.addValue()
        add("Flatten", [input], [Attribute("axis", .int(Int64(axis)))], matrix)
        add("Shape", [input], [], shape)
        add("Reshape", [result, shape], [], output)
        node.inputs[0] = matrix
        node.outputs[0] = result
    }

    /// Clip or Pad, whose numbers became inputs.
    private func upgradeLimits(_ node: inout Node, _ editor: GraphEditor) {
        let name = editor.graph.displayName(node)
        func constant(_ attribute: String) -> ValueID? {
            guard case .float(let value)? = node.attribute(attribute), let tensor = try? Tensor.float32(value) else { return nil }
            return editor.addNamed(tensor, "\(name)_\(attribute)")
        }
        if node.opType == "Pad" {
            let value = constant("value")
            moveToInputs(&node, [("pads", node.integers("pads") ?? [])], from: 1, editor)
            setInput(&node, 2, value)
        } else {
            setInput(&node, 1, constant("min"))
            setInput(&node, 2, constant("max"))
        }
        node.attributes.removeAll { ["min", "max", "value"].contains($0.name) }
    }

    private func setInput(_ node: inout Node, _ position: Int, _ value: ValueID?) {
        guard let value else { return }
        while node.inputs.count <= position { node.inputs.append(nil) }
        node.inputs[position] = value
    }

    /// Makes int64 inputs of attributes, from position `from` on.
    private func moveToInputs(_ node: inout Node, _ lists: [(name: String, values: [Int])], from: Int, _ editor: GraphEditor) {
        for (position, list) in lists.enumerated() {
            guard let tensor = try? Tensor.int64(list.values) else { continue }
            setInput(&node, from + position, editor.addNamed(tensor, "\(editor.graph.displayName(node))_\(list.name)"))
        }
        node.attributes.removeAll { attribute in lists.contains { $0.name == attribute.name } }
    }

    private func upgradeUpsample(_ node: inout Node, _ editor: GraphEditor) -> String? {
        var scales = node.inputs.count > 1 ? node.inputs[1] : nil
        if case .floats(let values)? = node.attribute("scales"), let tensor = try? Tensor(.float32, [values.count], values) {
            scales = editor.addInitializer(.tensor(tensor))
        }
        guard scales != nil else { return "it has no scales" }
        node.attributes.removeAll { $0.name == "scales" }
        if target < 11 {
            node.opType = "Resize"
            setInput(&node, 1, scales)
            return nil
        }
        resizeByCorner(&node, scales, editor)
        return nil
    }

    /// Resize as it was before it could be told how: coordinates are divided by the scale and rounded down.
    private func resizeByCorner(_ node: inout Node, _ scales: ValueID?, _ editor: GraphEditor) {
        node.opType = "Resize"
        // The region of interest is no optional input before version 13.
        let none = (try? Tensor(.float32, [0], [Float]())).map { editor.addNamed($0, "\(editor.graph.displayName(node))_roi") }
        node.inputs = [node.inputs[0], none, scales]
        node.attributes.append(Attribute("coordinate_transformation_mode", .string("asymmetric")))
        node.attributes.append(Attribute("nearest_mode", .string("floor")))
    }
}

extension GraphEditor {
    fileprivate func addNamed(_ tensor: Tensor, _ name: String) -> ValueID {
        let id = addInitializer(.tensor(tensor))
        graph.values[id.index].name = ByteString(name)
        return id
    }
}
