import ApusCore

/// How positions of a resized axis map to positions of the original.
enum CoordinateMode: String, CaseIterable {
    case halfPixel = "half_pixel"
    case halfPixelSymmetric = "half_pixel_symmetric"
    case pytorchHalfPixel = "pytorch_half_pixel"
    case alignCorners = "align_corners"
    case asymmetric
    case halfPixelForNearest = "tf_half_pixel_for_nn"
    case cropAndResize = "tf_crop_and_resize"
}

/// How a position between two elements becomes one of them.
enum NearestMode: String {
    case roundPreferFloor = "round_prefer_floor"
    case roundPreferCeil = "round_prefer_ceil"
    case floor
    case ceil
    /// Before opset 11: down when enlarging, up when shrinking.
    case simple

    func index(_ position: Float, isShrinking: Bool) -> Float {
        switch self {
        case .roundPreferFloor:
            let below = position.rounded(.down)
            return position - below <= 0.5 ? below : below + 1
        case .roundPreferCeil:
            let below = position.rounded(.down)
            return position - below >= 0.5 ? below + 1 : below
        case .floor: return position.rounded(.down)
        case .ceil: return position.rounded(.up)
        case .simple: return position.rounded(isShrinking ? .up : .towardZero)
        }
    }
}

/// One axis that is resized.
struct ResizedAxis {
    let axis: Int
    let from: Int
    let to: Int
    let scale: Float
    /// The region of interest, as shares of the axis.
    let start: Float
    let end: Float
    let coordinates: CoordinateMode

    /// Where position `index` of the result lies on the original axis. As onnxruntime, in single precision, so that
    /// positions half-way between two elements fall to the same side.
    func position(_ index: Int) -> Float {
        let x = Float(index), size = Float(from), resized = Float(to)
        switch coordinates {
        case .halfPixel: return (x + 0.5) / scale - 0.5
        case .halfPixelSymmetric:
            let adjustment = resized / (scale * size)
            return size / 2 * (1 - adjustment) + (x + 0.5) / scale - 0.5
        case .pytorchHalfPixel: return to > 1 ? (x + 0.5) / scale - 0.5 : 0
        case .alignCorners: return to > 1 ? x * (size - 1) / (exactLength - 1) : 0
        case .asymmetric: return x / scale
        case .halfPixelForNearest: return (x + 0.5) / scale
        case .cropAndResize:
            return to > 1
                ? start * (size - 1) + x * (end - start) * (size - 1) / (resized - 1) : 0.5 * (start + end) * (size - 1)
        }
    }

    /// The length that the scale asks for, which is no whole number where the result was cut. (onnxruntime aligns the
    /// corners of the cut result; ONNX's tests have it this way.)
    private var exactLength: Float {
        let length = scale * Float(from), resized = Float(to)
        return abs(length - resized) > 1e-4 * resized ? length : resized
    }

    /// Whether a position has no element and is given the extrapolation value.
    func isOutside(_ position: Float) -> Bool {
        coordinates == .cropAndResize && !(position >= 0 && position <= Float(from - 1))
    }

    /// By position of the result: the nearest element, -1 where there is none.
    func nearest(_ mode: NearestMode) -> [Int] {
        (0..<to).map { index in
            let position = position(index)
            if isOutside(position) { return -1 }
            let nearest = mode.index(position, isShrinking: scale < 1)
            return nearest >= Float(from - 1) ? from - 1 : nearest > 0 ? Int(nearest) : 0
        }
    }

