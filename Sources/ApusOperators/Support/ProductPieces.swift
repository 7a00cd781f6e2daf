import ApusCore

extension ThreadPool {
    /// Multiply-accumulates after which a product asks whether it is still wanted: some hundredths of a second.
    private static let workBetweenQuestions = 1 << 31

    /// Calls `body` on this thread for parts of a product that cover `rows` by `columns` of its result, all of it at once unless
    /// that takes long, and no more of them when the run must end.
    ///
    /// Parts begin at multiples of `unit` columns from the first. They are as square as that lets them be: each reads both
    /// operands anew.
    func inPieces(
        rows: Range<Int>, columns: Range<Int>, depth: Int, unit: Int, _ body: (_ rows: Range<Int>, _ columns: Range<Int>) -> Void
    ) {
        let most = ThreadPool.workBetweenQuestions
        guard FloatProduct.saturatingProduct([rows.count, columns.count, depth]) > most else { return body(rows, columns) }
        // Elements of the result in a part. Floating point: nothing bounds the depth of a product without columns.
        let area = Double(most) / Double(depth)
        let side = max(64, Int(area.squareRoot()))
        let height = min(rows.count, max(side, Int(area / Double(min(columns.count, side)))))
        let width = max(1, min(columns.count, max(64, Int(area / Double(height)))) / unit) * unit
        for row in stride(from: rows.lowerBound, to: rows.upperBound, by: height) {
            for column in stride(from: columns.lowerBound, to: columns.upperBound, by: width) {
                if mustStop { return }
                body(row..<min(rows.upperBound, row + height), column..<min(columns.upperBound, column + width))
            }
        }
    }
}
