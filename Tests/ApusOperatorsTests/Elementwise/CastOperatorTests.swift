import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

struct CastOperatorTests {
    private func cast<T: BitwiseCopyable, U: BitwiseCopyable>(
        _ from: ElementType, _ x: [T], _ to: ElementType, _ y: [U], opset: Int = 21, _ attributes: [String: AttributeValue] = [:],
        location: SourceLocation = #_sourceLocation
    ) throws {
        try expectEvaluates(
            "Cast", opset: opset, attributes.merging(["to": .int(Int64(to.rawValue))]) { $1 }, [.tensor(try Tensor(from, [x.count], x))],
            [.tensor(try Tensor(to, [y.count], y))], location: location)
    }

    @Test func numbers() throws {
        try cast(.float32, [1.9, -1.9, 300.7, .nan, 3e9] as [Float], .int32, [1, -1, 300, .min, .min] as [Int32])
        try cast(.float32, [300.7, -1.5] as [Float], .uint8, [44, 255] as [UInt8])
        try cast(.int64, [-1, 200, 1 << 40] as [Int64], .int8, [-1, -56, 0] as [Int8])
        try cast(.uint64, [UInt64.max, 5], .float32, [18446744073709551616, 5] as [Float])
        try cast(.float64, [0, -0.0, 0.1, .nan], .bool, [0, 0, 1, 1] as [UInt8])
        try cast(.bool, [0, 1, 2] as [UInt8], .float16, [Half(0), Half(1), Half(1)])
        try cast(.int32, [65504, 70000] as [Int32], .float16, [Half(65504), Half(.infinity)])
    }

    /// Through a float32 rounded to nearest this would give 1.
    @Test func doublesRoundOnceToHalf() throws {
        try cast(.float64, [1 + 0x1p-11 + 0x1p-40, 1 + 0x1p-11], .float16, [Half(bits: 0x3c01), Half(bits: 0x3c00)])
    }

    @Test func smallFloats() throws {
        let x: [Float] = [1, 500, -1e6, .nan, 0.001]
        try cast(.float32, x, .float8e4m3fn, [0x38, 0x7e, 0xfe, 0x7f, 0x01] as [UInt8])
        try cast(.float32, x, .float8e4m3fn, [0x38, 0x7f, 0xff, 0x7f, 0x01] as [UInt8], ["saturate": .int(0)])
        try cast(.float8e5m2, [0x3c, 0x7c, 0xc0] as [UInt8], .float32, [1, .infinity, -2] as [Float])
        try cast(.float32, [1, 1.1, 0] as [Float], .float8e8m0, [127, 128, 0] as [UInt8], opset: 24)
        try cast(.float32, [1, 1.1, 1.5] as [Float], .float8e8m0, [127, 127, 127] as [UInt8], opset: 24, ["round_mode": .string("down")])
    }

    @Test func packedIntegers() throws {
        let shape = try Shape([5])
        let packed = try Tensor.allocate(.int4, shape)
        for (index, byte) in [0x21, 0xf8, 0x07].enumerated() { packed.pointer.storeBytes(of: UInt8(byte), toByteOffset: index, as: UInt8.self) }
        try expectEvaluates(
            "Cast", opset: 21, ["to": .int(Int64(ElementType.int32.rawValue))], [.tensor(packed)],
            [.tensor(try Tensor(.int32, [5], [1, 2, -8, -1, 7] as [Int32]))])
        let back = try Evaluator().evaluate(
            "Cast", opset: 21, ["to": .int(Int64(ElementType.int4.rawValue))],
            [.tensor(try Tensor(.float32, [5], [1, 2, -8, -1, 7] as [Float]))])
        let bytes = try #require(try back[0]?.asTensor())
        #expect((0..<3).map { bytes.pointer.load(fromByteOffset: $0, as: UInt8.self) } == [0x21, 0xf8, 0x07])
    }

    @Test func strings() throws {
        func text(_ elements: [ByteString]) throws -> Value { .strings(try StringTensor(shape: Shape([elements.count]), elements: elements)) }
        try expectEvaluates(
            "Cast", opset: 13, ["to": .int(1)], [try text(["3.5", "-1e3", "+INF", "nan", " 2 "])],
            [.tensor(try Tensor(.float32, [5], [3.5, -1000, .infinity, .nan, 2] as [Float]))], tolerance: 1e-12)
        try expectEvaluates(
            "Cast", opset: 13, ["to": .int(7)], [try text(["9223372036854775807", "100.5"])],
            [.tensor(try Tensor(.int64, [2], [Int64.max, 100]))])
        try expectEvaluates(
            "Cast", opset: 13, ["to": .int(8)], [.tensor(try Tensor(.float32, [4], [0.1, 3, -.infinity, 1e-5] as [Float]))],
            [try text(["0.1", "3.0", "-INF", "1e-05"])])
        try expectEvaluates(
            "Cast", opset: 13, ["to": .int(8)], [.tensor(try Tensor(.uint64, [1], [UInt64.max]))], [try text(["18446744073709551615"])])
        expectRefuses("Cast", opset: 13, ["to": .int(1)], [try text(["one"])], .invalidValue, "one")
    }

    @Test func attributesOfAllVersions() throws {
        try expectEvaluates(
            "Cast", opset: 1, ["to": .string("INT32")], [.tensor(try Tensor.float32(2.5))], [.tensor(try Tensor(.int32, [], [Int32(2)]))])
        try expectEvaluates(
            "CastLike", opset: 15, [:], [.tensor(try Tensor.float32(2.5)), .tensor(try Tensor.int64([]))],
            [.tensor(try Tensor(.int64, [], [Int64(2)]))])
        try expectEvaluates(
            "BitCast", opset: 26, ["to": .int(6)], [.tensor(try Tensor.float32(1))], [.tensor(try Tensor(.int32, [], [Int32(0x3f80_0000)]))])
        expectRefuses("Cast", opset: 13, [:], [.tensor(try Tensor.float32(1))], .invalidModel, "to")
        expectRefuses("Cast", opset: 13, ["to": .int(99)], [.tensor(try Tensor.float32(1))], .invalidModel, "99")
        expectRefuses("Cast", opset: 13, ["to": .int(1), "saturate": .int(1)], [.tensor(try Tensor.float32(1))], .invalidModel, "saturate")
        expectRefuses("BitCast", opset: 26, ["to": .int(7)], [.tensor(try Tensor.float32(1))], .typeMismatch, "size")
    }
}
