import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

/// Evaluates one node and compares its outputs, bit for bit or within `tolerance` (absolute plus relative), and compares
/// what is inferred with what came: from concrete shapes, from symbolic ones, and from nothing but types.
func expectEvaluates(
    _ opType: String, domain: String = "", opset: Int, _ attributes: [String: AttributeValue] = [:], _ inputs: [Value?],
    _ expected: [Value?], tolerance: Double = 0, location: SourceLocation = #_sourceLocation
) throws {
    let outputs = try Evaluator().evaluate(opType, domain: domain, opset: opset, attributes, inputs, outputs: expected.count)
    for (index, (output, expected)) in zip(outputs, expected).enumerated() {
        guard let expected else { continue }
        guard let output else {
            Issue.record("output \(index) is absent", sourceLocation: location)
            continue
        }
        if let difference = difference(output, expected, tolerance) {
            Issue.record("\(opType)-\(opset) output \(index): \(difference)", sourceLocation: location)
        }
    }
    let threaded = try Evaluator(pool: ThreadPool(size: 3)).evaluate(
        opType, domain: domain, opset: opset, attributes, inputs, outputs: expected.count)
    for (output, again) in zip(outputs, threaded) {
        if let output, let again, let difference = difference(again, output, 0) {
            Issue.record("\(opType)-\(opset) with three threads: \(difference)", sourceLocation: location)
        }
    }
    try expectInference(opType, domain, opset, attributes, inputs, outputs, location)
}

/// Expects the node, with these inputs, to end in an error of `code` whose message contains `text`.
func expectRefuses(
    _ opType: String, domain: String = "", opset: Int, _ attributes: [String: AttributeValue] = [:], _ inputs: [Value?], outputs: Int = 1,
    _ code: ApusError.Code, _ text: String, location: SourceLocation = #_sourceLocation
) {
    do {
        _ = try Evaluator().evaluate(opType, domain: domain, opset: opset, attributes, inputs, outputs: outputs)
        Issue.record("\(opType)-\(opset) accepted what it must refuse", sourceLocation: location)
    } catch let error as ApusError {
        #expect(error.code == code, "\(error)", sourceLocation: location)
        #expect(text.isEmpty || error.message.contains(text), "\(error.message)", sourceLocation: location)
    } catch {
        Issue.record("\(error)", sourceLocation: location)
    }
}

