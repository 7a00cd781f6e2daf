import Foundation
import Testing

@testable import ApusCLI

/// Files written by Pillow.
enum SampleFile {
    /// 16x8: left half (200, 100, 50), right half (10, 20, 240).
    static let jpeg = bytes(
        "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAIBAQEBAQIBAQECAgICAgQDAgICAgUEBAMEBgUGBgYFBgYGBwkIBgcJBwYGCAsICQoKCgoKBggLDAsKDAkK"
            + "Cgr/2wBDAQICAgICAgUDAwUKBwYHCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgr/wAARCAAIABADAREAAhEB"
            + "AxEB/8QAFQABAQAAAAAAAAAAAAAAAAAABQn/xAAUEAEAAAAAAAAAAAAAAAAAAAAA/8QAFgEBAQEAAAAAAAAAAAAAAAAACAkK/8QAFBEBAAAAAAAAAAAA"
            + "AAAAAAAAAP/aAAwDAQACEQMRAD8APFc2Et2mhMt//9k=")
    static let cmykJPEG = bytes(
        "/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwAIBgYHBgUIBwcHCQkICgwUDQwLCwwZEhMPFB0aHx4dGhwcICQuJyAiLCMcHCg3KSwwMTQ0NB8nOT04MjwuMzQy"
            + "/8AAFAgACAAQBEMRAE0RAFkRAEsRAP/EABcAAQEBAQAAAAAAAAAAAAAAAAcIAAX/xAAUEAEAAAAAAAAAAAAAAAAAAAAA/9oADgRDAE0AWQBLAAA/AEhw"
            + "xif0gi9XzP/Z")
    /// 3x1: red, wholly transparent, blue of alpha 128.
    static let rgbaPNG = bytes(
        "iVBORw0KGgoAAAANSUhEUgAAAAMAAAABCAYAAAAb4BS0AAAAFUlEQVR4nGP4z8Dwn+E/AwMDw/8GAB5vBH0n07ZdAAAAAElFTkSuQmCC")
    /// 3x1 of one bit: black, white, black.
    static let bitPNG = bytes("iVBORw0KGgoAAAANSUhEUgAAAAMAAAABAQAAAAAzmykZAAAACklEQVR4nGNwAAAAQgBBKTf07wAAAABJRU5ErkJggg==")
    /// 3x1 of sixteen bits: 0, 0x8080, 0xffff.
    static let grey16PNG = bytes("iVBORw0KGgoAAAANSUhEUgAAAAMAAAABEAAAAABuG5crAAAAD0lEQVR4nGNgYGho+P8fAAaEAv9GYN62AAAAAElFTkSuQmCC")
    /// 2x1 with a palette: (1, 2, 3) and (250, 251, 252).
    static let palettePNG = bytes(
        "iVBORw0KGgoAAAANSUhEUgAAAAIAAAABAQMAAADO7O3JAAAABlBMVEX6+/wBAgNIxxLsAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg==")

    private static func bytes(_ base64: String) -> [UInt8] { Data(base64Encoded: base64).map { Array($0) } ?? [] }
}

@Suite struct PictureTests {
    @Test func pngVariants() throws {
        let transparent = try Picture(decoding: SampleFile.rgbaPNG)
        #expect((transparent.width, transparent.height, transparent.channels) == (3, 1, 3))
        #expect(Array(transparent.samples[..<6]) == [255, 0, 0, 255, 255, 255])
        #expect(transparent.samples[8] == 255)
        #expect((100..<200).contains(transparent.samples[6]))
        #expect(try Picture(decoding: SampleFile.bitPNG).grey.samples == [0, 255, 0])
        #expect(try Picture(decoding: SampleFile.grey16PNG).grey.samples == [0, 0x80, 255])
        #expect(try Picture(decoding: SampleFile.palettePNG).samples == [1, 2, 3, 250, 251, 252])
    }

