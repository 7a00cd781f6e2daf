import ApusCore
import ApusGraph
import CApusKernels

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
    private let allowsBytes: Bool

    init(_ node: NodeReader) throws {
        k = try node.int("K")
        n = try node.int("N")
        bits = try node.int("bits", default: 4)
        blockSize = try node.int("block_size")
        // 4 allows A to be quantised to 8 bits, block by block; the levels below ask for floats of some kind.
        let level = try node.int("accuracy_level", default: 0)
        guard (0...4).contains(level) else { throw ApusError(.invalidModel, "attribute \"accuracy_level\" is \(level); 0 to 4 expected") }
        allowsBytes = level == 4
        // 1 and 2: rearranged by onnxruntime's tools for its CUDA kernels.
        let layout = try node.int("weight_prepacked", default: 0)
        guard layout == 0 else {
            throw ApusError(
                .unsupported, "attribute \"weight_prepacked\" is \(layout): the weights are in the order of CUDA kernels; 0 expected")
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
        if allowsBytes, let prepared = try prepareBytes(context) { return prepared }
        return try context.throughFloat32 { try prepareFloat($0) }
    }

    /// A quantised to 8 bits, where the weights are constants in the order of their blocks; else nil.
    private func prepareBytes(_ context: PrepareContext) throws -> (any PreparedNode)? {
        guard try context.type(0) == .float32, !context.has(4), let scales = context.constant(2),
            let kernels = apus_qblocks_select(context.levels)
        else { return nil }
        let zeros = context.has(3) ? context.constant(3) : nil
        if context.has(3), zeros == nil { return nil }
        let rows = try context.shape(0).count / k
        if rows == 0 { return PreparedKernel("nothing") { _ in } }
        let weights = BlockedWeights(
            k: k, n: n, bits: bits, blockSize: blockSize, blocks: blocks, zeroType: zeros?.type, hasGroups: false, kernels: nil)
        let shape = apus_qblocks_shape(
            n: n, k: k, bits: UInt32(bits), block_size: blockSize, blocks: blocks, has_zero_points: zeros == nil ? 0 : 1)
        // The sizes of a row, a panel and all of them, checked before the kernel multiplies them.
        let columnBytes = try blocks.multiplied(by: try blockSize.multiplied(by: bits).adding(64))
        let panelCount = Int(apus_qblocks_panels(kernels, n))
        _ = try columnBytes.multiplied(by: Int(kernels.pointee.nr)).multiplied(by: panelCount)
        let panelBytes = withUnsafePointer(to: shape) { Int(apus_qblocks_panel_size(kernels, $0)) }
        let parameters = [scales, zeros].map { $0.map { "\($0.storage.identifier)+\($0.offset)" } ?? "-" }.joined(separator: " ")
        let key = "\(bits)-bit blocks of \(blockSize) for \(String(cString: kernels.pointee.name)), \(n)x\(k), \(parameters)"
        let packed = try context.packed(1, key: key) { tensor, budget in
            let storage = try Storage.allocate(byteCount: try panelBytes.multiplied(by: panelCount), budget: budget, purpose: "packed weights")
            var zeroPoints: Storage?
            if let zeros, zeros.type == .uint8 {
                let bytes = try blocks.multiplied(by: n).multiplied(by: 4)
                let unpacked = try Storage.allocate(byteCount: bytes, budget: budget, purpose: "zero points")
                weights.unpackZeroPoints(zeros.pointer.assumingMemoryBound(to: UInt8.self), unpacked.base.assumingMemoryBound(to: Float.self))
                zeroPoints = unpacked
            }
            let zeroNumbers = zeroPoints.map { UnsafeRawPointer($0.base) } ?? zeros.map { UnsafeRawPointer($0.pointer) }
            withUnsafePointer(to: shape) {
                apus_qblocks_pack(
                    kernels, $0, tensor.pointer.assumingMemoryBound(to: UInt8.self), scales.pointer.assumingMemoryBound(to: Float.self),
                    zeroNumbers?.assumingMemoryBound(to: Float.self), storage.base, 0, panelCount)
            }
            withExtendedLifetime(zeroPoints) {}
            return storage
        }
        guard let packed else { return nil }
        return try bytesKernel(context, shape, kernels, packed, rows: rows, panels: panelCount)
    }

    private func bytesKernel(
        _ context: PrepareContext, _ shape: apus_qblocks_shape, _ kernels: UnsafePointer<apus_qblocks_kernels>, _ packed: Storage,
        rows: Int, panels: Int
    ) throws -> any PreparedNode {
        let (k, n, blocks, hasBias, depth) = (k, n, blocks, context.has(5), try blocks.multiplied(by: blockSize))
        let numberBytes = try rows.multiplied(by: blocks).multiplied(by: 4).roundedUp(to: Storage.alignment)
        let codeBytes = try rows.multiplied(by: depth).roundedUp(to: Storage.alignment)
        // Few rows take as long as reading the codes.
        let isParallel = context.threads > 1
            && (FloatProduct.saturatingProduct([rows, n, k]) >= IntegerProduct.leastParallelWork
                || packed.byteCount >= MatMulNBitsOperator.leastParallelByteCount)
        let step = isParallel ? max(1, (panels + context.threads * 4 - 1) / (context.threads * 4)) : panels
        // Rows are quantised on several threads where there are many of them.
        let rowStep = isParallel && rows >= 16 ? (rows + context.threads - 1) / context.threads : rows
        let name = "nbits_bytes_" + String(cString: kernels.pointee.name)
        return PreparedKernel(name, workspace: try codeBytes.adding(numberBytes.multiplied(by: 2))) { io in
            let a = io.workspace.assumingMemoryBound(to: Int8.self)
            let aScales = (io.workspace + codeBytes).assumingMemoryBound(to: Float.self)
            let aSums = (io.workspace + codeBytes + numberBytes).assumingMemoryBound(to: Int32.self)
            let source = io.input(0, as: Float.self)
            io.pool.inChunks(rows, of: rowStep) { range in
                var shape = shape
                for row in range {
                    kernels.pointee.quantize(&shape, source + row * k, a + row * depth, aScales + row * blocks, aSums + row * blocks)
                }
            }
            let args = apus_qblocks_args(
                m: rows, a: a, a_scales: aScales, a_sums: aSums, b: UnsafeRawPointer(packed.base),
                bias: hasBias ? io.input(5, as: Float.self) : nil, c: io.output(0, as: Float.self), c_stride: n)
            io.pool.inChunks(panels, of: step) { range in
                var (shape, args) = (shape, args)
                kernels.pointee.run(&shape, &args, range.lowerBound, range.upperBound)
            }
        }
    }

    /// Bytes of packed codes that take longer to read than a thread to wake.
    private static let leastParallelByteCount = 1 << 18

    private func prepareFloat(_ context: PrepareContext) throws -> any PreparedNode {
        let rows = try context.shape(0).count / k
        if rows == 0 { return PreparedKernel("nothing") { _ in } }
        let weights = BlockedWeights(
            k: k, n: n, bits: bits, blockSize: blockSize, blocks: blocks, zeroType: context.has(3) ? try context.type(3) : nil,
            hasGroups: context.has(4), kernels: apus_quantize_select(context.levels))
        if rows <= MatMulNBitsOperator.mostRowsInPlace, !context.has(4) { return try prepareInPlace(context, weights, rows: rows) }
        return try prepareUnpacked(context, weights, rows: rows)
    }

    /// Up to this many rows the codes are multiplied as they are; more are worth unpacking.
    private static let mostRowsInPlace = 12

    /// Few rows: the kernel reads the codes once for every APUS_NBITS_ROWS of them.
    private func prepareInPlace(_ context: PrepareContext, _ weights: BlockedWeights, rows: Int) throws -> any PreparedNode {
        guard let kernels = apus_nbits_select(context.levels) else { throw ApusError(.internal, "there is no n-bit kernel") }
        let (k, n, bits, blockSize, blocks, hasBias) = (k, n, bits, blockSize, blocks, context.has(5))
        let arranged = Int(apus_nbits_arranged_size(kernels, UInt32(bits), blockSize, blocks))
        let arrangedBytes = try arranged.multiplied(by: rows).multiplied(by: 4).roundedUp(to: Storage.alignment)
        let zeroCount = try blocks.multiplied(by: n)
        // Packed zero points as floats, once where they are constant.
        let needsZeros = weights.zeroType == .uint8
        let zeros = needsZeros
            ? try context.packed(3, key: "\(bits)-bit zero points of \(n) rows") { tensor, budget in
                let storage = try Storage.allocate(byteCount: try zeroCount.multiplied(by: 4), budget: budget, purpose: "zero points")
                weights.unpackZeroPoints(tensor.pointer.assumingMemoryBound(to: UInt8.self), storage.base.assumingMemoryBound(to: Float.self))
                return storage
            } : nil
        let zeroBytes = needsZeros && zeros == nil ? try zeroCount.multiplied(by: 4) : 0
        let isParallel = context.threads > 1 && FloatProduct.saturatingProduct([rows, n, k]) >= FloatProduct.leastParallelWork
        let columns = isParallel ? max(16, (n + context.threads * 4 - 1) / (context.threads * 4)) : n
        let most = Int(APUS_NBITS_ROWS)
        return PreparedKernel("nbits_" + String(cString: kernels.pointee.name), workspace: try arrangedBytes.adding(zeroBytes)) { io in
            let a = io.input(0, as: Float.self), order = io.workspace.assumingMemoryBound(to: Float.self)
            for row in 0..<rows {
                apus_nbits_arrange(kernels, UInt32(bits), blockSize, blocks, k, a + row * k, order + row * arranged)
            }
            var template = apus_nbits_args()
            template.k = k
            template.bits = UInt32(bits)
            template.block_size = blockSize
            template.blocks = blocks
            template.codes = io.input(1, as: UInt8.self)
            template.scales = io.input(2, as: Float.self)
            template.bias = hasBias ? io.input(5, as: Float.self) : nil
            template.c_stride = n
            if let zeros {
                template.zero_points = UnsafePointer(zeros.base.assumingMemoryBound(to: Float.self))
            } else if needsZeros {
                let own = (io.workspace + arrangedBytes).assumingMemoryBound(to: Float.self)
                weights.unpackZeroPoints(io.input(3, as: UInt8.self), own)
                template.zero_points = UnsafePointer(own)
            } else if weights.zeroType != nil {
                template.zero_points = io.input(3, as: Float.self)
            }
            let arguments = template, target = io.output(0, as: Float.self)
            io.pool.inChunks(n, of: columns) { range in
                var args = arguments
                for first in stride(from: 0, to: rows, by: most) {
                    args.m = min(most, rows - first)
                    args.a = UnsafePointer(order + first * arranged)
                    args.c = target + first * n
                    kernels.pointee.run(&args, range.lowerBound, range.upperBound)
                }
            }
        }
    }

    /// Many rows: a few columns at a time are brought to float, packed, and multiplied as floats are.
    private func prepareUnpacked(_ context: PrepareContext, _ weights: BlockedWeights, rows: Int) throws -> any PreparedNode {
        let (k, n, blocks, hasBias) = (k, n, blocks, context.has(5))
        let probe = try FloatProduct(levels: context.levels, m: rows, n: n, k: k, threads: 1)
        let tile = Int(probe.kernel.pointee.nr) * 4, tasks = (n + tile - 1) / tile
        let product = try FloatProduct(levels: context.levels, m: rows, n: min(n, tile), k: k, threads: 1)
        let last = try FloatProduct(levels: context.levels, m: rows, n: n - (tasks - 1) * tile, k: k, threads: 1)
        let chunks = context.threads > 1 && FloatProduct.saturatingProduct([rows, n, k]) >= FloatProduct.leastParallelWork
            ? min(tasks, context.threads * 4) : 1
        let lineBytes = try tile.multiplied(by: k).multiplied(by: 4).roundedUp(to: Storage.alignment)
        let packedBytes = try product.packedCount.multiplied(by: 4).roundedUp(to: Storage.alignment)
        let codeBytes = try weights.paddedCount.roundedUp(to: Storage.alignment)
        let scratch = try max(product.workspaceByteCount, last.workspaceByteCount).roundedUp(to: Storage.alignment)
        let bytes = try lineBytes.adding(packedBytes).adding(codeBytes).adding(scratch)
        let name = "nbits_unpacked_" + String(cString: probe.kernel.pointee.name)
        return PreparedKernel(name, workspace: try bytes.multiplied(by: chunks)) { io in
            if weights.hasGroups {
                let groups = io.input(4, as: Int32.self)
                for index in 0..<k where groups[index] < 0 || Int(groups[index]) >= blocks {
                    throw ApusError(.invalidValue, "g_idx holds \(groups[index]); from 0 to \(blocks - 1) expected")
                }
            }
            let perChunk = (tasks + chunks - 1) / chunks
            io.pool.parallelUnlessStopped(chunks) { chunk in
                let own = io.workspace + chunk * bytes
                let lines = own.assumingMemoryBound(to: Float.self), packed = (own + lineBytes).assumingMemoryBound(to: Float.self)
                let codes = (own + lineBytes + packedBytes).assumingMemoryBound(to: UInt8.self)
                for task in min(tasks, chunk * perChunk)..<min(tasks, (chunk + 1) * perChunk) {
                    let product = task == tasks - 1 ? last : product, first = task * tile
                    for column in 0..<product.n { weights.unpack(io, first + column, codes, lines + column * k) }
                    product.pack(lines, rowStride: 1, columnStride: k, to: packed)
                    var args = product.arguments(aStride: k, cStride: n)
                    args.a = io.input(0, as: Float.self)
                    args.b = UnsafePointer(packed)
                    args.c = io.output(0, as: Float.self) + first
                    if hasBias { args.epilogue.bias = io.input(5, as: Float.self) + first }
                    product.run(args, workspace: own + lineBytes + packedBytes + codeBytes, pool: io.pool)
                }
            }
        }
    }
}

