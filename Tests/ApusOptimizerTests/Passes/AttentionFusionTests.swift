import ApusCore
import ApusGraph
import Testing

@testable import ApusOptimizer

@Suite struct AttentionFusionTests {
    private let builder = GraphBuilder(opset: 18)
    private var random = Random(3)

    private func scalar(_ value: Float) throws -> ValueID { builder.constant(try Tensor(.float32, [], [value])) }

    private func transposed(_ x: ValueID, _ permutation: [Int64]) -> ValueID {
        builder.node("Transpose", [x], ["perm": .ints(permutation)])
    }

    /// softmax(f(Q · K')) · V with heads as torch splits and merges them.
    private func attention(
        queries: Int = 5, keys: Int = 7, softmaxAxis: Int64 = -1, _ scores: (ValueID) throws -> ValueID
    ) throws -> ValueID {
        let q = transposed(builder.input("q", .float32, [2, queries, 3, 4]), [0, 2, 1, 3])
        let k = transposed(builder.input("k", .float32, [2, keys, 3, 4]), [0, 2, 3, 1])
        let v = transposed(builder.input("v", .float32, [2, keys, 3, 6]), [0, 2, 1, 3])
        let weights = builder.node("Softmax", [try scores(builder.node("MatMul", [q, k]))], ["axis": .int(softmaxAxis)])
        return transposed(builder.node("MatMul", [weights, v]), [0, 2, 1, 3])
    }

    private func check(_ y: ValueID, becomes operators: [String], sourceLocation: SourceLocation = #_sourceLocation) throws {
        builder.output(y, "y")
        #expect(try expectSame(builder.graph, sourceLocation: sourceLocation).operators == operators, sourceLocation: sourceLocation)
    }

    @Test func plain() throws { try check(try attention { $0 }, becomes: ["apus.Attention"]) }
    @Test func scaledByMul() throws { try check(try attention { builder.node("Mul", [$0, try scalar(0.5)]) }, becomes: ["apus.Attention"]) }
    @Test func scaledByDiv() throws { try check(try attention { builder.node("Div", [$0, try scalar(2)]) }, becomes: ["apus.Attention"]) }

    @Test(arguments: [[2, 1, 1, 7], [1, 1, 5, 7], [2, 3, 5, 7], [5, 7], [7], [1, 3, 5, 1]])
    func maskOfShape(_ shape: [Int]) throws {
        let mask = builder.input("mask", .float32, shape)
        try check(
            try attention { builder.node("Add", [builder.node("Mul", [$0, try scalar(0.5)]), mask]) }, becomes: ["apus.Attention"])
    }

    /// T5: the bias of the relative positions, then the mask.
    @Test func biasAndMask() throws {
        let bias = builder.input("bias", .float32, [1, 3, 5, 7]), mask = builder.input("mask", .float32, [2, 1, 1, 7])
        try check(
            try attention { builder.node("Add", [builder.node("Add", [$0, bias]), mask]) }, becomes: ["Add", "apus.Attention"])
    }

    @Test(arguments: [true, false]) func chosenByAMask(_ keeps: Bool) throws {
        let mask = builder.input("mask", .bool, [1, 1, 5, 7])
        let low = try scalar(-3.4028235e38)
        try check(
            try attention { builder.node("Where", keeps ? [mask, $0, low] : [mask, low, $0]) }, becomes: ["Where", "apus.Attention"])
    }

    /// torch's attention by a boolean mask: queries that may attend to nothing get nothing.
    @Test func weightsThatAreNoNumbersBecomeZero() throws {
        let mask = builder.constant(try Tensor(.bool, [5, 1], [true, false, true, false, true]))
        let q = builder.input("q", .float32, [2, 3, 5, 4]), k = builder.input("k", .float32, [2, 3, 4, 7]), v = builder.input("v", .float32, [2, 3, 7, 4])
        let scores = builder.node("Where", [mask, builder.node("MatMul", [q, k]), try scalar(-.infinity)])
        let weights = builder.node("Softmax", [scores])
        let numbers = builder.node("Where", [builder.node("IsNaN", [weights]), try scalar(0), weights])
        builder.output(builder.node("MatMul", [numbers, v]), "y")
        let graph = try expectSame(builder.graph)
        #expect(graph.operators.last == "apus.Attention" && !graph.operators.contains("Softmax"))
    }

