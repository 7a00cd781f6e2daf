import ApusCore

/// Reads an image or volume at the positions of a grid, interpolating between its elements.
struct GridSampleOperator: Operator {
    static let schemas = [Schema("GridSample", since: [16, 20, 22], inputs: 2...2)]

    fileprivate enum Mode {
        case linear, nearest, cubic
    }

    fileprivate enum Padding: String {
        case zeros, border, reflection
    }

    private let mode: Mode
    private let padding: Padding
    private let alignsCorners: Bool

    init(_ node: NodeReader) throws {
        let names = node.opset < 20 ? ["bilinear", "nearest", "bicubic"] : ["linear", "nearest", "cubic"]
        switch try node.choice("mode", of: names, default: names[0]) {
        case "nearest": mode = .nearest
        case "cubic", "bicubic": mode = .cubic
        default: mode = .linear
        }
        padding = Padding(
            rawValue: try node.choice("padding_mode", of: ["zeros", "border", "reflection"], default: "zeros")) ?? .zeros
        alignsCorners = try node.bool("align_corners", default: false)
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: Types.numbers + [.bool, .complex64, .complex128])
        _ = try context.type(1, oneOf: Types.floats)
        let image = try context.dimensions(0, rank: 3...), grid = try context.dimensions(1, rank: 3...)
        guard let image, let grid else { return [ValueInfo(type, .unknown)] }
        guard image.count == grid.count else {
            throw ApusError(.shapeMismatch, "input of rank \(image.count) and grid of rank \(grid.count) must have one rank")
        }
        guard mode != .cubic || image.count == 4 else {
            throw ApusError(.shapeMismatch, "cubic interpolation needs an input of rank 4, found \(image.count)")
        }
        if let size = grid[grid.count - 1].known, size != image.count - 2 {
            throw ApusError(.shapeMismatch, "the grid has \(size) coordinates for \(image.count - 2) axes")
        }
        if let a = image[0].known, let b = grid[0].known, a != b {
            throw ApusError(.shapeMismatch, "the input has a batch of \(a), the grid one of \(b)")
        }
        return [ValueInfo(type, PartialShape([image[0], image[1]] + grid[1..<(grid.count - 1)]))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let types = [try context.type(0), try context.type(1)]
        let isShort = types.allSatisfy { $0 == .float32 || $0.isShortFloat || $0 == .complex64 }
        // Integers are interpolated as doubles, and what comes out is cut.
        return try context.through(
            isShort ? .float32 : .float64, isShort ? [.float16, .bfloat16] : Types.numbers.filter { $0 != .float64 } + [.bool]
        ) { try isShort ? kernel(Float.self, $0) : kernel(Double.self, $0) }
    }

