import ApusCore
import ApusGraph

/// How derivatives pass through operators: from those with respect to a node's outputs to those with respect to its inputs.
///
/// The rules are those of any textbook of analysis. At corners (the 0 of Relu, of Abs) the derivative is 0; where Max, Min or a
/// ReduceMax meet equal numbers, each counts in full.
enum GradientRules {
    /// `g`: the derivative with respect to output 0. One result for each input, nil: not differentiable.
    typealias Rule = @Sendable (_ node: Node, _ x: [ValueID], _ y: ValueID, _ g: ValueID, _ b: GradientBuilder) throws -> [ValueID?]

    static func apply(_ node: Node, _ incoming: [ValueID?], _ b: GradientBuilder) throws -> [ValueID?] {
        let key = node.qualifiedType
        guard let rule = rules[key] else { throw ApusError(.unsupported, "the derivative of \(key) is not known") }
        guard !(node.domain.isEmpty && node.opset < 7) else {
            throw ApusError(.unsupported, "derivatives are known from opset 7 on, \(key) is of opset \(node.opset)")
        }
        guard let g = incoming[0], incoming.dropFirst().allSatisfy({ $0 == nil }), let y = node.outputs[0] else {
            throw ApusError(.unsupported, "the derivative of \(key) by way of its other outputs is not known")
        }
        // Inputs that are left out are only the last ones, or none that a rule asks for.
        let x = node.inputs.map { $0 ?? y }
        let made = try rule(node, x, y, g, b)
        return zip(node.inputs, made + [ValueID?](repeating: nil, count: max(0, node.inputs.count - made.count))).map { $0 == nil ? nil : $1 }
    }

    /// The operators that have a rule, with their domains.
    static var operators: [String] { rules.keys.sorted() }

    private static let rules: [String: Rule] = {
        var rules = elementwise
        rules.merge(broadcasting) { first, _ in first }
        rules.merge(products) { first, _ in first }
        rules.merge(movements) { first, _ in first }
        rules.merge(reductions) { first, _ in first }
        for name in constants { rules[name] = { _, _, _, _, _ in [] } }
        return rules
    }()

    /// Operators whose results do not change with their inputs, or only in steps.
    private static let constants = [
        "Shape", "Size", "ConstantOfShape", "Sign", "Floor", "Ceil", "Round", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual",
        "Not", "And", "Or", "Xor", "ArgMax", "ArgMin",
    ]

    // MARK: Functions of one tensor

    private static let elementwise: [String: Rule] = [
        "Identity": { _, _, _, g, _ in [g] },
        "Neg": { _, _, _, g, b in [b("Neg", [g])] },
        "Exp": { _, _, y, g, b in [b("Mul", [g, y])] },
        "Log": { _, x, _, g, b in [b("Div", [g, x[0]])] },
        "Sqrt": { _, _, y, g, b in [b("Div", [g, b("Add", [y, y])])] },
        "Reciprocal": { _, _, y, g, b in [b("Neg", [b("Mul", [g, b("Mul", [y, y])])])] },
        "Abs": { _, x, _, g, b in [b("Mul", [g, b("Sign", [x[0]])])] },
        "Sin": { _, x, _, g, b in [b("Mul", [g, b("Cos", [x[0]])])] },
        "Cos": { _, x, _, g, b in [b("Neg", [b("Mul", [g, b("Sin", [x[0]])])])] },
        "Tan": { _, _, y, g, b in [b("Add", [g, b("Mul", [g, b("Mul", [y, y])])])] },
        "Tanh": { _, _, y, g, b in [b("Sub", [g, b("Mul", [g, b("Mul", [y, y])])])] },
        "Sigmoid": { _, _, y, g, b in [b("Mul", [g, b("Sub", [y, b("Mul", [y, y])])])] },
        "Relu": { _, _, y, g, b in [b("Mul", [g, b("Sign", [y])])] },
        "LeakyRelu": { node, x, _, g, b in
            var alpha: Float = 0.01
            if case .float(let given)? = node.attribute("alpha") { alpha = given }
            let falling = b("Mul", [g, try b.number(alpha, like: g)])
            return [b("Where", [b("Greater", [x[0], try b.number(0, like: x[0])]), g, falling])]
        },
        "Softplus": { _, x, _, g, b in [b("Mul", [g, b("Sigmoid", [x[0]])])] },
        "Erf": { _, x, _, g, b in
            let bell = b("Exp", [b("Neg", [b("Mul", [x[0], x[0]])])])
            return [b("Mul", [g, b("Mul", [bell, try b.number(1.128_379_2, like: bell)])])]
        },
        "Cast": { _, x, _, g, b in [b("CastLike", [g, x[0]])] },
        "CastLike": { _, x, _, g, b in [b("CastLike", [g, x[0]]), nil] },
        "Softmax": { node, _, y, g, b in
            let axes = try softmaxAxes(node, b), weighted = b("Mul", [g, y])
            return [b("Sub", [weighted, b("Mul", [y, b("ReduceSum", [weighted, axes])])])]
        },
        "LogSoftmax": { node, _, y, g, b in
            [b("Sub", [g, b("Mul", [b("Exp", [y]), b("ReduceSum", [g, try softmaxAxes(node, b)])])])]
        },
    ]

