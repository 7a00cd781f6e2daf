/// Elements of less than 8 bits, packed as `ElementType.bitWidth` says.
package enum PackedElements {
    /// Sets element `index` to the low `bitWidth` bits of `value`. The element's bits must be zero before; it must lie
    /// within `bytes`.
    @inlinable
    package static func store(_ value: UInt8, at index: Int, bitWidth: Int, in bytes: UnsafeMutableRawBufferPointer) {
        let bit = index * bitWidth
        let wide = (UInt16(value) & (1 << UInt16(bitWidth) - 1)) << UInt16(bit % 8)
        bytes[bit / 8] |= UInt8(truncatingIfNeeded: wide)
        if wide > 0xFF { bytes[bit / 8 + 1] |= UInt8(wide >> 8) }
    }

    /// Element `index`, in the low bits.
    @inlinable
    package static func load(at index: Int, bitWidth: Int, in bytes: UnsafeRawBufferPointer) -> UInt8 {
        let bit = index * bitWidth
        var wide = UInt16(bytes[bit / 8])
        if bit % 8 + bitWidth > 8 { wide |= UInt16(bytes[bit / 8 + 1]) << 8 }
        return UInt8(truncatingIfNeeded: (wide >> UInt16(bit % 8)) & (1 << UInt16(bitWidth) - 1))
    }
}

extension SparseTensor {
    /// The row-major position of each value. Throws `code` where the tensor contradicts itself: values that are no
    /// vector, indices of another shape than [count] or [count, rank], outside of the shape, or not in ascending order.
    package func linearPositions(_ code: ApusError.Code = .invalidModel) throws -> [Int] {
        guard let stored = values.shape, stored.rank == 1 else {
            throw ApusError(code, "the values of a sparse tensor must be a vector, not \(values.type)")
        }
        let count = stored.count
        let numbers = try indices.integers()
        let isLinear = indices.shape.rank == 1
        guard indices.shape.dimensions == (isLinear ? [count] : [count, shape.rank]) else {
            throw ApusError(
                code,
                "the indices of \(count) values of a sparse tensor of rank \(shape.rank) have shape \(indices.shape), "
                    + "expected [\(count)] or [\(count),\(shape.rank)]")
        }
        let strides = shape.strides
        var positions: [Int] = []
        positions.reserveCapacity(count)
        for row in 0..<count {
            var position = 0
            if isLinear {
                position = numbers[row]
                guard position >= 0, position < shape.count else { throw outside("\(position)", code) }
            } else {
                for axis in 0..<shape.rank {
                    let index = numbers[row * shape.rank + axis]
                    guard index >= 0, index < shape[axis] else { throw outside("\(index) on axis \(axis)", code) }
                    // Within a shape whose count fits, when no dimension is 0, which the check above excludes.
                    position += index * strides[axis]
                }
            }
            if let last = positions.last, position <= last {
                throw ApusError(code, "the indices of a sparse tensor must ascend, but \(position) follows \(last)")
            }
            positions.append(position)
        }
        return positions
    }

    private func outside(_ index: String, _ code: ApusError.Code) -> ApusError {
        ApusError(code, "the sparse tensor's index \(index) is outside of shape \(shape)")
    }

    /// The same elements as a dense tensor; the others are zero, or empty strings.
    package func densified(budget: MemoryBudget) throws -> Value {
        let positions = try linearPositions()
        if case .strings(let stored) = values {
            let bytes = try shape.count.multiplied(by: MemoryLayout<ByteString>.stride)
            // Strings are no planned memory; that there is room for them is seen before they are made.
            try budget.reserve(bytes, for: "\(shape.count) strings")
            defer { budget.release(bytes) }
            var elements = [ByteString](repeating: .empty, count: shape.count)
            for (row, position) in positions.enumerated() { elements[position] = stored.elements[row] }
            return .strings(try StringTensor(shape: shape, elements: elements))
        }
        let values = try values.asTensor()
        let dense = try Tensor.allocate(values.type, shape, budget: budget)
        dense.pointer.initializeMemory(as: UInt8.self, repeating: 0, count: dense.byteCount)
        if let width = values.type.byteWidth {
            for (row, position) in positions.enumerated() {
                (dense.pointer + position * width).copyMemory(from: values.pointer + row * width, byteCount: width)
            }
        } else {
            let source = UnsafeRawBufferPointer(start: values.pointer, count: values.byteCount)
            let target = UnsafeMutableRawBufferPointer(start: dense.pointer, count: dense.byteCount)
            let width = values.type.bitWidth
            for (row, position) in positions.enumerated() {
                let element = PackedElements.load(at: row, bitWidth: width, in: source)
                PackedElements.store(element, at: position, bitWidth: width, in: target)
            }
        }
        return .tensor(dense)
    }
}
