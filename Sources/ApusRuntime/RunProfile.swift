import ApusCore
import ApusGraph
import ApusOperators
import Glibc

/// Gathers how long each step of a graph's runs takes. Hand it to `CompiledGraph.run`, one run at a time; without one,
/// a run reads no clock. What the subgraphs of a step do is part of that step.
package final class RunProfile {
    /// One step, over all runs that were measured.
    package struct Step {
        /// As in error messages: the node's name, or its operator and first output.
        package let name: String
        /// The operator with its domain.
        package let operation: String
        /// What the step runs, where it chose among several.
        package let kernel: String
        /// Type and shape of the first output, as planned.
        package let output: String
        /// Multiply-accumulates of one run of the step; 0: not counted for this operator.
        package let multiplyAccumulates: Int
        /// Bytes of all inputs and outputs, those of constants in their file's form.
        package let byteCount: Int
        /// Nanoseconds of each run.
        package fileprivate(set) var times: [Int64] = []
    }

    /// In the order in which they ran first.
    package private(set) var steps: [Step] = []
    private var places: [ObjectIdentifier: Int] = [:]
    /// Keeps the identifiers of `places` from being given to others.
    private var kept: [Segment.Step] = []

    /// Whether times are processor time of the calling thread, without what other processes take, rather than time.
    package let countsProcessorTime: Bool

    /// `countsProcessorTime` suits runs with one thread.
    package init(countsProcessorTime: Bool = false) {
        self.countsProcessorTime = countsProcessorTime
    }

    /// Forgets all times.
    package func reset() {
        steps = []
        places = [:]
        kept = []
    }

    /// Runs `body`, which is what `step` of `compiled` does, and adds its time.
    func measure(_ step: Segment.Step, of compiled: CompiledGraph, _ body: () throws -> Void) rethrows {
        let begin = now()
        try body()
        let time = now() &- begin
        let place = places[ObjectIdentifier(step)] ?? add(step, compiled)
        steps[place].times.append(time)
    }

    private func now() -> Int64 {
        guard countsProcessorTime else { return RunControl.now() }
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return Int64(time.tv_sec) &* 1_000_000_000 &+ Int64(time.tv_nsec)
    }

    private func add(_ step: Segment.Step, _ compiled: CompiledGraph) -> Int {
        let node = compiled.graph.nodes[step.node], layout = step.layout
        let infos = layout.inputInfos.compactMap { $0 } + layout.outputInfos
        let bytes = infos.reduce(0) { sum, info in
            guard let type = info.type.elementType, let shape = try? info.concreteShape() else { return sum }
            return sum &+ (type.byteCount(shape.count) ?? 0)
        }
        let isPlanned = layout.isPlanned.first ?? false
        places[ObjectIdentifier(step)] = steps.count
        kept.append(step)
        steps.append(
            Step(
                name: layout.name, operation: node.qualifiedType, kernel: step.prepared.kernelName,
                output: isPlanned ? layout.outputInfos.first.map { "\($0.type)" } ?? "" : "of data-dependent shape",
                multiplyAccumulates: isPlanned
                    ? compiled.operators[step.node].multiplyAccumulates(layout.inputInfos, layout.outputInfos) : 0,
                byteCount: bytes))
        return steps.count - 1
    }
}
