import Apus
import ApusCore
import ApusRuntime

/// A session with its inputs filled in, run by position so that names need not be valid text.
struct PreparedRun {
    let session: Session
    /// One for each input; nil uses the model's default.
    let inputs: [Value?]

    init(_ session: Session, _ tensors: [String: HostTensor]) throws {
        self.session = session
        inputs = try session.inputs.map { input in
            guard let tensor = tensors[input.name.description] else { return nil }
            return try failing(as: .run) { try tensor.value() }
        }
    }

    /// Runs once.
    ///
    /// - Parameter outputs: memory that the results are written to, one entry for each output; nil for new memory.
    /// - Parameter profile: where given, measures the steps.
    func run(_ control: RunControl, into outputs: [Tensor?]? = nil, profile: RunProfile? = nil) throws -> [Value] {
        var results = [Value?](repeating: nil, count: session.outputs.count)
        try failing(as: .run) {
            try inputs.withUnsafeBufferPointer { inputs in
                try results.withUnsafeMutableBufferPointer { results in
                    if let outputs {
                        try outputs.withUnsafeBufferPointer {
                            try session.run(inputs, outputs: $0, control: control, profile: profile, results: results)
                        }
                    } else {
                        try session.run(inputs, outputs: nil, control: control, profile: profile, results: results)
                    }
                }
            }
        }
        return results.compactMap { $0 }
    }

    /// The outputs as named tensors.
    func tensors(_ values: [Value]) throws -> [(name: String, tensor: HostTensor)] {
        try zip(session.outputs, values).flatMap { try flattened($0.name.description, $1) }
    }
}
