import ApusCore
import ApusGraph
import ApusOperators
import ApusOptimizer
import ApusRuntime

/// The named steps from an imported model to a graph that can be planned. One can stop after any of them and print.
public enum Stage: String, Sendable, CaseIterable {
    /// The graph as the file has it.
    case load
    /// Functions and Gradient nodes expanded, nodes sorted, initializers that are only defaults of inputs told apart.
    case inline
    /// Types and shapes inferred.
    case infer
    /// Rewritten by the optimiser's passes, as far as the level asks for.
    case optimize
}

/// Takes a model through the stages.
package final class Compilation {
    /// The newest operator set of ai.onnx that Apus knows.
    package static let newestOpset: Int64 = 28
    /// Stamps beyond the newest known set are taken for it while they are plausible: few operators change in a set, and
    /// one that did shows by an attribute or an arity that is unknown. Beyond this, a stamp is damage.
    private static let lastPlausibleOpset: Int64 = 99

    private let model: ApusGraph.Model
    private let options: SessionOptions
    private let environment: RuntimeEnvironment
    /// Inputs that a run may give: in models of IR < 4 every initializer is also listed as an input, and is not one.
    package let inputs: [ValueID]
    /// Types of the outputs, known after `infer`.
    package private(set) var outputTypes: [ValueType] = []

    package init(_ model: ApusGraph.Model, options: SessionOptions, environment: RuntimeEnvironment) {
        self.model = model
        self.options = options
        self.environment = environment
        inputs = model.graph.inputs.filter { model.irVersion >= 4 || model.graph.initializers[$0] == nil }
    }

    /// The graph as it is after `stage`. The model stays unchanged.
    package func graph(after stage: Stage) throws -> Graph {
        if stage == .load { return model.graph }
        try checkOpsets()
        let graph = model.graph.copy()
        graph.inputs = inputs
        // What an overridable initializer holds is the session's default, not a constant.
        for input in inputs { graph.initializers[input] = nil }
        try FunctionInliner.inline(model.functions, into: graph)
        try prepare(graph)
        try GradientExpansion.expand(graph)
        CustomOperators(options.operators).attach(to: graph)
        try Compilation.checkSupport(graph)
        if stage == .inline { return graph }
        try infer(graph)
        if stage == .infer { return graph }
        try Optimizer(
            level: options.optimizationLevel.rawValue, disabled: options.disabledPasses,
            evaluator: Evaluator(levels: environment.levels, pool: environment.pool, budget: environment.budget),
            log: options.log.map { log in { log(.verbose, $0) } }
        ).run(graph)
        return graph
    }

    private func checkOpsets() throws {
        for opset in model.opsets where opset.domain.isEmpty || opset.domain.equals("ai.onnx") {
            guard opset.version >= 1, opset.version <= Compilation.lastPlausibleOpset else {
                throw ApusError(
                    .unsupported,
                    "the model imports version \(opset.version) of ai.onnx; versions 1 to \(Compilation.newestOpset) are known")
            }
        }
    }

    /// Verifies and sorts a graph and its subgraphs, and makes initializers of tensors in Constant nodes.
    private func prepare(_ graph: Graph) throws {
        graph.nodes.removeAll { node in
            guard node.domain.isEmpty, node.opType == "Constant", node.attributes.count == 1, node.inputs.isEmpty,
                case .tensor(let value)? = node.attribute("value"), node.outputs.count == 1, let output = node.outputs[0],
                graph.initializers[output] == nil
            else { return false }
            graph.initializers[output] = value
            return true
        }
        try graph.verify()
        try graph.sort()
        for node in graph.nodes {
            for subgraph in node.subgraphs { try prepare(subgraph) }
        }
    }

    /// Throws an error that lists every node whose operator is unknown.
    private static func checkSupport(_ graph: Graph) throws {
        var unknown: [String] = []
        func collect(_ graph: Graph) {
            for node in graph.nodes {
                if node.implementation == nil, Registry.schema(domain: node.domain, opType: node.opType) == nil {
                    let types = node.inputs.map { id in id.flatMap { graph.values[$0.index].type }.map { "\($0)" } ?? "?" }
                    unknown.append("\(graph.displayName(node)) (opset \(node.opset), inputs \(types.joined(separator: ", ")))")
                }
                node.subgraphs.forEach(collect)
            }
        }
        collect(graph)
        guard unknown.isEmpty else {
            throw ApusError(.unsupported, "\(unknown.count) nodes have unknown operators: \(unknown.joined(separator: "; "))")
        }
    }

    /// Writes inferred types into the graph and checks them against what the file says of the outputs.
    private func infer(_ graph: Graph) throws {
        let infos = try GraphInference(graph).run()
        for (index, info) in infos.enumerated() {
            if let info { graph.values[index].type = info.type }
        }
        outputTypes = try graph.outputs.map { output in
            let declared = model.graph.values.indices.contains(output.index) ? model.graph.values[output.index].type : nil
            let inferred = infos[output.index]?.type
            if case .tensor(let a, let b)? = declared, case .tensor(let type, let shape)? = inferred {
                guard a == type else {
                    throw ApusError(
                        .invalidModel,
                        "output \"\(graph.displayName(output))\" is declared as \(a.name), but its node makes \(type.name)")
                }
                return .tensor(type, b.refined(by: shape))
            }
            guard let type = inferred ?? declared else {
                throw ApusError(.invalidModel, "the type of output \"\(graph.displayName(output))\" cannot be inferred")
            }
            return type
        }
    }
}
