import ApusCore
import ApusGraph
import ApusOperators

/// An `apus.Conv` or `apus.ConvTranspose` as the passes see it: its parts by name, changed in a copy of the node.
struct ConvolutionNode {
    var node: Node

    /// What the patterns of the passes that add something to a convolution look for.
    static let pattern = Pattern.node(name, ops: ["Conv", "ConvTranspose"], domain: "apus", inputs: [], isCommutative: false)
    static let name = "convolution"

    init(_ node: Node) { self.node = node }

    /// The convolution of a match with `pattern`.
    init?(_ match: Match, _ editor: GraphEditor) {
        guard let index = match.nodes[ConvolutionNode.name] else { return nil }
        self.init(editor.graph.nodes[index])
    }

    // MARK: Parts

    var isTransposed: Bool { node.opType == "ConvTranspose" }

    /// Whether input, residual and output are laid out as ONNX has them.
    var isChannelsFirst: Bool {
        if case .int(let value)? = node.attribute("channels_first") { return value != 0 }
        return false
    }

    var group: Int {
        if case .int(let value)? = node.attribute("group"), let group = Int(exactly: value), group > 0 { return group }
        return 1
    }

    var input: ValueID? { part(0) }
    var weights: ValueID? { part(1) }

    var bias: ValueID? {
        get { part(2) }
        set { setPart(2, newValue) }
    }

    var residual: ValueID? {
        get { part(3) }
        set { setPart(3, newValue) }
    }

    /// Factors of the output channels, applied before the bias.
    var weightScale: ValueID? {
        get { part(4) }
        set { setPart(4, newValue) }
    }

    var hasActivation: Bool { node.attribute("activation") != nil }

    private func part(_ index: Int) -> ValueID? { node.inputs.indices.contains(index) ? node.inputs[index] : nil }

    mutating func setPart(_ index: Int, _ value: ValueID?) {
        while node.inputs.count <= index { node.inputs.append(nil) }
        node.inputs[index] = value
    }

    mutating func setAttribute(_ name: String, _ value: AttributeValue?) {
        node.attributes.removeAll { $0.name == name }
        if let value { node.attributes.append(Attribute(name, value)) }
    }

    mutating func setActivation(_ activation: EpilogueActivation) {
        setAttribute("activation", .string(ByteString(activation.name)))
        setAttribute("activation_params", activation.parameters.isEmpty ? nil : .floats(activation.parameters))
    }

    // MARK: What is known

    /// Of input, bias, residual and result; constant weights may be of a narrower one.
    func elementType(_ context: PassContext, _ editor: GraphEditor) -> ElementType? {
        editor.constant(input)?.type.elementType ?? context.elementType(input)
    }

    /// The dimensions of W, where the rank is known.
    func weightDimensions(_ context: PassContext, _ editor: GraphEditor) -> [Dimension]? {
        editor.constant(weights)?.type.shape?.dimensions ?? context.dimensions(weights)
    }

    func outputChannels(_ context: PassContext, _ editor: GraphEditor) -> Int? {
        guard let w = weightDimensions(context, editor), w.count >= 2 else { return nil }
        if !isTransposed { return w[0].known }
        guard let perGroup = w[1].known else { return nil }
        let (count, overflow) = perGroup.multipliedReportingOverflow(by: group)
        return overflow ? nil : count
    }

    /// The float32 elements of the bias, zeros where there is none; nil where the model computes it.
    func constantBias(channels: Int, _ editor: GraphEditor) -> [Float]? {
        bias == nil ? [Float](repeating: 0, count: channels) : editor.floats(bias, count: channels)
    }

    /// The factors of the channels, ones where there are none; nil where the model computes them.
    func constantScale(channels: Int, _ editor: GraphEditor) -> [Float]? {
        weightScale == nil ? [Float](repeating: 1, count: channels) : editor.floats(weightScale, count: channels)
    }

    // MARK: Changing

    /// Puts this convolution in the place of the node at `index`, which reads the one at `old` last, and takes that one out.
    func absorb(_ index: Int, from old: Int, _ pass: String, _ editor: GraphEditor) {
        var merged = node
        merged.outputs = [editor.graph.nodes[index].outputs[0]]
        merged.origin = pass
        editor.remove(old)
        editor.replace(index, with: merged)
    }
}

extension GraphEditor {
    /// The elements of a constant float32 tensor of `count` elements; nil where the value is anything else.
    func floats(_ value: ValueID?, count: Int) -> [Float]? {
        guard case .tensor(let tensor)? = constant(value), tensor.type == .float32, tensor.count == count else { return nil }
        return tensor.array(Float.self)
    }

    /// A new float32 vector.
    func addVector(_ elements: [Float], _ context: PassContext) throws -> ValueID {
        addInitializer(.tensor(try Tensor(.float32, [elements.count], elements, budget: context.evaluator.budget)))
    }

    /// The elements of a constant float32 tensor that varies along the channels only when it is broadcast against images
    /// [N, channels, D1, ...] of `rank` axes; nil where it is something else.
    func perChannel(_ value: ValueID?, channels: Int, rank: Int) -> [Float]? {
        guard case .tensor(let tensor)? = constant(value), tensor.type == .float32, tensor.shape.rank <= rank else { return nil }
        let axis = tensor.shape.rank - (rank - 1)
        for (index, size) in tensor.shape.dimensions.enumerated() where size != 1 && (index != axis || size != channels) { return nil }
        let elements = tensor.array(Float.self)
        if elements.count == channels { return elements }
        return elements.first.map { [Float](repeating: $0, count: channels) }
    }
}
