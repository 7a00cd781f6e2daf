import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

/// Expected values: onnxruntime 1.31.1 without optimisation.
struct QuantizeLinearTests {
    @Test("QuantizeLinear per tensor, axis and block")
    func quantizeLinear() throws {
        try expectEvaluates(
            "QuantizeLinear", opset: 10, [:],
            [valueOf(.float32, [10], [-1000.0, -2.5, -1.5, -0.5, 0.0, 0.5, 1.5, 2.5, 3.7, 1000.0] as [Float]), valueOf(.float32, [], [1.0] as [Float]), valueOf(.uint8, [], [3] as [UInt8])],
            [valueOf(.uint8, [10], [0, 1, 1, 3, 3, 3, 5, 5, 7, 255] as [UInt8])])
        try expectEvaluates(
            "QuantizeLinear", opset: 13, [:],
            [valueOf(.float32, [10], [-1000.0, -2.5, -1.5, -0.5, 0.0, 0.5, 1.5, 2.5, 3.7, 1000.0] as [Float]), valueOf(.float32, [], [0.3] as [Float]), valueOf(.int8, [], [-5] as [Int8])],
            [valueOf(.int8, [10], [-128, -13, -10, -7, -5, -3, 0, 3, 7, 127] as [Int8])])
        try expectEvaluates(
            "QuantizeLinear", opset: 13, [:],
            [valueOf(.float32, [10], [-1000.0, -2.5, -1.5, -0.5, 0.0, 0.5, 1.5, 2.5, 3.7, 1000.0] as [Float]), valueOf(.float32, [], [0.3] as [Float])],
            [valueOf(.uint8, [10], [0, 0, 0, 0, 0, 2, 5, 8, 12, 255] as [UInt8])])
        try expectEvaluates(
            "QuantizeLinear", opset: 13, ["axis": .int(-2)],
            [valueOf(.float32, [2, 3, 2], [0.0, 0.9, -0.82, -2.67, -1.36, -2.97, 0.18, 4.02, -1.48, -1.86, 1.47, 1.07] as [Float]), valueOf(.float32, [3], [0.1, 0.2, 0.3] as [Float]), valueOf(.uint8, [3], [1, 0, 255] as [UInt8])],
            [valueOf(.uint8, [2, 3, 2], [1, 10, 0, 0, 250, 245, 3, 41, 0, 0, 255, 255] as [UInt8])])
        try expectEvaluates(
            "QuantizeLinear", opset: 19, [:],
            [valueOf(.float32, [3, 4], [0.32, -2.79, -0.09, 2.09, -4.03, -1.37, -5.7, -3.87, -5.53, -0.71, -3.8, 0.81] as [Float]), valueOf(.float32, [4], [0.1, 0.2, 0.3, 0.07] as [Float]), valueOf(.int8, [4], [1, -100, 0, 4] as [Int8])],
            [valueOf(.int8, [3, 4], [4, -114, 0, 34, -39, -107, -19, -51, -54, -104, -13, 16] as [Int8])])
        try expectEvaluates(
            "QuantizeLinear", opset: 21, ["axis": .int(1), "block_size": .int(2)],
            [valueOf(.float32, [2, 5], [0.47, -0.56, -7.55, -1.62, -0.15, 0.34, -4.59, -1.43, -2.94, -2.43] as [Float]), valueOf(.float32, [2, 3], [3.28, 2.52, 0.2, 2.75, 1.85, 0.44] as [Float]), valueOf(.uint16, [2, 3], [63235, 57693, 12204, 33409, 61587, 55518] as [UInt16])],
            [valueOf(.uint16, [2, 5], [63235, 63235, 57690, 57692, 12203, 33409, 33407, 61586, 61585, 55512] as [UInt16])])
        try expectEvaluates(
            "QuantizeLinear", opset: 21, ["axis": .int(0), "block_size": .int(2)],
            [valueOf(.float32, [5, 3], [0.23, 4.08, -4.64, 2.58, 0.36, -1.92, 6.0, 2.29, -3.6, 0.22, 1.73, -0.57, 2.05, -0.2, 2.0] as [Float]), valueOf(.float32, [3, 3], [4.42, 2.1299999, 0.71000004, 1.49, 0.48, 3.6599998, 1.84, 0.69, 2.8] as [Float]), valueOf(.int16, [3, 3], [-19, 92, 89, -57, -98, 34, -97, -40, -1] as [Int16])],
            [valueOf(.int16, [5, 3], [-19, 94, 82, -18, 92, 86, -53, -93, 33, -57, -94, 34, -96, -40, 0] as [Int16])])
    }

