import ApusCore
import ApusGraph
import ApusOperators
import Glibc

/// Plans one segment: which nodes can run with the shapes known so far, how, and where their results lie.
///
/// A segment that was planned before, for other shapes, may serve as a model: what the difference does not reach is taken
/// from it, so that planning for a shape costs as much as the shape changes.
struct SegmentBuilder {
    private let compiled: CompiledGraph
    private var infos: [ValueInfo?]
    private let nodes: [Int]
    private let model: Segment?
    /// By value: whether what is known of it is something else than what the model knew. Only for values that are known.
    private var differs: [Bool]
    private var outcomes: [Segment.Outcome] = []
    private var constants: [(value: Int, content: Value)] = []
    private var scheduled: [PreparedStep] = []
    private var pending: [Int] = []
    private var remaining: [Int] = []

    /// `infos`: what is known of all values so far; `nodes`: those that have not run, in topological order.
    static func build(_ compiled: CompiledGraph, infos: [ValueInfo?], nodes: [Int], like model: Segment? = nil) throws -> Segment {
        var builder = SegmentBuilder(compiled, infos, nodes, like: model)
        for (position, node) in nodes.enumerated() { try builder.add(node, at: position) }
        return try builder.finish()
    }

    private init(_ compiled: CompiledGraph, _ infos: [ValueInfo?], _ nodes: [Int], like model: Segment?) {
        self.compiled = compiled
        self.infos = infos
        self.nodes = nodes
        outcomes.reserveCapacity(nodes.count)
        if let model, model.nodes == nodes {
            self.model = model
            differs = infos.indices.map { value in
                !compiled.isInitializer(value) && infos[value].map { !$0.isSame(as: model.infos[value]) } ?? false
            }
        } else {
            self.model = nil
            differs = []
        }
    }

    // MARK: Scheduling

    private mutating func add(_ index: Int, at position: Int) throws {
        let needed = compiled.dependencies[index]
        guard needed.allSatisfy({ infos[$0.index] != nil }) else {
            outcomes.append(.waits)
            return remaining.append(index)
        }
        if let model, !needed.contains(where: { differs[$0.index] }), reuse(model, position, index) { return }
        try attributed(to: compiled.names[index]) { try addReady(index, compiled.graph.nodes[index]) }
        guard let model else { return }
        for output in compiled.graph.nodes[index].outputs {
            guard let output, let info = infos[output.index] else { continue }
            differs[output.index] = !info.isSame(as: model.infos[output.index])
        }
    }

    /// Takes over what the model made of a node whose inputs are the same; false where it made nothing of it.
    private mutating func reuse(_ model: Segment, _ position: Int, _ index: Int) -> Bool {
        let outputs = compiled.graph.nodes[index].outputs
        switch model.outcomes[position] {
        case .waits: return false
        case .constants:
            for output in outputs {
                guard let output, let info = model.infos[output.index], let content = info.constant else { continue }
                infos[output.index] = info
                constants.append((output.index, content))
            }
        case .step(let step):
            for (slot, output) in outputs.enumerated() {
                guard let output else { continue }
                if step.layout.isPlanned[slot] {
                    infos[output.index] = model.infos[output.index]
                } else {
                    pending.append(output.index)
                }
            }
            scheduled.append(step)
        }
        outcomes.append(model.outcomes[position])
        return true
    }

    private mutating func addReady(_ index: Int, _ node: Node) throws {
        let operation = compiled.operators[index]
        let inputs = node.inputs.map { $0.flatMap { infos[$0.index] } }
        let waits = operation.parameterInputs.contains { inputs.indices.contains($0) && inputs[$0].map { $0.constant == nil } ?? false }
        let inputKindsKnown = try inputs.allSatisfy { try $0.map { try $0.type.shape == nil || $0.concreteShape() != nil } ?? true }
        guard !waits, inputKindsKnown else {
            return schedule(
                index, LateNode(compiled, index, operation), inputs,
                node.outputs.map { _ in ValueInfo(.tensor(.float32, .unknown)) }, node.outputs.map { _ in false })
        }
        // Captures are gathered only where there are any: a copy of all infos for each node would be quadratic.
        let captured = Dictionary(node.capturedValues.map { ($0, infos[$0.index]) }, uniquingKeysWith: { first, _ in first })
        let context = InferenceContext(inputs: inputs, outputCount: node.outputs.count) { [compiled] graph, inputs in
            try compiled.inferSubgraph(graph, inputs: inputs, captured: captured)
        }
        let outputs = try GraphInference.infer(operation, context, evaluator: compiled.evaluator)
        if outputs.allSatisfy({ $0.constant != nil }), operation.isFoldable {
            for (output, info) in zip(node.outputs, outputs) {
                guard let output, let content = info.constant else { continue }
                infos[output.index] = info
                constants.append((output.index, content))
            }
            return outcomes.append(.constants)
        }
        let prepared = try operation.prepare(
            PrepareContext(
                inputs: inputs, outputs: outputs, levels: compiled.environment.levels,
                threads: compiled.environment.pool.size, packed: compiled.environment.packed))
        schedule(index, prepared, inputs, outputs, try outputs.map { try $0.isStatic() })
    }

