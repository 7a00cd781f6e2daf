import ApusCore
import ApusGraph
import ApusOperators

/// Allows convolutions to be computed by Winograd's transforms: windows of 3×3, 5×5, 3 and 7 taps with stride 1, and transposed ones
/// whose strides make phases of 2×2, 3×3 or 5×5 taps. Those that gain most keep their transformed weights (1.3 to 4 times the size of the
/// others), as long as these add no more than a fifth to the constants of the graph; other 3×3 ones transform theirs in each run,
/// where that pays still. Narrow weights are counted as if they were of float32: the same convolutions have the same form and results
/// with both, and none but the few that are kept transformed, as float32, take more than their own memory. (With those of VGG-16
/// transformed in each run it would take a quarter less memory and a sixth more time.)
///
/// Those of 8-bit integers are exact and decide by themselves when they are made ready, for their weights stay as they are.
///
/// The rounding error of the others stays at about twice that of the direct sum, with 7 taps at four times; turn the pass off where
/// even that counts, or where inputs may be infinite.
struct WinogradTransforms: Pass {
    let name = "WinogradTransforms"

    private struct Candidate {
        let node: Int
        let tile: Int
        /// Whether the weights are transformed in each run.
        let inRun: Bool
        let bytes: Int
        /// Multiply-accumulates that are saved, in units of time.
        let saved: Double
    }

    func run(_ editor: GraphEditor, _ context: PassContext) throws {
        allowIntegers(editor, context)
        var budget = 0
        for case .tensor(let tensor) in editor.graph.initializers.values { budget &+= wideByteCount(tensor) / 5 }
        // The most time for each byte first.
        var candidates: [Candidate] = []
        for index in editor.nodeIndices { candidates += tiles(of: index, editor, context) }
        candidates.sort { (a: Candidate, b: Candidate) -> Bool in a.saved * Double(b.bytes) > b.saved * Double(a.bytes) }
        var chosen: [Int: Candidate] = [:]
        for candidate in candidates where !candidate.inRun {
            let before = chosen[candidate.node]
            guard candidate.saved > before?.saved ?? 0, candidate.bytes - (before?.bytes ?? 0) <= budget else { continue }
            budget -= candidate.bytes - (before?.bytes ?? 0)
            chosen[candidate.node] = candidate
        }
        for candidate in candidates where candidate.inRun && candidate.saved > chosen[candidate.node]?.saved ?? 0 {
            chosen[candidate.node] = candidate
        }
        for candidate in chosen.values {
            var node = editor.graph.nodes[candidate.node]
            node.attributes.append(Attribute("winograd", .int(Int64(candidate.tile))))
            if candidate.inRun { node.attributes.append(Attribute("winograd_in_run", .int(1))) }
            node.origin = name
            editor.replace(candidate.node, with: node)
            context.log?("\(name): tile \(candidate.tile)\(candidate.inRun ? " in each run" : "") at \(editor.graph.displayName(node))")
        }
    }

    /// Bytes of the tensor; of narrow floats, those of as many of float32.
    private func wideByteCount(_ tensor: Tensor) -> Int {
        NarrowProduct.types.contains(tensor.type) ? tensor.count &* 4 : tensor.byteCount
    }

    /// Allows it to convolutions of integers.
    private func allowIntegers(_ editor: GraphEditor, _ context: PassContext) {
        for index in editor.nodeIndices {
            var node = editor.graph.nodes[index]
            guard node.opType == "QLinearConv" || node.opType == "ConvInteger", node.attribute("winograd") == nil,
                ["", "ai.onnx", "com.microsoft"].contains(node.domain),
                case let position = node.opType == "QLinearConv" ? 3 : 1, node.inputs.count > position,
                case .tensor(let weights)? = editor.constant(node.inputs[position]), weights.shape.rank == 4, weights.shape[2] == 3,
                weights.shape[3] == 3, isOne(node, "strides"), isOne(node, "dilations"), isOne(node, "group")
            else { continue }
            node.attributes.append(Attribute("winograd", .int(1)))
            node.origin = name
            editor.replace(index, with: node)
            context.log?("\(name): allowed at \(editor.graph.displayName(node))")
        }
    }

    /// Every tile, kept and in each run, for a node that may have any.
    private func tiles(of index: Int, _ editor: GraphEditor, _ context: PassContext) -> [Candidate] {
        let node = editor.graph.nodes[index], isTransposed = node.opType == "ConvTranspose"
        guard node.domain == "apus", isTransposed || node.opType == "Conv", node.inputs.count > 1, node.attribute("winograd") == nil,
            case .tensor(let weights)? = editor.constant(node.inputs[1]), weights.type == .float32 || NarrowProduct.types.contains(weights.type),
            (3...4).contains(weights.shape.rank),
            isOne(node, "dilations"), isOne(node, "group"),
            let output = context.dimensions(node.outputs.first ?? nil), output.count == weights.shape.rank
        else { return [] }
        let kernel = Array(weights.shape.dimensions.dropFirst(2)), k = weights.shape[isTransposed ? 0 : 1], n = weights.shape[isTransposed ? 1 : 0]
        // Sizes that change from run to run: what convolutions of so many channels commonly see.
        let common = k < 128 ? 56 : k < 256 ? 28 : 14, axis = ConvolutionNode(node).isChannelsFirst ? 2 : 1
        let images = output[0].known ?? 1, spatial = kernel.indices.map { output[axis + $0].known ?? common }
        let size: WinogradSize?
        var phases = 1
        if isTransposed {
            guard case .ints(let values)? = node.attribute("strides") else { return [] }
            let strides = values.map { Int($0) }
            size = WinogradSize(transposed: kernel, strides: strides, images: images, output: spatial, inChannels: k, outChannels: n)
            // Strides of which a size was made are small.
            if size != nil { phases = strides.reduce(1, *) }
        } else {
            guard isOne(node, "strides") else { return [] }
            size = WinogradSize(window: kernel, images: images, output: spatial, inChannels: k, outChannels: n)
        }
        guard let size else { return [] }
        // Windows of which a size was made are small; others, of weights without elements, may pass all numbers.
        let taps = kernel.reduce(1, *)
        return (size.mayTransformInRun && !isTransposed ? [false, true] : [false]).flatMap { inRun in
            size.tiles.compactMap { tile in
                guard let saved = size.saving(tile, inRun: inRun) else { return nil }
                let extra = inRun ? 0 : Double(wideByteCount(weights)) * (size.growth(tile, taps: taps, phases: phases) - 1)
                return Candidate(node: index, tile: tile, inRun: inRun, bytes: Int(max(0, extra)), saved: saved)
            }
        }
    }

    private func isOne(_ node: Node, _ name: String) -> Bool {
        switch node.attribute(name) {
        case nil: true
        case .int(let value)?: value == 1
        case .ints(let values)?: values.allSatisfy { $0 == 1 }
        default: false
        }
    }
}
