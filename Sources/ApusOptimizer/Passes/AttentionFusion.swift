import ApusCore
import ApusGraph

/// Makes one node of softmax(scale · Q · K' + mask) · V, and lets it read and write the layouts that the Transposes around it
/// make: the matrix of scores never exists.
///
/// Q, K and V are tensors of one rank, 4 ([batch, heads, sequence, size]) or 3 (batch and heads in one axis).
struct AttentionFusion: RewritePass {
    let name = "AttentionFusion"

    var rules: [Rule] {
        let scores = Pattern.op("MatMul", .any("q"), .any("kt"), as: "scores")
        let scaled: [Pattern] = [
            scores, .op("Mul", scores, .constant("factor"), as: "scaled"),
            .node("scaled", ops: ["Div"], domain: "", inputs: [scores, .constant("factor")], isCommutative: false),
        ]
        let masked: [Pattern] = scaled.reversed().flatMap { scores -> [Pattern] in
            [
                .op("Add", .op("Add", scores, .any("bias"), as: "biased"), .any("mask"), as: "masked"),
                .op("Add", scores, .any("mask"), as: "masked"),
                .op("Where", .any("condition"), scores, .constant("otherwise"), as: "chosen"),
                .op("Where", .any("condition"), .constant("otherwise"), scores, as: "chosen"),
                scores,
            ]
        }
        let attention = Pattern.own("Attention", .any("q"), .any("k"), .any("v"), as: "attention")
        // torch takes weights that are no numbers for 0: those of queries that may attend to nothing.
        let weights = masked.flatMap { scores -> [Pattern] in
            let softmax = Pattern.op("Softmax", scores), shared = Pattern.shared(softmax)
            return [softmax, .op("Where", .op("IsNaN", shared), .scalar(0), shared, as: "numbers")]
        }
        return weights.map { Rule(.op("MatMul", $0, .any("v"), as: "last"), fuse) }
            + [
                Rule(attention, takeInputTransposes), Rule(attention, takeInputFactors),
                Rule(.op("Transpose", attention, as: "last"), takeOutputTranspose),
            ]
    }

    // MARK: Making one

    @Sendable private func fuse(_ match: Match, _ editor: GraphEditor, _ context: PassContext) throws -> Outcome {
        let q = try match.value("q"), kt = try match.value("kt"), v = try match.value("v")
        let product = try match.node("scores", editor).outputs.first ?? nil
        guard context.isFusible(q), context.isFusible(kt), context.isFusible(v) else { return .refused("its inputs are no floats of 16 or 32 bits") }
        guard let shape = context.dimensions(q), let keys = context.dimensions(kt), let values = context.dimensions(v), let scores = context.dimensions(product),
            shape.count == 3 || shape.count == 4, keys.count == shape.count, values.count == shape.count, scores.count == shape.count
        else { return .refused("Q, K and V are not known to be of rank 3 or 4") }
        let leading = shape.dropLast(2)
        guard leading == keys.dropLast(2), leading == values.dropLast(2), leading == scores.dropLast(2), !leading.contains(.unknown) else {
            return .refused("the batches or heads of Q, K and V differ, or are not known")
        }
        guard let softmax = match.nodes["Softmax"].map({ editor.graph.nodes[$0] }) else { return .inapplicable }
        var axis: Int64 = softmax.opset < 13 ? 1 : -1
        if case .int(let given)? = softmax.attribute("axis") { axis = given }
        guard axis == -1 || axis == Int64(shape.count) - 1 else { return .refused("the softmax is not along the last axis") }

        var scale = 1.0
        if let factor = match.values["factor"] {
            guard let number = editor.scalar(factor), number.isFinite, number != 0 else { return .refused("the scale is no scalar") }
            scale = try match.node("scaled", editor).opType == "Div" ? 1 / number : number
        }
        guard Float(scale).isNormal else { return .refused("the scale is beyond the range of floats") }
        for step in ["scaled", "biased", "masked", "chosen"] {
            guard let index = match.nodes[step] else { continue }
            guard context.sameShape(product, editor.graph.nodes[index].outputs.first ?? nil) else {
                return .refused("the scores change their shape before the softmax")
            }
        }
        let masked: ValueID?
        switch try mask(match, rank: shape.count, editor, context) {
        case .success(let mask): masked = mask
        case .failure(let reason): return .refused(reason.text)
        }

        var attributes = [Attribute("scale", .float(Float(scale)))]
        if match.nodes["numbers"] != nil { attributes.append(Attribute("nan_to_zero", .int(1))) }
        var inputs: [ValueID?] = [q, kt, v]
        if let masked { inputs.append(masked) }
        if shape.count == 3 {
            attributes += [Attribute("q_num_heads", .int(1)), Attribute("kv_num_heads", .int(1))]
            guard let transpose = transpose(of: kt, context, editor), transpose.permutation == [0, 2, 1] else {
                return .refused("K of rank 3 is no Transpose")
            }
            inputs[1] = transpose.source
        } else {
            attributes.append(Attribute("k_layout", .string("bnhs")))
        }
        match.replace(
            with: Node("Attention", domain: "apus", opset: 1, attributes: attributes, inputs: inputs, outputs: []), by: name, editor)
        return .applied
    }

