import ApusCore
import CApusKernels

/// Two or three convolutions that follow one another, made ready for their sizes.
///
/// Where the first sees single pixels or few channels, the second is depthwise and the last, if there is one, sees single pixels,
/// bands of rows go through all of them while they are in L2. A thread has consecutive rows of the output and computes each row
/// between once, but for the few that its first rows share with another thread's. Others, and small ones, run one after another.
struct ConvolutionChain: @unchecked Sendable {
    /// The weights are read only where they are not constant.
    typealias Operands = (weights: UnsafePointer<Float>, bias: UnsafePointer<Float>?)

    private let parts: [FloatConvolution]
    private let bands: Bands?
    /// Bytes of what the first makes and of what the second makes for the last: all of it, or what is at hand at a time.
    private let wideByteCount: Int
    private let narrowByteCount: Int
    /// Bytes that a piece of the rows has, or all.
    private let pieceByteCount: Int
    let workspaceByteCount: Int

    /// How the rows are cut.
    private struct Bands {
        /// Rows of the output in a band.
        let rows: Int
        /// Rows of the output in all images, and the pieces that they are cut into for threads.
        let total: Int
        let pieces: Int
        /// Elements of an image of X.
        let xCount: Int
        /// Images between: [rows, columns, channels].
        let wide: [Int]
        let narrow: [Int]
        let outChannels: Int

        /// nil where this is not the way.
        init?(_ parts: [FloatConvolution], _ shapes: [Shape], threads: Int, _ limits: Limits) throws {
            guard parts[0].isByRow, parts[1].isDepthwise, parts.count == 2 || parts[2].isByRow else { return nil }
            xCount = shapes[0].count(1...)
            (wide, narrow) = (Array(shapes[1].dimensions.dropFirst()), Array(shapes[2].dimensions.dropFirst()))
            outChannels = shapes[parts.count].dimensions.last ?? 0
            total = try shapes[2][0].multiplied(by: narrow[0])
            pieces = max(1, min(threads, total))
            _ = try total.multiplied(by: pieces)
            // Rows of what is between that one row of the output sees, and by how many more another one does.
            let one = try parts[1].windowRows(1), step = try parts[1].windowRows(2) - one
            let twice = try max(0, one - step).multiplied(by: (pieces - 1) * limits.leastRowsForOneTwice)
            guard shapes[1].count(1...) >= limits.leastElements, twice <= shapes[1].count(0...1) else { return nil }
            let wideRow = wide[1] * wide[2], narrowRow = parts.count > 2 ? narrow[1] * narrow[2] : 0
            let room = max(0, limits.fastElements - min(limits.fastElements, try one.multiplied(by: wideRow)) - narrowRow)
            let fitting = 1 + room / max(1, try step.multiplied(by: wideRow).adding(narrowRow))
            // As even as can be.
            let longest = min(narrow[0], total / pieces + (total % pieces == 0 ? 0 : 1))
            let count = longest / fitting + (longest % fitting == 0 ? 0 : 1)
            rows = max(1, longest / max(1, count) + (longest % max(1, count) == 0 ? 0 : 1))
        }
    }

    /// What bands are chosen by.
    struct Limits {
        var leastElements = ConvChain.leastElements
        /// Of a band and what is made of it: as many stay in L2, beside weights and what passes through.
        var fastElements = 1 << 17
        /// So many rows for one that two threads both compute.
        var leastRowsForOneTwice = 25
    }

    /// `shapes`: of X, then of what each of `parts` makes, [N, D1, ..., channels].
    init(_ parts: [FloatConvolution], shapes: [Shape], threads: Int, limits: Limits) throws {
        self.parts = parts
        bands = try Bands(parts, shapes, threads: threads, limits)
        var wide = shapes[1].count, narrow = parts.count > 2 ? shapes[2].count : 0, scratch = 0
        if let bands {
            wide = try min(bands.wide[0], parts[1].windowRows(bands.rows)).multiplied(by: bands.wide[1] * bands.wide[2])
            if parts.count > 2 { narrow = bands.rows * bands.narrow[1] * bands.narrow[2] }
            scratch = parts[0].rowsByteCount
        } else {
            scratch = parts.map(\.workspaceByteCount).max() ?? 0
        }
        wideByteCount = try wide.multiplied(by: 4).roundedUp(to: Storage.alignment)
        narrowByteCount = try narrow.multiplied(by: 4).roundedUp(to: Storage.alignment)
        pieceByteCount = try wideByteCount.adding(narrowByteCount).adding(scratch.roundedUp(to: Storage.alignment))
        workspaceByteCount = try pieceByteCount.multiplied(by: bands?.pieces ?? 1)
    }

