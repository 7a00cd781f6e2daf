/// One dimension of a shape that may not be known yet: a number, an expression over named symbols, or nothing at all.
///
/// Expressions are polynomials with integer coefficients in normal form, so equal sizes compare equal however an
/// exporter computed them: `batch*seq`, `past+seq`, `4*h`. Divisions that do not come out even, and other functions, are
/// symbols of their own, named by what they compute (`floor(seq/2)`).
public enum Dimension: Hashable, Sendable {
    case known(Int)
    case symbolic(Expression)
    case unknown

    /// A sum of products of symbols. Invariant: no zero coefficients, terms sorted, not a plain number.
    public struct Expression: Hashable, Sendable {
        fileprivate var terms: [Term]

        fileprivate struct Term: Hashable, Sendable {
            var coefficient: Int
            /// Sorted by name; a power is a repetition. Empty for the constant term, which is the last one.
            var symbols: [Symbol]
        }
    }

    /// A name; the function kept with it, where it stands for one, gives its value from other dimensions.
    public indirect enum Symbol: Hashable, Sendable {
        case name(ByteString)
        case floorDivision(Dimension, Dimension)
        case maximum(Dimension, Dimension)
        /// The result of broadcasting two dimensions of which neither is known to be 1.
        case broadcast(Dimension, Dimension)
    }

    package static func symbol(_ name: ByteString) -> Dimension {
        .symbolic(Expression(terms: [.init(coefficient: 1, symbols: [.name(name)])]))
    }

    public var known: Int? {
        if case .known(let value) = self { return value }
        return nil
    }
}

// MARK: - Arithmetic

extension Dimension {
    private var terms: [Expression.Term]? {
        switch self {
        case .known(0): []
        case .known(let value): [.init(coefficient: value, symbols: [])]
        case .symbolic(let expression): expression.terms
        case .unknown: nil
        }
    }

    /// Beyond this many terms an expression helps nobody.
    private static let mostTerms = 12

    private static func normalized(_ terms: [Expression.Term]) -> Dimension {
        var coefficients: [[Symbol]: Int] = [:]
        for term in terms {
            let (sum, overflow) = coefficients[term.symbols, default: 0].addingReportingOverflow(term.coefficient)
            if overflow { return .unknown }
            coefficients[term.symbols] = sum
        }
        let kept = coefficients.filter { $0.value != 0 }
        if kept.count > mostTerms { return .unknown }
        if kept.isEmpty { return .known(0) }
        if kept.count == 1, let constant = kept[[]] { return .known(constant) }
        let sorted = kept.map { Expression.Term(coefficient: $0.value, symbols: $0.key) }.sorted { a, b in
            if a.symbols.isEmpty != b.symbols.isEmpty { return b.symbols.isEmpty }
            return a.symbols.map(\.description).lexicographicallyPrecedes(b.symbols.map(\.description))
        }
        return .symbolic(Expression(terms: sorted))
    }

    package static func + (a: Dimension, b: Dimension) -> Dimension {
        if case .known(let x) = a, case .known(let y) = b {
            let (sum, overflow) = x.addingReportingOverflow(y)
            return overflow ? .unknown : .known(sum)
        }
        guard let x = a.terms, let y = b.terms else { return .unknown }
        return normalized(x + y)
    }

    package static func - (a: Dimension, b: Dimension) -> Dimension {
        a + b * .known(-1)
    }

    package static func * (a: Dimension, b: Dimension) -> Dimension {
        if a == .known(0) || b == .known(0) { return .known(0) }
        guard let x = a.terms, let y = b.terms, x.count * y.count <= mostTerms * 2 else { return .unknown }
        var product: [Expression.Term] = []
        for s in x {
            for t in y {
                let (coefficient, overflow) = s.coefficient.multipliedReportingOverflow(by: t.coefficient)
                if overflow || s.symbols.count + t.symbols.count > 16 { return .unknown }
                let symbols = (s.symbols + t.symbols).sorted { $0.description < $1.description }
                product.append(.init(coefficient: coefficient, symbols: symbols))
            }
        }
        return normalized(product)
    }

