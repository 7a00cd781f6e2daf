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
        let evaluation = batches.isEmpty ? nil : try Evaluation(graph, batches, settings)
        var report = QuantizationReport(method: options.method)
        report.bytesBefore = Quantizer.constantBytes(graph)
        report.batchCount = batches.count
        let quantized = try quantize(ProductFinder(prepared, infos), selection, target, evaluation, &report)
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
        _ finder: ProductFinder, _ selection: NodeSelection, _ opset: Int, _ evaluation: Evaluation?, _ report: inout QuantizationReport
    ) throws -> Graph {
        var scheme = try scheme(finder, selection, opset)
        let hasSubgraphs = finder.graph.nodes.contains { !$0.subgraphs.isEmpty }
        let takesSubgraphs = options.method != .static && hasSubgraphs
        if scheme.selected.isEmpty && !takesSubgraphs { throw nothingToQuantize(layers: scheme.layers.count, hasSubgraphs) }
        if options.method == .static, options.equalization != .never, let evaluation,
            let equal = try equalized(finder, selection, opset), try isBetter(equal, than: scheme, evaluation)
        {
            scheme = equal
            report.isEqualized = true
        }
        var choice: LayerChoice.Result?
        if let drop = options.maximumDrop, let evaluation, !scheme.selected.isEmpty {
            choice = try LayerChoice(scheme: scheme, evaluation: evaluation, maximumDrop: drop, say: say).run()
        }
        say("Writing codes", 0.85)
        let result = try scheme.quantized(leaving: choice?.left ?? [])
        try describe(scheme, result, choice, &report)
        report.notes = try notes(scheme)
        if takesSubgraphs {
            report.layers += try SubgraphQuantization(evaluator: settings.evaluator) { try self.scheme($0, selection, opset) }.apply(to: result.graph)
            if !report.layers.contains(where: \.isQuantized) { throw nothingToQuantize(layers: report.layers.count, false) }
        }
        return result.graph
    }

    private func nothingToQuantize(layers: Int, _ hasSubgraphs: Bool) -> ApusError {
        ApusError(
            .invalidArgument, layers == 0
                ? "there is nothing to quantise: \(hasSubgraphs ? "outside of subgraphs " : "")the model has no \(layersOfMethod)"
                : "there is nothing to quantise: include and exclude leave none of the \(layers) layers")
    }

    /// What stays in float although it multiplies by weights, and why.
    private func notes(_ scheme: any QuantizationScheme) throws -> [String] {
        guard options.method != .weights else { return [] }
        var notes: [String] = []
        let known = Set(scheme.layers.map(\.node)), graph = scheme.graph
        let recurrent = graph.nodes.indices.filter { ["GRU", "LSTM", "RNN"].contains(graph.nodes[$0].opType) && !known.contains($0) }
        if !recurrent.isEmpty {
            let operators = Set(recurrent.map { graph.nodes[$0].opType }).sorted().joined(separator: ", ")
            notes.append(
                "\(recurrent.count) recurrent \(recurrent.count == 1 ? "node stays" : "nodes stay") in float (\(operators)): the dynamic method "
                    + "quantises LSTM with constant weights, the weights method stores those of each in 8 bits")
        }
        if options.method == .static {
            let inner = try SubgraphQuantization.products(of: graph, settings.evaluator)
            if inner.count > 0 {
                notes.append(
                    "\(inner.count) \(inner.count == 1 ? "product" : "products") in subgraphs of \(inner.operators.joined(separator: ", ")) "
                        + "stay in float: activations are measured outside of subgraphs; the dynamic and weights methods take them")
            }
        }
        return notes
    }

    /// What the method quantises, for a message.
    private var layersOfMethod: String {
        switch options.method {
        case .static: "Conv, Gemm or MatMul of float32 that integers could compute"
        case .dynamic: "Conv, Gemm, MatMul or LSTM of float32 with constant weights"
        case .weights: options.weightType == .int4 ? "Gemm or MatMul with constant float32 matrices" : "constant float32 weights"
        }
    }

    private func scheme(_ finder: ProductFinder, _ selection: NodeSelection, _ opset: Int) throws -> any QuantizationScheme {
        let selects = { selection.selects(finder.graph.nodes[$0], finder.graph) }
        switch options.method {
        case .static:
            return try StaticScheme(finder, opset: opset, options, selects: selects, batches, settings) { self.say("Measuring activations", 0.05 + 0.4 * $0) }
        case .dynamic: return try DynamicScheme(finder, opset: opset, isPerChannel: options.isPerChannel, selects: selects)
        case .weights:
            return WeightScheme(finder, opset: opset, options, selects: selects) { self.say("Choosing scales", 0.05 + 0.8 * $0) }
        }
    }

    /// The scheme of an equalised graph; nil where there is nothing to equalise.
    private func equalized(_ finder: ProductFinder, _ selection: NodeSelection, _ opset: Int) throws -> (any QuantizationScheme)? {
        let equalization = Equalization(finder)
        let tensors = equalization.pairs().map { (value: $0.tensor, axis: 1) }
        if tensors.isEmpty { return nil }
        say("Equalising channels", 0.45)
        let largest = try Calibration(graph: finder.graph, settings: settings).channelMaxima(tensors, batches)
        guard let graph = try equalization.applied(largest) else { return nil }
        return try scheme(ProductFinder(graph, finder.infos), selection, opset)
    }

    private func isBetter(_ equal: any QuantizationScheme, than plain: any QuantizationScheme, _ evaluation: Evaluation) throws -> Bool {
        if options.equalization == .always { return true }
        let errors = try [equal, plain].map { try evaluation.quality(of: try $0.quantized(leaving: []).graph, most: 8).relativeError }
        return errors[0] < errors[1]
    }

    /// Fills in the report's layers.
    private func describe(
        _ scheme: any QuantizationScheme, _ result: QuantizedModel, _ choice: LayerChoice.Result?, _ report: inout QuantizationReport
    ) throws {
        say("Measuring errors", 0.9)
        var errors = ErrorSums()
        if !batches.isEmpty {
            let outputs = scheme.layers.map(\.output)
            let original = try GraphRunner(scheme.graph, watching: outputs, settings)
            let changed = try GraphRunner(result.graph, watching: outputs.map { result.restored[$0] ?? $0 }, settings)
            for batch in batches.prefix(8) {
                let pairs = zip(try original.run(batch.inputs).watched, try changed.run(batch.inputs).watched)
                for (position, pair) in pairs.enumerated() { errors.add(pair.0, pair.1, to: position) }
            }
        }
        report.layers = scheme.layers.enumerated().map { position, layer in
            let isQuantized = scheme.selected.contains(layer.node) && !(choice?.left.contains(layer.node) ?? false)
            var entry = QuantizationReport.Layer(
                name: layer.name, operation: scheme.graph.nodes[layer.node].opType, isQuantized: isQuantized)
            entry.weightError = result.weightErrors[layer.node]
            entry.outputError = batches.isEmpty ? nil : errors.relative(position)
            entry.damage = choice?.damages[layer.node]
            if let (histogram, range) = scheme.activation(layer.output) {
                entry.range = (range.low, range.high)
                entry.histogram = (histogram.least, histogram.greatest, histogram.coarse(64))
            }
            return entry
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
