import ApusCore
import ApusGraph
import ApusOperators

/// Computes equal things once: nodes of the same operator with the same attributes and inputs become one, and so do
/// small equal constants.
struct CommonSubexpressions: Pass {
    let name = "CommonSubexpressions"

    private static let mostConstantBytes = 256

    /// What is looked at first: few nodes share it.
    private struct Place: Hashable {
        let domain: String
        let opType: String
        let inputs: [ValueID?]
    }

    private struct Key: Hashable {
        let place: Place
        let opset: Int
        let attributes: [String]
        let outputCount: Int
    }

    func run(_ editor: GraphEditor, _ context: PassContext) throws {
        mergeConstants(editor)
        var places: [Place: Int] = [:], seen: [Key: Int] = [:]
        func key(_ index: Int, _ place: Place) throws -> Key? {
            let node = editor.graph.nodes[index]
            guard let attributes = CommonSubexpressions.described(node.attributes),
                try Registry.make(node, in: editor.graph).isFoldable
            else { return nil }
            return Key(place: place, opset: node.opset, attributes: attributes, outputCount: node.outputs.count)
        }
        for index in editor.nodeIndices {
            let node = editor.graph.nodes[index]
            let place = Place(domain: node.domain, opType: node.opType, inputs: node.inputs)
            guard let other = places.updateValue(index, forKey: place) else { continue }
            if let key = try key(other, place), seen[key] == nil { seen[key] = other }
            guard let key = try key(index, place) else { continue }
            guard let first = seen[key] else {
                seen[key] = index
                continue
            }
            let kept = editor.graph.nodes[first]
            // An output that only one of them names cannot be taken from the other.
            guard zip(kept.outputs, node.outputs).allSatisfy({ $0 != nil || $1 == nil }) else { continue }
            for (a, b) in zip(kept.outputs, node.outputs) {
                if let a, let b { editor.replaceUses(of: b, with: a) }
            }
            editor.remove(index)
        }
    }

    private func mergeConstants(_ editor: GraphEditor) {
        struct Content: Hashable {
            let type: ElementType
            let dimensions: [Int]
            let bytes: [UInt8]
        }
        var seen: [Content: ValueID] = [:]
        for id in editor.graph.initializers.keys.sorted() {
            guard case .tensor(let tensor)? = editor.graph.initializers[id],
                tensor.byteCount <= CommonSubexpressions.mostConstantBytes
            else { continue }
            let bytes = Array(UnsafeRawBufferPointer(start: tensor.pointer, count: tensor.byteCount))
            let content = Content(type: tensor.type, dimensions: tensor.shape.dimensions, bytes: bytes)
            if let first = seen[content] {
                editor.replaceUses(of: id, with: first)
            } else {
                seen[content] = id
            }
        }
    }

    /// A comparable form of small attributes; nil where one is a graph or a tensor.
    private static func described(_ attributes: [Attribute]) -> [String]? {
        var texts: [String] = []
        for attribute in attributes {
            switch attribute.value {
            case .int(let value): texts.append("\(attribute.name)=\(value)")
            case .float(let value): texts.append("\(attribute.name)=\(value.bitPattern)f")
            case .string(let value): texts.append("\(attribute.name)=\(value.bytes)s")
            case .ints(let value): texts.append("\(attribute.name)=\(value)")
            case .floats(let value): texts.append("\(attribute.name)=\(value.map(\.bitPattern))f")
            case .strings(let value): texts.append("\(attribute.name)=\(value.map(\.bytes))s")
            default: return nil
            }
        }
        return texts.sorted()
    }
}
