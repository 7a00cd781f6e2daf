import ApusCore
import CApusKernels

/// One axis of a transposed convolution: input position i reaches output position i * stride + tap * dilation - pad.
struct TransposedAxis: Sendable {
    let input: Int
    let output: Int
    let kernel: Int
    let stride: Int
    let dilation: Int
    let padBegin: Int
}

/// A float32 transposed convolution of channels-last images, as one convolution for each phase of the strides: output pixels
/// that are a stride apart see the same taps, so nothing is computed with zeros stuffed between pixels and no result is
/// written twice. Where that wastes much, as one product whose columns are added up (`ColumnTransposedConvolution`); where the
/// optimiser allows and it pays, all phases at once by Winograd's transforms (`WinogradConvolution`).
///
/// The weights are given as ONNX has them, [input channels, output channels of a group, kernel...]. Constant ones of a type of
/// `NarrowProduct` stay as narrow when they are packed, unless Winograd's transforms keep them transformed.
final class FloatTransposedConvolution: @unchecked Sendable {
    /// Beyond this many phases the products are too small to be worth preparing.
    static let mostPhases = 1024

    /// How many convolutions a transposed one with these axes is made of.
    static func phaseCount(_ axes: [TransposedAxis]) -> Int {
        FloatProduct.saturatingProduct(axes.map { min($0.stride, $0.output) })
    }

    private struct Phase {
        let product: FloatProduct
        let table: Storage
        /// Numbers of the kernel's taps that these pixels see.
        let taps: [Int]
        /// By axis: the first output position, how many follow.
        let first: [Int]
        let counts: [Int]
        /// Elements before this phase's packed weights.
        let packedOffset: Int
    }

    private let axes: [TransposedAxis]
    /// None where `winograd` or `columns` does the work.
    private let phases: [Phase]
    private let winograd: WinogradConvolution?
    private let columns: ColumnTransposedConvolution?
    private let batch: Int
    private let inChannels: Int
    private let outChannels: Int
    private let group: Int
    private let activation: PreparedActivation
    private let zeros: Storage
    private let packed: Storage?
    private let packedByteCount: Int
    /// Factors of the output channels, or of the columns, with which narrow weights are multiplied when they are widened.
    private let factors: Storage?
    /// Where weights are put in order before they are packed.
    private let orderedByteCount: Int
    private let resultByteCount: Int
    let workspaceByteCount: Int

    var kernelName: String {
        if let winograd { return "convtranspose_" + winograd.name }
        if let columns { return "convtranspose_columns_" + String(cString: columns.product.kernel.pointee.name) }
        return phases.first.map { "convtranspose_" + String(cString: $0.product.kernel.pointee.name) } ?? "convtranspose"
    }

