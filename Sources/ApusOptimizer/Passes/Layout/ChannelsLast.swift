import ApusCore
import ApusGraph
import ApusOperators

/// Lays images out with channels last, [N, D1, ..., C], where that makes the graph cheaper: convolutions and pools are made
/// for it, most other operators do not mind.
///
/// Each node that can work with channels last gets one of the two layouts. Transposes are needed where a value is made in
/// one layout and read in the other; which nodes get which layout so that the transposed elements are fewest is a minimum
/// cut between what needs channels last and what needs channels first. Values with one channel, or one pixel, have the same
/// elements in the same order in both layouts and cost nothing to convert.
struct ChannelsLast: Pass {
    static let passName = "ChannelsLast"
    let name = ChannelsLast.passName

    /// What a dimension counts for that only a run tells.
    private static let assumedDimension = 32
    /// How far around a node is looked.
    private static let mostNeighbours = 100
    /// What a Transpose costs beside its elements, in elements.
    private static let transposeCost = 4096

    func run(_ editor: GraphEditor, _ context: PassContext) throws {
        let nodes = editor.nodeIndices
        guard nodes.contains(where: { LayoutRules.isMade(for: editor.graph.nodes[$0]) }) else { return }
        var forms = nodes.reduce(into: [Int: LayoutForm]()) { forms, index in
            forms[index] = LayoutRules.form(LayoutQuery(node: editor.graph.nodes[index], editor: editor, context: context))
        }
        settleSelfInverse(&forms, editor)
        let chosen = choose(forms, editor, context)
        if chosen.isEmpty { return }
        try Relayout(editor, context, forms: forms, chosen: chosen).run(nodes)
        context.log?("\(name): \(chosen.count) of \(nodes.count) nodes have channels last")
    }

    /// A Transpose of the last two of three axes is its own inverse: it can make an image from its input with channels last,
    /// or be read as its input's channels-last form, which rules take it for. It is the former where a node that needs
    /// channels last is met on the way on, but not on the way back.
    private func settleSelfInverse(_ forms: inout [Int: LayoutForm], _ editor: GraphEditor) {
        func isSelfInverse(_ index: Int) -> Bool {
            let node = editor.graph.nodes[index]
            if node.opType == "Transpose", node.domain.isEmpty, case .ints([0, 2, 1])? = node.attribute("perm") { return true }
            return false
        }
        /// Whether nodes that can have either layout lead from `start` to one that needs channels last.
        func leads(from start: Int, _ neighbours: (Int, LayoutForm?) -> [Int]) -> Bool {
            var queue = neighbours(start, nil), seen = Set(queue), position = 0
            while position < queue.count, position < ChannelsLast.mostNeighbours {
                let index = queue[position]
                position += 1
                guard let form = forms[index], !isSelfInverse(index) else { continue }
                if case .last = form.demand { return true }
                for next in neighbours(index, form) where seen.insert(next).inserted { queue.append(next) }
            }
            return false
        }
        for index in forms.keys.sorted() where isSelfInverse(index) {
            let leadsOn = leads(from: index) { index, form in
                let outputs = editor.graph.nodes[index].outputs
                return (form?.outputs ?? [0]).flatMap { outputs[$0].map { editor.consumers($0) } ?? [] }
            }
            guard leadsOn else { continue }
            let leadsBack = leads(from: index) { index, form in
                let inputs = editor.graph.nodes[index].inputs
                return (form?.inputs ?? [0]).compactMap { inputs[$0].flatMap { editor.producer($0)?.index } }
            }
            if !leadsBack { forms[index] = LayoutForm(demand: .vanishes, inputs: [], outputs: [0]) }
        }
    }

