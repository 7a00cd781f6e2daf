import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

/// DFT, STFT, windows and MelWeightMatrix. Expected values come from NumPy or ONNX's reference evaluator.
struct SignalTests {

    /// Every length up to 70 and some large ones, primes among them, against the definition.
    @Test
    func transformOfAnyLength() throws {
        for length in Array(1...70) + [97, 121, 128, 169, 210, 251, 289, 360, 1009] {
            let transform = try FourierTransform(length: length, budget: .shared)
            var numbers = Numbers(UInt64(length))
            let x = (0..<2 * length).map { _ in Double(numbers.next()) }
            var re = Array(x[..<length]), im = Array(x[length...])
            var scratch = [Double](repeating: .nan, count: transform.workspaceCount)
            re.withUnsafeMutableBufferPointer { re in
                im.withUnsafeMutableBufferPointer { im in
                    scratch.withUnsafeMutableBufferPointer { scratch in
                        if let re = re.baseAddress, let im = im.baseAddress, let scratch = scratch.baseAddress { transform.run(re, im, scratch) }
                    }
                }
            }
            var worst = 0.0
            for k in 0..<length {
                var sum = (0.0, 0.0)
                for n in 0..<length {
                    let (c, s) = unitCircle(Double(k * n % length) / Double(length))
                    sum.0 += x[n] * c + x[length + n] * s
                    sum.1 += x[length + n] * c - x[n] * s
                }
                worst = max(worst, abs(sum.0 - re[k]), abs(sum.1 - im[k]))
            }
            #expect(worst < 1e-11, "length \(length): \(worst)")
        }
        expectError(.invalidValue) { _ = try FourierTransform(length: 0, budget: .shared) }
        expectError(.memoryLimit) { _ = try FourierTransform(length: 1 << 40, budget: MemoryBudget(cap: 1 << 20)) }
    }

