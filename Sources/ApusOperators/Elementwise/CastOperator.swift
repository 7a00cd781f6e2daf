import ApusCore

/// Cast and CastLike: the elements as another type.
struct CastOperator: Operator {
    static let schemas = [
        Schema("Cast", since: [1, 6, 9, 13, 19, 21, 23, 24, 25, 28], inputs: 1...1),
        Schema("CastLike", since: [15, 19, 21, 23, 24, 25], inputs: 2...2),
    ]

    /// nil: that of input 1.
    private let target: ElementType?
    private let rules: CastRules

    init(_ node: NodeReader) throws {
        if node.opType == "Cast" {
            // In its first version the type was spelled out.
            target = node.opset < 6 ? try CastOperator.named(node.string("to")) : try node.elementType("to")
        } else {
            target = nil
        }
        var rules = CastRules()
        if node.opset >= 19 { rules.saturates = try node.bool("saturate", default: true) }
        if node.opset >= 24 {
            switch try node.choice("round_mode", of: ["up", "down", "nearest"], default: "up") {
            case "down": rules.power = .down
            case "nearest": rules.power = .nearest
            default: rules.power = .up
            }
        }
        self.rules = rules
        if let target { try CastOperator.check(target) }
    }

    private static func named(_ name: String) throws -> ElementType {
        let lowered = name.lowercased()
        guard let type = ElementType.allCases.first(where: { $0.name == lowered }) else {
            throw ApusError(.invalidModel, "attribute \"to\" is \"\(name)\", which is no element type")
        }
        return type
    }

    private static func check(_ type: ElementType) throws {
        if type.isComplex { throw ApusError(.typeMismatch, "\(type.name) cannot be cast from or to") }
    }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let source = try context.type(0), target = try target ?? context.type(1)
        try CastOperator.check(source)
        try CastOperator.check(target)
        let isShapeLike = (target == .int64 || target == .int32)
        let elements = isShapeLike ? try context.elements(0, ifShapeLike: source)?.map { $0.fitting(target) } : nil
        return [ValueInfo(target, try context.shape(0), elements: elements)]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        let source = try context.type(0), target = try target ?? context.type(1), count = try context.shape(0).count
        if source == .string {
            return target == .string ? PreparedKernel("copy strings") { io in try io.setOutput(0, try io.value(0)) }
                : try parsing(target)
        }
        if target == .string { return try formatting(source, try context.shape(0)) }
        let loop = try castLoop(source, target, rules), sourceBits = source.bitWidth, targetBits = target.bitWidth
        return PreparedKernel("\(source.name) to \(target.name)") { io in
            let x = io.input(0), y = io.output(0)
            io.pool.inChunks(count) { range in
                loop(range.count, x + (range.lowerBound &* sourceBits) >> 3, y + (range.lowerBound &* targetBits) >> 3)
            }
        }
    }

    // MARK: Strings

    /// Strings become the numbers they spell.
    private func parsing(_ target: ElementType) throws -> PreparedKernel {
        let fromDouble = target.isFloatingPoint || target == .bool ? try castLoop(.float64, target, rules) : nil
        let fromInteger = fromDouble == nil ? try castLoop(.int64, target, rules) : nil
        return PreparedKernel("strings to \(target.name)") { io in
            let strings = try io.value(0).asStrings()
            let y = try io.makeOutput(0, target, strings.shape)
            // Eight elements fill whole bytes whatever their width.
            try withUnsafeTemporaryAllocation(byteCount: 64, alignment: 8) { block in
                guard let block = block.baseAddress else { return }
                for start in stride(from: 0, to: strings.elements.count, by: 8) {
                    let part = min(8, strings.elements.count - start)
                    for index in 0..<part {
                        let text = strings.elements[start + index]
                        if fromDouble != nil {
                            block.storeBytes(of: try number(text), toByteOffset: index * 8, as: Double.self)
                        } else {
                            block.storeBytes(of: try integer(text), toByteOffset: index * 8, as: Int64.self)
                        }
                    }
                    let place = y + (start &* target.bitWidth) >> 3
                    fromDouble?(part, block, place)
                    fromInteger?(part, block, place)
                }
            }
        }
    }

    /// Numbers become the shortest text that reads back as the same number.
    private func formatting(_ source: ElementType, _ shape: Shape) throws -> PreparedKernel {
        let toDouble = source == .float64 ? nil : try castLoop(source, .float64)
        let toFloat = source.isFloatingPoint && source != .float64 ? try castLoop(source, .float32) : nil
        let toInteger = source.isInteger ? try castLoop(source, source.isSigned ? .int64 : .uint64) : nil
        return PreparedKernel("\(source.name) to strings") { io in
            let x = io.input(0), bytes = try shape.count.multiplied(by: 48)
            // Strings are no planned memory; that there is room for them is seen before they are made.
            try io.budget.reserve(bytes, for: "\(shape.count) strings")
            defer { io.budget.release(bytes) }
            var elements: [ByteString] = []
            elements.reserveCapacity(shape.count)
            withUnsafeTemporaryAllocation(byteCount: 64, alignment: 8) { block in
                guard let block = block.baseAddress else { return }
                for start in stride(from: 0, to: shape.count, by: 8) {
                    let part = min(8, shape.count - start), place = x + (start &* source.bitWidth) >> 3
                    if let toInteger {
                        toInteger(part, place, block)
                    } else if let toFloat {
                        toFloat(part, place, block)
                    } else if let toDouble {
                        toDouble(part, place, block)
                    } else {
                        block.copyMemory(from: place, byteCount: part * 8)
                    }
                    for index in 0..<part {
                        let text: String
                        if toInteger != nil {
                            let bits = block.load(fromByteOffset: index * 8, as: UInt64.self)
                            text = source.isSigned ? String(Int64(bitPattern: bits)) : String(bits)
                        } else if toFloat != nil {
                            text = spelled(block.load(fromByteOffset: index * 4, as: Float.self))
                        } else if source == .bool {
                            text = block.load(fromByteOffset: index * 8, as: Double.self) != 0 ? "True" : "False"
                        } else {
                            text = spelled(block.load(fromByteOffset: index * 8, as: Double.self))
                        }
                        elements.append(ByteString(text))
                    }
                }
            }
            try io.setOutput(0, .strings(try StringTensor(shape: shape, elements: elements)))
        }
    }
}

