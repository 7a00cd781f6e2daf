import ApusCore
import ApusGraph
import ApusOperators

/// By operator: how nodes work with channels last. An operator that is not listed has channels first only.
enum LayoutRules {
    typealias Rule = @Sendable (LayoutQuery) -> LayoutForm?

    /// How `node` can work with channels last; nil where it cannot.
    static func form(_ query: LayoutQuery) -> LayoutForm? {
        switch query.node.domain {
        case "": standard[query.node.opType]?(query)
        case "apus": own[query.node.opType]?(query)
        case "com.microsoft": contributed[query.node.opType]?(query)
        default: nil
        }
    }

    private static let own: [String: Rule] = ["Conv": convolution, "ConvTranspose": convolution, "Lookup": ofOneImage]

    private static let standard: [String: Rule] = {
        var table: [String: Rule] = [
            "MaxPool": pool, "AveragePool": pool, "GlobalAveragePool": globalPool, "GlobalMaxPool": globalMaximum,
            "BatchNormalization": normalization, "InstanceNormalization": normalization, "GroupNormalization": normalization,
            "Transpose": transpose, "Reshape": reshape, "Squeeze": squeeze, "Unsqueeze": squeeze,
            "Concat": concat, "Split": split, "Slice": slice, "Pad": pad, "Resize": resize, "Upsample": resize,
            "ArgMax": reduceOne, "ArgMin": reduceOne, "QuantizeLinear": quantize, "DequantizeLinear": quantize,
            "QLinearConv": quantizedConvolution,
            "Clip": elementwise, "Dropout": elementwise,
        ]
        for name in [
            "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Cast", "Ceil", "Celu", "Cos", "Cosh", "Elu", "Erf", "Exp", "Floor",
            "Gelu", "HardSigmoid", "HardSwish", "Identity", "IsInf", "IsNaN", "LeakyRelu", "Log", "Mish", "Neg", "Not", "Reciprocal",
            "Relu", "Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Swish", "Tan", "Tanh",
            "ThresholdedRelu",
        ] { table[name] = elementwise }
        for name in [
            "Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Mod", "Mul", "Or", "PRelu", "Pow", "Sub",
            "Xor", "Max", "Mean", "Min", "Sum", "Where",
        ] { table[name] = broadcasting }
        for name in ["Softmax", "LogSoftmax", "Hardmax", "LpNormalization"] { table[name] = alongAxis }
        for name in ["L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"] { table["Reduce" + name] = reduce }
        return table
    }()

    // MARK: Made for channels last

    private static let convolution: Rule = { query in
        guard ConvolutionNode(query.node).isChannelsFirst, query.imageRank(query.input(0)) != nil, query.imageRank(query.output(0)) != nil
        else { return nil }
        let hasResidual = query.input(3) != nil
        return LayoutForm(demand: .last, inputs: hasResidual ? [0, 3] : [0], outputs: [0]) { node, _ in node.set("channels_first", nil) }
    }

    private static let pool: Rule = { query in
        guard query.imageRank(query.input(0)) != nil, query.node.outputs.count == 1 else { return nil }
        let isFloat = [.float32, .float16, .bfloat16].contains(query.context.elementType(query.input(0)))
        return LayoutForm(demand: isFloat ? .last : .any, inputs: [0], outputs: [0]) { node, _ in node.becomeOwn() }
    }

    private static let globalPool: Rule = { query in
        guard query.imageRank(query.input(0)) != nil else { return nil }
        return LayoutForm(inputs: [0], outputs: [0]) { node, _ in node.becomeOwn() }
    }

    private static let globalMaximum: Rule = { query in
        guard let rank = query.imageRank(query.input(0)) else { return nil }
        return LayoutForm(inputs: [0], outputs: [0]) { node, _ in
            node.opType = "ReduceMax"
            node.opset = 13
            node.attributes = [Attribute("axes", .ints((1..<(rank - 1)).map(Int64.init))), Attribute("keepdims", .int(1))]
        }
    }

