import Testing

@testable import ApusOperators

@Suite struct ProductCutsTests {
    /// m, n, depth, threads.
    static let problems = [
        (49, 192, 1152, 2), (196, 672, 112, 2), (64, 448, 2048, 2), (1, 4096, 4096, 2), (3136, 24, 144, 3), (289, 160, 1120, 4),
        (128, 768, 768, 5), (7, 8, 100_000, 16), (1000, 1000, 1000, 64), (1, 1, 1 << 20, 2), (0, 64, 64, 2),
        (64, 0, 64, 2), (64, 64, 0, 2),
    ]

    private func cuts(_ problem: (Int, Int, Int, Int), elementSize: Int) -> ProductCuts {
        ProductCuts(
            m: problem.0, n: problem.1, depth: problem.2, elementSize: elementSize, aCost: 2, tile: 6, by: 64, least: 1 << 19,
            threads: problem.3)
    }

    @Test(arguments: problems, [4, 1])
    func everyElementBelongsToOnePiece(_ problem: (Int, Int, Int, Int), _ elementSize: Int) {
        let (m, n) = (problem.0, problem.1), cuts = cuts(problem, elementSize: elementSize)
        #expect(cuts.count >= 1 && cuts.count <= max(64, 2 * problem.3))
        var owners = [Int](repeating: 0, count: m * n)
        for index in 0..<cuts.count {
            let (rows, columns) = cuts.slice(index)
            #expect(rows.lowerBound % 6 == 0 && columns.lowerBound % 64 == 0)
            for row in rows { for column in columns { owners[row * n + column] += 1 } }
        }
        #expect(owners.allSatisfy { $0 == 1 })
    }

    /// The thread with most elements has at most so many hundredths of its share.
    @Test(arguments: [
        ((49, 192, 1152, 2), 112), ((196, 672, 112, 2), 106), ((3136, 24, 144, 2), 103), ((289, 160, 1120, 2), 105),
        ((196, 80, 480, 2), 105),
        ((64, 384, 3456, 2), 101), ((1, 1000, 2048, 2), 103),
    ])
    func threadsShareEvenly(_ problem: (Int, Int, Int, Int), _ most: Int) {
        let cuts = cuts(problem, elementSize: 4), threads = problem.3
        var own = [Int](repeating: 0, count: threads)
        for index in 0..<cuts.count {
            let (rows, columns) = cuts.slice(index)
            own[index % threads] += rows.count * columns.count
        }
        #expect(own.max().map { $0 * threads * 100 <= problem.0 * problem.1 * most } == true, "\(own)")
    }

    @Test func smallWorkAndOneThreadAreNotCut() {
        #expect(cuts((64, 64, 64, 8), elementSize: 4).count == 1)
        #expect(cuts((1000, 1000, 1000, 1), elementSize: 4).count == 1)
        #expect(cuts((1, 128, 784, 2), elementSize: 4).count == 1)
    }

    @Test func aRowIsCutWhereReadingTakesLong() {
        #expect(cuts((1, 512, 512, 2), elementSize: 4).count == 1)
        #expect(cuts((1, 576, 512, 2), elementSize: 4).count > 1)
    }
}
