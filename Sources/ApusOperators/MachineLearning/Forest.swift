import ApusCore

/// Decision trees laid out for walking: nodes of all trees in one array, and the votes of their leaves.
///
/// A leaf leads to itself, so that rows of different depths can be walked in step, without a branch for each.
struct Forest: Sendable {
    /// How a node compares a feature with its value.
    enum Mode: UInt8, Sendable {
        case lessOrEqual, less, greaterOrEqual, greater, equal, notEqual
        /// Whether the feature is one of a set; the node's value is the set's number.
        case member
        case leaf
    }

    struct Node: Sendable {
        var mode: Mode
        var missingIsTrue: Bool
        var feature: Int32
        var whenTrue: Int32
        var whenFalse: Int32
        var value: Double
    }

    struct Vote: Sendable {
        let target: Int
        let weight: Double
    }

    private let nodes: [Node]
    private let roots: [Int32]
    private let votes: [Vote]
    /// By node, where its votes begin; one more entry than nodes.
    private let firstVotes: [Int]
    /// Sets of members: sorted numbers, and where each set begins; one more entry than sets.
    private let members: [Double]
    private let firstMembers: [Int]
    private let comparesLessOrEqual: Bool
    /// Features that the trees look at: the input needs at least so many.
    let featureCount: Int

    /// Rows that are walked in step through one tree, or trees that one row is: each waits for memory by itself.
    private static let block = 16
    /// Fewer rows than these are walked one by one.
    private static let fewRows = 8

    /// Throws where a tree has a cycle. Children exist; `votes` has an entry for each node.
    init(nodes: [Node], roots: [Int], votes: [[Vote]], members: [[Double]] = []) throws {
        self.nodes = nodes
        self.roots = roots.map { Int32(truncatingIfNeeded: $0) }
        self.votes = votes.flatMap { $0 }
        firstVotes = votes.reduce(into: [0]) { $0.append(($0.last ?? 0) + $1.count) }
        self.members = members.flatMap { $0.sorted() }
        firstMembers = members.reduce(into: [0]) { $0.append(($0.last ?? 0) + $1.count) }
        let inner = nodes.filter { $0.mode != .leaf }
        comparesLessOrEqual = inner.allSatisfy { $0.mode == .lessOrEqual && !$0.missingIsTrue }
        featureCount = inner.reduce(0) { max($0, Int($1.feature) + 1) }
        try checkCycles()
    }

    var treeCount: Int { roots.count }
    var votedTargets: Set<Int> { Set(votes.map(\.target)) }
    var weightsAreNotNegative: Bool { votes.allSatisfy { $0.weight >= 0 } }

    /// A walk from the roots that meets a node which it has not left yet would never end.
    private func checkCycles() throws {
        enum State { case new, open, done }
        var states = [State](repeating: .new, count: nodes.count)
        for root in roots {
            var stack = [Int(root)]
            while let index = stack.last {
                switch states[index] {
                case .done: stack.removeLast()
                case .open:
                    states[index] = .done
                    stack.removeLast()
                case .new:
                    guard nodes[index].mode != .leaf else {
                        states[index] = .done
                        stack.removeLast()
                        continue
                    }
                    states[index] = .open
                    for child in [nodes[index].whenTrue, nodes[index].whenFalse] {
                        switch states[Int(child)] {
                        case .open: throw ApusError(.invalidModel, "the nodes of a tree form a cycle")
                        case .new: stack.append(Int(child))
                        case .done: break
                        }
                    }
                }
            }
        }
    }

    /// What a target's votes are joined by.
    enum Aggregate: Sendable { case average, sum, least, greatest }