    /// torch swaps the axes of the keys with batch and heads in one axis.
    @Test func keysTransposedInRankThree() throws {
        let q = builder.input("q", .float32, [2, 3, 5, 4]), k = builder.input("k", .float32, [2, 3, 7, 4]), v = builder.input("v", .float32, [2, 3, 7, 4])
        let flat = builder.node("Reshape", [k, builder.constant(try Tensor.int64([-1, 7, 4]))])
        let swapped = builder.node("Reshape", [transposed(flat, [0, 2, 1]), builder.constant(try Tensor.int64([2, 3, 4, 7]))])
        try check(builder.node("MatMul", [builder.node("Softmax", [builder.node("MatMul", [q, swapped])]), v]), becomes: ["apus.Attention"])
    }

    @Test func aMaskThatIsNotLowStays() throws {
        let mask = builder.input("mask", .bool, [1, 1, 5, 7])
        let graph = try attention { builder.node("Where", [mask, $0, try scalar(-10)]) }
        builder.output(graph, "y")
        #expect(try !expectSame(builder.graph).operators.contains("apus.Attention"))
    }

    @Test func otherSoftmaxAxesStay() throws {
        builder.output(try attention(softmaxAxis: 2) { $0 }, "y")
        #expect(try !expectSame(builder.graph).operators.contains("apus.Attention"))
    }

    @Test func scoresThatSomeoneElseReadsStay() throws {
        var scores: ValueID?
        builder.output(
            try attention {
                scores = $0
                return $0
            }, "y")
        builder.output(try #require(scores), "scores")
        #expect(try !expectSame(builder.graph).operators.contains("apus.Attention"))
    }

    /// The scale on the queries, as Keras writes it, and on queries and keys, as torch's decomposition does.
    @Test(arguments: [false, true]) func scaledOperands(_ both: Bool) throws {
        let q = transposed(builder.input("q", .float32, [2, 5, 3, 4]), [0, 2, 1, 3])
        var k = transposed(builder.input("k", .float32, [2, 7, 3, 4]), [0, 2, 1, 3])
        k = transposed(k, [0, 1, 3, 2])
        if both { k = builder.node("Mul", [k, try scalar(0.7)]) }
        let v = builder.input("v", .float32, [2, 3, 7, 4])
        let scores = builder.node("MatMul", [builder.node("Mul", [q, try scalar(0.7)]), k])
        try check(builder.node("MatMul", [builder.node("Softmax", [scores]), v]), becomes: ["apus.Attention"])
    }

    /// A cache of keys and values that are outputs, too.
    @Test func decodingStep() throws {
        let past = builder.input("past", .float32, [1, 3, 6, 4]), new = builder.input("new", .float32, [1, 3, 1, 4])
        let keys = builder.node("Concat", [past, new], ["axis": .int(-2)])
        let q = builder.input("q", .float32, [1, 3, 1, 4])
        let scores = builder.node("MatMul", [q, transposed(keys, [0, 1, 3, 2])])
        let y = builder.node("MatMul", [builder.node("Softmax", [builder.node("Mul", [scores, try scalar(0.5)])]), keys])
        builder.output(keys, "present")
        try check(y, becomes: ["Concat", "apus.Attention"])
    }

    /// torch.nn.MultiheadAttention: batch and heads in one axis.
    @Test(arguments: [[6, 5, 7], [1, 5, 7], [5, 7], []]) func rankThree(_ mask: [Int]) throws {
        let q = builder.input("q", .float32, [6, 5, 4]), k = builder.input("k", .float32, [6, 7, 4]), v = builder.input("v", .float32, [6, 7, 4])
        var scores = builder.node("MatMul", [q, transposed(k, [0, 2, 1])])
        if !mask.isEmpty { scores = builder.node("Add", [builder.input("mask", .float32, mask), scores]) }
        let y = builder.node("MatMul", [builder.node("Softmax", [scores]), v])
        builder.output(y, "y")
        let operators = try expectSame(builder.graph).operators
        #expect(operators.last == "apus.Attention" && !operators.contains("Softmax"))
    }

    @Test func sharedKeysThatAreBroadcastStay() throws {
        let q = builder.input("q", .float32, [2, 3, 5, 4]), k = builder.input("k", .float32, [2, 1, 4, 7]), v = builder.input("v", .float32, [2, 3, 7, 4])
        builder.output(builder.node("MatMul", [builder.node("Softmax", [builder.node("MatMul", [q, k])]), v]), "y")
        #expect(try !expectSame(builder.graph).operators.contains("apus.Attention"))
    }
}
