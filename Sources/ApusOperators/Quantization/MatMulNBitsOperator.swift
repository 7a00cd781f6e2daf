import ApusCore
import ApusGraph

/// Y = A · B' + bias, where B [N, K] has 2, 4 or 8 bits an element and a scale for each block of a row.
struct MatMulNBitsOperator: Operator {
    static let schemas = [Schema("MatMulNBits", domain: "com.microsoft", since: [1], inputs: 3...6)]

    private let k: Int
    private let n: Int
    private let bits: Int
    private let blockSize: Int
    private let blocks: Int
    /// Bytes of one block of B, and of the packed zero points of one row.
    private let blockBytes: Int
    private let zeroPointBytes: Int

    init(_ node: NodeReader) throws {
        k = try node.int("K")
        n = try node.int("N")
        bits = try node.int("bits", default: 4)
        blockSize = try node.int("block_size")
        // How precisely to compute, and whether another runtime has rearranged the weights: the latter must be 0.
        node.ignore("accuracy_level")
        guard try node.int("weight_prepacked", default: 0) == 0 else {
            throw ApusError(.unsupported, "attribute \"weight_prepacked\" must be 0")
        }
        guard [2, 4, 8].contains(bits) else { throw ApusError(.invalidModel, "attribute \"bits\" is \(bits); 2, 4 or 8 expected") }
        guard k > 0, n > 0, k <= 1 << 40, n <= 1 << 40 else { throw ApusError(.invalidModel, "attributes K and N must be positive, found \(k) and \(n)") }
        guard blockSize >= 16, blockSize <= 1 << 20, blockSize & (blockSize - 1) == 0 else {
            throw ApusError(.invalidModel, "attribute \"block_size\" is \(blockSize); a power of two from 16 on expected")
        }
        blocks = (k - 1) / blockSize + 1
        blockBytes = blockSize * bits / 8
        zeroPointBytes = (blocks * bits + 7) / 8
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: [.float32, .float16, .bfloat16])
        _ = try context.type(1, oneOf: [.uint8])
        _ = try context.type(2, oneOf: [type])
        func expect(_ index: Int, _ counts: [Int]) throws {
            guard context.has(index), let shape = try context.shape(index).concrete() else { return }
            guard counts.contains(shape.count) else {
                throw ApusError(.shapeMismatch, "input \(index) has shape \(shape), \(counts[0]) elements expected")
            }
        }
        let rowBytes = try blocks.multiplied(by: blockBytes)
        try expect(1, [try rowBytes.multiplied(by: n)])
        try expect(2, [try blocks.multiplied(by: n)])
        if context.has(3) {
            let found = try context.type(3, oneOf: [.uint8, type])
            try expect(3, [found == .uint8 ? try zeroPointBytes.multiplied(by: n) : try blocks.multiplied(by: n)])
        }
        if context.has(4) {
            _ = try context.type(4, oneOf: [.int32])
            try expect(4, [k, try blocks.multiplied(by: blockSize)])
        }
        if context.has(5) {
            _ = try context.type(5, oneOf: [type])
            try expect(5, [n])
        }
        guard var dimensions = try context.dimensions(0, rank: 1...) else { return [ValueInfo(type, .unknown)] }
        if let found = dimensions[dimensions.count - 1].known, found != k {
            throw ApusError(.shapeMismatch, "A has \(found) columns, attribute K is \(k)")
        }
        dimensions[dimensions.count - 1] = .known(n)
        return [ValueInfo(type, PartialShape(dimensions))]
    }

    func multiplyAccumulates(_ inputs: [ValueInfo?], _ outputs: [ValueInfo]) -> Int {
        guard let count = try? outputs[0].concreteShape()?.count else { return 0 }
        return FloatProduct.saturatingProduct([k, count])
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        try context.throughFloat32 { try prepareFloat($0) }
    }

    private func prepareFloat(_ context: PrepareContext) throws -> any PreparedNode {
        let rows = try context.shape(0).count / k
        if rows == 0 { return PreparedKernel("nothing") { _ in } }
        let hasGroups = context.has(4), hasBias = context.has(5)
        let zeroType = context.has(3) ? try context.type(3) : nil
        let (k, n, bits, blockSize, blocks, blockBytes, zeroPointBytes) = (k, n, bits, blockSize, blocks, blockBytes, zeroPointBytes)
        let columns = 16, tasks = (n + columns - 1) / columns
        // One dequantised row of B for each task.
        let lineBytes = try k.multiplied(by: 4).roundedUp(to: 64)
        return PreparedKernel("\(bits)-bit product", workspace: try lineBytes.multiplied(by: tasks)) { io in
            let a = io.input(0, as: Float.self), b = io.input(1, as: UInt8.self), scales = io.input(2, as: Float.self)
            let bias = hasBias ? io.input(5, as: Float.self) : nil, groups = hasGroups ? io.input(4, as: Int32.self) : nil
            if let groups {
                for index in 0..<k where groups[index] < 0 || Int(groups[index]) >= blocks {
                    throw ApusError(.invalidValue, "g_idx holds \(groups[index]); from 0 to \(blocks - 1) expected")
                }
            }
            let target = io.output(0, as: Float.self), mask = UInt8((1 << bits) - 1), perByte = 8 / bits
            let middle = Float(1 << (bits - 1))
            io.pool.parallel(tasks) { task in
                let line = (io.workspace + task * lineBytes).assumingMemoryBound(to: Float.self)
                func zeroPoint(_ row: Int, _ block: Int) -> Float {
                    switch zeroType {
                    case nil: middle
                    case .uint8:
                        Float(
                            (io.input(3, as: UInt8.self)[row * zeroPointBytes + block / perByte] >> UInt8(block % perByte * bits)) & mask)
                    default: io.input(3, as: Float.self)[row * blocks + block]
                    }
                }
                for column in task * columns..<min(n, (task + 1) * columns) {
                    let codes = b + column * blocks * blockBytes
                    for block in 0..<blocks {
                        let first = block * blockSize, last = min(k, first + blockSize)
                        let scale = scales[column * blocks + block], zero = zeroPoint(column, block)
                        for index in first..<last {
                            let code = Float((codes[index / perByte] >> UInt8(index % perByte * bits)) & mask)
                            if let groups {
                                let group = Int(groups[index])
                                line[index] = (code - zeroPoint(column, group)) * scales[column * blocks + group]
                            } else {
                                line[index] = (code - zero) * scale
                            }
                        }
                    }
                    for row in 0..<rows {
                        target[row * n + column] = dotProduct(a + row * k, line, k) + (bias?[column] ?? 0)
                    }
                }
            }
        }
    }
}

/// The dot product, summed in eight lanes: the order does not depend on the machine.
private func dotProduct(_ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ count: Int) -> Float {
    var sums = SIMD8<Float>(repeating: 0), index = 0
    while index + 8 <= count {
        let x = UnsafeRawPointer(a + index).loadUnaligned(as: SIMD8<Float>.self)
        let y = UnsafeRawPointer(b + index).loadUnaligned(as: SIMD8<Float>.self)
        sums += x * y
        index += 8
    }
    var sum = sums.sum()
    while index < count {
        sum += a[index] * b[index]
        index += 1
    }
    return sum
}
