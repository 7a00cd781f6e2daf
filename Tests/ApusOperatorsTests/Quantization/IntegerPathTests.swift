import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

/// Quantised products and convolutions on every instruction set, against plain integer arithmetic, exactly.
struct IntegerPathTests {
    static let caps = ["generic", "avx2", "avxvnni", "avx512", "avx512vnni", "neon", "neondot", "neoni8mm"]

    private static func evaluator(_ cap: String, threads: Int) throws -> Evaluator {
        Evaluator(levels: try levelsOrSkip(cap), pool: ThreadPool(size: threads))
    }

    /// Reproducible bytes over the full range.
    private struct Bytes {
        var state: UInt64 = 88_172_645_463_325_252

        mutating func next() -> UInt8 {
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            return UInt8(truncatingIfNeeded: state >> 24)
        }

        /// Full-range codes, the extremes more often than by chance.
        mutating func codes(_ count: Int) -> [UInt8] {
            (0..<count).map { _ in
                let byte = next()
                return byte & 7 == 0 ? [0, 255, 127, 128][Int(next() & 3)] : next()
            }
        }
    }

    private static func number(_ code: UInt8, signed: Bool) -> Int32 { signed ? Int32(Int8(bitPattern: code)) : Int32(code) }

    private static func rounded(_ sum: Int32, _ scale: Float, _ zeroPoint: Int32, signed: Bool) -> UInt8 {
        let low: Int32 = signed ? -128 : 0, high: Int32 = signed ? 127 : 255
        let value = (Float(sum) * scale).rounded(.toNearestOrEven) + Float(zeroPoint)
        return UInt8(truncatingIfNeeded: Int32(min(max(value, Float(low)), Float(high))))
    }

    /// A case of QLinearConv.
    private struct Case {
        var batch = 1, channels: Int, outputs: Int, size: [Int], kernel: [Int], group = 1, strides: [Int], pads: [Int], dilations: [Int]
    }

    private static let cases = [
        // Pointwise, with tails in every direction.
        Case(channels: 37, outputs: 41, size: [5, 3], kernel: [1, 1], strides: [1, 1], pads: [0, 0, 0, 0], dilations: [1, 1]),
        // Pointwise with strides, three taps, dilation.
        Case(channels: 8, outputs: 33, size: [7, 6], kernel: [1, 1], strides: [2, 2], pads: [0, 0, 0, 0], dilations: [1, 1]),
        Case(batch: 2, channels: 5, outputs: 18, size: [7, 9], kernel: [3, 3], strides: [2, 1], pads: [1, 1, 1, 1], dilations: [1, 2]),
        // Pictures of few channels: windows row by row in a padded copy, also where the window looks beyond what is padded.
        Case(batch: 2, channels: 3, outputs: 34, size: [9, 11], kernel: [7, 7], strides: [2, 2], pads: [3, 3, 3, 3], dilations: [1, 1]),
        Case(channels: 1, outputs: 5, size: [6, 6], kernel: [2, 3], strides: [3, 1], pads: [0, 4, 1, 2], dilations: [2, 1]),
        // Groups; depthwise in two dimensions and one; three dimensions.
        Case(channels: 6, outputs: 9, size: [5, 5], kernel: [3, 2], group: 3, strides: [1, 1], pads: [1, 0, 1, 1], dilations: [1, 1]),
        Case(batch: 2, channels: 19, outputs: 19, size: [8, 7], kernel: [3, 3], group: 19, strides: [2, 2], pads: [1, 1, 1, 1], dilations: [1, 1]),
        Case(channels: 70, outputs: 70, size: [6, 9], kernel: [3, 5], group: 70, strides: [1, 1], pads: [1, 2, 1, 2], dilations: [1, 1]),
        Case(channels: 7, outputs: 7, size: [11], kernel: [4], group: 7, strides: [1], pads: [2, 1], dilations: [2]),
        Case(channels: 2, outputs: 3, size: [3, 4, 5], kernel: [2, 2, 2], strides: [1, 1, 1], pads: [0, 1, 0, 0, 0, 1], dilations: [1, 1, 1]),
    ]

