import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

/// Expected values come from torchvision's algorithm in NumPy (one axis, three axes) and ONNX's reference evaluator.
struct DeformConvTests {

    @Test
    func convolutions() throws {
        try expectEvaluates(
            "DeformConv", opset: 19, ["kernel_shape": .ints([2, 2])],
            [.tensor(try Tensor(.float32, [1, 1, 3, 3], [-0.65, 1.63, -0.17, 1.72, -2.69, 0.02, 0.56, -0.29, 1.09] as [Float])), .tensor(try Tensor(.float32, [1, 1, 2, 2], [0.64, -0.27, 0.44, 2.81] as [Float])), .tensor(try Tensor(.float32, [1, 8, 2, 2], [0.25, 0.3, -0.44, 0.13, -1.29, -0.2, 2.46, 1.07, 0.64, 1.1, 1.88, 0.59, 2.07, 1.07, 0.17, 1.72, -2.36, -0.57, 0.27, -0.91, -0.16, -0.64, -0.65, 2.71, 0.63, -0.05, 1.32, -0.24, 0.89, 0.35, 1.63, -1.42] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 1, 2, 2], [1.3717548, 0.26588094, 0.042770006, -0.327231] as [Float]))], tolerance: 0.0001)
        try expectEvaluates(
            "DeformConv", opset: 19, ["pads": .ints([1, 0, 1, 0]), "strides": .ints([1, 2]), "group": .int(2), "offset_group": .int(2)],
            [.tensor(try Tensor(.float32, [1, 2, 3, 4], [0.77, 0.12, -1.16, 1.07, -0.87, 1.62, 0.51, 0.7, 0.08, 0.9, -1.87, 0.07, -0.63, 0.28, -0.05, 0.62, -0.84, 1.84, 2.32, -0.21, -0.01, 0.29, 1.26, 1.9] as [Float])), .tensor(try Tensor(.float32, [2, 1, 2, 2], [-1.21, -0.62, -1.06, -1.11, -1.64, 0.36, -1.16, 1.5] as [Float])), .tensor(try Tensor(.float32, [1, 16, 4, 2], [0.91, -1.03, -1.03, -0.61, 1.4, -0.85, -1.49, -0.05, 0.37, -0.66, 1.62, 0.24, 0.45, -0.86, -0.04, -0.16, -2.27, 0.29, -1.79, -0.03, -1.47, 2.02, 0.33, 0.86, 0.92, -1.32, -2.28, -0.33, 0.9, 0.09, 0.79, 0.94, -1.49, 0.29, 1.97, -0.57, -2.03, -0.23, -0.46, 0.42, -0.89, 0.09, -2.22, 0.85, 1.59, 1.3, -1.52, 0.32, -2.98, 0.28, -0.06, -1, 0.34, 0.14, 0.94, 0.13, 0.24, -1.95, -1.16, -0.48, 0.3, -0.01, 1.5, -0.87, -0.24, 0.26, -0.23, 0.5, -0.57, 1.42, -0.32, 1.12, -0.03, 1.49, -1.4, 0.52, -0.43, 0.23, 1.19, -1.14, -1.32, -1, 0.25, -1.89, 0.1, -1.29, -1.14, -0.37, 0.38, -0.63, -0.49, -0.04, -0.27, -2.68, -0.43, 0.08, 1.1, 2.05, 0.67, 0.08, -0.96, 0.09, 0.78, 1.26, -0.88, 0.24, 0.82, 1.86, 0.26, -0.54, -0.69, -0.36, -0.65, 0.83, 1.07, 0.72, 1.19, -0.45, 0.38, -0.38, 0.04, 1.22, -0.03, -1.86, -0.25, -0.71, -1.51, -0.79] as [Float])), .tensor(try Tensor(.float32, [2], [0.96, 1.68] as [Float])), .tensor(try Tensor(.float32, [1, 8, 4, 2], [0.49, 1, 1.18, 1.16, 0.04, 0.04, 0.17, 1.59, 0.35, 1.06, 1.26, 1.83, 0.34, 1.87, 0.67, 1.36, 0.76, 0.35, 0.52, 0.1, 1.21, 0.26, 0.28, 0.96, 0.26, 0.41, 1.28, 0.41, 0.64, 0.54, 1.47, 0.55, 1.86, 0.91, 0.01, 1.11, 0.61, 1.52, 0.9, 0.61, 0.01, 0.83, 0.78, 0.91, 0.9, 0.33, 0.6, 0.49, 0.17, 1.36, 0.07, 0.92, 0.88, 0.56, 0.75, 0.35, 1.81, 0.96, 1.23, 1.48, 0.14, 1.19, 1.08, 1.77] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 2, 4, 2], [0.6743141, 1.0812849, 1.880883, 0.8594563, 1.8201749, 0.8842605, 1.3316692, 3.50113, 1.9514403, -0.5612839, 2.114979, 2.366461, 2.5606039, 1.8750782, 0.416173, 3.268459] as [Float]))], tolerance: 0.0001)
        try expectEvaluates(
            "DeformConv", opset: 22, ["dilations": .ints([2])],
            [.tensor(try Tensor(.float32, [2, 2, 5], [-0.35, -1.08, 1.37, 0.29, -0.65, 0.88, -1.96, 1.82, -0.82, 0.29, -0.4, 0.44, 0.89, -0.82, 0.79, -0.29, -0.69, -0.22, -1, -0.8] as [Float])), .tensor(try Tensor(.float32, [1, 2, 2], [0.95, -0.15, 1.14, 0.43] as [Float])), .tensor(try Tensor(.float32, [2, 2, 3], [-3.09, -5.7, -2.07, 0.78, 0.03, -2.49, 3.03, -5.25, -3.78, 0.39, 6.57, 1.23] as [Float])), .tensor(try Tensor(.float32, [1], [-1.01] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 1, 3], [-1.191996, -1.387551, -0.42551997, -3.135146, -1.01, -1.01] as [Float]))], tolerance: 0.0001)
        try expectEvaluates(
            "DeformConv", opset: 22, [:],
            [.tensor(try Tensor(.float32, [1, 1, 2, 2, 2], [0.59, 0.68, 0.94, -0.41, -0.8, 0.12, 0.42, 1.6] as [Float])), .tensor(try Tensor(.float32, [1, 1, 1, 2, 1], [2.09, -0.73] as [Float])), .tensor(try Tensor(.float32, [1, 6, 2, 1, 2], [-0.52, -0.06, -0.25, 0.49, 0.49, 0.26, 1.34, -0.16, -1.05, -1.56, -1.03, -1.04, -1.88, 0.66, 0.19, -0.42, -0.89, -1.58, -0.92, 1.85, -2.21, 0.14, 0.74, 0.14] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 1, 2, 1, 2], [0, 0.5068278, 0.0036708012, -0.6876334] as [Float]))], tolerance: 0.0001)
        try expectEvaluates(
            "DeformConv", opset: 22, [:],
            [.tensor(try Tensor(.float32, [1, 1, 3, 1], [-0.32, 0.77, -1.1] as [Float])), .tensor(try Tensor(.float32, [1, 1, 1, 1], [0.56] as [Float])), .tensor(try Tensor(.float32, [1, 2, 3, 1], [1.43, -1.04, -0.82, 0.14, 0.99, 1.34] as [Float])), nil, .tensor(try Tensor(.float32, [1, 1, 3, 1], [0.68, 0.67, 1.11] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 1, 3, 1], [-0.011167316, -0.0011526133, 0] as [Float]))], tolerance: 0.0001)
        try expectEvaluates(
            "DeformConv", opset: 22, [:],
            [.tensor(try Tensor(.float16, [1, 1, 2, 2], ([0.23999023, 0.39990234, -1.0996094, 0.05999756] as [Float]).map { Half($0) })), .tensor(try Tensor(.float16, [1, 1, 1, 1], ([0.33007812] as [Float]).map { Half($0) })), .tensor(try Tensor(.float16, [1, 2, 2, 2], ([1.0498047, -0.9902344, 0.5600586, -1.1699219, -0.42993164, -0.08001709, 1.5195312, 3.3105469] as [Float]).map { Half($0) }))],
            [.tensor(try Tensor(.float16, [1, 1, 2, 2], ([-0.19665527, 0.001247406, 0.004184723, 0] as [Float]).map { Half($0) }))], tolerance: 0.01)
    }

    @Test
    func edges() throws {
        let x = Value.tensor(try Tensor(.float32, [1, 1, 2, 2], [1, 2, 3, 4] as [Float]))
        let w = Value.tensor(try Tensor(.float32, [1, 1, 1, 1], [1] as [Float]))
        func offsets(_ numbers: [Float]) throws -> Value { .tensor(try Tensor(.float32, [1, 2, 2, 2], numbers)) }
        // Far away, and nowhere, there is nothing.
        try expectEvaluates(
            "DeformConv", opset: 22, [:], [x, w, try offsets([.nan, 1e30, -.infinity, 0, 0, 0, 0, -1])],
            [.tensor(try Tensor(.float32, [1, 1, 2, 2], [0, 0, 0, 3] as [Float]))])
        try expectEvaluates(
            "DeformConv", opset: 22, [:],
            [.tensor(try Tensor(.float32, [0, 1, 2, 2], [] as [Float])), w, .tensor(try Tensor(.float32, [0, 2, 2, 2], [] as [Float]))],
            [.tensor(try Tensor(.float32, [0, 1, 2, 2], [] as [Float]))])
        let offset = try offsets([Float](repeating: 0, count: 8))
        expectRefuses("DeformConv", opset: 22, ["group": .int(2)], [x, w, offset], .shapeMismatch, "groups")
        expectRefuses("DeformConv", opset: 22, ["offset_group": .int(0)], [x, w, offset], .invalidModel, "offset_group")
        expectRefuses("DeformConv", opset: 22, ["kernel_shape": .ints([2, 1])], [x, w, offset], .shapeMismatch, "weights")
        expectRefuses("DeformConv", opset: 22, ["strides": .ints([2, 2])], [x, w, offset], .shapeMismatch, "offsets")
        expectRefuses("DeformConv", opset: 22, ["pads": .ints([1])], [x, w, offset], .shapeMismatch, "pads")
        expectRefuses("DeformConv", opset: 22, ["pads": .ints([.max, 0, 0, 0])], [x, w, offset], .invalidValue, "")
        expectRefuses("DeformConv", opset: 22, [:], [x, w, offset, nil, offset], .shapeMismatch, "mask")
    }
}
