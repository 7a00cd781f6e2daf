import ApusCore
import ApusGraph

/// Which elements of a tensor share one scale and zero point.
enum Granularity: Equatable {
    case tensor
    /// One for each index along the axis.
    case axis(Int)
    /// One for `size` consecutive indices along the axis, for each index of the other axes.
    case block(axis: Int, size: Int)

    /// What a scale of shape `scale` means for a tensor of shape `x`, as far as both are known; throws where they do not
    /// fit. nil: not known yet.
    init?(x: PartialShape, scale: PartialShape, axis: Int, blockSize: Int, allowsAxis: Bool) throws {
        guard let scales = scale.dimensions else { return nil }
        func mismatch(_ expected: String) -> ApusError {
            ApusError(.shapeMismatch, "the scale has shape \(scale) for an input of shape \(x), expected \(expected)")
        }
        if scales.isEmpty || (scales == [.known(1)] && blockSize == 0) {
            self = .tensor
            return
        }
        guard let dimensions = x.dimensions else { return nil }
        if blockSize == 0 {
            guard scales.count == 1 else { throw mismatch("a scalar or a vector (blocks need a block_size)") }
            guard allowsAxis else { throw mismatch("a scalar") }
            let position = dimensions.count == 1 ? 0 : try normalizedAxis(axis, rank: dimensions.count)
            if let length = scales[0].known, let extent = dimensions[position].known, length != extent {
                throw mismatch("a vector of \(extent) elements, the extent of axis \(position)")
            }
            self = .axis(position)
            return
        }
        guard blockSize > 0 else { throw ApusError(.invalidModel, "block_size is \(blockSize), a positive number expected") }
        guard scales.count == dimensions.count else { throw mismatch("the rank of the input") }
        let position = try normalizedAxis(axis, rank: dimensions.count)
        for (index, (length, extent)) in zip(scales, dimensions).enumerated() {
            guard let length = length.known, let extent = extent.known else { continue }
            let expected = index == position ? extent / blockSize + (extent % blockSize == 0 ? 0 : 1) : extent
            guard length == expected else { throw mismatch("\(expected) along axis \(index)") }
        }
        self = .block(axis: position, size: blockSize)
    }
}

/// The parts of a tensor that are quantised with one scale, or with consecutive ones.
struct QuantizationRuns {
    let runCount: Int
    /// Runs that one thread takes at a time.
    let runsPerChunk: Int
    private let length: Int
    private let extent: Int
    private let inner: Int
    private let block: Int
    private let blocks: Int
    private let isChunked: Bool
    private let count: Int
    private let isBlocked: Bool

    /// Elements per run where one scale serves the whole tensor.
    private static let chunk = 16384

    init(_ granularity: Granularity, _ shape: Shape) {
        count = shape.count
        let axis: Int
        switch granularity {
        case .tensor:
            (length, extent, inner, block, blocks, isChunked) = (QuantizationRuns.chunk, 0, 0, 0, 0, true)
            runCount = (count + length - 1) / length
            runsPerChunk = 1
            isBlocked = false
            return
        case .axis(let position): (axis, block) = (position, 1)
        case .block(let position, let size): (axis, block) = (position, min(size, max(shape[position], 1)))
        }
        isChunked = false
        isBlocked = granularity != .axis(axis)
        guard count > 0 else {
            (length, extent, inner, blocks, runCount, runsPerChunk) = (0, 0, 1, 0, 0, 1)
            return
        }
        extent = shape[axis]
        inner = shape.count((axis + 1)...)
        blocks = (extent + block - 1) / block
        let outer = count / (extent * inner)
        if inner > 1 {
            length = inner
            runCount = outer * extent
        } else if isBlocked {
            length = block
            runCount = outer * blocks
        } else {
            length = extent
            runCount = outer
        }
        runsPerChunk = max(1, QuantizationRuns.chunk / length)
    }

