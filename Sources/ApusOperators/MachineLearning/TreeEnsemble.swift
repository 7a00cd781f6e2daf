import ApusCore
import ApusGraph

/// A forest as the attributes of TreeEnsembleClassifier and TreeEnsembleRegressor describe it, checked: children, features
/// and targets exist, every node is reached from one parent at most.
struct TreeEnsemble: Sendable {
    let forest: Forest
    /// Whether weights are doubles, which are summed as such; as floats otherwise.
    let isDouble: Bool

    private struct Key: Hashable {
        let tree: Int
        let node: Int
    }

    private static let modes: [String: Forest.Mode] = [
        "BRANCH_LEQ": .lessOrEqual, "BRANCH_LT": .less, "BRANCH_GTE": .greaterOrEqual, "BRANCH_GT": .greater,
        "BRANCH_EQ": .equal, "BRANCH_NEQ": .notEqual, "LEAF": .leaf,
    ]

    /// `prefix` is "class" or "target"; `targetCount` bounds the ids of votes.
    init(_ node: NodeReader, prefix: String, targetCount: Int) throws {
        node.ignore("nodes_hitrates", "nodes_hitrates_as_tensor")
        let nodeIDs = try list(node, "nodes_nodeids", nil), count = nodeIDs.count
        let treeIDs = try list(node, "nodes_treeids", count), features = try list(node, "nodes_featureids", count)
        let trueIDs = try list(node, "nodes_truenodeids", count), falseIDs = try list(node, "nodes_falsenodeids", count)
        let missing = try list(node, "nodes_missing_value_tracks_true", count, default: 0)
        let values = try numbers(node, "nodes_values", count).values
        let modes = try node.optionalStrings("nodes_modes") ?? []
        guard modes.count == count else {
            throw ApusError(.invalidModel, "attribute \"nodes_modes\" has \(modes.count) elements, \(count) expected")
        }
        guard count > 0, count < Int(Int32.max) else { throw ApusError(.invalidModel, "the ensemble has \(count) nodes") }
        var nodes: [Forest.Node] = []
        var positions: [Key: Int] = [:]
        for index in 0..<count {
            guard let mode = Self.modes[modes[index].description] else {
                throw ApusError(.invalidModel, "node \(nodeIDs[index]) of tree \(treeIDs[index]) has the unknown mode \"\(modes[index])\"")
            }
            guard mode == .leaf || features[index] >= 0 && features[index] < Int(Int32.max) else {
                throw ApusError(.invalidModel, "node \(nodeIDs[index]) of tree \(treeIDs[index]) looks at feature \(features[index])")
            }
            guard positions.updateValue(index, forKey: Key(tree: treeIDs[index], node: nodeIDs[index])) == nil else {
                throw ApusError(.invalidModel, "tree \(treeIDs[index]) has two nodes \(nodeIDs[index])")
            }
            nodes.append(
                .init(
                    mode: mode, missingIsTrue: missing[index] == 1, feature: mode == .leaf ? 0 : Int32(features[index]),
                    whenTrue: Int32(index), whenFalse: Int32(index), value: values[index]))
        }
        var isChild = [Bool](repeating: false, count: count)
        for index in 0..<count where nodes[index].mode != .leaf {
            func child(_ id: Int) throws -> Int32 {
                guard let position = positions[Key(tree: treeIDs[index], node: id)] else {
                    throw ApusError(.invalidModel, "node \(nodeIDs[index]) of tree \(treeIDs[index]) leads to node \(id), which does not exist")
                }
                guard !isChild[position], position != index else {
                    throw ApusError(.invalidModel, "node \(id) of tree \(treeIDs[index]) is reached twice; a tree expected")
                }
                isChild[position] = true
                return Int32(position)
            }
            nodes[index].whenTrue = try child(trueIDs[index])
            nodes[index].whenFalse = try child(falseIDs[index])
        }
        let roots = (0..<count).filter { !isChild[$0] }
        // Every node has at most one parent, so what no root leads to goes round in a circle.
        var reached = 0, pending = roots
        while let next = pending.popLast() {
            reached += 1
            if nodes[next].mode != .leaf { pending += [Int(nodes[next].whenTrue), Int(nodes[next].whenFalse)] }
        }
        guard reached == count else { throw ApusError(.invalidModel, "\(count - reached) nodes of the trees form a cycle") }
        guard Set(roots.map { treeIDs[$0] }).count == roots.count else {
            throw ApusError(.invalidModel, "a tree has more than one root")
        }

        let voteNodes = try list(node, "\(prefix)_nodeids", nil)
        let voteTrees = try list(node, "\(prefix)_treeids", voteNodes.count)
        let voteTargets = try list(node, "\(prefix)_ids", voteNodes.count)
        let weights = try numbers(node, "\(prefix)_weights", voteNodes.count)
        isDouble = weights.isDouble
        var votes = [[Forest.Vote]](repeating: [], count: count)
        for index in voteNodes.indices {
            guard let position = positions[Key(tree: voteTrees[index], node: voteNodes[index])], nodes[position].mode == .leaf else {
                throw ApusError(.invalidModel, "vote \(index) belongs to node \(voteNodes[index]) of tree \(voteTrees[index]), which is no leaf")
            }
            guard voteTargets[index] >= 0, voteTargets[index] < targetCount else {
                throw ApusError(.invalidModel, "vote \(index) is for \(prefix) \(voteTargets[index]) of \(targetCount)")
            }
            votes[position].append(.init(target: voteTargets[index], weight: weights.values[index]))
        }
        forest = try Forest(nodes: nodes, roots: roots, votes: votes)
    }

