import ApusCore
import CApusKernels

/// y[i] = f(x[i]) for i in 0 ..< count; y may be x.
typealias UnaryLoop = @Sendable (_ count: Int, _ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer) -> Void

/// y[i] = f(a[i * aStep], b[i * bStep]) for i in 0 ..< count, steps 0 or 1 and not both 0 unless count is 1; y may be an
/// operand whose step is 1.
typealias BinaryLoop = @Sendable (
    _ count: Int, _ a: UnsafeRawPointer, _ aStep: Int, _ b: UnsafeRawPointer, _ bStep: Int, _ y: UnsafeMutableRawPointer
) -> Void

/// The lists of element types that operators allow.
enum Types {
    static let floats: [ElementType] = [.float32, .float64, .float16, .bfloat16]
    static let signed: [ElementType] = [.int64, .int32, .int16, .int8]
    static let unsigned: [ElementType] = [.uint64, .uint32, .uint16, .uint8]
    static let integers = signed + unsigned
    static let numbers = floats + integers
    static let float8s: [ElementType] = [.float8e4m3fn, .float8e4m3fnuz, .float8e5m2, .float8e5m2fnuz]
}

/// The float32 kernels for a set of levels.
struct FloatKernels: @unchecked Sendable {
    let table: UnsafePointer<apus_elementwise_kernels>

    init(_ levels: UInt32) throws {
        guard let table = apus_elementwise_select(levels) else { throw ApusError(.internal, "no elementwise kernels") }
        self.table = table
    }

    var name: String { table.pointee.name.map { String(cString: $0) } ?? "" }

    func unary(_ op: apus_unary_op) throws -> apus_unary_fn {
        guard let function = apus_elementwise_unary(table, op) else { throw ApusError(.internal, "no kernel for \(op)") }
        return function
    }

    /// The kernel as a loop with fixed parameters.
    func loop(_ op: apus_unary_op, _ parameters: SIMD2<Float> = .zero) throws -> UnaryLoop {
        let function = try unary(op)
        return { count, x, y in
            var parameters = parameters
            withUnsafeBytes(of: &parameters) { bytes in
                function(
                    count, x.assumingMemoryBound(to: Float.self), y.assumingMemoryBound(to: Float.self),
                    bytes.baseAddress?.assumingMemoryBound(to: Float.self))
            }
        }
    }

    /// The kernel for doubles, where there is one.
    func doubles(_ op: apus_unary_op) -> UnaryLoop? {
        guard let function = apus_elementwise_double(table, op) else { return nil }
        return { count, x, y in function(count, x.assumingMemoryBound(to: Double.self), y.assumingMemoryBound(to: Double.self)) }
    }

    func loop(_ op: apus_binary_op) throws -> BinaryLoop {
        guard let both = apus_elementwise_binary(table, op, APUS_VECTOR_VECTOR),
            let right = apus_elementwise_binary(table, op, APUS_VECTOR_SCALAR),
            let left = apus_elementwise_binary(table, op, APUS_SCALAR_VECTOR)
        else { throw ApusError(.internal, "no kernel for \(op)") }
        return { count, a, aStep, b, bStep, y in
            let function = aStep == 0 ? left : bStep == 0 ? right : both
            function(
                count, a.assumingMemoryBound(to: Float.self), b.assumingMemoryBound(to: Float.self),
                y.assumingMemoryBound(to: Float.self))
        }
    }

    /// Integers of 4 or 8 bytes.
    func loop(_ op: apus_integer_op, bytes: Int) throws -> BinaryLoop {
        guard let both = apus_elementwise_integer(table, op, APUS_VECTOR_VECTOR, bytes),
            let right = apus_elementwise_integer(table, op, APUS_VECTOR_SCALAR, bytes),
            let left = apus_elementwise_integer(table, op, APUS_SCALAR_VECTOR, bytes)
        else { throw ApusError(.internal, "no kernel for \(op) of \(bytes) bytes") }
        return { count, a, aStep, b, bStep, y in
            let function = aStep == 0 ? left : bStep == 0 ? right : both
            function(count, a, b, y)
        }
    }
}

// MARK: - 16-bit floats

/// Floats converted at a time; such a block lies on the stack (1 KiB, the most that Swift puts there).
private let blockSize = 256

