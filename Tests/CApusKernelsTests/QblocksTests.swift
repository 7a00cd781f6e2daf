import CApusKernels
import CKernelTwins
import TestSupport
import Testing

@Suite struct QblocksTests {
    static let levels = Level.all { apus_qblocks_at($0)?.pointee.isa }
    static let tested = levels + [Level.twin]

    static func kernels(_ level: Level) throws -> UnsafePointer<apus_qblocks_kernels> {
        try level.skipUnlessRunnable()
        return try #require(level.isTwin ? twin_qblocks() : apus_qblocks_at(level.index))
    }

    @Test func selectionObeysCaps() {
        expectSelectionObeysCaps(Self.levels) { apus_qblocks_select($0).pointee.isa }
    }

    /// The nearest code and the scale of each block; the same codes on every level, but where rounding the factor shows.
    @Test(arguments: tested) func quantizesRows(level: Level) throws {
        let kernels = try Self.kernels(level).pointee
        var random = SplitMix(31)
        for edge in edges {
            for (block, k) in [(16, 1), (16, 16), (16, 47), (32, 33), (64, 300), (128, 128)] {
                let blocks = (k + block - 1) / block
                var shape = apus_qblocks_shape(n: 1, k: k, bits: 4, block_size: block, blocks: blocks, has_zero_points: 0)
                var row = random.floats(k, -3...3)
                if k == 300 { for i in 64..<128 { row[i] = 0 } }
                let x = GuardedBuffer<Float>(row, guarding: edge.of(Float.self))
                let a = GuardedBuffer<Int8>(count: blocks * block, guarding: edge.of(Int8.self))
                let scales = GuardedBuffer<Float>(count: blocks, guarding: edge.of(Float.self))
                let sums = GuardedBuffer<Int32>(count: blocks, guarding: edge.of(Int32.self))
                kernels.quantize(&shape, x.constant, a.pointer, scales.pointer, sums.pointer)
                for b in 0..<blocks {
                    let part = row[(b * block)..<min(k, (b + 1) * block)], most = part.map(abs).max() ?? 0
                    #expect(scales[b] == most / 127)
                    var sum: Int32 = 0
                    for i in 0..<block {
                        let code = a[b * block + i], value = b * block + i < k ? row[b * block + i] : 0
                        #expect(abs(Float(code) * scales[b] - value) <= 0.5001 * scales[b])
                        sum += Int32(code)
                    }
                    #expect(sums[b] == sum)
                }
                #expect(a.isIntact && scales.isIntact && sums.isIntact)
            }
        }
        for special in [Float.nan, .infinity, -.infinity] {
            var shape = apus_qblocks_shape(n: 1, k: 16, bits: 4, block_size: 16, blocks: 1, has_zero_points: 0)
            var row = [Float](repeating: 1, count: 16), a = [Int8](repeating: 0, count: 16), scale: Float = 0, sum: Int32 = 0
            row[3] = special
            kernels.quantize(&shape, row, &a, &scale, &sum)
            #expect(!scale.isFinite)
        }
    }

    @Test(arguments: tested) func matchesTheDefinition(level: Level) throws {
        let kernels = try Self.kernels(level)
        var random = SplitMix(32)
        let nr = kernels.pointee.nr
        for bits in [2, 4, 8] {
            for (block, k) in [(16, 1), (16, 40), (32, 32), (32, 70), (64, 129), (256, 300)] {
                for (form, n) in [1, nr - 1, nr, nr + 1, 2 * nr + 3].enumerated() {
                    // All heights of tiles, shared out over the sizes.
                    for rows in (form % 2 == 0 ? [1, 3, 6, 13] : [2, 4, 5, 7]) {
                        let hasZeros = (form + rows) & 1 == 0, hasBias = (form + rows) & 2 == 0
                        let blocks = (k + block - 1) / block, depth = blocks * block, columnBytes = depth * bits / 8
                        var shape = apus_qblocks_shape(
                            n: n, k: k, bits: UInt32(bits), block_size: block, blocks: blocks, has_zero_points: hasZeros ? 1 : 0)
                        let codes = GuardedBuffer<UInt8>(random.bytes(n * columnBytes))
                        let scales = GuardedBuffer<Float>(random.floats(n * blocks, 0...0.1))
                        let zeros = GuardedBuffer<Float>(random.floats(n * blocks, 0...Float(1 << bits)))
                        // Codes at both ends of the range, where 16 bits would not hold sums of products.
                        let a = GuardedBuffer<Int8>((0..<(rows * depth)).map { _ in
                            let byte = Int8(truncatingIfNeeded: random.next())
                            return byte & 7 == 0 ? (byte < 0 ? -127 : 127) : max(byte, -127)
                        })
                        let aScales = GuardedBuffer<Float>(random.floats(rows * blocks, 0...0.02))
                        let aSums = GuardedBuffer<Int32>((0..<(rows * blocks)).map { index in
                            (0..<block).reduce(Int32(0)) { $0 + Int32(a[index * block + $1]) }
                        })
                        let bias = GuardedBuffer<Float>(random.floats(n))
                        let c = GuardedBuffer<Float>(count: rows * n)
                        let panels = apus_qblocks_panels(kernels, n), size = apus_qblocks_panel_size(kernels, &shape)
                        let packed = UnsafeMutableRawPointer.allocate(byteCount: panels * size, alignment: 64)
                        defer { packed.deallocate() }
                        let zeroPoints = hasZeros ? zeros.constant : nil
                        apus_qblocks_pack(kernels, &shape, codes.constant, scales.constant, zeroPoints, packed, panels / 2, panels)
                        apus_qblocks_pack(kernels, &shape, codes.constant, scales.constant, zeroPoints, packed, 0, panels / 2)
                        var args = apus_qblocks_args(
                            m: rows, a: a.constant, a_scales: aScales.constant, a_sums: aSums.constant, b: UnsafeRawPointer(packed),
                            bias: hasBias ? bias.constant : nil, c: c.pointer, c_stride: n)
                        kernels.pointee.run(&shape, &args, panels / 2, panels)
                        kernels.pointee.run(&shape, &args, 0, panels / 2)
                        var worst = 0.0
                        for row in 0..<rows {
                            for column in 0..<n {
                                var sum = hasBias ? Double(bias[column]) : 0, magnitude = abs(sum)
                                for b in 0..<blocks {
                                    let zero = hasZeros ? Double(zeros[column * blocks + b]) : Double(1 << (bits - 1))
                                    var products = 0, ones = 0
                                    for i in 0..<block {
                                        let bit = (b * block + i) * bits
                                        let code = Int(codes[column * columnBytes + bit / 8] >> UInt8(bit % 8)) & ((1 << bits) - 1)
                                        products += code * Int(a[row * depth + b * block + i])
                                        ones += Int(a[row * depth + b * block + i])
                                    }
                                    let factor = Double(scales[column * blocks + b]) * Double(aScales[row * blocks + b])
                                    sum += factor * (Double(products) - zero * Double(ones))
                                    magnitude += factor * (abs(Double(products)) + zero * abs(Double(ones)))
                                }
                                worst = max(worst, abs(Double(c[row * n + column]) - sum) / max(magnitude, 1e-30))
                            }
                        }
                        #expect(worst <= 1e-6, "\(bits) bits, \(rows)x\(k)x\(n), blocks of \(block)")
                        #expect(c.isIntact)
                    }
                }
            }
        }
    }
}
