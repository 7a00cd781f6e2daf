import Apus
import ApusCore
import ApusGraph
import ApusOperators
import ApusRuntime

/// What a model's file says, whether Apus can run it or not.
struct ModelSummary {
    struct Parameters {
        var tensors = 0
        var elements = 0
        var bytes = 0
    }

    private let model: ApusGraph.Model
    private let file: String
    private let fileSize: Int?
    /// Nodes by operator, those of subgraphs and functions included; the most frequent first.
    private let operators: [(name: String, count: Int)]
    private let nodes: Int
    private let parameters: [(type: ElementType, parameters: Parameters)]

    init(_ model: Apus.Model, file: String) {
        self.model = model.imported
        self.file = file
        fileSize = FileIO.size(file)
        var counts: [String: Int] = [:]
        var byType: [ElementType: Parameters] = [:]
        func collect(_ graph: Graph) {
            for value in graph.initializers.values {
                guard let (type, count) = Self.contents(value) else { continue }
                byType[type, default: Parameters()].tensors += 1
                byType[type, default: Parameters()].elements += count
                byType[type, default: Parameters()].bytes += type.byteCount(count) ?? 0
            }
            for node in graph.nodes {
                counts[node.qualifiedType, default: 0] += 1
                node.subgraphs.forEach(collect)
            }
        }
        collect(model.imported.graph)
        for function in model.imported.functions { collect(function.body) }
        operators = counts.sorted { $0.value != $1.value ? $0.value > $1.value : $0.key < $1.key }.map { ($0.key, $0.value) }
        nodes = counts.values.reduce(0, +)
        parameters = byType.sorted { $0.key.rawValue < $1.key.rawValue }.map { ($0.key, $0.value) }
    }

    private static func contents(_ value: Value) -> (ElementType, Int)? {
        switch value {
        case .tensor(let tensor): (tensor.type, tensor.count)
        case .strings(let strings): (.string, strings.elements.count)
        case .sparse(let sparse): contents(sparse.values)
        default: nil
        }
    }

    private var totals: Parameters {
        parameters.reduce(into: Parameters()) { sum, entry in
            sum.tensors += entry.parameters.tensors
            sum.elements += entry.parameters.elements
            sum.bytes += entry.parameters.bytes
        }
    }

    /// Inputs and outputs as the file declares them; initializers that old files list as inputs are left out.
    private var declared: (inputs: [(ByteString, ValueType?)], outputs: [(ByteString, ValueType?)]) {
        let graph = model.graph
        func describe(_ id: ValueID) -> (ByteString, ValueType?) { (graph.values[id.index].name, graph.values[id.index].type) }
        return (
            graph.inputs.filter { model.irVersion >= 4 || graph.initializers[$0] == nil }.map(describe),
            graph.outputs.map(describe)
        )
    }

    // MARK: Text

    func lines(_ demand: ModelDemand?) -> [String] {
        var lines = Format.table(header + opsetRows)
        let (inputs, outputs) = declared
        for (title, values) in [("inputs", inputs), ("outputs", outputs)] {
            lines += ["", Terminal.bold(title)]
            lines += Format.table(values.map { ["  \($0)", $1.map(Self.spelled) ?? "unknown type"] })
        }
        lines += ["", Terminal.bold("operators") + "  (\(Format.grouped(nodes)) nodes)"]
        lines += Format.table(operators.map { ["  \($0.name)", Format.grouped($0.count)] }, numeric: [1])
        lines += ["", Terminal.bold("parameters")]
        var rows = parameters.map { type, own in
            ["  \(type.numpyName)", Format.grouped(own.elements), Format.bytes(own.bytes), "in \(Format.grouped(own.tensors)) tensors"]
        }
        if parameters.count != 1 {
            rows.append(["  all", Format.grouped(totals.elements), Format.bytes(totals.bytes), "in \(Format.grouped(totals.tensors)) tensors"])
        }
        lines += Format.table(rows, numeric: [1, 2])
        if let demand { lines += ["", Terminal.bold("one run") + "  (\(demand.shapeText))"] + Format.table(demand.rows) }
        return lines
    }

    private var header: [[String]] {
        var rows = [["model", file + (fileSize.map { "  (\(Format.bytes($0)))" } ?? "")]]
        if !model.graph.name.isEmpty { rows.append(["graph", "\(model.graph.name)"]) }
        let producer = [model.producerName, model.producerVersion].filter { !$0.isEmpty }.map(\.description)
        if !producer.isEmpty { rows.append(["producer", producer.joined(separator: " ")]) }
        rows.append(["IR version", "\(model.irVersion)"])
        return rows
    }

    private var opsetRows: [[String]] {
        let texts = model.opsets.map { "\(Self.domain($0.domain)) \($0.version)" }
        var rows = [["opsets", texts.joined(separator: ", ")]]
        if !model.functions.isEmpty {
            rows.append(["functions", model.functions.map { "\($0.domain).\($0.name)" }.joined(separator: ", ")])
        }
        for (key, value) in model.metadata { rows.append(["metadata", "\(key) = \(value)"]) }
        return rows
    }

    private static func domain(_ domain: ByteString) -> String { domain.isEmpty ? "ai.onnx" : "\(domain)" }

    /// `float32[batch, 1, 8, 8]`; other kinds as onnxruntime spells them.
    private static func spelled(_ type: ValueType) -> String {
        guard case .tensor(let element, let shape) = type else { return "\(type)" }
        let dimensions = shape.dimensions.map { $0.map { "\($0)" }.joined(separator: ", ") } ?? "…"
        return "\(element.numpyName)[\(dimensions)]"
    }

