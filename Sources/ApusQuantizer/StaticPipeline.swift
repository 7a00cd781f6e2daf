import ApusCore
import ApusGraph
import ApusOperators

/// Static quantisation from the prepared graph to the report.
struct StaticPipeline {
    let quantizer: Quantizer
    let opset: Int
    let evaluation: Evaluation

    private var options: QuantizationOptions { quantizer.options }
    private var settings: RunnerSettings { quantizer.settings }

    func quantized(
        _ graph: Graph, _ infos: [ValueInfo?], _ selection: NodeSelection, _ report: inout QuantizationReport
    ) throws -> Graph {
        let finder = ProductFinder(graph, infos)
        let placement = Placement(finder) { selection.selects(graph.nodes[$0], graph) }
        let histograms = try measure(graph, placement)
        let result = try writer(graph).quantized(placement, ranges(histograms))
        try describe(graph, finder.products(), placement, result, histograms, &report)
        return result.graph
    }

    private func writer(_ graph: Graph) -> StaticQuantization {
        StaticQuantization(graph: graph, opset: opset, isPerChannel: options.isPerChannel, type: options.activationType)
    }

    private func measure(_ graph: Graph, _ placement: Placement) throws -> [ValueID: Histogram] {
        try Calibration(graph: graph, settings: settings).histograms(placement.tensors, quantizer.batches) {
            quantizer.say("Measuring activations", 0.05 + 0.4 * $0)
        }
    }

    private func ranges(_ histograms: [ValueID: Histogram]) -> [ValueID: ValueRange] {
        histograms.mapValues { $0.range(options.calibration, percentile: options.percentile) }
    }

    /// Fills in the report's layers.
    private func describe(
        _ graph: Graph, _ products: [Product], _ placement: Placement, _ result: StaticQuantization.Result, _ histograms: [ValueID: Histogram],
        _ report: inout QuantizationReport
    ) throws {
        quantizer.say("Measuring errors", 0.85)
        let errors = try outputErrors(graph, products, result)
        let quantized = Set(placement.products.map(\.node))
        let ranges = ranges(histograms)
        report.layers = try products.enumerated().map { position, product in
            let isQuantized = quantized.contains(product.node)
            var layer = QuantizationReport.Layer(name: product.name, operation: graph.nodes[product.node].opType, isQuantized: isQuantized)
            layer.outputError = errors.relative(position)
            if isQuantized, let input = product.weights, let weights = graph.floatConstant(graph.nodes[product.node].inputs[input]) {
                let matrix = try WeightMatrix(weights, axis: options.isPerChannel ? product.axis : nil)
                layer.weightError = relativeError(QuantizedWeights(matrix).restored(matrix), from: matrix.elements)
            }
            let tensor = placement.shares[product.output] ?? product.output
            if let histogram = histograms[tensor], let range = ranges[tensor] {
                let codes = AffineCodes(range, options.activationType).range
                layer.range = (codes.low, codes.high)
                layer.histogram = (histogram.least, histogram.greatest, histogram.coarse(64))
            }
            return layer
        }
    }

    /// How far the products' outputs in the quantised graph are off, on the first batches.
    private func outputErrors(_ graph: Graph, _ products: [Product], _ result: StaticQuantization.Result) throws -> ErrorSums {
        let original = try GraphRunner(graph, watching: products.map(\.output), settings)
        let changed = try GraphRunner(result.graph, watching: products.map { result.restored[$0.output] ?? $0.output }, settings)
        var errors = ErrorSums()
        for batch in quantizer.batches.prefix(8) {
            let pairs = zip(try original.run(batch.inputs).watched, try changed.run(batch.inputs).watched)
            for (position, pair) in pairs.enumerated() { errors.add(pair.0, pair.1, to: position) }
        }
        return errors
    }
}

/// Root mean square of `found` - `reference` as a share of that of `reference`.
func relativeError(_ found: [Float], from reference: [Float]) -> Double {
    var error = 0.0, square = 0.0
    for (a, b) in zip(reference, found) {
        error += (Double(a) - Double(b)) * (Double(a) - Double(b))
        square += Double(a) * Double(a)
    }
    return square == 0 ? (error == 0 ? 0 : 1) : (error / square).squareRoot()
}
