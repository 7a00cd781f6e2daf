import ApusCore
import ApusGraph

/// Runs its body once for each element of a sequence, with the elements of further sequences at the same place, and with
/// tensors that stay the same; makes sequences of what the body gives.
struct SequenceMapOperator: Operator {
    static let schemas = [Schema("SequenceMap", since: [17], inputs: 1...Int.max, outputs: 1...Int.max)]

    private let body: Graph
    private let bodyIndex: Int

    init(_ node: NodeReader) throws {
        body = try node.graph("body")
        bodyIndex = try subgraphIndex(body, in: node)
        guard body.inputs.count == node.inputCount, body.outputs.count == node.outputCount else {
            throw ApusError(
                .invalidModel,
                "the body has \(body.inputs.count) inputs and \(body.outputs.count) outputs, the node \(node.inputCount) and \(node.outputCount)")
        }
    }

    var isFoldable: Bool { false }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        _ = try context.sequenceElement(0)
        let inputs = try context.inputs.indices.map { index -> ValueInfo in
            let info = try context.input(index)
            if case .sequence(let element) = info.type { return ValueInfo(element) }
            return index == 0 ? ValueInfo(try context.sequenceElement(0)) : info
        }
        return try context.inferSubgraph(body, inputs).map { ValueInfo(.sequence($0.type)) }
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let inputs = context.inputs.count, expected = context.outputs.map(\.type), body = bodyIndex
        return PreparedKernel("sequence_map") { io in
            let values = try (0..<inputs).map { try io.value($0) }
            let count = try io.sequence(0).elements.count
            for (index, value) in values.enumerated() {
                if case .sequence(let sequence) = value, sequence.elements.count != count {
                    throw ApusError(.shapeMismatch, "input \(index) has \(sequence.elements.count) elements, input 0 has \(count)")
                }
            }
            var results = [[Value]](repeating: [], count: expected.count)
            for position in 0..<count {
                try io.checkControl()
                let arguments = try values.enumerated().map { index, value in
                    if index == 0 { return try io.sequence(0).elements[position] }
                    if case .sequence(let sequence) = value { return sequence.elements[position] }
                    return value
                }
                let outputs = try io.runSubgraph(body, arguments)
                guard outputs.count == expected.count else {
                    throw ApusError(.internal, "the body gave \(outputs.count) outputs, \(expected.count) expected")
                }
                for (index, value) in outputs.enumerated() { results[index].append(value) }
            }
            for (index, elements) in results.enumerated() {
                guard case .sequence(let element) = expected[index] else { throw ApusError(.internal, "no sequence was inferred") }
                for value in elements { try element.checkAdmits(value.type, "an element of output \(index)") }
                try io.setOutput(index, .sequence(SequenceValue(elementType: element, elements: elements)))
            }
        }
    }
}
