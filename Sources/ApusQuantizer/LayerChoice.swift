import ApusCore
import ApusGraph

/// Chooses the layers to leave in float so that a model loses no more than it may.
struct LayerChoice {
    let scheme: any QuantizationScheme
    let evaluation: Evaluation
    let maximumDrop: Double
    let say: (String, Double) -> Void

    /// Batches that layers are ranked by, and layers that are tried again at the end.
    private static let rankingBatches = 4, mostReturns = 16

    struct Result {
        let left: Set<Int>
        /// By node of a layer: what the outputs are off by if it alone is quantised.
        let damages: [Int: Double]
    }

    /// Ranks the layers by the damage that each does alone, finds by bisection how many of the worst must stay in float, and then
    /// takes back those that turn out not to matter.
    func run() throws -> Result {
        if try fits([]) { return Result(left: [], damages: [:]) }
        let selected = scheme.layers.map(\.node).filter { scheme.selected.contains($0) }
        var damages: [Int: Double] = [:]
        for (position, node) in selected.enumerated() {
            say("Ranking layers", 0.5 + 0.25 * Double(position) / Double(selected.count))
            let graph = try scheme.quantized(leaving: scheme.selected.subtracting([node])).graph
            damages[node] = try evaluation.quality(of: graph, most: LayerChoice.rankingBatches).relativeError
        }
        let order = selected.sorted { (damages[$0] ?? 0) > (damages[$1] ?? 0) }
        // With all of them in float nothing is lost.
        var few = 0, enough = order.count
        while enough - few > 1 {
            say("Choosing layers to leave in float", 0.75 + 0.05 * Double(few) / Double(order.count))
            let middle = (few + enough) / 2
            if try fits(Set(order[..<middle])) { enough = middle } else { few = middle }
        }
        var left = Set(order[..<enough])
        for node in order[..<enough].suffix(LayerChoice.mostReturns).reversed() where left.count > 1 {
            say("Choosing layers to leave in float", 0.8)
            if try fits(left.subtracting([node])) { left.remove(node) }
        }
        guard left.count < selected.count else {
            throw ApusError(
                .invalidArgument,
                "no layer can be quantised without losing more than \(maximumDrop): allow more, or measure on other data")
        }
        return Result(left: left, damages: damages)
    }

    private func fits(_ left: Set<Int>) throws -> Bool {
        let quality = try evaluation.quality(of: try scheme.quantized(leaving: left).graph)
        return quality.drop(from: evaluation.original) <= maximumDrop
    }
}
