import ApusCore
import ApusGraph

/// Makes one node of a matrix product and what is done to its result: activation(alpha · A · B + bias + residual), B as it is
/// or transposed. Gemm and MatMul of floats become `apus.MatMul`, which then takes in its neighbours one by one.
struct ProductFusion: RewritePass {
    let name = "ProductFusion"

    var rules: [Rule] {
        let product = Pattern.node(
            "product", ops: ["MatMul"], domain: "apus",
            inputs: [.any("a"), .any("b"), .optional("bias"), .optional("residual")], isCommutative: false)
        let blocked = Pattern.node(
            "product", ops: ["MatMulNBits"], domain: "com.microsoft",
            inputs: [.any("a"), .any("b"), .any("scales"), .optional("zero_points"), .optional("g_idx"), .optional("bias")],
            isCommutative: false)
        return [
            Rule(.op("MatMul", .any("a"), .any("b"), as: "product"), own),
            Rule(.op("Gemm", .any("a"), .any("b"), .optional("c"), as: "product"), ownGemm),
            Rule(.own("MatMul", .any("a"), .any("b"), as: "product"), takeTransposedB),
            Rule(.op("Reshape", product, .any("shape"), as: "last"), takeReshape),
            Rule(.op("Mul", product, .any("other"), as: "last"), takeFactor),
            Rule(.oneOf(["Div"], product, .any("other"), as: "last"), takeFactor),
            Rule(.op("Add", product, .any("other"), as: "last"), takeBias),
            Rule(.op("Add", blocked, .any("other"), as: "last"), takeBlockedBias),
            Rule(.op("Add", product, .any("other"), as: "last"), takeResidual),
            Rule(.node("last", ops: EpilogueActivation.operators, domain: "", inputs: [product], isCommutative: false), takeActivation),
            Rule(.node("last", ops: EpilogueActivation.contributedOperators, domain: "com.microsoft", inputs: [product], isCommutative: false), takeActivation),
        ]
    }

    // MARK: Making one

    @Sendable private func own(_ match: Match, _ editor: GraphEditor, _ context: PassContext) -> Outcome {
        guard let a = match.values["a"], let b = match.values["b"], context.isFusible(a), context.isFusible(b) else {
            return .refused("its inputs are no floats of 16 or 32 bits")
        }
        guard context.dimensions(a)?.count ?? 0 >= 2, context.dimensions(b)?.count ?? 0 >= 2 else {
            return .refused("its inputs are not known to have two axes or more")
        }
        match.replace(with: Node("MatMul", domain: "apus", opset: 1, inputs: [a, b], outputs: []), by: name, editor)
        return .applied
    }

    @Sendable private func ownGemm(_ match: Match, _ editor: GraphEditor, _ context: PassContext) throws -> Outcome {
        let node = try match.node("product", editor)
        guard let a = match.values["a"], let b = match.values["b"], context.isFusible(a) else {
            return .refused("its inputs are no floats of 16 or 32 bits")
        }
        func flag(_ name: String) -> Bool {
            if case .int(let value)? = node.attribute(name) { return value != 0 }
            return false
        }
        func factor(_ name: String) -> Float {
            if case .float(let value)? = node.attribute(name) { return value }
            return 1
        }
        if flag("transA") { return .refused("A is transposed") }
        var inputs: [ValueID?] = [a, b]
        if let c = match.values["c"] {
            guard factor("beta") == 1 else { return .refused("beta is not 1") }
            let output = node.outputs.first ?? nil
            if node.opset >= 7, let bias = ProductFusion.bias(c, for: output, editor, context) {
                inputs.append(bias)
            } else if context.sameShape(c, output) {
                inputs += [nil, c]
            } else {
                return .refused("C is neither one row nor as large as the result")
            }
        }
        var attributes: [Attribute] = []
        if factor("alpha") != 1 { attributes.append(Attribute("alpha", .float(factor("alpha")))) }
        if flag("transB") { attributes.append(Attribute("transB", .int(1))) }
        match.replace(
            with: Node("MatMul", domain: "apus", opset: 1, attributes: attributes, inputs: inputs, outputs: []), by: name, editor)
        return .applied
    }

