import Glibc

/// The two output streams, and what is known of them.
enum Terminal {
    static let outputIsTerminal = isatty(STDOUT_FILENO) == 1
    static let errorIsTerminal = isatty(STDERR_FILENO) == 1
    /// https://no-color.org: any value switches it off.
    private static let hasColor = outputIsTerminal && getenv("NO_COLOR") == nil

    /// Columns of the terminal; 80 where there is none.
    static var width: Int {
        var size = winsize()
        guard ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 20 else { return 80 }
        return Int(size.ws_col)
    }

    /// Writes a line to standard error.
    static func error(_ text: String) {
        FileIO.write(Array((text + "\n").utf8), to: STDERR_FILENO)
    }

    /// Replaces the current line of a terminal on standard error; nothing elsewhere.
    static func progress(_ text: String) {
        guard errorIsTerminal else { return }
        FileIO.write(Array(("\r\u{1b}[K" + text).utf8), to: STDERR_FILENO)
    }

    static func bold(_ text: String) -> String { hasColor ? "\u{1b}[1m\(text)\u{1b}[0m" : text }
    static func faint(_ text: String) -> String { hasColor ? "\u{1b}[2m\(text)\u{1b}[0m" : text }

    /// A bar of `share` (0...1) of `width` columns, in eighths of a column.
    static func bar(_ share: Double, width: Int) -> String {
        guard share.isFinite else { return String(repeating: " ", count: width) }
        let eighths = Int((min(max(share, 0), 1) * Double(width * 8)).rounded())
        let rest = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8]
        let full = String(repeating: "█", count: eighths / 8) + rest
        return full + String(repeating: " ", count: width - eighths / 8 - (rest.isEmpty ? 0 : 1))
    }
}

/// Numbers as a person reads them.
enum Format {
    /// With a comma at every thousand.
    static func grouped(_ value: some BinaryInteger) -> String {
        let digits = "\(value.magnitude)"
        var out = value < 0 ? "-" : ""
        for (index, digit) in digits.enumerated() {
            if index > 0, (digits.count - index) % 3 == 0 { out += "," }
            out.append(digit)
        }
        return out
    }

    /// `digits` significant digits, without an exponent between 1e-4 and 1e9.
    static func number(_ value: Double, digits: Int = 4) -> String {
        guard value.isFinite else { return value.isNaN ? "nan" : value < 0 ? "-inf" : "inf" }
        if value == 0 { return "0" }
        let exponent = Int(log10(value.magnitude).rounded(.down))
        if exponent < -4 || exponent >= 9 { return scientific(value, digits - 1) }
        return fixed(value, max(0, digits - 1 - exponent))
    }

    /// A fixed number of decimals.
    static func fixed(_ value: Double, _ decimals: Int) -> String { formatted("%.*f", decimals, value) }

    static func scientific(_ value: Double, _ decimals: Int) -> String { formatted("%.*e", decimals, value) }

    private static func formatted(_ format: String, _ decimals: Int, _ value: Double) -> String {
        var buffer = [CChar](repeating: 0, count: 400)
        let length = withVaList([Int32(clamping: decimals), value]) { vsnprintf(&buffer, buffer.count, format, $0) }
        return String(decoding: buffer.prefix(Int(max(0, length))).map { UInt8(truncatingIfNeeded: $0) }, as: UTF8.self)
    }

    static func bytes(_ count: Int) -> String {
        var value = Double(count)
        if count < 1000 { return "\(count) B" }
        for unit in ["kB", "MB", "GB"] {
            value /= 1000
            if value < 1000 || unit == "GB" { return "\(number(value, digits: 3)) \(unit)" }
        }
        return "\(count) B"
    }

    /// A time in the unit that suits it.
    static func seconds(_ value: Double) -> String {
        value < 1e-3 ? "\(number(value * 1e6)) µs" : value < 1 ? "\(number(value * 1e3)) ms" : "\(number(value)) s"
    }

    static func shape(_ shape: [Int]) -> String { "[" + shape.map(String.init).joined(separator: ", ") + "]" }

    static func padded(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.count))
    }

    static func right(_ text: String, _ width: Int) -> String {
        String(repeating: " ", count: max(0, width - text.count)) + text
    }

    /// Rows as columns of equal width; `numeric` columns are flush right.
    static func table(_ rows: [[String]], numeric: Set<Int> = []) -> [String] {
        let columns = rows.map(\.count).max() ?? 0
        let widths = (0..<columns).map { column in rows.map { column < $0.count ? $0[column].count : 0 }.max() ?? 0 }
        return rows.map { row in
            var line = row.enumerated().map { numeric.contains($0) ? right($1, widths[$0]) : padded($1, widths[$0]) }
                .joined(separator: "  ")
            while line.last == " " { line.removeLast() }
            return line
        }
    }
}

/// e to the power of `x`.
func exponential(_ x: Double) -> Double { exp(x) }
