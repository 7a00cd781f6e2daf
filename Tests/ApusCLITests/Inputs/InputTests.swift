import ApusCore
import ArgumentParser
import Foundation
import Testing

@testable import ApusCLI

/// The two option groups as a command has them.
private struct Options: ParsableArguments {
    @OptionGroup var inputs: InputOptions
    @OptionGroup var image: ImageOptions

    func feed(_ infos: InputInfo..., fallback: InputSource? = nil) throws -> [String: HostTensor] {
        try inputs.tensors(for: infos, image, fallback: fallback)
    }
}

/// A directory of its own for each test, removed with its owner.
final class Scratch {
    let path: String

    init() throws {
        path = NSTemporaryDirectory() + "/apus-cli-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func file(_ name: String, _ bytes: [UInt8]) throws -> String {
        try FileIO.write(bytes, to: "\(path)/\(name)")
        return "\(path)/\(name)"
    }
}

private let image = InputInfo("image", .float32, [.named("batch"), .fixed(1), .fixed(8), .fixed(8)])
private let ids = InputInfo("ids", .int64, [.named("batch"), .named("length")])

@Suite struct InputSourceTests {
    @Test func kinds() throws {
        #expect(try InputSource("a/b.NPY") == .npy("a/b.NPY"))
        #expect(try InputSource("b.npz") == .npz("b.npz"))
        #expect(try InputSource("c.x.jpeg") == .picture("c.x.jpeg"))
        #expect(try InputSource("d.json") == .json("d.json"))
        #expect(try InputSource("json:[1:2]") == .inline("[1:2]"))
        #expect(try InputSource("zeros") == .fill(0))
        #expect(try InputSource("fill:-1.5") == .fill(-1.5))
        #expect(try InputSource("random:7") == .random(seed: 7, low: nil, high: nil))
        #expect(try InputSource("random:7:-1:1") == .random(seed: 7, low: -1, high: 1))
    }

