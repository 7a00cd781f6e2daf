import ApusCore
import ApusGraph
import ApusOperators

/// A Pad of zeros before a convolution becomes part of the convolution's own padding.
struct ConvolutionPadding: Rewrite {
    let name = "ConvolutionPadding"
    let pattern = Pattern.node(
        ConvolutionNode.name, ops: ["Conv"], domain: "apus", inputs: [.op("Pad", .any("x"))], isCommutative: false)

    func apply(_ match: Match, _ editor: GraphEditor, _ context: PassContext) throws -> Outcome {
        guard let index = match.nodes[ConvolutionNode.name], let padIndex = match.nodes["Pad"], var own = ConvolutionNode(match, editor),
            let source = match.values["x"]
        else { return .refused("no node") }
        guard own.isChannelsFirst else { return .refused("the channels are last") }
        let pad = editor.graph.nodes[padIndex]
        guard let rank = own.weightDimensions(context, editor)?.count, rank > 2 else { return .refused("the rank is unknown") }
        guard let padding = ConstantPadding(pad, rank: rank, editor) else {
            return .refused("what is padded is not constant, or not with zeros")
        }
        guard padding.begins[..<2].allSatisfy({ $0 == 0 }), padding.ends[..<2].allSatisfy({ $0 == 0 }) else {
            return .refused("batch or channels are padded")
        }
        guard (padding.begins + padding.ends).allSatisfy({ $0 >= 0 }) else { return .refused("it cuts off") }
        var pads = [Int64](repeating: 0, count: 2 * (rank - 2))
        switch own.node.attribute("auto_pad") {
        case nil: break
        case .string(let mode)? where ["NOTSET", "VALID", ""].contains(mode.description):
            if mode.description == "VALID" { own.setAttribute("pads", nil) }
        default: return .refused("the convolution's padding depends on the size of its input")
        }
        if case .ints(let own)? = own.node.attribute("pads") {
            guard own.count == pads.count else { return .refused("the convolution's pads do not fit its weights") }
            pads = own
        }
        for (position, amount) in (padding.begins[2...] + padding.ends[2...]).enumerated() {
            let (sum, overflow) = pads[position].addingReportingOverflow(amount)
            if overflow { return .refused("the paddings are too large") }
            pads[position] = sum
        }
        own.setAttribute("auto_pad", nil)
        own.setAttribute("pads", .ints(pads))
        own.setPart(0, source)
        own.node.origin = name
        editor.replace(index, with: own.node)
        return .applied
    }
}

/// The amounts of a Pad that adds zeros in constant numbers.
struct ConstantPadding {
    /// One for each axis, before and after the elements.
    private(set) var begins: [Int64]
    private(set) var ends: [Int64]

    /// nil where `node`, a Pad of a value of `rank` axes, adds something else or amounts that are not constant.
    init?(_ node: Node, rank: Int, _ editor: GraphEditor) {
        if case .string(let mode)? = node.attribute("mode"), mode.description != "constant" { return nil }
        begins = [Int64](repeating: 0, count: rank)
        ends = begins
        var amounts: [Int64], axes = Array(0..<rank)
        if node.opset < 11 {
            guard case .ints(let ints)? = node.attribute("pads") ?? node.attribute("paddings") else { return nil }
            amounts = ints
            if case .float(let value)? = node.attribute("value"), value != 0 { return nil }
        } else {
            guard node.inputs.count > 1, let given = editor.integers(node.inputs[1]) else { return nil }
            amounts = given.map(Int64.init)
            if node.inputs.count > 2, node.inputs[2] != nil, editor.scalar(node.inputs[2]) != 0 { return nil }
            if node.inputs.count > 3, node.inputs[3] != nil {
                guard let given = editor.integers(node.inputs[3]) else { return nil }
                axes = given.map { $0 < 0 ? $0 + rank : $0 }
            }
        }
        guard amounts.count == 2 * axes.count, axes.allSatisfy({ begins.indices.contains($0) }), Set(axes).count == axes.count else {
            return nil
        }
        for (position, axis) in axes.enumerated() {
            begins[axis] = amounts[position]
            ends[axis] = amounts[position + axes.count]
        }
    }
}

extension GraphEditor {
    /// The elements of a constant integer tensor.
    func integers(_ value: ValueID?) -> [Int]? {
        guard case .tensor(let tensor)? = constant(value) else { return nil }
        return try? tensor.integers()
    }
}
