import CImageCodecs

/// Zip archives as numpy writes and reads them: stored and deflated members, zip64 where sizes need it.
///
/// Reading goes by the central directory, as the format demands (APPNOTE.TXT 4.3); every size and checksum is verified.
enum Zip {
    struct Member: Equatable, Sendable {
        let name: String
        let bytes: [UInt8]
    }

    /// What all members together may inflate to: 16 GiB.
    static let largestContent = 1 << 34

    private static let localSignature: UInt32 = 0x0403_4b50
    private static let centralSignature: UInt32 = 0x0201_4b50
    private static let endSignature: UInt32 = 0x0605_4b50
    private static let zip64EndSignature: UInt32 = 0x0606_4b50
    private static let zip64LocatorSignature: UInt32 = 0x0706_4b50

    // MARK: Reading

    /// All members, in the order of the central directory. Directories are left out.
    static func read(_ file: [UInt8], atMost limit: Int = largestContent) throws -> [Member] {
        let directory = try centralDirectory(file)
        var reader = ByteReader(directory.bytes)
        var members: [Member] = []
        var names: Set<String> = []
        var room = limit
        while reader.remaining > 0 {
            let entry = try Entry(&reader)
            guard !entry.name.hasSuffix("/") else { continue }
            guard names.insert(entry.name).inserted else { throw CLIError.file("'\(entry.name)' is there twice") }
            guard entry.size <= room else { throw CLIError.file("the archive holds more than \(limit) bytes") }
            room -= entry.size
            members.append(Member(name: entry.name, bytes: try at(entry.name) { try content(of: entry, in: file) }))
        }
        guard members.count <= directory.count else {
            throw CLIError.file("the central directory holds more than the \(directory.count) entries announced")
        }
        return members
    }

    private struct Entry {
        let name: String
        let method: UInt16
        let checksum: UInt32
        let compressedSize: Int
        let size: Int
        let offset: Int

        init(_ reader: inout ByteReader) throws {
            guard try reader.integer(UInt32.self) == centralSignature else {
                throw CLIError.file("the central directory is damaged")
            }
            _ = try reader.take(4)
            let flags = try reader.integer(UInt16.self)
            method = try reader.integer(UInt16.self)
            _ = try reader.take(4)
            checksum = try reader.integer(UInt32.self)
            var compressed = UInt64(try reader.integer(UInt32.self))
            var plain = UInt64(try reader.integer(UInt32.self))
            let nameLength = Int(try reader.integer(UInt16.self))
            let extraLength = Int(try reader.integer(UInt16.self))
            let commentLength = Int(try reader.integer(UInt16.self))
            _ = try reader.take(8)
            var start = UInt64(try reader.integer(UInt32.self))
            name = String(decoding: try reader.take(nameLength), as: UTF8.self)
            var extra = ByteReader(try reader.take(extraLength))
            _ = try reader.take(commentLength)
            // Fields that are all ones are found, in this order, in the zip64 extra field.
            while extra.remaining >= 4 {
                let id = try extra.integer(UInt16.self)
                var field = ByteReader(try extra.take(Int(try extra.integer(UInt16.self))))
                guard id == 1 else { continue }
                if plain == UInt64(UInt32.max) { plain = try field.integer(UInt64.self) }
                if compressed == UInt64(UInt32.max) { compressed = try field.integer(UInt64.self) }
                if start == UInt64(UInt32.max) { start = try field.integer(UInt64.self) }
            }
            guard flags & 1 == 0 else { throw CLIError.file("'\(name)' is encrypted") }
            guard let compressedSize = Int(exactly: compressed), let size = Int(exactly: plain),
                let offset = Int(exactly: start)
            else { throw CLIError.file("'\(name)' has impossible sizes") }
            (self.compressedSize, self.size, self.offset) = (compressedSize, size, offset)
        }
    }