/// Calls `body` for blocks of elements of `type`, a 16-bit float, as floats that it changes in place.
func forEachBlock(
    _ type: ElementType, _ count: Int, _ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer,
    _ body: (Int, UnsafeMutablePointer<Float>) -> Void
) {
    withUnsafeTemporaryAllocation(of: Float.self, capacity: blockSize) { block in
        guard let block = block.baseAddress else { return }
        for start in stride(from: 0, to: count, by: blockSize) {
            let part = min(blockSize, count - start)
            widen(type, x + 2 * start, block, count: part)
            body(part, block)
            narrow(type, block, y + 2 * start, count: part)
        }
    }
}

/// `loop` over floats as a loop over elements of `type`, a 16-bit float.
func throughFloat32(_ type: ElementType, _ loop: @escaping UnaryLoop) -> UnaryLoop {
    { count, x, y in forEachBlock(type, count, x, y) { loop($0, UnsafeRawPointer($1), $1) } }
}

/// `loop` over floats as a loop over elements of `type`, a 16-bit float; results are of the same type, or bytes.
func throughFloat32(_ type: ElementType, givesBytes: Bool = false, _ loop: @escaping BinaryLoop) -> BinaryLoop {
    { count, a, aStep, b, bStep, y in
        withUnsafeTemporaryAllocation(of: Float.self, capacity: blockSize) { aBlock in
            withUnsafeTemporaryAllocation(of: Float.self, capacity: blockSize) { bBlock in
                guard let aBlock = aBlock.baseAddress, let bBlock = bBlock.baseAddress else { return }
                if aStep == 0 { widen(type, a, aBlock, count: 1) }
                if bStep == 0 { widen(type, b, bBlock, count: 1) }
                for start in stride(from: 0, to: count, by: blockSize) {
                    let part = min(blockSize, count - start)
                    if aStep != 0 { widen(type, a + 2 * start, aBlock, count: part) }
                    if bStep != 0 { widen(type, b + 2 * start, bBlock, count: part) }
                    if givesBytes {
                        loop(part, aBlock, aStep, bBlock, bStep, y + start)
                    } else {
                        // The result takes the place of the operand that has as many elements.
                        let result = aStep != 0 || part == 1 ? aBlock : bBlock
                        let kept = (aBlock[0], bBlock[0])
                        loop(part, aBlock, aStep, bBlock, bStep, result)
                        narrow(type, result, y + 2 * start, count: part)
                        if aStep == 0 { aBlock[0] = kept.0 }
                        if bStep == 0 { bBlock[0] = kept.1 }
                    }
                }
            }
        }
    }
}

// MARK: - Generic loops

/// A function of one number of any type.
protocol ArithmeticFunction: SendableMetatype {
    static func apply<T: Arithmetic>(_ x: T) -> T
}

/// A function of two numbers of one type.
protocol BinaryFunction: SendableMetatype {
    static func apply<T: Arithmetic>(_ a: T, _ b: T) -> T
}

/// A function of two integers of one type.
protocol BinaryIntegerFunction: SendableMetatype {
    static func apply<T: Arithmetic & FixedWidthInteger>(_ a: T, _ b: T) -> T
}

/// A relation between two numbers of one type.
protocol Relation: SendableMetatype {
    static func holds<T: Arithmetic>(_ a: T, _ b: T) -> Bool
}

/// Specialised loops of `F` for a type.
struct UnaryLoopVisitor<F: ArithmeticFunction>: ArithmeticVisitor {
    func visit<T: Arithmetic>(_: T.Type) throws -> UnaryLoop {
        { count, x, y in
            let x = x.assumingMemoryBound(to: T.self), y = y.assumingMemoryBound(to: T.self)
            for index in 0..<count { y[index] = F.apply(x[index]) }
        }
    }
}

@inline(__always)
func forEachPair<T, Result>(
    _ count: Int, _ a: UnsafeRawPointer, _ aStep: Int, _ b: UnsafeRawPointer, _ bStep: Int, _ y: UnsafeMutableRawPointer,
    _ body: (T, T) -> Result
) {
    let a = a.assumingMemoryBound(to: T.self), b = b.assumingMemoryBound(to: T.self)
    let y = y.assumingMemoryBound(to: Result.self)
    if aStep == 0 {
        guard count > 0 else { return }
        let left = a[0]
        for index in 0..<count { y[index] = body(left, b[index &* bStep]) }
    } else if bStep == 0 {
        guard count > 0 else { return }
        let right = b[0]
        for index in 0..<count { y[index] = body(a[index], right) }
    } else {
        for index in 0..<count { y[index] = body(a[index], b[index]) }
    }
}

