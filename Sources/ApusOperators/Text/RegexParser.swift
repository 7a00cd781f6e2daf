import ApusCore

/// Reads RE2's syntax (https://github.com/google/re2/wiki/Syntax). Captures are groups like others, and lazy operators are
/// the same as greedy ones: only whether a whole text matches is asked.
struct RegexParser {
    private struct Flags {
        var ignoresCase = false
        var isMultiline = false
        var dotTakesNewline = false
    }

    private let pattern: [Unicode.Scalar]
    private var position = 0
    private var flags = Flags()
    private var depth = 0

    /// RE2's limits: repetitions and nesting beyond these are refused.
    private static let mostRepetitions = 1000
    private static let deepest = 250

    init(_ pattern: String) { self.pattern = Array(pattern.unicodeScalars) }

    mutating func parse() throws -> RegexTree {
        let tree = try alternatives()
        if position < pattern.count { throw failure("a ) without (") }
        return tree
    }

    private func failure(_ what: String) -> ApusError {
        var text = ""
        text.unicodeScalars.append(contentsOf: pattern)
        return ApusError(.invalidModel, "the regular expression \"\(text)\" has \(what) at character \(position)")
    }

    private var next: Unicode.Scalar? { position < pattern.count ? pattern[position] : nil }

    private func peek(_ offset: Int) -> Unicode.Scalar? {
        position + offset < pattern.count ? pattern[position + offset] : nil
    }

    private mutating func take(_ text: String) -> Bool {
        let scalars = Array(text.unicodeScalars)
        guard position + scalars.count <= pattern.count, pattern[position..<(position + scalars.count)].elementsEqual(scalars) else {
            return false
        }
        position += scalars.count
        return true
    }

    private mutating func character() throws -> Unicode.Scalar {
        guard let scalar = next else { throw failure("an unexpected end") }
        position += 1
        return scalar
    }

    // MARK: Structure

    private mutating func alternatives() throws -> RegexTree {
        depth += 1
        defer { depth -= 1 }
        guard depth <= Self.deepest else { throw failure("more than \(Self.deepest) nested groups") }
        // Flags set within a group end with it.
        let outer = flags
        defer { flags = outer }
        var branches = [try sequence()]
        while take("|") { branches.append(try sequence()) }
        return branches.count == 1 ? branches[0] : .alternatives(branches)
    }

    private mutating func sequence() throws -> RegexTree {
        var parts: [RegexTree] = []
        while let scalar = next, scalar != "|", scalar != ")" {
            if take("\\Q") {
                while position < pattern.count, !take("\\E") { parts.append(.set(literal(try character()))) }
                if let last = parts.popLast() { parts.append(try repeated(last, true)) }
                continue
            }
            let (part, isRepeatable) = try atom()
            parts.append(try repeated(part, isRepeatable))
        }
        return parts.isEmpty ? .empty : .sequence(parts)
    }

    private mutating func repeated(_ part: RegexTree, _ isRepeatable: Bool) throws -> RegexTree {
        guard let (least, most) = try quantifier() else { return part }
        guard isRepeatable else { throw failure("nothing to repeat") }
        _ = take("?")
        if try quantifier() != nil { throw failure("a repetition of a repetition") }
        return .repetition(part, least, most)
    }

    private mutating func quantifier() throws -> (Int, Int?)? {
        if take("*") { return (0, nil) }
        if take("+") { return (1, nil) }
        if take("?") { return (0, 1) }
        guard next == "{" else { return nil }
        let start = position
        position += 1
        // What is no repetition stands for itself.
        guard let least = number() else {
            position = start
            return nil
        }
        var most: Int? = least
        if take(",") { most = number() }
        guard take("}") else {
            position = start
            return nil
        }
        guard least <= Self.mostRepetitions, (most ?? 0) <= Self.mostRepetitions, (most ?? least) >= least else {
            throw failure("a repetition of \(least) to \(most.map(String.init) ?? "any number of") times, beyond \(Self.mostRepetitions) or reversed,")
        }
        return (least, most)
    }

    private mutating func number() -> Int? {
        var value: Int?
        while let digit = next.flatMap({ $0.isASCII ? Character($0).wholeNumberValue : nil }) {
            value = min((value ?? 0) * 10 + digit, 1_000_000)
            position += 1
        }
        return value
    }

    // MARK: Atoms

