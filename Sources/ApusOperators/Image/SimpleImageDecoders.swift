import ApusCore

/// Windows bitmaps: 1 to 32 bits a pixel, with palettes or bit fields, not run-length encoded.
enum BMPDecoder {
    static func decode(_ bytes: UnsafeRawBufferPointer, _ budget: MemoryBudget) throws -> Picture {
        var reader = ByteReader(bytes, at: 10, isLittleEndian: true)
        let start = try reader.uint32(), headerSize = try reader.uint32()
        guard headerSize >= 40 || headerSize == 12 else { throw ImageError.damaged("a header of \(headerSize) bytes") }
        func signed(_ value: Int) -> Int { Int(Int32(truncatingIfNeeded: value)) }
        let isOld = headerSize == 12
        let width = isOld ? try reader.uint16() : signed(try reader.uint32()), rows = isOld ? try reader.uint16() : signed(try reader.uint32())
        _ = try reader.uint16()
        let bits = try reader.uint16(), compression = isOld ? 0 : try reader.uint32()
        guard [1, 4, 8, 16, 24, 32].contains(bits) else { throw ImageError.damaged("\(bits) bits a pixel") }
        guard compression == 0 || (compression == 3 || compression == 6) && bits >= 16 else {
            throw ImageError.unknown("compression \(compression)")
        }
        // Where each colour lies in a pixel of 16 or 32 bits.
        var masks = bits == 16 ? [0x7c00, 0x3e0, 0x1f] : [0xff0000, 0xff00, 0xff]
        var palette: [UInt8] = []
        if compression != 0 {
            try reader.seek(54)
            masks = try (0..<3).map { _ in try reader.uint32() }
        } else if bits <= 8 {
            try reader.seek(14 + headerSize)
            palette = [UInt8](try reader.take(min((1 << bits) * (isOld ? 3 : 4), max(0, start - reader.position))))
        }
        let picture = try Picture(width: width, height: abs(rows), budget: budget)
        try reader.seek(start)
        let rowBytes = (try width.multiplied(by: bits).adding(31)) / 32 * 4, entry = isOld ? 3 : 4
        for y in 0..<picture.height {
            let row = try reader.take(rowBytes), target = rows < 0 ? y : picture.height - 1 - y
            for x in 0..<width {
                if bits == 24 {
                    picture.set(x, target, row[x * 3 + 2], row[x * 3 + 1], row[x * 3])
                } else if bits > 8 {
                    let size = bits / 8
                    let value = (0..<size).reduce(0) { $0 | Int(row[x * size + $1]) << (8 * $1) }
                    func part(_ mask: Int) -> UInt8 {
                        guard mask > 0 else { return 0 }
                        let shift = mask.trailingZeroBitCount
                        return UInt8(truncatingIfNeeded: (value & mask) >> shift * 255 / (mask >> shift))
                    }
                    picture.set(x, target, part(masks[0]), part(masks[1]), part(masks[2]))
                } else {
                    let bit = x * bits, index = Int(row[bit / 8]) >> (8 - bits - bit % 8) & ((1 << bits) - 1)
                    guard index * entry + 2 < palette.count else { throw ImageError.damaged("a colour beyond the palette") }
                    picture.set(x, target, palette[index * entry + 2], palette[index * entry + 1], palette[index * entry])
                }
            }
        }
        return picture
    }
}