struct BinaryLoopVisitor<F: BinaryFunction>: ArithmeticVisitor {
    func visit<T: Arithmetic>(_: T.Type) throws -> BinaryLoop {
        { count, a, aStep, b, bStep, y in
            forEachPair(count, a, aStep, b, bStep, y) { (a: T, b: T) -> T in F.apply(a, b) }
        }
    }
}

struct BinaryIntegerLoopVisitor<F: BinaryIntegerFunction>: IntegerVisitor {
    func visit<T: Arithmetic & FixedWidthInteger>(_: T.Type) throws -> BinaryLoop {
        { count, a, aStep, b, bStep, y in
            forEachPair(count, a, aStep, b, bStep, y) { (a: T, b: T) -> T in F.apply(a, b) }
        }
    }
}

/// Loops whose results are bools.
struct RelationLoopVisitor<R: Relation>: ArithmeticVisitor {
    func visit<T: Arithmetic>(_: T.Type) throws -> BinaryLoop {
        { count, a, aStep, b, bStep, y in
            forEachPair(count, a, aStep, b, bStep, y) { (a: T, b: T) -> UInt8 in R.holds(a, b) ? 1 : 0 }
        }
    }
}

// MARK: - Prepared nodes

/// Applies `loop` to input 0, in parallel chunks.
func unaryKernel(_ name: String, count: Int, inputSize: Int, outputSize: Int, _ loop: @escaping UnaryLoop) -> PreparedKernel {
    PreparedKernel(name) { io in
        let x = io.input(0), y = io.output(0)
        io.pool.inChunks(count) { range in
            loop(range.count, x + range.lowerBound &* inputSize, y + range.lowerBound &* outputSize)
        }
    }
}

/// Applies `loop` to inputs 0 and 1, broadcast as `plan` says, in parallel chunks.
func binaryKernel(
    _ name: String, _ plan: BroadcastPlan, sizes: (a: Int, b: Int, output: Int), _ loop: @escaping BinaryLoop
) -> PreparedKernel {
    PreparedKernel(name) { io in
        applyBinary(plan, sizes, io.pool, io.input(0), io.input(1), io.output(0), loop)
    }
}

/// `loop` over broadcast operands; sizes are those of elements in bytes.
func applyBinary(
    _ plan: BroadcastPlan, _ sizes: (a: Int, b: Int, output: Int), _ pool: ThreadPool, _ a: UnsafeRawPointer,
    _ b: UnsafeRawPointer, _ y: UnsafeMutableRawPointer, _ loop: BinaryLoop
) {
    if let repeated = plan.repeatedOperand, (1...128).contains(plan.run), plan.count >= 4096 {
        // A short row for all: some copies of it make longer runs.
        let isA = repeated == 0, size = isA ? sizes.a : sizes.b, row = plan.run, length = 1024 / row * row
        withUnsafeTemporaryAllocation(byteCount: length &* size, alignment: 16) { copies in
            guard let rows = copies.baseAddress else { return }
            for start in stride(from: 0, to: length, by: row) {
                (rows + start &* size).copyMemory(from: isA ? a : b, byteCount: row &* size)
            }
            nonisolated(unsafe) let shared = UnsafeRawPointer(rows)
            pool.inChunks(plan.count) { range in
                var offset = range.lowerBound
                while offset < range.upperBound {
                    let phase = offset % row, count = min(length - phase, range.upperBound - offset)
                    let own = shared + phase &* size
                    loop(
                        count, isA ? own : a + offset &* sizes.a, 1, isA ? b + offset &* sizes.b : own, 1, y + offset &* sizes.output)
                    offset += count
                }
            }
        }
        return
    }
    pool.inChunks(plan.count) { range in
        plan.forEachRun(in: range) { offset, count, starts in
            loop(
                count, a + starts[0] &* sizes.a, plan.steps[0], b + starts[1] &* sizes.b, plan.steps[1],
                y + offset &* sizes.output)
        }
    }
}
