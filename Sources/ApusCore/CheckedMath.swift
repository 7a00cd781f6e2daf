/// Overflow-checked arithmetic for numbers that come from a file or a caller.
extension Int {
    @inlinable
    package func adding(_ other: Int) throws -> Int {
        let (sum, overflow) = addingReportingOverflow(other)
        if overflow { throw ApusError(.invalidValue, "the sum \(self) + \(other) passes 64 bits") }
        return sum
    }

    @inlinable
    package func subtracting(_ other: Int) throws -> Int {
        let (difference, overflow) = subtractingReportingOverflow(other)
        if overflow { throw ApusError(.invalidValue, "the difference \(self) - \(other) passes 64 bits") }
        return difference
    }

    @inlinable
    package func multiplied(by other: Int) throws -> Int {
        let (product, overflow) = multipliedReportingOverflow(by: other)
        if overflow { throw ApusError(.invalidValue, "the product \(self) * \(other) passes 64 bits") }
        return product
    }

    /// This number rounded up to a multiple of `step` (> 0).
    @inlinable
    package func roundedUp(to step: Int) throws -> Int {
        let rest = self % step
        return rest == 0 ? self : try adding(step - rest)
    }
}

/// The product of `factors`, none of which may be negative. Zero wins over overflow.
package func checkedProduct(_ factors: some Sequence<Int>) throws -> Int {
    var product = 1
    var hasZero = false
    var overflowed = false
    for factor in factors {
        guard factor >= 0 else { throw ApusError(.shapeMismatch, "dimension \(factor) is negative") }
        if factor == 0 { hasZero = true }
        let (next, overflow) = product.multipliedReportingOverflow(by: factor)
        overflowed = overflowed || overflow
        product = next
    }
    if hasZero { return 0 }
    guard !overflowed else {
        throw ApusError(.memoryLimit, "a tensor of shape \(Array(factors)) has more elements than memory can hold")
    }
    return product
}

/// `axis` counted from the front for a tensor of `rank` axes; ONNX allows -rank ..< rank.
package func normalizedAxis(_ axis: Int, rank: Int, name: String = "axis") throws -> Int {
    guard axis >= -rank, axis < rank else {
        throw ApusError(.shapeMismatch, "\(name) \(axis) is outside of [\(-rank), \(rank - 1)], the range for rank \(rank)")
    }
    return axis < 0 ? axis + rank : axis
}

/// `axes` counted from the front, each at most once.
package func normalizedAxes(_ axes: [Int], rank: Int, name: String = "axes") throws -> [Int] {
    var seen = Set<Int>()
    return try axes.map {
        let axis = try normalizedAxis($0, rank: rank, name: name)
        guard seen.insert(axis).inserted else { throw ApusError(.shapeMismatch, "\(name) \(axes) names axis \(axis) twice") }
        return axis
    }
}
