import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

/// Expected values: onnxruntime 1.31.1 without optimisation.
struct QuantizedRecurrentTests {
    @Test("DynamicQuantizeLSTM: scales for each column, and for each of two directions")
    func lstm() throws {
        try expectEvaluates(
            "DynamicQuantizeLSTM", domain: "com.microsoft", opset: 1, ["hidden_size": .int(2), "direction": .string("forward")],
            [valueOf(.float32, [3, 1, 3], [2.04, -2.56, 0.42, -0.57, -0.45, -0.22, -2.02, -0.23, -0.87] as [Float]), valueOf(.int8, [1, 3, 8], [-94, -78, -10, -22, 77, 3, -16, -14, 33, 17, -66, 47, 51, 91, 57, -44, -37, 29, 30, 39, 73, -42, 87, -100] as [Int8]), valueOf(.int8, [1, 2, 8], [-85, 94, 88, -41, -73, -38, -92, 78, 32, 17, -52, -6, -62, 54, -6, -94] as [Int8]), valueOf(.float32, [1, 16], [1, -0.89, -0.29, 0.88, 0.58, 0.09, 0.67, -2.83, 1.02, -0.96, -1.67, 0.28, 0.7, -0.44, -1.08, 0.03] as [Float]), nil, nil, nil, nil, valueOf(.float32, [1, 8], [0.004, 0.008, 0.004, 0.002, 0.006, 0.008, 0.006, 0.004] as [Float]), valueOf(.int8, [1, 8], [0, 0, 0, 0, 0, 0, 0, 0] as [Int8]), valueOf(.float32, [1, 8], [0.008, 0.004, 0.004, 0.002, 0.002, 0.006, 0.008, 0.004] as [Float]), valueOf(.int8, [1, 8], [0, 0, 0, 0, 0, 0, 0, 0] as [Int8])],
            [valueOf(.float32, [3, 1, 1, 2], [-0.1133123, -0.02303232, -0.09212548, -0.1286529, -0.0951613, -0.265458] as [Float]), valueOf(.float32, [1, 1, 2], [-0.0951613, -0.265458] as [Float]), valueOf(.float32, [1, 1, 2], [-0.970125, -0.3631401] as [Float])], tolerance: 1e-5)
        try expectEvaluates(
            "DynamicQuantizeLSTM", domain: "com.microsoft", opset: 1, ["hidden_size": .int(2), "direction": .string("bidirectional")],
            [valueOf(.float32, [2, 2, 2], [0.58, -0.21, -0.78, 0.23, -2.49, 0.69, 0.49, -1.64] as [Float]), valueOf(.uint8, [2, 2, 8], [46, 191, 84, 144, 239, 234, 121, 52, 63, 216, 150, 43, 225, 245, 247, 159, 248, 154, 127, 247, 154, 200, 86, 201, 248, 13, 136, 94, 13, 21, 68, 49] as [UInt8]), valueOf(.uint8, [2, 2, 8], [182, 54, 159, 218, 126, 32, 16, 75, 105, 125, 77, 216, 144, 246, 238, 180, 6, 54, 190, 138, 240, 180, 209, 13, 75, 173, 161, 93, 40, 150, 22, 170] as [UInt8]), valueOf(.float32, [2, 16], [-0.32, 0.22, 0.58, -1.25, -1.73, -0, 1.21, 0.76, 0.22, -0.32, 0.29, -0.24, 0.82, -0.79, 0.13, -0.11, 0.54, 0.22, 2.55, 1.5, 1.5, -2.04, -0.34, -0.61, 0.53, -2.28, 1.17, 1.07, -1.3, -0.98, -0.8, 0.04] as [Float]), nil, nil, nil, nil, valueOf(.float32, [2], [0.006, 0.004] as [Float]), valueOf(.uint8, [2], [120, 120] as [UInt8]), valueOf(.float32, [2], [0.008, 0.004] as [Float]), valueOf(.uint8, [2], [120, 120] as [UInt8])],
            [valueOf(.float32, [2, 2, 2, 2], [0.2280433, 0.03699118, 0.3402809, 0.04852122, -0.7030565, -0.02582261, -0.6478899, -0.05655106, 0.4993848, 0.03536747, -0.002912164, 0.01417738, -0.3664775, -0.04497942, -0.3953837, 0.0113122] as [Float]), valueOf(.float32, [2, 2, 2], [0.4993848, 0.03536747, -0.002912164, 0.01417738, -0.7030565, -0.02582261, -0.6478899, -0.05655106] as [Float]), valueOf(.float32, [2, 2, 2], [0.6949744, 0.2942701, -0.004578501, 0.03442633, -0.9118566, -0.02729613, -0.8026786, -0.06343848] as [Float])], tolerance: 1e-5)
    }

    @Test("Scales and weights of wrong shapes are refused")
    func errors() throws {
        let x = try valueOf(.float32, [2, 1, 3], [Float](repeating: 1, count: 6))
        let w = try valueOf(.int8, [1, 3, 8], [Int8](repeating: 1, count: 24)), r = try valueOf(.int8, [1, 2, 8], [Int8](repeating: 1, count: 16))
        let zero = try valueOf(.int8, [1], [Int8(0)]), scale = try valueOf(.float32, [1], [Float(1)])
        let three = try valueOf(.float32, [3], [Float](repeating: 1, count: 3))
        func run(_ inputs: [Value?]) throws {
            _ = try Evaluator().evaluate("DynamicQuantizeLSTM", domain: "com.microsoft", opset: 1, ["hidden_size": .int(2)], inputs)
        }
        #expect(throws: ApusError.self) { try run([x, w, r, nil, nil, nil, nil, nil, three, zero, scale, zero]) }
        #expect(throws: ApusError.self) { try run([x, r, w, nil, nil, nil, nil, nil, scale, zero, scale, zero]) }
        try run([x, w, r, nil, nil, nil, nil, nil, scale, zero, scale, zero])
    }
}
