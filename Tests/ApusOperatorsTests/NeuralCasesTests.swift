import ApusCore
import ApusGraph
import Foundation
import Testing

@testable import ApusOperators

/// Recurrent, pooling, normalisation and attention operators against onnxruntime 1.31: Tests/Fixtures/neural.json, which
/// neural.py beside it makes.
@Suite struct NeuralCasesTests {
    struct Recorded: Decodable, Sendable {
        var type: Int32
        var shape: [Int]
        var data: String
    }
    struct Named: Decodable, Sendable {
        var name: String
        var kind: String
        var ints: [Int64]?
        var floats: [Float]?
        var strings: [String]?
    }
    struct Case: Decodable, Sendable, CustomStringConvertible {
        var name: String
        var op: String
        var domain: String
        var opset: Int
        var attrs: [Named]
        var inputs: [Recorded?]
        var outputs: [Recorded?]
        var rtol: Float
        var description: String { name }
    }

    static let cases: [Case] = {
        let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../Fixtures/neural.json")
        guard let data = try? Data(contentsOf: path) else { return [] }
        return (try? JSONDecoder().decode([Case].self, from: data)) ?? []
    }()

    private func value(_ recorded: Recorded?) throws -> Value? {
        guard let recorded else { return nil }
        let type = try #require(ElementType(rawValue: recorded.type)), data = try #require(Data(base64Encoded: recorded.data))
        let tensor = try Tensor.allocate(type, try Shape(recorded.shape))
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
        default: .strings(try #require(named.strings).map { ByteString($0) })
        }
    }

    @Test func fixtureIsPresent() {
        #expect(NeuralCasesTests.cases.count >= 140)
    }

    @Test(arguments: cases) func matchesReference(_ recorded: Case) throws {
        var attributes: [String: AttributeValue] = [:]
        for named in recorded.attrs { attributes[named.name] = try attribute(named) }
        let inputs = try recorded.inputs.map(value)
        for evaluator in evaluators {
            let outputs = try evaluator.evaluate(
                recorded.op, domain: recorded.domain, opset: recorded.opset, attributes, inputs, outputs: recorded.outputs.count)
            for (output, expected) in zip(outputs, recorded.outputs) {
                guard let expected = try value(expected) else { continue }
                #expect(try output?.asTensor().type == expected.asTensor().type)
                try expectClose(output, expected.shape?.dimensions ?? [], try expected.floats(), tolerance: recorded.rtol)
            }
        }
    }

    /// Double precision, where the operator has it, agrees with the recorded single precision.
    @Test(arguments: cases.filter { $0.domain.isEmpty && $0.op != "MaxPool" }) func doublesAgree(_ recorded: Case) throws {
        var attributes: [String: AttributeValue] = [:]
        for named in recorded.attrs { attributes[named.name] = try attribute(named) }
        let inputs = try recorded.inputs.map { recorded in
            try value(recorded).map { try $0.asTensor().type == .float32 ? try $0.converted(.float64) : $0 }
        }
        let outputs = try Evaluator().evaluate(
            recorded.op, opset: recorded.opset, attributes, inputs, outputs: recorded.outputs.count)
        for (output, expected) in zip(outputs, recorded.outputs) {
            guard let expected = try value(expected) else { continue }
            try expectClose(output, expected.shape?.dimensions ?? [], try expected.floats(), tolerance: max(recorded.rtol, 2e-5))
        }
    }
}