    /// A vector with an element for each column of `result` from a tensor that is broadcast to it along all other axes.
    private static func bias(_ value: ValueID, for result: ValueID?, _ editor: GraphEditor, _ context: PassContext) -> ValueID? {
        guard let columns = context.dimensions(result)?.last, columns != .unknown, let own = context.dimensions(value),
            own.last == columns, own.dropLast().allSatisfy({ $0 == .known(1) })
        else { return nil }
        if own.count == 1 { return value }
        guard case .tensor(let tensor)? = editor.constant(value), let shape = try? Shape([tensor.count]),
            let flat = try? tensor.reshaped(shape)
        else { return nil }
        return editor.addInitializer(.tensor(flat))
    }

    // MARK: Taking in neighbours

    /// The product of a match with changed inputs and attributes, in the place of the match.
    private func extend(
        _ match: Match, _ editor: GraphEditor, inputs: [Int: ValueID] = [:], attributes: [Attribute] = []
    ) throws -> Outcome {
        var node = try match.node("product", editor)
        for (position, value) in inputs {
            while node.inputs.count <= position { node.inputs.append(nil) }
            node.inputs[position] = value
        }
        node.attributes.removeAll { old in attributes.contains { $0.name == old.name } }
        node.attributes += attributes
        match.replace(with: node, by: name, editor)
        return .applied
    }

    private func hasActivation(_ node: Node) -> Bool { node.attribute("activation") != nil }

    @Sendable private func takeTransposedB(_ match: Match, _ editor: GraphEditor, _ context: PassContext) throws -> Outcome {
        guard let transpose = editor.producer(try match.value("b"))?.node, transpose.domain.isEmpty, transpose.opType == "Transpose",
            let source = transpose.inputs.first ?? nil
        else { return .inapplicable }
        let rank = context.dimensions(source)?.count ?? 0
        guard rank >= 2 else { return .refused("the rank of B is not known") }
        var swapped = Array(0..<Int64(rank))
        swapped.swapAt(rank - 1, rank - 2)
        let permutation: [Int64]
        if case .ints(let given)? = transpose.attribute("perm") { permutation = given } else { permutation = (0..<Int64(rank)).reversed() }
        guard permutation == swapped else { return .refused("the Transpose of B moves other axes than the last two") }
        let node = try match.node("product", editor)
        var isTransposed = false
        if case .int(let value)? = node.attribute("transB") { isTransposed = value != 0 }
        return try extend(match, editor, inputs: [1: source], attributes: [Attribute("transB", .int(isTransposed ? 0 : 1))])
    }

    /// Reshape(A' · B) with A' of rank 2, where the Reshape only divides the rows: A is reshaped instead, which undoes the
    /// Reshape that the exporter put before the product.
    @Sendable private func takeReshape(_ match: Match, _ editor: GraphEditor, _ context: PassContext) throws -> Outcome {
        let node = try match.node("product", editor), last = try match.node("last", editor)
        guard node.inputs.count < 4 || node.inputs[3] == nil else { return .refused("it has a residual") }
        guard let columns = context.dimensions(node.outputs.first ?? nil), columns.count == 2, columns[1] != .unknown,
            let target = context.dimensions(last.outputs.first ?? nil), target.count > 2, target.last == columns[1],
            !target.contains(.unknown)
        else { return .refused("it does more than to divide the rows of a matrix") }
        let a = try match.value("a")
        let reshape = editor.producer(a)?.node
        let isReshaped = reshape.map { $0.domain.isEmpty && $0.opType == "Reshape" } ?? false
        guard isReshaped, let source = reshape?.inputs.first ?? nil, let from = context.dimensions(source), let depth = from.last,
            depth != .unknown
        else { return .refused("A is no Reshape whose source is known") }
        let b = context.dimensions(try match.value("b"))
        var isTransposed = false
        if case .int(let value)? = node.attribute("transB") { isTransposed = value != 0 }
        guard let inner = b?.dropFirst(isTransposed ? 1 : 0).first, inner != .unknown, b?.count == 2 else {
            return .refused("the columns of A are not known")
        }
        let wanted = Array(target.dropLast()) + [inner]
        if from == wanted { return try extend(match, editor, inputs: [0: source]) }
        let shape = wanted.map { $0.known ?? -1 }
        guard shape.filter({ $0 < 0 }).count <= 1, !shape.contains(0) else {
            return .refused("more than one dimension of the rows is not known")
        }
        let reshaped = editor.addValue()
        editor.add(
            Node(
                "Reshape", opset: 14, inputs: [source, editor.addInitializer(.tensor(try Tensor.int64(shape)))], outputs: [reshaped],
                origin: name))
        return try extend(match, editor, inputs: [0: reshaped])
    }

