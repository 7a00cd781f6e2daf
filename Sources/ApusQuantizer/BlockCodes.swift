import ApusCore

/// Codes of a few bits for blocks of weights, each with a scale and perhaps a zero point.
package struct BlockCodes {
    package let bits: Int
    package let hasZeroPoint: Bool
    /// Whether scales are searched for the least squared error.
    package let searches: Bool

    /// What one block became: w = (code - zeroPoint) * scale.
    package struct Block: Sendable {
        package var scale: Float
        package var zeroPoint: Int
        /// Sum of squares of what codes are off by.
        package var error: Double
    }

    package init(bits: Int, hasZeroPoint: Bool, searches: Bool) {
        self.bits = bits
        self.hasZeroPoint = hasZeroPoint
        self.searches = searches
    }

    /// Signed codes are symmetric around 0, those with a zero point unsigned.
    private var least: Int { hasZeroPoint ? 0 : -(1 << (bits - 1)) }
    private var greatest: Int { hasZeroPoint ? (1 << bits) - 1 : (1 << (bits - 1)) - 1 }

    /// Chooses scale and zero point for finite weights and writes their codes.
    ///
    /// The first guess rounds to the nearest code of the range from the least to the greatest weight. The search tries narrower
    /// ranges, which clip outliers in favour of all others, and takes each with the scale that fits its codes best (least
    /// squares); the best of all, the first guess included, wins.
    package func encode(_ weights: UnsafeBufferPointer<Float>, _ codes: UnsafeMutableBufferPointer<Int16>) -> Block {
        var low = 0.0, high = 0.0
        for weight in weights {
            low = min(low, Double(weight))
            high = max(high, Double(weight))
        }
        var best = attempt(weights, low, high, codes)
        if searches && best.error > 0 {
            // Clipping pays by as much as steps between codes are wide.
            for step in 1...12 {
                let factor = 1 - Double(step) * (bits == 4 ? 0.04 : 0.0025)
                var found = attempt(weights, low * factor, high * factor, codes)
                if found.error < best.error { best = found }
                found = refined(found, weights, codes)
                if found.error < best.error { best = found }
            }
        }
        write(weights, best, codes)
        return best
    }

    private func attempt(_ weights: UnsafeBufferPointer<Float>, _ low: Double, _ high: Double, _ codes: UnsafeMutableBufferPointer<Int16>) -> Block {
        let span = hasZeroPoint ? (high - low) / Double(greatest) : max(high, -low) / Double(greatest)
        var block = Block(scale: Float(span), zeroPoint: 0, error: 0)
        // Nothing but zeros, or numbers too small for a scale.
        if !(block.scale > 1e-30) { block.scale = 1 }
        if hasZeroPoint { block.zeroPoint = min(max(Int((-low / Double(block.scale)).rounded()), least), greatest) }
        block.error = write(weights, block, codes)
        return block
    }

    /// The same codes with the scale that fits them best.
    private func refined(_ block: Block, _ weights: UnsafeBufferPointer<Float>, _ codes: UnsafeMutableBufferPointer<Int16>) -> Block {
        var products = 0.0, squares = 0.0
        for (weight, code) in zip(weights, codes) {
            let level = Double(Int(code) - block.zeroPoint)
            products += Double(weight) * level
            squares += level * level
        }
        let scale = squares > 0 ? Float(products / squares) : 0
        guard scale > 1e-30, scale.isFinite else { return block }
        var result = Block(scale: scale, zeroPoint: block.zeroPoint, error: 0)
        result.error = write(weights, result, codes)
        return result
    }

    /// Writes the codes; returns the squared error.
    @discardableResult
    private func write(_ weights: UnsafeBufferPointer<Float>, _ block: Block, _ codes: UnsafeMutableBufferPointer<Int16>) -> Double {
        let inverse = 1 / block.scale, zero = Float(block.zeroPoint), low = Float(least), high = Float(greatest)
        var error = 0.0
        for index in weights.indices {
            let code = min(max((weights[index] * inverse).rounded(.toNearestOrEven) + zero, low), high)
            codes[index] = Int16(code.isNaN ? 0 : code)
            let difference = weights[index] - (code - zero) * block.scale
            error += Double(difference) * Double(difference)
        }
        return error
    }
}