    /// A forest as the attributes of TreeEnsemble describe it: inner nodes and leaves apart, roots named.
    init(_ node: NodeReader, targetCount: Int) throws {
        node.ignore("nodes_hitrates")
        let (splits, _) = try elements(node, "nodes_splits")
        let count = splits.count
        let modes = try elements(node, "nodes_modes").values.map { Int($0) }
        let features = try list(node, "nodes_featureids", count)
        let trueIDs = try list(node, "nodes_truenodeids", count), falseIDs = try list(node, "nodes_falsenodeids", count)
        let trueLeafs = try list(node, "nodes_trueleafs", count), falseLeafs = try list(node, "nodes_falseleafs", count)
        let missing = try list(node, "nodes_missing_value_tracks_true", count, default: 0)
        let targets = try list(node, "leaf_targetids", nil)
        let (weights, isDouble) = try elements(node, "leaf_weights")
        self.isDouble = isDouble
        guard modes.count == count, weights.count == targets.count, count + targets.count < Int(Int32.max) else {
            throw ApusError(
                .invalidModel,
                "\(count) nodes have \(modes.count) modes; \(targets.count) leaves have \(weights.count) weights")
        }
        // Sets of members follow one another, in the order of the nodes that use them, each ended by a NaN.
        let (memberList, _) = try elements(node, "membership_values", isRequired: false)
        let members = memberList.split(omittingEmptySubsequences: false) { $0.isNaN }.map(Array.init).prefix(memberList.filter(\.isNaN).count)
        let order: [Forest.Mode] = [.lessOrEqual, .less, .greaterOrEqual, .greater, .equal, .notEqual, .member]
        var nodes: [Forest.Node] = [], sets = 0
        for index in 0..<count {
            guard order.indices.contains(modes[index]), features[index] >= 0, features[index] < Int(Int32.max) else {
                throw ApusError(.invalidModel, "node \(index) has mode \(modes[index]) and looks at feature \(features[index])")
            }
            func child(_ id: Int, _ isLeaf: Bool) throws -> Int32 {
                guard id >= 0, id < (isLeaf ? targets.count : count) else {
                    throw ApusError(.invalidModel, "node \(index) leads to \(isLeaf ? "leaf" : "node") \(id), which does not exist")
                }
                return Int32(isLeaf ? count + id : id)
            }
            let mode = order[modes[index]]
            nodes.append(
                .init(
                    mode: mode, missingIsTrue: missing[index] == 1, feature: Int32(features[index]),
                    whenTrue: try child(trueIDs[index], trueLeafs[index] != 0),
                    whenFalse: try child(falseIDs[index], falseLeafs[index] != 0), value: mode == .member ? Double(sets) : splits[index]))
            if mode == .member { sets += 1 }
        }
        guard sets == members.count else {
            throw ApusError(.invalidModel, "\(sets) nodes ask for membership, attribute \"membership_values\" holds \(members.count) sets")
        }
        var votes = [[Forest.Vote]](repeating: [], count: count)
        for (index, target) in targets.enumerated() {
            guard target >= 0, target < targetCount else {
                throw ApusError(.invalidModel, "leaf \(index) votes for target \(target) of \(targetCount)")
            }
            let own = Int32(count + index)
            nodes.append(.init(mode: .leaf, missingIsTrue: false, feature: 0, whenTrue: own, whenFalse: own, value: 0))
            votes.append([.init(target: target, weight: weights[index])])
        }
        let roots = try node.ints("tree_roots")
        guard let last = roots.max(), let first = roots.min(), first >= 0, last < count else {
            throw ApusError(.invalidModel, "attribute \"tree_roots\" names nodes that do not exist")
        }
        forest = try Forest(nodes: nodes, roots: roots, votes: votes, members: Array(members))
    }
}

