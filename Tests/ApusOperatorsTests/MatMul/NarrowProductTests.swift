import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

/// `value` in another type, by ONNX's number of the type.
func cast(_ value: Value, _ type: ElementType) throws -> Value {
    let numbers: [ElementType: Int64] = [
        .float32: 1, .float16: 10, .bfloat16: 16, .float8e4m3fn: 17, .float8e4m3fnuz: 18, .float8e5m2: 19, .float8e5m2fnuz: 20,
    ]
    let number = try #require(numbers[type])
    return try #require(try Evaluator().evaluate("Cast", opset: 19, ["to": .int(number)], [value])[0])
}

/// Products with constant weights of 8 and 16 bits: the bits of the product with weights widened beforehand.
struct NarrowProductTests {
    private static let caps = ["generic", "avx2", "avxvnni", "avx512", "avx512vnni", "neon"]

    @Test(arguments: caps) func theBitsOfWidenedWeights(cap: String) throws {
        let levels = try levelsOrSkip(cap)
        var index = 0
        for type in NarrowProduct.types {
            // One row and several; panels with tails, sums of one piece and of several.
            for (m, k, n) in [(1, 5, 3), (1, 300, 200), (1, 1100, 70), (1, 1, 65), (2, 700, 40), (7, 30, 130), (40, 520, 17)] {
                index += 1
                let evaluator = Evaluator(levels: levels, pool: ThreadPool(size: 1 + index % 2))
                let isTransposed = index % 3 == 0
                let a = try randomTensor([m, k], seed: UInt64(index))
                let b = try cast(try randomTensor(isTransposed ? [n, k] : [k, n], seed: UInt64(index) + 99), type)
                let wide = try cast(b, .float32)
                let bias: Value? = index % 2 == 0 ? try randomTensor([n], seed: 7) : nil
                let residual: Value? = index % 5 < 2 ? try randomTensor([m, n], seed: 8) : nil
                var attributes: [String: AttributeValue] = ["transB": .int(isTransposed ? 1 : 0)]
                if index % 4 > 1 { attributes["activation"] = .string(ByteString(index % 4 == 2 ? "relu" : "gelu")) }
                let results = try [b, wide].map { weights in
                    try #require(
                        try evaluator.evaluate("MatMul", domain: "apus", opset: 1, attributes, [a, weights, bias, residual])[0]
                    ).asTensor().array(Float.self).map(\.bitPattern)
                }
                #expect(results[0] == results[1], "\(type) \(m)x\(k)x\(n), case \(index)")
            }
        }
    }

    /// Numbers that take special care: subnormal ones, infinities, NaN.
    @Test(arguments: caps) func specialNumbers(cap: String) throws {
        let evaluator = Evaluator(levels: try levelsOrSkip(cap), pool: ThreadPool(size: 1))
        let codes: [UInt16] = [0, 0x8000, 1, 0x83ff, 0x0400, 0x7bff, 0xfbff, 0x7c00, 0xfc00, 0x7e01, 0x3c00, 0x0080, 0x7f80, 0xff80, 0x7fc0, 0x1234]
        for type in [ElementType.float16, .bfloat16] {
            let b = Value.tensor(try Tensor(type, [1, 16], codes)), one = Value.tensor(try Tensor(.float32, [1, 1], [Float(1)]))
            let found = try #require(try evaluator.evaluate("MatMul", domain: "apus", opset: 1, [:], [one, b])[0]).asTensor().array(Float.self)
            let expected = try #require(try evaluator.evaluate("Cast", opset: 13, ["to": .int(1)], [b])[0]).asTensor().array(Float.self)
            #expect(zip(found, expected).allSatisfy { $0 == $1 || ($0.isNaN && $1.isNaN) }, "\(found) \(expected)")
        }
    }

    /// A product of 16-bit floats, and batches, which have no such form.
    @Test func otherForms() throws {
        let evaluator = Evaluator()
        let a = try randomTensor([3, 2, 40]), b = try randomTensor([40, 30], seed: 2), batches = try randomTensor([3, 40, 30], seed: 3)
        for type in [ElementType.float16, .bfloat16] {
            for weights in [b, batches] {
                let narrow = try weights.converted(type), wide = try cast(narrow, .float32), half = try a.converted(type)
                let found = try evaluator.evaluate("MatMul", domain: "apus", opset: 1, ["alpha": .float(0.5)], [a, narrow])[0]
                let expected = try evaluator.evaluate("MatMul", domain: "apus", opset: 1, ["alpha": .float(0.5)], [a, wide])[0]
                #expect(try found?.asTensor().array(Float.self) == expected?.asTensor().array(Float.self))
                let short = try #require(try evaluator.evaluate("MatMul", [:], [half, narrow])[0]).asTensor()
                let widened = try #require(try evaluator.evaluate("MatMul", [:], [cast(half, .float32), wide])[0])
                #expect(short.type == type)
                #expect(short.array(UInt16.self) == (try cast(widened, type).asTensor().array(UInt16.self)))
            }
        }
    }
}
