import ApusCore

/// An ONNX model: a graph and what the file says about it.
package final class Model: @unchecked Sendable {
    package var irVersion: Int64 = 10
    package var producerName: ByteString = .empty
    package var producerVersion: ByteString = .empty
    package var domain: ByteString = .empty
    package var modelVersion: Int64 = 0
    package var documentation: ByteString = .empty
    package var metadata: [(key: ByteString, value: ByteString)] = []
    /// Operator-set versions by domain; "" is ai.onnx. Versions that no node uses are kept for writing back.
    package var opsets: [(domain: ByteString, version: Int64)] = []
    package var graph: Graph
    package var functions: [Function] = []

    package init(graph: Graph) {
        self.graph = graph
    }

    /// The imported version of `domain` ("" and "ai.onnx" are one), or nil.
    package func opset(_ domain: String) -> Int64? {
        let wanted = domain == "ai.onnx" ? "" : domain
        return opsets.last { ($0.domain.equals("ai.onnx") ? "" : $0.domain.description) == wanted }?.version
    }
}

/// A model-local function: a body that is put in the place of each node that calls it.
package struct Function: Sendable {
    package var domain: ByteString
    package var name: ByteString
    package var overload: ByteString
    /// The body. Its inputs and outputs are the function's formal ones; it has no captures. Nodes carry the opset
    /// versions that the function imports.
    package var body: Graph
    /// Names of attributes without a default.
    package var attributeNames: [String]
    /// Attributes with their defaults.
    package var defaults: [Attribute]
    package var opsets: [(domain: ByteString, version: Int64)]
    package var documentation: ByteString
    package var metadata: [(key: ByteString, value: ByteString)]

    package init(
        domain: ByteString, name: ByteString, overload: ByteString = .empty, body: Graph, attributeNames: [String] = [],
        defaults: [Attribute] = [], opsets: [(domain: ByteString, version: Int64)] = [], documentation: ByteString = .empty,
        metadata: [(key: ByteString, value: ByteString)] = []
    ) {
        self.domain = domain
        self.name = name
        self.overload = overload
        self.body = body
        self.attributeNames = attributeNames
        self.defaults = defaults
        self.opsets = opsets
        self.documentation = documentation
        self.metadata = metadata
    }
}
