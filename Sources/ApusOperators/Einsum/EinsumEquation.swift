import ApusCore

/// The equation of an Einsum: labels of the operands' axes and of the result's, numbered.
///
/// An ellipsis stands for as many axes as are left, aligned at the right and broadcast; these axes get labels of their own.
struct EinsumEquation {
    private enum Item: Equatable {
        case letter(UInt8)
        case ellipsis
    }

    private let text: String
    private let terms: [[Item]]
    /// nil: all labels that occur once, in alphabetical order, after the ellipsis.
    private let result: [Item]?

    init(_ text: String, operands: Int) throws {
        self.text = text
        let bytes = text.utf8.filter { $0 != 32 }
        var sides: [[UInt8]] = [[]]
        var index = 0
        while index < bytes.count {
            if bytes[index] == UInt8(ascii: "-") {
                guard index + 1 < bytes.count, bytes[index + 1] == UInt8(ascii: ">"), sides.count == 1 else {
                    throw ApusError(.invalidModel, "equation \"\(text)\" has an arrow out of place")
                }
                sides.append([])
                index += 2
            } else {
                sides[sides.count - 1].append(bytes[index])
                index += 1
            }
        }
        terms = try sides[0].split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false).map {
            try EinsumEquation.items(Array($0), text)
        }
        result = sides.count > 1 ? try EinsumEquation.items(sides[1], text) : nil
        guard terms.count == operands else {
            throw ApusError(.invalidModel, "equation \"\(text)\" has \(terms.count) operands, the node has \(operands)")
        }
        let known = Set(terms.flatMap { $0 }.compactMap { item in if case .letter(let letter) = item { letter } else { nil } })
        var seen = Set<UInt8>()
        for case .letter(let letter) in result ?? [] {
            guard known.contains(letter) else {
                throw ApusError(.invalidModel, "the result of equation \"\(text)\" has a label that no operand has")
            }
            guard seen.insert(letter).inserted else {
                throw ApusError(.invalidModel, "the result of equation \"\(text)\" has a label twice")
            }
        }
        if result?.contains(.ellipsis) ?? false, !terms.contains(where: { $0.contains(.ellipsis) }) {
            throw ApusError(.invalidModel, "the result of equation \"\(text)\" has an ellipsis that no operand has")
        }
    }

    private static func items(_ bytes: [UInt8], _ text: String) throws -> [Item] {
        var items: [Item] = []
        var index = 0
        while index < bytes.count {
            let byte = bytes[index]
            if byte | 32 >= UInt8(ascii: "a"), byte | 32 <= UInt8(ascii: "z") {
                items.append(.letter(byte))
                index += 1
            } else if bytes[index...].starts(with: [46, 46, 46]), !items.contains(.ellipsis) {
                items.append(.ellipsis)
                index += 3
            } else {
                throw ApusError(.invalidModel, "equation \"\(text)\" has an unexpected \"\(Character(UnicodeScalar(byte)))\"")
            }
        }
        return items
    }

    /// Labels as numbers: below 128 letters, from 128 on the axes of the ellipsis, counted from its right end.
    struct Labels {
        var operands: [[Int]]
        var result: [Int]
    }

    /// The labels of operands of these ranks; throws where an operand has too many or too few axes.
    func labels(ranks: [Int]) throws -> Labels {
        var widest = 0
        let operands = try zip(terms, ranks).enumerated().map { position, item -> [Int] in
            let (term, rank) = item
            let hidden = term.contains(.ellipsis) ? rank - (term.count - 1) : 0
            guard hidden >= 0, term.contains(.ellipsis) || term.count == rank else {
                throw ApusError(.shapeMismatch, "operand \(position) of equation \"\(text)\" has rank \(rank), which its labels do not fit")
            }
            widest = max(widest, hidden)
            return EinsumEquation.expanded(term, hidden)
        }
        if let result { return Labels(operands: operands, result: EinsumEquation.expanded(result, widest)) }
        var counts: [Int: Int] = [:]
        for label in operands.joined() { counts[label, default: 0] += 1 }
        let once = counts.filter { $0.key < 128 && $0.value == 1 }.map(\.key).sorted()
        return Labels(operands: operands, result: (0..<widest).reversed().map { 128 + $0 } + once)
    }

    private static func expanded(_ items: [Item], _ hidden: Int) -> [Int] {
        items.flatMap { item -> [Int] in
            switch item {
            case .letter(let letter): [Int(letter)]
            case .ellipsis: (0..<hidden).reversed().map { 128 + $0 }
            }
        }
    }

    /// The size of each label; throws where operands disagree (1 fits all).
    func sizes(_ labels: Labels, _ shapes: [[Dimension]]) throws -> [Int: Dimension] {
        var sizes: [Int: Dimension] = [:]
        for (names, shape) in zip(labels.operands, shapes) {
            for (label, dimension) in zip(names, shape) {
                guard let merged = Dimension.broadcast(sizes[label] ?? .known(1), dimension) else {
                    let name = label < 128 ? "label \"\(Character(UnicodeScalar(UInt8(label))))\"" : "an axis of the ellipsis"
                    throw ApusError(
                        .shapeMismatch, "\(name) of equation \"\(text)\" has sizes \(sizes[label] ?? .unknown) and \(dimension)")
                }
                sizes[label] = merged
            }
        }
        return sizes
    }
}
