import ApusCore
import ApusGraph
import CApusKernels
import TestSupport
import Testing

@testable import ApusOperators

/// Transposed convolutions by Winograd's transforms.
@Suite struct WinogradTransposedTests {
    /// Images, input, kernel, strides, padding at the begin, outputs that are left out at the end.
    struct Case: CustomTestStringConvertible, Sendable {
        var images = 1
        let input: [Int]
        let kernel: [Int]
        let strides: [Int]
        let pads: [Int]
        let end: [Int]
        var tile = 3
        var testDescription: String { "\(images) of \(input), kernel \(kernel), strides \(strides), pads \(pads), \(end)" }

        var axes: [TransposedAxis] {
            input.indices.map {
                TransposedAxis(
                    input: input[$0], output: (input[$0] - 1) * strides[$0] + kernel[$0] - pads[$0] - end[$0], kernel: kernel[$0],
                    stride: strides[$0], dilation: 1, padBegin: pads[$0])
            }
        }
    }

    static let cases = [
        Case(input: [4, 4], kernel: [4, 4], strides: [2, 2], pads: [1, 1], end: [1, 1]),
        Case(images: 2, input: [7, 5], kernel: [4, 4], strides: [2, 2], pads: [1, 0], end: [1, 2]),
        Case(input: [5, 8], kernel: [4, 3], strides: [2, 2], pads: [0, 1], end: [3, 0]),
        // Output padding: the last outputs see little or nothing.
        Case(input: [3, 4], kernel: [3, 4], strides: [2, 2], pads: [1, 1], end: [-1, -1]),
        Case(input: [6, 3], kernel: [4, 4], strides: [2, 2], pads: [3, 2], end: [3, 1]),
        // The first outputs begin at the second input and farther on.
        Case(input: [9, 9], kernel: [4, 4], strides: [2, 2], pads: [5, 7], end: [0, 2]),
        Case(input: [1, 1], kernel: [4, 4], strides: [2, 2], pads: [1, 1], end: [1, 1]),
        Case(input: [4, 3], kernel: [6, 8], strides: [3, 4], pads: [2, 3], end: [1, 2]),
        Case(input: [5, 6], kernel: [2, 4], strides: [1, 2], pads: [1, 1], end: [0, 1]),
        Case(input: [6, 9], kernel: [5, 6], strides: [2, 2], pads: [2, 2], end: [1, 2], tile: 4),
        Case(images: 2, input: [6, 5], kernel: [6, 5], strides: [2, 2], pads: [2, 0], end: [2, 0], tile: 2),
        Case(input: [5, 4], kernel: [9, 10], strides: [2, 2], pads: [4, 3], end: [3, 4], tile: 2),
    ]

    /// With any numbers of channels, whether it pays or not, against the definition.
    @Test(arguments: cases) func matchesDefinition(_ c: Case) throws {
        let pool = ThreadPool(size: 2), budget = MemoryBudget(), output = c.axes.map(\.output)
        for (k, n) in [(3, 2), (2, 19)] {
            let x = try randomTensor([c.images, k] + c.input), w = try randomTensor([k, n] + c.kernel, seed: 2)
            let bias = try randomTensor([n], seed: 3), scale = try randomTensor([n], seed: 4).floats()
            let residual = try randomTensor([c.images, n] + output, seed: 5)
            let plain = try spread(
                x, w, bias: nil, group: 1, strides: c.strides, dilations: [1, 1], pads: c.pads + c.end, output: output)
            let biases = try bias.floats(), residuals = try residual.floats(), pixels = output.reduce(1, *)
            let sums = plain.indices.map { plain[$0] * scale[$0 / pixels % n] + biases[$0 / pixels % n] + residuals[$0] }
            let expected = try channelsLast(try floatTensor([c.images, n] + output, sums)).floats()

            let input = GuardedBuffer(try channelsLast(x).floats(), guarding: .end), weights = try w.floats()
            let added = GuardedBuffer(try channelsLast(residual).floats(), guarding: .end)
            let result = GuardedBuffer([Float](repeating: 777, count: expected.count), guarding: .end)
            let zeros = GuardedBuffer([Float](repeating: 0, count: k), guarding: .end)
            for threads in [1, 2] {
                let squares = try WinogradSquares(
                    levels: apus_cpu_levels(), tile: c.tile, transposed: c.axes, images: c.images, outChannels: n)
                let convolution = try WinogradConvolution(levels: apus_cpu_levels(), squares: squares, inChannels: k, threads: threads)
                let packed = try Storage.allocate(byteCount: convolution.packedByteCount, budget: budget, purpose: "weights")
                let scratch = try Storage.allocate(byteCount: convolution.workspaceByteCount, budget: budget, purpose: "scratch")
                let panels = packed.base.assumingMemoryBound(to: Float.self)
                try convolution.pack(transposed: weights, c.axes, scale: scale, to: panels, budget: budget)
                var epilogue = apus_epilogue()
                epilogue.residual = added.constant
                epilogue.residual_stride = n
                biases.withUnsafeBufferPointer {
                    epilogue.bias = $0.baseAddress
                    convolution.run(
                        input: input.constant, panels: UnsafePointer(panels), zeros: zeros.constant, epilogue: epilogue,
                        output: result.pointer, scratch: scratch.base, pool: pool)
                }
                try expectClose(
                    try floatTensor([expected.count], (0..<expected.count).map { result[$0] }), [expected.count], expected, tolerance: 5e-5)
                #expect(result.isIntact && input.isIntact && added.isIntact && zeros.isIntact)
            }
        }
    }

