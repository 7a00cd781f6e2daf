import ApusCore
import ApusGraph

/// The discrete Fourier transform along one axis, forward or back, of real or complex numbers (a last axis of 1 or 2).
///
/// Opset 17 has the axis as an attribute, opset 20 as an input. `onesided` forward gives the first half of the points;
/// backward it takes those and gives real numbers.
struct DFTOperator: Operator {
    static let schemas = [Schema("DFT", since: [17, 20], inputs: 1...3)]

    private let isInverse: Bool
    private let isOneSided: Bool
    private let axis: Int?

    init(_ node: NodeReader) throws {
        isInverse = try node.bool("inverse", default: false)
        isOneSided = try node.bool("onesided", default: false)
        axis = node.opset < 20 ? try node.int("axis", default: 1) : nil
        if node.opset < 20, node.inputCount > 2 {
            throw ApusError(.invalidModel, "DFT of opset \(node.opset) takes 1 to 2 inputs, found \(node.inputCount)")
        }
    }

    var parameterInputs: [Int] { [1, 2] }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: Types.floats)
        for index in 1..<3 where context.has(index) { try checkScalar(context, index) }
        guard var x = try context.dimensions(0, rank: 2...) else { return [ValueInfo(type, .unknown)] }
        try checkComplex(x[x.count - 1])
        x[x.count - 1] = .known(isInverse && isOneSided ? 1 : 2)
        guard let axis = try axis(context.integers(2)?.first, isKnown: !context.has(2), rank: x.count) else {
            return [ValueInfo(type, .ofRank(x.count))]
        }
        var length = x[axis]
        if context.has(1) {
            length = try context.elements(1)?.first ?? .unknown
        } else if isInverse, isOneSided {
            length = .known(2) * (length - .known(1))
        }
        if let known = length.known, known < 1 {
            throw ApusError(.invalidValue, "the length of the transform is \(known); it must be at least 1")
        }
        x[axis] = isOneSided && !isInverse ? length.floorDivided(by: .known(2)) + .known(1) : length
        return [ValueInfo(type, PartialShape(x))]
    }

    /// The axis counted from the front; nil where an input gives it that is not known yet.
    private func axis(_ given: Int?, isKnown: Bool, rank: Int) throws -> Int? {
        guard let axis = axis ?? given ?? (isKnown ? -2 : nil) else { return nil }
        let normalized = try normalizedAxis(axis, rank: rank)
        guard normalized < rank - 1 else {
            throw ApusError(.shapeMismatch, "axis \(axis) is the last one, which holds the parts of a complex number")
        }
        return normalized
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let shape = try context.shape(0)
        guard let axis = try axis(context.integers(2)?.first, isKnown: !context.has(2), rank: shape.rank) else {
            throw ApusError(.internal, "the axis is not known")
        }
        let usual = isInverse && isOneSided ? try (shape[axis] - 1).multiplied(by: 2) : shape[axis]
        let length = try context.integers(1)?.first ?? usual
        // Without elements there are no lines, whatever these products are.
        let inner = shape.count((axis + 1)..<(shape.rank - 1)), count = shape.count(..<axis) &* inner
        return try context.type(0).visitReal(
            LinesVisitor(
                context: context,
                lines: FourierLines(
                    count: count, inner: inner, sourceLength: shape[axis], targetLength: try context.outputShape(0)[axis],
                    length: length, sourceParts: shape[shape.rank - 1], isInverse: isInverse, isHalf: isInverse && isOneSided, step: nil, hasWindow: false)))
    }
}

/// Fourier transforms of windows that slide over signals.
struct STFTOperator: Operator {
    static let schemas = [Schema("STFT", since: [17], inputs: 2...4)]

    private let isOneSided: Bool

    init(_ node: NodeReader) throws {
        isOneSided = try node.bool("onesided", default: true)
    }

    var parameterInputs: [Int] { [1, 3] }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: Types.floats)
        for index in [1, 3] where context.has(index) { try checkScalar(context, index) }
        let x = try context.dimensions(0, rank: 3...3)
        if let x { try checkComplex(x[2]) }
        var window: Dimension?
        if context.has(2) {
            _ = try context.commonType([0, 2])
            window = try context.dimensions(2, rank: 1...1)?[0] ?? .unknown
        }
        let given = context.has(3) ? try context.elements(3)?.first ?? .unknown : nil
        let length = given ?? window ?? x?[1] ?? .unknown
        if let length = length.known, length < 1 {
            throw ApusError(.invalidValue, "frame_length is \(length); it must be at least 1")
        }
        if let window = window?.known, let length = length.known, window != length {
            throw ApusError(.shapeMismatch, "the window has \(window) elements, but frames have \(length)")
        }
        var frames = Dimension.unknown
        if let step = try context.elements(1)?.first {
            if let step = step.known, step < 1 { throw ApusError(.invalidValue, "frame_step is \(step); it must be at least 1") }
            let difference = (x?[1] ?? .unknown) - length
            if let difference = difference.known, difference < 0 {
                throw ApusError(.shapeMismatch, "frames of \(length) elements do not fit signals of \(x?[1] ?? .unknown)")
            }
            frames = difference.floorDivided(by: step) + .known(1)
        }
        let bins = isOneSided ? length.floorDivided(by: .known(2)) + .known(1) : length
        return [ValueInfo(type, PartialShape([x?[0] ?? .unknown, frames, bins, .known(2)]))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let shape = try context.shape(0), output = try context.outputShape(0)
        guard let step = try context.integers(1)?.first else { throw ApusError(.internal, "frame_step is not known") }
        let window = context.has(2) ? try context.shape(2)[0] : nil
        let length = try context.integers(3)?.first ?? window ?? shape[1]
        return try context.type(0).visitReal(
            LinesVisitor(
                context: context,
                lines: FourierLines(
                    count: shape[0] * output[1], inner: output[1], sourceLength: shape[1], targetLength: output[2], length: length,
                    sourceParts: shape[2], isInverse: false, isHalf: false, step: step, hasWindow: window != nil)))
    }
}