    private struct Reason: Error { let text: String }

    /// What is to be added to the scores: nil for nothing.
    private func mask(_ match: Match, rank: Int, _ editor: GraphEditor, _ context: PassContext) throws -> Result<ValueID?, Reason> {
        func fits(_ value: ValueID) -> Bool {
            context.dimensions(value).map { $0.count <= rank && !$0.contains(.unknown) } ?? false
        }
        var mask = match.values["mask"]
        if let condition = match.values["condition"] {
            guard fits(condition), let type = context.elementType(match.values["q"]), let low = editor.scalar(match.values["otherwise"]) else {
                return .failure(Reason(text: "what takes the place of masked scores is no scalar"))
            }
            // Added instead of chosen, a number must be so low that no score is seen beside it.
            let lowest = type == .float16 ? -6e4 : -1e30
            guard low <= lowest else { return .failure(Reason(text: "masked scores get the value \(low), which is not low enough to be added")) }
            guard let otherwise = match.values["otherwise"], let value = editor.constant(otherwise) else {
                return .failure(Reason(text: "the mask is no constant"))
            }
            let chosen = try match.node("chosen", editor)
            let keeps = chosen.inputs[2] == otherwise
            let made = editor.addValue()
            let nothing = editor.addInitializer(try zeroLike(value))
            editor.add(
                Node(
                    "Where", opset: 16, inputs: keeps ? [condition, nothing, otherwise] : [condition, otherwise, nothing], outputs: [made],
                    origin: name))
            mask = made
            return .success(try unsqueezed(made, context.dimensions(condition) ?? [], rank, editor))
        }
        guard let given = mask else { return .success(nil) }
        guard fits(given), var shape = context.dimensions(given), context.isFusible(given) else {
            return .failure(Reason(text: "the shape of the mask is not known"))
        }
        mask = given
        if let bias = match.values["bias"] {
            guard fits(bias), let own = context.dimensions(bias), let sum = try? PartialShape.broadcast([PartialShape(shape), PartialShape(own)]).dimensions else {
                return .failure(Reason(text: "the shape of the bias is not known"))
            }
            let made = editor.addValue()
            editor.add(Node("Add", opset: 14, inputs: [bias, given], outputs: [made], origin: name))
            mask = made
            shape = sum
        }
        guard let mask else { return .success(nil) }
        return .success(try unsqueezed(mask, shape, rank, editor))
    }

    /// Of the type and shape of `value`, a scalar, zero.
    private func zeroLike(_ value: Value) throws -> Value {
        let tensor = try value.asTensor().copied()
        tensor.pointer.initializeMemory(as: UInt8.self, repeating: 0, count: tensor.byteCount)
        return .tensor(tensor)
    }

    /// A mask of [batch · heads, queries, keys] with an axis for the only head of each.
    private func unsqueezed(_ mask: ValueID, _ shape: [Dimension], _ rank: Int, _ editor: GraphEditor) throws -> ValueID {
        guard rank == 3, shape.count == 3, shape[0] != .known(1) else { return mask }
        let made = editor.addValue()
        let axes = editor.addInitializer(.tensor(try Tensor.int64([1])))
        editor.add(Node("Unsqueeze", opset: 13, inputs: [mask, axes], outputs: [made], origin: name))
        return made
    }

    // MARK: Taking in neighbours

    private func transpose(of value: ValueID, _ context: PassContext, _ editor: GraphEditor) -> (source: ValueID, permutation: [Int64])? {
        guard let node = editor.producer(value)?.node, node.domain.isEmpty, node.opType == "Transpose", let source = node.inputs.first ?? nil,
            let rank = context.dimensions(source)?.count
        else { return nil }
        if case .ints(let given)? = node.attribute("perm") { return (source, given) }
        return (source, (0..<Int64(rank)).reversed())
    }

