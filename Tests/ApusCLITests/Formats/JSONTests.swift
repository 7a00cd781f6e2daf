import ApusCore
import Testing

@testable import ApusCLI

private func parse(_ text: String) throws -> JSONValue { try JSONValue(parsing: Array(text.utf8)[...]) }

@Suite struct JSONTests {
    @Test func values() throws {
        #expect(try parse(" null ") == .null)
        #expect(try parse("[true,false]") == .array([.bool(true), .bool(false)]))
        #expect(try parse("-0.5e+10") == .number("-0.5e+10"))
        #expect(try parse(#""a\n\u00e9\ud83d\ude42\/""#) == .string("a\né🙂/"))
        #expect(try parse(#"{"a":[],"b":{}}"#) == .object([.init("a", .array([])), .init("b", .object([]))]))
    }

    @Test(arguments: [
        "", "nul", "truex", "[1,]", "[1 2]", "[", "{", "{\"a\"}", "{\"a\":1,}", "{\"a\":1,\"a\":2}", "{a:1}", "01", "1.", ".5", "-", "1e",
        "+1", "\"", "\"\\x\"", "\"\\u12\"", "\"\\u+123\"", "\"\\ud800\"", "\"\\ud800\\u0041\"", "\"\\udc00\"", "\"\n\"", "1 2", "NaN", "[1]]",
    ])
    func malformed(text: String) { #expect(throws: CLIError.self) { try parse(text) } }

    @Test func invalidUTF8() {
        #expect(throws: CLIError.self) { try JSONValue(parsing: [UInt8(ascii: "\""), 0xff, UInt8(ascii: "\"")]) }
    }

    @Test func depthIsBounded() throws {
        #expect(throws: CLIError.self) { try parse(String(repeating: "[", count: 1_000_000)) }
        _ = try parse(String(repeating: "[", count: 60) + String(repeating: "]", count: 60))
    }

    @Test func writtenTextReadsBack() throws {
        let value = JSONValue.object([
            .init("quote\"\\\u{1}\u{7f}", .string("tab\tline\né🙂")), .init("numbers", .array([.integer(UInt64.max), .real(1e-300)])),
            .init("nested", .array([.array([.null]), .object([])])),
        ])
        #expect(try parse(value.text()) == value)
    }
}

@Suite struct JSONTensorTests {
    private func read(_ text: String, as type: ElementType? = nil) throws -> HostTensor {
        try JSONTensor.tensor(try parse(text), as: type)
    }

    @Test func inferredTypesAndShapes() throws {
        #expect(try read("[[1,2,3],[4,5,6]]") == HostTensor(.int64, [2, 3], numbers: [1, 2, 3, 4, 5, 6]))
        #expect(try read("[1,2.5]") == HostTensor(.float32, [2], numbers: [1, 2.5]))
        #expect(try read("7") == HostTensor(.int64, [], numbers: [7]))
        #expect(try read("[true]") == HostTensor(.bool, [1], numbers: [1]))
        #expect(try read("[\"a\"]") == HostTensor([1], strings: [Array("a".utf8)]))
        #expect(try read("[[],[]]").shape == [2, 0])
        #expect(try read("[1, \"Infinity\"]").doubles() == [1, .infinity])
    }

    @Test func givenTypes() throws {
        #expect(try read("[1, 2]", as: .float16).doubles() == [1, 2])
        #expect(try read("[18446744073709551615]", as: .uint64).codes() == [.max])
        #expect(try read("[-9223372036854775808, 9223372036854775807]", as: .int64).integers() == [.min, .max])
        #expect(try read("[[1, 2], [3, 4]]", as: .complex64) == HostTensor(.complex64, [2], numbers: [1, 2, 3, 4]))
        #expect(try read("[\"NaN\", \"-Infinity\"]", as: .float64).doubles()[1] == -.infinity)
        #expect(try read("[\"NaN\"]", as: .string).strings == [Array("NaN".utf8)])
        #expect(try read("[7, -8, 1]", as: .int4).bytes == [0x87, 0x01])
    }

    @Test func explicitForm() throws {
        let tensor = try read(#"{"type": "float16", "shape": [2, 2], "data": [1, 2, 3, 4]}"#)
        #expect(tensor == (try HostTensor(.float16, [2, 2], numbers: [1, 2, 3, 4])))
        #expect(try read(#"{"shape": [0, 3], "type": "int8", "data": []}"#).shape == [0, 3])
    }

    @Test(arguments: [
        "[[1],[1,2]]", "[[1],2]", "[1,[2]]", "[[],[1]]", "[null]", "[{}]", "[1,\"a\"]", "[true,1]",
        #"{"data": [1], "shape": [2]}"#, #"{"data": [[1,2]], "shape": [2,1]}"#, #"{"data": 1, "type": "float99"}"#,
        #"{"data": 1, "shape": [-1]}"#, #"{"data": 1, "extra": 1}"#, #"{"type": "complex64", "data": [1,2,3]}"#,
        #"{"shape": [4294967296, 4294967296, 2], "data": []}"#,
    ])
    func malformed(text: String) { #expect(throws: CLIError.self) { try read(text) } }

    @Test func numbersMustFitTheirType() {
        for (text, type) in [("[256]", ElementType.uint8), ("[-1]", .uint8), ("[1.5]", .int32), ("[8]", .int4), ("[2]", .bool),
            ("[1e30]", .int64), ("[99999999999999999999]", .uint64), ("[\"NaN\"]", .int8)] {
            #expect(throws: CLIError.self) { try read(text, as: type) }
        }
    }

    @Test(arguments: ElementType.allCases) func everyTypeComesBack(type: ElementType) throws {
        let tensor = try sample(type)
        #expect(try read(JSONTensor.value(tensor).text()) == tensor)
    }
}
