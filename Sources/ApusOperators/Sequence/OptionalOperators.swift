import ApusCore

/// Makes an optional: of its input, or an empty one of a given type.
struct OptionalOperator: Operator {
    static let schemas = [Schema("Optional", since: [15, 28], inputs: 0...1)]

    private let type: ValueType?

    init(_ node: NodeReader) throws {
        type = try node.optionalType("type")
        guard type != nil || node.hasInput(0) else {
            throw ApusError(.invalidModel, "Optional has neither an input nor attribute \"type\"")
        }
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        if let info = context.optional(0) { return [ValueInfo(.optional(info.type))] }
        guard let type else { throw ApusError(.invalidModel, "attribute \"type\" is missing") }
        if case .optional = type { return [ValueInfo(type)] }
        return [ValueInfo(.optional(type))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        guard case .optional(let element) = context.outputs[0].type else { throw ApusError(.internal, "no optional was inferred") }
        let hasInput = context.has(0)
        return PreparedKernel("optional") { io in
            try io.setOutput(0, .optional(OptionalValue(elementType: element, element: hasInput ? try io.value(0) : nil)))
        }
    }
}

/// The value in an optional, which must not be empty. What is no optional is passed on.
struct OptionalGetElementOperator: Operator {
    static let schemas = [Schema("OptionalGetElement", since: [15, 18, 28], inputs: 1...1)]

    private let takesAny: Bool

    init(_ node: NodeReader) throws {
        takesAny = node.opset >= 18
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let info = try context.input(0)
        if case .optional(let element) = info.type { return [ValueInfo(element)] }
        guard takesAny else { throw ApusError(.typeMismatch, "an optional expected, found \(info.type)") }
        return [ValueInfo(info.type)]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        PreparedKernel("optional_get") { io in
            var value = try io.value(0)
            if case .optional(let optional) = value {
                guard let element = optional.element else { throw ApusError(.invalidValue, "the optional is empty") }
                value = element
            }
            try io.setOutput(0, value)
        }
    }
}

/// Whether an optional holds a value, as a boolean scalar.
struct OptionalHasElementOperator: Operator {
    static let schemas = [Schema("OptionalHasElement", since: [15, 18, 28], inputs: 0...1)]

    init(_ node: NodeReader) throws {
        guard node.opset >= 18 || node.hasInput(0) else { throw ApusError(.invalidModel, "input 0 is missing") }
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        [ValueInfo(.bool, PartialShape.scalar)]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let hasInput = context.has(0)
        return PreparedKernel("optional_has") { io in
            var isPresent = hasInput
            if hasInput, case .optional(let optional) = try io.value(0) { isPresent = optional.element != nil }
            io.output(0, as: UInt8.self)[0] = isPresent ? 1 : 0
        }
    }
}