    @Test("QLinearConv, its com.microsoft form with channels last, and ConvInteger", arguments: caps)
    func convolutions(cap: String) throws {
        _ = try levelsOrSkip(cap)
        var bytes = Bytes(), number = 0
        for shape in Self.cases {
            for (isSigned, weightsAreSigned) in [(false, true), (true, true), (false, false), (true, false)] {
                number += 1
                let perChannel = number % 2 == 0
                let x = bytes.codes(shape.batch * shape.channels * shape.size.reduce(1, *))
                let taps = shape.kernel.reduce(1, *), perGroup = shape.channels / shape.group
                let w = bytes.codes(shape.outputs * perGroup * taps)
                let zero = bytes.next(), outZero = bytes.next()
                let weightZeros = perChannel ? bytes.codes(shape.outputs) : [bytes.next()]
                let scales = (0..<(perChannel ? shape.outputs : 1)).map { 0.001 + 0.0001 * Float($0) }
                let bias = (0..<shape.outputs).map { _ in Int32(bytes.next()) * 100 - 12800 }
                let outSize = shape.size.indices.map { axis in
                    (shape.size[axis] + shape.pads[axis] + shape.pads[axis + shape.size.count]
                        - (shape.kernel[axis] - 1) * shape.dilations[axis] - 1) / shape.strides[axis] + 1
                }
                let pixels = shape.size.reduce(1, *), outPixels = outSize.reduce(1, *)
                var sums = [Int32](repeating: 0, count: shape.batch * shape.outputs * outPixels)
                func place(_ index: Int, _ sizes: [Int]) -> [Int] {
                    var rest = index, result = [Int](repeating: 0, count: sizes.count)
                    for axis in sizes.indices.reversed() { (rest, result[axis]) = (rest / sizes[axis], rest % sizes[axis]) }
                    return result
                }
                // By output pixel and tap: the pixel it sees, or -1.
                var seen: [Int] = []
                for pixel in 0..<outPixels {
                    let at = place(pixel, outSize)
                    for tap in 0..<taps {
                        let offset = place(tap, shape.kernel)
                        let from = at.indices.map { at[$0] * shape.strides[$0] + offset[$0] * shape.dilations[$0] - shape.pads[$0] }
                        let isInside = zip(from, shape.size).allSatisfy { $0 >= 0 && $0 < $1 }
                        seen.append(isInside ? zip(from, shape.size).reduce(0) { $0 * $1.1 + $1.0 } : -1)
                    }
                }
                for image in 0..<shape.batch {
                    for output in 0..<shape.outputs {
                        let first = output / (shape.outputs / shape.group) * perGroup
                        let weightZero = Self.number(weightZeros[perChannel ? output : 0], signed: weightsAreSigned)
                        for pixel in 0..<outPixels {
                            var sum: Int32 = 0
                            for tap in 0..<taps {
                                let source = seen[pixel * taps + tap]
                                if source < 0 { continue }
                                for channel in 0..<perGroup {
                                    let a = Self.number(x[(image * shape.channels + first + channel) * pixels + source], signed: isSigned)
                                    let b = Self.number(w[(output * perGroup + channel) * taps + tap], signed: weightsAreSigned)
                                    sum += (a - Self.number(zero, signed: isSigned)) * (b - weightZero)
                                }
                            }
                            sums[(image * shape.outputs + output) * outPixels + pixel] = sum
                        }
                    }
                }
                let type: ElementType = isSigned ? .int8 : .uint8, weightType: ElementType = weightsAreSigned ? .int8 : .uint8
                let parameters: [Value?] = [
                    try valueOf(.float32, [], [Float(0.02)]), try valueOf(type, [], [zero]),
                    try valueOf(weightType, [shape.outputs, perGroup] + shape.kernel, w),
                    try valueOf(.float32, perChannel ? [shape.outputs] : [], scales),
                    try valueOf(weightType, perChannel ? [shape.outputs] : [], weightZeros), try valueOf(.float32, [], [Float(0.07)]),
                    try valueOf(type, [], [outZero]), try valueOf(.int32, [shape.outputs], bias),
                ]
                let attributes: [String: AttributeValue] = [
                    "group": .int(Int64(shape.group)), "strides": .ints(shape.strides.map(Int64.init)), "pads": .ints(shape.pads.map(Int64.init)),
                    "dilations": .ints(shape.dilations.map(Int64.init)),
                ]
                let image = try valueOf(type, [shape.batch, shape.channels] + shape.size, x)
                let expected = sums.enumerated().map { index, sum in
                    let output = index / outPixels % shape.outputs
                    let product = 0.02 as Float * scales[perChannel ? output : 0]
                    return Self.rounded(
                        sum + bias[output], product / (0.07 as Float), Self.number(outZero, signed: isSigned), signed: isSigned)
                }
                let last = (0..<(shape.batch * outPixels * shape.outputs)).map { index in
                    let output = index % shape.outputs, pixel = index / shape.outputs % outPixels, image = index / shape.outputs / outPixels
                    return expected[(image * shape.outputs + output) * outPixels + pixel]
                }
                let imageLast = (0..<x.count).map { index in
                    let channel = index % shape.channels, pixel = index / shape.channels % pixels, image = index / shape.channels / pixels
                    return x[(image * shape.channels + channel) * pixels + pixel]
                }
                for threads in [1, 2] {
                    let evaluator = try Self.evaluator(cap, threads: threads)
                    let note = "\(shape) \(type) \(weightType) \(threads)"
                    let first = try evaluator.evaluate("QLinearConv", opset: 10, attributes, [image] + parameters)
                    #expect(try #require(first[0]).asTensor().array(UInt8.self) == expected, "\(note)")
                    let second = try evaluator.evaluate(
                        "QLinearConv", domain: "com.microsoft", opset: 1, attributes.merging(["channels_last": .int(1)]) { $1 },
                        [try valueOf(type, [shape.batch] + shape.size + [shape.channels], imageLast)] + parameters)
                    #expect(try #require(second[0]).asTensor().array(UInt8.self) == last, "\(note)")
                    let integers = try evaluator.evaluate(
                        "ConvInteger", opset: 10, attributes, [image, parameters[2], parameters[1], parameters[4]])
                    #expect(try #require(integers[0]).asTensor().array(Int32.self) == sums, "\(note)")
                }
            }
        }
    }

