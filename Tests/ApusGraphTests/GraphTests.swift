import ApusCore
import ApusGraph
import Testing

/// x → Relu → Neg → y, with a second reader of the Relu.
private func chain() throws -> (graph: Graph, x: ValueID, a: ValueID, b: ValueID, y: ValueID) {
    let builder = GraphBuilder("chain")
    let x = builder.input("x", .float32, [2])
    let a = builder.node("Relu", [x])
    let b = builder.node("Neg", [a])
    let y = builder.node("Add", [a, b])
    builder.output(y, "y")
    return (builder.graph, x, a, b, y)
}

@Suite struct GraphTests {
    @Test func sortingKeepsTheOrderWhereItMay() throws {
        let (graph, _, _, _, _) = try chain()
        let types = graph.nodes.map(\.opType)
        try graph.sort()
        #expect(graph.nodes.map(\.opType) == types)
        graph.nodes.reverse()
        try graph.sort()
        #expect(graph.nodes.map(\.opType) == types)
    }

    @Test func cyclesAreFound() throws {
        let (graph, _, a, b, _) = try chain()
        graph.nodes[0].inputs = [b]
        _ = a
        #expect(throws: ApusError.self) { try graph.sort() }
    }

    @Test func whatIsReadMustBeMadeOnce() throws {
        let (graph, x, a, _, _) = try chain()
        try graph.verify()
        graph.nodes[1].outputs = [a]
        #expect(throws: ApusError.self) { try graph.verify() }
        let other = try chain().graph
        other.nodes[0].inputs = [other.addValue("ghost")]
        #expect(throws: ApusError.self) { try other.verify() }
        _ = x
    }

    @Test func aCopySharesNothingThatChanges() throws {
        let builder = GraphBuilder()
        let condition = builder.input("c", .bool, [Int]())
        let branch = GraphBuilder("branch")
        branch.output(branch.constant(try Tensor.float32(1)))
        let y = builder.node("If", [condition], ["then_branch": .graph(branch.graph), "else_branch": .graph(branch.graph.copy())])
        builder.output(y, "y")
        let copy = builder.graph.copy()
        copy.nodes[0].subgraphs[0].name = "changed"
        copy.nodes[0].name = "changed"
        #expect(builder.graph.nodes[0].subgraphs.allSatisfy { $0.name == "branch" })
        #expect(builder.graph.nodes[0].name.isEmpty)
    }
}

@Suite struct GraphEditorTests {
    @Test func usesAreFollowed() throws {
        let (graph, x, a, b, y) = try chain()
        let editor = GraphEditor(graph)
        #expect(editor.useCount(a) == 2)
        #expect(editor.consumers(a) == [1, 2])
        #expect(editor.useCount(y) == 1)
        #expect(editor.isOutput(y))
        #expect(editor.producer(a)?.index == 0)
        #expect(editor.producer(x) == nil)
        editor.replaceUses(of: b, with: x)
        #expect(editor.useCount(b) == 0)
        #expect(editor.useCount(x) == 2)
        editor.removeDeadCode()
        try editor.commit()
        #expect(graph.nodes.map(\.opType) == ["Relu", "Add"])
        try graph.verify()
    }

    @Test func outputsCanBeReplaced() throws {
        let (graph, _, a, _, y) = try chain()
        let editor = GraphEditor(graph)
        editor.replaceUses(of: y, with: a)
        editor.removeDeadCode()
        try editor.commit()
        #expect(graph.outputs == [a])
        #expect(graph.nodes.count == 1)
    }

    @Test func deadCodeGoesWithItsInitializers() throws {
        let (graph, x, a, b, _) = try chain()
        let editor = GraphEditor(graph)
        let unused = editor.addInitializer(.tensor(try Tensor.float32(1)))
        let added = editor.add(Node("Mul", opset: 14, inputs: [a, unused], outputs: [editor.addValue()]))
        #expect(editor.useCount(unused) == 1)
        editor.replaceUses(of: b, with: a)
        editor.removeDeadCode()
        #expect(editor.isRemoved(added))
        #expect(editor.isRemoved(1))
        #expect(graph.initializers[unused] == nil)
        try editor.commit()
        #expect(graph.nodes.map(\.opType) == ["Relu", "Add"])
        _ = x
    }

    @Test func aNodeTakesThePlaceOfAnother() throws {
        let (graph, _, a, b, _) = try chain()
        let editor = GraphEditor(graph)
        editor.replace(1, with: Node("Abs", opset: 13, inputs: [a], outputs: [b]))
        #expect(editor.producer(b)?.node.opType == "Abs")
        #expect(editor.useCount(a) == 2)
        try editor.commit()
        #expect(graph.nodes.map(\.opType) == ["Relu", "Abs", "Add"])
    }

    @Test func subgraphsReadOuterValues() throws {
        let builder = GraphBuilder()
        let condition = builder.input("c", .bool, [Int]()), x = builder.input("x", .float32, [1])
        let a = builder.node("Relu", [x])
        let branch = GraphBuilder("branch")
        let inner = branch.graph.addValue("outer")
        branch.graph.captures.append((outer: a, inner: inner))
        branch.output(branch.node("Neg", [inner]))
        builder.output(builder.node("If", [condition], ["then_branch": .graph(branch.graph), "else_branch": .graph(branch.graph.copy())]))
        let editor = GraphEditor(builder.graph)
        #expect(editor.useCount(a) == 1)
        editor.replaceUses(of: a, with: x)
        editor.removeDeadCode()
        try editor.commit()
        #expect(builder.graph.nodes.map(\.opType) == ["If"])
        #expect(builder.graph.nodes[0].subgraphs.allSatisfy { $0.captures.map(\.outer) == [x] })
        try builder.graph.verify()
    }
}

@Suite struct GraphPrinterTests {
    @Test func textIsStable() throws {
        let (graph, _, _, _, _) = try chain()
        graph.nodes[1].attributes = [Attribute("b", .ints([1, 2])), Attribute("a", .float(0.5))]
        graph.nodes[1].origin = "SomePass"
        _ = graph.addInitializer(.tensor(try Tensor.int64([1, 2])), name: "c\"\u{1}")
        let expected = """
            graph "chain" {
              input "x": tensor(float)[2]
              initializer "c\\x22\\x01": tensor(int64)[2]
              %1 = Relu("x")
              %2 = Neg(%1) {a=0.5, b=[1, 2]} // SomePass
              "y" = Add(%1, %2)
              output "y"
            }

            """
        #expect(GraphPrinter.text(graph) == expected)
        #expect(GraphPrinter.text(graph.copy()) == expected)
    }
}
