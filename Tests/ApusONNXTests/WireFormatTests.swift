import ApusCore
import ApusGraph
import Testing

@testable import ApusONNX

/// What protobuf's wire format allows, and libonnx, being older than the files, does not know.
struct WireFormatTests {
    // MARK: Newer than libonnx

    @Test func anElementTypeNewerThanLibonnxIsKept() throws {
        let model = try load(
            Wire.model(
                ir: 13, opset: 24,
                graph: Wire.input("x", 17, [3]), Wire.bytes(5, Wire.tensor("w", 23, [3], Wire.bytes(9, [0x21, 0x03]))),
                Wire.node("Cast", ["x"], ["y"], Wire.message(5, Wire.text(1, "to"), Wire.int(3, 22), Wire.int(20, 2))),
                Wire.output("y", 22, [3])))
        let graph = model.graph
        #expect(graph.values[graph.inputs[0].index].type == .tensor(.float8e4m3fn, PartialShape([.known(3)])))
        #expect(graph.values[graph.outputs[0].index].type == .tensor(.int4, PartialShape([.known(3)])))
        let tensor = try #require(try graph.initializers.values.first?.asTensor())
        #expect(tensor.type == .float4e2m1)
        #expect(Array(UnsafeRawBufferPointer(start: tensor.pointer, count: 2)) == [0x21, 0x03])
    }

    @Test func anAttributeTypeNewerThanLibonnxIsNamedInTheError() {
        let error = errorThrown {
            _ = try load(
                Wire.model(
                    graph: Wire.input("x"),
                    Wire.node("Relu", ["x"], ["y"], Wire.message(5, Wire.text(1, "a"), Wire.int(20, 77))), Wire.output("y")))
        }
        #expect(error?.code == .unsupported)
        #expect(error?.message.contains("77") == true)
        #expect(error?.node == "Relu making \"y\"")
    }

    @Test func aDataLocationNewerThanLibonnxIsNamedInTheError() {
        let error = errorThrown { _ = try loadInitializer(Wire.tensor("w", 1, [1], Wire.int(14, 9), Wire.float(4, 1))) }
        #expect(error?.code == .unsupported)
        #expect(error?.message.contains("data location number 9") == true)
    }

    @Test func fieldsNewerThanLibonnxAreRead() throws {
        func entry(_ field: Int, _ key: String) -> [UInt8] { Wire.message(field, Wire.text(1, key), Wire.text(2, "of \(key)")) }
        let defaults = Wire.message(
            11, Wire.text(1, "table"), Wire.message(5, Wire.tensor("", 1, [2], Wire.packed(4, [Float(3), 4]))), Wire.int(20, 4))
        let body = Wire.nodeBody(
            "Constant", [], ["c"], Wire.message(5, Wire.text(1, "value"), Wire.text(21, "table"), Wire.int(20, 4)))
        let function = Wire.message(
            25, Wire.text(1, "f"), Wire.text(10, "mine"), Wire.text(13, "second"), Wire.text(4, "a"), Wire.text(5, "c"),
            Wire.text(6, "plain"), defaults, Wire.bytes(7, body), Wire.message(9, Wire.text(1, ""), Wire.int(2, 18)),
            Wire.value(12, "c", 1, [2]), entry(14, "function"))
        let model = try load(
            Wire.model(
                ir: 10,
                graph: Wire.message(11, Wire.text(1, "x"), Wire.message(2, Wire.tensorType(1, [2])), entry(4, "input")),
                Wire.bytes(5, Wire.tensor("w", 1, [1], Wire.float(4, 1), entry(16, "tensor"))),
                Wire.node("f", ["x"], ["y"], Wire.text(7, "mine"), Wire.text(8, "first"), Wire.text(8, "second"), entry(9, "node")),
                Wire.output("y"), entry(16, "graph"), more: function + entry(14, "model")))
        let node = model.graph.nodes[0]
        #expect(node.overload == "second")
        #expect(node.domain == "mine")
        func holds(_ metadata: [(key: ByteString, value: ByteString)], _ key: ByteString) -> Bool {
            metadata.count == 1 && metadata[0].key == key && metadata[0].value.equals("of \(key)")
        }
        #expect(holds(node.metadata, "node"))
        #expect(holds(model.metadata, "model"))
        #expect(holds(model.graph.metadata, "graph"))
        #expect(holds(model.graph.annotations[model.graph.inputs[0]]?.metadata ?? [], "input"))
        #expect(model.graph.annotations.values.contains { holds($0.metadata, "tensor") })
        let read = try #require(model.functions.first)
        #expect(holds(read.metadata, "function"))
        #expect(read.overload == "second")
        #expect(read.attributeNames == ["plain"])
        #expect(read.body.nodes[0].opset == 18)
        #expect(read.body.values[read.body.outputs[0].index].type == .tensor(.float32, PartialShape([.known(2)])))
        #expect(read.body.nodes[0].attributes[0].referencedType == 4)
        guard case .tensor(let value)? = read.defaults.first?.value else { throw ApusError(.internal, "no default") }
        #expect(try value.asTensor().array(Float.self) == [3, 4])
    }

