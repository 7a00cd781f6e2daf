import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

struct RandomTests {

    /// The known answers that come with Random123, the authors' implementation.
    @Test
    func philox() {
        #expect(Philox(key: 0).block(SIMD4(0, 0, 0, 0)) == SIMD4(0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8))
        #expect(
            Philox(key: .max).block(SIMD4(repeating: .max)) == SIMD4(0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd))
        #expect(
            Philox(key: 0x299f_31d0_a409_3822).block(SIMD4(0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344))
                == SIMD4(0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1))
    }

    private func draw(_ opType: String, opset: Int = 22, _ attributes: [String: AttributeValue], _ inputs: [Value?] = [], threads: Int = 1) throws -> Value {
        let outputs = try Evaluator(pool: ThreadPool(size: threads)).evaluate(opType, opset: opset, attributes, inputs)
        return try #require(outputs[0])
    }

    private func moments(_ value: Value) throws -> (mean: Double, deviation: Double, least: Double, greatest: Double) {
        let numbers = try value.floats().map { Double($0) }
        let mean = numbers.reduce(0, +) / Double(numbers.count)
        let variance = numbers.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(numbers.count)
        return (mean, variance.squareRoot(), try #require(numbers.min()), try #require(numbers.max()))
    }

    @Test(arguments: [1, 10, 11, 16])
    func uniform(type: Int) throws {
        let attributes: [String: AttributeValue] = [
            "shape": .ints([300, 301]), "low": .float(-2), "high": .float(6), "seed": .float(7), "dtype": .int(Int64(type)),
        ]
        for opset in [1, 22] {
            let value = try draw("RandomUniform", opset: opset, attributes)
            #expect(value.shape?.dimensions == [300, 301])
            #expect(try value.asTensor().type.rawValue == Int32(type))
            let (mean, deviation, least, greatest) = try moments(value)
            #expect(abs(mean - 2) < 0.03)
            #expect(abs(deviation - 8 / 12.0.squareRoot()) < 0.03)
            #expect(least >= -2 && least < -1.9 && greatest <= 6 && greatest > 5.9)
        }
    }

    @Test(arguments: [1, 10, 11, 16])
    func normal(type: Int) throws {
        let value = try draw(
            "RandomNormal", ["shape": .ints([90301]), "mean": .float(1), "scale": .float(3), "seed": .float(-1.5), "dtype": .int(Int64(type))])
        let (mean, deviation, least, greatest) = try moments(value)
        #expect(abs(mean - 1) < 0.05)
        #expect(abs(deviation - 3) < 0.05)
        #expect(least < -9 && greatest > 11)
        let within = try value.floats().filter { abs($0 - 1) < 3 }.count
        #expect(abs(Double(within) / 90301 - 0.6827) < 0.01)
    }

    /// The same numbers with any number of threads, other ones for another seed, and for every run where none is given.
    @Test
    func seeds() throws {
        let input = Value.tensor(try Tensor(.float32, [70001], [Float](repeating: 0.25, count: 70001)))
        let scores = Value.tensor(try Tensor(.float64, [3, 4], (0..<12).map { Double($0 % 5) }))
        let cases: [(String, [String: AttributeValue], [Value?])] = [
            ("RandomNormal", ["shape": .ints([70001])], []), ("RandomUniform", ["shape": .ints([70001])], []),
            ("RandomNormalLike", [:], [input]), ("RandomUniformLike", ["dtype": .int(11)], [input]), ("Bernoulli", [:], [input]),
            ("Multinomial", ["sample_size": .int(9001)], [scores]),
        ]
        for (opType, attributes, inputs) in cases {
            let seeded = attributes.merging(["seed": .float(3)]) { $1 }
            let first = try draw(opType, seeded, inputs).floats()
            #expect(try draw(opType, seeded, inputs).floats() == first, "\(opType)")
            #expect(try draw(opType, seeded, inputs, threads: 4).floats() == first, "\(opType) with threads")
            #expect(try draw(opType, attributes.merging(["seed": .float(4)]) { $1 }, inputs).floats() != first, "\(opType) with another seed")
            #expect(try draw(opType, attributes, inputs).floats() != draw(opType, attributes, inputs).floats(), "\(opType) without a seed")
            #expect(try draw(opType, attributes.merging(["seed": .float(.nan)]) { $1 }, inputs).floats() != first, "\(opType) with NaN")
        }
    }

    @Test
    func like() throws {
        let strings = Value.strings(try StringTensor(shape: Shape([2, 3]), elements: [ByteString](repeating: "a", count: 6)))
        let value = try draw("RandomUniformLike", ["dtype": .int(10)], [strings])
        #expect(value.shape?.dimensions == [2, 3])
        let scalar = try draw("RandomNormalLike", [:], [.tensor(try Tensor(.float64, [], [1.0]))])
        #expect(try scalar.asTensor().type == .float64)
        let empty = try draw("RandomNormal", ["shape": .ints([0, 4])])
        #expect(empty.shape?.dimensions == [0, 4])
        expectRefuses("RandomNormalLike", opset: 22, [:], [strings], .typeMismatch, "dtype")
        expectRefuses("RandomNormal", opset: 22, ["shape": .ints([1]), "dtype": .int(7)], [], .invalidModel, "dtype")
        expectRefuses("RandomNormal", opset: 22, ["shape": .ints([-1])], [], .shapeMismatch, "")
        expectRefuses("RandomNormal", opset: 22, [:], [], .invalidModel, "shape")
    }

    @Test
    func bernoulli() throws {
        for type in [.float32, .float16, .float64, .bfloat16] as [ElementType] {
            let p = try Value.tensor(Tensor(.float32, [40000], (0..<40000).map { $0 < 20000 ? 0.25 : 0.75 } as [Float])).converted(type)
            let values = try draw("Bernoulli", opset: type == .bfloat16 ? 22 : 15, ["seed": .float(1)], [p])
            #expect(try values.asTensor().type == type)
            let floats = try values.floats()
            #expect(floats.allSatisfy { $0 == 0 || $0 == 1 })
            #expect(abs(floats[..<20000].reduce(0, +) - 5000) < 300)
            #expect(abs(floats[20000...].reduce(0, +) - 15000) < 300)
        }
        let sure = Value.tensor(try Tensor(.float32, [5], [0, 1, 0, 1, 1] as [Float]))
        for type in [2, 3, 6, 7, 9, 13] {
            let values = try draw("Bernoulli", ["dtype": .int(Int64(type))], [sure])
            #expect(try values.asTensor().integers() == [0, 1, 0, 1, 1], "type \(type)")
        }
        expectRefuses("Bernoulli", opset: 22, ["dtype": .int(8)], [sure], .invalidModel, "dtype")
    }

    @Test
    func multinomial() throws {
        // Unnormalised logarithms: 1 : 2 : 0 : 5.
        let row = [1.0, 2.0, 0.0, 5.0].map { Float(naturalLogarithm($0)) }
        let input = Value.tensor(try Tensor(.float32, [2, 4], row + row.map { $0 + 100 }))
        for type in [6, 7] {
            let value = try draw("Multinomial", opset: 7, ["sample_size": .int(20000), "seed": .float(5), "dtype": .int(Int64(type))], [input])
            #expect(value.shape?.dimensions == [2, 20000])
            let classes = try value.asTensor().integers()
            for part in [classes[..<20000], classes[20000...]] {
                for (index, expected) in [2500, 5000, 0, 12500].enumerated() {
                    #expect(abs(part.filter { $0 == index }.count - expected) < 300 * expected.signum() + 1)
                }
            }
        }
        let nothing = Value.tensor(try Tensor(.float32, [1, 2], [-.infinity, -.infinity] as [Float]))
        expectRefuses("Multinomial", opset: 7, [:], [nothing], .invalidValue, "row 0")
        expectRefuses("Multinomial", opset: 7, [:], [.tensor(try Tensor(.float32, [1, 0], [] as [Float]))], .shapeMismatch, "classes")
        expectRefuses("Multinomial", opset: 7, ["sample_size": .int(0)], [input], .invalidModel, "sample_size")
        expectRefuses("Multinomial", opset: 7, ["dtype": .int(1)], [input], .invalidModel, "dtype")
    }
}
