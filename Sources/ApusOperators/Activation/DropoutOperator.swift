import ApusCore

/// Dropout: the identity, except where input `training_mode` is true.
///
/// In training an element is kept where a number of 53 bits, uniform in [0, 1), is at least `ratio`, and is then divided
/// by 1 - ratio. The number of element i is the upper part of SplitMix64's output i for the seed (Steele, Lea and Flood,
/// "Fast splittable pseudorandom number generators"), so it does not depend on threads. Without attribute `seed` each run
/// draws one. Versions before 12 are always the identity, whatever `is_test` says: no session trains.
struct DropoutOperator: Operator {
    static let schemas = [Schema("Dropout", since: [1, 6, 7, 10, 12, 13, 22], inputs: 1...3, outputs: 1...2)]

    private let seed: Int?
    private let mayTrain: Bool
    private let maskIsBool: Bool
    private let hasMask: Bool

    init(_ node: NodeReader) throws {
        if node.opset < 12 {
            _ = try node.float("ratio", default: 0.5)
            if node.opset < 7 { _ = try node.bool("is_test", default: false) }
            guard node.inputCount == 1 else {
                throw ApusError(.invalidModel, "Dropout of opset \(node.opset) takes 1 inputs, found \(node.inputCount)")
            }
        }
        seed = node.opset < 12 ? nil : try node.optionalInt("seed")
        mayTrain = node.hasInput(2)
        maskIsBool = node.opset >= 10
        hasMask = node.outputCount > 1
    }

    var viewedInput: Int? { mayTrain || hasMask ? nil : 0 }
    var isDeterministic: Bool { !mayTrain || seed != nil }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: Types.floats + Types.float8s)
        if context.has(1) { _ = try context.type(1, oneOf: Types.floats + Types.float8s) }
        if context.has(2) { _ = try context.type(2, oneOf: [.bool]) }
        for index in 1..<3 where context.has(index) {
            if let shape = try context.shape(index).concrete(), shape.count != 1 {
                throw ApusError(.shapeMismatch, "input \(index) must be a scalar, its shape is \(shape)")
            }
        }
        let shape = try context.shape(0), output = ValueInfo(type, shape)
        return hasMask ? [output, ValueInfo(maskIsBool ? .bool : type, shape)] : [output]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.type(0), count = try context.shape(0).count, size = type.byteWidth ?? 1
        let readRatio = try context.has(1) ? castLoop(context.type(1), .float64) : nil
        let scale = try ScaleLoop(type)
        let ones = try castLoop(.bool, maskIsBool ? .bool : type), maskSize = maskIsBool ? 1 : size
        let seed = seed, mayTrain = mayTrain
        return PreparedKernel("Dropout") { io in
            let x = io.input(0), y = io.output(0), mask: UnsafeMutableRawPointer? = io.hasOutput(1) ? io.output(1) : nil
            let isTraining = mayTrain && io.input(2, as: UInt8.self)[0] != 0
            var ratio = 0.5
            if let readRatio { withUnsafeMutableBytes(of: &ratio) { if let base = $0.baseAddress { readRatio(1, io.input(1), base) } } }
            guard isTraining, ratio > 0 else {
                if UnsafeRawPointer(y) != x { y.copyMemory(from: x, byteCount: count &* size) }
                guard let mask else { return }
                return withUnsafeBytes(of: UInt8(1)) { one in
                    guard let one = one.baseAddress else { return }
                    for index in 0..<count { ones(1, one, mask + index &* maskSize) }
                }
            }
            guard ratio < 1 else { throw ApusError(.invalidValue, "ratio is \(ratio), but must lie in [0, 1)") }
            let start = seed.map { UInt64(bitPattern: Int64($0)) } ?? UInt64.random(in: .min ... .max)
            let fixedRatio = ratio
            io.pool.inChunks(count) { range in
                for index in range {
                    let keeps = uniform(start, index) >= fixedRatio
                    scale.run(x + index &* size, keeps ? 1 / (1 - fixedRatio) : 0, y + index &* size)
                    mask?.storeBytes(of: keeps ? 1 : 0, toByteOffset: index, as: UInt8.self)
                }
            }
        }
    }

    /// One element times a number.
    private struct ScaleLoop: Sendable {
        let toDouble: UnaryLoop
        let fromDouble: UnaryLoop

        init(_ type: ElementType) throws {
            toDouble = try castLoop(type, .float64)
            fromDouble = try castLoop(.float64, type)
        }

        func run(_ x: UnsafeRawPointer, _ factor: Double, _ y: UnsafeMutableRawPointer) {
            var value = 0.0
            withUnsafeMutableBytes(of: &value) { if let base = $0.baseAddress { toDouble(1, x, base) } }
            value = factor == 0 ? 0 : value * factor
            withUnsafeBytes(of: value) { if let base = $0.baseAddress { fromDouble(1, base, y) } }
        }
    }
}

/// Number `index` of the sequence that `seed` starts, in [0, 1).
private func uniform(_ seed: UInt64, _ index: Int) -> Double {
    var z = seed &+ (UInt64(truncatingIfNeeded: index) &+ 1) &* 0x9e37_79b9_7f4a_7c15
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return Double((z ^ (z >> 31)) >> 11) * 0x1p-53
}
