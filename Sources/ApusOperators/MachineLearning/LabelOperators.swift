import ApusCore
import ApusGraph
import Glibc

/// An element of a tensor of labels, in a form that can be looked up.
private enum Label: Hashable, Sendable {
    case integer(Int64)
    /// The bits of a double: -0 as 0, every NaN alike.
    case number(UInt64)
    case string(ByteString)

    init(number: Double) {
        self = .number(number == 0 ? 0 : number.isNaN ? Double.nan.bitPattern : number.bitPattern)
    }

    /// The elements of a tensor of strings, floats or integers.
    static func list(_ value: Value) throws -> [Label] {
        switch value {
        case .strings(let strings): strings.elements.map(Label.string)
        case .tensor(let tensor):
            switch tensor.type {
            case .float32: tensor.array(Float.self).map { Label(number: Double($0)) }
            case .float64: tensor.array(Double.self).map { Label(number: $0) }
            default: try tensor.integers().map { .integer(Int64($0)) }
            }
        default: throw ApusError(.typeMismatch, "labels must be strings or numbers, found \(value.type)")
        }
    }
}

/// Values of one type by number: what labels are mapped to.
private struct LabelTargets: Sendable {
    let type: ElementType
    /// The default comes last.
    let values: Value

    /// Elements of `values` and then the only element of `fallback`.
    init(_ values: Value, fallback: Value) throws {
        let shape = try Shape([(values.shape?.count ?? 0) + 1])
        switch (values, fallback) {
        case (.strings(let list), .strings(let last)) where last.elements.count == 1:
            type = .string
            self.values = .strings(try StringTensor(shape: shape, elements: list.elements + last.elements))
        case (.tensor(let list), .tensor(let last)) where last.type == list.type && last.count == 1:
            type = list.type
            let joined = try Tensor.allocate(list.type, shape)
            joined.pointer.copyMemory(from: list.pointer, byteCount: list.byteCount)
            (joined.pointer + list.byteCount).copyMemory(from: last.pointer, byteCount: last.byteCount)
            self.values = .tensor(joined)
        default:
            throw ApusError(.invalidModel, "the default \(fallback.type) is no single element of the type of \(values.type)")
        }
    }

    /// Writes the values with these numbers as output 0.
    func write(_ io: NodeIO, _ numbers: some Collection<Int>, _ shape: Shape) throws {
        switch values {
        case .tensor(let tensor):
            let width = type.byteWidth ?? 1, target = try io.makeOutput(0, type, shape)
            for (index, number) in numbers.enumerated() {
                (target + index * width).copyMemory(from: tensor.pointer + number * width, byteCount: width)
            }
        case .strings(let strings):
            try io.setOutput(0, .strings(StringTensor(shape: shape, elements: numbers.map { strings.elements[$0] })))
        default: break
        }
    }
}

/// A table from labels to labels, applied to every element.
private struct LabelTable: Sendable {
    let keyType: ElementType
    private let places: [Label: Int]
    /// Number of the default: one past the last key.
    private let missing: Int
    private let targets: LabelTargets

    /// `prefersFirst`: of keys given twice the first counts, else the last.
    init(_ keys: Value, _ values: Value, fallback: Value, prefersFirst: Bool) throws {
        guard let keyType = keys.type.elementType, let count = values.shape?.count, keys.shape?.count == count else {
            throw ApusError(.invalidModel, "\(keys.shape?.count ?? 0) keys have \(values.shape?.count ?? 0) values")
        }
        self.keyType = keyType
        missing = count
        places = Dictionary(try Label.list(keys).enumerated().map { ($1, $0) }, uniquingKeysWith: { prefersFirst ? $0 : $1 })
        targets = try LabelTargets(values, fallback: fallback)
    }

