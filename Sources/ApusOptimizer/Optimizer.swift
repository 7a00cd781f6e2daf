import ApusCore
import ApusGraph
import ApusOperators

/// Rewrites a graph into one that gives the same results faster.
package struct Optimizer {
    /// 0: nothing, 1: basic, 2: extended, 99: all; as in onnxruntime.
    package let level: Int32
    package let disabled: Set<String>
    package let evaluator: Evaluator
    /// Told what was rewritten and why not, where asked for.
    package let log: ((String) -> Void)?
    /// Whether the log is told even where APUS_TRACE does not ask for it.
    package var tracesAlways = false

    package init(level: Int32, disabled: Set<String> = [], evaluator: Evaluator = Evaluator(), log: ((String) -> Void)? = nil) {
        self.level = level
        self.disabled = disabled
        self.evaluator = evaluator
        self.log = log
    }

    /// The passes in the order in which they run, each with the least level that asks for it.
    package static let pipeline: [(level: Int32, pass: any Pass)] = [
        (1, ConstantFolding(keepsQuantized: true, keepsNarrow: true)),
        (1, NoOpRemoval()),
        (1, CommonSubexpressions()),
        (1, TransposeCancelling()),
        (2, DynamicProducts()),
        (2, QuantizedMovement()),
        (2, QuantizedLimits()),
        (2, QuantizedFunctions()),
        (2, QuantizedProducts()),
        (2, QuantizedElementwise()),
        (2, QuantizedRows()),
        (1, ConstantFolding(keepsNarrow: true)),
    ] + GatedActivation.passes.map { (2, $0) } + [
        (2, GroupNormalizationForm()),
        (2, NormalizationScale()),
        (2, GeluFusion()),
        (2, OwnConvolutions()),
        // Before what follows looks for constant weights; products are made later.
        (2, NarrowWeights()),
        (2, ConvolutionPadding()),
        (2, ConvolutionScale()),
        (2, ConvolutionInputScale()),
        (2, ConvolutionResidual()),
        (2, ConvolutionActivation()),
        (99, ChannelsLast()),
        (2, NormalizationFusion()),
        (2, AttentionFusion()),
        (2, ProductFusion()),
        (2, NarrowWeights()),
        (99, TransposeCancelling()),
        (1, ConstantFolding()),
        (99, CommonSubexpressions()),
        (99, WinogradTransforms()),
        (99, ChannelsFirstInput()),
        (99, ConvolutionChains()),
    ]

    /// Runs the passes of the level on `graph`, which must be verified and sorted, and stays so.
    package func run(_ graph: Graph) throws {
        try run(graph, captures: [])
    }

    private func run(_ graph: Graph, captures: [ValueInfo?]) throws {
        let traces = log != nil && (tracesAlways || Environment.traces("optimizer"))
        // Of the graph as it is: most passes change nothing, and take less time than inference and a new editor. Those that do leave
        // every value what it is, though it may be made otherwise.
        var known: [ValueInfo?] = []
        var isNew = true
        var current: GraphEditor?
        for (least, pass) in Optimizer.pipeline where least <= level && !disabled.contains(pass.name) {
            if isNew {
                let infos = try GraphInference(graph, evaluator: evaluator, known: known).run(captures: captures)
                #if DEBUG
                    if !known.isEmpty { try verify(infos, of: graph, captures: captures) }
                #endif
                (known, isNew) = (infos, false)
            }
            let editor = current ?? GraphEditor(graph)
            let context = PassContext(evaluator: evaluator, log: traces ? log : nil, infos: known)
            try pass.run(editor, context)
            if current == nil || editor.hasChanged { editor.removeDeadCode() }
            try editor.commit()
            isNew = editor.hasChanged
            current = isNew ? nil : editor
        }
        // What a pass added and did not use.
        current?.removeDeadCode()
        guard level > 0, graph.nodes.contains(where: { !$0.subgraphs.isEmpty }) else { return }
        let infos = try GraphInference(graph, evaluator: evaluator).run(captures: captures)
        for node in graph.nodes {
            for subgraph in node.subgraphs {
                do {
                    try run(subgraph, captures: subgraph.captures.map { infos[$0.outer.index] })
                } catch let error as ApusError where [.shapeMismatch, .invalidValue, .memoryLimit].contains(error.code) {
                    // A branch that cannot work for these shapes may never be taken: it stays as it is.
                    log?("\(graph.displayName(node)): a subgraph stays as it is: \(error.message)")
                }
            }
        }
    }
    #if DEBUG
        /// Throws where `infos`, taken over from before a pass, contradict what the graph says now.
        private func verify(_ infos: [ValueInfo?], of graph: Graph, captures: [ValueInfo?]) throws {
            let fresh = try GraphInference(graph, evaluator: evaluator).run(captures: captures)
            for output in graph.nodes.lazy.flatMap(\.outputs) {
                guard let output, let kept = infos[output.index]?.type, let found = fresh[output.index]?.type else { continue }
                guard kept.elementType == found.elementType,
                    zip(kept.shape?.dimensions ?? [], found.shape?.dimensions ?? []).allSatisfy({ a, b in
                        a.known == nil || b.known == nil || a == b
                    })
                else {
                    throw ApusError(.internal, "a pass made \(found) of value \"\(graph.displayName(output))\", which was \(kept)")
                }
            }
        }
    #endif
}