/// Portable bitmaps, graymaps and pixmaps, as text or binary (P1 to P6), of up to 16 bits.
enum PNMDecoder {
    static func decode(_ bytes: UnsafeRawBufferPointer, _ budget: MemoryBudget) throws -> Picture {
        var reader = ByteReader(bytes, at: 1)
        let kind = try reader.byte() &- 0x30
        guard (1...6).contains(kind) else { throw ImageError.unknown("the format P\(kind)") }
        let isText = kind <= 3, isBitmap = kind % 3 == 1, channels = kind % 3 == 0 ? 3 : 1
        let width = try number(&reader), height = try number(&reader), most = isBitmap ? 1 : try number(&reader)
        guard (1...65535).contains(most) else { throw ImageError.damaged("a greatest value of \(most)") }
        let picture = try Picture(width: width, height: height, budget: budget)
        if !isText { _ = try reader.byte() }
        var held: UInt8 = 0
        for y in 0..<height {
            for x in 0..<width {
                var values = (0, 0, 0)
                for channel in 0..<channels {
                    var value: Int
                    if isBitmap, !isText {
                        if x % 8 == 0 { held = try reader.byte() }
                        value = Int(held >> UInt8(7 - x % 8)) & 1
                    } else if isText {
                        value = try isBitmap ? digit(&reader) : number(&reader)
                    } else {
                        value = most > 255 ? try reader.uint16() : Int(try reader.byte())
                    }
                    guard value <= most else { throw ImageError.damaged("a value of \(value), more than \(most)") }
                    // A bitmap's 1 is black.
                    if isBitmap { value = 1 - value }
                    value = (value * 255 + most / 2) / most
                    if channel == 0 { values = (value, value, value) } else if channel == 1 { values.1 = value } else { values.2 = value }
                }
                picture.set(x, y, UInt8(values.0), UInt8(values.1), UInt8(values.2))
            }
        }
        return picture
    }

    /// Skips whitespace and comments.
    private static func skip(_ reader: inout ByteReader) throws {
        while reader.remaining > 0 {
            let byte = reader.bytes[reader.position]
            if byte == 0x23 {
                while try reader.byte() != 10 {}
            } else if byte == 32 || (9...13).contains(byte) {
                reader.position += 1
            } else {
                return
            }
        }
    }

    private static func number(_ reader: inout ByteReader) throws -> Int {
        try skip(&reader)
        var value = 0, count = 0
        while reader.remaining > 0, (0x30...0x39).contains(reader.bytes[reader.position]) {
            value = value * 10 + Int(try reader.byte()) - 0x30
            count += 1
            guard count <= 9 else { throw ImageError.damaged("a number of too many digits") }
        }
        guard count > 0 else { throw ImageError.damaged("a number is missing") }
        return value
    }

    private static func digit(_ reader: inout ByteReader) throws -> Int {
        try skip(&reader)
        let byte = try reader.byte()
        guard byte == 0x30 || byte == 0x31 else { throw ImageError.damaged("a bit is missing") }
        return Int(byte) - 0x30
    }
}