    /// With " > " between those that bands go through, ", " between those that follow one another.
    var kernelName: String {
        let then = bands == nil ? ", " : " > ", name = parts[0].kernelName + then + parts[1].kernelName
        return parts.count > 2 ? name + then + parts[2].kernelName : name
    }

    func run(
        input: UnsafePointer<Float>, _ first: Operands, _ second: Operands, _ last: Operands?, residual: UnsafePointer<Float>?,
        output: UnsafeMutablePointer<Float>, workspace: UnsafeMutableRawPointer, pool: ThreadPool
    ) {
        if let bands {
            pool.parallelUnlessStopped(bands.pieces) { piece in
                runBands(
                    bands, bands.total * piece / bands.pieces..<bands.total * (piece + 1) / bands.pieces, input,
                    (first.bias, second.bias, last?.bias), residual, output,
                    workspace + piece * pieceByteCount, pool)
            }
            return
        }
        let wide = workspace.assumingMemoryBound(to: Float.self)
        let narrow = (workspace + wideByteCount).assumingMemoryBound(to: Float.self)
        let scratch = workspace + wideByteCount + narrowByteCount
        parts[0].run(
            input: input, weights: first.weights, bias: first.bias, residual: nil, output: wide, workspace: scratch, pool: pool)
        parts[1].run(
            input: wide, weights: second.weights, bias: second.bias, residual: nil, output: last == nil ? output : narrow,
            workspace: scratch, pool: pool)
        if let last {
            parts[2].run(
                input: narrow, weights: last.weights, bias: last.bias, residual: residual, output: output, workspace: scratch, pool: pool)
        }
    }

    /// Computes rows of the output, counted through all images.
    private func runBands(
        _ bands: Bands, _ rows: Range<Int>, _ input: UnsafePointer<Float>,
        _ bias: (UnsafePointer<Float>?, UnsafePointer<Float>?, UnsafePointer<Float>?), _ residual: UnsafePointer<Float>?,
        _ output: UnsafeMutablePointer<Float>, _ workspace: UnsafeMutableRawPointer, _ pool: ThreadPool
    ) {
        let wide = workspace.assumingMemoryBound(to: Float.self)
        let narrow = (workspace + wideByteCount).assumingMemoryBound(to: Float.self)
        let scratch = workspace + wideByteCount + narrowByteCount
        let height = bands.narrow[0], wideRow = bands.wide[1] * bands.wide[2], outRow = bands.narrow[1] * bands.outChannels
        var row = rows.lowerBound, image = -1, held = 0..<0
        while row < rows.upperBound, !pool.mustStop {
            let first = row % height, end = min(first + bands.rows, height, first + rows.upperBound - row)
            if row / height != image { (image, held) = (row / height, 0..<0) }
            let needed = parts[1].inputRows(first..<end)
            // What the band before has left.
            let kept = max(0, held.upperBound - max(held.lowerBound, needed.lowerBound))
            if kept > 0, needed.lowerBound > held.lowerBound {
                wide.update(from: wide + (needed.lowerBound - held.lowerBound) * wideRow, count: kept * wideRow)
            }
            held = needed
            parts[0].runRows(
                needed.lowerBound + kept..<needed.upperBound, image: input + image * bands.xCount, bias: bias.0, residual: nil,
                output: wide + kept * wideRow, scratch: scratch, pool: pool)
            let place = output + row * outRow
            parts[1].runDepthwiseRows(first..<end, input: wide, bias: bias.1, output: parts.count > 2 ? narrow : place)
            if parts.count > 2 {
                parts[2].runRows(
                    0..<end - first, image: narrow, bias: bias.2, residual: residual.map { $0 + row * outRow }, output: place,
                    scratch: scratch, pool: pool)
            }
            row += end - first
        }
    }
}
