/// Times of many runs, in seconds.
struct Statistics: Equatable, Sendable {
    /// In rising order; never empty.
    private let sorted: [Double]

    init?(_ times: [Double]) {
        guard !times.isEmpty else { return nil }
        sorted = times.sorted()
    }

    var count: Int { sorted.count }
    var least: Double { sorted[0] }
    var most: Double { sorted[sorted.count - 1] }
    var mean: Double { sorted.reduce(0, +) / Double(sorted.count) }
    var median: Double { percentile(50) }

    /// The time that `percent` of the runs do not exceed, between two of them by linear interpolation.
    func percentile(_ percent: Double) -> Double {
        let place = min(max(percent, 0), 100) / 100 * Double(sorted.count - 1)
        let below = Int(place)
        let above = min(below + 1, sorted.count - 1)
        return sorted[below] + (sorted[above] - sorted[below]) * (place - Double(below))
    }
}
