import ApusCore

/// Where the kernel of an operator that only moves elements finds them, as elements of a whole number of bytes.
///
/// Types below 8 bits are spread to one byte an element before the kernel runs and packed again after it; strings are
/// replaced by their numbers, 0 standing for the empty string. A moving kernel so needs to know nothing but `width`.
struct ElementAccess {
    let io: NodeIO
    /// Bytes of one element.
    let width: Int
    fileprivate let staging: Staging?

    /// The elements of data input `index` (its number among the node's inputs).
    @inline(__always)
    func input(_ index: Int) -> UnsafeRawPointer {
        guard let staging, let offset = staging.inputOffset(index) else { return io.input(index) }
        return UnsafeRawPointer(io.workspace + offset)
    }

    @inline(__always)
    func output(_ index: Int) -> UnsafeMutableRawPointer {
        guard let staging, let offset = staging.outputOffset(index) else { return io.output(index) }
        return io.workspace + offset
    }

    /// The part of the workspace that the kernel asked for.
    var workspace: UnsafeMutableRawPointer { io.workspace + (staging?.byteCount ?? 0) }
}

/// The places in the workspace of elements that cannot be moved as they are.
private final class Staging: Sendable {
    struct Place: Sendable {
        let index: Int
        let shape: Shape
        let offset: Int
    }

    let inputs: [Place]
    let outputs: [Place]
    /// A multiple of 64.
    let byteCount: Int

    init(width: Int, inputs: [(Int, Shape)], outputs: [(Int, Shape)]) throws {
        var end = 0
        func place(_ item: (index: Int, shape: Shape)) throws -> Place {
            let place = Place(index: item.index, shape: item.shape, offset: end)
            end = try end.adding(try item.shape.count.multiplied(by: width)).roundedUp(to: 64)
            return place
        }
        self.inputs = try inputs.map(place)
        self.outputs = try outputs.map(place)
        byteCount = end
    }

    func inputOffset(_ index: Int) -> Int? {
        for place in inputs where place.index == index { return place.offset }
        return nil
    }

    func outputOffset(_ index: Int) -> Int? {
        for place in outputs where place.index == index { return place.offset }
        return nil
    }
}

extension PrepareContext {
    /// Bytes of one element of `type` as a moving kernel sees it.
    func movedWidth(_ type: ElementType) -> Int {
        type == .string ? MemoryLayout<Int>.stride : type.byteWidth ?? 1
    }

    /// A prepared node that moves elements from the data inputs `inputs` to the outputs `outputs`, all of `type` and of
    /// known shape, by `body`. `workspace`: bytes that `body` uses for itself.
    func movement(
        _ name: String, _ type: ElementType, inputs: [Int], outputs: [Int] = [0], workspace: Int = 0,
        _ body: @escaping (ElementAccess) throws -> Void
    ) throws -> any PreparedNode {
        let width = movedWidth(type)
        if type.byteWidth != nil {
            return PreparedKernel(name, workspace: workspace) { io in
                try body(ElementAccess(io: io, width: width, staging: nil))
            }
        }
        let staging = try Staging(
            width: width, inputs: try inputs.map { ($0, try shape($0)) },
            outputs: try outputs.map { ($0, try outputShape($0)) })
        let total = try staging.byteCount.adding(workspace)
        if type == .string {
            return PreparedKernel(name, workspace: total) { io in
                let sources = try Strings.number(io, staging)
                try body(ElementAccess(io: io, width: width, staging: staging))
                try Strings.collect(io, staging, sources)
            }
        }
        let bits = type.bitWidth
        return PreparedKernel(name, workspace: total) { io in
            for place in staging.inputs {
                unpackBits(io.input(place.index), bits, count: place.shape.count, to: io.workspace + place.offset)
            }
            try body(ElementAccess(io: io, width: width, staging: staging))
            for place in staging.outputs where io.hasOutput(place.index) {
                packBits(io.workspace + place.offset, bits, count: place.shape.count, to: io.output(place.index))
            }
        }
    }
}

/// Strings in the guise of numbers.
private enum Strings {
    /// Numbers the elements of all inputs from 1, one input after the other.
    static func number(_ io: NodeIO, _ staging: Staging) throws -> [StringTensor] {
        var next = 1
        return try staging.inputs.map { place in
            let strings = try io.value(place.index).asStrings()
            let numbers = (io.workspace + place.offset).assumingMemoryBound(to: Int.self)
            for position in 0..<min(place.shape.count, strings.elements.count) {
                numbers[position] = next
                next += 1
            }
            return strings
        }
    }

    /// Makes the outputs that the numbers in their places stand for.
    static func collect(_ io: NodeIO, _ staging: Staging, _ sources: [StringTensor]) throws {
        let all = sources.count == 1 ? sources[0].elements : sources.flatMap(\.elements)
        for place in staging.outputs where io.hasOutput(place.index) {
            let numbers = UnsafeRawPointer(io.workspace + place.offset).assumingMemoryBound(to: Int.self)
            let elements = (0..<place.shape.count).map { position in
                all.indices.contains(numbers[position] - 1) ? all[numbers[position] - 1] : ByteString.empty
            }
            try io.setOutput(place.index, .strings(StringTensor(shape: place.shape, elements: elements)))
        }
    }
}

// MARK: - Packed elements

