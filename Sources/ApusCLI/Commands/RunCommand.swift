import Apus
import ArgumentParser

struct RunCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Run a model once and show or keep its outputs.",
        discussion: """
            EXAMPLES
              apus run digits.onnx --input digit.png --top 3 --labels labels.txt
              apus run model.onnx --input x=x.npy --input mask=fill:1 --output out.npz
              apus run model.onnx --input ids='json:[[1, 2, 3]]' --json
            """)

    @Argument(help: "The model, an .onnx file.", completion: .file(extensions: ["onnx"]))
    var model: String

    @OptionGroup var input: InputOptions

    @Option(name: .shortAndLong, help: ArgumentHelp(
        "Write the outputs to an .npz or .json file, a single one to .npy, or all as .npy files to a directory.",
        valueName: "FILE|DIR"))
    var output: String?

    @Flag(help: "Print the outputs as JSON.")
    var json = false

    @Option(help: ArgumentHelp("Show the K best classes of each output along its last dimension.", valueName: "K"))
    var top: Int?

    @Option(help: ArgumentHelp("Names of the classes, a line for each.", valueName: "FILE"))
    var labels: String?

    @Flag(help: "Turn scores into probabilities before showing the best.")
    var softmax = false

    @Flag(help: "Draw the inputs that are small pictures of one channel.")
    var show = false

    @OptionGroup(title: "Pictures") var image: ImageOptions
    @OptionGroup(title: "Running") var runtime: RuntimeOptions

    func validate() throws {
        if let top, top < 1 { throw ValidationError("--top must be at least 1") }
        if json && (top != nil || show) { throw ValidationError("--json goes with neither --top nor --show") }
        if top == nil && (labels != nil || softmax) { throw ValidationError("--labels and --softmax need --top") }
    }

    func run() throws {
        let names = try labels.map(Self.readLabels)
        let session = try runtime.session(model)
        let infos = session.inputs.map { InputInfo($0) }
        let tensors = try input.tensors(for: infos, image)
        if show {
            for info in infos {
                guard let tensor = tensors[info.name], let picture = PictureText.lines(tensor, width: Terminal.width) else { continue }
                print((picture + [""]).joined(separator: "\n"))
            }
        }
        let prepared = try PreparedRun(session, tensors)
        let outputs = try prepared.tensors(try prepared.run(runtime.control()))
        if let output { try OutputFile.write(outputs, to: output) }
        if json {
            print(OutputFile.json(outputs).text())
        } else if let top {
            showBest(outputs, top, names)
        } else if output == nil {
            for (index, (name, tensor)) in outputs.enumerated() {
                if index > 0 { print("") }
                print(TensorText.lines(name, tensor).joined(separator: "\n"))
            }
        }
    }

    private func showBest(_ outputs: [(name: String, tensor: HostTensor)], _ top: Int, _ names: [String]?) {
        for (name, tensor) in outputs {
            guard let classification = Classification(tensor, top: top, softmax: softmax) else {
                print(TensorText.lines(name, tensor).joined(separator: "\n"))
                continue
            }
            if let names, names.count != classification.classes {
                Terminal.error("apus: \(labels ?? "") names \(names.count) classes, '\(name)' has \(classification.classes)")
            }
            if outputs.count > 1 { print(Terminal.bold(name)) }
            print(classification.lines(names, width: Terminal.width).joined(separator: "\n"))
        }
    }

    /// One label for each line; a line's end may be that of Windows.
    private static func readLabels(_ path: String) throws -> [String] {
        let bytes = try FileIO.read(path, atMost: 1 << 26)
        guard let text = String(validating: bytes, as: UTF8.self) else { throw CLIError.file("\(path): not UTF-8 text") }
        var lines = text.split(omittingEmptySubsequences: false) { $0 == "\n" || $0 == "\r\n" }.map(String.init)
        if lines.last == "" { lines.removeLast() }
        return lines
    }
}
