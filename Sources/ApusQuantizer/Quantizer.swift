import ApusCore
import ApusGraph
import ApusOperators

/// Turns a model into one that computes with fewer bits.
///
/// It starts from the graph as it is after inference, functions expanded, and ends with a graph of standard ONNX operators.
package final class Quantizer {
    package struct Result {
        package let graph: Graph
        /// The version of ai.onnx that the graph is written for.
        package let opset: Int
        package let report: QuantizationReport
    }

    let options: QuantizationOptions
    let settings: RunnerSettings
    let batches: [QuantizationBatch]

    /// - Parameters:
    ///   - calibration: data to measure activations on; needed for static quantisation.
    ///   - settings: what the model is run with.
    package init(_ options: QuantizationOptions, calibration: [QuantizationBatch], _ settings: RunnerSettings) throws {
        try options.check()
        guard options.method != .static || !calibration.isEmpty else {
            throw ApusError(
                .invalidArgument, "static quantisation measures activations: it needs calibration data, one batch of inputs at least")
        }
        guard options.maximumDrop == nil || !calibration.isEmpty else {
            throw ApusError(.invalidArgument, "a largest drop can only be kept to with data to measure it on")
        }
        self.options = options
        self.settings = settings
        batches = calibration
    }

    /// - Parameters:
    ///   - graph: with inferred types. It stays as it is.
    ///   - opset: the version of ai.onnx that the model imports.
    package func run(_ graph: Graph, opset: Int) throws -> Result {
        try Quantizer.checkIsFloat(graph)
        try checkData(graph)
        let selection = NodeSelection(options)
        say("Preparing the graph", 0)
        let prepared = try GraphPreparation(settings: settings).prepared(graph)
        try selection.check(prepared)
        let target = max(opset, requiredOpset, graph.nodes.filter { $0.domain.isEmpty }.map(\.opset).max() ?? 0)
        if target > opset { try OpsetUpgrade(target: target).apply(to: prepared) }
        let infos = try GraphInference(prepared, evaluator: settings.evaluator).run()
        let finder = ProductFinder(prepared, infos)
        let products = finder.products()
        guard products.contains(where: { selection.selects(prepared.nodes[$0.node], prepared) }) else {
            throw ApusError(
                .invalidArgument, products.isEmpty
                    ? "there is nothing to quantise: the model has no Conv, Gemm or MatMul of float32 with constant weights"
                    : "there is nothing to quantise: include and exclude leave none of the \(products.count) products")
        }
        let evaluation = batches.isEmpty ? nil : try Evaluation(graph, batches, settings)
        var report = QuantizationReport(method: options.method)
        report.bytesBefore = Quantizer.constantBytes(graph)
        report.batchCount = batches.count
        let quantized = try quantize(prepared, infos, selection, target, evaluation, &report)
        say("Comparing with the original", 0.95)
        report.bytesAfter = Quantizer.constantBytes(quantized)
        report.before = evaluation?.original
        report.after = try evaluation?.quality(of: quantized)
        report.secondsBefore = try evaluation?.seconds(graph)
        report.secondsAfter = try evaluation?.seconds(quantized)
        say("Done", 1)
        return Result(graph: quantized, opset: target, report: report)
    }

    func say(_ stage: String, _ share: Double) { options.progress?(stage, share) }

    /// The first version of ai.onnx that has what the method writes.
    private var requiredOpset: Int {
        switch options.method {
        case .static: options.isPerChannel ? 13 : 10
        case .dynamic: 11
        case .weights: options.blockSize > 0 || options.weightType == .int4 ? 21 : 13
        }
    }

    private func quantize(
        _ graph: Graph, _ infos: [ValueInfo?], _ selection: NodeSelection, _ opset: Int, _ evaluation: Evaluation?,
        _ report: inout QuantizationReport
    ) throws -> Graph {
        switch options.method {
        case .static:
            guard let evaluation else { throw ApusError(.internal, "no data to measure on") }
            return try StaticPipeline(quantizer: self, opset: opset, evaluation: evaluation).quantized(graph, infos, selection, &report)
        case .dynamic, .weights:
            throw ApusError(.unsupported, "only static quantisation")
        }
    }

    // MARK: Checks

    private static let integerOperators: Set<String> = [
        "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger",
        "MatMulNBits", "QGemm", "QAttention", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "QLinearAdd", "QLinearMul",
    ]

    private static func checkIsFloat(_ graph: Graph) throws {
        let integer = graph.nodes.filter { integerOperators.contains($0.opType) }
        guard let first = integer.first else { return }
        throw ApusError(
            .invalidArgument, "the model is quantised already: \(integer.count) of its \(graph.nodes.count) nodes are, the first is \(graph.displayName(first))")
    }

    private func checkData(_ graph: Graph) throws {
        for (number, batch) in batches.enumerated() {
            guard batch.inputs.count == graph.inputs.count else {
                throw ApusError(.invalidArgument, "batch \(number): \(graph.inputs.count) inputs expected, \(batch.inputs.count) given")
            }
            for (input, value) in zip(graph.inputs, batch.inputs) where value.withFloats({ elements, _ in ValueRange(elements) == nil }) == true {
                throw ApusError(.invalidValue, "batch \(number): input \"\(graph.displayName(input))\" holds NaN or infinity")
            }
        }
    }

    /// Bytes that the constants of a graph and its subgraphs take.
    private static func constantBytes(_ graph: Graph) -> Int {
        let own = graph.initializers.values.reduce(0) { sum, value in
            if case .tensor(let tensor) = value { sum + tensor.byteCount } else { sum }
        }
        return graph.nodes.flatMap(\.subgraphs).reduce(own) { $0 + constantBytes($1) }
    }
}
