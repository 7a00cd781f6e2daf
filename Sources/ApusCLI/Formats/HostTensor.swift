import ApusCore

/// A tensor in this process's memory, as files and the terminal see it: elements in row-major (C) order, little-endian.
struct HostTensor: Equatable, Sendable {
    let type: ElementType
    let shape: [Int]
    /// The elements of every type but `string`; 2-, 4- and 6-bit elements are packed as in ONNX's `raw_data`.
    let bytes: [UInt8]
    /// The elements of a `string` tensor, as the bytes they are (usually UTF-8).
    let strings: [[UInt8]]

    /// - Throws: `CLIError` when the memory does not fit the shape.
    init(_ type: ElementType, _ shape: [Int], bytes: [UInt8]) throws {
        guard let count = elementCount(shape), let expected = type.byteCount(count) else {
            throw CLIError.file("no tensor of \(type.numpyName) can have the shape \(shape)")
        }
        guard bytes.count == expected else {
            throw CLIError.file("a \(type.numpyName) tensor of shape \(shape) takes \(expected) bytes, not \(bytes.count)")
        }
        (self.type, self.shape, self.bytes, self.strings) = (type, shape, bytes, [])
    }

    init(_ shape: [Int], strings: [[UInt8]]) throws {
        guard elementCount(shape) == strings.count else {
            throw CLIError.file("the shape \(shape) does not fit \(strings.count) strings")
        }
        (self.type, self.shape, self.bytes, self.strings) = (.string, shape, [], strings)
    }

    /// From numbers, converted to `type`, which must be a real number type.
    init(_ type: ElementType, _ shape: [Int], numbers: [Double]) throws {
        var builder = ElementWriter(type)
        for number in numbers { try builder.append(number) }
        try self.init(type, shape, bytes: builder.finish())
    }

    static func zeros(_ type: ElementType, _ shape: [Int]) throws -> HostTensor {
        guard let count = elementCount(shape) else { throw CLIError.usage("no tensor can have the shape \(shape)") }
        if type == .string { return try HostTensor(shape, strings: Array(repeating: [], count: count)) }
        guard let size = type.byteCount(count) else { throw CLIError.usage("the shape \(shape) is too large") }
        return try HostTensor(type, shape, bytes: [UInt8](repeating: 0, count: size))
    }

    var count: Int { type == .string ? strings.count : elementCount(shape) ?? 0 }

    /// Every element as the nearest Double: booleans as 0 and 1, complex numbers as two, strings not at all.
    func doubles() -> [Double] {
        var out: [Double] = []
        out.reserveCapacity(count)
        switch type {
        case .string: break
        case .float32, .complex64: each(UInt32.self) { out.append(Double(Float(bitPattern: $0))) }
        case .float64, .complex128: each(UInt64.self) { out.append(Double(bitPattern: $0)) }
        case .float8e8m0:
            for code in bytes { out.append(code == 255 ? .nan : Double(sign: .plus, exponent: Int(code) - 127, significand: 1)) }
        case .uint64: each(UInt64.self) { out.append(Double($0)) }
        default:
            if let format = SmallFloat(type) {
                for code in codes() { out.append(format.decode(UInt16(truncatingIfNeeded: code))) }
            } else {
                for value in integers() { out.append(Double(value)) }
            }
        }
        return out
    }

    /// Every element of an integer or boolean tensor other than uint64; empty for other types.
    func integers() -> [Int64] {
        if type == .bool { return bytes.map { $0 == 0 ? 0 : 1 } }
        guard type.isInteger, type != .uint64 else { return [] }
        let (signed, bits) = (type.isSigned, type.bitWidth)
        return codes().map { code in
            // Shifting the sign bit to the top and back extends it.
            let up = UInt64(64 - bits)
            return signed ? Int64(bitPattern: code << up) >> Int64(up) : Int64(bitPattern: code)
        }
    }

    /// The bit patterns of elements of at most 64 bits.
    func codes() -> [UInt64] {
        let bits = type.bitWidth
        guard (1...64).contains(bits) else { return [] }
        var out: [UInt64] = []
        out.reserveCapacity(count)
        switch bits {
        case 8: for byte in bytes { out.append(UInt64(byte)) }
        case 16: each(UInt16.self) { out.append(UInt64($0)) }
        case 32: each(UInt32.self) { out.append(UInt64($0)) }
        case 64: each(UInt64.self) { out.append($0) }
        default: for byte in unpacked() { out.append(UInt64(byte)) }
        }
        return out
    }

