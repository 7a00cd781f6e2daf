import ApusCore
import CApusONNX

// What Swift needs to speak with the C border.

extension ByteString {
    /// A copy of bytes that belong to a parsed model.
    init(_ bytes: capus_bytes) {
        self.init(UnsafeRawBufferPointer(start: bytes.data, count: bytes.size))
    }
}

extension capus_bytes {
    var isEmpty: Bool { size == 0 }

    /// The text, for people to read.
    var shown: String { ByteString(self).description }
}

/// Runs a function of the border that can fail, and throws what it reports.
func checkBorder(_ body: (UnsafeMutablePointer<capus_error>) -> capus_status) throws {
    var error = capus_error()
    let status = body(&error)
    if status != CAPUS_OK { throw ApusError(status, error) }
}

/// As `checkBorder`, for functions that return a handle.
func handleFromBorder(_ body: (UnsafeMutablePointer<capus_error>) -> OpaquePointer?) throws -> OpaquePointer {
    var error = capus_error()
    guard let handle = body(&error) else { throw ApusError(error.code, error) }
    return handle
}

extension ApusError {
    fileprivate init(_ status: capus_status, _ error: capus_error) {
        let message = withUnsafePointer(to: error) { String(cString: capus_error_message($0)) }
        let code: Code =
            switch status {
            case CAPUS_INVALID_MODEL: .invalidModel
            case CAPUS_OUT_OF_MEMORY: .outOfMemory
            case CAPUS_LIMIT_EXCEEDED: .memoryLimit
            case CAPUS_IO_ERROR: .io
            default: .internal
            }
        self.init(code, message)
    }
}

/// The text of an operator's, domain's or attribute's name. Those are compared with names that Apus knows and with each
/// other, so bytes that are not UTF-8 are refused rather than repaired: two names must not become one.
func identifier(_ bytes: capus_bytes, _ what: String) throws -> String {
    guard let text = String(validating: UnsafeBufferPointer(start: bytes.data, count: bytes.size), as: UTF8.self) else {
        throw ApusError(.invalidModel, "the \(what) \"\(bytes.shown)\" is not UTF-8")
    }
    return text
}

/// The metadata entries of a message.
func metadata(_ kind: capus_kind, _ handle: OpaquePointer, count: Int) -> [(key: ByteString, value: ByteString)] {
    if count == 0 { return [] }
    let entries = [capus_entry](unsafeUninitializedCapacity: count) { buffer, initialized in
        initialized = min(count, capus_metadata(kind, UnsafeRawPointer(handle), buffer.baseAddress, count))
    }
    return entries.map { (ByteString($0.key), ByteString($0.value)) }
}
