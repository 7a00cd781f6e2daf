import ApusCore
import ApusGraph
import CApusKernels

/// The attributes that convolutions and pools share: how a window slides over the spatial axes.
struct WindowAttributes: Sendable {
    enum Padding: Sendable {
        /// Begins of all axes, then ends; nil: none.
        case explicit([Int]?)
        case valid
        /// As much as makes the output ceil(input / stride); an odd element goes to the end (upper) or the begin.
        case same(upper: Bool)
    }

    let kernel: [Int]?
    let strides: [Int]?
    let dilations: [Int]?
    let padding: Padding
    let roundsUp: Bool

    /// Reads the attributes. `hasDilations` and `hasCeilMode` say whether the operator has these in the node's operator set.
    init(_ node: NodeReader, requiresKernel: Bool = false, hasDilations: Bool = true, hasCeilMode: Bool = false) throws {
        kernel = requiresKernel ? try node.ints("kernel_shape") : try node.optionalInts("kernel_shape")
        strides = try node.optionalInts("strides")
        dilations = hasDilations ? try node.optionalInts("dilations") : nil
        roundsUp = hasCeilMode ? try node.bool("ceil_mode", default: false) : false
        let pads = try node.optionalInts("pads")
        switch try node.choice("auto_pad", of: ["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID", ""], default: "NOTSET") {
        case "SAME_UPPER": padding = .same(upper: true)
        case "SAME_LOWER": padding = .same(upper: false)
        case "VALID": padding = .valid
        default: padding = .explicit(pads)
        }
        for (name, values) in [("kernel_shape", kernel), ("strides", strides), ("dilations", dilations)] {
            if let wrong = values?.first(where: { $0 < 1 }) {
                throw ApusError(.invalidModel, "attribute \"\(name)\" holds \(wrong); its elements must be at least 1")
            }
        }
        if case .explicit(let pads?) = padding, let wrong = pads.first(where: { $0 < 0 }) {
            throw ApusError(.invalidModel, "attribute \"pads\" holds \(wrong); paddings must not be negative")
        }
        if kernel?.isEmpty == true, requiresKernel {
            throw ApusError(.invalidModel, "attribute \"kernel_shape\" is empty")
        }
    }

    /// Throws unless every list has one element for each of `axes` spatial axes (pads: two).
    func check(axes: Int) throws {
        for (name, values) in [("kernel_shape", kernel), ("strides", strides), ("dilations", dilations)] {
            if let values, values.count != axes {
                throw ApusError(
                    .shapeMismatch, "attribute \"\(name)\" has \(values.count) elements for \(axes) spatial axes")
            }
        }
        if case .explicit(let pads?) = padding, pads.count != 2 * axes {
            throw ApusError(.shapeMismatch, "attribute \"pads\" has \(pads.count) elements, \(2 * axes) expected for \(axes) spatial axes")
        }
    }

    /// Distance from the first to the last element under a window, plus one.
    func extent(_ kernel: Int, _ axis: Int) throws -> Int {
        try (kernel - 1).multiplied(by: dilations?[axis] ?? 1).adding(1)
    }

    /// The output's spatial dimensions for an input's. Throws where the window does not fit.
    func outputDimensions(_ input: [Dimension], kernel: [Int]) throws -> [Dimension] {
        try check(axes: input.count)
        guard kernel.count == input.count else {
            throw ApusError(.shapeMismatch, "the kernel has \(kernel.count) axes, the input \(input.count) spatial axes")
        }
        return try input.indices.map { axis in
            let stride = strides?[axis] ?? 1, extent = try extent(kernel[axis], axis)
            if let size = input[axis].known { return .known(try geometry(axis, size, kernel[axis]).output) }
            switch padding {
            case .same: return (input[axis] + .known(stride - 1)).floorDivided(by: .known(stride))
            case .valid: return (input[axis] - .known(extent)).floorDivided(by: .known(stride)) + .known(1)
            case .explicit(let pads):
                if roundsUp { return .unknown }
                let total = try (pads?[axis] ?? 0).adding(pads?[axis + input.count] ?? 0)
                return (input[axis] + .known(try total.subtracting(extent))).floorDivided(by: .known(stride)) + .known(1)
            }
        }
    }

    /// Size and padding of one axis for concrete input sizes.
    private func geometry(_ axis: Int, _ size: Int, _ kernel: Int) throws -> (output: Int, begin: Int, end: Int) {
        let stride = strides?[axis] ?? 1, extent = try extent(kernel, axis)
        if case .same(let upper) = padding {
            let output = size / stride + (size % stride == 0 ? 0 : 1)
            let total = max(0, try max(0, output - 1).multiplied(by: stride).adding(extent).subtracting(size))
            let small = total / 2
            return (output, upper ? small : total - small, upper ? total - small : small)
        }
        var begin = 0, end = 0
        if case .explicit(let pads?) = padding {
            begin = pads[axis]
            end = pads[axis + pads.count / 2]
        }
        let padded = try size.adding(begin).adding(end)
        guard padded >= extent else {
            throw ApusError(
                .shapeMismatch, "a window of \(extent) elements does not fit axis \(axis) of \(size) elements, \(padded) with padding")
        }
        let rest = padded - extent
        var output = rest / stride + 1
        // A window that would begin beyond the input and the padding before it does not count.
        if roundsUp, rest % stride != 0, try output.multiplied(by: stride) < size.adding(begin) { output += 1 }
        return (output, begin, end)
    }

