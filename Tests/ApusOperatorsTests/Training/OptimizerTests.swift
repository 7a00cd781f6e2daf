import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

/// Adagrad, Adam and Momentum. Expected values come from ONNX's reference evaluator.
struct OptimizerTests {

    @Test
    func steps() throws {
        try expectEvaluates(
            "Adagrad", domain: "ai.onnx.preview.training", opset: 1, ["norm_coefficient": .float(0.001), "epsilon": .float(1e-05), "decay_factor": .float(0.1)],
            [.tensor(try Tensor(.float32, [], [0.1] as [Float])), .tensor(try Tensor(.int64, [], [0] as [Int64])), .tensor(try Tensor(.float32, [3], [1.9, -1.03, -1.21] as [Float])), .tensor(try Tensor(.float32, [3], [-0.24, -1.91, 0.99] as [Float])), .tensor(try Tensor(.float32, [3], [0.1, 0.41, 1.06] as [Float]))],
            [.tensor(try Tensor(.float32, [3], [1.9601486, -0.9351814, -1.2792677] as [Float])), .tensor(try Tensor(.float32, [3], [0.15669161, 4.0620356, 2.0377057] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "Adagrad", domain: "ai.onnx.preview.training", opset: 1, ["decay_factor": .float(0.2)],
            [.tensor(try Tensor(.float32, [], [0.1] as [Float])), .tensor(try Tensor(.int64, [], [5] as [Int64])), .tensor(try Tensor(.float32, [2], [-0.59, 0.78] as [Float])), .tensor(try Tensor(.float32, [1, 3], [0.83, 2.76, 1.03] as [Float])), .tensor(try Tensor(.float32, [2], [-1.96, 0.02] as [Float])), .tensor(try Tensor(.float32, [1, 3], [-0.43, 1.03, -0.15] as [Float])), .tensor(try Tensor(.float32, [2], [0.43, 0.38] as [Float])), .tensor(try Tensor(.float32, [1, 3], [0.55, 1.4, 0.67] as [Float]))],
            [.tensor(try Tensor(.float32, [2], [-0.54258335, 0.7783786] as [Float])), .tensor(try Tensor(.float32, [1, 3], [0.85507977, 2.7271707, 1.0390126] as [Float])), .tensor(try Tensor(.float32, [2], [4.2716002, 0.3804] as [Float])), .tensor(try Tensor(.float32, [1, 3], [0.7349, 2.4608998, 0.6925] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "Adam", domain: "ai.onnx.preview.training", opset: 1, ["norm_coefficient": .float(0.001), "alpha": .float(0.95), "beta": .float(0.1), "epsilon": .float(1e-07)],
            [.tensor(try Tensor(.float32, [], [0.1] as [Float])), .tensor(try Tensor(.int64, [], [0] as [Int64])), .tensor(try Tensor(.float32, [3], [-2.1, -1.09, 1.51] as [Float])), .tensor(try Tensor(.float32, [3], [0.17, -0.35, -1.02] as [Float])), .tensor(try Tensor(.float32, [3], [1, 0.23, -0.17] as [Float])), .tensor(try Tensor(.float32, [3], [0.59, 0.21, 0.37] as [Float]))],
            [.tensor(try Tensor(.float32, [3], [-2.4299488, -1.1453215, 1.5315619] as [Float])), .tensor(try Tensor(.float32, [3], [0.958395, 0.2009455, -0.21242452] as [Float])), .tensor(try Tensor(.float32, [3], [0.084371366, 0.13193776, 0.9705896] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "Adam", domain: "ai.onnx.preview.training", opset: 1, ["norm_coefficient_post": .float(0.01)],
            [.tensor(try Tensor(.float64, [], [0.1] as [Double])), .tensor(try Tensor(.int64, [], [5] as [Int64])), .tensor(try Tensor(.float64, [2], [0.5199999809265137, 1.2200000286102295] as [Double])), .tensor(try Tensor(.float64, [1, 3], [-2.009999990463257, -1.5, -0.15000000596046448] as [Double])), .tensor(try Tensor(.float64, [2], [0.029999999329447746, -1.600000023841858] as [Double])), .tensor(try Tensor(.float64, [1, 3], [-0.6700000166893005, -0.46000000834465027, -0.5] as [Double])), .tensor(try Tensor(.float64, [2], [-0.5199999809265137, -0.14000000059604645] as [Double])), .tensor(try Tensor(.float64, [1, 3], [0.8299999833106995, 0.6899999976158142, 0.5400000214576721] as [Double])), .tensor(try Tensor(.float64, [2], [0.2199999988079071, 0.7699999809265137] as [Double])), .tensor(try Tensor(.float64, [1, 3], [0.5400000214576721, 0.6399999856948853, 0.05999999865889549] as [Double]))],
            [.tensor(try Tensor(.float64, [2], [0.5317385, 1.2133595] as [Double])), .tensor(try Tensor(.float64, [1, 3], [-2.005704, -1.4972785, -0.17884877] as [Double])), .tensor(try Tensor(.float64, [2], [-0.46499997, -0.28600004] as [Double])), .tensor(try Tensor(.float64, [1, 3], [0.67999995, 0.575, 0.436] as [Double])), .tensor(try Tensor(.float64, [2], [0.2197809, 0.77178997] as [Double])), .tensor(try Tensor(.float64, [1, 3], [0.53990895, 0.6395716, 0.060189996] as [Double]))], tolerance: 1e-05)
        try expectEvaluates(
            "Momentum", domain: "ai.onnx.preview.training", opset: 1, ["norm_coefficient": .float(0.001), "alpha": .float(0.95), "beta": .float(0.1), "mode": .string("standard")],
            [.tensor(try Tensor(.float32, [], [0.1] as [Float])), .tensor(try Tensor(.int64, [], [0] as [Int64])), .tensor(try Tensor(.float32, [2], [0.75, 0.21] as [Float])), .tensor(try Tensor(.float32, [2], [0.01, 0.39] as [Float])), .tensor(try Tensor(.float32, [2], [-1.59, -0.21] as [Float]))],
            [.tensor(try Tensor(.float32, [2], [0.899975, 0.190929] as [Float])), .tensor(try Tensor(.float32, [2], [-1.4997499, 0.19070998] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "Momentum", domain: "ai.onnx.preview.training", opset: 1, ["norm_coefficient": .float(0.01), "alpha": .float(0.95), "beta": .float(0.5), "mode": .string("nesterov")],
            [.tensor(try Tensor(.float32, [], [0.1] as [Float])), .tensor(try Tensor(.int64, [], [5] as [Int64])), .tensor(try Tensor(.float32, [2], [-0.64, 0.79] as [Float])), .tensor(try Tensor(.float32, [1, 3], [-0.73, 0.18, -0.49] as [Float])), .tensor(try Tensor(.float32, [2], [0.42, 0.66] as [Float])), .tensor(try Tensor(.float32, [1, 3], [-0.27, 0.04, 0.11] as [Float])), .tensor(try Tensor(.float32, [2], [0.71, 0.39] as [Float])), .tensor(try Tensor(.float32, [1, 3], [0.03, 0.49, 1.03] as [Float]))],
            [.tensor(try Tensor(.float32, [2], [-0.7650835, 0.65628725] as [Float])), .tensor(try Tensor(.float32, [1, 3], [-0.6918058, 0.129612, -0.5984598] as [Float])), .tensor(try Tensor(.float32, [2], [0.8813, 0.70445] as [Float])), .tensor(try Tensor(.float32, [1, 3], [-0.11015, 0.4864, 1.03105] as [Float]))], tolerance: 1e-05)
    }

    @Test
    func refusals() throws {
        let rate = Value.tensor(try Tensor.float32(0.1)), step = Value.tensor(try Tensor(.int64, [], [0] as [Int64]))
        let x = Value.tensor(try Tensor(.float32, [2], [1, 2] as [Float])), y = Value.tensor(try Tensor(.float32, [1], [1] as [Float]))
        func evaluate(_ opType: String, _ inputs: [Value?], outputs: Int) throws {
            _ = try Evaluator().evaluate(opType, domain: "ai.onnx.preview.training", opset: 1, [:], inputs, outputs: outputs)
        }
        expectError(.invalidModel) { try evaluate("Adagrad", [rate, step, x, x], outputs: 2) }
        expectError(.invalidModel) { try evaluate("Adam", [rate, step, x, x, x], outputs: 3) }
        expectError(.invalidModel) { try evaluate("Adagrad", [rate, step, x, x, x], outputs: 1) }
        expectError(.shapeMismatch) { try evaluate("Adagrad", [rate, step, x, x, y], outputs: 2) }
        expectError(.shapeMismatch) { try evaluate("Adagrad", [x, step, x, x, x], outputs: 2) }
        expectError(.invalidModel) { try evaluate("Momentum", [rate, step, x, x, x], outputs: 2) }
    }
}