    private mutating func atom() throws -> (RegexTree, isRepeatable: Bool) {
        let scalar = try character()
        switch scalar {
        case ".": return (.set(flags.dotTakesNewline ? .all : .noNewline), true)
        case "^": return (.assertion(flags.isMultiline ? .lineStart : .textStart), true)
        case "$": return (.assertion(flags.isMultiline ? .lineEnd : .textEnd), true)
        case "[": return (.set(try characterClass()), true)
        case "(": return try group()
        case "*", "+", "?":
            position -= 1
            throw failure("nothing to repeat")
        case "\\": return (try escape(), true)
        default: return (.set(literal(scalar)), true)
        }
    }

    private mutating func group() throws -> (RegexTree, isRepeatable: Bool) {
        if take("?") {
            if take("P<") || take("<") {
                var name = ""
                while let scalar = next, scalar != ">" {
                    guard CharacterSet.word.contains(scalar) else { throw failure("a bad group name") }
                    name.unicodeScalars.append(scalar)
                    position += 1
                }
                guard !name.isEmpty, take(">") else { throw failure("a bad group name") }
            } else {
                var changed = flags, value = true
                loop: while true {
                    switch try character() {
                    case "i": changed.ignoresCase = value
                    case "m": changed.isMultiline = value
                    case "s": changed.dotTakesNewline = value
                    // Which of * and *? is the lazy one does not matter here.
                    case "U": break
                    case "-" where value: value = false
                    case ")":
                        flags = changed
                        return (.empty, false)
                    case ":":
                        let outer = flags
                        flags = changed
                        defer { flags = outer }
                        return (try closed(), true)
                    default:
                        position -= 1
                        throw failure("an unknown group")
                    }
                }
            }
        }
        return (try closed(), true)
    }

    private mutating func closed() throws -> RegexTree {
        let tree = try alternatives()
        guard take(")") else { throw failure("a ( without )") }
        return tree
    }

    private func literal(_ scalar: Unicode.Scalar) -> CharacterSet {
        var set = CharacterSet([(scalar.value, scalar.value)])
        set.ignoresCase = flags.ignoresCase
        return set
    }

    private mutating func escape() throws -> RegexTree {
        if take("A") { return .assertion(.textStart) }
        if take("z") { return .assertion(.textEnd) }
        if take("b") { return .assertion(.wordBoundary) }
        if take("B") { return .assertion(.noWordBoundary) }
        if let members = try classEscape() {
            var set = CharacterSet(members)
            set.ignoresCase = flags.ignoresCase
            return .set(set)
        }
        return .set(literal(try characterEscape()))
    }

    /// After a backslash: \d, \pL and the like; nil where something else follows.
    private mutating func classEscape() throws -> [CharacterSet.Member]? {
        guard let scalar = next else { return nil }
        switch scalar {
        case "d", "s", "w", "D", "S", "W":
            position += 1
            let set: CharacterSet = scalar == "d" || scalar == "D" ? .digit : scalar == "s" || scalar == "S" ? .space : .word
            return scalar.properties.isUppercase ? set.complement : set.members
        case "p", "P":
            position += 1
            var isNegated = scalar == "P", name = ""
            if take("{") {
                if take("^") { isNegated.toggle() }
                while let scalar = next, scalar != "}" {
                    name.unicodeScalars.append(scalar)
                    position += 1
                }
                guard take("}") else { throw failure("a \\p{ without }") }
            } else {
                name.unicodeScalars.append(try character())
            }
            if name == "Any" { return isNegated ? [] : CharacterSet.all.members }
            let categories = Unicode.GeneralCategory.named(name)
            guard !categories.isEmpty else { throw failure("an unknown class of characters, \(name),") }
            return [.categories(categories, isNegated: isNegated)]
        default: return nil
        }
    }

    /// After a backslash: one character.
    private mutating func characterEscape() throws -> Unicode.Scalar {
        let scalar = try character()
        let simple: [Unicode.Scalar: Unicode.Scalar] = [
            "a": "\u{7}", "f": "\u{c}", "t": "\t", "n": "\n", "r": "\r", "v": "\u{b}",
        ]
        if let value = simple[scalar] { return value }
        if scalar == "x" {
            if take("{") {
                var value: UInt32 = 0, count = 0
                while let digit = next?.hexadecimalValue {
                    value = min(value << 4 | digit, 0x110000)
                    count += 1
                    position += 1
                }
                guard count > 0, take("}"), let scalar = Unicode.Scalar(value) else { throw failure("a bad \\x") }
                return scalar
            }
            guard let high = next?.hexadecimalValue, let low = peek(1)?.hexadecimalValue, let scalar = Unicode.Scalar(high << 4 | low) else {
                throw failure("a bad \\x")
            }
            position += 2
            return scalar
        }
        if let digit = scalar.octalValue {
            // One digit other than 0 alone would be a reference to a group, which is not regular.
            guard digit == 0 || peek(0)?.octalValue != nil else { throw failure("a reference to a group") }
            var value = digit, count = 1
            while count < 3, let digit = next?.octalValue {
                value = value << 3 | digit
                count += 1
                position += 1
            }
            guard let scalar = Unicode.Scalar(value) else { throw failure("a bad octal escape") }
            return scalar
        }
        guard !CharacterSet.word.contains(scalar), scalar.isASCII else { throw failure("an unknown escape, \\\(scalar),") }
        return scalar
    }

