import ApusCore
import ApusGraph
import Foundation
import Testing

@testable import ApusONNX

/// A Python with onnx and onnxruntime: $APUS_PYTHON, or python3 of the path.
private enum Python {
    static let executable = ProcessInfo.processInfo.environment["APUS_PYTHON"] ?? "python3"
    static let isAvailable = (try? run("import onnx, onnxruntime, numpy", []))?.status == 0

    /// Runs a program; what it writes goes to a file, so that no pipe can fill up.
    static func run(_ program: String, _ arguments: [String]) throws -> (status: Int32, output: String) {
        let folder = try TemporaryFolder()
        let log = try folder.write([], "log")
        let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: log))
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = [executable, "-c", program] + arguments
        process.standardOutput = handle
        process.standardError = handle
        try process.run()
        process.waitUntilExit()
        return (process.terminationStatus, (try? String(contentsOfFile: log, encoding: .utf8)) ?? "")
    }
}

/// Import, write, and read again.
struct RoundTripTests {
    /// Everything that a graph says, as text; tensors by a hash of their bytes.
    private func fingerprint(_ model: Model) -> String {
        func text(_ value: Value) -> String {
            switch value {
            case .tensor(let tensor):
                var hash: UInt64 = 0xcbf2_9ce4_8422_2325
                for byte in UnsafeRawBufferPointer(start: tensor.pointer, count: tensor.byteCount) { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
                return "\(value.type)#\(hash)"
            case .strings(let strings): return "\(value.type)\(strings.elements.map(\.bytes))"
            case .sparse(let sparse): return "\(value.type)" + text(sparse.values) + text(.tensor(sparse.indices))
            default: return "\(value.type)"
            }
        }
        func text(_ metadata: [(key: ByteString, value: ByteString)]) -> String { metadata.map { "\($0.key.bytes)=\($0.value.bytes)" }.joined(separator: ",") }
        func text(_ attribute: Attribute) -> String {
            switch attribute.value {
            case .tensor(let value), .sparse(let value): "\(attribute.name):\(text(value))"
            case .tensors(let values), .sparses(let values): "\(attribute.name):\(values.map(text))"
            case .graph(let graph): "\(attribute.name):\(text(graph))"
            case .graphs(let graphs): "\(attribute.name):\(graphs.map(text))"
            default: "\(attribute.name):\(attribute.value):\(attribute.referencedType ?? -1)"
            }
        }
        func text(_ graph: Graph) -> String {
            func name(_ id: ValueID?) -> String { id.map { "\(graph.values[$0.index].name.bytes)" } ?? "-" }
            func named(_ id: ValueID) -> String { "\(name(id)):\(graph.values[id.index].type.map(String.init(describing:)) ?? "?")" }
            let constants = graph.initializers.map { "\(name($0.key))=\(text($0.value))" }.sorted()
            let notes = graph.annotations.map { "\(name($0.key)) \($0.value.documentation) \(text($0.value.metadata))" }.sorted()
            let nodes = graph.nodes.map { node in
                "\(node.outputs.map(name)) = \(node.domain)|\(node.opType)|\(node.overload)|\(node.name.bytes)|\(node.opset)(\(node.inputs.map(name)))"
                    + " \(node.attributes.map(text)) \(node.documentation) \(text(node.metadata))"
            }
            let types = graph.values.indices.map { named(ValueID($0)) }.sorted()
            return "\(graph.name) \(graph.documentation) \(text(graph.metadata)) in \(graph.inputs.map(named)) out \(graph.outputs.map(named))\n"
                + (constants + notes + nodes + types + graph.captures.map { name($0.inner) }.sorted()).joined(separator: "\n")
        }
        let functions = model.functions.map { function in
            "\(function.domain) \(function.name) \(function.overload) \(function.attributeNames) \(function.defaults.map(text)) \(text(function.metadata)) "
                + "\(function.documentation) \(function.opsets) \(text(function.body))"
        }
        return "\(model.irVersion) \(model.producerName) \(model.producerVersion) \(model.domain) \(model.modelVersion) \(model.documentation) "
            + "\(text(model.metadata)) \(model.opsets)\n\(text(model.graph))\n\(functions.joined(separator: "\n"))"
    }

    @Test(.enabled(if: !Shared.modelFiles.isEmpty, "the folder shared/models is absent"), arguments: Shared.modelFiles)
    func nothingIsLost(file: URL) throws {
        let model = try ModelLoader().load(path: file.path)
        let again = try load(try ModelWriter.bytes(of: model))
        #expect(fingerprint(again) == fingerprint(model))
    }

    @Test(.enabled(if: Python.isAvailable && !Shared.modelFiles.isEmpty, "no Python with onnx and onnxruntime, or no shared/models"))
    func onnxruntimeRunsWhatIsWritten() throws {
        let folder = try TemporaryFolder()
        var arguments: [String] = []
        for (index, file) in Shared.modelFiles.enumerated() {
            let copy = folder.url.appendingPathComponent("\(index).onnx").path
            try ModelWriter.write(try ModelLoader().load(path: file.path), to: copy)
            arguments += [file.path, copy]
        }
        let program = """
            import sys, os, numpy as np, onnx, onnxruntime as rt
            rt.set_default_logger_severity(4)
            options = rt.SessionOptions(); options.intra_op_num_threads = 1; options.log_severity_level = 4
            def checked(path):
                try: onnx.checker.check_model(path); return None
                except Exception as e: return type(e).__name__
            failures = 0
            for original, copy in zip(sys.argv[1::2], sys.argv[2::2]):
                try:
                    a, b = onnx.load(original), onnx.load(copy)
                    if checked(original) is None: onnx.checker.check_model(copy)
                    assert sorted(n.name for n in a.graph.node) == sorted(n.name for n in b.graph.node), 'node names'
                    assert [(p.key, p.value) for p in a.metadata_props] == [(p.key, p.value) for p in b.metadata_props], 'metadata'
                    feed = np.load(os.path.join(os.path.dirname(original), 'inputs.npz'))
                    feed = {k: feed[k].astype(object) if feed[k].dtype.kind == 'U' else feed[k] for k in feed.files}
                    x = rt.InferenceSession(original, options, providers=['CPUExecutionProvider'])
                    y = rt.InferenceSession(copy, options, providers=['CPUExecutionProvider'])
                    assert [(i.name, i.shape, i.type) for i in x.get_inputs()] == [(i.name, i.shape, i.type) for i in y.get_inputs()], 'inputs'
                    assert [o.name for o in x.get_outputs()] == [o.name for o in y.get_outputs()], 'outputs'
                    for u, v in zip(x.run(None, feed), y.run(None, feed)):
                        if isinstance(u, np.ndarray) and u.dtype.kind in 'fiub': np.testing.assert_allclose(u, v, rtol=1e-5, atol=1e-6)
                        else: assert str(u) == str(v), 'values'
                except Exception as e:
                    failures += 1; print(original, type(e).__name__, str(e)[:300])
            print(len(sys.argv) // 2, 'models,', failures, 'failures'); sys.exit(failures != 0)
            """
        let (status, output) = try Python.run(program, arguments)
        #expect(status == 0, "\(output)")
    }

    @Test func aFileIsReplacedByTheModelThatItHolds() throws {
        let folder = try TemporaryFolder()
        let floats = (0..<50_000).map(Float.init)
        let path = try folder.write(Wire.model(initializer: Wire.tensor("w", 1, [50_000], Wire.bytes(9, Wire.little(floats)))), "model.onnx")
        let model = try ModelLoader().load(path: path)
        try ModelWriter.write(model, to: path)
        #expect(try ModelLoader().load(path: path).graph.initializers.values.first?.asTensor().array(Float.self) == floats)
        // The old map still holds.
        #expect(try model.graph.initializers.values.first?.asTensor().array(Float.self) == floats)
        #expect(errorThrown { try ModelWriter.write(model, to: folder.url.path + "/absent/model.onnx") }?.code == .io)
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.url.path) == ["model.onnx"])
    }

    @Test func fieldsNewerThanLibonnxAreWritten() throws {
        let graph = Graph(name: "g")
        let x = graph.addValue("x", type: .tensor(.float4e2m1, PartialShape([.symbol("n"), .unknown, .known(3)])))
        graph.inputs = [x]
        graph.annotations[x] = .init(documentation: "an input", metadata: [("k", "v")])
        let unnamed = graph.addValue(), twin = graph.addValue("x"), y = graph.addValue("y")
        graph.nodes = [
            Node("f", domain: "mine", overload: "second", name: "n", opset: 1, inputs: [x, nil], outputs: [unnamed], metadata: [("a", "b")]),
            Node("Add", opset: 21, inputs: [unnamed, x], outputs: [twin]), Node("Neg", opset: 21, inputs: [twin], outputs: [y]),
        ]
        graph.outputs = [y]
        graph.metadata = [("graph", "1")]
        let body = Graph(name: "f")
        let a = body.addValue("a"), b = body.addValue("b")
        (body.inputs, body.outputs) = ([a], [b])
        body.nodes = [Node("Elu", opset: 21, attributes: [Attribute("alpha", .reference("alpha"), referencedType: 1)], inputs: [a], outputs: [b])]
        let model = Model(graph: graph)
        model.irVersion = 13
        model.opsets = [("", 21), ("mine", 1)]
        model.functions = [
            Function(
                domain: "mine", name: "f", overload: "second", body: body, attributeNames: ["plain"], defaults: [Attribute("alpha", .float(0.5))],
                opsets: [("", 21)], documentation: "about f", metadata: [("function", "2")])
        ]
        let again = try load(try ModelWriter.bytes(of: model))
        #expect(again.graph.values[again.graph.inputs[0].index].type == graph.values[x.index].type)
        #expect(again.graph.annotations[again.graph.inputs[0]]?.documentation == "an input")
        #expect(again.graph.annotations[again.graph.inputs[0]]?.metadata.first?.value == "v")
        #expect(again.graph.nodes.map(\.opType) == ["f", "Add", "Neg"])
        #expect(again.graph.nodes[0].overload == "second")
        #expect(again.graph.nodes[0].inputs.count == 2 && again.graph.nodes[0].inputs[1] == nil)
        #expect(again.graph.nodes[0].metadata.first?.key == "a")
        #expect(again.graph.nodes[1].inputs == [again.graph.nodes[0].outputs[0], again.graph.inputs[0]])
        #expect(again.graph.metadata.first?.key == "graph")
        let function = try #require(again.functions.first)
        #expect(function.overload == "second" && function.attributeNames == ["plain"] && function.documentation == "about f")
        #expect(function.metadata.first?.value == "2")
        guard case .float(0.5)? = function.defaults.first?.value else { throw ApusError(.internal, "the default is lost") }
        #expect(function.body.nodes[0].attributes[0].referencedType == 1)
    }

    @Test func constantsThatONNXCannotHoldAreRefused() {
        let graph = Graph(name: "g")
        let type = ValueType.tensor(.float32, .unknown)
        _ = graph.addInitializer(.sequence(SequenceValue(elementType: type, elements: [])), name: "s")
        #expect(errorThrown { _ = try ModelWriter.bytes(of: Model(graph: graph)) }?.code == .unsupported)
    }
}

