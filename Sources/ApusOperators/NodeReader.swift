import ApusCore
import ApusGraph

/// Gives an operator the attributes of its node, checked, and notices those that nobody asked for.
package final class NodeReader {
    package let node: Node
    private var unread: Set<String>

    package init(_ node: Node) throws {
        self.node = node
        unread = []
        for attribute in node.attributes {
            guard unread.insert(attribute.name).inserted else {
                throw ApusError(.invalidModel, "attribute \"\(attribute.name)\" is given twice")
            }
        }
        // A hint to an allocator of 2017 that every operator of opset < 6 may carry.
        unread.remove("consumed_inputs")
    }

    package var opType: String { node.opType }
    package var domain: String { node.domain }
    package var opset: Int { node.opset }
    package var inputCount: Int { node.inputs.count }
    package var outputCount: Int { node.outputs.count }

    /// Whether the node has the input and does not leave it out.
    package func hasInput(_ index: Int) -> Bool {
        node.inputs.indices.contains(index) && node.inputs[index] != nil
    }

    /// Whether anyone could read the output.
    package func hasOutput(_ index: Int) -> Bool {
        node.outputs.indices.contains(index) && node.outputs[index] != nil
    }

    package func has(_ name: String) -> Bool {
        node.attribute(name) != nil
    }

    /// Marks attributes as known that carry no meaning here (training hints, layout advice).
    package func ignore(_ names: String...) {
        names.forEach { unread.remove($0) }
    }

    /// Throws where an attribute was never asked for: better no answer than a wrong one.
    package func finish() throws {
        guard let name = unread.sorted().first else { return }
        throw ApusError(.invalidModel, "\(node.qualifiedType) of opset \(node.opset) has no attribute \"\(name)\"")
    }

    // MARK: Optional attributes

    package func optionalInt(_ name: String) throws -> Int? {
        guard let value = take(name) else { return nil }
        guard case .int(let int) = value else { throw mismatch(name, "int", value) }
        return Int(int)
    }

    package func optionalFloat(_ name: String) throws -> Float? {
        guard let value = take(name) else { return nil }
        guard case .float(let float) = value else { throw mismatch(name, "float", value) }
        return float
    }

    package func optionalBytes(_ name: String) throws -> ByteString? {
        guard let value = take(name) else { return nil }
        guard case .string(let string) = value else { throw mismatch(name, "string", value) }
        return string
    }

    package func optionalString(_ name: String) throws -> String? {
        try optionalBytes(name)?.description
    }

    package func optionalInts(_ name: String) throws -> [Int]? {
        guard let value = take(name) else { return nil }
        guard case .ints(let ints) = value else { throw mismatch(name, "ints", value) }
        return ints.map(Int.init)
    }

    package func optionalFloats(_ name: String) throws -> [Float]? {
        guard let value = take(name) else { return nil }
        guard case .floats(let floats) = value else { throw mismatch(name, "floats", value) }
        return floats
    }

    package func optionalStrings(_ name: String) throws -> [ByteString]? {
        guard let value = take(name) else { return nil }
        guard case .strings(let strings) = value else { throw mismatch(name, "strings", value) }
        return strings
    }

    /// A dense or string tensor.
    package func optionalTensor(_ name: String) throws -> Value? {
        guard let value = take(name) else { return nil }
        guard case .tensor(let tensor) = value else { throw mismatch(name, "tensor", value) }
        return tensor
    }

    package func optionalSparse(_ name: String) throws -> Value? {
        guard let value = take(name) else { return nil }
        guard case .sparse(let tensor) = value else { throw mismatch(name, "sparse_tensor", value) }
        return tensor
    }

    package func optionalGraph(_ name: String) throws -> Graph? {
        guard let value = take(name) else { return nil }
        guard case .graph(let graph) = value else { throw mismatch(name, "graph", value) }
        return graph
    }

    package func optionalType(_ name: String) throws -> ValueType? {
        guard let value = take(name) else { return nil }
        guard case .type(let type) = value else { throw mismatch(name, "type_proto", value) }
        return type
    }

    // MARK: With defaults

    package func int(_ name: String, default value: Int) throws -> Int { try optionalInt(name) ?? value }
    package func float(_ name: String, default value: Float) throws -> Float { try optionalFloat(name) ?? value }
    package func string(_ name: String, default value: String) throws -> String { try optionalString(name) ?? value }
    package func ints(_ name: String, default value: [Int]) throws -> [Int] { try optionalInts(name) ?? value }
    package func floats(_ name: String, default value: [Float]) throws -> [Float] { try optionalFloats(name) ?? value }

    /// An int that means false (0) or true (anything else).
    package func bool(_ name: String, default value: Bool) throws -> Bool {
        try optionalInt(name).map { $0 != 0 } ?? value
    }

    /// A string that must be one of `choices`.
    package func choice(_ name: String, of choices: [String], default value: String) throws -> String {
        let found = try optionalString(name) ?? value
        guard choices.contains(found) else {
            throw ApusError(.invalidModel, "attribute \"\(name)\" is \"\(found)\"; one of \(choices.joined(separator: ", ")) expected")
        }
        return found
    }

    /// An element type by its ONNX number.
    package func optionalElementType(_ name: String) throws -> ElementType? {
        guard let number = try optionalInt(name) else { return nil }
        guard let raw = Int32(exactly: number), let type = ElementType(rawValue: raw) else {
            throw ApusError(.invalidModel, "attribute \"\(name)\" is \(number), which is no element type")
        }
        return type
    }

    // MARK: Required

    package func int(_ name: String) throws -> Int { try required(name, optionalInt(name)) }
    package func float(_ name: String) throws -> Float { try required(name, optionalFloat(name)) }
    package func string(_ name: String) throws -> String { try required(name, optionalString(name)) }
    package func ints(_ name: String) throws -> [Int] { try required(name, optionalInts(name)) }
    package func graph(_ name: String) throws -> Graph { try required(name, optionalGraph(name)) }
    package func elementType(_ name: String) throws -> ElementType { try required(name, optionalElementType(name)) }

    private func required<Result>(_ name: String, _ value: Result?) throws -> Result {
        guard let value else {
            throw ApusError(.invalidModel, "attribute \"\(name)\" of \(node.qualifiedType) is missing")
        }
        return value
    }

    private func take(_ name: String) -> AttributeValue? {
        unread.remove(name)
        return node.attribute(name)
    }

    private func mismatch(_ name: String, _ expected: String, _ found: AttributeValue) -> ApusError {
        ApusError(.invalidModel, "attribute \"\(name)\" must be of type \(expected), found \(found.kind)")
    }
}
