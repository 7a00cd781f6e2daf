import ApusCore

/// What becomes of the 32-bit sums of an integer product. Called with parts of rows, from several threads.
protocol IntegerEpilogue {
    /// `sums` are those of row `row`, columns `column` ..< `column + count`.
    func apply(row: Int, column: Int, count: Int, _ sums: UnsafePointer<Int32>)
}

/// C[m,n] = Σ (A[m,k] - zero point of m) (B[k,n] - zero point of n) for 8-bit A and B, in 32 bits that wrap around.
///
/// Everything is exact, so the result is the same on every machine. A's rows are widened to 16 bits with their zero point
/// taken off; B is widened and transposed, its zero point enters through the sums of A's rows:
/// Σ a (b - z) = Σ a b - z Σ a.
struct IntegerProduct: Sendable {
    let m: Int
    let n: Int
    let k: Int
    let aIsSigned: Bool
    let bIsSigned: Bool
    /// Elements from one widened row to the next.
    let stride: Int

    private static let rowBlock = 32
    private static let columnBlock = 128

    init(m: Int, n: Int, k: Int, aIsSigned: Bool, bIsSigned: Bool) throws {
        self.m = m
        self.n = n
        self.k = k
        self.aIsSigned = aIsSigned
        self.bIsSigned = bIsSigned
        stride = try k.roundedUp(to: 16)
        _ = try m.multiplied(by: stride).multiplied(by: 2)
        _ = try n.multiplied(by: stride).multiplied(by: 2)
        _ = try m.multiplied(by: n)
    }

    /// Bytes of B as `pack` writes it; a multiple of 32.
    var packedByteCount: Int { n * stride * 2 }

    /// Bytes that `run` needs for A: widened rows, then their sums.
    var workspaceByteCount: Int { m * stride * 2 + (m * 4 + 63) / 64 * 64 }

    /// Widens B, whose element [k, n] lies at k * rowStride + n * columnStride, to [n, stride].
    func pack(_ b: UnsafeRawPointer, rowStride: Int, columnStride: Int, to target: UnsafeMutablePointer<Int16>) {
        if bIsSigned {
            widen(b.assumingMemoryBound(to: Int8.self), lines: 0..<n, columnStride, rowStride, 0, target)
        } else {
            widen(b.assumingMemoryBound(to: UInt8.self), lines: 0..<n, columnStride, rowStride, 0, target)
        }
    }

    @inline(__always)
    private func widen<T: FixedWidthInteger>(
        _ source: UnsafePointer<T>, lines: Range<Int>, _ lineStride: Int, _ elementStride: Int, _ zeroPoint: Int16,
        _ target: UnsafeMutablePointer<Int16>
    ) {
        for line in lines {
            let from = source + line * lineStride, to = target + line * stride
            if elementStride == 1 {
                for index in 0..<k { to[index] = Int16(truncatingIfNeeded: from[index]) &- zeroPoint }
            } else {
                for index in 0..<k { to[index] = Int16(truncatingIfNeeded: from[index * elementStride]) &- zeroPoint }
            }
            for index in k..<max(k, stride) { to[index] = 0 }
        }
    }

    /// Computes all sums and hands them to `epilogue`.
    ///
    /// Element [m, k] of A lies at m * rowStride + k * columnStride. `aZeroPoints` has `aZeroPointCount` elements (1, or
    /// one for each row counted modulo), `bZeroPoints` n elements or, where `bZeroPointStep` is 0, one.
    func run<Epilogue: IntegerEpilogue>(
        _ pool: ThreadPool, a: UnsafeRawPointer, rowStride: Int, columnStride: Int, aZeroPoints: UnsafePointer<Int32>,
        aZeroPointCount: Int, packedB: UnsafePointer<Int16>, bZeroPoints: UnsafePointer<Int32>, bZeroPointStep: Int,
        workspace: UnsafeMutableRawPointer, _ epilogue: Epilogue
    ) {
        guard m > 0, n > 0 else { return }
        let rows = workspace.assumingMemoryBound(to: Int16.self)
        let rowSums = (workspace + m * stride * 2).assumingMemoryBound(to: Int32.self)
        pool.inChunks(m, of: max(1, 16384 / max(1, stride))) { range in
            for row in range {
                let zeroPoint = Int16(truncatingIfNeeded: aZeroPoints[row % max(1, aZeroPointCount)])
                if aIsSigned {
                    widen(a.assumingMemoryBound(to: Int8.self), lines: row..<row + 1, rowStride, columnStride, zeroPoint, rows)
                } else {
                    widen(a.assumingMemoryBound(to: UInt8.self), lines: row..<row + 1, rowStride, columnStride, zeroPoint, rows)
                }
                var sum: Int32 = 0
                for index in row * stride..<row * stride + k { sum &+= Int32(rows[index]) }
                rowSums[row] = sum
            }
        }
        let rowBlocks = (m + Self.rowBlock - 1) / Self.rowBlock, columnBlocks = (n + Self.columnBlock - 1) / Self.columnBlock
        pool.parallel(rowBlocks * columnBlocks) { block in
            let column = block % columnBlocks * Self.columnBlock
            let count = min(Self.columnBlock, n - column)
            let firstRow = block / columnBlocks * Self.rowBlock
            withUnsafeTemporaryAllocation(of: Int32.self, capacity: Self.columnBlock) { sums in
                guard let sums = sums.baseAddress else { return }
                for row in firstRow..<min(m, firstRow + Self.rowBlock) {
                    products(rows + row * stride, packedB + column * stride, count, sums)
                    if bZeroPointStep == 0 {
                        let correction = bZeroPoints[0] &* rowSums[row]
                        if correction != 0 {
                            for index in 0..<count { sums[index] = sums[index] &- correction }
                        }
                    } else {
                        for index in 0..<count { sums[index] = sums[index] &- bZeroPoints[column + index] &* rowSums[row] }
                    }
                    epilogue.apply(row: row, column: column, count: count, sums)
                }
            }
        }
    }

    /// The dot products of one row with `count` lines of B.
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
