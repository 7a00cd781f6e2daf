import ApusCore

/// Resamples a tensor along any of its axes.
struct ResizeOperator: Operator {
    static let schemas = [
        Schema("Resize", since: [10, 11, 13, 18, 19], inputs: 1...4),
        Schema("Upsample", since: [1, 7, 9, 10], inputs: 1...2),
    ]

    private enum Mode {
        case nearest(NearestMode)
        case weighted(ResizeKernel)
    }

    private enum AspectRatio: String {
        case stretch
        case notLarger = "not_larger"
        case notSmaller = "not_smaller"
    }

    private let mode: Mode
    private let coordinates: CoordinateMode
    private let antialias: Bool
    private let excludeOutside: Bool
    private let extrapolation: Float
    private let axes: [Int]?
    private let policy: AspectRatio
    private let attributeScales: [Float]?
    /// Numbers of the inputs with scales, sizes and region of interest; nil: the operator has none.
    private let scalesInput: Int?
    private let sizesInput: Int?
    private let regionInput: Int?

    init(_ node: NodeReader) throws {
        let isEarly = node.opType == "Upsample" || node.opset < 11
        if isEarly {
            let name = try node.choice("mode", of: ["nearest", "linear", "bilinear"], default: "nearest")
            mode = name == "nearest" ? .nearest(.simple) : .weighted(.linear)
            coordinates = .asymmetric
            antialias = false
            excludeOutside = false
            extrapolation = 0
            axes = nil
            policy = .stretch
            regionInput = nil
            sizesInput = nil
            if node.opset < 7 {
                attributeScales = [1, 1, try node.float("height_scale"), try node.float("width_scale")]
            } else if node.opset < 9 {
                guard let scales = try node.optionalFloats("scales") else {
                    throw ApusError(.invalidModel, "attribute \"scales\" of Upsample is missing")
                }
                attributeScales = scales
            } else {
                attributeScales = nil
            }
            scalesInput = attributeScales == nil ? 1 : nil
            guard node.inputCount == (attributeScales == nil ? 2 : 1) else {
                throw ApusError(.invalidModel, "\(node.opType) of opset \(node.opset) takes \(attributeScales == nil ? 2 : 1) inputs, found \(node.inputCount)")
            }
            return
        }
        attributeScales = nil
        regionInput = 1
        scalesInput = 2
        sizesInput = 3
        var choices = CoordinateMode.allCases
        if node.opset >= 13 { choices.removeAll { $0 == .halfPixelForNearest } }
        if node.opset < 19 { choices.removeAll { $0 == .halfPixelSymmetric } }
        let name = try node.choice("coordinate_transformation_mode", of: choices.map(\.rawValue), default: "half_pixel")
        coordinates = CoordinateMode(rawValue: name) ?? .halfPixel
        let rounding = try node.choice(
            "nearest_mode", of: ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"], default: "round_prefer_floor")
        let coefficient = try node.float("cubic_coeff_a", default: -0.75)
        switch try node.choice("mode", of: ["nearest", "linear", "cubic"], default: "nearest") {
        case "linear": mode = .weighted(.linear)
        case "cubic": mode = .weighted(.cubic(coefficient))
        default: mode = .nearest(NearestMode(rawValue: rounding) ?? .roundPreferFloor)
        }
        excludeOutside = try node.bool("exclude_outside", default: false)
        extrapolation = try node.float("extrapolation_value", default: 0)
        antialias = node.opset >= 18 ? try node.bool("antialias", default: false) : false
        axes = node.opset >= 18 ? try node.optionalInts("axes") : nil
        policy = node.opset >= 18
            ? AspectRatio(
                rawValue: try node.choice("keep_aspect_ratio_policy", of: ["stretch", "not_larger", "not_smaller"], default: "stretch"))
                ?? .stretch : .stretch
    }

    var parameterInputs: [Int] { [regionInput, scalesInput, sizesInput].compactMap { $0 } }

    // MARK: Inference

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0)
        if case .weighted = mode { _ = try type.visit(Checking()) }
        let scales = try context.numbers(scalesInput, attributeScales)
        let sizes = try context.dimensions(sizesInput)
        guard !(scales.isGiven && sizes.isGiven) else { throw ApusError(.invalidModel, "both scales and sizes are given") }
        guard scales.isGiven || sizes.isGiven || !scales.isKnown || !sizes.isKnown else {
            throw ApusError(.invalidModel, "neither scales nor sizes are given")
        }
        let shape = try context.shape(0)
        guard var dimensions = shape.dimensions else { return [ValueInfo(type, .unknown)] }
        let axes = try normalizedAxes(axes ?? Array(0..<dimensions.count), rank: dimensions.count)
        if let factors = scales.values, !factors.isEmpty {
            guard factors.count == axes.count else {
                throw ApusError(.shapeMismatch, "scales has \(factors.count) numbers for \(axes.count) axes")
            }
            for (axis, factor) in zip(axes, factors) {
                guard factor > 0, factor.isFinite else { throw ApusError(.invalidValue, "the scale \(factor) is not positive and finite") }
                dimensions[axis] = try ResizeOperator.scaled(dimensions[axis], factor)
            }
            return [ValueInfo(type, PartialShape(dimensions))]
        }
        if let wanted = sizes.values, !wanted.isEmpty {
            guard wanted.count == axes.count else {
                throw ApusError(.shapeMismatch, "sizes has \(wanted.count) numbers for \(axes.count) axes")
            }
            for size in wanted {
                if let size = size.known, size < 0 { throw ApusError(.shapeMismatch, "sizes has the negative number \(size)") }
            }
            let kept = try self.sizes(axes.map { dimensions[$0] }, wanted)
            for (axis, size) in zip(axes, kept) {
                if dimensions[axis] == .known(0), let size = size.known, size > 0 {
                    throw ApusError(.shapeMismatch, "axis \(axis) of shape \(shape) is empty and cannot be resized to \(size)")
                }
                dimensions[axis] = size
            }
            return [ValueInfo(type, PartialShape(dimensions))]
        }
        for axis in axes { dimensions[axis] = .unknown }
        return [ValueInfo(type, PartialShape(dimensions))]
    }

    /// The size of an axis times a factor, rounded down; the product in single precision, as onnxruntime has it.
    private static func scaled(_ dimension: Dimension, _ factor: Float) throws -> Dimension {
        if let size = dimension.known {
            let product = (Float(size) * factor).rounded(.down)
            guard product < 0x1p62 else { throw ApusError(.memoryLimit, "an axis of \(size) elements times \(factor) passes what memory can hold") }
            return .known(Int(product))
        }
        if factor == 1 { return dimension }
        if factor == factor.rounded(), factor < 0x1p20 { return dimension * .known(Int(factor)) }
        return .unknown
    }

    /// The sizes that come of those asked for when the aspect ratio is to be kept.
    private func sizes(_ from: [Dimension], _ wanted: [Dimension]) throws -> [Dimension] {
        guard policy != .stretch else { return wanted }
        let old = from.compactMap(\.known), new = wanted.compactMap(\.known)
        guard old.count == from.count, new.count == wanted.count else { return wanted.map { _ in .unknown } }
        let scale = try commonScale(old, new)
        return try old.map { size in
            let product = (Double(scale) * Double(size) + 0.5).rounded(.down)
            guard product < 0x1p62 else { throw ApusError(.memoryLimit, "an axis of \(size) elements times \(scale) passes what memory can hold") }
            return .known(Int(product))
        }
    }

    private func commonScale(_ old: [Int], _ new: [Int]) throws -> Float {
        guard !old.contains(0) else { throw ApusError(.shapeMismatch, "an empty axis has no aspect ratio to keep") }
        let ratios = zip(old, new).map { Float($1) / Float($0) }
        return (policy == .notLarger ? ratios.min() : ratios.max()) ?? 1
    }

    private struct Checking: ElementVisitor {
        func visit<T: Element>(_: T.Type) throws {}
    }

    // MARK: Geometry

    /// The axes whose elements do not stay as they are.
    private func resizedAxes(_ context: PrepareContext) throws -> [ResizedAxis] {
        let input = try context.shape(0), output = try context.outputShape(0)
        let axes = try normalizedAxes(axes ?? Array(0..<input.rank), rank: input.rank)
        let factors = try attributeScales ?? scalesInput.flatMap { context.constant($0) }.map { try floats($0) } ?? []
        let region = coordinates == .cropAndResize ? try regionInput.flatMap { context.constant($0) }.map { try floats($0) } ?? [] : []
        guard coordinates != .cropAndResize || region.count == 2 * axes.count else {
            throw ApusError(.shapeMismatch, "roi has \(region.count) numbers, 2 for each of \(axes.count) axes expected")
        }
        var common: Float?
        if factors.isEmpty, policy != .stretch, let wanted = try sizesInput.flatMap({ try context.integers($0) }), wanted.count == axes.count {
            common = try commonScale(axes.map { input[$0] }, wanted)
        }
        return try axes.indices.compactMap { position in
            let axis = axes[position]
            let from = input[axis], to = output[axis]
            let scale = factors.isEmpty ? common ?? (from > 0 ? Float(to) / Float(from) : 1) : factors[position]
            let start = region.isEmpty ? 0 : region[position], end = region.isEmpty ? 1 : region[position + axes.count]
            guard start.isFinite, end.isFinite else { throw ApusError(.invalidValue, "roi has a number that is not finite") }
            if from == to, scale == 1, start == 0, end == 1 { return nil }
            return ResizedAxis(axis: axis, from: from, to: to, scale: scale, start: start, end: end, coordinates: coordinates)
        }
    }

    private func floats(_ tensor: Tensor) throws -> [Float] {
        switch tensor.type {
        case .float32: tensor.array(Float.self)
        case .float64: tensor.array(Double.self).map { Float($0) }
        case .float16: tensor.array(Half.self).map(\.number)
        case .bfloat16: tensor.array(BFloat16.self).map(\.number)
        default: throw ApusError(.typeMismatch, "floats expected, found \(tensor.type.name)")
        }
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.type(0)
        let input = try context.shape(0), output = try context.outputShape(0)
        if output.count == 0 { return PreparedKernel("resize") { _ in } }
        // The tables below grow with the output, which memory must be able to hold.
        let bytes = type.byteCount(output.count) ?? output.count
        try context.packed.budget.reserve(bytes, for: "a \(type.name) tensor of shape \(output)")
        context.packed.budget.release(bytes)
        let axes = try resizedAxes(context)
        switch mode {
        case .nearest(let rounding):
            return try prepareNearest(context, type, input, output, axes, rounding)
        case .weighted(let kernel):
            let weights = axes.map { ($0.axis, $0.weights(kernel, antialias: antialias, excludeOutside: excludeOutside)) }
            return try Weighting(input: input, axes: weights.reversed(), extrapolation: extrapolation).prepare(type)
        }
    }

    // MARK: Nearest

    private func prepareNearest(
        _ context: PrepareContext, _ type: ElementType, _ input: Shape, _ output: Shape, _ axes: [ResizedAxis], _ rounding: NearestMode
    ) throws -> any PreparedNode {
        var tables: [[Int]?] = Array(repeating: nil, count: input.rank)
        for axis in axes { tables[axis.axis] = axis.nearest(rounding) }
        let strides = input.strides
        let width = context.movedWidth(type)
        var bits: UInt64 = 0
        if extrapolation != 0, coordinates == .cropAndResize { bits = try type.visit(Encoding(value: extrapolation)) }
        let constant = (bits, UInt64(0))
        let map = NearestMap(output: output, strides: strides, tables: tables)
        return try context.movement("resize_nearest", type, inputs: [0]) { access in
            withUnsafeBytes(of: constant) { constant in
                guard let constant = constant.baseAddress else { return }
                withWidth(
                    width,
                    Picking(source: access.input(0), target: access.output(0), outside: constant, map: map, pool: access.io.pool))
            }
        }
    }

    private struct Encoding: ElementVisitor {
        let value: Float

        func visit<T: Element>(_: T.Type) throws -> UInt64 {
            var bits: UInt64 = 0
            withUnsafeMutableBytes(of: &bits) { $0.storeBytes(of: T(rounding: T.Number(converting: Double(value))), as: T.self) }
            return bits
        }
    }

    private final class NearestMap: Sendable {
        let output: Shape
        let strides: [Int]
        /// nil: an axis that stays as it is.
        let tables: [[Int]?]

        init(output: Shape, strides: [Int], tables: [[Int]?]) {
            self.output = output
            self.strides = strides
            self.tables = tables
        }

        /// Where row `row` of the output begins in the source; nil where all of it is outside.
        func rowStart(_ row: Int) -> Int? {
            var rest = row
            var offset = 0
            for axis in stride(from: output.rank - 2, through: 0, by: -1) {
                let position = rest % output[axis]
                rest /= output[axis]
                let index = tables[axis]?[position] ?? position
                if index < 0 { return nil }
                offset = offset &+ index &* strides[axis]
            }
            return offset
        }
    }

    private struct Picking: WidthVisitor {
        let source: UnsafeRawPointer
        let target: UnsafeMutableRawPointer
        let outside: UnsafeRawPointer
        let map: NearestMap
        let pool: ThreadPool

        func visit<T: BitwiseCopyable>(_: T.Type) {
            let source = source.assumingMemoryBound(to: T.self)
            let target = target.assumingMemoryBound(to: T.self)
            let constant = outside.loadUnaligned(as: T.self)
            guard map.output.rank > 0 else {
                target[0] = source[0]
                return
            }
            let length = map.output[map.output.rank - 1]
            let table = map.tables[map.output.rank - 1]
            pool.inChunks(map.output.count / max(1, length), of: max(1, 16384 / max(1, length))) { range in
                for row in range {
                    let to = target + row &* length
                    guard let start = map.rowStart(row) else {
                        to.update(repeating: constant, count: length)
                        continue
                    }
                    let from = source + start
                    guard let table else {
                        to.update(from: from, count: length)
                        continue
                    }
                    table.withUnsafeBufferPointer { table in
                        for column in 0..<length { to[column] = table[column] < 0 ? constant : from[table[column]] }
                    }
                }
            }
        }
    }

    // MARK: Weighted

    /// How elements become numbers to weigh and how these become elements; nil where elements are such numbers.
    private struct Conversion: Sendable {
        let isDouble: Bool
        let loops: (widen: UnaryLoop, narrow: UnaryLoop)?
    }

    private struct ConversionVisitor: ElementVisitor {
        func visit<T: Element>(_: T.Type) throws -> Conversion {
            if T.self == Float.self || T.self == Double.self { return Conversion(isDouble: T.self == Double.self, loops: nil) }
            let isWide = T.self == Int32.self || T.self == Int64.self || T.self == UInt32.self || T.self == UInt64.self
            return isWide ? conversion(T.self, Double.self) : conversion(T.self, Float.self)
        }

        private func conversion<T: Element, A: Arithmetic>(_: T.Type, _: A.Type) -> Conversion {
            let widen: UnaryLoop = { count, x, y in
                let x = x.assumingMemoryBound(to: T.self), y = y.assumingMemoryBound(to: A.self)
                for index in 0..<count { y[index] = A(converting: x[index].number.double) }
            }
            let narrow: UnaryLoop = { count, x, y in
                let x = x.assumingMemoryBound(to: A.self), y = y.assumingMemoryBound(to: T.self)
                let low = T.Number.lowest.double, high = T.Number.highest.double
                for index in 0..<count {
                    let value = x[index].double
                    y[index] = T(rounding: T.Number(converting: T.Number.isFloat ? value : max(low, min(high, value))))
                }
            }
            return Conversion(isDouble: A.self == Double.self, loops: (widen, narrow))
        }
    }

    /// One pass for each axis, the last one first; integers and 16-bit floats are converted before and after.
    private struct Weighting {
        let input: Shape
        let axes: [(Int, AxisWeights)]
        let extrapolation: Float

        func prepare(_ type: ElementType) throws -> any PreparedNode {
            let conversion = try type.visit(ConversionVisitor()), width = type.byteWidth ?? 1
            return conversion.isDouble ? try passes(Double.self, conversion, width) : try passes(Float.self, conversion, width)
        }

        private struct Pass {
            let weights: AxisWeights
            let outer: Int
            let inner: Int
        }

        /// `width`: bytes of an element of the input and the output.
        private func passes<A: BinaryFloatingPoint & BitwiseCopyable & Arithmetic>(
            _: A.Type, _ conversion: Conversion, _ width: Int
        ) throws -> any PreparedNode {
            var dimensions = input.dimensions
            var passes: [Pass] = []
            var largest = input.count
            for (axis, weights) in axes {
                let shape = try Shape(dimensions)
                passes.append(Pass(weights: weights, outer: shape.count(0..<axis), inner: shape.count((axis + 1)...)))
                dimensions[axis] = weights.to
                largest = max(largest, try Shape(dimensions).count)
            }
            let loops = conversion.loops, converts = loops != nil
            let inputCount = input.count, outputCount = try Shape(dimensions).count
            let half = try largest.multiplied(by: MemoryLayout<A>.stride).roundedUp(to: 64)
            // Two buffers in turn; none where one pass goes from input to output.
            let workspace = converts || passes.count > 1 ? try half.multiplied(by: 2) : 0
            let constant = A(extrapolation)
            return PreparedKernel("resize", workspace: workspace) { io in
                let buffers = (
                    io.workspace.assumingMemoryBound(to: A.self), (io.workspace + (workspace / 2)).assumingMemoryBound(to: A.self)
                )
                var source = UnsafePointer(buffers.0)
                var usesFirst = false
                if let loops {
                    let from = io.input(0)
                    io.pool.inChunks(inputCount) { range in
                        loops.widen(range.count, from + range.lowerBound &* width, buffers.0 + range.lowerBound)
                    }
                } else {
                    source = io.input(0, as: A.self)
                    usesFirst = true
                }
                for (number, pass) in passes.enumerated() {
                    let isLast = number == passes.count - 1 && !converts
                    let target = isLast ? io.output(0, as: A.self) : usesFirst ? buffers.0 : buffers.1
                    pass.weights.apply(
                        source, target, outer: pass.outer, inner: pass.inner, extrapolation: constant, pool: io.pool)
                    source = UnsafePointer(target)
                    usesFirst.toggle()
                }
                if let loops {
                    let to = io.output(0), last = source
                    io.pool.inChunks(outputCount) { range in
                        loops.narrow(range.count, last + range.lowerBound, to + range.lowerBound &* width)
                    }
                } else if passes.isEmpty {
                    io.output(0, as: A.self).update(from: source, count: outputCount)
                }
            }
        }
    }
}

extension InferenceContext {
    /// Floats of an attribute or a parameter input; empty ones count as not given.
    fileprivate func numbers(_ index: Int?, _ attribute: [Float]?) throws -> (isGiven: Bool, isKnown: Bool, values: [Float]?) {
        if let attribute { return (true, true, attribute) }
        guard let index, has(index) else { return (false, true, nil) }
        _ = try type(index, oneOf: [.float32])
        if try shape(index).concrete()?.count == 0 { return (false, true, nil) }
        if let rank = try shape(index).rank, rank != 1 {
            throw ApusError(.shapeMismatch, "input \(index) must be a vector, found shape \(try shape(index))")
        }
        guard let constant = optional(index)?.constant else { return (try shape(index).concrete() != nil, false, nil) }
        return (true, true, try constant.asTensor().array(Float.self))
    }

    fileprivate func dimensions(_ index: Int?) throws -> (isGiven: Bool, isKnown: Bool, values: [Dimension]?) {
        guard let index, has(index) else { return (false, true, nil) }
        if try shape(index).concrete()?.count == 0 { return (false, true, nil) }
        let values = try dimensionsParameter(index)
        return (values != nil, values != nil, values)
    }
}
