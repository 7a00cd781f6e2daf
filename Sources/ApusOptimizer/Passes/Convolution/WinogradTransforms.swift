import ApusCore
import ApusGraph
import ApusOperators

/// Allows 3×3 convolutions to be computed by Winograd's transforms. Those that gain most keep their transformed weights (1.8 or
/// 4 times the size of the others), as long as these add no more than a fifth to the constants of the graph; the others
/// transform theirs in each run, where that pays still.
///
/// Those of 8-bit integers are exact and decide by themselves when they are made ready, for their weights stay as they are.
///
/// The rounding error of the others stays at about twice that of the direct sum; turn the pass off where even that counts, or
/// where inputs may be infinite.
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
        for case .tensor(let tensor) in editor.graph.initializers.values { budget &+= tensor.byteCount / 5 }
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

    /// Both tiles, kept and in each run, for a node that may have any.
    private func tiles(of index: Int, _ editor: GraphEditor, _ context: PassContext) -> [Candidate] {
        let node = editor.graph.nodes[index]
        guard node.domain == "apus", node.opType == "Conv", node.inputs.count > 1, node.attribute("winograd") == nil,
            case .tensor(let weights)? = editor.constant(node.inputs[1]), weights.type == .float32, weights.shape.rank == 4,
            weights.shape[2] == 3, weights.shape[3] == 3, isOne(node, "strides"), isOne(node, "dilations"), isOne(node, "group"),
            let output = context.dimensions(node.outputs.first ?? nil), output.count == 4
        else { return [] }
        let n = weights.shape[0], k = weights.shape[1]
        // Sizes that change from run to run: what convolutions of so many channels commonly see.
        let common = k < 128 ? 56 : k < 256 ? 28 : 14
        let axis = ConvolutionNode(node).isChannelsFirst ? 2 : 1
        guard
            let size = WinogradConvolution.Size(
                images: output[0].known ?? 1, height: output[axis].known ?? common, width: output[axis + 1].known ?? common,
                inChannels: k, outChannels: n)
        else { return [] }
        return [(2, false), (4, false), (2, true), (4, true)].compactMap { tile, inRun in
            guard let saved = size.saving(tile, inRun: inRun) else { return nil }
            let extra = inRun ? 0 : weights.byteCount / 9 * ((tile + 2) * (tile + 2) - 9)
            return Candidate(node: index, tile: tile, inRun: inRun, bytes: extra, saved: saved)
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
