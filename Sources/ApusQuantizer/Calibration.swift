import ApusCore
import ApusGraph

/// Measures the tensors of a graph on data.
struct Calibration {
    let graph: Graph
    let settings: RunnerSettings

    /// The distribution of each of `tensors` over all batches.
    func histograms(_ tensors: [ValueID], _ batches: [QuantizationBatch], progress: (Double) -> Void) throws -> [ValueID: Histogram] {
        let runner = try GraphRunner(graph, watching: tensors, settings)
        var histograms = Dictionary(tensors.map { ($0, Histogram()) }, uniquingKeysWith: { first, _ in first })
        for (number, batch) in batches.enumerated() {
            let values = try inBatch(number) { try runner.run(batch.inputs).watched }
            for (tensor, value) in zip(tensors, values) {
                // Removed from the dictionary while it changes: no copy is made.
                var histogram = histograms.removeValue(forKey: tensor) ?? Histogram()
                let isFinite = value.withFloats { elements, _ in histogram.add(elements) }
                histograms[tensor] = histogram
                if isFinite == false {
                    throw ApusError(
                        .invalidValue,
                        "\"\(graph.displayName(tensor))\" holds NaN or infinity for calibration batch \(number): leave what makes or reads it in float with exclude")
                }
            }
            progress(Double(number + 1) / Double(batches.count))
        }
        return histograms
    }

    /// The mean of each channel of `tensors`, which lie along an axis counted from the front (from the back where negative).
    func channelMeans(_ tensors: [(value: ValueID, axis: Int)], _ batches: [QuantizationBatch]) throws -> [ValueID: [Double]] {
        var sums: [ValueID: [Double]] = [:], counts: [ValueID: Int] = [:]
        try forEachTensor(tensors, batches) { tensor, elements, channels, inner in
            var sum = sums.removeValue(forKey: tensor) ?? [Double](repeating: 0, count: channels)
            if sum.count == channels {
                for (position, element) in elements.enumerated() { sum[position / inner % channels] += Double(element) }
                counts[tensor, default: 0] += elements.count / channels
            }
            sums[tensor] = sum
        }
        var means: [ValueID: [Double]] = [:]
        for (tensor, sum) in sums {
            let count = counts[tensor] ?? 0
            if count > 0 { means[tensor] = sum.map { $0 / Double(count) } }
        }
        return means
    }

    /// The largest magnitude of each channel of `tensors`.
    func channelMaxima(_ tensors: [(value: ValueID, axis: Int)], _ batches: [QuantizationBatch]) throws -> [ValueID: [Float]] {
        var maxima: [ValueID: [Float]] = [:]
        try forEachTensor(tensors, batches) { tensor, elements, channels, inner in
            var largest = maxima.removeValue(forKey: tensor) ?? [Float](repeating: 0, count: channels)
            if largest.count == channels {
                for (position, element) in elements.enumerated() {
                    let channel = position / inner % channels
                    largest[channel] = max(largest[channel], element.magnitude)
                }
            }
            maxima[tensor] = largest
        }
        return maxima
    }

    /// Calls `body` with each tensor of each batch: its elements, the size of its axis of channels, and the elements behind that.
    private func forEachTensor(
        _ tensors: [(value: ValueID, axis: Int)], _ batches: [QuantizationBatch],
        _ body: (ValueID, UnsafeBufferPointer<Float>, Int, Int) -> Void
    ) throws {
        let runner = try GraphRunner(graph, watching: tensors.map(\.value), settings)
        for (number, batch) in batches.enumerated() {
            let values = try inBatch(number) { try runner.run(batch.inputs).watched }
            for ((tensor, axis), value) in zip(tensors, values) {
                value.withFloats { elements, shape in
                    let axis = axis < 0 ? axis + shape.rank : axis
                    guard axis >= 0, axis < shape.rank, shape[axis] > 0 else { return }
                    body(tensor, elements, shape[axis], max(1, shape.count((axis + 1)...)))
                }
            }
        }
    }

    /// Errors of a run say which batch it was.
    private func inBatch<Result>(_ number: Int, _ body: () throws -> Result) throws -> Result {
        do {
            return try body()
        } catch var error as ApusError {
            error.message = "calibration batch \(number): \(error.message)"
            throw error
        }
    }
}
