import ApusCore
import ApusGraph

/// Takes slices of a tensor that is quantised in blocks along one axis, and dequantises them: rows of an embedding table.
///
/// The data has 4 bits an element, or 8, or is uint8 that holds elements of 2 or 4 bits packed along its last axis, or is a
/// float of 8 or 4 bits. An index out of range selects zeros, as com.microsoft has it.
struct GatherBlockQuantizedOperator: Operator {
    static let schemas = [Schema("GatherBlockQuantized", domain: "com.microsoft", since: [1], inputs: 3...4)]

    private static let floats: [ElementType] = [.float8e4m3fn, .float8e4m3fnuz, .float8e5m2, .float8e5m2fnuz, .float4e2m1]

    private let gatherAxis: Int
    private let quantizeAxis: Int
    private let blockSize: Int
    private let bits: Int

    init(_ node: NodeReader) throws {
        gatherAxis = try node.int("gather_axis", default: 0)
        quantizeAxis = try node.int("quantize_axis", default: 1)
        blockSize = try node.int("block_size", default: 128)
        bits = try node.int("bits", default: 4)
        guard blockSize == 0 || blockSize >= 16 && blockSize & (blockSize - 1) == 0 else {
            throw ApusError(.invalidModel, "attribute \"block_size\" is \(blockSize); 0 or a power of two from 16 on expected")
        }
        guard [2, 4, 8].contains(bits) else { throw ApusError(.invalidModel, "attribute \"bits\" is \(bits); 2, 4 or 8 expected") }
    }

    /// Elements in one byte of uint8 data.
    private func perByte(_ type: ElementType) -> Int { type == .uint8 ? 8 / bits : 1 }

    /// The dimensions of the elements that `data` holds.
    private func unpacked(_ data: [Dimension], _ type: ElementType) -> [Dimension] {
        guard let last = data.last else { return data }
        return data.dropLast() + [last * .known(perByte(type))]
    }

