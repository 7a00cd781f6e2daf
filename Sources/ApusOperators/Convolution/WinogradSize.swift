import ApusCore

/// What decides whether Winograd's transforms (apus_winograd.h) pay for a convolution: the squares, the channels and the direct sum's
/// work. Sizes are numbers of any magnitude, for a shape without elements may have dimensions that no sum of them fits.
package struct WinogradSize {
    /// The tiles that there are for the window, greatest first.
    package let tiles: [Int]
    private let window: [Int]
    private let images: Double
    /// By axis: outputs that squares cover.
    private let extent: [Double]
    private let k: Double
    /// Output channels, of all phases.
    private let n: Double
    private let direct: Double

    /// Fewer channels than this have no vectors to fill.
    private static let leastChannels = 16

    /// The tiles of each window, greatest first; windows of one axis have 1 on the other.
    private static func tiles(_ window: [Int]) -> [Int] {
        switch window {
        case [3, 3]: [4, 2]
        case [5, 5]: [2]
        case [2, 2]: [3]
        case [1, 3], [3, 1], [1, 7], [7, 1]: [4]
        default: []
        }
    }

    private init?(window: [Int], images: Int, extent: [Double], inChannels: Int, outChannels: Int, phases: Int, direct: Double) {
        tiles = WinogradSize.tiles(window)
        guard !tiles.isEmpty, inChannels >= WinogradSize.leastChannels, outChannels >= WinogradSize.leastChannels else { return nil }
        self.window = window
        self.images = Double(images)
        self.extent = extent
        k = Double(inChannels)
        n = Double(outChannels) * Double(phases)
        self.direct = direct * Double(images) * k * Double(outChannels)
    }

    /// A convolution with stride 1, dilation 1 and one group, of one or two axes; nil where there are no transforms for its window
    /// or too few channels.
    package init?(window: [Int], images: Int, output: [Int], inChannels: Int, outChannels: Int) {
        guard window.count == output.count, (1...2).contains(window.count) else { return nil }
        let extent = (window.count == 1 ? [1] : []) + output.map { Double($0) }
        self.init(
            window: (window.count == 1 ? [1] : []) + window, images: images, extent: extent, inChannels: inChannels, outChannels: outChannels,
            phases: 1, direct: window.reduce(extent.reduce(1, *)) { $0 * Double($1) })
    }

    /// A transposed convolution of two axes with dilation 1 and one group, whose phases of the strides are convolutions that lie beside
    /// each other; nil where there are no transforms for these, or too few channels.
    package init?(transposed kernel: [Int], strides: [Int], images: Int, output: [Int], inChannels: Int, outChannels: Int) {
        guard kernel.count == 2, output.count == 2, let window = WinogradSize.window(transposed: kernel, strides: strides) else { return nil }
        let direct = (0..<2).reduce(1.0) { $0 * Double(output[$1]) * Double(kernel[$1]) / Double(strides[$1]) }
        self.init(
            window: window, images: images, extent: zip(output, strides).map { Double($0) / Double($1) + 1 }, inChannels: inChannels,
            outChannels: outChannels, phases: strides[0] * strides[1], direct: direct)
    }

    /// The windows that the phases of a transposed convolution have; nil where they are not alike, or too many.
    static func window(transposed kernel: [Int], strides: [Int]) -> [Int]? {
        guard strides.count == kernel.count, strides.allSatisfy({ (1...4).contains($0) }), strides.contains(where: { $0 > 1 }) else { return nil }
        let window = zip(kernel, strides).map { $0 / $1 + ($0 % $1 == 0 ? 0 : 1) }
        return tiles(window).isEmpty || window.contains(1) ? nil : window
    }

    private func points(_ tile: Int, _ axis: Int) -> Double { window[axis] == 1 ? 1 : Double(tile + window[axis] - 1) }

    /// The positions of a transformed square.
    private func positions(_ tile: Int) -> Double { points(tile, 0) * points(tile, 1) }

    /// Transformed weights for each of the direct sum's, whose window has `taps` taps.
    package func growth(_ tile: Int, taps: Int, phases: Int = 1) -> Double { positions(tile) * Double(phases) / Double(max(1, taps)) }

    /// Whether weights may be transformed in each run.
    package var mayTransformInRun: Bool { window == [3, 3] && tiles.contains(4) }

    /// In multiply-accumulates that take as long. The transforms' share was measured on Zen 4 (19 for each value of the
    /// input, 13 of the output), as was that of reading the weights.
    private func cost(_ tile: Int, inRun: Bool) -> Double {
        let squares = (0..<2).reduce(images) { $0 * (window[$1] == 1 ? extent[$1] : (extent[$1] / Double(tile)).rounded(.up)) }
        let passes = inRun ? (squares / Double(WinogradInRunConvolution.mostSquares)).rounded(.up) : 1, positions = positions(tile)
        return squares * positions * (k * n + 19 * k + 13 * n) + passes * positions * k * n * (inRun ? 5 : 4)
    }

    /// The multiply-accumulates that `tile` saves of those of the direct sum; nil where it does not pay. `inRun`: the weights
    /// are transformed in each run.
    package func saving(_ tile: Int, inRun: Bool = false) -> Double? {
        let cost = cost(tile, inRun: inRun)
        return cost < 0.85 * direct ? direct - cost : nil
    }

    /// The tile, at most `greatest`, with which the transforms pay; nil: the direct sum is faster.
    func tile(greatest: Int, inRun: Bool = false) -> Int? {
        let fitting = tiles.filter { $0 <= greatest }
        for (index, tile) in fitting.enumerated() where saving(tile, inRun: inRun) != nil {
            // The larger tile has more than twice the weights: it must be well ahead.
            if index + 1 < fitting.count, cost(tile, inRun: inRun) >= 0.85 * cost(fitting[index + 1], inRun: inRun) { continue }
            return tile
        }
        return nil
    }
}
