import Testing

@testable import ApusCLI

@Suite struct ZipTests {
    private let text = Array(String(repeating: "row after row after row. ", count: 200).utf8)

    @Test func membersComeBack() throws {
        let noise = (0..<5000).map { UInt8(truncatingIfNeeded: ($0 &* 2_654_435_761) >> 13) }
        let members = [
            Zip.Member(name: "empty.npy", bytes: []), .init(name: "text", bytes: text), .init(name: "größe/noise", bytes: noise),
        ]
        let file = try Zip.write(members)
        #expect(file.count < noise.count + 2000)
        #expect(try Zip.read(file) == members)
    }

    @Test func noMembersAtAll() throws { #expect(try Zip.read(Zip.write([])).isEmpty) }

    @Test func arraysByName() throws {
        let x = try HostTensor(.float32, [2], numbers: [1, -2])
        let names = try HostTensor([1], strings: [Array("hé".utf8)])
        let read = try NPZ.read(NPZ.write([("x", x), ("layer/names:0", names)]))
        #expect(read.map(\.name) == ["x", "layer/names:0"])
        #expect(try read.map { try $0.array.tensor() } == [x, names])
    }

    @Test func notOnlyArraysIsRefused() throws {
        let file = try Zip.write([Zip.Member(name: "readme.txt", bytes: text)])
        #expect(throws: CLIError.self) { try NPZ.read(file) }
    }

    @Test func sameNameTwiceIsRefused() throws {
        let file = try Zip.write([Zip.Member(name: "a", bytes: []), Zip.Member(name: "a", bytes: [1])])
        #expect(throws: CLIError.self) { try Zip.read(file) }
    }

    @Test func contentsAreBounded() throws {
        let file = try Zip.write([Zip.Member(name: "a", bytes: text)])
        #expect(throws: CLIError.self) { try Zip.read(file, atMost: text.count - 1) }
        #expect(try Zip.read(file, atMost: text.count).count == 1)
    }

    @Test func everyCutOffArchiveIsRefused() throws {
        let file = try Zip.write([Zip.Member(name: "a.npy", bytes: text), Zip.Member(name: "b", bytes: [1, 2, 3])])
        for length in 0..<file.count { #expect(throws: CLIError.self) { try Zip.read(Array(file[..<length])) } }
    }

    /// Whatever byte is damaged: an error or, where the byte carries no meaning, the right contents.
    @Test func everyDamagedByteIsFoundOrHarmless() throws {
        let members = [Zip.Member(name: "a.npy", bytes: text), Zip.Member(name: "b", bytes: [1, 2, 3])]
        let file = try Zip.write(members)
        var refused = 0
        for place in file.indices {
            for bit in [UInt8(1), 0x80, 0xff] {
                var damaged = file
                damaged[place] ^= bit
                do {
                    let read = try Zip.read(damaged)
                    // Only names and the number of members have no checksum.
                    for member in read { #expect(members.contains { $0.bytes == member.bytes }) }
                } catch is CLIError { refused += 1 }
            }
        }
        #expect(refused > file.count)
    }

    /// The records of a zip64 archive, made by hand: what numpy writes beyond 4 GiB, at a handy size.
    @Test func readsZip64() throws {
        let body = Array("stored".utf8)
        // The checksum itself comes from our own writer, which the other tests verify.
        let plain = try Zip.write([Zip.Member(name: "s", bytes: body)])
        let crc = Array(plain[14..<18])
        let common: [UInt8] = [45, 0, 0, 0, 0, 0, 0, 0, 0, 0] + crc + [UInt8](repeating: 255, count: 8) + [1, 0]
        let sizes = littleEndian([UInt64(6), 6])
        var file: [UInt8] = [0x50, 0x4b, 3, 4] + common + [20, 0] + Array("s".utf8) + [1, 0, 16, 0] + sizes + body
        let directory = UInt64(file.count)
        file += [0x50, 0x4b, 1, 2, 45, 0] + common + [28, 0] + [UInt8](repeating: 0, count: 10)
        file += [255, 255, 255, 255] + Array("s".utf8) + [1, 0, 24, 0] + sizes + littleEndian([UInt64(0)])
        let end = UInt64(file.count)
        file += [0x50, 0x4b, 6, 6] + littleEndian([UInt64(44)]) + [45, 0, 45, 0] + [UInt8](repeating: 0, count: 8)
        file += littleEndian([UInt64(1), 1, end - directory, directory])
        file += [0x50, 0x4b, 6, 7, 0, 0, 0, 0] + littleEndian([end]) + [1, 0, 0, 0]
        file += [0x50, 0x4b, 5, 6, 0, 0, 0, 0] + [UInt8](repeating: 255, count: 12) + [0, 0]
        #expect(try Zip.read(file) == [Zip.Member(name: "s", bytes: body)])
        // The end record must lie inside.
        for place in Int(end) + 8..<file.count - 22 {
            var damaged = file
            damaged[place] ^= 0xff
            do { _ = try Zip.read(damaged) } catch is CLIError {}
        }
    }

    @Test func encryptedAndUnknownMethodsAreRefused() throws {
        let file = try Zip.write([Zip.Member(name: "a", bytes: [1, 2, 3])])
        let central = try #require((0..<file.count - 4).first { Array(file[$0..<$0 + 4]) == [0x50, 0x4b, 1, 2] })
        var encrypted = file
        encrypted[central + 8] |= 1
        #expect(throws: CLIError.self) { try Zip.read(encrypted) }
        var method = file
        method[central + 10] = 12
        #expect(throws: CLIError.self) { try Zip.read(method) }
    }

    /// A member that claims far more than deflate can hold must not cost that memory.
    @Test func impossibleSizesAreRefusedAtOnce() throws {
        var file = try Zip.write([Zip.Member(name: "a", bytes: text)])
        let central = try #require((0..<file.count - 4).first { Array(file[$0..<$0 + 4]) == [0x50, 0x4b, 1, 2] })
        for index in 0..<4 { file[central + 24 + index] = [0, 0, 0, 0xf0][index] }
        #expect(throws: CLIError.self) { try Zip.read(file) }
    }
}
