import ApusCore
import ApusGraph
import Glibc

/// How a random operator finds its seed.
///
/// Attribute `seed`, a float, is the key of the generator by its bits; the same seed gives the same numbers in every run,
/// with any number of threads. Without it (or with NaN) every run draws a key from the system.
struct RandomSeed: Sendable {
    let key: UInt64?

    init(_ node: NodeReader) throws {
        key = try node.optionalFloat("seed").flatMap { $0.isNaN ? nil : UInt64($0.bitPattern) }
    }

    func generator() -> Philox {
        Philox(key: key ?? UInt64.random(in: .min ... .max))
    }
}

/// Where the numbers that a random operator draws come from.
private enum Distribution: Sendable {
    case uniform(low: Double, width: Double)
    /// By the transformation of Box and Muller, "A note on the generation of random normal deviates" (1958).
    case normal(mean: Double, scale: Double)

    /// Numbers 2 * index and 2 * index + 1.
    @inline(__always)
    func pair(_ generator: Philox, _ index: Int) -> (Double, Double) {
        let (u, v) = generator.uniformPair(index)
        switch self {
        case .uniform(let low, let width): return (low + width * u, low + width * v)
        case .normal(let mean, let scale):
            // 1 - u lies in (0, 1]: its logarithm is finite.
            let radius = scale * (-2 * log(1 - u)).squareRoot(), angle = 2 * Double.pi * v
            return (mean + radius * cos(angle), mean + radius * sin(angle))
        }
    }
}

/// Numbers made at a time, before they are converted to the output's type; they lie on the stack.
private let blockSize = 128

/// Fills tensors with numbers of a uniform or a normal distribution.
struct RandomFillOperator: Operator {
    static let schemas = [
        Schema("RandomNormal", since: [1, 22], inputs: 0...0),
        Schema("RandomNormalLike", since: [1, 22], inputs: 1...1),
        Schema("RandomUniform", since: [1, 22], inputs: 0...0),
        Schema("RandomUniformLike", since: [1, 22], inputs: 1...1),
    ]

    private let distribution: Distribution
    private let shape: Shape?
    private let type: ElementType?
    private let seed: RandomSeed

    init(_ node: NodeReader) throws {
        seed = try RandomSeed(node)
        let takesShape = node.opType.hasSuffix("Like")
        shape = takesShape ? nil : try Shape(node.ints("shape"))
        let given = try node.optionalElementType("dtype")
        type = takesShape ? given : given ?? .float32
        if let type, !Types.floats.contains(type) {
            throw ApusError(.invalidModel, "attribute \"dtype\" is \(type.name); a float of 16 bits or more expected")
        }
        if node.opType.hasPrefix("RandomNormal") {
            distribution = .normal(
                mean: Double(try node.float("mean", default: 0)), scale: Double(try node.float("scale", default: 1)))
        } else {
            let low = Double(try node.float("low", default: 0)), high = Double(try node.float("high", default: 1))
            distribution = .uniform(low: low, width: high - low)
        }
    }

    var isDeterministic: Bool { seed.key != nil }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        if let shape, let type { return [ValueInfo(type, shape)] }
        let found = try context.type(0)
        guard let type = type ?? (Types.floats.contains(found) ? found : nil) else {
            throw ApusError(.typeMismatch, "input 0 is \(found.name), of which no random numbers are; attribute \"dtype\" is needed")
        }
        return [ValueInfo(type, try context.shape(0))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.outputType(0), count = try context.outputShape(0).count, size = type.byteWidth ?? 1
        let write = try castLoop(.float64, type)
        let seed = seed, distribution = distribution
        return PreparedKernel("philox") { io in
            let generator = seed.generator(), output = io.output(0)
            io.pool.inChunks(count) { range in
                withUnsafeTemporaryAllocation(of: Double.self, capacity: blockSize) { block in
                    guard let block = block.baseAddress else { return }
                    for start in stride(from: range.lowerBound, to: range.upperBound, by: blockSize) {
                        let part = min(blockSize, range.upperBound - start)
                        for index in stride(from: 0, to: part, by: 2) {
                            // Chunks and blocks are of even size: pairs are never split.
                            let pair = distribution.pair(generator, (start + index) / 2)
                            block[index] = pair.0
                            block[index + 1] = pair.1
                        }
                        write(part, block, output + start * size)
                    }
                }
            }
        }
    }
}

/// 1 with the probability that the input gives for each element, else 0.
struct BernoulliOperator: Operator {
    static let schemas = [Schema("Bernoulli", since: [15, 22], inputs: 1...1)]

    private let type: ElementType?
    private let seed: RandomSeed