    /// Joins, for each of `count` rows, the votes of the leaves that its features lead to. `sums` and `hasVote` are
    /// [count, targets]; both are written in full. Sums are taken in the order of the trees.
    func aggregate<T: Element, Sum: Arithmetic & BinaryFloatingPoint>(
        _ aggregate: Aggregate, _ rows: UnsafePointer<T>, stride: Int, count: Int, targets: Int, _ sums: UnsafeMutablePointer<Sum>,
        _ hasVote: UnsafeMutablePointer<Bool>
    ) {
        sums.update(repeating: 0, count: count * targets)
        hasVote.update(repeating: false, count: count * targets)
        withUnsafeTemporaryAllocation(of: Int32.self, capacity: Forest.block) { positions in
            guard let positions = positions.baseAddress else { return }
            if count < Forest.fewRows {
                for row in 0..<count {
                    let own = row * targets
                    for first in Swift.stride(from: 0, to: roots.count, by: Forest.block) {
                        let part = min(Forest.block, roots.count - first)
                        for tree in 0..<part { positions[tree] = roots[first + tree] }
                        walk(rows + row * stride, 0, positions, part)
                        for tree in 0..<part { add(aggregate, Int(positions[tree]), sums + own, hasVote + own) }
                    }
                }
                return
            }
            for start in Swift.stride(from: 0, to: count, by: Forest.block) {
                let part = min(Forest.block, count - start)
                for root in roots {
                    positions.update(repeating: root, count: part)
                    walk(rows + start * stride, stride, positions, part)
                    for row in 0..<part {
                        let own = (start + row) * targets
                        add(aggregate, Int(positions[row]), sums + own, hasVote + own)
                    }
                }
            }
        }
        if aggregate == .average {
            for index in 0..<count * targets { sums[index] /= Sum(max(1, roots.count)) }
        }
    }

    /// Leads each of `count` positions to a leaf. What position p stands for looks at the features that begin at rows[p * stride].
    @inline(never)
    private func walk<T: Element>(
        _ rows: UnsafePointer<T>, _ stride: Int, _ positions: UnsafeMutablePointer<Int32>, _ count: Int
    ) {
        if comparesLessOrEqual {
            walk(rows, stride, positions, count) { node, x in x <= node.value }
        } else {
            walk(rows, stride, positions, count) { node, x in holds(node, x) || (node.missingIsTrue && x.isNaN) }
        }
    }

    @inline(__always)
    private func walk<T: Element>(
        _ rows: UnsafePointer<T>, _ stride: Int, _ positions: UnsafeMutablePointer<Int32>, _ count: Int,
        _ condition: (Node, Double) -> Bool
    ) {
        // Without features there are only leaves, and no memory to read.
        guard featureCount > 0 else { return }
        nodes.withUnsafeBufferPointer { buffer in
            guard let nodes = buffer.baseAddress else { return }
            var moves = true
            while moves {
                moves = false
                for row in 0..<count {
                    let position = positions[row], node = nodes[Int(position)]
                    let x = rows[row * stride + Int(node.feature)].number.double
                    let next = condition(node, x) ? node.whenTrue : node.whenFalse
                    positions[row] = next
                    moves = moves || next != position
                }
            }
        }
    }

    @inline(__always)
    private func holds(_ node: Node, _ x: Double) -> Bool {
        switch node.mode {
        case .lessOrEqual: x <= node.value
        case .less: x < node.value
        case .greaterOrEqual: x >= node.value
        case .greater: x > node.value
        case .equal: x == node.value
        case .notEqual: x != node.value
        case .member: isMember(x, Int(node.value))
        case .leaf: true
        }
    }

    private func isMember(_ x: Double, _ set: Int) -> Bool {
        var low = firstMembers[set], high = firstMembers[set + 1]
        while low < high {
            let middle = (low + high) / 2
            if members[middle] == x { return true }
            if members[middle] < x { low = middle + 1 } else { high = middle }
        }
        return false
    }

    @inline(__always)
    private func add<Sum: Arithmetic & BinaryFloatingPoint>(
        _ aggregate: Aggregate, _ leaf: Int, _ sums: UnsafeMutablePointer<Sum>, _ hasVote: UnsafeMutablePointer<Bool>
    ) {
        for index in firstVotes[leaf]..<firstVotes[leaf + 1] {
            let target = votes[index].target, weight = Sum(converting: votes[index].weight), old = sums[target]
            switch aggregate {
            case .sum, .average: sums[target] = old + weight
            case .least: sums[target] = hasVote[target] ? Sum.lesser(old, weight) : weight
            case .greatest: sums[target] = hasVote[target] ? Sum.greater(old, weight) : weight
            }
            hasVote[target] = true
        }
    }
}
