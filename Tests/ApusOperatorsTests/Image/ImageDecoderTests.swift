import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

struct ImageDecoderTests {

    private func input(_ bytes: [UInt8]) throws -> Value { .tensor(try Tensor(.uint8, [bytes.count], bytes)) }

    @Test(arguments: ImageFiles.all)
    func formats(file: ImageFiles.File) throws {
        try expectEvaluates(
            "ImageDecoder", opset: 20, [:], [try input(file.bytes)], [.tensor(try Tensor(.uint8, file.shape, file.pixels))])
    }

    @Test
    func pixelFormats() throws {
        let file = try #require(ImageFiles.all.first)
        var swapped: [UInt8] = [], grey: [UInt8] = []
        for start in stride(from: 0, to: file.pixels.count, by: 3) {
            let pixel = Array(file.pixels[start..<(start + 3)])
            swapped += pixel.reversed()
            let luma: Int = Int(pixel[0]) * 19595 + Int(pixel[1]) * 38470 + Int(pixel[2]) * 7471
            grey.append(UInt8((luma + 32768) >> 16))
        }
        try expectEvaluates(
            "ImageDecoder", opset: 20, ["pixel_format": .string("BGR")], [try input(file.bytes)], [.tensor(try Tensor(.uint8, file.shape, swapped))])
        try expectEvaluates(
            "ImageDecoder", opset: 20, ["pixel_format": .string("Grayscale")], [try input(file.bytes)],
            [.tensor(try Tensor(.uint8, [file.shape[0], file.shape[1], 1], grey))])
        expectRefuses("ImageDecoder", opset: 20, ["pixel_format": .string("CMYK")], [try input(file.bytes)], .invalidModel, "pixel_format")
        expectRefuses("ImageDecoder", opset: 20, [:], [try input([1, 2, 3])], .invalidValue, "no image")
        expectRefuses("ImageDecoder", opset: 20, [:], [try input([])], .invalidValue, "no image")
    }

    /// Cut off or damaged anywhere, an image is decoded or refused; nothing else happens.
    @Test(arguments: ImageFiles.all)
    func damage(file: ImageFiles.File) throws {
        let budget = MemoryBudget(cap: 64 << 20)
        func decode(_ bytes: [UInt8]) throws {
            do {
                _ = try Evaluator(budget: budget).evaluate("ImageDecoder", opset: 20, [:], [try input(bytes)])
            } catch let error as ApusError {
                #expect([.invalidValue, .unsupported, .memoryLimit, .shapeMismatch].contains(error.code), "\(error)")
            }
        }
        for length in stride(from: 0, to: file.bytes.count, by: max(1, file.bytes.count / 60)) { try decode(Array(file.bytes[..<length])) }
        var numbers = Numbers(UInt64(file.bytes.count))
        for _ in 0..<150 {
            var bytes = file.bytes
            for _ in 0..<3 {
                let place = Int(abs(numbers.next()) * Float(bytes.count - 1))
                bytes[place] = UInt8(truncatingIfNeeded: Int(numbers.next() * 1000))
            }
            try decode(bytes)
        }
    }
}
