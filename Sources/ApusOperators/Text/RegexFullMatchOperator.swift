import ApusCore
import ApusGraph

/// Whether each string matches a regular expression from its first to its last character.
struct RegexFullMatchOperator: Operator {
    static let schemas = [Schema("RegexFullMatch", since: [20], inputs: 1...1)]

    private let expression: RegularExpression

    init(_ node: NodeReader) throws {
        expression = try RegularExpression(node.string("pattern", default: ""))
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        _ = try context.type(0, oneOf: [.string])
        return [ValueInfo(.bool, try context.shape(0))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let count = try context.shape(0).count, expression = expression
        return PreparedKernel("regex") { io in
            let strings = try io.borrowedValue(0).asStrings().elements, output = io.output(0, as: UInt8.self)
            for index in 0..<count {
                if index % 1024 == 0 { try io.checkControl() }
                output[index] = expression.matchesWhole(strings[index]) ? 1 : 0
            }
        }
    }
}
