import ApusCore

/// The distinct elements, or slices along an axis, with where each was first found, which one each was, and how often.
struct UniqueOperator: Operator {
    static let schemas = [
        Schema("Unique", since: [11, 28], inputs: 1...1, outputs: 1...4),
        // In order of appearance; it does not tell where that was.
        Schema("Unique", domain: "com.microsoft", since: [1], inputs: 1...1, outputs: 1...3),
    ]

    private let axis: Int?
    private let isSorted: Bool
    /// Which outputs are: first positions, groups of the elements, sizes of the groups; -1: none.
    private let places: Places

    private struct Places: Sendable {
        let firsts: Int
        let groups: Int
        let sizes: Int
    }

    init(_ node: NodeReader) throws {
        let isContributed = !node.domain.isEmpty
        axis = isContributed ? nil : try node.optionalInt("axis")
        isSorted = isContributed ? false : try node.bool("sorted", default: true)
        places = isContributed ? Places(firsts: -1, groups: 1, sizes: 2) : Places(firsts: 1, groups: 2, sizes: 3)
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0)
        if type != .string { _ = try UniqueOperator.part(type).visit(Checking()) }
        var shape = axis == nil ? PartialShape.ofRank(1) : .unknown
        var inverse = PartialShape.ofRank(1)
        if var dimensions = try context.shape(0).dimensions {
            if let axis {
                let axis = try normalizedAxis(axis, rank: dimensions.count)
                inverse = PartialShape([dimensions[axis]])
                dimensions[axis] = .unknown
                shape = PartialShape(dimensions)
            } else {
                inverse = PartialShape([dimensions.reduce(.known(1), *)])
            }
        }
        let vector = ValueInfo(.int64, .ofRank(1))
        let all = [ValueInfo(type, shape)] + (places.firsts < 0 ? [] : [vector]) + [ValueInfo(.int64, inverse), vector]
        return Array(all.prefix(context.outputCount))
    }

    private struct Checking: ElementVisitor {
        func visit<T: Element>(_: T.Type) throws {}
    }

    /// The type of the parts of complex numbers, which are ordered by the real part first; any other type itself.
    private static func part(_ type: ElementType) -> ElementType {
        type == .complex64 ? .float32 : type == .complex128 ? .float64 : type
    }

    /// The input as [outer, count, inner], whose middle axis has the slices that are compared.
    private struct Geometry {
        let shape: Shape
        let axis: Int?
        let outer: Int
        let count: Int
        let inner: Int
        /// Numbers of an element: 2 where it is complex.
        let width: Int

        /// Position of number `part` of slice `slice`.
        @inline(__always)
        func position(_ slice: Int, _ part: Int) -> Int {
            let run = inner &* width
            return run == 0 ? 0 : (part / run &* count &+ slice) &* run &+ part % run
        }
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.type(0)
        let shape = try context.shape(0)
        let axis = try axis.map { try normalizedAxis($0, rank: shape.rank) }
        let geometry = Geometry(
            shape: shape, axis: axis, outer: axis.map { shape.count(0..<$0) } ?? 1, count: axis.map { shape[$0] } ?? shape.count,
            inner: axis.map { shape.count(($0 + 1)...) } ?? 1, width: type == UniqueOperator.part(type) ? 1 : 2)
        let isSorted = isSorted, places = places
        if type == .string {
            return PreparedKernel("unique") { io in
                let elements = try io.value(0).asStrings().elements
                let groups = try UniqueOperator.groups(io, geometry, isSorted, places) { keys in
                    let order = elements.indices.sorted { elements[$0].bytes.lexicographicallyPrecedes(elements[$1].bytes) }
                    var key: UInt64 = 0
                    for (place, index) in order.enumerated() {
                        if place > 0, elements[order[place - 1]].bytes != elements[index].bytes { key += 1 }
                        keys[index] = key
                    }
                }
                let chosen = try UniqueOperator.chosen(geometry, groups)
                try io.setOutput(
                    0, .strings(StringTensor(shape: chosen.shape, elements: chosen.positions.map { elements[$0] })))
            }
        }
        let writeKeys = try UniqueOperator.part(type).visit(KeyVisitor())
        let move = try type.visitBits(Moving())
        return PreparedKernel("unique") { io in
            let elements = io.input(0), count = geometry.shape.count &* geometry.width
            let groups = try UniqueOperator.groups(io, geometry, isSorted, places) { writeKeys(count, elements, $0) }
            let chosen = try UniqueOperator.chosen(geometry, groups)
            move(chosen.positions, elements, try io.makeOutput(0, type, chosen.shape))
        }
    }

    /// Writes a number for each element, ordered as the elements are and equal where they are equal.
    private struct KeyVisitor: ElementVisitor {
        func visit<T: Element>(_: T.Type) throws -> @Sendable (Int, UnsafeRawPointer, UnsafeMutablePointer<UInt64>) -> Void {
            { count, elements, keys in
                let elements = elements.assumingMemoryBound(to: T.self)
                let sign: UInt64 = 1 << 63
                for index in 0..<count {
                    let number = elements[index].number
                    if !T.Number.isFloat {
                        let bits = UInt64(bitPattern: number.int64)
                        keys[index] = T.Number.lowest < T.Number.zero ? bits ^ sign : bits
                    } else if number.isNotANumber {
                        // NaN is one value, greater than all numbers.
                        keys[index] = .max
                    } else {
                        // Both zeros are one value.
                        let bits = number == T.Number.zero ? 0 : number.double.bitPattern
                        keys[index] = bits & sign == 0 ? bits | sign : ~bits
                    }
                }
            }
        }
    }

    private struct Moving: BitsVisitor {
        func visit<T: BitwiseCopyable & Equatable & Sendable>(
            _: T.Type
        ) throws -> @Sendable ([Int], UnsafeRawPointer, UnsafeMutableRawPointer) -> Void {
            { positions, elements, target in
                let elements = elements.assumingMemoryBound(to: T.self), target = target.assumingMemoryBound(to: T.self)
                for (index, position) in positions.enumerated() { target[index] = elements[position] }
            }
        }
    }

    /// The slices' groups, each by its first slice, in the order asked for; writes the other outputs. `writeKeys` writes a number for
    /// each element, by which elements are compared.
    private static func groups(
        _ io: NodeIO, _ geometry: Geometry, _ isSorted: Bool, _ places: Places, _ writeKeys: (UnsafeMutablePointer<UInt64>) -> Void
    ) throws -> [Int] {
        let elements = try geometry.shape.count.multiplied(by: geometry.width)
        let storage = try Storage.allocate(
            byteCount: try elements.multiplied(by: 8), budget: io.budget, purpose: "the order of \(elements) elements")
        defer { withExtendedLifetime(storage) {} }
        let keys = storage.base.assumingMemoryBound(to: UInt64.self)
        writeKeys(keys)
        return try groups(io, geometry, isSorted, places, keys)
    }

    private static func groups(
        _ io: NodeIO, _ geometry: Geometry, _ isSorted: Bool, _ places: Places, _ keys: UnsafePointer<UInt64>
    ) throws -> [Int] {
        let count = geometry.count, parts = geometry.outer * geometry.inner * geometry.width
        let bytes = try count.multiplied(by: 64)
        try io.budget.reserve(bytes, for: "the order of \(count) slices")
        defer { io.budget.release(bytes) }
        func order(_ a: Int, _ b: Int) -> Int {
            for part in 0..<parts {
                let x = keys[geometry.position(a, part)], y = keys[geometry.position(b, part)]
                if x != y { return x < y ? -1 : 1 }
            }
            return 0
        }
        let sorted = parts == 1 ? try sortedByKey(io, count) { keys[geometry.position($0, 0)] } : (0..<count).sorted { a, b in
            let result = order(a, b)
            return result == 0 ? a < b : result < 0
        }
        // Slices that are equal follow one another, the first one first.
        var firsts: [Int] = [], sizes: [Int] = []
        var group = [Int](repeating: 0, count: count)
        for slice in sorted {
            if let first = firsts.last, order(first, slice) == 0 {
                sizes[sizes.count - 1] += 1
            } else {
                firsts.append(slice)
                sizes.append(1)
            }
            group[slice] = firsts.count - 1
        }
        let arranged = isSorted ? Array(firsts.indices) : firsts.indices.sorted { firsts[$0] < firsts[$1] }
        var place = [Int](repeating: 0, count: firsts.count)
        for (position, index) in arranged.enumerated() { place[index] = position }
        func write(_ index: Int, _ numbers: [Int]) throws {
            guard io.hasOutput(index) else { return }
            let target = try io.makeOutput(index, .int64, .vector(numbers.count)).assumingMemoryBound(to: Int64.self)
            for (position, number) in numbers.enumerated() { target[position] = Int64(number) }
        }
        try write(places.firsts, arranged.map { firsts[$0] })
        try write(places.groups, group.map { place[$0] })
        try write(places.sizes, arranged.map { sizes[$0] })
        return arranged.map { firsts[$0] }
    }

    /// The numbers 0 ..< count in the order of their keys, equal keys in their own order: sorted byte by byte, from the last one on,
    /// but for bytes that are the same in all keys.
    private static func sortedByKey(_ io: NodeIO, _ count: Int, _ key: (Int) -> UInt64) throws -> [Int] {
        let storage = try Storage.allocate(
            byteCount: try count.multiplied(by: 32), budget: io.budget, purpose: "the order of \(count) elements")
        return withExtendedLifetime(storage) {
            var from = storage.base.assumingMemoryBound(to: (key: UInt64, index: Int).self), to = from + count
            var common: UInt64 = 0, first: UInt64 = 0
            for index in 0..<count {
                let key = key(index)
                from[index] = (key, index)
                if index == 0 { first = key }
                common |= key ^ first
            }
            withUnsafeTemporaryAllocation(of: Int.self, capacity: 256) { places in
                for shift in stride(from: UInt64(0), to: 64, by: 8) where common >> shift & 0xff != 0 {
                    places.update(repeating: 0)
                    for index in 0..<count { places[Int(truncatingIfNeeded: from[index].key >> shift & 0xff)] &+= 1 }
                    var total = 0
                    for byte in 0..<256 { (places[byte], total) = (total, total &+ places[byte]) }
                    for index in 0..<count {
                        let byte = Int(truncatingIfNeeded: from[index].key >> shift & 0xff)
                        to[places[byte]] = from[index]
                        places[byte] &+= 1
                    }
                    swap(&from, &to)
                }
            }
            return (0..<count).map { from[$0].index }
        }
    }

    /// The shape of output 0, and which element of the input each of its elements is.
    private static func chosen(_ geometry: Geometry, _ groups: [Int]) throws -> (shape: Shape, positions: [Int]) {
        guard let axis = geometry.axis else { return (.vector(groups.count), groups) }
        var dimensions = geometry.shape.dimensions
        dimensions[axis] = groups.count
        var positions: [Int] = []
        for outer in 0..<geometry.outer {
            for slice in groups {
                let first = (outer * geometry.count + slice) * geometry.inner
                positions += first..<(first + geometry.inner)
            }
        }
        return (try Shape(dimensions), positions)
    }
}
