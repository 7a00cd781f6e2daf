import ApusCore
import ApusGraph
import ApusOperators

/// A part of a model that is quantised or left in float as a whole.
struct Layer {
    /// Index of its main node in the prepared graph.
    let node: Int
    let name: String
    /// What it makes.
    let output: ValueID
}

/// A prepared graph and a way to quantise all of its layers, or all but some.
protocol QuantizationScheme {
    var graph: Graph { get }
    /// Every layer that the way knows, whether the caller wants it quantised or not.
    var layers: [Layer] { get }
    /// The nodes of those that are.
    var selected: Set<Int> { get }
    func quantized(leaving left: Set<Int>) throws -> QuantizedModel
    /// What is known of the activation that a layer makes: its distribution, and the range that its codes have.
    func activation(_ output: ValueID) -> (histogram: Histogram, range: ValueRange)?
}

/// What a scheme makes.
struct QuantizedModel {
    let graph: Graph
    /// By tensor of the prepared graph: the value that holds it in this graph, where it is another.
    var restored: [ValueID: ValueID] = [:]
    /// By node of a layer: the relative error of its weights.
    var weightErrors: [Int: Double] = [:]
}

/// 8-bit weights and activations with measured ranges.
struct StaticScheme: QuantizationScheme {
    let graph: Graph
    let layers: [Layer]
    let selected: Set<Int>
    private let finder: ProductFinder
    private let selects: (Int) -> Bool
    private let options: QuantizationOptions
    private let opset: Int
    private let histograms: [ValueID: Histogram]
    private let ranges: [ValueID: ValueRange]
    private let corrections: [Int: [Float]]
    private let weightErrors: [Int: Double]

    init(
        _ finder: ProductFinder, opset: Int, _ options: QuantizationOptions, selects: @escaping (Int) -> Bool, _ batches: [QuantizationBatch],
        _ settings: RunnerSettings, progress: (Double) -> Void
    ) throws {
        graph = finder.graph
        self.finder = finder
        self.selects = selects
        self.options = options
        self.opset = opset
        let placement = Placement(finder, selects: selects)
        layers = finder.products().map { Layer(node: $0.node, name: $0.name, output: $0.output) }
        selected = Set(placement.products.map(\.node))
        let calibration = Calibration(graph: graph, settings: settings)
        histograms = try calibration.histograms(placement.tensors, batches, progress: progress)
        ranges = histograms.mapValues { $0.range(options.calibration, percentile: options.percentile) }
        let correction = BiasCorrection(graph: graph, isPerChannel: options.isPerChannel)
        corrections = options.correctsBias ? try correction.corrections(placement.products, calibration, batches) : [:]
        weightErrors = try correction.weightErrors(placement.products)
    }

    func quantized(leaving left: Set<Int>) throws -> QuantizedModel {
        let placement = Placement(finder) { selects($0) && !left.contains($0) }
        let writer = StaticQuantization(graph: graph, opset: opset, isPerChannel: options.isPerChannel, type: options.activationType)
        let result = try writer.quantized(placement, ranges, biasCorrections: corrections)
        return QuantizedModel(graph: result.graph, restored: result.restored, weightErrors: weightErrors.filter { !left.contains($0.key) })
    }

    func activation(_ output: ValueID) -> (histogram: Histogram, range: ValueRange)? {
        guard let histogram = histograms[output], let range = ranges[output] else { return nil }
        return (histogram, AffineCodes(range, options.activationType).range)
    }
}

/// 8-bit weights; activations quantised as they come.
struct DynamicScheme: QuantizationScheme {
    let graph: Graph
    let layers: [Layer]
    let selected: Set<Int>
    private let products: [Product]
    private let recurrent: [Layer]
    private let opset: Int
    private let isPerChannel: Bool
    private let weightErrors: [Int: Double]

    init(_ finder: ProductFinder, opset: Int, isPerChannel: Bool, selects: (Int) -> Bool) throws {
        graph = finder.graph
        self.opset = opset
        self.isPerChannel = isPerChannel
        products = finder.products().filter { DynamicQuantization.takes($0, finder.graph) }
        recurrent = DynamicRecurrence.nodes(finder)
        layers = (products.map { Layer(node: $0.node, name: $0.name, output: $0.output) } + recurrent).sorted { $0.node < $1.node }
        selected = Set(layers.map(\.node).filter(selects))
        weightErrors = try BiasCorrection(graph: graph, isPerChannel: isPerChannel).weightErrors(products)
            .merging(DynamicRecurrence(graph: graph, isPerChannel: isPerChannel).weightErrors(recurrent), uniquingKeysWith: max)
    }

    func quantized(leaving left: Set<Int>) throws -> QuantizedModel {
        func isTaken(_ node: Int) -> Bool { selected.contains(node) && !left.contains(node) }
        let graph = try DynamicQuantization(graph: graph, opset: opset, isPerChannel: isPerChannel).quantized(
            products.filter { isTaken($0.node) }, recurrent.filter { isTaken($0.node) })
        return QuantizedModel(graph: graph, weightErrors: weightErrors.filter { !left.contains($0.key) })
    }

    func activation(_ output: ValueID) -> (histogram: Histogram, range: ValueRange)? { nil }
}

/// Weights in 4 or 8 bits.
struct WeightScheme: QuantizationScheme {
    let graph: Graph
    let layers: [Layer]
    let selected: Set<Int>
    private let weights: [WeightQuantization.Weights]
    private let quantization: WeightQuantization
    private let progress: (Double) -> Void

    init(_ finder: ProductFinder, opset: Int, _ options: QuantizationOptions, selects: (Int) -> Bool, progress: @escaping (Double) -> Void) {
        graph = finder.graph
        quantization = WeightQuantization(graph: graph, opset: opset, options: options)
        weights = quantization.weights(finder.products())
        var seen = Set<Int>()
        layers = weights.filter { seen.insert($0.node).inserted }.map { Layer(node: $0.node, name: $0.name, output: $0.output) }
        selected = Set(layers.map(\.node).filter(selects))
        self.progress = progress
    }

    func quantized(leaving left: Set<Int>) throws -> QuantizedModel {
        let taken = weights.filter { selected.contains($0.node) && !left.contains($0.node) }
        var errors: [Double] = []
        let graph = try quantization.quantized(taken, &errors, progress: progress)
        let byNode = Dictionary(zip(taken.map(\.node), errors), uniquingKeysWith: max)
        return QuantizedModel(graph: graph, weightErrors: byNode)
    }

    func activation(_ output: ValueID) -> (histogram: Histogram, range: ValueRange)? { nil }
}
