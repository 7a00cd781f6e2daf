import Apus
import ArgumentParser

struct CompareCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "compare",
        abstract: "Run a model and compare its outputs with expected ones.",
        discussion: """
            An output passes when its largest difference is at most atol + rtol * M, M being the largest expected \
            magnitude of that output. Unless --rtol is given it is 1e-4 for float32 and float64, 5e-3 for float16, 2e-2 for \
            smaller floats and 0 for everything else. NaN equals NaN. The exit status is 1 when an output fails.

            Outputs that are no tensors are compared part by part under the names that apus run writes them with: NAME#0, \
            NAME#1 for a sequence, NAME#keys and NAME#values for a map, NAME#zipmap_keys and NAME#zipmap_values for a \
            sequence of maps.

            EXAMPLES
              apus compare model.onnx --inputs inputs.npz --expected outputs.npz
              apus compare model.onnx --inputs x=x.npy --expected outputs.npz --atol logits=0.01 --rtol 0
            """)

    @Argument(help: "The model, an .onnx file.", completion: .file(extensions: ["onnx"]))
    var model: String

    @Option(help: ArgumentHelp("What to feed, as apus run --input takes it; usually one .npz file. May be repeated.",
        valueName: "[NAME=]FILE"))
    var inputs: [String] = []

    @Option(help: ArgumentHelp("The expected outputs by name: an .npz or .json file.", valueName: "FILE"))
    var expected: String

    @Option(help: ArgumentHelp(
        "Tolerance as a share of the output's largest expected magnitude, for all outputs or for one. May be repeated.",
        valueName: "[NAME=]X"))
    var rtol: [String] = []

    @Option(help: ArgumentHelp("Absolute tolerance, added to that; 0 unless given. May be repeated.", valueName: "[NAME=]X"))
    var atol: [String] = []

    @Flag(help: "Print the result as JSON.")
    var json = false

    @OptionGroup(title: "Running") var runtime: RuntimeOptions

    func run() throws {
        let relative = try Tolerances(rtol, option: "--rtol")
        let absolute = try Tolerances(atol, option: "--atol")
        let source = try InputSource(expected)
        guard source.mayHoldSeveral, let references = try source.namedTensors() else {
            throw CLIError.usage("--expected \(expected): an .npz file, or JSON with names, is needed")
        }
        let session = try runtime.session(model)
        var options = InputOptions()
        (options.inputs, options.dimensions, options.shapes) = (inputs, [], [])
        let tensors = try options.tensors(for: session.inputs.map { InputInfo($0) }, try ImageOptions.parse([]))
        let prepared = try PreparedRun(session, tensors)
        let outputs = try prepared.tensors(try prepared.run(runtime.control()))
        for name in relative.names + absolute.names where !outputs.contains(where: { $0.name == name }) {
            throw CLIError.usage("a tolerance is given for '\(name)', which is no output")
        }

        var results: [(name: String, tensor: HostTensor, comparison: Comparison)] = []
        for (name, load) in references {
            guard let (_, tensor) = outputs.first(where: { $0.name == name }) else {
                throw CLIError.usage(
                    "\(expected): '\(name)' is no output of the model, which has \(outputs.map(\.name).joined(separator: ", "))")
            }
            let reference = try at("\(expected): '\(name)'") { try load(tensor.type) }
            results.append((name, tensor, Comparison(
                tensor, expected: reference, relativeTolerance: relative[name], absoluteTolerance: absolute[name] ?? 0)))
        }
        guard !results.isEmpty else { throw CLIError.usage("\(expected) holds no expected outputs") }
        let left = outputs.map(\.name).filter { name in !results.contains { $0.name == name } }
        if json { print(Self.report(results, left).text()) } else { show(results, left) }
        let failures = results.filter { !$0.comparison.passed }.count
        guard failures == 0 else {
            throw CLIError(.mismatch, "\(failures) of \(results.count) outputs differ from what is expected")
        }
    }

    private func show(_ results: [(name: String, tensor: HostTensor, comparison: Comparison)], _ left: [String]) {
        var rows = [["output", "type", "max abs", "max rel", "limit", "different", ""]]
        for (name, tensor, comparison) in results {
            let type = tensor.type.numpyName + Format.shape(tensor.shape)
            if let problem = comparison.problem {
                rows.append([name, type, "", "", "", "", "FAILED: \(problem)"])
                continue
            }
            rows.append([
                name, type, Format.number(comparison.maximum, digits: 3),
                comparison.relative.map { Format.number($0, digits: 3) } ?? "-", Format.number(comparison.limit, digits: 3),
                "\(Format.grouped(comparison.different)) of \(Format.grouped(tensor.count))",
                comparison.passed ? "ok" : "FAILED" + (comparison.worst.map { ", most at \(Self.place($0, tensor))" } ?? ""),
            ])
        }
        print(Format.table(rows, numeric: [2, 3, 4, 5]).joined(separator: "\n"))
        if !left.isEmpty { Terminal.error("apus: not compared, as nothing is expected of them: \(left.joined(separator: ", "))") }
    }

    /// The coordinates of an element; a complex number counts twice.
    private static func place(_ position: Int, _ tensor: HostTensor) -> String {
        var rest = tensor.type.isComplex ? position / 2 : position
        var coordinates: [Int] = []
        for dimension in tensor.shape.reversed() where dimension > 0 {
            coordinates.append(rest % dimension)
            rest /= dimension
        }
        return Format.shape(coordinates.reversed())
    }

    private static func report(
        _ results: [(name: String, tensor: HostTensor, comparison: Comparison)], _ left: [String]
    ) -> JSONValue {
        .object([
            .init("passed", .bool(results.allSatisfy { $0.comparison.passed })),
            .init("outputs", .array(results.map { name, tensor, comparison in
                var members: [JSONValue.Member] = [
                    .init("name", .string(name)), .init("type", .string(tensor.type.numpyName)),
                    .init("shape", .array(tensor.shape.map { .integer($0) })), .init("passed", .bool(comparison.passed)),
                ]
                if let problem = comparison.problem {
                    members.append(.init("problem", .string(problem)))
                } else {
                    members += [
                        .init("max_abs", .real(comparison.maximum)), .init("max_rel", comparison.relative.map { .real($0) } ?? .null),
                        .init("limit", .real(comparison.limit)), .init("different", .integer(comparison.different)),
                    ]
                }
                return .object(members)
            })),
            .init("not_compared", .array(left.map { .string($0) })),
        ])
    }
}
