import ApusCore

/// JPEG (ITU-T T.81): sequential Huffman-coded images of 8 bits with one or three components.
///
/// The inverse transform, the interpolation of chroma and the conversion of colours are those that most decoders share, in
/// the same integer arithmetic, so that pixels are equal to theirs: Loeffler, Ligtenberg and Moschytz, "Practical fast 1-D
/// DCT algorithms with 11 multiplications" (1989), a triangle filter for halved chroma, and JFIF's colours.
struct JPEGDecoder {
    private struct Component {
        let identifier: UInt8
        let horizontal: Int
        let vertical: Int
        let quantization: Int
        /// Samples without padding.
        var width = 0
        var height = 0
        var stride = 0
        var blockColumns = 0
        var blockRows = 0
        var samples: Tensor?
        var dcTable = 0
        var acTable = 0
        var prediction = 0
        var isDecoded = false

        var plane: UnsafeMutablePointer<UInt8>? { samples?.pointer.assumingMemoryBound(to: UInt8.self) }
    }

    /// A Huffman code: by length, the first code, how many there are, and where their symbols start.
    private struct Code {
        var counts = [Int](repeating: 0, count: 17)
        var symbols: [UInt8] = []
    }

    private var reader: ByteReader
    private let budget: MemoryBudget
    private var width = 0
    private var height = 0
    private var components: [Component] = []
    private var quantizations = [[Int]?](repeating: nil, count: 4)
    private var codes = [Code?](repeating: nil, count: 8)
    private var restartInterval = 0
    private var adobeTransform: UInt8?
    private var hasJFIF = false
    private var bits = 0
    private var bitCount = 0

    static func decode(_ bytes: UnsafeRawBufferPointer, _ budget: MemoryBudget) throws -> Picture {
        var decoder = JPEGDecoder(reader: ByteReader(bytes, at: 2), budget: budget)
        try decoder.readSegments()
        return try decoder.picture()
    }

    private init(reader: ByteReader, budget: MemoryBudget) {
        self.reader = reader
        self.budget = budget
    }

    // MARK: Segments

    private mutating func readSegments() throws {
        while true {
            guard try reader.byte() == 0xff else { throw ImageError.damaged("a marker is missing") }
            var marker = try reader.byte()
            while marker == 0xff { marker = try reader.byte() }
            if marker == 0xd9 { break }
            if (0xd0...0xd7).contains(marker) || marker == 1 { continue }
            let length = try reader.uint16()
            guard length >= 2 else { throw ImageError.damaged("a segment of \(length) bytes") }
            var body = ByteReader(try reader.take(length - 2))
            switch marker {
            case 0xc0, 0xc1: try readFrame(&body)
            case 0xc2...0xc3, 0xc5...0xc7, 0xc9...0xcb, 0xcd...0xcf: throw ImageError.unknown("JPEG's process \(marker - 0xc0)")
            case 0xc4: try readCodes(&body)
            case 0xda:
                try readScan(&body)
                if components.allSatisfy(\.isDecoded) { return }
            case 0xdb: try readQuantizations(&body)
            case 0xdd: restartInterval = try body.uint16()
            case 0xe0: hasJFIF = hasJFIF || body.starts(with: Array("JFIF\0".utf8))
            case 0xee:
                if body.starts(with: Array("Adobe".utf8)), body.remaining >= 12 { adobeTransform = body.bytes[11] }
            default: break
            }
        }
        guard !components.isEmpty, components.allSatisfy(\.isDecoded) else { throw ImageError.early }
    }

    private mutating func readQuantizations(_ body: inout ByteReader) throws {
        while body.remaining > 0 {
            let kind = Int(try body.byte())
            guard kind & 15 < 4, kind >> 4 < 2 else { throw ImageError.damaged("quantisation table \(kind)") }
            var table = [Int](repeating: 0, count: 64)
            for index in 0..<64 { table[Self.zigzag[index]] = kind >> 4 == 1 ? try body.uint16() : Int(try body.byte()) }
            quantizations[kind & 15] = table
        }
    }

