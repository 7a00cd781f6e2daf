import ApusCore
import ApusGraph
import Glibc
import Testing

@testable import ApusOperators

/// Every operator on integers, on full-range random data, by every instruction set: the same bits as the generic kernels give.
///
/// With APUS_EXACTNESS set, each test case prints its line of the table: operators and the numbers that were compared.
struct ExactnessTests {
    private struct Source {
        var random: UInt64

        mutating func next() -> UInt64 {
            random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return random >> 33
        }

        /// Full-range codes, the extremes more often than by chance.
        mutating func codes(_ count: Int) -> [UInt8] {
            (0..<count).map { _ in next() & 7 == 0 ? [0, 255, 127, 128][Int(next() & 3)] : UInt8(truncatingIfNeeded: next()) }
        }

        mutating func floats(_ count: Int) -> [Float] { (0..<count).map { _ in (Float(next() & 0xffff) - 32768) / 4096 } }
        mutating func scale() -> Float { 0.001 + Float(next() & 0xff) * 1e-4 }
    }

    private struct Call {
        let name: String
        var domain = ""
        let opset: Int
        var attributes: [String: AttributeValue] = [:]
        let inputs: [Value?]
        var outputs = 1
    }

    private static let caps = ["generic", "avx2", "avxvnni", "avx512", "avx512vnni", "neon", "neondot", "neoni8mm"]

    /// One call of each operator, with operands of the given signs.
    private static func calls(_ source: inout Source, aIsSigned: Bool, bIsSigned: Bool) throws -> [Call] {
        let a: ElementType = aIsSigned ? .int8 : .uint8, b: ElementType = bIsSigned ? .int8 : .uint8
        func tensor(_ type: ElementType, _ dimensions: [Int]) throws -> Value {
            try valueOf(type, dimensions, source.codes(dimensions.reduce(1, *)))
        }
        func zero(_ type: ElementType) throws -> Value { try tensor(type, []) }
        func scale() throws -> Value { try valueOf(.float32, [], [source.scale()]) }
        func scales(_ count: Int) throws -> Value { try valueOf(.float32, [count], (0..<count).map { _ in source.scale() }) }
        func integers(_ count: Int) throws -> Value {
            try valueOf(.int32, [count], (0..<count).map { _ in Int32(truncatingIfNeeded: source.next()) % 40_000 })
        }
        var calls: [Call] = []
        // Many channels, few of them, and one by one.
        for (channels, outputs, group, kernel) in [(20, 37, 1, 3), (3, 18, 1, 3), (16, 40, 1, 1), (77, 77, 77, 3), (70, 70, 70, 5)] {
            let x = try tensor(a, [2, channels, 9, 10]), w = try tensor(b, [outputs, channels / group, kernel, kernel])
            // As quantisers make weights, and with any zero points.
            for isCentred in [true, false] {
                let points = isCentred ? [UInt8](repeating: bIsSigned ? 0 : 128, count: outputs) : source.codes(outputs)
                let weightZero = try valueOf(b, [outputs], points)
                let attributes: [String: AttributeValue] = [
                    "group": .int(Int64(group)), "pads": .ints([1, 1, 1, 1]), "strides": .ints(isCentred ? [1, 1] : [2, 1]),
                ]
                let xZero = try zero(a)
                calls.append(Call(
                    name: "QLinearConv", opset: 10, attributes: attributes,
                    inputs: [x, try scale(), xZero, w, try scales(outputs), weightZero, try scale(), try zero(a), try integers(outputs)]))
                calls.append(Call(name: "ConvInteger", opset: 10, attributes: attributes, inputs: [x, w, xZero, weightZero]))
            }
        }
        for (m, k, n) in [(1, 64, 70), (13, 64, 70), (9, 37, 33), (130, 16, 16)] {
            let x = try tensor(a, [m, k]), w = try tensor(b, [k, n]), xZero = try zero(a)
            for isCentred in [true, false] {
                let wZero = isCentred ? try valueOf(b, [], [UInt8(bIsSigned ? 0 : 128)]) : try tensor(b, [n])
                let wScale = isCentred ? try scale() : try scales(n)
                calls.append(Call(name: "MatMulInteger", opset: 10, inputs: [x, w, xZero, wZero]))
                calls.append(Call(
                    name: "QLinearMatMul", opset: 21, inputs: [x, try scale(), xZero, w, wScale, wZero, try scale(), try zero(a)]))
                calls.append(Call(
                    name: "QGemm", domain: "com.microsoft", opset: 1,
                    inputs: [x, try scale(), xZero, w, wScale, wZero, try integers(n), try scale(), try zero(a)]))
                calls.append(Call(
                    name: "MatMulIntegerToFloat", domain: "com.microsoft", opset: 1,
                    inputs: [x, w, try scale(), wScale, xZero, wZero, try valueOf(.float32, [n], source.floats(n))]))
                calls.append(Call(
                    name: "DynamicQuantizeMatMul", domain: "com.microsoft", opset: 1,
                    inputs: [try valueOf(.float32, [m, k], source.floats(m * k)), w, wScale, wZero]))
            }
        }
        let image = try tensor(a, [2, 35, 6, 7]), other = try tensor(a, [2, 35, 6, 7]), numbers = source.floats(2 * 35 * 42)
        let floats = try valueOf(.float32, [2, 35, 6, 7], numbers)
        for name in ["QLinearAdd", "QLinearMul"] {
            calls.append(Call(
                name: name, domain: "com.microsoft", opset: 1,
                inputs: [image, try scale(), try zero(a), other, try scale(), try zero(a), try scale(), try zero(a)]))
        }
        for name in ["QLinearLeakyRelu", "QLinearSigmoid"] {
            calls.append(Call(
                name: name, domain: "com.microsoft", opset: 1, inputs: [image, try scale(), try zero(a), try scale(), try zero(a)]))
        }
        calls.append(Call(
            name: "QLinearAveragePool", domain: "com.microsoft", opset: 1, attributes: ["kernel_shape": .ints([3, 2])],
            inputs: [image, try scale(), try zero(a), try scale(), try zero(a)]))
        for isLast in [false, true] {
            calls.append(Call(
                name: "QLinearGlobalAveragePool", domain: "com.microsoft", opset: 1, attributes: ["channels_last": .int(isLast ? 1 : 0)],
                inputs: [image, try scale(), try zero(a), try scale(), try zero(a)]))
        }
        calls.append(Call(name: "MaxPool", opset: 12, attributes: ["kernel_shape": .ints([2, 3])], inputs: [image]))
        calls.append(Call(name: "Lookup", domain: "apus", opset: 1, inputs: [image, try tensor(b, [256])]))
        calls.append(Call(name: "QuantizeLinear", opset: 13, inputs: [floats, try scale(), try zero(a)]))
        calls.append(Call(
            name: "QuantizeLinear", opset: 13, attributes: ["axis": .int(1)], inputs: [floats, try scales(35), try tensor(a, [35])]))
        calls.append(Call(name: "DequantizeLinear", opset: 13, inputs: [image, try scale(), try zero(a)]))
        calls.append(Call(
            name: "DequantizeLinear", opset: 13, attributes: ["axis": .int(1)], inputs: [image, try scales(35), try tensor(a, [35])]))
        calls.append(Call(name: "DynamicQuantizeLinear", opset: 11, inputs: [floats], outputs: 3))
        return calls
    }

