import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

/// QLinearConcat, QLinearWhere, QLinearReduceMean and GatherBlockQuantized; the Python suite compares them with onnxruntime.
struct QuantizedMovementTests {
    private let microsoft = "com.microsoft"

    private func scale(_ value: Float) throws -> Value { try valueOf(.float32, [], [value]) }
    private func zero(_ value: UInt8) throws -> Value { try valueOf(.uint8, [], [value]) }

    @Test func joins() throws {
        // The second part has twice the scale of the result and another zero point.
        let inputs = [
            try scale(0.5), try zero(10), try valueOf(.uint8, [1, 2], [0, 255] as [UInt8]), try scale(0.5), try zero(10),
            try valueOf(.uint8, [1, 3], [20, 21, 255] as [UInt8]), try scale(1), try zero(20),
        ]
        try expectEvaluates(
            "QLinearConcat", domain: microsoft, opset: 1, ["axis": .int(-1)], inputs,
            [try valueOf(.uint8, [1, 5], [0, 255, 10, 12, 255] as [UInt8])])
        expectRefuses("QLinearConcat", domain: microsoft, opset: 1, [:], inputs, .invalidModel, "axis")
        expectRefuses("QLinearConcat", domain: microsoft, opset: 1, ["axis": .int(0)], inputs, .shapeMismatch, "cannot be joined")
        expectRefuses("QLinearConcat", domain: microsoft, opset: 1, ["axis": .int(1)], Array(inputs.dropLast()), .invalidModel, "3 for each part")
        var mixed = inputs
        mixed[2] = try valueOf(.int8, [1, 2], [0, 1] as [Int8])
        expectRefuses("QLinearConcat", domain: microsoft, opset: 1, ["axis": .int(1)], mixed, .typeMismatch, "uint8")
    }

    @Test func chooses() throws {
        let x = try valueOf(.uint8, [2, 2], [10, 20, 30, 40] as [UInt8]), y = try valueOf(.uint8, [], [7] as [UInt8])
        let condition = try valueOf(.bool, [2], [1, 0] as [UInt8])
        try expectEvaluates(
            "QLinearWhere", domain: microsoft, opset: 1, [:],
            [condition, x, try scale(2), try zero(0), y, try scale(1), try zero(0), try scale(1), try zero(5)],
            [try valueOf(.uint8, [2, 2], [25, 12, 65, 12] as [UInt8])])
    }

    @Test func averages() throws {
        let x = try valueOf(.int8, [2, 3], [-128, 0, 127, 10, 20, 40] as [Int8]), zero = try valueOf(.int8, [], [0] as [Int8])
        let inputs = [x, try scale(1), zero, try scale(0.5), zero]
        try expectEvaluates(
            "QLinearReduceMean", domain: microsoft, opset: 1, ["axes": .ints([1])], inputs,
            [try valueOf(.int8, [2, 1], [-1, 47] as [Int8])])
        try expectEvaluates(
            "QLinearReduceMean", domain: microsoft, opset: 1, ["axes": .ints([0]), "keepdims": .int(0)], inputs,
            [try valueOf(.int8, [3], [-118, 20, 127] as [Int8])])
        expectRefuses("QLinearReduceMean", domain: microsoft, opset: 1, ["axes": .ints([2])], inputs, .shapeMismatch, "axes 2")
    }

    @Test func gathers() throws {
        // Two rows of 32 elements of 4 bits: 0 1 2 … 15, twice.
        let half: [UInt8] = [0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe], row = half + half
        // The other row counts down.
        let other = row.map { (byte: UInt8) -> UInt8 in byte ^ 0xff }
        let data = try valueOf(.uint8, [2, 16], row + other), scales = try valueOf(.float32, [2, 2], [1, 2, 3, 4] as [Float])
        let indices = try valueOf(.int64, [3], [1, -2, 5] as [Int64])
        var expected: [Float] = []
        for element in 0..<32 {
            let scale: Float = element < 16 ? 3 : 4
            expected.append(scale * Float(7 - element % 16))
        }
        for element in 0..<32 {
            let scale: Float = element < 16 ? 1 : 2
            expected.append(scale * Float(element % 16 - 8))
        }
        expected += [Float](repeating: 0, count: 32)
        let attributes: [String: AttributeValue] = ["block_size": .int(16)]
        try expectEvaluates(
            "GatherBlockQuantized", domain: microsoft, opset: 1, attributes, [data, indices, scales], [try valueOf(.float32, [3, 32], expected)])
        let zeros = try valueOf(.uint8, [2, 1], [0x10, 0x88] as [UInt8])
        let outputs = try Evaluator().evaluate(
            "GatherBlockQuantized", domain: microsoft, opset: 1, attributes, [data, try valueOf(.int32, [], [0] as [Int32]), scales, zeros])
        let first = try #require(outputs[0]).asTensor().array(Float.self)
        #expect(first.prefix(3) == [0, 1, 2] && first[16...18] == [-2, 0, 2])

        func refuses(_ attributes: [String: AttributeValue], _ inputs: [Value?], _ code: ApusError.Code, _ message: String) {
            expectRefuses("GatherBlockQuantized", domain: microsoft, opset: 1, attributes, inputs, code, message)
        }
        refuses(["block_size": .int(24)], [data, indices, scales], .invalidModel, "block_size")
        refuses(["bits": .int(3)], [data, indices, scales], .invalidModel, "bits")
        refuses(["block_size": .int(0)], [data, indices, scales], .invalidModel, "block_size")
        refuses(["gather_axis": .int(1), "block_size": .int(16)], [data, indices, scales], .invalidModel, "gather_axis")
        refuses(["quantize_axis": .int(0), "block_size": .int(16)], [data, indices, scales], .invalidModel, "must differ")
        refuses(attributes, [data, indices, try valueOf(.float32, [2, 3], [Float](repeating: 1, count: 6))], .shapeMismatch, "scales")
        refuses(attributes, [data, indices, scales, try valueOf(.uint8, [2, 2], [0, 0, 0, 0] as [UInt8])], .shapeMismatch, "zero points")
    }

    @Test func sumsToAShape() throws {
        let x = try valueOf(.float32, [2, 3], [1, 2, 3, 4, 5, 6] as [Float])
        for (like, dimensions, sums) in [([3], [3], [5, 7, 9]), ([2, 1], [2, 1], [6, 15]), ([], [], [21])] as [([Int], [Int], [Float])] {
            let shape = try valueOf(.float32, like, [Float](repeating: 0, count: like.reduce(1, *)))
            try expectEvaluates("SumLike", domain: "apus", opset: 1, [:], [x, shape], [try valueOf(.float32, dimensions, sums)])
        }
        let wide = try valueOf(.float32, [4], [0, 0, 0, 0] as [Float])
        expectRefuses("SumLike", domain: "apus", opset: 1, [:], [x, wide], .shapeMismatch, "")
    }
}