    /// `weights`: the input with the weights; `weightScale`: a constant input of one factor per output channel; `winograd`: the
    /// greatest tile of Winograd's transforms that may be used, 0 for none.
    init(
        _ context: PrepareContext, axes: [TransposedAxis], batch: Int, inChannels: Int, outChannels: Int, group: Int, weights: Int,
        weightScale: Int? = nil, activation: FusedActivation = .none, winograd greatest: Int = 0
    ) throws {
        self.axes = axes
        self.batch = batch
        self.inChannels = inChannels
        self.outChannels = outChannels
        self.group = group
        self.activation = activation.prepared(context.levels)
        let budget = context.packed.budget
        let k = inChannels / group, n = outChannels / group
        zeros = try Storage.allocate(byteCount: k.multiplied(by: 4), budget: budget, purpose: "zeros for padding")
        zeros.base.initializeMemory(as: UInt8.self, repeating: 0, count: zeros.byteCount)
        let outPixels = try checkedProduct(axes.map(\.output))
        // Before the work for each phase: an output that memory cannot hold may have very many.
        let outputBytes = try outPixels.multiplied(by: outChannels).multiplied(by: batch).multiplied(by: 4)
        guard outputBytes <= budget.limit else {
            throw ApusError(.memoryLimit, "the output needs \(outputBytes) bytes, the limit is \(budget.limit) bytes")
        }

        let type = context.constant(weights) == nil ? .float32 : try context.type(weights)
        var elementSize = type.bitWidth / 8
        var phases: [Phase] = [], packedCount = 0, most = 0, scratch = 0, mostTaps = 0
        let lanes = apus_sgemm_select(context.levels).map { Int($0.pointee.lanes) } ?? 1
        if context.constant(weights) != nil, group == 1, axes.allSatisfy({ $0.dilation == 1 }),
            let size = WinogradSize(
                transposed: axes.map(\.kernel), strides: axes.map(\.stride), images: batch, output: axes.map(\.output), inChannels: inChannels,
                outChannels: outChannels),
            let tile = size.tile(greatest: greatest)
        {
            let made = try WinogradConvolution(
                levels: context.levels,
                squares: WinogradSquares(
                    levels: context.levels, tile: tile, transposed: axes, images: batch, outChannels: outChannels),
                inChannels: inChannels, threads: context.threads)
            winograd = made
            columns = nil
            packedCount = made.packedByteCount / 4
            elementSize = 4
            scratch = made.workspaceByteCount
        } else if context.constant(weights) != nil,
            ColumnTransposedConvolution.pays(axes, group: group, outChannels: outChannels, lanes: lanes)
        {
            let made = try ColumnTransposedConvolution(
                context, axes: axes, batch: batch, inChannels: inChannels, outChannels: outChannels, weights: type)
            winograd = nil
            columns = made
            packedCount = made.product.packedCount
            mostTaps = try checkedProduct(axes.map(\.kernel))
            scratch = made.workspaceByteCount
        } else {
            winograd = nil
            columns = nil
        }
        let phaseCount = columns == nil && winograd == nil ? FloatTransposedConvolution.phaseCount(axes) : 0
        guard phaseCount <= FloatTransposedConvolution.mostPhases else {
            throw ApusError(.unsupported, "strides \(axes.map(\.stride)) make \(phaseCount) convolutions of one")
        }
        for number in 0..<phaseCount {
            // The phase of each axis: the first output position.
            var rest = number
            var first = [Int](repeating: 0, count: axes.count)
            for (index, axis) in axes.enumerated().reversed() {
                first[index] = rest % min(axis.stride, axis.output)
                rest /= min(axis.stride, axis.output)
            }
            let counts = zip(axes, first).map { ($0.output - $1 - 1) / $0.stride + 1 }
            // By axis: the kernel positions that meet an input position.
            let positions = zip(axes, first).map { axis, first in
                (0..<axis.kernel).filter { (first &+ axis.padBegin &- $0 &* axis.dilation) % axis.stride == 0 }
            }
            var taps = [0]
            for (axis, kernel) in zip(axes, positions) {
                taps = taps.flatMap { outer in kernel.map { outer * axis.kernel + $0 } }
            }
            let table = try windowTable(
                zip(zip(axes, first), zip(counts, positions)).map { axis, size in
                    let (axis, first) = axis, (count, kernel) = size
                    return WindowAxis(
                        input: axis.input, output: count, taps: kernel.count,
                        position: { output, tap in
                            (first &+ output &* axis.stride &+ axis.padBegin &- kernel[tap] &* axis.dilation) / axis.stride
                        })
                }, pixelStride: inChannels, budget: budget)
            let pixels = counts.reduce(1, &*)
            let product = try FloatProduct(
                levels: context.levels, m: pixels, n: n, k: k, taps: taps.count, rows: .table, weights: type,
                threads: context.threads)
            phases.append(
                Phase(product: product, table: table, taps: taps, first: first, counts: counts, packedOffset: packedCount))
            packedCount = try product.packedCount.multiplied(by: group).adding(packedCount)
            most = max(most, pixels)
            scratch = max(scratch, product.workspaceByteCount)
            mostTaps = max(mostTaps, taps.count)
        }
        self.phases = phases
        packedByteCount = try packedCount.multiplied(by: elementSize).roundedUp(to: Storage.alignment)
        orderedByteCount = try mostTaps.multiplied(by: k).multiplied(by: n).multiplied(by: elementSize).roundedUp(to: Storage.alignment)
        resultByteCount = phases.count > 1
            ? try most.multiplied(by: outChannels).multiplied(by: 4).roundedUp(to: Storage.alignment) : 0

        var scale: (Tensor, String)?
        if let weightScale {
            guard let tensor = context.constant(weightScale) else {
                throw ApusError(.invalidModel, "input \(weightScale) (weight_scale) must be a constant")
            }
            scale = (tensor, "scale \(tensor.storage.identifier)+\(tensor.offset)")
        }
        let all = axes.map { "\($0.kernel),\($0.stride),\($0.dilation),\($0.padBegin),\(min($0.stride, $0.output))" }.joined(separator: " ")
        let product = columns?.product ?? phases.first?.product
        if let tensor = scale?.0, elementSize < 4 {
            factors = try columns?.columnFactors(tensor, budget) ?? tensor.copied(budget: budget).storage
            scale = nil
        } else {
            factors = nil
        }
        let form = winograd?.packedKey("") ?? (columns == nil ? "" : "columns ") + (product?.packedKey("") ?? "")
        let key = "transposed \(form) \(all) group \(group) \(scale?.1 ?? "")"
        let (packedBytes, orderedBytes, wholeTaps) = (packedByteCount, orderedByteCount, axes.map(\.kernel).reduce(1, &*))
        let columns = columns, winograd = winograd
        packed = try context.packed(weights, key: key) { tensor, budget in
            let storage = try Storage.allocate(byteCount: packedBytes, budget: budget, purpose: "packed convolution weights")
            let ordered = try Storage.allocate(byteCount: orderedBytes, budget: budget, purpose: "reordered convolution weights")
            if let winograd {
                let wide = try tensor.widened(budget), factors = scale.map { UnsafePointer($0.0.pointer.assumingMemoryBound(to: Float.self)) }
                try winograd.pack(
                    transposed: UnsafePointer(wide.pointer.assumingMemoryBound(to: Float.self)), axes, scale: factors,
                    to: storage.base.assumingMemoryBound(to: Float.self), budget: budget)
            } else if let columns {
                columns.pack(tensor.pointer, to: storage.base, ordered: ordered.base)
                if let scale {
                    let factors = try columns.columnFactors(scale.0, budget)
                    columns.product.scaleColumns(
                        storage.base.assumingMemoryBound(to: Float.self), by: UnsafePointer(factors.base.assumingMemoryBound(to: Float.self)))
                }
            } else {
                FloatTransposedConvolution.pack(
                    phases, tensor.pointer, scale: scale?.0, to: storage.base, ordered: ordered.base, group: group, k: k, n: n,
                    taps: wholeTaps)
            }
            return storage
        }
        if packed == nil, weightScale != nil { throw ApusError(.invalidModel, "weight_scale needs constant weights") }
        let own = packed == nil ? try packedByteCount.adding(orderedByteCount) : 0
        workspaceByteCount = try own.adding(resultByteCount).adding(scratch)
    }

