import ApusCore
import ApusGraph
import Testing

@testable import ApusONNX

/// Names, scopes, attributes, versions and functions.
struct GraphReaderTests {
    private func attribute(_ name: String, _ more: [UInt8]...) -> [UInt8] { Wire.message(5, Wire.text(1, name), more.flatMap { $0 }) }

    private func relu(_ attribute: [UInt8]) throws -> AttributeValue? {
        try load(Wire.model(graph: Wire.input("x"), Wire.node("Relu", ["x"], ["y"], attribute), Wire.output("y"))).graph.nodes[0].attributes.first?.value
    }

    // MARK: Graphs

    @Test func theModelsOwnFieldsAreRead() throws {
        let model = try load(
            Wire.model(
                ir: 9, opset: 21, graph: Wire.text(2, "g"), Wire.text(10, "about g"), Wire.input("x"),
                Wire.node("Relu", ["x"], ["y"], Wire.text(3, "r"), Wire.text(6, "about r")), Wire.output("y"),
                more: Wire.text(2, "maker") + Wire.text(3, "1.2") + Wire.text(4, "dom") + Wire.int(5, 42) + Wire.text(6, "about")
                    + Wire.message(8, Wire.text(1, "com.microsoft"), Wire.int(2, 1))))
        #expect(model.irVersion == 9)
        #expect(model.producerName == "maker")
        #expect(model.producerVersion == "1.2")
        #expect(model.domain == "dom")
        #expect(model.modelVersion == 42)
        #expect(model.documentation == "about")
        #expect(model.opsets.map(\.version) == [21, 1])
        #expect(model.graph.name == "g")
        #expect(model.graph.documentation == "about g")
        #expect(model.graph.nodes[0].name == "r")
        #expect(model.graph.nodes[0].documentation == "about r")
        #expect(model.graph.nodes[0].opset == 21)
    }

    @Test func nodesMayComeInAnyOrder() throws {
        let graph = try load(
            Wire.model(graph: Wire.node("Neg", ["h"], ["y"]), Wire.node("Abs", ["x"], ["h"]), Wire.input("x"), Wire.output("y"))).graph
        #expect(graph.nodes.map(\.opType) == ["Abs", "Neg"])
        try graph.verify()
    }

    @Test func optionalInputsAndOutputsMayBeLeftOut() throws {
        let graph = try load(
            Wire.model(graph: Wire.input("x"), Wire.node("Clip", ["x", "", "x"], ["y", ""]), Wire.output("y"))).graph
        #expect(graph.nodes[0].inputs == [graph.inputs[0], nil, graph.inputs[0]])
        #expect(graph.nodes[0].outputs == [graph.outputs[0], nil])
    }

    @Test func anInputMayHaveADefault() throws {
        let graph = try load(
            Wire.model(graph: Wire.input("w", 1, [2]), Wire.bytes(5, Wire.tensor("w", 1, [2], Wire.packed(4, [Float(1), 2]))), Wire.node("Relu", ["w"], ["y"]), Wire.output("y"))).graph
        #expect(graph.initializers[graph.inputs[0]] != nil)
        try graph.verify()
    }

