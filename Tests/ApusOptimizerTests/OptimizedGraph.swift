import ApusCore
import ApusGraph
import ApusOperators
import ApusRuntime
import Testing

@testable import ApusOptimizer

/// Reproducible numbers.
struct Random {
    private var state: UInt64

    init(_ seed: UInt64) { state = seed &* 0x9e37_79b9_7f4a_7c15 | 1 }

    /// In [-1, 1).
    mutating func float() -> Float {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return Float(Int32(truncatingIfNeeded: state >> 32) >> 8) / Float(1 << 23)
    }

    /// In 0 ..< bound.
    mutating func int(_ bound: Int) -> Int { min(bound - 1, Int((float() + 1) / 2 * Float(bound))) }

    mutating func bool() -> Bool { float() < 0 }

    mutating func tensor(_ dimensions: [Int], positive: Bool = false) throws -> Tensor {
        let count = dimensions.reduce(1, *)
        return try Tensor(.float32, dimensions, (0..<count).map { _ in positive ? abs(float()) + 0.1 : float() })
    }
}

extension GraphBuilder {
    /// A random float32 constant.
    func weights(_ dimensions: [Int], _ random: inout Random, positive: Bool = false) throws -> ValueID {
        constant(try random.tensor(dimensions, positive: positive))
    }

    func integers(_ elements: [Int]) throws -> ValueID { constant(try Tensor.int64(elements)) }

    func scalar(_ element: Float) throws -> ValueID { constant(try Tensor.float32(element)) }
}

/// A copy of `graph` as the optimiser makes it, and what the optimiser told.
func optimized(
    _ graph: Graph, level: Int32 = 99, without disabled: Set<String> = []
) throws -> (graph: Graph, notes: [String]) {
    let copy = graph.copy()
    let notes = Notes()
    var optimizer = Optimizer(level: level, disabled: disabled, log: { notes.lines.append($0) })
    optimizer.tracesAlways = true
    try optimizer.run(copy)
    try copy.verify()
    return (copy, notes.lines)
}

private final class Notes {
    var lines: [String] = []
}

extension Graph {
    /// How many nodes there are of each operator.
    var census: [String: Int] {
        nodes.reduce(into: [:]) { $0[$1.qualifiedType, default: 0] += 1 }
    }

    /// The operators in order, with their domains.
    var operators: [String] { nodes.map(\.qualifiedType) }

    func only(_ type: String) throws -> Node {
        let found = nodes.filter { $0.qualifiedType == type }
        try #require(found.count == 1, "\(found.count) nodes are of \(type): \(census)")
        return found[0]
    }
}

extension Node {
    func string(_ name: String) -> String? {
        if case .string(let value)? = attribute(name) { return value.description }
        return nil
    }

    func ints(_ name: String) -> [Int64]? {
        if case .ints(let value)? = attribute(name) { return value }
        return nil
    }
}

/// Runs a graph once.
func run(_ graph: Graph, _ inputs: [Value], threads: Int = 1) throws -> [Value] {
    let environment = RuntimeEnvironment(pool: ThreadPool(size: threads), budget: MemoryBudget())
    let compiled = try CompiledGraph(graph, environment: environment)
    var results = [Value?](repeating: nil, count: graph.outputs.count)
    try inputs.withUnsafeBufferPointer { inputs in
        try results.withUnsafeMutableBufferPointer {
            try compiled.run(inputs, control: RunControl(), results: $0)
        }
    }
    return try results.map { try #require($0) }
}

/// Expects the optimised graph to give what the graph gives, for random inputs of the given shapes (by default the declared
/// ones), up to rounding; returns the optimised graph.
@discardableResult
func expectSame(
    _ graph: Graph, level: Int32 = 99, without disabled: Set<String> = [], shapes: [[Int]]? = nil, seed: UInt64 = 7,
    tolerance: Float = 1e-5, _ note: String = "", sourceLocation: SourceLocation = #_sourceLocation
) throws -> Graph {
    let rewritten = try optimized(graph, level: level, without: disabled).graph
    var random = Random(seed)
    let inputs = try graph.inputs.enumerated().map { position, id -> Value in
        let type = graph.values[id.index].type
        let dimensions = shapes?[position] ?? type?.shape?.dimensions?.compactMap(\.known) ?? []
        if type?.elementType == .bool {
            return .tensor(try Tensor(.bool, dimensions, (0..<dimensions.reduce(1, *)).map { _ in random.float() > -0.5 }))
        }
        return .tensor(try random.tensor(dimensions))
    }
    let expected = try run(graph, inputs), found = try run(rewritten, inputs)
    for (a, b) in zip(expected, found) {
        let a = try a.asTensor(), b = try b.asTensor()
        #expect(a.shape == b.shape && a.type == b.type, "\(note)", sourceLocation: sourceLocation)
        guard a.shape == b.shape, a.type == b.type, a.type == .float32 else {
            if a.type == .int64 { #expect(a.array(Int64.self) == b.array(Int64.self), "\(note)", sourceLocation: sourceLocation) }
            continue
        }
        let x = a.array(Float.self), y = b.array(Float.self)
        let scale = max(1e-3, x.map(abs).max() ?? 1)
        let worst = zip(x, y).map { abs($0 - $1) }.max() ?? 0
        let text = "\(note) differs by \(worst) of \(scale):\n\(GraphPrinter.text(graph))\n\(GraphPrinter.text(rewritten))"
        #expect(worst <= tolerance * scale, "\(text)", sourceLocation: sourceLocation)
    }
    return rewritten
}
