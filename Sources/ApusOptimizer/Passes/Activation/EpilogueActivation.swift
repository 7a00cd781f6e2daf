import ApusCore
import ApusGraph
import ApusOperators

/// An activation as the attributes `activation` and `activation_params` of the `apus` operators have it.
struct EpilogueActivation: Equatable {
    let name: String
    let parameters: [Float]

    private typealias Parameters = @Sendable (Node, ElementType, GraphEditor) -> [Float]?

    /// By operator: the name, and how to read the parameters; nil where they are not constant.
    private static let table: [String: (name: String, parameters: Parameters)] = [
        "Relu": ("relu", none),
        "Clip": ("clip", limits),
        "LeakyRelu": ("leaky_relu", attributes(("alpha", 0.01))),
        "HardSigmoid": ("hard_sigmoid", attributes(("alpha", 0.2), ("beta", 0.5))),
        "HardSwish": ("hard_swish", none),
        "Sigmoid": ("sigmoid", none),
        "Tanh": ("tanh", none),
        "Swish": ("silu", attributes(("alpha", 1))),
        "Gelu": ("gelu", none),
        "Elu": ("elu", attributes(("alpha", 1))),
        "Celu": ("celu", attributes(("alpha", 1))),
        "Selu": ("selu", attributes(("alpha", 1.67326319217681884765625), ("gamma", 1.05070102214813232421875))),
        "Softplus": ("softplus", none),
        "Softsign": ("softsign", none),
        "Mish": ("mish", none),
        "Erf": ("erf", none),
        "com.microsoft.Gelu": ("gelu", none),
        "com.microsoft.QuickGelu": ("silu", attributes(("alpha", 1.702))),
        // Its optional bias has to be added before.
        "com.microsoft.FastGelu": ("gelu_tanh", { node, _, _ in node.inputs.count > 1 && node.inputs[1] != nil ? nil : [] }),
        "PRelu": ("leaky_relu", { node, _, editor in
            node.inputs.count == 2 ? editor.scalar(node.inputs[1]).map { [Float($0)] } : nil
        }),
    ]

    /// Operators of ai.onnx that may be an activation with constant parameters.
    static let operators: Set<String> = Set(table.keys.filter { !$0.contains(".") })
    /// Those of com.microsoft.
    static let contributedOperators: Set<String> = ["FastGelu", "Gelu", "QuickGelu"]

    /// nil where `node`, which gets a value of `type`, is no activation or has parameters that are not constant.
    init?(_ node: Node, _ type: ElementType, _ editor: GraphEditor) {
        guard let entry = EpilogueActivation.table[node.qualifiedType],
            let parameters = entry.parameters(node, type, editor)
        else { return nil }
        var name = entry.name
        if node.opType == "Gelu", case .string(let mode)? = node.attribute("approximate"), mode.description == "tanh" { name = "gelu_tanh" }
        // Other defaults then, and other attributes.
        if ["Selu"].contains(node.opType), node.opset < 6 { return nil }
        self.name = name
        self.parameters = parameters
    }

    /// What tells a node of the `apus` domain to apply it.
    var nodeAttributes: [Attribute] {
        [Attribute("activation", .string(ByteString(name)))] + (parameters.isEmpty ? [] : [Attribute("activation_params", .floats(parameters))])
    }

    private static let none: Parameters = { _, _, _ in [] }

    private static func attributes(_ entries: (String, Float)...) -> Parameters {
        { node, _, _ in
            entries.map { name, value in
                if case .float(let given)? = node.attribute(name) { return given }
                return value
            }
        }
    }

    /// Clip's limits, those left out as far away as the element type reaches.
    private static let limits: Parameters = { node, type, editor in
        let greatest: Float = type == .float16 ? 65504 : type == .bfloat16 ? Float(bitPattern: 0x7f7f_0000) : .greatestFiniteMagnitude
        var limits = [-greatest, greatest]
        for (position, name) in ["min", "max"].enumerated() {
            if node.opset < 11 {
                if case .float(let given)? = node.attribute(name) { limits[position] = given }
            } else if node.inputs.count > position + 1, let input = node.inputs[position + 1] {
                guard let given = editor.scalar(input) else { return nil }
                limits[position] = Float(given)
            }
        }
        return limits
    }
}
