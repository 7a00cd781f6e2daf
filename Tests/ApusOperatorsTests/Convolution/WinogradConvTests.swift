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
        Case(x: [1, 16, 9, 8], outputs: 20, pads: [0, 1, 2, 0], tile: 4), Case(x: [2, 17, 7, 7], outputs: 16, tile: 2),
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

    /// Every window, against the direct sum. X, outputs, window, pads.
    struct Window: CustomTestStringConvertible, Sendable {
        let x: [Int]
        let outputs: Int
        let window: [Int]
        let pads: [Int]
        var testDescription: String { "\(x) to \(outputs), window \(window), pads \(pads)" }
    }

    static let windows = [
        Window(x: [2, 13, 14, 40], outputs: 33, window: [3, 3], pads: [1, 1, 1, 1]),
        Window(x: [1, 13, 12, 70], outputs: 40, window: [3, 3], pads: [0, 1, 2, 0]),
        Window(x: [1, 30, 29, 32], outputs: 72, window: [3, 3], pads: [1, 1, 1, 1]),
        Window(x: [3, 7, 7, 48], outputs: 50, window: [3, 3], pads: [1, 1, 1, 1]),
        Window(x: [1, 40, 41, 17], outputs: 16, window: [3, 3], pads: [0, 0, 0, 0]),
        Window(x: [2, 15, 19, 33], outputs: 65, window: [5, 5], pads: [2, 1, 2, 3]),
        Window(x: [1, 12, 13, 70], outputs: 40, window: [5, 5], pads: [0, 0, 0, 0]),
        Window(x: [2, 9, 50, 65], outputs: 72, window: [1, 3], pads: [0, 1, 0, 1]),
        Window(x: [1, 41, 9, 65], outputs: 70, window: [3, 1], pads: [2, 0, 0, 0]),
        Window(x: [2, 7, 34, 33], outputs: 70, window: [1, 7], pads: [0, 3, 0, 3]),
        Window(x: [1, 31, 9, 40], outputs: 33, window: [7, 1], pads: [3, 0, 1, 0]),
        Window(x: [2, 290, 64], outputs: 73, window: [3], pads: [1, 1]),
        Window(x: [1, 141, 32], outputs: 40, window: [7], pads: [0, 6]),
    ]

    @Test(arguments: windows) func matchesTheDirectSum(_ c: Window) throws {
        let x = try randomTensor(c.x), w = try randomTensor([c.outputs, c.x[c.x.count - 1]] + c.window, seed: 2)
        let bias = try randomTensor([c.outputs], seed: 3), scale = try randomTensor([c.outputs], seed: 5)
        let axes = c.window.count, spatial = c.window.indices.map { c.x[1 + $0] + c.pads[$0] + c.pads[axes + $0] + 1 - c.window[$0] }
        let shape = [c.x[0]] + spatial + [c.outputs], residual = try randomTensor(shape, seed: 4)
        let size = try #require(
            WinogradSize(window: c.window, images: c.x[0], output: spatial, inChannels: c.x[c.x.count - 1], outChannels: c.outputs))
        // Otherwise the direct sum would be compared with itself.
        #expect(size.tile(greatest: 4) != nil)
        let attributes = ["activation": .string("relu"), "pads": ints(c.pads)] as [String: AttributeValue]
        let inputs = [x, w, bias, residual, scale]
        for evaluator in evaluators {
            let direct = try #require(try evaluator.evaluate("Conv", domain: "apus", opset: 1, attributes, inputs)[0])
            for inRun in [0, 1] as [Int64] {
                let y = try evaluator.evaluate(
                    "Conv", domain: "apus", opset: 1, attributes.merging(["winograd": .int(4), "winograd_in_run": .int(inRun)]) { $1 },
                    inputs)[0]
                try expectClose(y, shape, try direct.floats(), tolerance: 1e-4)
            }
        }
    }

    @Test func theTileFollowsTheSizes() {
        func tile(_ size: Int, _ channels: Int, greatest: Int = 4, window: [Int] = [3, 3]) -> Int? {
            WinogradSize(window: window, images: 1, output: window.map { _ in size }, inChannels: channels, outChannels: channels)?
                .tile(greatest: greatest)
        }
        #expect(tile(56, 64) == 4)
        #expect(tile(56, 64, greatest: 2) == 2)
        #expect(tile(56, 64, greatest: 0) == nil)
        #expect(tile(7, 512) == 2)
        #expect(tile(1, 512) == nil)
        #expect(tile(56, 8) == nil)
        #expect(tile(27, 64, window: [5, 5]) == 2)
        #expect(tile(17, 192, window: [7, 1]) == 4)
        #expect(tile(80, 192, window: [7]) == 4)
        #expect(tile(2, 512, window: [1, 3]) == nil)
        #expect(tile(56, 64, window: [5, 3]) == nil)
        #expect(tile(56, 64, window: [3, 3, 3]) == nil)
        // No sum with such a size may overflow: batches of no image have them.
        #expect(tile(.max, 64, greatest: 4) == 4)
    }

    @Test(arguments: [["strides": ints([2, 2])], ["dilations": ints([2, 2])], ["group": .int(2)]] as [[String: AttributeValue]])
    func otherConvolutionsAreDirectSums(_ attributes: [String: AttributeValue]) throws {
        let group = attributes["group"] == nil ? 1 : 2
        let x = try randomTensor([1, 20, 20, 32]), w = try randomTensor([32, 32 / group, 3, 3], seed: 2)
        let direct = try #require(try Evaluator().evaluate("Conv", domain: "apus", opset: 1, attributes, [x, w])[0])
        let y = try Evaluator().evaluate("Conv", domain: "apus", opset: 1, attributes.merging(["winograd": .int(4)]) { $1 }, [x, w])[0]
        #expect(try #require(y).floats() == direct.floats())
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
