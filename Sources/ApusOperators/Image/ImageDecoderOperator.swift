import ApusCore
import ApusGraph

/// Decodes the bytes of an image file to [height, width, channels] of 8 bits: 3 channels for RGB and BGR, 1 for Grayscale.
///
/// BMP, JPEG (sequential), PNG, PNM (P1 to P6) and TIFF are read; the formats are told apart by their first bytes.
struct ImageDecoderOperator: Operator {
    static let schemas = [Schema("ImageDecoder", since: [20], inputs: 1...1)]

    private enum PixelFormat: String {
        case rgb = "RGB"
        case bgr = "BGR"
        case grayscale = "Grayscale"
    }

    private struct Format: Sendable {
        let signature: [UInt8]
        let decode: @Sendable (UnsafeRawBufferPointer, MemoryBudget) throws -> Picture
    }

    private static let formats = [
        Format(signature: PNGDecoder.signature, decode: PNGDecoder.decode),
        Format(signature: [0xff, 0xd8, 0xff], decode: JPEGDecoder.decode),
        Format(signature: Array("II*\0".utf8), decode: TIFFDecoder.decode),
        Format(signature: [0x4d, 0x4d, 0x00, 0x2a], decode: TIFFDecoder.decode),
        Format(signature: Array("BM".utf8), decode: BMPDecoder.decode),
        Format(signature: Array("P".utf8), decode: PNMDecoder.decode),
    ]

    private let pixelFormat: PixelFormat

    init(_ node: NodeReader) throws {
        let name = try node.choice("pixel_format", of: ["RGB", "BGR", "Grayscale"], default: "RGB")
        pixelFormat = PixelFormat(rawValue: name) ?? .rgb
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        _ = try context.type(0, oneOf: [.uint8])
        _ = try context.dimensions(0, rank: 1...1)
        return [ValueInfo(.uint8, PartialShape([.unknown, .unknown, .known(pixelFormat == .grayscale ? 1 : 3)]))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let count = try context.shape(0).count, pixelFormat = pixelFormat
        return PreparedKernel("image") { io in
            let bytes = UnsafeRawBufferPointer(start: io.input(0), count: count)
            guard let format = ImageDecoderOperator.formats.first(where: { ByteReader(bytes).starts(with: $0.signature) }) else {
                throw ApusError(.invalidValue, "input 0 is no image in a format that Apus reads: BMP, JPEG, PNG, PNM or TIFF")
            }
            let picture = try format.decode(bytes, io.budget), pixels = picture.pixels, size = picture.width * picture.height
            switch pixelFormat {
            case .rgb: try io.setOutput(0, .tensor(picture.tensor))
            case .bgr:
                for index in 0..<size {
                    let red = pixels[index * 3]
                    pixels[index * 3] = pixels[index * 3 + 2]
                    pixels[index * 3 + 2] = red
                }
                try io.setOutput(0, .tensor(picture.tensor))
            case .grayscale:
                // ITU-R BT.601's luma in 16 bits of fraction.
                let output = try io.makeOutput(0, .uint8, Shape([picture.height, picture.width, 1])).assumingMemoryBound(to: UInt8.self)
                for index in 0..<size {
                    let red = Int(pixels[index * 3]), green = Int(pixels[index * 3 + 1]), blue = Int(pixels[index * 3 + 2])
                    let luma: Int = red * 19595 + green * 38470 + blue * 7471
                    output[index] = UInt8((luma + 32768) >> 16)
                }
            }
        }
    }
}
