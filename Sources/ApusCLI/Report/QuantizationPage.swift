import Apus
import ApusCore

/// What quantising did, as a page of its own: no scripts, no other files.
struct QuantizationPage {
    private let report: QuantizationReport
    private let name: String
    private let sizes: (before: Int, after: Int)

    /// Layers whose distributions are drawn.
    private static let mostHistograms = 6

    /// - Parameters:
    ///   - name: what to call the model.
    ///   - sizes: of the files, in bytes.
    init(_ report: QuantizationReport, name: String, _ sizes: (before: Int, after: Int)) {
        (self.report, self.name, self.sizes) = (report, name, sizes)
    }

    var html: String {
        let quantized = report.layers.filter(\.isQuantized).count
        let judged = report.batchCount == 0 ? "without data" : "judged on \(report.batchCount) \(report.batchCount == 1 ? "batch" : "batches")"
        return """
            <!DOCTYPE html>
            <html lang="en">
            <meta charset="utf-8">
            <meta name="viewport" content="width=device-width">
            <title>\(escaped(name)), quantised</title>
            <style>
            :root { color-scheme: light dark; --ink: #1d2433; --paper: #fff; --faint: #8a93a6; --rule: #d9dee8; --good: #2f6fde; --left: #b9c0cc; --limit: #d4582a }
            @media (prefers-color-scheme: dark) { :root { --ink: #e4e8f0; --paper: #14181f; --faint: #8a93a6; --rule: #2c3442; --good: #6b9bff; --left: #566072; --limit: #ff8a5c } }
            body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
            h1 { font-size: 1.5rem; margin: 0; overflow-wrap: anywhere } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
            p { color: var(--faint); margin: .2rem 0 1rem }
            table { border-collapse: collapse; width: 100% } td, th { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--rule); font-weight: normal; overflow-wrap: anywhere }
            th { color: var(--faint) } .number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
            svg { width: 100%; height: auto; font: 11px system-ui, sans-serif; fill: var(--ink) } .faint { fill: var(--faint) }
            .bar { fill: var(--good) } .left { fill: var(--left) } .rule { stroke: var(--rule) } .limit { stroke: var(--limit); stroke-dasharray: 4 3 }
            .many { display: grid; grid-template-columns: repeat(auto-fill, minmax(18rem, 1fr)); gap: 1rem } figure { margin: 0 } figcaption { font-size: 13px; overflow-wrap: anywhere }
            </style>
            <h1>\(escaped(name))</h1>
            <p>\(methodName): \(quantized) of \(report.layers.count) layers\(report.isEqualized ? ", channels equalised" : ""), \(judged)</p>
            \(table([["", "before", "after", ""]] + QuantizationSummary.rows(report, sizes), numeric: [1, 2]))
            \(report.notes.map { "<p>\(escaped($0))</p>" }.joined(separator: "\n"))
            \(errors)
            \(histograms)
            <h2>Layers</h2>
            \(layers)
            </html>

            """
    }

    private var methodName: String {
        switch report.method {
        case .static: "8-bit weights and activations"
        case .dynamic: "8-bit weights, activations quantised as they come"
        case .weights: "weights alone"
        }
    }

    private func escaped(_ text: String) -> String {
        var result = ""
        for character in text.unicodeScalars {
            switch character {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "\"": result += "&quot;"
            default: result.unicodeScalars.append(character)
            }
        }
        return result
    }

