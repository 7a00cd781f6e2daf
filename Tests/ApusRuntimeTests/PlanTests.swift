import ApusCore
import ApusGraph
import ApusOperators
import Testing

@testable import ApusRuntime

/// A graph run again and again with plans that are kept.
private struct Runner {
    let compiled: CompiledGraph

    init(_ graph: Graph, threads: Int = 1, cap: Int? = nil) throws {
        compiled = try CompiledGraph(
            graph, environment: RuntimeEnvironment(pool: ThreadPool(size: threads), budget: MemoryBudget(cap: cap)))
    }

    func run(_ inputs: [Value], control: RunControl = RunControl()) throws -> [Value] {
        var results = [Value?](repeating: nil, count: compiled.graph.outputs.count)
        try inputs.withUnsafeBufferPointer { inputs in
            try results.withUnsafeMutableBufferPointer { try compiled.run(inputs, control: control, results: $0) }
        }
        return try results.map { try #require($0) }
    }
}

private func ramp(_ dimensions: [Int], _ step: Float = 0.25) throws -> Value {
    let count = dimensions.reduce(1, *)
    return .tensor(try Tensor(.float32, dimensions, (0..<count).map { Float($0 % 17) * step - 1 }))
}

/// One attention step in small: tokens [1, seq, 8] are projected; keys grow by a past of [1, past, 8]; a chain of shape
/// arithmetic decides a mask; a part depends on neither length.
private func attention() throws -> Graph {
    let builder = GraphBuilder("attention")
    let sequence = Dimension.symbol("seq"), past = Dimension.symbol("past")
    let x = builder.input("x", .float32, [.known(1), sequence, .known(8)])
    let keys = builder.input("keys", .float32, [.known(1), past, .known(8)])
    let fixed = builder.input("fixed", .float32, [2, 8])
    let weight = builder.constant(try ramp([8, 8], 0.125).asTensor(), name: "w")
    let one = builder.constant(try Tensor.int64([1]))
    let query = builder.node("MatMul", [x, weight])
    let all = builder.node("Concat", [keys, builder.node("MatMul", [x, weight])], ["axis": .int(1)])
    let scores = builder.node("MatMul", [query, builder.node("Transpose", [all], ["perm": .ints([0, 2, 1])])])
    // [1, past + seq] as numbers, made into a tensor of ones.
    let length = builder.node("Gather", [builder.node("Shape", [all]), one], ["axis": .int(0)])
    let shape = builder.node("Concat", [one, length], ["axis": .int(0)])
    let ones = builder.node("ConstantOfShape", [shape], ["value": .tensor(try ramp([1], 1))])
    let weights = builder.node("Softmax", [builder.node("Add", [scores, ones])], ["axis": .int(-1)])
    builder.output(builder.node("MatMul", [weights, all]), "y")
    builder.output(all, "present")
    builder.output(builder.node("Relu", [builder.node("MatMul", [fixed, weight])]), "z")
    return builder.graph
}

@Suite struct PlanTests {
    /// Plans made after others, in whatever order, do what a plan made first does, bit for bit.
    @Test func plansMadeLikeOthersAgreeWithFreshOnes() throws {
        let graph = try attention()
        let runner = try Runner(graph.copy())
        for (sequence, past) in [(1, 0), (1, 1), (1, 2), (5, 2), (5, 9), (1, 9), (3, 0), (1, 1), (7, 31), (1, 0)] {
            let inputs = [try ramp([1, sequence, 8]), try ramp([1, past, 8], 0.5), try ramp([2, 8])]
            let kept = try runner.run(inputs), fresh = try Runner(graph.copy()).run(inputs)
            for (a, b) in zip(kept, fresh) {
                let a = try a.asTensor(), b = try b.asTensor()
                #expect(a.shape == b.shape)
                #expect(a.array(Float.self) == b.array(Float.self), "sequence \(sequence), past \(past)")
            }
            #expect(try kept[1].asTensor().shape.dimensions == [1, past + sequence, 8])
        }
    }

    @Test func stepsThatAShapeDoesNotReachAreShared() throws {
        let compiled = try Runner(try attention()).compiled
        func plan(_ past: Int, like model: Segment?) throws -> Segment {
            let inputs = [try ramp([1, 1, 8]), try ramp([1, past, 8]), try ramp([2, 8])].map { ValueInfo($0.type) }
            return try SegmentBuilder.build(
                compiled, infos: compiled.initialInfos(inputs: inputs, captures: []), nodes: Array(compiled.graph.nodes.indices), like: model)
        }
        let first = try plan(3, like: nil), second = try plan(4, like: first), third = try plan(4, like: second)
        func shared(_ a: Segment, _ b: Segment) -> Set<String> {
            Set(zip(a.outcomes, b.outcomes).enumerated().compactMap { index, pair in
                guard case (.step(let x), .step(let y)) = pair, x === y else { return nil }
                return compiled.graph.nodes[index].opType
            })
        }
        // The projections and the part of fixed size, but nothing with the length of the past.
        #expect(shared(first, second) == ["MatMul", "Relu"])
        #expect(shared(second, third).contains("Softmax"))
        #expect(second.steps.count == first.steps.count)
    }

