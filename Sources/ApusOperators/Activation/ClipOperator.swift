import ApusCore
import CApusKernels

/// Clip: elements limited to an interval, given by attributes (before opset 11) or by inputs.
struct ClipOperator: Operator {
    static let schemas = [Schema("Clip", since: [1, 6, 11, 12, 13], inputs: 1...3)]

    /// Limits from attributes; nil where inputs tell.
    private let limits: SIMD2<Float>?

    init(_ node: NodeReader) throws {
        guard node.opset < 11 else {
            limits = nil
            return
        }
        guard node.inputCount == 1 else {
            throw ApusError(.invalidModel, "Clip of opset \(node.opset) takes 1 inputs, found \(node.inputCount)")
        }
        let greatest = Float.greatestFiniteMagnitude
        limits = [try node.float("min", default: -greatest), try node.float("max", default: greatest)]
    }

    var overwrites: [(output: Int, input: Int)] { [(0, 0)] }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: Types.numbers)
        _ = try context.commonType(0..<3)
        for (index, name) in [(1, "min"), (2, "max")] where context.has(index) {
            guard let shape = try context.shape(index).concrete() else { continue }
            guard shape.count == 1, shape.rank <= 1 else {
                throw ApusError(.shapeMismatch, "input \"\(name)\" must be a scalar, its shape is \(shape)")
            }
        }
        return [ValueInfo(type, try context.shape(0))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.type(0), count = try context.shape(0).count
        let kernels = try FloatKernels(context.levels)
        let bounds = Bounds(attributes: limits, hasLeast: context.has(1), hasGreatest: context.has(2), count: count)
        if type == .float32 || type.isShortFloat { return try floats(type, bounds, kernels) }
        return try type.visitArithmetic(ClipVisitor(bounds: bounds))
    }

    struct Bounds: Sendable {
        let attributes: SIMD2<Float>?
        let hasLeast: Bool
        let hasGreatest: Bool
        let count: Int
    }

    private func floats(_ type: ElementType, _ bounds: Bounds, _ kernels: FloatKernels) throws -> PreparedKernel {
        let function = try kernels.unary(APUS_UNARY_CLIP), read = try castLoop(type, .float32), size = type.byteWidth ?? 4
        let greatest: Float = type == .float16 ? 65504 : type == .bfloat16 ? Float(bitPattern: 0x7f7f_0000) : .greatestFiniteMagnitude
        return PreparedKernel("Clip \(kernels.name)") { io in
            var limits = bounds.attributes ?? [-greatest, greatest]
            withUnsafeMutableBytes(of: &limits) { bytes in
                guard let base = bytes.baseAddress else { return }
                if bounds.hasLeast { read(1, io.input(1), base) }
                if bounds.hasGreatest { read(1, io.input(2), base + 4) }
            }
            let x = io.input(0), y = io.output(0), fixed = limits
            io.pool.inChunks(bounds.count) { range in
                // A function rather than a closure in a variable, which would be allocated.
                func loop(_ count: Int, _ x: UnsafePointer<Float>, _ y: UnsafeMutablePointer<Float>) {
                    withUnsafeBytes(of: fixed) { function(count, x, y, $0.baseAddress?.assumingMemoryBound(to: Float.self)) }
                }
                let source = x + range.lowerBound &* size, target = y + range.lowerBound &* size
                if type == .float32 {
                    loop(range.count, source.assumingMemoryBound(to: Float.self), target.assumingMemoryBound(to: Float.self))
                } else {
                    forEachBlock(type, range.count, source, target) { loop($0, UnsafePointer($1), $1) }
                }
            }
        }
    }
}

private struct ClipVisitor: ArithmeticVisitor {
    let bounds: ClipOperator.Bounds

    func visit<T: Arithmetic>(_: T.Type) throws -> PreparedKernel {
        let bounds = bounds
        return PreparedKernel("Clip") { io in
            var least = T.lowest, greatest = T.highest
            if T.isFloat {
                least = T(converting: -Double.greatestFiniteMagnitude)
                greatest = T(converting: Double.greatestFiniteMagnitude)
            }
            if let limits = bounds.attributes {
                least = T(converting: Double(limits.x))
                greatest = T(converting: Double(limits.y))
            }
            if bounds.hasLeast { least = io.input(1, as: T.self)[0] }
            if bounds.hasGreatest { greatest = io.input(2, as: T.self)[0] }
            let x = io.input(0, as: T.self), y = io.output(0, as: T.self), lower = least, upper = greatest
            io.pool.inChunks(bounds.count) { range in
                for index in range {
                    // Comparisons that NaN fails leave it as it is.
                    let raised = x[index] < lower ? lower : x[index]
                    y[index] = raised > upper ? upper : raised
                }
            }
        }
    }
}