    @Test("MatMulInteger, QLinearMatMul and MatMulIntegerToFloat", arguments: caps)
    func products(cap: String) throws {
        _ = try levelsOrSkip(cap)
        var bytes = Bytes(), number = 0
        for (batch, m, k, n) in [(1, 1, 1, 1), (1, 5, 37, 33), (1, 13, 64, 70), (3, 4, 9, 17), (6, 7, 130, 5), (1, 3, 0, 4)] {
            for (aIsSigned, bIsSigned) in [(false, true), (true, true), (false, false), (true, false)] {
                number += 1
                let perColumn = number % 2 == 0, sharesB = number % 3 == 0
                let a = bytes.codes(batch * m * k), b = bytes.codes((sharesB ? 1 : batch) * k * n)
                let aZero = bytes.next(), outZero = bytes.next(), bZeros = perColumn && sharesB ? bytes.codes(n) : [bytes.next()]
                let scales = (0..<bZeros.count).map { 0.003 + 0.0002 * Float($0) }
                var sums: [Int32] = []
                for index in 0..<batch {
                    for row in 0..<m {
                        for column in 0..<n {
                            var sum: Int32 = 0
                            for inner in 0..<k {
                                let x = Self.number(a[(index * m + row) * k + inner], signed: aIsSigned) - Self.number(aZero, signed: aIsSigned)
                                let y = Self.number(b[((sharesB ? 0 : index) * k + inner) * n + column], signed: bIsSigned)
                                sum += x * (y - Self.number(bZeros[bZeros.count == 1 ? 0 : column], signed: bIsSigned))
                            }
                            sums.append(sum)
                        }
                    }
                }
                let aType: ElementType = aIsSigned ? .int8 : .uint8, bType: ElementType = bIsSigned ? .int8 : .uint8
                let left = try valueOf(aType, [batch, m, k], a), right = try valueOf(bType, sharesB ? [k, n] : [batch, k, n], b)
                let aScale = try valueOf(.float32, [], [Float(0.01)]), bScale = try valueOf(.float32, bZeros.count == 1 ? [] : [n], scales)
                let az = try valueOf(aType, [], [aZero]), bz = try valueOf(bType, bZeros.count == 1 ? [] : [n], bZeros)
                for threads in [1, 2] {
                    let evaluator = try Self.evaluator(cap, threads: threads)
                    let integers = try evaluator.evaluate("MatMulInteger", opset: 10, [:], [left, right, az, bz])
                    #expect(try #require(integers[0]).asTensor().array(Int32.self) == sums)
                    let codes = try evaluator.evaluate(
                        "QLinearMatMul", opset: 21, [:],
                        [left, aScale, az, right, bScale, bz, try valueOf(.float32, [], [Float(0.4)]), try valueOf(aType, [], [outZero])])
                    let expected = sums.enumerated().map { index, sum in
                        let product = 0.01 as Float * scales[scales.count == 1 ? 0 : index % n]
                        return Self.rounded(sum, product / (0.4 as Float), Self.number(outZero, signed: aIsSigned), signed: aIsSigned)
                    }
                    #expect(try #require(codes[0]).asTensor().array(UInt8.self) == expected)
                    let floats = try evaluator.evaluate(
                        "MatMulIntegerToFloat", domain: "com.microsoft", opset: 1, [:], [left, right, aScale, bScale, az, bz])
                    let scaled = sums.enumerated().map { index, sum in
                        Float(sum) * (0.01 as Float * scales[scales.count == 1 ? 0 : index % n])
                    }
                    #expect(try #require(floats[0]).asTensor().array(Float.self) == scaled)
                }
            }
        }
    }

