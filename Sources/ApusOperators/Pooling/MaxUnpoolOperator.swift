import ApusCore
import ApusGraph

/// Puts values back where MaxPool found them, zeros elsewhere.
struct MaxUnpoolOperator: Operator {
    static let schemas = [Schema("MaxUnpool", since: [9, 11, 22], inputs: 2...3)]

    private let kernel: [Int]
    private let strides: [Int]?
    private let pads: [Int]?

    init(_ node: NodeReader) throws {
        kernel = try node.ints("kernel_shape")
        strides = try node.optionalInts("strides")
        pads = try node.optionalInts("pads")
        guard kernel.allSatisfy({ $0 >= 1 }), (strides ?? []).allSatisfy({ $0 >= 1 }), (pads ?? []).allSatisfy({ $0 >= 0 }) else {
            throw ApusError(.invalidModel, "kernel_shape and strides must be at least 1, pads must not be negative")
        }
    }

    var parameterInputs: [Int] { [2] }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: [.float32, .float16, .bfloat16, .float64])
        _ = try context.type(1, oneOf: [.int64])
        let x = try context.dimensions(0, rank: 3...)
        if let a = try context.shape(0).concrete(), let b = try context.shape(1).concrete(), a != b {
            throw ApusError(.shapeMismatch, "X has shape \(a), the indices have shape \(b); they must be equal")
        }
        if context.has(2) {
            _ = try context.type(2, oneOf: [.int64])
            guard let given = try context.elements(2) else { return [ValueInfo(type, x.map { .ofRank($0.count) } ?? .unknown)] }
            if let rank = x?.count, given.count != rank {
                throw ApusError(.shapeMismatch, "output_shape has \(given.count) elements, X has rank \(rank)")
            }
            if let wrong = given.compactMap(\.known).first(where: { $0 < 0 }) {
                throw ApusError(.invalidValue, "output_shape holds \(wrong)")
            }
            return [ValueInfo(type, PartialShape(given))]
        }
        guard let x else { return [ValueInfo(type, .unknown)] }
        return [ValueInfo(type, PartialShape([x[0], x[1]] + (try pooledFrom(Array(x[2...])))))]
    }

    /// The spatial dimensions that the pool had before it.
    private func pooledFrom(_ x: [Dimension]) throws -> [Dimension] {
        let axes = x.count
        guard kernel.count == axes, strides.map({ $0.count == axes }) ?? true, pads.map({ $0.count == 2 * axes }) ?? true else {
            throw ApusError(.shapeMismatch, "kernel_shape, strides or pads do not fit \(axes) spatial axes")
        }
        return try x.enumerated().map { axis, size -> Dimension in
            let padding = try (pads?[axis] ?? 0).adding(pads?[axis + axes] ?? 0)
            guard let size = size.known else { return .unknown }
            let extent = try (size - 1).multiplied(by: strides?[axis] ?? 1).adding(kernel[axis]).subtracting(padding)
            return .known(max(0, extent))
        }
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        switch try context.type(0) {
        case .float64: try prepare(UInt64.self, context)
        case .float32: try prepare(UInt32.self, context)
        default: try prepare(UInt16.self, context)
        }
    }

    private func prepare<T: FixedWidthInteger>(_: T.Type, _ context: PrepareContext) throws -> any PreparedNode {
        let x = try context.shape(0), output = try context.outputShape(0)
        // Indices count within the shape that was pooled; `output_shape` may be larger.
        let source = try Shape(
            [x[0], x[1]] + pooledFrom(x.dimensions[2...].map(Dimension.known)).map { $0.known ?? 0 })
        let count = x.count, size = output.count, limit = source.count, isSame = source == output
        let from = source.dimensions, to = output.dimensions
        return PreparedKernel("maxunpool") { io in
            let source = io.input(0, as: T.self), places = io.input(1, as: Int64.self), target = io.output(0, as: T.self)
            target.update(repeating: 0, count: size)
            for index in 0..<count {
                let place = places[index]
                guard place >= 0, place < limit else {
                    throw ApusError(.invalidValue, "index \(place) lies outside of the pooled tensor, which has \(limit) elements")
                }
                if isSame {
                    target[Int(place)] = source[index]
                    continue
                }
                var rest = Int(place), offset = 0, scale = 1
                for axis in from.indices.reversed() {
                    let position = rest % from[axis]
                    rest /= from[axis]
                    guard position < to[axis] else {
                        throw ApusError(.invalidValue, "index \(place) lies outside of the output of shape \(to)")
                    }
                    offset += position * scale
                    scale *= to[axis]
                }
                target[offset] = source[index]
            }
        }
    }
}
