import ApusCore

/// A regular expression in RE2's syntax, compiled to a program that runs all alternatives at once.
///
/// Time is proportional to the product of the lengths of program and text (Thompson, "Regular expression search
/// algorithm", 1968), so no pattern can make a match take exponential time. Characters are Unicode scalars; bytes that are
/// no UTF-8 count as U+FFFD. Of Unicode's classes, general categories are known, scripts are not.
struct RegularExpression: Sendable {
    /// One step of the program.
    enum Instruction: Sendable {
        /// Takes one character of the set.
        case character(CharacterSet)
        /// Goes on at both places.
        case split(Int, Int)
        case jump(Int)
        case assertion(Assertion)
        case match
    }

    enum Assertion: Sendable {
        case textStart, textEnd, lineStart, lineEnd, wordBoundary, noWordBoundary
    }

    private let program: [Instruction]

    /// The most instructions of a program: repetitions of repetitions would grow without bound.
    private static let mostInstructions = 100_000

    /// Throws `invalidModel` where `pattern` is no regular expression.
    init(_ pattern: String) throws {
        var parser = RegexParser(pattern)
        let tree = try parser.parse()
        var program: [Instruction] = []
        try RegularExpression.emit(tree, &program)
        program.append(.match)
        self.program = program
    }

    private static func emit(_ tree: RegexTree, _ program: inout [Instruction]) throws {
        guard program.count < mostInstructions else {
            throw ApusError(.invalidModel, "the regular expression becomes more than \(mostInstructions) instructions")
        }
        switch tree {
        case .empty: break
        case .set(let set): program.append(.character(set))
        case .assertion(let assertion): program.append(.assertion(assertion))
        case .sequence(let parts): for part in parts { try emit(part, &program) }
        case .alternatives(let parts):
            var exits: [Int] = []
            for (index, part) in parts.enumerated() {
                let split = program.count
                if index + 1 < parts.count { program.append(.jump(0)) }
                try emit(part, &program)
                guard index + 1 < parts.count else { break }
                exits.append(program.count)
                program.append(.jump(0))
                program[split] = .split(split + 1, program.count)
            }
            for exit in exits { program[exit] = .jump(program.count) }
        case .repetition(let part, let least, let most):
            for _ in 0..<least {
                let start = program.count
                try emit(part, &program)
                // Nothing, however often, is nothing.
                if program.count == start { break }
            }
            guard let most else {
                let split = program.count
                program.append(.jump(0))
                try emit(part, &program)
                program.append(.jump(split))
                program[split] = .split(split + 1, program.count)
                return
            }
            var splits: [Int] = []
            for _ in least..<max(least, most) {
                splits.append(program.count)
                program.append(.jump(0))
                try emit(part, &program)
            }
            for split in splits { program[split] = .split(split + 1, program.count) }
        }
    }

    /// Whether the whole of `text` matches.
    func matchesWhole(_ text: ByteString) -> Bool {
        let scalars = Array(String(decoding: text.bytes, as: UTF8.self).unicodeScalars)
        var current = States(program.count), next = States(program.count)
        add(0, &current, scalars, 0)
        for (position, scalar) in scalars.enumerated() {
            if current.list.isEmpty { return false }
            next.removeAll()
            for state in current.list {
                if case .character(let set) = program[state], set.contains(scalar) { add(state + 1, &next, scalars, position + 1) }
            }
            swap(&current, &next)
        }
        return current.contains(program.count - 1)
    }

    /// A set of instructions that can be emptied at once.
    private struct States {
        private(set) var list: [Int] = []
        private var generation: [Int]
        private var current = 1

        init(_ count: Int) { generation = [Int](repeating: 0, count: count) }

        func contains(_ state: Int) -> Bool { generation[state] == current }

        mutating func insert(_ state: Int) -> Bool {
            if generation[state] == current { return false }
            generation[state] = current
            list.append(state)
            return true
        }

