import ApusCore

/// What quantising a model did to it.
public struct QuantizationReport: Sendable {
    /// How well a model does on the evaluation data.
    public struct Quality: Sendable {
        /// Of the worst output: root mean square of what it is off by, as a share of that of the original's output.
        public let relativeError: Double
        /// The share of rows of the first output with the greatest element at the label; nil without labels.
        public let accuracy: Double?

        /// What is lost against `original`: of accuracy where it is known, else the relative error.
        public func drop(from original: Quality) -> Double {
            if let accuracy, let before = original.accuracy { return before - accuracy }
            return relativeError
        }
    }

    /// A product of the model.
    public struct Layer: Sendable {
        public let name: String
        public let operation: String
        public internal(set) var isQuantized: Bool
        /// Root mean square of the weights' error as a share of that of the weights; nil where they are computed.
        public internal(set) var weightError: Double?
        /// The same for what the layer makes, errors of the layers before it included; nil where it was not measured.
        public internal(set) var outputError: Double?
        /// What the model's outputs are off by if this layer alone is quantised; nil where it was not measured.
        public internal(set) var damage: Double?
        /// The range that its 8-bit output has, where it has one.
        public internal(set) var range: (low: Float, high: Float)?
        /// The output's elements in the original: counts of even bins between the least and the greatest.
        public internal(set) var histogram: (low: Float, high: Float, counts: [UInt64])?
    }

    public internal(set) var method: QuantizationOptions.Method
    /// Bytes of the constants before and after.
    public internal(set) var bytesBefore = 0
    public internal(set) var bytesAfter = 0
    public internal(set) var layers: [Layer] = []
    /// What stays in float although it multiplies by weights, and why: a sentence for each kind.
    public internal(set) var notes: [String] = []
    /// Whether channels of adjacent convolutions were equalised.
    public internal(set) var isEqualized = false
    /// Samples: batches of data that were given.
    public internal(set) var batchCount = 0
    /// nil without data.
    public internal(set) var before: Quality?
    public internal(set) var after: Quality?
    /// Seconds of one run of the first batch on this machine; nil without data.
    public internal(set) var secondsBefore: Double?
    public internal(set) var secondsAfter: Double?

    /// The report as JSON text.
    public var json: String {
        func number(_ value: Double?) -> String { value.map { $0.isFinite ? "\($0)" : "null" } ?? "null" }
        func number(_ value: Float) -> String { value.isFinite ? "\(value)" : "null" }
        func quality(_ quality: Quality?) -> String {
            quality.map { "{\"relative_error\": \(number($0.relativeError)), \"accuracy\": \(number($0.accuracy))}" } ?? "null"
        }
        let rows = layers.map { layer -> String in
            var fields = [
                "\"name\": \(QuantizationReport.quoted(layer.name))", "\"operator\": \(QuantizationReport.quoted(layer.operation))",
                "\"quantized\": \(layer.isQuantized)", "\"weight_error\": \(number(layer.weightError))",
                "\"output_error\": \(number(layer.outputError))", "\"damage\": \(number(layer.damage))",
            ]
            if let range = layer.range { fields.append("\"range\": [\(number(range.low)), \(number(range.high))]") }
            if let histogram = layer.histogram {
                let counts = histogram.counts.map { "\($0)" }.joined(separator: ", ")
                fields.append("\"histogram\": {\"low\": \(number(histogram.low)), \"high\": \(number(histogram.high)), \"counts\": [\(counts)]}")
            }
            return "    {" + fields.joined(separator: ", ") + "}"
        }
        return """
            {
              "method": "\(method)",
              "bytes_before": \(bytesBefore),
              "bytes_after": \(bytesAfter),
              "equalized": \(isEqualized),
              "batches": \(batchCount),
              "notes": [\(notes.map(QuantizationReport.quoted).joined(separator: ", "))],
              "before": \(quality(before)),
              "after": \(quality(after)),
              "seconds_before": \(number(secondsBefore)),
              "seconds_after": \(number(secondsAfter)),
              "layers": [
            \(rows.joined(separator: ",\n"))
              ]
            }
            """
    }

    /// A JSON string.
    private static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case _ where scalar.value < 0x20:
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
