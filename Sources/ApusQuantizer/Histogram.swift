import ApusCore

/// How often elements of a tensor fall where, over any number of batches, without a second look at the data.
///
/// The bins cover -limit ..< limit evenly. An element beyond doubles the limit; then pairs of bins become one, so that old counts
/// stay right.
package struct Histogram: Sendable {
    /// Even in each half, so that pairs never straddle zero.
    package static let binCount = 4096
    private static let half = binCount / 2

    package private(set) var counts = [UInt64](repeating: 0, count: Histogram.binCount)
    /// 0 until the first element that is not 0.
    package private(set) var limit = 0.0
    package private(set) var zeros: UInt64 = 0
    package private(set) var least = Float.infinity
    package private(set) var greatest = -Float.infinity

    package init() {}

    package var total: UInt64 { counts.reduce(zeros, +) }

    package static let nothing = Histogram()

    /// Takes up elements. Returns false, having taken none, where one is not finite.
    package mutating func add(_ elements: UnsafeBufferPointer<Float>) -> Bool {
        guard let range = ValueRange(elements) else { return false }
        if elements.isEmpty { return true }
        least = min(least, range.low)
        greatest = max(greatest, range.high)
        let magnitude = Double(max(range.high.magnitude, range.low.magnitude))
        if magnitude > 0 { grow(to: magnitude) }
        guard limit > 0 else {
            zeros += UInt64(elements.count)
            return true
        }
        let factor = Double(Histogram.half) / limit
        counts.withUnsafeMutableBufferPointer { counts in
            for element in elements {
                if element == 0 {
                    zeros += 1
                } else {
                    let bin = Int((Double(element) * factor).rounded(.down)) + Histogram.half
                    counts[min(max(bin, 0), Histogram.binCount - 1)] += 1
                }
            }
        }
        return true
    }

    private mutating func grow(to magnitude: Double) {
        if limit == 0 { limit = magnitude }
        while limit < magnitude {
            var wide = [UInt64](repeating: 0, count: Histogram.binCount)
            for bin in 0..<Histogram.binCount { wide[Histogram.half / 2 + bin / 2] += counts[bin] }
            counts = wide
            limit *= 2
        }
    }

    /// The middle of a bin.
    package func center(_ bin: Int) -> Double {
        (Double(bin - Histogram.half) + 0.5) * limit / Double(Histogram.half)
    }

    /// Counts of |x|, zeros in the first; half as many bins, over 0 ..< limit.
    package var magnitudes: [UInt64] {
        var folded = [UInt64](repeating: 0, count: Histogram.half)
        for bin in 0..<Histogram.half { folded[bin] = counts[Histogram.half + bin] + counts[Histogram.half - 1 - bin] }
        folded[0] += zeros
        return folded
    }

    /// The counts between the least and the greatest element as `count` even bins, for drawing.
    package func coarse(_ count: Int) -> [UInt64] {
        var bins = [UInt64](repeating: 0, count: count)
        let (low, high) = (Double(least), Double(greatest))
        guard count > 0, high > low else { return bins }
        func place(_ x: Double, _ many: UInt64) {
            bins[min(max(Int((x - low) / (high - low) * Double(count)), 0), count - 1)] += many
        }
        for bin in 0..<Histogram.binCount where counts[bin] > 0 { place(center(bin), counts[bin]) }
        if zeros > 0 { place(0, zeros) }
        return bins
    }
}

/// The least and the greatest of some finite numbers.
package struct ValueRange: Sendable, Equatable {
    package var low: Float
    package var high: Float

    package init(low: Float, high: Float) {
        self.low = low
        self.high = high
    }

    /// nil where an element is not finite; zero for no elements.
    package init?(_ elements: UnsafeBufferPointer<Float>) {
        (low, high) = (elements.first ?? 0, elements.first ?? 0)
        // Infinite and NaN elements times 0 are NaN, which stays; everything else stays 0.
        var check: Float = 0
        for element in elements {
            low = element < low ? element : low
            high = element > high ? element : high
            check += element * 0
        }
        if check.isNaN { return nil }
    }

    package func union(_ other: ValueRange) -> ValueRange {
        ValueRange(low: min(low, other.low), high: max(high, other.high))
    }
}
