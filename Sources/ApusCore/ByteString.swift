/// A string as ONNX stores it: bytes, not characters.
///
/// Names and string elements come from files and may hold invalid UTF-8. Swift's `String` would repair such bytes and
/// compares by canonical equivalence, so two different names could become equal; bytes never do.
public struct ByteString: Hashable, Sendable, ExpressibleByStringLiteral, CustomStringConvertible {
    public let bytes: [UInt8]

    public init(_ bytes: [UInt8]) {
        self.bytes = bytes
    }

    public init(_ bytes: UnsafeRawBufferPointer) {
        self.bytes = Array(bytes)
    }

    public init(_ text: String) {
        bytes = Array(text.utf8)
    }

    public init(stringLiteral value: StaticString) {
        bytes = value.withUTF8Buffer { Array($0) }
    }

    package static let empty = ByteString([UInt8]())

    public var isEmpty: Bool { bytes.isEmpty }

    /// The text for people to read: bytes that are not UTF-8 appear as replacement characters.
    public var description: String { String(decoding: bytes, as: UTF8.self) }

    /// Whether the bytes are exactly those of `text`.
    package func equals(_ text: String) -> Bool {
        bytes.elementsEqual(text.utf8)
    }
}
