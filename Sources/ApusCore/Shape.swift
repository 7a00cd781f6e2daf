/// The concrete shape of a tensor: dimensions ≥ 0 whose product is known to fit an `Int`.
public struct Shape: Hashable, Sendable, CustomStringConvertible {
    public let dimensions: [Int]
    /// Product of the dimensions; 1 for a scalar.
    public let count: Int

    /// Fails where a dimension is negative or the product overflows.
    public init(_ dimensions: [Int]) throws {
        self.dimensions = dimensions
        count = try checkedProduct(dimensions)
    }

    private init(trusted dimensions: [Int], count: Int) {
        self.dimensions = dimensions
        self.count = count
    }

    public static let scalar = Shape(trusted: [], count: 1)

    /// The shape [count] of a vector; a negative count becomes 0.
    package static func vector(_ count: Int) -> Shape {
        Shape(trusted: [max(0, count)], count: max(0, count))
    }

    public var rank: Int { dimensions.count }

    @inlinable
    package subscript(_ axis: Int) -> Int { dimensions[axis] }

    public var description: String { "[" + dimensions.map(String.init).joined(separator: ",") + "]" }

    /// Row-major strides in elements. (They cannot overflow where the count does not, except beside a zero dimension.)
    package var strides: [Int] {
        var strides = [Int](repeating: 1, count: rank)
        var stride = 1
        for axis in dimensions.indices.reversed() {
            strides[axis] = stride
            stride = stride &* max(dimensions[axis], 1)
        }
        return strides
    }

    /// Product of the dimensions in `range`, which must lie within the rank.
    package func count(_ range: some RangeExpression<Int>) -> Int {
        let range = range.relative(to: dimensions.indices)
        // A part of a product that fits may only overflow beside a zero: the value is then never used as a size.
        return dimensions[range].reduce(1) { $0 &* $1 }
    }

    /// The shape that ONNX's multidirectional broadcasting gives, or an error that shows all shapes.
    package static func broadcast(_ shapes: [Shape]) throws -> Shape {
        let rank = shapes.map(\.rank).max() ?? 0
        var result = [Int](repeating: 1, count: rank)
        for shape in shapes {
            for (axis, dimension) in shape.dimensions.enumerated() {
                let target = axis + rank - shape.rank
                if dimension == result[target] || dimension == 1 { continue }
                guard result[target] == 1 else {
                    throw ApusError(.shapeMismatch, "shapes \(shapes.map(\.description).joined(separator: " and ")) cannot be broadcast")
                }
                result[target] = dimension
            }
        }
        return try Shape(result)
    }

    /// Strides (in elements, 0 on broadcast axes) that read this shape as if it had been broadcast to `target`.
    /// `target` must be a broadcast result of this shape.
    package func broadcastStrides(to target: Shape) -> [Int] {
        var result = [Int](repeating: 0, count: target.rank)
        let own = strides
        for axis in dimensions.indices where dimensions[axis] != 1 {
            result[axis + target.rank - rank] = own[axis]
        }
        return result
    }
}
