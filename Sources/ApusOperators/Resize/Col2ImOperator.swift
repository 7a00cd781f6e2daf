import ApusCore

/// Adds columns of blocks back into the image they were taken from.
struct Col2ImOperator: Operator {
    static let schemas = [Schema("Col2Im", since: [18], inputs: 3...3)]

    private let dilations: [Int]?
    private let pads: [Int]?
    private let strides: [Int]?

    init(_ node: NodeReader) throws {
        dilations = try node.optionalInts("dilations")
        pads = try node.optionalInts("pads")
        strides = try node.optionalInts("strides")
    }

    var parameterInputs: [Int] { [1, 2] }

    /// The blocks' places along one axis.
    private struct Axis {
        let size: Int
        let block: Int
        let dilation: Int
        let stride: Int
        let before: Int
        let count: Int
    }

    private func axes(_ image: [Int], _ block: [Int]) throws -> [Axis] {
        let rank = image.count
        let dilations = dilations ?? [Int](repeating: 1, count: rank), strides = strides ?? [Int](repeating: 1, count: rank)
        let pads = pads ?? [Int](repeating: 0, count: 2 * rank)
        guard block.count == rank, dilations.count == rank, strides.count == rank, pads.count == 2 * rank, rank > 0 else {
            throw ApusError(.shapeMismatch, "block_shape, dilations, strides and pads do not fit an image of rank \(rank)")
        }
        return try (0..<rank).map { axis in
            guard image[axis] >= 0, block[axis] > 0, dilations[axis] > 0, strides[axis] > 0, pads[axis] >= 0, pads[axis + rank] >= 0 else {
                throw ApusError(.invalidValue, "the geometry of axis \(axis) has a number that is too small")
            }
            let reach = try (block[axis] - 1).multiplied(by: dilations[axis]).adding(1)
            let span = try image[axis].adding(pads[axis]).adding(pads[axis + rank]).subtracting(reach)
            return Axis(
                size: image[axis], block: block[axis], dilation: dilations[axis], stride: strides[axis], before: pads[axis],
                count: span < 0 ? 0 : span / strides[axis] + 1)
        }
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0)
        if type != .complex64, type != .complex128 { _ = try type.visit(Checking()) }
        let image = try context.dimensionsParameter(1), block = try context.dimensionsParameter(2)
        let input = try context.dimensions(0, rank: 3...3)
        guard let image else { return [ValueInfo(type, .unknown)] }
        var channels = Dimension.unknown
        if let block {
            let area = block.reduce(.known(1), *)
            if let input {
                if let rows = input[1].known, let size = area.known, size <= 0 || rows % size != 0 {
                    throw ApusError(.shapeMismatch, "\(rows) rows are no multiple of the block's \(size) elements")
                }
                channels = input[1].dividedExactly(by: area) ?? .unknown
            }
            let known = image.compactMap(\.known), sizes = block.compactMap(\.known)
            if known.count == image.count, sizes.count == block.count {
                let blocks = try checkedProduct(try axes(known, sizes).map(\.count))
                if let columns = input?[2].known, columns != blocks {
                    throw ApusError(.shapeMismatch, "the image has \(blocks) blocks, the input \(columns) columns")
                }
            }
        }
        return [ValueInfo(type, PartialShape([input?[0] ?? .unknown, channels] + image))]
    }

    private struct Checking: ElementVisitor {
        func visit<T: Element>(_: T.Type) throws {}
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let output = try context.outputShape(0)
        guard let image = try context.integers(1), let block = try context.integers(2) else {
            throw ApusError(.internal, "the shapes are not known")
        }
        let axes = try axes(image, block)
        return try context.throughFloat32 { inner in
            // A complex number is two that are added apart.
            switch try inner.type(0) {
            case .complex64: try Adding(axes: axes, output: output, width: 2).visit(Float.self)
            case .complex128: try Adding(axes: axes, output: output, width: 2).visit(Double.self)
            case let type: try type.visitArithmetic(Adding(axes: axes, output: output, width: 1))
            }
        }
    }

    private struct Adding: ArithmeticVisitor {
        let axes: [Axis]
        let output: Shape
        let width: Int

        func visit<T: Arithmetic>(_: T.Type) throws -> any PreparedNode {
            let (axes, output, width) = (axes, output, width)
            let planes = output.count(0..<2), plane = output.count(2...) &* width
            let strides = Array(output.strides[2...])
            let blocks = axes.map(\.count), columns = blocks.reduce(1, &*)
            let kernel = axes.map(\.block), taps = kernel.reduce(1, &*)
            let nothing = [Int](repeating: 0, count: axes.count)
            return PreparedKernel("col2im") { io in
                if output.count == 0 { return }
                let source = io.input(0, as: T.self), target = io.output(0, as: T.self)
                io.pool.parallel(planes) { number in
                    let to = target + number &* plane
                    for index in 0..<plane { to[index] = T.zero }
                    forEachPosition(kernel, nothing) { tap, _ in
                        forEachPosition(blocks, nothing) { column, _ in
                            var rest = column, inBlock = tap, offset = 0
                            var isInside = true
                            for axis in Swift.stride(from: axes.count - 1, through: 0, by: -1) {
                                let a = axes[axis]
                                let place = rest % a.count &* a.stride &+ inBlock % a.block &* a.dilation &- a.before
                                rest /= a.count
                                inBlock /= a.block
                                isInside = isInside && place >= 0 && place < a.size
                                offset &+= place &* strides[axis]
                            }
                            if isInside {
                                for part in 0..<width {
                                    let place = offset &* width &+ part
                                    to[place] = T.add(to[place], source[((number &* taps &+ tap) &* columns &+ column) &* width &+ part])
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
