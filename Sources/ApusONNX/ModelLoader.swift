import ApusCore
import ApusGraph
import CApusONNX
import Glibc

/// Reads ONNX models.
///
/// Tensors' data stay where they are: in the mapped file, in external files, or in the caller's bytes. Only what must be
/// decoded, and small tensors that lie unaligned, is copied (and then counts against the budget).
package struct ModelLoader {
    /// What copies count against, and the limit of what the parsed structure may take.
    package var budget: MemoryBudget
    /// External data by location, asked before the model's directory. In bytes mode the only source of them.
    package var externalData: ExternalDataProvider?

    package init(budget: MemoryBudget = .shared, externalData: ExternalDataProvider? = nil) {
        self.budget = budget
        self.externalData = externalData
    }

    /// Loads a file, which is mapped as long as a tensor of the model is alive, together with external files beside it.
    ///
    /// Throws `io` where it cannot be read, `invalidModel`, `unsupported` (versions, types), `externalData`, `memoryLimit`.
    package func load(path: String) throws -> Model {
        let mapping = try FileMapping.open(path: path)
        let directory = path.lastIndex(of: "/").map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
        let resolver = ExternalDataResolver(provider: externalData, directory: directory)
        let model = try load(DataRegion(bytes: mapping.bytes, owner: mapping, mapping: mapping), resolver)
        // Parsing and decoding touched pages that nobody needs for now.
        if mapping.byteCount >= 1 << 24 { mapping.dropPages(mapping.bytes) }
        return model
    }

    /// Loads a model from bytes that stay valid and unchanged while the model or a tensor of it lives: `owner` is kept
    /// until then (nil: the caller sees to it). Opens no file.
    package func load(borrowing bytes: UnsafeRawBufferPointer, owner: AnyObject? = nil) throws -> Model {
        guard !bytes.isEmpty else { throw ApusError(.invalidModel, "no bytes: not an ONNX model") }
        let resolver = ExternalDataResolver(provider: externalData, directory: nil)
        return try load(DataRegion(bytes: bytes, owner: owner, mapping: nil), resolver)
    }

    /// Loads a model from a copy of `bytes`. Opens no file.
    package func load(copying bytes: UnsafeRawBufferPointer) throws -> Model {
        guard let base = bytes.baseAddress, !bytes.isEmpty else { throw ApusError(.invalidModel, "no bytes: not an ONNX model") }
        let copy = try Storage.allocate(byteCount: bytes.count, budget: budget, purpose: "a copy of the model")
        copy.base.copyMemory(from: base, byteCount: bytes.count)
        return try load(borrowing: UnsafeRawBufferPointer(start: copy.base, count: bytes.count), owner: copy)
    }

    private func load(_ region: DataRegion, _ resolver: ExternalDataResolver) throws -> Model {
        let available = max(1 << 20, budget.limit - budget.used)
        var limits = capus_limits(max_depth: 0, max_parsed_bytes: UInt64(min(available, 1 << 30)))
        var handle: OpaquePointer?
        try checkBorder { error in
            capus_model_parse(
                region.bytes.bindMemory(to: UInt8.self).baseAddress, region.bytes.count, &limits, &handle, error)
        }
        guard let handle else { throw ApusError(.internal, "the importer gave no model") }
        defer { capus_model_destroy(handle) }
        return try ModelReader(handle: handle, region: region, resolver: resolver, budget: budget).read()
    }
}

/// Operator-set versions of a model or function.
struct Opsets {
    private var versions: [String: Int64] = [:]
    private let irVersion: Int64

    /// The newest version of each standard domain in ONNX 1.23: operators of later versions may mean something else.
    private static let newest: [String: Int64] = ["": 28, "ai.onnx.ml": 5]

    init(_ imports: [(domain: ByteString, version: Int64)], irVersion: Int64) {
        self.irVersion = irVersion
        for entry in imports { versions[Opsets.canonical(entry.domain.description)] = entry.version }
    }

    /// "" and "ai.onnx" are one domain.
    static func canonical(_ domain: String) -> String {
        domain == "ai.onnx" ? "" : domain
    }

