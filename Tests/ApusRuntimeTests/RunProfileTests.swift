import ApusCore
import ApusGraph
import ApusOperators
import Testing

@testable import ApusRuntime

@Suite struct RunProfileTests {
    @Test func stepsAreCountedInTheOrderInWhichTheyRan() throws {
        let builder = GraphBuilder()
        let x = builder.input("x", .float32, [2, 3])
        let w = builder.constant(try Tensor(.float32, [3, 4], [Float](repeating: 1, count: 12)))
        let product = builder.node("MatMul", [x, w], name: "product")
        builder.output(builder.node("Tanh", [product], name: "activation"), "y")
        let compiled = try CompiledGraph(
            builder.graph, environment: RuntimeEnvironment(pool: ThreadPool(size: 1), budget: MemoryBudget()))
        let profile = RunProfile()
        let inputs = [Value.tensor(try Tensor(.float32, [2, 3], [Float](repeating: 1, count: 6)))]
        for _ in 0..<3 {
            var results: [Value?] = [nil]
            try inputs.withUnsafeBufferPointer { inputs in
                try results.withUnsafeMutableBufferPointer {
                    try compiled.run(inputs, control: RunControl(), profile: profile, results: $0)
                }
            }
        }
        #expect(profile.steps.map(\.operation) == ["MatMul", "Tanh"])
        #expect(profile.steps.map(\.times.count) == [3, 3])
        #expect(profile.steps[0].multiplyAccumulates == 24)
        #expect(profile.steps[0].byteCount == 4 * (6 + 12 + 8))
        #expect(profile.steps[0].name.contains("product"))
        #expect(profile.steps.allSatisfy { $0.times.allSatisfy { $0 >= 0 } })
        profile.reset()
        #expect(profile.steps.isEmpty)
    }
}