    private static let normalization: Rule = { query in
        guard query.imageRank(query.input(0)) != nil, query.node.outputs.count == 1, query.int("training_mode") ?? 0 == 0,
            query.int("spatial") ?? 1 != 0
        else { return nil }
        // What the scales of GroupNormalization belong to changed with opset 21.
        let scalesGroups = query.node.opType == "GroupNormalization" && query.node.opset < 21
        return LayoutForm(inputs: [0], outputs: [0]) { node, _ in
            node.set("momentum", nil)
            node.set("is_test", nil)
            node.set("spatial", nil)
            node.set("training_mode", nil)
            node.set("stash_type", nil)
            if scalesGroups { node.set("scales_groups", .int(1)) }
            node.becomeOwn()
        }
    }

    // MARK: Element by element

    private static let elementwise: Rule = { query in
        guard query.imageRank(query.input(0)) != nil, query.node.outputs.dropFirst().allSatisfy({ $0 == nil }) else { return nil }
        return LayoutForm(inputs: [0], outputs: [0])
    }

    private static let broadcasting: Rule = { query in
        guard let rank = query.imageRank(query.output(0)) else { return nil }
        var images: [Int] = [], constants: [Int] = []
        for (position, input) in query.node.inputs.enumerated() {
            guard let input, let own = query.dimensions(input)?.count, own <= rank else { return nil }
            if query.editor.constant(input) != nil {
                constants.append(position)
            } else if own == rank {
                images.append(position)
            } else if !query.isScalar(input) {
                return nil
            }
        }
        // Before opset 7 (8 for those of many operands) shapes had to be equal or followed attributes.
        if query.node.opset < 8, !query.node.attributes.isEmpty || images.count != query.node.inputs.count { 
            guard query.node.opset == 7, query.node.attributes.isEmpty else { return nil }
        }
        guard !images.isEmpty else { return nil }
        return LayoutForm(inputs: images, outputs: [0]) { node, layout in
            for position in constants {
                if let value = node.inputs[position] { node.inputs[position] = try layout.operand(value, rank: rank) }
            }
        }
    }

    static let quantize: Rule = { query in
        guard let rank = query.imageRank(query.input(0)), query.int("block_size") ?? 0 == 0, let scale = query.dimensions(query.input(1)),
            let axis = ImageAxes.last(counting: query.int("axis") ?? 1, rank: rank)
        else { return nil }
        return LayoutForm(inputs: [0], outputs: [0]) { node, _ in
            if !scale.isEmpty { node.set("axis", .int(Int64(axis))) }
        }
    }

    // MARK: Along axes

    private static let alongAxis: Rule = { query in
        let isNormalization = query.node.opType == "LpNormalization"
        guard let rank = query.imageRank(query.input(0)), isNormalization || query.node.opset >= 13,
            let axis = ImageAxes.last(counting: query.int("axis") ?? -1, rank: rank)
        else { return nil }
        return LayoutForm(inputs: [0], outputs: [0]) { node, _ in node.set("axis", .int(Int64(axis))) }
    }

    private static let concat: Rule = { query in
        guard let rank = query.imageRank(query.output(0)), let given = query.int("axis") ?? (query.node.opset < 4 ? 1 : nil),
            let axis = ImageAxes.last(counting: given, rank: rank)
        else { return nil }
        let images = query.node.inputs.indices.filter { query.editor.constant(query.input($0)) == nil }
        guard !images.isEmpty, query.node.inputs.allSatisfy({ query.dimensions($0)?.count == rank }) else { return nil }
        return LayoutForm(inputs: Array(images), outputs: [0]) { node, layout in
            node.set("axis", .int(Int64(axis)))
            for position in node.inputs.indices where !images.contains(position) {
                if let value = node.inputs[position] { node.inputs[position] = try layout.operand(value, rank: rank) }
            }
        }
    }

    private static let split: Rule = { query in
        guard let rank = query.imageRank(query.input(0)), let axis = ImageAxes.last(counting: query.int("axis") ?? 0, rank: rank) else {
            return nil
        }
        return LayoutForm(inputs: [0], outputs: Array(query.node.outputs.indices)) { node, _ in node.set("axis", .int(Int64(axis))) }
    }

