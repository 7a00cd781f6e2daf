import ApusCore
import Testing

@Suite struct DimensionTests {
    private let batch = Dimension.symbol("batch"), sequence = Dimension.symbol("seq"), past = Dimension.symbol("past")

    @Test func sumsAndProductsHaveOneForm() {
        #expect(batch * sequence == sequence * batch)
        #expect((batch + .known(1)) * sequence == sequence + batch * sequence)
        #expect(past + sequence - past == sequence)
        #expect(sequence - sequence == .known(0))
        #expect(batch * .known(0) == .known(0))
        #expect((batch + sequence) * (batch + sequence) == batch * batch + .known(2) * batch * sequence + sequence * sequence)
    }

    @Test func unknownStaysUnknownExceptTimesZero() {
        #expect(Dimension.unknown + batch == .unknown)
        #expect(batch * .unknown == .unknown)
        #expect(Dimension.unknown * .known(0) == .known(0))
        #expect(Dimension.unknown.floorDivided(by: .known(2)) == .unknown)
    }

    @Test func overflowIsUnknown() {
        #expect(Dimension.known(.max) + .known(1) == .unknown)
        #expect(Dimension.known(.max) * .known(2) == .unknown)
        #expect(batch * .known(.max) + batch * .known(.max) == .unknown)
        #expect(Dimension.known(.min) - .known(1) == .unknown)
    }

    @Test func divisionsThatComeOutEvenAreExact() {
        #expect((batch * sequence * .known(12)).dividedExactly(by: sequence * .known(4)) == batch * .known(3))
        #expect((batch + sequence).dividedExactly(by: batch + sequence) == .known(1))
        #expect(batch.dividedExactly(by: .known(2)) == nil)
        #expect(batch.dividedExactly(by: .known(0)) == nil)
        #expect(batch.dividedExactly(by: .known(-1)) == nil)
        #expect((batch * sequence).floorDivided(by: batch) == sequence)
    }

    @Test(arguments: [(7, 2, 3), (-7, 2, -4), (-8, 2, -4), (0, 3, 0), (.min, 1, .min)])
    func floorsRoundDown(dividend: Int, divisor: Int, quotient: Int) {
        #expect(Dimension.known(dividend).floorDivided(by: .known(divisor)) == .known(quotient))
    }

    @Test func divisionByWhatIsNotPositiveIsUnknown() {
        #expect(Dimension.known(4).floorDivided(by: .known(0)) == .unknown)
        #expect(Dimension.known(.min).floorDivided(by: .known(-1)) == .unknown)
    }

    @Test func whatIsNoPolynomialIsASymbolOfItsOwn() {
        let half = sequence.floorDivided(by: .known(2))
        #expect("\(half)" == "floor((seq)/(2))")
        #expect(half - half == .known(0))
        #expect(half.evaluated(["seq": 7]) == 3)
        #expect(Dimension.maximum(sequence, .known(4)).evaluated(["seq": 2]) == 4)
        #expect(Dimension.maximum(sequence, sequence) == sequence)
    }

    @Test func deepExpressionsAreGivenUp() {
        var dimension = sequence
        for _ in 0..<20 { dimension = (dimension + .known(1)).floorDivided(by: .known(2)) }
        #expect(dimension == .unknown)
    }

    @Test func evaluationNeedsEverySymbolAndDoesNotOverflow() {
        let size = batch * sequence + .known(3)
        #expect(size.evaluated(["batch": 2, "seq": 5]) == 13)
        #expect(size.evaluated(["batch": 2]) == nil)
        #expect(size.evaluated(["batch": .max, "seq": .max]) == nil)
    }

    @Test func broadcasting() {
        #expect(Dimension.broadcast(.known(1), batch) == batch)
        #expect(Dimension.broadcast(batch, batch) == batch)
        #expect(Dimension.broadcast(.known(2), .known(3)) == nil)
        #expect(Dimension.broadcast(batch, .known(3)) == .known(3))
        #expect(Dimension.broadcast(batch, sequence)?.evaluated(["batch": 1, "seq": 9]) == 9)
    }

    @Test func signs() {
        #expect((batch * sequence + .known(1)).isNonNegative)
        #expect(!(sequence - .known(1)).isNonNegative)
        #expect(!Dimension.unknown.isNonNegative)
    }

    @Test func textDoesNotDependOnTheOrderOfComputation() {
        #expect("\(.known(2) * sequence + batch - .known(3))" == "batch+2*seq-3")
        #expect("\(batch - .known(3) + sequence + sequence)" == "batch+2*seq-3")
    }

    @Test func partialShapes() throws {
        let partial = PartialShape([batch, .known(3)])
        #expect(partial.admits(try Shape([5, 3])))
        #expect(!partial.admits(try Shape([5, 4])))
        #expect(!partial.admits(try Shape([5])))
        #expect(try partial.concrete() == nil)
        #expect(try PartialShape([.known(2), .known(3)]).concrete()?.count == 6)
        #expect(partial.union(PartialShape([batch, .known(4)])) == PartialShape([batch, .unknown]))
        #expect(partial.refined(by: PartialShape([.known(2), .unknown])) == PartialShape([.known(2), .known(3)]))
        #expect(try PartialShape.broadcast([partial, PartialShape([.known(3)])]) == partial)
        #expect(throws: ApusError.self) { try PartialShape.broadcast([partial, PartialShape([.known(2)])]) }
        #expect(throws: ApusError.self) { try PartialShape([.known(.max), .known(2)]).concrete() }
    }
}
