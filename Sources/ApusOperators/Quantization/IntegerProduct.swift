import ApusCore

/// What becomes of the 32-bit sums of an integer product; called with parts of rows, from several threads.
protocol IntegerEpilogue {
    /// `sums` are those of row `row`, columns `column` ..< `column + count`.
    func apply(row: Int, column: Int, count: Int, _ sums: UnsafePointer<Int32>)
}

/// Where the lines of one operand come from.
protocol LineSource {
    /// Writes the elements of line `index`, widened to 16 bits, their zero point taken off.
    func fill(_ index: Int, _ target: UnsafeMutablePointer<Int16>)
}

/// Lines of a matrix of 8-bit elements: element [line, k] lies at line * lineStride + k * elementStride.
struct MatrixLines<Element: FixedWidthInteger>: LineSource, @unchecked Sendable {
    let elements: UnsafePointer<Element>
    let lineStride: Int
    let elementStride: Int
    let k: Int
    /// As many as there are, counted modulo for the lines.
    let zeroPoints: UnsafePointer<Int32>?
    let zeroPointCount: Int

    init(
        _ elements: UnsafeRawPointer, _: Element.Type, lineStride: Int, elementStride: Int, k: Int,
        zeroPoints: UnsafePointer<Int32>? = nil, zeroPointCount: Int = 1
    ) {
        self.elements = elements.assumingMemoryBound(to: Element.self)
        self.lineStride = lineStride
        self.elementStride = elementStride
        self.k = k
        self.zeroPoints = zeroPoints
        self.zeroPointCount = max(1, zeroPointCount)
    }

    @inline(__always)
    func fill(_ index: Int, _ target: UnsafeMutablePointer<Int16>) {
        let zeroPoint = zeroPoints.map { Int16(truncatingIfNeeded: $0[index % zeroPointCount]) } ?? 0
        let line = elements + index * lineStride
        if elementStride == 1 {
            for position in 0..<k { target[position] = Int16(truncatingIfNeeded: line[position]) &- zeroPoint }
        } else {
            for position in 0..<k { target[position] = Int16(truncatingIfNeeded: line[position * elementStride]) &- zeroPoint }
        }
    }
}

/// A factor for each line of an operand; `step` 0: one for all.
struct LineFactors: @unchecked Sendable {
    let values: UnsafePointer<Int32>
    let step: Int
}

/// Dot products of lines of 8-bit elements, in 32 bits that wrap around.
///
/// Everything is exact, so the result is the same on every machine. Lines are widened to 16 bits beforehand. One operand
/// may keep its zero point z, because Σ a (b - z) = Σ a b - z Σ a.
struct IntegerProduct: Sendable {
    /// Elements of a line that count.
    let k: Int
    /// Elements from one widened line to the next; those beyond `k` are 0.
    let stride: Int

    private static let rowBlock = 32
    private static let columnBlock = 128

    init(k: Int) throws {
        self.k = k
        stride = max(16, try k.roundedUp(to: 16))
    }

    /// Bytes of `count` widened lines; a multiple of 32.
    func byteCount(lines count: Int) throws -> Int { try count.multiplied(by: stride).multiplied(by: 2) }

    /// Lines of a large operand to widen at a time: as many as stay in a cache.
    func linesPerPass(_ count: Int) -> Int { min(count, max(64, (1 << 18) / stride)) }

    /// Widens lines `range` to `target` and, where `sums` is given, adds each of them up.
    func fill<Source: LineSource>(
        _ pool: ThreadPool?, _ source: Source, _ range: Range<Int>, _ target: UnsafeMutablePointer<Int16>,
        sums: UnsafeMutablePointer<Int32>? = nil
    ) {
        func fill(_ part: Range<Int>) {
            for index in part {
                let line = target + index * stride
                source.fill(range.lowerBound + index, line)
                for position in k..<stride { line[position] = 0 }
                if let sums {
                    var sum: Int32 = 0
                    for position in 0..<stride { sum &+= Int32(line[position]) }
                    sums[index] = sum
                }
            }
        }
        if let pool { pool.inChunks(range.count, of: max(1, 16384 / stride), fill) } else { fill(0..<range.count) }
    }

    /// Hands Σ a[row] b[column] - rowFactors[row] columnFactors[column] of all rows and columns to `epilogue`, which sees
    /// `firstRow` and `firstColumn` added. The factors count from the first line given here.
    func multiply<Epilogue: IntegerEpilogue>(
        _ pool: ThreadPool, rows: UnsafePointer<Int16>, rowCount: Int, rowFactors: LineFactors, firstRow: Int = 0,
        columns: UnsafePointer<Int16>, columnCount: Int, columnFactors: LineFactors, firstColumn: Int = 0, _ epilogue: Epilogue
    ) {
        guard rowCount > 0, columnCount > 0 else { return }
        let rowBlocks = (rowCount + Self.rowBlock - 1) / Self.rowBlock
        let columnBlocks = (columnCount + Self.columnBlock - 1) / Self.columnBlock
        pool.parallel(rowBlocks * columnBlocks) { block in
            let column = block % columnBlocks * Self.columnBlock
            let count = min(Self.columnBlock, columnCount - column)
            let begin = block / columnBlocks * Self.rowBlock
            withUnsafeTemporaryAllocation(of: Int32.self, capacity: Self.columnBlock) { sums in
                guard let sums = sums.baseAddress else { return }
                for row in begin..<min(rowCount, begin + Self.rowBlock) {
                    products(rows + row * stride, columns + column * stride, count, sums)
                    let factor = rowFactors.values[row * rowFactors.step]
                    if factor != 0 {
                        for index in 0..<count {
                            sums[index] &-= factor &* columnFactors.values[(column + index) * columnFactors.step]
                        }
                    }
                    epilogue.apply(row: firstRow + row, column: firstColumn + column, count: count, sums)
                }
            }
        }
    }

