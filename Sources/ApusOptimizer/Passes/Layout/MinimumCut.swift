/// A minimum cut of a directed graph with capacities: parts the nodes into those with the source and those with the sink so
/// that the edges from the first to the second have the least sum of capacities. By Dinic's algorithm (1970): augmenting
/// paths along levels of a breadth-first search.
struct MinimumCut {
    /// More than any sum of capacities: edges that must not be cut.
    static let unlimited = Int.max / 4

    static let source = 0
    static let sink = 1

    private var heads: [Int] = []
    private var rest: [Int] = []
    /// By node: numbers of its edges; edge e ^ 1 leads back.
    private var edges: [[Int]] = [[], []]
    private var levels: [Int] = []
    private var next: [Int] = []

    /// A new node's number.
    mutating func addNode() -> Int {
        edges.append([])
        return edges.count - 1
    }

    /// Says that `a` with the source and `b` with the sink cost `capacity`.
    mutating func addEdge(_ a: Int, _ b: Int, _ capacity: Int) {
        guard a != b, capacity > 0 else { return }
        edges[a].append(heads.count)
        heads.append(b)
        rest.append(min(capacity, MinimumCut.unlimited))
        edges[b].append(heads.count)
        heads.append(a)
        rest.append(0)
    }

    /// By node: whether it belongs to the sink's part. Nodes for which both parts are as good belong to the source's.
    mutating func sinkPart() -> [Bool] {
        while findLevels() {
            next = [Int](repeating: 0, count: edges.count)
            while augment() {}
        }
        var part = [Bool](repeating: false, count: edges.count), queue = [MinimumCut.sink]
        part[MinimumCut.sink] = true
        while let node = queue.popLast() {
            for edge in edges[node] where rest[edge ^ 1] > 0 && !part[heads[edge]] {
                part[heads[edge]] = true
                queue.append(heads[edge])
            }
        }
        return part
    }

    /// Distances from the source over edges with capacity left; whether the sink is reached.
    private mutating func findLevels() -> Bool {
        levels = [Int](repeating: -1, count: edges.count)
        levels[MinimumCut.source] = 0
        var queue = [MinimumCut.source], position = 0
        while position < queue.count {
            let node = queue[position]
            position += 1
            for edge in edges[node] where rest[edge] > 0 && levels[heads[edge]] < 0 {
                levels[heads[edge]] = levels[node] + 1
                queue.append(heads[edge])
            }
        }
        return levels[MinimumCut.sink] >= 0
    }

    /// Sends as much as possible along one path of rising levels; false where there is none left. Without recursion: paths
    /// are as long as networks are deep.
    private mutating func augment() -> Bool {
        var path: [Int] = [], node = MinimumCut.source
        while node != MinimumCut.sink {
            if next[node] < edges[node].count {
                let edge = edges[node][next[node]]
                if rest[edge] > 0 && levels[heads[edge]] == levels[node] + 1 {
                    path.append(edge)
                    node = heads[edge]
                } else {
                    next[node] += 1
                }
            } else {
                guard let last = path.popLast() else { return false }
                node = heads[last ^ 1]
                next[node] += 1
            }
        }
        let amount = path.reduce(MinimumCut.unlimited) { min($0, rest[$1]) }
        for edge in path {
            rest[edge] -= amount
            rest[edge ^ 1] += amount
        }
        return true
    }
}
