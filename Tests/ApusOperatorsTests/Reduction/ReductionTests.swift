import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

/// Reductions. Expected values are worked out by hand or with NumPy.
struct ReductionTests {
    private let cube = try? Tensor(.float32, [2, 3, 2], (1...12).map { Float($0) })

    @Test func axesOfAllVersions() throws {
        let x = Value.tensor(try #require(cube)), middle = Value.tensor(try Tensor.int64([1]))
        let kept = Value.tensor(try Tensor(.float32, [2, 1, 2], [9, 12, 27, 30] as [Float]))
        try expectEvaluates("ReduceSum", opset: 11, ["axes": .ints([1])], [x], [kept])
        try expectEvaluates("ReduceSum", opset: 13, [:], [x, middle], [kept])
        try expectEvaluates(
            "ReduceMean", opset: 18, ["keepdims": .int(0)], [x, .tensor(try Tensor.int64([0, -1]))],
            [.tensor(try Tensor(.float32, [3], [4.5, 6.5, 8.5] as [Float]))])
        try expectEvaluates("ReduceMax", opset: 13, ["axes": .ints([-1]), "keepdims": .int(0)], [x], [.tensor(try Tensor(.float32, [2, 3], [2, 4, 6, 8, 10, 12] as [Float]))])
        try expectEvaluates("ReduceProd", opset: 1, ["axes": .ints([0]), "keepdims": .int(0)], [x], [.tensor(try Tensor(.float32, [3, 2], [7, 16, 27, 40, 55, 72] as [Float]))])
        try expectEvaluates("ReduceSum", opset: 13, ["keepdims": .int(0)], [x], [.tensor(try Tensor.float32(78))])
        try expectEvaluates("ReduceSum", opset: 13, ["noop_with_empty_axes": .int(1)], [x, .tensor(try Tensor.int64([]))], [x])
        try expectEvaluates("ReduceSum", opset: 13, [:], [.tensor(try Tensor.float32(5))], [.tensor(try Tensor.float32(5))])
        expectRefuses("ReduceSum", opset: 13, [:], [x, .tensor(try Tensor.int64([3]))], .shapeMismatch, "3")
        expectRefuses("ReduceSum", opset: 11, ["axes": .ints([1, -2])], [x], .shapeMismatch, "twice")
        expectRefuses("ReduceMax", opset: 13, [:], [x, middle], .invalidModel, "1 inputs")
    }

    @Test func functions() throws {
        let x = Value.tensor(try Tensor(.float32, [2, 2], [3, -4, 0, 2] as [Float]))
        for (name, expected) in [
            ("ReduceL1", [7, 2]), ("ReduceL2", [5, 2]), ("ReduceSumSquare", [25, 4]), ("ReduceMin", [-4, 0]),
            ("ReduceLogSumExp", [3.000911466453774, 2.1269280110429727]),
        ] as [(String, [Double])] {
            try expectEvaluates(name, opset: 13, ["axes": .ints([1]), "keepdims": .int(0)], [x], [.tensor(try Tensor(.float32, [2], expected.map { Float($0) }))], tolerance: 1e-6)
        }
        try expectEvaluates(
            "ReduceLogSumExp", opset: 18, [:], [.tensor(try Tensor(.float64, [2], [1000.0, 1000.0])), .tensor(try Tensor.int64([0]))],
            [.tensor(try Tensor(.float64, [1], [1000.6931471805599]))], tolerance: 1e-12)
        try expectEvaluates(
            "ReduceLogSum", opset: 18, [:], [.tensor(try Tensor(.float16, [2], [Half(1), Half(1.7182818)])), .tensor(try Tensor.int64([0]))],
            [.tensor(try Tensor(.float16, [1], [Half(1)]))], tolerance: 1e-3)
    }

    @Test func integersAndBools() throws {
        try expectEvaluates(
            "ReduceMean", opset: 18, [:], [.tensor(try Tensor(.int32, [3], [1, 2, 5] as [Int32]))], [.tensor(try Tensor(.int32, [1], [Int32(2)]))])
        try expectEvaluates(
            "ReduceSum", opset: 13, [:], [.tensor(try Tensor.int64([.max, 1]))], [.tensor(try Tensor(.int64, [1], [Int64.min]))])
        try expectEvaluates(
            "ReduceMax", opset: 20, [:], [.tensor(try Tensor(.bool, [2, 2], [0, 0, 0, 1] as [UInt8])), .tensor(try Tensor.int64([1]))],
            [.tensor(try Tensor(.bool, [2, 1], [0, 1] as [UInt8]))])
        try expectEvaluates(
            "ReduceMin", opset: 20, [:], [.tensor(try Tensor(.bool, [0], [] as [UInt8]))], [.tensor(try Tensor(.bool, [1], [UInt8(1)]))])
    }

    @Test func emptySets() throws {
        let x = Value.tensor(try Tensor(.float32, [2, 0], [] as [Float])), axis = Value.tensor(try Tensor.int64([1]))
        for (name, value) in [
            ("ReduceSum", 0), ("ReduceProd", 1), ("ReduceMax", -.infinity), ("ReduceMin", .infinity), ("ReduceLogSum", -.infinity),
            ("ReduceLogSumExp", -.infinity), ("ReduceL2", 0), ("ReduceMean", .nan),
        ] as [(String, Float)] {
            try expectEvaluates(name, opset: 20, [:], [x, axis], [.tensor(try Tensor(.float32, [2, 1], [value, value]))], tolerance: 1e-12)
        }
        try expectEvaluates("ReduceSum", opset: 13, [:], [x, .tensor(try Tensor.int64([0]))], [.tensor(try Tensor(.float32, [1, 0], [] as [Float]))])
    }

    /// A dimension of 2^40 beside one of 0 holds nothing, and costs nothing.
    @Test func hugeShapesWithoutElementsAreQuick() throws {
        let x = Value.tensor(try Tensor(.float32, [1 << 40, 3, 0], [] as [Float])), axes = Value.tensor(try Tensor.int64([0, 2]))
        try expectEvaluates(
            "ReduceSum", opset: 13, ["keepdims": .int(0)], [x, axes], [.tensor(try Tensor(.float32, [3], [0, 0, 0] as [Float]))])
        try expectEvaluates("CumSum", opset: 14, [:], [x, .tensor(try Tensor.int64([2]))], [x])
    }

    /// Many equal addends, of which a float32 sum would lose the last places.
    @Test(arguments: [[0], [1]])
    func sumsAreAccurate(_ axes: [Int]) throws {
        let shape = axes == [0] ? [100_000, 3] : [3, 100_000]
        let x = Value.tensor(try Tensor(.float32, shape, [Float](repeating: 0.1, count: 300_000)))
        let sum = Float(Double(Float(0.1)) * 100_000)
        try expectEvaluates(
            "ReduceSum", opset: 13, ["keepdims": .int(0)], [x, .tensor(try Tensor.int64(axes))],
            [.tensor(try Tensor(.float32, [3], [sum, sum, sum]))])
    }

    @Test func positionsOfExtremes() throws {
        let x = Value.tensor(try Tensor(.float32, [2, 3], [1, 5, 5, 2, 2, 0] as [Float]))
        func place(_ y: [Int64], _ shape: [Int]) throws -> [Value?] { [.tensor(try Tensor(.int64, shape, y))] }
        try expectEvaluates("ArgMax", opset: 1, ["axis": .int(1)], [x], place([1, 0], [2, 1]))
        try expectEvaluates("ArgMax", opset: 12, ["axis": .int(-1), "select_last_index": .int(1), "keepdims": .int(0)], [x], place([2, 1], [2]))
        try expectEvaluates("ArgMin", opset: 13, ["keepdims": .int(0)], [x], place([0, 1, 1], [3]))
        try expectEvaluates(
            "ArgMax", opset: 13, ["keepdims": .int(0)], [.tensor(try Tensor(.float32, [3], [1, .nan, 9] as [Float]))], place([1], []))
        expectRefuses("ArgMax", opset: 13, ["axis": .int(2)], [x], .shapeMismatch, "axis 2")
        expectRefuses("ArgMax", opset: 13, [:], [.tensor(try Tensor(.float32, [0], [] as [Float]))], .shapeMismatch, "no elements")
        try expectEvaluates("Hardmax", opset: 13, [:], [x], [.tensor(try Tensor(.float32, [2, 3], [0, 1, 0, 1, 0, 0] as [Float]))])
        try expectEvaluates(
            "Hardmax", opset: 11, [:], [.tensor(try #require(cube))],
            [.tensor(try Tensor(.float32, [2, 3, 2], [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1] as [Float]))])
    }

    @Test func cumulative() throws {
        let x = Value.tensor(try Tensor(.int32, [2, 3], [1, 2, 3, 4, 5, 6] as [Int32]))
        func result(_ y: [Int32]) throws -> [Value?] { [.tensor(try Tensor(.int32, [2, 3], y))] }
        let last = Value.tensor(try Tensor(.int32, [], [Int32(-1)])), first = Value.tensor(try Tensor.int64([0]))
        try expectEvaluates("CumSum", opset: 11, [:], [x, last], result([1, 3, 6, 4, 9, 15]))
        try expectEvaluates("CumSum", opset: 14, ["exclusive": .int(1), "reverse": .int(1)], [x, last], result([5, 3, 0, 11, 6, 0]))
        try expectEvaluates("CumSum", opset: 14, [:], [x, first], result([1, 2, 3, 5, 7, 9]))
        try expectEvaluates("CumProd", opset: 26, ["exclusive": .int(1)], [x, last], result([1, 1, 2, 1, 4, 20]))
        expectRefuses("CumSum", opset: 14, [:], [x, .tensor(try Tensor.int64([2]))], .shapeMismatch, "2")
    }
}
