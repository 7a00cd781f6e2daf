import ApusCore
import ApusGraph
import Glibc

/// Window functions of a given size: sums of cosines (Harris, "On the use of windows for harmonic analysis with the
/// discrete Fourier transform", 1978). A symmetric window of one element is 1.
struct WindowOperator: Operator {
    /// The amplitudes of cos(2πkn / N).
    private static let windows: [(opType: String, amplitudes: [Double])] = [
        ("BlackmanWindow", [0.42, -0.5, 0.08]),
        ("HammingWindow", [25.0 / 46, -21.0 / 46]),
        ("HannWindow", [0.5, -0.5]),
    ]

    static let schemas = windows.map { Schema($0.opType, since: [17], inputs: 1...1) }

    private let amplitudes: [Double]
    private let isPeriodic: Bool
    private let type: ElementType

    init(_ node: NodeReader) throws {
        amplitudes = WindowOperator.windows.first { $0.opType == node.opType }?.amplitudes ?? []
        isPeriodic = try node.bool("periodic", default: true)
        type = try signalType(node)
    }

    var parameterInputs: [Int] { [0] }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        _ = try context.type(0, oneOf: [.int32, .int64])
        if let shape = try context.shape(0).concrete(), shape.count != 1 {
            throw ApusError(.shapeMismatch, "size must be a scalar, its shape is \(shape)")
        }
        let size = try context.elements(0)?.first ?? .unknown
        if let size = size.known, size < 0 { throw ApusError(.invalidValue, "size is \(size); it must not be negative") }
        return [ValueInfo(type, PartialShape([size]))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let count = try context.outputShape(0).count, amplitudes = amplitudes, size = type.byteWidth ?? 1
        let period = Double(isPeriodic ? count : count - 1)
        let write = try castLoop(.float64, type)
        return PreparedKernel("window") { io in
            let output = io.output(0)
            io.pool.inChunks(count, of: 4096) { range in
                for index in range {
                    var value = amplitudes.isEmpty ? 0 : amplitudes[0]
                    for order in 1..<max(1, amplitudes.count) {
                        value += amplitudes[order] * cos(2 * Double.pi * Double(order) * Double(index) / period)
                    }
                    if period == 0 { value = 1 }
                    withUnsafeBytes(of: value) { if let base = $0.baseAddress { write(1, base, output + index * size) } }
                }
            }
        }
    }
}

/// The matrix that sums the points of a spectrum into bands which are equally wide on the mel scale.
struct MelWeightMatrixOperator: Operator {
    static let schemas = [Schema("MelWeightMatrix", since: [17], inputs: 5...5)]

    private let type: ElementType

    init(_ node: NodeReader) throws {
        type = try signalType(node)
    }

    var parameterInputs: [Int] { [0, 1] }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        for index in 0..<5 {
            _ = try context.type(index, oneOf: index < 3 ? [.int32, .int64] : Types.floats)
            if let shape = try context.shape(index).concrete(), shape.count != 1 {
                throw ApusError(.shapeMismatch, "input \(index) must be a scalar, its shape is \(shape)")
            }
        }
        let bands = try context.elements(0)?.first ?? .unknown, length = try context.elements(1)?.first ?? .unknown
        for (name, size) in [("num_mel_bins", bands), ("dft_length", length)] {
            if let size = size.known, size < 0 { throw ApusError(.invalidValue, "\(name) is \(size); it must not be negative") }
        }
        return [ValueInfo(type, PartialShape([length.floorDivided(by: .known(2)) + .known(1), bands]))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        guard let length = try context.integers(1)?.first else { throw ApusError(.internal, "dft_length is not known") }
        let shape = try context.outputShape(0), rows = shape[0], bands = shape[1]
        let read = try (2..<5).map { try castLoop(context.type($0), .float64) }
        let write = try castLoop(.float64, type)
        return PreparedKernel("mel", workspace: try shape.count.multiplied(by: 8)) { io in
            var scalars = (0.0, 0.0, 0.0)
            withUnsafeMutableBytes(of: &scalars) { bytes in
                guard let base = bytes.baseAddress else { return }
                for index in 0..<3 { read[index](1, io.input(2 + index), base + 8 * index) }
            }
            let (rate, low, high) = scalars
            guard rate > 0 else { throw ApusError(.invalidValue, "sample_rate is \(rate); it must be positive") }
            func mel(_ hertz: Double) -> Double { 2595 * log10(1 + hertz / 700) }
            let step = (mel(high) - mel(low)) / Double(bands + 2)
            /// The point of the spectrum where edge `index` of the bands lies.
            func point(_ index: Int) throws -> Int {
                let hertz = 700 * (pow(10, (mel(low) + Double(index) * step) / 2595) - 1)
                let point = ((Double(length) + 1) * hertz / rate).rounded(.down)
                guard point >= 0, point < Double(rows) else {
                    throw ApusError(
                        .invalidValue, "edge \(index) of the bands, \(hertz) Hz, is outside of a spectrum of \(rows) points at rate \(rate)")
                }
                return Int(point)
            }
            let matrix = io.workspace.assumingMemoryBound(to: Double.self)
            matrix.update(repeating: 0, count: rows * bands)
            for band in 0..<bands {
                let (left, center, right) = (try point(band), try point(band + 1), try point(band + 2))
                if left == center { matrix[center * bands + band] = 1 }
                for row in left..<max(left, center) { matrix[row * bands + band] = Double(row - left) / Double(center - left) }
                for row in center..<max(center, right) { matrix[row * bands + band] = Double(right - row) / Double(right - center) }
                if center > left { matrix[center * bands + band] = 1 }
            }
            write(rows * bands, matrix, io.output(0))
        }
    }
}

/// Attribute `output_datatype` of the windows and of MelWeightMatrix.
private func signalType(_ node: NodeReader) throws -> ElementType {
    let type = try node.optionalElementType("output_datatype") ?? .float32
    guard Types.numbers.contains(type) else {
        throw ApusError(.invalidModel, "attribute \"output_datatype\" is \(type.name); a number of 8 bits or more expected")
    }
    return type
}
