import Glibc

/// Files as whole byte arrays: what the command line reads is data, not models, and fits in memory.
enum FileIO {
    /// Files above this are refused: 8 GiB.
    static let largestFile = 1 << 33

    /// The text that the system has for the current `errno`.
    private static var reason: String { String(cString: strerror(errno)) }

    /// Reads a regular file or a pipe to its end.
    static func read(_ path: String, atMost limit: Int = largestFile) throws -> [UInt8] {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { throw CLIError.file("\(path): \(reason)") }
        defer { close(file) }
        var status = stat()
        guard fstat(file, &status) == 0 else { throw CLIError.file("\(path): \(reason)") }
        if status.st_mode & S_IFMT == S_IFDIR { throw CLIError.file("\(path): is a directory") }
        var bytes: [UInt8] = []
        // One byte more than the file's size lets the first read see its end.
        var capacity = min(max(Int(status.st_size), 0), limit) + 1
        var ended = false
        while !ended {
            let have = bytes.count
            var got = 0
            let more = [UInt8](unsafeUninitializedCapacity: capacity) { buffer, count in
                repeat { got = Glibc.read(file, buffer.baseAddress, capacity) } while got < 0 && errno == EINTR
                count = max(got, 0)
            }
            guard got >= 0 else { throw CLIError.file("\(path): \(reason)") }
            guard got <= limit - have else { throw CLIError.file("\(path): larger than \(limit) bytes") }
            ended = got == 0
            if have == 0 { bytes = more } else { bytes += more }
            capacity = 1 << 20
        }
        return bytes
    }

    /// Writes a file under a temporary name beside its place and moves it there, so that no half-written file stays.
    static func write(_ bytes: [UInt8], to path: String) throws {
        let temporary = "\(path).\(getpid()).tmp"
        let file = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard file >= 0 else { throw CLIError.file("\(path): \(reason)") }
        var failure = write(bytes, to: file)
        if close(file) != 0, failure == nil { failure = reason }
        if failure == nil, rename(temporary, path) != 0 { failure = reason }
        if let failure {
            unlink(temporary)
            throw CLIError.file("\(path): \(failure)")
        }
    }

    /// Writes everything to an open file; returns the system's reason where that fails.
    @discardableResult
    static func write(_ bytes: [UInt8], to file: Int32) -> String? {
        bytes.withUnsafeBytes { raw in
            var done = 0
            while done < raw.count {
                let wrote = Glibc.write(file, raw.baseAddress.map { $0 + done }, raw.count - done)
                if wrote > 0 { done += wrote } else if errno != EINTR { return reason }
            }
            return nil
        }
    }

    /// Makes a directory unless it is there.
    static func makeDirectory(_ path: String) throws {
        if mkdir(path, 0o755) != 0, errno != EEXIST { throw CLIError.file("\(path): \(reason)") }
        guard isDirectory(path) else { throw CLIError.file("\(path): is not a directory") }
    }

    static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    /// The size of a file in bytes, if it is there.
    static func size(_ path: String) -> Int? {
        var status = stat()
        return stat(path, &status) == 0 ? Int(status.st_size) : nil
    }

    static func isDirectory(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }

    /// The names of what lies in a directory, hidden files apart, in order.
    static func list(_ path: String) throws -> [String] {
        guard let directory = opendir(path) else { throw CLIError.file("\(path): \(reason)") }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: MemoryLayout.size(ofValue: entry.pointee.d_name)) { String(cString: $0) }
            }
            if !name.hasPrefix(".") { names.append(name) }
        }
        return names.sorted()
    }

    /// The part after the last dot of the last path component, in lower case; empty without one.
    static func fileExtension(_ path: String) -> String {
        let name = path.split(separator: "/", omittingEmptySubsequences: true).last ?? ""
        guard let dot = name.lastIndex(of: ".") else { return "" }
        return name[name.index(after: dot)...].lowercased()
    }
}

/// Reads little-endian fields of untrusted bytes; every step is checked.
struct ByteReader {
    let bytes: ArraySlice<UInt8>
    private(set) var position: Int

    init(_ bytes: ArraySlice<UInt8>) {
        self.bytes = bytes
        position = bytes.startIndex
    }

    var remaining: Int { bytes.endIndex - position }

    mutating func take(_ count: Int) throws -> ArraySlice<UInt8> {
        guard count >= 0, count <= remaining else {
            throw CLIError.file("cut off: \(count) more bytes expected, \(remaining) left")
        }
        defer { position += count }
        return bytes[position..<position + count]
    }

    mutating func integer<Word: FixedWidthInteger & UnsignedInteger>(_: Word.Type) throws -> Word {
        var value: Word = 0
        for (index, byte) in try take(MemoryLayout<Word>.size).enumerated() { value |= Word(byte) << Word(8 * index) }
        return value
    }
}
