import ApusCore
import ApusGraph
import Glibc

/// Compares what a graph gives with what the original gives for the same data.
struct Evaluation {
    /// The original's outputs for each batch.
    private let references: [[Value]]
    private let batches: [QuantizationBatch]
    private let settings: RunnerSettings
    let original: QuantizationReport.Quality

    /// - Parameter graph: the original.
    init(_ graph: Graph, _ batches: [QuantizationBatch], _ settings: RunnerSettings) throws {
        self.batches = batches
        self.settings = settings
        let runner = try GraphRunner(graph, settings)
        references = try batches.map { try runner.run($0.inputs).outputs }
        original = QuantizationReport.Quality(
            relativeError: 0, accuracy: try Evaluation.accuracy(zip(batches, references).map { ($0.labels, $1) }))
    }

    /// - Parameter most: batches to look at; nil: all.
    func quality(of graph: Graph, most: Int? = nil) throws -> QuantizationReport.Quality {
        let runner = try GraphRunner(graph, settings)
        var errors = ErrorSums(), outputs: [(labels: [Int]?, outputs: [Value])] = []
        for (batch, reference) in zip(batches, references).prefix(most ?? batches.count) {
            let values = try runner.run(batch.inputs).outputs
            for (position, pair) in zip(reference, values).enumerated() { errors.add(pair.0, pair.1, to: position) }
            if batch.labels != nil { outputs.append((batch.labels, [values[0]])) }
        }
        return QuantizationReport.Quality(relativeError: errors.largest, accuracy: try Evaluation.accuracy(outputs))
    }

    /// The share of rows of the first output whose greatest element is that of the label; nil without labels.
    private static func accuracy(_ results: [(labels: [Int]?, outputs: [Value])]) throws -> Double? {
        var right = 0, all = 0
        for (labels, outputs) in results {
            guard let labels else { continue }
            let found = outputs.first?.withFloats { elements, shape -> [Int]? in
                let columns = shape.dimensions.last ?? 0
                guard columns > 0, elements.count / columns == labels.count else { return nil }
                return labels.indices.map { row in
                    let scores = elements[(row * columns)..<((row + 1) * columns)]
                    return scores.indices.reduce(scores.startIndex) { scores[$1] > scores[$0] ? $1 : $0 } - scores.startIndex
                }
            }
            guard let classes = found ?? nil else {
                throw ApusError(
                    .shapeMismatch,
                    "\(labels.count) labels need a first output of as many rows of float32 scores, found \(outputs.first.map { "\($0.type)" } ?? "none")")
            }
            all += labels.count
            right += zip(labels, classes).filter { $0 == $1 }.count
        }
        return all == 0 ? nil : Double(right) / Double(all)
    }

    /// Seconds of one run of the first batch: the least of several.
    func seconds(_ graph: Graph) throws -> Double {
        guard let batch = batches.first else { return 0 }
        let runner = try GraphRunner(graph, settings)
        _ = try runner.run(batch.inputs)
        var best = Double.infinity, spent = 0.0
        for _ in 0..<50 where spent < 0.5 {
            let start = Evaluation.now()
            _ = try runner.run(batch.inputs)
            let time = Evaluation.now() - start
            best = min(best, time)
            spent += time
        }
        return best
    }

    private static func now() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
    }
}

/// Sums of squares of numbered float tensors and of how far others lie from them.
struct ErrorSums {
    private(set) var errors: [Double] = []
    private(set) var squares: [Double] = []

    /// Takes up the elements of two tensors of one shape; other values are left out of account.
    mutating func add(_ reference: Value, _ found: Value, to position: Int) {
        while errors.count <= position {
            errors.append(0)
            squares.append(0)
        }
        var error = 0.0, square = 0.0
        reference.withFloats { a, _ in
            found.withFloats { b, _ in
                guard a.count == b.count else { return }
                for index in a.indices where a[index].isFinite {
                    let difference = Double(a[index]) - Double(b[index])
                    error += difference * difference
                    square += Double(a[index]) * Double(a[index])
                }
            }
        }
        errors[position] += error
        squares[position] += square
    }

    /// Root mean square of the difference as a share of that of the reference.
    func relative(_ position: Int) -> Double {
        guard errors.indices.contains(position) else { return 0 }
        if squares[position] == 0 { return errors[position] == 0 ? 0 : 1 }
        return (errors[position] / squares[position]).squareRoot()
    }

    var largest: Double { errors.indices.map { relative($0) }.max() ?? 0 }
}

/// Root mean square of `found` - `reference` as a share of that of `reference`.
func relativeError(_ found: [Float], from reference: [Float]) -> Double {
    var error = 0.0, square = 0.0
    for (a, b) in zip(reference, found) {
        error += (Double(a) - Double(b)) * (Double(a) - Double(b))
        square += Double(a) * Double(a)
    }
    return square == 0 ? (error == 0 ? 0 : 1) : (error / square).squareRoot()
}
