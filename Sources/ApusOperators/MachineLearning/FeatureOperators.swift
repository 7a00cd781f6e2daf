import ApusCore
import ApusGraph

/// Picks columns: the elements of the last axis at the given positions.
struct ArrayFeatureExtractorOperator: Operator {
    static let schemas = [Schema("ArrayFeatureExtractor", domain: "ai.onnx.ml", since: [1], inputs: 2...2)]

    init(_ node: NodeReader) throws {}

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: classicalTypes + [.string])
        _ = try context.type(1, oneOf: [.int64])
        guard let dimensions = try context.dimensions(0, rank: 1...) else { return [ValueInfo(type, .unknown)] }
        let picked = try context.shape(1).dimensions.map { $0.reduce(Dimension.known(1)) { $0 * $1 } } ?? .unknown
        let outer = dimensions.count == 1 ? [.known(1)] : Array(dimensions.dropLast())
        return [ValueInfo(type, PartialShape(outer + [picked]))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let shape = try context.shape(0), type = try context.type(0), output = try context.outputShape(0)
        let picked = try context.shape(1).count, columns = shape[shape.rank - 1]
        let rows = output.rank == 0 ? 1 : output.count(..<(output.rank - 1))
        guard let width = type.byteWidth else {
            return PreparedKernel("columns") { io in
                let elements = try io.borrowedValue(0).asStrings().elements
                let positions = try checkedColumns(io, picked, columns)
                let bytes = try output.count.multiplied(by: MemoryLayout<ByteString>.stride)
                try io.budget.reserve(bytes, for: "\(output.count) strings")
                defer { io.budget.release(bytes) }
                var result: [ByteString] = []
                result.reserveCapacity(output.count)
                for row in 0..<rows {
                    for index in 0..<picked { result.append(elements[row * columns + Int(positions[index])]) }
                }
                try io.setOutput(0, .strings(StringTensor(shape: output, elements: result)))
            }
        }
        return PreparedKernel("columns") { io in
            let positions = try checkedColumns(io, picked, columns)
            let source = io.input(0), target = io.output(0)
            guard picked > 0 else { return }
            for row in 0..<rows {
                for index in 0..<picked {
                    (target + (row * picked + index) * width).copyMemory(
                        from: source + (row * columns + Int(positions[index])) * width, byteCount: width)
                }
            }
        }
    }
}

/// The positions of ArrayFeatureExtractor; throws where one is no column.
private func checkedColumns(_ io: NodeIO, _ count: Int, _ columns: Int) throws -> UnsafePointer<Int64> {
    let positions = io.input(1, as: Int64.self)
    for index in 0..<count where positions[index] < 0 || positions[index] >= columns {
        throw ApusError(.invalidValue, "index \(positions[index]) is outside of \(columns) columns")
    }
    return positions
}

/// 1 above a threshold, else 0.
struct BinarizerOperator: Operator {
    static let schemas = [Schema("Binarizer", domain: "ai.onnx.ml", since: [1], inputs: 1...1)]

    private let threshold: Float

    init(_ node: NodeReader) throws { threshold = try node.float("threshold", default: 0) }

    var overwrites: [(output: Int, input: Int)] { [(0, 0)] }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        [ValueInfo(try context.type(0, oneOf: classicalTypes), try context.shape(0))]
    }

    private struct Visitor: ArithmeticVisitor {
        let threshold: Double
        func visit<T: Arithmetic>(_: T.Type) throws -> UnaryLoop {
            let threshold = threshold
            return { count, x, y in
                let x = x.assumingMemoryBound(to: T.self), y = y.assumingMemoryBound(to: T.self)
                for index in 0..<count { y[index] = x[index].double > threshold ? T.one : T.zero }
            }
        }
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = try context.type(0), count = try context.shape(0).count, width = type.byteWidth ?? 1
        let loop = try type.visitArithmetic(Visitor(threshold: Double(threshold)))
        return PreparedKernel("threshold") { io in
            let source = io.input(0), target = io.output(0)
            io.pool.inChunks(count) { loop($0.count, source + $0.lowerBound * width, target + $0.lowerBound * width) }
        }
    }
}

