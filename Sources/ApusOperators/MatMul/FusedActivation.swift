import ApusCore
import CApusKernels

/// An activation applied to a result while it is still at hand: the attributes `activation` and `activation_params` of the
/// `apus` operators.
///
/// Names: `none`, `relu`, `clip` (min, max), `leaky_relu` (alpha), `hard_sigmoid` (alpha, beta), `hard_swish`, `sigmoid`,
/// `tanh`, `silu` (alpha), `gelu`, `gelu_tanh`, `elu` (alpha), `selu` (alpha, gamma), `celu` (alpha), `softplus`, `softsign`,
/// `mish`, `erf`. Parameters that are left out have ONNX's defaults.
struct FusedActivation: Sendable {
    private let kind: apus_activation
    private let alpha: Float
    private let beta: Float
    /// For activations that no epilogue knows by itself.
    private let unary: apus_unary_op?

    private struct Entry {
        let kind: apus_activation
        var unary: apus_unary_op? = nil
        var defaults: [Float] = []
    }

    private static let table: [String: Entry] = [
        "none": Entry(kind: APUS_ACTIVATION_NONE),
        "relu": Entry(kind: APUS_ACTIVATION_RELU),
        "clip": Entry(kind: APUS_ACTIVATION_CLAMP, defaults: [-.greatestFiniteMagnitude, .greatestFiniteMagnitude]),
        "leaky_relu": Entry(kind: APUS_ACTIVATION_LEAKY_RELU, defaults: [0.01]),
        "hard_sigmoid": Entry(kind: APUS_ACTIVATION_HARD_SIGMOID, defaults: [0.2, 0.5]),
        "hard_swish": Entry(kind: APUS_ACTIVATION_HARD_SWISH, defaults: [1 / 6, 0.5]),
        "sigmoid": function(APUS_UNARY_SIGMOID),
        "tanh": function(APUS_UNARY_TANH),
        "silu": function(APUS_UNARY_SILU, [1]),
        "gelu": function(APUS_UNARY_GELU_ERF),
        "gelu_tanh": function(APUS_UNARY_GELU_TANH),
        "elu": function(APUS_UNARY_ELU, [1]),
        "selu": function(APUS_UNARY_SELU, [1.67326319217681884765625, 1.05070102214813232421875]),
        "celu": function(APUS_UNARY_CELU, [1]),
        "softplus": function(APUS_UNARY_SOFTPLUS),
        "softsign": function(APUS_UNARY_SOFTSIGN),
        "mish": function(APUS_UNARY_MISH),
        "erf": function(APUS_UNARY_ERF),
    ]

    private static func function(_ unary: apus_unary_op, _ defaults: [Float] = []) -> Entry {
        Entry(kind: APUS_ACTIVATION_FUNCTION, unary: unary, defaults: defaults)
    }

    static let none = FusedActivation(Entry(kind: APUS_ACTIVATION_NONE), [])

    private init(_ entry: Entry, _ given: [Float]) {
        kind = entry.kind
        unary = entry.unary
        let parameters = given + entry.defaults.dropFirst(given.count)
        alpha = parameters.first ?? 0
        beta = parameters.dropFirst().first ?? 0
    }

    /// Reads the attributes `activation` and `activation_params`.
    init(_ node: NodeReader) throws {
        let name = try node.string("activation", default: "none")
        let given = try node.floats("activation_params", default: [])
        guard let entry = FusedActivation.table[name] else {
            throw ApusError(
                .invalidModel, "activation \"\(name)\" is none of \(FusedActivation.table.keys.sorted().joined(separator: ", "))")
        }
        guard given.count <= entry.defaults.count else {
            throw ApusError(.invalidModel, "activation \"\(name)\" takes \(entry.defaults.count) parameters, found \(given.count)")
        }
        self.init(entry, given)
    }

    var isNone: Bool { kind == APUS_ACTIVATION_NONE }

    /// What a run of a product needs of this activation for kernels of `levels`.
    func prepared(_ levels: UInt32) -> PreparedActivation {
        let function = unary.flatMap { apus_elementwise_row(apus_elementwise_select(levels), $0) }
        return PreparedActivation(kind: kind, alpha: alpha, beta: beta, function: function)
    }
}

/// An activation with its kernel chosen. It owns memory that epilogues point to: keep it alive while they are used.
final class PreparedActivation: @unchecked Sendable {
    private let kind: apus_activation
    private let alpha: Float
    private let beta: Float
    private let function: apus_row_function?
    /// Two floats, as many as any function reads.
    private let parameters: UnsafeMutablePointer<Float>

    fileprivate init(kind: apus_activation, alpha: Float, beta: Float, function: apus_row_function?) {
        self.kind = kind
        self.alpha = alpha
        self.beta = beta
        self.function = function
        parameters = .allocate(capacity: 2)
        parameters[0] = alpha
        parameters[1] = beta
    }

    deinit { parameters.deallocate() }

    /// An epilogue with this activation and nothing else.
    var epilogue: apus_epilogue {
        var epilogue = apus_epilogue()
        epilogue.activation = kind
        epilogue.alpha = alpha
        epilogue.beta = beta
        if kind == APUS_ACTIVATION_FUNCTION {
            epilogue.function = function
            epilogue.params = UnsafePointer(parameters)
        }
        return epilogue
    }
}