/// How the weights of MatMulNBits lie in its inputs 1 to 4.
private struct BlockedWeights: @unchecked Sendable {
    let k: Int
    let n: Int
    let bits: Int
    let blockSize: Int
    let blocks: Int
    /// nil: the middle of the codes.
    let zeroType: ElementType?
    let hasGroups: Bool
    let kernels: UnsafePointer<apus_quantize_kernels>?

    /// Elements of a row, those that fill the last block included.
    var paddedCount: Int { blocks * blockSize }
    /// Bytes of the packed zero points of one row.
    private var zeroPointBytes: Int { (blocks * bits + 7) / 8 }

    /// All zero points, packed row by row, as floats.
    func unpackZeroPoints(_ source: UnsafePointer<UInt8>, _ target: UnsafeMutablePointer<Float>) {
        for row in 0..<n {
            for block in 0..<blocks { target[row * blocks + block] = zeroPoint(source, row, block) }
        }
    }

    private func zeroPoint(_ source: UnsafePointer<UInt8>, _ row: Int, _ block: Int) -> Float {
        let perByte = 8 / bits
        return Float((source[row * zeroPointBytes + block / perByte] >> UInt8(block % perByte * bits)) & UInt8((1 << bits) - 1))
    }

    /// Row `row` of B as floats; `codes` has room for `paddedCount` bytes.
    func unpack(_ io: NodeIO, _ row: Int, _ codes: UnsafeMutablePointer<UInt8>, _ target: UnsafeMutablePointer<Float>) {
        let source = io.input(1, as: UInt8.self) + row * (paddedCount * bits / 8)
        switch bits {
        case 4: kernels?.pointee.unpack4(paddedCount, source, false, codes)
        case 2: kernels?.pointee.unpack2(paddedCount, source, false, codes)
        default: codes.update(from: source, count: paddedCount)
        }
        let scales = io.input(2, as: Float.self) + row * blocks
        func zero(_ block: Int) -> Float {
            switch zeroType {
            case nil: Float(1 << (bits - 1))
            case .uint8: zeroPoint(io.input(3, as: UInt8.self), row, block)
            default: io.input(3, as: Float.self)[row * blocks + block]
            }
        }
        if hasGroups {
            let groups = io.input(4, as: Int32.self)
            for index in 0..<k {
                let group = Int(groups[index])
                target[index] = (Float(codes[index]) - zero(group)) * scales[group]
            }
            return
        }
        for block in 0..<blocks {
            let first = block * blockSize, last = min(k, first + blockSize), scale = scales[block], zero = zero(block)
            for index in first..<last { target[index] = (Float(codes[index]) - zero) * scale }
        }
    }
}
