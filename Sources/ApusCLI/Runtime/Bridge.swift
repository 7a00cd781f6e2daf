import Apus
import ApusCore

extension HostTensor {
    /// The tensor as a value of the runtime, in memory of its own.
    func value() throws -> Value {
        let shape = try Shape(shape)
        if type == .string {
            return .strings(try StringTensor(shape: shape, elements: strings.map { ByteString($0) }))
        }
        let tensor = try Tensor.allocate(type, shape)
        bytes.withUnsafeBytes { source in
            if let base = source.baseAddress { tensor.pointer.copyMemory(from: base, byteCount: source.count) }
        }
        return .tensor(tensor)
    }

    init(_ tensor: Tensor) throws {
        try self.init(tensor.type, tensor.shape.dimensions, bytes: tensor.withUnsafeBytes { Array($0) })
    }
}

/// Outputs of any kind as named tensors, as files hold them.
///
/// A sequence's elements are `NAME#0`, `NAME#1`, …; a map is `NAME#keys` and `NAME#values`; a sequence of maps with the
/// same keys, as ZipMap makes it, `NAME#zipmap_keys` and `NAME#zipmap_values` (a row for each map); a sparse tensor
/// `NAME#values`, `NAME#indices` and `NAME#shape`. An optional without a value gives nothing.
func flattened(_ name: String, _ value: Value) throws -> [(name: String, tensor: HostTensor)] {
    switch value {
    case .tensor(let tensor): return [(name, try HostTensor(tensor))]
    case .strings(let strings): return [(name, try HostTensor(strings))]
    case .optional(let optional): return try optional.element.map { try flattened(name, $0) } ?? []
    case .map(let map):
        return [("\(name)#keys", try HostTensor(map.keys))] + (try flattened("\(name)#values", map.values))
    case .sparse(let sparse):
        return try flattened("\(name)#values", sparse.values) + [
            ("\(name)#indices", try HostTensor(sparse.indices)),
            ("\(name)#shape", try HostTensor(.int64, [sparse.shape.rank], numbers: sparse.shape.dimensions.map(Double.init))),
        ]
    case .sequence(let sequence):
        if let table = try zipMap(name, sequence.elements) { return table }
        return try sequence.elements.enumerated().flatMap { try flattened("\(name)#\($0)", $1) }
    }
}

/// Maps with equal keys as a vector of keys and a matrix of values; nil for anything else.
private func zipMap(_ name: String, _ elements: [Value]) throws -> [(name: String, tensor: HostTensor)]? {
    var keys: HostTensor?
    var rows: [HostTensor] = []
    for element in elements {
        guard case .map(let map) = element, case .tensor(let values) = map.values, values.type.byteWidth != nil else { return nil }
        let own = try HostTensor(map.keys)
        guard keys == nil || keys == own, rows.first.map({ $0.type == values.type }) ?? true else { return nil }
        keys = own
        rows.append(try HostTensor(values))
    }
    guard let keys, let first = rows.first, rows.allSatisfy({ $0.count == keys.count }) else { return nil }
    let table = try HostTensor(first.type, [rows.count, keys.count], bytes: rows.flatMap(\.bytes))
    return [("\(name)#zipmap_keys", keys), ("\(name)#zipmap_values", table)]
}

extension HostTensor {
    init(_ strings: StringTensor) throws {
        try self.init(strings.shape.dimensions, strings: strings.elements.map(\.bytes))
    }

    fileprivate init(_ keys: MapValue.Keys) throws {
        switch keys {
        case .strings(let strings): try self.init([strings.count], strings: strings.map(\.bytes))
        case .integers(let type, let integers):
            var writer = ElementWriter(type)
            for integer in integers { try writer.append(integer: integer) }
            try self.init(type, [integers.count], bytes: writer.finish())
        }
    }
}

extension InputInfo {
    init(_ description: ValueDescription) {
        var type: ElementType?
        var shape: [Dimension]?
        // A plain value stands for an optional that holds it.
        var declared = description.type
        var isOptional = description.isOptional
        if case .optional(let element) = declared { (declared, isOptional) = (element, true) }
        if case .tensor(let element, let partial) = declared {
            type = element
            shape = partial.dimensions?.map { dimension in
                switch dimension {
                case .known(let size): .fixed(size)
                case .symbolic(let expression): .named(expression.description)
                case .unknown: .unknown
                }
            }
        }
        self.init(description.name.description, type, shape, isOptional: isOptional)
    }
}
