import ApusCore
import ApusGraph
import ApusOperators

/// How operators on 8-bit images work with channels last.
extension LayoutRules {
    /// Of com.microsoft.
    static let contributed: [String: Rule] = [
        "QLinearAdd": quantizedBinary, "QLinearMul": quantizedBinary, "QLinearAveragePool": quantizedPool,
        "QLinearGlobalAveragePool": quantizedPool, "QLinearConv": quantizedConvolution, "QLinearLeakyRelu": ofOneImage,
        "QLinearSigmoid": ofOneImage, "DequantizeLinear": quantize, "QuantizeLinear": quantize,
    ]

    /// Whether channels last is what the node is made for.
    static func isMade(for node: Node) -> Bool {
        (node.domain == "apus" && (node.opType == "Conv" || node.opType == "ConvTranspose"))
            || (node.isStandard("QLinearConv") && node.integer("channels_last") ?? 0 == 0)
    }

    static let quantizedConvolution: Rule = { query in
        guard query.int("channels_last") ?? 0 == 0, query.imageRank(query.input(0)) != nil, query.imageRank(query.output(0)) != nil
        else { return nil }
        return LayoutForm(demand: .last, inputs: [0], outputs: [0]) { node, _ in
            node.domain = "com.microsoft"
            node.opset = 1
            node.set("channels_last", .int(1))
        }
    }

    static let quantizedPool: Rule = { query in
        guard query.int("channels_last") ?? 0 == 0, query.imageRank(query.input(0)) != nil else { return nil }
        return LayoutForm(inputs: [0], outputs: [0]) { node, _ in node.set("channels_last", .int(1)) }
    }

    static let ofOneImage: Rule = { query in
        query.imageRank(query.input(0)) == nil ? nil : LayoutForm(inputs: [0], outputs: [0])
    }

    /// The operands are inputs 0 and 3; a constant is permuted, as are its scale and zero point not, which have one element.
    static let quantizedBinary: Rule = { query in
        guard let rank = query.imageRank(query.output(0)) else { return nil }
        var images: [Int] = [], constants: [Int] = []
        for position in [0, 3] {
            guard let input = query.input(position), let own = query.dimensions(input)?.count, own <= rank else { return nil }
            if query.editor.constant(input) != nil {
                constants.append(position)
            } else if own == rank {
                images.append(position)
            } else if !query.isScalar(input) {
                return nil
            }
        }
        guard !images.isEmpty else { return nil }
        return LayoutForm(inputs: images, outputs: [0]) { node, layout in
            for position in constants {
                if let value = node.inputs[position] { node.inputs[position] = try layout.operand(value, rank: rank) }
            }
        }
    }
}