    private static func softmaxAxes(_ node: Node, _ b: GradientBuilder) throws -> ValueID {
        guard node.opset >= 13 else { throw ApusError(.unsupported, "the derivative of \(node.opType) is known from opset 13 on") }
        var axis: Int64 = -1
        if case .int(let given)? = node.attribute("axis") { axis = given }
        return try b.integers([axis])
    }

    // MARK: Functions of several tensors, broadcast

    private static let broadcasting: [String: Rule] = [
        "Add": { _, x, _, g, b in [b.sum(g, like: x[0]), b.sum(g, like: x[1])] },
        "Sub": { _, x, _, g, b in [b.sum(g, like: x[0]), b("Neg", [b.sum(g, like: x[1])])] },
        "Mul": { _, x, _, g, b in [b.sum(b("Mul", [g, x[1]]), like: x[0]), b.sum(b("Mul", [g, x[0]]), like: x[1])] },
        "Div": { _, x, y, g, b in
            let first = b("Div", [g, x[1]])
            return [b.sum(first, like: x[0]), b("Neg", [b.sum(b("Mul", [first, y]), like: x[1])])]
        },
        "Pow": { _, x, y, g, b in
            let exponent = b("CastLike", [x[1], x[0]]), one = try b.number(1, like: x[0])
            let first = b("Mul", [b("Mul", [g, exponent]), b("Pow", [x[0], b("Sub", [exponent, one])])])
            let second = b("CastLike", [b("Mul", [b("Mul", [g, y]), b("Log", [x[0]])]), x[1]])
            return [b.sum(first, like: x[0]), b.sum(second, like: x[1])]
        },
        "Sum": { _, x, _, g, b in x.map { b.sum(g, like: $0) } },
        "Mean": { _, x, _, g, b in
            let share = b("Mul", [g, try b.number(1 / Float(max(1, x.count)), like: g)])
            return x.map { b.sum(share, like: $0) }
        },
        "Max": { _, x, y, g, b in x.map { b.sum(masked(g, b("Equal", [$0, y]), b), like: $0) } },
        "Min": { _, x, y, g, b in x.map { b.sum(masked(g, b("Equal", [$0, y]), b), like: $0) } },
        "Clip": { _, x, y, g, b in [masked(g, b("Equal", [x[0], y]), b)] },
        "Where": { _, x, _, g, b in
            let chosen = masked(g, x[0], b)
            return [nil, b.sum(chosen, like: x[1]), b.sum(b("Sub", [g, chosen]), like: x[2])]
        },
    ]

    private static func masked(_ g: ValueID, _ condition: ValueID, _ b: GradientBuilder) -> ValueID {
        b("Mul", [g, b("CastLike", [condition, g])])
    }

    // MARK: Products

    private static let products: [String: Rule] = [
        // Operands are matrices, or batches of them.
        "MatMul": { node, x, _, g, b in matrixProduct(node, x, g, b) },
        "com.microsoft.FusedMatMul": { node, x, _, g, b in
            guard node.attributes.allSatisfy({ ["transA", "transB"].contains($0.name) }) else {
                throw ApusError(.unsupported, "the derivative of FusedMatMul with more than transA and transB is not known")
            }
            return matrixProduct(node, x, g, b)
        },
        "Gemm": { node, x, _, g, b in
            func factor(_ name: String) -> Float {
                if case .float(let value)? = node.attribute(name) { return value }
                return 1
            }
            func product(_ left: ValueID, _ right: ValueID, _ transA: Bool, _ transB: Bool) -> ValueID {
                b("Gemm", [left, right], ["alpha": .float(factor("alpha")), "transA": .int(transA ? 1 : 0), "transB": .int(transB ? 1 : 0)])
            }
            let (a, c) = (flag(node, "transA"), flag(node, "transB"))
            return [
                a ? product(x[1], g, c, true) : product(g, x[1], false, !c), c ? product(g, x[0], true, a) : product(x[0], g, !a, false),
                x.count > 2 ? b.sum(b("Mul", [g, try b.number(factor("beta"), like: g)]), like: x[2]) : nil,
            ]
        },
    ]