    private mutating func readCodes(_ body: inout ByteReader) throws {
        while body.remaining > 0 {
            let kind = Int(try body.byte())
            guard kind & 15 < 4, kind >> 4 < 2 else { throw ImageError.damaged("Huffman table \(kind)") }
            var code = Code(), left = 1
            for length in 1...16 {
                code.counts[length] = Int(try body.byte())
                left = left * 2 - code.counts[length]
                guard left >= 0 else { throw ImageError.damaged("a Huffman code with too many symbols") }
            }
            code.symbols = [UInt8](try body.take(code.counts.reduce(0, +)))
            codes[kind >> 4 * 4 + kind & 15] = code
        }
    }

    private mutating func readFrame(_ body: inout ByteReader) throws {
        guard components.isEmpty else { throw ImageError.damaged("two frames") }
        guard try body.byte() == 8 else { throw ImageError.unknown("samples of more than 8 bits") }
        height = try body.uint16()
        width = try body.uint16()
        guard width > 0, height > 0 else { throw ImageError.damaged("its size is \(width) x \(height)") }
        let count = try body.byte()
        guard count == 1 || count == 3 else { throw ImageError.unknown("\(count) components") }
        for _ in 0..<count {
            let identifier = try body.byte(), factors = Int(try body.byte()), table = Int(try body.byte())
            guard (1...4).contains(factors >> 4), (1...4).contains(factors & 15), table < 4 else {
                throw ImageError.damaged("a component with factors \(factors)")
            }
            components.append(Component(identifier: identifier, horizontal: factors >> 4, vertical: factors & 15, quantization: table))
        }
        // One component alone is not subsampled, whatever it says.
        if count == 1 {
            components[0] = Component(identifier: components[0].identifier, horizontal: 1, vertical: 1, quantization: components[0].quantization)
        }
        let (most, mostRows) = greatestFactors
        let unitColumns = (width - 1) / (8 * most) + 1, unitRows = (height - 1) / (8 * mostRows) + 1
        for index in components.indices {
            let (h, v) = (components[index].horizontal, components[index].vertical)
            components[index].width = (width * h - 1) / most + 1
            components[index].height = (height * v - 1) / mostRows + 1
            components[index].blockColumns = unitColumns * h
            components[index].blockRows = unitRows * v
            components[index].stride = unitColumns * h * 8
            components[index].samples = try Tensor.allocate(.uint8, Shape([unitRows * v * 8, unitColumns * h * 8]), budget: budget)
        }
    }

    private var greatestFactors: (Int, Int) {
        (components.map(\.horizontal).max() ?? 1, components.map(\.vertical).max() ?? 1)
    }

    // MARK: Entropy-coded data

    private mutating func readScan(_ body: inout ByteReader) throws {
        var members: [Int] = []
        for _ in 0..<(try body.byte()) {
            let identifier = try body.byte(), tables = Int(try body.byte())
            guard let index = components.firstIndex(where: { $0.identifier == identifier }), !components[index].isDecoded,
                !members.contains(index), tables >> 4 < 4, tables & 15 < 4
            else { throw ImageError.damaged("a scan of component \(identifier)") }
            components[index].dcTable = tables >> 4
            components[index].acTable = 4 + tables & 15
            members.append(index)
        }
        guard !members.isEmpty else { throw ImageError.damaged("a scan of nothing") }
        let isInterleaved = members.count > 1
        let first = components[members[0]], (most, mostRows) = greatestFactors
        let columns = isInterleaved ? (width - 1) / (8 * most) + 1 : (first.width - 1) / 8 + 1
        let rows = isInterleaved ? (height - 1) / (8 * mostRows) + 1 : (first.height - 1) / 8 + 1
        resetDecoder(members)
        var untilRestart = restartInterval
        for unit in 0..<(columns * rows) {
            if restartInterval > 0 {
                if untilRestart == 0 {
                    try readRestart()
                    resetDecoder(members)
                    untilRestart = restartInterval
                }
                untilRestart -= 1
            }
            for index in members {
                let (h, v) = isInterleaved ? (components[index].horizontal, components[index].vertical) : (1, 1)
                for block in 0..<(h * v) {
                    try readBlock(index, column: unit % columns * h + block % h, row: unit / columns * v + block / h)
                }
            }
        }
        for index in members { components[index].isDecoded = true }
    }

