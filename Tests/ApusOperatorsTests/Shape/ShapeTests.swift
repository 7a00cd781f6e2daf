import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

/// Shape, Size, Constant, ConstantOfShape and Range.
/// Expected values come from onnxruntime 1.31 or NumPy.
struct ShapeTests {

    @Test
    func shapeAndSize() throws {
        try expectEvaluates(
            "Shape", opset: 1, [:],
            [.tensor(try Tensor(.float32, [2, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float]))],
            [.tensor(try Tensor(.int64, [3], [2, 3, 4] as [Int64]))])
        try expectEvaluates(
            "Shape", opset: 13, [:],
            [.tensor(try Tensor(.float32, [], [0] as [Float]))],
            [.tensor(try Tensor(.int64, [0], [] as [Int64]))])
        try expectEvaluates(
            "Shape", opset: 15, ["start": .int(1)],
            [.tensor(try Tensor(.float32, [2, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float]))],
            [.tensor(try Tensor(.int64, [2], [3, 4] as [Int64]))])
        try expectEvaluates(
            "Shape", opset: 15, ["start": .int(-2), "end": .int(-1)],
            [.tensor(try Tensor(.float32, [2, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float]))],
            [.tensor(try Tensor(.int64, [1], [3] as [Int64]))])
        try expectEvaluates(
            "Shape", opset: 15, ["start": .int(2), "end": .int(1)],
            [.tensor(try Tensor(.float32, [2, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float]))],
            [.tensor(try Tensor(.int64, [0], [] as [Int64]))])
        try expectEvaluates(
            "Shape", opset: 15, ["start": .int(-9), "end": .int(9)],
            [.tensor(try Tensor(.float32, [0, 3], [] as [Float]))],
            [.tensor(try Tensor(.int64, [2], [0, 3] as [Int64]))])
        try expectEvaluates(
            "Shape", opset: 13, [:],
            [.strings(try StringTensor(shape: Shape([1]), elements: ["a"]))],
            [.tensor(try Tensor(.int64, [1], [1] as [Int64]))])
        try expectEvaluates(
            "Size", opset: 1, [:],
            [.tensor(try Tensor(.float32, [2, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23] as [Float]))],
            [.tensor(try Tensor(.int64, [], [24] as [Int64]))])
        try expectEvaluates(
            "Size", opset: 13, [:],
            [.tensor(try Tensor(.float32, [], [0] as [Float]))],
            [.tensor(try Tensor(.int64, [], [1] as [Int64]))])
        try expectEvaluates(
            "Size", opset: 13, [:],
            [.tensor(try Tensor(.float32, [0, 3], [] as [Float]))],
            [.tensor(try Tensor(.int64, [], [0] as [Int64]))])
        try expectEvaluates(
            "Size", opset: 13, [:],
            [.strings(try StringTensor(shape: Shape([2]), elements: ["a", "b"]))],
            [.tensor(try Tensor(.int64, [], [2] as [Int64]))])
    }