    @Test func onlySoManyPlansAreKept() throws {
        let runner = try Runner(try attention())
        for past in 0..<300 {
            _ = try runner.run([try ramp([1, 1, 8]), try ramp([1, past, 8]), try ramp([2, 8])])
        }
        #expect(runner.compiled.planCount <= CompiledGraph.mostPlans)
    }

    /// Segments that follow a step whose result only the run can size are planned once for each size.
    @Test func shapesThatDependOnDataArePlannedAgain() throws {
        let builder = GraphBuilder()
        let x = builder.input("x", .float32, [6])
        let positions = builder.node("NonZero", [x])
        let found = builder.node("Gather", [x, builder.node("Squeeze", [positions, builder.constant(try Tensor.int64([0]))])])
        builder.output(builder.node("Mul", [found, found]), "y")
        let runner = try Runner(builder.graph)
        for elements: [Float] in [[1, 0, 2, 0, 3, 0], [0, 0, 0, 0, 0, 4], [0, 0, 0, 0, 0, 0], [1, 2, 3, 4, 5, 6], [0, 1, 0, 2, 0, 3]] {
            let result = try runner.run([.tensor(try Tensor(.float32, [6], elements))])[0].asTensor()
            #expect(result.array(Float.self) == elements.filter { $0 != 0 }.map { $0 * $0 })
        }
    }

    @Test func anArenaBeyondTheLimitIsAnErrorOfItsOwn() throws {
        let builder = GraphBuilder()
        let x = builder.input("x", .float32, [.symbol("n")])
        builder.output(builder.node("Relu", [builder.node("Neg", [x])]), "y")
        let runner = try Runner(builder.graph, cap: 1 << 20)
        let large = try ramp([1 << 20])
        do {
            _ = try runner.run([large])
            Issue.record("4 MiB must not fit a limit of 1 MiB")
        } catch let error as ApusError {
            #expect(error.code == .memoryLimit)
        }
        // And the session goes on.
        #expect(try runner.run([try ramp([16])])[0].asTensor().count == 16)
        #expect(runner.compiled.environment.budget.used < 1 << 20)
    }

    @Test func aStoppedRunLeavesTheSessionUsable() throws {
        let runner = try Runner(try attention())
        let inputs = [try ramp([1, 2, 8]), try ramp([1, 3, 8]), try ramp([2, 8])]
        let control = RunControl()
        control.cancel()
        do {
            _ = try runner.run(inputs, control: control)
            Issue.record("a cancelled run must not succeed")
        } catch let error as ApusError {
            #expect(error.code == .cancelled)
        }
        #expect(try runner.run(inputs).count == 3)
    }

    /// A loop that never ends by itself.
    @Test(arguments: ["deadline", "cancel"])
    func loopsEndWhenTheyMust(how: String) throws {
        let body = GraphBuilder("body")
        _ = body.input("i", .int64, [Int]())
        let condition = body.input("c", .bool, [Int]())
        let state = body.input("s", .float32, [1])
        body.output(body.node("Identity", [condition]))
        body.output(body.node("Tanh", [state]))
        let builder = GraphBuilder()
        let x = builder.input("x", .float32, [1])
        let forever = builder.constant(try Tensor.int64(.max))
        let yes = builder.constant(try Tensor(.bool, [], [UInt8(1)]))
        builder.output(builder.node("Loop", [forever, yes, x], ["body": .graph(body.graph)]), "y")
        let runner = try Runner(builder.graph)
        let control = RunControl()
        if how == "deadline" {
            control.setTimeLimit(nanoseconds: 20_000_000)
        } else {
            Task.detached { control.cancel() }
        }
        do {
            _ = try runner.run([try ramp([1])], control: control)
            Issue.record("the loop must not end by itself")
        } catch let error as ApusError {
            #expect(error.code == (how == "deadline" ? .deadlineExceeded : .cancelled))
        }
    }
}

extension Tensor {
    /// An int64 scalar.
    fileprivate static func int64(_ element: Int) throws -> Tensor { try Tensor(.int64, [], [Int64(element)]) }
}
