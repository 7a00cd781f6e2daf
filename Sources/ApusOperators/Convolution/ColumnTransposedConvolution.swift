import ApusCore
import CApusKernels

/// A transposed convolution of channels-last images as one product, whose columns are all the taps of all output channels, and
/// sums of those columns where they meet in the output: nothing is computed in vain where there are few output channels or
/// few input pixels.
///
/// Bands of rows of the output are computed one by one. Every element is summed in the order of the input's rows, whatever
/// the bands.
struct ColumnTransposedConvolution: @unchecked Sendable {
    let product: FloatProduct
    private let batch: Int
    private let inChannels: Int
    private let outChannels: Int
    private let height: TransposedAxis
    private let width: TransposedAxis
    /// Rows of the input whose columns are computed together.
    private let blockRows: Int
    /// Rows of the output in a band, bands of an image, and pieces of the work.
    private let bandRows: Int
    private let bands: Int
    private let chunks: Int
    private let columnsByteCount: Int
    private let scratchByteCount: Int

    private var taps: Int { height.kernel * width.kernel }

    /// Whether this is clearly less work than one convolution for each phase of the strides. `lanes`: floats in a vector.
    static func pays(_ axes: [TransposedAxis], group: Int, outChannels: Int, lanes: Int) -> Bool {
        guard group == 1, (1...2).contains(axes.count), axes[axes.count - 1].dilation == 1 else { return false }
        func vectors(_ floats: Double) -> Double { (floats / Double(lanes)).rounded(.up) }
        // Each output pixel of a phase sees about one in `stride` taps of an axis, some of them in the padding.
        let perPhases = axes.reduce(vectors(Double(outChannels))) {
            $0 * Double($1.output) * (Double($1.kernel) / Double($1.stride)).rounded(.up)
        }
        let taps = axes.reduce(1.0) { $0 * Double($1.kernel) }
        let perColumns = axes.reduce(vectors(taps * Double(outChannels))) { $0 * Double($1.input) }
        return perColumns < 0.7 * perPhases
    }

    /// `axes` must be those that `pays` accepts.
    init(
        _ context: PrepareContext, axes: [TransposedAxis], batch: Int, inChannels: Int, outChannels: Int, weights: ElementType
    ) throws {
        self.batch = batch
        self.inChannels = inChannels
        self.outChannels = outChannels
        width = axes[axes.count - 1]
        height = axes.count == 2 ? axes[0] : TransposedAxis(input: 1, output: 1, kernel: 1, stride: 1, dilation: 1, padBegin: 0)
        let width = width, height = height
        for axis in [height, width] {
            _ = try axis.input.multiplied(by: axis.stride).adding(axis.kernel.multiplied(by: axis.dilation)).adding(axis.padBegin)
        }
        let columns = try height.kernel.multiplied(by: width.kernel).multiplied(by: outChannels)
        let work = FloatProduct.saturatingProduct([batch, height.input, width.input, inChannels, columns])
        let isParallel = context.threads > 1 && work >= FloatProduct.leastParallelWork
        // Rows of the output at the border of two bands have their columns computed twice: bands are not small.
        let wanted = isParallel ? max(1, 2 * context.threads / max(1, batch)) : 1
        bandRows = max(1, min(height.output, max(4 * height.kernel, height.output / wanted + (height.output % wanted == 0 ? 0 : 1))))
        bands = height.output / bandRows + (height.output % bandRows == 0 ? 0 : 1)
        chunks = isParallel ? max(1, min(try batch.multiplied(by: bands), 2 * context.threads)) : 1
        blockRows = max(1, min(height.input, 48 / max(1, width.input)))
        // One row of many columns is cut by columns instead.
        let isCut = isParallel && chunks == 1
        product = try FloatProduct(
            levels: context.levels, m: try blockRows.multiplied(by: width.input), n: columns, k: inChannels, weights: weights,
            threads: isCut ? context.threads : 1)
        columnsByteCount = try product.m.multiplied(by: columns).multiplied(by: 4).roundedUp(to: Storage.alignment)
        scratchByteCount = try columnsByteCount.adding(product.workspaceByteCount).roundedUp(to: Storage.alignment)
        workspaceByteCount = try scratchByteCount.multiplied(by: chunks)
    }

