import ApusCore
import ApusGraph

/// Runs one of two subgraphs, chosen by a condition of one element.
struct IfOperator: Operator {
    static let schemas = [
        Schema("If", since: [1, 11, 13, 16, 19, 21, 23, 24, 25], inputs: 1...1, outputs: 1...Int.max)
    ]

    private struct Branch {
        let name: String
        let graph: Graph
        let index: Int

        init(_ name: String, _ node: NodeReader) throws {
            self.name = name
            graph = try node.graph(name)
            index = try subgraphIndex(graph, in: node)
            guard graph.inputs.isEmpty else {
                throw ApusError(.invalidModel, "\(name) must have no inputs, found \(graph.inputs.count)")
            }
            guard graph.outputs.count == node.outputCount else {
                throw ApusError(.invalidModel, "\(name) has \(graph.outputs.count) outputs, the node \(node.outputCount)")
            }
        }
    }

    private let thenBranch: Branch
    private let elseBranch: Branch

    init(_ node: NodeReader) throws {
        thenBranch = try Branch("then_branch", node)
        elseBranch = try Branch("else_branch", node)
    }

    var isFoldable: Bool { false }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        try checkCondition(context, 0)
        let condition = try context.input(0).constant.map { try flag($0, "the condition") }
        let (thenOutputs, thenError) = try infer(thenBranch, context)
        let (elseOutputs, elseError) = try infer(elseBranch, context)
        // A branch that cannot work for these shapes is an error only where it is sure to run.
        if let error = condition == true ? thenError : condition == false ? elseError : nil { throw error }
        if let thenError, elseError != nil { throw thenError }
        return try zip(thenOutputs, elseOutputs).enumerated().map { index, pair in
            let (a, b) = pair
            guard let a, let b else {
                guard let known = a ?? b else {
                    throw ApusError(.invalidModel, "the type of output \(index) of both branches is unknown")
                }
                return condition == nil ? ValueInfo(known.type.withoutShape) : known
            }
            guard let union = a.type.union(b.type) else {
                throw ApusError(.typeMismatch, "output \(index) of then_branch is \(a.type), of else_branch \(b.type)")
            }
            switch condition {
            case true?: return ValueInfo(a.type)
            case false?: return ValueInfo(b.type)
            case nil: return ValueInfo(union)
            }
        }
    }

    /// The outputs of a branch; without shapes, and nil where nothing is declared, beside an error about shapes.
    private func infer(_ branch: Branch, _ context: InferenceContext) throws -> ([ValueInfo?], ApusError?) {
        do {
            let outputs = try context.inferSubgraph(branch.graph, [])
            guard outputs.count == context.outputCount else {
                throw ApusError(.internal, "\(outputs.count) outputs of \(branch.name) inferred, \(context.outputCount) expected")
            }
            return (outputs, nil)
        } catch let error as ApusError where error.concernsShapes {
            let declared = branch.graph.outputs.map { output in
                branch.graph.values[output.index].type.map { ValueInfo($0.withoutShape) }
            }
            return (declared, error)
        }
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let (whenTrue, whenFalse, expected) = (thenBranch.index, elseBranch.index, context.outputs)
        return PreparedKernel("if") { io in
            let outputs = try io.runSubgraph(try io.flag(0, "the condition") ? whenTrue : whenFalse, [])
            guard outputs.count == expected.count else {
                throw ApusError(.internal, "a branch gave \(outputs.count) outputs, \(expected.count) expected")
            }
            for (index, value) in outputs.enumerated() {
                try expected[index].type.checkAdmits(value.type, "output \(index)")
                try io.setOutput(index, value)
            }
        }
    }
}

/// Throws unless input `index`, where present, is a bool tensor that may have one element.
func checkCondition(_ context: InferenceContext, _ index: Int) throws {
    _ = try context.type(index, oneOf: [.bool])
    if let shape = try context.input(index).concreteShape(), shape.count != 1 {
        throw ApusError(.shapeMismatch, "the condition must have one element, found shape \(shape)")
    }
}

/// The element of a bool tensor of one element.
func flag(_ value: Value, _ what: String) throws -> Bool {
    let tensor = try value.asTensor()
    guard tensor.type == .bool else { throw ApusError(.typeMismatch, "\(what) must be bool, found \(tensor.type.name)") }
    guard tensor.count == 1 else {
        throw ApusError(.shapeMismatch, "\(what) must have one element, found shape \(tensor.shape)")
    }
    return tensor.pointer.load(as: UInt8.self) != 0
}

extension NodeIO {
    /// The element of bool input `index`.
    func flag(_ index: Int, _ what: String) throws -> Bool {
        try ApusOperators.flag(.tensor(try view(index)), what)
    }
}
