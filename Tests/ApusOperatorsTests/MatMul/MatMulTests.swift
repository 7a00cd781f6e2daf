import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

@Suite struct MatMulTests {
    /// numpy's matmul of matrices with batches, by the definition.
    private func reference(_ a: [Float], _ aShape: [Int], _ b: [Float], _ bShape: [Int], _ batch: [Int]) throws -> [Float] {
        let m = aShape[aShape.count - 2], k = aShape[aShape.count - 1], n = bShape[bShape.count - 1]
        let target = try Shape(batch)
        let aStrides = try Shape(Array(aShape.dropLast(2))).broadcastStrides(to: target)
        let bStrides = try Shape(Array(bShape.dropLast(2))).broadcastStrides(to: target)
        var result: [Float] = []
        for index in 0..<target.count {
            var rest = index, aBase = 0, bBase = 0
            for axis in (0..<batch.count).reversed() {
                aBase += rest % batch[axis] * aStrides[axis] * m * k
                bBase += rest % batch[axis] * bStrides[axis] * k * n
                rest /= batch[axis]
            }
            for i in 0..<m {
                for j in 0..<n {
                    var sum = 0.0
                    for l in 0..<k { sum += Double(a[aBase + i * k + l]) * Double(b[bBase + l * n + j]) }
                    result.append(Float(sum))
                }
            }
        }
        return result
    }

    @Test(arguments: [
        ([2, 3], [3, 4], []), ([1, 300], [300, 70], []), ([40, 65], [65, 130], []), ([5, 7, 9], [9, 11], [5]),
        ([2, 1, 4, 3], [3, 3, 5], [2, 3]), ([3, 4, 5], [3, 5, 6], [3]), ([1, 2, 3], [4, 3, 2], [4]), ([2, 3, 4, 5], [2, 1, 5, 4], [2, 3]),
        ([3, 1, 2, 4], [1, 5, 4, 3], [3, 5]), ([0, 3], [3, 4], []), ([2, 0], [0, 3], []), ([0, 2, 3], [3, 4], [0]), ([2, 3], [3, 0], []),
        ([64, 20, 30], [64, 30, 40], [64]), ([130, 140], [140, 200], []),
    ])
    func matchesDefinition(_ aShape: [Int], _ bShape: [Int], _ batch: [Int]) throws {
        let a = try randomTensor(aShape), b = try randomTensor(bShape, seed: 2)
        let expected = try reference(try a.floats(), aShape, try b.floats(), bShape, batch)
        let shape = batch + [aShape[aShape.count - 2], bShape[bShape.count - 1]]
        for evaluator in evaluators {
            try expectClose(try evaluator.evaluate("MatMul", [:], [a, b]).first ?? nil, shape, expected)
        }
        let wide = try Evaluator().evaluate("MatMul", [:], [try a.converted(.float64), try b.converted(.float64)])[0]
        try expectClose(wide, shape, expected)
        let half = try Evaluator().evaluate("MatMul", [:], [try a.converted(.bfloat16), try b.converted(.bfloat16)])[0]
        try expectClose(half, shape, expected, tolerance: 0.1)
        #expect(try half?.asTensor().type == .bfloat16)
    }

    @Test func vectors() throws {
        let v = try floatTensor([3], [1, 2, 3]), m = try floatTensor([3, 2], [1, 2, 3, 4, 5, 6])
        let e = Evaluator()
        try expectClose(try e.evaluate("MatMul", [:], [v, v])[0], [], [14])
        try expectClose(try e.evaluate("MatMul", [:], [v, m])[0], [2], [22, 28])
        try expectClose(try e.evaluate("MatMul", opset: 1, [:], [try floatTensor([2, 3], [1, 2, 3, 4, 5, 6]), v])[0], [2], [14, 32])
        let stack = try floatTensor([2, 3, 2], [1, 2, 3, 4, 5, 6, 0, 1, 0, 1, 0, 1])
        try expectClose(try e.evaluate("MatMul", [:], [v, stack])[0], [2, 2], [22, 28, 0, 6])
    }

