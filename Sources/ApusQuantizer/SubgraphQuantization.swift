import ApusCore
import ApusGraph
import ApusOperators

/// Quantises what the subgraphs of control flow hold, by the methods that need no measured activations.
struct SubgraphQuantization {
    let evaluator: Evaluator
    let scheme: (ProductFinder) throws -> any QuantizationScheme

    /// Changes the subgraphs of `graph` in place; `captures` are those of `graph` itself. Gives their layers.
    func apply(to graph: Graph, captures: [ValueInfo?] = []) throws -> [QuantizationReport.Layer] {
        guard graph.nodes.contains(where: { !$0.subgraphs.isEmpty }) else { return [] }
        let infos = try GraphInference(graph, evaluator: evaluator).run(captures: captures)
        var layers: [QuantizationReport.Layer] = []
        for index in graph.nodes.indices {
            for position in graph.nodes[index].attributes.indices {
                let attribute = graph.nodes[index].attributes[position]
                switch attribute.value {
                case .graph(let inner):
                    graph.nodes[index].attributes[position] = Attribute(attribute.name, .graph(try quantized(inner, infos, &layers)))
                case .graphs(let several):
                    let changed = try several.map { try quantized($0, infos, &layers) }
                    graph.nodes[index].attributes[position] = Attribute(attribute.name, .graphs(changed))
                default: continue
                }
            }
        }
        return layers
    }

    private func quantized(_ inner: Graph, _ outer: [ValueInfo?], _ layers: inout [QuantizationReport.Layer]) throws -> Graph {
        let captures = inner.captures.map { outer[$0.outer.index] }
        let finder = ProductFinder(inner, try GraphInference(inner, evaluator: evaluator).run(captures: captures))
        let scheme = try scheme(finder)
        var result = QuantizedModel(graph: inner)
        if !scheme.selected.isEmpty { result = try scheme.quantized(leaving: []) }
        layers += scheme.layers.map { layer in
            var entry = QuantizationReport.Layer(
                name: layer.name, operation: inner.nodes[layer.node].opType, isQuantized: scheme.selected.contains(layer.node))
            entry.weightError = result.weightErrors[layer.node]
            return entry
        }
        layers += try apply(to: result.graph, captures: captures)
        return result.graph
    }

    /// The operators of the nodes whose subgraphs hold products, and how many products these are.
    static func products(of graph: Graph, captures: [ValueInfo?] = [], _ evaluator: Evaluator) throws -> (operators: [String], count: Int) {
        guard graph.nodes.contains(where: { !$0.subgraphs.isEmpty }) else { return ([], 0) }
        let infos = try GraphInference(graph, evaluator: evaluator).run(captures: captures)
        var operators: [String] = [], count = 0
        for node in graph.nodes {
            for inner in node.subgraphs {
                let captures = inner.captures.map { infos[$0.outer.index] }
                let own = ProductFinder(inner, try GraphInference(inner, evaluator: evaluator).run(captures: captures)).products().count
                let deeper = try products(of: inner, captures: captures, evaluator)
                if own + deeper.count > 0, !operators.contains(node.opType) { operators.append(node.opType) }
                count += own + deeper.count
            }
        }
        return (operators, count)
    }
}