    /// What the generic kernels give for each call of each combination of signs: computed once for all levels.
    private static let expected = Result {
        let generic = Evaluator(levels: 1, pool: ThreadPool(size: 1))
        return try (0..<4).map { signs in
            try calls(signs).map { call in (call, try results(call, generic)) }
        }
    }

    private static func calls(_ signs: Int) throws -> [Call] {
        var source = Source(random: UInt64(signs) + 17)
        return try calls(&source, aIsSigned: signs & 1 != 0, bIsSigned: signs & 2 != 0)
    }

    private static func results(_ call: Call, _ evaluator: Evaluator) throws -> [Tensor] {
        try evaluator.evaluate(call.name, domain: call.domain, opset: call.opset, call.attributes, call.inputs, outputs: call.outputs)
            .map { try #require($0).asTensor() }
    }

    /// Each call on one thread or on two, by turns.
    @Test(arguments: caps) func theSameBits(cap: String) throws {
        let levels = try levelsOrSkip(cap)
        let evaluators = [1, 2].map { Evaluator(levels: levels, pool: ThreadPool(size: $0)) }
        var compared: [String: Int] = [:]
        for (signs, calls) in try Self.expected.get().enumerated() {
            for (index, (call, expected)) in calls.enumerated() {
                let found = try Self.results(call, evaluators[(index + index / 2 + signs) % 2])
                for (a, b) in zip(found, expected) {
                    let isSame = a.type == b.type && a.shape == b.shape && memcmp(a.pointer, b.pointer, b.count * b.type.bitWidth / 8) == 0
                    #expect(isSame, "\(call.name), signs \(signs)")
                    compared[call.name, default: 0] += b.count
                }
            }
        }
        #expect(compared.count == 18 && compared.values.allSatisfy { $0 > 100 })
        if getenv("APUS_EXACTNESS") != nil {
            print("\(cap): " + compared.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", "))
        }
    }
}
