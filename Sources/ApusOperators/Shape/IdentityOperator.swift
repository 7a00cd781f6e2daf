import ApusCore

/// Gives its input unchanged, whatever kind of value it is.
struct IdentityOperator: Operator {
    static let schemas = [Schema("Identity", since: [1, 13, 14, 16, 19, 21, 23, 24, 25], inputs: 1...1)]

    init(_ node: NodeReader) throws {}

    var viewedInput: Int? { 0 }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        [try context.input(0)]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        if let bytes = try context.denseByteCount(0) { return copyKernel(bytes) }
        return PreparedKernel("identity") { io in
            try io.setOutput(0, try io.value(0))
        }
    }
}