    /// Calls `body(offset, count, scaleIndex, scaleStep)` for the runs in `range`: scales start at `scaleIndex` and advance
    /// by `scaleStep` (0 or 1) with each element.
    @inline(__always)
    func forEach(in range: Range<Int>, _ body: (Int, Int, Int, Int) -> Void) {
        for run in range {
            if isChunked {
                body(run * length, min(length, count - run * length), 0, 0)
            } else if inner > 1 {
                let position = run % extent
                if isBlocked {
                    body(run * inner, inner, ((run / extent) * blocks + position / block) * inner, 1)
                } else {
                    body(run * inner, inner, position, 0)
                }
            } else if isBlocked {
                let start = run % blocks * block
                body(run / blocks * extent + start, min(block, extent - start), run, 0)
            } else {
                body(run * extent, extent, 0, 1)
            }
        }
    }
}

/// Rounds to the nearest integer, ties to even. For magnitudes up to 2^21, which the callers' clamping guarantees.
@inline(__always)
func roundedHalfEven(_ number: Float) -> Int32 {
    // 1.5 * 2^23: the sum's last place is 1, so the addition rounds, and its low bits are the integer.
    Int32(truncatingIfNeeded: Int64((number + 12_582_912).bitPattern) - 0x4b40_0000)
}

/// The integer types that values are quantised to, with their range.
struct IntegerRange: Sendable {
    let lowest: Int32
    let highest: Int32

    /// nil for types that are no integers of at most 16 bits.
    init?(_ type: ElementType) {
        guard type.isInteger, type.bitWidth <= 16 else { return nil }
        let codes = Int32(1) << Int32(type.bitWidth)
        lowest = type.isSigned ? -(codes / 2) : 0
        highest = type.isSigned ? codes / 2 - 1 : codes - 1
    }
}

/// Where an 8- or 16-bit result lies: round((value limited to what the type holds) + zero point). NaN gives the lowest.
///
/// The order of these operations, limiting before rounding and adding after, is onnxruntime's; other orders differ in
/// the last place for values beside a tie.
struct Requantization {
    let lowest: Float
    let highest: Float
    let zeroPoint: Int32

    init(_ range: IntegerRange, zeroPoint: Int32) {
        lowest = Float(range.lowest - zeroPoint)
        highest = Float(range.highest - zeroPoint)
        self.zeroPoint = zeroPoint
    }

    @inline(__always)
    func callAsFunction(_ value: Float) -> Int32 {
        let above = value > lowest ? value : lowest
        return roundedHalfEven(above < highest ? above : highest) &+ zeroPoint
    }
}

/// One number for each element of a small parameter tensor, converted into the workspace: scales as floats.
func loadScales(_ type: ElementType, _ source: UnsafeRawPointer, _ target: UnsafeMutablePointer<Float>, count: Int) {
    switch type {
    case .float32: target.update(from: source.assumingMemoryBound(to: Float.self), count: count)
    case .float16, .bfloat16: widen(type, source, target, count: count)
    case .int32:
        let integers = source.assumingMemoryBound(to: Int32.self)
        for index in 0..<count { target[index] = Float(integers[index]) }
    default:
        guard let table = CodeTable(type) else { return }
        for index in 0..<count { target[index] = table.number(source.assumingMemoryBound(to: UInt8.self), index) }
    }
}

/// Zero points (of any integer type of at most 32 bits; nil: zeros) as Int32.
func loadZeroPoints(_ type: ElementType, _ source: UnsafeRawPointer?, _ target: UnsafeMutablePointer<Int32>, count: Int) {
    guard let source else {
        target.update(repeating: 0, count: count)
        return
    }
    switch type {
    case .int8:
        for index in 0..<count { target[index] = Int32(source.assumingMemoryBound(to: Int8.self)[index]) }
    case .uint8:
        for index in 0..<count { target[index] = Int32(source.assumingMemoryBound(to: UInt8.self)[index]) }
    case .int32: target.update(from: source.assumingMemoryBound(to: Int32.self), count: count)
    case .int16:
        for index in 0..<count { target[index] = Int32(source.assumingMemoryBound(to: Int16.self)[index]) }
    case .uint16:
        for index in 0..<count { target[index] = Int32(source.assumingMemoryBound(to: UInt16.self)[index]) }
    default:
        guard type.isInteger, let table = CodeTable(type) else {
            target.update(repeating: 0, count: count)
            return
        }
        for index in 0..<count { target[index] = Int32(table.number(source.assumingMemoryBound(to: UInt8.self), index)) }
    }
}