    @Test(arguments: ["", "x", "x.txt", "random", "random:", "random:x", "random:-1", "random:1:2", "random:1:3:2", "random:1:0:inf", "fill",
        "fill:", "fill:x", "zeros:1", "dir/.npy/x"])
    func malformed(text: String) { #expect(throws: CLIError.self) { try InputSource(text) } }

    @Test func randomNumbersAreTheSameEverywhere() throws {
        // The first numbers of SplitMix64 seeded with 0, as its authors' reference program prints them.
        var generator = SplitMix64(seed: 0)
        #expect([generator.next(), generator.next()] == [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4])
    }

    @Test(arguments: ElementType.allCases.filter { $0 != .string }) func randomContentsStayInTheirRange(type: ElementType) throws {
        let tensor = try HostTensor.random(type, [100], seed: 3, low: nil, high: nil)
        #expect(tensor == (try HostTensor.random(type, [100], seed: 3, low: nil, high: nil)))
        #expect(tensor != (try HostTensor.random(type, [100], seed: 4, low: nil, high: nil)))
        let numbers = tensor.doubles()
        #expect(numbers.count == (type.isComplex ? 200 : 100))
        #expect(numbers.allSatisfy { $0 >= 0 && $0 <= 1 })
        if type.isInteger { #expect(Set(numbers) == [0, 1]) }
    }

    @Test func wholeNumbersReachBothEnds() throws {
        let tensor = try HostTensor.random(.int8, [2000], seed: 1, low: -2, high: 2)
        #expect(Set(tensor.integers()) == [-2, -1, 0, 1, 2])
        #expect(throws: CLIError.self) { try HostTensor.random(.uint8, [1000], seed: 1, low: 0, high: 1000) }
    }
}

@Suite struct InputOptionsTests {
    @Test func generatedContentsFollowTheModelsShape() throws {
        let feed = try Options.parse(["-i", "image=zeros", "-i", "ids=fill:3", "--dim", "batch=2", "--shape", "ids=4x5"]).feed(image, ids)
        #expect(feed["image"] == (try HostTensor.zeros(.float32, [2, 1, 8, 8])))
        #expect(feed["ids"]?.shape == [4, 5])
        #expect(feed["ids"]?.integers() == Array(repeating: 3, count: 20))
    }

    @Test func oneInputNeedsNoName() throws {
        #expect(try Options.parse(["-i", "random:1"]).feed(image)["image"]?.shape == [1, 1, 8, 8])
        let optional = InputInfo("mask", .bool, nil, isOptional: true)
        #expect(try Options.parse(["-i", "random:1"]).feed(image, optional).keys.sorted() == ["image"])
        #expect(throws: CLIError.self) { try Options.parse(["-i", "zeros"]).feed(image, ids) }
    }

    @Test func namesMayHoldEqualSigns() throws {
        let odd = InputInfo("a=b", .int64, [])
        let short = InputInfo("a", .int64, [])
        let feed = try Options.parse(["-i", "a=b=json:7", "-i", "a=json:8"]).feed(odd, short)
        #expect(feed["a=b"]?.integers() == [7])
        #expect(feed["a"]?.integers() == [8])
    }

    @Test(arguments: [
        ["-i", "imag=zeros"], ["-i", "image=zeros", "-i", "image=zeros"], [], ["-i", "image=nowhere.npy"], ["-i", "nowhere.npz"],
        ["-i", "imag=file.npy"], ["-i", "image=zeros", "--shape", "imag=1"], ["-i", "image=zeros", "--dim", "batch=-1"],
        ["-i", "image=zeros", "--dim", "batch"], ["-i", "image=zeros", "--shape", "image=1xx2"], ["-i", "image=zeros", "--dim", "=3"],
        ["-i", "image=json:[1, 2"], ["-i", "image=json:{\"other\": 1}"], ["-i", "json:{\"other\": [1]}"], ["-i", "image=json:[true, null]"],
        ["-i", "image=zeros", "--dim", "batch=4611686018427387904"], ["-i", "image=zeros", "--dim", "batch=1", "--dim", "batch=1"],
    ])
    func refused(arguments: [String]) { #expect(throws: CLIError.self) { try Options.parse(arguments).feed(image) } }

    @Test func fallbackFeedsTheRest() throws {
        let feed = try Options.parse(["-i", "ids=zeros"]).feed(image, ids, fallback: .random(seed: 1, low: nil, high: nil))
        #expect(feed.keys.sorted() == ["ids", "image"])
    }

    @Test func onlyTensorsCanBeFed() throws {
        let sequence = InputInfo("s", nil, nil)
        #expect(throws: CLIError.self) { try Options.parse(["-i", "zeros"]).feed(sequence) }
        #expect(throws: CLIError.self) { try Options.parse(["-i", "zeros"]).feed(InputInfo("x", .float32, nil)) }
        #expect(try Options.parse(["-i", "zeros", "--shape", "x=scalar"]).feed(InputInfo("x", .float32, nil))["x"]?.shape == [])
    }

    @Test func arraysFromFiles() throws {
        let scratch = try Scratch()
        let x = try HostTensor.random(.float32, [1, 1, 8, 8], seed: 1, low: nil, high: nil)
        let n = try HostTensor(.int64, [1, 2], numbers: [5, 6])
        let npy = try scratch.file("x.npy", NPY.write(x))
        let both = try scratch.file("both.npz", NPZ.write([("ids", n), ("image", x)]))
        let other = try scratch.file("k=other.npz", NPZ.write([("arr_0", x)]))
        #expect(try Options.parse(["-i", npy]).feed(image) == ["image": x])
        #expect(try Options.parse(["-i", both]).feed(image, ids) == ["image": x, "ids": n])
        #expect(try Options.parse(["-i", "image=\(both)", "-i", "ids=json:[[1]]"]).feed(image, ids)["image"] == x)
        #expect(try Options.parse(["-i", "image=\(other)"]).feed(image) == ["image": x])
        // An array of another name, of another type, and one array too many.
        #expect(throws: CLIError.self) { try Options.parse(["-i", other]).feed(image) }
        #expect(throws: CLIError.self) { try Options.parse(["-i", "ids=\(npy)", "-i", "image=zeros"]).feed(image, ids) }
        #expect(throws: CLIError.self) { try Options.parse(["-i", both]).feed(image) }
    }

    @Test func narrowTypesTakeTheModelsType() throws {
        let scratch = try Scratch()
        let x = try HostTensor(.bfloat16, [3], numbers: [1, -2, 0.5])
        let npy = try scratch.file("x.npy", NPY.write(x))
        #expect(try Options.parse(["-i", npy]).feed(InputInfo("x", .bfloat16, [.unknown])) == ["x": x])
        #expect(throws: CLIError.self) { try Options.parse(["-i", npy]).feed(InputInfo("x", .int4, [.unknown])) }
    }
}

@Suite struct ImageOptionsTests {
    /// 2x2 pixels: red, green / blue, white.
    private let picture = Picture(width: 2, height: 2, channels: 3, samples: [255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255])

    private func tensor(_ shape: [InputInfo.Dimension]?, _ type: ElementType = .float32) throws -> HostTensor {
        try tensor([], shape, type)
    }

    private func tensor(_ arguments: [String], _ shape: [InputInfo.Dimension]?, _ type: ElementType = .float32) throws -> HostTensor {
        try Options.parse(arguments).image.tensor(picture, for: InputInfo("x", type, shape), ShapeChoices())
    }

    @Test func channelsFirstByDefault() throws {
        let tensor = try tensor([.unknown, .fixed(3), .unknown, .unknown])
        #expect(tensor.shape == [1, 3, 2, 2])
        #expect(tensor.doubles() == [1, 0, 0, 1, 0, 1, 0, 1, 0, 0, 1, 1])
    }

    @Test func channelsLastWhereTheModelSaysSo() throws {
        let expected: [Double] = [1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 1, 1]
        #expect(try tensor([.fixed(1), .unknown, .unknown, .fixed(3)]).doubles() == expected)
        #expect(try tensor([.fixed(2), .fixed(2), .fixed(3)]) == HostTensor(.float32, [2, 2, 3], numbers: expected))
        #expect(try tensor(["--layout", "nhwc"], nil).doubles() == expected)
        #expect(try tensor(["--layout", "nhwc"], nil).shape == [1, 2, 2, 3])
    }

    @Test func greyAndRankTwo() throws {
        let grey: [Double] = [76, 150, 29, 255]
        #expect(try tensor(["--scale", "1"], [.fixed(1), .fixed(1), .fixed(2), .fixed(2)]).doubles() == grey)
        #expect(try tensor(["--scale", "1"], [.unknown, .unknown]) == HostTensor(.float32, [2, 2], numbers: grey))
        #expect(try tensor(["--scale", "1", "--color", "grey"], nil).shape == [1, 1, 2, 2])
        #expect(try tensor(["--scale", "1", "--invert"], [.unknown, .unknown]).doubles() == grey.map { 255 - $0 })
    }

    @Test func blueFirst() throws {
        #expect(try tensor(["--color", "bgr", "--layout", "nhwc"], nil).doubles() == [0, 0, 1, 0, 1, 0, 1, 0, 0, 1, 1, 1])
    }

    @Test func scaleMeanAndDeviation() throws {
        let tensor = try tensor(["--mean", "0.5,0.25,0", "--std", "0.5,0.25,2"], [.fixed(1), .fixed(3), .fixed(1), .fixed(1)])
        #expect(tensor.shape == [1, 3, 1, 1])
        // The mean of the four pixels is 127.5 in each channel, rounded up to a whole sample.
        let sample = 128.0 / 255
        for (value, expected) in zip(tensor.doubles(), [(sample - 0.5) / 0.5, (sample - 0.25) / 0.25, sample / 2]) {
            #expect(abs(value - expected) < 1e-6)
        }
        #expect(try self.tensor(["--scale", "1/127.5", "--mean", "1"], [.unknown, .unknown]).doubles()[3] == 1)
    }

    @Test func wholeNumberInputsAreNotScaled() throws {
        #expect(try tensor([.fixed(1), .unknown, .unknown, .fixed(1)], .uint8).bytes == [76, 150, 29, 255])
        #expect(try tensor(["--mean", "128"], [.unknown, .unknown], .int8).integers() == [-52, 22, -99, 127])
        #expect(throws: CLIError.self) { try tensor([.unknown, .unknown], .int8) }
    }

    @Test func sizes() throws {
        #expect(try tensor(["--size", "4x6"], nil).shape == [1, 3, 6, 4])
        #expect(try tensor(["--size", "5"], [.unknown, .fixed(3), .named("h"), .named("w")]).shape == [1, 3, 5, 5])
        #expect(try tensor([.unknown, .fixed(1), .fixed(8), .fixed(4)]).shape == [1, 1, 8, 4])
        #expect(throws: CLIError.self) { try tensor(["--size", "4x6"], [.unknown, .fixed(1), .fixed(8), .fixed(4)]) }
    }

    @Test(arguments: [
        [InputInfo.Dimension.fixed(1)], [.fixed(2), .fixed(3), .fixed(8), .fixed(8)], [.fixed(1), .fixed(2), .fixed(8), .fixed(8)],
        [.fixed(1), .fixed(1), .fixed(3), .fixed(8), .fixed(8)],
    ])
    func inputsThatTakeNoPicture(shape: [InputInfo.Dimension]) { #expect(throws: CLIError.self) { try tensor(shape) } }

    @Test func typesThatTakeNoPicture() {
        for type in [ElementType.string, .bool, .complex64] { #expect(throws: CLIError.self) { try tensor([.unknown, .unknown], type) } }
        #expect(throws: CLIError.self) { try tensor(["--mean", "1,2"], [.fixed(1), .fixed(3), .unknown, .unknown]) }
        #expect(throws: CLIError.self) { try tensor(["--std", "0"], [.unknown, .unknown]) }
    }

    @Test(arguments: ["--size=0", "--size=1x", "--size=1x2x3", "--size=99999999", "--scale=1/0", "--scale=x", "--scale=inf", "--mean=1,,2",
        "--std=nan", "--layout=hwc", "--color=cmyk", "--filter=cubic"])
    func malformedOptions(option: String) { #expect(throws: (any Error).self) { try Options.parse([option]) } }
}
