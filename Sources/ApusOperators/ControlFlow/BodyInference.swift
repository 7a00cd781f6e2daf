import ApusCore
import ApusGraph

/// The position of `graph` among the subgraphs of a node, by which a running node calls it.
func subgraphIndex(_ graph: Graph, in node: NodeReader) throws -> Int {
    guard let index = node.node.subgraphs.firstIndex(where: { $0 === graph }) else {
        throw ApusError(.internal, "a subgraph is no attribute of its node")
    }
    return index
}

extension ValueType {
    /// What holds for a value that is of this or of the other type; nil where kind or element type differ.
    func union(_ other: ValueType) -> ValueType? {
        switch (self, other) {
        case (.tensor(let a, let shape), .tensor(let b, let otherShape)):
            a == b ? .tensor(a, shape.union(otherShape)) : nil
        case (.sparse(let a, let shape), .sparse(let b, let otherShape)):
            a == b ? .sparse(a, shape.union(otherShape)) : nil
        case (.sequence(let a), .sequence(let b)): a.union(b).map { .sequence($0) }
        case (.optional(let a), .optional(let b)): a.union(b).map { .optional($0) }
        case (.map(let a, let value), .map(let b, let otherValue)):
            a == b ? value.union(otherValue).map { .map(key: a, value: $0) } : nil
        default: nil
        }
    }

    /// The type without anything about shapes.
    var withoutShape: ValueType {
        switch self {
        case .tensor(let type, _): .tensor(type, .unknown)
        case .sparse(let type, _): .sparse(type, .unknown)
        case .sequence(let element): .sequence(element.withoutShape)
        case .optional(let element): .optional(element.withoutShape)
        case .map(let key, let value): .map(key: key, value: value.withoutShape)
        }
    }

    /// Throws unless a value of type `found` may stand where this type was inferred: kind and element types must agree.
    func checkAdmits(_ found: ValueType, _ what: @autoclosure () -> String) throws {
        guard withoutShape.union(found.withoutShape) != nil else {
            throw ApusError(.typeMismatch, "\(what()) must be \(self), found \(found)")
        }
    }
}

extension ApusError {
    /// Whether the error may concern only the shapes at hand, which a branch not taken or a body not run never sees.
    var concernsShapes: Bool {
        switch code {
        case .shapeMismatch, .invalidValue, .memoryLimit: true
        default: false
        }
    }
}

extension Graph {
    /// How deep subgraphs nest inside of this one, counted no further than `limit`.
    func nesting(upTo limit: Int) -> Int {
        guard limit > 0 else { return 0 }
        var deepest = 0
        for node in nodes where !node.attributes.isEmpty {
            for subgraph in node.subgraphs {
                deepest = max(deepest, 1 + subgraph.nesting(upTo: limit - 1))
                if deepest >= limit { return limit }
            }
        }
        return deepest
    }
}

/// Infers the body of a loop whose state goes round: values may change their shape from one iteration to the next.
struct LoopBody {
    let graph: Graph
    /// What Loop or Scan passes before the state in each iteration (the iteration number and the condition).
    let leadingCount: Int
    /// Outputs of the body before the state (the condition).
    let leadingOutputCount: Int
    /// Bodies with more nesting than this are inferred once, without shapes: each further attempt would multiply.
    private static let mostNestingForShapes = 3

    /// All outputs of the body when the state starts as `state`, with shapes that hold in every iteration.
    func infer(
        _ context: InferenceContext, leading: [ValueInfo], state: [ValueType], trailing: [ValueInfo]
    ) throws -> (state: [ValueType], outputs: [ValueInfo]) {
        var current = state
        let followsShapes = graph.nesting(upTo: LoopBody.mostNestingForShapes + 1) <= LoopBody.mostNestingForShapes
        if followsShapes {
            for attempt in 0..<3 {
                if attempt == 2 { current = zip(current, state).map { $0 == $1 ? $0 : $0.withoutShape } }
                do {
                    let outputs = try once(context, leading, current, trailing)
                    let next = try merged(current, outputs)
                    if next == current { return (current, outputs) }
                    current = next
                } catch let error as ApusError where error.concernsShapes {
                    break
                }
            }
        }
        current = state.map(\.withoutShape)
        let outputs = try once(context, leading, current, trailing)
        return (try merged(current, outputs), outputs)
    }

    private func once(
        _ context: InferenceContext, _ leading: [ValueInfo], _ state: [ValueType], _ trailing: [ValueInfo]
    ) throws -> [ValueInfo] {
        let outputs = try context.inferSubgraph(graph, leading + state.map { ValueInfo($0) } + trailing)
        guard outputs.count == graph.outputs.count else {
            throw ApusError(.internal, "\(outputs.count) outputs of a body inferred, it has \(graph.outputs.count)")
        }
        return outputs
    }

    private func merged(_ state: [ValueType], _ outputs: [ValueInfo]) throws -> [ValueType] {
        try state.enumerated().map { index, type in
            let output = outputs[leadingOutputCount + index].type
            // State may start as an optional that the first iteration opens.
            if case .optional(let element) = type, output.kind != .optional, let union = element.union(output) {
                return .optional(union)
            }
            guard let union = type.union(output) else {
                throw ApusError(.typeMismatch, "state \(index) of the loop starts as \(type), but its body makes it \(output)")
            }
            return union
        }
    }
}
