import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

/// Expected values come from ONNX's reference evaluator.
struct SwiGLUTests {

    @Test
    func products() throws {
        try expectEvaluates(
            "SwiGLU", opset: 28, [:],
            [.tensor(try Tensor(.float32, [2, 5], [-2.1, -0.57, -3.87, -2.6100001, 0, -1.26, 0.71999997, -2.82, -0.96, -3.4499998] as [Float])), .tensor(try Tensor(.float32, [2, 5], [-0.37, 0.2, -0.34, -1.52, -0.28, 0.06, 1.04, -0.13, -0.5, -1.26] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 5], [0.084768236, -0.041180998, 0.026884677, 0.27174369, -0, -0.016705627, 0.50364804, 0.020622326, 0.13290153, 0.13375224] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "SwiGLU", opset: 28, ["alpha": .float(1.5)],
            [.tensor(try Tensor(.float64, [2, 5], [-2.0999999046325684, -0.5699999928474426, -3.869999885559082, -2.6100001335144043, 0.0, -1.2599999904632568, 0.7199999690055847, -2.819999933242798, -0.9599999785423279, -3.4499998092651367] as [Double])), .tensor(try Tensor(.float64, [2, 5], [-0.3700000047683716, 0.20000000298023224, -0.3400000035762787, -1.5199999809265137, -0.2800000011920929, 0.05999999865889549, 1.0399999618530273, -0.12999999523162842, -0.5, -1.2599999904632568] as [Double]))],
            [.tensor(try Tensor(.float64, [2, 5], [0.03192792650293626, -0.03401589562393248, 0.003951883696153368, 0.07756151298503941, -0.0, -0.009922081715986, 0.5589746435695195, 0.005258384514517689, 0.091941767646893, 0.02444928988752009] as [Double]))], tolerance: 1e-06)
        try expectEvaluates(
            "SwiGLU", opset: 28, [:],
            [.tensor(try Tensor(.float16, [2, 5], ([-2.0996094, -0.5698242, -3.8691406, -2.609375, 0, -1.2597656, 0.72021484, -2.8203125, -0.95996094, -3.4492188] as [Float]).map { Half($0) })), .tensor(try Tensor(.float16, [2, 5], ([-0.3701172, 0.19995117, -0.3400879, -1.5195312, -0.2800293, 0.05999756, 1.0400391, -0.13000488, -0.5, -1.2597656] as [Float]).map { Half($0) }))],
            [.tensor(try Tensor(.float16, [2, 5], ([0.08477783, -0.041168213, 0.026901245, 0.27172852, -0, -0.016708374, 0.50390625, 0.020614624, 0.13293457, 0.13378906] as [Float]).map { Half($0) }))], tolerance: 0.002)
        try expectEvaluates(
            "SwiGLU", opset: 28, [:], [.tensor(try Tensor(.float32, [2, 0], [] as [Float])), .tensor(try Tensor(.float32, [2, 0], [] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 0], [] as [Float]))])
        expectRefuses(
            "SwiGLU", opset: 28, [:], [.tensor(try Tensor(.float32, [2], [1, 2] as [Float])), .tensor(try Tensor(.float32, [1], [1] as [Float]))],
            .shapeMismatch, "one shape")
    }
}