/// Weights in blocks along one axis, as blocked DequantizeLinear takes them.
struct BlockedWeights {
    let codes: Tensor
    let scales: Tensor
    let zeroPoints: Tensor?
    /// Root mean square error as a share of that of the weights.
    let relativeError: Double

    /// - Parameters:
    ///   - axis: the summed axis of the matrix `weights`, along which blocks lie.
    ///   - blockSize: 0: all of the axis.
    init(_ weights: Tensor, axis: Int, blockSize: Int, _ coder: BlockCodes) throws {
        let matrix = try WeightMatrix(weights, axis: axis)
        let (outer, length, inner) = (matrix.outer, matrix.channels, matrix.inner)
        let size = blockSize == 0 ? max(length, 1) : blockSize
        let blocks = (length + size - 1) / size
        var packer = CodePacker(count: matrix.elements.count, bits: coder.bits)
        var zeroPacker = CodePacker(count: outer * blocks * inner, bits: coder.bits)
        var scales = [Float](repeating: 1, count: outer * blocks * inner)
        var gathered = [Float](repeating: 0, count: size), codes = [Int16](repeating: 0, count: size)
        var error = 0.0, square = 0.0
        for out in 0..<outer {
            for block in 0..<blocks {
                let first = block * size, count = min(size, length - first)
                for column in 0..<inner {
                    let start = (out * length + first) * inner + column
                    for index in 0..<count { gathered[index] = matrix.elements[start + index * inner] }
                    let found = gathered.withUnsafeBufferPointer { weights in
                        codes.withUnsafeMutableBufferPointer { coder.encode(UnsafeBufferPointer(rebasing: weights[..<count]), UnsafeMutableBufferPointer(rebasing: $0[..<count])) }
                    }
                    for index in 0..<count { packer.put(Int(codes[index]), at: start + index * inner) }
                    let place = (out * blocks + block) * inner + column
                    scales[place] = found.scale
                    zeroPacker.put(found.zeroPoint, at: place)
                    error += found.error
                }
            }
        }
        for element in matrix.elements { square += Double(element) * Double(element) }
        relativeError = square > 0 ? (error / square).squareRoot() : 0
        var dimensions = weights.shape.dimensions
        if blockSize == 0 { dimensions.remove(at: axis) } else { dimensions[axis] = blocks }
        let type: ElementType = coder.bits == 4 ? (coder.hasZeroPoint ? .uint4 : .int4) : coder.hasZeroPoint ? .uint8 : .int8
        self.codes = try packer.tensor(type, weights.shape.dimensions)
        self.scales = try Tensor(.float32, dimensions, scales)
        zeroPoints = coder.hasZeroPoint ? try zeroPacker.tensor(type, dimensions) : nil
    }
}

/// Codes of 4 or 8 bits in memory as ONNX lays them out.
private struct CodePacker {
    private var bytes: [UInt8]
    private let bits: Int

    init(count: Int, bits: Int) {
        bytes = [UInt8](repeating: 0, count: bits == 4 ? (count + 1) / 2 : count)
        self.bits = bits
    }

    mutating func put(_ code: Int, at position: Int) {
        let byte = UInt8(truncatingIfNeeded: code)
        if bits == 8 { bytes[position] = byte } else { bytes[position / 2] |= (byte & 15) << (position % 2 == 0 ? 0 : 4) }
    }

    func tensor(_ type: ElementType, _ dimensions: [Int]) throws -> Tensor {
        let tensor = try Tensor.allocate(type, Shape(dimensions))
        guard tensor.byteCount == bytes.count else { throw ApusError(.internal, "\(bytes.count) bytes of codes for \(tensor.byteCount)") }
        bytes.withUnsafeBytes { if let base = $0.baseAddress { tensor.pointer.copyMemory(from: base, byteCount: $0.count) } }
        return tensor
    }
}
