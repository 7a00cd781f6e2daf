import ApusCore
import CApusKernels

/// Windows over a channels-last picture of few channels, in a copy with its padding written out: one row of a window is then one
/// run of memory, and a convolution has as many taps as its windows have rows.
///
/// A run is as long as whole groups of four elements; what it takes from the pixels behind the window meets weights that are
/// their own zero point, and counts for nothing.
struct PaddedWindows: @unchecked Sendable {
    let geometry: WindowGeometry
    let channels: Int
    /// Rows of a window, and elements of one of them.
    let taps: Int
    let k: Int
    /// Where the runs of each output pixel begin (apus_indirection.h).
    let table: Storage
    /// Bytes of the copy.
    let byteCount: Int
    private let height: Int
    private let width: Int

    /// nil where taps one by one are as good: pixels of whole groups, windows that are no rectangles, or gaps between columns.
    init?(_ geometry: WindowGeometry, channels: Int, budget: MemoryBudget) throws {
        guard geometry.kernel.count == 2, geometry.taps > 1, channels % 4 != 0, channels < 16, geometry.dilations[1] == 1,
            geometry.outputPixels > 0
        else { return nil }
        self.geometry = geometry
        self.channels = channels
        taps = geometry.kernel[0]
        k = try geometry.kernel[1].multiplied(by: channels).roundedUp(to: 4)
        func extent(_ axis: Int) throws -> Int {
            try (geometry.output[axis] - 1).multiplied(by: geometry.strides[axis])
                .adding(try (geometry.kernel[axis] - 1).multiplied(by: geometry.dilations[axis])).adding(1)
        }
        (height, width) = (try extent(0), try extent(1))
        byteCount = try height.multiplied(by: width).multiplied(by: channels).adding(4).roundedUp(to: Storage.alignment)
        let entries = try geometry.outputPixels.multiplied(by: taps)
        table = try Storage.allocate(byteCount: try entries.multiplied(by: 8), budget: budget, purpose: "a table of windows")
        var entry = table.base.assumingMemoryBound(to: Int.self)
        for y in 0..<geometry.output[0] {
            for x in 0..<geometry.output[1] {
                for tap in 0..<taps {
                    let row = y * geometry.strides[0] + tap * geometry.dilations[0]
                    entry.pointee = (row * width + x * geometry.strides[1]) * channels
                    entry += 1
                }
            }
        }
    }

    /// Writes the copy of `image`, with `zeroPoint` around it.
    func pad(_ image: UnsafePointer<UInt8>, zeroPoint: UInt8, to target: UnsafeMutablePointer<UInt8>) {
        let line = width * channels
        copyPaddedRows(
            image, rows: geometry.input[0], rowBytes: geometry.input[1] * channels, first: -geometry.padBegin[0], count: height,
            left: min(width, geometry.padBegin[1]) * channels, lineBytes: line, fill: zeroPoint, to: target)
        (target + height * line).update(repeating: zeroPoint, count: 4)
    }

    /// Weights as ONNX has them, [n, channels, rows, columns], as [n, rows, k] with the zero points behind each row.
    func arrange(
        _ weights: UnsafePointer<UInt8>, outputs: Int, zeroPoints: UnsafePointer<Int32>, zeroPointStep: Int,
        to target: UnsafeMutablePointer<UInt8>
    ) {
        let columns = geometry.kernel[1]
        for output in 0..<outputs {
            let from = weights + output * channels * taps * columns, to = target + output * taps * k
            to.update(repeating: UInt8(truncatingIfNeeded: zeroPoints[output * zeroPointStep]), count: taps * k)
            for channel in 0..<channels {
                for row in 0..<taps {
                    for column in 0..<columns {
                        to[row * k + column * channels + channel] = from[(channel * taps + row) * columns + column]
                    }
                }
            }
        }
    }
}