    @Test func integersWrap() throws {
        let a = Value.tensor(try Tensor(.int32, [1, 2], [Int32.max, 2])), b = Value.tensor(try Tensor(.int32, [2, 1], [Int32(2), 3]))
        let y = try Evaluator().evaluate("MatMul", [:], [a, b])[0]
        #expect(try y?.asTensor().array(Int32.self) == [4])
        let c = Value.tensor(try Tensor(.uint64, [1, 2], [UInt64.max, 2])), d = Value.tensor(try Tensor(.uint64, [2, 1], [UInt64(1), 3]))
        #expect(try Evaluator().evaluate("MatMul", [:], [c, d])[0]?.asTensor().array(UInt64.self) == [5])
    }

    @Test func infinityTimesZeroIsNaN() throws {
        let y = try Evaluator().evaluate("MatMul", [:], [try floatTensor([1, 2], [0, 1]), try floatTensor([2, 1], [.infinity, 1])])[0]
        #expect(try y?.floats()[0].isNaN == true)
    }

    @Test func refusals() throws {
        let e = Evaluator()
        expectError(.shapeMismatch) { _ = try e.evaluate("MatMul", [:], [try floatTensor([], [1]), try floatTensor([1], [1])]) }
        expectError(.shapeMismatch) { _ = try e.evaluate("MatMul", [:], [try randomTensor([2, 3]), try randomTensor([2, 3])]) }
        expectError(.shapeMismatch) { _ = try e.evaluate("MatMul", [:], [try randomTensor([2, 3, 4]), try randomTensor([3, 4, 5])]) }
        expectError(.typeMismatch) { _ = try e.evaluate("MatMul", [:], [try randomTensor([1, 1]), try randomTensor([1, 1]).converted(.float64)]) }
        expectError(.typeMismatch) { _ = try e.evaluate("MatMul", [:], [try intTensor([1]), .tensor(try Tensor(.bool, [1], [UInt8(1)]))]) }
    }

    @Test func symbolicShapes() throws {
        let operation = try Registry.make(
            Node("MatMul", opset: 13, inputs: [ValueID(0), ValueID(1)], outputs: [ValueID(2)]), in: threeValues())
        let n = Dimension.symbol("n")
        let infos = try operation.inferOutputs(
            InferenceContext(
                inputs: [ValueInfo(.float32, PartialShape([n, .unknown, .known(8)])), ValueInfo(.float32, PartialShape([.known(8), .known(5)]))],
                outputCount: 1))
        #expect(infos[0].type.shape == PartialShape([n, .unknown, .known(5)]))
    }

    private func threeValues() -> Graph {
        let graph = Graph()
        for _ in 0..<3 { _ = graph.addValue() }
        return graph
    }

    @Test func fusedMatMulTransposes() throws {
        let a = try randomTensor([2, 4, 3]), b = try randomTensor([2, 5, 4], seed: 3)
        let plainA = try transposed(a, [0, 2, 1]), plainB = try transposed(b, [0, 2, 1])
        let expected = try Evaluator().evaluate("MatMul", [:], [plainA, plainB])[0]?.floats() ?? []
        for evaluator in evaluators {
            let y = try evaluator.evaluate(
                "FusedMatMul", domain: "com.microsoft", opset: 1, ["transA": .int(1), "transB": .int(1), "alpha": .float(0.5)], [a, b])[0]
            try expectClose(y, [2, 3, 5], expected.map { $0 / 2 })
        }
        // The batch lies between rows and columns.
        let moved = try transposed(plainA, [1, 0, 2])
        let y = try Evaluator().evaluate("FusedMatMul", domain: "com.microsoft", opset: 1, ["transBatchA": .int(1)], [moved, plainB])[0]
        try expectClose(y, [2, 3, 5], expected)
    }