    private static func pack(
        _ phases: [Phase], _ weights: UnsafeRawPointer, scale: Tensor?, to packed: UnsafeMutableRawPointer,
        ordered: UnsafeMutableRawPointer, group: Int, k: Int, n: Int, taps: Int
    ) {
        for phase in phases {
            let product = phase.product, size = product.elementSize
            for part in 0..<group {
                for (position, tap) in phase.taps.enumerated() {
                    for inner in 0..<k {
                        let source = weights + (((part * k + inner) * n) * taps + tap) * size
                        let target = ordered + (position * k + inner) * n * size
                        _ = apus_transpose_2d(size, n, 1, source, taps, target, n)
                    }
                }
                let place = packed + (phase.packedOffset + part * product.packedCount) * size
                if product.weights != .float32 {
                    product.packNarrow(ordered, tapStride: k * n, rowStride: n, columnStride: 1, to: place)
                    continue
                }
                let target = place.assumingMemoryBound(to: Float.self)
                product.pack(
                    ordered.assumingMemoryBound(to: Float.self), tapStride: k * n, rowStride: n, columnStride: 1, to: target)
                if let scale {
                    phase.product.scaleColumns(
                        target, by: UnsafePointer(scale.pointer.assumingMemoryBound(to: Float.self)) + part * n)
                }
            }
        }
    }

