import ApusCore

/// The elements of the input under another shape: no work where memory can be shared.
protocol ReshapingOperator: Operator {}

extension ReshapingOperator {
    package var viewedInput: Int? { 0 }

    package func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        if let bytes = try context.denseByteCount(0) { return copyKernel(bytes) }
        let shape = try context.outputShape(0)
        return PreparedKernel("reshape") { io in
            try io.setOutput(0, .strings(StringTensor(shape: shape, elements: try io.value(0).asStrings().elements)))
        }
    }

    /// The output, which has the input's type and, where both have rank 0 or 1, its elements.
    func reshaped(_ context: InferenceContext, _ dimensions: [Dimension]?) throws -> [ValueInfo] {
        var info = ValueInfo(try context.type(0), PartialShape(dimensions))
        if let dimensions, dimensions.count <= 1 { info.elements = try context.smallElements(0) }
        return [info]
    }
}

/// Gives the input a shape that may copy dimensions (0) and have one that follows from the others (-1).
struct ReshapeOperator: ReshapingOperator {
    static let schemas = [Schema("Reshape", since: [1, 5, 13, 14, 19, 21, 23, 24, 25], inputs: 1...2)]

    /// Before opset 5; an input since.
    private let target: [Int]?
    private let allowsZero: Bool

    init(_ node: NodeReader) throws {
        if node.opset < 5 {
            guard !node.hasInput(1) else { throw ApusError(.invalidModel, "Reshape of opset \(node.opset) takes 1 input, found 2") }
            target = try node.ints("shape", default: [])
            allowsZero = false
        } else {
            target = nil
            allowsZero = node.opset >= 14 ? try node.bool("allowzero", default: false) : false
        }
    }

    var parameterInputs: [Int] { target == nil ? [1] : [] }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let wanted = try target?.map(Dimension.known) ?? context.dimensionsParameter(1)
        let shape = try context.shape(0)
        guard let wanted else { return try reshaped(context, nil) }
        return try reshaped(context, ReshapeOperator.resolve(shape, wanted, allowsZero: allowsZero))
    }

    /// The dimensions that `wanted` means for an input of shape `shape`; throws where they cannot hold its elements.
    static func resolve(_ shape: PartialShape, _ wanted: [Dimension], allowsZero: Bool) throws -> [Dimension] {
        let text = "[" + wanted.map(\.description).joined(separator: ",") + "]"
        var result: [Dimension] = []
        // What is not copied from the input must hold what is not copied to the output.
        var sources = shape.dimensions
        var others: [Dimension] = []
        var open: Int?
        for (axis, dimension) in wanted.enumerated() {
            switch dimension {
            case .known(-1):
                guard open == nil else { throw ApusError(.shapeMismatch, "shape \(text) leaves more than one dimension open") }
                open = axis
                result.append(.unknown)
            case .known(0) where !allowsZero:
                if let rank = shape.rank, axis >= rank {
                    throw ApusError(.shapeMismatch, "shape \(text) copies dimension \(axis) of \(shape), which has none")
                }
                result.append(shape.dimensions?[axis] ?? .unknown)
                sources?[axis] = .known(1)
                if shape.dimensions == nil { others.append(.unknown) }
            case .known(let value) where value < 0:
                throw ApusError(.shapeMismatch, "shape \(text) has the negative dimension \(value)")
            default:
                result.append(dimension)
                others.append(dimension)
            }
        }
        if open != nil, allowsZero, wanted.contains(.known(0)) {
            throw ApusError(.shapeMismatch, "shape \(text) has dimensions -1 and 0, of which allowzero permits one only")
        }
        guard let sources else { return result }
        let (total, product) = cancelled(sources, others)
        if let open {
            guard product != .known(0) else {
                throw ApusError(.shapeMismatch, "the open dimension of shape \(text) cannot be told for an input of shape \(shape)")
            }
            if case .known(let count) = total, case .known(let divisor) = product {
                guard divisor > 0, count % divisor == 0 else {
                    throw ApusError(.shapeMismatch, "an input of shape \(shape) cannot be given shape \(text)")
                }
            }
            result[open] = total.dividedExactly(by: product) ?? total.floorDivided(by: product)
            return result
        }
        // Nothing fits into nothing, whatever was copied.
        let isEmpty = shape.dimensions?.contains(.known(0)) == true && result.contains(.known(0))
        if !isEmpty, case .known(let count) = total, case .known(let other) = product, count != other {
            throw ApusError(.shapeMismatch, "an input of shape \(shape) cannot be given shape \(text)")
        }
        // One dimension that nobody knows follows from the others, if none of them can be 0.
        if result.filter({ $0 == .unknown }).count == 1, let axis = result.firstIndex(of: .unknown), wanted[axis] == .unknown,
            sources.allSatisfy({ $0.known.map { $0 > 0 } ?? ($0 != .unknown) })
        {
            let (total, product) = cancelled(sources, others.filter { $0 != .unknown })
            if product.known.map({ $0 > 0 }) ?? true, let quotient = total.dividedExactly(by: product) { result[axis] = quotient }
        }
        return result
    }

    /// The products of both lists without the factors that they share.
    private static func cancelled(_ a: [Dimension], _ b: [Dimension]) -> (Dimension, Dimension) {
        var left: [Dimension] = []
        var right = b
        for factor in a {
            if factor != .unknown, factor != .known(0), let index = right.firstIndex(of: factor) {
                right.remove(at: index)
            } else {
                left.append(factor)
            }
        }
        return (left.reduce(.known(1), *), right.reduce(.known(1), *))
    }
}

