import ApusCore
import ApusGraph
import CApusKernels
import TestSupport
import Testing

@testable import ApusOperators

/// `apus.Conv` with Winograd's transforms allowed, against its definition.
@Suite struct WinogradConvTests {
    /// Images, height, width, input channels, output channels, padding.
    struct Case: CustomTestStringConvertible, Sendable {
        let x: [Int]
        let outputs: Int
        var pads = [1, 1, 1, 1]
        let tile: Int
        var testDescription: String { "\(x) to \(outputs), pads \(pads), tile \(tile)" }
    }

    static let cases = [
        Case(x: [1, 16, 16, 16], outputs: 16, tile: 4), Case(x: [2, 19, 13, 14], outputs: 33, tile: 4),
        Case(x: [1, 70, 9, 8], outputs: 20, pads: [0, 1, 2, 0], tile: 4), Case(x: [1, 32, 30, 29], outputs: 72, tile: 4),
        Case(x: [3, 24, 7, 7], outputs: 24, tile: 2), Case(x: [1, 33, 2, 2], outputs: 17, tile: 2),
        Case(x: [1, 17, 40, 41], outputs: 16, pads: [0, 0, 0, 0], tile: 2),
    ]

    @Test(arguments: cases) func matchesDefinition(_ c: Case) throws {
        let output = [c.x[2] + c.pads[0] + c.pads[2] - 2, c.x[3] + c.pads[1] + c.pads[3] - 2]
        let x = try randomTensor(c.x), w = try randomTensor([c.outputs, c.x[1], 3, 3], seed: 2), bias = try randomTensor([c.outputs], seed: 3)
        let residual = try randomTensor([c.x[0], c.outputs] + output, seed: 4), scale = try randomTensor([c.outputs], seed: 5)
        let plain = try convolve(x, w, bias: nil, group: 1, strides: [1, 1], dilations: [1, 1], pads: c.pads, output: output)
        let biases = try bias.floats(), residuals = try residual.floats(), scales = try scale.floats()
        let result = plain.indices.map { index in
            let channel = index / (output[0] * output[1]) % c.outputs
            return max(0, plain[index] * scales[channel] + biases[channel] + residuals[index])
        }
        let last = try channelsLast(try floatTensor([c.x[0], c.outputs] + output, result))
        let attributes = ["activation": .string("relu"), "pads": ints(c.pads), "winograd": .int(Int64(c.tile))] as [String: AttributeValue]
        for evaluator in evaluators {
            let inputs = [try channelsLast(x), w, bias, try channelsLast(residual), scale]
            let inRun = try evaluator.evaluate(
                "Conv", domain: "apus", opset: 1, attributes.merging(["winograd_in_run": .int(1)]) { $1 }, inputs)[0]
            try expectClose(inRun, [c.x[0]] + output + [c.outputs], try last.floats(), tolerance: 5e-5)
            let y = try evaluator.evaluate("Conv", domain: "apus", opset: 1, attributes, inputs)[0]
            // Sums of up to 300 products, with twice the direct sum's rounding error.
            try expectClose(y, [c.x[0]] + output + [c.outputs], try last.floats(), tolerance: 5e-5)
        }
    }

    @Test func theTileFollowsTheSizes() {
        func tile(_ size: Int, _ channels: Int, greatest: Int = 4, stride: Int = 1, kernel: Int = 3, group: Int = 1) -> Int? {
            let geometry = WindowGeometry(
                input: [size, size], output: [size, size], kernel: [kernel, kernel], strides: [stride, stride], dilations: [1, 1],
                padBegin: [1, 1], padEnd: [1, 1])
            return WinogradConvolution.tile(
                greatest: greatest, geometry: geometry, group: group, images: 1, inChannels: channels, outChannels: channels)
        }
        #expect(tile(56, 64) == 4)
        #expect(tile(56, 64, greatest: 2) == 2)
        #expect(tile(56, 64, greatest: 0) == nil)
        #expect(tile(7, 512) == 2)
        #expect(tile(1, 512) == nil)
        #expect(tile(56, 8) == nil)
        #expect(tile(56, 64, stride: 2) == nil)
        #expect(tile(56, 64, kernel: 5) == nil)
        #expect(tile(56, 64, group: 2) == nil)
        // No sum with such a size may overflow: batches of no image have them.
        #expect(tile(.max, 64, greatest: 4) == 4)
    }

    @Test func onlyKnownTiles() throws {
        let x = try randomTensor([1, 8, 8, 16]), w = try randomTensor([16, 16, 3, 3])
        expectError(.invalidModel) {
            _ = try Evaluator().evaluate("Conv", domain: "apus", opset: 1, ["winograd": .int(3)], [x, w])
        }
        // Weights that are not constant cannot be transformed at load, but give the same: the evaluator's are constant.
        let y = try Evaluator().evaluate("Conv", domain: "apus", opset: 1, ["winograd": .int(4)], [x, w])[0]
        #expect(try y?.asTensor().shape == Shape([1, 6, 6, 16]))
    }
}
