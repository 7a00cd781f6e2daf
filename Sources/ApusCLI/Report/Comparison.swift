import ApusCore

/// How far a tensor is from the expected one.
struct Comparison: Equatable, Sendable {
    /// Why nothing could be compared: another type or shape.
    let problem: String?
    /// The largest difference of two elements; infinite where only one of them is finite, or the only NaN.
    let maximum: Double
    /// That difference as a share of the largest expected magnitude; nil where that is zero.
    let relative: Double?
    /// Elements that differ at all.
    let different: Int
    /// What the difference may be.
    let limit: Double
    /// Position of the largest difference, in row-major order.
    let worst: Int?

    var passed: Bool { problem == nil && maximum <= limit }

    /// The share of the largest expected magnitude that a difference may reach unless the caller says otherwise.
    static func defaultTolerance(_ type: ElementType) -> Double {
        switch type {
        case .float32, .float64, .complex64, .complex128: 1e-4
        case .float16: 5e-3
        case _ where type.isFloatingPoint: 2e-2
        default: 0
        }
    }

    /// - Parameters:
    ///   - relativeTolerance: share of the largest expected magnitude that a difference may reach; nil: by element type.
    ///   - absoluteTolerance: added to that.
    init(_ actual: HostTensor, expected: HostTensor, relativeTolerance: Double?, absoluteTolerance: Double) {
        guard actual.type == expected.type, actual.shape == expected.shape else {
            self.init(
                problem: "\(actual.type.numpyName)\(Format.shape(actual.shape)), expected "
                    + "\(expected.type.numpyName)\(Format.shape(expected.shape))")
            return
        }
        if actual.type == .string {
            let different = actual.strings.indices.filter { actual.strings[$0] != expected.strings[$0] }
            self.init(
                maximum: different.isEmpty ? 0 : .infinity, relative: nil, different: different.count, limit: 0, worst: different.first)
            return
        }
        // Beyond 53 bits Doubles cannot tell neighbours apart; equality of the bits can.
        let isWide = actual.type == .int64 || actual.type == .uint64
        let (a, e) = (actual.doubles(), expected.doubles())
        let (wideA, wideE) = isWide ? (actual.codes(), expected.codes()) : ([], [])
        var (maximum, largest, different) = (0.0, 0.0, 0)
        var worst: Int?
        for index in a.indices {
            if e[index].isFinite { largest = max(largest, e[index].magnitude) }
            if isWide ? wideA[index] == wideE[index] : a[index] == e[index] || (a[index].isNaN && e[index].isNaN) { continue }
            different += 1
            let raw = (a[index] - e[index]).magnitude
            let distance = raw.isNaN ? Double.infinity : isWide ? max(raw, 1) : raw
            if worst == nil || distance > maximum { (maximum, worst) = (distance, index) }
        }
        let tolerance = relativeTolerance ?? Self.defaultTolerance(actual.type)
        self.init(
            maximum: maximum, relative: largest > 0 ? maximum / largest : nil, different: different,
            limit: absoluteTolerance + tolerance * largest, worst: worst)
    }

    private init(
        problem: String? = nil, maximum: Double = .infinity, relative: Double? = nil, different: Int = 0, limit: Double = 0,
        worst: Int? = nil
    ) {
        (self.problem, self.maximum, self.relative) = (problem, maximum, relative)
        (self.different, self.limit, self.worst) = (different, limit, worst)
    }
}

/// Tolerances by output name, from arguments `VALUE` and `NAME=VALUE`.
struct Tolerances: Equatable, Sendable {
    private var common: Double?
    private var named: [String: Double] = [:]

    init(_ arguments: [String], option: String) throws {
        for argument in arguments {
            // The last sign: names may contain it, numbers do not.
            let sign = argument.lastIndex(of: "=")
            let text = sign.map { String(argument[argument.index(after: $0)...]) } ?? argument
            guard let value = Double(text), value >= 0 else {
                throw CLIError.usage("\(option) \(argument): '\(text)' is no tolerance")
            }
            if let sign { named[String(argument[..<sign])] = value } else { common = value }
        }
    }

    var names: [String] { named.keys.sorted() }

    subscript(name: String) -> Double? { named[name] ?? common }
}
