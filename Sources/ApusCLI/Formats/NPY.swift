import ApusCore

/// An array as a .npy file holds it: the element type may be one that only the reader's caller knows.
struct NPYArray: Equatable, Sendable {
    enum Element: Equatable, Sendable {
        case known(ElementType)
        /// ml_dtypes' bfloat16, float8, 4-bit and other types are stored as anonymous void elements of this many bytes.
        case void(size: Int)
    }

    let element: Element
    let shape: [Int]
    /// Row-major and little-endian; one byte or more per element even for packed types. Empty for strings.
    let bytes: [UInt8]
    let strings: [[UInt8]]

    /// The tensor.
    ///
    /// - Parameter type: what void elements are; a known type does not need it and is never reinterpreted.
    func tensor(voidAs type: ElementType? = nil) throws -> HostTensor {
        switch element {
        case .known(.string): return try HostTensor(shape, strings: strings)
        case .known(let known): return try HostTensor(known, shape, bytes: bytes)
        case .void(let size):
            guard let type else {
                throw CLIError.file("the file holds void elements of \(size) bytes and does not say what they are")
            }
            guard type.unpackedSize == size else {
                throw CLIError.file("void elements of \(size) bytes cannot be \(type.numpyName)")
            }
            return try HostTensor(type, shape, bytes: HostTensor.packed(bytes, as: type))
        }
    }
}

/// numpy's array file, versions 1 to 3, after its format description (numpy/lib/format.py's docstring).
enum NPY {
    private static let magic: [UInt8] = [0x93] + Array("NUMPY".utf8)
    /// numpy itself refuses longer headers unless told otherwise.
    private static let longestHeader = 1 << 16

    // MARK: Reading

    static func read(_ file: ArraySlice<UInt8>) throws -> NPYArray {
        var reader = ByteReader(file)
        guard try reader.take(min(magic.count, reader.remaining)).elementsEqual(magic) else {
            throw CLIError.file("not a .npy file")
        }
        let major = try reader.integer(UInt8.self)
        _ = try reader.integer(UInt8.self)
        guard (1...3).contains(major) else { throw CLIError.file(".npy version \(major) is unknown") }
        let length = major == 1 ? Int(try reader.integer(UInt16.self)) : Int(try reader.integer(UInt32.self))
        guard length <= longestHeader else { throw CLIError.file("the .npy header of \(length) bytes is too long") }
        let header = try NPYHeader(try reader.take(length))
        return try read(&reader, header)
    }

    private static func read(_ reader: inout ByteReader, _ header: NPYHeader) throws -> NPYArray {
        let type = header.type
        guard header.shape.count <= 64, let count = elementCount(header.shape) else {
            throw CLIError.file("the shape \(header.shape) is too large")
        }
        let (size, overflow) = count.multipliedReportingOverflow(by: type.size)
        guard !overflow, size == reader.remaining else {
            throw CLIError.file(
                "\(header.shape) elements of \(type.size) bytes do not fit the \(reader.remaining) bytes of data")
        }
        var bytes = Array(try reader.take(size))
        if type.isBigEndian { reverse(&bytes, each: type.wordSize) }
        if header.isFortran { bytes = rowMajor(bytes, header.shape, elementSize: type.size) }
        switch type.kind {
        case .element(let element):
            if element == .known(.bool) { for index in bytes.indices where bytes[index] != 0 { bytes[index] = 1 } }
            return NPYArray(element: element, shape: header.shape, bytes: bytes, strings: [])
        case .bytes, .unicode:
            // Elements of no width are empty strings; they have no bytes to count.
            guard type.size > 0 || count <= 1 << 24 else { throw CLIError.file("too many empty strings: \(count)") }
            let strings = try (0..<count).map { index in
                let cell = bytes[index * type.size..<(index + 1) * type.size]
                return type.kind == .bytes ? byteString(cell) : try unicodeString(cell)
            }
            return NPYArray(element: .known(.string), shape: header.shape, bytes: [], strings: strings)
        }
    }

    private static func reverse(_ bytes: inout [UInt8], each word: Int) {
        guard word > 1 else { return }
        for start in stride(from: 0, to: bytes.count - word + 1, by: word) { bytes[start..<start + word].reverse() }
    }