    /// The quotient where the division is exact (as polynomials); nil otherwise.
    package func dividedExactly(by divisor: Dimension) -> Dimension? {
        if self == divisor, self != .unknown, self != .known(0) { return .known(1) }
        guard let terms, let divisor = divisor.terms, divisor.count == 1 else { return nil }
        var quotient: [Expression.Term] = []
        for term in terms {
            guard divisor[0].coefficient != 0, divisor[0].coefficient != -1,
                term.coefficient % divisor[0].coefficient == 0
            else { return nil }
            var symbols = term.symbols
            for symbol in divisor[0].symbols {
                guard let index = symbols.firstIndex(of: symbol) else { return nil }
                symbols.remove(at: index)
            }
            quotient.append(.init(coefficient: term.coefficient / divisor[0].coefficient, symbols: symbols))
        }
        return Dimension.normalized(quotient)
    }

    /// The quotient rounded down.
    package func floorDivided(by divisor: Dimension) -> Dimension {
        if case .known(let x) = self, case .known(let y) = divisor {
            guard y > 0 else { return .unknown }
            return .known(x >= 0 ? x / y : -((-(x + 1)) / y) - 1)
        }
        if let exact = dividedExactly(by: divisor) { return exact }
        if self == .unknown || divisor == .unknown { return .unknown }
        return Dimension.of(.floorDivision(self, divisor))
    }

    package static func maximum(_ a: Dimension, _ b: Dimension) -> Dimension {
        if case .known(let x) = a, case .known(let y) = b { return .known(max(x, y)) }
        if a == b { return a }
        if a == .unknown || b == .unknown { return .unknown }
        return of(.maximum(a, b))
    }

    /// Whether the value is surely not negative: names stand for sizes, and a sum of products of sizes with positive
    /// coefficients is none.
    package var isNonNegative: Bool {
        guard let terms else { return false }
        return terms.allSatisfy { term in
            term.coefficient >= 0 && term.symbols.allSatisfy { symbol in
                switch symbol {
                case .name: true
                case .maximum(let a, let b): a.isNonNegative || b.isNonNegative
                case .floorDivision(let a, let b), .broadcast(let a, let b): a.isNonNegative && b.isNonNegative
                }
            }
        }
    }

    private static func of(_ symbol: Symbol) -> Dimension {
        // Deep nesting would make hashing and printing expensive.
        symbol.depth > 6 ? .unknown : .symbolic(Expression(terms: [.init(coefficient: 1, symbols: [symbol])]))
    }

    /// The dimension that broadcasting gives; nil where both are known and cannot be broadcast.
    package static func broadcast(_ a: Dimension, _ b: Dimension) -> Dimension? {
        if a == .known(1) { return b }
        if b == .known(1) || a == b { return a }
        switch (a, b) {
        case (.known, .known): return nil
        // A known size other than 1 wins: the other must be equal or 1.
        case (.known, _): return a
        case (_, .known): return b
        case (.unknown, _), (_, .unknown): return .unknown
        default: return of(.broadcast(a, b))
        }
    }

    /// The number this stands for when symbols have the given values; nil where one is missing.
    package func evaluated(_ values: [ByteString: Int]) -> Int? {
        guard let terms else { return nil }
        var sum = 0
        for term in terms {
            var product = term.coefficient
            for symbol in term.symbols {
                guard let value = symbol.evaluated(values) else { return nil }
                let (next, overflow) = product.multipliedReportingOverflow(by: value)
                if overflow { return nil }
                product = next
            }
            let (next, overflow) = sum.addingReportingOverflow(product)
            if overflow { return nil }
            sum = next
        }
        return sum
    }
}

extension Dimension.Symbol {
    fileprivate var depth: Int {
        switch self {
        case .name: 0
        case .floorDivision(let a, let b), .maximum(let a, let b), .broadcast(let a, let b): 1 + max(a.depth, b.depth)
        }
    }

    fileprivate func evaluated(_ values: [ByteString: Int]) -> Int? {
        switch self {
        case .name(let name): return values[name]
        case .floorDivision(let a, let b):
            guard let x = a.evaluated(values), let y = b.evaluated(values) else { return nil }
            return Dimension.known(x).floorDivided(by: .known(y)).known
        case .maximum(let a, let b):
            guard let x = a.evaluated(values), let y = b.evaluated(values) else { return nil }
            return max(x, y)
        case .broadcast(let a, let b):
            guard let x = a.evaluated(values), let y = b.evaluated(values) else { return nil }
            return x == 1 ? y : x
        }
    }
}

extension Dimension {
    fileprivate var depth: Int {
        guard case .symbolic(let expression) = self else { return 0 }
        return expression.terms.flatMap(\.symbols).map(\.depth).max() ?? 0
    }
}

// MARK: - Printing