    init(_ node: NodeReader) throws {
        seed = try RandomSeed(node)
        type = try node.optionalElementType("dtype")
        if let type, !Types.numbers.contains(type), type != .bool {
            throw ApusError(.invalidModel, "attribute \"dtype\" is \(type.name); a number of 8 bits or more or bool expected")
        }
    }

    var isDeterministic: Bool { seed.key != nil }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let found = try context.type(0, oneOf: Types.floats)
        return [ValueInfo(type ?? found, try context.shape(0))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let source = try context.type(0), target = try context.outputType(0), count = try context.shape(0).count
        let read = try castLoop(source, .float64), write = try castLoop(.bool, target)
        let sourceSize = source.byteWidth ?? 1, targetSize = target.byteWidth ?? 1
        let seed = seed
        return PreparedKernel("philox") { io in
            let generator = seed.generator(), x = io.input(0), y = io.output(0)
            io.pool.inChunks(count) { range in
                withUnsafeTemporaryAllocation(of: Double.self, capacity: blockSize) { block in
                    guard let block = block.baseAddress else { return }
                    for start in stride(from: range.lowerBound, to: range.upperBound, by: blockSize) {
                        let part = min(blockSize, range.upperBound - start)
                        read(part, x + start * sourceSize, block)
                        // A bool takes the place of a probability that has been read.
                        let flags = UnsafeMutableRawPointer(block).assumingMemoryBound(to: UInt8.self)
                        for index in stride(from: 0, to: part, by: 2) {
                            let pair = generator.uniformPair((start + index) / 2)
                            let first: UInt8 = pair.0 < block[index] ? 1 : 0
                            let second: UInt8 = index + 1 < part && pair.1 < block[index + 1] ? 1 : 0
                            flags[index] = first
                            flags[index + 1] = second
                        }
                        write(part, flags, y + start * targetSize)
                    }
                }
            }
        }
    }
}

/// Draws classes with probabilities proportional to the exponentials of the input.
struct MultinomialOperator: Operator {
    static let schemas = [Schema("Multinomial", since: [7, 22], inputs: 1...1)]

    private let type: ElementType
    private let sampleCount: Int
    private let seed: RandomSeed

    init(_ node: NodeReader) throws {
        seed = try RandomSeed(node)
        type = try node.optionalElementType("dtype") ?? .int32
        guard type == .int32 || type == .int64 else {
            throw ApusError(.invalidModel, "attribute \"dtype\" is \(type.name); int32 or int64 expected")
        }
        sampleCount = try node.int("sample_size", default: 1)
        guard sampleCount >= 1 else { throw ApusError(.invalidModel, "attribute \"sample_size\" is \(sampleCount); it must be positive") }
    }

    var isDeterministic: Bool { seed.key != nil }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        _ = try context.type(0, oneOf: Types.floats)
        let x = try context.dimensions(0, rank: 2...2)
        if let x, x[1] == .known(0), x[0] != .known(0) { throw ApusError(.shapeMismatch, "there are no classes to draw from") }
        return [ValueInfo(type, PartialShape([x?[0] ?? .unknown, .known(sampleCount)]))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let shape = try context.shape(0), rows = shape[0], classes = shape[1], samples = sampleCount
        let read = try castLoop(context.type(0), .float64)
        let seed = seed, isWide = type == .int64
        return PreparedKernel("philox", workspace: try shape.count.multiplied(by: 8)) { io in
            let generator = seed.generator(), sums = io.workspace.assumingMemoryBound(to: Double.self)
            read(shape.count, io.input(0), sums)
            for row in 0..<rows {
                let sums = sums + row * classes
                var highest = -Double.infinity, sum = 0.0
                for c in 0..<classes { highest = Double.greater(highest, sums[c]) }
                for c in 0..<classes {
                    sum += exp(sums[c] - highest)
                    sums[c] = sum
                }
                guard sum > 0, sum < .infinity else {
                    throw ApusError(.invalidValue, "row \(row) of input 0 gives no probabilities: its greatest element is \(highest)")
                }
            }
            let output = io.output(0)
            io.pool.inChunks(rows * samples, of: 4096) { range in
                for index in range {
                    let pair = generator.uniformPair(index / 2)
                    let sums = sums + index / samples * classes
                    let wanted = (index & 1 == 0 ? pair.0 : pair.1) * sums[classes - 1]
                    // The first class whose cumulative sum passes the number.
                    var low = 0, high = classes - 1
                    while low < high {
                        let middle = (low + high) / 2
                        if sums[middle] > wanted { high = middle } else { low = middle + 1 }
                    }
                    if isWide {
                        output.storeBytes(of: Int64(low), toByteOffset: index * 8, as: Int64.self)
                    } else {
                        output.storeBytes(of: Int32(truncatingIfNeeded: low), toByteOffset: index * 4, as: Int32.self)
                    }
                }
            }
        }
    }
}
