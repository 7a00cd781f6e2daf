import ApusCore
import ApusGraph
import CApusKernels
import Glibc

/// Softmax and its logarithm along one axis. Before opset 13 the input is viewed as a matrix split at `axis`.
struct SoftmaxOperator: Operator {
    static let schemas = [
        Schema("LogSoftmax", since: [1, 11, 13], inputs: 1...1),
        Schema("Softmax", since: [1, 11, 13], inputs: 1...1),
    ]

    private let axis: Int
    private let viewsInputAsMatrix: Bool
    private let isLogarithm: Bool

    init(_ node: NodeReader) throws {
        viewsInputAsMatrix = node.opset < 13
        axis = try node.int("axis", default: viewsInputAsMatrix ? 1 : -1)
        isLogarithm = node.opType == "LogSoftmax"
    }

    var overwrites: [(output: Int, input: Int)] { [(0, 0)] }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: [.float32, .float16, .bfloat16, .float64])
        let shape = try context.shape(0)
        if let rank = shape.rank { _ = try normalized(rank) }
        return [ValueInfo(type, shape)]
    }

    /// A vector split at its end (the default axis 1 of old operator sets) is a batch of numbers.
    private func normalized(_ rank: Int) throws -> Int {
        if viewsInputAsMatrix, axis == rank { return rank }
        return try normalizedAxis(axis, rank: max(rank, 1))
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let shape = try context.shape(0)
        let axis = min(try normalized(shape.rank), shape.rank)
        let rows = shape.count(..<axis)
        let length = shape.rank == 0 ? 1 : viewsInputAsMatrix ? shape.count(axis...) : shape[axis]
        let inner = shape.rank == 0 || viewsInputAsMatrix ? 1 : shape.count((axis + 1)...)
        if shape.count == 0 { return PreparedKernel("nothing") { _ in } }
        if try context.type(0) == .float64 { return try prepareDouble(context, rows, length, inner) }
        return try context.throughFloat32 { try prepareFloat32($0, rows, length, inner) }
    }

    private func prepareFloat32(_ context: PrepareContext, _ rows: Int, _ length: Int, _ inner: Int) throws -> any PreparedNode {
        guard let kernels = apus_softmax_select(context.levels) else { throw ApusError(.internal, "there is no softmax kernel") }
        let function = kernels.pointee.softmax, isLogarithm = isLogarithm
        func run(_ pool: ThreadPool, _ x: UnsafePointer<Float>, _ y: UnsafeMutablePointer<Float>, _ rows: Int) {
            pool.inChunks(rows, of: max(1, elementwiseChunk / 4 / max(1, length))) { range in
                var args = apus_softmax_args()
                args.rows = range.count
                args.n = length
                args.x = x + range.lowerBound * length
                args.x_stride = length
                args.scale = 1
                args.y = y + range.lowerBound * length
                args.y_stride = length
                args.log = isLogarithm
                function?(&args)
            }
        }
        let name = "softmax_" + String(cString: kernels.pointee.name)
        if inner == 1 {
            return PreparedKernel(name) { io in run(io.pool, io.input(0, as: Float.self), io.output(0, as: Float.self), rows) }
        }
        let matrix = length * inner
        return PreparedKernel(name, workspace: try matrix.multiplied(by: 4)) { io in
            let moved = io.workspace.assumingMemoryBound(to: Float.self)
            for index in 0..<rows {
                let x = io.input(0, as: Float.self) + index * matrix, y = io.output(0, as: Float.self) + index * matrix
                transposeImages(1, rows: length, columns: inner, from: x, to: moved, pool: io.pool)
                run(io.pool, UnsafePointer(moved), moved, inner)
                transposeImages(1, rows: inner, columns: length, from: UnsafePointer(moved), to: y, pool: io.pool)
            }
        }
    }

    private func prepareDouble(_ context: PrepareContext, _ rows: Int, _ length: Int, _ inner: Int) throws -> any PreparedNode {
        let isLogarithm = isLogarithm
        if inner == 1, !isLogarithm, let exponential = apus_elementwise_double(try FloatKernels(context.levels).table, APUS_UNARY_EXP),
            let greatest = apus_reduce_runs(apus_reduce_select(context.levels), APUS_REDUCE_MAX, APUS_NUMBER_F64),
            let total = apus_reduce_runs(apus_reduce_select(context.levels), APUS_REDUCE_SUM, APUS_NUMBER_F64)
        {
            return PreparedKernel("softmax_double rows") { io in
                let source = io.input(0, as: Double.self), target = io.output(0, as: Double.self)
                io.pool.inChunks(rows, of: max(1, 4096 / max(1, length))) { range in
                    for row in range {
                        let x = source + row &* length, y = target + row &* length
                        var highest = -Double.infinity, sum = 0.0
                        greatest(1, length, x, length, &highest)
                        for i in 0..<length { y[i] = x[i] - highest }
                        exponential(length, y, y)
                        total(1, length, y, length, &sum)
                        for i in 0..<length { y[i] /= sum }
                    }
                }
            }
        }
        return PreparedKernel("softmax_double") { io in
            let source = io.input(0, as: Double.self), target = io.output(0, as: Double.self)
            io.pool.inChunks(rows * inner, of: max(1, 4096 / max(1, length))) { range in
                for index in range {
                    let offset = index / inner * length * inner + index % inner
                    let x = source + offset, y = target + offset
                    var highest = -Double.infinity, sum = 0.0
                    for i in 0..<length { highest = Double.greater(highest, x[i * inner]) }
                    for i in 0..<length { sum += exp(x[i * inner] - highest) }
                    let logarithm = log(sum)
                    for i in 0..<length {
                        let difference = x[i * inner] - highest
                        y[i * inner] = isLogarithm ? difference - logarithm : exp(difference) / sum
                    }
                }
            }
        }
    }
}
