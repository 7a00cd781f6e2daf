import ApusCore
import CApusKernels

/// How numbers become powers of two in float8e8m0.
enum PowerRounding: Sendable {
    case up, down, nearest
}

/// The rules of a conversion that attributes settle.
struct CastRules: Sendable, Equatable {
    /// Whether numbers beyond a float8 type's range become its greatest number, rather than infinity or NaN.
    var saturates = true
    /// How float8e8m0 rounds.
    var power = PowerRounding.up
}

/// Elements converted at a time where a conversion needs a step between; their bytes are whole for every bit width.
private let blockSize = 128

/// The loop that converts elements of `source` to elements of `target`. Pointers lead to whole bytes: callers split work
/// at multiples of 8 elements. Strings are not converted here.
func castLoop(_ source: ElementType, _ target: ElementType, _ rules: CastRules = CastRules()) throws -> UnaryLoop {
    if source == target && source != .bool {
        let bits = source.bitWidth
        return { count, x, y in y.copyMemory(from: x, byteCount: (count &* bits &+ 7) >> 3) }
    }
    if let loop = try directLoop(source, target) { return loop }
    let isExact = source.isIntegral && target.isIntegral
    return isExact
        ? try throughBlocks(source, target, of: Int64.self, toIntegers(source), fromIntegers(target))
        : try throughBlocks(source, target, of: Float.self, toFloats(source), fromFloats(target, rules))
}

extension ElementType {
    fileprivate var isIntegral: Bool { isInteger || self == .bool }

    /// Whether elements are computed with as they lie in memory.
    fileprivate var isPlain: Bool {
        switch self {
        case .float32, .float64: true
        default: isIntegral && bitWidth >= 8
        }
    }
}

/// Both steps of a conversion, block by block through numbers of type `Number`.
private func throughBlocks<Number>(
    _ source: ElementType, _ target: ElementType, of _: Number.Type, _ first: @escaping UnaryLoop, _ second: @escaping UnaryLoop
) throws -> UnaryLoop {
    let sourceBits = source.bitWidth, targetBits = target.bitWidth
    return { count, x, y in
        withUnsafeTemporaryAllocation(of: Number.self, capacity: blockSize) { block in
            guard let block = block.baseAddress else { return }
            for start in stride(from: 0, to: count, by: blockSize) {
                let part = min(blockSize, count - start)
                first(part, x + (start &* sourceBits) >> 3, UnsafeMutableRawPointer(block))
                second(part, UnsafeRawPointer(block), y + (start &* targetBits) >> 3)
            }
        }
    }
}

// MARK: - Direct conversions

private func directLoop(_ source: ElementType, _ target: ElementType) throws -> UnaryLoop? {
    if source.isShortFloat && target == .float32 {
        return { count, x, y in widen(source, x, y.assumingMemoryBound(to: Float.self), count: count) }
    }
    if target.isShortFloat && source == .float32 {
        return { count, x, y in narrow(target, x.assumingMemoryBound(to: Float.self), y, count: count) }
    }
    guard source.isPlain && target.isPlain else { return nil }
    if target == .bool { return try source.visitArithmetic(ToBoolVisitor()) }
    // Unsigned numbers of 32 and 64 bits reach further than what the kernels convert to.
    if source == .float32 || source == .float64, target.isIntegral, target != .uint32, target != .uint64,
        let convert = apus_half_to_bits(SmallFloatKernels.table, source == .float64, target.bitWidth / 8)
    {
        return { count, x, y in convert(count, x, y) }
    }
    if source == .bool { return try target.visitArithmetic(FromBoolVisitor()) }
    return try source.visitArithmetic(CastSourceVisitor(target: target))
}

private struct CastSourceVisitor: ArithmeticVisitor {
    let target: ElementType
    func visit<T: Arithmetic>(_: T.Type) throws -> UnaryLoop { try target.visitArithmetic(CastTargetVisitor<T>()) }
}

private struct CastTargetVisitor<Source: Arithmetic>: ArithmeticVisitor {
    func visit<T: Arithmetic>(_: T.Type) throws -> UnaryLoop {
        { count, x, y in
            let x = x.assumingMemoryBound(to: Source.self), y = y.assumingMemoryBound(to: T.self)
            for index in 0..<count { y[index] = x[index].cast(to: T.self) }
        }
    }
}

private struct ToBoolVisitor: ArithmeticVisitor {
    func visit<T: Arithmetic>(_: T.Type) throws -> UnaryLoop {
        { count, x, y in
            let x = x.assumingMemoryBound(to: T.self), y = y.assumingMemoryBound(to: UInt8.self)
            for index in 0..<count { y[index] = x[index] != T.zero ? 1 : 0 }
        }
    }
}

private struct FromBoolVisitor: ArithmeticVisitor {
    func visit<T: Arithmetic>(_: T.Type) throws -> UnaryLoop {
        { count, x, y in
            let x = x.assumingMemoryBound(to: UInt8.self), y = y.assumingMemoryBound(to: T.self)
            for index in 0..<count { y[index] = x[index] != 0 ? T.one : T.zero }
        }
    }
}

