import ApusCore
import ApusRuntime
import CApus

// MARK: - Pools

final class PoolHandle: Handle {
    let pool: Pool

    init(_ pool: Pool) { self.pool = pool }
}

@c @implementation
public func apus_pool_create(_ threads: Int, _ out: UnsafeMutablePointer<OpaquePointer?>?) -> OpaquePointer? {
    guarded {
        let out = try required(out)
        out.pointee = PoolHandle(Pool(size: try threadCount(threads))).retainedHandle()
    }
}

/// 0 stands for the default. A number no machine has is a mistake of the caller.
private func threadCount(_ threads: Int) throws -> Int? {
    guard (0...1024).contains(threads) else { throw ApusError(.invalidArgument, "\(threads) threads: 0 to 1024 expected") }
    return threads == 0 ? nil : threads
}

@c @implementation
public func apus_pool_size(_ pool: OpaquePointer?) -> Int { PoolHandle.from(pool)?.pool.size ?? 0 }

@c @implementation
public func apus_pool_destroy(_ pool: OpaquePointer?) { PoolHandle.destroy(pool) }

// MARK: - Options

final class OptionsHandle: Handle {
    var options = SessionOptions()
}

@c @implementation
public func apus_options_create(_ out: UnsafeMutablePointer<OpaquePointer?>?) -> OpaquePointer? {
    guarded { try required(out).pointee = OptionsHandle().retainedHandle() }
}

@c @implementation
public func apus_options_destroy(_ options: OpaquePointer?) { OptionsHandle.destroy(options) }

@c @implementation
public func apus_options_set_threads(_ options: OpaquePointer?, _ threads: Int) -> OpaquePointer? {
    guarded { try OptionsHandle.required(options, "options").options.threads = try threadCount(threads) }
}

@c @implementation
public func apus_options_set_pool(_ options: OpaquePointer?, _ pool: OpaquePointer?) -> OpaquePointer? {
    guarded { try OptionsHandle.required(options, "options").options.pool = try PoolHandle.required(pool, "pool").pool }
}

@c @implementation
public func apus_options_set_optimization_level(_ options: OpaquePointer?, _ level: apus_optimization_level) -> OpaquePointer? {
    guarded {
        guard let raw = Int32(exactly: level.rawValue), let level = OptimizationLevel(rawValue: raw) else {
            throw ApusError(.invalidArgument, "\(level.rawValue) is no optimisation level")
        }
        try OptionsHandle.required(options, "options").options.optimizationLevel = level
    }
}

@c @implementation
public func apus_options_disable_pass(_ options: OpaquePointer?, _ name: UnsafePointer<CChar>?) -> OpaquePointer? {
    guarded {
        let name = try required(name, "name")
        guard Session.passNames.contains(name) else {
            throw ApusError(.notFound, "there is no pass \"\(name)\"; the passes are \(Session.passNames.joined(separator: ", "))")
        }
        try OptionsHandle.required(options, "options").options.disabledPasses.insert(name)
    }
}

@c @implementation
public func apus_options_set_cpu(_ options: OpaquePointer?, _ name: UnsafePointer<CChar>?) -> OpaquePointer? {
    guarded {
        let name = name.map { String(cString: $0) }
        if let name { _ = try CPUCap(name: name, source: "the CPU option") }
        try OptionsHandle.required(options, "options").options.cpu = name
    }
}

@c @implementation
public func apus_options_set_memory_limit(_ options: OpaquePointer?, _ bytes: Int) -> OpaquePointer? {
    guarded {
        // A size_t above Int.max arrives as a negative number and means as much as no limit.
        try OptionsHandle.required(options, "options").options.memoryLimit = bytes == 0 ? nil : bytes < 0 ? .max : bytes
    }
}