/// Joins the features of several inputs, each cut or filled up with zeros to its number of columns.
struct FeatureVectorizerOperator: Operator {
    static let schemas = [Schema("FeatureVectorizer", domain: "ai.onnx.ml", since: [1], inputs: 1...Int.max)]

    private let widths: [Int]?

    init(_ node: NodeReader) throws {
        widths = try node.optionalInts("inputdimensions")
        if let widths {
            guard widths.count == node.inputCount, widths.allSatisfy({ $0 >= 0 && $0 <= Int(Int32.max) }) else {
                throw ApusError(.invalidModel, "attribute \"inputdimensions\" is \(widths) for \(node.inputCount) inputs")
            }
        }
    }

    /// Rows and columns of an input: axes beyond the first are one row.
    private static func matrix(_ shape: PartialShape) -> (rows: Dimension, columns: Dimension)? {
        guard let dimensions = shape.dimensions else { return nil }
        if dimensions.count < 2 { return (.known(1), dimensions.first ?? .known(1)) }
        return (dimensions[0], dimensions.dropFirst().reduce(Dimension.known(1)) { $0 * $1 })
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        _ = try context.type(0, oneOf: classicalTypes)
        var rows = Dimension.unknown, columns = Dimension.known(0)
        for index in context.inputs.indices {
            _ = try context.type(index, oneOf: classicalTypes)
            let own = Self.matrix(try context.shape(index))
            columns = columns + (widths.map { .known($0[index]) } ?? own?.columns ?? .unknown)
            guard let own else { continue }
            if let a = rows.known, let b = own.rows.known, a != b {
                throw ApusError(.shapeMismatch, "input \(index) has \(b) rows, the inputs before it have \(a)")
            }
            if rows.known == nil { rows = own.rows }
        }
        return [ValueInfo(.float32, PartialShape([rows, columns]))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let output = try context.outputShape(0), total = output[1]
        var parts: [(convert: UnaryLoop, width: Int, columns: Int, taken: Int, start: Int)] = []
        var start = 0
        for index in context.inputs.indices {
            let shape = try context.shape(index), type = try context.type(index)
            let columns = shape.rank < 2 ? shape.count : shape.count(1...), width = widths?[index] ?? columns
            parts.append((try castLoop(type, .float32), type.byteWidth ?? 1, columns, min(columns, width), start))
            start += width
        }
        let inputs = parts
        return PreparedKernel("join features") { io in
            let target = io.output(0, as: Float.self)
            target.update(repeating: 0, count: output.count)
            for (index, part) in inputs.enumerated() where part.taken > 0 {
                let source = io.input(index)
                for row in 0..<output[0] {
                    part.convert(part.taken, source + row * part.columns * part.width, target + row * total + part.start)
                }
            }
        }
    }
}

/// Puts given numbers in the place of missing ones. Floats have attributes of their own, integers, too.
struct ImputerOperator: Operator {
    static let schemas = [Schema("Imputer", domain: "ai.onnx.ml", since: [1], inputs: 1...1)]

    private let floats: [Float]
    private let integers: [Int]
    private let missingFloat: Float
    private let missingInteger: Int

    init(_ node: NodeReader) throws {
        floats = try node.floats("imputed_value_floats", default: [])
        integers = try node.ints("imputed_value_int64s", default: [])
        missingFloat = try node.float("replaced_value_float", default: 0)
        missingInteger = try node.int("replaced_value_int64", default: 0)
        guard floats.isEmpty != integers.isEmpty else {
            throw ApusError(.invalidModel, "exactly one of \"imputed_value_floats\" and \"imputed_value_int64s\" must be given")
        }
    }

