import ApusCore
import ApusGraph

/// A map from labels to scores for each row of a matrix of scores.
struct ZipMapOperator: Operator {
    static let schemas = [Schema("ZipMap", domain: "ai.onnx.ml", since: [1], inputs: 1...1)]

    private let labels: ClassLabels

    init(_ node: NodeReader) throws {
        guard let labels = try ClassLabels(node, integers: "classlabels_int64s", strings: "classlabels_strings") else {
            throw ApusError(.invalidModel, "ZipMap has no class labels")
        }
        self.labels = labels
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        _ = try context.type(0, oneOf: [.float32])
        if let (_, columns) = try rowsAndFeatures(try context.shape(0)), let found = columns.known, found != labels.count {
            throw ApusError(.shapeMismatch, "the input has \(found) columns for \(labels.count) class labels")
        }
        return [ValueInfo(.sequence(.map(key: labels.type, value: .tensor(.float32, .scalar))))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let shape = try context.shape(0), labels = labels
        let rows = shape.rank == 1 ? 1 : shape[0]
        return PreparedKernel("zip map") { io in
            let scores = io.input(0, as: Float.self)
            let keys: MapValue.Keys =
                switch labels {
                case .integers(let labels): .integers(.int64, labels.map(Int64.init))
                case .strings(let labels): .strings(labels)
                }
            var maps: [Value] = []
            maps.reserveCapacity(rows)
            for row in 0..<rows {
                let values = try Tensor.allocate(.float32, .vector(labels.count), budget: io.budget)
                values.pointer.assumingMemoryBound(to: Float.self).update(from: scores + row * labels.count, count: labels.count)
                maps.append(.map(MapValue(keys: keys, values: .tensor(values))))
            }
            try io.setOutput(
                0, .sequence(SequenceValue(elementType: .map(key: labels.type, value: .tensor(.float32, .scalar)), elements: maps)))
        }
    }
}