    /// The nodes that get channels last.
    private func choose(_ forms: [Int: LayoutForm], _ editor: GraphEditor, _ context: PassContext) -> Set<Int> {
        var cut = MinimumCut(), numbers: [Int: Int] = [:]
        for index in forms.keys.sorted() {
            let number = cut.addNode()
            numbers[index] = number
            guard let form = forms[index] else { continue }
            switch form.demand {
            case .last: cut.addEdge(number, MinimumCut.sink, MinimumCut.unlimited)
            case .vanishes:
                let node = editor.graph.nodes[index]
                let image = form.inputs.isEmpty ? node.outputs.first : node.inputs.first
                cut.addEdge(number, MinimumCut.sink, ChannelsLast.cost(context.dimensions(image ?? nil)))
            case .any: break
            }
        }
        // By value: who makes it and who reads it as an image. Everyone else has channels first, as the source has.
        var images = Set<ValueID>()
        for (index, form) in forms {
            let node = editor.graph.nodes[index]
            for position in form.inputs { if let value = node.inputs[position] { images.insert(value) } }
            for position in form.outputs { if let value = node.outputs[position] { images.insert(value) } }
        }
        for value in images.sorted() {
            let cost = ChannelsLast.cost(context.dimensions(value))
            let producer = makesLast(value, forms, editor).flatMap { numbers[$0] } ?? MinimumCut.source
            var readers = Set<Int>()
            for consumer in editor.consumers(value) {
                for (position, input) in editor.graph.nodes[consumer].inputs.enumerated() where input == value {
                    if let form = forms[consumer], form.inputs.contains(position), let number = numbers[consumer] {
                        readers.insert(number)
                    } else if !ChannelsLast.readsShapeOnly(editor.graph.nodes[consumer]) {
                        readers.insert(MinimumCut.source)
                    }
                }
                if editor.graph.nodes[consumer].capturedValues.contains(value) { readers.insert(MinimumCut.source) }
            }
            if editor.isOutput(value) { readers.insert(MinimumCut.source) }
            readers.remove(producer)
            if readers.isEmpty { continue }
            // Made with channels first, one copy with channels last serves all who read that; and the other way round.
            let anyLast = cut.addNode(), anyFirst = cut.addNode()
            cut.addEdge(producer, anyLast, cost)
            cut.addEdge(anyFirst, producer, cost)
            for reader in readers.sorted() {
                cut.addEdge(anyLast, reader, MinimumCut.unlimited)
                cut.addEdge(reader, anyFirst, MinimumCut.unlimited)
            }
        }
        let part = cut.sinkPart()
        return Set(numbers.filter { part[$0.value] }.keys)
    }

    /// The node that could make the value with channels last.
    private func makesLast(_ value: ValueID, _ forms: [Int: LayoutForm], _ editor: GraphEditor) -> Int? {
        guard let producer = editor.producer(value), let form = forms[producer.index],
            form.outputs.contains(where: { producer.node.outputs[$0] == value })
        else { return nil }
        return producer.index
    }

    /// What it costs to convert a value of these dimensions from one layout to the other.
    static func cost(_ dimensions: [Dimension]?) -> Int {
        guard let dimensions, !isSame(dimensions) else { return 1 }
        var count = 1
        for dimension in dimensions {
            let (product, overflow) = count.multipliedReportingOverflow(by: max(1, dimension.known ?? assumedDimension))
            if overflow || product > MinimumCut.unlimited >> 20 { return MinimumCut.unlimited >> 20 }
            count = product
        }
        return count + transposeCost
    }

    /// Whether both layouts have the elements in the same order.
    static func isSame(_ dimensions: [Dimension]) -> Bool {
        dimensions.count < 3 || dimensions[1] == .known(1) || dimensions[2...].allSatisfy { $0 == .known(1) }
    }

    /// Whether the node asks for nothing of its input but the shape.
    static func readsShapeOnly(_ node: Node) -> Bool { node.domain.isEmpty && node.opType == "Shape" }
}

/// Rewrites the chosen nodes.
private final class Relayout {
    private let editor: GraphEditor
    private let context: PassContext
    private let layout: LayoutEditor
    private let forms: [Int: LayoutForm]
    private let chosen: Set<Int>
    /// By value: the value that has the same image with channels last.
    private var last: [ValueID: ValueID] = [:]
    /// Values that are made with channels last only, so far.
    private var isLastOnly = Set<ValueID>()

    init(_ editor: GraphEditor, _ context: PassContext, forms: [Int: LayoutForm], chosen: Set<Int>) {
        self.editor = editor
        self.context = context
        self.forms = forms
        self.chosen = chosen
        layout = LayoutEditor(editor, context)
    }

    func run(_ nodes: [Int]) throws {
        for index in nodes {
            if chosen.contains(index), let form = forms[index] {
                try rewrite(index, form)
            } else {
                try keep(index)
            }
        }
        for output in Set(editor.graph.outputs) { try provideFirst(output) }
    }

    /// A node that has channels first: what it reads must be there so.
    private func keep(_ index: Int) throws {
        let node = editor.graph.nodes[index]
        if ChannelsLast.readsShapeOnly(node), let input = node.inputs.first ?? nil, isLastOnly.contains(input) {
            return try readShape(index, of: input)
        }
        for value in node.dependencies { try provideFirst(value) }
    }

