import ApusCore

/// Decompresses "deflate" data (RFC 1951) in a zlib wrapper (RFC 1950). Checksums are verified.
struct Inflate {
    private var reader: ByteReader
    private var bits: UInt32 = 0
    private var bitCount = 0
    private let output: UnsafeMutablePointer<UInt8>
    private let capacity: Int
    private var count = 0

    /// Fills `output`, which holds exactly as many bytes as the data must have.
    static func zlib(_ data: UnsafeRawBufferPointer, into output: UnsafeMutableBufferPointer<UInt8>) throws {
        var reader = ByteReader(data)
        let header = try reader.uint16()
        guard header >> 8 & 15 == 8, header % 31 == 0, header & 0x20 == 0 else { throw ImageError.damaged("no zlib data") }
        guard let base = output.baseAddress else { return }
        var inflate = Inflate(reader: reader, output: base, capacity: output.count)
        try inflate.run()
        guard inflate.count == output.count else {
            throw ImageError.damaged("\(inflate.count) bytes were compressed, \(output.count) expected")
        }
        var rest = inflate.reader
        guard try rest.uint32() == adler32(UnsafeRawBufferPointer(output)) else { throw ImageError.damaged("a wrong checksum") }
    }

    private init(reader: ByteReader, output: UnsafeMutablePointer<UInt8>, capacity: Int) {
        self.reader = reader
        self.output = output
        self.capacity = capacity
    }

    private static func adler32(_ bytes: UnsafeRawBufferPointer) -> Int {
        var a = 1, b = 0
        for byte in bytes {
            a = (a + Int(byte)) % 65521
            b = (b + a) % 65521
        }
        return b << 16 | a
    }

    private mutating func take(_ wanted: Int) throws -> Int {
        while bitCount < wanted {
            bits |= UInt32(try reader.byte()) << UInt32(bitCount)
            bitCount += 8
        }
        defer {
            bits >>= UInt32(wanted)
            bitCount -= wanted
        }
        return Int(bits & ((1 << UInt32(wanted)) - 1))
    }

    private mutating func put(_ byte: UInt8) throws {
        guard count < capacity else { throw ImageError.damaged("more data than the image has") }
        output[count] = byte
        count += 1
    }

    /// A canonical Huffman code: how many codes each length has, and the symbols in the order of their codes.
    private struct Code {
        var counts = [Int](repeating: 0, count: 16)
        var symbols: [Int] = []

        init(_ lengths: ArraySlice<Int>) throws {
            for length in lengths { counts[length] += 1 }
            counts[0] = 0
            var left = 1
            for length in 1..<16 {
                left = left * 2 - counts[length]
                guard left >= 0 else { throw ImageError.damaged("a Huffman code with too many symbols") }
            }
            for length in 1..<16 {
                for (symbol, own) in lengths.enumerated() where own == length { symbols.append(symbol) }
            }
        }
    }

    private mutating func symbol(_ code: Code) throws -> Int {
        var value = 0, first = 0, index = 0
        for length in 1..<16 {
            value |= try take(1)
            let count = code.counts[length]
            if value - first < count { return code.symbols[index + value - first] }
            index += count
            first = (first + count) << 1
            value <<= 1
        }
        throw ImageError.damaged("an unknown Huffman code")
    }

    private mutating func run() throws {
        var isLast = false
        while !isLast {
            isLast = try take(1) == 1
            switch try take(2) {
            case 0:
                // What is left of the current byte is not used.
                bits = 0
                bitCount = 0
                reader.isLittleEndian = true
                let length = try reader.uint16(), complement = try reader.uint16()
                reader.isLittleEndian = false
                guard length ^ 0xffff == complement else { throw ImageError.damaged("a wrong block length") }
                for byte in try reader.take(length) { try put(byte) }
            case 1:
                let lengths = [Int](repeating: 8, count: 144) + [Int](repeating: 9, count: 112) + [Int](repeating: 7, count: 24)
                    + [Int](repeating: 8, count: 8)
                try block(Code(lengths[...]), Code([Int](repeating: 5, count: 30)[...]))
            case 2:
                let (literals, distances) = try codes()
                try block(literals, distances)
            default: throw ImageError.damaged("an unknown kind of block")
            }
        }
        // Whole bytes that were read ahead belong to what follows.
        reader.position -= bitCount / 8
    }

    private mutating func codes() throws -> (Code, Code) {
        let literals = try take(5) + 257, distances = try take(5) + 1, lengthCodes = try take(4) + 4
        var lengths = [Int](repeating: 0, count: 19)
        for place in [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15].prefix(lengthCodes) { lengths[place] = try take(3) }
        let code = try Code(lengths[...])
        lengths = []
        while lengths.count < literals + distances {
            let symbol = try symbol(code)
            var repeated = symbol, times = 1
            switch symbol {
            case 16:
                guard let last = lengths.last else { throw ImageError.damaged("a repetition of nothing") }
                (repeated, times) = (last, 3 + (try take(2)))
            case 17: (repeated, times) = (0, 3 + (try take(3)))
            case 18: (repeated, times) = (0, 11 + (try take(7)))
            default: break
            }
            lengths += [Int](repeating: repeated, count: times)
        }
        guard lengths.count == literals + distances else { throw ImageError.damaged("too many code lengths") }
        return (try Code(lengths[..<literals]), try Code(lengths[literals...]))
    }

    private static let lengthBases = [3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258]
    private static let lengthBits = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0]

    private mutating func block(_ literals: Code, _ distances: Code) throws {
        while true {
            let symbol = try symbol(literals)
            if symbol < 256 {
                try put(UInt8(symbol))
                continue
            }
            if symbol == 256 { return }
            guard symbol - 257 < Self.lengthBases.count else { throw ImageError.damaged("an unknown length") }
            let length = Self.lengthBases[symbol - 257] + (try take(Self.lengthBits[symbol - 257]))
            let kind = try self.symbol(distances)
            guard kind < 30 else { throw ImageError.damaged("an unknown distance") }
            // Two distances for each number of extra bits.
            let extra = max(0, kind / 2 - 1)
            let base = kind < 4 ? kind + 1 : (2 + kind % 2) << extra + 1
            let distance = base + (try take(extra))
            guard distance <= count else { throw ImageError.damaged("a distance beyond the start") }
            guard count + length <= capacity else { throw ImageError.damaged("more data than the image has") }
            for _ in 0..<length {
                output[count] = output[count - distance]
                count += 1
            }
        }
    }
}