/// Spreads `count` elements of `bits` (2, 4 or 6) bits, packed from the low bits up, to a byte each.
func unpackBits(_ source: UnsafeRawPointer, _ bits: Int, count: Int, to target: UnsafeMutableRawPointer) {
    let source = source.assumingMemoryBound(to: UInt8.self)
    let target = target.assumingMemoryBound(to: UInt8.self)
    let mask = UInt16(1) << UInt16(bits) &- 1
    for index in 0..<count {
        let bit = index &* bits
        let shift = bit & 7
        var word = UInt16(source[bit >> 3])
        if shift + bits > 8 { word |= UInt16(source[(bit >> 3) &+ 1]) << 8 }
        target[index] = UInt8(truncatingIfNeeded: (word >> UInt16(shift)) & mask)
    }
}

/// The opposite of `unpackBits`; bits beyond the last element are zero.
func packBits(_ source: UnsafeRawPointer, _ bits: Int, count: Int, to target: UnsafeMutableRawPointer) {
    let source = source.assumingMemoryBound(to: UInt8.self)
    let target = target.assumingMemoryBound(to: UInt8.self)
    let mask = UInt32(1) << UInt32(bits) &- 1
    var pending: UInt32 = 0
    var filled = 0
    var written = 0
    for index in 0..<count {
        pending |= (UInt32(source[index]) & mask) << UInt32(filled)
        filled &+= bits
        if filled >= 8 {
            target[written] = UInt8(truncatingIfNeeded: pending)
            written &+= 1
            pending >>= 8
            filled &-= 8
        }
    }
    if filled > 0 { target[written] = UInt8(truncatingIfNeeded: pending) }
}

// MARK: - Raw elements

/// Something to do once for elements of each width.
protocol WidthVisitor {
    func visit<Element: BitwiseCopyable>(_: Element.Type)
}

/// Calls the visitor with an unsigned type of `width` bytes; false where there is none.
@discardableResult
@inline(__always)
func withWidth(_ width: Int, _ visitor: some WidthVisitor) -> Bool {
    switch width {
    case 1: visitor.visit(UInt8.self)
    case 2: visitor.visit(UInt16.self)
    case 4: visitor.visit(UInt32.self)
    case 8: visitor.visit(UInt64.self)
    case 16: visitor.visit(Bits128.self)
    default: return false
    }
    return true
}

private struct Filling: WidthVisitor {
    let target: UnsafeMutableRawPointer
    let count: Int
    let element: UnsafeRawPointer

    func visit<Element: BitwiseCopyable>(_: Element.Type) {
        let value = element.loadUnaligned(as: Element.self)
        let target = target.assumingMemoryBound(to: Element.self)
        for index in 0..<count { target[index] = value }
    }
}

/// Writes `count` copies of the `width` bytes at `element`.
func fill(_ target: UnsafeMutableRawPointer, count: Int, width: Int, with element: UnsafeRawPointer) {
    withWidth(width, Filling(target: target, count: count, element: element))
}

// MARK: - Small integer tensors

extension InferenceContext {
    /// More elements than this are never followed symbolically.
    static var mostElements: Int { 1024 }

    /// What is known of the elements of an integer tensor of rank 0 or 1, where it is small.
    func smallElements(_ index: Int) throws -> [Dimension]? {
        guard let info = optional(index), case .tensor(let type, let shape) = info.type, type == .int64 || type == .int32
        else { return nil }
        if let constant = info.constant?.shape {
            guard constant.rank <= 1, constant.count <= Self.mostElements else { return nil }
            return try elements(index)
        }
        guard let rank = shape.rank, rank <= 1 else { return nil }
        return info.elements
    }

    /// The same, with unknown elements where nothing but their number is known.
    func smallElementsOrUnknown(_ index: Int) throws -> [Dimension]? {
        if let elements = try smallElements(index) { return elements }
        guard let info = optional(index), case .tensor(let type, let shape) = info.type, type == .int64 || type == .int32,
            let dimensions = shape.dimensions, dimensions.count <= 1
        else { return nil }
        guard let length = dimensions.first else { return [.unknown] }
        guard let count = length.known, count >= 0, count <= Self.mostElements else { return nil }
        return [Dimension](repeating: .unknown, count: count)
    }

    /// The dimensions that a parameter input of rank 1 gives: as far as its elements are known, unknown ones where only their
    /// number is, nil where not even that. Throws unless it is an int64 (or, with `allowsInt32`, int32) vector.
    func dimensionsParameter(_ index: Int, allowsInt32: Bool = false) throws -> [Dimension]? {
        _ = try type(index, oneOf: allowsInt32 ? [.int64, .int32] : [.int64])
        let shape = try shape(index)
        if let rank = shape.rank, rank != 1 {
            throw ApusError(.shapeMismatch, "input \(index) must be a vector, found shape \(shape)")
        }
        if let constant = try integers(index) { return constant.map(Dimension.known) }
        if let elements = optional(index)?.elements { return elements }
        guard let length = shape.dimensions?.first?.known, length >= 0, length <= Self.mostElements else { return nil }
        return [Dimension](repeating: .unknown, count: length)
    }

    /// The integers of an optional parameter input: nil where it is left out, and where its contents are not known yet.
    func integerVector(_ index: Int, allowsInt32: Bool = true) throws -> (isPresent: Bool, values: [Int]?) {
        guard has(index) else { return (false, nil) }
        _ = try type(index, oneOf: allowsInt32 ? [.int64, .int32] : [.int64])
        let shape = try shape(index)
        if let rank = shape.rank, rank > 1 {
            throw ApusError(.shapeMismatch, "input \(index) must be a vector, found shape \(shape)")
        }
        return (true, try integers(index))
    }
}

extension ApusError {
    static func outOfRange(_ index: Int, _ dimension: Int, _ what: String = "index") -> ApusError {
        ApusError(.invalidValue, "\(what) \(index) is outside of [\(dimension == 0 ? 0 : -dimension), \(dimension - 1)]")
    }
}
