import ApusCore

/// Changes a graph while keeping track of who makes and who reads each value.
///
/// Nodes are addressed by index; indices stay valid while editing. `commit()` drops removed nodes, sorts and, in debug
/// builds, verifies. Interface names do not matter here: inputs and outputs are known by position.
package final class GraphEditor {
    package let graph: Graph
    private var removed: [Bool]
    private var producers: [Int]
    private var consumers: [[Int]]
    private var outputUses: [Int]
    package private(set) var hasChanged = false

    package init(_ graph: Graph) {
        self.graph = graph
        removed = [Bool](repeating: false, count: graph.nodes.count)
        producers = [Int](repeating: -1, count: graph.values.count)
        consumers = [[Int]](repeating: [], count: graph.values.count)
        outputUses = [Int](repeating: 0, count: graph.values.count)
        for output in graph.outputs { outputUses[output.index] += 1 }
        for (index, node) in graph.nodes.enumerated() { link(index, node) }
    }

    private func link(_ index: Int, _ node: Node) {
        for output in node.outputs {
            if let output { producers[output.index] = index }
        }
        for value in node.dependencies { consumers[value.index].append(index) }
    }

    private func grow() {
        let missing = graph.values.count - producers.count
        if missing > 0 {
            producers += [Int](repeating: -1, count: missing)
            consumers += [[Int]](repeating: [], count: missing)
            outputUses += [Int](repeating: 0, count: missing)
        }
    }

    // MARK: Asking

    /// Indices of the nodes that are there, in the order of the graph when editing began, then as added.
    package var nodeIndices: [Int] { graph.nodes.indices.filter { !removed[$0] } }

    package func isRemoved(_ index: Int) -> Bool { removed[index] }

    /// The node that makes the value; nil for inputs, initializers and captures.
    package func producer(_ value: ValueID) -> (index: Int, node: Node)? {
        guard value.index < producers.count, producers[value.index] >= 0 else { return nil }
        return (producers[value.index], graph.nodes[producers[value.index]])
    }

    /// The nodes that read the value, each once, those whose subgraphs read it included.
    package func consumers(_ value: ValueID) -> [Int] {
        guard value.index < consumers.count else { return [] }
        var seen = Set<Int>()
        return consumers[value.index].filter { seen.insert($0).inserted }
    }

    /// How often the value is read: by nodes, by their subgraphs, as a graph output.
    package func useCount(_ value: ValueID) -> Int {
        guard value.index < consumers.count else { return 0 }
        return consumers[value.index].count + outputUses[value.index]
    }

    package func isOutput(_ value: ValueID) -> Bool {
        value.index < outputUses.count && outputUses[value.index] > 0
    }

    /// The content, where the value is an initializer.
    package func constant(_ value: ValueID?) -> Value? {
        value.flatMap { graph.initializers[$0] }
    }

    // MARK: Changing

    /// Takes a node out; its outputs must have no uses left, or be made by another node soon.
    package func remove(_ index: Int) {
        guard !removed[index] else { return }
        hasChanged = true
        removed[index] = true
        let node = graph.nodes[index]
        for output in node.outputs {
            if let output, producers[output.index] == index { producers[output.index] = -1 }
        }
        for value in node.dependencies {
            if let position = consumers[value.index].firstIndex(of: index) { consumers[value.index].remove(at: position) }
        }
    }

    /// Adds a node and returns its index.
    @discardableResult
    package func add(_ node: Node) -> Int {
        hasChanged = true
        grow()
        graph.nodes.append(node)
        removed.append(false)
        link(graph.nodes.count - 1, node)
        return graph.nodes.count - 1
    }

    /// A new value of the given type.
    package func addValue(type: ValueType? = nil) -> ValueID {
        let id = graph.addValue(type: type)
        grow()
        return id
    }

    /// A new initializer.
    package func addInitializer(_ value: Value) -> ValueID {
        let id = graph.addInitializer(value)
        grow()
        return id
    }

    /// Puts `node` in the place of the one at `index`.
    package func replace(_ index: Int, with node: Node) {
        remove(index)
        grow()
        graph.nodes[index] = node
        removed[index] = false
        link(index, node)
    }

    /// Makes everyone who reads `old` read `new`: nodes, subgraphs, graph outputs.
    package func replaceUses(of old: ValueID, with new: ValueID) {
        guard old != new else { return }
        hasChanged = true
        grow()
        for index in Set(consumers[old.index]) {
            for position in graph.nodes[index].inputs.indices where graph.nodes[index].inputs[position] == old {
                graph.nodes[index].inputs[position] = new
            }
            for subgraph in graph.nodes[index].subgraphs {
                for position in subgraph.captures.indices where subgraph.captures[position].outer == old {
                    subgraph.captures[position].outer = new
                }
            }
        }
        consumers[new.index] += consumers[old.index]
        consumers[old.index] = []
        for position in graph.outputs.indices where graph.outputs[position] == old {
            graph.outputs[position] = new
        }
        outputUses[new.index] += outputUses[old.index]
        outputUses[old.index] = 0
    }

    /// Removes the nodes whose results nobody reads, and the initializers that nobody reads.
    package func removeDeadCode() {
        var queue = nodeIndices.reversed() as [Int]
        while let index = queue.popLast() {
            guard !removed[index], graph.nodes[index].outputs.allSatisfy({ $0.map { useCount($0) == 0 } ?? true }) else { continue }
            let dependencies = graph.nodes[index].dependencies
            remove(index)
            for value in dependencies {
                if let producer = producer(value), useCount(value) == 0 { queue.append(producer.index) }
            }
        }
        for id in Array(graph.initializers.keys) where useCount(id) == 0 && !graph.inputs.contains(id) {
            graph.initializers[id] = nil
        }
    }

    /// Ends editing: the graph has only the remaining nodes, sorted.
    package func commit() throws {
        guard hasChanged else { return }
        graph.nodes = nodeIndices.map { graph.nodes[$0] }
        try graph.sort()
        #if DEBUG
            try graph.verify()
        #endif
    }
}
