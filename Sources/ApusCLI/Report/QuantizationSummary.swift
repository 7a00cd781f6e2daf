import Apus
import ApusCore

/// What quantising did, for a terminal.
struct QuantizationSummary {
    let lines: [String]

    /// - Parameter sizes: of the files, in bytes.
    init(_ report: QuantizationReport, _ sizes: (before: Int, after: Int)) {
        var lines = Format.table([["", "before", "after", ""]] + Self.rows(report, sizes), numeric: [1, 2])
        let quantized = report.layers.filter(\.isQuantized)
        lines.append("")
        lines.append("\(quantized.count) of \(report.layers.count) layers quantised\(report.isEqualized ? ", channels equalised" : "")")
        let left = report.layers.filter { !$0.isQuantized && $0.damage != nil }
        if !left.isEmpty { lines.append("left in float: \(left.map(\.name).joined(separator: ", "))") }
        lines += report.notes
        let worst = report.layers.filter { ($0.outputError ?? 0) > 0 }.sorted { ($0.outputError ?? 0) > ($1.outputError ?? 0) }.prefix(5)
        if let largest = worst.first?.outputError, largest > 0 {
            lines.append("")
            lines += Format.table(
                [["largest errors", "", "", ""]] + worst.map { layer in
                    let error = layer.outputError ?? 0
                    return [Self.shortened(layer.name), layer.operation, Self.percent(error), Terminal.bar(error / largest, width: 16)]
                }, numeric: [2])
        }
        self.lines = lines
    }

    /// Names that converters put together of many can be hundreds of characters long.
    private static func shortened(_ name: String) -> String {
        name.count <= 48 ? name : "\(name.prefix(24))…\(name.suffix(23))"
    }

    /// What is compared, before, after, and what that means.
    static func rows(_ report: QuantizationReport, _ sizes: (before: Int, after: Int)) -> [[String]] {
        var rows: [[String]] = []
        if sizes.after > 0 {
            let share = Format.number(Double(sizes.before) / Double(sizes.after), digits: 2)
            rows.append(["size", Format.bytes(sizes.before), Format.bytes(sizes.after), "\(share)x smaller"])
        }
        if let old = report.before?.accuracy, let new = report.after?.accuracy {
            rows.append(["right answers", Self.percent(old), Self.percent(new), "\(new < old ? "" : "+")\(Format.fixed((new - old) * 100, 2)) points"])
        }
        if let error = report.after?.relativeError { rows.append(["error of the outputs", "-", Self.percent(error), "relative"]) }
        if let old = report.secondsBefore, let new = report.secondsAfter, new > 0 {
            rows.append(["one run", Format.seconds(old), Format.seconds(new), "\(Format.number(old / new, digits: 2))x faster"])
        }
        return rows
    }

    static func percent(_ share: Double) -> String { "\(Format.fixed(share * 100, 2)) %" }
}