    /// One byte per element of a packed type, the bits above the element zero; other types as they are.
    func unpacked() -> [UInt8] {
        guard type.isPacked else { return bytes }
        let bits = type.bitWidth
        let mask = UInt16(1) << UInt16(bits) - 1
        return (0..<count).map { index in
            let bit = index * bits
            let low = UInt16(bytes[bit / 8]) | (bit / 8 + 1 < bytes.count ? UInt16(bytes[bit / 8 + 1]) << 8 : 0)
            return UInt8(low >> UInt16(bit % 8) & mask)
        }
    }

    /// Packs one byte per element into the layout of a packed type; other types as they are.
    static func packed(_ elements: [UInt8], as type: ElementType) -> [UInt8] {
        guard type.isPacked, let size = type.byteCount(elements.count) else { return elements }
        let bits = type.bitWidth
        let mask = UInt8(1) << UInt8(bits) - 1
        var out = [UInt8](repeating: 0, count: size)
        for (index, element) in elements.enumerated() {
            let bit = index * bits
            let wide = UInt16(element & mask) << UInt16(bit % 8)
            out[bit / 8] |= UInt8(truncatingIfNeeded: wide)
            if wide > 255 { out[bit / 8 + 1] |= UInt8(wide >> 8) }
        }
        return out
    }

    private func each<Word: FixedWidthInteger>(_: Word.Type, _ body: (Word) -> Void) {
        bytes.withUnsafeBytes { raw in
            for offset in stride(from: 0, to: raw.count - MemoryLayout<Word>.size + 1, by: MemoryLayout<Word>.size) {
                body(Word(littleEndian: raw.loadUnaligned(fromByteOffset: offset, as: Word.self)))
            }
        }
    }
}

/// Collects numbers as elements of one type.
struct ElementWriter {
    let type: ElementType
    private var bytes: [UInt8] = []

    init(_ type: ElementType) { self.type = type }

    /// Appends a number, rounded to the type if that is a float; an integer type takes whole numbers in its range only.
    mutating func append(_ number: Double) throws {
        switch type {
        case .float32, .complex64: append(bits: Float(number).bitPattern)
        case .float64, .complex128: append(bits: number.bitPattern)
        case .bool:
            guard number == 0 || number == 1 else { throw CLIError.file("\(number) is no bool") }
            bytes.append(number == 0 ? 0 : 1)
        case .float8e8m0:
            // A power of two without sign: rounded half up, NaN for what has no place.
            guard number > 0, number.isFinite else { return bytes.append(255) }
            let exponent = Int(number.exponent) + (number.significand >= 1.5 ? 1 : 0)
            bytes.append(UInt8(clamping: exponent + 127 > 254 ? 255 : exponent + 127))
        case .string: throw CLIError.file("a number where a string is expected")
        default:
            if let format = SmallFloat(type) {
                let code = format.encode(number)
                if type.bitWidth == 16 { append(bits: code) } else { bytes.append(UInt8(truncatingIfNeeded: code)) }
            } else if let value = Int64(exactly: number) {
                try append(integer: value)
            } else if type == .uint64, let value = UInt64(exactly: number) {
                append(bits: value)
            } else {
                throw CLIError.file("\(number) is no \(type.numpyName)")
            }
        }
    }

    /// Appends a whole number exactly.
    mutating func append(integer value: Int64) throws {
        guard type.isInteger else { return try append(Double(value)) }
        let (signed, width) = (type.isSigned, type.bitWidth)
        let least: Int64 = signed ? -1 << Int64(width - 1) : 0
        let most: Int64 = signed ? ~least : width == 64 ? .max : 1 << Int64(width) - 1
        guard value >= least, value <= most else { throw CLIError.file("\(value) is out of range for \(type.numpyName)") }
        switch width {
        case 16: append(bits: UInt16(truncatingIfNeeded: value))
        case 32: append(bits: UInt32(truncatingIfNeeded: value))
        case 64: append(bits: UInt64(bitPattern: value))
        default: bytes.append(UInt8(truncatingIfNeeded: value))
        }
    }

    mutating func append<Word: FixedWidthInteger>(bits: Word) {
        withUnsafeBytes(of: bits.littleEndian) { bytes.append(contentsOf: $0) }
    }

    /// The elements so far, packed if the type is.
    func finish() -> [UInt8] { HostTensor.packed(bytes, as: type) }
}