    @Test func typesOfEveryKindAreRead() throws {
        let tensor = Wire.tensorType(7, [3])
        let sequence = Wire.message(4, Wire.bytes(1, tensor) )
        let map = Wire.message(5, Wire.int(1, 8), Wire.bytes(2, tensor))
        let optional = Wire.message(9, Wire.bytes(1, Wire.message(4, Wire.bytes(1, tensor))))
        let sparse = Wire.message(8, Wire.int(1, 11), Wire.message(2, Wire.message(1, Wire.text(2, "n")), Wire.message(1), Wire.message(1, Wire.int(1, -1))))
        let unranked = Wire.message(1, Wire.int(1, 1))
        let types = [sequence, map, optional, sparse, unranked]
        let inputs = types.enumerated().flatMap { Wire.message(11, Wire.text(1, "x\($0.offset)"), Wire.bytes(2, $0.element)) }
        let graph = try load(Wire.model(graph: inputs, Wire.node("Any", types.indices.map { "x\($0)" }, ["y"]), Wire.message(12, Wire.text(1, "y")))).graph
        let element = ValueType.tensor(.int64, PartialShape([.known(3)]))
        #expect(graph.inputs.map { graph.values[$0.index].type } == [
            .sequence(element), .map(key: .string, value: element), .optional(.sequence(element)),
            .sparse(.float64, PartialShape([.symbol("n"), .unknown, .unknown])), .tensor(.float32, .unknown),
        ])
    }

    @Test(arguments: [
        ("an input twice", Wire.input("x") + Wire.input("x")), ("an output that an input has", Wire.input("x") + Wire.node("Neg", ["x"], ["x"])),
        ("an output twice", Wire.input("x") + Wire.node("Neg", ["x"], ["h"]) + Wire.node("Abs", ["x"], ["h"])),
        ("an output that an initializer has", Wire.input("x") + Wire.bytes(5, Wire.tensor("w", 1, [1], Wire.float(4, 1))) + Wire.node("Neg", ["x"], ["w"])),
        ("an initializer twice", Wire.bytes(5, Wire.tensor("w", 1, [1], Wire.float(4, 1))) + Wire.bytes(5, Wire.tensor("w", 1, [1], Wire.float(4, 1)))),
        ("a value that nothing makes", Wire.input("x") + Wire.node("Add", ["x", "ghost"], ["h"])),
        ("an output that nothing makes", Wire.message(12, Wire.text(1, "ghost"))),
        ("an output without a name", Wire.message(12, Wire.text(1, ""))),
        ("a cycle", Wire.node("Neg", ["a"], ["b"]) + Wire.node("Neg", ["b"], ["a"])),
        ("an input without a type", Wire.message(11, Wire.text(1, "x"))), ("an input without a name", Wire.input("")),
        ("an initializer without a name", Wire.bytes(5, Wire.tensor("", 1, [1], Wire.float(4, 1)))),
        ("a node without an operator", Wire.input("x") + Wire.node("", ["x"], ["h"])),
        ("a default of another shape", Wire.input("w", 1, [3]) + Wire.bytes(5, Wire.tensor("w", 1, [2], Wire.packed(4, [Float(1), 2])))),
        ("an input of undefined type", Wire.input("x", 0)),
    ] as [(String, [UInt8])])
    func contradictionsAreRefused(what: String, graph: [UInt8]) {
        #expect(errorThrown { _ = try load(Wire.model(graph: graph)) }?.code == .invalidModel, "\(what)")
    }

    @Test func whatIsOnlySaidInPassingNeedNotBeUnderstood() throws {
        let graph = try load(
            Wire.model(
                graph: Wire.input("x"), Wire.node("Neg", ["x"], ["h"]), Wire.node("Neg", ["h"], ["y"]), Wire.output("y"),
                Wire.value(13, "h", 99, [2]), Wire.value(13, "nowhere", 1, [2]))).graph
        #expect(graph.values.count == 3)
        #expect(errorThrown { _ = try load(Wire.model(graph: Wire.input("x", 99))) }?.code == .unsupported)
    }

    @Test func anEmptyGraphIsAModel() throws {
        #expect(try load(Wire.model(graph: Wire.text(2, "empty"))).graph.nodes.isEmpty)
        #expect(errorThrown { _ = try load(Wire.int(1, 8)) }?.code == .invalidModel)
    }

    // MARK: Versions

    @Test func irVersions() throws {
        for version in 3...14 { #expect(try load(Wire.model(ir: version, graph: Wire.input("x"))).irVersion == Int64(version)) }
        #expect(errorThrown { _ = try load(Wire.model(ir: 15, graph: Wire.input("x"))) }?.code == .unsupported)
        for version in [0, -1] { #expect(errorThrown { _ = try load(Wire.model(ir: version, graph: Wire.input("x"))) }?.code == .invalidModel) }
    }

    @Test func everyOpsetStampOfONNXIsTaken() throws {
        for opset in 1...28 {
            let model = try load(Wire.model(opset: opset, graph: Wire.input("x"), Wire.node("Relu", ["x"], ["y"]), Wire.output("y")))
            #expect(model.graph.nodes[0].opset == opset)
        }
    }

    @Test(arguments: [0, -1, 999, Int.max])
    func opsetsThatDoNotExistAreRefusedWhereTheyAreUsed(opset: Int) throws {
        #expect(errorThrown { _ = try load(Wire.model(opset: opset, graph: Wire.input("x"), Wire.node("Relu", ["x"], ["y"]), Wire.output("y"))) } != nil)
        let unused = Wire.message(8, Wire.text(1, "some.domain"), Wire.int(2, opset))
        let model = try load(Wire.model(graph: Wire.input("x"), Wire.node("Relu", ["x"], ["y"]), Wire.output("y"), more: unused))
        #expect(model.opsets.count == 2)
    }

    @Test func theDomainsOfONNXHaveTwoNames() throws {
        let model = try load(Wire.model(graph: Wire.input("x"), Wire.node("Relu", ["x"], ["y"], Wire.text(7, "ai.onnx")), Wire.output("y")))
        #expect(model.graph.nodes[0].domain == "")
        #expect(model.graph.nodes[0].opset == 17)
    }

    // MARK: Attributes

    @Test func attributesOfEveryKindAreRead() throws {
        let tensor = Wire.tensor("", 1, [1], Wire.float(4, 2))
        let sparse = Wire.bytes(1, Wire.tensor("", 1, [1], Wire.float(4, 5))) + Wire.bytes(2, Wire.tensor("", 7, [1], Wire.packed(7, [1]))) + Wire.packed(3, [2])
        let graph = Wire.bytes(5, Wire.tensor("c", 1, [1], Wire.float(4, 2))) + Wire.message(12, Wire.text(1, "c"))
        let type = Wire.tensorType(1, [2])
        let cases: [(String, [UInt8], Int)] = [
            ("float", Wire.float(2, 1.5), 1), ("int", Wire.int(3, -7), 2), ("string", Wire.bytes(4, [0xFF]), 3), ("tensor", Wire.bytes(5, tensor), 4),
            ("graph", Wire.bytes(6, graph), 5), ("floats", Wire.float(7, 1) + Wire.packed(7, [Float(2)]), 6), ("ints", Wire.int(8, 1) + Wire.packed(8, [2, -3]), 7),
            ("strings", Wire.text(9, "a") + Wire.text(9, ""), 8), ("tensors", Wire.bytes(10, tensor) + Wire.bytes(10, tensor), 9),
            ("graphs", Wire.bytes(11, graph) + Wire.bytes(11, graph), 10), ("sparse_tensor", Wire.bytes(22, sparse), 11),
            ("sparse_tensors", Wire.bytes(23, sparse), 12), ("type_proto", Wire.bytes(14, type), 13), ("type_protos", Wire.bytes(15, type) + Wire.bytes(15, type), 14),
        ]
        for (kind, field, number) in cases {
            // With its type, and without, as in models of IR version 1 and 2.
            #expect(try relu(attribute("a", field, Wire.int(20, number)))?.kind == kind)
            #expect(try relu(attribute("a", field))?.kind == kind)
            #expect(try relu(attribute("a", field, Wire.int(20, 0)))?.kind == kind)
            // With another type.
            let other = number == 2 ? 1 : 2
            #expect(errorThrown { _ = try relu(attribute("a", field, Wire.int(20, other))) }?.code == .invalidModel, "\(kind)")
        }
        if case .ints(let values)? = try relu(attribute("a", cases[6].1)) { #expect(values == [1, 2, -3]) }
        if case .floats(let values)? = try relu(attribute("a", cases[5].1)) { #expect(values == [1, 2]) }
        if case .string(let value)? = try relu(attribute("a", cases[2].1)) { #expect(value.bytes == [0xFF]) }
    }

    @Test func valuesThatEqualTheDefaultMayBeLeftOut() throws {
        if case .int(let value)? = try relu(attribute("a", Wire.int(20, 2))) { #expect(value == 0) } else { Issue.record("no int") }
        if case .ints(let values)? = try relu(attribute("a", Wire.int(20, 7))) { #expect(values.isEmpty) } else { Issue.record("no ints") }
        for number in [4, 5, 11, 13] {
            #expect(errorThrown { _ = try relu(attribute("a", Wire.int(20, number))) }?.code == .invalidModel)
        }
    }

    @Test(arguments: [
        ("neither type nor value", Wire.message(5, Wire.text(1, "a"))), ("no name", Wire.message(5, Wire.int(3, 1))),
        ("two values and no type", Wire.message(5, Wire.text(1, "a"), Wire.int(3, 1), Wire.float(2, 1))),
        ("twice", Wire.message(5, Wire.text(1, "a"), Wire.int(3, 1)) + Wire.message(5, Wire.text(1, "a"), Wire.int(3, 1))),
        ("a reference outside of a function", Wire.message(5, Wire.text(1, "a"), Wire.text(21, "b"), Wire.int(20, 2))),
    ] as [(String, [UInt8])])
    func wrongAttributesAreRefused(what: String, attribute: [UInt8]) {
        let error = errorThrown { _ = try relu(attribute) }
        #expect(error?.code == .invalidModel, "\(what)")
        #expect(error?.node == "Relu making \"y\"", "\(what)")
    }

    // MARK: Subgraphs

    private func branch(_ name: String, _ body: [UInt8]) -> [UInt8] { attribute(name, Wire.bytes(6, body), Wire.int(20, 5)) }

    @Test func subgraphsCaptureWhatTheyDoNotDefine() throws {
        // Two levels down x is read; h, defined after its use, too; the inner y is its own.
        let inner = Wire.node("Add", ["x", "h"], ["y"]) + Wire.message(12, Wire.text(1, "y"))
        let outer = Wire.node("If", ["c"], ["z"], branch("then_branch", inner), branch("else_branch", inner)) + Wire.message(12, Wire.text(1, "z"))
        let graph = try load(
            Wire.model(
                graph: Wire.node("If", ["c"], ["y"], branch("then_branch", outer), branch("else_branch", outer)), Wire.node("Neg", ["x"], ["h"]),
                Wire.input("x"), Wire.input("c", 9, []), Wire.output("y"))).graph
        #expect(graph.nodes.map(\.opType) == ["Neg", "If"])
        try graph.verify()
        let then = graph.nodes[1].subgraphs[0]
        #expect(Set(then.captures.map { graph.values[$0.outer.index].name }) == ["c", "x", "h"])
        let deepest = then.nodes[0].subgraphs[0]
        #expect(deepest.captures.map { then.values[$0.outer.index].name } == ["x", "h"])
        #expect(deepest.captures.map { deepest.values[$0.inner.index].type } == [.tensor(.float32, PartialShape([.known(2)])), nil])
        try deepest.verify()
    }

    @Test func aSubgraphMayGiveAnOuterValueBack() throws {
        let body = Wire.message(12, Wire.text(1, "x"))
        let graph = try load(
            Wire.model(graph: Wire.input("x"), Wire.input("c", 9, []), Wire.node("If", ["c"], ["y"], branch("then_branch", body), branch("else_branch", body)), Wire.output("y"))).graph
        #expect(graph.nodes[0].subgraphs[0].captures.count == 1)
    }

    @Test func aNameThatNoGraphAroundDefinesIsRefused() {
        let body = Wire.node("Neg", ["ghost"], ["z"]) + Wire.message(12, Wire.text(1, "z"))
        let error = errorThrown {
            _ = try load(Wire.model(graph: Wire.input("c", 9, []), Wire.node("If", ["c"], ["y"], branch("then_branch", body)), Wire.output("y")))
        }
        #expect(error?.code == .invalidModel)
        #expect(error?.message.contains("ghost") == true)
    }

    // MARK: Functions

    private func function(_ name: String, _ more: [UInt8]...) -> [UInt8] {
        Wire.message(25, Wire.text(1, name), Wire.text(10, "mine"), Wire.message(9, Wire.text(1, ""), Wire.int(2, 15)), more.flatMap { $0 })
    }

    @Test func aFunctionSeesNothingOutside() {
        let body = function("f", Wire.text(4, "a"), Wire.text(5, "b"), Wire.bytes(7, Wire.nodeBody("Add", ["a", "x"], ["b"])))
        let error = errorThrown {
            _ = try load(Wire.model(graph: Wire.input("x"), Wire.node("f", ["x"], ["y"], Wire.text(7, "mine")), Wire.output("y"), more: body))
        }
        #expect(error?.code == .invalidModel)
        #expect(error?.message.contains("\"x\"") == true)
    }

    @Test func aFunctionMustProduceItsOutputs() {
        #expect(errorThrown { _ = try load(Wire.model(graph: Wire.input("x"), more: function("f", Wire.text(4, "a"), Wire.text(5, "b")))) }?.code == .invalidModel)
    }

    @Test func functionsDifferByDomainNameAndOverload() throws {
        let one = function("f", Wire.text(4, "a"), Wire.text(5, "a")), other = function("f", Wire.text(4, "a"), Wire.text(5, "a"), Wire.text(13, "other"))
        #expect(try load(Wire.model(graph: Wire.input("x"), more: one + other)).functions.count == 2)
        #expect(errorThrown { _ = try load(Wire.model(graph: Wire.input("x"), more: one + one)) }?.code == .invalidModel)
    }

    @Test func referencesReachIntoSubgraphsOfFunctions() throws {
        let inner = Wire.node("Relu", ["a"], ["r"], attribute("alpha", Wire.text(21, "alpha"), Wire.int(20, 1))) + Wire.message(12, Wire.text(1, "r"))
        let body = Wire.nodeBody("If", ["c"], ["b"], branch("then_branch", inner))
        let model = try load(
            Wire.model(graph: Wire.input("x"), more: function("f", Wire.text(4, "a"), Wire.text(4, "c"), Wire.text(5, "b"), Wire.text(6, "alpha"), Wire.bytes(7, body))))
        guard case .reference("alpha")? = model.functions[0].body.nodes[0].subgraphs[0].nodes[0].attribute("alpha") else {
            Issue.record("no reference")
            return
        }
    }
}
