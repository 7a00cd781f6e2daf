import ApusCore
import ApusGraph
import ApusOperators

/// A DequantizeLinear to float32, as the passes of quantised graphs see it.
struct Dequantization {
    /// The 8-bit (or other) tensor.
    let source: ValueID
    let type: ElementType
    let scale: ValueID
    let zeroPoint: ValueID?
    /// nil: one scale for the tensor; else the axis of the source along which the scales lie.
    let axis: Int?

    /// nil where `value` is not made by a DequantizeLinear that the passes understand.
    init?(_ value: ValueID?, _ editor: GraphEditor, _ context: PassContext) {
        guard let value, let node = editor.producer(value)?.node, node.isStandard("DequantizeLinear"), node.inputs.count >= 2,
            let source = node.inputs[0], let scale = node.inputs[1], let type = editor.elementType(source, context),
            editor.elementType(scale, context) == .float32, node.integer("block_size") ?? 0 == 0,
            node.integer("output_dtype") ?? 0 <= 1, let dimensions = editor.dimensions(scale, context)
        else { return nil }
        self.source = source
        self.type = type
        self.scale = scale
        zeroPoint = node.inputs.count > 2 ? node.inputs[2] : nil
        if dimensions.allSatisfy({ $0 == .known(1) }) && dimensions.count <= 1 {
            axis = nil
        } else if dimensions.count == 1, let rank = editor.dimensions(source, context)?.count {
            let given = rank == 1 ? 0 : node.integer("axis") ?? 1, own = given < 0 ? given + rank : given
            guard own >= 0, own < rank else { return nil }
            axis = own
        } else {
            return nil
        }
    }

    var isPerTensor: Bool { axis == nil }
    var isByte: Bool { type == .uint8 || type == .int8 }
}

/// A QuantizeLinear of a float32 tensor to 8 bits with one scale.
struct Quantization {
    let index: Int
    let output: ValueID
    let type: ElementType
    let scale: ValueID
    let zeroPoint: ValueID?

    init?(_ index: Int, _ editor: GraphEditor, _ context: PassContext) {
        let node = editor.graph.nodes[index]
        guard node.isStandard("QuantizeLinear"), node.inputs.count >= 2, let input = node.inputs[0], let scale = node.inputs[1],
            let output = node.outputs.first ?? nil, let type = editor.elementType(output, context), type == .uint8 || type == .int8,
            editor.elementType(input, context) == .float32, editor.elementType(scale, context) == .float32, node.integer("block_size") ?? 0 == 0,
            node.integer("precision") ?? 0 <= 1, let dimensions = editor.dimensions(scale, context), dimensions.count <= 1,
            dimensions.allSatisfy({ $0 == .known(1) })
        else { return nil }
        self.index = index
        self.output = output
        self.type = type
        self.scale = scale
        zeroPoint = node.inputs.count > 2 ? node.inputs[2] : nil
    }

    /// The only reader of `value`, where that is a QuantizeLinear.
    static func onlyReader(of value: ValueID?, _ editor: GraphEditor, _ context: PassContext) -> Quantization? {
        guard let value, editor.useCount(value) == 1, let index = editor.consumers(value).first else { return nil }
        return Quantization(index, editor, context)
    }
}

extension Node {
    /// Whether the node is `op` of ai.onnx, or its twin of com.microsoft.
    func isStandard(_ op: String) -> Bool { opType == op && (domain.isEmpty || domain == "com.microsoft") }

    func integer(_ name: String) -> Int? {
        guard case .int(let value)? = attribute(name) else { return nil }
        return Int(exactly: value)
    }
}

extension GraphEditor {
    /// The element type of a tensor, values that the pass itself has added included.
    func elementType(_ value: ValueID?, _ context: PassContext) -> ElementType? {
        context.elementType(value) ?? value.flatMap { graph.values[$0.index].type?.elementType }
    }

    /// The dimensions of a tensor, values that the pass itself has added included.
    func dimensions(_ value: ValueID?, _ context: PassContext) -> [Dimension]? {
        context.dimensions(value) ?? value.flatMap { graph.values[$0.index].type?.shape?.dimensions }
    }

    /// A new tensor value with the shape of `value` and another element type.
    func addValue(like value: ValueID?, _ type: ElementType, _ context: PassContext) -> ValueID {
        addValue(type: .tensor(type, dimensions(value, context).map { PartialShape($0) } ?? .unknown))
    }

    /// `zeroPoint`, or where it is left out an initializer of 0.
    func zeroPoint(_ zeroPoint: ValueID?, of type: ElementType) throws -> ValueID {
        if let zeroPoint { return zeroPoint }
        return addInitializer(.tensor(try Tensor(type, [], [UInt8(0)], budget: .shared)))
    }

    /// The elements of a float32 initializer.
    func floats(_ value: ValueID?) -> [Float]? {
        guard case .tensor(let tensor)? = constant(value), tensor.type == .float32 else { return nil }
        return tensor.array(Float.self)
    }

    /// Whether the zero points are left out, or initializers that hold nothing but zeros.
    func isZero(_ zeroPoints: ValueID?) -> Bool {
        guard let zeroPoints else { return true }
        guard case .tensor(let tensor)? = constant(zeroPoints) else { return false }
        return (try? tensor.integers())?.allSatisfy { $0 == 0 } ?? false
    }
}
