import ApusCore

/// Float weights seen as [outer, channels, inner], with one scale for each channel: any axis of any tensor.
struct WeightMatrix {
    let elements: [Float]
    let outer, channels, inner: Int

    /// `axis` nil: one channel. Throws where the weights are not float32 or not finite.
    init(_ tensor: Tensor, axis: Int?) throws {
        guard tensor.type == .float32 else { throw ApusError(.typeMismatch, "float weights expected, found \(tensor.type.name)") }
        elements = tensor.array(Float.self)
        guard elements.allSatisfy(\.isFinite) else { throw ApusError(.invalidValue, "the weights hold NaN or infinity") }
        let dimensions = tensor.shape.dimensions
        guard let axis, dimensions.indices.contains(axis) else {
            (outer, channels, inner) = (1, 1, tensor.count)
            return
        }
        outer = tensor.shape.count(..<axis)
        channels = dimensions[axis]
        inner = tensor.shape.count((axis + 1)...)
    }

    /// Calls `body` with the channel of each element, in order.
    private func forEach(_ body: (Int, Int) -> Void) {
        var position = 0
        for _ in 0..<outer {
            for channel in 0..<channels {
                for _ in 0..<inner {
                    body(position, channel)
                    position += 1
                }
            }
        }
    }

    /// The largest magnitude of each channel.
    var largest: [Float] {
        var result = [Float](repeating: 0, count: channels)
        forEach { result[$1] = max(result[$1], elements[$0].magnitude) }
        return result
    }

    /// int8 codes in -127...127 under the given scales.
    func codes(_ scales: [Float]) -> [Int8] {
        var result = [Int8](repeating: 0, count: elements.count)
        forEach { position, channel in
            let exact = (elements[position] / scales[channel]).rounded(.toNearestOrEven)
            result[position] = Int8(min(max(exact.isNaN ? 0 : exact, -127), 127))
        }
        return result
    }
}

/// The weights of a product in int8: symmetric, with one scale for each output channel or for all.
struct QuantizedWeights {
    let codes: [Int8]
    let scales: [Float]

    /// - Parameters:
    ///   - bias: of each channel, and the scale of the activations that the weights are multiplied with: where a channel's weights
    ///     are so small that its bias would overflow 32 bits as codes of the product's scale, its scale is raised.
    init(_ weights: WeightMatrix, bias: [Float]? = nil, inputScale: Float = 1) {
        let largest = weights.largest
        var scales = largest.map { Float(Double($0) / 127) }
        // Subnormal scales lose digits; a channel of zeros takes any scale.
        for channel in scales.indices where scales[channel] < 1e-30 { scales[channel] = largest[channel] == 0 ? 0 : 1e-30 }
        if let bias {
            for channel in scales.indices {
                let value = bias[bias.count == 1 ? 0 : channel % bias.count].magnitude
                scales[channel] = max(scales[channel], Float(Double(value) / (Double(inputScale) * 0x1p29)))
            }
        }
        scales = scales.map { $0 > 1e-30 ? $0 : 1e-30 }
        for channel in scales.indices where largest[channel] == 0 && (bias == nil || scales[channel] <= 1e-30) { scales[channel] = 1 }
        self.scales = scales
        codes = weights.codes(scales)
    }

    /// What the codes stand for.
    func restored(_ weights: WeightMatrix) -> [Float] {
        var result: [Float] = []
        result.reserveCapacity(codes.count)
        for _ in 0..<weights.outer {
            for channel in 0..<weights.channels {
                for _ in 0..<weights.inner { result.append(Float(codes[result.count]) * scales[channel]) }
            }
        }
        return result
    }
}
