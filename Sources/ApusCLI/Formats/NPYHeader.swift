/// The header of a .npy file: a Python dictionary literal with exactly three keys.
struct NPYHeader: Equatable {
    struct ElementType: Equatable {
        enum Kind: Equatable {
            case element(NPYArray.Element)
            case bytes
            case unicode
        }

        let kind: Kind
        /// Bytes of one element.
        let size: Int
        /// Bytes of what a byte order applies to: half a complex number, one code point of a string.
        let wordSize: Int
        let isBigEndian: Bool
    }

    let type: ElementType
    let isFortran: Bool
    let shape: [Int]

    init(_ header: ArraySlice<UInt8>) throws {
        var parser = PythonLiteral(header)
        var descr: String?
        var order: Bool?
        var shape: [Int]?
        try parser.expect("{")
        while !parser.accept("}") {
            let key = try parser.string()
            try parser.expect(":")
            switch key {
            case "descr" where descr == nil: descr = try parser.string()
            case "fortran_order" where order == nil: order = try parser.bool()
            case "shape" where shape == nil: shape = try parser.tuple()
            default: throw CLIError.file("unexpected key '\(key)' in the .npy header")
            }
            if !parser.accept(",") {
                try parser.expect("}")
                break
            }
        }
        try parser.end()
        guard let descr, let order, let shape else {
            throw CLIError.file("the .npy header lacks descr, fortran_order or shape")
        }
        type = try Self.type(descr)
        isFortran = order
        self.shape = shape
    }

    /// Reads a type string such as `<f4`: byte order, kind, size.
    private static func type(_ descr: String) throws -> ElementType {
        let unknown = CLIError.file("numpy's element type '\(descr)' has no counterpart in ONNX")
        var text = descr[...]
        let isBigEndian: Bool
        switch text.first {
        case "<", "|", "=": (isBigEndian, text) = (false, text.dropFirst())
        case ">": (isBigEndian, text) = (true, text.dropFirst())
        default: isBigEndian = false
        }
        guard let letter = text.popFirst(), let size = Int(text), size >= 0, size <= 1 << 24 else { throw unknown }
        func plain(_ element: NPYArray.Element, word: Int? = nil) -> ElementType {
            ElementType(kind: .element(element), size: size, wordSize: word ?? size, isBigEndian: isBigEndian)
        }
        switch (letter, size) {
        case ("b", 1), ("?", 1): return plain(.known(.bool))
        case ("i", 1): return plain(.known(.int8))
        case ("i", 2): return plain(.known(.int16))
        case ("i", 4): return plain(.known(.int32))
        case ("i", 8): return plain(.known(.int64))
        case ("u", 1): return plain(.known(.uint8))
        case ("u", 2): return plain(.known(.uint16))
        case ("u", 4): return plain(.known(.uint32))
        case ("u", 8): return plain(.known(.uint64))
        // ml_dtypes registers float8_e5m2 as a one-byte float, its other types as void.
        case ("f", 1): return plain(.known(.float8e5m2))
        case ("f", 2): return plain(.known(.float16))
        case ("f", 4): return plain(.known(.float32))
        case ("f", 8): return plain(.known(.float64))
        case ("c", 8): return plain(.known(.complex64), word: 4)
        case ("c", 16): return plain(.known(.complex128), word: 8)
        case ("V", 1), ("V", 2): return plain(.void(size: size))
        case ("S", _): return ElementType(kind: .bytes, size: size, wordSize: 1, isBigEndian: false)
        case ("U", _): return ElementType(kind: .unicode, size: 4 * size, wordSize: 4, isBigEndian: isBigEndian)
        case ("O", _):
            throw CLIError.file("the file holds pickled Python objects, which only Python can read")
        default: throw unknown
        }
    }
}

/// As much of Python's literal syntax as .npy headers use.
private struct PythonLiteral {
    private var bytes: ArraySlice<UInt8>

    init(_ bytes: ArraySlice<UInt8>) { self.bytes = bytes }

    private mutating func skipSpace() {
        while let byte = bytes.first, byte == 0x20 || (0x09...0x0d).contains(byte) { bytes.removeFirst() }
    }

    mutating func accept(_ text: StaticString) -> Bool {
        skipSpace()
        let expected = "\(text)".utf8
        guard bytes.starts(with: expected) else { return false }
        bytes = bytes.dropFirst(expected.count)
        return true
    }

    mutating func expect(_ text: StaticString) throws {
        guard accept(text) else { throw CLIError.file("'\(text)' expected in the .npy header") }
    }

    mutating func end() throws {
        skipSpace()
        guard bytes.isEmpty else { throw CLIError.file("the .npy header goes on after its dictionary") }
    }

    /// A string without escapes; a list of fields (a structured type) is told apart in the message.
    mutating func string() throws -> String {
        skipSpace()
        guard let quote = bytes.first, quote == UInt8(ascii: "'") || quote == UInt8(ascii: "\"") else {
            throw CLIError.file(
                bytes.first == UInt8(ascii: "[") ? "structured arrays are no tensors" : "a string expected in the .npy header")
        }
        let body = bytes.dropFirst()
        guard let end = body.firstIndex(of: quote) else { throw CLIError.file("a string in the .npy header does not end") }
        bytes = body[(end + 1)...]
        return String(decoding: body[..<end], as: UTF8.self)
    }

    mutating func bool() throws -> Bool {
        if accept("True") { return true }
        try expect("False")
        return false
    }

    mutating func tuple() throws -> [Int] {
        try expect("(")
        var values: [Int] = []
        while !accept(")") {
            skipSpace()
            let digits = bytes.prefix { (0x30...0x39).contains($0) }
            guard let value = Int(String(decoding: digits, as: UTF8.self)) else {
                throw CLIError.file("a dimension in the .npy header is no number or too large")
            }
            bytes = bytes.dropFirst(digits.count)
            // Python 2 marked long integers.
            _ = accept("L")
            values.append(value)
            if !accept(",") {
                try expect(")")
                break
            }
        }
        return values
    }
}
