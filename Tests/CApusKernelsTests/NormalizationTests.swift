import CApusKernels
import TestSupport
import Testing

@Suite struct NormalizationTests {
    static let levels = Level.all { apus_normalization_at($0)?.pointee.isa }

    static func kernels(_ level: Level) throws -> apus_normalization_kernels {
        try level.skipUnlessRunnable()
        return try #require(apus_normalization_at(level.index)).pointee
    }

    static func moments(_ x: some Collection<Double>) -> (mean: Double, variance: Double) {
        let n = Double(x.count)
        let mean = x.reduce(0, +) / n
        return (mean, x.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / n)
    }

    @Test func selectionObeysCaps() {
        expectSelectionObeysCaps(Self.levels) { apus_normalization_select($0).pointee.isa }
    }

    /// Every combination of the optional pieces.
    @Test(arguments: levels) func rows(level: Level) throws {
        let kernels = try Self.kernels(level)
        var random = SplitMix(31)
        let rows = 2, epsilon: Float = 1e-5
        for edge in edges {
            for n in [1, 2, 7, 8, 9, 15, 16, 17, 33, 64, 65, 130] {
                for options in 0..<64 {
                    let (hasResidual, hasResidualBias, keepsSum) = (options & 1 != 0, options & 2 != 0, options & 4 != 0)
                    let (hasScale, hasBias, isRMS) = (options & 8 != 0, options & 16 != 0, options & 32 != 0)
                    func buffer(_ count: Int, _ range: ClosedRange<Float>) -> GuardedBuffer<Float> {
                        GuardedBuffer(random.floats(count, range), guarding: edge.of(Float.self))
                    }
                    let x = buffer(rows * n, -1...3), residual = buffer(rows * n, -1...3), residualBias = buffer(n, -1...1)
                    let scale = buffer(n, 0.5...2), bias = buffer(n, -1...1)
                    let sum = buffer(rows * n, 0...0), y = buffer(rows * n, 0...0)
                    let mean = buffer(rows, 0...0), deviation = buffer(rows, 0...0)
                    var args = apus_row_norm_args(
                        rows: rows, n: n, x: x.pointer, x_stride: n,
                        residual: hasResidual ? residual.constant : nil, residual_stride: n,
                        residual_bias: hasResidualBias ? residualBias.constant : nil,
                        sum: keepsSum ? sum.pointer : nil, sum_stride: n,
                        scale: hasScale ? scale.constant : nil, bias: hasBias ? bias.constant : nil, epsilon: epsilon,
                        y: y.pointer, y_stride: n, mean: mean.pointer, inverse_deviation: deviation.pointer)
                    let function = try #require(isRMS ? kernels.rms_norm : kernels.layer_norm)
                    function(&args)
                    for r in 0..<rows {
                        let v = (0..<n).map { i in
                            Double(x[r * n + i]) + (hasResidual ? Double(residual[r * n + i]) : 0)
                                + (hasResidualBias ? Double(residualBias[i]) : 0)
                        }
                        let (center, variance) = isRMS ? (0, v.reduce(0) { $0 + $1 * $1 } / Double(n)) : Self.moments(v)
                        let factor = 1 / (variance + Double(epsilon)).squareRoot()
                        for i in 0..<n {
                            let want = (v[i] - center) * factor * (hasScale ? Double(scale[i]) : 1) + (hasBias ? Double(bias[i]) : 0)
                            // A row of one element has variance 0: its rounding is divided by sqrt(epsilon).
                            let tolerance = n == 1 ? 5e-4 : 2e-6 + 1e-6 * factor
                            #expect(abs(Double(y[r * n + i]) - want) <= tolerance * 4, "n \(n) options \(options)")
                            if keepsSum { #expect(abs(Double(sum[r * n + i]) - v[i]) <= 1e-6) }
                        }
                        if !isRMS { #expect(abs(Double(mean[r]) - center) <= 1e-6) }
                        #expect(abs(Double(deviation[r]) - factor) <= factor * 1e-4)
                    }
                    // In place of x, and of the residual, the same bits come out.
                    let apart = y.elements.map(\.bitPattern)
                    let copy = GuardedBuffer(x.elements, guarding: edge.of(Float.self))
                    args.x = copy.constant
                    args.y = copy.pointer
                    args.mean = nil
                    args.inverse_deviation = nil
                    function(&args)
                    #expect(copy.elements.map(\.bitPattern) == apart)
                    if hasResidual {
                        args.x = x.constant
                        args.y = residual.pointer
                        function(&args)
                        #expect(residual.elements.map(\.bitPattern) == apart)
                    }
                    #expect(y.isIntact && sum.isIntact && copy.isIntact)
                }
            }
        }
    }

    /// A mean 10^4 times the deviation costs no more than the rounding of the input.
    @Test(arguments: levels) func largeMean(level: Level) throws {
        let kernels = try Self.kernels(level)
        var random = SplitMix(32)
        let n = 20_000
        let x = random.floats(n, 9999...10001)
        let (mean, variance) = Self.moments(x.map(Double.init))
        var y = [Float](repeating: 0, count: n)
        y.withUnsafeMutableBufferPointer { y in
            x.withUnsafeBufferPointer { x in
                var args = apus_row_norm_args()
                args.rows = 1
                args.n = n
                args.x = x.baseAddress
                args.y = y.baseAddress
                kernels.layer_norm(&args)
            }
        }
        let worst = zip(x, y).map { abs((Double($0) - mean) / variance.squareRoot() - Double($1)) }.max() ?? 0
        #expect(worst < 1.5e-3, "\(worst)")
    }

    @Test(arguments: levels) func groups(level: Level) throws {
        let kernels = try Self.kernels(level)
        var random = SplitMix(33)
        for edge in edges {
            for (channels, groups) in [(1, 1), (4, 2), (6, 6), (16, 4), (17, 1), (24, 3), (40, 40)] {
                for spatial in [1, 3, 16, 35, 130] {
                    for options in 0..<4 {
                        let nchw = GuardedBuffer(random.floats(channels * spatial, -1...5), guarding: edge.of(Float.self))
                        let scale = GuardedBuffer(random.floats(channels, 0.5...2), guarding: edge.of(Float.self))
                        let bias = GuardedBuffer(random.floats(channels), guarding: edge.of(Float.self))
                        let epsilon: Float = 1e-3
                        let width = channels / groups
                        var want = [Double](repeating: 0, count: channels * spatial)
                        for g in 0..<groups {
                            let range = (g * width * spatial)..<((g + 1) * width * spatial)
                            let (mean, variance) = Self.moments(nchw.elements[range].map(Double.init))
                            for i in range {
                                let c = i / spatial
                                want[i] = (Double(nchw[i]) - mean) / (variance + Double(epsilon)).squareRoot()
                                    * (options & 1 != 0 ? Double(scale[c]) : 1) + (options & 2 != 0 ? Double(bias[c]) : 0)
                            }
                        }
                        let s = options & 1 != 0 ? scale.constant : nil, b = options & 2 != 0 ? bias.constant : nil
                        let y = GuardedBuffer<Float>(count: channels * spatial, guarding: edge.of(Float.self))
                        for g in 0..<groups {
                            let offset = g * width
                            kernels.group_norm(
                                width, spatial, nchw.pointer + offset * spatial, s.map { $0 + offset }, b.map { $0 + offset },
                                epsilon, y.pointer + offset * spatial)
                        }
                        #expect((0..<want.count).allSatisfy { abs(Double(y[$0]) - want[$0]) < 5e-5 })

                        // The same numbers, channels last.
                        let nhwc = GuardedBuffer<Float>(count: channels * spatial, guarding: edge.of(Float.self))
                        for p in 0..<spatial { for c in 0..<channels { nhwc[p * channels + c] = nchw[c * spatial + p] } }
                        let workspace = GuardedBuffer<Float>(count: 2 * channels, guarding: edge.of(Float.self))
                        kernels.group_norm_nhwc(
                            spatial, channels, groups, nhwc.pointer, channels, s, b, epsilon, nhwc.pointer, channels,
                            workspace.pointer)
                        for p in 0..<spatial {
                            for c in 0..<channels {
                                #expect(abs(Double(nhwc[p * channels + c]) - want[c * spatial + p]) < 5e-5)
                            }
                        }
                        #expect(workspace.isIntact && nhwc.isIntact && y.isIntact)
                    }
                }
            }
        }
    }

    @Test(arguments: levels) func nothingAndNaN(level: Level) throws {
        let kernels = try Self.kernels(level)
        var args = apus_row_norm_args()
        kernels.layer_norm(&args)
        kernels.rms_norm(&args)
        kernels.group_norm(0, 0, nil, nil, nil, 0, nil)
        kernels.group_norm_nhwc(0, 0, 0, nil, 0, nil, nil, 0, nil, 0, nil)
        var x: [Float] = [1, .nan, 3]
        x.withUnsafeMutableBufferPointer { x in
            args.rows = 1
            args.n = 3
            args.x = UnsafePointer(x.baseAddress)
            args.y = x.baseAddress
            kernels.layer_norm(&args)
        }
        #expect(x.allSatisfy { $0.isNaN })
    }
}
