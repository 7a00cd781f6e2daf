import ApusCore
import ApusGraph

/// Decision trees as the node's attributes describe them, checked: children, features and targets exist, no cycles.
struct TreeEnsemble: Sendable {
    private enum Mode: String {
        case lessOrEqual = "BRANCH_LEQ"
        case less = "BRANCH_LT"
        case greaterOrEqual = "BRANCH_GTE"
        case greater = "BRANCH_GT"
        case equal = "BRANCH_EQ"
        case notEqual = "BRANCH_NEQ"
        case leaf = "LEAF"
    }

    private struct TreeNode: Sendable {
        let mode: Mode
        let feature: Int
        let value: Double
        let missingIsTrue: Bool
        var whenTrue = 0
        var whenFalse = 0
        /// Leaves: their votes.
        var firstVote = 0
        var voteCount = 0
    }

    struct Vote: Sendable {
        let target: Int
        let weight: Double
    }

    private var nodes: [TreeNode] = []
    private var votes: [Vote] = []
    private(set) var roots: [Int] = []
    /// Features that the trees look at: the input needs at least so many.
    private(set) var featureCount = 0
    /// Whether thresholds are doubles; features are compared as floats otherwise.
    let isDouble: Bool

    private struct Key: Hashable {
        let tree: Int
        let node: Int
    }

    /// `prefix` is "class" or "target"; `targetCount` bounds the ids of votes.
    init(_ node: NodeReader, prefix: String, targetCount: Int) throws {
        func list(_ name: String, _ count: Int?, default value: Int? = nil) throws -> [Int] {
            let list = try node.optionalInts(name) ?? []
            if list.isEmpty, let value, let count { return [Int](repeating: value, count: count) }
            guard count == nil || list.count == count else {
                throw ApusError(.invalidModel, "attribute \"\(name)\" has \(list.count) elements, \(count ?? 0) expected")
            }
            return list
        }
        func numbers(_ name: String, _ count: Int) throws -> (values: [Double], isDouble: Bool) {
            let floats = try node.optionalFloats(name), tensor = try node.opset >= 3 ? node.optionalTensor("\(name)_as_tensor") : nil
            var values = floats.map { $0.map(Double.init) } ?? []
            var isDouble = false
            if let tensor = try tensor?.asTensor() {
                isDouble = tensor.type == .float64
                values = isDouble ? tensor.array(Double.self) : tensor.array(Float.self).map(Double.init)
            }
            guard values.count == count else {
                throw ApusError(.invalidModel, "attribute \"\(name)\" has \(values.count) elements, \(count) expected")
            }
            return (values, isDouble)
        }
        node.ignore("nodes_hitrates", "nodes_hitrates_as_tensor")
        let nodeIDs = try list("nodes_nodeids", nil), count = nodeIDs.count
        let treeIDs = try list("nodes_treeids", count), features = try list("nodes_featureids", count)
        let trueIDs = try list("nodes_truenodeids", count), falseIDs = try list("nodes_falsenodeids", count)
        let missing = try list("nodes_missing_value_tracks_true", count, default: 0)
        let (values, isDouble) = try numbers("nodes_values", count)
        self.isDouble = isDouble
        let modes = try node.optionalStrings("nodes_modes") ?? []
        guard modes.count == count else {
            throw ApusError(.invalidModel, "attribute \"nodes_modes\" has \(modes.count) elements, \(count) expected")
        }
        guard count > 0 else { throw ApusError(.invalidModel, "the ensemble has no nodes") }
        var positions: [Key: Int] = [:]
        for index in 0..<count {
            guard let mode = Mode(rawValue: modes[index].description) else {
                throw ApusError(.invalidModel, "node \(nodeIDs[index]) of tree \(treeIDs[index]) has the unknown mode \"\(modes[index])\"")
            }
            if mode != .leaf {
                guard features[index] >= 0, features[index] < Int(Int32.max) else {
                    throw ApusError(.invalidModel, "node \(nodeIDs[index]) of tree \(treeIDs[index]) looks at feature \(features[index])")
                }
                featureCount = max(featureCount, features[index] + 1)
            }
            guard positions.updateValue(index, forKey: Key(tree: treeIDs[index], node: nodeIDs[index])) == nil else {
                throw ApusError(.invalidModel, "tree \(treeIDs[index]) has two nodes \(nodeIDs[index])")
            }
            nodes.append(TreeNode(mode: mode, feature: features[index], value: values[index], missingIsTrue: missing[index] == 1))
        }
        var isChild = [Bool](repeating: false, count: count)
        for index in 0..<count where nodes[index].mode != .leaf {
            func child(_ id: Int) throws -> Int {
                guard let position = positions[Key(tree: treeIDs[index], node: id)] else {
                    throw ApusError(.invalidModel, "node \(nodeIDs[index]) of tree \(treeIDs[index]) leads to node \(id), which does not exist")
                }
                guard !isChild[position], position != index else {
                    throw ApusError(.invalidModel, "node \(id) of tree \(treeIDs[index]) is reached twice; a tree expected")
                }
                isChild[position] = true
                return position
            }
            nodes[index].whenTrue = try child(trueIDs[index])
            nodes[index].whenFalse = try child(falseIDs[index])
        }
        // Every node has at most one parent, so what no root leads to goes round in a circle.
        roots = (0..<count).filter { !isChild[$0] }
        var reached = 0, pending = roots
        while let next = pending.popLast() {
            reached += 1
            if nodes[next].mode != .leaf { pending += [nodes[next].whenTrue, nodes[next].whenFalse] }
        }
        guard reached == count else { throw ApusError(.invalidModel, "\(count - reached) nodes of the trees form a cycle") }
        guard Set(roots.map { treeIDs[$0] }).count == roots.count else {
            throw ApusError(.invalidModel, "a tree has more than one root")
        }

        let voteNodes = try list("\(prefix)_nodeids", nil)
        let voteTrees = try list("\(prefix)_treeids", voteNodes.count), voteTargets = try list("\(prefix)_ids", voteNodes.count)
        let weights = try numbers("\(prefix)_weights", voteNodes.count).values
        var byNode: [Int: [Vote]] = [:]
        for index in voteNodes.indices {
            guard let position = positions[Key(tree: voteTrees[index], node: voteNodes[index])], nodes[position].mode == .leaf else {
                throw ApusError(.invalidModel, "vote \(index) belongs to node \(voteNodes[index]) of tree \(voteTrees[index]), which is no leaf")
            }
            guard voteTargets[index] >= 0, voteTargets[index] < targetCount else {
                throw ApusError(.invalidModel, "vote \(index) is for \(prefix) \(voteTargets[index]) of \(targetCount)")
            }
            byNode[position, default: []].append(Vote(target: voteTargets[index], weight: weights[index]))
        }
        for position in nodes.indices {
            guard let own = byNode[position] else { continue }
            nodes[position].firstVote = votes.count
            nodes[position].voteCount = own.count
            votes += own
        }
    }

