import ApusCore
import ApusGraph
import Foundation
import Testing

@testable import ApusONNX

/// Data outside of the model's file.
struct ExternalDataTests {
    private func entry(_ key: String, _ value: [UInt8]) -> [UInt8] { Wire.message(13, Wire.text(1, key), Wire.bytes(2, value)) }

    /// A model with an external float initializer `w` of the given shape.
    private func model(_ location: [UInt8], offset: String? = nil, length: String? = nil, dims: [Int] = [2], more: [UInt8] = []) -> [UInt8] {
        let external = entry("location", location) + (offset.map { entry("offset", Array($0.utf8)) } ?? [])
            + (length.map { entry("length", Array($0.utf8)) } ?? []) + Wire.int(14, 1)
        return Wire.model(initializer: Wire.tensor("w", 1, dims, external, more))
    }

    private func model(_ location: String, offset: String? = nil, length: String? = nil, dims: [Int] = [2]) -> [UInt8] {
        model(Array(location.utf8), offset: offset, length: length, dims: dims)
    }

    private func weights(_ model: Model) throws -> [Float]? {
        try model.graph.initializers.values.first?.asTensor().array(Float.self)
    }

    private let data = Wire.little([1, 2, 3, 4])

    // MARK: Files

    @Test func filesBesideTheModelAreMapped() throws {
        let folder = try TemporaryFolder()
        try folder.write(data, "weights.bin")
        try folder.write(data, "deep/er/weights.bin")
        for (location, offset, length, expected) in [
            ("weights.bin", nil, nil, [1, 2]), ("weights.bin", "4", "8", [2, 3]), ("./weights.bin", "8", nil, [3, 4]),
            ("deep/er/weights.bin", "0", "8", [1, 2]), ("deep/./er/weights.bin", "8", "8", [3, 4]),
        ] as [(String, String?, String?, [Float])] {
            let path = try folder.write(model(location, offset: offset, length: length), "model.onnx")
            #expect(try weights(try ModelLoader().load(path: path)) == expected)
        }
    }

    @Test func aModelWithoutAFolderInItsPathUsesTheCurrentOne() {
        // The folder is searched (and the file not found there) rather than the root or nothing.
        let folder = try? TemporaryFolder()
        let previous = FileManager.default.currentDirectoryPath
        defer { _ = FileManager.default.changeCurrentDirectoryPath(previous) }
        guard let folder, (try? folder.write(model("absent.bin"), "model.onnx")) != nil else { return }
        let error = errorThrown { _ = try ModelLoader().load(path: folder.url.path + "/./model.onnx") }
        #expect(error?.code == .externalData)
        #expect(error?.message.contains("absent.bin") == true)
    }

    @Test func largeExternalTensorsAreViews() throws {
        let folder = try TemporaryFolder()
        let floats = (0..<100_000).map(Float.init)
        try folder.write(Wire.little(floats), "weights.bin")
        let path = try folder.write(model("weights.bin", dims: [100_000]), "model.onnx")
        let loaded = try ModelLoader(budget: MemoryBudget(cap: 0)).load(path: path)
        let tensor = try #require(try loaded.graph.initializers.values.first?.asTensor())
        #expect(tensor.array(Float.self) == floats)
        tensor.storage.dropPages()
        #expect(tensor.array(Float.self) == floats)
    }

    @Test func externalDataInAttributesAndSubgraphsAreContainedToo() throws {
        let folder = try TemporaryFolder()
        try folder.write(data, "weights.bin")
        func constant(_ location: String) -> [UInt8] {
            let tensor = Wire.tensor("", 1, [2], entry("location", Array(location.utf8)), Wire.int(14, 1))
            let attribute = Wire.message(5, Wire.text(1, "value"), Wire.bytes(5, tensor), Wire.int(20, 4))
            return Wire.model(graph: Wire.node("Constant", [], ["y"], attribute), Wire.output("y"))
        }
        let good = try ModelLoader().load(path: try folder.write(constant("weights.bin"), "good.onnx"))
        guard case .tensor(let value)? = good.graph.nodes[0].attribute("value") else { throw ApusError(.internal, "no tensor") }
        #expect(try value.asTensor().array(Float.self) == [1, 2])
        let bad = try folder.write(constant("/etc/passwd"), "bad.onnx")
        #expect(errorThrown { _ = try ModelLoader().load(path: bad) }?.code == .externalData)
    }

