import ApusCore
import ApusGraph
import ApusOperators
import Synchronization

/// A node prepared for shapes, wherever its values lie: plans for other shapes that do not reach it share it.
final class PreparedStep: @unchecked Sendable {
    let node: Int
    let prepared: any PreparedNode
    let layout: StepLayout

    init(node: Int, prepared: any PreparedNode, layout: StepLayout) {
        self.node = node
        self.prepared = prepared
        self.layout = layout
    }
}

/// Part of a plan: the prepared steps between two points where shapes depend on data.
///
/// A graph whose shapes all follow from its inputs is one segment. Where a step makes a value of a shape that only the
/// run can tell, the segment ends with it, and the next one is planned (once for each shape, cached) when the shape is
/// known. A segment belongs to many runs at a time and changes only in its cache of successors.
package final class Segment: @unchecked Sendable {
    /// A prepared node in its place among the others.
    final class Step: @unchecked Sendable {
        let node: Int
        let layout: StepLayout
        let prepared: any PreparedNode
        /// Values without a planned place that nobody reads after this step.
        let releases: [Int]

        init(_ step: PreparedStep, releases: [Int]) {
            node = step.node
            layout = step.layout
            prepared = step.prepared
            self.releases = releases
        }
    }

    /// What planning made of a node.
    enum Outcome {
        /// All results are constants.
        case constants
        case step(PreparedStep)
        /// It needs what only the run tells.
        case waits
    }

    let steps: [Step]
    let arenaByteCount: Int
    let workspaceByteCount: Int
    /// Values that lie in the arena, and where.
    let placements: [(value: Int, offset: Int)]
    /// Values that lie where another one does; in order, since one may follow another.
    let aliases: [(value: Int, source: Int)]
    /// Values found when planning.
    let constants: [(value: Int, content: Value)]
    /// Graph outputs that are written directly to where the caller gets them: position among the outputs, all values
    /// that share the memory, type and shape.
    let directOutputs: [(output: Int, values: [Int], type: ElementType, shape: Shape)]
    /// Values made here whose types the run tells; their types decide which segment follows.
    let pending: [Int]
    /// What is known of each value when this segment has run; nil: nothing yet.
    let infos: [ValueInfo?]
    /// The nodes that this was planned from, and what became of each.
    let nodes: [Int]
    let outcomes: [Outcome]
    /// Nodes that are left for the segments that follow.
    let remaining: [Int]

    private struct Successor {
        let signature: [SignatureEntry]
        let segment: Segment
    }

    private let successors = Mutex<[Successor]>([])
    private static let mostSuccessors = 16

    init(
        steps: [Step], arenaByteCount: Int, workspaceByteCount: Int, placements: [(value: Int, offset: Int)],
        aliases: [(value: Int, source: Int)], constants: [(value: Int, content: Value)],
        directOutputs: [(output: Int, values: [Int], type: ElementType, shape: Shape)], pending: [Int], infos: [ValueInfo?],
        nodes: [Int], outcomes: [Outcome], remaining: [Int]
    ) {
        self.steps = steps
        self.arenaByteCount = arenaByteCount
        self.workspaceByteCount = workspaceByteCount
        self.placements = placements
        self.aliases = aliases
        self.constants = constants
        self.directOutputs = directOutputs
        self.pending = pending
        self.infos = infos
        self.nodes = nodes
        self.outcomes = outcomes
        self.remaining = remaining
    }

    /// The segment that follows for the pending values as they are in `frame`; planned by `make`, like the given one, where it
    /// is new.
    func successor(in frame: Frame, make: ([ValueInfo?], Segment?) throws -> Segment) throws -> Segment? {
        if remaining.isEmpty { return nil }
        return try successors.withLock { successors in
            let found = successors.firstIndex { successor in
                zip(pending, successor.signature).allSatisfy { index, entry in
                    frame.values[index].map(entry.matches) ?? false
                }
            }
            if let found {
                // Frequent ones move to the front; the last one is dropped when a new one needs its place.
                if found > 0 { successors.swapAt(found, found - 1) }
                return successors[max(0, found - 1)].segment
            }
            var infos = infos
            for index in pending {
                guard let value = frame.values[index] else {
                    throw ApusError(.internal, "a step left its output \(index) unset")
                }
                infos[index] = ValueInfo(value.type)
            }
            let segment = try make(infos, successors.last?.segment)
            let signature = try pending.map { try SignatureEntry(infos[$0] ?? ValueInfo(.tensor(.float32, .unknown))) }
            if successors.count == Segment.mostSuccessors { successors.removeLast() }
            successors.append(Successor(signature: signature, segment: segment))
            return segment
        }
    }
}
