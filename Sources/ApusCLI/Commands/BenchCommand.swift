import Apus
import ApusCore
import ApusRuntime
import ArgumentParser

struct BenchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench",
        abstract: "Measure how long a model takes to load and to run.",
        discussion: """
            Inputs that are not given are random (random:0). The same memory is used for the outputs of every run. GFLOP/s \
            counts two operations for each multiply-accumulate of the products, convolutions and recurrent layers as the \
            model states them, whatever the kernels do. With --profile the runs are repeated with a clock read around each \
            step, and a table shows where the time goes (processor time, where there is but one thread); GB/s counts the bytes of \
            a step's inputs and outputs once.

            EXAMPLES
              apus bench model.onnx
              apus bench model.onnx --dim batch=8 --threads 1 --seconds 10 --json
              apus bench model.onnx --profile --threads 1
            """)

    @Argument(help: "The model, an .onnx file.", completion: .file(extensions: ["onnx"]))
    var model: String

    @OptionGroup var input: InputOptions

    @Option(help: ArgumentHelp("Runs to count; by default as many as fit into --seconds.", valueName: "N"))
    var runs: Int?

    @Option(help: ArgumentHelp("Time to measure for.", valueName: "S"))
    var seconds = 3.0

    @Option(help: ArgumentHelp(
        "Runs before the measurement; by default until a fifth of --seconds has passed, three at least.", valueName: "N"))
    var warmUp: Int?

    @Flag(help: "Show the time of each step.")
    var profile = false

    @Flag(help: "Print the result as JSON.")
    var json = false

    @OptionGroup(title: "Pictures") var image: ImageOptions
    @OptionGroup(title: "Running") var runtime: RuntimeOptions

    func validate() throws {
        if let runs, runs < 1 { throw ValidationError("--runs must be at least 1") }
        if let warmUp, warmUp < 0 { throw ValidationError("--warm-up must not be negative") }
        guard seconds > 0, seconds < 1e6 else { throw ValidationError("--seconds must be a positive number") }
    }

    private struct Result {
        let load: Double
        let first: Double
        let warmUps: Int
        let times: Statistics
        let elapsed: Double
        let multiplyAccumulates: Int?
        let threads: Int
        let cpu: String
        let peakMemory: Int?

        /// Operations a second of the median run, in units of 10^9.
        var gigaflops: Double? {
            multiplyAccumulates.flatMap { $0 > 0 ? 2 * Double($0) / times.median / 1e9 : nil }
        }
    }

    func run() throws {
        let start = Self.now()
        let read = try Model.read(model)
        let session = try failing(as: .model) { try Session(read, options: runtime.sessionOptions) }
        let load = Self.now() - start
        let tensors = try input.tensors(
            for: session.inputs.map { InputInfo($0) }, image, fallback: .random(seed: 0, low: nil, high: nil))
        let prepared = try PreparedRun(session, tensors)
        let result = try measure(prepared, read, load, tensors)
        let steps = profile ? try self.steps(prepared, runs: result.times.count) : nil
        if json {
            print(report(result, session, tensors, steps).text())
        } else {
            show(result, session, tensors)
            if let steps { print("\n" + steps.lines().joined(separator: "\n")) }
        }
    }

    /// Measures the steps of as many runs, at most 1000.
    private func steps(_ prepared: PreparedRun, runs: Int) throws -> ProfileTable {
        let profile = RunProfile(countsProcessorTime: prepared.session.environment.pool.size == 1)
        let places = try prepared.run(runtime.control()).map { try? $0.asTensor() }
        let outputs = places.contains { $0 == nil } ? nil : places
        for _ in 0..<min(runs, 1000) { _ = try prepared.run(runtime.control(), into: outputs, profile: profile) }
        return ProfileTable(profile)
    }

    private func measure(
        _ prepared: PreparedRun, _ read: Model, _ load: Double, _ tensors: [String: HostTensor]
    ) throws -> Result {
        defer { Terminal.progress("") }
        Terminal.progress("first run …")
        var begin = Self.now()
        let values = try prepared.run(runtime.control())
        let first = Self.now() - begin
        // Only dense tensors can be written over.
        let places = values.map { try? $0.asTensor() }
        let outputs = places.contains { $0 == nil } ? nil : places

        var done = 0
        begin = Self.now()
        while warmUp.map({ done < $0 }) ?? (done < 3 || Self.now() - begin < seconds / 5) {
            _ = try prepared.run(runtime.control(), into: outputs)
            done += 1
            if warmUp == nil { Terminal.progress("warm-up, \(done) runs") }
        }

        var times: [Double] = []
        times.reserveCapacity(min(runs ?? 1 << 16, 1 << 24))
        begin = Self.now()
        var shown = begin
        var end = begin
        while runs.map({ times.count < $0 }) ?? (times.isEmpty || end - begin < seconds) {
            let start = Self.now()
            _ = try prepared.run(runtime.control(), into: outputs)
            end = Self.now()
            times.append(end - start)
            if end - shown > 0.1 {
                shown = end
                showProgress(times, end - begin)
            }
        }
        guard let statistics = Statistics(times) else { throw CLIError(.run, "nothing was measured") }
        let session = prepared.session
        let graph = try? Compilation(
            read.imported, options: runtime.sessionOptions, environment: session.environment).graph(after: .inline)
        return Result(
            load: load, first: first, warmUps: done, times: statistics, elapsed: end - begin,
            multiplyAccumulates: try graph.flatMap {
                ModelCost.multiplyAccumulates($0, inputs: try ModelCost.infos(session, tensors))
            },
            threads: session.environment.pool.size, cpu: ModelCost.levelName(session.environment.levels),
            peakMemory: ModelCost.peakMemory())
    }

    private func showProgress(_ times: [Double], _ elapsed: Double) {
        let share = runs.map { Double(times.count) / Double($0) } ?? elapsed / seconds
        Terminal.progress(
            "measuring \(Terminal.bar(share, width: 24)) \(Format.fixed(min(share, 1) * 100, 0)) %  "
                + "\(Format.grouped(times.count)) runs, the last in \(Format.seconds(times.last ?? 0))")
    }

    private func show(_ result: Result, _ session: Session, _ tensors: [String: HostTensor]) {
        var rows = [["model", model]]
        for input in session.inputs {
            guard let tensor = tensors[input.name.description] else { continue }
            rows.append(["input", "\(input.name)  \(tensor.type.numpyName)\(Format.shape(tensor.shape))"])
        }
        let times = result.times
        rows += [
            ["threads", "\(result.threads), \(result.cpu)"],
            ["load", Format.seconds(result.load)],
            ["first run", Format.seconds(result.first)],
            ["runs", "\(Format.grouped(times.count)) in \(Format.seconds(result.elapsed)), after \(result.warmUps) to warm up"],
            ["median", Terminal.bold(Format.seconds(times.median))],
            ["p90", Format.seconds(times.percentile(90))],
            ["p99", Format.seconds(times.percentile(99))],
            ["range", "\(Format.seconds(times.least)) to \(Format.seconds(times.most)), mean \(Format.seconds(times.mean))"],
            ["rate", "\(Format.number(1 / times.mean, digits: 3)) runs/s"],
        ]
        if let operations = result.multiplyAccumulates, let rate = result.gigaflops {
            rows.append(["GFLOP/s", "\(Format.number(rate, digits: 3)) (\(Format.grouped(operations)) multiply-accumulates a run)"])
        }
        if let memory = result.peakMemory { rows.append(["memory", "\(Format.bytes(memory)) resident at most"]) }
        print(Format.table(rows).joined(separator: "\n"))
    }

    private func report(
        _ result: Result, _ session: Session, _ tensors: [String: HostTensor], _ steps: ProfileTable?
    ) -> JSONValue {
        let times = result.times
        func milliseconds(_ name: String, _ value: Double) -> JSONValue.Member { .init(name + "_ms", .real(value * 1e3)) }
        return .object([
            .init("model", .string(model)),
            .init("inputs", .object(session.inputs.compactMap { input in
                tensors[input.name.description].map {
                    .init(input.name.description, .string($0.type.numpyName + Format.shape($0.shape)))
                }
            })),
            .init("threads", .integer(result.threads)), .init("cpu", .string(result.cpu)),
            milliseconds("load", result.load), milliseconds("first_run", result.first),
            .init("warm_up_runs", .integer(result.warmUps)), .init("runs", .integer(times.count)),
            milliseconds("median", times.median), milliseconds("p90", times.percentile(90)),
            milliseconds("p99", times.percentile(99)), milliseconds("min", times.least), milliseconds("max", times.most),
            milliseconds("mean", times.mean),
            .init("multiply_accumulates", result.multiplyAccumulates.map { .integer($0) } ?? .null),
            .init("gflops", result.gigaflops.map { .real($0) } ?? .null),
            .init("peak_memory_bytes", result.peakMemory.map { .integer($0) } ?? .null),
        ] + (steps.map { [.init("steps", $0.report())] } ?? []))
    }

    private static func now() -> Double { Double(RunControl.now()) / 1e9 }
}