// MARK: - To and from blocks

private func toFloats(_ source: ElementType) throws -> UnaryLoop {
    if source == .float32 { return try castLoop(.float32, .float32) }
    if source == .float64 {
        return { count, x, y in
            let bits = x.assumingMemoryBound(to: UInt64.self), x = x.assumingMemoryBound(to: Double.self)
            let y = y.assumingMemoryBound(to: Float.self)
            // What lies behind a float's last place is cut off, that place made odd where it was not zero.
            var small = 0
            for index in 0..<count {
                let code = bits[index], low = code & 0x1fff_ffff
                y[index] = Float(Double(bitPattern: code & ~0x1fff_ffff | (low &+ 0x1fff_ffff) & 0x2000_0000))
                let magnitude = x[index].magnitude
                small &+= magnitude > 0 && magnitude < 0x1p-126 ? 1 : 0
            }
            // Subnormal floats have fewer places.
            if small > 0 { for index in 0..<count { y[index] = roundedToOdd(x[index]) } }
        }
    }
    if let direct = try directLoop(source, .float32) { return direct }
    if source.bitWidth == 8, let format = SmallFloatKernels.format(source),
        let convert = apus_half_to_f32(SmallFloatKernels.table, format)
    {
        return { count, x, y in convert(count, x, y.assumingMemoryBound(to: Float.self)) }
    }
    guard let table = CodeTable(source) else { throw source.unsupported("a number") }
    return { count, x, y in
        let x = x.assumingMemoryBound(to: UInt8.self), y = y.assumingMemoryBound(to: Float.self)
        for index in 0..<count { y[index] = table.number(x, index) }
    }
}

private func toIntegers(_ source: ElementType) throws -> UnaryLoop {
    if let direct = try directLoop(source, .int64) { return direct }
    guard let table = CodeTable(source) else { throw source.unsupported("a number") }
    return { count, x, y in
        let x = x.assumingMemoryBound(to: UInt8.self), y = y.assumingMemoryBound(to: Int64.self)
        for index in 0..<count { y[index] = Int64(converting: table.number(x, index).double) }
    }
}

private func fromFloats(_ target: ElementType, _ rules: CastRules) throws -> UnaryLoop {
    if target == .float32 { return try castLoop(.float32, .float32) }
    if let direct = try directLoop(.float32, target) { return direct }
    if target == .float8e8m0 {
        guard let convert = SmallFloatKernels.table?.pointee.f32_to_e8m0 else { throw target.unsupported("a number") }
        let rounding = rules.power == .up ? APUS_E8M0_UP : rules.power == .down ? APUS_E8M0_DOWN : APUS_E8M0_NEAREST
        return { count, x, y in
            convert(count, x.assumingMemoryBound(to: Float.self), y.assumingMemoryBound(to: UInt8.self), rules.saturates, rounding)
        }
    }
    if let format = SmallFloatKernels.format(target), let convert = apus_half_from_f32(SmallFloatKernels.table, format) {
        return packing(target) { count, x, codes in
            convert(count, x.assumingMemoryBound(to: Float.self), codes, rules.saturates)
        }
    }
    return packing(target) { count, x, codes in
        let x = x.assumingMemoryBound(to: Float.self)
        for index in 0..<count { codes[index] = UInt8(converting: x[index].double) }
    }
}

private func fromIntegers(_ target: ElementType) throws -> UnaryLoop {
    if let direct = try directLoop(.int64, target) { return direct }
    return packing(target) { count, x, codes in
        let x = x.assumingMemoryBound(to: Int64.self)
        for index in 0..<count { codes[index] = UInt8(truncatingIfNeeded: x[index]) }
    }
}

/// A loop out of one that writes a byte for each element: at most `blockSize` where elements are narrower.
private func packing(
    _ type: ElementType, _ encode: @escaping @Sendable (Int, UnsafeRawPointer, UnsafeMutablePointer<UInt8>) -> Void
) -> UnaryLoop {
    let bits = type.bitWidth
    return { count, x, y in
        if bits == 8 { return encode(count, x, y.assumingMemoryBound(to: UInt8.self)) }
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: blockSize) { codes in
            guard let codes = codes.baseAddress else { return }
            encode(count, x, codes)
            packCodes(codes, y.assumingMemoryBound(to: UInt8.self), count: count, bitWidth: bits)
        }
    }
}

/// A float next to `value`, the one with an odd last place where `value` lies between two: rounding that to fewer places
/// gives what rounding `value` itself would (Boldo and Melquiond, "When double rounding is odd").
private func roundedToOdd(_ value: Double) -> Float {
    let rounded = Float(value)
    guard rounded.isFinite, Double(rounded) != value, rounded.bitPattern & 1 == 0 else { return rounded }
    let isAbove = Double(rounded) > value
    return isAbove ? rounded.nextDown : rounded.nextUp
}
