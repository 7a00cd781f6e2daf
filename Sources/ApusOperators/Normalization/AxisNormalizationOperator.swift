import ApusCore
import ApusGraph
import Glibc

/// Normalisations without parameters: LpNormalization along one axis, MeanVarianceNormalization over several, LRN over
/// neighbouring channels.
struct AxisNormalizationOperator: Operator {
    static let schemas = [
        Schema("LpNormalization", since: [1, 22], inputs: 1...1),
        Schema("LRN", since: [1, 13], inputs: 1...1),
        Schema("MeanVarianceNormalization", since: [9, 13], inputs: 1...1),
    ]

    private enum Kind: Sendable {
        case power(p: Int, axis: Int)
        case meanVariance(axes: [Int])
        case local(size: Int, alpha: Double, beta: Double, bias: Double)
    }

    private let kind: Kind

    init(_ node: NodeReader) throws {
        switch node.opType {
        case "LpNormalization":
            let p = try node.int("p", default: 2)
            guard p == 1 || p == 2 else { throw ApusError(.invalidModel, "attribute \"p\" is \(p); it must be 1 or 2") }
            kind = .power(p: p, axis: try node.int("axis", default: -1))
        case "LRN":
            let size = try node.int("size")
            guard size >= 1 else { throw ApusError(.invalidModel, "attribute \"size\" is \(size); it must be at least 1") }
            kind = .local(
                size: size, alpha: Double(try node.float("alpha", default: 1e-4)), beta: Double(try node.float("beta", default: 0.75)),
                bias: Double(try node.float("bias", default: 1)))
        default: kind = .meanVariance(axes: try node.ints("axes", default: [0, 2, 3]))
        }
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: [.float32, .float16, .bfloat16, .float64]), shape = try context.shape(0)
        if let rank = shape.rank {
            switch kind {
            case .power(_, let axis): _ = try normalizedAxis(axis, rank: rank)
            case .meanVariance(let axes): _ = try normalizedAxes(axes, rank: rank)
            case .local:
                guard rank >= 2 else { throw ApusError(.shapeMismatch, "X has shape \(shape), whose rank must be at least 2") }
            }
        }
        return [ValueInfo(type, shape)]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        if try context.type(0) == .float64 { return try prepare(Double.self, context) }
        return try context.throughFloat32 { try prepare(Float.self, $0) }
    }

    private func prepare<T: Arithmetic & BinaryFloatingPoint>(_: T.Type, _ context: PrepareContext) throws -> any PreparedNode {
        let x = try context.shape(0)
        if x.count == 0 { return PreparedKernel("nothing") { _ in } }
        switch kind {
        case .power(let p, let axis):
            let axis = try normalizedAxis(axis, rank: x.rank)
            let length = x[axis], inner = x.count((axis + 1)...)
            return PreparedKernel("lpnorm") { io in
                let source = io.input(0, as: T.self), target = io.output(0, as: T.self)
                io.pool.inChunks(x.count / length, of: max(1, 4096 / length)) { range in
                    for index in range {
                        let offset = index / inner * length * inner + index % inner
                        var sum = 0.0
                        for i in 0..<length {
                            let value = Double(source[offset + i * inner])
                            sum += p == 1 ? abs(value) : value * value
                        }
                        let norm = p == 1 ? sum : sum.squareRoot()
                        for i in 0..<length {
                            target[offset + i * inner] = norm == 0 ? 0 : T(Double(source[offset + i * inner]) / norm)
                        }
                    }
                }
            }
        case .meanVariance(let axes):
            let reduced = Set(try normalizedAxes(axes, rank: x.rank))
            // Strides of the statistics: 0 on reduced axes.
            var strides = [Int](repeating: 0, count: x.rank), kept = 1
            for axis in (0..<x.rank).reversed() where !reduced.contains(axis) {
                strides[axis] = kept
                kept *= x[axis]
            }
            let statistics = kept, each = Double(x.count / kept), dimensions = x.dimensions
            let places = strides
            return PreparedKernel("meanvariance", workspace: try kept.multiplied(by: 16)) { io in
                let source = io.input(0, as: T.self), target = io.output(0, as: T.self)
                let means = io.workspace.assumingMemoryBound(to: Double.self), spreads = means + statistics
                means.update(repeating: 0, count: 2 * statistics)
                func place(_ index: Int) -> Int {
                    var rest = index, place = 0
                    for axis in dimensions.indices.reversed() {
                        place += rest % dimensions[axis] * places[axis]
                        rest /= dimensions[axis]
                    }
                    return place
                }
                for index in 0..<x.count { means[place(index)] += Double(source[index]) }
                for index in 0..<statistics { means[index] /= each }
                for index in 0..<x.count {
                    let at = place(index), difference = Double(source[index]) - means[at]
                    spreads[at] += difference * difference
                }
                for index in 0..<statistics { spreads[index] = 1 / ((spreads[index] / each).squareRoot() + 1e-9) }
                for index in 0..<x.count {
                    let at = place(index)
                    target[index] = T((Double(source[index]) - means[at]) * spreads[at])
                }
            }
        case .local(let size, let alpha, let beta, let bias):
            let channels = x[1], pixels = x.count(2...)
            let before = (size - 1) / 2, after = size - 1 - before
            return PreparedKernel("lrn") { io in
                let source = io.input(0, as: T.self), target = io.output(0, as: T.self)
                io.pool.parallel(x[0] * channels) { plane in
                    let channel = plane % channels, image = source + (plane - channel) * pixels
                    let first = max(0, channel - before), last = min(channels - 1, channel > channels - 1 - min(after, channels) ? channels - 1 : channel + after)
                    for pixel in 0..<pixels {
                        var squares = 0.0
                        for neighbour in first...max(first, last) {
                            let value = Double(image[neighbour * pixels + pixel])
                            squares += value * value
                        }
                        let divisor = bias + alpha / Double(size) * squares
                        // 0.75, the usual power, by two roots.
                        let power = beta == 0.75 && divisor > 0 ? divisor.squareRoot() * divisor.squareRoot().squareRoot() : pow(divisor, beta)
                        target[plane * pixels + pixel] = T(Double(source[plane * pixels + pixel]) / power)
                    }
                }
            }
        }
    }
}