    @Test("Few rows of MatMulNBits as they are and many rows unpacked, all bit widths and block sizes", arguments: caps)
    func bits(cap: String) throws {
        _ = try levelsOrSkip(cap)
        var bytes = Bytes()
        for bits in [2, 4, 8] {
            for (rows, k, n, block) in [(1, 40, 5, 16), (3, 100, 18, 32), (5, 256, 3, 64), (6, 33, 130, 128), (20, 70, 67, 16)] {
                for form in 0..<4 {
                    let blocks = (k + block - 1) / block, rowBytes = blocks * block * bits / 8, zeroBytes = (blocks * bits + 7) / 8
                    let a = bytes.codes(rows * k).map { Float($0) / 64 - 2 }, codes = bytes.codes(n * rowBytes)
                    let scales = bytes.codes(n * blocks).map { (Float($0) + 1) / 4096 }, bias = bytes.codes(n).map { Float($0) / 32 }
                    let packed = bytes.codes(n * zeroBytes), floats = bytes.codes(n * blocks).map { Float($0) / 7 }
                    let groups = (0..<k).map { _ in Int32(bytes.next()) % Int32(blocks) }
                    func code(_ array: [UInt8], _ first: Int, _ index: Int) -> Double {
                        Double(array[first + index * bits / 8] >> UInt8(index * bits % 8) & UInt8((1 << bits) - 1))
                    }
                    func zero(_ row: Int, _ block: Int) -> Double {
                        switch form {
                        case 1: code(packed, row * zeroBytes, block)
                        case 2: Double(floats[row * blocks + block])
                        default: Double(1 << (bits - 1))
                        }
                    }
                    var inputs: [Value?] = [
                        try valueOf(.float32, [rows, k], a), try valueOf(.uint8, [n, blocks, block * bits / 8], codes),
                        try valueOf(.float32, [n * blocks], scales), nil, nil, try valueOf(.float32, [n], bias),
                    ]
                    if form == 1 { inputs[3] = try valueOf(.uint8, [n * zeroBytes], packed) }
                    if form == 2 { inputs[3] = try valueOf(.float32, [n * blocks], floats) }
                    if form == 3 { inputs[4] = try valueOf(.int32, [k], groups) }
                    let attributes: [String: AttributeValue] = [
                        "K": .int(Int64(k)), "N": .int(Int64(n)), "bits": .int(Int64(bits)), "block_size": .int(Int64(block)),
                    ]
                    let result = try Self.evaluator(cap, threads: form % 2 + 1).evaluate(
                        "MatMulNBits", domain: "com.microsoft", opset: 1, attributes, inputs)
                    let found = try #require(result[0]).asTensor().array(Float.self)
                    var worst = 0.0
                    for row in 0..<rows {
                        for column in 0..<n {
                            var sum = Double(bias[column]), size = abs(sum)
                            for index in 0..<k {
                                let group = form == 3 ? Int(groups[index]) : index / block
                                let weight = (code(codes, column * rowBytes, index) - zero(column, group)) * Double(scales[column * blocks + group])
                                sum += weight * Double(a[row * k + index])
                                // Offsets of the zero points are summed apart from the codes.
                                size += (abs(weight) + Double(scales[column * blocks + group] * Float(1 << bits))) * abs(Double(a[row * k + index]))
                            }
                            worst = max(worst, abs(Double(found[row * n + column]) - sum) / size)
                        }
                    }
                    #expect(worst <= 2e-6, "\(bits) bits, \(rows)x\(k)x\(n), \(block), form \(form)")
                }
            }
        }
    }

