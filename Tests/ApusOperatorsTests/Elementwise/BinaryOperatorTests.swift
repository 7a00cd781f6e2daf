import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

/// Functions of two and more tensors. Expected values are worked out by hand or with NumPy.
struct BinaryOperatorTests {
    @Test func numpyBroadcasting() throws {
        let matrix = Value.tensor(try Tensor(.float32, [2, 3], [1, 2, 3, 4, 5, 6] as [Float]))
        let row = Value.tensor(try Tensor(.float32, [3], [10, 20, 30] as [Float]))
        let column = Value.tensor(try Tensor(.float32, [2, 1], [100, 200] as [Float]))
        try expectEvaluates(
            "Add", opset: 7, [:], [matrix, row], [.tensor(try Tensor(.float32, [2, 3], [11, 22, 33, 14, 25, 36] as [Float]))])
        try expectEvaluates(
            "Sub", opset: 14, [:], [column, matrix], [.tensor(try Tensor(.float32, [2, 3], [99, 98, 97, 196, 195, 194] as [Float]))])
        try expectEvaluates(
            "Mul", opset: 13, [:], [row, column],
            [.tensor(try Tensor(.float32, [2, 3], [1000, 2000, 3000, 2000, 4000, 6000] as [Float]))])
        try expectEvaluates(
            "Add", opset: 14, [:], [.tensor(try Tensor(.float64, [0, 3], [] as [Double])), .tensor(try Tensor(.float64, [], [1.0]))],
            [.tensor(try Tensor(.float64, [0, 3], [] as [Double]))])
        expectRefuses("Add", opset: 14, [:], [matrix, .tensor(try Tensor(.float32, [2], [1, 2] as [Float]))], .shapeMismatch, "broadcast")
        expectRefuses("Add", opset: 14, [:], [matrix, .tensor(try Tensor(.float64, [], [1.0]))], .typeMismatch, "one element type")
        expectRefuses("And", opset: 7, [:], [matrix, matrix], .typeMismatch, "bool")
    }

    /// Enough rows that the short one is copied into longer runs; on either side, whatever the types' sizes.
    @Test(arguments: [7, 100, 128, 129])
    func shortRowsForManyRows(width: Int) throws {
        let rows = 9000 / width
        let matrix = (0..<rows * width).map { Int64($0) }, row = (0..<width).map { Int64(1000 * $0) }
        let a = Value.tensor(try Tensor(.int64, [rows, width], matrix)), b = Value.tensor(try Tensor(.int64, [width], row))
        let differences = matrix.indices.map { matrix[$0] - row[$0 % width] }
        try expectEvaluates("Sub", opset: 14, [:], [a, b], [.tensor(try Tensor(.int64, [rows, width], differences))])
        try expectEvaluates("Sub", opset: 14, [:], [b, a], [.tensor(try Tensor(.int64, [rows, width], differences.map { -$0 }))])
        try expectEvaluates(
            "Less", opset: 13, [:], [b, a], [.tensor(try Tensor(.bool, [rows, width], differences.map { UInt8($0 > 0 ? 1 : 0) }))])
    }

