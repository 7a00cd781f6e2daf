import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

@Suite struct GemmTests {
    private func reference(
        _ a: [Float], _ b: [Float], _ m: Int, _ n: Int, _ k: Int, transA: Bool, transB: Bool, alpha: Float, c: (Int, Int) -> Float
    ) -> [Float] {
        (0..<(m * n)).map { index in
            let i = index / n, j = index % n
            var sum = 0.0
            for l in 0..<k { sum += Double(a[transA ? l * m + i : i * k + l]) * Double(b[transB ? j * k + l : l * n + j]) }
            return Float(sum) * alpha + c(i, j)
        }
    }

    @Test(arguments: [(5, 7, 9), (1, 130, 64), (64, 33, 300), (3, 1, 4), (3, 4, 0)], [0, 1, 2, 3])
    func allForms(_ size: (Int, Int, Int), _ transposes: Int) throws {
        let (m, n, k) = size
        let transA = transposes & 1 != 0, transB = transposes & 2 != 0
        let a = try randomTensor(transA ? [k, m] : [m, k]), b = try randomTensor(transB ? [n, k] : [k, n], seed: 2)
        let shapes: [[Int]?] = [nil, [n], [1, n], [m, n], [m, 1], [1, 1], []]
        let factors: [(Float, Float)] = [(1, 1), (0.5, 1), (2, -0.25), (1, 0)]
        for (shape, (alpha, beta)) in shapes.flatMap({ shape in factors.map { (shape, $0) } }) {
            let c = try shape.map { try randomTensor($0, seed: 3) }
            let cs = try c?.floats() ?? []
            let expected = reference(
                try a.floats(), try b.floats(), m, n, k, transA: transA, transB: transB, alpha: alpha,
                c: { i, j in
                    guard let shape else { return 0 }
                    let row = shape.count == 2 && shape[0] != 1 ? i : 0, column = shape.last.map { $0 != 1 } == true ? j : 0
                    return beta * cs[row * (shape.last ?? 1) + column]
                })
            let attributes: [String: AttributeValue] = [
                "alpha": .float(alpha), "beta": .float(beta), "transA": .int(transA ? 1 : 0), "transB": .int(transB ? 1 : 0),
            ]
            for evaluator in evaluators {
                try expectClose(
                    try evaluator.evaluate("Gemm", opset: 13, attributes, c.map { [a, b, $0] } ?? [a, b])[0], [m, n], expected,
                    "C \(String(describing: shape)) alpha \(alpha) beta \(beta)")
            }
            let wide = try Evaluator().evaluate(
                "Gemm", opset: 9, attributes,
                try (c.map { [a, b, $0] } ?? [a, b, try floatTensor([1], [0])]).map { try $0.converted(.float64) })[0]
            try expectClose(wide, [m, n], expected)
        }
    }

    @Test func oldErasAskForBroadcasting() throws {
        let a = try randomTensor([2, 3]), b = try randomTensor([3, 4]), c = try randomTensor([4])
        expectError(.shapeMismatch) { _ = try Evaluator().evaluate("Gemm", opset: 6, [:], [a, b, c]) }
        let y = try Evaluator().evaluate("Gemm", opset: 6, ["broadcast": .int(1)], [a, b, c])[0]
        let z = try Evaluator().evaluate("Gemm", opset: 7, [:], [a, b, c])[0]
        #expect(try y?.floats() == z?.floats())
        expectError(.invalidModel) { _ = try Evaluator().evaluate("Gemm", opset: 7, ["broadcast": .int(1)], [a, b, c]) }
        expectError(.invalidModel) { _ = try Evaluator().evaluate("Gemm", opset: 9, [:], [a, b]) }
    }

    @Test func halves() throws {
        let a = try randomTensor([4, 6]), b = try randomTensor([6, 5], seed: 2), c = try randomTensor([5], seed: 3)
        let expected = try Evaluator().evaluate("Gemm", [:], [a, b, c])[0]?.floats() ?? []
        for type in [ElementType.float16, .bfloat16] {
            let y = try Evaluator().evaluate("Gemm", [:], try [a, b, c].map { try $0.converted(type) })[0]
            #expect(try y?.asTensor().type == type)
            try expectClose(y, [4, 5], expected, tolerance: type == .float16 ? 4e-3 : 3e-2)
        }
    }

    @Test func refusals() throws {
        let a = try randomTensor([2, 3]), b = try randomTensor([3, 4])
        expectError(.shapeMismatch) { _ = try Evaluator().evaluate("Gemm", [:], [a, a]) }
        expectError(.shapeMismatch) { _ = try Evaluator().evaluate("Gemm", [:], [try randomTensor([1, 2, 3]), b]) }
        expectError(.shapeMismatch) { _ = try Evaluator().evaluate("Gemm", [:], [a, b, try randomTensor([3])]) }
        expectError(.shapeMismatch) { _ = try Evaluator().evaluate("Gemm", [:], [a, b, try randomTensor([1, 2, 4])]) }
    }
}
