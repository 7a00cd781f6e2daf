import ApusCore
import ApusGraph
import ApusOperators
import ApusOptimizer
import ApusRuntime

/// What graphs are run with while a model is quantised.
package struct RunnerSettings: Sendable {
    package let levels: UInt32
    package let pool: ThreadPool
    package let budget: MemoryBudget
    package let control: RunControl

    package init(levels: UInt32 = CPUCap.levels(nil), pool: ThreadPool, budget: MemoryBudget = .shared, control: RunControl = RunControl()) {
        self.levels = levels
        self.pool = pool
        self.budget = budget
        self.control = control
    }

    var evaluator: Evaluator { Evaluator(levels: levels, pool: pool, budget: budget, control: control) }
}

/// Runs a copy of a graph, optimised like a session's, and shows values inside of it.
struct GraphRunner {
    private enum Source {
        case input(Int)
        case output(Int)
    }

    private let compiled: CompiledGraph
    private let control: RunControl
    private let outputCount: Int
    private let watched: [Source]
    private let resultCount: Int

    /// - Parameter watching: values of `graph`, made by nodes or inputs, that runs give beside the outputs.
    init(_ graph: Graph, watching: [ValueID] = [], _ settings: RunnerSettings) throws {
        let copy = graph.copy()
        outputCount = copy.outputs.count
        control = settings.control
        var watched: [Source] = []
        for value in watching {
            if let position = copy.inputs.firstIndex(of: value) {
                watched.append(.input(position))
            } else if let position = copy.outputs.firstIndex(of: value) {
                watched.append(.output(position))
            } else {
                watched.append(.output(copy.outputs.count))
                copy.outputs.append(value)
            }
        }
        self.watched = watched
        resultCount = copy.outputs.count
        try Optimizer(level: 99, evaluator: settings.evaluator).run(copy)
        // An environment of its own: packed weights go with the runner.
        compiled = try CompiledGraph(
            copy, environment: RuntimeEnvironment(levels: settings.levels, pool: settings.pool, budget: settings.budget))
    }

    /// The outputs and the watched values for `inputs`, one for each input of the graph.
    func run(_ inputs: [Value]) throws -> (outputs: [Value], watched: [Value]) {
        var results = [Value?](repeating: nil, count: resultCount)
        try inputs.withUnsafeBufferPointer { inputs in
            try results.withUnsafeMutableBufferPointer { try compiled.run(inputs, control: control, results: $0) }
        }
        let values = results.compactMap { $0 }
        guard values.count == resultCount else { throw ApusError(.internal, "a run left an output unset") }
        return (Array(values[..<outputCount]), watched.map { source in
            switch source {
            case .input(let position): inputs[position]
            case .output(let position): values[position]
            }
        })
    }
}

extension Value {
    /// The elements, where the value is a float32 tensor.
    func withFloats<Result>(_ body: (UnsafeBufferPointer<Float>, Shape) throws -> Result) rethrows -> Result? {
        guard case .tensor(let tensor) = self, tensor.type == .float32 else { return nil }
        return try tensor.withUnsafeBytes { try body($0.bindMemory(to: Float.self), tensor.shape) }
    }
}