extension Dimension: CustomStringConvertible {
    public var description: String {
        switch self {
        case .known(let value): "\(value)"
        case .unknown: "?"
        case .symbolic(let expression): expression.description
        }
    }
}

extension Dimension.Expression: CustomStringConvertible {
    public var description: String {
        var text = ""
        for term in terms {
            let factors = term.symbols.map(\.description)
            let magnitude = term.coefficient.magnitude
            let parts = (magnitude != 1 || factors.isEmpty ? ["\(magnitude)"] : []) + factors
            text += (term.coefficient < 0 ? "-" : text.isEmpty ? "" : "+") + parts.joined(separator: "*")
        }
        return text
    }

    /// The name, where this is one plain symbol.
    public var plainName: ByteString? {
        if terms.count == 1, terms[0].coefficient == 1, terms[0].symbols.count == 1, case .name(let name) = terms[0].symbols[0] {
            return name
        }
        return nil
    }
}

extension Dimension.Symbol: CustomStringConvertible {
    public var description: String {
        switch self {
        case .name(let name): name.description
        case .floorDivision(let a, let b): "floor((\(a))/(\(b)))"
        case .maximum(let a, let b): "max(\(a),\(b))"
        case .broadcast(let a, let b): "broadcast(\(a),\(b))"
        }
    }
}

// MARK: - Shapes of dimensions

/// A shape of which the rank or some dimensions may be unknown or symbolic.
public struct PartialShape: Hashable, Sendable, CustomStringConvertible {
    /// nil: not even the rank is known.
    public let dimensions: [Dimension]?

    public init(_ dimensions: [Dimension]?) {
        self.dimensions = dimensions
    }

    public init(_ shape: Shape) {
        dimensions = shape.dimensions.map(Dimension.known)
    }

    package static let unknown = PartialShape(nil)
    package static let scalar = PartialShape([])

    /// All dimensions unknown.
    package static func ofRank(_ rank: Int) -> PartialShape {
        PartialShape([Dimension](repeating: .unknown, count: max(0, rank)))
    }

    public var rank: Int? { dimensions?.count }

    /// The shape as numbers, where every dimension is known and none negative; throws where the product overflows.
    package func concrete() throws -> Shape? {
        guard let dimensions else { return nil }
        var known: [Int] = []
        known.reserveCapacity(dimensions.count)
        for dimension in dimensions {
            guard case .known(let value) = dimension else { return nil }
            known.append(value)
        }
        return try Shape(known)
    }

    /// Whether a tensor of `shape` can be of this partial shape.
    package func admits(_ shape: Shape) -> Bool {
        guard let dimensions else { return true }
        return dimensions.count == shape.rank
            && zip(dimensions, shape.dimensions).allSatisfy { $0.known == nil || $0.known == $1 }
    }

    /// What both shapes agree on, for a value that may be either.
    package func union(_ other: PartialShape) -> PartialShape {
        guard let a = dimensions, let b = other.dimensions, a.count == b.count else { return .unknown }
        return PartialShape(zip(a, b).map { $0 == $1 ? $0 : .unknown })
    }

    /// The knowledge of both shapes about one value: this shape's dimensions, the other's where unknown here.
    package func refined(by other: PartialShape) -> PartialShape {
        guard let a = dimensions else { return other }
        guard let b = other.dimensions, a.count == b.count else { return self }
        return PartialShape(
            zip(a, b).map { mine, theirs in
                if case .known = mine { return mine }
                if case .known = theirs { return theirs }
                return mine == .unknown ? theirs : mine
            })
    }

    /// Multidirectional broadcasting; throws where known dimensions disagree.
    package static func broadcast(_ shapes: [PartialShape]) throws -> PartialShape {
        var rank = 0
        for shape in shapes {
            guard let own = shape.rank else { return .unknown }
            rank = max(rank, own)
        }
        var result = [Dimension](repeating: .known(1), count: rank)
        for shape in shapes {
            for (axis, dimension) in (shape.dimensions ?? []).enumerated() {
                let target = axis + rank - (shape.rank ?? 0)
                guard let merged = Dimension.broadcast(result[target], dimension) else {
                    throw ApusError(
                        .shapeMismatch, "shapes \(shapes.map(\.description).joined(separator: " and ")) cannot be broadcast")
                }
                result[target] = merged
            }
        }
        return PartialShape(result)
    }

    public var description: String {
        guard let dimensions else { return "[...]" }
        return "[" + dimensions.map(\.description).joined(separator: ",") + "]"
    }
}
