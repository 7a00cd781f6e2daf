import ApusCore
import ApusGraph
import ApusOperators
import ApusOptimizer
import ApusRuntime

/// One input or output of a model.
public struct ValueDescription: Sendable {
    public let name: ByteString
    /// Kind, element type and, as far as the model tells, shape.
    public let type: ValueType
    /// Whether a run may leave this input out: it has a default value.
    public let isOptional: Bool
}

/// A model made ready to run.
///
/// Any number of threads may call `run` at the same time. Plans for the shapes seen lately, packed weights and working
/// memory are kept for the next run.
public final class Session: Sendable {
    public let inputs: [ValueDescription]
    public let outputs: [ValueDescription]
    package let compiled: CompiledGraph
    package let environment: RuntimeEnvironment
    private let defaults: [Value?]

    /// The optimiser's passes, which `SessionOptions.disabledPasses` can leave out.
    public static var passNames: [String] {
        var seen = Set<String>()
        return Optimizer.pipeline.map(\.pass.name).filter { seen.insert($0).inserted }
    }

    public init(_ model: Model, options: SessionOptions = SessionOptions()) throws {
        environment = try RuntimeEnvironment(options)
        let compilation = Compilation(model.imported, options: options, environment: environment)
        let graph = try compilation.graph(after: .optimize)
        let imported = model.imported.graph
        let infos = compilation.outputTypes
        inputs = try compilation.inputs.map { input in
            guard let type = imported.values[input.index].type else {
                throw ApusError(.invalidModel, "input \"\(imported.displayName(input))\" has no type")
            }
            return ValueDescription(
                name: imported.values[input.index].name, type: type, isOptional: imported.initializers[input] != nil)
        }
        defaults = compilation.inputs.map { imported.initializers[$0] }
        outputs = zip(imported.outputs, infos).map { id, info in
            ValueDescription(name: imported.values[id.index].name, type: info, isOptional: false)
        }
        compiled = try CompiledGraph(graph, environment: environment)
    }

    /// Runs the model once.
    ///
    /// `inputs` are given by name; those with a default may be left out. Returns the outputs in the model's order, in memory
    /// of their own.
    public func run(_ inputs: [String: Value], control: RunControl? = nil) throws -> [Value] {
        let ordered = try positioned(inputs)
        var results = [Value?](repeating: nil, count: outputs.count)
        try ordered.withUnsafeBufferPointer { ordered in
            try results.withUnsafeMutableBufferPointer { results in
                try run(ordered, outputs: nil, control: control ?? RunControl(), results: results)
            }
        }
        return results.compactMap { $0 }
    }

    /// The named values at their inputs' positions; nil where none is given.
    private func positioned(_ inputs: [String: Value]) throws -> [Value?] {
        var ordered = [Value?](repeating: nil, count: self.inputs.count)
        for (name, value) in inputs {
            guard let position = self.inputs.firstIndex(where: { $0.name.equals(name) }) else {
                throw ApusError(
                    .notFound,
                    "the model has no input \"\(name)\"; its inputs are \(self.inputs.map { "\"\($0.name)\"" }.joined(separator: ", "))")
            }
            ordered[position] = value
        }
        return ordered
    }

    /// A value for each input, defaults included, that a run would take.
    package func arguments(_ inputs: [Value?]) throws -> [Value] {
        guard inputs.count == self.inputs.count else {
            throw ApusError(.invalidArgument, "\(self.inputs.count) inputs expected, \(inputs.count) given")
        }
        return try zip(inputs, self.inputs).enumerated().map { position, pair in
            guard let value = pair.0 ?? defaults[position] else { throw ApusError(.invalidArgument, "input \"\(pair.1.name)\" is missing") }
            try check(value, pair.1)
            return value
        }
    }

    /// The same by name.
    package func arguments(_ inputs: [String: Value]) throws -> [Value] { try arguments(try positioned(inputs)) }

    /// The same by position: `inputs` has an entry for each input of the model, nil to use its default; `outputs`, where
    /// given, one for each output, nil for new memory. Makes no allocation of its own when shapes repeat, inputs have no
    /// defaults and outputs are given. `profile` measures the steps.
    package func run(
        _ inputs: UnsafeBufferPointer<Value?>, outputs: UnsafeBufferPointer<Tensor?>?, control: RunControl,
        profile: RunProfile? = nil, results: UnsafeMutableBufferPointer<Value?>
    ) throws {
        guard inputs.count == self.inputs.count else {
            throw ApusError(.invalidArgument, "\(self.inputs.count) inputs expected, \(inputs.count) given")
        }
        try withUnsafeTemporaryAllocation(of: Value.self, capacity: inputs.count) { buffer in
            var count = 0
            defer { buffer.baseAddress?.deinitialize(count: count) }
            for (position, input) in inputs.enumerated() {
                guard let value = input ?? defaults[position] else {
                    throw ApusError(.invalidArgument, "input \"\(self.inputs[position].name)\" is missing")
                }
                try check(value, self.inputs[position])
                buffer.initializeElement(at: position, to: value)
                count += 1
            }
            try compiled.run(
                UnsafeBufferPointer(buffer), outputs: outputs, control: control, profile: profile, results: results)
        }
    }

    /// Throws unless `value` is what the model declares for the input.
    private func check(_ value: Value, _ input: ValueDescription) throws {
        switch (input.type, value) {
        case (.tensor(let type, let shape), .tensor(let tensor)) where type == tensor.type:
            guard shape.admits(tensor.shape) else {
                throw ApusError(.shapeMismatch, "input \"\(input.name)\" has shape \(shape), the given tensor \(tensor.shape)")
            }
        case (.tensor(.string, let shape), .strings(let strings)):
            guard shape.admits(strings.shape) else {
                throw ApusError(.shapeMismatch, "input \"\(input.name)\" has shape \(shape), the given tensor \(strings.shape)")
            }
        case (.sparse(let type, let shape), .sparse(let sparse)) where sparse.values.type.elementType == type:
            guard shape.admits(sparse.shape) else {
                throw ApusError(.shapeMismatch, "input \"\(input.name)\" has shape \(shape), the given sparse tensor \(sparse.shape)")
            }
        case (.sequence, .sequence), (.map, .map), (.optional, .optional):
            guard value.type.isSameApartFromShape(as: input.type) else {
                throw ApusError(.typeMismatch, "input \"\(input.name)\" is \(input.type), the given value \(value.type)")
            }
        // A plain value is an optional that holds it.
        case (.optional(let element), let value) where value.type.isSameApartFromShape(as: element): break
        default:
            throw ApusError(.typeMismatch, "input \"\(input.name)\" is \(input.type), the given value \(value.type)")
        }
    }
}
