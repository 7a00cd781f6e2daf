import ApusCore
import ApusGraph

/// What makes the operator of a node that is not Apus' own. A node carries it as `Node.implementation`.
package protocol OperatorFactory: AnyObject, Sendable {
    func make(_ node: Node) throws -> any Operator
}

/// An operator whose meaning the host gives by two functions.
package struct HostOperator: Operator {
    /// Types of the outputs, one for each output of the node, from those of the inputs (nil: left out).
    package typealias Infer = @Sendable ([ValueType?]) throws -> [ValueType]
    /// The outputs. `targets` has, for each output, the memory where the result goes if its shape was known in advance; then
    /// the function writes there and gives nil.
    package typealias Compute = @Sendable (_ inputs: [Value?], _ targets: [Tensor?]) throws -> [Value?]

    /// The host's operators are not in the registry's list.
    package static let schemas: [Schema] = []

    private let infer: Infer
    private let compute: Compute

    package init(infer: @escaping Infer, compute: @escaping Compute) {
        self.infer = infer
        self.compute = compute
    }

    package init(_ node: NodeReader) throws {
        throw ApusError(.internal, "an operator of the host is made by its factory")
    }

    /// What the host's functions do beside computing is not known: they are called in every run, once for each node.
    package var isDeterministic: Bool { false }

    package func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let types = try infer(context.inputs.map { $0?.type })
        guard types.count == context.outputCount else {
            throw ApusError(.hostOperator, "the operator inferred \(types.count) outputs, the node has \(context.outputCount)")
        }
        for case .tensor(_, let shape) in types {
            if let negative = shape.dimensions?.compactMap(\.known).first(where: { $0 < 0 }) {
                throw ApusError(.hostOperator, "the operator inferred a dimension of \(negative)")
            }
        }
        return types.map { ValueInfo($0) }
    }

    package func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let types = context.outputs.map(\.type), compute = compute
        return PreparedKernel("host") { io in
            let inputs = try (0..<io.inputCount).map { io.has($0) ? try io.borrowedValue($0) : nil }
            let targets = try types.indices.map { index -> Tensor? in
                guard io.hasOutput(index), io.layout.isPlanned[index], case .tensor(let type, let shape) = types[index],
                    let shape = try shape.concrete(), let bytes = type.byteCount(shape.count)
                else { return nil }
                return try Tensor(type: type, shape: shape, storage: .borrow(io.output(index), byteCount: bytes))
            }
            let results = try compute(inputs, targets)
            guard results.count == types.count else {
                throw ApusError(.hostOperator, "the operator made \(results.count) outputs, the node has \(types.count)")
            }
            for (index, result) in results.enumerated() where io.hasOutput(index) {
                guard let result else {
                    guard targets[index] != nil else { throw ApusError(.hostOperator, "the operator did not make output \(index)") }
                    continue
                }
                try HostOperator.check(result, types[index], index)
                // A result may lie in memory of the host, or be an input that lies in the arena.
                try io.setOutput(index, targets[index] == nil ? result.owned(budget: io.budget) : result)
            }
        }
    }

    /// Throws unless `value` is what was inferred.
    private static func check(_ value: Value, _ type: ValueType, _ index: Int) throws {
        guard value.type.isSameApartFromShape(as: type) else {
            throw ApusError(.hostOperator, "the operator made output \(index) as \(value.type), inferred was \(type)")
        }
        if let shape = value.shape, let inferred = type.shape, !inferred.admits(shape) {
            throw ApusError(.hostOperator, "the operator made output \(index) of shape \(shape), inferred was \(inferred)")
        }
    }
}
