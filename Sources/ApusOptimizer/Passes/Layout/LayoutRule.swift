import ApusCore
import ApusGraph
import ApusOperators

/// How a node can work with channels last: which of its inputs and outputs are images, and what else changes.
struct LayoutForm {
    enum Demand {
        /// Channels last is what the node is made for.
        case last
        /// Either layout is as good.
        case any
        /// With channels last the node is not needed: its image and its other value have the same elements in the same order.
        case vanishes
    }

    var demand = Demand.any
    /// Positions of the inputs that are given with channels last.
    var inputs: [Int]
    /// Positions of the outputs that are made with channels last; the others are as ever.
    var outputs: [Int]
    /// Makes the node work with channels last. Images among the inputs and outputs are exchanged afterwards.
    var change: (inout Node, LayoutEditor) throws -> Void = { _, _ in }
}

/// What rules need to make constants.
final class LayoutEditor {
    let editor: GraphEditor
    let context: PassContext
    private var permuted: [ValueID: [Int: ValueID]] = [:]

    init(_ editor: GraphEditor, _ context: PassContext) {
        self.editor = editor
        self.context = context
    }

    func integers(_ elements: [Int]) throws -> ValueID {
        editor.addInitializer(.tensor(try Tensor.int64(elements)))
    }

    /// A constant operand of images of `rank` axes, as it must be with channels last.
    func operand(_ value: ValueID, rank: Int) throws -> ValueID {
        guard case .tensor(let tensor)? = editor.constant(value), tensor.count != 1 || tensor.shape.rank == rank else { return value }
        if let known = permuted[value]?[rank] { return known }
        let shape = [Int](repeating: 1, count: rank - tensor.shape.rank) + tensor.shape.dimensions
        let results = try context.evaluator.evaluate(
            "Transpose", ["perm": .ints(ImageAxes.toLast(rank).map(Int64.init))], [.tensor(try tensor.reshaped(Shape(shape)))])
        guard let result = results[0] else { throw ApusError(.internal, "a Transpose gave nothing") }
        let id = editor.addInitializer(result)
        permuted[value, default: [:]][rank] = id
        return id
    }

    /// A vector with one element for each axis (or for each axis in several parts), computed or constant, reordered.
    func vector(_ value: ValueID, rank: Int, parts: Int = 1) throws -> ValueID {
        let order = (0..<parts).flatMap { part in ImageAxes.toLast(rank).map { $0 + part * rank } }
        let indices = try integers(order)
        let reordered = editor.addValue()
        editor.add(Node("Gather", opset: 13, inputs: [value, indices], outputs: [reordered], origin: ChannelsLast.passName))
        return reordered
    }
}

/// What is known of a node when its rule is asked for.
struct LayoutQuery {
    let node: Node
    let editor: GraphEditor
    let context: PassContext

    func input(_ position: Int) -> ValueID? { node.inputs.indices.contains(position) ? node.inputs[position] : nil }
    func output(_ position: Int) -> ValueID? { node.outputs.indices.contains(position) ? node.outputs[position] : nil }
    func dimensions(_ value: ValueID?) -> [Dimension]? { context.dimensions(value) }

    /// The rank of a value that can have a layout.
    func imageRank(_ value: ValueID?) -> Int? {
        guard let rank = dimensions(value)?.count, rank >= 3 else { return nil }
        return rank
    }

    func int(_ name: String) -> Int? {
        if case .int(let value)? = node.attribute(name) { return Int(exactly: value) }
        return nil
    }

    func ints(_ name: String) -> [Int]? {
        if case .ints(let values)? = node.attribute(name) { return values.map(Int.init) }
        return nil
    }

    /// Whether the input is a constant or has one element only, whatever its rank.
    func isScalar(_ value: ValueID?) -> Bool {
        guard let dimensions = dimensions(value) else { return false }
        return dimensions.allSatisfy { $0 == .known(1) }
    }
}

extension Node {
    mutating func set(_ name: String, _ value: AttributeValue?) {
        attributes.removeAll { $0.name == name }
        if let value { attributes.append(Attribute(name, value)) }
    }

    mutating func setInput(_ position: Int, _ value: ValueID?) {
        while inputs.count <= position { inputs.append(nil) }
        inputs[position] = value
    }

    /// Makes this the optimiser's own form of the operator, which has channels last.
    mutating func becomeOwn() {
        domain = "apus"
        opset = 1
    }
}
