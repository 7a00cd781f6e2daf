import ApusCore
import ApusGraph
import ApusOperators
import Testing

@testable import ApusOptimizer

/// What Gradient nodes become; the Python suite compares every rule with differences.
struct GradientExpansionTests {
    /// y = (a · b + a) with Gradient nodes that come first.
    private func graph(y: ByteString = "y", xs: [ByteString] = ["a", "b"], zs: [ByteString] = [], given: [String]? = nil) throws -> Graph {
        let builder = GraphBuilder()
        let a = builder.input("a", .float32, [2]), b = builder.input("b", .float32, [2])
        let graph = builder.graph
        let named = ["a": a, "b": b]
        let inputs = (given ?? (xs + zs).map(\.description)).map { named[$0] }
        let outputs = xs.indices.map { graph.addValue(ByteString("d\($0)")) }
        graph.nodes.append(
            Node(
                "Gradient", domain: GradientExpansion.domain, opset: 1,
                attributes: [Attribute("xs", .strings(xs)), Attribute("y", .string(y))] + (zs.isEmpty ? [] : [Attribute("zs", .strings(zs))]),
                inputs: inputs, outputs: outputs))
        let product = builder.node("Mul", [a, b])
        let sum = builder.node("Add", [product, a])
        graph.values[sum.index].name = "y"
        for output in outputs { graph.outputs.append(output) }
        return graph
    }

    private func derivatives(_ graph: Graph) throws -> [[Float]] {
        try GradientExpansion.expand(graph)
        try graph.verify()
        #expect(!graph.operators.contains { $0.hasSuffix("Gradient") })
        let inputs: [Value] = [.tensor(try Tensor(.float32, [2], [2, 3] as [Float])), .tensor(try Tensor(.float32, [2], [5, 7] as [Float]))]
        return try run(graph, inputs).map { try $0.asTensor().array(Float.self) }
    }

    @Test func ofAProduct() throws {
        #expect(try derivatives(graph()) == [[6, 8], [2, 3]])
        #expect(try derivatives(graph(xs: ["b"], zs: ["a"])) == [[2, 3]])
    }

    @Test func ofOtherValues() throws {
        // a and b exchanged.
        #expect(try derivatives(graph(given: ["b", "a"])) == [[3, 4], [5, 7]])
    }

    @Test func everyRuleIsOfAnOperator() throws {
        #expect(GradientRules.operators.count > 40)
        for name in GradientRules.operators {
            let parts = name.split(separator: ".").map(String.init)
            #expect(Registry.schema(domain: parts.dropLast().joined(separator: "."), opType: parts.last ?? "") != nil, "\(name)")
        }
    }

    @Test func errors() throws {
        func refuses(_ graph: Graph, _ text: String) {
            do {
                try GradientExpansion.expand(graph)
                Issue.record("accepted, \(text) expected")
            } catch {
                #expect("\(error)".contains(text), "\(error)")
            }
        }
        refuses(try graph(y: "z"), "no tensor of the graph")
        refuses(try graph(xs: ["q"], given: ["a"]), "no tensor of the graph")
        refuses(try graph(xs: []), "0 names")
        refuses(try graph(given: ["a"]), "has 1 inputs")
        refuses(try graph(y: "b", xs: ["a"]), "does not depend")
        let itself = try graph(y: "d0", xs: ["a"])
        refuses(itself, "differentiate one another")
        let old = try graph()
        for index in old.nodes.indices where old.nodes[index].opType == "Mul" { old.nodes[index].opset = 6 }
        refuses(old, "opset 7")
        let unknown = try graph()
        for index in unknown.nodes.indices where unknown.nodes[index].opType == "Mul" { unknown.nodes[index].opType = "Mod" }
        refuses(unknown, "the derivative of Mod is not known")
    }
}