    var overwrites: [(output: Int, input: Int)] { [(0, 0)] }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: classicalTypes), shape = try context.shape(0)
        guard type.isInteger == floats.isEmpty else {
            throw ApusError(.typeMismatch, "the input is \(type.name), the numbers to put in are \(floats.isEmpty ? "integers" : "floats")")
        }
        let count = max(floats.count, integers.count)
        if let dimensions = shape.dimensions {
            guard let columns = dimensions.count < 2 ? dimensions.first : dimensions[1] else {
                throw ApusError(.shapeMismatch, "the input must have shape [N, F] or [F], found \(shape)")
            }
            if let columns = columns.known, count != 1, count != columns {
                throw ApusError(.shapeMismatch, "\(count) numbers to put in are given for \(columns) features")
            }
        }
        return [ValueInfo(type, shape)]
    }

    private struct Visitor: ArithmeticVisitor {
        let missing: Double, missingInteger: Int64
        let floats: [Float], integers: [Int]
        let columns: Int

        func visit<T: Arithmetic>(_: T.Type) throws -> UnaryLoop {
            let values = T.isFloat ? floats.map { T(converting: Double($0)) } : integers.map { T.from(integer: Int64($0)) }
            let old = T.isFloat ? T(converting: missing) : T.from(integer: missingInteger)
            let columns = max(1, columns), replacesNaN = T.isFloat && missing.isNaN
            return { count, x, y in
                let x = x.assumingMemoryBound(to: T.self), y = y.assumingMemoryBound(to: T.self)
                var column = 0
                for index in 0..<count {
                    let isMissing = replacesNaN ? x[index].isNotANumber : x[index] == old
                    y[index] = isMissing ? values[values.count == 1 ? 0 : column] : x[index]
                    column += 1
                    if column == columns { column = 0 }
                }
            }
        }
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let shape = try context.shape(0)
        let columns = shape.rank < 2 ? shape.count : shape[1]
        let loop = try context.type(0).visitArithmetic(
            Visitor(
                missing: Double(missingFloat), missingInteger: Int64(missingInteger), floats: floats, integers: integers,
                columns: columns))
        return PreparedKernel("impute") { io in loop(shape.count, io.input(0), io.output(0)) }
    }
}

/// Each row divided by its greatest element, its sum of magnitudes or its length. Rows of zeros stay.
struct NormalizerOperator: Operator {
    static let schemas = [Schema("Normalizer", domain: "ai.onnx.ml", since: [1], inputs: 1...1)]

    private enum Norm: String, CaseIterable {
        case greatest = "MAX"
        case magnitudes = "L1"
        case length = "L2"
    }

    private let norm: Norm

    init(_ node: NodeReader) throws {
        let name = try node.choice("norm", of: Norm.allCases.map(\.rawValue), default: "MAX")
        norm = Norm(rawValue: name) ?? .greatest
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        _ = try context.type(0, oneOf: classicalTypes)
        _ = try rowsAndFeatures(try context.shape(0))
        return [ValueInfo(.float32, try context.shape(0))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let input = try FloatRows(context), norm = norm
        return PreparedKernel("normalize", workspace: input.workspaceByteCount) { io in
            let source = input.read(io), target = io.output(0, as: Float.self)
            if input.features == 0 { return }
            for row in 0..<input.rows {
                let x = source + row * input.features, y = target + row * input.features
                let divisor = Self.divisor(norm, x, input.features)
                for index in 0..<input.features { y[index] = divisor == 0 ? x[index] : x[index] / divisor }
            }
        }
    }

    private static func divisor(_ norm: Norm, _ x: UnsafePointer<Float>, _ count: Int) -> Float {
        guard count > 0 else { return 0 }
        switch norm {
        case .greatest:
            var greatest = x[0]
            for index in 1..<max(1, count) { greatest = max(greatest, x[index]) }
            return greatest
        case .magnitudes:
            var sum: Float = 0
            for index in 0..<count { sum += abs(x[index]) }
            return sum
        case .length: return innerProduct(x, x, count).squareRoot()
        }
    }
}

/// A vector with a 1 at the place of the category, for each element.
struct OneHotEncoderOperator: Operator {
    static let schemas = [Schema("OneHotEncoder", domain: "ai.onnx.ml", since: [1], inputs: 1...1)]

    private let integers: [Int64: Int]
    private let strings: [ByteString: Int]
    private let count: Int
    private let allowsUnknown: Bool

