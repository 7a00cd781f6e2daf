import Apus
import ApusCore
import ArgumentParser

/// The options of every command that runs a model.
struct RuntimeOptions: ParsableArguments {
    enum Level: String, ExpressibleByArgument, CaseIterable {
        case none, basic, extended, all

        var level: OptimizationLevel {
            switch self {
            case .none: .none
            case .basic: .basic
            case .extended: .extended
            case .all: .all
            }
        }
    }

    @Option(name: [.customShort("t"), .long], help: ArgumentHelp(
        "Threads of one run. Default: as many as the process may use (affinity and cgroup quota).", valueName: "N"))
    var threads: Int?

    @Option(name: [.customShort("O"), .customLong("optimization")], help: ArgumentHelp(
        "How far to rewrite the graph: none, basic, extended, all.", valueName: "level"))
    var optimization: Level = .all

    @Option(name: .customLong("without"), help: ArgumentHelp(
        "Leave out the optimiser's pass of that name. May be repeated.", valueName: "pass"))
    var disabledPasses: [String] = []

    @Option(help: ArgumentHelp("Highest instruction-set level to use, as APUS_CPU spells it.", valueName: "level"))
    var cpu: String?

    @Option(help: ArgumentHelp("Most memory to take beside the model itself: bytes, or with k, M, G.", valueName: "size"))
    var memoryLimit: ByteSize?

    @Option(help: ArgumentHelp("End a run that takes longer than this.", valueName: "seconds"))
    var timeLimit: Double?

    @Flag(name: [.customShort("v"), .long], help: "Show what the runtime has to say, on standard error.")
    var verbose = false

    func validate() throws {
        if let threads, threads < 1 { throw ValidationError("--threads must be at least 1") }
        for name in disabledPasses where !Session.passNames.contains(name) {
            throw ValidationError("there is no pass '\(name)'; the passes are \(Session.passNames.joined(separator: ", "))")
        }
        if let timeLimit, !(timeLimit > 0 && timeLimit < 1e9) { throw ValidationError("--time-limit must be a positive number") }
    }

    var sessionOptions: SessionOptions {
        var options = SessionOptions()
        options.threads = threads
        options.optimizationLevel = optimization.level
        options.disabledPasses = Set(disabledPasses)
        options.cpu = cpu
        options.memoryLimit = memoryLimit?.bytes
        if verbose { options.log = { level, text in Terminal.error("apus: \(level): \(text)") } }
        return options
    }

    /// Loads a model and makes it ready to run.
    func session(_ path: String) throws -> Session {
        try failing(as: .model) { try Session(try Model.read(path), options: sessionOptions) }
    }

    /// The limits of one run, counted from now.
    func control() -> RunControl {
        let control = RunControl()
        if let timeLimit { control.setTimeLimit(nanoseconds: Int64(timeLimit * 1e9)) }
        return control
    }
}

extension Model {
    static func read(_ path: String) throws -> Model { try failing(as: .model) { try Model(path: path) } }
}

/// Runs `body`; an error of the runtime that leaves it gets the exit status of `kind`, or that of what its code tells.
func failing<T>(as kind: CLIError.Kind, _ body: () throws -> T) throws -> T {
    do {
        return try body()
    } catch let error as ApusError {
        let actual: CLIError.Kind = switch error.code {
        case .io, .invalidModel, .unsupported, .externalData: .model
        case .memoryLimit, .outOfMemory, .cancelled, .deadlineExceeded: .run
        // An option's value, such as an unknown CPU level.
        case .invalidArgument where kind == .model: .usage
        default: kind
        }
        throw CLIError(actual, "\(error)")
    }
}

/// A number of bytes, with k, M, G (powers of 1024) behind it or not.
struct ByteSize: ExpressibleByArgument, Equatable, Sendable {
    let bytes: Int

    init?(argument: String) {
        let shift: Int? = switch argument.last {
        case "k", "K": 10
        case "M": 20
        case "G": 30
        default: nil
        }
        guard let number = Int(shift == nil ? argument : String(argument.dropLast())), number > 0 else { return nil }
        let (bytes, overflow) = number.multipliedReportingOverflow(by: 1 << (shift ?? 0))
        if overflow { return nil }
        self.bytes = bytes
    }
}
