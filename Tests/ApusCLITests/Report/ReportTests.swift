import ApusCore
import Foundation
import Testing

@testable import ApusCLI

@Suite struct ComparisonTests {
    private func compare(_ actual: [Double], _ expected: [Double], _ type: ElementType = .float32, rtol: Double? = nil, atol: Double = 0)
        throws -> Comparison
    {
        Comparison(
            try HostTensor(type, [actual.count], numbers: actual), expected: try HostTensor(type, [expected.count], numbers: expected),
            relativeTolerance: rtol, absoluteTolerance: atol)
    }

    @Test func limitsGrowWithTheLargestExpectedMagnitude() throws {
        let result = try compare([1, 200.01], [1, 200])
        #expect(result.passed)
        #expect(result.different == 1)
        #expect(result.worst == 1)
        #expect(abs(result.limit - 0.02) < 1e-6)
        #expect(try !compare([1, 200.1], [1, 200]).passed)
        #expect(try compare([1, 200.1], [1, 200], atol: 0.1).passed)
        #expect(try !compare([1, 200.01], [1, 200], rtol: 0).passed)
    }

    @Test func nanAndInfinity() throws {
        #expect(try compare([.nan, .infinity], [.nan, .infinity]).different == 0)
        #expect(try !compare([.nan], [1], atol: 1e9).passed)
        #expect(try !compare([1], [.nan], atol: 1e9).passed)
        #expect(try !compare([-.infinity], [.infinity], atol: 1e9).passed)
        #expect(try !compare([1], [.infinity], atol: 1e9).passed)
    }

    @Test func wholeNumbersMustBeEqual() throws {
        #expect(try compare([1, 2], [1, 2], .int32).passed)
        #expect(try !compare([1, 2], [1, 3], .int32).passed)
        #expect(try compare([1, 2], [1, 3], .int32, atol: 1).passed)
        // Neighbours that a Double cannot tell apart.
        let (a, b) = (Int64.max, Int64.max - 1)
        let result = Comparison(
            try HostTensor(.int64, [1], bytes: littleEndian([a])), expected: try HostTensor(.int64, [1], bytes: littleEndian([b])),
            relativeTolerance: nil, absoluteTolerance: 0)
        #expect(!result.passed)
    }

    @Test func typesShapesAndStrings() throws {
        let x = try HostTensor(.float32, [2], numbers: [1, 2])
        let y = try HostTensor(.float64, [2], numbers: [1, 2])
        let z = try HostTensor(.float32, [1, 2], numbers: [1, 2])
        for other in [y, z] {
            let result = Comparison(x, expected: other, relativeTolerance: nil, absoluteTolerance: 1e9)
            #expect(!result.passed && result.problem != nil)
        }
        let s = try HostTensor([2], strings: [[1], [2]])
        let t = try HostTensor([2], strings: [[1], [3]])
        #expect(Comparison(s, expected: s, relativeTolerance: nil, absoluteTolerance: 0).passed)
        #expect(Comparison(s, expected: t, relativeTolerance: 1, absoluteTolerance: 1e9).worst == 1)
        #expect(!Comparison(s, expected: t, relativeTolerance: 1, absoluteTolerance: 1e9).passed)
    }

    @Test func emptyTensorsAreEqual() throws { #expect(try compare([], []).passed) }

    @Test func tolerancesByName() throws {
        let tolerances = try Tolerances(["0.5", "a=b=0.25", "c=0"], option: "--atol")
        #expect(tolerances["x"] == 0.5)
        #expect(tolerances["a=b"] == 0.25)
        #expect(tolerances["c"] == 0)
        #expect(throws: CLIError.self) { try Tolerances(["-1"], option: "--atol") }
        #expect(throws: CLIError.self) { try Tolerances(["a=x"], option: "--atol") }
        #expect(throws: CLIError.self) { try Tolerances(["nan"], option: "--atol") }
    }
}

@Suite struct StatisticsTests {
    @Test func percentiles() throws {
        let statistics = try #require(Statistics((1...101).reversed().map(Double.init)))
        #expect((statistics.least, statistics.median, statistics.most) == (1, 51, 101))
        #expect(statistics.percentile(90) == 91)
        #expect(statistics.percentile(99) == 100)
        #expect(statistics.mean == 51)
        let two = try #require(Statistics([3, 1]))
        #expect(two.median == 2)
        #expect(two.percentile(75) == 2.5)
        #expect(Statistics([]) == nil)
        #expect(Statistics([7])?.percentile(99) == 7)
    }
}

@Suite struct ClassificationTests {
    @Test func bestFirstAndTiesByClass() throws {
        let scores = try HostTensor(.float32, [2, 4], numbers: [1, 5, 5, 2, 9, 0, 0, 0])
        let best = try #require(Classification(scores, top: 2))
        #expect(best.rows.map { $0.map(\.index) } == [[1, 2], [0, 1]])
        #expect(!best.areProbabilities)
        #expect(try #require(Classification(scores, top: 99)).rows[0].count == 4)
    }