    private mutating func schedule(
        _ index: Int, _ prepared: any PreparedNode, _ inputs: [ValueInfo?], _ outputs: [ValueInfo], _ isStatic: [Bool]
    ) {
        let node = compiled.graph.nodes[index]
        for (position, output) in node.outputs.enumerated() {
            guard let output else { continue }
            if isStatic[position] {
                // The step writes this value, so it must not count as a constant from here on.
                infos[output.index] = ValueInfo(outputs[position].type)
                if let constant = outputs[position].constant { infos[output.index]?.constant = constant }
            } else {
                pending.append(output.index)
            }
        }
        let layout = StepLayout(
            name: compiled.names[index], inputs: node.inputs.map { Int32($0?.index ?? -1) },
            outputs: node.outputs.map { Int32($0?.index ?? -1) }, inputInfos: inputs, outputInfos: outputs, isPlanned: isStatic,
            runSubgraph: compiled.subgraphRunner(index, infos: infos))
        let step = PreparedStep(node: index, prepared: prepared, layout: layout)
        outcomes.append(.step(step))
        scheduled.append(step)
    }

    // MARK: Memory

    /// Values that share one piece of memory.
    private struct Buffer {
        var byteCount: Int
        var first: Int
        /// The last step that reads one of the values.
        var last: Int
        var values: [Int]
        /// Position among the graph's outputs, where the memory is the caller's.
        var output: Int?

        /// Adds a value that is read until step `last`.
        mutating func hold(_ value: Int, until last: Int) {
            values.append(value)
            self.last = max(self.last, last)
        }
    }

    private func finish() throws -> Segment {
        let graph = compiled.graph
        let end = scheduled.count
        /// By value: the step that reads it last; -1: none.
        var lastUse = [Int](repeating: -1, count: graph.values.count)
        for (position, step) in scheduled.enumerated() {
            for value in compiled.dependencies[step.node] { lastUse[value.index] = position }
        }
        for node in remaining {
            for value in compiled.dependencies[node] { lastUse[value.index] = end }
        }
        var outputPositions: [Int: Int] = [:]
        for (position, output) in graph.outputs.enumerated() {
            lastUse[output.index] = end
            if outputPositions[output.index] == nil { outputPositions[output.index] = position }
        }

        var buffers: [Buffer] = []
        /// By value: its buffer; -1: none.
        var bufferOf = [Int](repeating: -1, count: graph.values.count)
        var aliases: [(value: Int, source: Int)] = []
        var isElided = [Bool](repeating: false, count: end)
        for (position, step) in scheduled.enumerated() {
            let operation = compiled.operators[step.node]
            for (slot, output) in step.layout.outputs.enumerated() where output >= 0 && step.layout.isPlanned[slot] {
                let output = Int(output)
                let info = step.layout.outputInfos[slot]
                guard let type = info.type.elementType, let shape = try info.concreteShape() else { continue }
                guard let bytes = type.byteCount(shape.count) else {
                    throw ApusError(.memoryLimit, "\(info.type) has more bytes than memory can hold", node: step.layout.name)
                }
                let wanted = outputPositions[output]
                if slot == 0, let viewed = operation.viewedInput, step.layout.outputs.count == 1,
                    let source = step.layout.inputs.indices.contains(viewed) ? Int(step.layout.inputs[viewed]) : nil, source >= 0
                {
                    let buffer = bufferOf[source]
                    if buffer >= 0 {
                        if wanted == nil || (buffers[buffer].output == nil && buffers[buffer].byteCount == bytes) {
                            if let wanted { buffers[buffer].output = wanted }
                            buffers[buffer].hold(output, until: lastUse[output])
                            bufferOf[output] = buffer
                            isElided[position] = true
                            continue
                        }
                    } else if wanted == nil {
                        aliases.append((output, source))
                        isElided[position] = true
                        continue
                    }
                }
                if let buffer = overwritten(
                    operation, step, slot: slot, at: position, bytes: bytes, wanted: wanted, buffers, bufferOf, lastUse)
                {
                    if let wanted { buffers[buffer].output = wanted }
                    buffers[buffer].hold(output, until: lastUse[output])
                    bufferOf[output] = buffer
                    continue
                }
                bufferOf[output] = buffers.count
                buffers.append(
                    Buffer(
                        byteCount: bytes, first: position, last: max(position, lastUse[output]), values: [output], output: wanted))
            }
        }
        // What an alias reads must live as long as the alias is read.
        for alias in aliases.reversed() {
            lastUse[alias.source] = max(lastUse[alias.source], lastUse[alias.value])
        }
        return try layOut(buffers, aliases: aliases, isElided: isElided, lastUse: lastUse)
    }