/// Tagged Image File Format, version 6: grey, RGB and palettes of 8 bits or 16, in strips, uncompressed, packed bits or
/// deflated.
enum TIFFDecoder {
    static func decode(_ bytes: UnsafeRawBufferPointer, _ budget: MemoryBudget) throws -> Picture {
        var reader = ByteReader(bytes, at: 4, isLittleEndian: bytes.first == 0x49)
        try reader.seek(try reader.uint32())
        var fields: [Int: [Int]] = [:]
        for _ in 0..<(try reader.uint16()) {
            let tag = try reader.uint16(), type = try reader.uint16(), count = try reader.uint32()
            var values = reader
            try reader.skip(4)
            // Bytes, shorts and longs; other types hold nothing that matters here.
            guard let size = [1: 1, 3: 2, 4: 4][type], count <= bytes.count else { continue }
            if size * count > 4 { try values.seek(try values.uint32()) }
            fields[tag] = try (0..<count).map { _ in
                switch size {
                case 1: Int(try values.byte())
                case 2: try values.uint16()
                default: try values.uint32()
                }
            }
        }
        func field(_ tag: Int, default value: Int? = nil) throws -> Int {
            guard let found = fields[tag]?.first ?? value else { throw ImageError.damaged("field \(tag) is missing") }
            return found
        }
        let width = try field(256), height = try field(257), depth = try field(258, default: 1), channels = try field(277, default: 1)
        let compression = try field(259, default: 1), colours = try field(262), predictor = try field(317, default: 1)
        guard depth == 8 || depth == 16, Set(fields[258] ?? []).count <= 1 else { throw ImageError.unknown("\(depth) bits a channel") }
        guard colours <= 3, channels >= (colours == 2 ? 3 : 1), channels <= 16 else {
            throw ImageError.unknown("colours of kind \(colours) in \(channels) channels")
        }
        guard fields[322] == nil, try channels == 1 || field(284, default: 1) == 1 else { throw ImageError.unknown("tiles or separate planes") }
        guard [1, 8, 32773, 32946].contains(compression) else { throw ImageError.unknown("compression \(compression)") }
        guard predictor == 1 || predictor == 2 && depth == 8 else { throw ImageError.unknown("predictor \(predictor)") }
        let palette = fields[320] ?? []
        if colours == 3, palette.count != 3 << depth { throw ImageError.damaged("a palette of \(palette.count) numbers") }
        let picture = try Picture(width: width, height: height, budget: budget)
        let step = depth / 8, rowBytes = try checkedProduct([width, channels, step])
        let rowsPerStrip = min(try field(278, default: height), height)
        guard rowsPerStrip >= 1, let places = fields[273], let lengths = fields[279] else { throw ImageError.damaged("there are no strips") }
        let strips = (height - 1) / rowsPerStrip + 1
        guard places.count >= strips, lengths.count >= strips else { throw ImageError.damaged("there are too few strips") }
        let unpacked = try Tensor.allocate(.uint8, .vector(rowBytes.multiplied(by: rowsPerStrip)), budget: budget)
        let data = unpacked.pointer.assumingMemoryBound(to: UInt8.self)
        for strip in 0..<strips {
            let first = strip * rowsPerStrip, rows = min(rowsPerStrip, height - first)
            try reader.seek(places[strip])
            try unpack(try reader.take(lengths[strip]), compression, UnsafeMutableBufferPointer(start: data, count: rows * rowBytes))
            for y in 0..<rows {
                let row = data + y * rowBytes
                if predictor == 2 {
                    for index in channels..<max(channels, rowBytes) { row[index] = row[index] &+ row[index - channels] }
                }
                for x in 0..<width {
                    // Of 16 bits the upper 8.
                    let pixel = row + x * channels * step, upper = step == 2 && reader.isLittleEndian ? 1 : 0
                    switch colours {
                    case 2: picture.set(x, first + y, pixel[upper], pixel[step + upper], pixel[2 * step + upper])
                    case 3:
                        let index = step == 1 ? Int(pixel[0]) : Int(pixel[upper]) << 8 | Int(pixel[1 - upper]), size = 1 << depth
                        picture.set(
                            x, first + y, UInt8(truncatingIfNeeded: palette[index] >> 8), UInt8(truncatingIfNeeded: palette[size + index] >> 8),
                            UInt8(truncatingIfNeeded: palette[2 * size + index] >> 8))
                    default:
                        let grey = colours == 0 ? 255 - pixel[upper] : pixel[upper]
                        picture.set(x, first + y, grey, grey, grey)
                    }
                }
            }
        }
        return picture
    }

    private static func unpack(_ source: UnsafeRawBufferPointer, _ compression: Int, _ target: UnsafeMutableBufferPointer<UInt8>) throws {
        var reader = ByteReader(source)
        switch compression {
        case 1: _ = target.update(fromContentsOf: try reader.take(target.count).bindMemory(to: UInt8.self))
        case 32773:
            var count = 0
            while count < target.count {
                let control = Int(Int8(bitPattern: try reader.byte()))
                if control == -128 { continue }
                let length = control >= 0 ? control + 1 : 1 - control
                guard length <= target.count - count else { throw ImageError.damaged("a strip with too much data") }
                let repeated = control < 0 ? try reader.byte() : 0
                for _ in 0..<length {
                    target[count] = control < 0 ? repeated : try reader.byte()
                    count += 1
                }
            }
        default: try Inflate.zlib(source, into: target)
        }
    }
}
