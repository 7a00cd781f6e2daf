/// A JSON document. Numbers stay text, so that 64-bit integers keep all their digits.
indirect enum JSONValue: Equatable, Sendable {
    case null
    case bool(Bool)
    case number(String)
    case string(String)
    case array([JSONValue])
    case object([Member])

    struct Member: Equatable, Sendable {
        let name: String
        let value: JSONValue

        init(_ name: String, _ value: JSONValue) {
            self.name = name
            self.value = value
        }
    }

    /// Parses RFC 8259 text in UTF-8.
    init(parsing bytes: ArraySlice<UInt8>) throws {
        var parser = JSONParser(bytes)
        self = try parser.document()
    }

    subscript(name: String) -> JSONValue? {
        guard case .object(let members) = self else { return nil }
        return members.first { $0.name == name }?.value
    }

    // MARK: Writing

    static func integer(_ value: some BinaryInteger) -> JSONValue { .number("\(value)") }

    /// A finite number as itself, others as the strings "NaN", "Infinity" and "-Infinity", for which JSON has no numbers.
    static func real(_ value: Double) -> JSONValue {
        value.isNaN ? .string("NaN") : value.isInfinite ? .string(value < 0 ? "-Infinity" : "Infinity") : .number("\(value)")
    }

    /// As `real(_:)`, with the digits that single precision needs.
    static func real(_ value: Float) -> JSONValue {
        value.isFinite ? .number("\(value)") : .real(Double(value))
    }

    /// The document as text. Objects get a line per member, arrays of plain values one line.
    func text(indent: Int = 0) -> String {
        var out = ""
        write(to: &out, indent)
        return out
    }

    private var isPlain: Bool {
        switch self {
        case .array, .object: false
        default: true
        }
    }

    private func write(to out: inout String, _ indent: Int) {
        let inner = String(repeating: "  ", count: indent + 1)
        let outer = String(repeating: "  ", count: indent)
        switch self {
        case .null: out += "null"
        case .bool(let value): out += value ? "true" : "false"
        case .number(let text): out += text
        case .string(let text): Self.quote(text, &out)
        case .array(let items) where items.allSatisfy(\.isPlain):
            out += "["
            for (index, item) in items.enumerated() {
                if index > 0 { out += ", " }
                item.write(to: &out, indent)
            }
            out += "]"
        case .array(let items):
            out += "["
            for (index, item) in items.enumerated() {
                out += index > 0 ? ",\n\(inner)" : "\n\(inner)"
                item.write(to: &out, indent + 1)
            }
            out += "\n\(outer)]"
        case .object(let members):
            if members.isEmpty { return out += "{}" }
            out += "{"
            for (index, member) in members.enumerated() {
                out += index > 0 ? ",\n\(inner)" : "\n\(inner)"
                Self.quote(member.name, &out)
                out += ": "
                member.value.write(to: &out, indent + 1)
            }
            out += "\n\(outer)}"
        }
    }

    private static func quote(_ text: String, _ out: inout String) {
        out += "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": out += "\\\""
            case "\\": out += "\\\\"
            case "\n": out += "\\n"
            case "\r": out += "\\r"
            case "\t": out += "\\t"
            case _ where scalar.value < 0x20 || scalar.value == 0x7f:
                let hex = String(scalar.value, radix: 16)
                out += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
            default: out.unicodeScalars.append(scalar)
            }
        }
        out += "\""
    }
}

private struct JSONParser {
    private let bytes: ArraySlice<UInt8>
    private var position: Int
    private var depth = 0
    /// ONNX has no rank limit, but nothing real nests this deep, and the parser calls itself.
    private static let deepest = 64

    init(_ bytes: ArraySlice<UInt8>) {
        self.bytes = bytes
        position = bytes.startIndex
    }

    mutating func document() throws -> JSONValue {
        let value = try self.value()
        skipSpace()
        guard peek == nil else { throw failure("unexpected text after the value") }
        return value
    }

    private var peek: UInt8? { position < bytes.endIndex ? bytes[position] : nil }

    private func failure(_ what: String) -> CLIError {
        CLIError.file("JSON: \(what) at byte \(position - bytes.startIndex)")
    }

    private mutating func skipSpace() {
        while let byte = peek, byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09 { position += 1 }
    }

    private mutating func accept(_ byte: UInt8) -> Bool {
        skipSpace()
        guard peek == byte else { return false }
        position += 1
        return true
    }

    private mutating func word(_ text: StaticString, _ value: JSONValue) throws -> JSONValue {
        let expected = "\(text)".utf8
        guard bytes[position...].starts(with: expected) else { throw failure("a value expected") }
        position += expected.count
        return value
    }

