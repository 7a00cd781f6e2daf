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

    package init(level: Int32, disabled: Set<String> = [], evaluator: Evaluator = Evaluator(), log: ((String) -> Void)? = nil) {
        self.level = level
        self.disabled = disabled
        self.evaluator = evaluator
        self.log = log
    }

    /// Runs the passes of the level on `graph`, which must be verified and sorted, and stays so.
    package func run(_ graph: Graph) throws {}
}
