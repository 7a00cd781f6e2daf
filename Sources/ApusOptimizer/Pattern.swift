import ApusCore
import ApusGraph

/// A shape of subgraph that a rewrite looks for, written as an expression from its last node back.
package indirect enum Pattern: Sendable {
    /// Any value; the same name must stand for the same value everywhere.
    case any(String)
    /// An initializer of a dense tensor.
    case constant(String)
    /// An initializer whose only element is `value`, up to the rounding of its type.
    case scalar(Double)
    /// A value or nothing: an optional input. Bound only where it is there.
    case optional(String)
    /// A node of one of these operators with these inputs, whose output nobody else reads (but for the pattern's last node).
    /// `name` gives access to the node.
    case node(_ name: String, ops: Set<String>, domain: String, inputs: [Pattern], isCommutative: Bool)
    /// A node, given by its pattern, whose output several nodes of the match read, and nobody else.
    case shared(Pattern)

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
    /// Values that only nodes of the match may read.
    private var sharedValues: [ValueID] = []

    /// Looks for `pattern` with its last node at `index`. Values between the nodes must have no other reader.
    static func find(_ pattern: Pattern, at index: Int, in editor: GraphEditor) -> Match? {
        var match = Match()
        guard match.matches(pattern, node: index, editor) else { return nil }
        let isClosed = match.sharedValues.allSatisfy { value in
            !editor.isOutput(value) && editor.consumers(value).allSatisfy { match.indices.contains($0) }
        }
        return isClosed ? match : nil
    }

    private mutating func matches(_ pattern: Pattern, node index: Int, _ editor: GraphEditor) -> Bool {
        guard case .node(let name, let ops, let domain, let inputs, let isCommutative) = pattern else { return false }
        let node = editor.graph.nodes[index]
        let required = inputs.reduce(0) { count, input in
            if case .optional = input { return count }
            return count + 1
        }
        guard node.domain == domain, ops.contains(node.opType), node.inputs.count >= required else { return false }
        nodes[name] = index
        indices.append(index)
        let before = self
        if zip(inputs, node.inputs).allSatisfy({ matches($0, value: $1, editor) }) { return true }
        guard isCommutative else { return false }
        self = before
        return zip(inputs, node.inputs.reversed()).allSatisfy { matches($0, value: $1, editor) }
    }

    private mutating func matches(_ pattern: Pattern, value: ValueID?, _ editor: GraphEditor) -> Bool {
        if case .optional(let name) = pattern { return value.map { bind(name, $0) } ?? true }
        guard let value else { return false }
        switch pattern {
        case .any(let name), .optional(let name):
            return bind(name, value)
        case .constant(let name):
            guard case .tensor? = editor.constant(value) else { return false }
            return bind(name, value)
        case .scalar(let expected):
            guard let found = editor.scalar(value), case .tensor(let tensor)? = editor.constant(value) else { return false }
            // A few units in the last place: exporters compute constants in one type and store them in another.
            let precision =
                switch tensor.type {
                case .float16: 2e-3
                case .bfloat16: 2e-2
                default: 1e-6
                }
            return abs(found - expected) <= precision * max(1e-3, abs(expected))
        case .shared(let pattern):
            guard case .node(let name, _, _, _, _) = pattern, let producer = editor.producer(value),
                nodes[name] ?? producer.index == producer.index
            else { return false }
            sharedValues.append(value)
            return matches(pattern, node: producer.index, editor)
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
        case .bfloat16: return tensor.array(UInt16.self).first.map { Double(Float(bitPattern: UInt32($0) << 16)) }
        default: return (try? tensor.integers())?.first.map(Double.init)
        }
    }
}

/// What came of a match.
package enum Outcome {
    case applied
    /// Matched, but must not be changed, because …
    case refused(String)
    /// The pattern says less than the rule is for: not worth a word.
    case inapplicable
}

