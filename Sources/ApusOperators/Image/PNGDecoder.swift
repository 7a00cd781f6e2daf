import ApusCore

/// Portable Network Graphics (ISO/IEC 15948): all colour types and depths, interlaced or not. Transparency is left out, of
/// 16 bits the upper 8 are kept.
enum PNGDecoder {
    static let signature: [UInt8] = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]

    private struct Header {
        var width = 0
        var height = 0
        var depth = 0
        var channels = 0
        var hasPalette = false
        var isInterlaced = false

        var bitsPerPixel: Int { depth * channels }
    }

    static func decode(_ bytes: UnsafeRawBufferPointer, _ budget: MemoryBudget) throws -> Picture {
        var reader = ByteReader(bytes, at: signature.count)
        var header: Header?, palette: [UInt8] = [], data: [UInt8] = []
        chunks: while true {
            let length = try reader.uint32(), start = reader.position
            let name = String(decoding: try reader.take(4), as: UTF8.self)
            var body = ByteReader(try reader.take(length))
            guard try reader.uint32() == crc32(UnsafeRawBufferPointer(rebasing: bytes[start..<(start + 4 + length)])) else {
                throw ImageError.damaged("a wrong checksum")
            }
            switch name {
            case "IHDR": header = try readHeader(&body)
            case "PLTE": palette = [UInt8](body.bytes)
            case "IDAT": data += body.bytes
            case "IEND": break chunks
            default:
                // Capital letters mark what must be understood.
                guard let first = name.utf8.first, first & 0x20 != 0 else { throw ImageError.unknown("a chunk \"\(name)\"") }
            }
        }
        guard let header else { throw ImageError.damaged("there is no header") }
        if header.hasPalette, palette.isEmpty || palette.count % 3 != 0 { throw ImageError.damaged("there is no palette") }
        let picture = try Picture(width: header.width, height: header.height, budget: budget)
        // Of an interlaced image each pass is an image of its own: every so many columns and rows.
        let passes = header.isInterlaced
            ? [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)] : [(0, 0, 1, 1)]
        func size(_ pass: (Int, Int, Int, Int)) -> (columns: Int, rows: Int) {
            (max(0, (header.width - pass.0 + pass.2 - 1) / pass.2), max(0, (header.height - pass.1 + pass.3 - 1) / pass.3))
        }
        func rowBytes(_ columns: Int) throws -> Int { (try columns.multiplied(by: header.bitsPerPixel).adding(7)) / 8 }
        var total = 0
        for pass in passes {
            let (columns, rows) = size(pass)
            if columns > 0, rows > 0 { total = try total.adding(rows.multiplied(by: rowBytes(columns).adding(1))) }
        }
        let filtered = try Tensor.allocate(.uint8, .vector(total), budget: budget)
        let rowData = filtered.pointer.assumingMemoryBound(to: UInt8.self)
        try data.withUnsafeBytes { try Inflate.zlib($0, into: UnsafeMutableBufferPointer(start: rowData, count: total)) }
        var row = rowData
        for pass in passes {
            let (columns, rows) = size(pass)
            if columns == 0 || rows == 0 { continue }
            let length = try rowBytes(columns)
            var above: UnsafeMutablePointer<UInt8>?
            for y in 0..<rows {
                try unfilter(row[0], row + 1, above, length, max(1, header.bitsPerPixel / 8))
                above = row + 1
                for x in 0..<columns {
                    let (r, g, b) = try pixel(row + 1, x, header, palette)
                    picture.set(pass.0 + x * pass.2, pass.1 + y * pass.3, r, g, b)
                }
                row += length + 1
            }
        }
        return picture
    }

    private static func readHeader(_ body: inout ByteReader) throws -> Header {
        var header = Header()
        header.width = try body.uint32()
        header.height = try body.uint32()
        header.depth = Int(try body.byte())
        let kind = try body.byte()
        guard let (channels, depths) = [
            0: (1, [1, 2, 4, 8, 16]), 2: (3, [8, 16]), 3: (1, [1, 2, 4, 8]), 4: (2, [8, 16]), 6: (4, [8, 16]),
        ][kind], depths.contains(header.depth) else { throw ImageError.damaged("colours of type \(kind) and \(header.depth) bits") }
        header.channels = channels
        header.hasPalette = kind == 3
        guard try body.byte() == 0, try body.byte() == 0 else { throw ImageError.damaged("an unknown compression or filter") }
        let interlace = try body.byte()
        guard interlace <= 1 else { throw ImageError.damaged("an unknown interlacing") }
        header.isInterlaced = interlace == 1
        return header
    }

    /// Undoes the prediction of a row from the one above and the pixel to the left.
    private static func unfilter(
        _ kind: UInt8, _ row: UnsafeMutablePointer<UInt8>, _ above: UnsafeMutablePointer<UInt8>?, _ length: Int, _ distance: Int
    ) throws {
        guard kind <= 4 else { throw ImageError.damaged("an unknown filter") }
        if kind == 0 { return }
        for index in 0..<length {
            let left = index >= distance ? Int(row[index - distance]) : 0, up = above.map { Int($0[index]) } ?? 0
            let corner = index >= distance ? above.map { Int($0[index - distance]) } ?? 0 : 0
            let predicted: Int
            switch kind {
            case 1: predicted = left
            case 2: predicted = up
            case 3: predicted = (left + up) / 2
            default:
                let estimate = left + up - corner
                let (a, b, c) = (abs(estimate - left), abs(estimate - up), abs(estimate - corner))
                predicted = a <= b && a <= c ? left : b <= c ? up : corner
            }
            row[index] = row[index] &+ UInt8(truncatingIfNeeded: predicted)
        }
    }

    private static func pixel(_ row: UnsafeMutablePointer<UInt8>, _ x: Int, _ header: Header, _ palette: [UInt8]) throws -> (UInt8, UInt8, UInt8) {
        if header.depth >= 8 {
            let step = header.depth / 8, at = row + x * header.channels * step
            if header.channels >= 3 { return (at[0], at[step], at[2 * step]) }
            if !header.hasPalette { return (at[0], at[0], at[0]) }
        }
        let bit = x * header.depth, most = (1 << header.depth) - 1
        let value = Int(row[bit / 8]) >> (8 - header.depth - bit % 8) & most
        guard header.hasPalette else {
            let grey = UInt8(value * 255 / most)
            return (grey, grey, grey)
        }
        guard value * 3 + 2 < palette.count else { throw ImageError.damaged("a colour beyond the palette") }
        return (palette[value * 3], palette[value * 3 + 1], palette[value * 3 + 2])
    }

    private static let crcTable: [UInt32] = (0..<256).map { byte in
        (0..<8).reduce(UInt32(byte)) { crc, _ in crc & 1 == 1 ? crc >> 1 ^ 0xedb8_8320 : crc >> 1 }
    }

    private static func crc32(_ bytes: UnsafeRawBufferPointer) -> Int {
        let table = crcTable
        return Int(~bytes.reduce(UInt32.max) { $0 >> 8 ^ table[Int(UInt8(truncatingIfNeeded: $0) ^ $1)] })
    }
}
