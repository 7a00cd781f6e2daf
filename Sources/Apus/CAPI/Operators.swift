import ApusCore
import ApusGraph
import ApusOperators
import CApus

/// A node with what its getters give already made.
final class NodeHandle: Handle, @unchecked Sendable {
    let node: Node
    let domain, opType, name: CString
    fileprivate let attributes: [AttributeView]

    init(_ node: Node) {
        self.node = node
        domain = CString(node.domain)
        opType = CString(node.opType)
        name = CString(node.name)
        attributes = node.attributes.map(AttributeView.init)
    }

    fileprivate func attribute(_ name: UnsafePointer<CChar>?, _ kind: apus_attribute_kind) throws -> AttributeView {
        let name = try Apus.required(name, "name")
        guard let found = attributes.first(where: { $0.name.equals(name) }) else {
            throw ApusError(.notFound, "\(node.qualifiedType) has no attribute \"\(name)\"")
        }
        guard found.kind == kind else {
            throw ApusError(.typeMismatch, "attribute \"\(name)\" is of type \(found.value.kind)")
        }
        return found
    }
}

/// An attribute in memory that C can read.
private final class AttributeView: @unchecked Sendable {
    let name: CString
    let value: AttributeValue
    let string: CString?
    let strings: [CString]
    let views: UnsafeMutableBufferPointer<apus_string>
    let ints: UnsafeMutableBufferPointer<Int64>
    let floats: UnsafeMutableBufferPointer<Float>

    init(_ attribute: Attribute) {
        name = CString(attribute.name)
        value = attribute.value
        var strings: [CString] = [], ints: [Int64] = [], floats: [Float] = []
        var string: CString?
        switch attribute.value {
        case .string(let value): string = CString(value)
        case .strings(let values): strings = values.map { CString($0) }
        case .ints(let values): ints = values
        case .floats(let values): floats = values
        default: break
        }
        self.string = string
        self.strings = strings
        views = .allocate(capacity: max(1, strings.count))
        _ = views.initialize(from: strings.map(\.view))
        self.ints = .allocate(capacity: max(1, ints.count))
        _ = self.ints.initialize(from: ints)
        self.floats = .allocate(capacity: max(1, floats.count))
        _ = self.floats.initialize(from: floats)
    }

    deinit {
        views.deallocate()
        ints.deallocate()
        floats.deallocate()
    }

    var kind: apus_attribute_kind {
        switch value {
        case .float: APUS_ATTRIBUTE_FLOAT
        case .int: APUS_ATTRIBUTE_INT
        case .string: APUS_ATTRIBUTE_STRING
        case .tensor: APUS_ATTRIBUTE_TENSOR
        case .floats: APUS_ATTRIBUTE_FLOATS
        case .ints: APUS_ATTRIBUTE_INTS
        case .strings: APUS_ATTRIBUTE_STRINGS
        case .sparse, .graph, .type, .tensors, .sparses, .graphs, .types, .reference: APUS_ATTRIBUTE_OTHER
        }
    }
}

extension CString {
    fileprivate func equals(_ text: String) -> Bool {
        text.utf8.count == count && zip(text.utf8, 0..<count).allSatisfy { UInt8(truncatingIfNeeded: pointer[$1]) == $0 }
    }
}

@c @implementation
public func apus_node_domain(_ node: OpaquePointer?) -> apus_string { stringOrNone(NodeHandle.from(node)?.domain) }

@c @implementation
public func apus_node_op_type(_ node: OpaquePointer?) -> apus_string { stringOrNone(NodeHandle.from(node)?.opType) }

@c @implementation
public func apus_node_name(_ node: OpaquePointer?) -> apus_string { stringOrNone(NodeHandle.from(node)?.name) }

@c @implementation
public func apus_node_opset(_ node: OpaquePointer?) -> Int64 { Int64(NodeHandle.from(node)?.node.opset ?? 0) }

@c @implementation
public func apus_node_attribute_count(_ node: OpaquePointer?) -> Int { NodeHandle.from(node)?.attributes.count ?? 0 }

@c @implementation
public func apus_node_attribute_name(_ node: OpaquePointer?, _ index: Int) -> apus_string {
    guard let attributes = NodeHandle.from(node)?.attributes, attributes.indices.contains(index) else { return stringOrNone(nil) }
    return attributes[index].name.view
}

@c @implementation
public func apus_node_attribute_kind(_ node: OpaquePointer?, _ name: UnsafePointer<CChar>?) -> apus_attribute_kind {
    guard let handle = NodeHandle.from(node), let name = name.map({ String(cString: $0) }) else { return APUS_ATTRIBUTE_NONE }
    return handle.attributes.first { $0.name.equals(name) }?.kind ?? APUS_ATTRIBUTE_NONE
}

