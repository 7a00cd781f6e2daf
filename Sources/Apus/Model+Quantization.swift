@_exported import ApusQuantizer
import ApusCore
import ApusGraph
import ApusRuntime

/// One run's worth of data to quantise a model with.
public struct QuantizationInput: Sendable {
    /// By the names of the model's inputs.
    public var inputs: [String: Value]
    /// The right class of each row of the first output, where known.
    public var labels: [Int]?

    public init(_ inputs: [String: Value], labels: [Int]? = nil) {
        self.inputs = inputs
        self.labels = labels
    }
}

extension Model {
    /// A quantised copy of this model, made of standard ONNX operators, and what came of it.
    ///
    /// `data` serve to measure activations and to judge the result; static quantisation needs some. The names of inputs, outputs
    /// and nodes and the metadata stay; functions are expanded, and weights that are inputs with a default become constants. `session` says what runs of the model use: threads, memory, CPU.
    public func quantized(
        _ options: QuantizationOptions, data: [QuantizationInput], session: SessionOptions = SessionOptions()
    ) throws -> (model: Model, report: QuantizationReport) {
        try quantized(options, data: data, session: session) { ready, sample in (try ready.arguments(sample.inputs), sample.labels) }
    }

    /// The same with data of any form, of which `resolve` makes values for all inputs in order.
    package func quantized<Sample>(
        _ options: QuantizationOptions, data: [Sample], session sessionOptions: SessionOptions,
        resolve: (Session, Sample) throws -> ([Value], [Int]?)
    ) throws -> (model: Model, report: QuantizationReport) {
        try options.check()
        return try withConstantWeights().quantizedAsIs(options, data: data, session: sessionOptions, resolve: resolve)
    }

    /// The names of the inputs that a session of this model has, in order.
    package var inputNames: [ByteString] {
        let graph = imported.graph
        return graph.inputs.filter { imported.irVersion >= 4 || graph.initializers[$0] == nil }.map { graph.values[$0.index].name }
    }

    /// This model with tensor inputs that have a default made constants, scalars apart: so some exporters write weights, which
    /// nobody overrides.
    private func withConstantWeights() -> Model {
        let graph = imported.graph
        func isWeight(_ input: ValueID) -> Bool {
            guard imported.irVersion >= 4, case .tensor(let tensor)? = graph.initializers[input] else { return false }
            return tensor.shape.rank > 0
        }
        guard graph.inputs.contains(where: isWeight) else { return self }
        let copy = graph.copy()
        copy.inputs.removeAll(where: isWeight)
        let model = Model.like(imported, copy)
        model.functions = imported.functions
        model.irVersion = imported.irVersion
        model.opsets = imported.opsets
        return Model(imported: model)
    }

    private func quantizedAsIs<Sample>(
        _ options: QuantizationOptions, data: [Sample], session sessionOptions: SessionOptions,
        resolve: (Session, Sample) throws -> ([Value], [Int]?)
    ) throws -> (model: Model, report: QuantizationReport) {
        let session = try Session(self, options: sessionOptions)
        let batches = try data.enumerated().map { number, sample in
            do {
                let (inputs, labels) = try resolve(session, sample)
                return QuantizationBatch(inputs: inputs, labels: labels)
            } catch var error as ApusError {
                error.message = "batch \(number): \(error.message)"
                throw error
            }
        }
        let environment = session.environment
        let graph = try Compilation(imported, options: sessionOptions, environment: environment).graph(after: .infer)
        let settings = RunnerSettings(levels: environment.levels, pool: environment.pool, budget: environment.budget)
        let result = try Quantizer(options, calibration: batches, settings).run(graph, opset: Int(clamping: imported.opset("") ?? 1))
        return (Model(imported: rewritten(result.graph, opset: result.opset)), result.report)
    }

    /// This model with another graph, which stems from its own.
    private func rewritten(_ graph: Graph, opset: Int) -> ApusGraph.Model {
        // What a caller may override is an input with a default again.
        for input in graph.inputs {
            if let value = imported.graph.initializers[input] { graph.initializers[input] = value }
        }
        // Expanded functions bring the names of their nodes several times; some runtimes want them unique.
        var taken = Set<ByteString>()
        for index in graph.nodes.indices where !graph.nodes[index].name.isEmpty {
            let name = graph.nodes[index].name
            if !taken.insert(name).inserted {
                graph.nodes[index].name = ByteString("\(name)_\(index)")
                taken.insert(graph.nodes[index].name)
            }
        }
        // Types are declared where the file declared them, of values that are still made.
        let made = Set(graph.nodes.flatMap { $0.outputs.compactMap { $0 } })
        let declared = imported.graph.values
        let interface = Set(graph.inputs + graph.outputs)
        for index in graph.values.indices where !interface.contains(ValueID(index)) {
            let isKept = index < declared.count && made.contains(ValueID(index))
            graph.values[index].type = isKept ? declared[index].type : nil
        }
        graph.annotations = graph.annotations.filter { made.contains($0.key) || interface.contains($0.key) || graph.initializers[$0.key] != nil }
        let model = Model.like(imported, graph)
        model.irVersion = max(imported.irVersion, 4, OpsetUpgrade.irVersion(for: opset))
        model.opsets = imported.opsets.filter { !($0.domain.isEmpty || $0.domain.equals("ai.onnx")) }
        model.opsets.insert((.empty, Int64(opset)), at: 0)
        let contributed = ByteString("com.microsoft")
        if graph.uses(contributed), !model.opsets.contains(where: { $0.domain == contributed }) { model.opsets.append((contributed, 1)) }
        return model
    }

    /// A model with another graph and the same things to say about itself.
    private static func like(_ model: ApusGraph.Model, _ graph: Graph) -> ApusGraph.Model {
        let copy = ApusGraph.Model(graph: graph)
        copy.producerName = model.producerName
        copy.producerVersion = model.producerVersion
        copy.domain = model.domain
        copy.modelVersion = model.modelVersion
        copy.documentation = model.documentation
        copy.metadata = model.metadata
        return copy
    }
}

extension Graph {
    /// Whether operators of `domain` are among the nodes, those of subgraphs included.
    fileprivate func uses(_ domain: ByteString) -> Bool {
        nodes.contains { node in node.domain == domain.description || node.subgraphs.contains { $0.uses(domain) } }
    }
}
