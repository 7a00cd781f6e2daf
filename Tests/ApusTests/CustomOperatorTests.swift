import Apus
import Testing

/// Operators that a Swift program brings along.
@Suite struct CustomOperatorTests {
    /// x -> Relu -> my.domain.Scaled(factor = 2.5, axes = [1, 2]) -> Neg -> y, with version 2 of my.domain.
    private static let model: [UInt8] = [
        8, 8, 58, 119, 10, 12, 10, 1, 120, 18, 1, 114, 34, 4, 82, 101, 108, 117, 10, 58, 10, 1, 114, 18, 1, 115, 34, 6,
        83, 99, 97, 108, 101, 100, 42, 13, 10, 4, 97, 120, 101, 115, 64, 1, 64, 2, 160, 1, 7, 42, 16, 10, 6, 102, 97,
        99, 116, 111, 114, 21, 0, 0, 32, 64, 160, 1, 1, 58, 9, 109, 121, 46, 100, 111, 109, 97, 105, 110, 10, 11, 10, 1,
        115, 18, 1, 121, 34, 3, 78, 101, 103, 18, 1, 103, 90, 16, 10, 1, 120, 18, 11, 10, 9, 8, 1, 18, 5, 10, 3, 18, 1,
        110, 98, 9, 10, 1, 121, 18, 4, 10, 2, 8, 1, 66, 4, 10, 0, 16, 17, 66, 13, 10, 9, 109, 121, 46, 100, 111, 109,
        97, 105, 110, 16, 2,
    ]

    private func makeSession(_ operators: CustomOperator...) throws -> Session {
        var options = SessionOptions()
        options.operators = operators
        return try Session(try Model(bytes: Self.model), options: options)
    }

    private func run(_ session: Session) throws -> [Float] {
        let outputs = try session.run(["x": .tensor(try Tensor(.float32, [3], [-1, 2, 3] as [Float]))])
        return try outputs[0].asTensor().array(Float.self)
    }

    private func scaled(since: Int = 1, by factor: Float = 1) throws -> CustomOperator {
        try CustomOperator(domain: "my.domain", opType: "Scaled", since: since) { node, inputs in
            guard let x = try inputs[0]?.asTensor(), let own = node.float("factor") else {
                throw ApusError(.invalidModel, "an input and a factor expected")
            }
            return [.tensor(try Tensor(.float32, x.shape.dimensions, x.array(Float.self).map { $0 * own * factor }))]
        }
    }

    @Test("An operator computes between Apus' own")
    func computes() throws {
        let session = try makeSession(scaled())
        #expect(try run(session) == [0, -5, -7.5])
        #expect(try run(session) == [0, -5, -7.5])
    }

    @Test("The newest version that is not newer than the model's is taken, of equal ones the last")
    func versions() throws {
        #expect(try run(try makeSession(scaled(since: 1), scaled(since: 2, by: 10), scaled(since: 3, by: 100))) == [0, -50, -75])
        #expect(try run(try makeSession(scaled(since: 2, by: 10), scaled(since: 2, by: 2))) == [0, -10, -15])
        #expect(throws: ApusError.self) { _ = try makeSession(scaled(since: 3)) }
    }

    private struct Own: Error {}

    @Test("Errors keep their code; others get one")
    func errors() throws {
        func code(_ error: any Error) throws -> ApusError.Code? {
            let session = try makeSession(try CustomOperator(domain: "my.domain", opType: "Scaled") { _, _ in throw error })
            do {
                _ = try run(session)
                return nil
            } catch let error as ApusError {
                #expect(error.node?.contains("Scaled") == true)
                return error.code
            }
        }
        #expect(try code(ApusError(.invalidValue, "no")) == .invalidValue)
        #expect(try code(Own()) == .hostOperator)
    }

    @Test("What is inferred holds")
    func inference() throws {
        func result(_ infer: @escaping CustomOperator.Infer, _ made: @escaping @Sendable () throws -> [Value]) throws -> [Float] {
            try run(try makeSession(try CustomOperator(domain: "my.domain", opType: "Scaled", infer: infer) { _, _ in try made() }))
        }
        let open: CustomOperator.Infer = { _, _ in [.tensor(.float32, PartialShape([.unknown]))] }
        #expect(try result(open) { [.tensor(try Tensor(.float32, [2], [1, 2] as [Float]))] } == [-1, -2])
        #expect(throws: ApusError.self) { try result(open) { [.tensor(try Tensor(.float32, [1, 1], [1] as [Float]))] } }
        #expect(throws: ApusError.self) { try result(open) { [.tensor(try Tensor(.int32, [1], [1] as [Int32]))] } }
        #expect(throws: ApusError.self) { try result(open) { [] } }
        #expect(throws: ApusError.self) { try result({ _, _ in [] }) { [] } }
        #expect(throws: ApusError.self) { try result({ _, _ in [.tensor(.float32, PartialShape([.known(-3)]))] }) { [] } }
        // An input may be handed on.
        let session = try makeSession(
            try CustomOperator(domain: "my.domain", opType: "Scaled", infer: open) { _, inputs in inputs.compactMap { $0 } })
        #expect(try run(session) == [0, -2, -3])
    }

    @Test("The node tells what it is")
    func node() throws {
        let session = try makeSession(
            try CustomOperator(domain: "my.domain", opType: "Scaled") { node, inputs in
                #expect(node.domain == "my.domain" && node.opType == "Scaled" && node.opset == 2)
                #expect(node.attributeNames.sorted() == ["axes", "factor"] && node.inputCount == 1 && node.outputCount == 1)
                #expect(node.ints("axes") == [1, 2] && node.float("factor") == 2.5 && node.int("axes") == nil)
                return inputs.compactMap { $0 }
            })
        #expect(try run(session) == [0, -2, -3])
    }

    @Test("Names that are Apus' own are refused", arguments: [("", "Mine"), ("ai.onnx", "Relu"), ("com.microsoft", "Gelu"), ("mine", "")])
    func names(_ domain: String, _ opType: String) {
        #expect(throws: ApusError.self) { try CustomOperator(domain: domain, opType: opType) { _, inputs in inputs.compactMap { $0 } } }
    }
}
