import ApusCore
import Testing

@Suite struct CheckedMathTests {
    @Test func sumsDifferencesAndProducts() throws {
        #expect(try 2.adding(3) == 5)
        #expect(try 2.subtracting(3) == -1)
        #expect(try 2.multiplied(by: 3) == 6)
        #expect(throws: ApusError.self) { try Int.max.adding(1) }
        #expect(throws: ApusError.self) { try Int.min.subtracting(1) }
        #expect(throws: ApusError.self) { try Int.max.multiplied(by: 2) }
        #expect(throws: ApusError.self) { try Int.min.multiplied(by: -1) }
    }

    @Test func rounding() throws {
        #expect(try 0.roundedUp(to: 64) == 0)
        #expect(try 1.roundedUp(to: 64) == 64)
        #expect(try 64.roundedUp(to: 64) == 64)
        #expect(throws: ApusError.self) { try Int.max.roundedUp(to: 64) }
    }

    @Test func zeroWinsOverOverflow() throws {
        #expect(try checkedProduct([1 << 40, 1 << 40, 0]) == 0)
        #expect(try checkedProduct([0, 1 << 40, 1 << 40]) == 0)
        #expect(try checkedProduct([Int]()) == 1)
        #expect(throws: ApusError.self) { try checkedProduct([1 << 40, 1 << 40]) }
        #expect(throws: ApusError.self) { try checkedProduct([0, -1]) }
    }

    @Test func axes() throws {
        #expect(try normalizedAxis(-1, rank: 3) == 2)
        #expect(try normalizedAxes([0, -1], rank: 3) == [0, 2])
        for axis in [3, -4, .max, .min] {
            #expect(throws: ApusError.self) { try normalizedAxis(axis, rank: 3) }
        }
        #expect(throws: ApusError.self) { try normalizedAxis(0, rank: 0) }
        #expect(throws: ApusError.self) { try normalizedAxes([2, -1], rank: 3) }
    }

    @Test func shapes() throws {
        let shape = try Shape([2, 3, 4])
        #expect(shape.strides == [12, 4, 1])
        #expect(shape.count(1...) == 12)
        #expect(try Shape([0, 1 << 62, 1 << 62]).count == 0)
        #expect(try Shape.broadcast([shape, try Shape([3, 1]), .scalar]) == shape)
        #expect(try Shape([3, 1]).broadcastStrides(to: shape) == [0, 1, 0])
        #expect(throws: ApusError.self) { try Shape([-1]) }
        #expect(throws: ApusError.self) { try Shape([1 << 62, 4]) }
        #expect(throws: ApusError.self) { try Shape.broadcast([shape, try Shape([2])]) }
    }

    @Test func sizesOfPackedTypes() {
        #expect(ElementType.int4.byteCount(3) == 2)
        #expect(ElementType.uint2.byteCount(5) == 2)
        #expect(ElementType.float6e2m3.byteCount(4) == 3)
        #expect(ElementType.float32.byteCount(.max) == nil)
        #expect(ElementType.float32.byteCount(-1) == nil)
        #expect(ElementType.string.byteCount(1) == nil)
    }

    @Test func bytesAreNotCharacters() {
        // é composed and decomposed are equal as Swift strings.
        #expect(ByteString("\u{E9}") != ByteString("e\u{301}"))
        #expect(ByteString([0xFF]) != ByteString([0xFE]))
        #expect(ByteString([0xFF]).description == ByteString([0xFE]).description)
        #expect(ByteString("abc").equals("abc"))
    }
}
