import ApusCore
import ApusGraph
import Testing

@testable import ApusOptimizer

@Suite struct NormalizationFusionTests {
    private let builder = GraphBuilder(opset: 18)
    private let x: ValueID
    private var random = Random(3)

    init() { x = builder.input("x", .float32, [2, 3, 8]) }

    private func scalar(_ value: Float) throws -> ValueID { builder.constant(try Tensor(.float32, [], [value])) }
    private mutating func row(_ count: Int = 8) throws -> ValueID { builder.constant(try random.tensor([count])) }

    private func mean(_ value: ValueID, axes: [Int] = [-1]) throws -> ValueID {
        builder.node("ReduceMean", [value, builder.constant(try Tensor.int64(axes))])
    }

    private func deviation(_ squares: ValueID, axes: [Int] = [-1]) throws -> ValueID {
        builder.node("Sqrt", [builder.node("Add", [try mean(squares, axes: axes), try scalar(1e-5)])])
    }

    private mutating func check(_ normalized: ValueID, hasBias: Bool = true, becomes operators: [String]) throws {
        var y = builder.node("Mul", [normalized, try row()])
        if hasBias { y = builder.node("Add", [y, try row()]) }
        builder.output(y, "y")
        #expect(try expectSame(builder.graph).operators == operators)
    }

    @Test mutating func layerByPowAndDiv() throws {
        let centered = builder.node("Sub", [x, try mean(x)])
        let squares = builder.node("Pow", [centered, try scalar(2)])
        try check(builder.node("Div", [centered, try deviation(squares)]), becomes: ["LayerNormalization"])
    }

    @Test mutating func layerWithTheDifferenceTakenTwice() throws {
        let squares = builder.node("Pow", [builder.node("Sub", [x, try mean(x)]), try scalar(2)])
        let centered = builder.node("Sub", [x, try mean(x)])
        try check(builder.node("Div", [centered, try deviation(squares)]), becomes: ["LayerNormalization"])
    }

    @Test mutating func layerByProductAndReciprocal() throws {
        let centered = builder.node("Sub", [x, try mean(x)])
        let squares = builder.node("Mul", [centered, centered])
        try check(
            builder.node("Mul", [centered, builder.node("Reciprocal", [try deviation(squares)])]), becomes: ["LayerNormalization"])
    }

    @Test mutating func rootMeanSquareAsT5HasIt() throws {
        let squares = builder.node("Pow", [x, try scalar(2)])
        let normalized = builder.node("Mul", [x, builder.node("Reciprocal", [try deviation(squares)])])
        try check(normalized, hasBias: false, becomes: ["RMSNormalization"])
    }

    @Test mutating func rootMeanSquareByDivision() throws {
        let squares = builder.node("Mul", [x, x])
        try check(builder.node("Div", [x, try deviation(squares)]), hasBias: false, becomes: ["RMSNormalization"])
    }

    @Test mutating func meansOverOtherAxesStay() throws {
        let centered = builder.node("Sub", [x, try mean(x, axes: [1])])
        let squares = builder.node("Pow", [centered, try scalar(2)])
        try check(
            builder.node("Div", [centered, try deviation(squares, axes: [1])]),
            becomes: ["ReduceMean", "Sub", "Pow", "ReduceMean", "Add", "Sqrt", "Div", "Mul", "Add"])
    }

    @Test mutating func aDifferenceThatSomeoneElseReadsStays() throws {
        let centered = builder.node("Sub", [x, try mean(x)])
        let squares = builder.node("Pow", [centered, try scalar(2)])
        builder.output(centered, "centered")
        try check(
            builder.node("Div", [centered, try deviation(squares)]),
            becomes: ["ReduceMean", "Sub", "RMSNormalization", "Add"])
    }

    @Test mutating func anotherPowerStays() throws {
        let squares = builder.node("Pow", [x, try scalar(4)])
        try check(
            builder.node("Div", [x, try deviation(squares)]), hasBias: false,
            becomes: ["Pow", "ReduceMean", "Add", "Sqrt", "Div", "Mul"])
    }
}
