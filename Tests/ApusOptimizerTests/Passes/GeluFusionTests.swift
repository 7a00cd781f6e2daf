import ApusCore
import ApusGraph
import Testing

@testable import ApusOptimizer

@Suite struct GeluFusionTests {
    private let builder = GraphBuilder()
    private let x: ValueID

    init() { x = builder.input("x", .float32, [3, 5]) }

    private func scalar(_ value: Float) throws -> ValueID { builder.constant(try Tensor(.float32, [], [value])) }
    private func mul(_ a: ValueID, _ b: ValueID) -> ValueID { builder.node("Mul", [a, b]) }
    private func add(_ a: ValueID, _ b: ValueID) -> ValueID { builder.node("Add", [a, b]) }

    private func check(_ y: ValueID, becomes operators: [String], sourceLocation: SourceLocation = #_sourceLocation) throws {
        builder.output(y, "y")
        let graph = try expectSame(builder.graph, sourceLocation: sourceLocation)
        #expect(graph.operators == operators, sourceLocation: sourceLocation)
    }

    private func onePlusErf() throws -> ValueID {
        add(builder.node("Erf", [builder.node("Div", [x, try scalar(1.4142135)])]), try scalar(1))
    }

    @Test func geluAsTorchWritesIt() throws { try check(mul(x, mul(try scalar(0.5), try onePlusErf())), becomes: ["Gelu"]) }
    @Test func geluHalfLast() throws { try check(mul(mul(x, try onePlusErf()), try scalar(0.5)), becomes: ["Gelu"]) }
    @Test func geluHalfFirst() throws { try check(mul(mul(try scalar(0.5), x), try onePlusErf()), becomes: ["Gelu"]) }

    @Test func geluOfAnotherFactorIsNone() throws {
        let erf = builder.node("Erf", [builder.node("Div", [x, try scalar(1.5)])])
        try check(mul(x, mul(try scalar(0.5), add(erf, try scalar(1)))), becomes: ["Div", "Erf", "Add", "Mul", "Mul"])
    }

    @Test func geluOfTwoValuesIsNone() throws {
        let z = builder.input("z", .float32, [3, 5])
        try check(mul(z, mul(try scalar(0.5), try onePlusErf())), becomes: ["Div", "Erf", "Add", "Mul", "Mul"])
    }

    private func tanhPart(_ cube: ValueID) throws -> ValueID {
        let argument = mul(add(x, mul(cube, try scalar(0.044715))), try scalar(0.7978846))
        return add(builder.node("Tanh", [argument]), try scalar(1))
    }

    @Test func geluByTanhWithPow() throws {
        let cube = builder.node("Pow", [x, try scalar(3)])
        try check(mul(mul(x, try scalar(0.5)), try tanhPart(cube)), becomes: ["Gelu"])
        guard case .string("tanh")? = try expectSame(builder.graph).nodes[0].attribute("approximate") else {
            Issue.record("not the form by tanh")
            return
        }
    }

    @Test func geluByTanhWithProducts() throws { try check(mul(x, mul(try scalar(0.5), try tanhPart(mul(mul(x, x), x)))), becomes: ["Gelu"]) }

    @Test func aPartThatIsReadElsewhereStays() throws {
        let part = try onePlusErf()
        builder.output(part, "part")
        try check(mul(x, mul(try scalar(0.5), part)), becomes: ["Div", "Erf", "Add", "Mul", "Mul"])
    }
}
