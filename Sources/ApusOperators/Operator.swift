import ApusCore
import ApusGraph

/// The meaning of one node: its attributes, what it infers, and how it becomes something that runs.
///
/// An operator is made from its node, which settles attributes and opset differences once. It is asked for the types and
/// shapes of its outputs, with symbolic dimensions when a model is loaded and with concrete ones when a plan is made, and
/// then, with concrete input shapes, to prepare. Whatever holds for the operator as a whole is a property here; nothing
/// outside knows operators by name.
package protocol Operator: Sendable {
    /// One entry for each operator type that this type implements.
    static var schemas: [Schema] { get }

    /// Reads the node's attributes and throws where they are wrong.
    init(_ node: NodeReader) throws

    /// Types and shapes of the outputs, one for each output of the node.
    ///
    /// Throws where the inputs cannot be right. Dimensions that cannot be known yet are `unknown`; where all inputs are
    /// concrete (and `parameterInputs` constant), only results that depend on data may be.
    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo]

    /// Chooses kernels, packs weights and sizes the workspace for inputs of concrete shapes.
    func prepare(_ context: PrepareContext) throws -> any PreparedNode

    /// Inputs whose contents, not only shapes, decide what is prepared: the shape of Reshape, the axes of Squeeze.
    ///
    /// When `inferOutputs` is called for a plan and when `prepare` is called, they are constants, if present: where the
    /// model computes them, the runtime waits for the value and prepares anew each time. Default: none.
    var parameterInputs: [Int] { get }

    /// Pairs of an output and an input that may share memory when nobody reads the input later and both have the same
    /// size: the kernel reads each element before it writes that element. Default: none.
    var overwrites: [(output: Int, input: Int)] { get }

    /// The input whose bytes are, unchanged, those of output 0; the step then needs no work. `prepare` must still be able
    /// to copy. Default: nil.
    var viewedInput: Int? { get }

    /// Whether the same inputs always give the same outputs. Random operators say no. Default: true.
    var isDeterministic: Bool { get }

    /// Whether the optimiser may evaluate the node when its inputs are constants, and merge equal ones. Default: `isDeterministic`
    /// and no subgraphs.
    var isFoldable: Bool { get }

    /// Floating-point or integer multiply-accumulates of one run, for `inspect` and `bench`; 0 where nobody counts them.
    func multiplyAccumulates(_ inputs: [ValueInfo?], _ outputs: [ValueInfo]) -> Int
}

extension Operator {
    package var parameterInputs: [Int] { [] }
    package var overwrites: [(output: Int, input: Int)] { [] }
    package var viewedInput: Int? { nil }
    package var isDeterministic: Bool { true }
    package var isFoldable: Bool { isDeterministic }
    package func multiplyAccumulates(_ inputs: [ValueInfo?], _ outputs: [ValueInfo]) -> Int { 0 }
}

/// What is known of a value before it exists.
package struct ValueInfo: Sendable {
    package var type: ValueType
    /// The value itself, where it is known: an initializer, or something computed from constants and shapes.
    package var constant: Value?
    /// The elements of an int64 or int32 tensor of rank 0 or 1 as dimensions, where they stem from shapes.
    package var elements: [Dimension]?

    package init(_ type: ValueType, constant: Value? = nil, elements: [Dimension]? = nil) {
        self.type = type
        self.constant = constant
        self.elements = elements
    }

    package init(_ type: ElementType, _ shape: PartialShape, elements: [Dimension]? = nil) {
        self.init(.tensor(type, shape), elements: elements)
    }

    package init(_ type: ElementType, _ shape: Shape) {
        self.init(.tensor(type, PartialShape(shape)))
    }

    package init(constant value: Value) {
        self.init(value.type, constant: value)
    }

    /// The shape as numbers, where the value is a dense or string tensor and every dimension is known.
    package func concreteShape() throws -> Shape? {
        try type.shape?.concrete()
    }

    /// Whether the value is a dense tensor of known size: it can be given its place in memory in advance.
    package func isStatic() throws -> Bool {
        guard let element = type.elementType, element != .string else { return false }
        return try concreteShape() != nil
    }
}

