import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

/// Expected values come from NumPy.
struct DetTests {

    @Test
    func determinants() throws {
        try expectEvaluates(
            "Det", opset: 11, [:],
            [.tensor(try Tensor(.float32, [2, 2], [1.79, 0.44, 0.1, -1.86] as [Float]))],
            [.tensor(try Tensor(.float32, [], [-3.3734] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "Det", opset: 11, [:],
            [.tensor(try Tensor(.float32, [3, 4, 4], [-0.28, -0.35, -0.08, -0.63, -0.04, -0.48, -1.31, 0.88, 0.88, 1.71, 0.05, -0.4, -0.55, -1.55, 0.98, -1.1, -1.19, -0.21, 1.49, 0.24, -1.02, -0.71, 0.63, -0.16, -0.77, -0.23, 0.75, 1.98, -1.24, -0.63, -0.8, -2.42, -0.92, -1.02, 1.12, -0.13, -1.62, 0.65, -0.36, -1.74, -0.6, -0.59, -0.87, 0.03, -2.25, -0.27, 1.01, 0.85] as [Float]))],
            [.tensor(try Tensor(.float32, [3], [0.8971871, 2.3547878, 8.88786] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "Det", opset: 22, [:],
            [.tensor(try Tensor(.float64, [2, 1, 5, 5], [1.1100000143051147, 1.1200000047683716, 1.4900000095367432, -1.1200000047683716, 0.8500000238418579, -1.8600000143051147, -0.6000000238418579, -1.909999966621399, 1.0499999523162842, 1.3300000429153442, -0.20000000298023224, 1.7699999809265137, -0.6700000166893005, 0.15000000596046448, 0.15000000596046448, -1.059999942779541, 0.4399999976158142, 1.940000057220459, -1.0199999809265137, 0.8999999761581421, -0.15000000596046448, 1.7699999809265137, 0.47999998927116394, 0.6800000071525574, 0.6399999856948853, 0.25, -1.399999976158142, 1.3899999856948853, -1.3700000047683716, 0.23999999463558197, 0.6100000143051147, -0.8399999737739563, 0.15000000596046448, 1.1699999570846558, -0.019999999552965164, -0.8899999856948853, -2.9200000762939453, -0.9700000286102295, -0.5899999737739563, -0.5199999809265137, -0.9599999785423279, 0.3799999952316284, -0.5699999928474426, -0.10999999940395355, 0.6800000071525574, -0.8600000143051147, -0.30000001192092896, 2.1600000858306885, 0.8700000047683716, -1.2899999618530273] as [Double]))],
            [.tensor(try Tensor(.float64, [2, 1], [-21.04947118076162, 26.866774478988955] as [Double]))], tolerance: 1e-05)
        try expectEvaluates(
            "Det", opset: 22, [:],
            [.tensor(try Tensor(.float32, [2, 2], [0, 1, 1, 0] as [Float]))],
            [.tensor(try Tensor(.float32, [], [-1] as [Float]))])
        try expectEvaluates(
            "Det", opset: 22, [:],
            [.tensor(try Tensor(.float32, [2, 2], [1, 2, 2, 4] as [Float]))],
            [.tensor(try Tensor(.float32, [], [0] as [Float]))], tolerance: 1e-6)
        try expectEvaluates(
            "Det", opset: 22, [:],
            [.tensor(try Tensor(.float16, [2, 2], ([1, 2, 3, 4] as [Float]).map { Half($0) }))],
            [.tensor(try Tensor(.float16, [], ([-2] as [Float]).map { Half($0) }))])
        try expectEvaluates(
            "Det", opset: 22, [:],
            [.tensor(try Tensor(.float32, [0, 3, 3], [] as [Float]))],
            [.tensor(try Tensor(.float32, [0], [] as [Float]))])
        try expectEvaluates(
            "Det", opset: 22, [:],
            [.tensor(try Tensor(.float32, [2, 0, 0], [] as [Float]))],
            [.tensor(try Tensor(.float32, [2], [1, 1] as [Float]))])
        expectRefuses("Det", opset: 22, [:], [.tensor(try Tensor(.float32, [2, 3], [Float](repeating: 1, count: 6)))], .shapeMismatch, "square")
        expectRefuses("Det", opset: 22, [:], [.tensor(try Tensor(.float32, [2], [1, 2] as [Float]))], .shapeMismatch, "rank")
        expectRefuses("Det", opset: 22, [:], [.tensor(try Tensor(.int32, [1, 1], [1] as [Int32]))], .typeMismatch, "")
    }
}