    /// Through the operator: where it pays, and with several threads.
    @Test(arguments: [([2, 16, 14, 40], 50, [1, 1, 1, 1]), ([1, 20, 20, 64], 40, [0, 1, 2, 1])])
    func asTheOptimiserAllows(x: [Int], outputs: Int, pads: [Int]) throws {
        let output: [Int] = (0..<2).map { (axis: Int) -> Int in 2 * x[1 + axis] + 2 - pads[axis] - pads[2 + axis] }
        let input = try randomTensor(x), w = try randomTensor([x[3], outputs, 4, 4], seed: 2), bias = try randomTensor([outputs], seed: 3)
        let scale = try randomTensor([outputs], seed: 4)
        let size: WinogradSize = try #require(
            WinogradSize(transposed: [4, 4], strides: [2, 2], images: x[0], output: output, inChannels: x[3], outChannels: outputs))
        #expect(size.tile(greatest: 3) == 3)
        let attributes = ["strides": ints([2, 2]), "pads": ints(pads), "activation": .string("relu")] as [String: AttributeValue]
        let inputs = [input, w, bias, nil, scale]
        for evaluator in evaluators {
            let direct = try #require(try evaluator.evaluate("ConvTranspose", domain: "apus", opset: 1, attributes, inputs)[0])
            let y = try evaluator.evaluate(
                "ConvTranspose", domain: "apus", opset: 1, attributes.merging(["winograd": .int(3)]) { $1 }, inputs)[0]
            try expectClose(y, [x[0]] + output + [outputs], try direct.floats(), tolerance: 5e-5)
        }
    }

    @Test func whereItPays() {
        func tile(_ size: Int, _ channels: Int, kernel: [Int] = [4, 4], strides: [Int] = [2, 2]) -> Int? {
            WinogradSize(
                transposed: kernel, strides: strides, images: 1, output: [2 * size, 2 * size], inChannels: channels, outChannels: channels)?
                .tile(greatest: 4)
        }
        #expect(tile(32, 64) == 3)
        #expect(tile(32, 64, kernel: [5, 6]) == 4)
        #expect(tile(32, 8) == nil)
        #expect(tile(1, 512) == nil)
        #expect(tile(32, 64, kernel: [2, 2]) == nil)
        #expect(tile(32, 64, kernel: [4, 6]) == nil)
        #expect(tile(32, 64, kernel: [4, 4], strides: [1, 1]) == nil)
        #expect(tile(32, 64, kernel: [2000, 2000], strides: [1000, 1000]) == nil)
    }

    @Test func onlyKnownTiles() throws {
        let x = try randomTensor([1, 4, 4, 16]), w = try randomTensor([16, 16, 4, 4])
        expectError(.invalidModel) {
            _ = try Evaluator().evaluate("ConvTranspose", domain: "apus", opset: 1, ["winograd": .int(5)], [x, w])
        }
    }
}
