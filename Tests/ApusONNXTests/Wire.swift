import ApusCore
import ApusGraph
import Foundation

@testable import ApusONNX

/// Protobuf bytes, for models that no library would write.
enum Wire {
    static func varint(_ value: UInt64) -> [UInt8] {
        var value = value
        var bytes: [UInt8] = []
        while value >= 0x80 {
            bytes.append(UInt8(value & 0x7F) | 0x80)
            value >>= 7
        }
        return bytes + [UInt8(value)]
    }

    static func tag(_ field: Int, _ type: Int) -> [UInt8] { varint(UInt64(field) << 3 | UInt64(type)) }

    static func int(_ field: Int, _ value: Int) -> [UInt8] { tag(field, 0) + varint(UInt64(bitPattern: Int64(value))) }
    static func bytes(_ field: Int, _ bytes: [UInt8]) -> [UInt8] { tag(field, 2) + varint(UInt64(bytes.count)) + bytes }
    static func text(_ field: Int, _ text: String) -> [UInt8] { bytes(field, Array(text.utf8)) }
    static func message(_ field: Int, _ parts: [UInt8]...) -> [UInt8] { bytes(field, parts.flatMap { $0 }) }
    static func fixed32(_ field: Int, _ value: UInt32) -> [UInt8] { tag(field, 5) + little(value) }
    static func fixed64(_ field: Int, _ value: UInt64) -> [UInt8] { tag(field, 1) + little(value) }
    static func float(_ field: Int, _ value: Float) -> [UInt8] { fixed32(field, value.bitPattern) }
    static func packed(_ field: Int, _ values: [Int]) -> [UInt8] {
        bytes(field, values.flatMap { varint(UInt64(bitPattern: Int64($0))) })
    }
    static func packed(_ field: Int, _ values: [Float]) -> [UInt8] { bytes(field, values.flatMap { little($0.bitPattern) }) }

    static func little<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
        withUnsafeBytes(of: value.littleEndian) { Array($0) }
    }
    static func little(_ values: [Float]) -> [UInt8] { values.flatMap { little($0.bitPattern) } }

    // MARK: ONNX

    static func model(ir: Int = 8, opset: Int = 17, graph: [UInt8]..., more: [UInt8] = []) -> [UInt8] {
        int(1, ir) + message(8, text(1, ""), int(2, opset)) + bytes(7, graph.flatMap { $0 }) + more
    }

    /// A tensor type with known dimensions.
    static func tensorType(_ type: Int, _ dims: [Int]) -> [UInt8] {
        message(1, int(1, type), bytes(2, dims.flatMap { message(1, int(1, $0)) }))
    }

    static func value(_ field: Int, _ name: String, _ type: Int = 1, _ dims: [Int] = [2]) -> [UInt8] {
        message(field, text(1, name), message(2, tensorType(type, dims)))
    }
    static func input(_ name: String, _ type: Int = 1, _ dims: [Int] = [2]) -> [UInt8] { value(11, name, type, dims) }
    static func output(_ name: String, _ type: Int = 1, _ dims: [Int] = [2]) -> [UInt8] { value(12, name, type, dims) }

    static func node(_ type: String, _ inputs: [String], _ outputs: [String], _ more: [UInt8]...) -> [UInt8] {
        message(1, nodeBody(type, inputs, outputs, more.flatMap { $0 }))
    }
    static func nodeBody(_ type: String, _ inputs: [String], _ outputs: [String], _ more: [UInt8] = []) -> [UInt8] {
        inputs.flatMap { text(1, $0) } + outputs.flatMap { text(2, $0) } + text(4, type) + more
    }

    static func tensor(_ name: String, _ type: Int, _ dims: [Int], _ data: [UInt8]...) -> [UInt8] {
        packed(1, dims) + int(2, type) + text(8, name) + data.flatMap { $0 }
    }

    /// A model that has just this initializer, and gives it back.
    static func model(initializer: [UInt8], named name: String = "w") -> [UInt8] {
        model(graph: bytes(5, initializer), node("Identity", [name], ["y"]), message(12, text(1, "y")))
    }
}

/// Loads bytes that no one else holds.
func load(_ bytes: [UInt8], _ loader: ModelLoader = ModelLoader()) throws -> Model {
    try bytes.withUnsafeBytes { try loader.load(copying: $0) }
}

/// The initializer named `w`.
func loadInitializer(_ tensor: [UInt8]) throws -> Value? {
    let graph = try load(Wire.model(initializer: tensor)).graph
    return graph.initializers.first { graph.values[$0.key.index].name == "w" }?.value
}

/// The error that `body` throws, or nil.
func errorThrown(_ body: () throws -> Void) -> ApusError? {
    do {
        try body()
        return nil
    } catch {
        return error as? ApusError
    }
}

/// Folders beside the package that tests may read.
enum Shared {
    static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("shared")
    static let models = root.appendingPathComponent("models")
    static let bad = root.appendingPathComponent("bad/cases")

    static func exists(_ url: URL) -> Bool { FileManager.default.fileExists(atPath: url.path) }

    /// The model.onnx files of the shared models, sorted.
    static let modelFiles: [URL] = {
        let folders = (try? FileManager.default.contentsOfDirectory(at: models, includingPropertiesForKeys: nil)) ?? []
        return folders.map { $0.appendingPathComponent("model.onnx") }.filter(exists).sorted { $0.path < $1.path }
    }()
}

/// A folder of its own for one test, removed with this object.
final class TemporaryFolder {
    let url: URL

    init() throws {
        url = FileManager.default.temporaryDirectory.appendingPathComponent("apus-onnx-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(at: url) }

    @discardableResult
    func write(_ bytes: [UInt8], _ name: String) throws -> String {
        let file = url.appendingPathComponent(name)
        try FileManager.default.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data(bytes).write(to: file)
        return file.path
    }
}
