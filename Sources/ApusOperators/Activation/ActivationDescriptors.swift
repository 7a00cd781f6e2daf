import ApusCore
import CApusKernels

extension UnaryOperator {
    /// The activations that are functions of one tensor and of attributes.
    static let activationDescriptors: [UnaryDescriptor] = [
        .init("Sigmoid", since: [1, 6, 13], SigmoidFunction.self, APUS_UNARY_SIGMOID),
        .init("Relu", since: [1, 6, 13, 14], ReluFunction.self, APUS_UNARY_RELU, types: Types.floats + Types.signed),
        .init("LeakyRelu", since: [1, 6, 16], LeakyReluFunction.self, APUS_UNARY_LEAKY_RELU) { node in
            [try node.float("alpha", default: 0.01), 0]
        },
        .init("Elu", since: [1, 6, 22], EluFunction.self, APUS_UNARY_ELU) { node in
            [try node.float("alpha", default: 1), 0]
        },
        .init("Selu", since: [1, 6, 22], SeluFunction.self, APUS_UNARY_SELU) { node in
            [
                try node.float("alpha", default: node.opset < 6 ? 1.6732 : 1.67326319217681884765625),
                try node.float("gamma", default: node.opset < 6 ? 1.0507 : 1.05070102214813232421875),
            ]
        },
        .init("Celu", since: [12, 28], CeluFunction.self, APUS_UNARY_CELU) { node in
            [try node.float("alpha", default: 1), 0]
        },
        .init("ThresholdedRelu", since: [10, 22], ThresholdedReluFunction.self, APUS_UNARY_THRESHOLDED_RELU) { node in
            [try node.float("alpha", default: 1), 0]
        },
        .init("Softplus", since: [1, 22], SoftplusFunction.self, APUS_UNARY_SOFTPLUS),
        .init("Softsign", since: [1, 22], SoftsignFunction.self, APUS_UNARY_SOFTSIGN),
        .init("HardSigmoid", since: [1, 6, 22], HardSigmoidFunction.self, APUS_UNARY_HARD_SIGMOID) { node in
            [try node.float("alpha", default: 0.2), try node.float("beta", default: 0.5)]
        },
        .init("HardSwish", since: [14, 22], HardSwishFunction.self, APUS_UNARY_HARD_SWISH),
        .init("Mish", since: [18, 22], MishFunction.self, APUS_UNARY_MISH),
        .init("Swish", since: [24], SwishFunction.self, APUS_UNARY_SILU) { node in
            [try node.float("alpha", default: 1), 0]
        },
        .init("QuickGelu", domain: "com.microsoft", since: [1], SwishFunction.self, APUS_UNARY_SILU) { node in
            [try node.float("alpha", default: 1.702), 0]
        },
        .init("Gelu", domain: "com.microsoft", since: [1], GeluFunction.self, APUS_UNARY_GELU_ERF),
        .init(truncating: "Shrink", since: [9], ShrinkFunction.self) { node in
            [try node.float("bias", default: 0), try node.float("lambd", default: 0.5)]
        },
    ]
}
