import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

/// Expected values: onnxruntime 1.31.1 without optimisation.
struct QuantizedProductTests {
    @Test("MatMulInteger: batches, vectors, zero points")
    func matMulInteger() throws {
        try expectEvaluates(
            "MatMulInteger", opset: 10, [:],
            [valueOf(.uint8, [2, 5], [243, 133, 230, 229, 196, 190, 147, 148, 212, 109] as [UInt8]), valueOf(.uint8, [5, 3], [242, 224, 95, 105, 182, 236, 24, 17, 63, 110, 41, 132, 138, 243, 190] as [UInt8]), valueOf(.uint8, [], [7] as [UInt8]), valueOf(.uint8, [], [200] as [UInt8])],
            [valueOf(.int32, [2, 3], [-73004, -64584, -67781, -55204, -52140, -48452] as [Int32])])
        try expectEvaluates(
            "MatMulInteger", opset: 10, [:],
            [valueOf(.uint8, [2, 5], [64, 201, 206, 174, 173, 79, 183, 34, 161, 235] as [UInt8]), valueOf(.int8, [5, 3], [120, -52, -43, 30, -27, 59, -77, -85, -116, -8, -74, -52, 106, 80, 87] as [Int8]), valueOf(.uint8, [], [7] as [UInt8]), valueOf(.int8, [3], [23, -100, 63] as [Int8])],
            [valueOf(.int32, [2, 3], [-4412, 54105, -57660, 19666, 61753, -25407] as [Int32])])
        try expectEvaluates(
            "MatMulInteger", opset: 10, [:],
            [valueOf(.int8, [2, 2, 4], [26, 104, -6, -84, 24, -12, 40, -32, -50, -96, 118, 65, -9, -68, 32, -23] as [Int8]), valueOf(.int8, [4, 3], [34, -105, -81, 60, -113, 45, -23, -128, 67, 51, 80, 101] as [Int8])],
            [valueOf(.int32, [2, 2, 3], [2978, -20434, -6312, -2456, -8844, -3036, -6859, 6194, 14201, -6295, 2693, -2510] as [Int32])])
        try expectEvaluates(
            "MatMulInteger", opset: 10, [:],
            [valueOf(.uint8, [3, 1, 2, 3], [186, 215, 28, 235, 233, 177, 205, 189, 224, 227, 133, 208, 234, 76, 11, 43, 7, 111] as [UInt8]), valueOf(.int8, [2, 3, 2], [-123, -62, -64, 52, -65, 115, -80, 120, 17, -66, -119, -50] as [Int8]), valueOf(.uint8, [], [9] as [UInt8])],
            [valueOf(.int32, [3, 2, 2, 2], [-36190, 1923, -53054, 16956, -12919, 6694, -34264, 3936, -49603, 21933, -47685, 15817, -38205, 890, -39013, 8026, -32093, -10236, -10684, 9518, -17099, 22478, -14892, -888] as [Int32])])
        try expectEvaluates(
            "MatMulInteger", opset: 10, [:],
            [valueOf(.uint8, [4], [151, 27, 42, 29] as [UInt8]), valueOf(.uint8, [4], [173, 22, 5, 116] as [UInt8])],
            [valueOf(.int32, [], [30291] as [Int32])])
        try expectEvaluates(
            "MatMulInteger", opset: 10, [:],
            [valueOf(.uint8, [2, 37], [79, 145, 240, 219, 137, 164, 207, 111, 168, 55, 156, 60, 48, 194, 147, 96, 10, 60, 205, 119, 245, 230, 218, 4, 12, 148, 86, 215, 81, 39, 28, 77, 160, 32, 204, 77, 80, 169, 220, 111, 204, 78, 33, 212, 196, 192, 225, 127, 50, 149, 146, 98, 163, 67, 155, 203, 24, 116, 169, 13, 161, 233, 210, 175, 205, 92, 83, 21, 184, 80, 222, 119, 228, 35] as [UInt8]), valueOf(.int8, [37, 9], [-87, -40, -122, -3, 38, 41, -74, -86, 16, 34, 113, 101, -31, -87, -64, 97, -12, 126, 40, 24, -103, 23, -31, 87, -94, -79, 41, 46, 84, 6, -32, -50, -33, 41, 10, -53, -73, 53, -65, -75, -44, 90, -11, 24, -108, -40, 64, 69, 20, 96, -52, -86, -109, -77, 67, 103, -95, 0, -94, 88, -95, 35, -108, 60, 104, 59, -60, 87, -50, 64, 85, -4, 30, 90, -81, -123, -17, -82, 98, 93, -32, -49, 53, -12, -104, 41, 58, -111, 70, 8, 83, 89, 44, -43, -34, 57, -112, -69, 4, 113, 65, 80, -80, -57, -60, 63, 9, -74, 63, 35, 101, 15, -96, 99, -81, -114, 76, -13, 36, -95, 56, -25, 127, 34, 112, 74, 87, -106, 70, 26, -27, -49, 36, -78, -81, 95, 66, 23, 65, -46, 56, -76, -15, -91, -32, -41, -21, -7, -120, -41, 88, -18, 10, -102, -29, 120, 12, -123, 56, 69, -31, -120, 84, -64, 107, -35, -29, 75, -93, -121, 66, 109, 126, -96, -91, -42, 54, 105, 83, -33, 107, -63, -97, -17, -105, 45, 124, -101, -99, -83, -83, 8, 19, 115, -14, 109, 64, 90, -80, -12, 106, 64, -73, 88, 68, -91, -111, -62, -7, -89, -120, -100, -48, -29, -49, -14, 56, -65, -12, 58, -114, 112, 126, -54, 99, -64, 106, 40, -65, -113, -28, 62, -70, 3, -97, -20, -120, 124, 0, 87, -97, -86, -83, 17, 92, 27, -5, 113, -81, -86, 43, 90, -60, -62, 6, 71, -56, 82, 4, 52, 32, -5, 9, 126, -27, 113, 74, -82, 95, -30, -83, -64, -94, -42, -100, 11, 122, 118, 113, -66, -69, 45, 120, 83, -75, 60, 1, -15, -1, 11, 106, 74, -118, 67, -48, -42, 25, 123, -112, 3, -68, 105, -9, 90, 97, -103, 66, 74, 84, 124, 66, 85, 53, -53, 89, 51, 46, 121, 60, -42, -51, -45, -86, -108, 65, 72, -86, -28, 107, 86, 24, 120, -44] as [Int8]), valueOf(.uint8, [], [1] as [UInt8]), valueOf(.int8, [], [0] as [Int8])],
            [valueOf(.int32, [2, 9], [79391, 128883, 29395, 11094, -76654, 119062, 25613, -66697, -44429, 71934, 101767, 47818, -21889, -95654, 90746, 19173, -47006, -32280] as [Int32])])
    }

