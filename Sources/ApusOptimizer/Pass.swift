import ApusCore
import ApusGraph
import ApusOperators

/// One step of the optimiser: walks the graph and changes what it is made for.
package protocol Pass: Sendable {
    /// As it is written to the log, into `Node.origin`, and in the option that turns it off.
    var name: String { get }
    func run(_ editor: GraphEditor, _ context: PassContext) throws
}

/// What passes may use.
package struct PassContext {
    package let evaluator: Evaluator
    package let log: ((String) -> Void)?
    /// What is known of each value by index, from before the pass; values added since have no entry.
    package let infos: [ValueInfo?]

    package func info(_ value: ValueID?) -> ValueInfo? {
        guard let value, infos.indices.contains(value.index) else { return nil }
        return infos[value.index]
    }

    /// The element type of a tensor value, where known.
    package func elementType(_ value: ValueID?) -> ElementType? { info(value)?.type.elementType }

    /// The dimensions of a tensor value, where the rank is known.
    package func dimensions(_ value: ValueID?) -> [Dimension]? { info(value)?.type.shape?.dimensions }

    /// Whether the value is a tensor of a type that activations and normalisations are computed in.
    package func isReal(_ value: ValueID?) -> Bool {
        switch elementType(value) {
        case .float32, .float16, .bfloat16, .float64: true
        default: false
        }
    }

    /// Whether the value is a tensor of a type that products of the `apus` domain are computed in.
    package func isFusible(_ value: ValueID?) -> Bool { isReal(value) && elementType(value) != .float64 }

    /// Whether both values have one shape, every dimension known to be equal.
    package func sameShape(_ a: ValueID?, _ b: ValueID?) -> Bool {
        guard let a = dimensions(a), let b = dimensions(b) else { return false }
        return a == b && !a.contains(.unknown)
    }
}
