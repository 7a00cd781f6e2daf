import ApusCore
import Synchronization

extension PrepareContext {
    /// Prepares by `prepare` what computes in float32, with every float16 and bfloat16 input and output converted.
    ///
    /// Constants are converted once per session, so `prepare` sees constants, too. The intermediate results are not
    /// rounded to the narrow type. Outputs must be of known shape.
    func widened(_ prepare: (PrepareContext) throws -> any PreparedNode) throws -> any PreparedNode {
        try WideningNode(self, prepare)
    }

    /// `prepare` for float32; for float16 and bfloat16 the same between conversions. `type` is the type that decides.
    func inFloat32(_ type: ElementType, _ prepare: (PrepareContext) throws -> any PreparedNode) throws -> any PreparedNode {
        type == .float32 ? try prepare(self) : try widened(prepare)
    }
}

extension ElementType {
    /// Whether this is a floating-point type of 16 bits.
    var isHalf: Bool { self == .float16 || self == .bfloat16 }
}

/// Writes `count` elements of a 16-bit floating-point type as float32.
func widen(_ type: ElementType, _ count: Int, from source: UnsafeRawPointer, to target: UnsafeMutablePointer<Float>) {
    let bits = source.assumingMemoryBound(to: UInt16.self)
    if type == .bfloat16 {
        for index in 0..<count { target[index] = Float(bitPattern: UInt32(bits[index]) << 16) }
    } else {
        for index in 0..<count { target[index] = Float(Float16(bitPattern: bits[index])) }
    }
}

/// Rounds `count` float32 elements to a 16-bit floating-point type, to nearest, ties to even.
func narrow(_ type: ElementType, _ count: Int, from source: UnsafePointer<Float>, to target: UnsafeMutableRawPointer) {
    let bits = target.assumingMemoryBound(to: UInt16.self)
    if type == .bfloat16 {
        for index in 0..<count { bits[index] = bfloat16Bits(source[index]) }
    } else {
        for index in 0..<count { bits[index] = Float16(source[index]).bitPattern }
    }
}

/// The nearest bfloat16, ties to even; NaN stays NaN.
func bfloat16Bits(_ value: Float) -> UInt16 {
    let bits = value.bitPattern
    if value.isNaN { return UInt16(truncatingIfNeeded: bits >> 16) | 0x40 }
    return UInt16(truncatingIfNeeded: (bits &+ 0x7fff &+ ((bits >> 16) & 1)) >> 16)
}

/// Runs a float32 computation on tensors of 16-bit floating-point types.
private final class WideningNode: PreparedNode, @unchecked Sendable {
    let workspaceByteCount: Int
    var kernelName: String { inner.kernelName }

    private let inner: any PreparedNode
    private let layout: StepLayout
    private let inputs: [Operand]
    private let outputs: [Operand]
    private let innerWorkspaceOffset: Int
    /// Idle frames of the inner computation, so that a steady state allocates nothing.
    private let frames = Mutex<[IdleFrame]>([])

    /// A frame that only its taker touches.
    private struct IdleFrame: @unchecked Sendable {
        let frame: Frame
    }

    private enum Operand {
        case absent
        case unchanged
        /// Converted when preparing.
        case constant(Tensor)
        /// Converted to or from this place in the workspace.
        case converted(ElementType, count: Int, offset: Int)
    }

    init(_ context: PrepareContext, _ prepare: (PrepareContext) throws -> any PreparedNode) throws {
        var size = 0
        func place(_ count: Int) throws -> Int {
            let offset = size
            size = try size.adding(try count.multiplied(by: 4).roundedUp(to: Storage.alignment))
            return offset
        }
        var inputs: [Operand] = [], inputInfos: [ValueInfo?] = []
        for (index, info) in context.inputs.enumerated() {
            guard let info else {
                inputs.append(.absent)
                inputInfos.append(nil)
                continue
            }
            guard let type = info.type.elementType, type.isHalf else {
                inputs.append(.unchanged)
                inputInfos.append(info)
                continue
            }
            let shape = try context.shape(index)
            if let storage = try context.packed(index, key: "float32", make: { tensor, budget in
                let bytes = try tensor.count.multiplied(by: 4)
                let storage = try Storage.allocate(byteCount: bytes, budget: budget, purpose: "a constant in float32")
                widen(type, tensor.count, from: tensor.pointer, to: storage.base.assumingMemoryBound(to: Float.self))
                return storage
            }) {
                let tensor = try Tensor(type: .float32, shape: shape, storage: storage)
                inputs.append(.constant(tensor))
                inputInfos.append(ValueInfo(constant: .tensor(tensor)))
            } else {
                inputs.append(.converted(type, count: shape.count, offset: try place(shape.count)))
                inputInfos.append(ValueInfo(.float32, shape))
            }
        }
        var outputs: [Operand] = [], outputInfos: [ValueInfo] = []
        for (index, info) in context.outputs.enumerated() {
            if let type = info.type.elementType, type.isHalf {
                let shape = try context.outputShape(index)
                outputs.append(.converted(type, count: shape.count, offset: try place(shape.count)))
                outputInfos.append(ValueInfo(.float32, shape))
            } else {
                outputs.append(.unchanged)
                outputInfos.append(info)
            }
        }
        inner = try prepare(
            PrepareContext(
                inputs: inputInfos, outputs: outputInfos, levels: context.levels, threads: context.threads, packed: context.packed))
        // The inner workspace follows the converted tensors.
        innerWorkspaceOffset = size
        workspaceByteCount = try size.adding(inner.workspaceByteCount)
        layout = StepLayout(
            name: "", inputs: inputs.indices.map { index in if case .absent = inputs[index] { -1 } else { Int32(index) } },
            outputs: outputs.indices.map { Int32(inputs.count + $0) }, inputInfos: inputInfos, outputInfos: outputInfos,
            isPlanned: outputs.map { _ in true })
        self.inputs = inputs
        self.outputs = outputs
    }

    func run(_ io: NodeIO) throws {
        let frame = takeFrame(io)
        let idle = IdleFrame(frame: frame)
        defer { frames.withLock { $0.append(idle) } }
        let workspace = io.workspace
        for (index, operand) in inputs.enumerated() {
            switch operand {
            case .absent: break
            case .unchanged: frame.pointers[index] = UnsafeMutableRawPointer(mutating: io.input(index))
            case .constant(let tensor): frame.pointers[index] = tensor.pointer
            case .converted(let type, let count, let offset):
                let target = workspace + offset
                widen(type, count, from: io.input(index), to: target.assumingMemoryBound(to: Float.self))
                frame.pointers[index] = target
            }
        }
        for (index, operand) in outputs.enumerated() {
            if case .converted(_, _, let offset) = operand {
                frame.pointers[inputs.count + index] = workspace + offset
            } else {
                frame.pointers[inputs.count + index] = io.output(index)
            }
        }
        frame.workspace = workspace + innerWorkspaceOffset
        try inner.run(NodeIO(frame: frame, layout: layout))
        for (index, operand) in outputs.enumerated() where io.hasOutput(index) {
            if case .converted(let type, let count, let offset) = operand {
                narrow(type, count, from: (workspace + offset).assumingMemoryBound(to: Float.self), to: io.output(index))
            }
        }
    }

    private func takeFrame(_ io: NodeIO) -> Frame {
        if let frame = frames.withLock({ $0.popLast() })?.frame, frame.budget === io.budget {
            frame.pool = io.pool
            frame.control = io.frame.control
            return frame
        }
        return Frame(
            valueCount: inputs.count + outputs.count, pool: io.pool, control: io.frame.control, budget: io.budget)
    }
}