    private static func content(of entry: Entry, in file: [UInt8]) throws -> [UInt8] {
        guard entry.offset <= file.count else { throw CLIError.file("starts beyond the end of the archive") }
        var reader = ByteReader(file[entry.offset...])
        guard try reader.integer(UInt32.self) == localSignature else { throw CLIError.file("the local header is damaged") }
        _ = try reader.take(22)
        let skip = Int(try reader.integer(UInt16.self)) + Int(try reader.integer(UInt16.self))
        _ = try reader.take(skip)
        let packed = try reader.take(entry.compressedSize)
        let bytes: [UInt8]
        switch entry.method {
        case 0:
            guard entry.size == entry.compressedSize else { throw CLIError.file("stored with two different sizes") }
            bytes = Array(packed)
        case 8:
            // Deflate cannot shrink by more than about 1032 times: a larger claim is a lie and not worth the memory.
            guard entry.size / 1040 <= entry.compressedSize else { throw CLIError.file("has an impossible size") }
            var ok = false
            bytes = [UInt8](unsafeUninitializedCapacity: entry.size) { buffer, count in
                ok = packed.withUnsafeBufferPointer {
                    apus_inflate_raw($0.baseAddress, $0.count, buffer.baseAddress, entry.size) == 0
                }
                count = ok ? entry.size : 0
            }
            guard ok else { throw CLIError.file("the compressed data is damaged") }
        default: throw CLIError.file("is compressed by method \(entry.method); only stored and deflate are read")
        }
        guard checksum(bytes) == entry.checksum else { throw CLIError.file("the checksum does not match") }
        return bytes
    }

    /// The bytes of the central directory and the number of entries it is said to have.
    private static func centralDirectory(_ file: [UInt8]) throws -> (bytes: ArraySlice<UInt8>, count: UInt64) {
        // The end record is 22 bytes, and a comment of up to 65,535 may follow it.
        var start = file.count - 22
        let lowest = max(0, start - 65_535)
        while start >= lowest {
            if file[start] == 0x50, file[start + 1] == 0x4b, file[start + 2] == 5, file[start + 3] == 6 { break }
            start -= 1
        }
        guard start >= lowest, start >= 0 else { throw CLIError.file("not a zip archive, or cut off") }
        var reader = ByteReader(file[start...])
        _ = try reader.take(8)
        _ = try reader.integer(UInt16.self)
        var count = UInt64(try reader.integer(UInt16.self))
        var size = UInt64(try reader.integer(UInt32.self))
        var offset = UInt64(try reader.integer(UInt32.self))
        if count == UInt64(UInt16.max) || size == UInt64(UInt32.max) || offset == UInt64(UInt32.max), start >= 20 {
            var locator = ByteReader(file[(start - 20)...])
            if try locator.integer(UInt32.self) == zip64LocatorSignature {
                _ = try locator.take(4)
                guard let place = Int(exactly: try locator.integer(UInt64.self)), place <= start else {
                    throw CLIError.file("the zip64 end record lies outside the archive")
                }
                var end = ByteReader(file[place...])
                guard try end.integer(UInt32.self) == zip64EndSignature else {
                    throw CLIError.file("the zip64 end record is damaged")
                }
                _ = try end.take(28)
                count = try end.integer(UInt64.self)
                size = try end.integer(UInt64.self)
                offset = try end.integer(UInt64.self)
            }
        }
        guard let first = Int(exactly: offset), let length = Int(exactly: size), first <= start, length <= start - first
        else { throw CLIError.file("the central directory lies outside the archive") }
        return (file[first..<first + length], count)
    }

    // MARK: Writing