    @Test
    func transform() throws {
        try expectEvaluates(
            "DFT", opset: 17, ["axis": .int(1)],
            [.tensor(try Tensor(.float32, [2, 5, 3, 1], [-0.42, -0.06, -2.14, 1.64, -1.79, -0.84, 0.5, -1.25, -1.06, -0.91, 0.55, 2.29, 0.04, -1.12, 0.54, -0.6, -0.02, 1.18, -0.75, 0.01, -0.88, -0.16, 0.26, -0.99, -0.34, -0.24, -0.64, -1.19, -1.42, -0.15] as [Float])), nil],
            [.tensor(try Tensor(.float32, [2, 5, 3, 2], [0.84999996, 0, -3.6699998, 0, -1.21, 0, 0.43084556, -2.3504677, -0.39292756, 1.6952213, -3.227796, 3.2815385, -1.9058455, 0.40053332, 2.0779276, -1.3180857, -1.5172042, -2.3748956, -1.9058455, -0.40053332, 2.0779276, 1.3180857, -1.5172042, 2.3748956, 0.43084556, 2.3504677, -0.39292756, -1.6952213, -3.227796, -3.2815385, -3.04, 0, -1.41, 0, -1.48, 0, -0.7949845, -0.52426624, -0.4718943, -1.6539034, 2.1804101, 0.8999961, 0.8149845, -0.087435365, 1.1268942, -0.36500463, 1.5095898, 0.09621342, 0.8149845, 0.087435365, 1.1268942, 0.36500463, 1.5095898, -0.09621342, -0.7949845, 0.52426624, -0.4718943, 1.6539034, 2.1804101, -0.8999961] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "DFT", opset: 17, ["axis": .int(2), "onesided": .int(1)],
            [.tensor(try Tensor(.float32, [2, 5, 3, 1], [-0.42, -0.06, -2.14, 1.64, -1.79, -0.84, 0.5, -1.25, -1.06, -0.91, 0.55, 2.29, 0.04, -1.12, 0.54, -0.6, -0.02, 1.18, -0.75, 0.01, -0.88, -0.16, 0.26, -0.99, -0.34, -0.24, -0.64, -1.19, -1.42, -0.15] as [Float])), nil],
            [.tensor(try Tensor(.float32, [2, 5, 2, 2], [-2.6200001, 0, 0.68000007, -1.801333, -0.98999995, 0, 2.955, 0.8227241, -1.81, 0, 1.655, 0.16454488, 1.93, 0, -2.33, 1.5068842, -0.53999996, 0, 0.32999998, 1.4376022, 0.55999994, 0, -1.18, 1.0392305, -1.62, 0, -0.315, -0.7707626, -0.89, 0, 0.20500001, -1.0825318, -1.22, 0, 0.09999999, -0.34641016, -2.76, 0, -0.4050001, 1.0998522] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "DFT", opset: 17, ["axis": .int(-2)],
            [.tensor(try Tensor(.float32, [2, 6, 2], [-0.27, 2.23, -2.43, 0.11, 0.37, 1.36, 0.5, -0.84, 0, 0.54, -0.31, 0.77, -1.87, 1.73, 1.47, -0.34, 0.61, 0.05, -0.83, 0.09, 1, -0.38, -0.38, -0.07] as [Float])), .tensor(try Tensor(.int64, [], [8] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 8, 2], [-2.14, 4.17, -1.82328, 2.5927923, 1.0799999, 4.65, -0.83804035, 3.0782337, 2.3400002, 4.09, 4.00328, 0.047207747, -2.36, -1.83, -2.4219596, 1.0417662, 5.96046448e-08, 1.08, -1.0522331, 0.52419263, -1.98, -0.62, -4.9423256, 2.2533095, -0.52000004, 1.72, -4.587767, 2.4758074, -0.98, 3.22, -0.8976746, 3.1866906] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "DFT", opset: 17, ["axis": .int(1), "inverse": .int(1)],
            [.tensor(try Tensor(.float32, [2, 6, 2], [-0.27, 2.23, -2.43, 0.11, 0.37, 1.36, 0.5, -0.84, 0, 0.54, -0.31, 0.77, -1.87, 1.73, 1.47, -0.34, 0.61, 0.05, -0.83, 0.09, 1, -0.38, -0.38, -0.07] as [Float])), .tensor(try Tensor(.int32, [], [4] as [Int32]))],
            [.tensor(try Tensor(.float32, [2, 4, 2], [-0.4575, 0.71500003, -0.39749998, -0.515, 0.5075, 1.08, 0.0775, 0.95000005, -0.15499999, 0.3825, -0.5125, 0.995, -0.47500002, 0.5075, -0.7275, -0.15499997] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "DFT", opset: 17, ["axis": .int(1), "inverse": .int(1), "onesided": .int(1)],
            [.tensor(try Tensor(.float32, [2, 6, 2], [-0.27, 2.23, -2.43, 0.11, 0.37, 1.36, 0.5, -0.84, 0, 0.54, -0.31, 0.77, -1.87, 1.73, 1.47, -0.34, 0.61, 0.05, -0.83, 0.09, 1, -0.38, -0.38, -0.07] as [Float])), nil],
            [.tensor(try Tensor(.float32, [2, 10, 1], [-0.37, -0.57253873, -0.52578586, 0.112709, 0.85796565, 0.46400005, -0.0800632, 0.23772441, -0.1721166, -0.22189474, 0.22500001, 0.07405601, -0.039655026, -0.25763437, -0.65056187, 0.045000028, -0.6259404, -0.5644547, -0.033842694, -0.041966986] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "DFT", opset: 17, ["axis": .int(1), "inverse": .int(1), "onesided": .int(1)],
            [.tensor(try Tensor(.float32, [2, 6, 2], [-0.27, 2.23, -2.43, 0.11, 0.37, 1.36, 0.5, -0.84, 0, 0.54, -0.31, 0.77, -1.87, 1.73, 1.47, -0.34, 0.61, 0.05, -0.83, 0.09, 1, -0.38, -0.38, -0.07] as [Float])), .tensor(try Tensor(.int64, [], [7] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 7, 1], [-0.48428577, -0.9229539, 0.06006105, 1.1452253, 0.0969378, 0.15943173, -0.32441604, 0.09, 0.22046377, -0.544474, -0.45586705, -0.5123633, -0.7864937, 0.11873416] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "DFT", opset: 20, [:],
            [.tensor(try Tensor(.float32, [2, 5, 3, 1], [-0.42, -0.06, -2.14, 1.64, -1.79, -0.84, 0.5, -1.25, -1.06, -0.91, 0.55, 2.29, 0.04, -1.12, 0.54, -0.6, -0.02, 1.18, -0.75, 0.01, -0.88, -0.16, 0.26, -0.99, -0.34, -0.24, -0.64, -1.19, -1.42, -0.15] as [Float])), nil, .tensor(try Tensor(.int64, [], [1] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 5, 3, 2], [0.84999996, 0, -3.6699998, 0, -1.21, 0, 0.43084556, -2.3504677, -0.39292756, 1.6952213, -3.227796, 3.2815385, -1.9058455, 0.40053332, 2.0779276, -1.3180857, -1.5172042, -2.3748956, -1.9058455, -0.40053332, 2.0779276, 1.3180857, -1.5172042, 2.3748956, 0.43084556, 2.3504677, -0.39292756, -1.6952213, -3.227796, -3.2815385, -3.04, 0, -1.41, 0, -1.48, 0, -0.7949845, -0.52426624, -0.4718943, -1.6539034, 2.1804101, 0.8999961, 0.8149845, -0.087435365, 1.1268942, -0.36500463, 1.5095898, 0.09621342, 0.8149845, 0.087435365, 1.1268942, 0.36500463, 1.5095898, -0.09621342, -0.7949845, 0.52426624, -0.4718943, 1.6539034, 2.1804101, -0.8999961] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "DFT", opset: 20, ["onesided": .int(1)],
            [.tensor(try Tensor(.float32, [2, 5, 3, 1], [-0.42, -0.06, -2.14, 1.64, -1.79, -0.84, 0.5, -1.25, -1.06, -0.91, 0.55, 2.29, 0.04, -1.12, 0.54, -0.6, -0.02, 1.18, -0.75, 0.01, -0.88, -0.16, 0.26, -0.99, -0.34, -0.24, -0.64, -1.19, -1.42, -0.15] as [Float])), nil, .tensor(try Tensor(.int64, [], [2] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 5, 2, 2], [-2.6200001, 0, 0.68000007, -1.801333, -0.98999995, 0, 2.955, 0.8227241, -1.81, 0, 1.655, 0.16454488, 1.93, 0, -2.33, 1.5068842, -0.53999996, 0, 0.32999998, 1.4376022, 0.55999994, 0, -1.18, 1.0392305, -1.62, 0, -0.315, -0.7707626, -0.89, 0, 0.20500001, -1.0825318, -1.22, 0, 0.09999999, -0.34641016, -2.76, 0, -0.4050001, 1.0998522] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "DFT", opset: 20, [:],
            [.tensor(try Tensor(.float32, [2, 6, 2], [-0.27, 2.23, -2.43, 0.11, 0.37, 1.36, 0.5, -0.84, 0, 0.54, -0.31, 0.77, -1.87, 1.73, 1.47, -0.34, 0.61, 0.05, -0.83, 0.09, 1, -0.38, -0.38, -0.07] as [Float])), .tensor(try Tensor(.int64, [], [8] as [Int64])), .tensor(try Tensor(.int64, [], [-2] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 8, 2], [-2.14, 4.17, -1.82328, 2.5927923, 1.0799999, 4.65, -0.83804035, 3.0782337, 2.3400002, 4.09, 4.00328, 0.047207747, -2.36, -1.83, -2.4219596, 1.0417662, 5.96046448e-08, 1.08, -1.0522331, 0.52419263, -1.98, -0.62, -4.9423256, 2.2533095, -0.52000004, 1.72, -4.587767, 2.4758074, -0.98, 3.22, -0.8976746, 3.1866906] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "DFT", opset: 20, ["inverse": .int(1)],
            [.tensor(try Tensor(.float32, [2, 6, 2], [-0.27, 2.23, -2.43, 0.11, 0.37, 1.36, 0.5, -0.84, 0, 0.54, -0.31, 0.77, -1.87, 1.73, 1.47, -0.34, 0.61, 0.05, -0.83, 0.09, 1, -0.38, -0.38, -0.07] as [Float])), .tensor(try Tensor(.int32, [], [4] as [Int32])), .tensor(try Tensor(.int64, [], [1] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 4, 2], [-0.4575, 0.71500003, -0.39749998, -0.515, 0.5075, 1.08, 0.0775, 0.95000005, -0.15499999, 0.3825, -0.5125, 0.995, -0.47500002, 0.5075, -0.7275, -0.15499997] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "DFT", opset: 20, ["inverse": .int(1), "onesided": .int(1)],
            [.tensor(try Tensor(.float32, [2, 6, 2], [-0.27, 2.23, -2.43, 0.11, 0.37, 1.36, 0.5, -0.84, 0, 0.54, -0.31, 0.77, -1.87, 1.73, 1.47, -0.34, 0.61, 0.05, -0.83, 0.09, 1, -0.38, -0.38, -0.07] as [Float])), nil, .tensor(try Tensor(.int64, [], [1] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 10, 1], [-0.37, -0.57253873, -0.52578586, 0.112709, 0.85796565, 0.46400005, -0.0800632, 0.23772441, -0.1721166, -0.22189474, 0.22500001, 0.07405601, -0.039655026, -0.25763437, -0.65056187, 0.045000028, -0.6259404, -0.5644547, -0.033842694, -0.041966986] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "DFT", opset: 20, ["inverse": .int(1), "onesided": .int(1)],
            [.tensor(try Tensor(.float32, [2, 6, 2], [-0.27, 2.23, -2.43, 0.11, 0.37, 1.36, 0.5, -0.84, 0, 0.54, -0.31, 0.77, -1.87, 1.73, 1.47, -0.34, 0.61, 0.05, -0.83, 0.09, 1, -0.38, -0.38, -0.07] as [Float])), .tensor(try Tensor(.int64, [], [7] as [Int64])), .tensor(try Tensor(.int64, [], [1] as [Int64]))],
            [.tensor(try Tensor(.float32, [2, 7, 1], [-0.48428577, -0.9229539, 0.06006105, 1.1452253, 0.0969378, 0.15943173, -0.32441604, 0.09, 0.22046377, -0.544474, -0.45586705, -0.5123633, -0.7864937, 0.11873416] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "DFT", opset: 17, [:],
            [.tensor(try Tensor(.float32, [2, 5, 3, 1], [-0.42, -0.06, -2.14, 1.64, -1.79, -0.84, 0.5, -1.25, -1.06, -0.91, 0.55, 2.29, 0.04, -1.12, 0.54, -0.6, -0.02, 1.18, -0.75, 0.01, -0.88, -0.16, 0.26, -0.99, -0.34, -0.24, -0.64, -1.19, -1.42, -0.15] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 5, 3, 2], [0.84999996, 0, -3.6699998, 0, -1.21, 0, 0.43084556, -2.3504677, -0.39292756, 1.6952213, -3.227796, 3.2815385, -1.9058455, 0.40053332, 2.0779276, -1.3180857, -1.5172042, -2.3748956, -1.9058455, -0.40053332, 2.0779276, 1.3180857, -1.5172042, 2.3748956, 0.43084556, 2.3504677, -0.39292756, -1.6952213, -3.227796, -3.2815385, -3.04, 0, -1.41, 0, -1.48, 0, -0.7949845, -0.52426624, -0.4718943, -1.6539034, 2.1804101, 0.8999961, 0.8149845, -0.087435365, 1.1268942, -0.36500463, 1.5095898, 0.09621342, 0.8149845, 0.087435365, 1.1268942, 0.36500463, 1.5095898, -0.09621342, -0.7949845, 0.52426624, -0.4718943, 1.6539034, 2.1804101, -0.8999961] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "DFT", opset: 20, [:],
            [.tensor(try Tensor(.float32, [2, 5, 3, 1], [-0.42, -0.06, -2.14, 1.64, -1.79, -0.84, 0.5, -1.25, -1.06, -0.91, 0.55, 2.29, 0.04, -1.12, 0.54, -0.6, -0.02, 1.18, -0.75, 0.01, -0.88, -0.16, 0.26, -0.99, -0.34, -0.24, -0.64, -1.19, -1.42, -0.15] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 5, 3, 2], [-2.6200001, 0, 0.68000007, -1.801333, 0.68000007, 1.801333, -0.98999995, 0, 2.955, 0.8227241, 2.955, -0.8227241, -1.81, 0, 1.655, 0.16454488, 1.655, -0.16454488, 1.93, 0, -2.33, 1.5068842, -2.33, -1.5068842, -0.53999996, 0, 0.32999998, 1.4376022, 0.32999998, -1.4376022, 0.55999994, 0, -1.18, 1.0392305, -1.18, -1.0392305, -1.62, 0, -0.315, -0.7707626, -0.315, 0.7707626, -0.89, 0, 0.20500001, -1.0825318, 0.20500001, 1.0825318, -1.22, 0, 0.09999999, -0.34641016, 0.09999999, 0.34641016, -2.76, 0, -0.4050001, 1.0998522, -0.4050001, -1.0998522] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "DFT", opset: 20, [:],
            [.tensor(try Tensor(.float64, [3, 1], [0.4300000071525574, 1.2799999713897705, -0.6299999952316284] as [Double]))],
            [.tensor(try Tensor(.float64, [3, 2], [1.0799999833106995, 0.0, 0.10500001907348633, -1.6541084923215612, 0.10500001907348633, 1.6541084923215612] as [Double]))], tolerance: 1e-05)
        try expectEvaluates(
            "DFT", opset: 20, [:],
            [.tensor(try Tensor(.float16, [4, 2], ([0.5097656, 0.2199707, -1.8603516, -0.41992188, -0.13000488, -0.040008545, 0.33007812, -2.0390625] as [Float]).map { Half($0) }))],
            [.tensor(try Tensor(.float16, [4, 2], ([-1.1503906, -2.2792969, 2.2597656, 2.4511719, 1.9101562, 2.6386719, -0.9794922, -1.9306641] as [Float]).map { Half($0) }))], tolerance: 0.01)
    }

    @Test
    func shortTime() throws {
        try expectEvaluates(
            "STFT", opset: 17, [:],
            [.tensor(try Tensor(.float32, [1, 11, 1], [0.05, -0.68, -1.44, 0.52, 0.74, -0.65, 0.84, -0.38, 0.07, -1.1, 1.58] as [Float])), .tensor(try Tensor(.int64, [], [3] as [Int64])), .tensor(try Tensor(.float32, [4], [2.66, 0.09, 0.7, 2.03] as [Float])), .tensor(try Tensor(.int64, [], [4] as [Int64]))],
            [.tensor(try Tensor(.float32, [1, 3, 3, 2], [0.119399905, 0, 1.141, 1.1168, -1.8693999, 0, 2.7, 0, 1.8382001, 1.6386, -0.8435999, 0, 0.016199991, 0, 2.1854, -2.1988, 4.5506, 0] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "STFT", opset: 17, ["onesided": .int(0)],
            [.tensor(try Tensor(.float32, [1, 11, 1], [0.05, -0.68, -1.44, 0.52, 0.74, -0.65, 0.84, -0.38, 0.07, -1.1, 1.58] as [Float])), .tensor(try Tensor(.int64, [], [2] as [Int64])), .tensor(try Tensor(.float32, [4], [2.66, 0.09, 0.7, 2.03] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 4, 4, 2], [0.119399905, 0, 1.141, 1.1168, -1.8693999, 0, 1.141, -1.1168, -4.5851, 0, -4.3484, -1.3663, -2.0397003, 0, -4.3484, 1.3663, 1.7265002, 0, 1.3804002, -0.7129, 3.3863, 0, 1.3804002, 0.7129, 0.016199991, 0, 2.1854, -2.1988, 4.5506, 0, 2.1854, 2.1988] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "STFT", opset: 17, [:],
            [.tensor(try Tensor(.float64, [2, 7, 1], [-0.1899999976158142, -0.07999999821186066, 0.8199999928474426, 1.25, -0.4000000059604645, -1.3799999952316284, 1.3700000047683716, 1.2200000286102295, -0.46000000834465027, 0.3499999940395355, 0.3799999952316284, 0.5699999928474426, 0.20000000298023224, 1.409999966621399] as [Double])), .tensor(try Tensor(.int32, [], [2] as [Int32])), nil, .tensor(try Tensor(.int32, [], [5] as [Int32]))],
            [.tensor(try Tensor(.float64, [2, 2, 3, 2], [1.3999999910593033, 0.0, -2.012993328774709, -0.051590429893878076, 0.837993339205522, -0.5970455940975088, 1.6599999964237213, 0.0, 3.0696747705351424, -0.46190275444996276, -1.849674786628397, 1.0025696088433962, 2.060000002384186, 0.0, 0.6634094959886722, 0.9972217711872247, 1.3565905743448088, 0.5768871139393396, 2.9099999517202377, 0.0, 0.280197319889401, 0.7621076471817522, -0.8601973106506811, 0.9573096944369276] as [Double]))], tolerance: 1e-05)
        try expectEvaluates(
            "STFT", opset: 17, ["onesided": .int(0)],
            [.tensor(try Tensor(.float32, [1, 6, 2], [-1.74, 1.04, 0.38, -0.22, 1.17, -2.34, 1.16, 0.39, -1.13, 0.43, -0.3, 2.59] as [Float])), .tensor(try Tensor(.int64, [], [1] as [Int64])), nil, .tensor(try Tensor(.int64, [], [5] as [Int64]))],
            [.tensor(try Tensor(.float32, [1, 2, 5, 2], [-0.16000009, -0.6999999, -6.0796127, 1.2405034, 1.8010961, -0.6105219, -2.6275516, 1.1455685, -1.6339319, 4.1244497, 1.28, 0.85, -4.0876455, -3.550221, -3.174313, 1.1450148, 2.5451646, -1.4827354, 5.3367944, 1.9379416] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "STFT", opset: 17, ["onesided": .int(1)],
            [.tensor(try Tensor(.float32, [1, 6, 1], [1.84, 0.44, -0.72, -0.58, -0.33, -0.56] as [Float])), .tensor(try Tensor(.int64, [], [1] as [Int64]))],
            [.tensor(try Tensor(.float32, [1, 1, 4, 2], [0.09, 0, 2.885, -0.5282755, 1.845, -1.2037753, 1.49, 0] as [Float]))], tolerance: 1e-05)
    }

    @Test
    func windows() throws {
        try expectEvaluates(
            "BlackmanWindow", opset: 17, [:],
            [.tensor(try Tensor(.int32, [], [7] as [Int32]))],
            [.tensor(try Tensor(.float32, [7], [0, 0.09045342, 0.45918295, 0.9203636, 0.9203636, 0.45918295, 0.09045342] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "BlackmanWindow", opset: 17, ["periodic": .int(0), "output_datatype": .int(11)],
            [.tensor(try Tensor(.int64, [], [6] as [Int64]))],
            [.tensor(try Tensor(.float64, [6], [0.0, 0.20077014326253045, 0.8492298567374694, 0.8492298567374696, 0.20077014326253056, 0.0] as [Double]))], tolerance: 1e-12)
        try expectEvaluates(
            "BlackmanWindow", opset: 17, [:],
            [.tensor(try Tensor(.int64, [], [0] as [Int64]))],
            [.tensor(try Tensor(.float32, [0], [] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "BlackmanWindow", opset: 17, ["periodic": .int(0)],
            [.tensor(try Tensor(.int64, [], [1] as [Int64]))],
            [.tensor(try Tensor(.float32, [1], [1] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "HannWindow", opset: 17, [:],
            [.tensor(try Tensor(.int32, [], [7] as [Int32]))],
            [.tensor(try Tensor(.float32, [7], [0, 0.1882551, 0.6112605, 0.95048445, 0.9504844, 0.61126035, 0.18825509] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "HannWindow", opset: 17, ["periodic": .int(0), "output_datatype": .int(11)],
            [.tensor(try Tensor(.int64, [], [6] as [Int64]))],
            [.tensor(try Tensor(.float64, [6], [0.0, 0.3454915028125263, 0.9045084971874736, 0.9045084971874738, 0.34549150281252644, 1.4997597826618576e-32] as [Double]))], tolerance: 1e-12)
        try expectEvaluates(
            "HannWindow", opset: 17, [:],
            [.tensor(try Tensor(.int64, [], [0] as [Int64]))],
            [.tensor(try Tensor(.float32, [0], [] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "HannWindow", opset: 17, ["periodic": .int(0)],
            [.tensor(try Tensor(.int64, [], [1] as [Int64]))],
            [.tensor(try Tensor(.float32, [1], [1] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "HammingWindow", opset: 17, [:],
            [.tensor(try Tensor(.int32, [], [7] as [Int32]))],
            [.tensor(try Tensor(.float32, [7], [0.08695652, 0.25884163, 0.64506394, 0.9547901, 0.9547901, 0.6450638, 0.2588416] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "HammingWindow", opset: 17, ["periodic": .int(0), "output_datatype": .int(11)],
            [.tensor(try Tensor(.int64, [], [6] as [Int64]))],
            [.tensor(try Tensor(.float64, [6], [0.08695652173913038, 0.4024052851766544, 0.9128121061276934, 0.9128121061276935, 0.4024052851766545, 0.08695652173913038] as [Double]))], tolerance: 1e-12)
        try expectEvaluates(
            "HammingWindow", opset: 17, [:],
            [.tensor(try Tensor(.int64, [], [0] as [Int64]))],
            [.tensor(try Tensor(.float32, [0], [] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "HammingWindow", opset: 17, ["periodic": .int(0)],
            [.tensor(try Tensor(.int64, [], [1] as [Int64]))],
            [.tensor(try Tensor(.float32, [1], [1] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "HannWindow", opset: 17, ["output_datatype": .int(10)],
            [.tensor(try Tensor(.int64, [], [4] as [Int64]))],
            [.tensor(try Tensor(.float16, [4], ([0, 0.5, 1, 0.5] as [Float]).map { Half($0) }))], tolerance: 0.001)
    }

    @Test
    func mel() throws {
        try expectEvaluates(
            "MelWeightMatrix", opset: 17, [:],
            [.tensor(try Tensor(.int32, [], [4] as [Int32])), .tensor(try Tensor(.int32, [], [16] as [Int32])), .tensor(try Tensor(.int32, [], [8192] as [Int32])), .tensor(try Tensor(.float32, [], [0] as [Float])), .tensor(try Tensor(.float32, [], [4096] as [Float]))],
            [.tensor(try Tensor(.float32, [9, 4], [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0.5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] as [Float]))], tolerance: 1e-05)
        try expectEvaluates(
            "MelWeightMatrix", opset: 17, ["output_datatype": .int(11)],
            [.tensor(try Tensor(.int64, [], [5] as [Int64])), .tensor(try Tensor(.int64, [], [41] as [Int64])), .tensor(try Tensor(.int64, [], [8000] as [Int64])), .tensor(try Tensor(.float64, [], [60.0] as [Double])), .tensor(try Tensor(.float64, [], [3500.0] as [Double]))],
            [.tensor(try Tensor(.float64, [21, 5], [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.5, 0.5, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.5, 0.5, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.6666666666666666, 0.3333333333333333, 0.0, 0.0, 0.0, 0.3333333333333333, 0.6666666666666666, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.75, 0.0, 0.0, 0.0, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.25, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0] as [Double]))], tolerance: 1e-05)
    }

    @Test
    func refusals() throws {
        let x = Value.tensor(try Tensor(.float32, [2, 3, 1], [1, 2, 3, 4, 5, 6] as [Float]))
        func scalar(_ value: Int64) throws -> Value { .tensor(try Tensor(.int64, [], [value])) }
        expectRefuses("DFT", opset: 17, ["axis": .int(2)], [x], .shapeMismatch, "axis 2")
        expectRefuses("DFT", opset: 20, [:], [x, nil, try scalar(-1)], .shapeMismatch, "axis -1")
        expectRefuses("DFT", opset: 20, [:], [x, try scalar(0)], .invalidValue, "length")
        expectRefuses("DFT", opset: 20, [:], [x, try scalar(-4)], .invalidValue, "length")
        expectRefuses("DFT", opset: 20, [:], [x, try scalar(1 << 60)], .invalidValue, "64 bits")
        expectRefuses(
            "DFT", opset: 20, ["inverse": .int(1), "onesided": .int(1)], [.tensor(try Tensor(.float32, [1, 2], [1, 2] as [Float]))],
            .invalidValue, "length")
        expectRefuses("DFT", opset: 20, [:], [.tensor(try Tensor(.float32, [1, 3], [1, 2, 3] as [Float]))], .shapeMismatch, "last axis")
        expectRefuses("DFT", opset: 17, [:], [x, nil, try scalar(1)], .invalidModel, "1 to 2 inputs")
        expectRefuses("STFT", opset: 17, [:], [x, try scalar(0)], .invalidValue, "frame_step")
        expectRefuses("STFT", opset: 17, [:], [x, try scalar(1), nil, try scalar(4)], .shapeMismatch, "frames of 4")
        expectRefuses(
            "STFT", opset: 17, [:], [x, try scalar(1), .tensor(try Tensor(.float32, [2], [1, 1] as [Float])), try scalar(3)], .shapeMismatch,
            "window")
        expectRefuses("HannWindow", opset: 17, [:], [try scalar(-1)], .invalidValue, "size is -1")
        expectRefuses("HannWindow", opset: 17, ["output_datatype": .int(8)], [try scalar(1)], .invalidModel, "output_datatype")
        let edges = [Value.tensor(try Tensor.float32(0)), .tensor(try Tensor.float32(9000))]
        expectRefuses("MelWeightMatrix", opset: 17, [:], [try scalar(4), try scalar(16), try scalar(8000)] + edges, .invalidValue, "outside")
        expectRefuses("MelWeightMatrix", opset: 17, [:], [try scalar(4), try scalar(16), try scalar(0)] + edges, .invalidValue, "sample_rate")
    }
}

/// cos and sin of a part of a full turn.
private func unitCircle(_ part: Double) -> (Double, Double) { (cosine(2 * .pi * part), cosine(2 * .pi * (part - 0.25))) }