    @Test func probabilities() throws {
        let scores = try HostTensor(.float32, [1, 3], numbers: [0.25, 0.5, 0.25])
        #expect(try #require(Classification(scores, top: 1)).areProbabilities)
        let logits = try HostTensor(.float32, [3], numbers: [1000, 1000, -1000])
        let soft = try #require(Classification(logits, top: 3, softmax: true))
        #expect(soft.areProbabilities)
        #expect(soft.rows[0].map(\.score) == [0.5, 0.5, 0])
    }

    @Test func whatIsNoScore() throws {
        #expect(Classification(try HostTensor([2], strings: [[], []]), top: 1) == nil)
        #expect(Classification(try HostTensor(.float32, [], numbers: [1]), top: 1) == nil)
        #expect(Classification(try HostTensor(.float32, [5, 1], numbers: [1, 2, 3, 4, 5]), top: 1) == nil)
        #expect(Classification(try HostTensor(.float32, [0, 5], numbers: []), top: 1)?.rows.isEmpty == true)
    }

    @Test func linesFitTheirWidth() throws {
        let scores = try HostTensor(.float32, [1, 3], numbers: [0.7, 0.2, 0.1])
        let lines = try #require(Classification(scores, top: 3)).lines(["cat", "dog"], width: 60)
        #expect(lines.count == 3)
        #expect(lines.allSatisfy { $0.count <= 80 })
        #expect(lines[0].contains("cat") && lines[0].contains("70.0 %"))
        #expect(lines[2].contains("class 2"))
        // Numbers that are not finite draw nothing and end nothing.
        let odd = try HostTensor(.float32, [1, 3], numbers: [.nan, .infinity, -.infinity])
        #expect(try #require(Classification(odd, top: 3)).lines(nil, width: 60).count == 3)
    }
}

@Suite struct FormatTests {
    @Test func numbers() {
        #expect(Format.grouped(1_234_567) == "1,234,567")
        #expect(Format.grouped(-999) == "-999")
        #expect(Format.grouped(Int64.min) == "-9,223,372,036,854,775,808")
        #expect(Format.number(0.00123456) == "0.001235")
        #expect(Format.number(12345.678) == "12346")
        #expect(Format.number(-1e-7) == "-1.000e-07")
        #expect(Format.number(.infinity) == "inf")
        #expect(Format.seconds(0.0000123) == "12.30 µs")
        #expect(Format.bytes(51231) == "51.2 kB")
    }

    @Test func bars() {
        #expect(Terminal.bar(0, width: 4) == "    ")
        #expect(Terminal.bar(1, width: 4) == "████")
        #expect(Terminal.bar(0.5, width: 3) == "█▌ ")
        #expect(Terminal.bar(7, width: 2) == "██")
        #expect(Terminal.bar(.nan, width: 2) == "  ")
    }

    @Test func pictures() throws {
        let picture = try HostTensor(.float32, [1, 1, 2, 2], numbers: [0, 1, 1, 0])
        #expect(PictureText.lines(picture, width: 80) == ["    ██", "  ██  "])
        #expect(PictureText.lines(picture, width: 3) == nil)
        #expect(PictureText.lines(try HostTensor(.float32, [1, 3, 2, 2], numbers: Array(repeating: 0, count: 12)), width: 80) == nil)
    }

    @Test func outputNamesStayInTheirDirectory() {
        #expect(OutputFile.fileName("../../etc/x") == "_.._.._etc_x")
        #expect(OutputFile.fileName("") == "_")
        #expect(OutputFile.fileName("a:0") == "a:0")
    }
}

@Suite struct KernelFamilyTests {
    @Test func theChoiceIsAlwaysOneOfTheFamily() {
        #expect(!KernelFamily.all.isEmpty)
        for family in KernelFamily.all {
            #expect(family.kernels.last?.level == 0, "\(family.name) has no generic kernel at its end")
            for levels: UInt32 in [0, 1, 3, 0xffff_ffff] {
                #expect(family.kernels.contains { $0.name == family.chosen(levels) })
            }
        }
    }

    /// `apus kernels` leaves no table out.
    @Test func everyTableIsListed() throws {
        let root = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../..")
        let headers = root.appending(path: "Sources/CApusKernels/include")
        var declared: Set<String> = []
        for file in try FileManager.default.contentsOfDirectory(at: headers, includingPropertiesForKeys: nil) {
            let text = try String(contentsOf: file, encoding: .utf8)
            for match in text.matches(of: /(?m)^const .*\*apus_(\w+)_select\(/) { declared.insert(String(match.1)) }
        }
        #expect(!declared.isEmpty)
        #expect(Set(KernelFamily.all.map(\.name)) == declared)
    }
}
