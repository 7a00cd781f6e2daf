import ApusCore
import ApusGraph
import ApusRuntime
import Testing

@testable import ApusOperators

struct ControlFlowTests {
    private func run(_ builder: GraphBuilder, _ inputs: [Value], control: RunControl = RunControl()) throws -> [Value?] {
        let graph = builder.graph
        try graph.verify()
        let compiled = try CompiledGraph(
            graph, environment: RuntimeEnvironment(pool: Evaluator.callerOnly, budget: MemoryBudget(cap: 64 << 20)))
        var results = [Value?](repeating: nil, count: graph.outputs.count)
        try inputs.withUnsafeBufferPointer { inputs in
            try results.withUnsafeMutableBufferPointer { try compiled.run(inputs, control: control, results: $0) }
        }
        return results
    }

    private func scalar(_ number: Int64) throws -> Value { try valueOf(.int64, [], [number]) }

    /// A loop that doubles its state and collects it; it goes on while the state is below `limit`.
    private func doubling(limit: Int64) throws -> GraphBuilder {
        let body = GraphBuilder("body")
        _ = body.input("i", .int64, [Int]())
        _ = body.input("condition", .bool, [Int]())
        let state = body.input("state", .int64, [Int]())
        let doubled = body.node("Add", [state, state])
        let goesOn = body.node("Less", [doubled, body.constant(try Tensor(.int64, [], [limit]))])
        body.output(goesOn)
        body.output(doubled)
        body.output(body.node("Identity", [doubled]))
        let main = GraphBuilder()
        let trips = main.input("trips", .int64, [Int]()), start = main.input("start", .int64, [Int]())
        let outputs = main.nodes("Loop", [trips, nil, start], ["body": .graph(body.graph)], outputs: 2)
        outputs.forEach { main.output($0) }
        return main
    }

    @Test("Loop ends by its condition, whatever the trip count promises")
    func loopEndsByCondition() throws {
        let results = try run(try doubling(limit: 20), [try scalar(.max), try scalar(3)])
        #expect(try results[0]?.asTensor().integers() == [24])
        #expect(try results[1]?.asTensor().integers() == [6, 12, 24])
    }

    @Test("Loop without iterations keeps its state and stacks nothing")
    func loopWithoutIterations() throws {
        let results = try run(try doubling(limit: 20), [try scalar(0), try scalar(3)])
        #expect(try results[0]?.asTensor().integers() == [3])
        #expect(results[1]?.shape?.dimensions == [0])
    }

    @Test("A cancelled run ends inside of a loop")
    func loopEndsByCancel() throws {
        let control = RunControl()
        control.cancel()
        expectError(.cancelled) { _ = try run(try doubling(limit: .max), [try scalar(.max), try scalar(0)], control: control) }
    }

    @Test("If runs the branch that its condition chooses", arguments: [true, false])
    func branches(_ condition: Bool) throws {
        func branch(_ number: Int64) throws -> Graph {
            let builder = GraphBuilder("branch")
            builder.output(builder.node("Identity", [builder.constant(try Tensor(.int64, [1], [number]))]))
            return builder.graph
        }
        let main = GraphBuilder()
        let input = main.input("condition", .bool, [Int]())
        // The order of the attributes must not matter.
        main.output(main.node("If", [input], ["then_branch": .graph(try branch(1)), "else_branch": .graph(try branch(2))]))
        let results = try run(main, [try valueOf(.bool, [], [condition ? 1 : 0] as [UInt8])])
        #expect(try results[0]?.asTensor().integers() == [condition ? 1 : 2])
    }

    @Test("Scan carries state along an axis, in either direction", arguments: [0, 1])
    func scan(_ direction: Int64) throws {
        let body = GraphBuilder("body")
        let state = body.input("state", .int64, [2]), element = body.input("element", .int64, [2])
        let sum = body.node("Add", [state, element])
        body.output(sum)
        body.output(body.node("Identity", [sum]))
        let main = GraphBuilder()
        let start = main.input("start", .int64, [2]), input = main.input("input", .int64, [2, 3])
        let outputs = main.nodes(
            "Scan", [start, input],
            [
                "body": .graph(body.graph), "num_scan_inputs": .int(1), "scan_input_axes": .ints([1]), "scan_output_axes": .ints([-1]),
                "scan_input_directions": .ints([direction]), "scan_output_directions": .ints([direction]),
            ], outputs: 2)
        outputs.forEach { main.output($0) }
        let results = try run(
            main, [try valueOf(.int64, [2], [0, 0] as [Int64]), try valueOf(.int64, [2, 3], [1, 2, 3, 10, 20, 30] as [Int64])])
        #expect(try results[0]?.asTensor().integers() == [6, 60])
        #expect(results[1]?.shape?.dimensions == [2, 3])
        #expect(try results[1]?.asTensor().integers() == (direction == 0 ? [1, 3, 6, 10, 30, 60] : [6, 5, 3, 60, 50, 30]))
    }
}
