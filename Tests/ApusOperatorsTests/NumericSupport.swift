import ApusCore
import ApusGraph
import Glibc
import Testing

@testable import ApusOperators

/// Reproducible numbers in [-1, 1).
struct Numbers {
    private var state: UInt64

    init(_ seed: UInt64) { state = seed &* 0x9e37_79b9_7f4a_7c15 | 1 }

    mutating func next() -> Float {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return Float(Int32(truncatingIfNeeded: state >> 32) >> 8) / Float(1 << 23)
    }

    mutating func floats(_ count: Int) -> [Float] { (0..<count).map { _ in next() } }
}

func floatTensor(_ dimensions: [Int], _ elements: [Float]) throws -> Value {
    .tensor(try Tensor(.float32, dimensions, elements))
}

func randomTensor(_ dimensions: [Int], seed: UInt64 = 1) throws -> Value {
    var numbers = Numbers(seed)
    return try floatTensor(dimensions, numbers.floats(dimensions.reduce(1, *)))
}

func intTensor(_ elements: [Int]) throws -> Value { .tensor(try Tensor.int64(elements)) }

extension Value {
    func floats() throws -> [Float] {
        let tensor = try asTensor()
        switch tensor.type {
        case .float32: return tensor.array(Float.self)
        case .float64: return tensor.array(Double.self).map { Float($0) }
        case .float16: return tensor.array(UInt16.self).map { Float(Float16(bitPattern: $0)) }
        case .bfloat16: return tensor.array(UInt16.self).map { Float(bitPattern: UInt32($0) << 16) }
        case .int8: return tensor.array(Int8.self).map { Float($0) }
        case .uint8: return tensor.array(UInt8.self).map { Float($0) }
        default: return try tensor.integers().map { Float($0) }
        }
    }

    /// The same numbers in another floating-point type.
    func converted(_ type: ElementType) throws -> Value {
        let tensor = try asTensor(), floats = try floats()
        switch type {
        case .float64: return .tensor(try Tensor(type, tensor.shape.dimensions, floats.map { Double($0) }))
        case .float16: return .tensor(try Tensor(type, tensor.shape.dimensions, floats.map { Float16($0).bitPattern }))
        case .bfloat16: return .tensor(try Tensor(type, tensor.shape.dimensions, floats.map { BFloat16($0).bits }))
        default: return self
        }
    }
}

/// Expects a tensor of the given shape whose elements differ by at most `tolerance` × max(1, |expected|).
func expectClose(
    _ value: Value?, _ dimensions: [Int], _ expected: [Float], tolerance: Float = 1e-5, _ comment: Comment? = nil,
    sourceLocation: SourceLocation = #_sourceLocation
) throws {
    let value = try #require(value, sourceLocation: sourceLocation)
    #expect(value.shape?.dimensions == dimensions, comment, sourceLocation: sourceLocation)
    let found = try value.floats()
    #expect(found.count == expected.count, comment, sourceLocation: sourceLocation)
    for (index, (a, b)) in zip(found, expected).enumerated() {
        if a == b || a.isNaN && b.isNaN { continue }
        guard abs(a - b) <= tolerance * max(1, abs(b)) else {
            Issue.record("element \(index) is \(a), expected \(b) \(comment?.description ?? "")", sourceLocation: sourceLocation)
            return
        }
    }
}

/// Expects that evaluating throws an error of that code.
func expectError(
    _ code: ApusError.Code, sourceLocation: SourceLocation = #_sourceLocation, _ body: () throws -> Void
) {
    do {
        try body()
        Issue.record("no error, \(code) expected", sourceLocation: sourceLocation)
    } catch let error as ApusError {
        #expect(error.code == code, "\(error)", sourceLocation: sourceLocation)
        #expect(!error.message.isEmpty, sourceLocation: sourceLocation)
    } catch {
        Issue.record("\(error)", sourceLocation: sourceLocation)
    }
}

/// Evaluators that choose the generic and the best kernels, with one thread and with several.
let evaluators: [Evaluator] = [
    Evaluator(levels: 1), Evaluator(), Evaluator(pool: ThreadPool(size: 3)),
]

func exponential(_ x: Double) -> Double { exp(x) }
func errorFunction(_ x: Double) -> Double { erf(x) }
func cosine(_ x: Double) -> Double { cos(x) }
func naturalLogarithm(_ x: Double) -> Double { log(x) }
