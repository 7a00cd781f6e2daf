import CImageCodecs

/// A picture of 8-bit samples, rows from top to bottom, channels interleaved.
struct Picture: Equatable, Sendable {
    let width: Int
    let height: Int
    /// 1 (grey) or 3 (red, green, blue).
    let channels: Int
    let samples: [UInt8]

    /// Larger pictures are refused before any memory is taken for them: 100 million pixels.
    static let mostPixels = 100_000_000

    /// Decodes a PNG or JPEG file to RGB.
    ///
    /// Transparent pixels lie on white, 16-bit samples are reduced to 8; a camera's rotation tag is not applied.
    init(decoding file: [UInt8]) throws {
        var message = [CChar](repeating: 0, count: Int(APUS_CODEC_MESSAGE))
        var width: UInt32 = 0
        var height: UInt32 = 0
        guard apus_image_size(file, file.count, &width, &height, &message) == 0 else {
            throw CLIError.file(Self.text(message))
        }
        let (pixels, overflow) = Int(width).multipliedReportingOverflow(by: Int(height))
        guard !overflow, pixels <= Self.mostPixels else {
            throw CLIError.file("\(width)x\(height) pixels are more than the \(Self.mostPixels) that are read")
        }
        var failed = false
        samples = [UInt8](unsafeUninitializedCapacity: pixels * 3) { buffer, count in
            failed = apus_image_decode_rgb(file, file.count, buffer.baseAddress, pixels * 3, &message) != 0
            count = failed ? 0 : pixels * 3
        }
        if failed { throw CLIError.file(Self.text(message)) }
        (self.width, self.height, channels) = (Int(width), Int(height), 3)
    }

    init(width: Int, height: Int, channels: Int, samples: [UInt8]) {
        (self.width, self.height, self.channels, self.samples) = (width, height, channels, samples)
    }

    private static func text(_ message: [CChar]) -> String {
        String(decoding: message.prefix { $0 != 0 }.map { UInt8(truncatingIfNeeded: $0) }, as: UTF8.self)
    }

    /// One channel of brightness, by the weights of ITU-R BT.601.
    var grey: Picture {
        guard channels == 3 else { return self }
        var out: [UInt8] = []
        out.reserveCapacity(samples.count / 3)
        for pixel in stride(from: 0, to: samples.count - 2, by: 3) {
            // Sixteen fraction bits; the weights add up to 65,536.
            let sum = 19595 * UInt32(samples[pixel]) + 38470 * UInt32(samples[pixel + 1]) + 7471 * UInt32(samples[pixel + 2])
            out.append(UInt8(truncatingIfNeeded: (sum + 32768) >> 16))
        }
        return Picture(width: width, height: height, channels: 1, samples: out)
    }

    // MARK: Resizing

    enum Filter: String, CaseIterable, Sendable {
        /// The nearest source pixel.
        case nearest
        /// Linear between pixels when enlarging; when shrinking, the triangle is widened to cover every source pixel.
        case bilinear
    }

    /// The picture scaled to the given size; pixel centres lie at half coordinates.
    func resized(width newWidth: Int, height newHeight: Int, by filter: Filter) throws -> Picture {
        if newWidth == width && newHeight == height { return self }
        // The larger of the two passes bounds the work and the memory.
        let (pixels, overflow) = newWidth.multipliedReportingOverflow(by: max(height, newHeight))
        guard newWidth > 0, newHeight > 0, !overflow, pixels <= Self.mostPixels else {
            throw CLIError.file("cannot resize \(width)x\(height) pixels to \(newWidth)x\(newHeight)")
        }
        let columns = Self.weights(from: width, to: newWidth, filter)
        let rows = Self.weights(from: height, to: newHeight, filter)
        // First along the rows, then along the columns, in between without rounding.
        var wide = [Float](repeating: 0, count: newWidth * height * channels)
        for y in 0..<height {
            for (x, taps) in columns.enumerated() {
                for channel in 0..<channels {
                    var sum: Float = 0
                    for (offset, weight) in taps.weights.enumerated() {
                        sum += weight * Float(samples[(y * width + taps.first + offset) * channels + channel])
                    }
                    wide[(y * newWidth + x) * channels + channel] = sum
                }
            }
        }
        let stride = newWidth * channels
        var out = [UInt8](repeating: 0, count: newHeight * stride)
        for (y, taps) in rows.enumerated() {
            for place in 0..<stride {
                var sum: Float = 0
                for (offset, weight) in taps.weights.enumerated() { sum += weight * wide[(taps.first + offset) * stride + place] }
                out[y * stride + place] = UInt8(min(max(sum, 0), 255).rounded())
            }
        }
        return Picture(width: newWidth, height: newHeight, channels: channels, samples: out)
    }

    private struct Taps {
        let first: Int
        let weights: [Float]
    }

    /// For every target pixel the source pixels it is made of, weights summing to one.
    private static func weights(from source: Int, to target: Int, _ filter: Filter) -> [Taps] {
        let ratio = Double(source) / Double(target)
        return (0..<target).map { index in
            let centre = (Double(index) + 0.5) * ratio
            switch filter {
            case .nearest: return Taps(first: min(Int(centre), source - 1), weights: [1])
            case .bilinear:
                let reach = max(ratio, 1)
                let first = max(Int((centre - reach).rounded(.down)), 0)
                let last = min(Int((centre + reach).rounded(.up)), source)
                let raw = (first..<last).map { max(0, 1 - abs(Double($0) + 0.5 - centre) / reach) }
                let sum = raw.reduce(0, +)
                return Taps(first: first, weights: raw.map { Float($0 / sum) })
            }
        }
    }

    /// The middle of the picture, as large as possible with the proportions of `width` : `height`.
    func cropped(toProportionOf newWidth: Int, _ newHeight: Int) throws -> Picture {
        guard (1...Self.mostPixels).contains(newWidth), (1...Self.mostPixels).contains(newHeight) else {
            throw CLIError.file("no picture can have \(newWidth)x\(newHeight) pixels")
        }
        // Comparing products keeps the proportion exact; both factors are bounded.
        let isTooWide = width * newHeight > height * newWidth
        let cropWidth = isTooWide ? max(1, height * newWidth / newHeight) : width
        let cropHeight = isTooWide ? height : max(1, width * newHeight / newWidth)
        let (left, top) = ((width - cropWidth) / 2, (height - cropHeight) / 2)
        var out: [UInt8] = []
        out.reserveCapacity(cropWidth * cropHeight * channels)
        for y in top..<top + cropHeight {
            let start = (y * width + left) * channels
            out += samples[start..<start + cropWidth * channels]
        }
        return Picture(width: cropWidth, height: cropHeight, channels: channels, samples: out)
    }
}
