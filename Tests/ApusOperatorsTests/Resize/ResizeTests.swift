import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

/// Resize and Upsample in all modes.
/// Expected values come from onnxruntime 1.31 or NumPy; where scales cut aligned corners, from ONNX's reference evaluator.
struct ResizeTests {

    @Test
    func nearest() throws {
        try expectEvaluates(
            "Resize", opset: 13, ["mode": .string("nearest"), "coordinate_transformation_mode": .string("half_pixel"), "nearest_mode": .string("round_prefer_floor")],
            [.tensor(try Tensor(.float32, [1, 1, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] as [Float])), nil, .tensor(try Tensor(.float32, [4], [1, 1, 1.5, 0.6] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 1, 4, 2], [0, 2, 0, 2, 4, 6, 8, 10] as [Float]))])
        try expectEvaluates(
            "Resize", opset: 13, ["mode": .string("nearest"), "coordinate_transformation_mode": .string("half_pixel"), "nearest_mode": .string("round_prefer_ceil")],
            [.tensor(try Tensor(.float32, [1, 1, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] as [Float])), nil, .tensor(try Tensor(.float32, [4], [1, 1, 1.5, 0.6] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 1, 4, 2], [0, 2, 4, 6, 4, 6, 8, 10] as [Float]))])
        try expectEvaluates(
            "Resize", opset: 13, ["mode": .string("nearest"), "coordinate_transformation_mode": .string("half_pixel"), "nearest_mode": .string("floor")],
            [.tensor(try Tensor(.float32, [1, 1, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] as [Float])), nil, .tensor(try Tensor(.float32, [4], [1, 1, 1.5, 0.6] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 1, 4, 2], [0, 2, 0, 2, 4, 6, 4, 6] as [Float]))])
        try expectEvaluates(
            "Resize", opset: 13, ["mode": .string("nearest"), "coordinate_transformation_mode": .string("half_pixel"), "nearest_mode": .string("ceil")],
            [.tensor(try Tensor(.float32, [1, 1, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] as [Float])), nil, .tensor(try Tensor(.float32, [4], [1, 1, 1.5, 0.6] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 1, 4, 2], [1, 2, 5, 6, 9, 10, 9, 10] as [Float]))])
        try expectEvaluates(
            "Resize", opset: 13, ["mode": .string("nearest"), "coordinate_transformation_mode": .string("asymmetric"), "nearest_mode": .string("round_prefer_floor")],
            [.tensor(try Tensor(.float32, [1, 1, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] as [Float])), nil, .tensor(try Tensor(.float32, [4], [1, 1, 1.5, 0.6] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 1, 4, 2], [0, 2, 4, 6, 4, 6, 8, 10] as [Float]))])
        try expectEvaluates(
            "Resize", opset: 13, ["mode": .string("nearest"), "coordinate_transformation_mode": .string("asymmetric"), "nearest_mode": .string("round_prefer_ceil")],
            [.tensor(try Tensor(.float32, [1, 1, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] as [Float])), nil, .tensor(try Tensor(.float32, [4], [1, 1, 1.5, 0.6] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 1, 4, 2], [0, 2, 4, 6, 4, 6, 8, 10] as [Float]))])
        try expectEvaluates(
            "Resize", opset: 13, ["mode": .string("nearest"), "coordinate_transformation_mode": .string("asymmetric"), "nearest_mode": .string("floor")],
            [.tensor(try Tensor(.float32, [1, 1, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] as [Float])), nil, .tensor(try Tensor(.float32, [4], [1, 1, 1.5, 0.6] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 1, 4, 2], [0, 1, 0, 1, 4, 5, 8, 9] as [Float]))])
        try expectEvaluates(
            "Resize", opset: 13, ["mode": .string("nearest"), "coordinate_transformation_mode": .string("asymmetric"), "nearest_mode": .string("ceil")],
            [.tensor(try Tensor(.float32, [1, 1, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] as [Float])), nil, .tensor(try Tensor(.float32, [4], [1, 1, 1.5, 0.6] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 1, 4, 2], [0, 2, 4, 6, 8, 10, 8, 10] as [Float]))])
        try expectEvaluates(
            "Resize", opset: 13, ["mode": .string("nearest"), "coordinate_transformation_mode": .string("align_corners"), "nearest_mode": .string("round_prefer_floor")],
            [.tensor(try Tensor(.float32, [1, 1, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] as [Float])), nil, .tensor(try Tensor(.float32, [4], [1, 1, 1.5, 0.6] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 1, 4, 2], [0, 2, 4, 6, 4, 6, 8, 10] as [Float]))])
        try expectEvaluates(
            "Resize", opset: 13, ["mode": .string("nearest"), "coordinate_transformation_mode": .string("align_corners"), "nearest_mode": .string("round_prefer_ceil")],
            [.tensor(try Tensor(.float32, [1, 1, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] as [Float])), nil, .tensor(try Tensor(.float32, [4], [1, 1, 1.5, 0.6] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 1, 4, 2], [0, 2, 4, 6, 4, 6, 8, 10] as [Float]))])
        try expectEvaluates(
            "Resize", opset: 13, ["mode": .string("nearest"), "coordinate_transformation_mode": .string("align_corners"), "nearest_mode": .string("floor")],
            [.tensor(try Tensor(.float32, [1, 1, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] as [Float])), nil, .tensor(try Tensor(.float32, [4], [1, 1, 1.5, 0.6] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 1, 4, 2], [0, 2, 0, 2, 4, 6, 4, 6] as [Float]))])
        try expectEvaluates(
            "Resize", opset: 13, ["mode": .string("nearest"), "coordinate_transformation_mode": .string("align_corners"), "nearest_mode": .string("ceil")],
            [.tensor(try Tensor(.float32, [1, 1, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] as [Float])), nil, .tensor(try Tensor(.float32, [4], [1, 1, 1.5, 0.6] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 1, 4, 2], [0, 3, 4, 7, 8, 11, 8, 11] as [Float]))])
        try expectEvaluates(
            "Resize", opset: 13, ["mode": .string("nearest"), "coordinate_transformation_mode": .string("pytorch_half_pixel"), "nearest_mode": .string("round_prefer_floor")],
            [.tensor(try Tensor(.float32, [1, 1, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] as [Float])), nil, .tensor(try Tensor(.float32, [4], [1, 1, 1.5, 0.6] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 1, 4, 2], [0, 2, 0, 2, 4, 6, 8, 10] as [Float]))])
        try expectEvaluates(
            "Resize", opset: 13, ["mode": .string("nearest"), "coordinate_transformation_mode": .string("pytorch_half_pixel"), "nearest_mode": .string("round_prefer_ceil")],
            [.tensor(try Tensor(.float32, [1, 1, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] as [Float])), nil, .tensor(try Tensor(.float32, [4], [1, 1, 1.5, 0.6] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 1, 4, 2], [0, 2, 4, 6, 4, 6, 8, 10] as [Float]))])
        try expectEvaluates(
            "Resize", opset: 13, ["mode": .string("nearest"), "coordinate_transformation_mode": .string("pytorch_half_pixel"), "nearest_mode": .string("floor")],
            [.tensor(try Tensor(.float32, [1, 1, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] as [Float])), nil, .tensor(try Tensor(.float32, [4], [1, 1, 1.5, 0.6] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 1, 4, 2], [0, 2, 0, 2, 4, 6, 4, 6] as [Float]))])
        try expectEvaluates(
            "Resize", opset: 13, ["mode": .string("nearest"), "coordinate_transformation_mode": .string("pytorch_half_pixel"), "nearest_mode": .string("ceil")],
            [.tensor(try Tensor(.float32, [1, 1, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] as [Float])), nil, .tensor(try Tensor(.float32, [4], [1, 1, 1.5, 0.6] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 1, 4, 2], [1, 2, 5, 6, 9, 10, 9, 10] as [Float]))])
        try expectEvaluates(
            "Resize", opset: 13, [:],
            [.tensor(try Tensor(.float32, [1, 1, 4, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16] as [Float])), nil, nil, .tensor(try Tensor(.int64, [4], [1, 1, 7, 8] as [Int64]))],
            [.tensor(try Tensor(.float32, [1, 1, 7, 8], [1, 1, 2, 2, 3, 3, 4, 4, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15, 16, 16, 13, 13, 14, 14, 15, 15, 16, 16] as [Float]))])
        try expectEvaluates(
            "Resize", opset: 11, ["coordinate_transformation_mode": .string("tf_half_pixel_for_nn")],
            [.tensor(try Tensor(.float32, [1, 1, 4, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16] as [Float])), .tensor(try Tensor(.float32, [0], [] as [Float])), .tensor(try Tensor(.float32, [0], [] as [Float])), .tensor(try Tensor(.int64, [4], [1, 1, 3, 5] as [Int64]))],
            [.tensor(try Tensor(.float32, [1, 1, 3, 5], [5, 6, 7, 8, 8, 9, 10, 11, 12, 12, 13, 14, 15, 16, 16] as [Float]))])
        try expectEvaluates(
            "Resize", opset: 10, [:],
            [.tensor(try Tensor(.float32, [1, 1, 4, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16] as [Float])), .tensor(try Tensor(.float32, [4], [1, 1, 2, 2] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 1, 8, 8], [1, 1, 2, 2, 3, 3, 4, 4, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15, 16, 16, 13, 13, 14, 14, 15, 15, 16, 16] as [Float]))])
        try expectEvaluates(
            "Resize", opset: 10, [:],
            [.tensor(try Tensor(.float32, [1, 1, 4, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16] as [Float])), .tensor(try Tensor(.float32, [4], [1, 1, 0.6, 0.6] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 1, 2, 2], [1, 3, 9, 11] as [Float]))])
        try expectEvaluates(
            "Resize", opset: 13, [:],
            [.tensor(try Tensor(.uint8, [1, 1, 4, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15] as [UInt8])), nil, .tensor(try Tensor(.float32, [4], [1, 1, 2, 2] as [Float]))],
            [.tensor(try Tensor(.uint8, [1, 1, 8, 8], [0, 0, 1, 1, 2, 2, 3, 3, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15, 12, 12, 13, 13, 14, 14, 15, 15] as [UInt8]))])
        try expectEvaluates(
            "Resize", opset: 18, ["axes": .ints([3, 2])],
            [.tensor(try Tensor(.float32, [1, 1, 4, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16] as [Float])), nil, nil, .tensor(try Tensor(.int64, [2], [8, 2] as [Int64]))],
            [.tensor(try Tensor(.float32, [1, 1, 2, 8], [1, 1, 2, 2, 3, 3, 4, 4, 9, 9, 10, 10, 11, 11, 12, 12] as [Float]))])
        try expectEvaluates(
            "Resize", opset: 13, [:],
            [.tensor(try Tensor(.float32, [1, 1, 4, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16] as [Float])), nil, .tensor(try Tensor(.float32, [4], [1, 1, 1, 1] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 1, 4, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16] as [Float]))])
        try expectEvaluates(
            "Resize", opset: 18, ["axes": .ints([2, 3]), "keep_aspect_ratio_policy": .string("not_larger")],
            [.tensor(try Tensor(.float32, [1, 1, 2, 4], [0, 1, 2, 3, 4, 5, 6, 7] as [Float])), nil, nil, .tensor(try Tensor(.int64, [2], [7, 8] as [Int64]))],
            [.tensor(try Tensor(.float32, [1, 1, 4, 8], [0, 0, 1, 1, 2, 2, 3, 3, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 4, 4, 5, 5, 6, 6, 7, 7] as [Float]))])
        try expectEvaluates(
            "Resize", opset: 18, ["axes": .ints([2, 3]), "keep_aspect_ratio_policy": .string("not_smaller")],
            [.tensor(try Tensor(.float32, [1, 1, 2, 4], [0, 1, 2, 3, 4, 5, 6, 7] as [Float])), nil, nil, .tensor(try Tensor(.int64, [2], [7, 8] as [Int64]))],
            [.tensor(try Tensor(.float32, [1, 1, 7, 14], [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 6, 6, 6, 6, 7, 7, 7, 4, 4, 4, 4, 5, 5, 5, 6, 6, 6, 6, 7, 7, 7, 4, 4, 4, 4, 5, 5, 5, 6, 6, 6, 6, 7, 7, 7] as [Float]))])
    }

    @Test
    func linear() throws {
        try expectEvaluates(
            "Resize", opset: 13, ["mode": .string("linear"), "coordinate_transformation_mode": .string("half_pixel")],
            [.tensor(try Tensor(.float32, [1, 1, 4, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16] as [Float])), nil, .tensor(try Tensor(.float32, [4], [1, 1, 2, 0.6] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 1, 8, 2], [1.3333333, 3, 2.3333333, 4, 4.333333, 6, 6.333333, 8, 8.333333, 10, 10.333334, 12, 12.333333, 14, 13.333333, 15] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "Resize", opset: 13, ["mode": .string("linear"), "coordinate_transformation_mode": .string("asymmetric")],
            [.tensor(try Tensor(.float32, [1, 1, 4, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16] as [Float])), nil, .tensor(try Tensor(.float32, [4], [1, 1, 2, 0.6] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 1, 8, 2], [1, 2.6666665, 3, 4.666667, 5, 6.666667, 7, 8.666667, 9, 10.666667, 11, 12.666666, 13, 14.666666, 13, 14.666666] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "Resize", opset: 13, ["mode": .string("linear"), "coordinate_transformation_mode": .string("align_corners")],
            [.tensor(try Tensor(.float32, [1, 1, 4, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16] as [Float])), nil, .tensor(try Tensor(.float32, [4], [1, 1, 2, 0.6] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 1, 8, 2], [1, 3.142857, 2.7142856, 4.857143, 4.428571, 6.5714283, 6.142857, 8.285714, 7.857143, 10, 9.571428, 11.714286, 11.285714, 13.428572, 13, 15.142857] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "Resize", opset: 13, ["mode": .string("linear"), "coordinate_transformation_mode": .string("pytorch_half_pixel")],
            [.tensor(try Tensor(.float32, [1, 1, 4, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16] as [Float])), nil, .tensor(try Tensor(.float32, [4], [1, 1, 2, 0.6] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 1, 8, 2], [1.3333333, 3, 2.3333333, 4, 4.333333, 6, 6.333333, 8, 8.333333, 10, 10.333334, 12, 12.333333, 14, 13.333333, 15] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "Resize", opset: 19, ["mode": .string("linear"), "coordinate_transformation_mode": .string("half_pixel_symmetric")],
            [.tensor(try Tensor(.float32, [1, 1, 4, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16] as [Float])), nil, .tensor(try Tensor(.float32, [4], [1, 1, 2.3, 0.6] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 1, 9, 2], [1.6666667, 3.3333333, 2.4492753, 4.115942, 4.188406, 5.8550725, 5.927536, 7.594203, 7.6666665, 9.333333, 9.405797, 11.072464, 11.144928, 12.811594, 12.884058, 14.550725, 13.666667, 15.333333] as [Float]))], tolerance: 0.0001)
        try expectEvaluates(
            "Resize", opset: 13, ["mode": .string("linear"), "coordinate_transformation_mode": .string("tf_crop_and_resize"), "extrapolation_value": .float(10)],
            [.tensor(try Tensor(.float32, [1, 1, 4, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16] as [Float])), .tensor(try Tensor(.float32, [8], [0, 0, 0.4, -0.6, 1, 1, 1.2, 1.7] as [Float])), nil, .tensor(try Tensor(.int64, [4], [1, 1, 3, 3] as [Int64]))],
            [.tensor(try Tensor(.float32, [1, 1, 3, 3], [10, 7.4500003, 10, 10, 12.25, 10, 10, 10, 10] as [Float]))], tolerance: 0.0001)
        try expectEvaluates(
            "Resize", opset: 13, ["mode": .string("nearest"), "coordinate_transformation_mode": .string("tf_crop_and_resize"), "extrapolation_value": .float(10)],
            [.tensor(try Tensor(.float32, [1, 1, 4, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16] as [Float])), .tensor(try Tensor(.float32, [8], [0, 0, 0.4, -0.6, 1, 1, 1.2, 1.7] as [Float])), nil, .tensor(try Tensor(.int64, [4], [1, 1, 3, 3] as [Int64]))],
            [.tensor(try Tensor(.float32, [1, 1, 3, 3], [10, 7, 10, 10, 11, 10, 10, 10, 10] as [Float]))])
        try expectEvaluates(
            "Resize", opset: 13, ["mode": .string("linear")],
            [.tensor(try Tensor(.float32, [1, 2, 2, 3], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] as [Float])), nil, nil, .tensor(try Tensor(.int64, [4], [1, 2, 3, 2] as [Int64]))],
            [.tensor(try Tensor(.float32, [1, 2, 3, 2], [0.25, 1.75, 1.75, 3.25, 3.25, 4.75, 6.25, 7.75, 7.75, 9.25, 9.25, 10.75] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "Resize", opset: 13, ["mode": .string("linear")],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, 2, 3, 4, 5] as [Float])), nil, .tensor(try Tensor(.float32, [2], [2, 1] as [Float]))],
            [.tensor(try Tensor(.float32, [4, 3], [0, 1, 2, 0.75, 1.75, 2.75, 2.25, 3.25, 4.25, 3, 4, 5] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "Resize", opset: 13, ["mode": .string("linear")],
            [.tensor(try Tensor(.float32, [1, 1, 2, 2, 2], [0, 1, 2, 3, 4, 5, 6, 7] as [Float])), nil, .tensor(try Tensor(.float32, [5], [1, 1, 2, 2, 2] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 1, 4, 4, 4], [0, 0.25, 0.75, 1, 0.5, 0.75, 1.25, 1.5, 1.5, 1.75, 2.25, 2.5, 2, 2.25, 2.75, 3, 1, 1.25, 1.75, 2, 1.5, 1.75, 2.25, 2.5, 2.5, 2.75, 3.25, 3.5, 3, 3.25, 3.75, 4, 3, 3.25, 3.75, 4, 3.5, 3.75, 4.25, 4.5, 4.5, 4.75, 5.25, 5.5, 5, 5.25, 5.75, 6, 4, 4.25, 4.75, 5, 4.5, 4.75, 5.25, 5.5, 5.5, 5.75, 6.25, 6.5, 6, 6.25, 6.75, 7] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "Resize", opset: 10, ["mode": .string("linear")],
            [.tensor(try Tensor(.float32, [1, 1, 4, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16] as [Float])), .tensor(try Tensor(.float32, [4], [1, 1, 2, 0.5] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 1, 8, 2], [1, 3, 3, 5, 5, 7, 7, 9, 9, 11, 11, 13, 13, 15, 13, 15] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "Resize", opset: 13, ["mode": .string("linear")],
            [.tensor(try Tensor(.float16, [1, 1, 4, 4], [15360, 16384, 16896, 17408, 17664, 17920, 18176, 18432, 18560, 18688, 18816, 18944, 19072, 19200, 19328, 19456] as [UInt16])), nil, .tensor(try Tensor(.float32, [4], [1, 1, 2, 2] as [Float]))],
            [.tensor(try Tensor(.float16, [1, 1, 8, 8], [15360, 15616, 16128, 16512, 16768, 17024, 17280, 17408, 16384, 16512, 16768, 17024, 17280, 17472, 17600, 17664, 17408, 17472, 17600, 17728, 17856, 17984, 18112, 18176, 17920, 17984, 18112, 18240, 18368, 18464, 18528, 18560, 18432, 18464, 18528, 18592, 18656, 18720, 18784, 18816, 18688, 18720, 18784, 18848, 18912, 18976, 19040, 19072, 18944, 18976, 19040, 19104, 19168, 19232, 19296, 19328, 19072, 19104, 19168, 19232, 19296, 19360, 19424, 19456] as [UInt16]))])
        try expectEvaluates(
            "Resize", opset: 13, ["mode": .string("linear")],
            [.tensor(try Tensor(.uint8, [1, 1, 4, 4], [10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120, 130, 140, 150, 160] as [UInt8])), nil, .tensor(try Tensor(.float32, [4], [1, 1, 2, 2] as [Float]))],
            [.tensor(try Tensor(.uint8, [1, 1, 8, 8], [10, 12, 17, 22, 27, 32, 37, 40, 20, 22, 27, 32, 37, 42, 47, 50, 40, 42, 47, 52, 57, 62, 67, 70, 60, 62, 67, 72, 77, 82, 87, 90, 80, 82, 87, 92, 97, 102, 107, 110, 100, 102, 107, 112, 117, 122, 127, 130, 120, 122, 127, 132, 137, 142, 147, 150, 130, 132, 137, 142, 147, 152, 157, 160] as [UInt8]))])
    }

    @Test
    func cubic() throws {
        try expectEvaluates(
            "Resize", opset: 13, ["mode": .string("cubic"), "coordinate_transformation_mode": .string("half_pixel"), "exclude_outside": .int(0)],
            [.tensor(try Tensor(.float32, [1, 1, 4, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16] as [Float])), nil, .tensor(try Tensor(.float32, [4], [1, 1, 2, 0.8] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 1, 8, 3], [0.6723633, 1.9824219, 3.2836914, 1.8598633, 3.1699219, 4.4711914, 3.7661133, 5.076172, 6.3774414, 6.2817383, 7.591797, 8.893066, 7.9067383, 9.216797, 10.518066, 10.422363, 11.732422, 13.033691, 12.328613, 13.638672, 14.939941, 13.516113, 14.826172, 16.127441] as [Float]))], tolerance: 0.0001)
        try expectEvaluates(
            "Resize", opset: 13, ["mode": .string("cubic"), "coordinate_transformation_mode": .string("half_pixel"), "exclude_outside": .int(1)],
            [.tensor(try Tensor(.float32, [1, 1, 4, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16] as [Float])), nil, .tensor(try Tensor(.float32, [4], [1, 1, 2, 0.8] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 1, 8, 3], [0.54247254, 1.8588424, 3.1892571, 1.7805066, 3.0968764, 4.4272914, 3.6690595, 4.985429, 6.3158436, 6.2754273, 7.591797, 8.922213, 7.900427, 9.216797, 10.547212, 10.506796, 11.823164, 13.15358, 12.395348, 13.711718, 15.042133, 13.633383, 14.949751, 16.280169] as [Float]))], tolerance: 0.0001)
        try expectEvaluates(
            "Resize", opset: 13, ["mode": .string("cubic"), "coordinate_transformation_mode": .string("asymmetric"), "exclude_outside": .int(0)],
            [.tensor(try Tensor(.float32, [1, 1, 4, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16] as [Float])), nil, .tensor(try Tensor(.float32, [4], [1, 1, 2, 0.8] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 1, 8, 3], [1, 2.296875, 3.59375, 2.625, 3.921875, 5.21875, 5, 6.296875, 7.59375, 7, 8.296875, 9.59375, 9, 10.296875, 11.59375, 11.375, 12.671875, 13.96875, 13, 14.296875, 15.59375, 13.375, 14.671875, 15.96875] as [Float]))], tolerance: 0.0001)
        try expectEvaluates(
            "Resize", opset: 13, ["mode": .string("cubic"), "coordinate_transformation_mode": .string("asymmetric"), "exclude_outside": .int(1)],
            [.tensor(try Tensor(.float32, [1, 1, 4, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16] as [Float])), nil, .tensor(try Tensor(.float32, [4], [1, 1, 2, 0.8] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 1, 8, 3], [1, 2.296875, 3.6285715, 2.4857142, 3.782589, 5.1142855, 5, 6.296875, 7.6285715, 7, 8.296875, 9.6285715, 9, 10.296875, 11.628572, 11.514286, 12.811161, 14.1428585, 13, 14.296875, 15.628572, 13.75, 15.046875, 16.378572] as [Float]))], tolerance: 0.0001)
        try expectEvaluates(
            "Resize", opset: 13, ["mode": .string("cubic"), "coordinate_transformation_mode": .string("align_corners"), "exclude_outside": .int(0)],
            [.tensor(try Tensor(.float32, [1, 1, 4, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16] as [Float])), nil, .tensor(try Tensor(.float32, [4], [1, 1, 2, 0.8] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 1, 8, 3], [1, 2.3951898, 3.790384, 2.364431, 3.7596202, 5.154815, 4.201166, 5.5963545, 6.991551, 6.3177915, 7.712979, 9.108177, 7.682213, 9.0774, 10.472599, 9.798835, 11.19402, 12.589221, 11.635569, 13.030754, 14.425956, 13, 14.3951845, 15.790387] as [Float]))], tolerance: 0.0001)
        try expectEvaluates(
            "Resize", opset: 13, ["mode": .string("cubic"), "coordinate_transformation_mode": .string("align_corners"), "exclude_outside": .int(1)],
            [.tensor(try Tensor(.float32, [1, 1, 4, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16] as [Float])), nil, .tensor(try Tensor(.float32, [4], [1, 1, 2, 0.8] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 1, 8, 3], [1, 2.395191, 3.8108473, 2.234828, 3.6300192, 5.0456753, 4.159712, 5.554903, 6.9705596, 6.3177896, 7.7129803, 9.128636, 7.6822104, 9.077401, 10.493058, 9.840288, 11.235479, 12.651135, 11.765172, 13.160363, 14.576019, 13, 14.395191, 15.810847] as [Float]))], tolerance: 0.0001)
        try expectEvaluates(
            "Resize", opset: 13, ["mode": .string("cubic"), "cubic_coeff_a": .float(-0.5)],
            [.tensor(try Tensor(.float32, [1, 1, 4, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16] as [Float])), nil, nil, .tensor(try Tensor(.int64, [4], [1, 1, 9, 10] as [Int64]))],
            [.tensor(try Tensor(.float32, [1, 1, 9, 10], [0.63672054, 0.76971966, 1.1477203, 1.6057196, 2.0102205, 2.4102204, 2.814721, 3.27272, 3.6507208, 3.7837205, 1.3616841, 1.4946827, 1.8726835, 2.3306823, 2.735184, 3.1351838, 3.5396848, 3.9976833, 4.375684, 4.508684, 3.1861038, 3.3191009, 3.6971025, 4.1551003, 4.559603, 4.959603, 5.3641047, 5.8221025, 6.2001038, 6.333104, 5.1487246, 5.28172, 5.659723, 6.1177197, 6.5222244, 6.9222236, 7.326726, 7.7847233, 8.162726, 8.295726, 6.9265018, 7.059497, 7.4375, 7.8954964, 8.300002, 8.700002, 9.104504, 9.5625, 9.940503, 10.073502, 8.704282, 8.837276, 9.215281, 9.673276, 10.077784, 10.477782, 10.882285, 11.340281, 11.718285, 11.851282, 10.6669, 10.799892, 11.177897, 11.635893, 12.0404005, 12.4404, 12.844903, 13.302897, 13.680903, 13.813898, 12.491318, 12.624308, 13.002314, 13.460309, 13.864816, 14.264816, 14.669319, 15.127314, 15.50532, 15.638315, 13.216284, 13.349274, 13.72728, 14.185274, 14.589784, 14.989782, 15.394286, 15.85228, 16.230286, 16.363281] as [Float]))], tolerance: 0.0001)
    }

    @Test
    func antialias() throws {
        try expectEvaluates(
            "Resize", opset: 18, ["mode": .string("linear"), "antialias": .int(1)],
            [.tensor(try Tensor(.float32, [1, 1, 4, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16] as [Float])), nil, .tensor(try Tensor(.float32, [4], [1, 1, 0.6, 0.6] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 1, 2, 2], [2.875, 4.5, 9.375, 11] as [Float]))], tolerance: 0.0001)
        try expectEvaluates(
            "Resize", opset: 18, ["mode": .string("linear"), "antialias": .int(1)],
            [.tensor(try Tensor(.float32, [1, 1, 4, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16] as [Float])), nil, .tensor(try Tensor(.float32, [4], [1, 1, 0.6, 2] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 1, 2, 8], [2.5, 2.75, 3.25, 3.75, 4.25, 4.75, 5.25, 5.5, 9, 9.25, 9.75, 10.25, 10.75, 11.25, 11.75, 12] as [Float]))], tolerance: 0.0001)
        try expectEvaluates(
            "Resize", opset: 18, ["mode": .string("linear"), "antialias": .int(1), "exclude_outside": .int(1)],
            [.tensor(try Tensor(.float32, [1, 1, 4, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16] as [Float])), nil, nil, .tensor(try Tensor(.int64, [4], [1, 1, 3, 1] as [Int64]))],
            [.tensor(try Tensor(.float32, [1, 1, 3, 1], [3.7, 8.5, 13.3] as [Float]))], tolerance: 0.0001)
        try expectEvaluates(
            "Resize", opset: 18, ["mode": .string("cubic"), "antialias": .int(1)],
            [.tensor(try Tensor(.float32, [1, 1, 4, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16] as [Float])), nil, .tensor(try Tensor(.float32, [4], [1, 1, 0.6, 0.6] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 1, 2, 2], [2.5180695, 4.285886, 9.589335, 11.357152] as [Float]))], tolerance: 0.0001)
        try expectEvaluates(
            "Resize", opset: 18, ["mode": .string("cubic"), "antialias": .int(1)],
            [.tensor(try Tensor(.float32, [1, 1, 4, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16] as [Float])), nil, .tensor(try Tensor(.float32, [4], [1, 1, 0.6, 2] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 1, 2, 8], [2.1089869, 2.4058619, 2.8824244, 3.5113306, 3.9175806, 4.546487, 5.0230494, 5.3199244, 9.180253, 9.477128, 9.953691, 10.582597, 10.988847, 11.617753, 12.094316, 12.391191] as [Float]))], tolerance: 0.0001)
        try expectEvaluates(
            "Resize", opset: 18, ["mode": .string("cubic"), "antialias": .int(1), "exclude_outside": .int(1)],
            [.tensor(try Tensor(.float32, [1, 1, 4, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16] as [Float])), nil, nil, .tensor(try Tensor(.int64, [4], [1, 1, 3, 1] as [Int64]))],
            [.tensor(try Tensor(.float32, [1, 1, 3, 1], [3.1435907, 8.5, 13.856409] as [Float]))], tolerance: 0.0001)
    }

    @Test
    func upsample() throws {
        try expectEvaluates(
            "Upsample", opset: 7, ["scales": .floats([1, 1, 2, 3])],
            [.tensor(try Tensor(.float32, [1, 1, 4, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 1, 8, 12], [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5, 6, 6, 6, 7, 7, 7, 8, 8, 8, 5, 5, 5, 6, 6, 6, 7, 7, 7, 8, 8, 8, 9, 9, 9, 10, 10, 10, 11, 11, 11, 12, 12, 12, 9, 9, 9, 10, 10, 10, 11, 11, 11, 12, 12, 12, 13, 13, 13, 14, 14, 14, 15, 15, 15, 16, 16, 16, 13, 13, 13, 14, 14, 14, 15, 15, 15, 16, 16, 16] as [Float]))])
        try expectEvaluates(
            "Upsample", opset: 7, ["scales": .floats([1, 1, 2, 2]), "mode": .string("linear")],
            [.tensor(try Tensor(.float32, [1, 1, 4, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 1, 8, 8], [1, 1.5, 2, 2.5, 3, 3.5, 4, 4, 3, 3.5, 4, 4.5, 5, 5.5, 6, 6, 5, 5.5, 6, 6.5, 7, 7.5, 8, 8, 7, 7.5, 8, 8.5, 9, 9.5, 10, 10, 9, 9.5, 10, 10.5, 11, 11.5, 12, 12, 11, 11.5, 12, 12.5, 13, 13.5, 14, 14, 13, 13.5, 14, 14.5, 15, 15.5, 16, 16, 13, 13.5, 14, 14.5, 15, 15.5, 16, 16] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "Upsample", opset: 9, [:],
            [.tensor(try Tensor(.float32, [1, 1, 4, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16] as [Float])), .tensor(try Tensor(.float32, [4], [1, 1, 2, 2] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 1, 8, 8], [1, 1, 2, 2, 3, 3, 4, 4, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15, 16, 16, 13, 13, 14, 14, 15, 15, 16, 16] as [Float]))])
        try expectEvaluates(
            "Upsample", opset: 1, ["height_scale": .float(2), "width_scale": .float(1)],
            [.tensor(try Tensor(.float32, [1, 1, 4, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 1, 8, 4], [1, 2, 3, 4, 1, 2, 3, 4, 5, 6, 7, 8, 5, 6, 7, 8, 9, 10, 11, 12, 9, 10, 11, 12, 13, 14, 15, 16, 13, 14, 15, 16] as [Float]))])
    }

    @Test
    func refuses() throws {
        expectRefuses(
            "Resize", opset: 17, [:],
            [.tensor(try Tensor(.float32, [1, 2, 5, 5], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49] as [Float])), nil, .tensor(try Tensor(.float32, [4], [1, 1, .infinity, 1] as [Float]))], .invalidValue, "scale")
        expectRefuses(
            "Resize", opset: 17, [:],
            [.tensor(try Tensor(.float32, [1, 2, 5, 5], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49] as [Float])), nil, .tensor(try Tensor(.float32, [4], [1, 1, 0, 1] as [Float]))], .invalidValue, "scale")
        expectRefuses(
            "Resize", opset: 17, [:],
            [.tensor(try Tensor(.float32, [1, 2, 5, 5], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49] as [Float])), nil, nil, .tensor(try Tensor(.int64, [4], [1, 2, -5, 5] as [Int64]))], .shapeMismatch, "negative")
        expectRefuses(
            "Resize", opset: 17, [:],
            [.tensor(try Tensor(.float32, [1, 2, 5, 5], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49] as [Float])), nil, .tensor(try Tensor(.float32, [4], [1, 1, 2, 2] as [Float])), .tensor(try Tensor(.int64, [4], [1, 2, 10, 10] as [Int64]))], .invalidModel, "both")
        expectRefuses(
            "Resize", opset: 17, [:],
            [.tensor(try Tensor(.float32, [1, 2, 5, 5], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49] as [Float]))], .invalidModel, "neither")
        expectRefuses(
            "Resize", opset: 17, [:],
            [.tensor(try Tensor(.float32, [1, 1, 4, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16] as [Float])), nil, nil, .tensor(try Tensor(.int64, [4], [1, 1, 1073741824, 1073741824] as [Int64]))], .memoryLimit, "")
        expectRefuses(
            "Resize", opset: 17, [:],
            [.tensor(try Tensor(.float32, [1, 1, 4, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16] as [Float])), nil, .tensor(try Tensor(.float32, [4], [1, 1, 9.999999843067494e+17, 9.999999843067494e+17] as [Float]))], .memoryLimit, "")
        expectRefuses(
            "Resize", opset: 17, [:],
            [.tensor(try Tensor(.float32, [1, 1, 4, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16] as [Float])), nil, .tensor(try Tensor(.float32, [2], [1, 1] as [Float]))], .shapeMismatch, "scales has")
        expectRefuses(
            "Resize", opset: 17, ["mode": .string("quintic")],
            [.tensor(try Tensor(.float32, [1, 1, 4, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16] as [Float])), nil, .tensor(try Tensor(.float32, [4], [1, 1, 1, 1] as [Float]))], .invalidModel, "quintic")
        expectRefuses(
            "Resize", opset: 13, [:],
            [.tensor(try Tensor(.float32, [1, 1, 0, 2], [] as [Float])), nil, nil, .tensor(try Tensor(.int64, [4], [1, 1, 2, 2] as [Int64]))], .shapeMismatch, "empty")
        expectRefuses(
            "Resize", opset: 13, ["coordinate_transformation_mode": .string("tf_crop_and_resize")],
            [.tensor(try Tensor(.float32, [1, 1, 4, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16] as [Float])), nil, .tensor(try Tensor(.float32, [4], [1, 1, 2, 2] as [Float]))], .shapeMismatch, "roi")
    }
}