    private func table(_ rows: [[String]], numeric: Set<Int>) -> String {
        let lines = rows.enumerated().map { row, cells in
            let tag = row == 0 ? "th" : "td"
            return "<tr>" + cells.enumerated().map { column, text in
                "<\(tag)\(numeric.contains(column) ? " class=\"number\"" : "")>\(escaped(text))</\(tag)>"
            }.joined() + "</tr>"
        }
        return "<table>\n\(lines.joined(separator: "\n"))\n</table>"
    }

    private var layers: String {
        let percent = { (value: Double?) in value.map(QuantizationSummary.percent) ?? "" }
        let rows = report.layers.map { layer in
            [layer.name, layer.operation, layer.isQuantized ? "" : "float", percent(layer.weightError), percent(layer.outputError), percent(layer.damage)]
        }
        return table([["layer", "operator", "", "error of weights", "of output", "damage alone"]] + rows, numeric: [3, 4, 5])
    }

    /// A bar for each layer in the order of the model, errors of outputs (or weights, where no data were given) upwards.
    private var errors: String {
        let ofOutputs = report.layers.contains { $0.outputError != nil }
        let values = report.layers.map { (ofOutputs ? $0.outputError : $0.weightError) ?? 0 }
        guard let largest = values.max(), largest > 0 else { return "" }
        let (width, height, margin) = (900.0, 220.0, 44.0)
        let step = (width - margin) / Double(values.count)
        var marks = ""
        for share in [0, 0.5, 1] {
            let y = height - share * (height - 20)
            marks += "<line class=\"rule\" x1=\"\(margin)\" x2=\"\(width)\" y1=\"\(y)\" y2=\"\(y)\"/>"
            marks += "<text class=\"faint\" x=\"\(margin - 6)\" y=\"\(y + 4)\" text-anchor=\"end\">\(Format.number(share * largest * 100, digits: 2)) %</text>"
        }
        for (position, value) in values.enumerated() {
            let tall = value / largest * (height - 20), layer = report.layers[position]
            marks += "<rect class=\"\(layer.isQuantized ? "bar" : "left")\" x=\"\(margin + Double(position) * step + step * 0.1)\" y=\"\(height - tall)\" "
            marks += "width=\"\(step * 0.8)\" height=\"\(max(tall, 0.5))\"><title>\(escaped(layer.name)): \(QuantizationSummary.percent(value))</title></rect>"
        }
        return """
            <h2>Error of each layer</h2>
            <p>Root mean square of what \(ofOutputs ? "its output is off by, errors of the layers before included" : "its weights are off by"), as a share of that of the original. Grey: left in float.</p>
            <svg viewBox="0 -4 \(width) \(height + 8)" role="img">\(marks)</svg>
            """
    }

    private var histograms: String {
        let worst = report.layers.filter { $0.histogram != nil && $0.isQuantized }.sorted { ($0.outputError ?? 0) > ($1.outputError ?? 0) }
        let figures = worst.prefix(QuantizationPage.mostHistograms).compactMap(figure)
        if figures.isEmpty { return "" }
        return """
            <h2>What the worst layers make</h2>
            <p>Distribution of the elements in the original, counts on a logarithmic scale; dashed: the ends of the 8-bit range.</p>
            <div class="many">\(figures.joined(separator: "\n"))</div>
            """
    }

    private func figure(_ layer: QuantizationReport.Layer) -> String? {
        guard let (low, high, counts) = layer.histogram, high > low, !counts.isEmpty else { return nil }
        let (width, height) = (300.0, 110.0)
        // Ends of the range may lie outside of what was seen.
        let from = min(Double(low), Double(layer.range?.low ?? low)), to = max(Double(high), Double(layer.range?.high ?? high))
        func x(_ value: Double) -> Double { (value - from) / (to - from) * width }
        let largest = counts.map(Self.height).max() ?? 1
        let step = (Double(high) - Double(low)) / Double(counts.count)
        var marks = ""
        for (bin, count) in counts.enumerated() where count > 0 {
            let tall = Self.height(count) / max(largest, 1) * (height - 10), left = x(Double(low) + Double(bin) * step)
            marks += "<rect class=\"bar\" x=\"\(left)\" y=\"\(height - tall)\" width=\"\(max(step / (to - from) * width - 0.4, 0.4))\" height=\"\(tall)\"/>"
        }
        for end in layer.range.map({ [Double($0.low), Double($0.high)] }) ?? [] {
            marks += "<line class=\"limit\" x1=\"\(x(end))\" x2=\"\(x(end))\" y1=\"0\" y2=\"\(height)\"/>"
        }
        marks += "<text class=\"faint\" x=\"0\" y=\"\(height + 14)\">\(Format.number(from, digits: 3))</text>"
        marks += "<text class=\"faint\" x=\"\(width)\" y=\"\(height + 14)\" text-anchor=\"end\">\(Format.number(to, digits: 3))</text>"
        let error = layer.outputError.map { ", \(QuantizationSummary.percent($0))" } ?? ""
        return """
            <figure><svg viewBox="-2 0 \(width + 4) \(height + 18)" role="img">\(marks)</svg>
            <figcaption>\(escaped(layer.name)) (\(escaped(layer.operation))\(error))</figcaption></figure>
            """
    }

    /// About the logarithm of a count: its bits.
    private static func height(_ count: UInt64) -> Double {
        if count == 0 { return 0 }
        let bits = 63 - count.leadingZeroBitCount
        return Double(bits) + Double(count) / Double(UInt64(1) << UInt64(bits))
    }
}