    private mutating func resetDecoder(_ members: [Int]) {
        bits = 0
        bitCount = 0
        for index in members { components[index].prediction = 0 }
    }

    private mutating func readRestart() throws {
        guard try reader.byte() == 0xff, (0xd0...0xd7).contains(try reader.byte()) else { throw ImageError.damaged("a restart is missing") }
    }

    private mutating func bit() throws -> Int {
        if bitCount == 0 {
            bits = Int(try reader.byte())
            if bits == 0xff {
                let next = try reader.byte()
                guard next == 0 else { throw ImageError.early }
            }
            bitCount = 8
        }
        bitCount -= 1
        return bits >> bitCount & 1
    }

    private mutating func symbol(_ table: Int) throws -> Int {
        guard let code = codes[table] else { throw ImageError.damaged("a Huffman table is missing") }
        var value = 0, first = 0, index = 0
        for length in 1...16 {
            value = value << 1 | (try bit())
            first <<= 1
            let count = code.counts[length]
            if value - first < count { return Int(code.symbols[index + value - first]) }
            index += count
            first += count
        }
        throw ImageError.damaged("an unknown Huffman code")
    }

    /// A number of `size` bits; those whose first bit is 0 are negative.
    private mutating func number(_ size: Int) throws -> Int {
        var value = 0
        for _ in 0..<size { value = value << 1 | (try bit()) }
        return size == 0 || value >> (size - 1) == 1 ? value : value - (1 << size) + 1
    }

    private mutating func readBlock(_ index: Int, column: Int, row: Int) throws {
        guard let quantization = quantizations[components[index].quantization] else {
            throw ImageError.damaged("a quantisation table is missing")
        }
        var block = [Int32](repeating: 0, count: 64)
        func scaled(_ value: Int, _ place: Int) -> Int32 { Int32(truncatingIfNeeded: value &* quantization[place]) }
        let size = try symbol(components[index].dcTable)
        guard size <= 11 else { throw ImageError.damaged("a coefficient of \(size) bits") }
        // Damaged data may add up to anything; the sum is kept in the range that valid data have.
        components[index].prediction = max(-32768, min(32767, components[index].prediction + (try number(size))))
        block[0] = scaled(components[index].prediction, 0)
        var place = 1
        while place < 64 {
            let symbol = try symbol(components[index].acTable), run = symbol >> 4, size = symbol & 15
            if size == 0 {
                if run < 15 { break }
                place += 16
                continue
            }
            place += run
            guard place < 64, size <= 10 else { throw ImageError.damaged("a coefficient beyond its block") }
            block[Self.zigzag[place]] = scaled(try number(size), Self.zigzag[place])
            place += 1
        }
        guard column < components[index].blockColumns, row < components[index].blockRows, let plane = components[index].plane else { return }
        let stride = components[index].stride
        Self.transform(&block, plane + row * 8 * stride + column * 8, stride)
    }

    // MARK: From coefficients to pixels

    private static let zigzag = [
        0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28,
        35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
    ]

    /// The inverse cosine transform: columns, then rows, in fixed point with 13 bits of fraction.
    private static func transform(_ block: inout [Int32], _ target: UnsafeMutablePointer<UInt8>, _ stride: Int) {
        func butterflies(_ start: Int, _ step: Int, _ shift: Int32) {
            func at(_ index: Int) -> Int32 { block[start + index * step] }
            let turn = (at(2) &+ at(6)) &* 4433
            let even2 = turn &- at(6) &* 15137, even3 = turn &+ at(2) &* 6270
            let even0 = (at(0) &+ at(4)) << 13, even1 = (at(0) &- at(4)) << 13
            let sums = (even0 &+ even3, even1 &+ even2, even1 &- even2, even0 &- even3)
            let (o7, o5, o3, o1) = (at(7), at(5), at(3), at(1))
            let common = (o7 &+ o3 &+ o5 &+ o1) &* 9633
            let a = (o7 &+ o1) &* -7373, b = (o5 &+ o3) &* -20995
            let c = (o7 &+ o3) &* -16069 &+ common, d = (o5 &+ o1) &* -3196 &+ common
            let odd = (
                o1 &* 12299 &+ a &+ d, o3 &* 25172 &+ b &+ c, o5 &* 16819 &+ b &+ d, o7 &* 2446 &+ a &+ c)
            let half: Int32 = 1 << (shift - 1)
            func store(_ index: Int, _ even: Int32, _ odd: Int32) {
                block[start + index * step] = (even &+ odd &+ half) >> shift
                block[start + (7 - index) * step] = (even &- odd &+ half) >> shift
            }
            store(0, sums.0, odd.0)
            store(1, sums.1, odd.1)
            store(2, sums.2, odd.2)
            store(3, sums.3, odd.3)
        }
        for column in 0..<8 { butterflies(column, 8, 11) }
        for row in 0..<8 {
            butterflies(row * 8, 1, 18)
            for column in 0..<8 { target[row * stride + column] = UInt8(max(0, min(255, block[row * 8 + column] &+ 128))) }
        }
    }

