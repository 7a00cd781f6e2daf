import CApusKernels
import TestSupport
import Testing

/// A small generator with a seed, so that a failure repeats.
struct SplitMix: RandomNumberGenerator {
    private var state: UInt64
    init(_ seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
    /// A float in the range.
    mutating func float(_ range: ClosedRange<Float>) -> Float { Float.random(in: range, using: &self) }
    /// Any finite float, all exponents alike.
    mutating func anyFloat() -> Float {
        while true {
            let value = Float(bitPattern: UInt32(truncatingIfNeeded: next()))
            if value.isFinite { return value }
        }
    }
    mutating func floats(_ n: Int, _ range: ClosedRange<Float> = -4...4) -> [Float] { (0..<n).map { _ in float(range) } }
    mutating func bytes<T: FixedWidthInteger>(_ n: Int, as type: T.Type = T.self) -> [T] {
        (0..<n).map { _ in T(truncatingIfNeeded: next()) }
    }
}

/// Values at which functions and loops go wrong.
let specialFloats: [Float] = [
    0, -0.0, 1, -1, 0.5, -0.5, 2, -2, 3, -3, 1.5, 2.5, -2.5, 100, -100, .infinity, -.infinity, .nan,
    .leastNonzeroMagnitude, -.leastNonzeroMagnitude, .leastNormalMagnitude, -.leastNormalMagnitude, 0x1p-133, -0x1.8p-133,
    .greatestFiniteMagnitude, -.greatestFiniteMagnitude, 88.72283, 88.72284, -87.33655, -103.97208, -104.5, 1e-8, -1e-8,
    1e10, -1e10, 8_388_607.5, 8_388_608, 16_777_214, 4_194_303.5, 4_194_304.5, 0x1p31, 0x1p-25, 0.92, -0.92, 4, 10, 20.5,
]

/// The error of `got` in units of the last place of a float near `want`.
func ulps(_ got: Float, _ want: Double) -> Double {
    if want.isNaN || got.isNaN { return want.isNaN && got.isNaN ? 0 : .infinity }
    let rounded = Float(want)
    if got == rounded { return 0 }
    if rounded.isInfinite || got.isInfinite {
        // The neighbour of an overflow counts as one.
        return abs(got.isInfinite ? rounded : got) == .greatestFiniteMagnitude && (got > 0) == (want > 0) ? 1 : .infinity
    }
    return abs(Double(got) - want) / Double(max(rounded.ulp, .leastNonzeroMagnitude))
}

/// One array for all lengths up to `capacity`: slices of every length that touch the guarded edge.
final class GuardedSlices<Element: BitwiseCopyable> {
    let buffer: GuardedBuffer<Element>
    init(capacity: Int, _ edge: GuardedBuffer<Element>.Edge) { buffer = GuardedBuffer(count: capacity, guarding: edge) }

    func pointer(_ n: Int) -> UnsafeMutablePointer<Element> {
        buffer.edge == .end ? buffer.pointer + (buffer.count - n) : buffer.pointer
    }
    /// A slice holding `values`.
    func holding(_ values: some Collection<Element>) -> UnsafeMutablePointer<Element> {
        let p = pointer(values.count)
        for (i, value) in values.enumerated() { p[i] = value }
        return p
    }
    func values(_ n: Int) -> [Element] { Array(UnsafeBufferPointer(start: pointer(n), count: n)) }
}

/// A kernel entry as a test argument, by its place in its family's table.
struct Level: CustomTestStringConvertible, Sendable {
    let index: Int
    let isa: apus_isa
    /// The body of avxvnni compiled for AVX-512VL with VNNI (kernel_twins.h), which is in no table.
    var isTwin = false
    var testDescription: String { String(cString: apus_isa_name(Int32(isa.rawValue))) + (isTwin ? ", compiled for AVX-512VL" : "") }
    var runsHere: Bool { apus_cpu_levels() & (1 << (isTwin ? APUS_ISA_AVX512VNNI : isa).rawValue) != 0 }

    static let twin = Level(index: -1, isa: APUS_ISA_AVXVNNI, isTwin: true)

    /// Ends the test case, reported as skipped, where this CPU cannot run the kernel.
    func skipUnlessRunnable() throws {
        if !runsHere { try Test.cancel("\(testDescription) does not run on this CPU") }
    }

    /// Every entry of a family.
    static func all(_ isaAt: (Int) -> apus_isa?) -> [Level] {
        var levels: [Level] = []
        while let isa = isaAt(levels.count) { levels.append(Level(index: levels.count, isa: isa)) }
        return levels
    }
}

/// What every family promises of its table: best first, `generic` last, and a cap that is obeyed.
func expectSelectionObeysCaps(
    _ levels: [Level], select: (UInt32) -> apus_isa, sourceLocation: SourceLocation = #_sourceLocation
) {
    #expect(levels.last?.isa == APUS_ISA_GENERIC, sourceLocation: sourceLocation)
    for (better, worse) in zip(levels, levels.dropFirst()) {
        #expect(better.isa.rawValue > worse.isa.rawValue, sourceLocation: sourceLocation)
    }
    for level in levels {
        // Asked for only this level (and generic), and asked for everything up to it.
        #expect(select(1 | (1 << level.isa.rawValue)) == level.isa, sourceLocation: sourceLocation)
        if level.runsHere {
            #expect(select(apus_cpu_levels_capped(level.isa)) == level.isa, sourceLocation: sourceLocation)
        }
    }
    #expect(select(0) == APUS_ISA_GENERIC, sourceLocation: sourceLocation)
}

let edges = GuardedBuffer<UInt8>.Edge.allCases
extension GuardedBuffer<UInt8>.Edge {
    func of<T>(_: T.Type) -> GuardedBuffer<T>.Edge { self == .end ? .end : .start }
}
