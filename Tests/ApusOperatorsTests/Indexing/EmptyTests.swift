import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

/// Tensors without elements whose other axes are huge: nothing may be done for each of their positions.
struct EmptyTests {
    private func empty(_ dimensions: [Int]) throws -> Value { .tensor(try Tensor(.float32, dimensions, [Float]())) }

    @Test(.timeLimit(.minutes(1)))
    func endAtOnce() throws {
        let huge = 1 << 40
        let evaluator = Evaluator()
        let lengths = Value.tensor(try .int64([3]))
        for (name, inputs) in [
            ("Trilu", [try empty([huge, 4, 0])]), ("EyeLike", [try empty([huge, 0])]),
            ("ReverseSequence", [try empty([huge, 1, 0]), lengths]), ("Transpose", [try empty([huge, 0])]),
        ] {
            let output = try evaluator.evaluate(name, opset: 22, [:], inputs)[0]
            #expect(output?.shape?.count == 0)
        }
        expectRefuses("SplitToSequence", opset: 11, [:], [try empty([huge, 0])], .memoryLimit, "parts")
    }
}