    /// An archive of the members, deflated where that makes them smaller.
    static func write(_ members: [Member]) throws -> [UInt8] {
        var out: [UInt8] = []
        var directory: [UInt8] = []
        for member in members {
            let packed = deflated(member.bytes)
            let body = packed ?? member.bytes
            let method: UInt16 = packed == nil ? 0 : 8
            let name = Array(member.name.utf8)
            guard let nameLength = UInt16(exactly: name.count) else { throw CLIError.file("a name is too long for zip") }
            let offset = UInt64(out.count)
            // Always with the zip64 field in the local header would do too; small archives stay readable by old tools.
            let needs64 = [UInt64(member.bytes.count), UInt64(body.count), offset].contains { $0 >= UInt64(UInt32.max) }
            let sizes = [UInt64(member.bytes.count), UInt64(body.count)]
            var common: [UInt8] = []
            put(UInt16(needs64 ? 45 : 20), &common)
            // UTF-8 names; no time: equal contents give equal files (1980-01-01 is the earliest date there is).
            put(UInt16(1 << 11), &common)
            put(method, &common)
            put(UInt16(0), &common)
            put(UInt16(1 << 5 | 1), &common)
            put(checksum(member.bytes), &common)
            put(needs64 ? UInt32.max : UInt32(truncatingIfNeeded: body.count), &common)
            put(needs64 ? UInt32.max : UInt32(truncatingIfNeeded: member.bytes.count), &common)
            put(nameLength, &common)

            put(localSignature, &out)
            out += common
            put(UInt16(needs64 ? 20 : 0), &out)
            out += name
            if needs64 { putZip64(sizes, &out) }
            out += body

            put(centralSignature, &directory)
            put(UInt16(45), &directory)
            directory += common
            put(UInt16(needs64 ? 28 : 0), &directory)
            directory += [UInt8](repeating: 0, count: 10)
            put(needs64 ? UInt32.max : UInt32(truncatingIfNeeded: offset), &directory)
            directory += name
            if needs64 { putZip64(sizes + [offset], &directory) }
        }
        finish(&out, directory, members.count)
        return out
    }

    private static func finish(_ out: inout [UInt8], _ directory: [UInt8], _ count: Int) {
        let start = UInt64(out.count)
        out += directory
        if count >= Int(UInt16.max) || start >= UInt64(UInt32.max) || directory.count >= Int(UInt32.max) {
            let place = UInt64(out.count)
            put(zip64EndSignature, &out)
            put(UInt64(44), &out)
            put(UInt16(45), &out)
            put(UInt16(45), &out)
            put(UInt64(0), &out)
            put(UInt64(count), &out)
            put(UInt64(count), &out)
            put(UInt64(directory.count), &out)
            put(start, &out)
            put(zip64LocatorSignature, &out)
            put(UInt32(0), &out)
            put(place, &out)
            put(UInt32(1), &out)
        }
        put(endSignature, &out)
        put(UInt32(0), &out)
        put(UInt16(clamping: count), &out)
        put(UInt16(clamping: count), &out)
        put(UInt32(clamping: directory.count), &out)
        put(UInt32(clamping: start), &out)
        put(UInt16(0), &out)
    }

    private static func putZip64(_ values: [UInt64], _ out: inout [UInt8]) {
        put(UInt16(1), &out)
        put(UInt16(values.count * 8), &out)
        for value in values { put(value, &out) }
    }

    private static func put<Word: FixedWidthInteger>(_ value: Word, _ out: inout [UInt8]) {
        withUnsafeBytes(of: value.littleEndian) { out.append(contentsOf: $0) }
    }

    private static func deflated(_ bytes: [UInt8]) -> [UInt8]? {
        guard bytes.count > 256 else { return nil }
        let capacity = bytes.count - bytes.count / 16
        var ok = false
        let packed = [UInt8](unsafeUninitializedCapacity: capacity) { buffer, count in
            ok = bytes.withUnsafeBufferPointer {
                apus_deflate_raw($0.baseAddress, $0.count, buffer.baseAddress, capacity, &count) == 0
            }
            if !ok { count = 0 }
        }
        return ok ? packed : nil
    }

    private static func checksum(_ bytes: [UInt8]) -> UInt32 {
        bytes.withUnsafeBufferPointer { apus_crc32($0.baseAddress, $0.count) }
    }
}

/// numpy's archive of named arrays.
enum NPZ {
    static func read(_ file: [UInt8]) throws -> [(name: String, array: NPYArray)] {
        try Zip.read(file).map { member in
            guard member.name.hasSuffix(".npy") else { throw CLIError.file("'\(member.name)' is no .npy array") }
            return (String(member.name.dropLast(4)), try at(member.name) { try NPY.read(member.bytes[...]) })
        }
    }

    static func write(_ tensors: [(name: String, tensor: HostTensor)]) throws -> [UInt8] {
        try Zip.write(tensors.map { Zip.Member(name: $0.name + ".npy", bytes: try NPY.write($0.tensor)) })
    }
}
