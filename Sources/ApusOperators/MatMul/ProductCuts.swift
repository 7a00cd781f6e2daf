import ApusCore

/// How the work of a matrix product C [m, n] is cut into pieces that threads take in turn.
struct ProductCuts: Sendable {
    private let m: Int
    private let n: Int
    private let rowStep: Int
    private let columnStep: Int
    private let rowSlices: Int
    private let columnSlices: Int

    /// Multiply-accumulates that take as long as reading four bytes of packed B for a piece, from a thread's own cache and from
    /// beyond, and as handing a piece to a thread. Measured on Zen 4.
    private static let readingCost = (near: 5.0, far: 10.0)
    private static let pieceCost = 20_000.0
    /// Rows of A that are multiplied in the time it takes to read a B that is too large for a thread's own cache.
    static let rowsInReading = 4
    /// Bytes of B that stay in a thread's own cache.
    private static let nearByteCount = 1024.0 * 1024
    /// Of pieces that are weighed against each other.
    private static let mostPieces = 64

    /// `rows` and `columns` are those of the kernel's tile, `depth` the terms of a sum, `elementSize` bytes of an element of B;
    /// `aCost`: multiply-accumulates that take as long as bringing an element of A into the form that a piece needs; `least`: those
    /// below which the work is not cut.
    init(m: Int, n: Int, depth: Int, elementSize: Int, aCost: Double, tile rows: Int, by columns: Int, least: Int, threads: Int) {
        self.m = m
        self.n = n
        let rowTiles = ProductCuts.parts(m, rows), panels = ProductCuts.parts(n, columns)
        var steps = (rows: max(1, rowTiles) * rows, columns: max(1, panels) * columns)
        let isNear = Double(n) * Double(depth) * Double(elementSize) <= ProductCuts.nearByteCount
        // Few rows take as long as reading B, even where that stays in a cache that threads share.
        let work = FloatProduct.saturatingProduct([isNear ? m : max(m, ProductCuts.rowsInReading), n, depth])
        if threads > 1, work >= least {
            let wanted = min(threads * 4, max(2, work / (least / 2)))
            // A single row is multiplied with several panels at once, which small pieces do not have.
            let most = max(threads, min(m == 1 ? wanted : 2 * wanted, ProductCuts.mostPieces))
            // Of each term.
            let reading = (isNear ? ProductCuts.readingCost.near : ProductCuts.readingCost.far) * Double(elementSize) / 4
            let handing = ProductCuts.pieceCost / Double(max(1, depth))
            var best = Double.infinity
            for rowCuts in 1...max(1, min(rowTiles, most)) {
                let rowStep = ProductCuts.parts(rowTiles, rowCuts) * rows
                for columnCuts in 1...max(1, min(panels, most / rowCuts)) {
                    let columnStep = ProductCuts.parts(panels, columnCuts) * columns
                    let cost = ProductCuts.longest(m, n, rowStep, columnStep, threads: threads) { rows, columns in
                        (Double(rows) + reading) * Double(columns) + aCost * Double(rows) + handing
                    }
                    if cost < best { (best, steps) = (cost, (rowStep, columnStep)) }
                }
            }
        }
        (rowStep, columnStep) = steps
        // At least one piece, of nothing where there is nothing.
        rowSlices = max(1, ProductCuts.parts(m, rowStep))
        columnSlices = max(1, ProductCuts.parts(n, columnStep))
    }

    /// Number of independent pieces.
    var count: Int { rowSlices * columnSlices }

    /// The rows and columns of C of one piece.
    func slice(_ index: Int) -> (rows: Range<Int>, columns: Range<Int>) {
        let row = index / columnSlices * rowStep, column = index % columnSlices * columnStep
        return (row..<min(m, row + rowStep), column..<min(n, column + columnStep))
    }

    /// How long the thread takes that has most to do, where threads take pieces in turn and a piece takes `time` (rows, columns).
    private static func longest(
        _ m: Int, _ n: Int, _ rowStep: Int, _ columnStep: Int, threads: Int, time: (Int, Int) -> Double
    ) -> Double {
        let rowSlices = parts(m, rowStep), columnSlices = parts(n, columnStep), pieces = rowSlices * columnSlices
        var longest = 0.0
        for first in 0..<min(threads, pieces) {
            var own = 0.0
            for piece in stride(from: first, to: pieces, by: threads) {
                own += time(
                    min(rowStep, m - piece / columnSlices * rowStep), min(columnStep, n - piece % columnSlices * columnStep))
            }
            longest = max(longest, own)
        }
        // More turns make up for threads that begin late.
        return longest * (1 + 0.02 / Double(parts(pieces, threads)))
    }

    private static func parts(_ extent: Int, _ step: Int) -> Int { extent / step + (extent % step == 0 ? 0 : 1) }
}