/// The special values are spelled as ONNX reads them.
private func spelled<T: BinaryFloatingPoint & LosslessStringConvertible>(_ value: T) -> String {
    value.isNaN ? "NaN" : value.isInfinite ? (value < 0 ? "-INF" : "INF") : value.description
}

/// The text without white space around it, where it is ASCII.
private func trimmed(_ text: ByteString) -> String {
    func isSpace(_ byte: UInt8) -> Bool { byte == 32 || (9...13).contains(byte) }
    var bytes = text.bytes[...]
    while let first = bytes.first, isSpace(first) { bytes.removeFirst() }
    while let last = bytes.last, isSpace(last) { bytes.removeLast() }
    return String(decoding: bytes, as: UTF8.self)
}

private func number(_ text: ByteString) throws -> Double {
    let word = trimmed(text)
    if let value = Double(word) { return value }
    switch word.lowercased() {
    case "true": return 1
    case "false": return 0
    default: throw ApusError(.invalidValue, "\"\(text)\" spells no number")
    }
}

/// Integers are read exactly; other numbers are truncated.
private func integer(_ text: ByteString) throws -> Int64 {
    let word = trimmed(text)
    if let value = Int64(word) { return value }
    if let value = UInt64(word) { return Int64(bitPattern: value) }
    return Int64(converting: try number(text))
}

/// The bytes of the elements as another type of the same size.
struct BitCastOperator: Operator {
    static let schemas = [Schema("BitCast", since: [26], inputs: 1...1)]

    private let target: ElementType

    init(_ node: NodeReader) throws {
        target = try node.elementType("to")
    }

    var viewedInput: Int? { 0 }

    func inferOutputs(_ context: InferenceContext) throws -> [ValueInfo] {
        let source = try context.type(0)
        guard source != .string, target != .string, source.bitWidth == target.bitWidth else {
            throw ApusError(.typeMismatch, "\(source.name) cannot be read as \(target.name), which has another size")
        }
        return [ValueInfo(target, try context.shape(0))]
    }

    func prepare(_ context: PrepareContext) throws -> any PreparedNode {
        copyKernel(try context.denseByteCount(0) ?? 0)
    }
}