    private func rewrite(_ index: Int, _ form: LayoutForm) throws {
        let original = editor.graph.nodes[index]
        if form.demand == .vanishes {
            guard let input = original.inputs[0], let output = original.outputs[0] else { return }
            if form.outputs.isEmpty {
                // A Transpose to channels last: its output is what its input is with channels last.
                let source = try inLast(input)
                editor.remove(index)
                editor.replaceUses(of: output, with: source)
                dimensions[source] = context.dimensions(output)
            } else {
                try provideFirst(input)
                last[output] = input
                isLastOnly.insert(output)
                editor.remove(index)
            }
            return
        }
        var node = original
        try form.change(&node, layout)
        for position in form.inputs {
            if let input = original.inputs[position] { node.inputs[position] = try inLast(input) }
        }
        for position in original.inputs.indices where !form.inputs.contains(position) {
            if let input = original.inputs[position] { try provideFirst(input) }
        }
        for position in form.outputs {
            guard let output = original.outputs[position] else { continue }
            let made = editor.addValue()
            node.outputs[position] = made
            last[output] = made
            isLastOnly.insert(output)
        }
        if node.origin == nil { node.origin = ChannelsLast.passName }
        editor.replace(index, with: node)
    }

    /// What is known of the values that stand for those whose Transpose vanished.
    private var dimensions: [ValueID: [Dimension]] = [:]

    private func known(_ value: ValueID) -> [Dimension]? { dimensions[value] ?? context.dimensions(value) }

    /// The value with channels last.
    private func inLast(_ value: ValueID) throws -> ValueID {
        if let known = last[value] { return known }
        let made = editor.addValue()
        convert(value, to: made, dimensions: known(value), toLast: true)
        last[value] = made
        return made
    }

    /// Makes the value with channels first where it is only there with channels last.
    private func provideFirst(_ value: ValueID) throws {
        guard isLastOnly.remove(value) != nil, let source = last[value] else { return }
        convert(source, to: value, dimensions: known(value), toLast: false)
    }

    /// A node between the layouts: a Reshape where the elements keep their order. `dimensions`: with channels first.
    private func convert(_ source: ValueID, to target: ValueID, dimensions: [Dimension]?, toLast: Bool) {
        guard let dimensions else { return }
        let rank = dimensions.count
        if ChannelsLast.isSame(dimensions), let shape = reshape(toLast ? ImageAxes.last(dimensions) : dimensions),
            let value = try? layout.integers(shape)
        {
            editor.add(Node("Reshape", opset: 13, inputs: [source, value], outputs: [target], origin: ChannelsLast.passName))
            return
        }
        let permutation = toLast ? ImageAxes.toLast(rank) : ImageAxes.toFirst(rank)
        editor.add(
            Node(
                "Transpose", opset: 13, attributes: [Attribute("perm", .ints(permutation.map(Int64.init)))], inputs: [source],
                outputs: [target], origin: ChannelsLast.passName))
    }

    /// A constant shape for a Reshape to `dimensions`, the first of which does not change; nil where there is none.
    private func reshape(_ dimensions: [Dimension]) -> [Int]? {
        if dimensions.contains(.known(0)) { return nil }
        let rest = dimensions.dropFirst().map { $0.known ?? -1 }
        guard rest.count(where: { $0 == -1 }) <= 1 else { return nil }
        return [dimensions[0].known ?? 0] + rest
    }

    /// A Shape of a value that is there with channels last only.
    private func readShape(_ index: Int, of value: ValueID) throws {
        guard let source = last[value], let rank = known(value)?.count else { return }
        let node = editor.graph.nodes[index]
        func bound(_ name: String, _ fallback: Int) -> Int {
            guard case .int(let given)? = node.attribute(name), let number = Int(exactly: given) else { return fallback }
            return min(max(number < 0 ? number &+ rank : number, 0), rank)
        }
        let start = bound("start", 0), end = max(start, bound("end", rank))
        let whole = editor.addValue()
        editor.add(Node("Shape", opset: 13, inputs: [source], outputs: [whole], origin: ChannelsLast.passName))
        let indices = try layout.integers((start..<end).map { ImageAxes.last($0, rank: rank) })
        editor.replace(
            index, with: Node("Gather", name: node.name, opset: 13, inputs: [whole, indices], outputs: node.outputs, origin: ChannelsLast.passName))
    }
}