@c @implementation
public func apus_options_set_log(
    _ options: OpaquePointer?, _ function: apus_log_function?, _ user_data: UnsafeMutableRawPointer?
) -> OpaquePointer? {
    guarded {
        let handle = try OptionsHandle.required(options, "options")
        guard let function else {
            handle.options.log = nil
            return
        }
        nonisolated(unsafe) let userData = user_data
        handle.options.log = { level, message in
            message.withCString { function(userData, apus_log_level(UInt32(level.rawValue)), $0) }
        }
    }
}

// MARK: - Runs

final class RunHandle: Handle {
    let control = RunControl()
}

@c @implementation
public func apus_run_create(_ out: UnsafeMutablePointer<OpaquePointer?>?) -> OpaquePointer? {
    guarded { try required(out).pointee = RunHandle().retainedHandle() }
}

@c @implementation
public func apus_run_destroy(_ run: OpaquePointer?) { RunHandle.destroy(run) }

@c @implementation
public func apus_run_cancel(_ run: OpaquePointer?) { RunHandle.from(run)?.control.cancel() }

@c @implementation
public func apus_run_reset(_ run: OpaquePointer?) { RunHandle.from(run)?.control.reset() }

@c @implementation
public func apus_run_set_time_limit(_ run: OpaquePointer?, _ nanoseconds: Int64) {
    RunHandle.from(run)?.control.setTimeLimit(nanoseconds: nanoseconds < 0 ? nil : nanoseconds)
}

// MARK: - Sessions

final class SessionHandle: Handle {
    let session: Session
    let inputs: [(name: CString, type: TypeHandle)]
    let outputs: [(name: CString, type: TypeHandle)]
    /// Runs without a handle of their own share this one, which nobody cancels.
    let unlimited = RunControl()

    init(_ session: Session) {
        self.session = session
        inputs = session.inputs.map { (CString($0.name), TypeHandle($0.type)) }
        outputs = session.outputs.map { (CString($0.name), TypeHandle($0.type)) }
    }

    /// Throws unless the caller gives as many inputs and outputs as there are.
    func check(inputCount: Int, outputCount: Int) throws {
        guard inputCount == inputs.count, outputCount == outputs.count else {
            throw ApusError(
                .invalidArgument,
                "the session has \(inputs.count) inputs and \(outputs.count) outputs, \(inputCount) and \(outputCount) given")
        }
    }
}

@c @implementation
public func apus_session_create(
    _ model: OpaquePointer?, _ options: OpaquePointer?, _ out: UnsafeMutablePointer<OpaquePointer?>?
) -> OpaquePointer? {
    guarded {
        let out = try required(out)
        let model = try ModelHandle.required(model, "model").model
        let session = try Session(model, options: OptionsHandle.from(options)?.options ?? SessionOptions())
        out.pointee = SessionHandle(session).retainedHandle()
    }
}

@c @implementation
public func apus_session_destroy(_ session: OpaquePointer?) { SessionHandle.destroy(session) }

@c @implementation
public func apus_session_input_count(_ session: OpaquePointer?) -> Int { SessionHandle.from(session)?.inputs.count ?? 0 }

@c @implementation
public func apus_session_output_count(_ session: OpaquePointer?) -> Int { SessionHandle.from(session)?.outputs.count ?? 0 }

@c @implementation
public func apus_session_input_name(_ session: OpaquePointer?, _ index: Int) -> apus_string {
    stringOrNone(entry(SessionHandle.from(session)?.inputs, index)?.name)
}

@c @implementation
public func apus_session_output_name(_ session: OpaquePointer?, _ index: Int) -> apus_string {
    stringOrNone(entry(SessionHandle.from(session)?.outputs, index)?.name)
}

@c @implementation
public func apus_session_input_type(_ session: OpaquePointer?, _ index: Int) -> OpaquePointer? {
    entry(SessionHandle.from(session)?.inputs, index)?.type.borrowedHandle
}

@c @implementation
public func apus_session_output_type(_ session: OpaquePointer?, _ index: Int) -> OpaquePointer? {
    entry(SessionHandle.from(session)?.outputs, index)?.type.borrowedHandle
}