    private func axes(_ rank: Int) throws -> (gather: Int, quantize: Int) {
        (try normalizedAxis(gatherAxis, rank: rank), try normalizedAxis(quantizeAxis, rank: rank))
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: [.int4, .uint4, .uint8] + Self.floats)
        _ = try context.type(1, oneOf: indexTypes)
        let result = try context.type(2, oneOf: [.float32, .float16, .bfloat16])
        let isFloat = Self.floats.contains(type)
        if context.has(3) {
            guard !isFloat else { throw ApusError(.invalidModel, "data of \(type.name) takes no zero points") }
            _ = try context.type(3, oneOf: [type])
        }
        guard blockSize > 0 || isFloat else { throw ApusError(.invalidModel, "attribute \"block_size\" is 0, which only floats may have") }
        guard let stored = try context.dimensions(0, rank: 1...) else { return [ValueInfo(result, .unknown)] }
        let data = unpacked(stored, type), axes = try axes(data.count)
        if type == .uint8 {
            guard axes.gather == 0 else { throw ApusError(.invalidModel, "attribute \"gather_axis\" is \(gatherAxis); 0 expected for uint8") }
            guard bits == 8 || axes.quantize != 0 else {
                throw ApusError(.invalidModel, "attributes \"gather_axis\" and \"quantize_axis\" must differ for packed elements")
            }
        }
        if let data = try PartialShape(data).concrete(), let scales = try context.shape(2).concrete() {
            let expected = scaleDimensions(data, axes.quantize)
            let fits = scales.rank == data.rank && expected.indices.allSatisfy {
                scales[$0] == expected[$0] || isFloat && $0 != axes.quantize && scales[$0] == 1
            }
            guard fits else { throw ApusError(.shapeMismatch, "scales have shape \(scales), \(try Shape(expected)) expected") }
            if context.has(3), let zeros = try context.shape(3).concrete() {
                var packed = expected
                packed[packed.count - 1] = (packed[packed.count - 1] + perByte(type) - 1) / perByte(type)
                guard zeros.dimensions == packed else {
                    throw ApusError(.shapeMismatch, "zero points have shape \(zeros), \(try Shape(packed)) expected")
                }
            }
        }
        guard let places = try context.shape(1).dimensions else { return [ValueInfo(result, .unknown)] }
        return [ValueInfo(result, PartialShape(data[..<axes.gather] + places + data[(axes.gather + 1)...]))]
    }

    private func scaleDimensions(_ data: Shape, _ axis: Int) -> [Int] {
        var dimensions = data.dimensions
        let extent = dimensions[axis]
        dimensions[axis] = blockSize == 0 ? min(extent, 1) : extent / blockSize + (extent % blockSize == 0 ? 0 : 1)
        return dimensions
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        try context.throughFloat32(prepareFloat32)
    }

    private func prepareFloat32(_ context: PrepareContext) throws -> any PreparedNode {
        if try context.outputShape(0).count == 0 { return PreparedKernel("nothing") { _ in } }
        let type = try context.type(0), indexType = try context.type(1)
        guard let data = try PartialShape(unpacked(try context.shape(0).dimensions.map(Dimension.known), type)).concrete() else {
            throw ApusError(.internal, "GatherBlockQuantized is prepared without shapes")
        }
        let packedTypes: [Int: ElementType] = [2: .uint2, 4: .uint4]
        guard let codes = CodeTable(type == .uint8 ? packedTypes[bits] ?? .uint8 : type) else {
            throw ApusError(.internal, "\(type.name) has no table")
        }
        let (gather, axis) = try axes(data.rank), last = data.rank - 1
        let lines = BlockLines(data, scales: try context.shape(2), axis: axis, blockSize: blockSize, splits: gather != last)
        let outer = data.count(0..<gather), size = data[gather], count = try context.shape(1).count
        let perIndex = gather == last ? 1 : data.count((gather + 1)..<last), run = lines.run
        let hasZeros = context.has(3), bits = bits
        let isPacked = type == .uint8, scaleLine = max(1, try context.shape(2)[last])
        let zeroLine = (scaleLine + perByte(type) - 1) / perByte(type), perByte = perByte(type)
        let middle: Float = isPacked ? Float(1 << (bits - 1)) : 0
        return PreparedKernel("gather blocks") { io in
            let elements = io.input(0, as: UInt8.self), scales = io.input(2, as: Float.self)
            let zeros = hasZeros ? io.input(3, as: UInt8.self) : nil
            let indices = IndexReader(io.input(1), indexType), target = io.output(0, as: Float.self)
            func zero(_ index: Int) -> Float {
                guard let zeros else { return middle }
                guard isPacked else { return codes.number(zeros, index) }
                let column = index % scaleLine
                return codes.numbers[Int(zeros[index / scaleLine * zeroLine + column / perByte] >> UInt8(column % perByte * bits)) & ((1 << bits) - 1)]
            }
            io.pool.inChunks(outer * count * perIndex, of: max(1, 16384 / run)) { range in
                for line in range {
                    let y = target + line * run, place = line / perIndex
                    let index = indices[place % count], counted = index < 0 ? index &+ size : index
                    guard counted >= 0, counted < size else {
                        y.update(repeating: 0, count: run)
                        continue
                    }
                    let source = (place / count * size + counted) * perIndex + line % perIndex
                    let first = lines.scaleIndex(source), step = lines.step
                    var position = 0
                    while position < run {
                        // Elements up to the end of a block share scale and zero point.
                        let end = min(run, (position / lines.block + 1) * lines.block), index = first + position / lines.block * step
                        let scale = scales[index], zero = zero(index)
                        for element in position..<end { y[element] = (codes.number(elements, source * run + element) - zero) * scale }
                        position = end
                    }
                }
            }
        }
    }
}

/// The lines of a tensor along its last axis, and where the scales of each begin.
private struct BlockLines: Sendable {
    /// Elements of a line; 1 where lines are single elements.
    let run: Int
    /// Consecutive elements of a line that share one scale.
    let block: Int
    /// From the scale of one block to that of the next.
    let step: Int
    private let extents: [Int]
    private let divisors: [Int]
    private let strides: [Int]

    /// `splits`: whether a line is the whole last axis rather than one element of it.
    init(_ data: Shape, scales: Shape, axis: Int, blockSize: Int, splits: Bool) {
        let last = data.rank - 1, all = scales.strides
        let size = blockSize == 0 ? max(1, data[axis]) : blockSize
        func stride(_ index: Int) -> Int { scales[index] == 1 ? 0 : all[index] }
        run = splits ? data[last] : 1
        block = splits ? (axis == last ? size : 1) : 1
        step = splits ? stride(last) : 0
        let outer = splits ? last : data.rank
        extents = Array(data.dimensions[..<outer])
        divisors = (0..<outer).map { $0 == axis ? size : 1 }
        strides = (0..<outer).map(stride)
    }

    /// The index of the first scale of line `line`.
    func scaleIndex(_ line: Int) -> Int {
        var rest = line, index = 0
        for axis in extents.indices.reversed() {
            index += rest % extents[axis] / divisors[axis] * strides[axis]
            rest /= extents[axis]
        }
        return index
    }
}
