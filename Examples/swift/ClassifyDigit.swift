// Reads a hand-written digit with a network from Examples/models, through the Swift interface.
//
//   swift run ClassifyDigit [model.onnx]
import Apus

/// 8x8 grey, 0 (paper) to 16 (ink): a three that the networks were not trained on.
let picture: [UInt8] = [
    0, 0, 6, 15, 14, 2, 0, 0,
    0, 5, 16, 11, 14, 12, 0, 0,
    0, 5, 11, 3, 16, 5, 0, 0,
    0, 0, 0, 14, 16, 7, 0, 0,
    0, 0, 0, 8, 10, 16, 3, 0,
    0, 1, 4, 0, 0, 12, 7, 0,
    0, 7, 16, 5, 6, 16, 5, 0,
    0, 1, 8, 15, 16, 12, 1, 0,
]

@main
enum ClassifyDigit {
    static func main() throws {
        let path = CommandLine.arguments.dropFirst().first ?? "Examples/models/digits_transformer.onnx"
        let session = try Session(Model(path: path))
        let image = try Tensor(.float32, [1, 1, 8, 8], picture.map { Float($0) / 16 })
        let outputs = try session.run(["image": .tensor(image)])
        let probabilities = try outputs[0].asTensor().array(Float.self)
        let best = probabilities.indices.max { probabilities[$0] < probabilities[$1] }
        for (digit, probability) in probabilities.enumerated() { print("\(digit)  \(probability)") }
        guard best == 3 else { throw ApusError(.invalidValue, "a three was read as \(best.map(String.init) ?? "nothing")") }
        print("Apus reads a 3.")
    }
}
