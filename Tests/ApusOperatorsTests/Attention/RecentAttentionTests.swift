import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

/// LinearAttention and FlexAttention. Expected values come from ONNX's reference evaluator.
struct RecentAttentionTests {

    @Test
    func linear() throws {
        try expectEvaluates(
            "LinearAttention", opset: 27, ["update_rule": .string("linear"), "q_num_heads": .int(2), "kv_num_heads": .int(2)],
            [.tensor(try Tensor(.float32, [1, 3, 4], [0.88, 0.18, 0.15, 0.18, 0.03, 1.03, 0.49, -0.58, 0.13, -0.08, 0.48, 0.18] as [Float])), .tensor(try Tensor(.float32, [1, 3, 4], [0.205, -0.74, 0.19, 0.655, -0.675, 0.8, 0.15, -0.105, -0.9, 0.545, -0.485, -0.255] as [Float])), .tensor(try Tensor(.float32, [1, 3, 6], [0.55, -1.03, -0.99, -1.15, -0.11, 0.59, 0.4, 0.41, -0.34, 0.14, -0.69, 2, 0.19, -1.95, -1.07, 1.6, -1.37, -0.44] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 3, 6], [0.01835649, -0.0343767, -0.033041686, -0.11904849, -0.011387248, 0.061077055, -0.0666996, 0.7836645, 0.3360274, 0.24652284, -0.043266453, 0.07041938, -0.031110222, 0.114923954, 0.09789575, -0.4800909, 0.22781497, 0.24904089] as [Float])), .tensor(try Tensor(.float32, [1, 2, 2, 3], [-0.32825, 1.2671, 0.98955, 0.01655002, 0.027449846, -0.12255001, -0.9735, 0.54005, 0.6255, -1.1759499, 0.34975, 0.28864998] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "LinearAttention", opset: 27, ["update_rule": .string("gated"), "q_num_heads": .int(2), "kv_num_heads": .int(1)],
            [.tensor(try Tensor(.float32, [2, 2, 4], [0.4, -1.1, 1.07, 1.68, -0.82, 1.13, -0.89, -1, 0.25, 0.24, -0.6, 0.84, -1.47, -0.86, -1.08, 0.76] as [Float])), .tensor(try Tensor(.float32, [2, 2, 2], [0.4, 0.335, -0.65, 0.065, 0.23, -0.81, -0.41, 0.325] as [Float])), .tensor(try Tensor(.float32, [2, 2, 2], [0.7, 0.26, 0.54, 0.32, 0.15, -0.11, -0.87, -0.25] as [Float])), .tensor(try Tensor(.float32, [2, 1, 2, 2], [-0.4, 2.32, 0.26, -0.01, -0.23, -0.12, -0.27, 0.54] as [Float])), .tensor(try Tensor(.float32, [2, 2, 2], [-0.03, -0.81, -0.7, -0.35, -0.88, -1.15, -0.17, -0.25] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 2, 4], [-0.30296043, 0.60192955, 0.33412442, 1.8803163, 0.45987907, -0.49444675, 0.05539809, -0.6610975, -0.04589341, 0.030866371, -0.09710923, 0.18633312, -0.04739019, -0.11447371, -0.4717481, 0.035281017] as [Float])), .tensor(try Tensor(.float32, [2, 1, 2, 2], [-0.4047197, 0.9616737, 0.2818558, 0.07904348, 0.30532077, 0.039162755, -0.44395545, 0.12130351] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "LinearAttention", opset: 27, ["update_rule": .string("gated"), "q_num_heads": .int(2), "kv_num_heads": .int(2)],
            [.tensor(try Tensor(.float32, [1, 2, 4], [-0.33, -0.49, -1.85, 1.15, -0.93, -1.24, 0.66, -1.83] as [Float])), .tensor(try Tensor(.float32, [1, 2, 4], [0.48, 0.215, 0.3, -0.08, -0.61, -0.945, 0.73, -0.235] as [Float])), .tensor(try Tensor(.float32, [1, 2, 2], [-0.52, 1.58, -0.63, -0.24] as [Float])), nil, .tensor(try Tensor(.float32, [1, 2, 2], [-0.24, -0.14, -1.04, -0.56] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 2, 2], [0.096979685, -0.72284704, -0.6820654, 0.06504008] as [Float])), .tensor(try Tensor(.float32, [1, 2, 2, 1], [0.2960777, 0.55583376, 0.095553115, -0.015800823] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "LinearAttention", opset: 27, ["update_rule": .string("delta"), "q_num_heads": .int(1), "kv_num_heads": .int(1)],
            [.tensor(try Tensor(.float32, [1, 3, 3], [1.29, 0.76, -2.98, -1.96, 0.33, -0.11, -0.37, 1.04, -1.78] as [Float])), .tensor(try Tensor(.float32, [1, 3, 3], [0.6, 0.065, 0.275, 0.125, 0.425, -0.125, -0.27, 0.39, 0.09] as [Float])), .tensor(try Tensor(.float32, [1, 3, 2], [-1.25, 1.35, 1.21, 1.44, 0.08, 0.35] as [Float])), .tensor(try Tensor(.float32, [1, 1, 3, 2], [-0.38, -0.97, 0.07, 0.18, -0.66, 1.83] as [Float])), nil, .tensor(try Tensor(.float32, [1, 3, 1], [0.81, 0.41, 0.335] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 3, 2], [0.8816892, -3.7893944, 0.92780894, 0.19535579, 1.2219611, -1.7594048] as [Float])), .tensor(try Tensor(.float32, [1, 1, 3, 2], [-0.71819985, -0.18852878, 0.21673256, 0.5265595, -0.9131252, 2.0588517] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "LinearAttention", opset: 27, ["update_rule": .string("gated_delta"), "q_num_heads": .int(4), "kv_num_heads": .int(2), "scale": .float(0.5)],
            [.tensor(try Tensor(.float32, [1, 2, 8], [1.29, -0.26, -0.32, -0.89, -0.76, -1.3, 1.02, 0.61, 0.99, -0.66, 2.51, -0.98, -2.05, -0.29, 0.14, 0.76] as [Float])), .tensor(try Tensor(.float32, [1, 2, 4], [-0.51, 0.295, 0.855, -0.425, -0.37, -0.85, 0.12, 0.43] as [Float])), .tensor(try Tensor(.float32, [1, 2, 4], [0.77, 0.83, 1.42, 0.13, 0.95, -0.95, -0.79, 0.24] as [Float])), .tensor(try Tensor(.float32, [1, 2, 2, 2], [-0.82, 0.57, 1.38, 0.4, -0.74, -0.75, 1.37, -0.8] as [Float])), .tensor(try Tensor(.float32, [1, 2, 2], [-0.09, -0.26, -0.05, -1.1] as [Float])), .tensor(try Tensor(.float32, [1, 2, 2], [0.27, 0.705, 0.725, 0.11] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 2, 8], [-0.6488976, 0.19051766, -0.44154835, -0.25927934, -0.55063546, 0.60827094, 0.54032534, -0.40480077, -0.62976694, 0.009650648, -1.5448785, 0.26823792, -0.28910717, 0.15050927, 0.047583915, -0.093372226] as [Float])), .tensor(try Tensor(.float32, [1, 2, 2, 2], [-1.1726345, 0.4882849, 0.14943302, 0.70318294, 0.2714144, -0.11507724, 0.075223446, -0.22451796] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "LinearAttention", opset: 27, ["update_rule": .string("gated_delta"), "q_num_heads": .int(2), "kv_num_heads": .int(1)],
            [.tensor(try Tensor(.float16, [1, 2, 4], ([0.72998047, -0.020004272, 0.77978516, 1.2597656, 1.3701172, -0.27001953, -0.35009766, 0.38989258] as [Float]).map { Half($0) })), .tensor(try Tensor(.float16, [1, 2, 2], ([0.10498047, 0.2849121, -0.35498047, -1.1601562] as [Float]).map { Half($0) })), .tensor(try Tensor(.float16, [1, 2, 2], ([0.44995117, 0.77978516, 0.6401367, 1.6601562] as [Float]).map { Half($0) })), nil, .tensor(try Tensor(.float16, [1, 2, 2], ([-0.85009766, -0.38989258, -0.9902344, -0.08001709] as [Float]).map { Half($0) })), .tensor(try Tensor(.float16, [1, 2, 1], ([0.6298828, 0.11999512] as [Float]).map { Half($0) }))],
            [.tensor(try Tensor(.float16, [1, 2, 4], ([0.014213562, 0.024642944, 0.08831787, 0.15307617, -0.014251709, -0.03277588, -0.002521515, -0.019699097] as [Float]).map { Half($0) })), .tensor(try Tensor(.float16, [1, 1, 2, 2], ([-0.020065308, -0.05822754, -0.027160645, -0.12371826] as [Float]).map { Half($0) }))], tolerance: 0.01)
        let q = Value.tensor(try Tensor(.float32, [1, 0, 4], [] as [Float])), state = Value.tensor(try Tensor(.float32, [1, 2, 2, 2], [1, 2, 3, 4, 5, 6, 7, 8] as [Float]))
        let heads: [String: AttributeValue] = ["q_num_heads": .int(2), "kv_num_heads": .int(2), "update_rule": .string("linear")]
        // Without a step the state stays.
        try expectEvaluates("LinearAttention", opset: 27, heads, [q, q, q, state], [q, state])
        expectRefuses("LinearAttention", opset: 27, heads.merging(["kv_num_heads": .int(3)]) { $1 }, [q, q, q], outputs: 2, .invalidModel, "multiple")
        expectRefuses("LinearAttention", opset: 27, heads.merging(["update_rule": .string("gated")]) { $1 }, [q, q, q], outputs: 2, .invalidModel, "decay")
        expectRefuses("LinearAttention", opset: 27, heads, [q, q, q, nil, nil, q], outputs: 2, .invalidModel, "beta")
        expectRefuses("LinearAttention", opset: 27, heads, [q, q, q, q], outputs: 2, .shapeMismatch, "rank")
        expectRefuses(
            "LinearAttention", opset: 27, heads.merging(["q_num_heads": .int(6)]) { $1 }, [q, q, q], outputs: 2, .shapeMismatch, "6 heads")
    }

    @Test
    func flex() throws {
        try expectEvaluates(
            "FlexAttention", domain: "ai.onnx.preview", opset: 1, [:],
            [.tensor(try Tensor(.float32, [1, 2, 3, 4], [0.45, 0.23, 0.05, -1.5, 0.06, -2.27, 0.5, 0.99, 2.05, 0.37, -0.72, -1.59, 1.95, -1.43, 0.9, -2.31, -0.05, 0.68, 0.33, -0.04, -0.82, -0.91, 1.01, 0.44] as [Float])), .tensor(try Tensor(.float32, [1, 2, 5, 4], [-0.16, 0.21, -0.93, 1.02, 1.26, -0.78, 0.1, 1.05, -0.64, 2.03, 1.51, -0.28, 0.98, 1.66, -1.24, 0.62, -0.14, -0.22, 0.71, -0.48, -1.4, -1.42, -0.02, 0.63, -0.02, -0.15, -0.03, 1.29, 0.53, -0.75, -0.29, 1.2, -0.58, -0.39, -0.03, -1.06, 0.9, -2.19, 1.45, -0.44] as [Float])), .tensor(try Tensor(.float32, [1, 2, 5, 3], [-1.26, 0.28, -1.71, 0.54, 0.77, -0.58, -0.39, 0.95, -0.67, 0.02, 0.35, 1.56, -0.5, 0.03, 1.13, -2.56, -0.27, -1.91, -1.84, 1.96, 0.21, 1.48, -0.24, 0.54, -0.43, -0.55, -0.07, 0.13, 1.53, -0.2] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 2, 3, 3], [-0.3157348, 0.47775242, 0.20483837, 0.058202654, 0.5601245, -0.40236336, -0.08596241, 0.42857412, 0.6556157, 0.08187862, 1.3605772, -0.19220327, -0.6818152, 0.49992839, -0.21420807, -0.94394255, 0.5492708, -0.6364651] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "FlexAttention", domain: "ai.onnx.preview", opset: 1, ["scale": .float(0.25)],
            [.tensor(try Tensor(.float32, [2, 4, 2, 2], [0.38, -0.26, 0.14, -1.31, 1.09, -0.52, 0.04, -0.21, 0.98, 0.52, 0.01, 0.18, 0.34, 0.76, 0.51, 1.29, 1.62, 0.61, -1.32, 1.75, 2.15, -0.36, -0.41, -2.06, 0.78, -1.01, 1.83, -2.48, 0.07, 0.67, -0.4, -0.8] as [Float])), .tensor(try Tensor(.float32, [2, 2, 3, 2], [0.25, -0.53, -0.34, -0.04, -0.56, -0.23, 0.79, -0.39, 0.17, -0.76, 0.91, -1.29, 0.96, -3.03, -0.91, -1.59, 1.01, 0.27, -1.31, -0.57, 1.34, -0.07, 0.55, -1.52] as [Float])), .tensor(try Tensor(.float32, [2, 2, 3, 2], [-1.52, 0.56, 2.29, -0.56, 0.57, -0.97, 1.23, -0.48, -0.46, -1.92, -0.44, 0.16, 1.35, -1.2, 0.95, -0.37, -0.32, -0.98, -1.74, -1.25, 1.59, -1.23, -0.48, 1.06] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 4, 2, 2], [0.38772288, -0.29522604, 0.3288029, -0.28057528, 0.29148817, -0.24726863, 0.42619678, -0.31565738, 0.16464764, -0.6967025, 0.12085844, -0.7516159, 0.16397667, -0.746256, 0.20101117, -0.749313, 0.41709277, -0.9383503, 0.38424146, -0.7599419, 0.67689365, -0.9914537, 1.046122, -0.9049697, -0.06209684, -0.26278543, 0.020067243, 0.024877705, -0.11654274, -0.56851476, -0.41440552, -0.38529825] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "FlexAttention", domain: "ai.onnx.preview", opset: 1, [:],
            [.tensor(try Tensor(.float64, [1, 1, 2, 2], [-2.1600000858306885, 0.4000000059604645, -0.5600000023841858, 0.12999999523162842] as [Double])), .tensor(try Tensor(.float64, [1, 1, 2, 2], [0.8100000023841858, -0.20999999344348907, -0.25, 0.6700000166893005] as [Double])), .tensor(try Tensor(.float64, [1, 1, 2, 2], [0.5799999833106995, -0.7699999809265137, -0.23999999463558197, -1.399999976158142] as [Double]))],
            [.tensor(try Tensor(.float64, [1, 1, 2, 2], [-0.1302957550625145, -1.3157150099792168, 0.06946164044876535, -1.1622428616813867] as [Double]))], tolerance: 1e-05)
        try expectEvaluates(
            "FlexAttention", domain: "ai.onnx.preview", opset: 1, [:],
            [.tensor(try Tensor(.float16, [1, 1, 2, 4], ([1.2402344, -1.2597656, 0.13000488, 1.6904297, 0.75, -0.3400879, -0.77978516, -0.6699219] as [Float]).map { Half($0) })), .tensor(try Tensor(.float16, [1, 1, 2, 4], ([0.8701172, 0.30004883, -0.049987793, 2.5703125, -0.8701172, -0.52978516, -0.4099121, 0.18005371] as [Float]).map { Half($0) })), .tensor(try Tensor(.float16, [1, 1, 2, 4], ([0.2800293, -0.3100586, 0.7001953, 0.5097656, -0.3400879, -2.4902344, 0.75, -0.9902344] as [Float]).map { Half($0) }))],
            [.tensor(try Tensor(.float16, [1, 1, 2, 4], ([0.23718262, -0.46069336, 0.7036133, 0.40600586, -0.095581055, -1.6308594, 0.73046875, -0.39868164] as [Float]).map { Half($0) }))], tolerance: 0.01)
        let q = Value.tensor(try Tensor(.float32, [1, 3, 1, 1], [1, 2, 3] as [Float])), k = Value.tensor(try Tensor(.float32, [1, 2, 1, 1], [1, 2] as [Float]))
        let evaluator = Evaluator()
        expectError(.shapeMismatch) { _ = try evaluator.evaluate("FlexAttention", domain: "ai.onnx.preview", opset: 1, [:], [q, k, k]) }
        expectError(.shapeMismatch) { _ = try evaluator.evaluate("FlexAttention", domain: "ai.onnx.preview", opset: 1, [:], [q, q, k]) }
        expectError(.invalidModel) {
            _ = try evaluator.evaluate("FlexAttention", domain: "ai.onnx.preview", opset: 1, ["softmax_precision": .int(7)], [q, q, q])
        }
    }
}