    private static func flag(_ node: Node, _ name: String) -> Bool {
        if case .int(let value)? = node.attribute(name) { return value != 0 }
        return false
    }

    private static func matrixProduct(_ node: Node, _ x: [ValueID], _ g: ValueID, _ b: GradientBuilder) -> [ValueID?] {
        func product(_ left: ValueID, _ right: ValueID, _ transA: Bool, _ transB: Bool) -> ValueID {
            b("FusedMatMul", [left, right], ["transA": .int(transA ? 1 : 0), "transB": .int(transB ? 1 : 0)], domain: "com.microsoft")
        }
        let (a, c) = (flag(node, "transA"), flag(node, "transB"))
        let first = a ? product(x[1], g, c, true) : product(g, x[1], false, !c)
        let second = c ? product(g, x[0], true, a) : product(x[0], g, !a, false)
        return [b.sum(first, like: x[0]), b.sum(second, like: x[1])]
    }

    // MARK: Movements

    private static let movements: [String: Rule] = [
        "Transpose": { node, _, _, g, b in
            guard case .ints(let order)? = node.attribute("perm") else { return [b("Transpose", [g])] }
            guard order.sorted() == (0..<Int64(order.count)).map({ $0 }) else {
                throw ApusError(.invalidModel, "attribute \"perm\" \(order) is no permutation")
            }
            var back = order
            for (position, axis) in order.enumerated() { back[Int(axis)] = Int64(position) }
            return [b("Transpose", [g], ["perm": .ints(back)])]
        },
        "Reshape": { _, x, _, g, b in [b.reshape(g, like: x[0]), nil] },
        "Flatten": { _, x, _, g, b in [b.reshape(g, like: x[0])] },
        "Squeeze": { _, x, _, g, b in [b.reshape(g, like: x[0]), nil] },
        "Unsqueeze": { _, x, _, g, b in [b.reshape(g, like: x[0]), nil] },
        "Expand": { _, x, _, g, b in [b.sum(g, like: x[0]), nil] },
        "apus.SumLike": { _, x, _, g, b in [b("Expand", [g, b.shape(x[0])]), nil] },
        "Concat": { node, x, _, g, b in
            guard case .int(let axis)? = node.attribute("axis") else { throw ApusError(.invalidModel, "attribute \"axis\" is missing") }
            let index = try b.integers([axis])
            let sizes = b("Concat", x.map { b("Gather", [b.shape($0), index]) }, ["axis": .int(0)])
            return b.several("Split", [g, sizes], ["axis": .int(axis)], outputs: x.count)
        },
        // Without training a Dropout leaves everything as it is.
        "Dropout": { node, x, _, g, b in
            guard node.inputs.count < 3 else { throw ApusError(.unsupported, "the derivative of Dropout with training_mode is not known") }
            return [g]
        },
    ]

    // MARK: Reductions

    private static let reductions: [String: Rule] = [
        "ReduceSum": { node, x, _, g, b in [spread(g, node, x, b)] },
        "ReduceMean": { node, x, y, g, b in
            let count = b("Div", [b("CastLike", [b("Size", [x[0]]), g]), b("CastLike", [b("Size", [y]), g])])
            return [b("Div", [spread(g, node, x, b), count])]
        },
        "ReduceMax": { node, x, y, g, b in [masked(spread(g, node, x, b), b("Equal", [x[0], spread(y, node, x, b)]), b)] },
        "ReduceMin": { node, x, y, g, b in [masked(spread(g, node, x, b), b("Equal", [x[0], spread(y, node, x, b)]), b)] },
    ]

    /// A reduced tensor brought back to the shape that it was made from.
    private static func spread(_ value: ValueID, _ node: Node, _ x: [ValueID], _ b: GradientBuilder) -> ValueID {
        var attributes = Dictionary(node.attributes.map { ($0.name, $0.value) }, uniquingKeysWith: { first, _ in first })
        attributes["keepdims"] = .int(1)
        let kept = b(node.opType, node.inputs, attributes, opset: node.opset)
        return b("Expand", [b.reshape(value, like: kept), b.shape(x[0])])
    }
}
