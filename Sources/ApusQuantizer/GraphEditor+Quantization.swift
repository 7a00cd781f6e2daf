import ApusCore
import ApusGraph

extension Graph {
    /// The readers of every value by index: nodes, those whose subgraphs read it included.
    func readers() -> [[Int]] {
        var readers = [[Int]](repeating: [], count: values.count)
        for (index, node) in nodes.enumerated() {
            for value in Set(node.dependencies) { readers[value.index].append(index) }
        }
        return readers
    }

    /// The float32 tensor of an initializer.
    func floatConstant(_ value: ValueID?) -> Tensor? {
        guard let value, !inputs.contains(value), case .tensor(let tensor)? = initializers[value], tensor.type == .float32 else { return nil }
        return tensor
    }
}

extension Node {
    func integer(_ name: String, _ fallback: Int) -> Int {
        guard case .int(let value)? = attribute(name) else { return fallback }
        return Int(exactly: value) ?? fallback
    }

    func float(_ name: String, _ fallback: Float) -> Float {
        if case .float(let value)? = attribute(name) { value } else { fallback }
    }

    func integers(_ name: String) -> [Int]? {
        if case .ints(let values)? = attribute(name) { values.map { Int(clamping: $0) } } else { nil }
    }
}

/// Adds what quantisation adds to a graph, with names that tell what it belongs to.
final class QuantizationWriter {
    let editor: GraphEditor
    let opset: Int
    /// Names that nodes have: some runtimes want them unique.
    private var taken: Set<ByteString>
    private var constants: [ValueID: [String: ValueID]] = [:]
    private var dequantized: [ValueID: [(axis: Int?, scales: [Float], value: ValueID)]] = [:]

    init(_ graph: Graph, opset: Int) {
        editor = GraphEditor(graph)
        self.opset = opset
        taken = Set(graph.nodes.map(\.name))
    }

    var graph: Graph { editor.graph }

    func constant<T: BitwiseCopyable>(_ type: ElementType, _ dimensions: [Int], _ elements: [T], _ name: String) throws -> ValueID {
        constant(try Tensor(type, dimensions, elements), name)
    }

    /// What is made of the constant `source` for `part`, and made once: several products may read the same weights.
    func shared(_ source: ValueID, _ part: String, _ make: (String) throws -> ValueID) rethrows -> ValueID {
        if let known = constants[source]?[part] { return known }
        let made = try make("\(graph.displayName(source))_\(part)")
        constants[source, default: [:]][part] = made
        return made
    }

    func constant(_ tensor: Tensor, _ name: String) -> ValueID {
        let id = editor.addInitializer(.tensor(tensor))
        graph.values[id.index].name = ByteString(name)
        return id
    }

    /// A new node with one output, both called `name`, the node with a number behind it where another has that name.
    @discardableResult
    func node(_ opType: String, _ inputs: [ValueID?], _ attributes: [Attribute] = [], named name: String) -> ValueID {
        let output = editor.addValue()
        node(opType, inputs, attributes, named: name, outputs: [output])
        graph.values[output.index].name = ByteString(name)
        return output
    }

    /// The same for outputs that are there.
    func node(_ opType: String, _ inputs: [ValueID?], _ attributes: [Attribute] = [], named name: String, outputs: [ValueID]) {
        var unique = ByteString(name), suffix = 1, inputs = inputs
        while inputs.last == .some(nil) { inputs.removeLast() }
        while !taken.insert(unique).inserted {
            unique = ByteString("\(name)_\(suffix)")
            suffix += 1
        }
        editor.add(Node(opType, name: unique, opset: opset, attributes: attributes, inputs: inputs, outputs: outputs))
    }

    /// Scale and zero point of an activation as initializers.
    func parameters(_ codes: AffineCodes, _ name: String) throws -> (scale: ValueID, zeroPoint: ValueID) {
        (
            try constant(.float32, [], [codes.scale], "\(name)_scale"),
            try constant(codes.type, [], [UInt8(truncatingIfNeeded: codes.zeroPoint)], "\(name)_zero_point")
        )
    }

    /// int8 weights made of the constant `source`, scaled along `axis` (nil: by one number), back in float. Products that share
    /// weights share what is made of them.
    func dequantized(_ weights: QuantizedWeights, of source: ValueID, _ shape: Shape, axis: Int?) throws -> ValueID {
        if let known = dequantized[source]?.first(where: { $0.axis == axis && $0.scales == weights.scales }) { return known.value }
        let name = graph.displayName(source)
        let codes = try constant(.int8, shape.dimensions, weights.codes, "\(name)_quantized")
        let length = axis == nil ? [] : [weights.scales.count]
        let scale = try constant(.float32, length, weights.scales, "\(name)_scale")
        let zeros = try constant(.int8, length, [Int8](repeating: 0, count: weights.scales.count), "\(name)_zero_point")
        let attributes = axis.map { [Attribute("axis", .int(Int64($0)))] } ?? []
        let value = node("DequantizeLinear", [codes, scale, zeros], attributes, named: "\(name)_DequantizeLinear")
        dequantized[source, default: []].append((axis, weights.scales, value))
        return value
    }

    /// Makes position `input` of node `index` read `value`.
    func setInput(_ input: Int, of index: Int, to value: ValueID) {
        var node = graph.nodes[index]
        node.inputs[input] = value
        editor.replace(index, with: node)
    }
}
