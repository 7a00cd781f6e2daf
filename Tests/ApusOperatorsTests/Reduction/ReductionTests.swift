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

    /// Small integers in every type of number, by every path: runs and columns, one group of axes or several, strided or not.
    @Test func everyTypeAndGeometry() throws {
        let evaluator = Evaluator()
        let geometries: [([Int], [Int])] = [
            ([3, 5, 7], [2]), ([3, 5, 7], [0]), ([3, 5, 7], [1]), ([3, 5, 7], [0, 2]), ([2, 3, 2, 3], [1, 3]), ([2, 3, 2, 3], [0, 2]),
            ([2, 300], [1]), ([300, 3], [0]), ([2, 2, 140], [1]), ([4], [0]), ([2, 3, 2, 5, 2], [1, 3]),
        ]
        for type in Types.numbers {
            for (dimensions, axes) in geometries {
                let shape = try Shape(dimensions), least: Float = type.isSigned || type.isFloatingPoint ? -3 : 0
                let numbers: [Float] = (0..<shape.count).map { (index: Int) -> Float in
                    let spread: Int = index * 7 % 11, factor: Int = index % 3
                    return Float(spread * factor % 6) + least
                }
                let x = try evaluator.evaluate("Cast", opset: 13, ["to": .int(Int64(type.rawValue))], [floatTensor(dimensions, numbers)])
                // The elements of each result.
                let strides = shape.strides, kept = dimensions.indices.filter { !axes.contains($0) }
                var groups: [Int: [Float]] = [:]
                for index in 0..<shape.count {
                    var key = 0
                    for axis in kept { key = key * dimensions[axis] + index / strides[axis] % dimensions[axis] }
                    groups[key, default: []].append(numbers[index])
                }
                let columns: [[Float]] = (0..<groups.count).compactMap { groups[$0] }
                func check(_ op: String, _ opset: Int, _ attributes: [String: AttributeValue], _ axes: [Value?], _ want: [Float]) throws {
                    let y = try evaluator.evaluate(op, opset: opset, attributes, x + axes)
                    let floats = try evaluator.evaluate("Cast", opset: 13, ["to": .int(1)], y)
                    #expect(try floats[0]?.asTensor().array(Float.self) == want, "\(op) of \(type.name) \(dimensions) over \(axes)")
                }
                let input: [Value?] = [.tensor(try Tensor.int64(axes))], dropped: [String: AttributeValue] = ["keepdims": .int(0)]
                try check("ReduceMax", 18, dropped, input, columns.map { $0.max() ?? 0 })
                try check("ReduceMin", 18, dropped, input, columns.map { $0.min() ?? 0 })
                if least < 0, columns[0].count < 20 { try check("ReduceSum", 13, dropped, input, columns.map { $0.reduce(0, +) }) }
                if type.isFloatingPoint, axes.count == 1, dimensions[axes[0]] < 10 {
                    try check("ReduceL1", 18, dropped, input, columns.map { (c: [Float]) -> Float in c.reduce(0) { $0 + abs($1) } })
                    try check("ReduceSumSquare", 18, dropped, input, columns.map { (c: [Float]) -> Float in c.reduce(0) { $0 + $1 * $1 } })
                }
                guard axes.count == 1 else { continue }
                for (op, isMax) in [("ArgMax", true), ("ArgMin", false)] {
                    for takesLast in [0, 1] as [Int64] {
                        let want = columns.map { (column: [Float]) -> Float in
                            let best: Float? = isMax ? column.max() : column.min()
                            let place: Int? = takesLast == 1 ? column.lastIndex { $0 == best } : column.firstIndex { $0 == best }
                            return Float(place ?? 0)
                        }
                        try check(
                            op, 13, ["axis": .int(Int64(axes[0])), "keepdims": .int(0), "select_last_index": .int(takesLast)], [], want)
                    }
                }
            }
        }
    }

    @Test func notANumberIsExtreme() throws {
        let evaluator = Evaluator()
        for type in [ElementType.float32, .float64, .float16, .bfloat16] {
            let cases: [([Int], Int64)] = [([2, 70], 1), ([70, 2], 0)]
            for (dimensions, axis) in cases {
                var numbers: [Float] = (0..<140).map { Float($0) }
                numbers[axis == 1 ? 70 + 33 : 33 * 2 + 1] = .nan
                let x = try evaluator.evaluate("Cast", opset: 13, ["to": .int(Int64(type.rawValue))], [floatTensor(dimensions, numbers)])
                let y = try evaluator.evaluate("ReduceMin", opset: 18, ["keepdims": .int(0)], x + [.tensor(try Tensor.int64([Int(axis)]))])
                let floats = try #require(evaluator.evaluate("Cast", opset: 13, ["to": .int(1)], y)[0]).asTensor().array(Float.self)
                #expect(floats[0] == 0 && floats[1].isNaN)
                let place = try evaluator.evaluate(
                    "ArgMin", opset: 13, ["axis": .int(axis), "keepdims": .int(0), "select_last_index": .int(1)], x)
                #expect(try place[0]?.asTensor().array(Int64.self) == [0, 33])
            }
        }
    }

    @Test func cumulativeSumsOfShortFloats() throws {
        let evaluator = Evaluator(), axis = Value.tensor(try Tensor.int64([0]))
        let numbers: [Float] = (0..<390).map { Float($0 % 130) }
        let cases: [(Int64, Int64, [Float])] = [(0, 0, [1, 2, 3]), (1, 0, [0, 1, 2]), (0, 1, [3, 2, 1]), (1, 1, [2, 1, 0])]
        for type in [ElementType.float16, .bfloat16] {
            let x = try evaluator.evaluate(
                "Cast", opset: 13, ["to": .int(Int64(type.rawValue))], [floatTensor([3, 130], numbers)])
            for (exclusive, reverse, factors) in cases {
                let y = try evaluator.evaluate("CumSum", opset: 14, ["exclusive": .int(exclusive), "reverse": .int(reverse)], x + [axis])
                let floats = try #require(evaluator.evaluate("Cast", opset: 13, ["to": .int(1)], y)[0]).asTensor().array(Float.self)
                for index in 0..<390 {
                    let want = Float(index % 130) * factors[index / 130]
                    #expect(abs(floats[index] - want) <= (type == .float16 ? 0 : want / 200), "\(type.name) \(index)")
                }
            }
        }
    }
}