/// A list of integers with `count` elements (nil: any number), or as many times `value` where it is absent.
private func list(_ node: NodeReader, _ name: String, _ count: Int?, default value: Int? = nil) throws -> [Int] {
    let list = try node.optionalInts(name) ?? []
    if list.isEmpty, let value, let count { return [Int](repeating: value, count: count) }
    guard count == nil || list.count == count else {
        throw ApusError(.invalidModel, "attribute \"\(name)\" has \(list.count) elements, \(count ?? 0) expected")
    }
    return list
}

/// A list of floats, or from version 3 on a tensor.
private func numbers(_ node: NodeReader, _ name: String, _ count: Int) throws -> (values: [Double], isDouble: Bool) {
    var values = try node.optionalFloats(name)?.map(Double.init) ?? [], isDouble = false
    if node.opset >= 3 {
        let tensor = try elements(node, "\(name)_as_tensor", isRequired: false)
        if !tensor.values.isEmpty { (values, isDouble) = tensor }
    }
    guard values.count == count else {
        throw ApusError(.invalidModel, "attribute \"\(name)\" has \(values.count) elements, \(count) expected")
    }
    return (values, isDouble)
}

/// The numbers of a tensor attribute.
private func elements(_ node: NodeReader, _ name: String, isRequired: Bool = true) throws -> (values: [Double], isDouble: Bool) {
    guard let tensor = try node.optionalTensor(name)?.asTensor() else {
        guard !isRequired else { throw ApusError(.invalidModel, "attribute \"\(name)\" is missing") }
        return ([], false)
    }
    switch tensor.type {
    case .float64: return (tensor.array(Double.self), true)
    case .float32: return (tensor.array(Float.self).map(Double.init), false)
    case .float16: return (tensor.array(Half.self).map { Double($0.number) }, false)
    default: return (try tensor.integers().map(Double.init), false)
    }
}

/// Reads base values given as floats or, from opset 3 on, as a tensor.
func baseValues(_ node: NodeReader) throws -> [Double] {
    let floats = try node.optionalFloats("base_values")?.map(Double.init) ?? []
    guard node.opset >= 3 else { return floats }
    let tensor = try elements(node, "base_values_as_tensor", isRequired: false).values
    return tensor.isEmpty ? floats : tensor
}
