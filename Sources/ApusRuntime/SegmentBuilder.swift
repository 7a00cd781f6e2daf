import ApusCore
import ApusGraph
import ApusOperators

/// Plans one segment: which nodes can run with the shapes known so far, how, and where their results lie.
struct SegmentBuilder {
    private let compiled: CompiledGraph
    private var infos: [ValueInfo?]
    private var constants: [(value: Int, content: Value)] = []
    private var scheduled: [Scheduled] = []
    private var pending: [Int] = []
    private var remaining: [Int] = []

    /// A node of this segment that needs a step.
    private struct Scheduled {
        let node: Int
        let prepared: any PreparedNode
        let inputInfos: [ValueInfo?]
        let outputInfos: [ValueInfo]
        /// By output: whether its shape is known.
        let isStatic: [Bool]
    }

    /// `infos`: what is known of all values so far; `nodes`: those that have not run, in topological order.
    static func build(_ compiled: CompiledGraph, infos: [ValueInfo?], nodes: [Int]) throws -> Segment {
        var builder = SegmentBuilder(compiled: compiled, infos: infos)
        for node in nodes { try builder.add(node) }
        return try builder.finish()
    }

    private init(compiled: CompiledGraph, infos: [ValueInfo?]) {
        self.compiled = compiled
        self.infos = infos
    }

    // MARK: Scheduling

    private mutating func add(_ index: Int) throws {
        let node = compiled.graph.nodes[index]
        guard compiled.dependencies[index].allSatisfy({ infos[$0.index] != nil }) else {
            return remaining.append(index)
        }
        try attributed(to: compiled.graph.displayName(node)) { try addReady(index, node) }
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
        let context = InferenceContext(inputs: inputs, outputCount: node.outputs.count) { [compiled, infos] graph, inputs in
            try compiled.inferSubgraph(graph, inputs: inputs, outer: infos)
        }
        let outputs = try GraphInference.infer(operation, context, evaluator: compiled.evaluator)
        if outputs.allSatisfy({ $0.constant != nil }), operation.isFoldable {
            for (output, info) in zip(node.outputs, outputs) {
                guard let output, let content = info.constant else { continue }
                infos[output.index] = info
                constants.append((output.index, content))
            }
            return
        }
        let prepared = try operation.prepare(
            PrepareContext(
                inputs: inputs, outputs: outputs, levels: compiled.environment.levels,
                threads: compiled.environment.pool.size, packed: compiled.environment.packed))
        schedule(index, prepared, inputs, outputs, try outputs.map { try $0.isStatic() })
    }

    private mutating func schedule(
        _ node: Int, _ prepared: any PreparedNode, _ inputs: [ValueInfo?], _ outputs: [ValueInfo], _ isStatic: [Bool]
    ) {
        for (position, output) in compiled.graph.nodes[node].outputs.enumerated() {
            guard let output else { continue }
            if isStatic[position] {
                // The step writes this value, so it must not count as a constant from here on.
                infos[output.index] = ValueInfo(outputs[position].type)
                if let constant = outputs[position].constant { infos[output.index]?.constant = constant }
            } else {
                pending.append(output.index)
            }
        }
        scheduled.append(
            Scheduled(node: node, prepared: prepared, inputInfos: inputs, outputInfos: outputs, isStatic: isStatic))
    }

    // MARK: Memory

    /// Values that share one piece of memory.
    private struct Buffer {
        var byteCount: Int
        var first: Int
        var values: [Int]
        /// Position among the graph's outputs, where the memory is the caller's.
        var output: Int?
    }