    @Test("QLinearMatMul")
    func qLinearMatMul() throws {
        try expectEvaluates(
            "QLinearMatMul", opset: 10, [:],
            [valueOf(.uint8, [2, 6], [216, 239, 151, 39, 75, 131, 71, 23, 43, 247, 97, 147] as [UInt8]), valueOf(.float32, [], [0.01] as [Float]), valueOf(.uint8, [], [113] as [UInt8]), valueOf(.int8, [6, 3], [-16, 77, -103, -56, 21, 77, -10, 51, 77, 36, 81, 115, -73, -18, -71, -22, -128, 49] as [Int8]), valueOf(.float32, [], [0.02] as [Float]), valueOf(.int8, [], [4] as [Int8]), valueOf(.float32, [], [0.05] as [Float]), valueOf(.uint8, [], [118] as [UInt8])],
            [valueOf(.uint8, [2, 3], [78, 135, 104, 165, 111, 160] as [UInt8])])
        try expectEvaluates(
            "QLinearMatMul", opset: 21, [:],
            [valueOf(.uint8, [2, 2, 6], [60, 213, 184, 85, 116, 171, 106, 53, 11, 141, 136, 196, 33, 16, 188, 186, 204, 3, 167, 245, 195, 119, 121, 104] as [UInt8]), valueOf(.float32, [], [0.01] as [Float]), valueOf(.uint8, [], [113] as [UInt8]), valueOf(.uint8, [6, 3], [14, 184, 137, 133, 238, 187, 245, 21, 243, 144, 102, 142, 9, 238, 161, 10, 233, 115] as [UInt8]), valueOf(.float32, [3], [0.02, 0.1, 0.03] as [Float]), valueOf(.uint8, [3], [4, 9, 200] as [UInt8]), valueOf(.float32, [], [0.2] as [Float]), valueOf(.uint8, [], [118] as [UInt8])],
            [valueOf(.uint8, [2, 2, 3], [144, 246, 121, 90, 169, 99, 133, 0, 135, 156, 255, 116] as [UInt8])])
        try expectEvaluates(
            "QLinearMatMul", opset: 21, [:],
            [valueOf(.int8, [2, 6], [-98, 33, -111, 12, 66, -110, 74, 23, -46, -72, -126, -78] as [Int8]), valueOf(.float32, [], [0.01] as [Float]), valueOf(.int8, [], [11] as [Int8]), valueOf(.int8, [6, 3], [-56, 96, 3, -78, 62, -12, 85, 64, 110, 53, -101, 13, -20, 78, -89, -9, 83, 30] as [Int8]), valueOf(.float32, [], [0.02] as [Float]), valueOf(.int8, [], [-4] as [Int8]), valueOf(.float32, [], [0.06] as [Float]), valueOf(.int8, [], [-18] as [Int8])],
            [valueOf(.int8, [2, 3], [-41, -98, -97, -56, -44, -14] as [Int8])])
    }

