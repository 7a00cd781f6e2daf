import ApusCore

/// How a cache of keys or of values holds its numbers: as floats, or as codes that stand for multiples of a scale: int8, float8e4m3fn,
/// or two numbers of 4 bits, less 8, to a byte.
struct CacheCodec: Sendable {
    let isQuantized: Bool
    /// Whether a byte holds two numbers.
    let isPacked: Bool
    private let scaleInput: Int
    private let name: String
    /// From codes to numbers and back, of those that are float8; both set by `resolved`.
    private var loops: (decode: UnaryLoop, encode: UnaryLoop)?
    /// From the scale of one element of a head to that of the next: 0, 1 scale for all, or 1.
    private var scaleStep = 0

    /// `type`: the attribute that tells the kind of scales; `scale`: the input that holds them.
    init(_ node: NodeReader, type: String, bits: Int, scale: Int) throws {
        let kind = try node.choice(type, of: ["NONE", "PER_TENSOR", "PER_CHANNEL"], default: "NONE")
        isQuantized = kind != "NONE"
        isPacked = isQuantized && bits == 4
        scaleInput = scale
        name = type
        guard isQuantized ? [4, 8].contains(bits) && node.hasInput(scale) && node.hasInput(scale - 9) : true else {
            throw ApusError(.invalidModel, "attribute \"\(type)\" is \"\(kind)\": kv_cache_bit_width must be 4 or 8, found \(bits), and scales and a cache be given")
        }
    }

    /// Bytes or floats that hold a head of `size` numbers.
    func width(_ size: Int) -> Int { isPacked ? (size &+ 1) / 2 : size }
    func byteCount(_ size: Int) -> Int { isQuantized ? width(size) : size &* 4 }

    /// The type of the cache, input `index`, of a node that computes with `floats`.
    func type(_ context: InferenceContext, _ index: Int, _ floats: ElementType) throws -> ElementType {
        guard isQuantized || context.has(index) else { return floats }
        return try context.type(index, oneOf: !isQuantized ? [floats] : isPacked ? [.uint8] : [.int8, .float8e4m3fn])
    }

    func check(_ scales: Shape, heads: Int, size: Int) throws {
        guard isQuantized, scales.count == 1 || scales.count == heads * size else {
            throw ApusError(.shapeMismatch, "the scales (\(name)) have shape \(scales), [1] or [1,\(heads),1,\(size)] expected")
        }
    }

    /// This codec, ready to run.
    func resolved(_ context: PrepareContext) throws -> CacheCodec {
        guard isQuantized else { return self }
        var codec = self
        codec.scaleStep = try context.shape(scaleInput).count > 1 ? 1 : 0
        if try context.type(scaleInput - 9) == .float8e4m3fn {
            codec.loops = (try castLoop(.float8e4m3fn, .float32), try castLoop(.float32, .float8e4m3fn))
        }
        return codec
    }

    /// The scales of a head of keys.
    func scales(_ io: NodeIO, head: Int, size: Int) -> UnsafePointer<Float>? {
        isQuantized ? io.input(scaleInput, as: Float.self) + head * size * scaleStep : nil
    }

    /// The numbers of `rows` heads.
    func decode(_ codes: UnsafeRawPointer, _ numbers: UnsafeMutablePointer<Float>, rows: Int, size: Int, _ scales: UnsafePointer<Float>?) {
        guard let scales else { return UnsafeMutableRawPointer(numbers).copyMemory(from: codes, byteCount: rows * size * 4) }
        let bytes = codes.assumingMemoryBound(to: UInt8.self), width = width(size)
        loops?.decode(rows * size, codes, numbers)
        for row in 0..<rows {
            let source = bytes + row * width, target = numbers + row * size
            for index in 0..<size {
                var number = target[index]
                if isPacked {
                    number = Float(source[index / 2] >> (index & 1 == 0 ? 0 : 4) & 15) - 8
                } else if loops == nil {
                    number = Float(Int8(bitPattern: source[index]))
                }
                target[index] = number * scales[index * scaleStep]
            }
        }
    }

    /// The codes nearest to the numbers of `rows` heads, which are lost.
    func encode(_ numbers: UnsafeMutablePointer<Float>, _ codes: UnsafeMutableRawPointer, rows: Int, size: Int, _ scales: UnsafePointer<Float>?) {
        guard let scales else { return codes.copyMemory(from: numbers, byteCount: rows * size * 4) }
        let bytes = codes.assumingMemoryBound(to: UInt8.self), width = width(size)
        for row in 0..<rows {
            let source = numbers + row * size, target = bytes + row * width
            for index in 0..<size {
                source[index] /= scales[index * scaleStep]
                if loops != nil { continue }
                let (least, most): (Float, Float) = isPacked ? (-8, 7) : (-128, 127)
                let code = Int8(max(least, min(most, source[index].isNaN ? 0 : source[index].rounded(.toNearestOrEven))))
                if !isPacked {
                    target[index] = UInt8(bitPattern: code)
                } else if index & 1 == 0 {
                    target[index / 2] = UInt8(bitPattern: code &+ 8)
                } else {
                    target[index / 2] |= UInt8(bitPattern: code &+ 8) << 4
                }
            }
        }
        loops?.encode(rows * size, numbers, codes)
    }
}