    func infer(_ context: InferenceContext) throws -> [ValueInfo] {
        _ = try context.type(0, oneOf: [keyType])
        return [ValueInfo(targets.type, try context.shape(0))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let shape = try context.shape(0), table = self
        let bytes = try shape.count.multiplied(by: MemoryLayout<Label>.stride + MemoryLayout<Int>.stride)
        return PreparedKernel("look up") { io in
            try io.budget.reserve(bytes, for: "\(shape.count) labels")
            defer { io.budget.release(bytes) }
            let labels = try Label.list(try io.borrowedValue(0))
            try table.targets.write(io, labels.map { table.places[$0] ?? table.missing }, shape)
        }
    }
}

private func strings(_ list: [ByteString]) throws -> Value {
    .strings(try StringTensor(shape: .vector(list.count), elements: list))
}

/// Maps labels to labels by the node's table.
struct LabelEncoderOperator: Operator {
    static let schemas = [Schema("LabelEncoder", domain: "ai.onnx.ml", since: [1, 2, 4], inputs: 1...1)]

    /// Before version 2 one list serves both directions, by the type of the input.
    private let tables: [LabelTable]

    init(_ node: NodeReader) throws {
        let noString = try node.optionalBytes("default_string") ?? "_Unused"
        let noInteger = try Value.tensor(Tensor(.int64, [1], [Int64(try node.int("default_int64", default: -1))]))
        if node.opset < 2 {
            let classes = try strings(try node.optionalStrings("classes_strings") ?? [])
            let numbers = Value.tensor(try Tensor.int64(Array(0..<(classes.shape?.count ?? 0))))
            tables = [
                try LabelTable(classes, numbers, fallback: noInteger, prefersFirst: true),
                try LabelTable(numbers, classes, fallback: try strings([noString]), prefersFirst: true),
            ]
            return
        }
        let noFloat = try Value.tensor(Tensor(.float32, [1], [try node.float("default_float", default: -0.0)]))
        let given = node.opset < 4 ? nil : try node.optionalTensor("default_tensor")
        let keys = try Self.list(node, "keys"), values = try Self.list(node, "values")
        let fallback: Value =
            switch values.type.elementType {
            case .string?: try given ?? strings([noString])
            case .float32?: given ?? noFloat
            case .int64?: given ?? noInteger
            case .float64?: try given ?? .tensor(Tensor(.float64, [1], [-0.0]))
            case .int32?: try given ?? .tensor(Tensor(.int32, [1], [Int32(-1)]))
            default: try given ?? .tensor(Tensor(.int16, [1], [Int16(-1)]))
            }
        tables = [try LabelTable(keys, values, fallback: fallback, prefersFirst: true)]
    }

    /// The list given under one of the names that begin with `prefix`.
    private static func list(_ node: NodeReader, _ prefix: String) throws -> Value {
        var found: [Value] = []
        if let list = try node.optionalStrings("\(prefix)_strings"), !list.isEmpty { found.append(try strings(list)) }
        if let list = try node.optionalInts("\(prefix)_int64s"), !list.isEmpty { found.append(.tensor(try Tensor.int64(list))) }
        if let list = try node.optionalFloats("\(prefix)_floats"), !list.isEmpty {
            found.append(.tensor(try Tensor(.float32, [list.count], list)))
        }
        if node.opset >= 4, let tensor = try node.optionalTensor("\(prefix)_tensor") { found.append(tensor) }
        guard found.count == 1 else {
            throw ApusError(.invalidModel, "\(found.count) attributes \"\(prefix)_…\" are given; exactly one expected")
        }
        let types: [ElementType] = [.string, .int64, .float32, .float64, .int32, .int16]
        guard let type = found[0].type.elementType, types.contains(type) else {
            throw ApusError(.invalidModel, "attribute \"\(prefix)_tensor\" is \(found[0].type)")
        }
        return found[0]
    }

    private func table(_ type: ElementType) throws -> LabelTable {
        guard let table = tables.first(where: { $0.keyType == type }) else {
            throw ApusError(
                .typeMismatch, "the input must be a tensor of \(tables.map(\.keyType.name).joined(separator: " or ")), found \(type.name)")
        }
        return table
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] { try table(try context.type(0)).infer(context) }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode { try table(try context.type(0)).prepare(context) }
}

/// Maps strings to integers or integers to strings by pairs that the node holds.
struct CategoryMapperOperator: Operator {
    static let schemas = [Schema("CategoryMapper", domain: "ai.onnx.ml", since: [1], inputs: 1...1)]

