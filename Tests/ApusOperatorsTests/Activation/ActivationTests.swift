import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

/// Functions of one tensor and the activations. Expected values come from NumPy and SciPy in double precision.
struct ActivationTests {
    private static let x: [Double] = [-2.5, -0.5, 0, 0.75, 3]
    private static let cases: [(String, Int, [String: AttributeValue], [Double])] = [
        ("Sigmoid", 13, [:], [0.07585818002124355, 0.3775406687981454, 0.5, 0.679178699175393, 0.9525741268224334]),
        ("Tanh", 13, [:], [-0.9866142981514303, -0.46211715726000973, 0, 0.6351489523872873, 0.9950547536867305]),
        ("Erf", 13, [:], [-0.9995930479825551, -0.5204998778130465, 0, 0.7111556336535151, 0.9999779095030015]),
        ("Relu", 14, [:], [0, 0, 0, 0.75, 3]),
        ("LeakyRelu", 16, ["alpha": .float(0.5)], [-1.25, -0.25, 0, 0.75, 3]),
        ("Elu", 6, [:], [-0.9179150013761012, -0.3934693402873666, 0, 0.75, 3]),
        ("Celu", 12, ["alpha": .float(2)], [-1.4269904062796197, -0.4423984338571902, 0, 0.75, 3]),
        ("ThresholdedRelu", 10, [:], [0, 0, 0, 0, 3]),
        ("Softplus", 1, [:], [0.07888973429254963, 0.4740769841801067, 0.6931471805599453, 1.1368710061148999, 3.048587351573742]),
        ("Softsign", 1, [:], [-0.7142857142857143, -0.3333333333333333, 0, 0.42857142857142855, 0.75]),
        ("HardSwish", 14, [:], [-0.20833333333333334, -0.20833333333333334, 0, 0.46875, 3]),
        ("Swish", 24, [:], [-0.18964545005310887, -0.1887703343990727, 0, 0.5093840243815448, 2.8577223804673]),
        ("Floor", 13, [:], [-3, -1, 0, 0, 3]),
        ("Round", 11, [:], [-2, -0.0, 0, 1, 3]),
        ("Sign", 13, [:], [-1, -1, 0, 1, 1]),
        ("Sinh", 9, [:], [-6.0502044810397875, -0.5210953054937474, 0, 0.82231673193583, 10.017874927409903]),
        ("Atan", 7, [:], [-1.1902899496825317, -0.4636476090008061, 0, 0.6435011087932844, 1.2490457723982544]),
        ("Shrink", 9, ["bias": .float(0.25), "lambd": .float(0.5)], [-2.25, 0, 0, 0.5, 2.75]),
        ("Gelu", 20, [:], [-0.015524163314440398, -0.15426876936299344, 0, 0.5800294857173488, 2.99595030590511]),
    ]

    @Test(arguments: cases.map(\.0))
    func valuesInAllFloatTypes(_ name: String) throws {
        let (_, opset, attributes, y) = try #require(ActivationTests.cases.first { $0.0 == name })
        let x = ActivationTests.x
        func check<T: BitwiseCopyable>(_ type: ElementType, _ convert: (Double) -> T, _ tolerance: Double, _ opset: Int) throws {
            try expectEvaluates(
                name, opset: opset, attributes, [.tensor(try Tensor(type, [5], x.map(convert)))],
                [.tensor(try Tensor(type, [5], y.map(convert)))], tolerance: tolerance)
        }
        try check(.float32, { Float($0) }, 1e-6, opset)
        try check(.float64, { $0 }, 1e-12, opset)
        try check(.float16, { Half(Float($0)) }, 1e-3, opset)
        try check(.bfloat16, { BFloat16(Float($0)) }, 1e-2, max(opset, 22))
    }

    @Test func integers() throws {
        try expectEvaluates(
            "Abs", opset: 13, [:], [.tensor(try Tensor(.int8, [3], [-128, -3, 4] as [Int8]))], [.tensor(try Tensor(.int8, [3], [-128, 3, 4] as [Int8]))])
        try expectEvaluates(
            "Neg", opset: 6, [:], [.tensor(try Tensor(.int32, [2], [Int32.min, 3]))], [.tensor(try Tensor(.int32, [2], [Int32.min, -3]))])
        try expectEvaluates(
            "BitwiseNot", opset: 18, [:], [.tensor(try Tensor(.uint16, [2], [0, 0xff00] as [UInt16]))],
            [.tensor(try Tensor(.uint16, [2], [0xffff, 0xff] as [UInt16]))])
        expectRefuses("Sqrt", opset: 13, [:], [.tensor(try Tensor.int64([4]))], .typeMismatch, "int64")
        expectRefuses("Elu", opset: 6, ["beta": .float(1)], [.tensor(try Tensor.float32(1))], .invalidModel, "beta")
    }