    private func finish() throws -> Segment {
        let graph = compiled.graph
        let end = scheduled.count
        var lastUse: [Int: Int] = [:]
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
        var bufferOf: [Int: Int] = [:]
        var aliases: [(value: Int, source: Int)] = []
        var elided = Set<Int>()
        for (position, step) in scheduled.enumerated() {
            let node = graph.nodes[step.node]
            let operation = compiled.operators[step.node]
            for (slot, output) in node.outputs.enumerated() where step.isStatic[slot] {
                guard let output else { continue }
                let info = step.outputInfos[slot]
                guard let type = info.type.elementType, let shape = try info.concreteShape() else { continue }
                guard let bytes = type.byteCount(shape.count) else {
                    throw ApusError(.memoryLimit, "\(info.type) has more bytes than memory can hold", node: graph.displayName(node))
                }
                let wanted = outputPositions[output.index]
                if slot == 0, let viewed = operation.viewedInput, node.outputs.count == 1,
                    let source = node.inputs.indices.contains(viewed) ? node.inputs[viewed] : nil
                {
                    if let buffer = bufferOf[source.index] {
                        if wanted == nil || (buffers[buffer].output == nil && buffers[buffer].byteCount == bytes) {
                            if let wanted { buffers[buffer].output = wanted }
                            buffers[buffer].values.append(output.index)
                            bufferOf[output.index] = buffer
                            elided.insert(position)
                            continue
                        }
                    } else if wanted == nil {
                        aliases.append((output.index, source.index))
                        elided.insert(position)
                        continue
                    }
                }
                if let buffer = overwritten(
                    operation, node, slot: slot, at: position, bytes: bytes, wanted: wanted, buffers, bufferOf, lastUse)
                {
                    if let wanted { buffers[buffer].output = wanted }
                    buffers[buffer].values.append(output.index)
                    bufferOf[output.index] = buffer
                    continue
                }
                bufferOf[output.index] = buffers.count
                buffers.append(Buffer(byteCount: bytes, first: position, values: [output.index], output: wanted))
            }
        }
        // What an alias reads must live as long as the alias is read.
        for alias in aliases.reversed() {
            if let use = lastUse[alias.value] { lastUse[alias.source] = max(lastUse[alias.source] ?? 0, use) }
        }
        return try layOut(buffers, aliases: aliases, elided: elided, lastUse: lastUse)
    }

    /// The buffer of an input that output `slot` may overwrite.
    private func overwritten(
        _ operation: any Operator, _ node: Node, slot: Int, at position: Int, bytes: Int, wanted: Int?, _ buffers: [Buffer],
        _ bufferOf: [Int: Int], _ lastUse: [Int: Int]
    ) -> Int? {
        for pair in operation.overwrites where pair.output == slot && node.inputs.indices.contains(pair.input) {
            guard let input = node.inputs[pair.input], let buffer = bufferOf[input.index], buffers[buffer].byteCount == bytes,
                buffers[buffer].output == nil,
                buffers[buffer].values.allSatisfy({ (lastUse[$0] ?? 0) <= position }),
                // Read through two inputs, an element might be overwritten before it is read again.
                node.dependencies.filter({ bufferOf[$0.index] == buffer }).count == 1,
                !node.outputs.contains(where: { $0.map { bufferOf[$0.index] == buffer } ?? false })
            else { continue }
            return buffer
        }
        return nil
    }

    private func layOut(
        _ buffers: [Buffer], aliases: [(value: Int, source: Int)], elided: Set<Int>, lastUse: [Int: Int]
    ) throws -> Segment {
        let graph = compiled.graph
        let inArena = buffers.filter { $0.output == nil }
        let layout = try MemoryPlanner.plan(
            inArena.map { buffer in
                MemoryPlanner.Buffer(
                    byteCount: buffer.byteCount, first: buffer.first,
                    last: max(buffer.first, buffer.values.map { lastUse[$0] ?? 0 }.max() ?? 0))
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
        let keep = Set(graph.outputs.map(\.index))
        var workspace = 0
        var steps: [Segment.Step] = []
        for (position, step) in scheduled.enumerated() where !elided.contains(position) {
            let node = graph.nodes[step.node]
            workspace = max(workspace, step.prepared.workspaceByteCount)
            let stepLayout = StepLayout(
                name: graph.displayName(node), inputs: node.inputs.map { Int32($0?.index ?? -1) },
                outputs: node.outputs.map { Int32($0?.index ?? -1) }, inputInfos: step.inputInfos, outputInfos: step.outputInfos,
                isPlanned: step.isStatic, runSubgraph: compiled.subgraphRunner(step.node, infos: infos))
            let releases = Set(compiled.dependencies[step.node].map(\.index)).filter {
                lastUse[$0] == position && compiled.isDynamic($0) && !keep.contains($0)
            }
            steps.append(Segment.Step(node: step.node, layout: stepLayout, prepared: step.prepared, releases: releases.sorted()))
        }
        return Segment(
            steps: steps, arenaByteCount: layout.byteCount, workspaceByteCount: workspace, placements: placements,
            aliases: aliases, constants: constants, directOutputs: directOutputs, pending: pending, infos: infos,
            remaining: remaining)
    }
}

/// A node whose preparation waits for contents that the run computes: it infers, prepares and runs in one go.
private final class LateNode: PreparedNode, @unchecked Sendable {
    private let compiled: CompiledGraph
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