    /// The version under which operators of `domain` are written.
    func version(of domain: String) throws -> Int {
        let shown = domain.isEmpty ? "ai.onnx" : domain
        guard let version = versions[domain] else {
            // Before IR version 3 models named no operator sets. A model's own functions need no import of their domain.
            if !domain.isEmpty || irVersion < 3 { return 1 }
            throw ApusError(.invalidModel, "the model imports no operator set of \(shown)")
        }
        guard version >= 1, let result = Int(exactly: version) else {
            throw ApusError(.invalidModel, "operator set \(version) of \(shown): versions begin with 1")
        }
        if let newest = Opsets.newest[domain], version > newest {
            throw ApusError(
                .unsupported, "operator set \(version) of \(shown) is unknown: Apus knows ONNX's versions up to \(newest)")
        }
        return result
    }
}

/// Reads one parsed model.
struct ModelReader {
    let handle: OpaquePointer
    let region: DataRegion
    let resolver: ExternalDataResolver
    let budget: MemoryBudget

    func read() throws -> Model {
        var info = capus_model_info()
        capus_model_read(handle, &info)
        guard info.ir_version >= 1 else {
            throw ApusError(.invalidModel, "not an ONNX model: IR version \(info.ir_version), expected at least 1")
        }
        guard info.ir_version <= 14 else {
            throw ApusError(.unsupported, "IR version \(info.ir_version): Apus knows versions up to 14")
        }
        guard let graph = info.graph else { throw ApusError(.invalidModel, "the model has no graph") }
        let imports = (0..<info.opset_import_count).map { index in
            let entry = capus_model_opset_import(handle, index)
            return (domain: ByteString(entry.domain), version: entry.version)
        }
        let opsets = Opsets(imports, irVersion: info.ir_version)
        let model = Model(graph: try GraphReader(model: self, opsets: opsets, place: .main).read(graph))
        model.irVersion = info.ir_version
        model.producerName = ByteString(info.producer_name)
        model.producerVersion = ByteString(info.producer_version)
        model.domain = ByteString(info.domain)
        model.modelVersion = info.model_version
        model.documentation = ByteString(info.doc_string)
        model.metadata = metadata(CAPUS_MODEL, handle, count: info.metadata_count)
        model.opsets = imports
        model.functions = try readFunctions(count: info.function_count, irVersion: info.ir_version)
        return model
    }

    private func readFunctions(count: Int, irVersion: Int64) throws -> [Function] {
        struct Key: Hashable {
            let domain, name, overload: ByteString
        }
        var seen = Set<Key>()
        return try (0..<count).map { index in
            guard let function = capus_model_function(handle, index) else {
                throw ApusError(.internal, "the importer lost function \(index)")
            }
            var info = capus_function_info()
            capus_function_read(function, &info)
            let name = "function \(info.domain.shown).\(info.name.shown)"
            return try attributed(to: name) {
                _ = try identifier(info.name, "function name")
                _ = try identifier(info.domain, "function domain")
                _ = try identifier(info.overload, "function overload")
                let key = Key(
                    domain: ByteString(info.domain), name: ByteString(info.name), overload: ByteString(info.overload))
                guard seen.insert(key).inserted else {
                    throw ApusError(.invalidModel, "two functions of this name, domain and overload")
                }
                return try read(function, info, irVersion: irVersion)
            }
        }
    }

    private func read(_ function: OpaquePointer, _ info: capus_function_info, irVersion: Int64) throws -> Function {
        let imports = (0..<info.opset_import_count).map { index in
            let entry = capus_function_opset_import(function, index)
            return (domain: ByteString(entry.domain), version: entry.version)
        }
        let reader = GraphReader(model: self, opsets: Opsets(imports, irVersion: irVersion), place: .function)
        let names = try (0..<info.attribute_name_count).map {
            try identifier(capus_function_attribute_name(function, $0), "attribute name")
        }
        let defaults = try (0..<info.attribute_default_count).map { index in
            guard let attribute = capus_function_attribute_default(function, index) else {
                throw ApusError(.internal, "the importer lost attribute \(index)")
            }
            return try AttributeReader(graphs: reader).read(attribute)
        }
        var taken = Set<String>()
        for name in names + defaults.map(\.name) {
            guard taken.insert(name).inserted else { throw ApusError(.invalidModel, "two attributes \"\(name)\"") }
        }
        return Function(
            domain: ByteString(info.domain), name: ByteString(info.name), overload: ByteString(info.overload),
            body: try reader.read(function: function, info), attributeNames: names, defaults: defaults, opsets: imports,
            documentation: ByteString(info.doc_string),
            metadata: metadata(CAPUS_FUNCTION, function, count: info.metadata_count))
    }
}
