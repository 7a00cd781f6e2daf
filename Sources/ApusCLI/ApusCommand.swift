import CApus
import ArgumentParser
import Glibc

/// The root of `apus`.
@main
struct ApusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "apus",
        abstract: "Runs, measures, examines and quantises ONNX models.",
        discussion: """
            EXIT STATUS
              0    success
              1    apus compare found a difference beyond the tolerance
              2    the command line is wrong
              3    the model cannot be read, is malformed or not supported
              4    the run failed: inputs that do not fit, limits, an operator's error
              5    a file of inputs, labels or results cannot be read or written

            Results go to standard output, everything else to standard error. APUS_CPU (generic, avx2, avxvnni, avx512, \
            avx512vnni; neon, neondot, neoni8mm) caps the instructions used, as --cpu does.
            """,
        version: String(cString: apus_version()),
        subcommands: [
            RunCommand.self, InspectCommand.self, BenchCommand.self, CompareCommand.self, QuantizeCommand.self, KernelsCommand.self, OperatorsCommand.self,
        ])

    /// Parses, runs and ends the process with the documented status.
    static func main() {
        // A reader that goes away (`apus … | head`) ends the process quietly, as it does for other tools.
        signal(SIGPIPE, SIG_DFL)
        Glibc.exit(run(Array(CommandLine.arguments.dropFirst())))
    }

    /// What `main` does, but returning the exit status.
    static func run(_ arguments: [String]) -> Int32 {
        do {
            var command = try parseAsRoot(arguments)
            try command.run()
            return 0
        } catch let error as CLIError {
            Terminal.error("apus: \(error)")
            return error.kind.rawValue
        } catch {
            // ArgumentParser's own: help and versions are successes, everything else is a wrong command line.
            let isSuccess = exitCode(for: error) == .success
            let text = fullMessage(for: error)
            if isSuccess { print(text) } else { Terminal.error(text) }
            return isSuccess ? 0 : CLIError.Kind.usage.rawValue
        }
    }
}