    // MARK: Names

    @Test func twoNamesThatDifferOnlyInInvalidUTF8StayDistinct() throws {
        let a: [UInt8] = [0x76, 0xFF], b: [UInt8] = [0x76, 0xFE]
        let model = try load(
            Wire.model(
                graph: Wire.message(11, Wire.bytes(1, a), Wire.message(2, Wire.tensorType(1, [2]))),
                Wire.message(11, Wire.bytes(1, b), Wire.message(2, Wire.tensorType(1, [2]))),
                Wire.message(1, Wire.bytes(1, b), Wire.bytes(1, a), Wire.text(2, "y"), Wire.text(4, "Sub")), Wire.output("y")))
        let graph = model.graph
        #expect(graph.inputs.map { graph.values[$0.index].name.bytes } == [a, b])
        #expect(graph.nodes[0].inputs == [graph.inputs[1], graph.inputs[0]])
    }

    @Test func namesMayHoldNULs() throws {
        let model = try load(Wire.model(graph: Wire.input("a\0b"), Wire.input("a\0c"), Wire.node("Add", ["a\0c", "a\0b"], ["y"]), Wire.output("y")))
        #expect(model.graph.nodes[0].inputs == [model.graph.inputs[1], model.graph.inputs[0]])
    }

    @Test func operatorNamesThatAreNotUTF8AreRefused() {
        let error = errorThrown {
            _ = try load(Wire.model(graph: Wire.input("x"), Wire.message(1, Wire.text(1, "x"), Wire.text(2, "y"), Wire.bytes(4, [0xFF])), Wire.output("y")))
        }
        #expect(error?.code == .invalidModel)
    }

    // MARK: Twice on the wire

    @Test func aGraphThatAppearsTwiceIsMerged() throws {
        let model = try load(
            Wire.model(
                graph: Wire.text(2, "first"), Wire.input("x"), Wire.node("Relu", ["x"], ["h"]),
                more: Wire.message(7, Wire.text(2, "second"), Wire.node("Neg", ["h"], ["y"]), Wire.output("y"))))
        #expect(model.graph.name == "second")
        #expect(model.graph.nodes.map(\.opType) == ["Relu", "Neg"])
        #expect(model.graph.inputs.count == 1)
        #expect(model.graph.outputs.count == 1)
    }

    @Test func aTensorThatAppearsTwiceIsMerged() throws {
        // Scalars: the last wins. Lists: one after the other.
        func constant(_ first: [UInt8], _ second: [UInt8]) throws -> Tensor {
            let attribute = Wire.message(5, Wire.text(1, "value"), Wire.bytes(5, first), Wire.bytes(5, second), Wire.int(20, 4))
            let model = try load(Wire.model(graph: Wire.node("Constant", [], ["y"], attribute), Wire.output("y")))
            guard case .tensor(let value)? = model.graph.nodes[0].attribute("value") else { throw ApusError(.internal, "no tensor") }
            return try value.asTensor()
        }
        let raw = try constant(
            Wire.packed(1, [2]) + Wire.int(2, 7) + Wire.bytes(9, [1, 2, 3]), Wire.int(2, 2) + Wire.packed(1, [1]) + Wire.bytes(9, [8, 9]))
        #expect(raw.type == .uint8)
        #expect(raw.shape.dimensions == [2, 1])
        #expect(raw.array(UInt8.self) == [8, 9])

        let typed = try constant(
            Wire.packed(1, [4]) + Wire.int(2, 1) + Wire.packed(4, [Float(1), 2]), Wire.float(4, 3) + Wire.packed(4, [Float(4)]))
        #expect(typed.array(Float.self) == [1, 2, 3, 4])
    }

    @Test func anInputTypeThatAppearsTwiceIsMerged() throws {
        let model = try load(
            Wire.model(
                graph: Wire.message(
                    11, Wire.text(1, "x"), Wire.message(2, Wire.message(1, Wire.int(1, 1))),
                    Wire.message(2, Wire.message(1, Wire.message(2, Wire.message(1, Wire.text(2, "N")))))),
                Wire.node("Relu", ["x"], ["y"]), Wire.output("y")))
        #expect(model.graph.values[model.graph.inputs[0].index].type == .tensor(.float32, PartialShape([.symbol("N")])))
    }

    // MARK: Hostile bytes