    @Test func specialValues() throws {
        let x = Value.tensor(try Tensor(.float32, [4], [.nan, .infinity, -.infinity, 1] as [Float]))
        try expectEvaluates("IsNaN", opset: 13, [:], [x], [.tensor(try Tensor(.bool, [4], [1, 0, 0, 0] as [UInt8]))])
        try expectEvaluates("IsInf", opset: 10, ["detect_negative": .int(0)], [x], [.tensor(try Tensor(.bool, [4], [0, 1, 0, 0] as [UInt8]))])
        try expectEvaluates(
            "IsInf", opset: 20, [:], [.tensor(try Tensor(.float8e5m2, [2], [0x7c, 0x7f] as [UInt8]))], [.tensor(try Tensor(.bool, [2], [1, 0] as [UInt8]))])
    }

    @Test func clipInAllVersions() throws {
        let x = Value.tensor(try Tensor(.float32, [4], [-3, 0.5, 9, .nan] as [Float]))
        let y = Value.tensor(try Tensor(.float32, [4], [-1, 0.5, 2, .nan] as [Float]))
        try expectEvaluates("Clip", opset: 6, ["min": .float(-1), "max": .float(2)], [x], [y], tolerance: 1e-12)
        try expectEvaluates("Clip", opset: 11, [:], [x, .tensor(try Tensor.float32(-1)), .tensor(try Tensor.float32(2))], [y], tolerance: 1e-12)
        try expectEvaluates(
            "Clip", opset: 12, [:], [.tensor(try Tensor(.int8, [3], [-5, 0, 5] as [Int8])), nil, .tensor(try Tensor(.int8, [], [Int8(2)]))],
            [.tensor(try Tensor(.int8, [3], [-5, 0, 2] as [Int8]))])
        try expectEvaluates(
            "Clip", opset: 13, [:], [.tensor(try Tensor(.float16, [2], [Half(.infinity), Half(-7)])), .tensor(try Tensor(.float16, [], [Half(-1)]))],
            [.tensor(try Tensor(.float16, [2], [Half(65504), Half(-1)]))])
        expectRefuses("Clip", opset: 13, [:], [x, .tensor(try Tensor(.float32, [2], [1, 2] as [Float]))], .shapeMismatch, "scalar")
    }

    @Test func slopesOfPRelu() throws {
        let x = Value.tensor(try Tensor(.float32, [1, 2, 2], [-1, 2, -3, -4] as [Float]))
        let y = Value.tensor(try Tensor(.float32, [1, 2, 2], [-0.5, 2, -6, -8] as [Float]))
        try expectEvaluates("PRelu", opset: 6, [:], [x, .tensor(try Tensor(.float32, [2], [0.5, 2] as [Float]))], [y])
        try expectEvaluates("PRelu", opset: 9, [:], [x, .tensor(try Tensor(.float32, [2, 1], [0.5, 2] as [Float]))], [y])
        expectRefuses("PRelu", opset: 9, [:], [x, .tensor(try Tensor(.float32, [3], [1, 1, 1] as [Float]))], .shapeMismatch, "")
    }

    @Test func geluWithBias() throws {
        let x = Value.tensor(try Tensor(.float32, [2, 2], [-1, 0, 1, 2] as [Float])), bias = Value.tensor(try Tensor(.float32, [2], [0.5, -1] as [Float]))
        try expectEvaluates(
            "BiasGelu", domain: "com.microsoft", opset: 1, [:], [x, bias],
            [.tensor(try Tensor(.float32, [2, 2], [-0.15426877, -0.15865525, 1.3997892, 0.8413447] as [Float]))], tolerance: 1e-6)
        try expectEvaluates(
            "FastGelu", domain: "com.microsoft", opset: 1, [:], [x, bias],
            [.tensor(try Tensor(.float32, [2, 2], [-0.15428599, -0.15880801, 1.3995715, 0.841192] as [Float]))], tolerance: 1e-6)
    }

    @Test func dropout() throws {
        let x = Value.tensor(try Tensor(.float32, [1000], [Float](repeating: 3, count: 1000)))
        try expectEvaluates("Dropout", opset: 7, ["ratio": .float(0.9)], [x], [x])
        try expectEvaluates(
            "Dropout", opset: 13, [:], [x, .tensor(try Tensor.float32(0.9))], [x, .tensor(try Tensor(.bool, [1000], [UInt8](repeating: 1, count: 1000)))])
        let training = Value.tensor(try Tensor(.bool, [], [UInt8(1)]))
        let inputs: [Value?] = [x, .tensor(try Tensor.float32(0.25)), training]
        let run = try Evaluator().evaluate("Dropout", opset: 13, ["seed": .int(7)], inputs, outputs: 2)
        let again = try Evaluator().evaluate("Dropout", opset: 13, ["seed": .int(7)], inputs, outputs: 2)
        let y = try #require(try run[0]?.asTensor()).array(Float.self), mask = try #require(try run[1]?.asTensor()).array(UInt8.self)
        #expect(try again[0]?.asTensor().array(Float.self) == y)
        #expect(zip(y, mask).allSatisfy { $0 == ($1 == 1 ? 4 : 0) })
        let kept = mask.reduce(0) { $0 + Int($1) }
        #expect((690...810).contains(kept), "\(kept) of 1000 kept at a ratio of 0.25")
    }
}
