import ApusCore
import CApusKernels

/// How elements are combined to one number.
protocol ReduceFunction: SendableMetatype {
    static func initial<A: Arithmetic>(_: A.Type) -> A
    static func accumulate<A: Arithmetic>(_ sum: A, _ x: A) -> A
    static func merge<A: Arithmetic>(_ a: A, _ b: A) -> A
}

enum SumReduction: ReduceFunction {
    static func initial<A: Arithmetic>(_: A.Type) -> A { A.zero }
    static func accumulate<A: Arithmetic>(_ sum: A, _ x: A) -> A { A.add(sum, x) }
    static func merge<A: Arithmetic>(_ a: A, _ b: A) -> A { A.add(a, b) }
}
enum MagnitudeReduction: ReduceFunction {
    static func initial<A: Arithmetic>(_: A.Type) -> A { A.zero }
    static func accumulate<A: Arithmetic>(_ sum: A, _ x: A) -> A { A.add(sum, A.magnitude(x)) }
    static func merge<A: Arithmetic>(_ a: A, _ b: A) -> A { A.add(a, b) }
}
enum SquareReduction: ReduceFunction {
    static func initial<A: Arithmetic>(_: A.Type) -> A { A.zero }
    static func accumulate<A: Arithmetic>(_ sum: A, _ x: A) -> A { A.add(sum, A.multiply(x, x)) }
    static func merge<A: Arithmetic>(_ a: A, _ b: A) -> A { A.add(a, b) }
}
enum ProductReduction: ReduceFunction {
    static func initial<A: Arithmetic>(_: A.Type) -> A { A.one }
    static func accumulate<A: Arithmetic>(_ sum: A, _ x: A) -> A { A.multiply(sum, x) }
    static func merge<A: Arithmetic>(_ a: A, _ b: A) -> A { A.multiply(a, b) }
}
enum MaxReduction: ReduceFunction {
    static func initial<A: Arithmetic>(_: A.Type) -> A { A.lowest }
    static func accumulate<A: Arithmetic>(_ sum: A, _ x: A) -> A { A.greater(sum, x) }
    static func merge<A: Arithmetic>(_ a: A, _ b: A) -> A { A.greater(a, b) }
}
enum MinReduction: ReduceFunction {
    static func initial<A: Arithmetic>(_: A.Type) -> A { A.highest }
    static func accumulate<A: Arithmetic>(_ sum: A, _ x: A) -> A { A.lesser(sum, x) }
    static func merge<A: Arithmetic>(_ a: A, _ b: A) -> A { A.lesser(a, b) }
}

/// What becomes of the combined number.
enum ReduceFinish: Sendable {
    case none, mean, root, log

    /// `depth`: how many elements were combined.
    @inline(__always)
    func apply<A: Arithmetic>(_ sum: A, _ depth: Int) -> A {
        switch self {
        case .none: sum
        case .mean: A.divide(sum, A.from(integer: depth))
        case .root: A(converting: sum.double.squareRoot())
        case .log: A(converting: Double.log(sum.double))
        }
    }
}

/// Reduces elements of `T` in numbers of `A`: float64 for floats, whose sums are then as good as exact, 64 bits for integers.
typealias ReduceLoop = @Sendable (ReduceGeometry, ThreadPool, UnsafeRawPointer, UnsafeMutableRawPointer) -> Void

/// Columns reduced together: their accumulators lie on the stack.
private let tileWidth = 128

func reduceLoop<F: ReduceFunction, T: Element, A: Arithmetic>(
    _: F.Type, _: T.Type, in _: A.Type, _ finish: ReduceFinish
) -> ReduceLoop {
    { geometry, pool, x, y in
        let x = x.assumingMemoryBound(to: T.self), y = y.assumingMemoryBound(to: T.self)
        let depth = geometry.depth
        geometry.forEachTile(pool, tile: tileWidth) { block, columns in
            let base = x + geometry.blockOffset(block)
            if geometry.innerIsReduced {
                var sum = F.initial(A.self)
                for row in 0..<geometry.rows {
                    sum = F.merge(sum, reduceRun(F.self, A.self, base + geometry.rowOffset(row), geometry.inner))
                }
                y[block] = T(rounding: finish.apply(sum, depth).cast(to: T.Number.self))
                return
            }
            withUnsafeTemporaryAllocation(of: A.self, capacity: tileWidth) { memory in
                guard let sums = memory.baseAddress else { return }
                sums.update(repeating: F.initial(A.self), count: columns.count)
                for row in 0..<geometry.rows {
                    let source = base + geometry.rowOffset(row) + columns.lowerBound
                    for column in 0..<columns.count {
                        sums[column] = F.accumulate(sums[column], source[column].number.cast(to: A.self))
                    }
                }
                let target = y + block &* geometry.width + columns.lowerBound
                for column in 0..<columns.count {
                    target[column] = T(rounding: finish.apply(sums[column], depth).cast(to: T.Number.self))
                }
            }
        }
    }
}