    let workspaceByteCount: Int

    /// Packs ONNX's weights [input channels, output channels, height, width] of the product's type. `ordered`: memory for all of them.
    func pack(_ weights: UnsafeRawPointer, to packed: UnsafeMutableRawPointer, ordered: UnsafeMutableRawPointer) {
        let columns = taps * outChannels, size = product.elementSize
        // An image's taps and channels change places.
        for inner in 0..<inChannels {
            _ = apus_transpose_2d(
                size, outChannels, taps, weights + inner * columns * size, taps, ordered + inner * columns * size, outChannels)
        }
        if product.weights == .float32 {
            product.pack(
                ordered.assumingMemoryBound(to: Float.self), rowStride: columns, columnStride: 1,
                to: packed.assumingMemoryBound(to: Float.self))
        } else {
            product.packNarrow(ordered, rowStride: columns, columnStride: 1, to: packed)
        }
    }

    /// The factors of the columns from those of the output channels.
    func columnFactors(_ factors: Tensor, _ budget: MemoryBudget) throws -> Storage {
        let bytes = outChannels * 4
        let storage = try Storage.allocate(byteCount: try taps.multiplied(by: bytes), budget: budget, purpose: "factors of columns")
        for tap in 0..<taps { (storage.base + tap * bytes).copyMemory(from: factors.pointer, byteCount: bytes) }
        return storage
    }

    /// Convolves with weights as `pack` makes them. `factors`: of the columns, for narrow weights; `residual` lies as the output does
    /// and must not overlap it.
    func run(
        input: UnsafePointer<Float>, panels: UnsafePointer<Float>, factors: UnsafePointer<Float>?, bias: UnsafePointer<Float>?, residual: UnsafePointer<Float>?,
        activation: PreparedActivation, output: UnsafeMutablePointer<Float>, scratch: UnsafeMutableRawPointer, pool: ThreadPool
    ) {
        let rowOut = width.output * outChannels
        if rowOut == 0 { return }
        let jobs = batch * bands
        pool.parallelUnlessStopped(chunks) { chunk in
            let columns = (scratch + chunk * scratchByteCount).assumingMemoryBound(to: Float.self)
            for job in (jobs * chunk / chunks)..<(jobs * (chunk + 1) / chunks) {
                let image = job / bands, first = job % bands * bandRows, end = min(height.output, first + bandRows)
                let target = output + image * height.output * rowOut
                start(target, first..<end, bias: bias, residual: residual.map { $0 + image * height.output * rowOut })
                let rows = inputRows(first..<end)
                for row in stride(from: rows.lowerBound, to: rows.upperBound, by: blockRows) {
                    let count = min(blockRows, rows.upperBound - row)
                    multiply(
                        input + (image * height.input + row) * width.input * inChannels, rows: count * width.input, panels, factors, columns,
                        pool: chunks == 1 ? pool : nil)
                    for index in 0..<count {
                        addColumns(columns + index * width.input * taps * outChannels, of: row + index, to: target, first..<end)
                    }
                }
                finish(target + first * rowOut, rows: end - first, activation)
            }
        }
    }

    /// The rows of the input that reach some of these of the output.
    private func inputRows(_ rows: Range<Int>) -> Range<Int> {
        // Row i reaches i * stride - padBegin ... i * stride - padBegin + (kernel - 1) * dilation.
        let reach = (height.kernel - 1) * height.dilation, low = rows.lowerBound + height.padBegin - reach
        let begin = low <= 0 ? 0 : (low + height.stride - 1) / height.stride
        let end = min(height.input, (rows.upperBound - 1 + height.padBegin) / height.stride + 1)
        return min(begin, end)..<end
    }

