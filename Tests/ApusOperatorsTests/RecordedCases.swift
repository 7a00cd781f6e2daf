import ApusCore
import ApusGraph
import Foundation
import Testing

@testable import ApusOperators

/// A node with inputs and onnxruntime's outputs, from a file in Tests/Fixtures.
struct RecordedCase: Decodable, Sendable, CustomStringConvertible {
    struct Recorded: Decodable, Sendable {
        var type: Int32
        var shape: [Int]
        var data: String?
        var strings: [String]?
    }
    struct Named: Decodable, Sendable {
        var name: String
        var kind: String
        var ints: [Int64]?
        var floats: [Float]?
        var strings: [String]?
        var tensor: Recorded?
    }

    var name: String
    var op: String
    var domain: String
    var opset: Int
    var attrs: [Named]
    var inputs: [Recorded?]
    var outputs: [Recorded?]
    var tolerance: Double
    var description: String { name }

    static func load(_ file: String) -> [RecordedCase] {
        let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../Fixtures/\(file)")
        guard let data = try? Data(contentsOf: path) else { return [] }
        let decoder = JSONDecoder()
        decoder.allowsJSON5 = true
        return (try? decoder.decode([RecordedCase].self, from: data)) ?? []
    }

    private func value(_ recorded: Recorded) throws -> Value {
        let shape = try Shape(recorded.shape)
        if let strings = recorded.strings {
            return .strings(try StringTensor(shape: shape, elements: strings.map { ByteString($0) }))
        }
        let type = try #require(ElementType(rawValue: recorded.type)), data = try #require(Data(base64Encoded: recorded.data ?? ""))
        let tensor = try Tensor.allocate(type, shape)
        try #require(tensor.byteCount == data.count)
        data.withUnsafeBytes { bytes in
            if let base = bytes.baseAddress { tensor.pointer.copyMemory(from: base, byteCount: bytes.count) }
        }
        return .tensor(tensor)
    }

    private func attribute(_ named: Named) throws -> AttributeValue {
        switch named.kind {
        case "int": .int(try #require(named.ints?.first))
        case "float": .float(try #require(named.floats?.first))
        case "string": .string(ByteString(try #require(named.strings?.first)))
        case "ints": .ints(try #require(named.ints))
        case "floats": .floats(try #require(named.floats))
        case "tensor": .tensor(try value(try #require(named.tensor)))
        default: .strings(try #require(named.strings).map { ByteString($0) })
        }
    }

    /// Expects onnxruntime's outputs, and that what is inferred agrees with them.
    func check() throws {
        var attributes: [String: AttributeValue] = [:]
        for named in attrs { attributes[named.name] = try attribute(named) }
        try expectEvaluates(
            op, domain: domain, opset: opset, attributes, try inputs.map { try $0.map(value) }, try outputs.map { try $0.map(value) },
            tolerance: tolerance)
    }
}

/// Operators beyond ai.onnx against onnxruntime 1.31, as the programs beside the fixtures recorded it.
@Suite struct RecordedCasesTests {
    static let classical = RecordedCase.load("classical.json")
    static let contributed = RecordedCase.load("contributed.json")

    @Test func fixturesArePresent() {
        #expect(RecordedCasesTests.classical.count >= 135)
        #expect(RecordedCasesTests.contributed.count >= 115)
    }

    @Test(arguments: classical) func machineLearningOperators(_ recorded: RecordedCase) throws { try recorded.check() }

    @Test(arguments: contributed) func contributedOperators(_ recorded: RecordedCase) throws { try recorded.check() }
}