/// The malformed and hostile models in shared/bad: what the importer alone can tell.
struct HostileModelTests {
    private static let files: [URL] = {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: Shared.bad.path)) ?? []
        return names.filter { $0.hasSuffix(".onnx") }.sorted().map { Shared.bad.appendingPathComponent($0) }
    }()

    /// Cases that must fail while importing; the others may only fail later or not at all.
    private static let refusedHere = [
        "file_", "pb_len", "pb_varint", "pb_field_zero", "pb_wire", "pb_group", "pb_nested", "pb_trailing", "trunc_", "opset_0", "opset_m1", "opset_999", "opset_9223",
        "ext_", "tensor_raw", "tensor_dims", "tensor_rank", "tensor_type", "string_short", "sparse_oob", "sparse_neg", "sparse_i64max", "sparse_coo", "sparse_rank3",
        "sparse_dims", "bomb_sparse", "ssa_", "cycle_", "input_missing", "output_unproduced", "op_empty", "input_no_type", "attr_type_field_differs",
        "fn_output_unproduced", "fn_undefined_inside", "if_branch_undefined",
    ]

    @Test(.enabled(if: !files.isEmpty, "the folder shared/bad is absent"))
    func noCaseEndsTheProcess() throws {
        #expect(HostileModelTests.files.count > 400)
        var read = 0
        for file in HostileModelTests.files {
            let name = file.lastPathComponent
            do {
                let model = try ModelLoader(budget: MemoryBudget(cap: 1 << 30)).load(path: file.path)
                read += 1
                #expect(!HostileModelTests.refusedHere.contains { name.hasPrefix($0) }, "\(name) was accepted")
                // What was read can be written, and is then the same model.
                let again = try load(try ModelWriter.bytes(of: model))
                #expect(again.graph.nodes.count == model.graph.nodes.count, "\(name)")
            } catch let error as ApusError {
                #expect(error.code != .internal && !error.message.isEmpty, "\(name): \(error)")
            }
        }
        #expect(read > 200)
    }
}