private func checkScalar(_ context: InferenceContext, _ index: Int) throws {
    _ = try context.type(index, oneOf: [.int32, .int64])
    if let shape = try context.shape(index).concrete(), shape.count != 1 {
        throw ApusError(.shapeMismatch, "input \(index) must be a scalar, its shape is \(shape)")
    }
}

private func checkComplex(_ last: Dimension) throws {
    if let last = last.known, last != 1 && last != 2 {
        throw ApusError(.shapeMismatch, "the last axis of input 0 must have 1 (real) or 2 (complex) elements, found \(last)")
    }
}

/// Many transforms of one length over the lines of a tensor.
private struct FourierLines {
    /// Number of lines.
    let count: Int
    /// Lines that lie side by side (DFT), or that start in one signal, `step` apart (STFT).
    let inner: Int
    let sourceLength: Int
    let targetLength: Int
    let length: Int
    /// 1: the numbers are real.
    let sourceParts: Int
    let isInverse: Bool
    /// Whether the line is the first half of a conjugate symmetric one, whose inverse is real.
    let isHalf: Bool
    let step: Int?
    let hasWindow: Bool
}

private struct LinesVisitor: RealVisitor {
    let context: PrepareContext
    let lines: FourierLines

    func visit<T: Element>(_: T.Type) throws -> any PreparedNode where T.Number: Real {
        let lines = lines, length = lines.length
        if try context.outputShape(0).count == 0 { return PreparedKernel("nothing") { _ in } }
        let transform = try FourierTransform(length: length, budget: context.packed.budget)
        let parts = max(1, min(lines.count, context.threads))
        let scratch = try length.multiplied(by: 2).adding(transform.workspaceCount)
        let targetParts = lines.isHalf ? 1 : 2
        // Elements between neighbours of a line, and what of a line is read.
        let sourceStride = (lines.step == nil ? lines.inner : 1) * lines.sourceParts
        let targetStride = (lines.step == nil ? lines.inner : 1) * targetParts
        let kept = lines.isHalf ? min(lines.sourceLength, length / 2 + 1) : min(lines.sourceLength, length)
        return PreparedKernel("fourier", workspace: try scratch.multiplied(by: parts).multiplied(by: 8)) { io in
            let source = io.input(0, as: T.self), target = io.output(0, as: T.self)
            let window = lines.hasWindow ? io.input(2, as: T.self) : nil
            let workspace = io.workspace.assumingMemoryBound(to: Double.self)
            io.pool.inParts(lines.count, parts) { part, range in
                let re = workspace + part * scratch, im = re + length, rest = im + length
                for line in range {
                    let outer = line / lines.inner, position = line % lines.inner
                    let start: Int, end: Int
                    if let step = lines.step {
                        start = (outer * lines.sourceLength + position * step) * lines.sourceParts
                        end = line * lines.targetLength * targetParts
                    } else {
                        start = (outer * lines.sourceLength * lines.inner + position) * lines.sourceParts
                        end = (outer * lines.targetLength * lines.inner + position) * targetParts
                    }
                    for k in 0..<kept {
                        let place = start + k * sourceStride
                        let weight = window.map { Double($0[k].number) } ?? 1
                        re[k] = Double(source[place].number) * weight
                        im[k] = lines.sourceParts == 2 ? Double(source[place + 1].number) * weight : 0
                    }
                    (re + kept).update(repeating: 0, count: length - kept)
                    (im + kept).update(repeating: 0, count: length - kept)
                    if lines.isHalf {
                        im[0] = 0
                        if length % 2 == 0 { im[length / 2] = 0 }
                        for k in 1..<max(1, (length + 1) / 2) {
                            re[length - k] = re[k]
                            im[length - k] = -im[k]
                        }
                    }
                    // The inverse is the transform with both parts exchanged.
                    if lines.isInverse { transform.run(im, re, rest) } else { transform.run(re, im, rest) }
                    let scale = lines.isInverse ? 1 / Double(length) : 1
                    for k in 0..<lines.targetLength {
                        let place = end + k * targetStride
                        target[place] = T(rounding: T.Number(re[k] * scale))
                        if targetParts == 2 { target[place + 1] = T(rounding: T.Number(im[k] * scale)) }
                    }
                }
            }
        }
    }
}
