import ApusCore
import CApusKernels

/// The squares into which Winograd's transforms (apus_winograd.h) cut the outputs of a 3×3 convolution.
struct WinogradSquares {
    let kernel: UnsafePointer<apus_winograd_kernel>
    let image: apus_winograd_image
    /// Values of a square's transform.
    let positions: Int
    /// Squares of all images.
    let count: Int

    /// `geometry` must be one that `WinogradConvolution.tile(…)` accepts.
    init(levels: UInt32, tile: Int, geometry: WindowGeometry, images: Int) throws {
        guard let kernel = apus_winograd_select(levels, tile) else {
            throw ApusError(.internal, "there is no Winograd kernel of tile \(tile)")
        }
        self.kernel = kernel
        positions = (tile + 2) * (tile + 2)
        let image = apus_winograd_image(
            in_height: geometry.input[0], in_width: geometry.input[1], out_height: geometry.output[0], out_width: geometry.output[1],
            pad_top: geometry.padBegin[0], pad_left: geometry.padBegin[1])
        self.image = image
        count = try withUnsafePointer(to: image) { try Int(apus_winograd_squares(kernel, $0)).multiplied(by: images) }
    }
}
