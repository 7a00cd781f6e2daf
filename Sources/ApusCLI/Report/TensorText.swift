import ApusCore

/// A tensor's elements as text for people.
enum TensorText {
    /// More elements than this are summarised.
    private static let mostShown = 100

    /// `float32[1, 10]` and the elements, or their range and the first of them.
    static func lines(_ name: String, _ tensor: HostTensor) -> [String] {
        let head = Terminal.bold(name) + "  \(tensor.type.numpyName)\(Format.shape(tensor.shape))"
        let texts = elements(tensor, atMost: mostShown)
        guard tensor.count > mostShown else { return [head] + grid(texts, tensor.shape).map { "  " + $0 } }
        var lines = [head]
        if tensor.type != .string, !tensor.type.isComplex { lines.append("  " + statistics(tensor.doubles())) }
        lines.append("  \(texts.prefix(8).joined(separator: " ")) … (\(Format.grouped(tensor.count)) elements)")
        return lines
    }

    private static func statistics(_ values: [Double]) -> String {
        let finite = values.filter(\.isFinite)
        guard let least = finite.min(), let most = finite.max() else { return "no finite element" }
        let mean = finite.reduce(0, +) / Double(finite.count)
        let odd = values.count - finite.count
        return "min \(Format.number(least))  mean \(Format.number(mean))  max \(Format.number(most))"
            + (odd > 0 ? "  (\(odd) not finite)" : "")
    }

    private static func elements(_ tensor: HostTensor, atMost limit: Int) -> [String] {
        switch tensor.type {
        case .string: tensor.strings.prefix(limit).map { "\"" + String(decoding: $0, as: UTF8.self) + "\"" }
        case .bool: tensor.bytes.prefix(limit).map { $0 == 0 ? "false" : "true" }
        case .uint64: tensor.codes().prefix(limit).map { "\($0)" }
        case .complex64, .complex128: complex(tensor.doubles(), limit)
        default:
            tensor.type.isInteger
                ? tensor.integers().prefix(limit).map { "\($0)" } : tensor.doubles().prefix(limit).map { Format.number($0) }
        }
    }

    private static func complex(_ parts: [Double], _ limit: Int) -> [String] {
        stride(from: 0, to: min(parts.count, 2 * limit) - 1, by: 2).map {
            "\(Format.number(parts[$0]))\(parts[$0 + 1] < 0 ? "" : "+")\(Format.number(parts[$0 + 1]))i"
        }
    }

    /// One line for each row of the last dimension, the elements in columns.
    private static func grid(_ texts: [String], _ shape: [Int]) -> [String] {
        if texts.isEmpty { return ["(empty)"] }
        let row = max(shape.last ?? 1, 1)
        let width = texts.map(\.count).max() ?? 0
        return stride(from: 0, to: texts.count, by: row).map { start in
            texts[start..<min(start + row, texts.count)].map { Format.right($0, row > 1 ? width : 0) }.joined(separator: " ")
        }
    }
}