    /// The votes of the leaf that the features lead to from `root`.
    func leaf(from root: Int, _ feature: (Int) -> Double) -> ArraySlice<Vote> {
        var position = root
        while nodes[position].mode != .leaf {
            let node = nodes[position]
            let value = feature(node.feature)
            let holds: Bool =
                switch node.mode {
                case .lessOrEqual: value <= node.value
                case .less: value < node.value
                case .greaterOrEqual: value >= node.value
                case .greater: value > node.value
                case .equal: value == node.value
                case .notEqual: value != node.value
                case .leaf: true
                }
            position = holds || (node.missingIsTrue && value.isNaN) ? node.whenTrue : node.whenFalse
        }
        return votes[nodes[position].firstVote..<nodes[position].firstVote + nodes[position].voteCount]
    }

    /// Ids of all votes, for what depends on which classes appear.
    var votedTargets: Set<Int> { Set(votes.map(\.target)) }
    var weightsAreNotNegative: Bool { votes.allSatisfy { $0.weight >= 0 } }
}

/// Reads base values given as floats or, from opset 3 on, as a tensor.
func baseValues(_ node: NodeReader) throws -> [Double] {
    if node.opset >= 3, let tensor = try node.optionalTensor("base_values_as_tensor")?.asTensor() {
        node.ignore("base_values")
        return tensor.type == .float64 ? tensor.array(Double.self) : tensor.array(Float.self).map(Double.init)
    }
    return try node.optionalFloats("base_values")?.map(Double.init) ?? []
}