    @Test(arguments: [
        "../outside.bin", "sub/../../outside.bin", "sub/..", "..", ".", "", "/", "//", "/etc/passwd", "sub/", "sub//weights.bin", "/dev/zero",
        "/proc/self/mem", "./../outside.bin", "absent.bin", "sub", "weights.bin/x", "file:///etc/passwd", "..\\outside.bin",
        String(repeating: "a", count: 5000), "weights.bin\0.txt",
    ])
    func locationsOutsideOfTheFolderAreRefused(location: String) throws {
        let folder = try TemporaryFolder()
        try folder.write(data, "outside.bin")
        try folder.write(data, "model/weights.bin")
        try folder.write(data, "model/sub/weights.bin")
        let path = try folder.write(model(location), "model/model.onnx")
        let error = errorThrown { _ = try ModelLoader().load(path: path) }
        #expect(error?.code == .externalData)
        #expect(error?.message.contains("initializer \"w\"") == true)
    }

    @Test func linksPipesAndDevicesAreRefused() throws {
        let folder = try TemporaryFolder()
        let outside = try folder.write(data, "outside.bin")
        try folder.write(data, "model/weights.bin")
        let inside = folder.url.appendingPathComponent("model").path
        let files = FileManager.default
        try files.createSymbolicLink(atPath: inside + "/symbolic.bin", withDestinationPath: outside)
        try files.createSymbolicLink(atPath: inside + "/folder", withDestinationPath: folder.url.path)
        try files.createSymbolicLink(atPath: inside + "/device", withDestinationPath: "/dev/zero")
        try files.linkItem(atPath: outside, toPath: inside + "/hard.bin")
        #expect(mkfifo(inside + "/pipe", 0o600) == 0)
        try folder.write([], "model/empty.bin")
        for location in ["symbolic.bin", "folder/outside.bin", "device", "hard.bin", "pipe", "empty.bin"] {
            let path = try folder.write(model(location), "model/model.onnx")
            #expect(errorThrown { _ = try ModelLoader().load(path: path) }?.code == .externalData, "\(location)")
        }
    }

    @Test(arguments: [
        ("offset beyond the end", "16", nil), ("offset and size beyond the end", "12", nil), ("offset of Int.max", "9223372036854775807", nil),
        ("offset beyond 64 bits", "99999999999999999999", nil), ("negative offset", "-8", nil), ("no number", "x", nil),
        ("an empty offset", "", nil), ("hexadecimal", "0x8", nil), ("a sign", "+8", nil), ("too short a length", "0", "4"),
        ("too long a length", "0", "16"), ("negative length", "0", "-1"),
    ] as [(String, String?, String?)])
    func offsetsAndLengthsAreChecked(what: String, offset: String?, length: String?) throws {
        let folder = try TemporaryFolder()
        try folder.write(data, "weights.bin")
        let path = try folder.write(model("weights.bin", offset: offset, length: length), "model.onnx")
        #expect(errorThrown { _ = try ModelLoader().load(path: path) }?.code == .externalData, "\(what)")
    }

    @Test func moreElementsThanTheFileHasAreRefused() throws {
        let folder = try TemporaryFolder()
        try folder.write(data, "weights.bin")
        for dims in [[5], [1 << 40], [1 << 31, 1 << 31]] {
            let path = try folder.write(model("weights.bin", dims: dims), "model.onnx")
            #expect(errorThrown { _ = try ModelLoader().load(path: path) } != nil)
        }
    }

    @Test func contradictionsAreRefused() throws {
        let folder = try TemporaryFolder()
        try folder.write(data, "weights.bin")
        let twice = model(Array("weights.bin".utf8), more: entry("location", Array("other.bin".utf8)))
        let both = model(Array("weights.bin".utf8), more: Wire.float(4, 1) + Wire.float(4, 2))
        let strings = Wire.model(initializer: Wire.tensor("w", 8, [2], entry("location", Array("weights.bin".utf8)), Wire.int(14, 1)))
        let nowhere = Wire.model(initializer: Wire.tensor("w", 1, [2], Wire.int(14, 1)))
        for bytes in [twice, both, strings, nowhere] {
            let path = try folder.write(bytes, "model.onnx")
            #expect(errorThrown { _ = try ModelLoader().load(path: path) } != nil)
        }
    }

    // MARK: From memory

    @Test func modelsFromMemoryOpenNoFile() throws {
        let folder = try TemporaryFolder()
        try folder.write(data, "weights.bin")
        for location in ["weights.bin", folder.url.path + "/weights.bin"] {
            let error = errorThrown { _ = try load(model(location)) }
            #expect(error?.code == .externalData)
        }
    }

