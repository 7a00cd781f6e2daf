import CApusKernels
import TestSupport

/// Small reproducible values: xorshift, mapped to [-1, 1).
struct RandomFloats {
    private var state: UInt64

    init(seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 | 1 }

    mutating func next() -> Float {
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        return Float(Int32(truncatingIfNeeded: state >> 32)) / 2_147_483_648
    }

    mutating func array(_ count: Int) -> [Float] { (0..<count).map { _ in next() } }
}

/// How A is handed to the product.
enum SgemmForm: CaseIterable, Sendable {
    case dense
    case transposed
    case indirect
    case windowed
}

/// One product and its scalar reference in double precision, of which every smaller m and n is a corner.
struct SgemmProblem {
    let m, n, k, taps: Int
    /// A by tap: `a[(row * taps + tap) * k + i]`; rows under a padding tap are zeros.
    var a: [Float]
    var padded: [Bool]
    /// `b[(tap * k + i) * n + column]`
    var b: [Float]
    let bias: [Float]
    let residual: [Float]
    let before: [Float]

    init(m: Int, n: Int, k: Int, taps: Int, padding: Bool, seed: UInt64) {
        (self.m, self.n, self.k, self.taps) = (m, n, k, taps)
        var random = RandomFloats(seed: seed)
        a = random.array(m * taps * k)
        b = random.array(taps * k * n)
        bias = random.array(n)
        residual = random.array(m * n)
        before = random.array(m * n)
        padded = (0..<m * taps).map { padding && $0 % 5 == 3 }
        for (row, isPadding) in padded.enumerated() where isPadding {
            for i in 0..<k { a[row * k + i] = 0 }
        }
    }

    /// The plain product, and the sum of the magnitudes of its terms.
    func reference() -> (sums: [Double], magnitudes: [Double]) {
        var sums = [Double](repeating: 0, count: m * n)
        var magnitudes = sums
        let depth = taps * k
        a.withUnsafeBufferPointer { a in
            b.withUnsafeBufferPointer { b in
                sums.withUnsafeMutableBufferPointer { sums in
                    magnitudes.withUnsafeMutableBufferPointer { magnitudes in
                        for row in 0..<m {
                            for i in 0..<depth {
                                let left = Double(a[row * depth + i])
                                for column in 0..<n {
                                    let term = left * Double(b[i * n + column])
                                    sums[row * n + column] += term
                                    magnitudes[row * n + column] += abs(term)
                                }
                            }
                        }
                    }
                }
            }
        }
        return (sums, magnitudes)
    }

    /// What a float sum may differ by: rounding errors of `depth` additions, in the usual case far from all in one direction.
    func tolerance(_ magnitude: Double) -> Double {
        (4 + 2 * Double(taps * k).squareRoot()) * magnitude / 16_777_216
    }

    /// Packed B of the first `n` columns.
    func packed(for kernel: UnsafePointer<apus_sgemm_kernel>, n columns: Int, guarding edge: GuardedBuffer<Float>.Edge = .end)
        -> GuardedBuffer<Float>
    {
        let packed = GuardedBuffer<Float>(count: apus_sgemm_packed_size(kernel, taps, k, columns), guarding: edge)
        // Only the first `columns` columns exist for the kernel: the last element is the last of the buffer.
        var source = [Float]()
        source.reserveCapacity(taps * k * columns)
        for i in 0..<taps * k { source += b[i * n..<i * n + columns] }
        let guarded = GuardedBuffer(source, guarding: edge)
        var arguments = apus_sgemm_b(
            b: guarded.constant, taps: taps, k: k, n: columns, tap_stride: k * columns, k_stride: columns, n_stride: 1)
        apus_sgemm_pack_b(kernel, &arguments, packed.pointer, 0, apus_sgemm_panels(kernel, columns))
        return packed
    }
}

/// The memory of one call: tight guarded buffers for the first `m` rows and `n` columns of a problem.
final class SgemmCall {
    let kernel: UnsafePointer<apus_sgemm_kernel>
    let m, n: Int
    var arguments = apus_sgemm_args()
    let c: GuardedBuffer<Float>
    private let a, zero, packed, bias, residual: GuardedBuffer<Float>
    private let table: GuardedBuffer<Int>?
    private let offsets: GuardedBuffer<Int>?
    private let workspace: GuardedBuffer<UInt8>

