import CApusKernels
import CKernelTwins
import TestSupport
import Testing

@Suite struct QdepthwiseTests {
    static let levels = Level.all { apus_qdepthwise_at($0)?.pointee.isa }
    static let tested = levels + [Level.twin]

    @Test func selectionObeysCaps() {
        expectSelectionObeysCaps(Self.levels) { apus_qdepthwise_select($0).pointee.isa }
    }

    @Test(arguments: tested) func matchesTheDefinition(level: Level) throws {
        try level.skipUnlessRunnable()
        let run = try #require((level.isTwin ? twin_qdepthwise() : apus_qdepthwise_at(level.index))?.pointee.run)
        var random = SplitMix(71)
        for edge in edges {
            for channels in Array(1...18) + [31, 32, 33, 40, 64, 100] {
                for form in 0..<(edge == .end ? 16 : 4) {
                    let (aSigned, wSigned, hasBias, perChannel) = (form & 1 != 0, form & 2 != 0, form & 4 != 0, form & 8 != 0)
                    let height = 5, width = channels % 3 == 0 ? 9 : 4, kernel = (h: 3, w: channels % 5 == 0 ? 5 : form % 3 + 1), stride = form % 2 + 1, dilation = channels % 2 + 1
                    let pad = 1
                    // Weights that fit 8 bits without their zero point, as quantisers make them, and those that do not.
                    let isCentred = channels % 4 != 1
                    let outHeight = max(0, (height + 2 * pad - dilation * (kernel.h - 1) - 1) / stride + 1)
                    let outWidth = max(0, (width + 2 * pad - dilation * (kernel.w - 1) - 1) / stride + 1)
                    let taps = kernel.h * kernel.w
                    func zero(_ signed: Bool) -> Int32 { signed ? Int32.random(in: -128...127, using: &random) : Int32.random(in: 0...255, using: &random) }
                    func value(_ byte: UInt8, _ signed: Bool) -> Int32 { signed ? Int32(Int8(bitPattern: byte)) : Int32(byte) }
                    let input = GuardedBuffer<UInt8>(random.bytes(height * width * channels), guarding: edge)
                    let weights = GuardedBuffer<UInt8>(random.bytes(taps * channels), guarding: edge)
                    let zeros = GuardedBuffer((0..<channels).map { _ in isCentred ? (wSigned ? 0 : 128) : zero(wSigned) }, guarding: edge.of(Int32.self))
                    let bias = GuardedBuffer<Int32>(random.bytes(channels), guarding: edge.of(Int32.self))
                    // The last one lets products pass the range of integers.
                    let scales = GuardedBuffer(
                        random.floats(channels - 1, 0.0001...0.01) + [channels % 3 == 0 ? 2000 : 0.9], guarding: edge.of(Float.self))
                    let packed = GuardedBuffer<Int16>(count: taps * channels, guarding: edge.of(Int16.self))
                    let wZero = isCentred ? (wSigned ? 0 : 128) : zero(wSigned), aZero = zero(aSigned)
                    apus_qdepthwise_pack_weights(
                        channels, taps, weights.pointer, wSigned, wZero, perChannel ? zeros.constant : nil, packed.pointer)
                    let count = outHeight * outWidth * channels
                    let sums = GuardedBuffer<Int32>(count: count, guarding: edge.of(Int32.self)), y = GuardedBuffer<UInt8>(count: count, guarding: edge)
                    var args = apus_qdepthwise_args()
                    args.channels = channels
                    (args.in_height, args.in_width, args.in_row_stride, args.in_pixel_stride) = (height, width, width * channels, channels)
                    (args.out_height, args.out_width, args.out_row_stride, args.out_pixel_stride) = (outHeight, outWidth, outWidth * channels, channels)
                    (args.kernel_height, args.kernel_width) = (kernel.h, kernel.w)
                    (args.stride_y, args.stride_x, args.dilation_y, args.dilation_x) = (stride, stride, dilation, dilation)
                    (args.pad_top, args.pad_left) = (pad, pad)
                    args.input = UnsafeRawPointer(input.pointer)
                    args.in_is_signed = aSigned
                    args.in_zero_point = aZero
                    args.weights = packed.constant
                    args.sum_bias = hasBias ? bias.constant : nil
                    args.scale = 0.004
                    args.scales = perChannel ? scales.constant : nil
                    (args.zero_point, args.low, args.high) = (3, aSigned ? -128 : 0, aSigned ? 127 : 255)
                    args.output = UnsafeMutableRawPointer(sums.pointer)
                    run(&args, 0, outHeight / 2)
                    run(&args, outHeight / 2, outHeight)
                    args.requantizes = true
                    args.output = UnsafeMutableRawPointer(y.pointer)
                    run(&args, 0, outHeight)
                    var wantedSums: [Int32] = [], codes: [UInt8] = []
                    for oy in 0..<outHeight {
                        for ox in 0..<outWidth {
                            for c in 0..<channels {
                                var sum = hasBias ? bias[c] : 0
                                for i in 0..<kernel.h {
                                    for j in 0..<kernel.w {
                                        let iy = oy * stride + i * dilation - pad, ix = ox * stride + j * dilation - pad
                                        guard (0..<height).contains(iy), (0..<width).contains(ix) else { continue }
                                        let w = value(weights[c * taps + i * kernel.w + j], wSigned) - (perChannel ? zeros[c] : wZero)
                                        sum &+= (value(input[(iy * width + ix) * channels + c], aSigned) - aZero) &* w
                                    }
                                }
                                wantedSums.append(sum)
                                let want = QuantizeTests.requantize(sum, 0, perChannel ? scales[c] : 0.004, 3, args.low, args.high)
                                codes.append(UInt8(truncatingIfNeeded: want))
                            }
                        }
                    }
                    #expect(sums.elements == wantedSums && y.elements == codes, "\(channels) channels, form \(form)")
                    #expect(sums.isIntact && y.isIntact && packed.isIntact)
                }
            }
        }
    }
}
