import ApusCore
import ApusGraph

extension ElementType {
    /// Whether this is a 16-bit float, which is computed with in float32.
    package var isShortFloat: Bool { self == .float16 || self == .bfloat16 }
}

extension PrepareContext {
    /// Prepares float16 and bfloat16 inputs and outputs through float32: `prepare` sees a context in which these are
    /// float32, and the node it returns runs between conversions that go through the workspace. Where no input or
    /// output is a 16-bit float, it is called with this context and nothing is added.
    ///
    /// Constants are converted once per session and shared. The node may use `input`, `output`, `workspace` and `pool` of
    /// its `NodeIO`, not `view`, `value`, `makeOutput` and `setOutput`; all its 16-bit outputs must have known shapes.
    package func throughFloat32(_ prepare: (PrepareContext) throws -> any PreparedNode) throws -> any PreparedNode {
        try through(.float32, [.float16, .bfloat16], prepare)
    }

    /// As `throughFloat32`, through `number`, for inputs and outputs of `types`; the inputs `kept` stay as they are.
    func through(
        _ number: ElementType, _ types: [ElementType], except kept: [Int] = [], _ prepare: (PrepareContext) throws -> any PreparedNode
    ) throws -> any PreparedNode {
        guard let bridge = try Bridge(self, number, types, kept) else { return try prepare(self) }
        return try bridge.node(around: prepare(bridge.context))
    }
}

extension Tensor {
    /// This tensor, or where it is none of float32 a copy of it that is.
    func widened(_ budget: MemoryBudget) throws -> Tensor {
        if type == .float32 { return self }
        let convert = try castLoop(type, .float32), copy = try Tensor.allocate(.float32, shape, budget: budget)
        convert(count, pointer, copy.pointer)
        return copy
    }
}

/// What `PrepareContext.through` settles: the conversions, and the context between them. Apart from that function, since the
/// compiler makes a copy of a function for each closure that it is called with.
private struct Bridge {
    let context: PrepareContext
    private let number: ElementType
    private let conversions: [BridgedNode.Conversion]
    private let results: [BridgedNode.Conversion]
    private let end: Int

    /// nil where nothing is to be converted.
    init?(_ context: PrepareContext, _ number: ElementType, _ types: [ElementType], _ kept: [Int]) throws {
        var end = 0
        func reserve(_ shape: Shape) throws -> Int {
            let start = end
            end = try start.adding(shape.count.multiplied(by: number.bitWidth / 8)).roundedUp(to: 64)
            return start
        }
        var conversions: [BridgedNode.Conversion] = [], results: [BridgedNode.Conversion] = []
        var inputs = context.inputs, outputs = context.outputs
        for (index, info) in inputs.enumerated() {
            guard let info, case .tensor(let type, _) = info.type, types.contains(type), !kept.contains(index) else { continue }
            let shape = try context.shape(index), convert = try castLoop(type, number)
            var converted = ValueInfo(number, shape)
            if let tensor = context.constant(index) {
                let storage = try context.packed.storage(of: tensor, key: number.name) { tensor, budget in
                    let copy = try Tensor.allocate(number, tensor.shape, budget: budget)
                    convert(tensor.count, tensor.pointer, copy.pointer)
                    return copy.storage
                }
                converted.constant = .tensor(try Tensor(type: number, shape: shape, storage: storage))
                conversions.append(.init(index: index, type: type, count: shape.count, place: .constant(storage), convert: convert))
            } else {
                conversions.append(.init(index: index, type: type, count: shape.count, place: .workspace(try reserve(shape)), convert: convert))
            }
            inputs[index] = converted
        }
        for (index, info) in outputs.enumerated() {
            guard case .tensor(let type, _) = info.type, types.contains(type) else { continue }
            let shape = try context.outputShape(index)
            results.append(.init(
                index: index, type: type, count: shape.count, place: .workspace(try reserve(shape)), convert: try castLoop(number, type)))
            outputs[index] = ValueInfo(number, shape)
        }
        if conversions.isEmpty && results.isEmpty { return nil }
        self.context = PrepareContext(
            inputs: inputs, outputs: outputs, levels: context.levels, threads: context.threads, packed: context.packed)
        self.number = number
        self.conversions = conversions
        self.results = results
        self.end = end
    }

