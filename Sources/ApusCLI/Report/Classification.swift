import ApusCore

/// The best classes of a tensor of scores, whose last dimension counts the classes.
struct Classification: Equatable, Sendable {
    struct Entry: Equatable, Sendable {
        let index: Int
        let score: Double
    }

    /// For each row, the best entries in falling order; equal scores in the order of the classes.
    let rows: [[Entry]]
    let classes: Int
    /// Every row is a distribution: non-negative numbers that sum to one.
    let areProbabilities: Bool

    /// Nil for tensors that are no scores: strings, complex numbers, scalars, and single columns.
    init?(_ tensor: HostTensor, top: Int, softmax: Bool = false) {
        guard tensor.type != .string, !tensor.type.isComplex, let classes = tensor.shape.last, classes > 1 else { return nil }
        let values = tensor.doubles()
        var areProbabilities = true
        rows = stride(from: 0, to: values.count, by: classes).map { start in
            var row = Array(values[start..<start + classes])
            if softmax { row = Self.softmax(row) }
            if abs(row.reduce(0, +) - 1) > 1e-2 || row.contains(where: { !($0 >= 0) }) { areProbabilities = false }
            return row.indices.map { Entry(index: $0, score: row[$0]) }
                .sorted { $0.score != $1.score ? $0.score > $1.score : $0.index < $1.index }
                .prefix(top).map { $0 }
        }
        self.classes = classes
        self.areProbabilities = areProbabilities
    }

    /// Scores as probabilities, shifted by the largest so that nothing overflows.
    static func softmax(_ scores: [Double]) -> [Double] {
        guard let largest = scores.filter({ !$0.isNaN }).max(), largest.isFinite else { return scores }
        let powers = scores.map { exponential($0 - largest) }
        let sum = powers.reduce(0, +)
        return powers.map { $0 / sum }
    }

    /// A bar for each entry: probabilities against the whole line, other scores against the range shown.
    func lines(_ labels: [String]?, width: Int) -> [String] {
        func label(_ index: Int) -> String {
            guard let labels else { return "\(index)" }
            return index < labels.count ? labels[index] : "class \(index)"
        }
        let shown = rows.flatMap { $0 }
        let name = shown.map { label($0.index).count }.max() ?? 0
        let numbers = shown.map { areProbabilities ? Format.fixed($0.score * 100, 1) + " %" : Format.number($0.score) }
        let number = numbers.map(\.count).max() ?? 0
        let bar = max(8, min(width - name - number - 8, 50))
        let scores = shown.map(\.score).filter(\.isFinite)
        let (least, most) = areProbabilities ? (0, 1) : (min(scores.min() ?? 0, 0), scores.max() ?? 1)
        var lines: [String] = []
        for (index, row) in rows.enumerated() {
            if rows.count > 1 { lines.append("  row \(index)") }
            for (place, entry) in row.enumerated() {
                let value = areProbabilities ? Format.fixed(entry.score * 100, 1) + " %" : Format.number(entry.score)
                let share = most > least ? (entry.score - least) / (most - least) : 0
                let line = "  \(Format.padded(label(entry.index), name))  \(Terminal.bar(share, width: bar))  "
                    + Format.right(value, number)
                lines.append(place == 0 ? Terminal.bold(line) : line)
            }
        }
        return lines
    }
}