    private static let slice: Rule = { query in
        guard let rank = query.imageRank(query.input(0)) else { return nil }
        let isEarly = query.node.opset < 10
        var axes = isEarly ? query.ints("axes") : query.editor.integers(query.input(3))
        if axes == nil, isEarly || query.input(3) == nil {
            axes = (isEarly ? query.ints("starts") : query.editor.integers(query.input(1)))?.indices.map { $0 }
        }
        guard let mapped = axes?.map({ ImageAxes.last(counting: $0, rank: rank) }), !mapped.contains(nil) else { return nil }
        let last = mapped.compactMap { $0 }
        return LayoutForm(inputs: [0], outputs: [0]) { node, layout in
            if isEarly {
                node.set("axes", .ints(last.map(Int64.init)))
            } else {
                node.setInput(3, try layout.integers(last))
            }
        }
    }

    private static let pad: Rule = { query in
        guard let rank = query.imageRank(query.input(0)) else { return nil }
        if query.node.opset >= 18, query.input(3) != nil {
            guard let axes = query.editor.integers(query.input(3))?.map({ ImageAxes.last(counting: $0, rank: rank) }), !axes.contains(nil)
            else { return nil }
            return LayoutForm(inputs: [0], outputs: [0]) { node, layout in node.setInput(3, try layout.integers(axes.compactMap { $0 })) }
        }
        let name = query.node.attribute("paddings") == nil ? "pads" : "paddings"
        guard let pads = query.node.opset < 11 ? query.ints(name) : query.editor.integers(query.input(1)), pads.count == 2 * rank else {
            return nil
        }
        let last = ImageAxes.last(Array(pads[..<rank])) + ImageAxes.last(Array(pads[rank...]))
        return LayoutForm(inputs: [0], outputs: [0]) { node, layout in
            if node.opset < 11 {
                node.set(name, .ints(last.map(Int64.init)))
            } else {
                node.setInput(1, try layout.integers(last))
            }
        }
    }

    private static let resize: Rule = { query in
        guard let rank = query.imageRank(query.input(0)) else { return nil }
        if let axes = query.ints("axes") {
            let last = axes.compactMap { ImageAxes.last(counting: $0, rank: rank) }
            guard last.count == axes.count else { return nil }
            return LayoutForm(inputs: [0], outputs: [0]) { node, _ in node.set("axes", .ints(last.map(Int64.init))) }
        }
        if case .floats(let scales)? = query.node.attribute("scales") {
            guard scales.count == rank else { return nil }
            return LayoutForm(inputs: [0], outputs: [0]) { node, _ in node.set("scales", .floats(ImageAxes.last(scales))) }
        }
        guard query.node.opset >= 9 else { return nil }
        let hasRegion = query.node.opType == "Resize" && query.node.opset >= 11
        return LayoutForm(inputs: [0], outputs: [0]) { node, layout in
            for position in 1..<max(1, node.inputs.count) {
                guard let value = node.inputs[position] else { continue }
                // An empty vector stands for one that is left out.
                if let count = layout.context.dimensions(value)?.first, count == .known(0) { continue }
                node.inputs[position] = try layout.vector(value, rank: rank, parts: hasRegion && position == 1 ? 2 : 1)
            }
        }
    }

    /// Whether the axes that are left, without those reduced, lie in the same order with channels last.
    private static func keepsOrder(rank: Int, without reduced: Set<Int>) -> Bool {
        let kept = (0..<rank).filter { !reduced.contains($0) }.map { ImageAxes.last($0, rank: rank) }
        return kept == kept.sorted()
    }