    /// The weights of `kernel`.
    func weights(_ kernel: ResizeKernel, antialias: Bool, excludeOutside: Bool) -> AxisWeights {
        let shrink = antialias ? min(scale, 1) : 1
        let reach = kernel.radius / shrink
        var taps = 1
        var lines: [(first: Int, weights: [Float])] = []
        lines.reserveCapacity(to)
        for index in 0..<to {
            let position = position(index)
            guard !isOutside(position), position.isFinite else {
                lines.append((-1, []))
                continue
            }
            // Far outside of the axis only its edge counts; the difference would not even fit an Int.
            let clipped = max(-reach - 2, min(Float(from) + reach + 1, position))
            let first = Int((clipped - reach).rounded(.down)) + 1
            let last = Int((clipped + reach).rounded(.up)) - 1
            let low = max(0, min(from - 1, first)), high = max(0, min(from - 1, last))
            var weights = [Float](repeating: 0, count: high - low + 1)
            var sum: Float = 0
            for tap in min(first, last)...max(first, last) {
                let weight = kernel.weight((Float(tap) - clipped) * shrink)
                let isInside = tap >= 0 && tap < from
                if excludeOutside && !isInside { continue }
                weights[max(low, min(high, tap)) - low] += weight
                sum += weight
            }
            if antialias || excludeOutside, sum != 0 {
                for tap in weights.indices { weights[tap] /= sum }
            } else if sum == 0 {
                weights[0] = 1
            }
            taps = max(taps, weights.count)
            lines.append((low, weights))
        }
        var firsts: [Int] = []
        var all: [Float] = []
        firsts.reserveCapacity(to)
        all.reserveCapacity(to * taps)
        for line in lines {
            // Every line has the same number of taps: those too many weigh nothing, and lie on the axis.
            let first = line.first < 0 ? -1 : min(line.first, max(0, from - taps))
            let lead = line.first < 0 ? 0 : line.first - first
            firsts.append(first)
            all += [Float](repeating: 0, count: lead) + line.weights
            all += [Float](repeating: 0, count: taps - lead - line.weights.count)
        }
        return AxisWeights(from: from, to: to, taps: taps, firsts: firsts, weights: all)
    }
}

/// The weight of an element by its distance.
enum ResizeKernel {
    case linear
    /// With the coefficient a of Keys' convolution.
    case cubic(Float)

    var radius: Float {
        switch self {
        case .linear: 1
        case .cubic: 2
        }
    }

    func weight(_ distance: Float) -> Float {
        let x = abs(distance)
        switch self {
        case .linear: return max(0, 1 - x)
        case .cubic(let a):
            if x <= 1 { return ((a + 2) * x - (a + 3)) * x * x + 1 }
            if x < 2 { return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a }
            return 0
        }
    }
}

/// Each element of a resized axis as a weighted sum of consecutive elements of the original.
struct AxisWeights {
    let from: Int
    let to: Int
    let taps: Int
    /// First element of each sum; -1 where the extrapolation value is to be put.
    let firsts: [Int]
    /// [to, taps]
    let weights: [Float]

    /// Resizes the middle axis of [outer, from, inner] to [outer, to, inner].
    func apply<A: BinaryFloatingPoint & BitwiseCopyable>(
        _ source: UnsafePointer<A>, _ target: UnsafeMutablePointer<A>, outer: Int, inner: Int, extrapolation: A, pool: ThreadPool
    ) {
        // A task makes some rows of `inner` elements, or some whole lines where a row is one element.
        if inner == 1 {
            pool.inChunks(outer, of: max(1, 16384 / max(1, to))) { range in
                firsts.withUnsafeBufferPointer { firsts in
                    weights.withUnsafeBufferPointer { weights in
                        for line in range {
                            let from = source + line &* from
                            let to = target + line &* to
                            for index in 0..<self.to {
                                let first = firsts[index]
                                if first < 0 {
                                    to[index] = extrapolation
                                    continue
                                }
                                var sum: A = 0
                                for tap in 0..<taps { sum += A(weights[index &* taps &+ tap]) * from[first &+ tap] }
                                to[index] = sum
                            }
                        }
                    }
                }
            }
            return
        }
        pool.inChunks(outer &* to, of: max(1, 16384 / inner)) { range in
            firsts.withUnsafeBufferPointer { firsts in
                weights.withUnsafeBufferPointer { weights in
                    for row in range {
                        let index = row % to
                        let first = firsts[index]
                        let target = target + row &* inner
                        if first < 0 {
                            target.update(repeating: extrapolation, count: inner)
                            continue
                        }
                        let rows = source + (row / to &* from &+ first) &* inner
                        let a = A(weights[index &* taps])
                        if taps == 2 {
                            let b = A(weights[index &* taps &+ 1]), second = rows + inner
                            for column in 0..<inner { target[column] = a * rows[column] + b * second[column] }
                            continue
                        }
                        for column in 0..<inner { target[column] = a * rows[column] }
                        for tap in 1..<max(1, taps) {
                            let weight = A(weights[index &* taps &+ tap])
                            if weight == 0 { continue }
                            let next = rows + tap &* inner
                            for column in 0..<inner { target[column] += weight * next[column] }
                        }
                    }
                }
            }
        }
    }
}