@c @implementation
public func apus_session_input_is_optional(_ session: OpaquePointer?, _ index: Int) -> Bool {
    guard let inputs = SessionHandle.from(session)?.session.inputs, inputs.indices.contains(index) else { return false }
    return inputs[index].isOptional
}

private func entry<T>(_ list: [T]?, _ index: Int) -> T? {
    list.flatMap { $0.indices.contains(index) ? $0[index] : nil }
}

@c @implementation
public func apus_session_find_input(
    _ session: OpaquePointer?, _ name: UnsafePointer<CChar>?, _ size: Int, _ index: UnsafeMutablePointer<Int>?
) -> OpaquePointer? {
    guarded { try find(try SessionHandle.required(session, "session").session.inputs, "input", name, size, index) }
}

@c @implementation
public func apus_session_find_output(
    _ session: OpaquePointer?, _ name: UnsafePointer<CChar>?, _ size: Int, _ index: UnsafeMutablePointer<Int>?
) -> OpaquePointer? {
    guarded { try find(try SessionHandle.required(session, "session").session.outputs, "output", name, size, index) }
}

private func find(
    _ entries: [ValueDescription], _ what: String, _ name: UnsafePointer<CChar>?, _ size: Int, _ index: UnsafeMutablePointer<Int>?
) throws {
    let index = try required(index, "index")
    guard let name, size >= 0 else { throw ApusError(.invalidArgument, "name is NULL") }
    let wanted = UnsafeRawBufferPointer(start: name, count: size)
    guard let found = entries.firstIndex(where: { $0.name.bytes.elementsEqual(wanted) }) else {
        throw ApusError(
            .notFound,
            "the model has no \(what) \"\(ByteString(wanted))\"; its \(what)s are \(entries.map { "\"\($0.name)\"" }.joined(separator: ", "))")
    }
    index.pointee = found
}

@c @implementation
public func apus_session_run(
    _ session: OpaquePointer?, _ inputs: UnsafePointer<OpaquePointer?>?, _ input_count: Int,
    _ outputs: UnsafeMutablePointer<OpaquePointer?>?, _ output_count: Int, _ run: OpaquePointer?
) -> OpaquePointer? {
    guarded {
        let handle = try SessionHandle.required(session, "session")
        try handle.check(inputCount: input_count, outputCount: output_count)
        guard inputs != nil || input_count == 0, outputs != nil || output_count == 0 else {
            throw ApusError(.invalidArgument, "inputs or outputs is NULL")
        }
        let control = RunHandle.from(run)?.control ?? handle.unlimited
        // Arrays on the stack: a run with all outputs given must not allocate.
        try withUnsafeTemporaryAllocation(of: Value?.self, capacity: input_count) { given in
            for index in 0..<input_count {
                given.initializeElement(at: index, to: ValueHandle.from(inputs?[index])?.value)
            }
            defer { given.deinitialize() }
            try withUnsafeTemporaryAllocation(of: Tensor?.self, capacity: output_count) { targets in
                targets.initialize(repeating: nil)
                defer { targets.deinitialize() }
                for index in 0..<output_count {
                    guard let value = ValueHandle.from(outputs?[index])?.value else { continue }
                    guard case .tensor(let tensor) = value else {
                        throw ApusError(.typeMismatch, "given output \(index) is \(value.type): only dense tensors can be written to")
                    }
                    targets[index] = tensor
                }
                try withUnsafeTemporaryAllocation(of: Value?.self, capacity: output_count) { results in
                    results.initialize(repeating: nil)
                    defer { results.deinitialize() }
                    try handle.session.run(
                        UnsafeBufferPointer(given), outputs: UnsafeBufferPointer(targets), control: control, results: results)
                    for index in 0..<output_count where targets[index] == nil {
                        outputs?[index] = results[index].map { ValueHandle($0).retainedHandle() }
                    }
                }
            }
        }
    }
}
