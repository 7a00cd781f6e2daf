import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

/// NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss. Expected values come from ONNX's reference evaluator.
struct LossTests {

    @Test
    func logLikelihood() throws {
        try expectEvaluates(
            "NegativeLogLikelihoodLoss", opset: 13, ["reduction": .string("none")],
            [.tensor(try Tensor(.float32, [3, 4], [1.62, -0.61, -0.53, -1.07, 0.87, -2.3, 1.74, -0.76, 0.32, -0.25, 1.46, -2.06] as [Float])), .tensor(try Tensor(.int64, [3], [1, 3, 0] as [Int64]))],
            [.tensor(try Tensor(.float32, [3], [0.61, 0.76, -0.32] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "NegativeLogLikelihoodLoss", opset: 12, ["reduction": .string("none"), "ignore_index": .int(3)],
            [.tensor(try Tensor(.float32, [3, 4], [1.62, -0.61, -0.53, -1.07, 0.87, -2.3, 1.74, -0.76, 0.32, -0.25, 1.46, -2.06] as [Float])), .tensor(try Tensor(.int32, [3], [1, 3, 0] as [Int32])), .tensor(try Tensor(.float32, [4], [0.5, 0.25, 1, 2] as [Float]))],
            [.tensor(try Tensor(.float32, [3], [0.1525, 0, -0.16] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "NegativeLogLikelihoodLoss", opset: 13, ["reduction": .string("sum")],
            [.tensor(try Tensor(.float32, [3, 4], [1.62, -0.61, -0.53, -1.07, 0.87, -2.3, 1.74, -0.76, 0.32, -0.25, 1.46, -2.06] as [Float])), .tensor(try Tensor(.int64, [3], [1, 3, 0] as [Int64]))],
            [.tensor(try Tensor(.float32, [], [1.05] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "NegativeLogLikelihoodLoss", opset: 12, ["reduction": .string("sum"), "ignore_index": .int(3)],
            [.tensor(try Tensor(.float32, [3, 4], [1.62, -0.61, -0.53, -1.07, 0.87, -2.3, 1.74, -0.76, 0.32, -0.25, 1.46, -2.06] as [Float])), .tensor(try Tensor(.int32, [3], [1, 3, 0] as [Int32])), .tensor(try Tensor(.float32, [4], [0.5, 0.25, 1, 2] as [Float]))],
            [.tensor(try Tensor(.float32, [], [-0.007499993] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "NegativeLogLikelihoodLoss", opset: 13, ["reduction": .string("mean")],
            [.tensor(try Tensor(.float32, [3, 4], [1.62, -0.61, -0.53, -1.07, 0.87, -2.3, 1.74, -0.76, 0.32, -0.25, 1.46, -2.06] as [Float])), .tensor(try Tensor(.int64, [3], [1, 3, 0] as [Int64]))],
            [.tensor(try Tensor(.float32, [], [0.35] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "NegativeLogLikelihoodLoss", opset: 12, ["reduction": .string("mean"), "ignore_index": .int(3)],
            [.tensor(try Tensor(.float32, [3, 4], [1.62, -0.61, -0.53, -1.07, 0.87, -2.3, 1.74, -0.76, 0.32, -0.25, 1.46, -2.06] as [Float])), .tensor(try Tensor(.int32, [3], [1, 3, 0] as [Int32])), .tensor(try Tensor(.float32, [4], [0.5, 0.25, 1, 2] as [Float]))],
            [.tensor(try Tensor(.float32, [], [-0.00999999] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "NegativeLogLikelihoodLoss", opset: 22, ["ignore_index": .int(7)],
            [.tensor(try Tensor(.float32, [2, 3, 2, 2], [-0.32, -0.38, 1.13, -1.1, -0.17, -0.88, 0.04, 0.58, -1.1, 1.14, 0.9, 0.5, 0.9, -0.68, -0.12, -0.94, -0.27, 0.53, -0.69, -0.4, -0.69, -0.85, -0.67, -0.01] as [Float])), .tensor(try Tensor(.int64, [2, 2, 2], [0, 1, 2, 7, 1, 1, 7, 0] as [Int64]))],
            [.tensor(try Tensor(.float32, [], [0.16333336] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "NegativeLogLikelihoodLoss", opset: 22, ["ignore_index": .int(-1), "reduction": .string("none")],
            [.tensor(try Tensor(.float64, [2, 3, 2, 2], [-0.3199999928474426, -0.3799999952316284, 1.1299999952316284, -1.100000023841858, -0.17000000178813934, -0.8799999952316284, 0.03999999910593033, 0.5799999833106995, -1.100000023841858, 1.1399999856948853, 0.8999999761581421, 0.5, 0.8999999761581421, -0.6800000071525574, -0.11999999731779099, -0.9399999976158142, -0.27000001072883606, 0.5299999713897705, -0.6899999976158142, -0.4000000059604645, -0.6899999976158142, -0.8500000238418579, -0.6700000166893005, -0.009999999776482582] as [Double])), .tensor(try Tensor(.int64, [2, 2, 2], [0, 1, 2, -1, 1, 1, -1, 0] as [Int64])), .tensor(try Tensor(.float64, [3], [0.5, 0.25, 1.0] as [Double]))],
            [.tensor(try Tensor(.float64, [2, 2, 2], [0.1599999964237213, 0.2199999988079071, -0.8999999761581421, 0.0, 0.06750000268220901, -0.13249999284744263, 0.0, 0.4699999988079071] as [Double]))], tolerance: 1e-05)
        try expectEvaluates(
            "NegativeLogLikelihoodLoss", opset: 22, ["reduction": .string("sum")],
            [.tensor(try Tensor(.float16, [3, 4], ([1.6201172, -0.6098633, -0.52978516, -1.0703125, 0.8701172, -2.3007812, 1.7402344, -0.7597656, 0.32006836, -0.25, 1.4599609, -2.0605469] as [Float]).map { Half($0) })), .tensor(try Tensor(.int64, [3], [1, 3, 0] as [Int64])), .tensor(try Tensor(.float16, [4], ([0.5, 0.25, 1, 2] as [Float]).map { Half($0) }))],
            [.tensor(try Tensor(.float16, [], ([1.5117188] as [Float]).map { Half($0) }))], tolerance: 0.01)
    }

    @Test
    func crossEntropy() throws {
        try expectEvaluates(
            "SoftmaxCrossEntropyLoss", opset: 13, ["reduction": .string("none")],
            [.tensor(try Tensor(.float32, [3, 4], [1.62, -0.61, -0.53, -1.07, 0.87, -2.3, 1.74, -0.76, 0.32, -0.25, 1.46, -2.06] as [Float])), .tensor(try Tensor(.int64, [3], [1, 3, 0] as [Int64]))],
            [.tensor(try Tensor(.float32, [3], [2.486109, 2.9178112, 1.5654535] as [Float])), .tensor(try Tensor(.float32, [3, 4], [-0.25610906, -2.486109, -2.406109, -2.946109, -1.2878112, -4.457811, -0.41781121, -2.9178112, -1.5654535, -2.1354535, -0.4254535, -3.9454534] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "SoftmaxCrossEntropyLoss", opset: 12, ["reduction": .string("none"), "ignore_index": .int(3)],
            [.tensor(try Tensor(.float32, [3, 4], [1.62, -0.61, -0.53, -1.07, 0.87, -2.3, 1.74, -0.76, 0.32, -0.25, 1.46, -2.06] as [Float])), .tensor(try Tensor(.int32, [3], [1, 3, 0] as [Int32])), .tensor(try Tensor(.float32, [4], [0.5, 0.25, 1, 2] as [Float]))],
            [.tensor(try Tensor(.float32, [3], [0.62152725, 0, 0.78272676] as [Float])), .tensor(try Tensor(.float32, [3, 4], [-0.25610906, -2.486109, -2.406109, -2.946109, -1.2878112, -4.457811, -0.41781121, -2.9178112, -1.5654535, -2.1354535, -0.4254535, -3.9454534] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "SoftmaxCrossEntropyLoss", opset: 13, ["reduction": .string("sum")],
            [.tensor(try Tensor(.float32, [3, 4], [1.62, -0.61, -0.53, -1.07, 0.87, -2.3, 1.74, -0.76, 0.32, -0.25, 1.46, -2.06] as [Float])), .tensor(try Tensor(.int64, [3], [1, 3, 0] as [Int64]))],
            [.tensor(try Tensor(.float32, [], [6.9693737] as [Float])), .tensor(try Tensor(.float32, [3, 4], [-0.25610906, -2.486109, -2.406109, -2.946109, -1.2878112, -4.457811, -0.41781121, -2.9178112, -1.5654535, -2.1354535, -0.4254535, -3.9454534] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "SoftmaxCrossEntropyLoss", opset: 12, ["reduction": .string("sum"), "ignore_index": .int(3)],
            [.tensor(try Tensor(.float32, [3, 4], [1.62, -0.61, -0.53, -1.07, 0.87, -2.3, 1.74, -0.76, 0.32, -0.25, 1.46, -2.06] as [Float])), .tensor(try Tensor(.int32, [3], [1, 3, 0] as [Int32])), .tensor(try Tensor(.float32, [4], [0.5, 0.25, 1, 2] as [Float]))],
            [.tensor(try Tensor(.float32, [], [1.404254] as [Float])), .tensor(try Tensor(.float32, [3, 4], [-0.25610906, -2.486109, -2.406109, -2.946109, -1.2878112, -4.457811, -0.41781121, -2.9178112, -1.5654535, -2.1354535, -0.4254535, -3.9454534] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "SoftmaxCrossEntropyLoss", opset: 13, ["reduction": .string("mean")],
            [.tensor(try Tensor(.float32, [3, 4], [1.62, -0.61, -0.53, -1.07, 0.87, -2.3, 1.74, -0.76, 0.32, -0.25, 1.46, -2.06] as [Float])), .tensor(try Tensor(.int64, [3], [1, 3, 0] as [Int64]))],
            [.tensor(try Tensor(.float32, [], [2.3231246] as [Float])), .tensor(try Tensor(.float32, [3, 4], [-0.25610906, -2.486109, -2.406109, -2.946109, -1.2878112, -4.457811, -0.41781121, -2.9178112, -1.5654535, -2.1354535, -0.4254535, -3.9454534] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "SoftmaxCrossEntropyLoss", opset: 12, ["reduction": .string("mean"), "ignore_index": .int(3)],
            [.tensor(try Tensor(.float32, [3, 4], [1.62, -0.61, -0.53, -1.07, 0.87, -2.3, 1.74, -0.76, 0.32, -0.25, 1.46, -2.06] as [Float])), .tensor(try Tensor(.int32, [3], [1, 3, 0] as [Int32])), .tensor(try Tensor(.float32, [4], [0.5, 0.25, 1, 2] as [Float]))],
            [.tensor(try Tensor(.float32, [], [1.8723387] as [Float])), .tensor(try Tensor(.float32, [3, 4], [-0.25610906, -2.486109, -2.406109, -2.946109, -1.2878112, -4.457811, -0.41781121, -2.9178112, -1.5654535, -2.1354535, -0.4254535, -3.9454534] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "SoftmaxCrossEntropyLoss", opset: 13, ["ignore_index": .int(7)],
            [.tensor(try Tensor(.float32, [2, 3, 2, 2], [-0.32, -0.38, 1.13, -1.1, -0.17, -0.88, 0.04, 0.58, -1.1, 1.14, 0.9, 0.5, 0.9, -0.68, -0.12, -0.94, -0.27, 0.53, -0.69, -0.4, -0.69, -0.85, -0.67, -0.01] as [Float])), .tensor(try Tensor(.int64, [2, 2, 2], [0, 1, 2, 7, 1, 1, 7, 0] as [Int64]))],
            [.tensor(try Tensor(.float32, [], [1.3253736] as [Float])), .tensor(try Tensor(.float32, [2, 3, 2, 2], [-0.9632661, -1.8211168, -0.756474, -2.4264464, -0.813266, -2.321117, -1.846474, -0.74644643, -1.7432661, -0.30111694, -0.98647404, -0.8264464, -0.41494843, -1.6481104, -0.7619619, -1.6583263, -1.5849483, -0.4381103, -1.3319619, -1.1183263, -2.0049484, -1.8181103, -1.311962, -0.7283263] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "SoftmaxCrossEntropyLoss", opset: 13, [:],
            [.tensor(try Tensor(.float64, [2, 3, 2, 2], [-0.3199999928474426, -0.3799999952316284, 1.1299999952316284, -1.100000023841858, -0.17000000178813934, -0.8799999952316284, 0.03999999910593033, 0.5799999833106995, -1.100000023841858, 1.1399999856948853, 0.8999999761581421, 0.5, 0.8999999761581421, -0.6800000071525574, -0.11999999731779099, -0.9399999976158142, -0.27000001072883606, 0.5299999713897705, -0.6899999976158142, -0.4000000059604645, -0.6899999976158142, -0.8500000238418579, -0.6700000166893005, -0.009999999776482582] as [Double])), .tensor(try Tensor(.int64, [2, 2, 2], [0, 1, 2, 2, 1, 1, 2, 0] as [Int64])), .tensor(try Tensor(.float64, [3], [0.5, 0.25, 1.0] as [Double]))],
            [.tensor(try Tensor(.float64, [], [1.1624678640775183] as [Double])), .tensor(try Tensor(.float64, [2, 3, 2, 2], [-0.9632660041948194, -1.8211169191035397, -0.7564740690724556, -2.426446378780572, -0.8132660131355163, -2.3211169191035395, -1.8464740651981537, -0.7464463716280147, -1.7432660351892348, -0.3011169381770259, -0.9864740881459418, -0.8264463549387141, -0.4149483744037996, -1.6481102797169642, -0.7619618137731106, -1.6583263612985768, -1.584948361290778, -0.43811030117463645, -1.3319618140711338, -1.118326369643227, -2.004948348177756, -1.8181102964062648, -1.31196183314462, -0.7283263634592452] as [Double]))], tolerance: 1e-05)
        try expectEvaluates(
            "SoftmaxCrossEntropyLoss", opset: 13, [:],
            [.tensor(try Tensor(.float32, [3, 4], [1000, -1000, 0, 999, 1000, -1000, 0, 999, 1000, -1000, 0, 999] as [Float])), .tensor(try Tensor(.int64, [3], [1, 3, 0] as [Int64]))],
            [.tensor(try Tensor(.float32, [], [667.31323] as [Float])), .tensor(try Tensor(.float32, [3, 4], [-0.3132617, -2000.3132, -1000.31323, -1.3132616, -0.3132617, -2000.3132, -1000.31323, -1.3132616, -0.3132617, -2000.3132, -1000.31323, -1.3132616] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "SoftmaxCrossEntropyLoss", opset: 13, ["reduction": .string("none")],
            [.tensor(try Tensor(.bfloat16, [3, 4], ([1.6171875, -0.609375, -0.53125, -1.0703125, 0.87109375, -2.296875, 1.7421875, -0.76171875, 0.3203125, -0.25, 1.4609375, -2.0625] as [Float]).map { BFloat16($0) })), .tensor(try Tensor(.int64, [3], [1, 3, 0] as [Int64]))],
            [.tensor(try Tensor(.bfloat16, [3], ([2.484375, 2.921875, 1.5625] as [Float]).map { BFloat16($0) }))], tolerance: 0.02)
    }

    @Test
    func edges() throws {
        let labels = Value.tensor(try Tensor(.int64, [1], [2] as [Int64]))
        let scores = Value.tensor(try Tensor(.float32, [1, 2], [1, 2] as [Float]))
        // All samples ignored: the mean of nothing is not a number, the sum is 0.
        try expectEvaluates(
            "NegativeLogLikelihoodLoss", opset: 13, ["ignore_index": .int(2)], [scores, labels],
            [.tensor(try Tensor.float32(.nan))], tolerance: 1e-6)
        try expectEvaluates(
            "SoftmaxCrossEntropyLoss", opset: 13, ["ignore_index": .int(2), "reduction": .string("sum")], [scores, labels],
            [.tensor(try Tensor.float32(0))])
        // No samples.
        try expectEvaluates(
            "SoftmaxCrossEntropyLoss", opset: 13, ["reduction": .string("none")],
            [.tensor(try Tensor(.float32, [0, 3], [] as [Float])), .tensor(try Tensor(.int32, [0], [] as [Int32]))],
            [.tensor(try Tensor(.float32, [0], [] as [Float])), .tensor(try Tensor(.float32, [0, 3], [] as [Float]))])
        expectRefuses("NegativeLogLikelihoodLoss", opset: 13, [:], [scores, labels], .invalidValue, "label 2 of sample 0")
        expectRefuses("SoftmaxCrossEntropyLoss", opset: 13, ["reduction": .string("max")], [scores, labels], .invalidModel, "reduction")
        expectRefuses(
            "SoftmaxCrossEntropyLoss", opset: 13, [:], [scores, .tensor(try Tensor(.int64, [2], [0, 1] as [Int64]))], .shapeMismatch, "labels")
        expectRefuses(
            "SoftmaxCrossEntropyLoss", opset: 13, [:], [scores, labels, .tensor(try Tensor(.float32, [3], [0, 1, 2] as [Float]))],
            .shapeMismatch, "3 weights for 2 classes")
    }
}
