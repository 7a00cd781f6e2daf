import ApusCore
import Testing

@testable import ApusOperators

/// How a copy is cut must not show in what it copies.
@Suite struct StridedCopyTests {
    /// Runs whose bytes are below, at and past what one task moves, alone and several of them.
    @Test(arguments: [1, 3, 65_535, 65_536, 65_537, 131_071, 131_072, 131_073, 300_001], [1, 2, 5])
    func runs(_ length: Int, _ count: Int) {
        let gap = 7
        expectCopies(extents: [count, length], source: [length + gap, 1], target: [length + 2 * gap, 1], width: 1)
        expectCopies(extents: [2, count, length / 8 + 1], source: [length, 0, 1], target: [count * (length / 8 + 2), length / 8 + 2, 1], width: 4)
    }

    /// Many short runs in planes of a few rows.
    @Test func planes() {
        expectCopies(extents: [3, 5, 40, 600], source: [140_000, 26_000, 640, 1], target: [130_000, 25_000, 610, 1], width: 2)
        expectCopies(extents: [12, 8192], source: [8192, 1], target: [8256, 1], width: 4)
    }

    /// With one thread and with three, `width` bytes an element.
    private func expectCopies(extents: [Int], source: [Int], target: [Int], width: Int, at location: SourceLocation = #_sourceLocation) {
        func span(_ steps: [Int]) -> Int { zip(extents, steps).reduce(1) { $0 + ($1.0 - 1) * $1.1 } * width }
        let from = (0..<span(source)).map { UInt8(truncatingIfNeeded: $0 &* 31 ^ $0 >> 8) }
        var expected = [UInt8](repeating: 0, count: span(target))
        var position = [Int](repeating: 0, count: extents.count - 1)
        let run = (extents.last ?? 1) * width
        repeat {
            let read = zip(position, source).reduce(0) { $0 + $1.0 * $1.1 } * width
            let written = zip(position, target).reduce(0) { $0 + $1.0 * $1.1 } * width
            expected.replaceSubrange(written..<written + run, with: from[read..<read + run])
        } while advance(&position, extents)
        let copy = StridedCopy(extents: extents, source: source, target: target, width: width)
        for threads in [1, 3] {
            var found = [UInt8](repeating: 0, count: expected.count)
            let pool = ThreadPool(size: threads)
            from.withUnsafeBytes { from in
                found.withUnsafeMutableBytes { found in
                    if let source = from.baseAddress, let target = found.baseAddress { copy.run(from: source, to: target, pool: pool) }
                }
            }
            #expect(found == expected, "\(extents) with \(threads) threads", sourceLocation: location)
        }
    }

    private func advance(_ position: inout [Int], _ extents: [Int]) -> Bool {
        for axis in position.indices.reversed() {
            position[axis] += 1
            if position[axis] < extents[axis] { return true }
            position[axis] = 0
        }
        return false
    }
}