/// Views the input as a matrix: the dimensions before `axis`, and the rest.
struct FlattenOperator: ReshapingOperator {
    static let schemas = [Schema("Flatten", since: [1, 9, 11, 13, 21, 23, 24, 25], inputs: 1...1)]

    private let axis: Int
    private let allowsNegative: Bool

    init(_ node: NodeReader) throws {
        axis = try node.int("axis", default: 1)
        allowsNegative = node.opset >= 11
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        guard let dimensions = try context.shape(0).dimensions else { return try reshaped(context, [.unknown, .unknown]) }
        let rank = dimensions.count
        guard axis >= (allowsNegative ? -rank : 0), axis <= rank else {
            throw ApusError(.shapeMismatch, "axis \(axis) is outside of [\(allowsNegative ? -rank : 0), \(rank)], the range for rank \(rank)")
        }
        let border = axis < 0 ? axis + rank : axis
        return try reshaped(
            context, [dimensions[..<border].reduce(.known(1), *), dimensions[border...].reduce(.known(1), *)])
    }
}

/// Removes dimensions of size 1: those named, or all.
struct SqueezeOperator: ReshapingOperator {
    static let schemas = [Schema("Squeeze", since: [1, 11, 13, 21, 23, 24, 25], inputs: 1...2)]

    private let axes: [Int]?
    private let takesAxes: Bool

    init(_ node: NodeReader) throws {
        takesAxes = node.opset >= 13
        axes = takesAxes ? nil : try node.optionalInts("axes")
        guard takesAxes || !node.hasInput(1) else {
            throw ApusError(.invalidModel, "Squeeze of opset \(node.opset) takes 1 input, found 2")
        }
    }

    var parameterInputs: [Int] { takesAxes ? [1] : [] }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        var axes = axes
        if takesAxes {
            let given = try context.integerVector(1)
            if given.isPresent, given.values == nil {
                guard let rank = try context.shape(0).rank, let count = try context.shape(1).concrete()?.count, count <= rank
                else { return try reshaped(context, nil) }
                return try reshaped(context, [Dimension](repeating: .unknown, count: rank - count))
            }
            axes = given.values
        }
        let shape = try context.shape(0)
        guard let dimensions = shape.dimensions else { return try reshaped(context, nil) }
        guard let axes else {
            // A dimension of unknown size may or may not be there.
            guard dimensions.allSatisfy({ $0.known != nil }) else { return try reshaped(context, nil) }
            return try reshaped(context, dimensions.filter { $0 != .known(1) })
        }
        let removed = Set(try normalizedAxes(axes, rank: dimensions.count))
        for axis in removed.sorted() {
            if let size = dimensions[axis].known, size != 1 {
                throw ApusError(.shapeMismatch, "axis \(axis) of an input of shape \(shape) has not size 1")
            }
        }
        return try reshaped(context, dimensions.indices.filter { !removed.contains($0) }.map { dimensions[$0] })
    }
}

/// Inserts dimensions of size 1 at the given places of the output.
struct UnsqueezeOperator: ReshapingOperator {
    static let schemas = [
        Schema("Unsqueeze", since: [1, 11, 13, 21, 23, 24, 25], inputs: 1...2),
        // One axis, an int32.
        Schema("ExpandDims", domain: "com.microsoft", since: [1], inputs: 2...2),
    ]

    private let axes: [Int]?

    init(_ node: NodeReader) throws {
        axes = node.opset >= 13 || !node.domain.isEmpty ? nil : try node.ints("axes")
        guard axes == nil || !node.hasInput(1) else {
            throw ApusError(.invalidModel, "Unsqueeze of opset \(node.opset) takes 1 input, found 2")
        }
    }

    var parameterInputs: [Int] { axes == nil ? [1] : [] }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let dimensions = try context.shape(0).dimensions
        var axes = axes
        if axes == nil {
            let given = try context.integerVector(1)
            guard given.isPresent else { throw ApusError(.invalidModel, "input 1 (axes) is missing") }
            axes = given.values
        }
        guard let axes else {
            guard let rank = dimensions?.count, let count = try context.shape(1).concrete()?.count,
                count <= InferenceContext.mostElements
            else { return try reshaped(context, nil) }
            return try reshaped(context, [Dimension](repeating: .unknown, count: rank + count))
        }
        guard let dimensions else { return try reshaped(context, nil) }
        let rank = try dimensions.count.adding(axes.count)
        let inserted = Set(try normalizedAxes(axes, rank: rank))
        var rest = dimensions[...]
        return try reshaped(context, (0..<rank).map { inserted.contains($0) ? .known(1) : rest.popFirst() ?? .unknown })
    }
}
