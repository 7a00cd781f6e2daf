import ApusCore
import CApus

extension QuantizationOptions {
    /// What the caller's struct says. The texts are copied.
    fileprivate init(_ given: apus_quantize_options) throws {
        self.init()
        func choice<Choice: RawRepresentable<Int32>>(_ raw: UInt32, _ name: StaticString) throws -> Choice {
            guard let choice = Int32(exactly: raw).flatMap({ Choice(rawValue: $0) }) else {
                throw ApusError(.invalidArgument, "\(name) is \(raw), which is none of its enumerators")
            }
            return choice
        }
        func type(_ raw: apus_element_type, _ fallback: ElementType, _ name: StaticString) throws -> ElementType {
            raw == APUS_UNDEFINED ? fallback : try choice(raw.rawValue, name)
        }
        method = try choice(given.method.rawValue, "method")
        activationType = try type(given.activation_type, .uint8, "activation_type")
        weightType = try type(given.weight_type, .int8, "weight_type")
        calibration = try choice(given.calibration.rawValue, "calibration")
        if given.percentile != 0 { percentile = given.percentile }
        blockSize = given.block_size
        hasZeroPoints = given.zero_points
        searchesScales = !given.plain_scales
        isPerChannel = !given.per_tensor
        correctsBias = given.correct_bias
        equalization = try choice(given.equalization.rawValue, "equalization")
        if given.max_drop != 0 { maximumDrop = given.max_drop }
        exclude = try texts(given.exclude, given.exclude_count, "exclude")
        include = try texts(given.include, given.include_count, "include")
        if let function = given.progress {
            nonisolated(unsafe) let userData = given.user_data
            progress = { stage, share in stage.withCString { function(userData, $0, share) } }
        }
    }
}

private func texts(_ list: UnsafePointer<UnsafePointer<CChar>?>?, _ count: Int, _ name: StaticString) throws -> [String] {
    guard let entries = try checked(list, count, name) else { return [] }
    return try (0..<count).map { try required(entries[$0], name) }
}

/// A list of the caller that may be NULL where it is empty.
private func checked<T>(_ list: UnsafePointer<T>?, _ count: Int, _ name: StaticString) throws -> UnsafePointer<T>? {
    guard count >= 0, list != nil || count == 0 else { throw ApusError(.invalidArgument, "\(name) is NULL with a count of \(count)") }
    return list
}

extension Session {
    /// The values that this session's inputs take of those given for the inputs `names` of a model of which some have become
    /// constants.
    fileprivate func values(_ given: [Value?], of names: [ByteString]) throws -> [Value] {
        guard given.count == names.count else {
            throw ApusError(.invalidArgument, "\(names.count) inputs expected, \(given.count) given")
        }
        var byName = Dictionary(zip(names, given), uniquingKeysWith: { first, _ in first })
        let ordered = inputs.map { (byName.removeValue(forKey: $0.name) ?? nil) }
        if let constant = byName.first(where: { $0.value != nil }) {
            throw ApusError(.invalidArgument, "input \"\(constant.key)\" has a default that becomes a constant: it cannot be given")
        }
        return try arguments(ordered)
    }
}

@c @implementation
public func apus_model_quantize(
    _ model: OpaquePointer?, _ options: UnsafePointer<apus_quantize_options>?, _ session_options: OpaquePointer?,
    _ out: UnsafeMutablePointer<OpaquePointer?>?
) -> OpaquePointer? {
    guarded {
        let out = try required(out)
        let model = try ModelHandle.required(model, "model").model
        guard let given = options?.pointee else { throw ApusError(.invalidArgument, "options is NULL") }
        guard given.struct_size >= MemoryLayout<apus_quantize_options>.size else {
            throw ApusError(.invalidArgument, "struct_size is \(given.struct_size); set it to sizeof(apus_quantize_options)")
        }
        let batches = try checked(given.batches, given.batch_count, "batches")
        let (quantized, report) = try model.quantized(
            try QuantizationOptions(given), data: Array(0..<given.batch_count),
            session: OptionsHandle.from(session_options)?.options ?? SessionOptions()
        ) { session, index in
            guard let batch = batches?[index] else { throw ApusError(.internal, "no batch \(index)") }
            guard batch.struct_size >= MemoryLayout<apus_quantize_batch>.size else {
                throw ApusError(.invalidArgument, "struct_size is \(batch.struct_size); set it to sizeof(apus_quantize_batch)")
            }
            let inputs = try checked(batch.inputs, batch.input_count, "inputs")
            let values = try session.values(
                (0..<batch.input_count).map { ValueHandle.from(inputs?[$0])?.value }, of: model.inputNames)
            let labels = try checked(batch.labels, batch.label_count, "labels")
            return (values, labels.map { labels in (0..<batch.label_count).map { Int(clamping: labels[$0]) } })
        }
        let handle = ModelHandle(quantized)
        if let function = given.report {
            let json = CString(report.json)
            function(given.user_data, json.pointer, json.count)
        }
        out.pointee = handle.retainedHandle()
    }
}