    @Sendable private func takeFactor(_ match: Match, _ editor: GraphEditor, _ context: PassContext) throws -> Outcome {
        let node = try match.node("product", editor), last = try match.node("last", editor)
        guard let factor = editor.scalar(try match.value("other")), factor.isFinite, factor != 0 else {
            return .refused("the factor is no constant scalar")
        }
        guard node.inputs.count < 4 || node.inputs[3] == nil, !hasActivation(node) else {
            return .refused("residual or activation come before the factor")
        }
        guard context.sameShape(node.outputs.first ?? nil, last.outputs.first ?? nil) else {
            return .refused("the factor changes the shape")
        }
        var alpha = 1.0
        if case .float(let value)? = node.attribute("alpha") { alpha = Double(value) }
        alpha = last.opType == "Div" ? alpha / factor : alpha * factor
        guard Float(alpha).isNormal else { return .refused("the factor is beyond the range of floats") }
        var inputs: [Int: ValueID] = [:]
        if let bias = match.values["bias"] {
            // The factor applies to the bias as well.
            guard let value = editor.constant(bias), let factor = editor.constant(match.values["other"]),
                let scaled = try context.evaluator.evaluate(last.opType, opset: 14, [:], [value, factor])[0],
                case .tensor(let tensor) = scaled, let row = try? tensor.reshaped(try Shape([tensor.count]))
            else { return .refused("the bias before the factor is no constant") }
            inputs[2] = editor.addInitializer(.tensor(row))
        }
        return try extend(match, editor, inputs: inputs, attributes: [Attribute("alpha", .float(Float(alpha)))])
    }

    @Sendable private func takeBias(_ match: Match, _ editor: GraphEditor, _ context: PassContext) throws -> Outcome {
        let node = try match.node("product", editor), last = try match.node("last", editor)
        guard node.inputs.dropFirst(2).allSatisfy({ $0 == nil }), !hasActivation(node) else {
            return .inapplicable
        }
        guard context.sameShape(node.outputs.first ?? nil, last.outputs.first ?? nil),
            let bias = ProductFusion.bias(try match.value("other"), for: last.outputs.first ?? nil, editor, context)
        else { return .inapplicable }
        return try extend(match, editor, inputs: [2: bias])
    }

    /// A bias behind a product of float32 with weights of few bits, whose node has a place for it.
    @Sendable private func takeBlockedBias(_ match: Match, _ editor: GraphEditor, _ context: PassContext) throws -> Outcome {
        let node = try match.node("product", editor), last = try match.node("last", editor)
        let result = node.outputs.first ?? nil
        guard node.inputs.count <= 5 || node.inputs[5] == nil, context.elementType(result) == .float32,
            context.sameShape(result, last.outputs.first ?? nil),
            let bias = ProductFusion.bias(try match.value("other"), for: last.outputs.first ?? nil, editor, context)
        else { return .inapplicable }
        return try extend(match, editor, inputs: [5: bias])
    }

    @Sendable private func takeResidual(_ match: Match, _ editor: GraphEditor, _ context: PassContext) throws -> Outcome {
        let node = try match.node("product", editor)
        guard node.inputs.count < 4 || node.inputs[3] == nil, !hasActivation(node) else {
            return .refused("it has a residual or an activation already")
        }
        let other = try match.value("other"), product = node.outputs.first ?? nil
        guard other != product, context.sameShape(product, other) else {
            return .refused("what is added has another shape than the product, or one that is not known")
        }
        return try extend(match, editor, inputs: [3: other])
    }

    @Sendable private func takeActivation(_ match: Match, _ editor: GraphEditor, _ context: PassContext) throws -> Outcome {
        let node = try match.node("product", editor), last = try match.node("last", editor)
        if hasActivation(node) { return .refused("it has an activation already") }
        guard let type = context.elementType(node.outputs.first ?? nil), let activation = EpilogueActivation(last, type, editor) else {
            return .refused("the activation's parameters are no constants or of an older form")
        }
        return try extend(match, editor, attributes: activation.nodeAttributes)
    }
}
