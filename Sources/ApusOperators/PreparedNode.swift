import ApusCore
import ApusGraph

/// A node made ready for inputs of given shapes. It only computes: no allocation, no decisions, no shape arithmetic.
///
/// One prepared node may run in several frames at once, so it keeps nothing of a run.
package protocol PreparedNode: AnyObject, Sendable {
    /// Scratch memory that `run` needs, aligned to 64 bytes.
    var workspaceByteCount: Int { get }
    /// What it chose to run, for profiles and `inspect`: the kernel's name, say.
    var kernelName: String { get }
    func run(_ io: NodeIO) throws
}

/// A prepared node made of a closure.
package final class PreparedKernel: PreparedNode, @unchecked Sendable {
    package let workspaceByteCount: Int
    package let kernelName: String
    private let body: (NodeIO) throws -> Void

    /// `body` must not change what it captures.
    package init(_ kernelName: String = "", workspace: Int = 0, _ body: @escaping (NodeIO) throws -> Void) {
        workspaceByteCount = workspace
        self.kernelName = kernelName
        self.body = body
    }

    package func run(_ io: NodeIO) throws { try body(io) }
}

/// The memory of one run of a graph: where each value lies, and the values that have no planned place.
package final class Frame {
    /// By value index: the elements of a dense tensor.
    package let pointers: UnsafeMutableBufferPointer<UnsafeMutableRawPointer?>
    /// By value index: values that are not in the arena (constants, results of unplanned size, other kinds than tensors).
    package let values: UnsafeMutableBufferPointer<Value?>
    package var workspace: UnsafeMutableRawPointer?
    /// The threads, for this frame's runs.
    package let pool: ThreadPool
    package private(set) var control: RunControl
    package let budget: MemoryBudget

    package init(valueCount: Int, pool: ThreadPool, control: RunControl, budget: MemoryBudget) {
        pointers = .allocate(capacity: max(valueCount, 1))
        pointers.initialize(repeating: nil)
        values = .allocate(capacity: max(valueCount, 1))
        values.initialize(repeating: nil)
        self.pool = ThreadPool(sharing: pool)
        self.control = control
        self.budget = budget
        begin(control)
    }

    /// From now on it serves a run that `control` may stop.
    package func begin(_ control: RunControl) {
        self.control = control
        pool.begin(control)
    }

    deinit {
        pointers.deallocate()
        values.deinitialize().deallocate()
    }

    /// Makes `value` the contents of the value with that index.
    package func set(_ index: Int, _ value: Value?) {
        values[index] = value
        if case .tensor(let tensor)? = value { pointers[index] = tensor.pointer }
    }
}

/// What does not change between the runs of one step: which values it reads and writes, and what is known of them.
package final class StepLayout: @unchecked Sendable {
    package let name: String
    /// Value indices; -1: left out.
    package let inputs: [Int32]
    package let outputs: [Int32]
    package let inputInfos: [ValueInfo?]
    /// Concrete shapes for outputs that have a planned place.
    package let outputInfos: [ValueInfo]
    /// By output: whether the planner gave it memory.
    package let isPlanned: [Bool]
    /// Runs a subgraph of the node with the given inputs in the environment of the frame; nil where the node has none.
    package let runSubgraph: ((Frame, Int, [Value]) throws -> [Value])?

    package init(
        name: String, inputs: [Int32], outputs: [Int32], inputInfos: [ValueInfo?], outputInfos: [ValueInfo], isPlanned: [Bool],
        runSubgraph: ((Frame, Int, [Value]) throws -> [Value])? = nil
    ) {
        self.name = name
        self.inputs = inputs
        self.outputs = outputs
        self.inputInfos = inputInfos
        self.outputInfos = outputInfos
        self.isPlanned = isPlanned
        self.runSubgraph = runSubgraph
    }
}