    init(_ node: NodeReader) throws {
        guard let categories = try ClassLabels(node, integers: "cats_int64s", strings: "cats_strings") else {
            throw ApusError(.invalidModel, "OneHotEncoder has no categories")
        }
        // Of categories given twice the last place counts, as everywhere else.
        switch categories {
        case .integers(let list):
            integers = Dictionary(list.enumerated().map { (Int64($1), $0) }, uniquingKeysWith: { $1 })
            strings = [:]
        case .strings(let list):
            strings = Dictionary(list.enumerated().map { ($1, $0) }, uniquingKeysWith: { $1 })
            integers = [:]
        }
        count = categories.count
        allowsUnknown = try node.bool("zeros", default: true)
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let type = try context.type(0, oneOf: classicalTypes + [.string])
        guard (type == .string) == integers.isEmpty else {
            throw ApusError(.typeMismatch, "the input is \(type.name), the categories are \(integers.isEmpty ? "strings" : "integers")")
        }
        return [ValueInfo(.float32, PartialShape(try context.shape(0).dimensions.map { $0 + [.known(count)] }))]
    }

    private struct Visitor: ArithmeticVisitor {
        func visit<T: Arithmetic>(_: T.Type) throws -> @Sendable (UnsafeRawPointer, Int) -> Int64 {
            { source, index in source.assumingMemoryBound(to: T.self)[index].int64 }
        }
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let shape = try context.shape(0), type = try context.type(0), operation = self, count = count
        let element = type == .string ? nil : try type.visitArithmetic(Visitor())
        return PreparedKernel("one hot") { io in
            let target = io.output(0, as: Float.self)
            target.update(repeating: 0, count: shape.count * count)
            let strings = element == nil ? try io.borrowedValue(0).asStrings().elements : []
            for index in 0..<shape.count {
                let place = element.map { operation.integers[$0(io.input(0), index)] } ?? operation.strings[strings[index]]
                if let place {
                    target[index * count + place] = 1
                } else if !operation.allowsUnknown {
                    throw ApusError(.invalidValue, "element \(index) is none of the \(count) categories, and zeros are not allowed")
                }
            }
        }
    }
}

/// (x - offset) · scale, for each feature or for all alike.
struct ScalerOperator: Operator {
    static let schemas = [Schema("Scaler", domain: "ai.onnx.ml", since: [1], inputs: 1...1)]

    private let offset: [Float]
    private let scale: [Float]

    init(_ node: NodeReader) throws {
        offset = try node.floats("offset", default: [0])
        scale = try node.floats("scale", default: [1])
        guard !offset.isEmpty, !scale.isEmpty else { throw ApusError(.invalidModel, "attribute \"offset\" or \"scale\" is empty") }
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        _ = try context.type(0, oneOf: classicalTypes)
        let shape = try context.shape(0)
        if let dimensions = shape.dimensions, let columns = dimensions.count < 2 ? dimensions.first : dimensions[1],
            let known = columns.known
        {
            for (name, list) in [("offset", offset), ("scale", scale)] where list.count != 1 && list.count != known {
                throw ApusError(.shapeMismatch, "attribute \"\(name)\" has \(list.count) elements for \(known) features")
            }
        }
        return [ValueInfo(.float32, shape)]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let shape = try context.shape(0), type = try context.type(0)
        let columns = shape.rank < 2 ? shape.count : shape[1]
        let offset = offset.count == 1 ? [Float](repeating: offset[0], count: min(columns, shape.count)) : offset
        let scale = scale.count == 1 ? [Float](repeating: scale[0], count: min(columns, shape.count)) : scale
        let convert = try castLoop(type, .float32)
        return PreparedKernel("scale") { io in
            let target = io.output(0, as: Float.self)
            convert(shape.count, io.input(0), target)
            guard columns > 0 else { return }
            offset.withUnsafeBufferPointer { offset in
                scale.withUnsafeBufferPointer { scale in
                    for row in 0..<shape.count / columns {
                        let y = target + row * columns
                        for column in 0..<columns { y[column] = (y[column] - offset[column]) * scale[column] }
                    }
                }
            }
        }
    }
}
