import ApusCore
import CApusKernels

/// Min, Max, Sum and Mean of any number of tensors of one type.
struct VariadicOperator: Operator {
    private struct Descriptor: Sendable {
        let schema: Schema
        let types: [ElementType]
        let function: BinaryArithmetic
        let divides: Bool
        let dimensions: (@Sendable (Dimension, Dimension) -> Dimension)?
    }

    private static let descriptors: [Descriptor] = [
        .init(
            schema: Schema("Max", since: [1, 6, 8, 12, 13], inputs: 1...Int.max), types: Types.numbers, function: .max,
            divides: false, dimensions: { Dimension.maximum($0, $1) }),
        .init(
            schema: Schema("Mean", since: [1, 6, 8, 13], inputs: 1...Int.max), types: Types.floats, function: .add,
            divides: true, dimensions: nil),
        .init(
            schema: Schema("Min", since: [1, 6, 8, 12, 13], inputs: 1...Int.max), types: Types.numbers, function: .min,
            divides: false, dimensions: { Dimension.minimum($0, $1) }),
        .init(
            schema: Schema("Sum", since: [1, 6, 8, 13], inputs: 1...Int.max), types: Types.floats, function: .add,
            divides: false, dimensions: nil),
    ]

    static let schemas = descriptors.map(\.schema)

    private let descriptor: Descriptor
    private let inputCount: Int
    private let sharesShape: Bool
    private let repeatsFirst: Bool

    init(_ node: NodeReader) throws {
        guard let descriptor = VariadicOperator.descriptors.first(where: { $0.schema.opType == node.opType }) else {
            throw ApusError(.internal, "\(node.opType) is no variadic operator")
        }
        self.descriptor = descriptor
        inputCount = node.inputCount
        sharesShape = node.opset < 8
        repeatsFirst = node.node.inputs.dropFirst().contains(node.node.inputs.first ?? nil)
        for index in 0..<inputCount where !node.hasInput(index) {
            throw ApusError(.invalidModel, "input \(index) is missing")
        }
    }

    // Later inputs are read when the output has already been written, so only the first may be overwritten, and not
    // where it is one of the later ones, too.
    var overwrites: [(output: Int, input: Int)] { repeatsFirst ? [] : [(0, 0)] }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: descriptor.types)
        _ = try context.commonType(0..<inputCount)
        let shapes = try (0..<inputCount).map { try context.shape($0) }
        if sharesShape {
            for shape in shapes { _ = try BroadcastRule.none.second(shape, against: shapes[0]) }
        }
        var elements: [Dimension]?
        if let function = descriptor.dimensions {
            let operands = try (0..<inputCount).compactMap { try context.elements($0, ifShapeLike: type) }
            if operands.count == inputCount {
                elements = broadcastElements(operands)?.map { $0.dropFirst().reduce($0[0], function) }
            }
        }
        return [ValueInfo(type, try PartialShape.broadcast(shapes), elements: elements)]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.type(0), kernels = try FloatKernels(context.levels), size = type.byteWidth ?? 1
        let shapes = try (0..<inputCount).map { try context.shape($0) }
        let output = try Shape.broadcast(shapes)
        let name = "\(descriptor.schema.opType) \(kernels.name)"
        let function = try descriptor.function.loop(type, kernels)
        let scale = descriptor.divides ? try quotient(type, kernels) : nil
        // The first input is spread out first where it is smaller than the result.
        let starts = shapes[0] == output ? nil : try BroadcastPlan(output, operands: [shapes[0]])
        let copy = try type.visitBits(SpreadVisitor())
        let plans = try shapes.dropFirst().map { try BroadcastPlan(output, operands: [output, $0]) }
        return PreparedKernel(name) { io in
            let y = io.output(0), first = io.input(0)
            io.pool.inChunks(output.count) { range in
                let part = y + range.lowerBound &* size
                if let starts {
                    starts.forEachRun(in: range) { offset, count, positions in
                        copy(count, first + positions[0] &* size, starts.steps[0], y + offset &* size)
                    }
                } else if plans.isEmpty, UnsafeRawPointer(y) != first {
                    part.copyMemory(from: first + range.lowerBound &* size, byteCount: range.count &* size)
                }
                for (index, plan) in plans.enumerated() {
                    let isFirst = index == 0 && starts == nil
                    let left = isFirst ? first : UnsafeRawPointer(y), right = io.input(index + 1)
                    plan.forEachRun(in: range) { offset, count, positions in
                        function(
                            count, left + offset &* size, 1, right + positions[1] &* size, plan.steps[1], y + offset &* size)
                    }
                }
                scale?(range.count, part, part)
            }
        }
    }

    /// Divides by the number of inputs.
    private func quotient(_ type: ElementType, _ kernels: FloatKernels) throws -> UnaryLoop {
        let count = Float(inputCount), divide = try BinaryArithmetic.div.loop(type.isShortFloat ? .float32 : type, kernels)
        if type == .float64 {
            let count = Double(inputCount)
            return { length, x, y in
                withUnsafeBytes(of: count) { bytes in
                    guard let divisor = bytes.baseAddress else { return }
                    divide(length, x, 1, divisor, 0, y)
                }
            }
        }
        let loop: UnaryLoop = { length, x, y in
            withUnsafeBytes(of: count) { bytes in
                guard let divisor = bytes.baseAddress else { return }
                divide(length, x, 1, divisor, 0, y)
            }
        }
        return type.isShortFloat ? throughFloat32(type, loop) : loop
    }
}

/// y[i] = x[i * step], step 0 or 1.
typealias SpreadLoop = @Sendable (_ count: Int, _ x: UnsafeRawPointer, _ step: Int, _ y: UnsafeMutableRawPointer) -> Void

struct SpreadVisitor: BitsVisitor {
    func visit<T: BitwiseCopyable & Equatable & Sendable>(_: T.Type) throws -> SpreadLoop {
        { count, x, step, y in
            guard count > 0 else { return }
            if step != 0 { return y.copyMemory(from: x, byteCount: count &* MemoryLayout<T>.stride) }
            y.assumingMemoryBound(to: T.self).update(repeating: x.assumingMemoryBound(to: T.self)[0], count: count)
        }
    }
}