    /// Convolves. `weights` is read only where they are not constant. `residual` lies as the output does and must not overlap it.
    func run(
        input: UnsafePointer<Float>, weights: UnsafePointer<Float>, bias: UnsafePointer<Float>?, residual: UnsafePointer<Float>?,
        output: UnsafeMutablePointer<Float>, workspace: UnsafeMutableRawPointer, pool: ThreadPool
    ) {
        let k = inChannels / group, n = outChannels / group
        var rest = workspace
        let panels: UnsafePointer<Float>
        if let packed {
            panels = UnsafePointer(packed.base.assumingMemoryBound(to: Float.self))
        } else {
            let target = rest.assumingMemoryBound(to: Float.self)
            rest += packedByteCount
            FloatTransposedConvolution.pack(
                phases, weights, scale: nil, to: target, ordered: rest, group: group, k: k, n: n,
                taps: axes.map(\.kernel).reduce(1, &*))
            rest += orderedByteCount
            panels = UnsafePointer(target)
        }
        if let winograd {
            var epilogue = activation.epilogue
            epilogue.bias = bias
            epilogue.residual = residual
            epilogue.residual_stride = outChannels
            winograd.run(
                input: input, panels: panels, zeros: UnsafePointer(zeros.base.assumingMemoryBound(to: Float.self)), epilogue: epilogue,
                output: output, scratch: rest, pool: pool)
            return withExtendedLifetime(activation) {}
        }
        let factors = factors.map { UnsafePointer($0.base.assumingMemoryBound(to: Float.self)) }
        if let columns {
            columns.run(
                input: input, panels: panels, factors: factors, bias: bias, residual: residual, activation: activation, output: output, scratch: rest,
                pool: pool)
            return withExtendedLifetime(activation) {}
        }
        let result = rest.assumingMemoryBound(to: Float.self), scratch = rest + resultByteCount
        let imageIn = axes.reduce(inChannels) { $0 * $1.input }, imageOut = axes.reduce(outChannels) { $0 * $1.output }
        for image in 0..<batch {
            for phase in phases {
                let isWhole = phases.count == 1
                let target = isWhole ? output + image * imageOut : result
                var args = phase.product.arguments(aStride: 0, cStride: outChannels)
                args.a_table = UnsafePointer(phase.table.base.assumingMemoryBound(to: Int.self))
                args.a_zero = UnsafePointer(zeros.base.assumingMemoryBound(to: Float.self))
                args.epilogue = activation.epilogue
                var added: UnsafePointer<Float>?
                if let residual {
                    if isWhole {
                        added = residual + image * imageOut
                    } else {
                        eachRow(of: phase) { own, pixel, count, step in
                            for index in 0..<count {
                                (target + (own + index) * outChannels).update(
                                    from: residual + image * imageOut + (pixel + index * step) * outChannels, count: outChannels)
                            }
                        }
                        added = UnsafePointer(target)
                    }
                }
                args.epilogue.residual_stride = outChannels
                for part in 0..<group {
                    args.a = input + image * imageIn + part * k
                    args.b = phase.product.panels(
                        UnsafeRawPointer(panels) + phase.packedOffset * phase.product.elementSize, part)
                    args.b_scale = factors.map { $0 + part * n }
                    args.c = target + part * n
                    args.epilogue.bias = bias.map { $0 + part * n }
                    args.epilogue.residual = added.map { $0 + part * n }
                    phase.product.run(args, workspace: scratch, pool: pool)
                }
                if !isWhole {
                    eachRow(of: phase) { own, pixel, count, step in
                        for index in 0..<count {
                            (output + image * imageOut + (pixel + index * step) * outChannels).update(
                                from: target + (own + index) * outChannels, count: outChannels)
                        }
                    }
                }
            }
        }
        withExtendedLifetime(activation) {}
    }

    /// Calls `body` for each row of the phase's pixels along the last axis: (the row's first pixel within the phase, its first
    /// pixel in the output, how many pixels, how far they lie apart in the output).
    private func eachRow(of phase: Phase, _ body: (Int, Int, Int, Int) -> Void) {
        let last = axes.count - 1
        guard last >= 0, phase.counts[last] > 0 else { return }
        let rows = phase.counts.dropLast().reduce(1, *)
        for row in 0..<rows {
            var rest = row, pixel = 0, scale = axes[last].output
            for axis in (0..<last).reversed() {
                pixel += (phase.first[axis] + rest % phase.counts[axis] * axes[axis].stride) * scale
                rest /= phase.counts[axis]
                scale *= axes[axis].output
            }
            body(row * phase.counts[last], pixel + phase.first[last], phase.counts[last], axes[last].stride)
        }
    }
}
