import ApusCore
import ApusGraph
import Testing

@testable import ApusQuantizer

/// A reproducible stream of numbers, roughly normal.
struct Noise {
    private var state: UInt64

    init(_ seed: UInt64) { state = seed &* 0x9e37_79b9_7f4a_7c15 | 1 }

    mutating func uniform() -> Float {
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        return Float(state >> 40) / Float(1 << 24)
    }

    mutating func normal() -> Float { (0..<12).reduce(-6) { sum, _ in sum + uniform() } }

    mutating func normals(_ count: Int, scale: Float = 1) -> [Float] { (0..<count).map { _ in normal() * scale } }
}

struct HistogramTests {
    @Test func countsSurviveGrowth() {
        var noise = Noise(1), histogram = Histogram(), all: [Float] = []
        for scale: Float in [0.01, 1, 0, 50, 3] {
            let batch = noise.normals(1000, scale: scale)
            all += batch
            #expect(batch.withUnsafeBufferPointer { histogram.add($0) })
        }
        #expect(histogram.total == 5000)
        #expect(histogram.zeros == 1000)
        #expect(histogram.least == all.min())
        #expect(histogram.greatest == all.max())
        let above = all.filter { $0 > 0 }.count
        #expect(histogram.counts[(Histogram.binCount / 2)...].reduce(0, +) == UInt64(above))
        #expect(histogram.magnitudes.reduce(0, +) == 5000)
        #expect(histogram.coarse(64).reduce(0, +) == 5000)
    }

    @Test(arguments: [Float.nan, .infinity, -.infinity])
    func refusesWhatIsNotFinite(_ bad: Float) {
        var histogram = Histogram()
        #expect(![1, bad, 2].withUnsafeBufferPointer { histogram.add($0) })
        #expect(histogram.total == 0)
    }

    @Test func rangesByEveryCalibration() {
        var noise = Noise(2), histogram = Histogram()
        var elements = noise.normals(100_000)
        elements[17] = 100
        #expect(elements.withUnsafeBufferPointer { histogram.add($0) })
        let whole = histogram.range(.minMax, percentile: 100)
        #expect(whole.high == 100 && whole.low == elements.min())
        #expect(histogram.range(.percentile, percentile: 100).high == 100)
        let cut = histogram.range(.percentile, percentile: 99.9)
        #expect(cut.high < 6 && cut.high > 2 && cut.low > -6 && cut.low < -2)
        let inside = elements.filter { $0 >= cut.low && $0 <= cut.high }.count
        #expect(Double(inside) >= 0.998 * 100_000)
        // One outlier must not cost all others their resolution.
        let entropy = histogram.range(.entropy, percentile: 100)
        #expect(entropy.high < 20 && entropy.high > 1.5 && entropy.low < -1.5)
    }

    @Test func emptyAndConstantTensors() {
        var histogram = Histogram()
        for calibration in QuantizationOptions.Calibration.allCases {
            #expect(histogram.range(calibration, percentile: 99) == ValueRange(low: 0, high: 0))
        }
        #expect([Float](repeating: 0, count: 9).withUnsafeBufferPointer { histogram.add($0) })
        for calibration in QuantizationOptions.Calibration.allCases {
            #expect(AffineCodes(histogram.range(calibration, percentile: 99), .uint8).scale == 1)
        }
        #expect([Float](repeating: 2.5, count: 9).withUnsafeBufferPointer { histogram.add($0) })
        for calibration in QuantizationOptions.Calibration.allCases {
            let codes = AffineCodes(histogram.range(calibration, percentile: 100), .uint8)
            #expect(abs(Float(Int(codes.code(2.5)) - codes.zeroPoint) * codes.scale - 2.5) < 0.02)
        }
    }

    @Test(arguments: [ElementType.uint8, .int8])
    func codesHoldZeroExactlyAndReachTheEnds(_ type: ElementType) {
        for (low, high) in [(-1, 3), (0.5, 6), (-7, -2), (0, 1e-3), (-1e5, 1e5)] as [(Float, Float)] {
            let codes = AffineCodes(ValueRange(low: low, high: high), type)
            func restored(_ x: Float) -> Float {
                let code = type == .int8 ? Int(Int8(bitPattern: codes.code(x))) : Int(codes.code(x))
                return Float(code - codes.zeroPoint) * codes.scale
            }
            #expect(restored(0) == 0)
            for x in [low, high, (low + high) / 2] { #expect(abs(restored(x) - x) <= codes.scale * 0.5001 + abs(x) * 1e-6 || abs(restored(x) - x) <= codes.scale) }
            #expect(restored(.infinity) >= high - codes.scale && restored(-.infinity) <= low + codes.scale)
        }
    }
}
