import ApusCore

/// Takes, along some axes, every `step`-th element between a start and an end.
struct SliceOperator: Operator {
    static let schemas = [Schema("Slice", since: [1, 10, 11, 13], inputs: 1...5)]

    private struct Ranges {
        let starts: [Int]
        let ends: [Int]
        let axes: [Int]?
    }

    /// Before opset 10; inputs since.
    private let attributes: Ranges?

    init(_ node: NodeReader) throws {
        guard node.opset < 10 else {
            attributes = nil
            return
        }
        guard node.inputCount == 1 else {
            throw ApusError(.invalidModel, "Slice of opset \(node.opset) takes 1 input, found \(node.inputCount)")
        }
        attributes = Ranges(starts: try node.ints("starts"), ends: try node.ints("ends"), axes: try node.optionalInts("axes"))
    }

    var parameterInputs: [Int] { attributes == nil ? [1, 2, 3, 4] : [] }

    /// What is cut along one axis; `start` and `end` as given.
    private struct Cut {
        let axis: Int
        let start: Dimension
        let end: Dimension
        let step: Dimension
    }

    /// The cuts for an input of `rank` axes, or nil where it is not known yet which axes are cut.
    private func cuts(rank: Int, _ input: (Int) throws -> [Dimension]?, _ has: (Int) -> Bool) throws -> [Cut]? {
        let starts: [Dimension], ends: [Dimension]
        var axes: [Int]?
        var steps: [Dimension]?
        if let attributes {
            starts = attributes.starts.map(Dimension.known)
            ends = attributes.ends.map(Dimension.known)
            axes = attributes.axes
        } else {
            let start = try input(1), end = try input(2)
            guard let count = start?.count ?? end?.count else { return nil }
            starts = start ?? [Dimension](repeating: .unknown, count: count)
            ends = end ?? [Dimension](repeating: .unknown, count: count)
            if has(3) {
                guard let known = try input(3)?.map(\.known) else { return nil }
                let numbers = known.compactMap { $0 }
                guard numbers.count == known.count else { return nil }
                axes = numbers
            }
            if has(4) { steps = try input(4) ?? [Dimension](repeating: .unknown, count: count) }
        }
        let names = axes ?? Array(0..<starts.count)
        guard starts.count == ends.count, names.count == starts.count, steps == nil || steps?.count == starts.count else {
            throw ApusError(
                .shapeMismatch,
                "starts (\(starts.count)), ends (\(ends.count)), axes (\(names.count)) and steps (\(steps?.count ?? starts.count)) must have one length")
        }
        let normalized = try normalizedAxes(names, rank: rank)
        return normalized.indices.map {
            Cut(axis: normalized[$0], start: starts[$0], end: ends[$0], step: steps?[$0] ?? .known(1))
        }
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0)
        if attributes == nil {
            for index in 1...2 { _ = try context.type(index, oneOf: [.int32, .int64]) }
            for index in 3...4 where context.has(index) { _ = try context.type(index, oneOf: [.int32, .int64]) }
        }
        guard var dimensions = try context.shape(0).dimensions else { return [ValueInfo(type, .unknown)] }
        guard let cuts = try cuts(rank: dimensions.count, context.smallElementsOrUnknown, context.has) else {
            return [ValueInfo(type, .ofRank(dimensions.count))]
        }
        var elements = dimensions.count == 1 ? try context.smallElements(0) : nil
        for cut in cuts {
            if let known = elements {
                if let start = cut.start.known, let end = cut.end.known, let step = cut.step.known {
                    let range = try SliceRange(start: start, end: end, step: step, size: known.count)
                    elements = (0..<range.count).map { known[range.start + $0 * range.step] }
                } else {
                    elements = nil
                }
            }
            dimensions[cut.axis] = try SliceOperator.size(dimensions[cut.axis], cut)
        }
        return [ValueInfo(type, PartialShape(dimensions), elements: elements)]
    }

    /// How many elements of an axis of size `size` the cut leaves, where that can be said for certain.
    private static func size(_ size: Dimension, _ cut: Cut) throws -> Dimension {
        if cut.step == .known(0) { throw ApusError(.invalidValue, "the step of axis \(cut.axis) is 0") }
        if let known = size.known, let start = cut.start.known, let end = cut.end.known, let step = cut.step.known {
            return .known(try SliceRange(start: start, end: end, step: step, size: known).count)
        }
        // Exporters write "to the end" as one of these.
        func isEnd(_ value: Dimension) -> Bool { value == size || value.known.map { $0 >= Int(Int32.max) } ?? false }
        func isBeginning(_ value: Dimension) -> Bool { value.known.map { $0 == 0 || $0 <= -Int(Int32.max) } ?? false }
        if cut.step == .known(-1), isEnd(cut.start) || cut.start == .known(-1), cut.end.known.map({ $0 <= -Int(Int32.max) }) ?? false {
            return size
        }
        guard let step = cut.step.known, step > 0, size != .unknown else { return .unknown }
        // The start or end as a position between 0 and `size`.
        func position(_ value: Dimension) -> Dimension {
            if isEnd(value) { return size }
            if isBeginning(value) { return .known(0) }
            if let known = value.known {
                return known < 0 ? .maximum(size + value, .known(0)) : size + value - .maximum(size, value)
            }
            // size - k: counted from the end, whatever the size.
            if let distance = (size - value).known, distance > 0 { return .maximum(value, .known(0)) }
            return .unknown
        }
        let start = position(cut.start), end = position(cut.end)
        if start == .known(0), end == size { return (size + .known(step - 1)).floorDivided(by: .known(step)) }
        guard step == 1 else { return .unknown }
        if end == size || start == .known(0) { return end - start }
        return .unknown
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.type(0)
        let shape = try context.shape(0)
        let output = try context.outputShape(0)
        let cuts = try cuts(rank: shape.rank, { try context.integers($0)?.map(Dimension.known) }, context.has) ?? []
        var strides = shape.strides
        var offset = 0
        for cut in cuts {
            guard let start = cut.start.known, let end = cut.end.known, let step = cut.step.known else {
                throw ApusError(.internal, "the range of axis \(cut.axis) is not known")
            }
            let range = try SliceRange(start: start, end: end, step: step, size: shape[cut.axis])
            guard range.count == output[cut.axis] else { throw ApusError(.internal, "the size of axis \(cut.axis) has changed") }
            offset = offset &+ range.start &* strides[cut.axis]
            strides[cut.axis] = strides[cut.axis] &* range.step
        }
        let copy = StridedCopy(toContiguous: output.dimensions, source: strides, sourceStart: offset, width: context.movedWidth(type))
        return try context.movement("slice", type, inputs: [0]) { access in
            copy.run(from: access.input(0), to: access.output(0), pool: access.io.pool)
        }
    }
}

/// A start, end and step as ONNX and NumPy understand them for an axis of a given size.
struct SliceRange {
    /// Position of the first element; 0 where there is none.
    let start: Int
    /// From one element to the next; 0 where there are fewer than two.
    let step: Int
    let count: Int

    init(start: Int, end: Int, step: Int, size: Int) throws {
        guard step != 0 else { throw ApusError(.invalidValue, "a step is 0") }
        // A size is never negative, so these sums cannot overflow.
        let lowest = step > 0 ? 0 : -1
        let highest = step > 0 ? size : size - 1
        let first = max(lowest, min(highest, start < 0 ? start + size : start))
        let last = max(lowest, min(highest, end < 0 ? end + size : end))
        let span = step > 0 ? last - first : first - last
        guard span > 0 else {
            self.start = 0
            self.step = 0
            count = 0
            return
        }
        self.start = first
        count = Int((UInt(span) - 1) / step.magnitude) + 1
        self.step = count > 1 ? step : 0
    }
}