    /// numpy's transpose of a float tensor.
    private func transposed(_ value: Value, _ permutation: [Int]) throws -> Value {
        let tensor = try value.asTensor(), elements = try value.floats()
        let shape = permutation.map { tensor.shape[$0] }, strides = permutation.map { tensor.shape.strides[$0] }
        return try floatTensor(
            shape,
            (0..<tensor.count).map { index in
                var rest = index, offset = 0
                for axis in shape.indices.reversed() {
                    offset += rest % shape[axis] * strides[axis]
                    rest /= shape[axis]
                }
                return elements[offset]
            })
    }

    @Test(arguments: ["none", "relu", "clip", "leaky_relu", "sigmoid", "tanh", "gelu", "elu", "hard_swish", "silu"])
    func fusedEpilogue(_ activation: String) throws {
        let a = try randomTensor([3, 20, 33]), b = try randomTensor([40, 33], seed: 4)
        let bias = try randomTensor([40], seed: 5), residual = try randomTensor([3, 20, 40], seed: 6)
        let functions: [String: (Double) -> Double] = [
            "none": { $0 }, "relu": { max($0, 0) }, "clip": { min(max($0, -0.5), 0.25) }, "leaky_relu": { $0 < 0 ? 0.01 * $0 : $0 },
            "sigmoid": { 1 / (1 + exponential(-$0)) }, "tanh": { 1 - 2 / (1 + exponential(2 * $0)) },
            "gelu": { 0.5 * $0 * (1 + errorFunction($0 / 2.0.squareRoot())) }, "elu": { $0 < 0 ? exponential($0) - 1 : $0 },
            "hard_swish": { $0 * min(max($0 / 6 + 0.5, 0), 1) }, "silu": { $0 / (1 + exponential(-$0)) },
        ]
        let function = try #require(functions[activation])
        let product = try Evaluator().evaluate("MatMul", [:], [a, try transposed(b, [1, 0])])[0]?.floats() ?? []
        let biases = try bias.floats(), residuals = try residual.floats()
        let expected = product.indices.map { Float(function(Double(product[$0] + biases[$0 % 40] + residuals[$0]))) }
        var attributes: [String: AttributeValue] = ["transB": .int(1), "activation": .string(ByteString(activation))]
        if activation == "clip" { attributes["activation_params"] = .floats([-0.5, 0.25]) }
        for evaluator in evaluators {
            let y = try evaluator.evaluate("MatMul", domain: "apus", opset: 1, attributes, [a, b, bias, residual])[0]
            try expectClose(y, [3, 20, 40], expected, tolerance: 2e-6 * 10)
        }
    }

    @Test func fusedEpilogueRefusals() throws {
        let a = try randomTensor([2, 3]), b = try randomTensor([3, 4])
        expectError(.shapeMismatch) { _ = try Evaluator().evaluate("MatMul", domain: "apus", opset: 1, [:], [a, b, try randomTensor([3])]) }
        expectError(.shapeMismatch) { _ = try Evaluator().evaluate("MatMul", domain: "apus", opset: 1, [:], [a, b, nil, try randomTensor([4])]) }
        expectError(.invalidModel) {
            _ = try Evaluator().evaluate("MatMul", domain: "apus", opset: 1, ["activation": .string("foo")], [a, b])
        }
    }

    @Test func constantsArePackedOnce() throws {
        let e = Evaluator()
        let cache = PackCache(budget: .shared)
        let weights = try randomTensor([30, 40])
        cache.keepForms(of: try weights.asTensor())
        let b = ValueInfo(constant: weights)
        let graph = threeValues()
        let operation = try Registry.make(
            Node("MatMul", opset: 13, inputs: [ValueID(0), ValueID(1)], outputs: [ValueID(2)]), in: graph)
        for rows in [1, 5, 9] {
            let shape = try Shape([rows, 30])
            _ = try operation.prepare(
                PrepareContext(
                    inputs: [ValueInfo(.float32, shape), b], outputs: [ValueInfo(.float32, try Shape([rows, 40]))], levels: e.levels,
                    threads: 1, packed: cache))
        }
        #expect(cache.byteCount >= 30 * 40 * 4 && cache.byteCount <= 30 * 64 * 4)
    }
}