    @Test func externalDataAreTakenByName() throws {
        var asked: [ByteString] = []
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 16, alignment: 8)
        defer { memory.deallocate() }
        memory.copyBytes(from: data)
        let loader = ModelLoader(externalData: { location in
            asked.append(location)
            return location == "../any name" ? (UnsafeRawBufferPointer(memory), nil) : nil
        })
        #expect(try weights(try load(model("../any name", offset: "4"), loader)) == [2, 3])
        #expect(asked == ["../any name"])
        #expect(errorThrown { _ = try load(model("other"), loader) }?.code == .externalData)
        #expect(errorThrown { _ = try load(model("../any name", offset: "12"), loader) }?.code == .externalData)
    }

    @Test func dataHandedInComeBeforeFiles() throws {
        let folder = try TemporaryFolder()
        try folder.write(data, "weights.bin")
        let path = try folder.write(model("weights.bin"), "model.onnx")
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 8, alignment: 8)
        defer { memory.deallocate() }
        memory.copyBytes(from: Wire.little([9, 8]))
        #expect(try weights(try ModelLoader(externalData: { _ in (UnsafeRawBufferPointer(memory), nil) }).load(path: path)) == [9, 8])
        #expect(try weights(try ModelLoader(externalData: { _ in nil }).load(path: path)) == [1, 2])
        struct Refusal: Error {}
        #expect(throws: Refusal.self) { try ModelLoader(externalData: { _ in throw Refusal() }).load(path: path) }
    }
}

/// Files that are no models.
struct ModelFileTests {
    @Test func whatIsNoRegularFileIsRefused() throws {
        let folder = try TemporaryFolder()
        let pipe = folder.url.appendingPathComponent("pipe").path
        #expect(mkfifo(pipe, 0o600) == 0)
        for path in [folder.url.path, pipe, "/dev/zero", "/dev/null", folder.url.path + "/absent", "", "a\0b"] {
            #expect(errorThrown { _ = try ModelLoader().load(path: path) }?.code == .io, "\(path)")
        }
        let empty = try folder.write([], "empty.onnx")
        #expect(errorThrown { _ = try ModelLoader().load(path: empty) }?.code == .invalidModel)
        #expect(errorThrown { _ = try load([]) }?.code == .invalidModel)
        #expect(errorThrown { _ = try load(Array("not a model at all".utf8)) }?.code == .invalidModel)
    }

    @Test func theModelItselfMayBeASymbolicLink() throws {
        let folder = try TemporaryFolder()
        let path = try folder.write(Wire.model(graph: Wire.input("x"), Wire.node("Relu", ["x"], ["y"]), Wire.output("y")), "model.onnx")
        let link = folder.url.appendingPathComponent("link.onnx").path
        try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: path)
        #expect(try ModelLoader().load(path: link).graph.nodes.count == 1)
    }

    /// Weights ≥ 50 MB: what loading adds to the process's peak stays far below their size.
    @Test func aLargeModelIsNotHeldTwice() throws {
        let folder = try TemporaryFolder()
        let count = 4 << 20
        let data = [UInt8](repeating: 0x3F, count: count * 4)
        var initializers: [UInt8] = []
        for index in 0..<4 { initializers += Wire.bytes(5, Wire.tensor("w\(index)", 1, [count], Wire.bytes(9, data))) }
        let path = try folder.write(
            Wire.model(graph: initializers, Wire.node("Sum", (0..<4).map { "w\($0)" }, ["y"]), Wire.message(12, Wire.text(1, "y"))), "model.onnx")
        // A budget of nothing: no tensor is copied, and the parsed structure may take a megabyte.
        let model = try ModelLoader(budget: MemoryBudget(cap: 0)).load(path: path)
        #expect(model.graph.initializers.count == 4)
        for value in model.graph.initializers.values {
            let tensor = try value.asTensor()
            #expect((tensor.pointer + tensor.byteCount - 1).loadUnaligned(as: UInt8.self) == 0x3F)
            #expect(residentBytes(tensor) > 0)
            tensor.storage.dropPages()
            // The first and last page are shared with neighbours; those between are gone.
            #expect(residentBytes(tensor) <= tensor.byteCount / 100)
            #expect((tensor.pointer + 12345).loadUnaligned(as: UInt8.self) == 0x3F)
        }
    }

    /// Bytes of the tensor's pages that this process holds, by /proc/self/smaps's count for a map of a file.
    private func residentBytes(_ tensor: Tensor) -> Int {
        guard let pages = try? FileHandle(forReadingFrom: URL(fileURLWithPath: "/proc/self/pagemap")) else { return 0 }
        let page = sysconf(Int32(_SC_PAGESIZE))
        let first = Int(bitPattern: tensor.pointer) / page, last = (Int(bitPattern: tensor.pointer) + tensor.byteCount - 1) / page
        try? pages.seek(toOffset: UInt64(first) * 8)
        guard let entries = try? pages.read(upToCount: (last - first + 1) * 8) else { return 0 }
        var present = 0
        entries.withUnsafeBytes { for index in 0..<$0.count / 8 where $0.loadUnaligned(fromByteOffset: index * 8, as: UInt64.self) >> 63 == 1 { present += 1 } }
        return present * page
    }
}