    // MARK: JSON

    func report(_ demand: ModelDemand?) -> JSONValue {
        let (inputs, outputs) = declared
        return .object([
            .init("file", .string(file)), .init("file_bytes", fileSize.map { .integer($0) } ?? .null),
            .init("graph", .string("\(model.graph.name)")), .init("producer", .string("\(model.producerName)")),
            .init("producer_version", .string("\(model.producerVersion)")), .init("ir_version", .integer(model.irVersion)),
            .init("opsets", Self.object(model.opsets.map { (Self.domain($0.domain), .integer($0.version)) })),
            .init("functions", .array(model.functions.map { .string("\($0.domain).\($0.name)") })),
            .init("metadata", Self.object(model.metadata.map { ("\($0.key)", .string("\($0.value)")) })),
            .init("inputs", .array(inputs.map(Self.report))), .init("outputs", .array(outputs.map(Self.report))),
            .init("nodes", .integer(nodes)),
            .init("operators", .object(operators.map { .init($0.name, .integer($0.count)) })),
            .init("parameters", .object([
                .init("tensors", .integer(totals.tensors)), .init("elements", .integer(totals.elements)),
                .init("bytes", .integer(totals.bytes)),
                .init("by_type", .object(parameters.map { .init($0.type.numpyName, .integer($0.parameters.elements)) })),
            ])),
            .init("run", demand?.report ?? .null),
        ])
    }

    /// An object from pairs of a file, which may repeat a key: the last one counts.
    private static func object(_ pairs: [(String, JSONValue)]) -> JSONValue {
        var members: [JSONValue.Member] = []
        for (name, value) in pairs {
            members.removeAll { $0.name == name }
            members.append(.init(name, value))
        }
        return .object(members)
    }

    private static func report(_ name: ByteString, _ type: ValueType?) -> JSONValue {
        var members: [JSONValue.Member] = [.init("name", .string("\(name)")), .init("type", type.map { .string("\($0)") } ?? .null)]
        if case .tensor(let element, let shape)? = type {
            members[1] = .init("type", .string("tensor(\(element.name))"))
            members.append(.init("shape", shape.dimensions.map { dimensions in
                .array(dimensions.map { dimension in
                    switch dimension {
                    case .known(let size): .integer(size)
                    case .symbolic(let expression): .string(expression.description)
                    case .unknown: .null
                    }
                })
            } ?? .null))
        }
        return .object(members)
    }
}

/// What one run of a session with certain input shapes asks for.
struct ModelDemand {
    let multiplyAccumulates: Int?
    /// Nil where an input is no tensor, or cannot be given the chosen shapes.
    private let plan: PlanDemand?
    /// Bytes of weights in the layout of the kernels.
    private let packedBytes: Int
    private let inputs: [(name: String, shape: [Int])]

    /// Plans a run with the shapes that `choices` gives the inputs.
    init(_ session: Session, _ model: Apus.Model, _ choices: ShapeChoices, _ options: SessionOptions) throws {
        var inputs: [(name: String, shape: [Int])] = []
        var infos: [ValueInfo?] = []
        for input in session.inputs {
            let info = InputInfo(input)
            guard let type = info.type, info.shape != nil || choices.shapes[info.name] != nil else {
                infos.append(nil)
                continue
            }
            let shape = try choices.shape(of: info)
            inputs.append((info.name, shape))
            infos.append(ValueInfo(type, try failing(as: .run) { try Shape(shape) }))
        }
        self.inputs = inputs
        let graph = try? Compilation(model.imported, options: options, environment: session.environment).graph(after: .inline)
        multiplyAccumulates = graph.flatMap { ModelCost.multiplyAccumulates($0, inputs: infos) }
        let before = session.environment.budget.used
        let known = infos.compactMap { $0 }
        plan = known.count == infos.count ? try failing(as: .run) { try session.compiled.demand(inputs: known) } : nil
        packedBytes = max(0, session.environment.budget.used - before)
    }

    var shapeText: String { inputs.map { $0.name + Format.shape($0.shape) }.joined(separator: ", ") }

    var rows: [[String]] {
        var rows = [["  multiply-accumulates", multiplyAccumulates.map { Format.grouped($0) } ?? "unknown: shapes depend on data"]]
        guard let plan else { return rows }
        let more = plan.isComplete ? "" : " for what is known before the run"
        rows += [
            ["  steps", Format.grouped(plan.stepCount) + more],
            ["  working memory", Format.bytes(plan.arenaByteCount) + " between nodes, \(Format.bytes(plan.workspaceByteCount)) within one" + more],
            ["  packed weights", Format.bytes(packedBytes)],
        ]
        return rows
    }

    var report: JSONValue {
        .object([
            .init("inputs", .object(inputs.map { .init($0.name, .array($0.shape.map { .integer($0) })) })),
            .init("multiply_accumulates", multiplyAccumulates.map { .integer($0) } ?? .null),
            .init("steps", plan.map { .integer($0.stepCount) } ?? .null),
            .init("arena_bytes", plan.map { .integer($0.arenaByteCount) } ?? .null),
            .init("workspace_bytes", plan.map { .integer($0.workspaceByteCount) } ?? .null),
            .init("is_complete", plan.map { .bool($0.isComplete) } ?? .null),
            .init("packed_weight_bytes", .integer(packedBytes)),
        ])
    }
}