    /// The bias, and what is added.
    private func start(
        _ target: UnsafeMutablePointer<Float>, _ rows: Range<Int>, bias: UnsafePointer<Float>?, residual: UnsafePointer<Float>?
    ) {
        let rowOut = width.output * outChannels, own = target + rows.lowerBound * rowOut, count = rows.count * rowOut
        if let residual {
            own.update(from: residual + rows.lowerBound * rowOut, count: count)
            guard let bias else { return }
            for pixel in 0..<(count / outChannels) {
                for channel in 0..<outChannels { own[pixel * outChannels + channel] += bias[channel] }
            }
        } else if let bias {
            for pixel in 0..<width.output { (own + pixel * outChannels).update(from: bias, count: outChannels) }
            for row in 1..<max(1, rows.count) { (own + row * rowOut).update(from: own, count: rowOut) }
        } else {
            own.update(repeating: 0, count: count)
        }
    }

    private func multiply(
        _ input: UnsafePointer<Float>, rows: Int, _ panels: UnsafePointer<Float>, _ factors: UnsafePointer<Float>?,
        _ columns: UnsafeMutablePointer<Float>, pool: ThreadPool?
    ) {
        let workspace = UnsafeMutableRawPointer(columns) + columnsByteCount
        var args = product.arguments(aStride: inChannels, cStride: product.n)
        args.a = input
        args.b = panels
        args.b_scale = factors
        args.c = columns
        if let pool, rows == product.m {
            product.run(args, workspace: workspace, pool: pool)
        } else {
            args.m = rows
            apus_sgemm_run(product.kernel, &args, 0, rows, 0, product.n, workspace)
        }
    }

    /// Adds the columns of one row of the input to the rows of the output that they reach.
    @_optimize(speed)
    private func addColumns(_ columns: UnsafePointer<Float>, of row: Int, to target: UnsafeMutablePointer<Float>, _ rows: Range<Int>) {
        let channels = outChannels, step = taps * channels
        for tapY in 0..<height.kernel {
            let y = row * height.stride + tapY * height.dilation - height.padBegin
            guard rows.contains(y) else { continue }
            let line = target + y * width.output * channels
            // Taps that lie within one stride: neighbours among the pixels write neighbouring runs.
            for tapX in stride(from: 0, to: width.kernel, by: width.stride) {
                let run = min(width.stride, width.kernel - tapX)
                let from = columns + (tapY * width.kernel + tapX) * channels
                func add(_ pixel: Int) {
                    let x = pixel * width.stride + tapX - width.padBegin
                    let begin = max(0, -x), end = min(run, width.output - x)
                    if begin >= end { return }
                    let own = from + pixel * step + begin * channels, to = line + (x + begin) * channels
                    for index in 0..<((end - begin) * channels) { to[index] += own[index] }
                }
                // Short runs are added element by element, each for all pixels whose run lies inside.
                let before = max(0, width.padBegin - tapX), room = width.output + width.padBegin - tapX - run
                let first = min(width.input, before / width.stride + (before % width.stride == 0 ? 0 : 1))
                let last = room < 0 ? first : max(first, min(width.input, room / width.stride + 1))
                guard run * channels < 24, last > first else {
                    for pixel in 0..<width.input { add(pixel) }
                    continue
                }
                for pixel in 0..<first { add(pixel) }
                for pixel in last..<width.input { add(pixel) }
                let to = line + (first * width.stride + tapX - width.padBegin) * channels, own = from + first * step
                let toStep = width.stride * channels
                for index in 0..<(run * channels) {
                    var (place, source) = (index, index)
                    for _ in first..<last {
                        to[place] += own[source]
                        place &+= toStep
                        source &+= step
                    }
                }
            }
        }
    }

    /// The activation, by way of a product of nothing.
    private func finish(_ rows: UnsafeMutablePointer<Float>, rows count: Int, _ activation: PreparedActivation) {
        var args = apus_sgemm_args()
        args.epilogue = activation.epilogue
        if args.epilogue.activation == APUS_ACTIVATION_NONE { return }
        args.m = count
        args.n = width.output * outChannels
        args.taps = 1
        args.a_k_stride = 1
        args.c = rows
        args.c_stride = args.n
        args.accumulate = true
        apus_sgemm_run(product.kernel, &args, 0, count, 0, args.n, nil)
    }
}