        mutating func removeAll() {
            list.removeAll(keepingCapacity: true)
            current += 1
        }
    }

    /// Adds an instruction and all that follow it without a character.
    private func add(_ start: Int, _ states: inout States, _ text: [Unicode.Scalar], _ position: Int) {
        var pending = [start]
        while let state = pending.popLast() {
            guard states.insert(state) else { continue }
            switch program[state] {
            case .jump(let target): pending.append(target)
            case .split(let a, let b): pending += [a, b]
            case .assertion(let assertion) where RegularExpression.holds(assertion, text, position): pending.append(state + 1)
            default: break
            }
        }
    }

    private static func holds(_ assertion: Assertion, _ text: [Unicode.Scalar], _ position: Int) -> Bool {
        func isWord(_ index: Int) -> Bool { text.indices.contains(index) && CharacterSet.word.contains(text[index]) }
        switch assertion {
        case .textStart: return position == 0
        case .textEnd: return position == text.count
        case .lineStart: return position == 0 || text[position - 1] == "\n"
        case .lineEnd: return position == text.count || text[position] == "\n"
        case .wordBoundary: return isWord(position - 1) != isWord(position)
        case .noWordBoundary: return isWord(position - 1) == isWord(position)
        }
    }
}

/// What a pattern says, before it becomes a program.
indirect enum RegexTree {
    case empty
    case set(CharacterSet)
    case assertion(RegularExpression.Assertion)
    case sequence([RegexTree])
    case alternatives([RegexTree])
    case repetition(RegexTree, Int, Int?)
}

/// A set of Unicode scalars.
struct CharacterSet: Sendable {
    enum Member: Sendable {
        case range(ClosedRange<UInt32>)
        /// Scalars of general categories.
        case categories(Set<Unicode.GeneralCategory>, isNegated: Bool)
    }

    var members: [Member]
    var isNegated = false
    /// Whether a scalar belongs to the set where its other case does.
    var ignoresCase = false

    init(_ members: [Member]) { self.members = members }

    init(_ ranges: [(UInt32, UInt32)]) { members = ranges.map { .range($0.0...$0.1) } }

    static let digit = CharacterSet([(0x30, 0x39)])
    static let space = CharacterSet([(0x09, 0x0a), (0x0c, 0x0d), (0x20, 0x20)])
    static let word = CharacterSet([(0x30, 0x39), (0x41, 0x5a), (0x5f, 0x5f), (0x61, 0x7a)])
    static let all = CharacterSet([(0, 0x10ffff)])
    static let noNewline = CharacterSet([(0, 9), (11, 0x10ffff)])

    /// The members of the complement, of a set that consists of ranges.
    var complement: [Member] {
        var ranges: [ClosedRange<UInt32>] = [], start: UInt32 = 0
        let own = members.compactMap { member in if case .range(let range) = member { range } else { nil } }
        for range in own.sorted(by: { $0.lowerBound < $1.lowerBound }) {
            if range.lowerBound > start { ranges.append(start...(range.lowerBound - 1)) }
            start = max(start, range.upperBound + 1)
        }
        if start <= 0x10ffff { ranges.append(start...0x10ffff) }
        return ranges.map { .range($0) }
    }

    func contains(_ scalar: Unicode.Scalar) -> Bool {
        var found = holds(scalar)
        if !found, ignoresCase {
            for mapping in [scalar.properties.lowercaseMapping, scalar.properties.uppercaseMapping] where !found {
                let scalars = mapping.unicodeScalars
                if scalars.count == 1, let other = scalars.first, other != scalar { found = holds(other) }
            }
        }
        return found != isNegated
    }

    private func holds(_ scalar: Unicode.Scalar) -> Bool {
        members.contains { member in
            switch member {
            case .range(let range): range.contains(scalar.value)
            case .categories(let categories, let isNegated): categories.contains(scalar.properties.generalCategory) != isNegated
            }
        }
    }
}