    func node(around inner: any PreparedNode) throws -> any PreparedNode {
        BridgedNode(inner, number, inputs: conversions, outputs: results, innerWorkspace: end, total: try end.adding(inner.workspaceByteCount))
    }
}

/// A node between conversions.
private final class BridgedNode: PreparedNode {
    struct Conversion: Sendable {
        enum Place: Sendable {
            /// Byte offset in the workspace.
            case workspace(Int)
            case constant(Storage)
        }
        let index: Int
        let type: ElementType
        let count: Int
        let place: Place
        let convert: UnaryLoop
    }

    let workspaceByteCount: Int
    private let inner: any PreparedNode
    private let number: ElementType
    private let inputs: [Conversion]
    private let outputs: [Conversion]
    private let innerWorkspace: Int

    init(_ inner: any PreparedNode, _ number: ElementType, inputs: [Conversion], outputs: [Conversion], innerWorkspace: Int, total: Int) {
        self.inner = inner
        self.number = number
        self.inputs = inputs
        self.outputs = outputs
        self.innerWorkspace = innerWorkspace
        workspaceByteCount = total
    }

    var kernelName: String { inner.kernelName + (number == .float32 ? " through float32" : " through float64") }

    func run(_ io: NodeIO) throws {
        let workspace = io.workspace
        for conversion in inputs where io.has(conversion.index) {
            guard case .workspace(let offset) = conversion.place else { continue }
            apply(conversion, io, io.input(conversion.index), conversion.type.bitWidth / 8, workspace + offset, number.bitWidth / 8)
        }
        try redirected(io) { try inner.run(io) }
        for conversion in outputs where io.hasOutput(conversion.index) {
            guard case .workspace(let offset) = conversion.place else { continue }
            apply(conversion, io, workspace + offset, number.bitWidth / 8, io.output(conversion.index), conversion.type.bitWidth / 8)
        }
    }

    private func apply(
        _ conversion: Conversion, _ io: NodeIO, _ source: UnsafeRawPointer, _ sourceSize: Int, _ target: UnsafeMutableRawPointer,
        _ targetSize: Int
    ) {
        io.pool.inChunks(conversion.count) { range in
            conversion.convert(range.count, source + sourceSize * range.lowerBound, target + targetSize * range.lowerBound)
        }
    }

    /// Calls `body` while the frame's pointers of converted inputs and outputs lead to their float32 forms.
    private func redirected(_ io: NodeIO, _ body: () throws -> Void) throws {
        let pointers = io.frame.pointers, workspace = io.workspace
        try withUnsafeTemporaryAllocation(of: UnsafeMutableRawPointer?.self, capacity: max(1, inputs.count + outputs.count)) { saved in
            saved.initialize(repeating: nil)
            for (position, conversion) in inputs.enumerated() where io.has(conversion.index) {
                let slot = Int(io.layout.inputs[conversion.index])
                saved[position] = pointers[slot]
                pointers[slot] = Self.address(conversion.place, workspace)
            }
            for (position, conversion) in outputs.enumerated() where io.hasOutput(conversion.index) {
                let slot = Int(io.layout.outputs[conversion.index])
                saved[inputs.count + position] = pointers[slot]
                pointers[slot] = Self.address(conversion.place, workspace)
            }
            io.frame.workspace = workspace + innerWorkspace
            defer {
                io.frame.workspace = workspace
                // Backwards: one value may be several inputs, and the first one saved its own pointer.
                for (position, conversion) in outputs.enumerated().reversed() where io.hasOutput(conversion.index) {
                    pointers[Int(io.layout.outputs[conversion.index])] = saved[inputs.count + position]
                }
                for (position, conversion) in inputs.enumerated().reversed() where io.has(conversion.index) {
                    pointers[Int(io.layout.inputs[conversion.index])] = saved[position]
                }
            }
            try body()
        }
    }

    private static func address(_ place: Conversion.Place, _ workspace: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer {
        switch place {
        case .workspace(let offset): workspace + offset
        case .constant(let storage): storage.base
        }
    }
}