    /// A is quantised as the kernel's contract says: each block by its largest magnitude / 127.
    @Test("MatMulNBits with 8-bit activations, where accuracy_level allows them", arguments: caps)
    func byteActivations(cap: String) throws {
        _ = try levelsOrSkip(cap)
        var bytes = Bytes()
        for bits in [2, 4, 8] {
            for (rows, k, n, block) in [(1, 40, 5, 16), (3, 100, 70, 32), (14, 256, 33, 64)] {
                for form in 0..<3 {
                    let blocks = (k + block - 1) / block, rowBytes = blocks * block * bits / 8, zeroBytes = (blocks * bits + 7) / 8
                    let a = bytes.codes(rows * k).map { Float($0) / 64 - 2 }, codes = bytes.codes(n * rowBytes)
                    let scales = bytes.codes(n * blocks).map { (Float($0) + 1) / 4096 }, bias = bytes.codes(n).map { Float($0) / 32 }
                    let packed = bytes.codes(n * zeroBytes), floats = bytes.codes(n * blocks).map { Float($0) / 7 }
                    func code(_ array: [UInt8], _ first: Int, _ index: Int) -> Double {
                        Double(array[first + index * bits / 8] >> UInt8(index * bits % 8) & UInt8((1 << bits) - 1))
                    }
                    var inputs: [Value?] = [
                        try valueOf(.float32, [rows, k], a), try valueOf(.uint8, [n, blocks, block * bits / 8], codes),
                        try valueOf(.float32, [n * blocks], scales), nil, nil, try valueOf(.float32, [n], bias),
                    ]
                    if form == 1 { inputs[3] = try valueOf(.uint8, [n * zeroBytes], packed) }
                    if form == 2 { inputs[3] = try valueOf(.float32, [n * blocks], floats) }
                    let attributes: [String: AttributeValue] = [
                        "K": .int(Int64(k)), "N": .int(Int64(n)), "bits": .int(Int64(bits)), "block_size": .int(Int64(block)),
                        "accuracy_level": .int(4),
                    ]
                    let result = try Self.evaluator(cap, threads: form % 2 + 1).evaluate(
                        "MatMulNBits", domain: "com.microsoft", opset: 1, attributes, inputs)
                    let found = try #require(result[0]).asTensor().array(Float.self)
                    var worst = 0.0
                    for row in 0..<rows {
                        for column in 0..<n {
                            var sum = Double(bias[column]), slack = 1e-5 * abs(sum)
                            for b in 0..<blocks {
                                let part = (row * k + b * block)..<(row * k + min(k, (b + 1) * block))
                                let step = Double(a[part].map(abs).max() ?? 0) / 127
                                let zero = switch form {
                                case 1: code(packed, column * zeroBytes, b)
                                case 2: Double(floats[column * blocks + b])
                                default: Double(1 << (bits - 1))
                                }
                                for index in part {
                                    let weight = (code(codes, column * rowBytes, index - row * k) - zero) * Double(scales[column * blocks + b])
                                    let value = Double(a[index])
                                    sum += weight * value
                                    // Half a step of rounding for each element at most.
                                    slack += abs(weight) * 0.501 * step + 1e-5 * abs(weight * value)
                                }
                            }
                            worst = max(worst, abs(Double(found[row * n + column]) - sum) / slack)
                        }
                    }
                    #expect(worst <= 1, "\(bits) bits, \(rows)x\(k)x\(n), \(block), form \(form)")
                }
            }
        }
    }

    @Test("Lookup", arguments: caps)
    func lookup(cap: String) throws {
        _ = try levelsOrSkip(cap)
        var bytes = Bytes()
        let x = bytes.codes(1000), table = bytes.codes(256)
        let result = try Self.evaluator(cap, threads: 1).evaluate(
            "Lookup", domain: "apus", opset: 1, [:], [try valueOf(.int8, [10, 100], x), try valueOf(.uint8, [256], table)])
        let tensor = try #require(result[0]).asTensor()
        #expect(tensor.type == .uint8)
        #expect(tensor.array(UInt8.self) == x.map { table[Int($0)] })
    }
}
