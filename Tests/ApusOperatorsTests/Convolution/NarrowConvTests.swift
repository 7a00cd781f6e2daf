import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

/// Convolutions with constant weights of 8 and 16 bits: the bits of those with weights widened beforehand.
@Suite struct NarrowConvTests {
    private static let caps = ["generic", "avx2", "avxvnni", "avx512", "avx512vnni", "neon"]

    struct Case: CustomTestStringConvertible, Sendable {
        var type = "Conv"
        /// Channels last.
        let x: [Int]
        let w: [Int]
        var group = 1
        var attributes: [String: AttributeValue] = [:]
        var testDescription: String { "\(type) \(x) \(w) in \(group) groups, \(attributes.keys.sorted())" }
    }

    static let cases = [
        Case(x: [2, 3, 5, 70], w: [67, 70, 1, 1]),
        Case(x: [1, 1, 1, 800], w: [130, 800, 1, 1]),
        Case(x: [1, 24, 23, 9], w: [5, 9, 1, 1]),
        Case(x: [2, 7, 6, 16], w: [33, 16, 3, 3], attributes: ["strides": .ints([2, 1]), "pads": .ints([1, 0, 2, 1])]),
        Case(x: [1, 9, 8, 20], w: [22, 10, 3, 2], group: 2, attributes: ["dilations": .ints([2, 1])]),
        Case(x: [2, 5, 4, 9], w: [12, 3, 3, 3], group: 3, attributes: ["pads": .ints([1, 1, 1, 1])]),
        Case(x: [1, 3, 4, 800], w: [17, 800, 2, 2]),
        Case(x: [1, 140, 6], w: [8, 6, 130]),
        Case(x: [1, 3, 4, 5, 6], w: [7, 6, 2, 3, 1]),
        Case(x: [1, 13, 9, 48], w: [70, 48, 3, 3], attributes: ["winograd": .int(4), "winograd_in_run": .int(1)]),
        Case(x: [1, 8, 8, 100], w: [48, 100, 3, 3], attributes: ["winograd": .int(4), "winograd_in_run": .int(1)]),
        Case(x: [1, 9, 8, 16], w: [20, 16, 3, 3], attributes: ["winograd": .int(2)]),
        Case(x: [1, 9, 8, 20], w: [20, 1, 3, 3], group: 20),
        Case(x: [1, 12, 11, 3], w: [16, 3, 3, 3], attributes: ["strides": .ints([2, 2])]),
        Case(type: "ConvTranspose", x: [2, 5, 4, 20], w: [20, 17, 3, 3], attributes: ["strides": .ints([2, 2])]),
        Case(type: "ConvTranspose", x: [1, 5, 4, 20], w: [20, 7, 3, 2], group: 2),
        Case(type: "ConvTranspose", x: [2, 6, 5, 30], w: [30, 2, 4, 4], attributes: ["strides": .ints([2, 2])]),
        Case(type: "ConvTranspose", x: [1, 9, 9, 20], w: [20, 16, 4, 4], attributes: ["strides": .ints([2, 2]), "winograd": .int(4)]),
    ]

    @Test(arguments: caps) func theBitsOfWidenedWeights(cap: String) throws {
        let levels = try levelsOrSkip(cap)
        for (index, c) in Self.cases.enumerated() {
            let type = NarrowProduct.types[(index + (cap == "avx512" ? 3 : 0)) % NarrowProduct.types.count]
            let w = try cast(try randomTensor(c.w, seed: UInt64(index) + 40), type), wide = try cast(w, .float32)
            let x = try randomTensor(c.x, seed: UInt64(index)), channels = c.type == "Conv" ? c.w[0] : c.w[1] * c.group
            let bias = try randomTensor([channels], seed: 3), scale = try randomTensor([channels], seed: 4)
            for threads in [1, 3] {
                let evaluator = Evaluator(levels: levels, pool: ThreadPool(size: threads))
                func run(_ w: Value, residual: Value?, isScaled: Bool, isHalf: Bool = false, first: Bool = false) throws -> Tensor {
                    let attributes = c.attributes.merging(
                        ["group": .int(Int64(c.group)), "activation": .string("relu"), "channels_first": .int(first ? 1 : 0)]
                    ) { $1 }
                    let inputs = [x, isHalf && w.type.elementType == .float32 ? try cast(w, .float16) : w, bias, residual, isScaled ? scale : nil]
                    return try #require(
                        try evaluator.evaluate(
                            c.type, domain: "apus", opset: 1, attributes,
                            try inputs.enumerated().map { isHalf && $0 != 1 ? try $1.map { try cast($0, .float16) } : $1 })[0]
                    ).asTensor()
                }
                let plain = try run(wide, residual: nil, isScaled: false)
                let residual = try randomTensor(plain.shape.dimensions, seed: 5)
                for (residual, isScaled) in [(nil, false), (nil, true), (residual, true)] {
                    let expected = try run(wide, residual: residual, isScaled: isScaled).array(Float.self)
                    let found = try run(w, residual: residual, isScaled: isScaled).array(Float.self)
                    #expect(found.map(\.bitPattern) == expected.map(\.bitPattern), "\(type.name), \(threads) threads, \(c)")
                }
                // All in 16 bits, which are widened on the way in and rounded on the way out.
                let half = try run(w, residual: nil, isScaled: true, isHalf: true)
                #expect(half.type == .float16 && half.shape == plain.shape)
                if type == .float16 {
                    let expected = try run(wide, residual: nil, isScaled: true, isHalf: true)
                    #expect(half.array(UInt16.self) == expected.array(UInt16.self))
                }
            }
        }
    }
}