/// A running node's access to its inputs, outputs, workspace and threads. Valid during `run` only.
package struct NodeIO {
    package unowned(unsafe) let frame: Frame
    package unowned(unsafe) let layout: StepLayout

    package init(frame: Frame, layout: StepLayout) {
        self.frame = frame
        self.layout = layout
    }

    package var pool: ThreadPool { frame.pool }
    package var budget: MemoryBudget { frame.budget }
    package var inputCount: Int { layout.inputs.count }
    package var outputCount: Int { layout.outputs.count }

    /// Scratch memory of `workspaceByteCount` bytes. It must not be asked for where that is 0.
    package var workspace: UnsafeMutableRawPointer {
        frame.workspace ?? NodeIO.nowhere
    }

    // An address for tensors without elements and absent workspaces: aligned, never written.
    nonisolated(unsafe) private static let nowhere = UnsafeMutableRawPointer.allocate(byteCount: 64, alignment: 64)

    package func has(_ index: Int) -> Bool {
        layout.inputs.indices.contains(index) && layout.inputs[index] >= 0
    }

    /// Whether the node has that output and anything may read it.
    package func hasOutput(_ index: Int) -> Bool {
        layout.outputs.indices.contains(index) && layout.outputs[index] >= 0
    }

    /// The elements of dense tensor input `index`. They need not be aligned beyond their own type's size.
    @inline(__always)
    package func input(_ index: Int) -> UnsafeRawPointer {
        UnsafeRawPointer(frame.pointers[Int(layout.inputs[index])] ?? NodeIO.nowhere)
    }

    /// The elements of dense tensor input `index` as `T`, which must be the Swift type of its element type.
    @inline(__always)
    package func input<T>(_ index: Int, as _: T.Type) -> UnsafePointer<T> {
        input(index).assumingMemoryBound(to: T.self)
    }

    /// Where the elements of output `index` go. Only for outputs whose shape was known when preparing.
    @inline(__always)
    package func output(_ index: Int) -> UnsafeMutableRawPointer {
        let slot = layout.outputs[index]
        return slot < 0 ? NodeIO.nowhere : frame.pointers[Int(slot)] ?? NodeIO.nowhere
    }

    @inline(__always)
    package func output<T>(_ index: Int, as _: T.Type) -> UnsafeMutablePointer<T> {
        output(index).assumingMemoryBound(to: T.self)
    }

    /// Input `index` as a value that may outlive the step; contents that lie in the arena are copied.
    package func value(_ index: Int) throws -> Value {
        guard has(index) else { throw ApusError(.invalidModel, "input \(index) is missing") }
        let slot = Int(layout.inputs[index])
        if let value = frame.values[slot] { return value }
        return .tensor(try view(index).copied(budget: budget))
    }

    /// Input `index` of any kind, valid during the step only: contents in the arena are not copied.
    package func borrowedValue(_ index: Int) throws -> Value {
        guard has(index) else { throw ApusError(.invalidModel, "input \(index) is missing") }
        if let value = frame.values[Int(layout.inputs[index])] { return value }
        return .tensor(try view(index))
    }

    /// Dense tensor input `index`, valid during the step only.
    package func view(_ index: Int) throws -> Tensor {
        guard has(index) else { throw ApusError(.invalidModel, "input \(index) is missing") }
        if case .tensor(let tensor)? = frame.values[Int(layout.inputs[index])] { return tensor }
        guard let info = layout.inputInfos[index], let type = info.type.elementType, let shape = try info.concreteShape(),
            let bytes = type.byteCount(shape.count)
        else {
            throw ApusError(.typeMismatch, "input \(index) must be a dense tensor, found \(layout.inputInfos[index]?.type.description ?? "nothing")")
        }
        return try Tensor(type: type, shape: shape, storage: .borrow(input(index), byteCount: bytes))
    }

    /// Memory for output `index`, whose shape only the run could tell: the planned place where there is one of that shape,
    /// fresh memory (checked against the budget) otherwise.
    package func makeOutput(_ index: Int, _ type: ElementType, _ shape: Shape) throws -> UnsafeMutableRawPointer {
        guard hasOutput(index) else { return try Tensor.allocate(type, shape, budget: budget).pointer }
        if layout.isPlanned[index] {
            guard try layout.outputInfos[index].concreteShape() == shape, layout.outputInfos[index].type.elementType == type else {
                throw ApusError(.internal, "output \(index) was planned as \(layout.outputInfos[index].type), not \(type.name)\(shape)")
            }
            return output(index)
        }
        let tensor = try Tensor.allocate(type, shape, budget: budget)
        frame.set(Int(layout.outputs[index]), .tensor(tensor))
        return tensor.pointer
    }

    /// Makes `value` output `index`; copied into its place where the planner gave it one.
    package func setOutput(_ index: Int, _ value: Value) throws {
        guard hasOutput(index) else { return }
        guard layout.isPlanned[index] else { return frame.set(Int(layout.outputs[index]), value) }
        let tensor = try value.asTensor()
        try makeOutput(index, tensor.type, tensor.shape).copyMemory(from: tensor.pointer, byteCount: tensor.byteCount)
    }

    /// Runs subgraph `index` of the node (in the order of `Node.subgraphs`); what it captures comes from this frame.
    package func runSubgraph(_ index: Int, _ inputs: [Value]) throws -> [Value] {
        guard let run = layout.runSubgraph else { throw ApusError(.internal, "the node has no subgraphs") }
        return try run(frame, index, inputs)
    }

    /// Throws where the caller wants the run to end. For operators that loop.
    package func checkControl() throws { try frame.pool.checkControl() }
}