    @Test("QGemm, MatMulIntegerToFloat, DynamicQuantizeMatMul")
    func microsoftProducts() throws {
        try expectEvaluates(
            "QGemm", domain: "com.microsoft", opset: 1, ["alpha": .float(1.5)],
            [valueOf(.uint8, [3, 5], [9, 209, 93, 173, 167, 164, 106, 103, 25, 142, 74, 101, 42, 190, 236] as [UInt8]), valueOf(.float32, [], [0.1] as [Float]), valueOf(.uint8, [], [100] as [UInt8]), valueOf(.uint8, [5, 2], [97, 108, 119, 18, 193, 225, 128, 15, 86, 40] as [UInt8]), valueOf(.float32, [], [0.02] as [Float]), valueOf(.uint8, [], [120] as [UInt8]), valueOf(.int32, [2], [588, 540] as [Int32]), valueOf(.float32, [], [0.4] as [Float]), valueOf(.uint8, [], [90] as [UInt8])],
            [valueOf(.uint8, [3, 2], [93, 0, 70, 120, 38, 0] as [UInt8])])
        try expectEvaluates(
            "QGemm", domain: "com.microsoft", opset: 1, ["transA": .int(1), "transB": .int(1)],
            [valueOf(.uint8, [5, 3], [97, 96, 216, 22, 201, 246, 114, 193, 182, 229, 8, 180, 99, 219, 220] as [UInt8]), valueOf(.float32, [], [0.1] as [Float]), valueOf(.uint8, [], [100] as [UInt8]), valueOf(.int8, [2, 5], [-55, 20, -2, 14, 84, 42, 65, 45, -64, 21] as [Int8]), valueOf(.float32, [2], [0.02, 0.03] as [Float]), valueOf(.int8, [2], [0, 0] as [Int8]), valueOf(.int32, [3, 2], [-218, -143, -699, -570, -282, -374] as [Int32])],
            [valueOf(.float32, [3, 2], [0.162, -38.958, 20.126001, 55.197, 14.588, 45.234] as [Float])])
        try expectEvaluates(
            "MatMulIntegerToFloat", domain: "com.microsoft", opset: 1, [:],
            [valueOf(.uint8, [3, 5], [162, 74, 63, 110, 145, 255, 130, 90, 82, 114, 237, 95, 63, 148, 198] as [UInt8]), valueOf(.int8, [5, 2], [114, -57, 99, 90, -32, -43, -60, -47, 98, -49] as [Int8]), valueOf(.float32, [], [0.1] as [Float]), valueOf(.float32, [2], [0.2, 0.3] as [Float]), valueOf(.uint8, [], [3] as [UInt8]), valueOf(.int8, [2], [1, 2] as [Int8]), valueOf(.float32, [2], [-3.12, -4.67] as [Float])],
            [valueOf(.float32, [3, 2], [600.72003, -554.21, 876.86005, -518.84, 867.8401, -768.47003] as [Float])])
        try expectEvaluates(
            "MatMulIntegerToFloat", domain: "com.microsoft", opset: 1, [:],
            [valueOf(.uint8, [3, 5], [126, 57, 221, 58, 80, 138, 126, 19, 50, 254, 107, 71, 211, 119, 211] as [UInt8]), valueOf(.uint8, [5, 2], [40, 121, 207, 196, 173, 117, 210, 95, 168, 139] as [UInt8]), valueOf(.float32, [], [0.1] as [Float]), valueOf(.float32, [], [0.3] as [Float])],
            [valueOf(.float32, [3, 2], [2420.76, 2067.1501, 2641.83, 2510.1902, 3477.54, 2765.52] as [Float])])
        try expectEvaluates(
            "DynamicQuantizeMatMul", domain: "com.microsoft", opset: 1, [:],
            [valueOf(.float32, [3, 5], [-3.23, 3.12, -3.23, -0.86, -4.52, -2.93, 4.16, 2.46, -1.21, -2.61, -5.68, -1.18, -0.09, -0.25, -0.28] as [Float]), valueOf(.int8, [5, 2], [-54, -7, -80, 6, 98, 33, -86, -76, -109, 118] as [Int8]), valueOf(.float32, [2], [0.2, 0.3] as [Float]), valueOf(.int8, [2], [1, 2] as [Int8]), valueOf(.float32, [2], [-0.41, -2.3] as [Float])],
            [valueOf(.float32, [3, 2], [35.824356, -157.19319, 90.78944, -29.736237, 89.840164, 6.880142] as [Float])])
        try expectEvaluates(
            "DynamicQuantizeMatMul", domain: "com.microsoft", opset: 1, [:],
            [valueOf(.float32, [2, 3, 5], [-0.19, -1.82, -2.23, -0.18, -3.13, 1.82, -0.31, 0.75, -0.55, -2.18, -2.84, -0.71, -1.65, 0.7, -0.01, -4.09, 0.2, -4.03, -1.85, -0.88, -6.23, 0.27, 0.45, -0.47, -1.27, -1.12, -2.93, -0.81, -1.66, 0.28] as [Float]), valueOf(.uint8, [5, 2], [244, 121, 217, 3, 33, 117, 41, 41, 6, 69] as [UInt8]), valueOf(.float32, [], [0.3] as [Float]), valueOf(.uint8, [], [120] as [UInt8])],
            [valueOf(.float32, [2, 3, 2], [109.546295, 118.53389, 126.366066, 56.994003, -99.516945, 8.542471, 32.683002, 53.42359, -180.20636, 18.306648, -75.17753, 138.76306] as [Float])])
    }
}
