import ApusCore

/// Where an input's contents come from: the right side of `--input NAME=…`.
enum InputSource: Equatable, Sendable {
    case npy(String)
    case npz(String)
    case picture(String)
    case json(String)
    /// JSON on the command line itself.
    case inline(String)
    /// Every element the same number.
    case fill(Double)
    /// Uniform numbers: floats in low..<high, whole numbers in low...high; by default 0..<1 and 0...1.
    case random(seed: UInt64, low: Double?, high: Double?)

    static let forms = "a .npy, .npz, .png, .jpg or .json file, json:TEXT, zeros, fill:X or random:SEED[:LOW:HIGH]"

    init(_ text: String) throws {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        switch parts[0] {
        case "zeros" where parts.count == 1: self = .fill(0)
        case "fill":
            guard parts.count == 2, let value = Double(parts[1]) else {
                throw CLIError.usage("'\(text)' is not of the form fill:X")
            }
            self = .fill(value)
        case "random":
            self = try Self.random(parts.dropFirst(), text)
        case "json": self = .inline(String(text.dropFirst(5)))
        default:
            switch FileIO.fileExtension(text) {
            case "npy": self = .npy(text)
            case "npz": self = .npz(text)
            case "png", "jpg", "jpeg": self = .picture(text)
            case "json": self = .json(text)
            default: throw CLIError.usage("'\(text)' is not \(Self.forms)")
            }
        }
    }

    private static func random(_ parts: ArraySlice<String>, _ text: String) throws -> InputSource {
        let form = CLIError.usage("'\(text)' is not of the form random:SEED or random:SEED:LOW:HIGH")
        let values = Array(parts)
        guard let first = values.first, let seed = UInt64(first) else { throw form }
        if values.count == 1 { return .random(seed: seed, low: nil, high: nil) }
        guard values.count == 3, let low = Double(values[1]), let high = Double(values[2]), low <= high,
            low.isFinite, high.isFinite
        else { throw form }
        return .random(seed: seed, low: low, high: high)
    }

    /// Files of several named tensors may stand for the whole set of inputs.
    var mayHoldSeveral: Bool {
        switch self {
        case .npz, .json, .inline: true
        default: false
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, and the same numbers on every machine.
struct SplitMix64: RandomNumberGenerator, Sendable {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }

    /// Uniform in 0..<1, in steps of 2^-24: exact in single precision too.
    mutating func unit() -> Double { Double(next() >> 40) / Double(1 << 24) }
}

extension HostTensor {
    /// More elements are not made up on the command line.
    private static let mostGenerated = 1 << 31

    static func filled(_ type: ElementType, _ shape: [Int], with value: Double) throws -> HostTensor {
        let count = try generatedCount(type, shape)
        if type == .string {
            guard value == 0 else { throw CLIError.usage("a string input cannot be filled with \(value)") }
            return try HostTensor(shape, strings: Array(repeating: [], count: count))
        }
        guard value != 0 else { return try HostTensor(type, shape, bytes: [UInt8](repeating: 0, count: type.byteCount(count) ?? 0)) }
        let element: [Double] = type.isComplex ? [value, 0] : [value]
        return try HostTensor(type, shape, numbers: (0..<count).flatMap { _ in element })
    }

    static func random(_ type: ElementType, _ shape: [Int], seed: UInt64, low: Double?, high: Double?) throws -> HostTensor {
        let count = try generatedCount(type, shape)
        guard type != .string else { throw CLIError.usage("random contents are for numbers, not for strings") }
        let (low, high) = (low ?? 0, high ?? 1)
        var generator = SplitMix64(seed: seed)
        var writer = ElementWriter(type)
        for _ in 0..<(type.isComplex ? 2 * count : count) {
            let unit = generator.unit()
            // Whole numbers include the upper end.
            try writer.append(type.isInteger || type == .bool
                ? min((low + unit * (high - low + 1)).rounded(.down), high) : low + unit * (high - low))
        }
        return try HostTensor(type, shape, bytes: writer.finish())
    }

    private static func generatedCount(_ type: ElementType, _ shape: [Int]) throws -> Int {
        guard let count = elementCount(shape), count <= mostGenerated else {
            throw CLIError.usage("a tensor of shape \(shape) is too large to make up")
        }
        return count
    }
}