    /// The buffer of an input that output `slot` may overwrite.
    private func overwritten(
        _ operation: any Operator, _ step: PreparedStep, slot: Int, at position: Int, bytes: Int, wanted: Int?, _ buffers: [Buffer],
        _ bufferOf: [Int], _ lastUse: [Int]
    ) -> Int? {
        let layout = step.layout
        for pair in operation.overwrites where pair.output == slot && layout.inputs.indices.contains(pair.input) {
            let input = Int(layout.inputs[pair.input])
            guard input >= 0 else { continue }
            let buffer = bufferOf[input]
            guard buffer >= 0, buffers[buffer].byteCount == bytes, buffers[buffer].output == nil,
                buffers[buffer].last <= position,
                // Read through two inputs, an element might be overwritten before it is read again.
                compiled.dependencies[step.node].count(where: { bufferOf[$0.index] == buffer }) == 1,
                !layout.outputs.contains(where: { $0 >= 0 && bufferOf[Int($0)] == buffer })
            else { continue }
            return buffer
        }
        return nil
    }

    private func layOut(
        _ buffers: [Buffer], aliases: [(value: Int, source: Int)], isElided: [Bool], lastUse: [Int]
    ) throws -> Segment {
        let graph = compiled.graph
        let inArena = buffers.filter { $0.output == nil }
        let layout = try MemoryPlanner.plan(
            inArena.map { buffer in
                MemoryPlanner.Buffer(byteCount: buffer.byteCount, first: buffer.first, last: buffer.last)
            })
        var placements: [(value: Int, offset: Int)] = []
        for (buffer, offset) in zip(inArena, layout.offsets) {
            placements += buffer.values.map { ($0, offset) }
        }
        var directOutputs: [(output: Int, values: [Int], type: ElementType, shape: Shape)] = []
        for buffer in buffers {
            guard let output = buffer.output, let info = infos[graph.outputs[output].index], let type = info.type.elementType,
                let shape = try info.concreteShape()
            else { continue }
            directOutputs.append((output, buffer.values, type, shape))
        }
        var workspace = 0
        var steps: [Segment.Step] = []
        steps.reserveCapacity(scheduled.count)
        for (position, step) in scheduled.enumerated() where !isElided[position] {
            workspace = max(workspace, step.prepared.workspaceByteCount)
            // (An output of the graph is needed beyond the last step.)
            var releases: [Int] = []
            for value in compiled.dependencies[step.node]
            where lastUse[value.index] == position && compiled.isDynamic(value.index) && !releases.contains(value.index) {
                releases.append(value.index)
            }
            steps.append(Segment.Step(step, releases: releases))
        }
        return Segment(
            steps: steps, arenaByteCount: layout.byteCount, workspaceByteCount: workspace, placements: placements,
            aliases: aliases, constants: constants, directOutputs: directOutputs, pending: pending, infos: infos,
            nodes: nodes, outcomes: outcomes, remaining: remaining)
    }
}

extension ValueInfo {
    /// Whether the same is known, so that the same would be inferred and prepared from it.
    fileprivate func isSame(as other: ValueInfo?) -> Bool {
        guard let other, type == other.type, elements == other.elements else { return false }
        switch (constant, other.constant) {
        case (nil, nil): return true
        case (.tensor(let a)?, .tensor(let b)?):
            if a.storage === b.storage, a.offset == b.offset { return true }
            // Worth a look for what inference computes: shapes and the like.
            return a.byteCount == b.byteCount && a.byteCount <= 4096 && memcmp(a.pointer, b.pointer, a.byteCount) == 0
        default: return false
        }
    }
}

/// A node whose preparation waits for contents that the run computes: it infers, prepares and runs in one go.
private final class LateNode: PreparedNode, @unchecked Sendable {
    /// It keeps the plans that this node belongs to.
    private unowned let compiled: CompiledGraph
    private let node: Int
    private let operation: any Operator

    init(_ compiled: CompiledGraph, _ node: Int, _ operation: any Operator) {
        self.compiled = compiled
        self.node = node
        self.operation = operation
    }

    var workspaceByteCount: Int { 0 }
    var kernelName: String { "late" }

    func run(_ io: NodeIO) throws {
        let inputs = try (0..<io.inputCount).map { index -> Value? in
            guard io.has(index) else { return nil }
            return try io.borrowedValue(index)
        }
        let evaluator = Evaluator(
            levels: compiled.environment.levels, pool: io.pool, budget: io.budget, control: io.frame.control)
        let outputs = try evaluator.evaluate(
            operation, inputs, outputCount: io.outputCount,
            runSubgraph: compiled.operatorHasSubgraphs(node) ? { [io] _, index, values in try io.runSubgraph(index, values) } : nil,
            subgraphInference: { graph, _ in graph.outputs.map { _ in ValueInfo(.tensor(.float32, .unknown)) } })
        for (index, output) in outputs.enumerated() {
            guard let output else { throw ApusError(.internal, "output \(index) was not made") }
            try io.setOutput(index, output)
        }
    }
}
