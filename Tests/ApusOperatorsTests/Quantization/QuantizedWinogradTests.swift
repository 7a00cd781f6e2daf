import ApusCore
import ApusGraph
import CApusKernels
import TestSupport
import Testing

@testable import ApusOperators

/// Convolutions of 8-bit integers by Winograd's transforms, against the direct sum: the same bits.
struct QuantizedWinogradTests {
    private struct Bytes {
        var state: UInt64

        mutating func next() -> UInt64 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return state >> 33
        }
    }

    private struct Case: CustomStringConvertible {
        var batch = 1, size: [Int], channels: Int, outputs: Int, pads = [1, 1, 1, 1]
        var isSigned = false, weightsAreSigned = true, zeroPoint: Int = 0
        /// nil: in their middle.
        var weightZeroPoint: Int?
        /// Greatest magnitude of weights.
        var weight = 127
        var kernel = 3, stride = 1
        var isPerChannel = true
        /// Whether the transforms are expected, where the level has them.
        var isTransformed = true
        var description: String {
            "\(batch) of \(size), \(channels) to \(outputs), pads \(pads), zero points \(zeroPoint) and \(weightZeroPoint ?? -1)"
        }
    }

    private static let cases = [
        Case(size: [16, 15], channels: 32, outputs: 32),
        Case(size: [16, 16], channels: 36, outputs: 64, pads: [0, 2, 1, 0], isSigned: true, zeroPoint: -1, isPerChannel: false),
        Case(batch: 2, size: [12, 12], channels: 40, outputs: 32, weightsAreSigned: false, zeroPoint: 255),
        // More than one thread: the steps, then the blocks.
        Case(size: [16, 16], channels: 64, outputs: 64, isSigned: true, weightsAreSigned: false, zeroPoint: 127, weight: 90),
        Case(batch: 3, size: [21, 20], channels: 32, outputs: 32, isSigned: true, zeroPoint: -128),
        // Sums that may pass the limit: 255 * 127 * 9 * 132 > 2^25.
        Case(size: [16, 16], channels: 132, outputs: 32, zeroPoint: 0, isTransformed: false),
        // Weights with zero points of their own, other windows, channels that are no groups, a picture that is too small.
        Case(size: [12, 12], channels: 32, outputs: 32, weightZeroPoint: 1, isTransformed: false),
        Case(size: [12, 12], channels: 32, outputs: 32, weightsAreSigned: false, weightZeroPoint: 0, isTransformed: false),
        Case(size: [12, 12], channels: 32, outputs: 32, kernel: 2, isTransformed: false),
        Case(size: [13, 13], channels: 32, outputs: 32, stride: 2, isTransformed: false),
        Case(size: [12, 12], channels: 30, outputs: 32, isTransformed: false),
        Case(size: [2, 1], channels: 32, outputs: 32, isTransformed: false),
    ]

    /// The node's inputs; weights are random over their range, those of a case that must not be transformed at its upper end.
    private static func inputs(_ c: Case, _ random: inout Bytes) throws -> [Value?] {
        let type: ElementType = c.isSigned ? .int8 : .uint8, weightType: ElementType = c.weightsAreSigned ? .int8 : .uint8
        let middle = c.weightsAreSigned ? 0 : 128, isLarge = c.channels == 132
        let x = (0..<(c.batch * c.size[0] * c.size[1] * c.channels)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        let w = (0..<(c.outputs * c.channels * c.kernel * c.kernel)).map { _ in
            UInt8(truncatingIfNeeded: middle + (isLarge ? c.weight : Int(random.next() % UInt64(2 * c.weight + 1)) - c.weight))
        }
        func code(_ type: ElementType, _ value: Int) throws -> Value { try valueOf(type, [], [UInt8(truncatingIfNeeded: value)]) }
        let count = c.isPerChannel ? c.outputs : 1
        return [
            try valueOf(type, [c.batch] + c.size + [c.channels], x), try valueOf(.float32, [], [Float(0.02)]), try code(type, c.zeroPoint),
            try valueOf(weightType, [c.outputs, c.channels, c.kernel, c.kernel], w),
            try valueOf(.float32, c.isPerChannel ? [count] : [], (0..<count).map { 0.0002 + 0.00001 * Float($0) }),
            try valueOf(
                weightType, c.isPerChannel ? [count] : [],
                [UInt8](repeating: UInt8(truncatingIfNeeded: c.weightZeroPoint ?? middle), count: count)),
            try valueOf(.float32, [], [Float(0.03)]), try code(type, c.isSigned ? 3 : 120),
            try valueOf(.int32, [c.outputs], (0..<c.outputs).map { Int32($0 * 1000 - 9000) }),
        ]
    }

    private static func operation(_ opType: String, _ domain: String, _ attributes: [String: AttributeValue], inputs: Int) throws -> any Operator {
        let graph = Graph()
        let node = Node(
            opType, domain: domain, opset: domain.isEmpty ? 10 : 1, attributes: attributes.map { Attribute($0.key, $0.value) },
            inputs: (0..<inputs).map { _ in graph.addValue() }, outputs: [graph.addValue()])
        return try Registry.make(node, in: graph)
    }

    private static func kernelName(_ operation: any Operator, _ inputs: [Value?], levels: UInt32, isConstant: (Int) -> Bool = { _ in true }) throws
        -> String
    {
        let infos = try inputs.enumerated().map { index, input -> ValueInfo? in
            guard let input else { return nil }
            let tensor = try input.asTensor()
            return isConstant(index) ? ValueInfo(constant: input)
                : ValueInfo(tensor.type, PartialShape(tensor.shape.dimensions.map(Dimension.known)))
        }
        let outputs = try operation.inferOutputs(InferenceContext(inputs: infos, outputCount: 1))
        return try operation.prepare(
            PrepareContext(
                inputs: infos, outputs: outputs, levels: levels, threads: 1, packed: PackCache(budget: .shared))
        ).kernelName
    }

    @Test(arguments: IntegerPathTests.caps) func theBitsOfTheDirectSum(cap: String) throws {
        let levels = try levelsOrSkip(cap)
        let hasTransforms = apus_qwinograd_select(levels).pointee.isa == apus_qgemm_select(levels).pointee.isa
        var random = Bytes(state: 5)
        for c in Self.cases {
            let inputs = try Self.inputs(c, &random)
            let attributes: [String: AttributeValue] = [
                "channels_last": .int(1), "pads": .ints(c.pads.map(Int64.init)), "strides": .ints([Int64(c.stride), Int64(c.stride)]),
            ]
            let plain = try Self.operation("QLinearConv", "com.microsoft", attributes, inputs: 9)
            let allowed = try Self.operation("QLinearConv", "com.microsoft", attributes.merging(["winograd": .int(1)]) { $1 }, inputs: 9)
            let name = try Self.kernelName(allowed, inputs, levels: levels)
            #expect(name.hasPrefix("qwinograd_") == (hasTransforms && c.isTransformed), "\(c): \(name)")
            #expect(try !Self.kernelName(plain, inputs, levels: levels).contains("winograd"))
            let expected = try Evaluator(levels: levels, pool: ThreadPool(size: 1)).evaluate(plain, inputs, outputCount: 1)
            for threads in [1, 2] {
                let found = try Evaluator(levels: levels, pool: ThreadPool(size: threads)).evaluate(allowed, inputs, outputCount: 1)
                let same = try #require(found[0]).asTensor().array(UInt8.self) == #require(expected[0]).asTensor().array(UInt8.self)
                #expect(same, "\(c), \(threads) threads")
            }
        }
    }

    /// The sums themselves, with channels first; and what must be known beforehand.
    @Test func integers() throws {
        let levels = apus_cpu_levels(), c = Case(batch: 2, size: [12, 12], channels: 32, outputs: 32, zeroPoint: 77)
        guard apus_qwinograd_select(levels).pointee.isa == apus_qgemm_select(levels).pointee.isa else {
            try Test.cancel("this CPU's level has no transforms")
        }
        var random = Bytes(state: 6)
        let all = try Self.inputs(c, &random), x = try #require(all[0]).asTensor()
        let image = try valueOf(.uint8, [2, 32, 12, 12], try x.array(UInt8.self))
        let inputs: [Value?] = [image, all[3], all[2], nil]
        let plain = try Self.operation("ConvInteger", "", ["pads": .ints([1, 1, 1, 1])], inputs: 3)
        let allowed = try Self.operation("ConvInteger", "", ["pads": .ints([1, 1, 1, 1]), "winograd": .int(1)], inputs: 3)
        #expect(try Self.kernelName(allowed, Array(inputs[..<3]), levels: levels).hasPrefix("qwinograd_"))
        // The zero point may come from a run, the weights may not.
        #expect(try Self.kernelName(allowed, Array(inputs[..<3]), levels: levels) { $0 == 1 }.hasPrefix("qwinograd_"))
        #expect(try !Self.kernelName(allowed, Array(inputs[..<3]), levels: levels) { $0 == 2 }.hasPrefix("qwinograd_"))
        let evaluator = Evaluator(levels: levels, pool: ThreadPool(size: 2))
        let expected = try evaluator.evaluate(plain, Array(inputs[..<3]), outputCount: 1)[0]
        let found = try evaluator.evaluate(allowed, Array(inputs[..<3]), outputCount: 1)[0]
        #expect(try #require(found).asTensor().array(Int32.self) == #require(expected).asTensor().array(Int32.self))
    }
}