    @Test("DequantizeLinear per tensor, axis and block")
    func dequantizeLinear() throws {
        try expectEvaluates(
            "DequantizeLinear", opset: 10, [:],
            [valueOf(.uint8, [2, 3], [223, 23, 169, 136, 33, 216] as [UInt8]), valueOf(.float32, [], [0.1] as [Float]), valueOf(.uint8, [], [128] as [UInt8])],
            [valueOf(.float32, [2, 3], [9.5, -10.5, 4.1, 0.8, -9.5, 8.8] as [Float])])
        try expectEvaluates(
            "DequantizeLinear", opset: 13, [:],
            [valueOf(.int8, [2, 3, 2], [88, -5, 113, 27, 103, 117, 17, -57, -91, 16, -79, 64] as [Int8]), valueOf(.float32, [3], [0.1, 0.2, 0.3] as [Float]), valueOf(.int8, [3], [1, 0, -9] as [Int8])],
            [valueOf(.float32, [2, 3, 2], [8.7, -0.6, 22.6, 5.4, 33.600002, 37.800003, 1.6, -5.8, -18.2, 3.2, -21.0, 21.900002] as [Float])])
        try expectEvaluates(
            "DequantizeLinear", opset: 13, [:],
            [valueOf(.int32, [6], [1837840920, -1093303530, 224740552, -1936316388, -1372016573, -527547502] as [Int32]), valueOf(.float32, [], [0.001] as [Float])],
            [valueOf(.float32, [6], [1837841.0, -1093303.6, 224740.55, -1936316.5, -1372016.6, -527547.5] as [Float])])
        try expectEvaluates(
            "DequantizeLinear", opset: 21, ["axis": .int(1), "block_size": .int(2)],
            [valueOf(.uint8, [2, 5], [226, 248, 164, 149, 145, 15, 96, 251, 105, 54] as [UInt8]), valueOf(.float32, [2, 3], [1.96, -0.07, 2.01, -1.02, 3.16, -0.02] as [Float]), valueOf(.uint8, [2, 3], [61, 14, 6, 184, 95, 205] as [UInt8])],
            [valueOf(.float32, [2, 5], [323.4, 366.52002, -10.5, -9.45, 279.38998, 172.37999, 89.759995, 492.96002, 31.6, 3.02] as [Float])])
        try expectEvaluates(
            "DequantizeLinear", opset: 21, ["axis": .int(0), "block_size": .int(2)],
            [valueOf(.int16, [5, 3], [-939, 813, -754, -169, 933, -783, 315, 455, -144, -842, 47, -134, 744, 364, -312] as [Int16]), valueOf(.float32, [3, 3], [-1.87, 0.62, 1.48, -0.53, -0.62, 2.11, 1.56, -3.1, -0.24] as [Float])],
            [valueOf(.float32, [5, 3], [1755.93, 504.06, -1115.92, 316.03, 578.46, -1158.84, -166.95, -282.1, -303.84, 446.25998, -29.14, -282.74, 1160.64, -1128.4, 74.88] as [Float])])
    }

    @Test("DynamicQuantizeLinear")
    func dynamicQuantizeLinear() throws {
        try expectEvaluates(
            "DynamicQuantizeLinear", opset: 11, [:],
            [valueOf(.float32, [3, 5], [0.11, -3.16, 0.78, -2.57, 2.92, 0.58, 0.27, -1.77, -0.36, -5.99, -3.39, 1.09, -6.39, 2.54, -5.24] as [Float])],
            [valueOf(.uint8, [3, 5], [178, 88, 196, 105, 255, 191, 182, 127, 165, 11, 82, 205, 0, 245, 31] as [UInt8]), valueOf(.float32, [], [0.0365098] as [Float]), valueOf(.uint8, [], [175] as [UInt8])])
        try expectEvaluates(
            "DynamicQuantizeLinear", opset: 11, [:],
            [valueOf(.float32, [4], [2.27, 2.54, 2.34, 0.39] as [Float])],
            [valueOf(.uint8, [4], [228, 255, 235, 39] as [UInt8]), valueOf(.float32, [], [0.009960785] as [Float]), valueOf(.uint8, [], [0] as [UInt8])])
        try expectEvaluates(
            "DynamicQuantizeLinear", opset: 11, [:],
            [valueOf(.float32, [4], [-4.61, -3.75, -4.33, -0.2] as [Float])],
            [valueOf(.uint8, [4], [0, 48, 15, 244] as [UInt8]), valueOf(.float32, [], [0.018078431] as [Float]), valueOf(.uint8, [], [255] as [UInt8])])
        try expectEvaluates(
            "DynamicQuantizeLinear", opset: 11, [:],
            [valueOf(.float32, [3], [0.0, 0.0, 0.0] as [Float])],
            [valueOf(.uint8, [3], [0, 0, 0] as [UInt8]), valueOf(.float32, [], [1.0] as [Float]), valueOf(.uint8, [], [0] as [UInt8])])
        try expectEvaluates(
            "DynamicQuantizeLinear", opset: 11, [:],
            [valueOf(.float32, [], [2.5] as [Float])],
            [valueOf(.uint8, [], [255] as [UInt8]), valueOf(.float32, [], [0.009803922] as [Float]), valueOf(.uint8, [], [0] as [UInt8])])
    }
/*MORE*/}
