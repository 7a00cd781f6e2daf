import ApusCore
import Glibc

/// Scale and zero point of an 8-bit tensor: x = (code - zeroPoint) * scale.
package struct AffineCodes: Sendable, Equatable {
    package let type: ElementType
    package let scale: Float
    package let zeroPoint: Int

    /// The codes of `type` (uint8 or int8) that cover a range, which is widened to hold 0: padding must be exact.
    package init(_ range: ValueRange, _ type: ElementType) {
        let low = min(Double(range.low), 0), high = max(Double(range.high), 0)
        let least = type == .int8 ? -128 : 0
        let exact = (high - low) / 255
        // Nothing but zeros, or numbers too small to have a scale in float32.
        guard exact > 1e-35, exact < 1e37 else {
            self.init(type: type, scale: exact < 1 ? 1 : 1e37, zeroPoint: least == 0 ? 128 : 0)
            return
        }
        let zero = Int((-low / exact).rounded(.toNearestOrEven))
        self.init(type: type, scale: Float(exact), zeroPoint: min(max(zero, 0), 255) + least)
    }

    private init(type: ElementType, scale: Float, zeroPoint: Int) {
        self.type = type
        self.scale = scale
        self.zeroPoint = zeroPoint
    }

    /// The code of a number.
    package func code(_ x: Float) -> UInt8 {
        let least = type == .int8 ? -128.0 : 0.0
        let exact = (Double(x) / Double(scale)).rounded(.toNearestOrEven) + Double(zeroPoint)
        let clamped = min(max(exact, least), least + 255)
        return UInt8(truncatingIfNeeded: Int(clamped.isNaN ? 0 : clamped))
    }

    /// What the codes reach.
    package var range: ValueRange {
        let least = type == .int8 ? -128 : 0
        return ValueRange(low: Float(least - zeroPoint) * scale, high: Float(least + 255 - zeroPoint) * scale)
    }
}

extension Histogram {
    /// The range that a way of calibration asks for.
    package func range(_ calibration: QuantizationOptions.Calibration, percentile: Double) -> ValueRange {
        guard least <= greatest else { return ValueRange(low: 0, high: 0) }
        let whole = ValueRange(low: least, high: greatest)
        if limit == 0 { return whole }
        switch calibration {
        case .minMax: return whole
        case .percentile: return percentileRange(percentile, whole)
        case .entropy: return entropyRange(whole)
        }
    }

    /// What is left when half of the rest is cut from each end.
    private func percentileRange(_ percentile: Double, _ whole: ValueRange) -> ValueRange {
        let width = limit / Double(Histogram.binCount / 2)
        let cut = Double(total) * (100 - percentile) / 200
        var bins = counts
        bins[Histogram.binCount / 2] += zeros
        func edge(_ order: some Sequence<Int>) -> Int {
            var passed = 0.0
            for bin in order {
                passed += Double(bins[bin])
                if passed > cut { return bin }
            }
            return Histogram.binCount / 2
        }
        let low = center(edge(0..<Histogram.binCount)) - width / 2
        let high = center(edge((0..<Histogram.binCount).reversed())) + width / 2
        return ValueRange(low: max(whole.low, Float(low)), high: min(whole.high, Float(high)))
    }

    /// The limit of |x| for which the distribution, clipped and rounded to as many levels as codes, lies nearest to the clipped
    /// one by relative entropy: the search published by Migacz ("8-bit inference with TensorRT", GTC 2017).
    private func entropyRange(_ whole: ValueRange) -> ValueRange {
        var bins = magnitudes.map(Double.init)
        // Few elements in many bins look like a distribution of gaps.
        while bins.count > 256, total < UInt64(16 * bins.count) {
            bins = stride(from: 0, to: bins.count, by: 2).map { bins[$0] + bins[$0 + 1] }
        }
        // One-sided ranges have all codes on their side.
        let levels = whole.low >= 0 || whole.high <= 0 ? 256 : 128
        let last = (bins.lastIndex { $0 > 0 } ?? 0) + 1
        guard last > levels else { return whole }
        var best = (divergence: Double.infinity, end: last)
        var beyond = bins[levels...].reduce(0, +)
        let step = max(1, bins.count / 256)
        for end in stride(from: levels, through: last, by: step) {
            let divergence = Histogram.divergence(bins[..<end], clipped: beyond, levels: levels)
            if divergence < best.divergence { best = (divergence, end) }
            beyond -= bins[end..<min(end + step, bins.count)].reduce(0, +)
        }
        let threshold = Float(Double(best.end) * limit / Double(bins.count))
        return ValueRange(low: max(whole.low, -threshold), high: min(whole.high, threshold))
    }

    /// Relative entropy of `bins`, with what was clipped put into the last, to the same rounded to `levels`.
    private static func divergence(_ bins: ArraySlice<Double>, clipped: Double, levels: Int) -> Double {
        var reference = Array(bins)
        reference[reference.count - 1] += clipped
        var rounded = [Double](repeating: 0, count: reference.count)
        for level in 0..<levels {
            let from = level * reference.count / levels, to = (level + 1) * reference.count / levels
            var sum = 0.0, filled = 0.0
            for bin in from..<to {
                sum += bins[bin]
                if bins[bin] > 0 { filled += 1 }
            }
            if filled == 0 { continue }
            for bin in from..<to where bins[bin] > 0 { rounded[bin] = sum / filled }
        }
        let p = reference.reduce(0, +), q = rounded.reduce(0, +)
        if p == 0 || q == 0 { return .infinity }
        var result = 0.0
        for (a, b) in zip(reference, rounded) where a > 0 {
            // What the rounded distribution calls impossible costs as much as something very rare.
            result += a / p * log((a / p) / max(b / q, 1e-9))
        }
        return result
    }
}
