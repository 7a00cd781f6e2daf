import Apus
import ApusCore
import ApusGraph
import ApusRuntime
import ArgumentParser

extension Stage: ExpressibleByArgument {}

struct InspectCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect",
        abstract: "Show what a model consists of and what it asks of the machine.",
        discussion: """
            Multiply-accumulates and memory are for one run with symbolic dimensions of 1, or of the sizes given with --dim \
            and --shape. With --after the graph is printed as it is after a stage: load (as in the file), inline (functions \
            expanded), infer (types and shapes inferred), optimize (ready to be planned).

            EXAMPLES
              apus inspect model.onnx --dim batch=8
              apus inspect model.onnx --after optimize
            """)

    @Argument(help: "The model, an .onnx file.", completion: .file(extensions: ["onnx"]))
    var model: String

    @Flag(help: "Print the result as JSON.")
    var json = false

    @Option(help: ArgumentHelp("Print the graph after this stage instead: load, inline, infer, optimize.", valueName: "STAGE"))
    var after: Stage?

    @Option(name: .customLong("dim"), help: ArgumentHelp("Size of a symbolic dimension. May be repeated.", valueName: "NAME=N"))
    var dimensions: [String] = []

    @Option(name: .customLong("shape"), help: ArgumentHelp("Whole shape of an input. May be repeated.", valueName: "NAME=2x3"))
    var shapes: [String] = []

    @OptionGroup(title: "Running") var runtime: RuntimeOptions

    func validate() throws {
        if json && after != nil { throw ValidationError("--after prints text: it does not go with --json") }
    }

    func run() throws {
        let choices = try ShapeChoices(dimensions: dimensions, shapes: shapes)
        let read = try Model.read(model)
        if let after {
            let graph = try failing(as: .model) { try Compilation.ofModel(read, runtime.sessionOptions).graph(after: after) }
            print(GraphPrinter.text(graph), terminator: "")
            return
        }
        let summary = ModelSummary(read, file: model)
        // What cannot run can still be described; the reason comes last and decides the exit status.
        var failure: CLIError?
        var demand: ModelDemand?
        do {
            let session = try failing(as: .model) { try Session(read, options: runtime.sessionOptions) }
            demand = try ModelDemand(session, read, choices, runtime.sessionOptions)
        } catch let error as CLIError {
            if error.kind == .usage { throw error }
            failure = error
        }
        print(json ? summary.report(demand).text() : summary.lines(demand).joined(separator: "\n"))
        if let failure { throw failure }
    }
}

extension Compilation {
    /// The stages of a model under some options, without a session.
    static func ofModel(_ model: Apus.Model, _ options: SessionOptions) throws -> Compilation {
        Compilation(model.imported, options: options, environment: try RuntimeEnvironment(options))
    }
}