    @Test
    func constants() throws {
        try expectEvaluates(
            "Constant", opset: 13, ["value": .tensor(.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])))],
            [],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float]))])
        try expectEvaluates(
            "Constant", opset: 12, ["value_float": .float(1.5)],
            [],
            [.tensor(try Tensor(.float32, [], [1.5] as [Float]))])
        try expectEvaluates(
            "Constant", opset: 12, ["value_floats": .floats([1.5, 2])],
            [],
            [.tensor(try Tensor(.float32, [2], [1.5, 2] as [Float]))])
        try expectEvaluates(
            "Constant", opset: 12, ["value_int": .int(7)],
            [],
            [.tensor(try Tensor(.int64, [], [7] as [Int64]))])
        try expectEvaluates(
            "Constant", opset: 12, ["value_ints": .ints([7, 8])],
            [],
            [.tensor(try Tensor(.int64, [2], [7, 8] as [Int64]))])
        try expectEvaluates(
            "Constant", opset: 12, ["value_string": .string("hi")],
            [],
            [.strings(try StringTensor(shape: Shape([]), elements: ["hi"]))])
        try expectEvaluates(
            "Constant", opset: 12, ["value_strings": .strings(["a", "b"])],
            [],
            [.strings(try StringTensor(shape: Shape([2]), elements: ["a", "b"]))])
        expectRefuses(
            "Constant", opset: 13, [:],
            [], .invalidModel, "found 0")
        expectRefuses(
            "Constant", opset: 13, ["value_int": .int(1), "value_float": .float(1)],
            [], .invalidModel, "found 2")
        expectRefuses(
            "Constant", opset: 9, ["value_int": .int(1)],
            [], .invalidModel, "")
    }

    @Test
    func constantOfShape() throws {
        try expectEvaluates(
            "ConstantOfShape", opset: 9, [:],
            [.tensor(try Tensor(.int64, [2], [2, 3] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 3], [0, 0, 0, 0, 0, 0] as [Float]))])
        try expectEvaluates(
            "ConstantOfShape", opset: 9, ["value": .tensor(.tensor(try Tensor(.int64, [1], [7] as [Int64])))],
            [.tensor(try Tensor(.int64, [1], [2] as [Int64]))],
            [.tensor(try Tensor(.int64, [2], [7, 7] as [Int64]))])
        try expectEvaluates(
            "ConstantOfShape", opset: 9, ["value": .tensor(.tensor(try Tensor(.bool, [1], [1] as [UInt8])))],
            [.tensor(try Tensor(.int64, [2], [1, 2] as [Int64]))],
            [.tensor(try Tensor(.bool, [1, 2], [1, 1] as [UInt8]))])
        try expectEvaluates(
            "ConstantOfShape", opset: 9, [:],
            [.tensor(try Tensor(.int64, [0], [] as [Int64]))],
            [.tensor(try Tensor(.float32, [], [0] as [Float]))])
        try expectEvaluates(
            "ConstantOfShape", opset: 9, [:],
            [.tensor(try Tensor(.int64, [2], [0, 4] as [Int64]))],
            [.tensor(try Tensor(.float32, [0, 4], [] as [Float]))])
        try expectEvaluates(
            "ConstantOfShape", opset: 20, ["value": .tensor(.tensor(try Tensor(.float16, [1], [15872] as [UInt16])))],
            [.tensor(try Tensor(.int64, [1], [3] as [Int64]))],
            [.tensor(try Tensor(.float16, [3], [15872, 15872, 15872] as [UInt16]))])
        try expectEvaluates(
            "ConstantOfShape", opset: 9, ["value": .tensor(.tensor(try Tensor(.float64, [1], [2.5] as [Double])))],
            [.tensor(try Tensor(.int64, [2], [2, 2] as [Int64]))],
            [.tensor(try Tensor(.float64, [2, 2], [2.5, 2.5, 2.5, 2.5] as [Double]))])
        expectRefuses(
            "ConstantOfShape", opset: 9, [:],
            [.tensor(try Tensor(.int64, [1], [-1] as [Int64]))], .shapeMismatch, "negative")
        expectRefuses(
            "ConstantOfShape", opset: 9, [:],
            [.tensor(try Tensor(.int64, [1], [9223372036854775807] as [Int64]))], .memoryLimit, "")
        expectRefuses(
            "ConstantOfShape", opset: 9, [:],
            [.tensor(try Tensor(.int64, [2], [1048576, 1048576] as [Int64]))], .memoryLimit, "")
        expectRefuses(
            "ConstantOfShape", opset: 9, ["value": .tensor(.tensor(try Tensor(.int64, [2], [1, 2] as [Int64])))],
            [.tensor(try Tensor(.int64, [1], [1] as [Int64]))], .invalidModel, "one element")
    }

    @Test
    func range() throws {
        try expectEvaluates(
            "Range", opset: 11, [:],
            [.tensor(try Tensor(.float32, [], [0] as [Float])), .tensor(try Tensor(.float32, [], [5] as [Float])), .tensor(try Tensor(.float32, [], [1] as [Float]))],
            [.tensor(try Tensor(.float32, [5], [0, 1, 2, 3, 4] as [Float]))], tolerance: 1e-06)
        try expectEvaluates(
            "Range", opset: 11, [:],
            [.tensor(try Tensor(.float32, [], [5] as [Float])), .tensor(try Tensor(.float32, [], [0] as [Float])), .tensor(try Tensor(.float32, [], [1] as [Float]))],
            [.tensor(try Tensor(.float32, [0], [] as [Float]))], tolerance: 1e-06)
        try expectEvaluates(
            "Range", opset: 11, [:],
            [.tensor(try Tensor(.int64, [], [10] as [Int64])), .tensor(try Tensor(.int64, [], [4] as [Int64])), .tensor(try Tensor(.int64, [], [-2] as [Int64]))],
            [.tensor(try Tensor(.int64, [3], [10, 8, 6] as [Int64]))], tolerance: 1e-06)
        try expectEvaluates(
            "Range", opset: 11, [:],
            [.tensor(try Tensor(.int32, [], [0] as [Int32])), .tensor(try Tensor(.int32, [], [7] as [Int32])), .tensor(try Tensor(.int32, [], [3] as [Int32]))],
            [.tensor(try Tensor(.int32, [3], [0, 3, 6] as [Int32]))], tolerance: 1e-06)
        try expectEvaluates(
            "Range", opset: 11, [:],
            [.tensor(try Tensor(.float64, [], [1.0] as [Double])), .tensor(try Tensor(.float64, [], [2.0] as [Double])), .tensor(try Tensor(.float64, [], [0.3] as [Double]))],
            [.tensor(try Tensor(.float64, [4], [1.0, 1.3, 1.6, 1.9000000000000001] as [Double]))], tolerance: 1e-06)
        try expectEvaluates(
            "Range", opset: 11, [:],
            [.tensor(try Tensor(.int16, [], [0] as [Int16])), .tensor(try Tensor(.int16, [], [3] as [Int16])), .tensor(try Tensor(.int16, [], [1] as [Int16]))],
            [.tensor(try Tensor(.int16, [3], [0, 1, 2] as [Int16]))], tolerance: 1e-06)
        try expectEvaluates(
            "Range", opset: 11, [:],
            [.tensor(try Tensor(.float32, [], [0.1] as [Float])), .tensor(try Tensor(.float32, [], [0.5] as [Float])), .tensor(try Tensor(.float32, [], [0.1] as [Float]))],
            [.tensor(try Tensor(.float32, [4], [0.1, 0.2, 0.3, 0.4] as [Float]))], tolerance: 1e-06)
        try expectEvaluates(
            "Range", opset: 11, [:],
            [.tensor(try Tensor(.int64, [], [-9223372036854775808] as [Int64])), .tensor(try Tensor(.int64, [], [9223372036854775807] as [Int64])), .tensor(try Tensor(.int64, [], [9223372036854775807] as [Int64]))],
            [.tensor(try Tensor(.int64, [3], [-9223372036854775808, -1, 9223372036854775806] as [Int64]))])
        expectRefuses(
            "Range", opset: 11, [:],
            [.tensor(try Tensor(.int64, [], [-9223372036854775808] as [Int64])), .tensor(try Tensor(.int64, [], [9223372036854775807] as [Int64])), .tensor(try Tensor(.int64, [], [1] as [Int64]))], .memoryLimit, "")
        expectRefuses(
            "Range", opset: 11, [:],
            [.tensor(try Tensor(.int64, [], [0] as [Int64])), .tensor(try Tensor(.int64, [], [5] as [Int64])), .tensor(try Tensor(.int64, [], [0] as [Int64]))], .invalidValue, "delta")
        expectRefuses(
            "Range", opset: 11, [:],
            [.tensor(try Tensor(.float32, [], [0] as [Float])), .tensor(try Tensor(.float32, [], [.infinity] as [Float])), .tensor(try Tensor(.float32, [], [1] as [Float]))], .memoryLimit, "")
        expectRefuses(
            "Range", opset: 11, [:],
            [.tensor(try Tensor(.float32, [], [0] as [Float])), .tensor(try Tensor(.float32, [], [.nan] as [Float])), .tensor(try Tensor(.float32, [], [1] as [Float]))], .invalidValue, "")
        expectRefuses(
            "Range", opset: 11, [:],
            [.tensor(try Tensor(.int64, [2], [0, 1] as [Int64])), .tensor(try Tensor(.int64, [], [5] as [Int64])), .tensor(try Tensor(.int64, [], [1] as [Int64]))], .shapeMismatch, "scalar")
    }
}
