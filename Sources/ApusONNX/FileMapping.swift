import ApusCore
import Glibc

/// A file mapped read-only, as long as anything refers to it.
///
/// The map is private, so nothing that Apus does reaches the file. A file that another process shortens while it is
/// mapped ends the process with SIGBUS when the lost part is read; that is the caller's to avoid.
final class FileMapping: @unchecked Sendable {
    let base: UnsafeRawPointer
    let byteCount: Int

    /// Maps all of a regular file of at least one byte. Does not keep or close `descriptor`.
    init(descriptor: Int32, byteCount: Int, path: @autoclosure () -> String) throws {
        guard let map = mmap(nil, byteCount, PROT_READ, MAP_PRIVATE, descriptor, 0), map != MAP_FAILED else {
            let reason = errno
            throw ApusError(reason == ENOMEM ? .outOfMemory : .io, "cannot map \"\(path())\": \(systemMessage(reason))")
        }
        base = UnsafeRawPointer(map)
        self.byteCount = byteCount
    }

    deinit {
        munmap(UnsafeMutableRawPointer(mutating: base), byteCount)
    }

    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: base, count: byteCount) }

    /// Gives the pages that hold `bytes`, a part of this map, back to the system. They are read again when touched.
    ///
    /// A file system may keep a file in huge pages, which are mapped as a whole: with a large part go those that it has a share in.
    func dropPages(_ bytes: UnsafeRawBufferPointer) {
        guard let start = bytes.baseAddress, !bytes.isEmpty else { return }
        let unit = bytes.count >= 1 << 18 ? 2 << 20 : max(1, sysconf(Int32(_SC_PAGESIZE)))
        // Units are counted from address 0. The map's base is page-aligned.
        let first = UInt(bitPattern: base), last = first + UInt(byteCount)
        let from = max(first, UInt(bitPattern: start) / UInt(unit) * UInt(unit))
        let end = min(last, (UInt(bitPattern: start) + UInt(bytes.count) + UInt(unit) - 1) / UInt(unit) * UInt(unit))
        madvise(UnsafeMutableRawPointer(bitPattern: from), Int(end - from), MADV_DONTNEED)
    }

    /// Opens and maps the file at `path`, which may be a symbolic link. Refuses what is no regular file without waiting
    /// for it (a pipe without a writer, say).
    static func open(path: String) throws -> FileMapping {
        if path.utf8.contains(0) { throw ApusError(.io, "a path may not hold a NUL character") }
        let descriptor = Glibc.open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
        guard descriptor >= 0 else { throw ApusError(.io, "cannot open \"\(path)\": \(systemMessage(errno))") }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw ApusError(.io, "cannot read \"\(path)\": \(systemMessage(errno))") }
        guard status.st_mode & S_IFMT == S_IFREG else { throw ApusError(.io, "\"\(path)\" is not a regular file") }
        guard status.st_size > 0 else { throw ApusError(.invalidModel, "\"\(path)\" is empty") }
        return try FileMapping(descriptor: descriptor, byteCount: Int(status.st_size), path: path)
    }
}

/// The system's words for an errno.
func systemMessage(_ number: Int32) -> String {
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: 128) { buffer in
        guard let base = buffer.baseAddress, strerror_r(number, base, buffer.count) == 0 else { return "error \(number)" }
        return String(cString: base)
    }
}