    init(
        _ problem: SgemmProblem, kernel: UnsafePointer<apus_sgemm_kernel>, m: Int, n: Int, form: SgemmForm,
        packed: GuardedBuffer<Float>? = nil, edge: GuardedBuffer<Float>.Edge = .end, withBias: Bool = true,
        withResidual: Bool = false, cPitch: Int = 0, widen: (apus_to_f32_fn, size: Int)? = nil
    ) {
        (self.kernel, self.m, self.n) = (kernel, m, n)
        let (k, taps) = (problem.k, problem.taps)
        self.packed = packed ?? problem.packed(for: kernel, n: n, guarding: edge)
        zero = GuardedBuffer([Float](repeating: 0, count: k), guarding: edge)
        bias = GuardedBuffer(problem.bias.prefix(n), guarding: edge)
        var rows = [Float]()
        for row in 0..<(withResidual ? m : 0) { rows += problem.residual[row * problem.n..<row * problem.n + n] }
        residual = GuardedBuffer(rows, guarding: edge)
        let pitch = n + cPitch
        c = GuardedBuffer(count: m == 0 ? 0 : (m - 1) * pitch + n, guarding: edge)
        for row in 0..<m {
            for column in 0..<pitch where row * pitch + column < c.count {
                c[row * pitch + column] = column < n ? problem.before[row * problem.n + column] : 12345
            }
        }
        offsets = form == .windowed ? GuardedBuffer((0..<taps).map { (taps - 1 - $0) * m * k }, guarding: edge == .end ? .end : .start) : nil
        switch form {
        case .dense:
            precondition(taps == 1)
            a = GuardedBuffer(problem.a.prefix(m * k), guarding: edge)
            table = nil
            (arguments.a_row_stride, arguments.a_k_stride) = (k, 1)
        case .transposed:
            precondition(taps == 1)
            a = GuardedBuffer(count: m * k, guarding: edge)
            for row in 0..<m { for i in 0..<k { a[i * m + row] = problem.a[row * k + i] } }
            table = nil
            (arguments.a_row_stride, arguments.a_k_stride) = (1, m)
        case .indirect:
            // Rows that are no padding, in reverse order: the table decides, not the memory.
            let present = (0..<m * taps).filter { !problem.padded[$0] }.reversed()
            var where_ = [Int](repeating: APUS_PADDING, count: m * taps)
            var values = [Float]()
            for entry in present {
                where_[entry] = values.count
                values += problem.a[entry * k..<(entry + 1) * k]
            }
            a = GuardedBuffer(values, guarding: edge)
            table = GuardedBuffer(where_, guarding: edge == .end ? .end : .start)
        case .windowed:
            // The taps one after the other, last first; padding is there as zeros.
            var runs = [Float]()
            for tap in (0..<taps).reversed() {
                for row in 0..<m {
                    let first = (row * taps + tap) * k
                    runs += problem.a[first..<first + k]
                }
            }
            a = GuardedBuffer(runs, guarding: edge)
            table = nil
            (arguments.a_row_stride, arguments.a_k_stride) = (k, 1)
        }
        arguments.m = m
        arguments.n = n
        arguments.k = k
        arguments.taps = taps
        arguments.a = a.constant
        arguments.a_table = table?.constant
        arguments.a_offsets = offsets?.constant
        arguments.a_zero = zero.constant
        arguments.b = self.packed.constant
        arguments.b_widen = widen?.0
        arguments.b_size = widen?.size ?? 0
        arguments.c = c.pointer
        arguments.c_stride = pitch
        arguments.epilogue.bias = withBias ? bias.constant : nil
        arguments.epilogue.residual = withResidual ? residual.constant : nil
        arguments.epilogue.residual_stride = n
        workspace = GuardedBuffer(count: apus_sgemm_workspace_size(kernel, &arguments))
    }

    func run() { run(rows: 0..<m, columns: 0..<n) }

    func run(rows: Range<Int>, columns: Range<Int>) {
        apus_sgemm_run(
            kernel, &arguments, rows.lowerBound, rows.upperBound, columns.lowerBound, columns.upperBound,
            workspace.count == 0 ? nil : UnsafeMutableRawPointer(workspace.pointer))
    }

    var areBuffersIntact: Bool {
        c.isIntact && a.isIntact && packed.isIntact && bias.isIntact && residual.isIntact && zero.isIntact
            && workspace.isIntact && table?.isIntact != false && offsets?.isIntact != false
    }
}

/// The macro of apus_indirection.h, which Swift does not import.
let APUS_PADDING = -1
