import ApusCore
import CApus

/// The tensor that an apus_array describes; nil for an undefined one. `storage` keeps no hold of the memory.
private func tensor(_ array: apus_array) throws -> Tensor? {
    guard array.struct_size >= MemoryLayout<apus_array>.size else {
        throw ApusError(.invalidArgument, "struct_size is \(array.struct_size), \(MemoryLayout<apus_array>.size) expected")
    }
    if array.element_type == APUS_UNDEFINED { return nil }
    let (type, shape) = try lentShape(array.element_type, array.dimensions, array.rank, array.data, array.size)
    return try Tensor(type: type, shape: shape, storage: .borrow(array.data ?? Lent.nowhere, byteCount: array.size))
}

@c @implementation
public func apus_session_run_arrays(
    _ session: OpaquePointer?, _ inputs: UnsafePointer<apus_array>?, _ input_count: Int, _ outputs: UnsafePointer<apus_array>?,
    _ output_count: Int, _ run: OpaquePointer?
) -> OpaquePointer? {
    guarded {
        let handle = try SessionHandle.required(session, "session")
        try handle.check(inputCount: input_count, outputCount: output_count)
        guard inputs != nil || input_count == 0, outputs != nil || output_count == 0 else {
            throw ApusError(.invalidArgument, "inputs or outputs is NULL")
        }
        let control = RunHandle.from(run)?.control ?? handle.unlimited
        try withUnsafeTemporaryAllocation(of: Value?.self, capacity: input_count) { given in
            given.initialize(repeating: nil)
            defer { given.deinitialize() }
            for index in 0..<input_count {
                if let array = inputs?[index] { given[index] = try tensor(array).map { .tensor($0) } }
            }
            try withUnsafeTemporaryAllocation(of: Tensor?.self, capacity: output_count) { targets in
                targets.initialize(repeating: nil)
                defer { targets.deinitialize() }
                for index in 0..<output_count {
                    if let array = outputs?[index] { targets[index] = try tensor(array) }
                }
                try withUnsafeTemporaryAllocation(of: Value?.self, capacity: output_count) { results in
                    results.initialize(repeating: nil)
                    defer { results.deinitialize() }
                    try handle.session.run(
                        UnsafeBufferPointer(given), outputs: UnsafeBufferPointer(targets), control: control, results: results)
                }
            }
        }
    }
}