@c @implementation
public func apus_node_attribute_int(
    _ node: OpaquePointer?, _ name: UnsafePointer<CChar>?, _ out: UnsafeMutablePointer<Int64>?
) -> OpaquePointer? {
    guarded {
        guard case .int(let value) = try NodeHandle.required(node, "node").attribute(name, APUS_ATTRIBUTE_INT).value else { return }
        try required(out).pointee = value
    }
}

@c @implementation
public func apus_node_attribute_float(
    _ node: OpaquePointer?, _ name: UnsafePointer<CChar>?, _ out: UnsafeMutablePointer<Float>?
) -> OpaquePointer? {
    guarded {
        guard case .float(let value) = try NodeHandle.required(node, "node").attribute(name, APUS_ATTRIBUTE_FLOAT).value else { return }
        try required(out).pointee = value
    }
}

@c @implementation
public func apus_node_attribute_string(
    _ node: OpaquePointer?, _ name: UnsafePointer<CChar>?, _ out: UnsafeMutablePointer<apus_string>?
) -> OpaquePointer? {
    guarded {
        let found = try NodeHandle.required(node, "node").attribute(name, APUS_ATTRIBUTE_STRING)
        try required(out).pointee = stringOrNone(found.string)
    }
}

@c @implementation
public func apus_node_attribute_tensor(
    _ node: OpaquePointer?, _ name: UnsafePointer<CChar>?, _ out: UnsafeMutablePointer<OpaquePointer?>?
) -> OpaquePointer? {
    guarded {
        guard case .tensor(let value) = try NodeHandle.required(node, "node").attribute(name, APUS_ATTRIBUTE_TENSOR).value else { return }
        try required(out).pointee = ValueHandle(value).retainedHandle()
    }
}

@c @implementation
public func apus_node_attribute_ints(
    _ node: OpaquePointer?, _ name: UnsafePointer<CChar>?, _ out: UnsafeMutablePointer<UnsafePointer<Int64>?>?,
    _ count: UnsafeMutablePointer<Int>?
) -> OpaquePointer? {
    guarded {
        let found = try NodeHandle.required(node, "node").attribute(name, APUS_ATTRIBUTE_INTS)
        guard case .ints(let values) = found.value else { return }
        let out = try required(out), count = try required(count, "count")
        (out.pointee, count.pointee) = (UnsafePointer(found.ints.baseAddress), values.count)
    }
}

@c @implementation
public func apus_node_attribute_floats(
    _ node: OpaquePointer?, _ name: UnsafePointer<CChar>?, _ out: UnsafeMutablePointer<UnsafePointer<Float>?>?,
    _ count: UnsafeMutablePointer<Int>?
) -> OpaquePointer? {
    guarded {
        let found = try NodeHandle.required(node, "node").attribute(name, APUS_ATTRIBUTE_FLOATS)
        guard case .floats(let values) = found.value else { return }
        let out = try required(out), count = try required(count, "count")
        (out.pointee, count.pointee) = (UnsafePointer(found.floats.baseAddress), values.count)
    }
}

@c @implementation
public func apus_node_attribute_strings(
    _ node: OpaquePointer?, _ name: UnsafePointer<CChar>?, _ out: UnsafeMutablePointer<UnsafePointer<apus_string>?>?,
    _ count: UnsafeMutablePointer<Int>?
) -> OpaquePointer? {
    guarded {
        let found = try NodeHandle.required(node, "node").attribute(name, APUS_ATTRIBUTE_STRINGS)
        let out = try required(out), count = try required(count, "count")
        (out.pointee, count.pointee) = (UnsafePointer(found.views.baseAddress), found.strings.count)
    }
}

// MARK: - Operators

/// The caller's functions, alive as long as options or sessions may call them.
private final class HostFunctions: @unchecked Sendable {
    private let inferFunction: apus_infer_function?
    private let computeFunction: apus_compute_function
    private let userData: UnsafeMutableRawPointer?
    private let lent: Lent

    init(_ description: apus_operator, _ compute: @escaping apus_compute_function, _ lent: Lent) {
        inferFunction = description.infer
        computeFunction = compute
        userData = description.user_data
        self.lent = lent
    }

    deinit { lent.giveBack() }

    func bind(_ node: OperatorNode) -> CustomOperator.Bound {
        let handle = NodeHandle(node.node)
        return CustomOperator.Bound(
            infer: { types in try self.infer(node, handle, types) }, compute: { try self.compute(handle, $0, $1) })
    }

