import ApusCore
import ApusGraph
import ApusOperators
import Synchronization

/// A graph with its operators made, ready to be planned for whatever shapes come, and run.
///
/// Plans are cached (a bounded number, the least used go first); packed weights are shared by all of them. Any number of
/// threads may run one compiled graph at a time: each run takes an execution context of its own.
package final class CompiledGraph: @unchecked Sendable {
    package let graph: Graph
    let operators: [any Operator]
    /// By node: every value it needs, those of its subgraphs included.
    let dependencies: [[ValueID]]
    let environment: RuntimeEnvironment
    let evaluator: Evaluator
    private let subgraphs: [[CompiledGraph]]
    private let isStaticValue: [Bool]

    private struct CachedPlan {
        /// Differs where the sizes of inputs do, almost always: what a search looks at first.
        let key: Int
        let signature: [SignatureEntry]
        let first: Segment
    }

    private let plans = Mutex<[CachedPlan]>([])
    private let idleContexts = Mutex<[ExecutionContext]>([])
    /// A plan holds no weights, but its indirection tables and steps count: more plans, or more steps of all plans together, are
    /// not kept (one plan always is).
    package static let mostPlans = 128
    private static let mostPlannedSteps = 1 << 14
    private let allNodes: [Int]
    /// By node: what to call it in messages and profiles.
    let names: [String]
    /// What is known of each value before anything runs, inputs and captures apart.
    let initialInfos: [ValueInfo?]

    /// `graph` must be verified and sorted; it must not change afterwards.
    package init(_ graph: Graph, environment: RuntimeEnvironment) throws {
        // An output that nobody reads still needs a place to be written to.
        for index in graph.nodes.indices {
            for (position, output) in graph.nodes[index].outputs.enumerated() where output == nil {
                graph.nodes[index].outputs[position] = graph.addValue()
            }
        }
        self.graph = graph
        self.environment = environment
        evaluator = Evaluator(levels: environment.levels, budget: environment.budget)
        operators = try graph.nodes.map { try Registry.make($0, in: graph) }
        dependencies = graph.nodes.map(\.dependencies)
        subgraphs = try graph.nodes.map { node in
            try node.subgraphs.map { try CompiledGraph($0, environment: environment) }
        }
        var isStaticValue = [Bool](repeating: false, count: graph.values.count)
        for id in graph.initializers.keys { isStaticValue[id.index] = true }
        for id in graph.inputs { isStaticValue[id.index] = true }
        for capture in graph.captures { isStaticValue[capture.inner.index] = true }
        self.isStaticValue = isStaticValue
        var infos = [ValueInfo?](repeating: nil, count: graph.values.count)
        for (id, value) in graph.initializers {
            infos[id.index] = ValueInfo(constant: value)
            if case .tensor(let tensor) = value {
                environment.packed.keepForms(of: tensor)
                // Who read small tensors beside it may have had its pages mapped, long before it is packed.
                if tensor.byteCount >= 1 << 18 { tensor.storage.dropPages() }
            }
        }
        initialInfos = infos
        allNodes = Array(graph.nodes.indices)
        names = graph.nodes.map { graph.displayName($0) }
    }

    func isInitializer(_ value: Int) -> Bool { initialInfos[value] != nil }

    /// Whether a value is made by a node (and may be released after its last use).
    func isDynamic(_ value: Int) -> Bool { !isStaticValue[value] }

    func operatorHasSubgraphs(_ node: Int) -> Bool { !subgraphs[node].isEmpty }

    // MARK: Plans

    /// Plans that are kept now.
    var planCount: Int { plans.withLock { $0.count } }

    func plan(_ inputs: UnsafeBufferPointer<Value>, _ captures: [CaptureBinding]) throws -> Segment {
        let key = CompiledGraph.key(inputs, captures)
        return try plans.withLock { plans in
            let found = plans.indices.first { position in
                guard plans[position].key == key else { return false }
                let signature = plans[position].signature
                for (index, value) in inputs.enumerated() where !signature[index].matches(value) { return false }
                for (index, capture) in captures.enumerated() where !signature[inputs.count + index].matches(capture.entry) { return false }
                return true
            }
            if let found {
                if found > 0 { plans.swapAt(found, found - 1) }
                return plans[max(0, found - 1)].first
            }
            let given = inputs.map { ValueInfo($0.type) }
            let infos = initialInfos(inputs: given, captures: captures.map { $0.entry.info })
            let first = try SegmentBuilder.build(self, infos: infos, nodes: allNodes, like: plans.last?.first)
            let signature = try given.map { try SignatureEntry($0) } + captures.map(\.entry)
            let most = min(CompiledGraph.mostPlans, max(1, CompiledGraph.mostPlannedSteps / max(1, first.steps.count)))
            if plans.count >= most { plans.removeLast(plans.count - most + 1) }
            plans.append(CachedPlan(key: key, signature: signature, first: first))
            return first
        }
    }

    private static func key(_ inputs: UnsafeBufferPointer<Value>, _ captures: [CaptureBinding]) -> Int {
        var key = 0
        for value in inputs {
            if case .tensor(let tensor) = value { key = key &* 1_000_003 &+ tensor.shape.count } else { key = key &* 1_000_003 &- 1 }
        }
        for capture in captures { key = key &* 1_000_003 &+ (capture.entry.dense?.shape.count ?? -1) }
        return key
    }

    /// The types of a subgraph's outputs when the values that it captures are `captured`, by their identity outside.
    func inferSubgraph(_ subgraph: Graph, inputs: [ValueInfo], captured: [ValueID: ValueInfo?]) throws -> [ValueInfo] {
        let infos = try GraphInference(subgraph, evaluator: evaluator).run(
            inputs: inputs, captures: subgraph.captures.map { captured[$0.outer] ?? nil })
        return subgraph.outputs.map { output in
            infos[output.index] ?? ValueInfo(subgraph.values[output.index].type ?? .tensor(.float32, .unknown))
        }
    }

    /// Runs the subgraphs of `node` in the environment of a frame; nil where it has none.
    func subgraphRunner(_ node: Int, infos: [ValueInfo?]) -> ((Frame, Int, [Value]) throws -> [Value])? {
        let bodies = subgraphs[node]
        if bodies.isEmpty { return nil }
        let captured = Dictionary(
            graph.nodes[node].capturedValues.map { ($0.index, infos[$0.index]) }, uniquingKeysWith: { first, _ in first })
        return { frame, index, inputs in
            guard bodies.indices.contains(index) else { throw ApusError(.internal, "the node has no subgraph \(index)") }
            let body = bodies[index]
            let captures = try body.graph.captures.map { capture -> CaptureBinding in
                let outer = capture.outer.index
                let info = frame.values[outer].map { ValueInfo($0.type) } ?? (captured[outer] ?? nil)
                guard let info else { throw ApusError(.internal, "captured value \(outer) is unset") }
                return CaptureBinding(
                    pointer: frame.pointers[outer], value: frame.values[outer], entry: try SignatureEntry(info))
            }
            return try inputs.withUnsafeBufferPointer {
                try body.run($0, captures: captures, control: frame.control)
            }
        }
    }

    // MARK: Running

    /// Runs the graph once. `inputs` are values for the graph's inputs in order.
    ///
    /// `outputs`, where given, has one entry for each output: a tensor that the result is written to, or nil for a new one.
    /// The result's values are owned, or the given ones. `profile` measures the steps.
    package func run(
        _ inputs: UnsafeBufferPointer<Value>, outputs: UnsafeBufferPointer<Tensor?>? = nil, control: RunControl,
        profile: RunProfile? = nil, results: UnsafeMutableBufferPointer<Value?>
    ) throws {
        let start = environment.packed.isScattered.load(ordering: .relaxed) ? RunControl.now() : nil
        let context = takeContext()
        defer { putBack(context) }
        try context.run(inputs, [], outputs: outputs, control: control, profile: profile, results: results)
        if let start { environment.packed.gather(afterRunOf: RunControl.now() &- start) }
    }

    func run(_ inputs: UnsafeBufferPointer<Value>, captures: [CaptureBinding], control: RunControl) throws -> [Value] {
        guard inputs.count == graph.inputs.count else {
            throw ApusError(.invalidModel, "subgraph \"\(graph.name)\" takes \(graph.inputs.count) inputs, found \(inputs.count)")
        }
        let context = takeContext()
        defer { putBack(context) }
        var results = [Value?](repeating: nil, count: graph.outputs.count)
        try results.withUnsafeMutableBufferPointer {
            try context.run(inputs, captures, outputs: nil, control: control, profile: nil, results: $0)
        }
        return try results.map {
            guard let value = $0 else { throw ApusError(.internal, "a subgraph left an output unset") }
            return value
        }
    }

    private func takeContext() -> ExecutionContext {
        idleContexts.withLock { $0.popLast() } ?? ExecutionContext(self)
    }

    private func putBack(_ context: ExecutionContext) {
        context.reset()
        idleContexts.withLock { $0.append(context) }
    }
}