    private let toIntegers: LabelTable
    private let toStrings: LabelTable

    init(_ node: NodeReader) throws {
        let numbers = Value.tensor(try Tensor.int64(try node.ints("cats_int64s", default: [])))
        let texts = try strings(try node.optionalStrings("cats_strings") ?? [])
        let noString = try node.optionalBytes("default_string") ?? "_Unused"
        let noInteger = Value.tensor(try Tensor.int64([try node.int("default_int64", default: -1)]))
        toIntegers = try LabelTable(texts, numbers, fallback: noInteger, prefersFirst: false)
        toStrings = try LabelTable(numbers, texts, fallback: try strings([noString]), prefersFirst: false)
    }

    private func table(_ type: ElementType) -> LabelTable { type == .string ? toIntegers : toStrings }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        try table(try context.type(0, oneOf: [.string, .int64])).infer(context)
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode { try table(try context.type(0)).prepare(context) }
}

/// The values of a map in the order of a vocabulary; nothing (0 or an empty string) for words that the map has not.
struct DictVectorizerOperator: Operator {
    static let schemas = [Schema("DictVectorizer", domain: "ai.onnx.ml", since: [1], inputs: 1...1)]

    private let vocabulary: ClassLabels

    init(_ node: NodeReader) throws {
        guard let vocabulary = try ClassLabels(node, integers: "int64_vocabulary", strings: "string_vocabulary") else {
            throw ApusError(.invalidModel, "DictVectorizer has no vocabulary")
        }
        self.vocabulary = vocabulary
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let (key, value) = try mapTypes(try context.input(0))
        guard key == vocabulary.type else {
            throw ApusError(.typeMismatch, "the map has keys of type \(key.name), the vocabulary is of \(vocabulary.type.name)")
        }
        return [ValueInfo(value, PartialShape([.known(1), .known(vocabulary.count)]))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let (_, type) = try mapTypes(try context.input(0))
        let shape = try context.outputShape(0)
        let words = try Label.list(try vocabulary.value())
        let nothing = type == .string ? try strings([.empty]) : .tensor(try zero(type))
        return PreparedKernel("vocabulary") { io in
            guard case .map(let map) = try io.borrowedValue(0) else { throw ApusError(.typeMismatch, "input 0 is no map") }
            let targets = try LabelTargets(map.values, fallback: nothing)
            guard targets.type == type else {
                throw ApusError(.typeMismatch, "the map holds \(targets.type.name), the model expects \(type.name)")
            }
            let keys = try Label.list(try map.keyTensor())
            let places = Dictionary(keys.enumerated().map { ($1, $0) }, uniquingKeysWith: { $1 })
            try targets.write(io, words.map { places[$0] ?? keys.count }, shape)
        }
    }
}

/// One element whose bits are zero.
private func zero(_ type: ElementType) throws -> Tensor {
    let tensor = try Tensor.allocate(type, .vector(1))
    tensor.pointer.initializeMemory(as: UInt8.self, repeating: 0, count: tensor.byteCount)
    return tensor
}

/// Key and value type of a map input with one number or string for each key.
private func mapTypes(_ info: ValueInfo) throws -> (key: ElementType, value: ElementType) {
    guard case .map(let key, let value) = info.type, let element = value.elementType else {
        throw ApusError(.typeMismatch, "input 0 must be a map, found \(info.type)")
    }
    return (key, element)
}

/// The values of a map with integer keys as a row: in the order of the keys, or (sparse) at the positions that the keys are.
struct CastMapOperator: Operator {
    static let schemas = [Schema("CastMap", domain: "ai.onnx.ml", since: [1], inputs: 1...1)]

    private let type: ElementType
    /// Columns of the sparse form; nil: dense.
    private let columns: Int?