    /// The dot products of one line with `count` others.
    @inline(__always)
    private func products(_ a: UnsafePointer<Int16>, _ b: UnsafePointer<Int16>, _ count: Int, _ sums: UnsafeMutablePointer<Int32>) {
        var line = 0
        while line + 4 <= count {
            let b0 = b + line * stride, b1 = b0 + stride, b2 = b1 + stride, b3 = b2 + stride
            var s0: Int32 = 0, s1: Int32 = 0, s2: Int32 = 0, s3: Int32 = 0
            for index in 0..<stride {
                let element = Int32(a[index])
                s0 &+= element &* Int32(b0[index])
                s1 &+= element &* Int32(b1[index])
                s2 &+= element &* Int32(b2[index])
                s3 &+= element &* Int32(b3[index])
            }
            sums[line] = s0
            sums[line + 1] = s1
            sums[line + 2] = s2
            sums[line + 3] = s3
            line += 4
        }
        while line < count {
            let b0 = b + line * stride
            var sum: Int32 = 0
            for index in 0..<stride { sum &+= Int32(a[index]) &* Int32(b0[index]) }
            sums[line] = sum
            line += 1
        }
    }
}

/// Stores the sums themselves.
struct StoringEpilogue: IntegerEpilogue, @unchecked Sendable {
    let target: UnsafeMutablePointer<Int32>
    let stride: Int

    @inline(__always)
    func apply(row: Int, column: Int, count: Int, _ sums: UnsafePointer<Int32>) {
        (target + row * stride + column).update(from: sums, count: count)
    }
}

/// The factors of a product's sums: (scale of A's row * scale of B's column), divided by the output's scale where there
/// is one. The order of the operations is onnxruntime's.
struct ProductScales: @unchecked Sendable {
    let a: UnsafePointer<Float>
    let aCount: Int
    let b: UnsafePointer<Float>
    /// 0 where one scale serves all columns.
    let bStep: Int
    let output: Float?

    @inline(__always)
    func scale(_ row: Int, _ column: Int) -> Float {
        let product = a[aCount == 1 ? 0 : row % aCount] * b[column * bStep]
        return output.map { product / $0 } ?? product
    }
}

/// A 32-bit addend of the sums; element [row, column] at row * rowStride + column * columnStride.
struct SumBias: @unchecked Sendable {
    let values: UnsafePointer<Int32>
    let rowStride: Int
    let columnStride: Int
}

/// Scales the sums and rounds them to 8 bits.
struct RequantizingEpilogue<Result: FixedWidthInteger>: IntegerEpilogue, @unchecked Sendable {
    let target: UnsafeMutablePointer<Result>
    let stride: Int
    let columnStride: Int
    let scales: ProductScales
    let bias: SumBias?
    let requantize: Requantization

    init(
        _ target: UnsafeMutableRawPointer, _: Result.Type, stride: Int, columnStride: Int = 1, scales: ProductScales, bias: SumBias?,
        zeroPoint: Int32
    ) {
        self.target = target.assumingMemoryBound(to: Result.self)
        self.stride = stride
        self.columnStride = columnStride
        self.scales = scales
        self.bias = bias
        requantize = Requantization(
            Result.isSigned ? IntegerRange.int8 : IntegerRange.uint8, zeroPoint: zeroPoint)
    }

    @inline(__always)
    func apply(row: Int, column: Int, count: Int, _ sums: UnsafePointer<Int32>) {
        let line = target + row * stride + column * columnStride
        for index in 0..<count {
            var sum = sums[index]
            if let bias { sum &+= bias.values[row * bias.rowStride + (column + index) * bias.columnStride] }
            line[index * columnStride] = Result(truncatingIfNeeded: requantize(Float(sum) * scales.scale(row, column + index)))
        }
    }
}

/// Scales the sums to floats and adds a bias for each column.
struct ScalingEpilogue: IntegerEpilogue, @unchecked Sendable {
    let target: UnsafeMutablePointer<Float>
    let stride: Int
    let scales: ProductScales
    let sumBias: SumBias?
    let bias: UnsafePointer<Float>?

    @inline(__always)
    func apply(row: Int, column: Int, count: Int, _ sums: UnsafePointer<Int32>) {
        let line = target + row * stride + column
        for index in 0..<count {
            var sum = sums[index]
            if let sumBias { sum &+= sumBias.values[row * sumBias.rowStride + (column + index) * sumBias.columnStride] }
            let scaled = Float(sum) * scales.scale(row, column + index)
            line[index] = bias.map { scaled + $0[column + index] } ?? scaled
        }
    }
}

extension IntegerRange {
    static let uint8 = IntegerRange(lowest: 0, highest: 255)
    static let int8 = IntegerRange(lowest: -128, highest: 127)

    private init(lowest: Int32, highest: Int32) {
        self.lowest = lowest
        self.highest = highest
    }
}
