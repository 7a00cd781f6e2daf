import Testing

@testable import ApusOptimizer

@Suite struct MinimumCutTests {
    /// Random graphs small enough to try all parts.
    @Test func noPartCostsLess() {
        var random = Random(11)
        for _ in 0..<200 {
            let inner = 1 + random.int(6)
            var cut = MinimumCut(), edges: [(Int, Int, Int)] = []
            let nodes = [MinimumCut.source, MinimumCut.sink] + (0..<inner).map { _ in cut.addNode() }
            for _ in 0..<(2 + random.int(20)) {
                let edge = (nodes[random.int(nodes.count)], nodes[random.int(nodes.count)], random.int(9))
                edges.append(edge)
                cut.addEdge(edge.0, edge.1, edge.2)
            }
            func cost(_ isSink: (Int) -> Bool) -> Int {
                edges.reduce(0) { $0 + (!isSink($1.0) && isSink($1.1) ? $1.2 : 0) }
            }
            let least = (0..<(1 << inner)).map { mask in
                cost { $0 == MinimumCut.sink || $0 > 1 && mask >> ($0 - 2) & 1 == 1 }
            }.min()
            let part = cut.sinkPart()
            #expect(part[MinimumCut.sink] && !part[MinimumCut.source])
            #expect(cost { part[$0] } == least)
        }
    }

    @Test func undecidedNodesStayWithTheSource() {
        var cut = MinimumCut()
        let a = cut.addNode(), b = cut.addNode(), alone = cut.addNode()
        cut.addEdge(MinimumCut.source, a, 3)
        cut.addEdge(a, b, 3)
        cut.addEdge(b, MinimumCut.sink, 3)
        #expect(cut.sinkPart() == [false, true, false, false, false])
        _ = alone
    }

    /// Paths as long as a deep network do not overflow the stack.
    @Test func longChains() {
        var cut = MinimumCut(), node = MinimumCut.source
        for index in 0..<100_000 {
            let next = cut.addNode()
            cut.addEdge(node, next, index == 70_000 ? 1 : 5)
            node = next
        }
        cut.addEdge(node, MinimumCut.sink, MinimumCut.unlimited)
        #expect(cut.sinkPart().filter { $0 }.count == 30_001 - 1 + 1)
    }
}
