import ApusCore
import Testing

@testable import ApusCLI

/// A .npy file of version `major` with the given header text, unpadded.
func npyFile(_ header: String, _ body: [UInt8], major: UInt8 = 1) -> [UInt8] {
    let text = Array(header.utf8)
    let length = (0..<(major == 1 ? 2 : 4)).map { UInt8(truncatingIfNeeded: text.count >> (8 * $0)) }
    return [0x93] + Array("NUMPY".utf8) + [major, 0] + length + text + body
}

func header(_ descr: String, _ shape: String, fortran: Bool = false) -> String {
    "{'descr': '\(descr)', 'fortran_order': \(fortran ? "True" : "False"), 'shape': \(shape), }\n"
}

func littleEndian<Word: FixedWidthInteger>(_ words: [Word]) -> [UInt8] {
    words.flatMap { word in withUnsafeBytes(of: word.littleEndian) { Array($0) } }
}

@Suite struct NPYTests {
    @Test(arguments: [UInt8(1), 2, 3]) func readsEveryVersion(major: UInt8) throws {
        let file = npyFile(header("<i4", "(2, 3)"), littleEndian([Int32(1), -2, 3, 4, 5, .min]), major: major)
        let tensor = try NPY.read(file[...]).tensor()
        #expect(tensor.type == .int32)
        #expect(tensor.shape == [2, 3])
        #expect(tensor.integers() == [1, -2, 3, 4, 5, Int64(Int32.min)])
    }

    @Test func scalarsAndEmptyShapes() throws {
        #expect(try NPY.read(npyFile(header("<f8", "()"), littleEndian([Double(2.5).bitPattern]))[...]).tensor().doubles() == [2.5])
        let empty = try NPY.read(npyFile(header("<f4", "(3, 0, 5)"), [])[...]).tensor()
        #expect(empty.shape == [3, 0, 5])
        #expect(empty.bytes.isEmpty)
        // An empty tensor may have dimensions whose product would overflow.
        #expect(try NPY.read(npyFile(header("|u1", "(0, 4611686018427387904, 4)"), [])[...]).tensor().count == 0)
    }

    @Test func bigEndianIsTurnedRound() throws {
        let file = npyFile(header(">i2", "(2,)"), [0x01, 0x02, 0xff, 0xfe])
        #expect(try NPY.read(file[...]).tensor().integers() == [258, -2])
        // Halves of complex numbers are turned round one by one.
        let complex = npyFile(header(">c8", "(1,)"), [0x3f, 0x80, 0, 0, 0xc0, 0, 0, 0])
        #expect(try NPY.read(complex[...]).tensor().doubles() == [1, -2])
    }

    @Test func columnMajorBecomesRowMajor() throws {
        // [[0, 1, 2], [3, 4, 5]] by columns.
        let matrix = npyFile(header("|u1", "(2, 3)", fortran: true), [0, 3, 1, 4, 2, 5])
        #expect(try NPY.read(matrix[...]).tensor().bytes == [0, 1, 2, 3, 4, 5])
        let shape = [2, 3, 4]
        var columnMajor = [UInt8](repeating: 0, count: 24)
        for i in 0..<2 { for j in 0..<3 { for k in 0..<4 { columnMajor[i + 2 * j + 6 * k] = UInt8((i * 3 + j) * 4 + k) } } }
        let cube = try NPY.read(npyFile(header("|u1", "(2, 3, 4)", fortran: true), columnMajor)[...]).tensor()
        #expect(cube.shape == shape)
        #expect(cube.bytes == (0..<24).map { UInt8($0) })
    }

    @Test func stringsLoseTheirPadding() throws {
        let bytes = npyFile(header("|S3", "(2,)"), Array("ab\0".utf8) + Array("\0\0\0".utf8))
        #expect(try NPY.read(bytes[...]).tensor().strings == [Array("ab".utf8), []])
        let text = npyFile(header("<U2", "(2,)"), littleEndian([UInt32(0x1f642), 0, 0xe9, 0x78]))
        #expect(try NPY.read(text[...]).tensor().strings == [Array("🙂".utf8), Array("éx".utf8)])
        let big = npyFile(header(">U1", "(1,)"), [0, 0, 0, 0x41])
        #expect(try NPY.read(big[...]).tensor().strings == [Array("A".utf8)])
        let surrogate = npyFile(header("<U1", "(1,)"), littleEndian([UInt32(0xd800)]))
        #expect(throws: CLIError.self) { try NPY.read(surrogate[...]) }
    }

