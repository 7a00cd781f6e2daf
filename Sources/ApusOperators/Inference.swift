import ApusCore
import ApusGraph

/// Infers types, shapes and, where they follow from shapes and constants, contents of the values of a graph.
package struct GraphInference {
    /// A result computed while inferring may have at most this many elements.
    private static let mostFoldedElements = 4096

    package let graph: Graph
    /// By node; nil: all that it makes is known.
    private let operators: [(any Operator)?]
    private let evaluator: Evaluator
    private let known: [ValueInfo?]

    /// Makes the operators of all nodes; throws where an attribute is wrong or an operator unknown.
    ///
    /// `known`: what was found, for the same inputs and captures, before something rewrote the graph that left every value what it
    /// was. It is taken over where it says all that can be said.
    package init(_ graph: Graph, evaluator: Evaluator = Evaluator(), known: [ValueInfo?] = []) throws {
        self.graph = graph
        self.evaluator = evaluator
        self.known = known
        operators = try graph.nodes.map { node in
            let isKnown = !known.isEmpty && node.outputs.allSatisfy { output in
                output.map { known.indices.contains($0.index) && known[$0.index]?.isComplete ?? false } ?? true
            }
            return isKnown ? nil : try Registry.make(node, in: graph)
        }
    }

    /// What is known of every value, by index, when inputs and captures are as given. nil entries of `inputs` are taken
    /// from the graph's declarations. A value of a node that could not be inferred stays nil.
    package func run(inputs: [ValueInfo?] = [], captures: [ValueInfo?] = []) throws -> [ValueInfo?] {
        var infos = [ValueInfo?](repeating: nil, count: graph.values.count)
        for (id, value) in graph.initializers { infos[id.index] = ValueInfo(constant: value) }
        for (position, input) in graph.inputs.enumerated() {
            let given = inputs.indices.contains(position) ? inputs[position] : nil
            // An initializer that is also an input is its default value: a caller may give another.
            infos[input.index] = given ?? graph.values[input.index].type.map { ValueInfo($0) }
        }
        for (position, capture) in graph.captures.enumerated() {
            infos[capture.inner.index] = captures.indices.contains(position) ? captures[position] : nil
        }
        for (node, operation) in zip(graph.nodes, operators) {
            if let operation {
                try infer(node, operation, &infos)
            } else {
                for output in node.outputs { if let output { infos[output.index] = known[output.index] } }
            }
        }
        return infos
    }

    private func infer(_ node: Node, _ operation: any Operator, _ infos: inout [ValueInfo?]) throws {
        let inputs = node.inputs.map { $0.flatMap { infos[$0.index] } }
        // Something before was beyond inference (an input without a type): nothing can be said here either.
        guard zip(node.inputs, inputs).allSatisfy({ $0 == nil || $1 != nil }) else { return }
        // Captures are gathered only where there are any: a copy of all infos for each node would be quadratic.
        let captured = Dictionary(node.capturedValues.map { ($0, infos[$0.index]) }, uniquingKeysWith: { first, _ in first })
        let context = InferenceContext(inputs: inputs, outputCount: node.outputs.count) { subgraph, inputs in
            let inference = try GraphInference(subgraph, evaluator: evaluator)
            let inner = try inference.run(inputs: inputs, captures: subgraph.captures.map { captured[$0.outer] ?? nil })
            return try subgraph.outputs.map { output in
                guard let info = inner[output.index] else {
                    throw ApusError(.invalidModel, "the type of subgraph output \"\(subgraph.displayName(output))\" cannot be inferred")
                }
                return info
            }
        }
        let outputs = try attributed(to: graph.displayName(node)) {
            try GraphInference.infer(operation, context, evaluator: evaluator)
        }
        for (output, info) in zip(node.outputs, outputs) {
            if let output { infos[output.index] = try merged(info, output) }
        }
    }

    /// `inferOutputs`, with the results computed where all inputs are constants and the results small.
    package static func infer(_ operation: any Operator, _ context: InferenceContext, evaluator: Evaluator) throws -> [ValueInfo] {
        var outputs = try operation.inferOutputs(context)
        guard outputs.count == context.outputCount else {
            throw ApusError(.internal, "\(outputs.count) outputs inferred, \(context.outputCount) expected")
        }
        for index in outputs.indices where outputs[index].constant == nil {
            outputs[index].constant = try constant(outputs[index])
        }
        let constants = context.inputs.compactMap { $0?.constant }
        let inputCount = context.inputs.reduce(0) { $0 + ($1 == nil ? 0 : 1) }
        guard operation.isFoldable, constants.count == inputCount, outputs.contains(where: { $0.constant == nil }),
            try outputs.allSatisfy({ try $0.isStatic() && ($0.concreteShape()?.count ?? .max) <= mostFoldedElements }),
            constants.allSatisfy({ ($0.shape?.count ?? .max) <= mostFoldedElements * 16 })
        else { return outputs }
        let values = try evaluator.evaluate(operation, context.inputs.map { $0?.constant }, outputCount: context.outputCount)
        return zip(outputs, values).map { info, value in
            var info = info
            info.constant = value
            if let value { info.type = value.type }
            return info
        }
    }

    /// The constant that known elements make.
    private static func constant(_ info: ValueInfo) throws -> Value? {
        guard let elements = info.elements, let type = info.type.elementType, let shape = try info.concreteShape(),
            elements.count == shape.count
        else { return nil }
        let known = elements.compactMap(\.known)
        guard known.count == elements.count else { return nil }
        switch type {
        case .int64: return .tensor(try Tensor(.int64, shape.dimensions, known.map(Int64.init)))
        case .int32:
            let narrow = known.compactMap { Int32(exactly: $0) }
            return narrow.count == known.count ? .tensor(try Tensor(.int32, shape.dimensions, narrow)) : nil
        default: return nil
        }
    }

    /// What was inferred, refined by what the file declares; a contradiction is an error.
    private func merged(_ info: ValueInfo, _ id: ValueID) throws -> ValueInfo {
        guard let declared = graph.values[id.index].type, info.constant == nil,
            case .tensor(let type, let shape) = info.type, case .tensor(let declaredType, let declaredShape) = declared,
            type == declaredType
        else { return info }
        var info = info
        info.type = .tensor(type, shape.refined(by: declaredShape))
        return info
    }
}

extension ValueInfo {
    /// Whether no more can be known before the value exists: a dense tensor without unknown dimensions.
    fileprivate var isComplete: Bool {
        type.elementType != nil && type.shape?.dimensions.map { !$0.contains(.unknown) } ?? false
    }
}