    private mutating func value() throws -> JSONValue {
        skipSpace()
        guard let byte = peek else { throw failure("the text ends too early") }
        switch byte {
        case UInt8(ascii: "{"): return try nested { try $0.object() }
        case UInt8(ascii: "["): return try nested { try $0.array() }
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        default: return try number()
        }
    }

    private mutating func nested(_ body: (inout JSONParser) throws -> JSONValue) throws -> JSONValue {
        guard depth < Self.deepest else { throw failure("nested deeper than \(Self.deepest)") }
        depth += 1
        position += 1
        defer { depth -= 1 }
        return try body(&self)
    }

    private mutating func array() throws -> JSONValue {
        var items: [JSONValue] = []
        if accept(UInt8(ascii: "]")) { return .array(items) }
        while true {
            items.append(try value())
            if accept(UInt8(ascii: "]")) { return .array(items) }
            guard accept(UInt8(ascii: ",")) else { throw failure("',' or ']' expected") }
        }
    }

    private mutating func object() throws -> JSONValue {
        var members: [JSONValue.Member] = []
        var names: Set<String> = []
        if accept(UInt8(ascii: "}")) { return .object(members) }
        while true {
            skipSpace()
            guard peek == UInt8(ascii: "\"") else { throw failure("a member's name expected") }
            let name = try string()
            guard names.insert(name).inserted else { throw failure("the name '\(name)' is there twice") }
            guard accept(UInt8(ascii: ":")) else { throw failure("':' expected") }
            members.append(.init(name, try value()))
            if accept(UInt8(ascii: "}")) { return .object(members) }
            guard accept(UInt8(ascii: ",")) else { throw failure("',' or '}' expected") }
        }
    }

    private mutating func number() throws -> JSONValue {
        let start = position
        func isDigit(_ byte: UInt8?) -> Bool { byte.map { (0x30...0x39).contains($0) } ?? false }
        if peek == UInt8(ascii: "-") { position += 1 }
        let first = peek
        guard isDigit(first) else { throw failure("a value expected") }
        while isDigit(peek) { position += 1 }
        if first == UInt8(ascii: "0"), position - start > (bytes[start] == UInt8(ascii: "-") ? 2 : 1) {
            throw failure("a number with a leading zero")
        }
        if peek == UInt8(ascii: ".") {
            position += 1
            guard isDigit(peek) else { throw failure("a digit expected") }
            while isDigit(peek) { position += 1 }
        }
        if peek == UInt8(ascii: "e") || peek == UInt8(ascii: "E") {
            position += 1
            if peek == UInt8(ascii: "+") || peek == UInt8(ascii: "-") { position += 1 }
            guard isDigit(peek) else { throw failure("a digit expected") }
            while isDigit(peek) { position += 1 }
        }
        return .number(String(decoding: bytes[start..<position], as: UTF8.self))
    }

    private mutating func string() throws -> String {
        position += 1
        var text: [UInt8] = []
        while let byte = peek {
            position += 1
            switch byte {
            case UInt8(ascii: "\""):
                guard let string = String(validating: text, as: UTF8.self) else { throw failure("a string is no UTF-8") }
                return string
            case UInt8(ascii: "\\"): text += String(try escape()).utf8
            case 0..<0x20: throw failure("a control character in a string")
            default: text.append(byte)
            }
        }
        throw failure("a string does not end")
    }

    private mutating func escape() throws -> Unicode.Scalar {
        guard let byte = peek else { throw failure("a string does not end") }
        position += 1
        switch byte {
        case UInt8(ascii: "n"): return "\n"
        case UInt8(ascii: "r"): return "\r"
        case UInt8(ascii: "t"): return "\t"
        case UInt8(ascii: "b"): return "\u{8}"
        case UInt8(ascii: "f"): return "\u{c}"
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return Unicode.Scalar(byte)
        case UInt8(ascii: "u"):
            let high = try hex()
            if let scalar = Unicode.Scalar(high) { return scalar }
            // Characters beyond 16 bits come as two halves.
            guard high < 0xdc00, bytes[position...].starts(with: [UInt8(ascii: "\\"), UInt8(ascii: "u")]) else {
                throw failure("half a surrogate pair")
            }
            position += 2
            let low = try hex()
            guard (0xdc00..<0xe000).contains(low),
                let scalar = Unicode.Scalar(0x10000 + (high - 0xd800) << 10 + (low - 0xdc00))
            else { throw failure("half a surrogate pair") }
            return scalar
        default: throw failure("an unknown escape")
        }
    }

    private mutating func hex() throws -> UInt32 {
        let digits = bytes[position...].prefix(4)
        guard digits.count == 4, digits.allSatisfy({ $0 != UInt8(ascii: "+") && $0 != UInt8(ascii: "-") }),
            let value = UInt32(String(decoding: digits, as: UTF8.self), radix: 16)
        else { throw failure("four hexadecimal digits expected") }
        position += 4
        return value
    }
}