    /// Everything about the windows over a concrete input.
    func geometry(input: [Int], kernel: [Int]) throws -> WindowGeometry {
        _ = try outputDimensions(input.map(Dimension.known), kernel: kernel)
        let axes = try input.indices.map { try geometry($0, input[$0], kernel[$0]) }
        return WindowGeometry(
            input: input, output: axes.map(\.output), kernel: kernel, strides: strides ?? input.map { _ in 1 },
            dilations: dilations ?? input.map { _ in 1 }, padBegin: axes.map(\.begin), padEnd: axes.map(\.end))
    }
}

/// Windows over the spatial axes of a concrete input.
struct WindowGeometry: Sendable {
    let input: [Int]
    let output: [Int]
    let kernel: [Int]
    let strides: [Int]
    let dilations: [Int]
    let padBegin: [Int]
    let padEnd: [Int]

    var inputPixels: Int { input.reduce(1, &*) }
    var outputPixels: Int { output.reduce(1, &*) }
    var taps: Int { kernel.reduce(1, &*) }

    /// Whether each output pixel sees exactly the input pixel at its own place.
    var isPointwise: Bool {
        taps == 1 && strides.allSatisfy { $0 == 1 } && padBegin.allSatisfy { $0 == 0 } && padEnd.allSatisfy { $0 == 0 }
    }

    /// The indirection table (apus_indirection.h): for each output pixel and tap, the input pixel's number times
    /// `pixelStride`, or APUS_PADDING_TAP.
    func table(pixelStride: Int, budget: MemoryBudget) throws -> Storage {
        try windowTable(
            input.indices.map { axis in
                WindowAxis(
                    input: input[axis], output: output[axis], taps: kernel[axis],
                    position: { [strides, dilations, padBegin] in $0 &* strides[axis] &+ $1 &* dilations[axis] &- padBegin[axis] })
            }, pixelStride: pixelStride, budget: budget)
    }
}

/// One axis of a table of windows.
struct WindowAxis {
    let input: Int
    let output: Int
    let taps: Int
    /// The input position of an output position and a tap; outside of 0 ..< input: padding.
    let position: (Int, Int) -> Int
}

/// A table as apus_indirection.h describes it: the product of what each axis says.
func windowTable(_ axes: [WindowAxis], pixelStride: Int, budget: MemoryBudget) throws -> Storage {
    func allocate(_ entries: Int) throws -> Storage {
        try Storage.allocate(
            byteCount: try entries.multiplied(by: MemoryLayout<Int>.stride), budget: budget, purpose: "a table of windows")
    }
    _ = try axes.reduce(1) { try $0.multiplied(by: $1.input) }.multiplied(by: pixelStride)
    var pixels = 1, taps = 1
    var current = try allocate(1)
    current.base.storeBytes(of: 0, as: Int.self)
    for axis in axes {
        let nextPixels = try pixels.multiplied(by: axis.output), nextTaps = try taps.multiplied(by: axis.taps)
        let next = try allocate(try nextPixels.multiplied(by: nextTaps))
        let from = current.base.assumingMemoryBound(to: Int.self), to = next.base.assumingMemoryBound(to: Int.self)
        for output in 0..<axis.output {
            for tap in 0..<axis.taps {
                let position = axis.position(output, tap)
                let isInside = position >= 0 && position < axis.input
                for pixel in 0..<pixels {
                    let line = to + (pixel * axis.output + output) * nextTaps + tap
                    for outer in 0..<taps {
                        let base = from[pixel * taps + outer]
                        line[outer * axis.taps] = isInside && base >= 0 ? base * axis.input + position : -1
                    }
                }
            }
        }
        current = next
        pixels = nextPixels
        taps = nextTaps
    }
    if pixelStride != 1 {
        let table = current.base.assumingMemoryBound(to: Int.self)
        for entry in 0..<(pixels * taps) where table[entry] > 0 { table[entry] *= pixelStride }
    }
    return current
}

/// Rearranges `count` matrices of rows × columns floats: channels first to channels last and back.
func transposeImages(
    _ count: Int, rows: Int, columns: Int, from source: UnsafePointer<Float>, to target: UnsafeMutablePointer<Float>, pool: ThreadPool
) {
    transposeImages(
        count, rows: rows, columns: columns, elementSize: 4, from: UnsafeRawPointer(source), to: UnsafeMutableRawPointer(target), pool: pool)
}

/// The same for elements of 1, 2, 4 or 8 bytes.
func transposeImages(
    _ count: Int, rows: Int, columns: Int, elementSize: Int, from source: UnsafeRawPointer, to target: UnsafeMutableRawPointer,
    pool: ThreadPool
) {
    let size = rows * columns
    if size == 0 || count == 0 { return }
    // Pieces of about 64 Ki elements, along the longer side so that both sides of a copy keep whole lines.
    let pieces = max(1, min(size >> 16, max(rows, columns) / 64))
    let step = (max(rows, columns) + pieces - 1) / pieces
    pool.parallel(count * pieces) { index in
        let image = index / pieces * size, begin = index % pieces * step
        if rows > columns {
            guard begin < rows else { return }
            _ = apus_transpose_2d(
                elementSize, min(step, rows - begin), columns, source + (image + begin * columns) * elementSize, columns,
                target + (image + begin) * elementSize, rows)
        } else {
            guard begin < columns else { return }
            _ = apus_transpose_2d(
                elementSize, rows, min(step, columns - begin), source + (image + begin) * elementSize, columns,
                target + (image + begin * rows) * elementSize, rows)
        }
    }
}
