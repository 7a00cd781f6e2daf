import ApusCore
import ApusGraph
import CApusKernels
import Glibc

/// Pools over all spatial axes, which become 1; `apus.GlobalAveragePool` is the same with channels last.
struct GlobalPoolOperator: Operator {
    static let schemas = [
        Schema("GlobalAveragePool", since: [1, 22], inputs: 1...1),
        Schema("GlobalLpPool", since: [1, 2, 22], inputs: 1...1),
        Schema("GlobalMaxPool", since: [1, 22], inputs: 1...1),
        Schema("GlobalAveragePool", domain: "apus", since: [1], inputs: 1...1),
    ]

    private enum Kind: Sendable {
        case average
        case max
        case power(Double)
    }

    private let kind: Kind
    private let isLast: Bool

    init(_ node: NodeReader) throws {
        isLast = node.domain == "apus"
        let kinds: [String: Kind] = ["GlobalAveragePool": .average, "GlobalMaxPool": .max]
        if let kind = kinds[node.opType] {
            self.kind = kind
        } else {
            let p = node.opset < 2 ? Double(try node.float("p", default: 2)) : Double(try node.int("p", default: 2))
            guard p > 0 else { throw ApusError(.invalidModel, "attribute \"p\" is \(p); it must be positive") }
            kind = .power(p)
        }
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: [.float32, .float16, .bfloat16, .float64])
        guard let x = try context.dimensions(0, rank: 2...) else { return [ValueInfo(type, .unknown)] }
        let ones = [Dimension](repeating: .known(1), count: x.count - 2)
        return [ValueInfo(type, PartialShape(isLast ? [x[0]] + ones + [x[x.count - 1]] : [x[0], x[1]] + ones))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        if try context.type(0) == .float64 { return try prepareGeneric(Double.self, context) }
        return try context.throughFloat32 { context in
            if case .average = kind, isLast { return try prepareLast(context) }
            return try prepareGeneric(Float.self, context)
        }
    }

    private func prepareLast(_ context: PrepareContext) throws -> any PreparedNode {
        let x = try context.shape(0)
        let batch = x[0], channels = x[x.rank - 1], pixels = x.count(1..<(x.rank - 1))
        guard let kernel = apus_pooling_select(context.levels) else { throw ApusError(.internal, "there is no pooling kernel") }
        let scale = 1 / Float(pixels)
        return PreparedKernel("global_" + String(cString: kernel.pointee.name)) { io in
            let source = io.input(0, as: Float.self), target = io.output(0, as: Float.self)
            io.pool.inChunks(batch, of: max(1, (1 << 16) / max(1, pixels * channels))) { images in
                for image in images {
                    kernel.pointee.sum_rows(pixels, channels, source + image * pixels * channels, channels, scale, target + image * channels)
                }
            }
        }
    }

    private func prepareGeneric<T: Arithmetic>(_: T.Type, _ context: PrepareContext) throws -> any PreparedNode {
        let x = try context.shape(0)
        let planes = isLast ? x[0] * x[x.rank - 1] : x[0] * x[1]
        let channels = isLast ? x[x.rank - 1] : 1
        let pixels = isLast ? x.count(1..<(x.rank - 1)) : x.count(2...)
        let kind = kind
        return PreparedKernel("globalpool_generic") { io in
            let source = io.input(0, as: T.self), target = io.output(0, as: T.self)
            io.pool.inChunks(planes, of: max(1, (1 << 15) / max(1, pixels))) { range in
                for plane in range {
                    // Channels first: planes follow one another; last: they are interleaved.
                    let from = source + plane / channels * channels * pixels + plane % channels
                    switch kind {
                    case .average:
                        var sums = SIMD8<Double>(repeating: 0), pixel = 0
                        while pixel + 8 <= pixels {
                            for lane in 0..<8 { sums[lane] += from[(pixel + lane) * channels].double }
                            pixel += 8
                        }
                        var sum = sums.sum()
                        for rest in pixel..<max(pixel, pixels) { sum += from[rest * channels].double }
                        target[plane] = T(converting: sum / Double(pixels))
                    case .max:
                        var best = T.lowest
                        for pixel in 0..<pixels { best = T.greater(best, from[pixel * channels]) }
                        target[plane] = best
                    case .power(let p):
                        var sum = 0.0
                        for pixel in 0..<pixels {
                            let value = abs(from[pixel * channels].double)
                            sum += p == 2 ? value * value : p == 1 ? value : pow(value, p)
                        }
                        target[plane] = T(converting: p == 2 ? sum.squareRoot() : p == 1 ? sum : pow(sum, 1 / p))
                    }
                }
            }
        }
    }
}