    /// Column-major elements in row-major order.
    private static func rowMajor(_ bytes: [UInt8], _ shape: [Int], elementSize: Int) -> [UInt8] {
        guard shape.count > 1, !bytes.isEmpty else { return bytes }
        // Strides of the source, first dimension fastest; their products are bounded by the element count.
        var strides: [Int] = []
        var step = 1
        for dimension in shape {
            strides.append(step)
            step *= dimension
        }
        var out: [UInt8] = []
        out.reserveCapacity(bytes.count)
        var index = [Int](repeating: 0, count: shape.count)
        var source = 0
        for _ in 0..<step {
            out.append(contentsOf: bytes[source * elementSize..<(source + 1) * elementSize])
            var axis = shape.count - 1
            while axis >= 0 {
                index[axis] += 1
                source += strides[axis]
                if index[axis] < shape[axis] { break }
                source -= strides[axis] * shape[axis]
                index[axis] = 0
                axis -= 1
            }
        }
        return out
    }

    /// numpy pads with NUL and cannot tell padding from content: trailing NULs go.
    private static func byteString(_ cell: ArraySlice<UInt8>) -> [UInt8] {
        let end = cell.lastIndex { $0 != 0 }.map { $0 + 1 } ?? cell.startIndex
        return Array(cell[cell.startIndex..<end])
    }

    private static func unicodeString(_ cell: ArraySlice<UInt8>) throws -> [UInt8] {
        var reader = ByteReader(cell)
        var scalars = String.UnicodeScalarView()
        while reader.remaining >= 4 {
            let code = try reader.integer(UInt32.self)
            guard let scalar = Unicode.Scalar(code) else {
                throw CLIError.file("\(code) is no Unicode scalar value")
            }
            scalars.append(scalar)
        }
        while scalars.last?.value == 0 { scalars.removeLast() }
        return Array(String(scalars).utf8)
    }

    // MARK: Writing

    /// The file's bytes. Packed and narrow float types are written as ml_dtypes writes them, one element in whole bytes.
    static func write(_ tensor: HostTensor) throws -> [UInt8] {
        let (descr, body) = try payload(tensor)
        let shape = tensor.shape.count == 1 ? "(\(tensor.shape[0]),)"
            : "(\(tensor.shape.map(String.init).joined(separator: ", ")))"
        var header = Array("{'descr': '\(descr)', 'fortran_order': False, 'shape': \(shape), }".utf8)
        // The data starts at a multiple of 64 bytes, after a newline.
        let prefix = magic.count + 4
        header += Array(repeating: UInt8(ascii: " "), count: 63 - (prefix + header.count) % 64)
        header.append(UInt8(ascii: "\n"))
        guard let length = UInt16(exactly: header.count) else { throw CLIError.file("the .npy header is too long") }
        return magic + [1, 0, UInt8(length & 255), UInt8(length >> 8)] + header + body
    }

    private static func payload(_ tensor: HostTensor) throws -> (descr: String, body: [UInt8]) {
        switch tensor.type {
        case .string: try stringPayload(tensor.strings)
        case .bool: ("|b1", tensor.bytes)
        case .complex64: ("<c8", tensor.bytes)
        case .complex128: ("<c16", tensor.bytes)
        case .float16: ("<f2", tensor.bytes)
        case .float32: ("<f4", tensor.bytes)
        case .float64: ("<f8", tensor.bytes)
        case .int4, .int2:
            // ml_dtypes keeps signed narrow integers sign-extended in their byte.
            ("<V1", tensor.integers().map { UInt8(truncatingIfNeeded: $0) })
        default:
            if tensor.type.isInteger, !tensor.type.isPacked {
                ("\(tensor.type.bitWidth == 8 ? "|" : "<")\(tensor.type.isSigned ? "i" : "u")\(tensor.type.bitWidth / 8)",
                    tensor.bytes)
            } else {
                ("<V\(tensor.type.unpackedSize ?? 1)", tensor.unpacked())
            }
        }
    }

    /// Fixed-width UTF-32 as numpy writes `str`; byte strings when one of them is no UTF-8.
    private static func stringPayload(_ strings: [[UInt8]]) throws -> (descr: String, body: [UInt8]) {
        let texts = strings.map { String(validating: $0, as: UTF8.self) }
        let isText = !texts.contains(nil)
        let cells: [[UInt8]] = isText
            ? texts.map { text in (text ?? "").unicodeScalars.flatMap { scalar in
                (0..<4).map { UInt8(truncatingIfNeeded: scalar.value >> UInt32(8 * $0)) } } }
            : strings
        let width = max(cells.map(\.count).max() ?? 0, isText ? 4 : 1)
        let (size, overflow) = width.multipliedReportingOverflow(by: cells.count)
        // One long string among many makes every cell that long; beyond this the format is the wrong one.
        guard !overflow, size <= 1 << 32 else { throw CLIError.file("the strings take too much room in a .npy file") }
        var body: [UInt8] = []
        body.reserveCapacity(size)
        for cell in cells { body += cell + Array(repeating: 0, count: width - cell.count) }
        return (isText ? "<U\(width / 4)" : "|S\(width)", body)
    }
}