/// What an operator sees when it infers its outputs.
package struct InferenceContext {
    /// nil: left out.
    package let inputs: [ValueInfo?]
    package let outputCount: Int
    private let subgraphInference: (Graph, [ValueInfo]) throws -> [ValueInfo]

    package init(
        inputs: [ValueInfo?], outputCount: Int,
        subgraphInference: @escaping (Graph, [ValueInfo]) throws -> [ValueInfo] = { graph, _ in
            graph.outputs.map { _ in ValueInfo(.tensor(.float32, .unknown)) }
        }
    ) {
        self.inputs = inputs
        self.outputCount = outputCount
        self.subgraphInference = subgraphInference
    }

    package func has(_ index: Int) -> Bool {
        inputs.indices.contains(index) && inputs[index] != nil
    }

    /// The input, or nil where it is left out.
    package func optional(_ index: Int) -> ValueInfo? {
        inputs.indices.contains(index) ? inputs[index] : nil
    }

    /// The input, which the operator requires.
    package func input(_ index: Int) throws -> ValueInfo {
        guard let info = optional(index) else { throw ApusError(.invalidModel, "input \(index) is missing") }
        return info
    }

    /// The element type of a tensor input.
    package func type(_ index: Int) throws -> ElementType {
        let info = try input(index)
        guard let type = info.type.elementType else {
            throw ApusError(.typeMismatch, "input \(index) must be a tensor, found \(info.type)")
        }
        return type
    }

    /// The element type of a tensor input, which must be one of `types`.
    package func type(_ index: Int, oneOf types: [ElementType]) throws -> ElementType {
        let type = try type(index)
        guard types.contains(type) else {
            throw ApusError(
                .typeMismatch,
                "input \(index) must be a tensor of \(types.map(\.name).joined(separator: ", ")), found \(type.name)")
        }
        return type
    }

    /// Throws unless the tensor inputs at `indices` that are present have one element type, which is returned.
    package func commonType(_ indices: some Sequence<Int>) throws -> ElementType {
        var common: ElementType?
        for index in indices where has(index) {
            let type = try type(index)
            guard common == nil || common == type else {
                throw ApusError(
                    .typeMismatch, "inputs must have one element type, found \(common?.name ?? "") and \(type.name) (input \(index))")
            }
            common = type
        }
        guard let common else { throw ApusError(.invalidModel, "input \(indices.first { _ in true } ?? 0) is missing") }
        return common
    }

    /// What is known of the shape of a tensor input.
    package func shape(_ index: Int) throws -> PartialShape {
        let info = try input(index)
        guard let shape = info.type.shape else {
            throw ApusError(.typeMismatch, "input \(index) must be a tensor, found \(info.type)")
        }
        return shape
    }

    /// Throws unless the input's rank is unknown or in `range`; returns the dimensions where the rank is known.
    package func dimensions(_ index: Int, rank range: some RangeExpression<Int>) throws -> [Dimension]? {
        let shape = try shape(index)
        guard let dimensions = shape.dimensions else { return nil }
        guard range.contains(dimensions.count) else {
            let least = (0..<64).first(where: range.contains) ?? 0
            let most = range.contains(.max) ? nil : (0..<64).last(where: range.contains)
            let allowed = most.map { $0 == least ? "\(least)" : "\(least) to \($0)" } ?? "at least \(least)"
            throw ApusError(.shapeMismatch, "input \(index) has shape \(shape), whose rank must be \(allowed)")
        }
        return dimensions
    }

    /// The contents of an integer input, where it is constant.
    package func integers(_ index: Int) throws -> [Int]? {
        guard let info = optional(index), let constant = info.constant else { return nil }
        return try constant.asTensor().integers()
    }

    /// The contents of an integer input as dimensions, where they are constant or stem from shapes.
    package func elements(_ index: Int) throws -> [Dimension]? {
        if let integers = try integers(index) { return integers.map(Dimension.known) }
        return optional(index)?.elements
    }

    /// What a subgraph's outputs are when its inputs are `inputs`.
    package func inferSubgraph(_ graph: Graph, _ inputs: [ValueInfo]) throws -> [ValueInfo] {
        try subgraphInference(graph, inputs)
    }
}

/// What an operator sees when it prepares: concrete input shapes, constants, the machine.
package struct PrepareContext {
    /// nil: left out. Tensor inputs have concrete shapes.
    package let inputs: [ValueInfo?]
    /// What `inferOutputs` gave for these inputs.
    package let outputs: [ValueInfo]
    /// Bit mask of the `apus_isa` levels that kernels may use.
    package let levels: UInt32
    /// Size of the thread pool that will run the node.
    package let threads: Int
    package let packed: PackCache

    package init(inputs: [ValueInfo?], outputs: [ValueInfo], levels: UInt32, threads: Int, packed: PackCache) {
        self.inputs = inputs
        self.outputs = outputs
        self.levels = levels
        self.threads = threads
        self.packed = packed
    }

    package func has(_ index: Int) -> Bool {
        inputs.indices.contains(index) && inputs[index] != nil
    }

    package func input(_ index: Int) throws -> ValueInfo {
        guard inputs.indices.contains(index), let info = inputs[index] else {
            throw ApusError(.invalidModel, "input \(index) is missing")
        }
        return info
    }

    /// The element type of a tensor input.
    package func type(_ index: Int) throws -> ElementType {
        let info = try input(index)
        guard let type = info.type.elementType else {
            throw ApusError(.typeMismatch, "input \(index) must be a tensor, found \(info.type)")
        }
        return type
    }

    /// The concrete shape of a tensor input.
    package func shape(_ index: Int) throws -> Shape {
        guard let shape = try input(index).concreteShape() else {
            throw ApusError(.typeMismatch, "input \(index) must be a tensor, found \(try input(index).type)")
        }
        return shape
    }

    /// The concrete shape of an output, which must be known.
    package func outputShape(_ index: Int) throws -> Shape {
        guard outputs.indices.contains(index), let shape = try outputs[index].concreteShape() else {
            throw ApusError(.internal, "output \(index) has no known shape")
        }
        return shape
    }

    /// The element type of an output.
    package func outputType(_ index: Int) throws -> ElementType {
        guard outputs.indices.contains(index), let type = outputs[index].type.elementType else {
            throw ApusError(.internal, "output \(index) is no tensor")
        }
        return type
    }

    /// The contents of a tensor input, where they are known.
    package func constant(_ index: Int) -> Tensor? {
        guard has(index), case .tensor(let tensor)? = inputs[index]?.constant else { return nil }
        return tensor
    }

    /// The contents of an integer input, where they are known.
    package func integers(_ index: Int) throws -> [Int]? {
        guard has(index), let value = inputs[index]?.constant else { return nil }
        return try value.asTensor().integers()
    }

    /// A form of constant input `index` that depends on nothing but its contents and `key`: made once per session by
    /// `make`, shared by all plans. nil where the input is not constant.
    package func packed(_ index: Int, key: String, make: (Tensor, MemoryBudget) throws -> Storage) throws -> Storage? {
        guard let tensor = constant(index) else { return nil }
        return try packed.storage(of: tensor, key: key, make: make)
    }
}