    private func infer(_ node: OperatorNode, _ handle: NodeHandle, _ types: [ValueType?]) throws -> [ValueType] {
        guard let inferFunction else { return try CustomOperator.likeFirst(node, types) }
        let inputs = types.map { $0.map { TypeHandle($0) } }
        var outputs = [OpaquePointer?](repeating: nil, count: node.outputCount)
        let count = outputs.count
        defer { outputs.forEach { TypeHandle.destroy($0) } }
        let borrowed = inputs.map { $0?.borrowedHandle }
        let error = withExtendedLifetime((inputs, handle)) {
            inferFunction(userData, handle.borrowedHandle, borrowed, borrowed.count, &outputs, count)
        }
        try raise(error)
        return try outputs.enumerated().map { index, type in
            guard let type = TypeHandle.from(type)?.type else {
                throw ApusError(.hostOperator, "the operator did not give the type of output \(index)")
            }
            return type
        }
    }

    private func compute(_ handle: NodeHandle, _ values: [Value?], _ targets: [Tensor?]) throws -> [Value?] {
        let inputs = values.map { $0.map { ValueHandle($0) } }
        let given = targets.map { $0.map { ValueHandle(.tensor($0)) } }
        var outputs = given.map { $0?.borrowedHandle }
        let count = outputs.count
        let borrowed = inputs.map { $0?.borrowedHandle }
        let error = withExtendedLifetime((inputs, given, handle)) {
            computeFunction(userData, handle.borrowedHandle, borrowed, borrowed.count, &outputs, count)
        }
        // What the function put there is ours now; what it found there is not.
        let made = zip(outputs, given).map { output, given in output == given?.borrowedHandle ? nil : output }
        defer { made.forEach { ValueHandle.destroy($0) } }
        try raise(error)
        return made.map { ValueHandle.from($0)?.value }
    }

    /// Throws the error that a function of the caller returned.
    private func raise(_ error: OpaquePointer?) throws {
        guard let handle = ErrorHandle.from(error) else { return }
        defer { ErrorHandle.destroy(error) }
        throw handle.error
    }
}

@c @implementation
public func apus_options_add_operator(_ options: OpaquePointer?, _ description: UnsafePointer<apus_operator>?) -> OpaquePointer? {
    guarded {
        let description = try sized(description)
        let lent = Lent(release: description.release, userData: description.user_data)
        // From here on the caller's data are ours to give back, also where something is wrong.
        guard let compute = description.compute else {
            lent.giveBack()
            throw ApusError(.invalidArgument, "compute is NULL")
        }
        let functions = HostFunctions(description, compute, lent)
        guard let since = Int(exactly: description.since) else { throw ApusError(.invalidArgument, "since is \(description.since)") }
        let custom = try CustomOperator(
            domain: try required(description.domain, "domain"), opType: try required(description.op_type, "op_type"), since: since
        ) { functions.bind($0) }
        try OptionsHandle.required(options, "options").options.operators.append(custom)
    }
}

/// The description, as far as the caller's header knows it.
private func sized(_ description: UnsafePointer<apus_operator>?) throws -> apus_operator {
    guard let description else { throw ApusError(.invalidArgument, "description is NULL") }
    guard description.pointee.size >= MemoryLayout<apus_operator>.size else {
        throw ApusError(.invalidArgument, "size is \(description.pointee.size); set it to sizeof(apus_operator)")
    }
    return description.pointee
}

@c @implementation
public func apus_error_create(_ code: apus_error_code, _ message: UnsafePointer<CChar>?) -> OpaquePointer? {
    let known = Int32(exactly: code.rawValue).flatMap { ApusError.Code(rawValue: $0) } ?? .hostOperator
    return ErrorHandle(ApusError(known, message.map { String(cString: $0) } ?? "")).retainedHandle()
}

@c @implementation
public func apus_type_create_tensor_of_shape(
    _ element: apus_element_type, _ dimensions: UnsafePointer<Int64>?, _ symbols: UnsafePointer<UnsafePointer<CChar>?>?, _ rank: Int,
    _ out: UnsafeMutablePointer<OpaquePointer?>?
) -> OpaquePointer? {
    guarded {
        let out = try required(out), element = try ElementType(element)
        guard rank >= 0, dimensions != nil || rank == 0 else { throw ApusError(.invalidArgument, "dimensions is NULL") }
        let shape = UnsafeBufferPointer(start: dimensions, count: rank).enumerated().map { axis, dimension -> Dimension in
            if dimension >= 0 { return .known(Int(dimension)) }
            guard let symbol = symbols?[axis] else { return .unknown }
            return .symbol(ByteString(String(cString: symbol)))
        }
        out.pointee = TypeHandle(.tensor(element, PartialShape(shape))).retainedHandle()
    }
}
