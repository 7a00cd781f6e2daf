import ApusCore
import ApusGraph

/// Runs single operators on values at hand: for constants, for nodes whose parameters only a run can tell, and in tests.
package struct Evaluator: @unchecked Sendable {
    package let levels: UInt32
    package let pool: ThreadPool
    package let budget: MemoryBudget
    package let control: RunControl

    package init(
        levels: UInt32 = CPUCap.levels(nil), pool: ThreadPool = Evaluator.callerOnly, budget: MemoryBudget = .shared,
        control: RunControl = RunControl()
    ) {
        self.levels = levels
        self.pool = pool
        self.budget = budget
        self.control = control
    }

    /// A pool without threads of its own.
    package static let callerOnly = ThreadPool(size: 1)

    /// The outputs of `operation` for `inputs` (nil: left out). Each output is new memory or shares an input's.
    package func evaluate(
        _ operation: any Operator, _ inputs: [Value?], outputCount: Int,
        runSubgraph: ((Frame, Int, [Value]) throws -> [Value])? = nil,
        subgraphInference: ((Graph, [ValueInfo]) throws -> [ValueInfo])? = nil
    ) throws -> [Value?] {
        let inputInfos = inputs.map { $0.map { ValueInfo(constant: $0) } }
        let context =
            subgraphInference.map {
                InferenceContext(inputs: inputInfos, outputCount: outputCount, subgraphInference: $0)
            } ?? InferenceContext(inputs: inputInfos, outputCount: outputCount)
        let outputInfos = try operation.inferOutputs(context)
        guard outputInfos.count == outputCount else {
            throw ApusError(.internal, "\(outputInfos.count) outputs inferred, \(outputCount) expected")
        }
        // Nothing made here outlives the call, so the packed forms of these inputs must not either.
        let prepared = try operation.prepare(
            PrepareContext(inputs: inputInfos, outputs: outputInfos, levels: levels, threads: pool.size, packed: PackCache(budget: budget)))
        let frame = Frame(valueCount: inputs.count + outputCount, pool: pool, control: control, budget: budget)
        for (index, value) in inputs.enumerated() { frame.set(index, value) }
        var isPlanned = [Bool](repeating: false, count: outputCount)
        for (index, info) in outputInfos.enumerated() where try info.isStatic() {
            guard let type = info.type.elementType, let shape = try info.concreteShape() else { continue }
            frame.set(inputs.count + index, .tensor(try Tensor.allocate(type, shape, budget: budget)))
            isPlanned[index] = true
        }
        let layout = StepLayout(
            name: "", inputs: inputs.indices.map { inputs[$0] == nil ? -1 : Int32($0) },
            outputs: (0..<outputCount).map { Int32(inputs.count + $0) }, inputInfos: inputInfos, outputInfos: outputInfos,
            isPlanned: isPlanned, runSubgraph: runSubgraph)
        let workspace = prepared.workspaceByteCount > 0
            ? try Storage.allocate(byteCount: prepared.workspaceByteCount, budget: budget, purpose: "a workspace") : nil
        frame.workspace = workspace?.base
        try withExtendedLifetime((workspace, layout)) {
            try prepared.run(NodeIO(frame: frame, layout: layout))
        }
        try frame.pool.checkControl()
        return (0..<outputCount).map { frame.values[inputs.count + $0] }
    }

    /// The same for a node that is described rather than made: attributes by name.
    package func evaluate(
        _ opType: String, domain: String = "", opset: Int = 21, _ attributes: [String: AttributeValue] = [:],
        _ inputs: [Value?], outputs: Int = 1
    ) throws -> [Value?] {
        let graph = Graph()
        let node = Node(
            opType, domain: domain, opset: opset, attributes: attributes.map { Attribute($0.key, $0.value) },
            inputs: inputs.map { $0 == nil ? nil : graph.addValue() }, outputs: (0..<outputs).map { _ in graph.addValue() })
        return try evaluate(try Registry.make(node, in: graph), inputs, outputCount: outputs)
    }
}