    /// Row `y` of a component at the full width, and from there at most one more pixel.
    private func upsample(_ component: Component, row y: Int, into target: UnsafeMutablePointer<UInt8>) {
        guard let plane = component.plane else { return }
        let (most, mostRows) = greatestFactors
        let (h, v) = (most / component.horizontal, mostRows / component.vertical)
        let exact = most % component.horizontal == 0 && mostRows % component.vertical == 0
        let near = y / v, nearest = plane + min(near, component.height - 1) * component.stride
        // The neighbour in the other direction counts a quarter.
        let other = y % v == 0 ? max(0, near - 1) : min(component.height - 1, near + 1)
        let further = plane + other * component.stride, count = component.width
        if exact, h == 2, v <= 2, count > 2 {
            func sum(_ x: Int) -> Int { v == 1 ? Int(nearest[x]) : 3 * Int(nearest[x]) + Int(further[x]) }
            // With both directions there are two more bits to round away.
            let shift = v == 1 ? 2 : 4, (low, high) = v == 1 ? (1, 2) : (8, 7)
            for x in 0..<count {
                let own = 3 * sum(x), left = x > 0 ? sum(x - 1) : sum(x), right = x + 1 < count ? sum(x + 1) : sum(x)
                let ends = (x == 0 && v == 1, x + 1 == count && v == 1)
                target[2 * x] = ends.0 ? nearest[x] : UInt8(truncatingIfNeeded: (own + left + low) >> shift)
                target[2 * x + 1] = ends.1 ? nearest[x] : UInt8(truncatingIfNeeded: (own + right + high) >> shift)
            }
        } else if exact, h == 1, v == 2 {
            for x in 0..<count { target[x] = UInt8(truncatingIfNeeded: (3 * Int(nearest[x]) + Int(further[x]) + 1 + y % 2) >> 2) }
        } else {
            let row = plane + min(y * component.vertical / mostRows, component.height - 1) * component.stride
            for x in 0..<width { target[x] = row[min(x * component.horizontal / most, count - 1)] }
        }
    }

    private func picture() throws -> Picture {
        let picture = try Picture(width: width, height: height, budget: budget)
        let isRGB = components.count == 3
            && (adobeTransform == 0 || adobeTransform == nil && !hasJFIF && components.map(\.identifier).elementsEqual(Array("RGB".utf8)))
        // Twice the halved width may be one more than the width.
        let line = width + 8
        let rows = try Tensor.allocate(.uint8, Shape([3, line]), budget: budget)
        let first = rows.pointer.assumingMemoryBound(to: UInt8.self)
        func clamped(_ value: Int) -> UInt8 { UInt8(max(0, min(255, value))) }
        for y in 0..<height {
            for (index, component) in components.enumerated() { upsample(component, row: y, into: first + index * line) }
            for x in 0..<width {
                let (a, b, c) = (first[x], first[line + x], first[2 * line + x])
                if components.count == 1 {
                    picture.set(x, y, a, a, a)
                } else if isRGB {
                    picture.set(x, y, a, b, c)
                } else {
                    let (luma, blue, red) = (Int(a), Int(b) - 128, Int(c) - 128)
                    picture.set(
                        x, y, clamped(luma + (91881 * red + 32768) >> 16), clamped(luma + (32768 - 22554 * blue - 46802 * red) >> 16),
                        clamped(luma + (116130 * blue + 32768) >> 16))
                }
            }
        }
        return picture
    }
}
