import ApusCore
import Testing

@testable import ApusOperators

@Suite struct ProductPiecesTests {
    @Test(arguments: [
        (0..<5000, 96..<4099, 6000, 48), (0..<1, 0..<200_000, 100_000, 16), (7..<40_000, 0..<3, 90_000, 8),
        (0..<100, 0..<100, Int.max, 32), (3..<9, 0..<64, 64, 32), (0..<0, 0..<5, 9, 8),
    ])
    func piecesCoverTheProductOnce(rows: Range<Int>, columns: Range<Int>, depth: Int, unit: Int) {
        var covered = 0, largest = 0
        var corners: Set<[Int]> = []
        ThreadPool(size: 1).inPieces(rows: rows, columns: columns, depth: depth, unit: unit) { part, width in
            #expect(rows.lowerBound <= part.lowerBound && part.upperBound <= rows.upperBound)
            #expect(columns.lowerBound <= width.lowerBound && width.upperBound <= columns.upperBound)
            #expect((width.lowerBound - columns.lowerBound) % unit == 0)
            #expect(corners.insert([part.lowerBound, width.lowerBound]).inserted)
            covered += part.count * width.count
            largest = max(largest, part.count * width.count)
        }
        #expect(covered == rows.count * columns.count)
        if rows.count * columns.count > 100 * 100 { #expect(largest * depth <= 4 << 31) }
    }

    @Test func noPieceIsBegunOnceTheRunMustEnd() {
        let pool = ThreadPool(sharing: ThreadPool(size: 1)), control = RunControl()
        pool.begin(control)
        var pieces = 0
        pool.inPieces(rows: 0..<5000, columns: 0..<5000, depth: 5000, unit: 16) { _, _ in
            pieces += 1
            if pieces == 2 { control.cancel() }
        }
        #expect(pieces == 2)
        #expect(throws: ApusError.self) { try pool.checkControl() }
    }
}
