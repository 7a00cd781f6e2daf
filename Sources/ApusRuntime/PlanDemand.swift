import ApusCore
import ApusOperators

/// The memory that runs with certain input shapes need, beside inputs, outputs and weights.
package struct PlanDemand: Sendable {
    /// Bytes for the values between nodes.
    package let arenaByteCount: Int
    /// Bytes that one node at a time works in.
    package let workspaceByteCount: Int
    /// Nodes that do something at run time.
    package let stepCount: Int
    /// False where the shapes of later nodes depend on data: what they need is only known when they run.
    package let isComplete: Bool
}

extension CompiledGraph {
    /// Plans, without keeping the plan, for inputs of the given concrete types (in the order of the graph's inputs). The
    /// weights that it packs stay with the session.
    package func demand(inputs: [ValueInfo]) throws -> PlanDemand {
        guard inputs.count == graph.inputs.count else {
            throw ApusError(.invalidArgument, "\(graph.inputs.count) inputs expected, \(inputs.count) given")
        }
        let first = try SegmentBuilder.build(
            self, infos: initialInfos(inputs: inputs, captures: []), nodes: Array(graph.nodes.indices))
        return PlanDemand(
            arenaByteCount: first.arenaByteCount, workspaceByteCount: first.workspaceByteCount, stepCount: first.steps.count,
            isComplete: first.remaining.isEmpty)
    }

    /// What is known of each value before anything runs.
    func initialInfos(inputs: [ValueInfo], captures: [ValueInfo?]) -> [ValueInfo?] {
        var infos = initialInfos
        for (id, info) in zip(graph.inputs, inputs) { infos[id.index] = info }
        for (capture, info) in zip(graph.captures, captures) { infos[capture.inner.index] = info }
        return infos
    }
}
