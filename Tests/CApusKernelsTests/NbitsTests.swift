import CApusKernels
import TestSupport
import Testing

@Suite struct NbitsTests {
    static let levels = Level.all { apus_nbits_at($0)?.pointee.isa }

    @Test func selectionObeysCaps() {
        expectSelectionObeysCaps(Self.levels) { apus_nbits_select($0).pointee.isa }
    }

    @Test(arguments: levels) func matchesTheDefinition(level: Level) throws {
        try level.skipUnlessRunnable()
        let kernels = try #require(apus_nbits_at(level.index))
        var random = SplitMix(9)
        for edge in edges {
            for bits in [2, 4, 8] {
                for (block, k) in [(16, 1), (16, 40), (16, 100), (32, 32), (32, 300), (64, 129), (128, 500), (256, 700), (1024, 900)] {
                    for form in 0..<8 {
                        let rows = form % 4 + 1, hasZeros = form & 1 == 0, hasBias = form & 2 == 0, n = 3
                        let blocks = (k + block - 1) / block, rowBytes = blocks * block * bits / 8
                        let codes: [UInt8] = random.bytes(n * rowBytes), a = random.floats(rows * k, -1...1)
                        let scales = random.floats(n * blocks, 0...0.1), zeros = random.floats(n * blocks, 0...Float(1 << bits)), bias = random.floats(n)
                        let guardedCodes = GuardedBuffer<UInt8>(codes, guarding: edge)
                        let guardedScales = GuardedBuffer<Float>(scales, guarding: edge.of(Float.self))
                        let guardedZeros = GuardedBuffer<Float>(zeros, guarding: edge.of(Float.self))
                        let size = Int(apus_nbits_arranged_size(kernels, UInt32(bits), block, blocks))
                        let arranged = GuardedBuffer<Float>(count: rows * size, guarding: edge.of(Float.self))
                        for row in 0..<rows {
                            let line = GuardedBuffer<Float>(Array(a[(row * k)..<((row + 1) * k)]), guarding: edge.of(Float.self))
                            apus_nbits_arrange(kernels, UInt32(bits), block, blocks, k, line.constant, arranged.pointer + row * size)
                        }
                        let c = GuardedBuffer<Float>(count: rows * n, guarding: edge.of(Float.self))
                        bias.withUnsafeBufferPointer { bias in
                            var args = apus_nbits_args()
                            (args.m, args.k, args.bits, args.block_size, args.blocks) = (rows, k, UInt32(bits), block, blocks)
                            args.a = arranged.constant
                            args.codes = guardedCodes.constant
                            args.scales = guardedScales.constant
                            args.zero_points = hasZeros ? guardedZeros.constant : nil
                            args.bias = hasBias ? bias.baseAddress : nil
                            args.c = c.pointer
                            args.c_stride = n
                            kernels.pointee.run(&args, 0, 1)
                            kernels.pointee.run(&args, 1, n)
                        }
                        for row in 0..<rows {
                            for column in 0..<n {
                                var sum = hasBias ? Double(bias[column]) : 0, size = abs(sum)
                                for index in 0..<k {
                                    let bit = index * bits
                                    let code = Double(codes[column * rowBytes + bit / 8] >> UInt8(bit % 8) & UInt8((1 << bits) - 1))
                                    let place = column * blocks + index / block
                                    let zero = hasZeros ? Double(zeros[place]) : Double(1 << (bits - 1))
                                    sum += Double(scales[place]) * (code - zero) * Double(a[row * k + index])
                                    size += Double(scales[place]) * Double(1 << bits) * abs(Double(a[row * k + index]))
                                }
                                #expect(abs(Double(c.pointer[row * n + column]) - sum) <= 1e-6 * size)
                            }
                        }
                    }
                }
            }
        }
    }
}
