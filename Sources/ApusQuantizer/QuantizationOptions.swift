import ApusCore
import ApusGraph

/// What a model is quantised to, and how.
public struct QuantizationOptions: Sendable {
    /// Raw values are those of `apus_quantize_method` in apus.h.
    public enum Method: Int32, Sendable, CaseIterable {
        /// Weights and activations in 8 bits; the ranges of activations are measured on given data.
        case `static` = 0
        /// Weights in 8 bits; activations are quantised as they come (DynamicQuantizeLinear).
        case dynamic = 1
        /// Weights alone, in 4 or 8 bits; activations stay float.
        case weights = 2
    }

    /// How the range of an activation follows from what was seen of it. Raw values as in `apus_calibration`.
    public enum Calibration: Int32, Sendable, CaseIterable {
        /// From the least to the greatest element.
        case minMax = 0
        /// What holds `percentile` percent of the elements.
        case percentile = 1
        /// The range whose quantised distribution tells least apart from the real one (Kullback-Leibler).
        case entropy = 2
    }

    /// Whether the channels of adjacent convolutions are brought to equal ranges. Raw values as in `apus_equalization`.
    public enum Equalization: Int32, Sendable, CaseIterable {
        /// Where the quantised model's results come closer to those of the model.
        case automatic = 0
        case always = 1
        case never = 2
    }

    public var method: Method = .static
    /// uint8 or int8. `static` only: dynamic quantisation is uint8 by ONNX's definition.
    public var activationType: ElementType = .uint8
    /// int8, or int4 for `weights`.
    public var weightType: ElementType = .int8
    /// Whether weights have a scale for each output channel rather than one for the tensor.
    public var isPerChannel = true
    public var calibration: Calibration = .minMax
    /// Percent of the elements that `Calibration.percentile` keeps, above 50 and at most 100.
    public var percentile = 99.99
    /// `weights`: elements along the summed axis that share a scale; 0: all of a column.
    public var blockSize = 0
    /// `weights`: whether blocks have a zero point (and an unsigned type) rather than being symmetric.
    public var hasZeroPoints = false
    /// `weights`: whether scales are searched for the least squared error rather than taken from the largest element.
    public var searchesScales = true
    public var equalization: Equalization = .automatic
    /// Whether biases are corrected by the mean error that quantised weights make on the given data.
    public var correctsBias = false
    /// Operators ("Conv"), or names of nodes or of their first outputs, to leave in float; `*` stands for any characters.
    public var exclude: [String] = []
    /// Where not empty: the only ones to quantise.
    public var include: [String] = []
    /// Leaves in float what it takes to lose no more than this on the evaluation data: of the share of right answers where there
    /// are labels, else relative error (see `QuantizationReport.Quality`).
    public var maximumDrop: Double?
    /// Told what is being done and how much of all is done (0...1).
    public var progress: (@Sendable (_ stage: String, _ share: Double) -> Void)?

    public init() {}

    /// Throws `invalidArgument` for values and combinations that mean nothing.
    package func check() throws {
        func require(_ condition: Bool, _ message: @autoclosure () -> String) throws {
            if !condition { throw ApusError(.invalidArgument, message()) }
        }
        try require(activationType == .uint8 || activationType == .int8, "activations become uint8 or int8, not \(activationType.name)")
        try require(
            method != .dynamic || activationType == .uint8, "DynamicQuantizeLinear makes uint8: int8 activations need static quantisation")
        try require(
            weightType == .int8 || (weightType == .int4 && method == .weights),
            method == .weights ? "weights become int8 or int4, not \(weightType.name)" : "8-bit arithmetic needs int8 weights, not \(weightType.name)")
        try require(method == .weights || (blockSize == 0 && !hasZeroPoints), "blocks and zero points are for quantising weights alone")
        try require(blockSize == 0 || blockSize >= 16, "a block has at least 16 elements, not \(blockSize)")
        try require(percentile > 50 && percentile <= 100, "a percentile above 50 and at most 100 is needed, not \(percentile)")
        if let maximumDrop { try require(maximumDrop >= 0 && maximumDrop < 1, "the largest drop must be at least 0 and below 1, not \(maximumDrop)") }
    }
}

/// One run's worth of data: calibration and evaluation see the same.
package struct QuantizationBatch: Sendable {
    /// A value for each of the graph's inputs.
    package let inputs: [Value]
    /// The right class of each row of the first output, where known.
    package let labels: [Int]?

    package init(inputs: [Value], labels: [Int]? = nil) {
        self.inputs = inputs
        self.labels = labels
    }
}

/// Which nodes a caller wants quantised.
struct NodeSelection {
    private let include: [[UInt8]]
    private let exclude: [[UInt8]]

    init(_ options: QuantizationOptions) {
        include = options.include.map { Array($0.utf8) }
        exclude = options.exclude.map { Array($0.utf8) }
    }

    /// Operator, name and name of the first output: what a pattern may match.
    private static func names(_ node: Node, _ graph: Graph) -> [[UInt8]] {
        let output = node.outputs.lazy.compactMap { $0 }.first
        return [Array(node.opType.utf8), node.name.bytes, output.map { graph.values[$0.index].name.bytes } ?? []]
    }

    func selects(_ node: Node, _ graph: Graph) -> Bool {
        if include.isEmpty && exclude.isEmpty { return true }
        let names = NodeSelection.names(node, graph)
        func matches(_ patterns: [[UInt8]]) -> Bool { patterns.contains { pattern in names.contains { NodeSelection.fits(pattern[...], $0[...]) } } }
        return (include.isEmpty || matches(include)) && !matches(exclude)
    }

    /// Throws `notFound` where a pattern fits no node: a typing error should not pass for a choice.
    func check(_ graph: Graph) throws {
        func isUsed(_ pattern: [UInt8], _ graph: Graph) -> Bool {
            graph.nodes.contains { node in
                NodeSelection.names(node, graph).contains { NodeSelection.fits(pattern[...], $0[...]) }
                    || node.subgraphs.contains { isUsed(pattern, $0) }
            }
        }
        for pattern in include + exclude {
            guard isUsed(pattern, graph) else {
                throw ApusError(
                    .notFound, "\"\(ByteString(pattern))\" is no operator of the model, and no name of a node or of its first output")
            }
        }
    }

    /// Whether `text` is `pattern`, in which `*` stands for any bytes.
    static func fits(_ pattern: ArraySlice<UInt8>, _ text: ArraySlice<UInt8>) -> Bool {
        var (pattern, text) = (pattern, text)
        // Where to go on after a star if what follows it did not fit.
        var retry: (pattern: ArraySlice<UInt8>, text: ArraySlice<UInt8>)?
        while !text.isEmpty || !pattern.isEmpty {
            if pattern.first == UInt8(ascii: "*") {
                pattern = pattern.dropFirst()
                retry = (pattern, text)
            } else if let first = text.first, pattern.first == first {
                (pattern, text) = (pattern.dropFirst(), text.dropFirst())
            } else if let last = retry, !last.text.isEmpty {
                retry = (last.pattern, last.text.dropFirst())
                (pattern, text) = (last.pattern, last.text.dropFirst())
            } else {
                return false
            }
        }
        return true
    }
}
