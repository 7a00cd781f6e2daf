import ApusCore
import ApusGraph

/// Removes stop words from a list of strings and changes the case of the rest.
///
/// Case follows Unicode's default mappings, with the dotted and dotless i of Turkish and Azerbaijani where `locale` says so.
/// Where nothing remains, the result is one empty string.
struct StringNormalizerOperator: Operator {
    static let schemas = [Schema("StringNormalizer", since: [10], inputs: 1...1)]

    private enum Case {
        case lower, upper
    }

    private let change: Case?
    private let isCaseSensitive: Bool
    private let isTurkic: Bool
    private let stopWords: Set<ByteString>

    init(_ node: NodeReader) throws {
        switch try node.choice("case_change_action", of: ["NONE", "LOWER", "UPPER"], default: "NONE") {
        case "LOWER": change = .lower
        case "UPPER": change = .upper
        default: change = nil
        }
        isCaseSensitive = try node.bool("is_case_sensitive", default: false)
        let language = try node.optionalString("locale")?.prefix { $0.isLetter }.lowercased()
        let isTurkic = language == "tr" || language == "az"
        self.isTurkic = isTurkic
        let words = try node.optionalStrings("stopwords") ?? []
        stopWords = Set(try isCaseSensitive ? words : words.map { try StringNormalizerOperator.changed($0, .lower, isTurkic) })
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        _ = try context.type(0, oneOf: [.string])
        guard let x = try context.dimensions(0, rank: 1...2) else { return [ValueInfo(.string, .unknown)] }
        if x.count == 2, let rows = x[0].known, rows != 1 {
            throw ApusError(.shapeMismatch, "input 0 must have shape [C] or [1,C], found \(PartialShape(x))")
        }
        if stopWords.isEmpty, let count = x[x.count - 1].known, count > 0 { return [ValueInfo(.string, PartialShape(x))] }
        return [ValueInfo(.string, x.count == 1 ? PartialShape([.unknown]) : PartialShape([.known(1), .unknown]))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let leading = [Int](try context.shape(0).dimensions.dropLast())
        let node = self
        return PreparedKernel("normalize_strings") { io in
            let input = try io.borrowedValue(0).asStrings().elements
            let bytes = try input.count.multiplied(by: MemoryLayout<ByteString>.stride)
            try io.budget.reserve(bytes, for: "\(input.count) strings")
            defer { io.budget.release(bytes) }
            var elements: [ByteString] = []
            elements.reserveCapacity(input.count)
            for string in input {
                if !node.stopWords.isEmpty {
                    let compared = node.isCaseSensitive ? string : try StringNormalizerOperator.changed(string, .lower, node.isTurkic)
                    if node.stopWords.contains(compared) { continue }
                }
                elements.append(try node.change.map { try StringNormalizerOperator.changed(string, $0, node.isTurkic) } ?? string)
            }
            if elements.isEmpty { elements.append(.empty) }
            try io.setOutput(0, .strings(StringTensor(shape: Shape(leading + [elements.count]), elements: elements)))
        }
    }

    private static func changed(_ string: ByteString, _ change: Case, _ isTurkic: Bool) throws -> ByteString {
        guard let text = String(validating: string.bytes, as: UTF8.self) else {
            throw ApusError(.invalidValue, "a string is not UTF-8: \"\(string)\"")
        }
        guard isTurkic else { return ByteString(change == .lower ? text.lowercased() : text.uppercased()) }
        var result = ""
        for scalar in text.unicodeScalars {
            switch (change, scalar) {
            case (.lower, "I"): result.unicodeScalars.append("\u{131}")
            case (.lower, "\u{130}"): result.unicodeScalars.append("i")
            case (.upper, "i"): result.unicodeScalars.append("\u{130}")
            case (.lower, _): result += scalar.properties.lowercaseMapping
            case (.upper, _): result += scalar.properties.uppercaseMapping
            }
        }
        return ByteString(result)
    }
}