    private func kernel<T: BinaryFloatingPoint & BitwiseCopyable>(_: T.Type, _ context: PrepareContext) throws -> any PreparedNode {
        let image = try context.shape(0), output = try context.outputShape(0)
        let spatial = image.rank - 2
        // Parts of an element.
        let parts = try [.complex64, .complex128].contains(context.type(0)) ? 2 : 1
        if try context.type(0) == .complex64, T.self == Double.self {
            throw ApusError(.typeMismatch, "an input of complex64 needs a grid of float")
        }
        let sizes = Array(image.dimensions[2...]), strides = Array(image.strides[2...])
        let plane = image.count(2...), channels = image[1], points = output.count(2...)
        guard plane > 0 || output.count == 0 || padding == .zeros else {
            throw ApusError(.shapeMismatch, "an input of shape \(image) has nothing to sample")
        }
        let taps = mode == .linear ? 2 : mode == .cubic ? 4 : 1
        guard spatial <= 8 else { throw ApusError(.unsupported, "GridSample of \(spatial) axes") }
        let combinations = (0..<spatial).reduce(1) { product, _ in product &* taps }
        let sampling = Sampling<T>(mode: mode, padding: padding, alignsCorners: alignsCorners)
        if mode == .linear, spatial == 2, parts == 1, plane > 0, plane <= Int(Int32.max), let sampling = sampling as? Sampling<Float> {
            return planes(sampling, batches: output[0], channels, (sizes[0], sizes[1]), points)
        }
        return PreparedKernel("grid_sample") { io in
            if output.count == 0 { return }
            let source = io.input(0, as: T.self), grid = io.input(1, as: T.self), target = io.output(0, as: T.self)
            io.pool.inChunks(output[0] &* points, of: max(1, 4096 / max(1, channels))) { range in
                withUnsafeTemporaryAllocation(of: Int.self, capacity: spatial * 4 + combinations) { offsets in
                    withUnsafeTemporaryAllocation(of: T.self, capacity: spatial * 4 + combinations) { weights in
                        guard let places = offsets.baseAddress, let shares = weights.baseAddress else { return }
                        for point in range {
                            let batch = point / points, place = point % points
                            for axis in 0..<spatial {
                                // The grid counts axes from the last one.
                                let coordinate = grid[point &* spatial &+ spatial &- 1 &- axis]
                                sampling.taps(
                                    coordinate, sizes[axis], strides[axis], places + axis * 4, shares + axis * 4)
                            }
                            // All combinations of taps, the last axis fastest.
                            for number in 0..<combinations {
                                var rest = number, offset = 0
                                var weight: T = 1
                                for axis in stride(from: spatial - 1, through: 0, by: -1) {
                                    let tap = axis * 4 + rest % taps
                                    rest /= taps
                                    offset &+= offsets[tap]
                                    weight *= weights[tap]
                                    if offsets[tap] < 0 { weight = 0 }
                                }
                                offsets[spatial * 4 + number] = weight == 0 ? -1 : offset
                                weights[spatial * 4 + number] = weight
                            }
                            for channel in 0..<channels {
                                let from = source + (batch &* channels &+ channel) &* plane &* parts
                                for part in 0..<parts {
                                    var sum: T = 0
                                    for number in (spatial * 4)..<(spatial * 4 + combinations) where offsets[number] >= 0 {
                                        sum += weights[number] * from[offsets[number] &* parts &+ part]
                                    }
                                    target[((batch &* channels &+ channel) &* points &+ place) &* parts &+ part] = sum
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

extension GridSampleOperator {
    /// Images, linearly: the four elements that a block of points reads and their weights are found once, for all channels.
    private func planes(
        _ sampling: Sampling<Float>, batches: Int, _ channels: Int, _ sizes: (rows: Int, columns: Int), _ points: Int
    ) -> PreparedKernel {
        // Offsets and weights lie on the stack (1 KiB each, the most that Swift puts there).
        let block = 64, plane = sizes.rows &* sizes.columns
        let blocks = points / block + (points % block == 0 ? 0 : 1)
        return PreparedKernel("grid_sample planes") { io in
            let source = io.input(0, as: Float.self), grid = io.input(1, as: Float.self), target = io.output(0, as: Float.self)
            io.pool.inChunks(batches &* blocks, of: max(1, 4096 / block / max(1, channels))) { range in
                withUnsafeTemporaryAllocation(of: Int32.self, capacity: 4 * block) { offsets in
                    withUnsafeTemporaryAllocation(of: Float.self, capacity: 4 * block) { weights in
                        guard let offsets = offsets.baseAddress, let weights = weights.baseAddress else { return }
                        for index in range {
                            let batch = index / blocks, first = index % blocks &* block, count = min(block, points - first)
                            var readsAll = true
                            for point in 0..<count {
                                let coordinates = grid + 2 &* (batch &* points &+ first &+ point)
                                let y = sampling.linear(coordinates[1], sizes.rows), x = sampling.linear(coordinates[0], sizes.columns)
                                func set(_ tap: Int, _ row: Int32, _ column: Int32, _ weight: Float) {
                                    let reads = row >= 0 && column >= 0 && weight != 0
                                    offsets[4 &* point &+ tap] = reads ? row &* Int32(sizes.columns) &+ column : -1
                                    weights[4 &* point &+ tap] = weight
                                    if !reads { readsAll = false }
                                }
                                set(0, y.low, x.low, (1 - y.share) * (1 - x.share))
                                set(1, y.low, x.high, (1 - y.share) * x.share)
                                set(2, y.high, x.low, y.share * (1 - x.share))
                                set(3, y.high, x.high, y.share * x.share)
                            }
                            for channel in batch &* channels..<(batch &+ 1) &* channels {
                                let from = source + channel &* plane, to = target + (channel &* points &+ first)
                                for point in 0..<count {
                                    let place = 4 &* point
                                    let at = UnsafePointer(offsets + place), shares = UnsafePointer(weights + place)
                                    if readsAll {
                                        let upper = shares[0] * from[Int(at[0])] + shares[1] * from[Int(at[1])]
                                        let lower = shares[2] * from[Int(at[2])] + shares[3] * from[Int(at[3])]
                                        to[point] = upper + lower
                                    } else {
                                        var sum: Float = 0
                                        for tap in 0..<4 where at[tap] >= 0 { sum += shares[tap] * from[Int(at[tap])] }
                                        to[point] = sum
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Which elements of an axis a coordinate of a grid reads.
private struct Sampling<T: BinaryFloatingPoint & BitwiseCopyable> {
    let mode: GridSampleOperator.Mode
    let padding: GridSampleOperator.Padding
    let alignsCorners: Bool

    /// Offsets (-1: nothing) and weights of the 1, 2 or 4 elements that `coordinate`, in -1 ... 1 over the axis, reads.
    func taps(_ coordinate: T, _ size: Int, _ stride: Int, _ offsets: UnsafeMutablePointer<Int>, _ weights: UnsafeMutablePointer<T>) {
        let extent = T(size)
        var position = self.position(coordinate, size)
        // Cubic weights reach beyond the edge: their elements are moved onto the axis, not the position.
        if mode != .cubic { position = moved(position, size) }
        // Nowhere near the axis (or no number): nothing to read, and nothing that would fit an Int.
        guard position > -4, position < extent + 4 else {
            for tap in 0..<4 {
                offsets[tap] = padding == .zeros || size == 0 ? -1 : max(0, min(size - 1, nearest(moved(position, size), size))) * stride
                weights[tap] = tap == 0 ? 1 : 0
            }
            return
        }
        func set(_ tap: Int, _ index: Int, _ weight: T) {
            let index = index >= 0 && index < size || padding == .zeros ? index : nearest(moved(T(index), size), size)
            offsets[tap] = index >= 0 && index < size ? index * stride : -1
            weights[tap] = weight
        }
        switch mode {
        case .nearest: set(0, Int(position.rounded(.toNearestOrEven)), 1)
        case .linear:
            let below = position.rounded(.down)
            set(0, Int(below), 1 - (position - below))
            set(1, Int(below) + 1, position - below)
        case .cubic:
            let below = position.rounded(.down)
            for tap in 0..<4 { set(tap, Int(below) - 1 + tap, cubic(position - below + 1 - T(tap))) }
        }
    }

    /// Where on an axis of `size` elements, at least one, `coordinate` (-1 ... 1) lies.
    @inline(__always)
    private func position(_ coordinate: T, _ size: Int) -> T {
        let extent = T(size)
        return alignsCorners ? (coordinate + 1) / 2 * (extent - 1) : ((coordinate + 1) * extent - 1) / 2
    }

    /// The two elements between which `coordinate` lies (-1: none), and the share of the second one.
    @inline(__always)
    func linear(_ coordinate: T, _ size: Int) -> (low: Int32, high: Int32, share: T) {
        let place = position(coordinate, size), moved = padding == .zeros ? place : self.moved(place, size)
        // Nowhere near the axis, or no number.
        guard moved > -2, moved < T(size) + 1 else { return (-1, -1, 0) }
        let truncated = Int32(moved), low = T(truncated) > moved ? truncated - 1 : truncated, last = Int32(truncatingIfNeeded: size - 1)
        let share = moved - T(low)
        if padding == .zeros { return (low > last ? -1 : low, low < last ? low + 1 : -1, share) }
        return (min(max(low, 0), last), min(low + 1, last), share)
    }

    private func nearest(_ position: T, _ size: Int) -> Int {
        position >= 0 && position < T(size) ? Int(position.rounded(.toNearestOrEven)) : position >= T(size) ? size - 1 : 0
    }

    /// The position on the axis that one beside it stands for.
    private func moved(_ position: T, _ size: Int) -> T {
        let last = T(size - 1)
        switch padding {
        case .zeros: return position
        case .border: return max(0, min(last, position))
        case .reflection:
            let low: T = alignsCorners ? 0 : -0.5
            let span: T = alignsCorners ? last : T(size)
            guard span > 0, position.isFinite else { return 0 }
            let away = abs(position - low)
            let times = (away / span).rounded(.down)
            let rest = away - times * span
            let isEven = times.truncatingRemainder(dividingBy: 2) == 0
            return max(0, min(last, isEven ? low + rest : low + span - rest))
        }
    }

    /// Keys' convolution with a = -0.75.
    private func cubic(_ distance: T) -> T {
        let x = abs(distance), a: T = -0.75
        if x <= 1 { return ((a + 2) * x - (a + 3)) * x * x + 1 }
        if x < 2 { return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a }
        return 0
    }
}

/// The grid of positions that an affine map gives, for GridSample.
struct AffineGridOperator: Operator {
    static let schemas = [Schema("AffineGrid", since: [20], inputs: 2...2)]

    private let alignsCorners: Bool

    init(_ node: NodeReader) throws {
        alignsCorners = try node.bool("align_corners", default: false)
    }

    var parameterInputs: [Int] { [1] }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: [.float32, .float64, .float16, .bfloat16])
        let theta = try context.dimensions(0, rank: 3...3)
        guard let size = try context.dimensionsParameter(1) else { return [ValueInfo(type, .unknown)] }
        guard size.count == 4 || size.count == 5 else {
            throw ApusError(.shapeMismatch, "size has \(size.count) numbers, 4 or 5 expected")
        }
        for dimension in size {
            if let number = dimension.known, number < 0 { throw ApusError(.shapeMismatch, "size has the negative number \(number)") }
        }
        let axes = size.count - 2
        if let theta {
            for (found, expected) in zip(theta, [size[0], .known(axes), .known(axes + 1)]) {
                if let a = found.known, let b = expected.known, a != b {
                    throw ApusError(
                        .shapeMismatch, "theta has shape \(PartialShape(theta)), [\(size[0]),\(axes),\(axes + 1)] expected")
                }
            }
        }
        return [ValueInfo(type, PartialShape([size[0]] + size[2...] + [.known(axes)]))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        if try context.type(0) == .float64 { return try kernel(Double.self, context) }
        return try context.throughFloat32 { try kernel(Float.self, $0) }
    }

    private func kernel<T: BinaryFloatingPoint & BitwiseCopyable>(_: T.Type, _ context: PrepareContext) throws -> any PreparedNode {
        let output = try context.outputShape(0)
        let axes = output.rank - 2
        let sizes = Array(output.dimensions[1...axes])
        let points = output.count(1...axes), batches = output[0], alignsCorners = alignsCorners
        return PreparedKernel("affine_grid") { io in
            let theta = io.input(0, as: T.self), target = io.output(0, as: T.self)
            io.pool.inChunks(batches &* points, of: 4096) { range in
                for point in range {
                    let matrix = theta + point / points &* axes &* (axes + 1)
                    let to = target + point &* axes
                    for row in 0..<axes { to[row] = matrix[row &* (axes + 1) &+ axes] }
                    var rest = point % points
                    // The coordinates count axes from the last one.
                    for column in 0..<axes {
                        let size = sizes[axes - 1 - column]
                        let position = T(rest % size)
                        rest /= size
                        let coordinate = alignsCorners
                            ? (size > 1 ? -1 + 2 * position / T(size - 1) : -1) : (2 * position + 1) / T(size) - 1
                        for row in 0..<axes { to[row] += matrix[row &* (axes + 1) &+ column] * coordinate }
                    }
                }
            }
        }
    }
}