/// A pattern and the change of the graph that it calls for.
package struct Rule: Sendable {
    let pattern: Pattern
    /// Says why the match must stay as it is, or changes the graph.
    let apply: @Sendable (Match, GraphEditor, PassContext) throws -> Outcome

    package init(_ pattern: Pattern, _ apply: @escaping @Sendable (Match, GraphEditor, PassContext) throws -> Outcome) {
        self.pattern = pattern
        self.apply = apply
    }
}

/// A change of the graph that one pattern calls for: a pass of its own, named, that can be turned off.
package protocol Rewrite: RewritePass {
    var pattern: Pattern { get }
    /// Says why the match must stay as it is, or changes the graph (the pattern's nodes are left to dead-code removal).
    func apply(_ match: Match, _ editor: GraphEditor, _ context: PassContext) throws -> Outcome
}

extension Rewrite {
    package var rules: [Rule] { [Rule(pattern) { try apply($0, $1, $2) }] }
}

/// A pass made of rules: at each node, in the order of the graph, they are tried in their order until none applies.
package protocol RewritePass: Pass {
    var rules: [Rule] { get }
}

extension RewritePass {
    /// A node is rewritten at most so often: each time it takes in another one, so this is never reached in sane graphs.
    private static var mostRewrites: Int { 16 }

    package func run(_ editor: GraphEditor, _ context: PassContext) throws {
        let rules = rules
        let lastOperators = rules.reduce(into: [String]()) { found, rule in
            guard case .node(_, let ops, _, _, _) = rule.pattern else { return }
            found += ops.filter { !found.contains($0) }
        }
        for index in editor.nodeIndices {
            // Most nodes are none that a pattern ends with. (A few comparisons are faster than a hash.)
            guard lastOperators.contains(editor.graph.nodes[index].opType) else { continue }
            var reasons: [String] = []
            var count = 0
            while count < Self.mostRewrites, try rewrite(index, rules, &reasons, editor, context) { count += 1 }
            if let log = context.log, !editor.isRemoved(index) {
                let name = editor.graph.displayName(editor.graph.nodes[index])
                for reason in reasons { log("\(self.name): matched, not applied at \(name): \(reason)") }
            }
        }
    }

    /// Applies the first rule that fits the node; false where none does.
    private func rewrite(
        _ index: Int, _ rules: [Rule], _ reasons: inout [String], _ editor: GraphEditor, _ context: PassContext
    ) throws -> Bool {
        if editor.isRemoved(index) { return false }
        reasons = []
        for rule in rules {
            guard let match = Match.find(rule.pattern, at: index, in: editor) else { continue }
            let name = editor.graph.displayName(editor.graph.nodes[index])
            switch try rule.apply(match, editor, context) {
            case .applied:
                context.log?("\(self.name): applied at \(name)")
                return true
            case .refused(let reason): reasons.append(reason)
            case .inapplicable: break
            }
        }
        return false
    }
}

extension Match {
    /// The node that the pattern calls `name`; patterns name what their rules ask for.
    func node(_ name: String, _ editor: GraphEditor) throws -> Node {
        guard let index = nodes[name] else { throw ApusError(.internal, "a pattern has no node \"\(name)\"") }
        return editor.graph.nodes[index]
    }

    func value(_ name: String) throws -> ValueID {
        guard let value = values[name] else { throw ApusError(.internal, "a pattern has no value \"\(name)\"") }
        return value
    }

    /// Puts `node` in the place of the whole match: it makes what the last node made, the others go.
    func replace(with node: Node, by pass: String, _ editor: GraphEditor) {
        guard let last = indices.first else { return }
        var node = node
        node.outputs = [editor.graph.nodes[last].outputs.first ?? nil]
        node.origin = pass
        if node.name.isEmpty { node.name = editor.graph.nodes[last].name }
        editor.replace(last, with: node)
        for index in Set(indices.dropFirst()).sorted(by: >) { editor.remove(index) }
    }
}
