import ApusCore
import ApusGraph
import ApusOperators
import Synchronization

/// Part of a plan: the prepared steps between two points where shapes depend on data.
///
/// A graph whose shapes all follow from its inputs is one segment. Where a step makes a value of a shape that only the
/// run can tell, the segment ends with it, and the next one is planned (once for each shape, cached) when the shape is
/// known. A segment belongs to many runs at a time and changes only in its cache of successors.
package final class Segment: @unchecked Sendable {
    /// One prepared node.
    final class Step: @unchecked Sendable {
        let node: Int
        let layout: StepLayout
        let prepared: any PreparedNode
        /// Values without a planned place that nobody reads after this step.
        let releases: [Int]

        init(node: Int, layout: StepLayout, prepared: any PreparedNode, releases: [Int]) {
            self.node = node
            self.layout = layout
            self.prepared = prepared
            self.releases = releases
        }
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
        remaining: [Int]
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
        self.remaining = remaining
    }

    /// The segment that follows for the pending values as they are in `frame`; planned by `make` where it is new.
    func successor(in frame: Frame, make: ([ValueInfo?]) throws -> Segment) throws -> Segment? {
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
            let segment = try make(infos)
            let signature = try pending.map { try SignatureEntry(infos[$0] ?? ValueInfo(.tensor(.float32, .unknown))) }
            if successors.count == Segment.mostSuccessors { successors.removeLast() }
            successors.append(Successor(signature: signature, segment: segment))
            return segment
        }
    }
}