    @Test(arguments: [
        ("a field number of zero", [0x00, 0x01]), ("wire type 6", [0x0E]), ("wire type 7", [0x0F]),
        ("a varint of eleven bytes", [0x08] + [UInt8](repeating: 0x80, count: 10) + [0]), ("a cut varint", [0x08, 0x80]),
        ("a cut fixed64", [0x09, 1, 2]), ("a group that is not closed", [0x0B]), ("a group that was not opened", [0x0C]),
        ("a length beyond the end", [0x3A, 0x05, 0x00]),
        ("a length of 2^64-1", [0x3A] + [UInt8](repeating: 0xFF, count: 9) + [1]),
        ("a graph longer than its model", [0x3A, 0x02, 0x0A, 0x01]),
        ("packed floats of 3 bytes", Wire.message(7, Wire.message(5, Wire.bytes(4, [1, 2, 3])))),
        ("a cut packed varint", Wire.message(7, Wire.message(5, Wire.bytes(7, [0x80])))),
    ] as [(String, [UInt8])])
    func brokenBytesAreRefused(what: String, bytes: [UInt8]) {
        for prefix in [[], Wire.model(graph: Wire.input("x"))] {
            #expect(errorThrown { _ = try load(prefix + bytes) }?.code == .invalidModel, "\(what)")
        }
    }

    @Test func deepNestingIsRefusedWithoutUsingTheStack() {
        var graph: [UInt8] = []
        for _ in 0..<2000 { graph = Wire.message(1, Wire.message(5, Wire.bytes(6, graph))) }
        #expect(errorThrown { _ = try load(Wire.int(1, 8) + Wire.bytes(7, graph)) }?.code == .invalidModel)
        let groups = [UInt8](repeating: 0x0B, count: 1_000_000)
        #expect(errorThrown { _ = try load(groups) }?.code == .invalidModel)
        var type: [UInt8] = []
        for _ in 0..<2000 { type = Wire.message(4, Wire.bytes(1, type)) }
        let model = Wire.model(graph: Wire.message(11, Wire.text(1, "x"), Wire.bytes(2, type)))
        #expect(errorThrown { _ = try load(model) }?.code == .invalidModel)
    }

    @Test func fiftyNestedSubgraphsAreRead() throws {
        var body = [Wire.node("Neg", ["x"], ["y0"]), Wire.message(12, Wire.text(1, "y0"))].flatMap { $0 }
        for level in 1...50 {
            func branch(_ name: String) -> [UInt8] { Wire.message(5, Wire.text(1, name), Wire.bytes(6, body), Wire.int(20, 5)) }
            let small = Wire.message(
                5, Wire.text(1, "else_branch"),
                Wire.bytes(6, Wire.node("Abs", ["x"], ["z"]) + Wire.message(12, Wire.text(1, "z"))), Wire.int(20, 5))
            body = Wire.node("If", ["c"], ["y\(level)"], branch("then_branch"), small) + Wire.message(12, Wire.text(1, "y\(level)"))
        }
        var graph = try load(Wire.model(graph: Wire.input("x"), Wire.input("c", 9, []), body)).graph
        var depth = 0
        while let inner = graph.nodes[0].subgraphs.first {
            // Each level captures x from the one around it.
            #expect(inner.captures.contains { graph.values[$0.outer.index].name == "x" })
            graph = inner
            depth += 1
        }
        #expect(depth == 50)
    }

    @Test func theScannersOwnFieldInAFileMeansNothing() throws {
        let spoofed = Wire.tensor("w", 1, [1], Wire.fixed32((1 << 29) - 1, 12345), Wire.float(4, 2), Wire.bytes((1 << 29) - 1, [1, 2]))
        #expect(try loadInitializer(spoofed)?.asTensor().array(Float.self) == [2])
        let without = Wire.tensor("w", 1, [1], Wire.fixed32((1 << 29) - 1, 0))
        #expect(errorThrown { _ = try loadInitializer(without) }?.code == .invalidModel)
    }

    @Test func unknownFieldsAndGroupsAreSkipped() throws {
        let group = Wire.tag(900, 3) + Wire.int(1, 5) + Wire.bytes(7, [1, 2]) + Wire.tag(901, 3) + Wire.tag(901, 4) + Wire.tag(900, 4)
        let model = try load(
            Wire.model(
                graph: group, Wire.input("x"), Wire.node("Relu", ["x"], ["y"], group, Wire.int(1023, 1)), Wire.output("y"), more: group))
        #expect(model.graph.nodes.count == 1)
    }

    @Test func aStructureBeyondTheMemoryLimitIsRefusedBeforeItIsBuilt() {
        // Empty nodes: two bytes in the file, hundreds in memory.
        let nodes = [UInt8]((0..<100_000).flatMap { _ in [0x0A, 0x00] as [UInt8] })
        let loader = ModelLoader(budget: MemoryBudget(cap: 4 << 20))
        #expect(errorThrown { _ = try load(Wire.model(graph: nodes), loader) }?.code == .memoryLimit)
    }

    @Test func everyPrefixOfAModelIsRefusedOrRead() throws {
        let whole = Wire.model(
            graph: Wire.input("x"), Wire.bytes(5, Wire.tensor("w", 1, [2], Wire.bytes(9, Wire.little([1, 2])))),
            Wire.node("Add", ["x", "w"], ["y"]), Wire.output("y"))
        _ = try load(whole)
        for length in 0..<whole.count {
            #expect(errorThrown { _ = try load(Array(whole[..<length])) }?.code == .invalidModel, "\(length) bytes")
        }
    }
}
