import ApusCore
import ApusGraph

/// A shape of subgraph that a rewrite looks for, written as an expression from its last node back.
package indirect enum Pattern: Sendable {
    /// Any value; the same name must stand for the same value everywhere.
    case any(String)
    /// An initializer of a dense tensor.
    case constant(String)
    /// An initializer whose only element is about `value`.
    case scalar(Double)
    /// A node of one of these operators with these inputs. `name` gives access to the node.
    case node(_ name: String, ops: Set<String>, domain: String, inputs: [Pattern], isCommutative: Bool)

    /// A node of operator `op` of ai.onnx.
    package static func op(_ op: String, _ inputs: Pattern..., as name: String? = nil) -> Pattern {
        .node(name ?? op, ops: [op], domain: "", inputs: inputs, isCommutative: ["Add", "Mul"].contains(op) && inputs.count == 2)
    }

    /// A node of any of `ops`.
    package static func oneOf(_ ops: Set<String>, _ inputs: Pattern..., as name: String) -> Pattern {
        .node(name, ops: ops, domain: "", inputs: inputs, isCommutative: false)
    }

    /// A node of one of the optimiser's own operators.
    package static func own(_ op: String, _ inputs: Pattern..., as name: String? = nil) -> Pattern {
        .node(name ?? op, ops: [op], domain: "apus", inputs: inputs, isCommutative: false)
    }
}

/// What a pattern's names stand for at one place of a graph.
package struct Match {
    package fileprivate(set) var values: [String: ValueID] = [:]
    package fileprivate(set) var nodes: [String: Int] = [:]
    /// All nodes of the match, the last one first.
    package fileprivate(set) var indices: [Int] = []

    /// Looks for `pattern` with its last node at `index`. Values between the nodes must have no other reader.
    static func find(_ pattern: Pattern, at index: Int, in editor: GraphEditor) -> Match? {
        var match = Match()
        return match.matches(pattern, node: index, editor) ? match : nil
    }

    private mutating func matches(_ pattern: Pattern, node index: Int, _ editor: GraphEditor) -> Bool {
        guard case .node(let name, let ops, let domain, let inputs, let isCommutative) = pattern else { return false }
        let node = editor.graph.nodes[index]
        guard node.domain == domain, ops.contains(node.opType), node.inputs.count >= inputs.count else { return false }
        nodes[name] = index
        indices.append(index)
        let before = self
        if zip(inputs, node.inputs).allSatisfy({ matches($0, value: $1, editor) }) { return true }
        guard isCommutative else { return false }
        self = before
        return zip(inputs, node.inputs.reversed()).allSatisfy { matches($0, value: $1, editor) }
    }

    private mutating func matches(_ pattern: Pattern, value: ValueID?, _ editor: GraphEditor) -> Bool {
        guard let value else { return false }
        switch pattern {
        case .any(let name):
            return bind(name, value)
        case .constant(let name):
            guard case .tensor? = editor.constant(value) else { return false }
            return bind(name, value)
        case .scalar(let expected):
            guard let found = editor.scalar(value) else { return false }
            return abs(found - expected) <= 1e-4 * max(1e-3, abs(expected))
        case .node:
            guard let producer = editor.producer(value), editor.useCount(value) == 1 else { return false }
            return matches(pattern, node: producer.index, editor)
        }
    }

    private mutating func bind(_ name: String, _ value: ValueID) -> Bool {
        if let bound = values[name] { return bound == value }
        values[name] = value
        return true
    }
}

extension GraphEditor {
    /// The element of an initializer that has only one, as a number.
    package func scalar(_ value: ValueID?) -> Double? {
        guard case .tensor(let tensor)? = constant(value), tensor.count == 1 else { return nil }
        switch tensor.type {
        case .float32: return tensor.array(Float.self).first.map(Double.init)
        case .float64: return tensor.array(Double.self).first
        case .float16: return tensor.array(Float16.self).first.map(Double.init)
        default: return (try? tensor.integers())?.first.map(Double.init)
        }
    }
}

/// A change of the graph that a pattern calls for: a pass of its own, named, that can be turned off.
package protocol Rewrite: Pass {
    var pattern: Pattern { get }
    /// Says why the match must stay as it is, or changes the graph (the pattern's nodes are left to dead-code removal).
    func apply(_ match: Match, _ editor: GraphEditor, _ context: PassContext) throws -> Outcome
}

/// What came of a match.
package enum Outcome {
    case applied
    /// Matched, but must not be changed, because …
    case refused(String)
}

extension Rewrite {
    package func run(_ editor: GraphEditor, _ context: PassContext) throws {
        for index in editor.nodeIndices {
            guard !editor.isRemoved(index), let match = Match.find(pattern, at: index, in: editor) else { continue }
            let name = editor.graph.displayName(editor.graph.nodes[index])
            switch try apply(match, editor, context) {
            case .applied: context.log?("\(self.name): applied at \(name)")
            case .refused(let reason): context.log?("\(self.name): matched, not applied at \(name): \(reason)")
            }
        }
    }
}
