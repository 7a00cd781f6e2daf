import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

/// Expected values come from ONNX's reference evaluator.
struct CausalConvWithStateTests {

    @Test
    func convolutions() throws {
        try expectEvaluates(
            "CausalConvWithState", opset: 27, [:],
            [.tensor(try Tensor(.float32, [2, 3, 5], [0.25, 0.5, 1.01, -1.36, 0.77, -1.24, 1.63, 1.44, 0.5, -0.81, 1.67, 0.26, 0.11, 0.58, -1.71, 0.43, 1, 0.34, 0.15, -0.95, 0.64, 0.2, 0.01, -0.56, 0.86, 1.25, 0.39, 0.9, 1.33, 1.59] as [Float])), .tensor(try Tensor(.float32, [3, 1, 4], [0.23, -0.21, -0.41, 0.01, 0.55, 0.94, -0.43, 0.15, -1, 1.26, -0.39, 0.36] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 3, 5], [0.0025, -0.0975, -0.2474, -0.4752, 0.46820003, -0.186, 0.77770007, -1.6505, 0.306, 1.9136, 0.6012, -0.5577, 2.0424, -1.1765, -0.96320003, 0.0043, -0.1663, -0.4969, -0.249, 0.0876, 0.096, -0.24520001, 0.5171, 0.45170003, 0.48920003, 0.45000002, -0.34709996, 1.7469001, -0.6307999, 0.7977] as [Float])), .tensor(try Tensor(.float32, [2, 3, 3], [1.01, -1.36, 0.77, 1.44, 0.5, -0.81, 0.11, 0.58, -1.71, 0.34, 0.15, -0.95, 0.01, -0.56, 0.86, 0.9, 1.33, 1.59] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "CausalConvWithState", opset: 27, ["activation": .string("silu")],
            [.tensor(try Tensor(.float32, [1, 2, 3], [-0.72, -0.3, -0.69, 1.7, 0.36, -0.17] as [Float])), .tensor(try Tensor(.float32, [2, 1, 2], [-0.95, -0.61, 0.57, 1.67] as [Float])), .tensor(try Tensor(.float32, [2], [-1.43, -0.92] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 2, 3], [-0.26826316, -0.20428655, -0.23641197, 1.6734195, 0.42721754, -0.26884717] as [Float])), .tensor(try Tensor(.float32, [1, 2, 1], [-0.69, -0.17] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "CausalConvWithState", opset: 27, ["activation": .string("swish")],
            [.tensor(try Tensor(.float32, [2, 2, 1], [-0.18, -0.63, -1.66, 0.02] as [Float])), .tensor(try Tensor(.float32, [2, 1, 4], [0.75, -1.58, 0.21, 0.96, 0.98, -0.42, 2.3, 0.56] as [Float])), nil, .tensor(try Tensor(.float32, [2, 2, 3], [-0.81, 0.98, -1.12, 0.9, -1.26, 0.79, -0.58, 1.13, 0.74, 0.45, 0.06, 1.09] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 2, 1], [-0.18331423, 2.7219021, -0.091908514, 2.7858381] as [Float])), .tensor(try Tensor(.float32, [2, 2, 3], [0.98, -1.12, -0.18, -1.26, 0.79, -0.63, 1.13, 0.74, -1.66, 0.06, 1.09, 0.02] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "CausalConvWithState", opset: 27, [:],
            [.tensor(try Tensor(.float32, [1, 2, 2], [-1.8, 0.43, 0.41, 0.56] as [Float])), .tensor(try Tensor(.float32, [2, 1, 4], [0.83, 3.7, 0.12, 0.8, 0.15, 1.57, -2.02, 1.7] as [Float])), .tensor(try Tensor(.float32, [2], [-0.68, -2.26] as [Float])), .tensor(try Tensor(.float32, [1, 2, 3], [-1.08, -0.17, 0.19, -0.05, 0.82, -0.04] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 2, 2], [-3.6226, 0.0099000335, -0.20230007, -2.076] as [Float])), .tensor(try Tensor(.float32, [1, 2, 3], [0.19, -1.8, 0.43, -0.04, 0.41, 0.56] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "CausalConvWithState", opset: 27, [:],
            [.tensor(try Tensor(.float32, [1, 2, 3], [-0.06, -2.14, 0.49, 1.01, -0.42, -1.88] as [Float])), .tensor(try Tensor(.float32, [2, 1, 1], [-1.34, 1.67] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 2, 3], [0.0804, 2.8676002, -0.65660006, 1.6867, -0.7014, -3.1395998] as [Float])), .tensor(try Tensor(.float32, [1, 2, 0], [] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "CausalConvWithState", opset: 27, [:],
            [.tensor(try Tensor(.float16, [1, 2, 3], ([-0.6098633, -0.66015625, -0.8198242, 0.6801758, -0.58984375, -0.8701172] as [Float]).map { Half($0) })), .tensor(try Tensor(.float16, [2, 1, 2], ([-1.5097656, -0.10998535, 1, -0.15002441] as [Float]).map { Half($0) }))],
            [.tensor(try Tensor(.float16, [1, 2, 3], ([0.06707764, 0.99316406, 1.0869141, -0.10205078, 0.7685547, -0.45922852] as [Float]).map { Half($0) })), .tensor(try Tensor(.float16, [1, 2, 1], ([-0.8198242, -0.8701172] as [Float]).map { Half($0) }))], tolerance: 0.01)
        let x = Value.tensor(try Tensor(.float32, [1, 2, 0], [] as [Float])), w = Value.tensor(try Tensor(.float32, [2, 1, 2], [1, 2, 3, 4] as [Float]))
        let past = Value.tensor(try Tensor(.float32, [1, 2, 1], [5, 6] as [Float]))
        // Without a step the state stays.
        try expectEvaluates("CausalConvWithState", opset: 27, [:], [x, w, nil, past], [x, past])
        expectRefuses("CausalConvWithState", opset: 27, [:], [w, w], outputs: 2, .shapeMismatch, "weight")
        expectRefuses("CausalConvWithState", opset: 27, [:], [x, w, past], outputs: 2, .shapeMismatch, "rank")
        expectRefuses("CausalConvWithState", opset: 27, [:], [x, w, nil, x], outputs: 2, .shapeMismatch, "past_state")
        expectRefuses("CausalConvWithState", opset: 27, ["activation": .string("relu")], [x, w], outputs: 2, .invalidModel, "activation")
    }
}
