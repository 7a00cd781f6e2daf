import ApusCore
import CApusKernels

/// A product of 8-bit integers inside of a larger node: (A - zero point) · (B - zero points) · scales + bias, in float32.
enum QuantizedProjection {
    /// Positions of its inputs. B has one scale and zero point, or one for each column.
    struct Inputs: Sendable {
        var a: Int
        var b: Int
        var aScale: Int
        var aZeroPoint: Int
        var bScale: Int
        var bZeroPoint: Int
        var bias: Int

        /// Throws unless types and sizes are right.
        func check(_ context: InferenceContext) throws {
            let aType = try context.type(a, oneOf: [.uint8, .int8]), bType = try context.type(b, oneOf: [.uint8, .int8])
            if context.has(aZeroPoint) { _ = try context.type(aZeroPoint, oneOf: [aType]) }
            if context.has(bZeroPoint) { _ = try context.type(bZeroPoint, oneOf: [bType]) }
            let columns = try context.shape(b).dimensions?.last?.known
            for index in [aScale, aZeroPoint, bScale, bZeroPoint] where context.has(index) {
                guard let count = try context.shape(index).concrete()?.count, count != 1 else { continue }
                guard index == bScale || index == bZeroPoint, columns == nil || columns == count else {
                    throw ApusError(.shapeMismatch, "input \(index) has \(count) elements, one (or one for each column of the weights) expected")
                }
            }
        }
    }

    /// The product [m, k] · [k, n], prepared; scales and bias are float32 in `context`.
    static func call(_ context: PrepareContext, _ inputs: Inputs, m: Int, n: Int, k: Int) throws -> BatchedProduct.Call {
        if m == 0 || n == 0 { return .init(kernelName: "nothing", workspaceByteCount: 0) { _, _, _ in } }
        let aIsSigned = try context.type(inputs.a) == .int8, bType = try context.type(inputs.b), bIsSigned = bType == .int8
        let aType: ElementType = aIsSigned ? .int8 : .uint8
        let product = try IntegerProduct(levels: context.levels, m: m, n: n, k: k, threads: context.threads)
        let packed = try context.packed(inputs.b, key: product.packedKey("plain")) { tensor, budget in
            let storage = try Storage.allocate(byteCount: product.packedByteCount, budget: budget, purpose: "a packed matrix")
            product.pack(tensor.pointer, isSigned: bIsSigned, rowStride: n, columnStride: 1, to: storage.base)
            return storage
        }
        let packedBytes = packed == nil ? try product.packedByteCount.roundedUp(to: Storage.alignment) : 0
        let columnBytes = try n.multiplied(by: 4).roundedUp(to: Storage.alignment)
        let scaleStep = try context.shape(inputs.bScale).count == 1 ? 0 : 1
        let zeroCount = context.has(inputs.bZeroPoint) ? try context.shape(inputs.bZeroPoint).count : 0
        let total = try packedBytes.adding(columnBytes.multiplied(by: 2)).adding(product.workspaceByteCount)
        let name = String(cString: product.kernel.pointee.name)
        return .init(kernelName: name, workspaceByteCount: total) { io, target, workspace in
            let scales = (workspace + packedBytes).assumingMemoryBound(to: Float.self)
            let zeros = (workspace + packedBytes + columnBytes).assumingMemoryBound(to: Int32.self)
            var args = product.arguments(aStride: k, cStride: n, aIsSigned: aIsSigned, bIsSigned: bIsSigned)
            args.output = APUS_QGEMM_F32
            args.a = io.input(inputs.a)
            args.c = UnsafeMutableRawPointer(target)
            if let packed {
                args.b = UnsafeRawPointer(packed.base)
            } else {
                product.pack(io.input(inputs.b), isSigned: bIsSigned, rowStride: n, columnStride: 1, to: workspace, pool: io.pool)
                args.b = UnsafeRawPointer(workspace)
            }
            fillProductScales(
                scales, count: n, a: io.input(inputs.aScale, as: Float.self)[0], b: io.input(inputs.bScale, as: Float.self),
                bStep: scaleStep, output: nil)
            args.scales = UnsafePointer(scales)
            args.bias = io.input(inputs.bias, as: Float.self)
            loadZeroPoints(aType, io.has(inputs.aZeroPoint) ? io.input(inputs.aZeroPoint) : nil, &args.a_zero_point, count: 1)
            if zeroCount == 1 {
                loadZeroPoints(bType, io.input(inputs.bZeroPoint), &args.b_zero_point, count: 1)
            } else if zeroCount > 1 {
                loadZeroPoints(bType, io.input(inputs.bZeroPoint), zeros, count: n)
                args.b_zero_points = UnsafePointer(zeros)
            }
            product.run(args, workspace: workspace + packedBytes + 2 * columnBytes, pool: io.pool)
        }
    }
}
