import ApusCore
import ApusGraph

/// What a node of one operator may look like.
package struct Schema: Sendable {
    /// "" is ai.onnx; `apus` holds the operators that only the optimiser makes.
    package let domain: String
    package let opType: String
    /// The operator-set versions in which the operator was defined or changed, ascending.
    package let since: [Int]
    package let inputs: ClosedRange<Int>
    package let outputs: ClosedRange<Int>

    package init(
        _ opType: String, domain: String = "", since: [Int], inputs: ClosedRange<Int>, outputs: ClosedRange<Int> = 1...1
    ) {
        self.domain = domain
        self.opType = opType
        self.since = since
        self.inputs = inputs
        self.outputs = outputs
    }

    /// Throws unless the node has as many inputs and outputs as the schema allows.
    ///
    /// Optional inputs that are left out count where others follow. Whether a required input was left out is seen when
    /// it is asked for.
    package func check(_ node: Node) throws {
        // A list may end with inputs left out; they need not be allowed.
        let inputCount = (node.inputs.lastIndex { $0 != nil } ?? -1) + 1
        guard inputCount <= inputs.upperBound, inputCount >= inputs.lowerBound else {
            throw ApusError(.invalidModel, "\(node.qualifiedType) takes \(Schema.text(inputs)) inputs, found \(inputCount)")
        }
        guard outputs.contains(node.outputs.count) else {
            throw ApusError(
                .invalidModel, "\(node.qualifiedType) has \(Schema.text(outputs)) outputs, found \(node.outputs.count)")
        }
    }

    private static func text(_ range: ClosedRange<Int>) -> String {
        if range.lowerBound == range.upperBound { return "\(range.lowerBound)" }
        return range.upperBound == .max ? "at least \(range.lowerBound)" : "\(range.lowerBound) to \(range.upperBound)"
    }
}