    @Test func jpeg() throws {
        let picture = try Picture(decoding: SampleFile.jpeg)
        #expect((picture.width, picture.height) == (16, 8))
        for (place, expected) in [(0, [200, 100, 50]), (15, [10, 20, 240])] {
            for channel in 0..<3 { #expect(abs(Int(picture.samples[place * 3 + channel]) - expected[channel]) <= 3) }
        }
        #expect(throws: CLIError.self) { try Picture(decoding: SampleFile.cmykJPEG) }
    }

    @Test(arguments: [SampleFile.jpeg, SampleFile.rgbaPNG, SampleFile.palettePNG]) func everyCutOffFileIsRefused(file: [UInt8]) {
        // The last bytes of a PNG (its IEND) and a JPEG (its end mark) carry nothing of the picture.
        for length in 0..<file.count - 20 { #expect(throws: CLIError.self) { try Picture(decoding: Array(file[..<length])) } }
    }

    @Test(arguments: [SampleFile.jpeg, SampleFile.rgbaPNG, SampleFile.grey16PNG, SampleFile.palettePNG])
    func damagedFilesEndInAnErrorOrAPicture(file: [UInt8]) {
        var decoded = 0
        for place in file.indices {
            for bit in [UInt8(1), 0x10, 0xff] {
                var damaged = file
                damaged[place] ^= bit
                if let picture = try? Picture(decoding: damaged) {
                    decoded += 1
                    #expect(picture.samples.count == picture.width * picture.height * 3)
                }
            }
        }
        #expect(decoded < 3 * file.count)
    }

    @Test func hugePicturesAreRefusedBeforeTheyAreDecoded() {
        var file = SampleFile.bitPNG
        // Width and height in the header; its checksum is wrong then, which libpng may notice first.
        for place in 16..<24 { file[place] = place % 4 == 2 ? 0xff : 0 }
        #expect(throws: CLIError.self) { try Picture(decoding: file) }
    }

    @Test func greyHasTheWeightsOfBT601() {
        let picture = Picture(width: 2, height: 1, channels: 3, samples: [200, 100, 50, 10, 20, 240])
        #expect(picture.grey.samples == [124, 42])
        #expect(picture.grey.grey == picture.grey)
    }

    // MARK: Resizing, against Pillow

    private let ramp = Picture(width: 7, height: 5, channels: 1, samples: (0..<35).map { UInt8($0 * 7 % 256) })

    @Test(arguments: [
        (3, 2, [55, 70, 85, 153, 168, 183]),
        (7, 2, [49, 56, 63, 70, 77, 84, 91, 147, 154, 161, 168, 175, 182, 189]),
        (5, 9, [2, 11, 21, 31, 40, 18, 27, 37, 47, 56, 46, 55, 65, 75, 84, 73, 82, 92, 102, 111, 100, 109, 119, 129, 138, 127, 136, 146,
            156, 165, 154, 163, 173, 183, 192, 182, 191, 201, 211, 220, 198, 207, 217, 227, 236]),
    ])
    func bilinear(width: Int, height: Int, expected: [Int]) throws {
        let resized = try ramp.resized(width: width, height: height, by: .bilinear)
        #expect((resized.width, resized.height) == (width, height))
        // Pillow rounds between its two passes.
        for (value, reference) in zip(resized.samples, expected) { #expect(abs(Int(value) - reference) <= 1) }
        #expect(resized.samples.count == expected.count)
    }

    @Test func nearest() throws {
        #expect(try ramp.resized(width: 3, height: 2, by: .nearest).samples == [56, 70, 84, 154, 168, 182])
        #expect(try ramp.resized(width: 7, height: 2, by: .nearest).samples.prefix(7) == [49, 56, 63, 70, 77, 84, 91])
    }

    @Test func sameSizeIsTheSamePicture() throws {
        #expect(try ramp.resized(width: 7, height: 5, by: .bilinear) == ramp)
        #expect(throws: CLIError.self) { try ramp.resized(width: 0, height: 5, by: .bilinear) }
        #expect(throws: CLIError.self) { try ramp.resized(width: .max, height: 5, by: .bilinear) }
    }

    @Test func everySizeKeepsConstantPictures() throws {
        for from in 1...9 {
            let flat = Picture(width: from, height: 1, channels: 3, samples: (0..<from).flatMap { _ in [UInt8(7), 99, 250] })
            for to in 1...20 {
                for filter in Picture.Filter.allCases {
                    let resized = try flat.resized(width: to, height: 2, by: filter)
                    #expect(resized.samples == (0..<2 * to).flatMap { _ in [UInt8(7), 99, 250] })
                }
            }
        }
    }

    @Test func cropsTheMiddle() throws {
        let square = try ramp.cropped(toProportionOf: 10, 10)
        #expect((square.width, square.height) == (5, 5))
        #expect(square.samples[0] == 7)
        let flat = try ramp.cropped(toProportionOf: 7, 1)
        #expect((flat.width, flat.height) == (7, 1))
        #expect(flat.samples[0] == 98)
        let needle = try ramp.cropped(toProportionOf: 1, 1000)
        #expect((needle.width, needle.height) == (1, 5))
    }
}
