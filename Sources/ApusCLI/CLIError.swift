import ArgumentParser

/// What went wrong, by the exit status that tells a script about it.
struct CLIError: Error, CustomStringConvertible, Equatable {
    /// The documented exit statuses (`apus --help`); the numbers never change.
    enum Kind: Int32 {
        /// `apus compare` found a difference beyond the tolerance.
        case mismatch = 1
        /// The command line itself: unknown options, missing or contradictory arguments.
        case usage = 2
        /// The model cannot be read, is malformed, or needs something Apus does not have.
        case model = 3
        /// The run failed: inputs that do not fit the model, limits exceeded, an operator's error.
        case run = 4
        /// A file of inputs, expected outputs, labels or results cannot be read, decoded or written.
        case file = 5
    }

    let kind: Kind
    let description: String

    init(_ kind: Kind, _ description: String) {
        self.kind = kind
        self.description = description
    }

    static func usage(_ text: String) -> CLIError { CLIError(.usage, text) }
    static func file(_ text: String) -> CLIError { CLIError(.file, text) }

    /// The same error with the place it happened put in front, unless it starts with it already.
    func at(_ place: String) -> CLIError {
        description.hasPrefix("\(place): ") ? self : CLIError(kind, "\(place): \(description)")
    }
}

/// Runs `body`; a `CLIError` that leaves it says `place` first.
func at<T>(_ place: String, _ body: () throws -> T) throws -> T {
    do { return try body() } catch let error as CLIError { throw error.at(place) }
}
