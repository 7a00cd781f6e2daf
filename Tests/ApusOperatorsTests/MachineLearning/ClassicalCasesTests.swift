import ApusCore
import ApusGraph
import Foundation
import Testing

@testable import ApusOperators

/// Operators of ai.onnx.ml against onnxruntime 1.31: Tests/Fixtures/classical.json, which classical.py beside it makes.
@Suite struct ClassicalCasesTests {
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
    struct Case: Decodable, Sendable, CustomStringConvertible {
        var name: String
        var op: String
        var opset: Int
        var attrs: [Named]
        var inputs: [Recorded]
        var outputs: [Recorded]
        var tolerance: Double
        var description: String { name }
    }

    static let cases: [Case] = {
        let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../../Fixtures/classical.json")
        guard let data = try? Data(contentsOf: path) else { return [] }
        let decoder = JSONDecoder()
        decoder.allowsJSON5 = true
        return (try? decoder.decode([Case].self, from: data)) ?? []
    }()

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

    @Test func fixtureIsPresent() {
        #expect(ClassicalCasesTests.cases.count >= 135)
    }

    @Test(arguments: cases) func matchesOnnxruntime(_ recorded: Case) throws {
        var attributes: [String: AttributeValue] = [:]
        for named in recorded.attrs { attributes[named.name] = try attribute(named) }
        try expectEvaluates(
            recorded.op, domain: "ai.onnx.ml", opset: recorded.opset, attributes, try recorded.inputs.map(value),
            try recorded.outputs.map(value), tolerance: recorded.tolerance)
    }
}
