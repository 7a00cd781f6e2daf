import ApusCore
import ApusGraph
import ApusOperators

/// An operator that the program brings along, for nodes of a domain of its own.
///
/// Its functions may be called on any thread, by several runs at the same time. What they throw ends the run (or the making
/// of the session) with that error; errors that are no `ApusError` get the code `hostOperator`.
public struct CustomOperator: Sendable {
    /// Types of the outputs, one for each output of the node, from those of the inputs (nil: left out). Dimensions may be
    /// unknown or symbolic when a session is made; they are numbers when a run asks.
    public typealias Infer = @Sendable (_ node: OperatorNode, _ inputs: [ValueType?]) throws -> [ValueType]
    /// The outputs, one for each output of the node, of the inferred types. Inputs are valid during the call.
    public typealias Compute = @Sendable (_ node: OperatorNode, _ inputs: [Value?]) throws -> [Value]

    /// What the functions are for one node.
    package struct Bound {
        let infer: HostOperator.Infer
        let compute: HostOperator.Compute
    }

    public let domain: String
    public let opType: String
    /// The first version of the domain's operator set with this meaning. Of several operators of one name a node gets the
    /// newest that is not newer than its model's operator set.
    public let since: Int
    package let bind: @Sendable (OperatorNode) throws -> Bound

    /// `infer` nil: all outputs have the type and shape of the first input.
    public init(domain: String, opType: String, since: Int = 1, infer: Infer? = nil, compute: @escaping Compute) throws {
        try self.init(domain: domain, opType: opType, since: since) { node in
            Bound(
                infer: { types in try infer?(node, types) ?? CustomOperator.likeFirst(node, types) },
                compute: { inputs, _ in try compute(node, inputs) })
        }
    }

    package init(domain: String, opType: String, since: Int, bind: @escaping @Sendable (OperatorNode) throws -> Bound) throws {
        guard !["", "ai.onnx", "apus"].contains(domain), Registry.schema(domain: domain, opType: opType) == nil else {
            throw ApusError(.invalidArgument, "operator \(domain.isEmpty ? "ai.onnx" : domain).\(opType) is Apus' own")
        }
        guard !opType.isEmpty, since >= 1 else {
            throw ApusError(.invalidArgument, "an operator needs a name and a version from 1 on, found \"\(opType)\" and \(since)")
        }
        self.domain = domain
        self.opType = opType
        self.since = since
        self.bind = bind
    }

    /// The type of the first input for every output.
    package static func likeFirst(_ node: OperatorNode, _ types: [ValueType?]) throws -> [ValueType] {
        guard let first = types.first, let first else {
            throw ApusError(.invalidModel, "\(node.opType) has no first input to take the type of its outputs from")
        }
        return [ValueType](repeating: first, count: node.outputCount)
    }
}

/// A node as its operator's functions see it.
public struct OperatorNode: Sendable {
    package let node: Node

    public var domain: String { node.domain }
    public var opType: String { node.opType }
    public var name: ByteString { node.name }
    /// The version of the domain's operator set that the model imports.
    public var opset: Int { node.opset }
    public var inputCount: Int { node.inputs.count }
    public var outputCount: Int { node.outputs.count }
    public var attributeNames: [String] { node.attributes.map(\.name) }

    /// The attribute, where it is there and an integer; likewise the others.
    public func int(_ name: String) -> Int64? { if case .int(let value)? = node.attribute(name) { value } else { nil } }
    public func float(_ name: String) -> Float? { if case .float(let value)? = node.attribute(name) { value } else { nil } }
    public func string(_ name: String) -> ByteString? { if case .string(let value)? = node.attribute(name) { value } else { nil } }
    public func tensor(_ name: String) -> Value? { if case .tensor(let value)? = node.attribute(name) { value } else { nil } }
    public func ints(_ name: String) -> [Int64]? { if case .ints(let value)? = node.attribute(name) { value } else { nil } }
    public func floats(_ name: String) -> [Float]? { if case .floats(let value)? = node.attribute(name) { value } else { nil } }
    public func strings(_ name: String) -> [ByteString]? { if case .strings(let value)? = node.attribute(name) { value } else { nil } }
}

/// Gives nodes the operators of the program.
package struct CustomOperators {
    private let operators: [String: [CustomOperator]]

    package init(_ operators: [CustomOperator]) {
        self.operators = Dictionary(grouping: operators) { "\($0.domain)\0\($0.opType)" }
    }

    /// Sets the implementation of every node of `graph` and its subgraphs that has an operator here.
    package func attach(to graph: Graph) {
        if operators.isEmpty { return }
        for index in graph.nodes.indices {
            let node = graph.nodes[index]
            node.subgraphs.forEach(attach)
            // Of two of the same version the one added last counts.
            let fitting = operators["\(node.domain)\0\(node.opType)"]?.filter { $0.since <= node.opset } ?? []
            if let newest = fitting.map(\.since).max(), let found = fitting.last(where: { $0.since == newest }) {
                graph.nodes[index].implementation = Factory(found)
            }
        }
    }

    private final class Factory: OperatorFactory {
        private let custom: CustomOperator

        init(_ custom: CustomOperator) { self.custom = custom }

        func make(_ node: Node) throws -> any Operator {
            try attributed {
                let bound = try custom.bind(OperatorNode(node: node))
                return HostOperator(
                    infer: { types in try attributed { try bound.infer(types) } },
                    compute: { inputs, targets in try attributed { try bound.compute(inputs, targets) } })
            }
        }
    }
}

/// Runs a function of the program; what it throws becomes an `ApusError`.
private func attributed<Result>(_ body: () throws -> Result) throws -> Result {
    do {
        return try body()
    } catch let error as ApusError {
        throw error
    } catch {
        throw ApusError(.hostOperator, "\(error)")
    }
}