    @Test func voidElementsNeedAType() throws {
        let array = try NPY.read(npyFile(header("<V2", "(2,)"), [0x80, 0x3f, 0x00, 0xc0])[...])
        #expect(throws: CLIError.self) { try array.tensor() }
        #expect(throws: CLIError.self) { try array.tensor(voidAs: .float8e4m3fn) }
        #expect(try array.tensor(voidAs: .bfloat16).doubles() == [1, -2])
        let nibbles = try NPY.read(npyFile(header("|V1", "(3,)"), [0xff, 0x07, 0xf8])[...])
        let int4 = try nibbles.tensor(voidAs: .int4)
        #expect(int4.bytes == [0x7f, 0x08])
        #expect(int4.integers() == [-1, 7, -8])
    }

    @Test(arguments: [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1}",
        "{'descr': '<f4', 'fortran_order': False}",
        "{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x",
        "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '<f4",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '<M8[s]', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '<f16', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '<S-4', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '|S0', 'fortran_order': False, 'shape': (9223372036854775807,)}",
        "[]", "", "{", "{'shape': (",
    ])
    func refusesBadHeaders(text: String) {
        #expect(throws: CLIError.self) { try NPY.read(npyFile(text, [0, 0, 0, 0])[...]) }
    }

    @Test func refusesEveryCutOffFile() throws {
        let file = npyFile(header("<i4", "(2,)"), littleEndian([Int32(1), 2]))
        for length in 0..<file.count { #expect(throws: CLIError.self) { try NPY.read(file[..<length]) } }
        #expect(throws: CLIError.self) { try NPY.read((file + [0])[...]) }
        #expect(throws: CLIError.self) { try NPY.read(npyFile("", [], major: 4)[...]) }
        #expect(throws: CLIError.self) { try NPY.read([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 2, 0, 255, 255, 255, 255]) }
    }

    @Test(arguments: ElementType.allCases) func everyTypeComesBack(type: ElementType) throws {
        let tensor = try sample(type)
        let file = try NPY.write(tensor)
        let start = try #require(file.firstIndex(of: UInt8(ascii: "\n"))) + 1
        #expect(start % 64 == 0)
        #expect(try NPY.read(file[...]).tensor(voidAs: type) == tensor)
    }

    @Test func bytesThatAreNoTextAreWrittenAsBytes() throws {
        let tensor = try HostTensor([2], strings: [[0xff, 0x41], [0x42]])
        let file = try NPY.write(tensor)
        #expect(String(decoding: file[10..<40], as: UTF8.self).contains("|S2"))
        #expect(try NPY.read(file[...]).tensor() == tensor)
    }
}

/// A tensor of five elements in a (5, 1) shape with every kind of value the type has.
func sample(_ type: ElementType) throws -> HostTensor {
    if type == .string { return try HostTensor([5, 1], strings: ["", "a", "zwei", "drei 3", "ünf🙂"].map { Array($0.utf8) }) }
    var writer = ElementWriter(type)
    for index in 0..<5 {
        if type.isComplex {
            try writer.append(Double(index))
            try writer.append(-0.5)
        } else if type == .bool {
            try writer.append(Double(index % 2))
        } else if type.isInteger {
            try writer.append(integer: type.isSigned ? Int64(index % 4 - 2) : Int64(index % 4))
        } else if type == .float8e8m0 {
            try writer.append([1, 2, 0.5, .nan, 16][index])
        } else {
            try writer.append([0, 1, -1.5, 2, -0.5][index])
        }
    }
    return try HostTensor(type, [5, 1], bytes: writer.finish())
}
