import ApusCore
import CApus
import Glibc

/// How Swift objects cross the border: a handle is a retained reference, `destroy` releases it.
protocol Handle: AnyObject {}

extension Handle {
    /// A handle that the caller must give back.
    func retainedHandle() -> OpaquePointer {
        OpaquePointer(Unmanaged.passRetained(self).toOpaque())
    }

    /// A pointer that is valid as long as this object lives.
    var borrowedHandle: OpaquePointer {
        OpaquePointer(Unmanaged.passUnretained(self).toOpaque())
    }

    /// The object behind a handle; nil for NULL.
    static func from(_ handle: OpaquePointer?) -> Self? {
        handle.map { Unmanaged<Self>.fromOpaque(UnsafeRawPointer($0)).takeUnretainedValue() }
    }

    /// The object behind a handle that must not be NULL; `name` is the parameter's.
    static func required(_ handle: OpaquePointer?, _ name: StaticString) throws -> Self {
        guard let object = from(handle) else { throw ApusError(.invalidArgument, "\(name) is NULL") }
        return object
    }

    static func destroy(_ handle: OpaquePointer?) {
        if let handle { Unmanaged<Self>.fromOpaque(UnsafeRawPointer(handle)).release() }
    }
}

/// Bytes with a terminating NUL in memory that stays where it is.
final class CString: @unchecked Sendable {
    let pointer: UnsafeMutablePointer<CChar>
    let count: Int

    init(_ bytes: [UInt8]) {
        count = bytes.count
        pointer = .allocate(capacity: bytes.count + 1)
        for (index, byte) in bytes.enumerated() { pointer[index] = CChar(truncatingIfNeeded: byte) }
        pointer[bytes.count] = 0
    }

    convenience init(_ text: String) { self.init(Array(text.utf8)) }
    convenience init(_ string: ByteString) { self.init(string.bytes) }

    deinit { pointer.deallocate() }

    var view: apus_string { apus_string(data: pointer, size: count) }
}

// MARK: - Errors

final class ErrorHandle: Handle {
    let error: ApusError
    let code: ApusError.Code
    let message: CString
    let node: CString?

    init(_ error: ApusError) {
        self.error = error
        code = error.code
        message = CString(error.node.map { "\($0): \(error.message)" } ?? error.message)
        node = error.node.map { CString($0) }
    }
}

/// Runs `body` and turns what it throws into an error handle: the one place where errors cross the border.
func guarded(_ body: () throws -> Void) -> OpaquePointer? {
    do {
        try body()
        return nil
    } catch let error as ApusError {
        return ErrorHandle(error).retainedHandle()
    } catch {
        return ErrorHandle(ApusError(.internal, "\(error)")).retainedHandle()
    }
}

/// The parameter `out` of a function that creates something.
func required<T>(_ out: UnsafeMutablePointer<T>?, _ name: StaticString = "out") throws -> UnsafeMutablePointer<T> {
    guard let out else { throw ApusError(.invalidArgument, "\(name) is NULL") }
    return out
}

/// A NUL-terminated string of the caller.
func required(_ text: UnsafePointer<CChar>?, _ name: StaticString) throws -> String {
    guard let text else { throw ApusError(.invalidArgument, "\(name) is NULL") }
    return String(cString: text)
}

private let emptyString = CString("")


func stringOrNone(_ string: CString?) -> apus_string { string?.view ?? apus_string(data: nil, size: 0) }

@c @implementation
public func apus_error_get_code(_ error: OpaquePointer?) -> apus_error_code {
    ErrorHandle.from(error).map { apus_error_code(UInt32($0.code.rawValue)) } ?? APUS_OK
}

@c @implementation
public func apus_error_message(_ error: OpaquePointer?) -> UnsafePointer<CChar>? {
    UnsafePointer(ErrorHandle.from(error)?.message.pointer ?? emptyString.pointer)
}

@c @implementation
public func apus_error_node(_ error: OpaquePointer?) -> UnsafePointer<CChar>? {
    ErrorHandle.from(error)?.node.map { UnsafePointer($0.pointer) }
}

@c @implementation
public func apus_error_destroy(_ error: OpaquePointer?) {
    ErrorHandle.destroy(error)
}

// MARK: - Version

private let version = CString("\(APUS_VERSION_MAJOR).\(APUS_VERSION_MINOR).\(APUS_VERSION_PATCH)")

@c @implementation
public func apus_version() -> UnsafePointer<CChar>? { UnsafePointer(version.pointer) }

@c @implementation
public func apus_version_number() -> UInt32 {
    UInt32(APUS_VERSION_MAJOR * 10000 + APUS_VERSION_MINOR * 100 + APUS_VERSION_PATCH)
}