    init(_ node: NodeReader) throws {
        let target = try node.choice("cast_to", of: ["TO_FLOAT", "TO_STRING", "TO_INT64"], default: "TO_FLOAT")
        type = target == "TO_FLOAT" ? .float32 : target == "TO_STRING" ? .string : .int64
        let form = try node.choice("map_form", of: ["DENSE", "SPARSE"], default: "DENSE")
        let most = try node.int("max_map", default: 1)
        guard form == "DENSE" || most >= 1 else { throw ApusError(.invalidModel, "attribute \"max_map\" is \(most)") }
        columns = form == "DENSE" ? nil : most
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let (key, value) = try mapTypes(try context.input(0))
        guard key == .int64, value == .float32 || value == .string else {
            throw ApusError(.typeMismatch, "input 0 must be a map from int64 to float or string, found \(try context.input(0).type)")
        }
        return [ValueInfo(type, PartialShape([.known(1), columns.map { .known($0) } ?? .unknown]))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let type = type, columns = columns
        return PreparedKernel("cast map") { io in
            guard case .map(let map) = try io.borrowedValue(0), case .integers(_, let keys) = map.keys else {
                throw ApusError(.typeMismatch, "input 0 must be a map with integer keys")
            }
            let cells = try CastMapOperator.cells(map.values)
            guard cells.count == keys.count else { throw ApusError(.shapeMismatch, "\(keys.count) keys have \(cells.count) values") }
            let order = keys.indices.sorted { keys[$0] < keys[$1] }
            if let first = order.first, columns != nil, keys[first] < 0 {
                throw ApusError(.invalidValue, "the key \(keys[first]) is no position")
            }
            let width = columns ?? keys.count
            // By column the number of its value; -1: none.
            let bytes = try width.multiplied(by: MemoryLayout<ByteString>.stride + MemoryLayout<Int>.stride)
            try io.budget.reserve(bytes, for: "\(width) columns")
            defer { io.budget.release(bytes) }
            var sources = columns == nil ? order : [Int](repeating: -1, count: width)
            if columns != nil {
                for index in order where keys[index] < width { sources[Int(keys[index])] = index }
            }
            let shape = try Shape([1, width])
            switch type {
            case .float32:
                let target = try io.makeOutput(0, type, shape).assumingMemoryBound(to: Float.self)
                for (column, source) in sources.enumerated() { target[column] = source < 0 ? 0 : try cells[source].float() }
            case .int64:
                let target = try io.makeOutput(0, type, shape).assumingMemoryBound(to: Int64.self)
                for (column, source) in sources.enumerated() { target[column] = source < 0 ? 0 : try cells[source].int64() }
            default:
                // onnxruntime's text for a column without value.
                let elements = sources.map { $0 < 0 ? "0.f" : cells[$0].text() }
                try io.setOutput(0, .strings(StringTensor(shape: shape, elements: elements)))
            }
        }
    }

    /// A value of the map.
    private enum Cell {
        case number(Float)
        case string(ByteString)

        func float() throws -> Float {
            switch self {
            case .number(let number): return number
            case .string(let string):
                guard let number = Float(string.description) else { throw ApusError(.invalidValue, "\"\(string)\" is no number") }
                return number
            }
        }

        func int64() throws -> Int64 {
            switch self {
            case .number(let number): return Int64(converting: Double(number))
            case .string(let string):
                // The integer that the text begins with, as C's strtoll reads it.
                let text = string.description.prefix { $0.isNumber || $0 == "-" || $0 == "+" }
                guard let number = Int64(text) else { throw ApusError(.invalidValue, "\"\(string)\" is no integer of 64 bits") }
                return number
            }
        }

        /// As C's "%f" writes numbers.
        func text() -> ByteString {
            switch self {
            case .string(let string): return string
            case .number(let number):
                // 39 digits before the point, 6 after it.
                var buffer = [CChar](repeating: 0, count: 64)
                let count = withVaList([Double(number)]) { vsnprintf(&buffer, buffer.count, "%f", $0) }
                return ByteString(buffer.prefix(max(0, Int(count))).map { UInt8(truncatingIfNeeded: $0) })
            }
        }
    }

    private static func cells(_ value: Value) throws -> [Cell] {
        switch value {
        case .strings(let strings): return strings.elements.map(Cell.string)
        case .tensor(let tensor) where tensor.type == .float32: return tensor.array(Float.self).map(Cell.number)
        default: throw ApusError(.typeMismatch, "the map's values must be float or string, found \(value.type)")
        }
    }
}
