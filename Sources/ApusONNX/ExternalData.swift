import ApusCore
import CApusONNX
import Glibc

/// Bytes that tensors may view, and what keeps them in place.
struct DataRegion {
    let bytes: UnsafeRawBufferPointer
    let owner: AnyObject?
    /// The map that `bytes` is a part of, where they come from a file.
    let mapping: FileMapping?

    /// A part of the region; `range` must lie within it.
    func slice(_ range: Range<Int>) -> DataRegion {
        DataRegion(bytes: UnsafeRawBufferPointer(rebasing: bytes[range]), owner: owner, mapping: mapping)
    }

    /// `bytes` as storage without copying them.
    func storage() throws -> Storage {
        guard let base = bytes.baseAddress else { throw ApusError(.internal, "a view of no bytes") }
        guard let mapping else { return .borrow(base, byteCount: bytes.count, owner: owner) }
        let bytes = UncheckedBytes(bytes: bytes)
        return .borrow(
            base, byteCount: bytes.bytes.count, owner: mapping, onDropPages: { range in
                mapping.dropPages(UnsafeRawBufferPointer(rebasing: bytes.bytes[range]))
            })
    }

    /// Lets a closure carry the pointer: it lives as long as the mapping that the closure holds, too.
    private struct UncheckedBytes: @unchecked Sendable {
        let bytes: UnsafeRawBufferPointer
    }
}

/// External data that the caller hands in by name: the bytes and what keeps them in place while the model lives (nil: the
/// caller does), or nil where there is none of that name.
package typealias ExternalDataProvider = (_ location: ByteString) throws -> (bytes: UnsafeRawBufferPointer, owner: AnyObject?)?

/// Finds the bytes that a model keeps outside of its file.
final class ExternalDataResolver {
    private let provider: ExternalDataProvider?
    /// The model's directory; nil where no file may be opened.
    private let directory: String?
    private var regions: [ByteString: DataRegion] = [:]

    init(provider: ExternalDataProvider?, directory: String?) {
        self.provider = provider
        self.directory = directory
    }

    /// What `external_data` says about one tensor.
    struct Reference {
        var location: ByteString?
        var offset = 0
        var length: Int?

        init(_ tensor: OpaquePointer, count: Int) throws {
            var seen = Set<String>()
            for index in 0..<count {
                let entry = capus_tensor_external(tensor, index)
                let key = entry.key.shown
                guard key == "location" || key == "offset" || key == "length" else { continue }
                guard seen.insert(key).inserted else { throw ApusError(.externalData, "external data have two of \"\(key)\"") }
                switch key {
                case "location": location = ByteString(entry.value)
                case "offset": offset = try Reference.number(entry)
                default: length = try Reference.number(entry)
                }
            }
        }

        private static func number(_ entry: capus_entry) throws -> Int {
            let text = entry.value.shown
            guard !text.isEmpty, text.utf8.allSatisfy({ $0 >= 48 && $0 <= 57 }), let number = Int(text) else {
                throw ApusError(.externalData, "the \(entry.key.shown) \"\(text)\" of external data is not a size")
            }
            return number
        }
    }

    /// The `byteCount` bytes (> 0) that `reference` stands for.
    func data(_ reference: Reference, byteCount: Int) throws -> DataRegion {
        guard let location = reference.location, !location.isEmpty else {
            throw ApusError(.externalData, "external data without a location")
        }
        if let length = reference.length, length != byteCount {
            throw ApusError(
                .externalData, "\(byteCount) bytes are needed, but the external data in \"\(location)\" are \(length) long")
        }
        let region = try regions[location] ?? open(location)
        regions[location] = region
        let (end, overflow) = reference.offset.addingReportingOverflow(byteCount)
        guard !overflow, end <= region.bytes.count else {
            throw ApusError(
                .externalData,
                "\(byteCount) bytes at \(reference.offset) are needed, but \"\(location)\" has only \(region.bytes.count)")
        }
        return region.slice(reference.offset..<end)
    }

    private func open(_ location: ByteString) throws -> DataRegion {
        if let provider, let given = try provider(location) {
            return DataRegion(bytes: given.bytes, owner: given.owner, mapping: nil)
        }
        guard let directory else {
            throw ApusError(
                .externalData,
                "the model keeps data in \"\(location)\": a model loaded from memory needs them handed in under that name")
        }
        let mapping = try ExternalFile(location: location, directory: directory).map()
        return DataRegion(bytes: mapping.bytes, owner: mapping, mapping: mapping)
    }
}

/// A file of external data inside of a directory.
///
/// A model is not trusted: the location must lead to a regular file in the directory (or below it), without passing a
/// symbolic link, and the file must not have a second name, which could lie outside.
private struct ExternalFile {
    let location: ByteString
    let components: [[UInt8]]
    let directory: String

    init(location: ByteString, directory: String) throws {
        self.location = location
        self.directory = directory
        let bytes = location.bytes
        func refuse(_ why: String) -> ApusError {
            ApusError(.externalData, "external data in \"\(location)\": \(why)")
        }
        if bytes.first == UInt8(ascii: "/") { throw refuse("the location must be relative to the model's directory") }
        if bytes.contains(0) { throw refuse("a location may not hold a NUL character") }
        components = bytes.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false).map(Array.init)
            .filter { $0 != [UInt8(ascii: ".")] }
        if components.contains([UInt8(ascii: "."), UInt8(ascii: ".")]) {
            throw refuse("the location leads out of the model's directory")
        }
        if components.isEmpty || components.contains([]) { throw refuse("the location names no file") }
    }

    func map() throws -> FileMapping {
        var folder = open(directory, pathOnly | O_DIRECTORY | O_CLOEXEC)
        guard folder >= 0 else { throw failure("cannot open the model's directory", errno) }
        defer { close(folder) }
        for component in components.dropLast() {
            let next = openat(folder, cString(component), pathOnly | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
            guard next >= 0 else { throw failure("cannot open the folder \"\(ByteString(component))\"", errno) }
            close(folder)
            folder = next
        }
        let name = cString(components[components.count - 1])
        var status = stat()
        // Looked at before it is opened: opening a device or a pipe can have effects, or wait.
        guard fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else {
            throw failure("cannot find the file", errno)
        }
        try check(status)
        let file = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)
        guard file >= 0 else { throw failure("cannot open the file", errno) }
        defer { close(file) }
        // And again, for it may have been replaced in between.
        guard fstat(file, &status) == 0 else { throw failure("cannot read the file", errno) }
        try check(status)
        return try FileMapping(descriptor: file, byteCount: Int(status.st_size), path: "\(location)")
    }

    private func check(_ status: stat) throws {
        let kind = status.st_mode & S_IFMT
        if kind == S_IFLNK { throw failure("symbolic links are not followed", nil) }
        guard kind == S_IFREG else { throw failure("it is not a regular file", nil) }
        guard status.st_nlink == 1 else {
            throw failure("the file has \(status.st_nlink) names (hard links), one of which may lie outside", nil)
        }
        guard status.st_size > 0 else { throw failure("the file is empty", nil) }
    }

    private func failure(_ what: String, _ number: Int32?) -> ApusError {
        let reason = number.map { ": \(systemMessage($0))" } ?? ""
        return ApusError(.externalData, "external data in \"\(location)\": \(what)\(reason)")
    }

    private func cString(_ component: [UInt8]) -> [CChar] {
        component.map { CChar(truncatingIfNeeded: $0) } + [0]
    }

    /// Linux's O_PATH, which Swift does not import: names a folder without the right to list it.
    private var pathOnly: Int32 { 0o10000000 }
}
