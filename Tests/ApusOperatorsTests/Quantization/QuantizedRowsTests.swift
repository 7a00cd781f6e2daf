import ApusCore
import ApusGraph
import Glibc
import Testing

@testable import ApusOperators

struct QuantizedRowsTests {
    /// The same bits as DequantizeLinear, the float operator and QuantizeLinear give one after the other.
    @Test("QuantizedSoftmax, QuantizedLayerNormalization", arguments: ["generic", "avx2", "avx512", "neon"])
    func rows(cap: String) throws {
        let levels = try levelsOrSkip(cap)
        var state: UInt64 = 5
        func codes(_ count: Int) -> [UInt8] {
            (0..<count).map { _ in
                state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                return UInt8(truncatingIfNeeded: state >> 40)
            }
        }
        // Rows shorter than a vector and longer than the buffer, several axes in a row, more work than one thread takes.
        for (shape, axis, threads) in [([3, 5], 1, 1), ([2, 3, 70], -1, 1), ([2, 5000], 1, 1), ([4, 3, 7], 1, 1), ([140, 130], -1, 2)] {
            for (type, result) in [(ElementType.uint8, ElementType.uint8), (.int8, .uint8), (.uint8, .int8), (.int8, .int8)] {
                let first = axis < 0 ? axis + shape.count : axis, row = Array(shape[first...]), length = row.reduce(1, *)
                let x = try valueOf(type, shape, codes(shape.reduce(1, *)))
                let parameters: [Value?] = [
                    try valueOf(.float32, [], [Float(0.1)]), try valueOf(type, [], [UInt8(120)]), try valueOf(.float32, [], [Float(0.004)]),
                    try valueOf(result, [], [UInt8(7)]),
                ]
                let scale = try valueOf(.float32, row, codes(length).map { Float($0) / 100 }), bias = try valueOf(.float32, row, codes(length).map { Float($0) / 300 })
                let evaluator = Evaluator(levels: levels, pool: ThreadPool(size: threads))
                let floats = try evaluator.evaluate("DequantizeLinear", opset: 13, [:], [x, parameters[0], parameters[1]])
                let attribute: [String: AttributeValue] = ["axis": .int(Int64(axis))]
                for isSoftmax in [true, false] {
                    // The softmax of old operator sets spans several axes, too.
                    let middle = try isSoftmax
                        ? evaluator.evaluate("Softmax", opset: 11, attribute, floats)
                        : evaluator.evaluate("LayerNormalization", opset: 17, attribute, floats + [scale, bias])
                    let expected = try evaluator.evaluate("QuantizeLinear", opset: 13, [:], [middle[0]] + parameters[2...])
                    let found = try evaluator.evaluate(
                        isSoftmax ? "QuantizedSoftmax" : "QuantizedLayerNormalization", domain: "apus", opset: 1, attribute,
                        [x] + parameters + (isSoftmax ? [] : [scale, bias]))
                    let a = try #require(found[0]).asTensor(), b = try #require(expected[0]).asTensor()
                    let isSame = a.type == result && a.shape == b.shape && memcmp(a.pointer, b.pointer, b.count) == 0
                    #expect(isSame, "\(shape) \(type) \(result)")
                }
            }
        }
    }

    @Test("A scale of another length is refused") func errors() throws {
        let x = try valueOf(.uint8, [2, 4], [UInt8](repeating: 9, count: 8)), one = try valueOf(.float32, [], [Float(1)])
        let zero = try valueOf(.uint8, [], [UInt8(0)]), three = try valueOf(.float32, [3], [1, 1, 1] as [Float])
        #expect(throws: ApusError.self) {
            try Evaluator().evaluate("QuantizedLayerNormalization", domain: "apus", opset: 1, [:], [x, one, zero, one, zero, three])
        }
        #expect(throws: ApusError.self) {
            try Evaluator().evaluate("QuantizedSoftmax", domain: "apus", opset: 1, ["axis": .int(2)], [x, one, zero, one, zero])
        }
    }
}