/// Eight accumulators hide the latency of an addition and fill vectors.
@inline(__always)
private func reduceRun<F: ReduceFunction, T: Element, A: Arithmetic>(
    _: F.Type, _: A.Type, _ x: UnsafePointer<T>, _ count: Int
) -> A {
    let start = F.initial(A.self)
    var s0 = start, s1 = start, s2 = start, s3 = start, s4 = start, s5 = start, s6 = start, s7 = start
    var index = 0
    while index &+ 8 <= count {
        s0 = F.accumulate(s0, x[index].number.cast(to: A.self))
        s1 = F.accumulate(s1, x[index &+ 1].number.cast(to: A.self))
        s2 = F.accumulate(s2, x[index &+ 2].number.cast(to: A.self))
        s3 = F.accumulate(s3, x[index &+ 3].number.cast(to: A.self))
        s4 = F.accumulate(s4, x[index &+ 4].number.cast(to: A.self))
        s5 = F.accumulate(s5, x[index &+ 5].number.cast(to: A.self))
        s6 = F.accumulate(s6, x[index &+ 6].number.cast(to: A.self))
        s7 = F.accumulate(s7, x[index &+ 7].number.cast(to: A.self))
        index &+= 8
    }
    while index < count {
        s0 = F.accumulate(s0, x[index].number.cast(to: A.self))
        index &+= 1
    }
    return F.merge(F.merge(F.merge(s0, s4), F.merge(s2, s6)), F.merge(F.merge(s1, s5), F.merge(s3, s7)))
}

/// The logarithm of the sum of exponentials, shifted by the greatest element so that nothing overflows.
struct LogSumExpVisitor: ElementVisitor {
    func visit<T: Element>(_: T.Type) throws -> ReduceLoop {
        { geometry, pool, x, y in
            let x = x.assumingMemoryBound(to: T.self), y = y.assumingMemoryBound(to: T.self)
            geometry.forEachTile(pool, tile: tileWidth) { block, columns in
                let base = x + geometry.blockOffset(block)
                // A run that is reduced is one column of many rows.
                let runs = geometry.innerIsReduced ? geometry.inner : 1
                for column in columns {
                    var greatest = -Double.infinity, sum = 0.0
                    for row in 0..<geometry.rows {
                        let source = base + geometry.rowOffset(row) + (geometry.innerIsReduced ? 0 : column)
                        for index in 0..<runs { greatest = Double.greater(greatest, source[index].number.double) }
                    }
                    let shift = greatest.isFinite ? greatest : 0
                    for row in 0..<geometry.rows {
                        let source = base + geometry.rowOffset(row) + (geometry.innerIsReduced ? 0 : column)
                        for index in 0..<runs { sum += Double.exp(source[index].number.double - shift) }
                    }
                    y[block &* geometry.width + column] = T(rounding: T.Number(converting: Double.log(sum) + shift))
                }
            }
        }
    }
}

/// For functions whose sums may grow: integers are combined in 64 bits, or in the reals where logarithms or roots are taken.
struct GrowingReduceVisitor<F: ReduceFunction>: IntegerVisitor {
    let finish: ReduceFinish

    func visit<T: Arithmetic & FixedWidthInteger>(_: T.Type) throws -> ReduceLoop {
        if finish == .root || finish == .log { return reduceLoop(F.self, T.self, in: Double.self, finish) }
        return T.isSigned ? reduceLoop(F.self, T.self, in: Int64.self, finish) : reduceLoop(F.self, T.self, in: UInt64.self, finish)
    }
}

/// Sums of elements, their squares or magnitudes: by kernels where there are some.
func growingReduceLoop<F: ReduceFunction>(
    _: F.Type, _ op: apus_reduce_op, _ type: ElementType, _ finish: ReduceFinish, levels: UInt32
) throws -> ReduceLoop {
    try kernelReduceLoop(op, type, finish, levels: levels) ?? type.visitInteger(GrowingReduceVisitor<F>(finish: finish))
}

/// The greatest or least of the elements: by kernels where there are some.
func choosingReduceLoop<F: ReduceFunction>(_: F.Type, _ op: apus_reduce_op, _ type: ElementType, levels: UInt32) throws -> ReduceLoop {
    if let loop = kernelReduceLoop(op, type, .none, levels: levels) { return loop }
    return switch type {
    case .uint16: reduceLoop(F.self, UInt16.self, in: UInt16.self, .none)
    case .int16: reduceLoop(F.self, Int16.self, in: Int16.self, .none)
    case .uint32: reduceLoop(F.self, UInt32.self, in: UInt32.self, .none)
    case .uint64: reduceLoop(F.self, UInt64.self, in: UInt64.self, .none)
    default: throw type.unsupported("a number of 8 bits or more")
    }
}

/// Products: floats in double precision, integers in 64 bits.
struct ProductReduceVisitor: ElementVisitor {
    func visit<T: Element>(_: T.Type) throws -> ReduceLoop {
        if T.Number.isFloat { return reduceLoop(ProductReduction.self, T.self, in: Double.self, .none) }
        return T.Number.lowest < T.Number.zero
            ? reduceLoop(ProductReduction.self, T.self, in: Int64.self, .none)
            : reduceLoop(ProductReduction.self, T.self, in: UInt64.self, .none)
    }
}
