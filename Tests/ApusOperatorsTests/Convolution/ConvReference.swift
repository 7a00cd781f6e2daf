import ApusCore
import ApusGraph

@testable import ApusOperators

/// All index vectors of a shape, in row-major order.
func indices(_ shape: [Int]) -> [[Int]] {
    shape.reduce([[]]) { prefixes, size in prefixes.flatMap { prefix in (0..<size).map { prefix + [$0] } } }
}

func position(_ index: [Int], _ shape: [Int]) -> Int {
    zip(index, shape).reduce(0) { $0 * $1.1 + $1.0 }
}

/// numpy's transpose of a float tensor.
func permuted(_ value: Value, _ permutation: [Int]) throws -> Value {
    let tensor = try value.asTensor(), elements = try value.floats()
    let shape = permutation.map { tensor.shape[$0] }
    return try floatTensor(
        shape,
        indices(shape).map { index in
            var source = index
            for (to, from) in permutation.enumerated() { source[from] = index[to] }
            return elements[position(source, tensor.shape.dimensions)]
        })
}

/// Channels first to channels last.
func channelsLast(_ value: Value) throws -> Value {
    let rank = try value.asTensor().shape.rank
    return try permuted(value, [0] + Array(2..<rank) + [1])
}

/// Channels last to channels first.
func channelsFirst(_ value: Value) throws -> Value {
    let rank = try value.asTensor().shape.rank
    return try permuted(value, [0, rank - 1] + Array(1..<(rank - 1)))
}

/// Convolution by the definition, in double precision; channels first.
func convolve(
    _ x: Value, _ w: Value, bias: Value?, group: Int, strides: [Int], dilations: [Int], pads: [Int], output: [Int]
) throws -> [Float] {
    let xs = try x.floats(), ws = try w.floats(), xShape = try x.asTensor().shape.dimensions, wShape = try w.asTensor().shape.dimensions
    let biases = try bias?.floats(), perGroup = wShape[0] / group
    let taps = indices(Array(wShape[2...]))
    return indices([xShape[0], wShape[0]] + output).map { index in
        var sum = biases.map { Double($0[index[1]]) } ?? 0
        for inner in 0..<wShape[1] {
            for tap in taps {
                let place = tap.indices.map { index[2 + $0] * strides[$0] + tap[$0] * dilations[$0] - pads[$0] }
                guard zip(place, xShape[2...]).allSatisfy({ $0 >= 0 && $0 < $1 }) else { continue }
                sum += Double(xs[position([index[0], index[1] / perGroup * wShape[1] + inner] + place, xShape)])
                    * Double(ws[position([index[1], inner] + tap, wShape)])
            }
        }
        return Float(sum)
    }
}

/// Transposed convolution by the definition: every input pixel spreads.
func spread(
    _ x: Value, _ w: Value, bias: Value?, group: Int, strides: [Int], dilations: [Int], pads: [Int], output: [Int]
) throws -> [Float] {
    let xs = try x.floats(), ws = try w.floats(), xShape = try x.asTensor().shape.dimensions, wShape = try w.asTensor().shape.dimensions
    let n = wShape[1], shape = [xShape[0], n * group] + output, biases = try bias?.floats(), perGroup = wShape[0] / group
    var sums = indices(shape).map { index in biases.map { Double($0[index[1]]) } ?? 0 }
    let taps = indices(Array(wShape[2...]))
    for index in indices(xShape) {
        for column in 0..<n {
            for tap in taps {
                let place = tap.indices.map { index[2 + $0] * strides[$0] + tap[$0] * dilations[$0] - pads[$0] }
                guard zip(place, output).allSatisfy({ $0 >= 0 && $0 < $1 }) else { continue }
                sums[position([index[0], index[1] / perGroup * n + column] + place, shape)] +=
                    Double(xs[position(index, xShape)]) * Double(ws[position([index[1], column] + tap, wShape)])
            }
        }
    }
    return sums.map { Float($0) }
}

func ints(_ values: [Int]) -> AttributeValue { .ints(values.map(Int64.init)) }