    // MARK: Classes

    private mutating func characterClass() throws -> CharacterSet {
        var set = CharacterSet([CharacterSet.Member]())
        set.isNegated = take("^")
        set.ignoresCase = flags.ignoresCase
        var isFirst = true
        while isFirst || next != "]" {
            if next == nil { throw failure("a [ without ]") }
            isFirst = false
            if take("[:") {
                set.members += try namedClass()
                continue
            }
            let start = position
            if take("\\"), let members = try classEscape() {
                set.members += members
                continue
            }
            position = start
            let low = try classCharacter()
            var high = low
            if next == "-", let after = peek(1), after != "]" {
                position += 1
                high = try classCharacter()
            }
            guard low.value <= high.value else { throw failure("a reversed range") }
            set.members.append(.range(low.value...high.value))
        }
        position += 1
        return set
    }

    private mutating func classCharacter() throws -> Unicode.Scalar {
        take("\\") ? try characterEscape() : try character()
    }

    private mutating func namedClass() throws -> [CharacterSet.Member] {
        let isNegated = take("^")
        let names: [(String, [(UInt32, UInt32)])] = [
            ("alnum", [(0x30, 0x39), (0x41, 0x5a), (0x61, 0x7a)]), ("alpha", [(0x41, 0x5a), (0x61, 0x7a)]), ("ascii", [(0, 0x7f)]),
            ("blank", [(9, 9), (32, 32)]), ("cntrl", [(0, 0x1f), (0x7f, 0x7f)]), ("digit", [(0x30, 0x39)]), ("graph", [(0x21, 0x7e)]),
            ("lower", [(0x61, 0x7a)]), ("print", [(0x20, 0x7e)]), ("punct", [(0x21, 0x2f), (0x3a, 0x40), (0x5b, 0x60), (0x7b, 0x7e)]),
            ("space", [(9, 13), (32, 32)]), ("upper", [(0x41, 0x5a)]), ("word", [(0x30, 0x39), (0x41, 0x5a), (0x5f, 0x5f), (0x61, 0x7a)]),
            ("xdigit", [(0x30, 0x39), (0x41, 0x46), (0x61, 0x66)]),
        ]
        for (name, ranges) in names where take(name + ":]") {
            let set = CharacterSet(ranges)
            return isNegated ? set.complement : set.members
        }
        throw failure("an unknown class of characters")
    }
}

extension Unicode.Scalar {
    fileprivate var hexadecimalValue: UInt32? {
        isASCII ? Character(self).hexDigitValue.map(UInt32.init) : nil
    }

    fileprivate var octalValue: UInt32? {
        value >= 0x30 && value <= 0x37 ? value - 0x30 : nil
    }
}

extension Unicode.GeneralCategory {
    /// The categories that an abbreviation stands for: two letters for one, the first letter for a group.
    fileprivate static func named(_ name: String) -> Set<Unicode.GeneralCategory> {
        Set(abbreviations.filter { $0.0 == name || (name.utf8.count == 1 && $0.0.hasPrefix(name)) }.map(\.1))
    }

    private static let abbreviations: [(String, Unicode.GeneralCategory)] = [
        ("Cc", .control), ("Cf", .format), ("Co", .privateUse), ("Cs", .surrogate), ("Ll", .lowercaseLetter), ("Lm", .modifierLetter),
        ("Lo", .otherLetter), ("Lt", .titlecaseLetter), ("Lu", .uppercaseLetter), ("Mc", .spacingMark), ("Me", .enclosingMark),
        ("Mn", .nonspacingMark), ("Nd", .decimalNumber), ("Nl", .letterNumber), ("No", .otherNumber), ("Pc", .connectorPunctuation),
        ("Pd", .dashPunctuation), ("Pe", .closePunctuation), ("Pf", .finalPunctuation), ("Pi", .initialPunctuation),
        ("Po", .otherPunctuation), ("Ps", .openPunctuation), ("Sc", .currencySymbol), ("Sk", .modifierSymbol), ("Sm", .mathSymbol),
        ("So", .otherSymbol), ("Zl", .lineSeparator), ("Zp", .paragraphSeparator), ("Zs", .spaceSeparator),
    ]
}
