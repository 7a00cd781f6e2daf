import ApusCore
import Testing

@testable import ApusCLI

@Suite struct SmallFloatTests {
    private static let narrow = ElementType.allCases.filter { SmallFloat($0) != nil }

    /// Every code of every format decodes to a number that encodes to the same code.
    @Test(arguments: narrow) func everyCodeComesBack(type: ElementType) throws {
        let format = try #require(SmallFloat(type))
        for code in 0..<UInt32(1) << UInt32(type.bitWidth) {
            let code = UInt16(truncatingIfNeeded: code)
            let value = format.decode(code)
            if value.isNaN { #expect(format.decode(format.encode(value)).isNaN) } else { #expect(format.encode(value) == code) }
        }
    }

    /// Halfway between two neighbours the even code wins; just beside it the nearer one.
    @Test(arguments: narrow) func roundsToNearestEven(type: ElementType) throws {
        let format = try #require(SmallFloat(type))
        for code in 0..<UInt16(1) << UInt16(type.bitWidth - 1) - 2 {
            let (low, high) = (format.decode(code), format.decode(code + 1))
            guard low.isFinite, high.isFinite else { continue }
            let middle = (low + high) / 2
            #expect(format.encode(middle) == (code % 2 == 0 ? code : code + 1))
            #expect(format.encode(middle.nextDown) == code)
            #expect(format.encode(middle.nextUp) == code + 1)
        }
    }

    @Test func knownNumbers() throws {
        func largest(_ type: ElementType, _ code: UInt16) throws -> Double { try #require(SmallFloat(type)).decode(code) }
        #expect(try largest(.float16, 0x7bff) == 65504)
        #expect(try largest(.bfloat16, 0x7f7f) == Double(Float(bitPattern: 0x7f7f_0000)))
        #expect(try largest(.float8e4m3fn, 0x7e) == 448)
        #expect(try largest(.float8e4m3fnuz, 0x7f) == 240)
        #expect(try largest(.float8e5m2, 0x7b) == 57344)
        #expect(try largest(.float8e5m2fnuz, 0x7f) == 57344)
        #expect(try largest(.float4e2m1, 7) == 6)
        #expect(try largest(.float6e2m3, 0x1f) == 7.5)
        #expect(try largest(.float6e3m2, 0x1f) == 28)
        for half in [Float16(0.1), 1e-7, 65504, -3.14159] {
            #expect(try #require(SmallFloat(.float16)).encode(Double(half)) == half.bitPattern)
        }
    }

    @Test func tooLargeNumbers() throws {
        #expect(try #require(SmallFloat(.float16)).encode(65520) == 0x7c00)
        #expect(try #require(SmallFloat(.float16)).encode(-1e300) == 0xfc00)
        #expect(try #require(SmallFloat(.float8e4m3fn)).encode(1e9) == 0x7f)
        #expect(try #require(SmallFloat(.float8e5m2fnuz)).encode(.infinity) == 0x80)
        #expect(try #require(SmallFloat(.float4e2m1)).encode(-100) == 0xf)
    }
}

@Suite struct HostTensorTests {
    @Test(arguments: [ElementType.int2, .uint2, .int4, .uint4, .float4e2m1, .float6e2m3, .float6e3m2])
    func packingComesBack(type: ElementType) throws {
        let mask = UInt8(1) << UInt8(type.bitWidth) - 1
        for count in 0..<20 {
            let elements = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 37 &+ 11) & mask }
            let packed = HostTensor.packed(elements, as: type)
            #expect(packed.count == type.byteCount(count))
            #expect(try HostTensor(type, [count], bytes: packed).unpacked() == elements)
        }
    }

    @Test func sixBitsFollowOnnxLayout() {
        let codes: [UInt8] = [0b000001, 0b100010, 0b111100, 0b010101]
        let expected: [UInt8] = [
            codes[0] | (codes[1] & 3) << 6, codes[1] >> 2 | (codes[2] & 15) << 4, codes[2] >> 4 | codes[3] << 2,
        ]
        #expect(HostTensor.packed(codes, as: .float6e3m2) == expected)
    }

    @Test func memoryMustFitTheShape() {
        #expect(throws: CLIError.self) { try HostTensor(.float32, [2], bytes: [0, 0, 0, 0]) }
        #expect(throws: CLIError.self) { try HostTensor(.float32, [-1], bytes: []) }
        #expect(throws: CLIError.self) { try HostTensor(.float32, [.max, .max], bytes: []) }
        #expect(throws: CLIError.self) { try HostTensor([2], strings: [[]]) }
    }

    @Test func elementCounts() {
        #expect(elementCount([]) == 1)
        #expect(elementCount([.max, .max, 0]) == 0)
        #expect(elementCount([.max, 2]) == nil)
        #expect(elementCount([0, -1]) == nil)
    }
}
