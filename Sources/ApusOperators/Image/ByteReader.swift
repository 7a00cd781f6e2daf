import ApusCore

/// Reads untrusted bytes from the front; whatever lies beyond their end is an error.
struct ByteReader {
    let bytes: UnsafeRawBufferPointer
    var position = 0
    var isLittleEndian = false

    init(_ bytes: UnsafeRawBufferPointer, at position: Int = 0, isLittleEndian: Bool = false) {
        self.bytes = bytes
        self.position = position
        self.isLittleEndian = isLittleEndian
    }

    var remaining: Int { bytes.count - position }

    mutating func byte() throws -> UInt8 {
        guard position >= 0, position < bytes.count else { throw ImageError.early }
        defer { position += 1 }
        return bytes[position]
    }

    mutating func uint16() throws -> Int {
        let (a, b) = (Int(try byte()), Int(try byte()))
        return isLittleEndian ? b << 8 | a : a << 8 | b
    }

    mutating func uint32() throws -> Int {
        let (a, b) = (try uint16(), try uint16())
        return isLittleEndian ? b << 16 | a : a << 16 | b
    }

    mutating func skip(_ count: Int) throws {
        guard count >= 0, count <= remaining else { throw ImageError.early }
        position += count
    }

    mutating func seek(_ place: Int) throws {
        guard place >= 0, place <= bytes.count else { throw ImageError.early }
        position = place
    }

    /// The next `count` bytes, which are skipped.
    mutating func take(_ count: Int) throws -> UnsafeRawBufferPointer {
        guard count >= 0, count <= remaining else { throw ImageError.early }
        defer { position += count }
        return UnsafeRawBufferPointer(rebasing: bytes[position..<(position + count)])
    }

    /// Whether the bytes at the current position are these.
    func starts(with prefix: some Collection<UInt8>) -> Bool {
        prefix.count <= remaining && bytes[position..<(position + prefix.count)].elementsEqual(prefix)
    }
}

/// What may be wrong with the bytes of an image.
enum ImageError {
    static let early = ApusError(.invalidValue, "the image ends too early")

    static func damaged(_ what: String) -> ApusError { ApusError(.invalidValue, "the image is damaged: \(what)") }
    static func unknown(_ what: String) -> ApusError { ApusError(.unsupported, "the image has \(what), which Apus does not read") }
}

/// An image as it is decoded: interleaved red, green and blue of 8 bits, rows from top to bottom.
struct Picture {
    let width: Int
    let height: Int
    /// uint8, [height, width, 3].
    let tensor: Tensor

    /// Memory for an image of that size; its contents are 0.
    init(width: Int, height: Int, budget: MemoryBudget) throws {
        guard width >= 1, height >= 1 else { throw ImageError.damaged("its size is \(width) x \(height)") }
        self.width = width
        self.height = height
        tensor = try Tensor.allocate(.uint8, Shape([height, width, 3]), budget: budget)
        pixels.update(repeating: 0, count: tensor.count)
    }

    var pixels: UnsafeMutablePointer<UInt8> { tensor.pointer.assumingMemoryBound(to: UInt8.self) }

    /// Sets the pixel of column `x` and row `y`, which must lie within the image.
    @inline(__always)
    func set(_ x: Int, _ y: Int, _ red: UInt8, _ green: UInt8, _ blue: UInt8) {
        let pixel = pixels + (y * width + x) * 3
        pixel[0] = red
        pixel[1] = green
        pixel[2] = blue
    }
}
