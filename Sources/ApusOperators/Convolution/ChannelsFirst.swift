import ApusCore
import CApusKernels

/// A float32 node whose input 0 and output 0 have channels first, made of a computation that has channels last: transposed
/// on the way in and out, through the workspace.
///
/// `x`, `y`: shapes [N, C, D1, ...] of input 0 and output 0. `body` gets the io, the input and output to use, and its own
/// workspace of `workspace` bytes.
func channelsFirstNode(
    _ name: String, x: Shape, y: Shape, workspace innerWorkspace: Int,
    _ body: @escaping (NodeIO, UnsafePointer<Float>, UnsafeMutablePointer<Float>, UnsafeMutableRawPointer) -> Void
) throws -> PreparedKernel {
    let batch = x[0], channels = x[1], pixels = x.count(2...), outBatch = y[0], outChannels = y[1], outPixels = y.count(2...)
    // With one channel or one pixel both layouts are the same.
    let movesInput = channels > 1 && pixels > 1, movesOutput = outChannels > 1 && outPixels > 1
    let inputBytes = movesInput ? try x.count.multiplied(by: 4).roundedUp(to: Storage.alignment) : 0
    let outputBytes = movesOutput ? try y.count.multiplied(by: 4).roundedUp(to: Storage.alignment) : 0
    return PreparedKernel(name, workspace: try inputBytes.adding(outputBytes).adding(innerWorkspace)) { io in
        let workspace = io.workspace
        var input = io.input(0, as: Float.self)
        let output = io.output(0, as: Float.self)
        if movesInput {
            let moved = workspace.assumingMemoryBound(to: Float.self)
            transposeImages(batch, rows: channels, columns: pixels, from: input, to: moved, pool: io.pool)
            input = UnsafePointer(moved)
        }
        let target = movesOutput ? (workspace + inputBytes).assumingMemoryBound(to: Float.self) : output
        body(io, input, target, workspace + inputBytes + outputBytes)
        if movesOutput {
            transposeImages(outBatch, rows: outPixels, columns: outChannels, from: UnsafePointer(target), to: output, pool: io.pool)
        }
    }
}

/// Input `index`, of the shape of output 0 and with channels first, as a node of `channelsFirstNode` needs it to add it to its
/// result: `output`, into which it is transposed, or itself where both layouts are the same.
func channelsLastResidual(_ io: NodeIO, _ index: Int, shape: Shape, _ output: UnsafeMutablePointer<Float>) -> UnsafePointer<Float> {
    let residual = io.input(index, as: Float.self)
    guard output != io.output(0, as: Float.self) else { return residual }
    transposeImages(shape[0], rows: shape[1], columns: shape.count(2...), from: residual, to: output, pool: io.pool)
    return UnsafePointer(output)
}