    private static let reduce: Rule = { query in
        guard let rank = query.imageRank(query.input(0)) else { return nil }
        let keeps = query.int("keepdims") ?? 1 != 0
        let given = query.ints("axes") ?? (query.input(1) == nil ? [] : query.editor.integers(query.input(1)))
        guard let given else { return nil }
        let axes = given.map { $0 < 0 ? $0 + rank : $0 }
        guard axes.allSatisfy({ (0..<rank).contains($0) }) else { return nil }
        if axes.isEmpty {
            // All axes, or none: nothing to map.
            let keepsImage = keeps || query.int("noop_with_empty_axes") ?? 0 != 0
            return LayoutForm(inputs: [0], outputs: keepsImage ? [0] : [])
        }
        guard keeps || keepsOrder(rank: rank, without: Set(axes)) else { return nil }
        let last = axes.map { ImageAxes.last($0, rank: rank) }.sorted()
        return LayoutForm(inputs: [0], outputs: keeps ? [0] : []) { node, layout in
            if node.attribute("axes") != nil {
                node.set("axes", .ints(last.map(Int64.init)))
            } else {
                node.setInput(1, try layout.integers(last))
            }
        }
    }

    /// ArgMax and ArgMin.
    private static let reduceOne: Rule = { query in
        guard let rank = query.imageRank(query.input(0)) else { return nil }
        let keeps = query.int("keepdims") ?? 1 != 0, given = query.int("axis") ?? 0, axis = given < 0 ? given + rank : given
        guard (0..<rank).contains(axis), keeps || keepsOrder(rank: rank, without: [axis]) else { return nil }
        return LayoutForm(inputs: [0], outputs: keeps ? [0] : []) { node, _ in
            node.set("axis", .int(Int64(ImageAxes.last(axis, rank: rank))))
        }
    }

    // MARK: Other views of the same elements

    private static let transpose: Rule = { query in
        guard let rank = query.imageRank(query.input(0)), let permutation = query.ints("perm"), permutation.sorted() == Array(0..<rank)
        else { return nil }
        if permutation == ImageAxes.toLast(rank) { return LayoutForm(demand: .vanishes, inputs: [0], outputs: []) }
        if permutation == ImageAxes.toFirst(rank) { return LayoutForm(demand: .vanishes, inputs: [], outputs: [0]) }
        return LayoutForm(inputs: [0], outputs: []) { node, _ in
            node.set("perm", .ints(permutation.map { Int64(ImageAxes.last($0, rank: rank)) }))
        }
    }

    /// A Reshape that keeps batch and channels and regroups the rest.
    private static let reshape: Rule = { query in
        guard query.imageRank(query.input(0)) != nil, query.imageRank(query.output(0)) != nil, let before = query.dimensions(query.input(0)),
            let after = query.dimensions(query.output(0)), before[0] == after[0], before[0] != .unknown, before[0] != .known(0),
            before[1] == after[1], let channels = after[1].known, channels > 0
        else { return nil }
        let rest = after[2...].map { $0.known ?? -1 }
        guard rest.count(where: { $0 == -1 }) <= 1, !rest.contains(0) else { return nil }
        let target = [after[0].known ?? 0] + rest + [channels]
        return LayoutForm(inputs: [0], outputs: [0]) { node, layout in
            node = Node(
                "Reshape", name: node.name, opset: 13, inputs: [node.inputs[0], try layout.integers(target)], outputs: node.outputs)
        }
    }

    /// Squeeze and Unsqueeze of axes behind the channels.
    private static let squeeze: Rule = { query in
        guard let rank = query.imageRank(query.input(0)), let outputRank = query.imageRank(query.output(0)) else { return nil }
        let counted = query.node.opType == "Squeeze" ? rank : outputRank
        guard let given = query.node.opset < 13 ? query.ints("axes") : query.editor.integers(query.input(1)) else { return nil }
        let axes = given.map { $0 < 0 ? $0 + counted : $0 }
        guard axes.allSatisfy({ $0 >= 2 }) else { return nil }
        let last = axes.map { $0 - 1 }
        return LayoutForm(inputs: [0], outputs: [0]) { node, layout in
            if node.opset < 13 {
                node.set("axes", .ints(last.map(Int64.init)))
            } else {
                node.setInput(1, try layout.integers(last))
            }
        }
    }
}