private func expectInference(
    _ opType: String, _ domain: String, _ opset: Int, _ attributes: [String: AttributeValue], _ inputs: [Value?], _ outputs: [Value?],
    _ location: SourceLocation
) throws {
    let graph = Graph()
    let node = Node(
        opType, domain: domain, opset: opset, attributes: attributes.map { Attribute($0.key, $0.value) },
        inputs: inputs.map { $0 == nil ? nil : graph.addValue() }, outputs: outputs.map { _ in graph.addValue() })
    let operation = try Registry.make(node, in: graph)
    var symbols: [ByteString: Int] = [:]
    func symbolic(_ value: Value, _ index: Int) -> ValueInfo {
        guard case .tensor(let type, let shape) = value.type else { return ValueInfo(value.type) }
        return ValueInfo(
            type,
            PartialShape(
                (shape.dimensions ?? []).enumerated().map { axis, dimension in
                    let name = ByteString("n\(index)_\(axis)")
                    symbols[name] = dimension.known
                    return .symbol(name)
                }))
    }
    func bare(_ value: Value, ranked: Bool) -> ValueInfo {
        guard case .tensor(let type, let shape) = value.type else { return ValueInfo(value.type) }
        return ValueInfo(type, ranked ? .ofRank(shape.rank ?? 0) : .unknown)
    }
    let parameters = Set(operation.parameterInputs)
    let levels: [(name: String, inputs: [ValueInfo?])] = [
        ("plan", inputs.enumerated().map { i, v in v.map { parameters.contains(i) ? ValueInfo(constant: $0) : ValueInfo($0.type) } }),
        ("constants", inputs.map { $0.map { ValueInfo(constant: $0) } }),
        ("symbols", inputs.enumerated().map { i, v in v.map { parameters.contains(i) ? ValueInfo(constant: $0) : symbolic($0, i) } }),
        ("symbols without parameters", inputs.enumerated().map { i, v in v.map { symbolic($0, i) } }),
        ("shapes", inputs.map { $0.map { ValueInfo($0.type) } }),
        ("ranks", inputs.map { $0.map { bare($0, ranked: true) } }),
        ("types", inputs.map { $0.map { bare($0, ranked: false) } }),
    ]
    for level in levels {
        let infos = try operation.inferOutputs(InferenceContext(inputs: level.inputs, outputCount: outputs.count))
        #expect(infos.count == outputs.count, sourceLocation: location)
        for (index, (info, output)) in zip(infos, outputs).enumerated() {
            guard let output, case .tensor(let type, let shape) = output.type else { continue }
            let text = "\(opType)-\(opset) output \(index) is \(output.type), from \(level.name) inferred as \(info.type)"
            #expect(info.type.elementType == type, "\(text)", sourceLocation: location)
            guard let inferred = info.type.shape?.dimensions else { continue }
            #expect(inferred.count == shape.rank, "\(text)", sourceLocation: location)
            for (dimension, actual) in zip(inferred, shape.dimensions ?? []) {
                if let value = dimension.evaluated(symbols) { #expect(value == actual.known, "\(text)", sourceLocation: location) }
            }
            if let elements = info.elements, let actual = try? output.asTensor().integers() {
                #expect(elements.count == actual.count, "\(text), elements \(elements)", sourceLocation: location)
                for (element, actual) in zip(elements, actual) {
                    if let value = element.evaluated(symbols) {
                        #expect(value == actual, "\(text), elements \(elements)", sourceLocation: location)
                    }
                }
            }
        }
    }
}

/// What differs, for people to read; nil where nothing does.
private func difference(_ a: Value, _ b: Value, _ tolerance: Double) -> String? {
    switch (a, b) {
    case (.tensor(let x), .tensor(let y)):
        guard x.type == y.type, x.shape == y.shape else { return "\(x.type.name)\(x.shape), expected \(y.type.name)\(y.shape)" }
        if tolerance > 0, let p = doubles(x), let q = doubles(y) {
            for (index, (p, q)) in zip(p, q).enumerated() {
                if p == q || (p.isNaN && q.isNaN) { continue }
                if !(abs(p - q) <= tolerance * (1 + abs(q))) { return "element \(index) is \(p), expected \(q)" }
            }
            return nil
        }
        let p = UnsafeRawBufferPointer(start: x.pointer, count: x.byteCount)
        let q = UnsafeRawBufferPointer(start: y.pointer, count: y.byteCount)
        return p.elementsEqual(q) ? nil : "\(doubles(x) ?? []), expected \(doubles(y) ?? [])"
    case (.strings(let x), .strings(let y)):
        return x.shape == y.shape && x.elements == y.elements ? nil : "\(x.shape) \(x.elements), expected \(y.shape) \(y.elements)"
    case (.sequence(let x), .sequence(let y)):
        guard x.elements.count == y.elements.count else { return "\(x.elements.count) elements, expected \(y.elements.count)" }
        return zip(x.elements, y.elements).lazy.compactMap { difference($0, $1, tolerance) }.first
    case (.optional(let x), .optional(let y)):
        guard let p = x.element, let q = y.element else {
            return (x.element == nil) == (y.element == nil) ? nil : "one optional is empty"
        }
        return difference(p, q, tolerance)
    default:
        return "\(a.type), expected \(b.type)"
    }
}

/// The elements as numbers, where the type has any.
private func doubles(_ tensor: Tensor) -> [Double]? {
    switch tensor.type {
    case .float32: tensor.array(Float.self).map(Double.init)
    case .float64: tensor.array(Double.self)
    case .float16: tensor.array(Half.self).map { Double($0.number) }
    case .bfloat16: tensor.array(BFloat16.self).map { Double($0.number) }
    default: (try? tensor.integers())?.map(Double.init)
    }
}
