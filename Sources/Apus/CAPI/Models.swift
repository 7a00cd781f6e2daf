import ApusCore
import ApusGraph
import CApus

/// A model with its strings in C's form.
final class ModelHandle: Handle, @unchecked Sendable {
    let model: Model
    let producerName, producerVersion, domain, description, graphName: CString
    let opsets: [(domain: CString, version: Int64)]
    let metadata: [(key: CString, value: CString)]

    init(_ model: Model) {
        self.model = model
        let imported = model.imported
        producerName = CString(imported.producerName)
        producerVersion = CString(imported.producerVersion)
        domain = CString(imported.domain)
        description = CString(imported.documentation)
        graphName = CString(imported.graph.name)
        opsets = imported.opsets.map { (CString($0.domain), $0.version) }
        metadata = imported.metadata.map { (CString($0.key), CString($0.value)) }
    }
}

/// The caller's function for external data, in Swift's form.
private func provider(_ function: apus_external_data_function?, _ userData: UnsafeMutableRawPointer?) -> Model.ExternalData? {
    guard let function else { return nil }
    nonisolated(unsafe) let userData = userData
    return { location in
        var data: UnsafeRawPointer?
        var size = 0
        let name = CString(location)
        guard function(userData, name.pointer, &data, &size), size >= 0, data != nil || size == 0 else { return nil }
        return UnsafeRawBufferPointer(start: data, count: size)
    }
}

@c @implementation
public func apus_model_create_from_path(
    _ path: UnsafePointer<CChar>?, _ out: UnsafeMutablePointer<OpaquePointer?>?
) -> OpaquePointer? {
    apus_model_create_from_path_with_data(path, nil, nil, out)
}

@c @implementation
public func apus_model_create_from_path_with_data(
    _ path: UnsafePointer<CChar>?, _ external: apus_external_data_function?, _ external_user_data: UnsafeMutableRawPointer?,
    _ out: UnsafeMutablePointer<OpaquePointer?>?
) -> OpaquePointer? {
    guarded {
        let out = try required(out)
        let model = try Model(path: try required(path, "path"), externalData: provider(external, external_user_data))
        out.pointee = ModelHandle(model).retainedHandle()
    }
}

@c @implementation
public func apus_model_create_from_bytes(
    _ data: UnsafeRawPointer?, _ size: Int, _ release: apus_release_function?, _ user_data: UnsafeMutableRawPointer?,
    _ external: apus_external_data_function?, _ external_user_data: UnsafeMutableRawPointer?,
    _ out: UnsafeMutablePointer<OpaquePointer?>?
) -> OpaquePointer? {
    let owner = LentBytes(Lent(release: release, userData: user_data))
    return guarded {
        let out = try required(out)
        guard size >= 0, data != nil || size == 0 else { throw ApusError(.invalidArgument, "data is NULL") }
        let bytes = UnsafeRawBufferPointer(start: data, count: size)
        let model = try Model(
            borrowing: bytes, owner: owner, externalData: provider(external, external_user_data))
        out.pointee = ModelHandle(model).retainedHandle()
    }
}

/// Tells the caller when nothing refers to its bytes any more.
private final class LentBytes: Sendable {
    private let lent: Lent

    init(_ lent: Lent) { self.lent = lent }

    deinit { lent.giveBack() }
}

@c @implementation
public func apus_model_destroy(_ model: OpaquePointer?) { ModelHandle.destroy(model) }

@c @implementation
public func apus_model_save(_ model: OpaquePointer?, _ path: UnsafePointer<CChar>?) -> OpaquePointer? {
    guarded {
        try ModelHandle.required(model, "model").model.save(to: try required(path, "path"))
    }
}

@c @implementation
public func apus_model_ir_version(_ model: OpaquePointer?) -> Int64 { ModelHandle.from(model)?.model.imported.irVersion ?? 0 }

@c @implementation
public func apus_model_producer_name(_ model: OpaquePointer?) -> apus_string {
    stringOrNone(ModelHandle.from(model)?.producerName)
}

@c @implementation
public func apus_model_producer_version(_ model: OpaquePointer?) -> apus_string {
    stringOrNone(ModelHandle.from(model)?.producerVersion)
}

@c @implementation
public func apus_model_domain(_ model: OpaquePointer?) -> apus_string { stringOrNone(ModelHandle.from(model)?.domain) }

@c @implementation
public func apus_model_version(_ model: OpaquePointer?) -> Int64 { ModelHandle.from(model)?.model.imported.modelVersion ?? 0 }

@c @implementation
public func apus_model_description(_ model: OpaquePointer?) -> apus_string {
    stringOrNone(ModelHandle.from(model)?.description)
}

@c @implementation
public func apus_model_graph_name(_ model: OpaquePointer?) -> apus_string { stringOrNone(ModelHandle.from(model)?.graphName) }

@c @implementation
public func apus_model_opset_count(_ model: OpaquePointer?) -> Int { ModelHandle.from(model)?.opsets.count ?? 0 }

@c @implementation
public func apus_model_opset_domain(_ model: OpaquePointer?, _ index: Int) -> apus_string {
    guard let opsets = ModelHandle.from(model)?.opsets, opsets.indices.contains(index) else { return stringOrNone(nil) }
    return opsets[index].domain.view
}

@c @implementation
public func apus_model_opset_version(_ model: OpaquePointer?, _ index: Int) -> Int64 {
    guard let opsets = ModelHandle.from(model)?.opsets, opsets.indices.contains(index) else { return 0 }
    return opsets[index].version
}

@c @implementation
public func apus_model_metadata_count(_ model: OpaquePointer?) -> Int { ModelHandle.from(model)?.metadata.count ?? 0 }

@c @implementation
public func apus_model_metadata_key(_ model: OpaquePointer?, _ index: Int) -> apus_string {
    guard let metadata = ModelHandle.from(model)?.metadata, metadata.indices.contains(index) else { return stringOrNone(nil) }
    return metadata[index].key.view
}

@c @implementation
public func apus_model_metadata_value(_ model: OpaquePointer?, _ index: Int) -> apus_string {
    guard let metadata = ModelHandle.from(model)?.metadata, metadata.indices.contains(index) else { return stringOrNone(nil) }
    return metadata[index].value.view
}
