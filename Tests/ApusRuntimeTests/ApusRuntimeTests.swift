import ApusCore
import ApusGraph
import ApusOperators
import Testing

@testable import ApusRuntime

/// Runs a graph once with the values given.
func run(_ graph: Graph, _ inputs: [Value], threads: Int = 1) throws -> [Value] {
    let environment = RuntimeEnvironment(pool: ThreadPool(size: threads), budget: MemoryBudget())
    let compiled = try CompiledGraph(graph, environment: environment)
    var results = [Value?](repeating: nil, count: graph.outputs.count)
    try inputs.withUnsafeBufferPointer { inputs in
        try results.withUnsafeMutableBufferPointer {
            try compiled.run(inputs, control: RunControl(), results: $0)
        }
    }
    return try results.map { try #require($0) }
}

@Suite struct RunTests {
    @Test func identityCopiesItsInput() throws {
        let builder = GraphBuilder()
        let x = builder.input("x", .float32, [2, 2])
        builder.output(builder.node("Identity", [x]), "y")
        let input = try Tensor(.float32, [2, 2], [Float](arrayLiteral: 1, 2, 3, 4))
        let output = try run(builder.graph, [.tensor(input)])[0].asTensor()
        #expect(output.array(Float.self) == [1, 2, 3, 4])
        #expect(output.pointer != input.pointer)
    }

    @Test func outputThatIsAnInputIsCopied() throws {
        let builder = GraphBuilder()
        let x = builder.input("x", .int64, [3])
        builder.output(x)
        let input = try Tensor.int64([1, 2, 3])
        let output = try run(builder.graph, [.tensor(input)])[0].asTensor()
        #expect(output.array(Int64.self) == [1, 2, 3])
        #expect(output.pointer != input.pointer)
    }
}

@Suite struct MemoryPlannerTests {
    /// Buffers of random sizes and lifetimes, few enough for the quadratic method and many enough for the other.
    @Test(arguments: [0, 1, 7, 300, 3000])
    func buffersAliveTogetherNeverOverlap(count: Int) throws {
        var state: UInt64 = 88172645463325252
        func random(_ bound: Int) -> Int {
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            return Int(state % UInt64(bound))
        }
        let buffers = (0..<count).map { _ in
            let first = random(count)
            return MemoryPlanner.Buffer(byteCount: random(5000), first: first, last: first + random(20))
        }
        let layout = try MemoryPlanner.plan(buffers)
        var sum = 0
        for (index, a) in buffers.enumerated() {
            sum += (max(a.byteCount, 1) + 63) / 64 * 64
            #expect(layout.offsets[index] % 64 == 0)
            #expect(layout.offsets[index] + a.byteCount <= layout.byteCount)
            for (other, b) in buffers.enumerated().dropFirst(index + 1) where a.first <= b.last && b.first <= a.last {
                let apart = layout.offsets[index] + a.byteCount <= layout.offsets[other]
                    || layout.offsets[other] + b.byteCount <= layout.offsets[index]
                #expect(apart)
            }
        }
        #expect(layout.byteCount <= max(sum, 64))
    }
}