    /// What the last two axes of are swapped to give `value`: by one Transpose, or by one between Reshapes to rank 3 and back,
    /// as torch has it.
    private func swapped(_ value: ValueID, _ context: PassContext, _ editor: GraphEditor) -> ValueID? {
        guard let last = editor.producer(value)?.node, last.domain.isEmpty, last.opType == "Reshape", let middle = last.inputs.first ?? nil,
            let transpose = transpose(of: middle, context, editor), transpose.permutation == [0, 2, 1],
            let first = editor.producer(transpose.source)?.node, first.domain.isEmpty, first.opType == "Reshape",
            let source = first.inputs.first ?? nil, let from = context.dimensions(source), let to = context.dimensions(value),
            let flat = context.dimensions(transpose.source), from.count == 4, to.count == 4, flat.count == 3, !from.contains(.unknown),
            Array(from[0..<2]) == Array(to[0..<2]), from[2] == to[3], from[3] == to[2], flat[1] == from[2], flat[2] == from[3]
        else { return nil }
        return source
    }

    /// By layout of an input and permutation of the Transpose that makes it: the layout of what the Transpose reads.
    private static let layouts: [String: [[Int64]: String]] = [
        "bnsh": [[0, 2, 1, 3]: "bsnh", [0, 1, 3, 2]: "bnhs"],
        "bsnh": [[0, 2, 1, 3]: "bnsh"],
        "bnhs": [[0, 2, 3, 1]: "bsnh", [0, 1, 3, 2]: "bnsh"],
    ]

    @Sendable private func takeInputTransposes(_ match: Match, _ editor: GraphEditor, _ context: PassContext) throws -> Outcome {
        var node = try match.node("attention", editor)
        for (position, name) in ["q_layout", "k_layout", "v_layout"].enumerated() {
            var layout = "bnsh"
            if case .string(let given)? = node.attribute(name) { layout = given.description }
            if position == 1, layout == "bnhs", let input = node.inputs[1], let source = swapped(input, context, editor) {
                node.inputs[1] = source
                node.attributes.removeAll { $0.name == name }
                match.replace(with: node, by: self.name, editor)
                return .applied
            }
            guard let input = node.inputs[position], let transpose = transpose(of: input, context, editor),
                let source = AttentionFusion.layouts[layout]?[transpose.permutation], source != "bnhs" || position == 1
            else { continue }
            node.inputs[position] = transpose.source
            node.attributes.removeAll { $0.name == name }
            node.attributes.append(Attribute(name, .string(ByteString(source))))
            match.replace(with: node, by: self.name, editor)
            return .applied
        }
        return .inapplicable
    }

    /// Q or K times a constant: the scale takes the factor.
    @Sendable private func takeInputFactors(_ match: Match, _ editor: GraphEditor, _ context: PassContext) throws -> Outcome {
        var node = try match.node("attention", editor)
        for position in 0..<2 {
            guard let input = node.inputs[position], let producer = editor.producer(input)?.node, producer.domain.isEmpty,
                producer.opType == "Mul" || producer.opType == "Div", producer.opset >= 7, producer.inputs.count == 2, editor.useCount(input) == 1,
                case .float(let scale)? = node.attribute("scale")
            else { continue }
            let side = editor.scalar(producer.inputs[1]) != nil ? 1 : producer.opType == "Mul" ? 0 : -1
            guard side >= 0, let factor = editor.scalar(producer.inputs[side]), factor.isFinite, factor != 0,
                let source = producer.inputs[1 - side], context.sameShape(source, input)
            else { continue }
            let product = producer.opType == "Div" ? Double(scale) / factor : Double(scale) * factor
            guard Float(product).isNormal else { continue }
            node.inputs[position] = source
            node.attributes.removeAll { $0.name == "scale" }
            node.attributes.append(Attribute("scale", .float(Float(product))))
            match.replace(with: node, by: name, editor)
            return .applied
        }
        return .inapplicable
    }

    @Sendable private func takeOutputTranspose(_ match: Match, _ editor: GraphEditor, _ context: PassContext) throws -> Outcome {
        var node = try match.node("attention", editor)
        guard case .ints([0, 2, 1, 3])? = try match.node("last", editor).attribute("perm"), node.attribute("output_layout") == nil else {
            return .inapplicable
        }
        node.attributes.append(Attribute("output_layout", .string("bsnh")))
        match.replace(with: node, by: name, editor)
        return .applied
    }
}