    @Test func broadcastingBeforeOpset7() throws {
        let data = Value.tensor(try Tensor(.float32, [2, 3, 2], (0..<12).map { Float($0) }))
        let middle = Value.tensor(try Tensor(.float32, [3], [0, 100, 200] as [Float]))
        try expectEvaluates(
            "Add", opset: 6, ["broadcast": .int(1), "axis": .int(1)], [data, middle],
            [.tensor(try Tensor(.float32, [2, 3, 2], [0, 1, 102, 103, 204, 205, 6, 7, 108, 109, 210, 211] as [Float]))])
        try expectEvaluates(
            "Mul", opset: 1, ["broadcast": .int(1)], [data, .tensor(try Tensor(.float32, [2], [1, 0] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 3, 2], [0, 0, 2, 0, 4, 0, 6, 0, 8, 0, 10, 0] as [Float]))])
        expectRefuses("Add", opset: 6, [:], [data, middle], .shapeMismatch, "broadcast")
        expectRefuses("Add", opset: 6, ["broadcast": .int(1), "axis": .int(2)], [data, middle], .shapeMismatch, "[2,3,2] and [3]")
        expectRefuses("Add", opset: 7, ["broadcast": .int(1)], [data, data], .invalidModel, "broadcast")
    }

    @Test func integersWrapAndNeverTrap() throws {
        func pair(_ a: [Int8], _ b: [Int8]) throws -> [Value?] {
            [.tensor(try Tensor(.int8, [a.count], a)), .tensor(try Tensor(.int8, [b.count], b))]
        }
        func result(_ y: [Int8]) throws -> [Value?] { [.tensor(try Tensor(.int8, [y.count], y))] }
        try expectEvaluates("Add", opset: 14, [:], pair([127, -128], [1, -1]), result([-128, 127]))
        try expectEvaluates("Mul", opset: 14, [:], pair([127, -128], [2, -1]), result([-2, -128]))
        try expectEvaluates("Div", opset: 14, [:], pair([-128, 7, -7, 5], [-1, 2, 2, 0]), result([-128, 3, -3, 0]))
        try expectEvaluates("Mod", opset: 13, [:], pair([-7, 7, -128, 5], [3, -3, -1, 0]), result([2, -2, 0, 0]))
        try expectEvaluates("Mod", opset: 13, ["fmod": .int(1)], pair([-7, 7], [3, -3]), result([-1, 1]))
        try expectEvaluates("BitShift", opset: 28, ["direction": .string("LEFT")], pair([1, 1, 1], [3, 8, -1]), result([8, 0, 0]))
        try expectEvaluates("BitShift", opset: 28, ["direction": .string("RIGHT")], pair([-8, -8, 8], [2, 9, 9]), result([-2, -1, 0]))
        try expectEvaluates("BitwiseXor", opset: 18, [:], pair([5, -1], [3, 1]), result([6, -2]))
        expectRefuses("BitShift", opset: 11, [:], try pair([1], [1]), .invalidModel, "direction")
        try expectEvaluates(
            "Div", opset: 7, [:], [.tensor(try Tensor(.int64, [1], [Int64.min])), .tensor(try Tensor(.int64, [1], [Int64(-1)]))],
            [.tensor(try Tensor(.int64, [1], [Int64.min]))])
        try expectEvaluates(
            "Mul", opset: 7, [:], [.tensor(try Tensor(.int64, [2], [Int64.max, 3])), .tensor(try Tensor(.int64, [], [Int64(2)]))],
            [.tensor(try Tensor(.int64, [2], [Int64(-2), 6]))])
    }

    @Test func floatRemainders() throws {
        let a = Value.tensor(try Tensor(.float32, [4], [-4.3, 7.2, 5, -3] as [Float]))
        let b = Value.tensor(try Tensor(.float32, [4], [2.1, -3.4, 8, .infinity] as [Float]))
        try expectEvaluates(
            "Mod", opset: 10, ["fmod": .int(1)], [a, b], [.tensor(try Tensor(.float32, [4], [-0.1, 0.4, 5, -3] as [Float]))],
            tolerance: 1e-5)
        try expectEvaluates(
            "Mod", opset: 28, [:], [a, b], [.tensor(try Tensor(.float32, [4], [2, -3, 5, .infinity] as [Float]))], tolerance: 1e-5)
    }

    @Test func halvesAreComputedInFloat() throws {
        let a = (0..<600).map { Half(Float($0) / 8) }
        try expectEvaluates(
            "Add", opset: 14, [:], [.tensor(try Tensor(.float16, [600], a)), .tensor(try Tensor(.float16, [1], [Half(0.5)]))],
            [.tensor(try Tensor(.float16, [600], a.map { Half($0.number + 0.5) }))])
        try expectEvaluates(
            "Sub", opset: 14, [:], [.tensor(try Tensor(.bfloat16, [], [BFloat16(1)])), .tensor(try Tensor(.bfloat16, [600], a.map { BFloat16($0.number) }))],
            [.tensor(try Tensor(.bfloat16, [600], a.map { BFloat16(1 - BFloat16($0.number).number) }))])
        try expectEvaluates(
            "Less", opset: 13, [:], [.tensor(try Tensor(.float16, [600], a)), .tensor(try Tensor(.float16, [1], [Half(40)]))],
            [.tensor(try Tensor(.bool, [600], a.map { UInt8($0.number < 40 ? 1 : 0) }))])
    }

    @Test func comparisonsAndLogic() throws {
        let a = Value.tensor(try Tensor(.float32, [3], [1, .nan, 3] as [Float]))
        let b = Value.tensor(try Tensor(.float32, [3], [1, .nan, 2] as [Float]))
        for (name, expected) in [("Equal", [1, 0, 0]), ("Greater", [0, 0, 1]), ("GreaterOrEqual", [1, 0, 1]), ("LessOrEqual", [1, 0, 0])] as [(String, [UInt8])] {
            try expectEvaluates(name, opset: 16, [:], [a, b], [.tensor(try Tensor(.bool, [3], expected))])
        }
        let s = Value.strings(try StringTensor(shape: Shape([2, 1]), elements: ["a", "b"]))
        let t = Value.strings(try StringTensor(shape: Shape([2]), elements: ["b", "a"]))
        try expectEvaluates("Equal", opset: 19, [:], [s, t], [.tensor(try Tensor(.bool, [2, 2], [0, 1, 1, 0] as [UInt8]))])
        let p = Value.tensor(try Tensor(.bool, [2, 1], [0, 1] as [UInt8])), q = Value.tensor(try Tensor(.bool, [2], [0, 1] as [UInt8]))
        try expectEvaluates("Xor", opset: 7, [:], [p, q], [.tensor(try Tensor(.bool, [2, 2], [0, 1, 1, 0] as [UInt8]))])
        try expectEvaluates("Or", opset: 7, [:], [p, q], [.tensor(try Tensor(.bool, [2, 2], [0, 1, 1, 1] as [UInt8]))])
        try expectEvaluates("Not", opset: 1, [:], [q], [.tensor(try Tensor(.bool, [2], [1, 0] as [UInt8]))])
    }

    @Test func choices() throws {
        let condition = Value.tensor(try Tensor(.bool, [2, 1], [1, 0] as [UInt8]))
        try expectEvaluates(
            "Where", opset: 9, [:], [condition, .tensor(try Tensor(.int32, [3], [1, 2, 3] as [Int32])), .tensor(try Tensor(.int32, [], [Int32(9)]))],
            [.tensor(try Tensor(.int32, [2, 3], [1, 2, 3, 9, 9, 9] as [Int32]))])
        try expectEvaluates(
            "Where", opset: 16, [:],
            [
                condition, .strings(try StringTensor(shape: Shape([2]), elements: ["x", "y"])),
                .strings(try StringTensor(shape: Shape([1]), elements: ["z"])),
            ], [.strings(try StringTensor(shape: Shape([2, 2]), elements: ["x", "y", "z", "z"]))])
    }

    @Test func powers() throws {
        let bases = Value.tensor(try Tensor(.float32, [3], [1, 2, 3] as [Float]))
        let squares = Value.tensor(try Tensor(.float32, [3], [1, 4, 9] as [Float]))
        try expectEvaluates("Pow", opset: 7, [:], [bases, .tensor(try Tensor.float32(2))], [squares], tolerance: 1e-6)
        try expectEvaluates("Pow", opset: 12, [:], [bases, .tensor(try Tensor.int64([2]))], [squares], tolerance: 1e-6)
        try expectEvaluates(
            "Pow", opset: 12, [:], [bases, .tensor(try Tensor.int64([3, 2, 1]))], [.tensor(try Tensor(.float32, [3], [1, 4, 3] as [Float]))],
            tolerance: 1e-6)
        try expectEvaluates(
            "Pow", opset: 15, [:], [.tensor(try Tensor.int64([3, -1, 2, 0])), .tensor(try Tensor.int64([39, -3, 64, -1]))],
            [.tensor(try Tensor.int64([4_052_555_153_018_976_267, -1, 0, 0]))])
        try expectEvaluates(
            "Pow", opset: 12, [:], [.tensor(try Tensor(.int32, [], [Int32(4)])), .tensor(try Tensor.float32(0.5))],
            [.tensor(try Tensor(.int32, [], [Int32(2)]))])
    }

    @Test func anyNumberOfOperands() throws {
        let a = Value.tensor(try Tensor(.float32, [2], [1, 5] as [Float])), b = Value.tensor(try Tensor(.float32, [2, 1], [3, 4] as [Float]))
        let c = Value.tensor(try Tensor.float32(2))
        try expectEvaluates("Max", opset: 8, [:], [a, b, c], [.tensor(try Tensor(.float32, [2, 2], [3, 5, 4, 5] as [Float]))])
        try expectEvaluates("Min", opset: 13, [:], [c, a], [.tensor(try Tensor(.float32, [2], [1, 2] as [Float]))])
        try expectEvaluates("Sum", opset: 8, [:], [c, c, a], [.tensor(try Tensor(.float32, [2], [5, 9] as [Float]))])
        try expectEvaluates("Mean", opset: 8, [:], [a, a, c], [.tensor(try Tensor(.float32, [2], [4.0 / 3, 4] as [Float]))], tolerance: 1e-6)
        try expectEvaluates("Sum", opset: 6, [:], [a], [a])
        expectRefuses("Sum", opset: 6, [:], [a, b], .shapeMismatch, "differ")
    }

    /// What exporters write around Expand: where a size is -1, 1 is meant.
    @Test func shapeArithmeticKeepsSymbols() throws {
        let batch = Dimension.symbol("batch"), three = try Shape([3])
        func info(_ elements: [Dimension], _ type: ElementType = .int64) -> ValueInfo {
            ValueInfo(type, PartialShape(three), elements: elements)
        }
        func infer(_ op: String, _ inputs: [ValueInfo]) throws -> [Dimension]? {
            let graph = Graph()
            let node = Node(op, opset: 21, inputs: inputs.map { _ in graph.addValue() }, outputs: [graph.addValue()])
            return try Registry.make(node, in: graph).inferOutputs(InferenceContext(inputs: inputs, outputCount: 1))[0].elements
        }
        let sizes = info([batch, .known(-1), .known(4)]), minusOnes = ValueInfo(constant: .tensor(try Tensor.int64([-1])))
        let isOpen = try #require(try infer("Equal", [sizes, minusOnes]))
        #expect(isOpen == [.known(0), .known(1), .known(0)])
        #expect(
            try infer("Where", [info(isOpen, .bool), ValueInfo(constant: .tensor(try Tensor.int64([1]))), sizes])
                == [batch, .known(1), .known(4)])
        #expect(try infer("Mul", [sizes, ValueInfo(constant: .tensor(try Tensor.int64([2])))]) == [batch * .known(2), .known(-2), .known(8)])
        #expect(try infer("Div", [info([batch * .known(4), .known(-7), .known(9)]), ValueInfo(constant: .tensor(try Tensor.int64([2])))]) == [batch * .known(2), .known(-3), .known(4)])
        #expect(try infer("Neg", [sizes]) == [.known(0) - batch, .known(1), .known(-4)])
    }
}
