import Apus
import ApusCore
import ArgumentParser

struct QuantizeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "quantize",
        abstract: "Write a model that computes with 8 bits, or keeps its weights in 4 or 8.",
        discussion: """
            --static (the default) puts weights and activations into 8 bits; the ranges of activations are measured on the data of \
            --calibrate. --dynamic needs no data: activations are quantised as they come. --weights leaves activations in float. \
            The result is standard ONNX.

            DATA is an .npz file with an array for each input, many samples along the first axis, or a directory of such files, \
            of .npy files or of pictures. The same data judge the result: by an array of right classes where there is one \
            (--labels; "label" and "labels" are taken for one), else by how far the outputs are off.

            EXAMPLES
              apus quantize model.onnx -o model_int8.onnx --calibrate data.npz
              apus quantize model.onnx -o model_int8.onnx --calibrate pictures/ --mean 0.5 --std 0.5 --max-drop 0.01
              apus quantize model.onnx -o model_int8.onnx --calibrate data.npz --exclude Gemm --exclude '/head/*'
              apus quantize model.onnx -o model_int4.onnx --weights int4 --block 32
            """)

    enum Activations: String, ExpressibleByArgument, CaseIterable { case u8, s8 }
    enum Calibration: String, ExpressibleByArgument, CaseIterable {
        case minMax = "min-max"
        case percentile, entropy
    }
    enum Weights: String, ExpressibleByArgument, CaseIterable { case int8, int4 }
    enum Equalization: String, ExpressibleByArgument, CaseIterable { case auto, on, off }

    @Argument(help: "The model, an .onnx file.", completion: .file(extensions: ["onnx"]))
    var model: String

    @Option(name: .shortAndLong, help: ArgumentHelp("Where to write the quantised model.", valueName: "FILE"))
    var output: String

    @Flag(name: .customLong("static"), help: "8-bit weights and activations, by measured ranges.")
    var isStatic = false

    @Flag(help: "8-bit weights; activations quantised as they come.")
    var dynamic = false

    @Option(help: "Weights alone: int8, int4.")
    var weights: Weights?

    @Option(help: ArgumentHelp("The data to measure activations on, and to judge the result by.", valueName: "DATA"))
    var calibrate: String?

    @Option(help: ArgumentHelp("The array of .npz files that holds the right classes.", valueName: "NAME"))
    var labels: String?

    @Option(help: ArgumentHelp("Samples of one run, where the model leaves that open.", valueName: "N"))
    var batch: Int = 32

    @Option(help: "The range of an activation: min-max, percentile (what holds --percentile of the elements), entropy.")
    var calibration: Calibration = .minMax

    @Option(help: ArgumentHelp("For --calibration percentile.", valueName: "P"))
    var percentile: Double = 99.99

    @Option(help: "The type of 8-bit activations: u8, s8.")
    var activations: Activations = .u8

    @Flag(help: "One scale for all of a layer's weights rather than one for each output channel.")
    var perTensor = false

    @Option(help: ArgumentHelp(
        "For --weights: elements along the summed axis that share a scale, 16 or more; 0: all of a column.", valueName: "N"))
    var block: Int = 0

    @Flag(help: "For --weights: give blocks a zero point rather than making them symmetric.")
    var zeroPoints = false

    @Flag(help: "For --weights: take scales from the largest element rather than searching them for the least error.")
    var plainScales = false

    @Option(help: "Bring the channels of adjacent layers to equal ranges: auto (where it helps), on, off.")
    var equalize: Equalization = .auto

    @Flag(help: "Correct biases by the mean error that rounded weights make.")
    var correctBias = false

    @Option(help: ArgumentHelp(
        "Leave in float what it takes to lose no more than this: of the share of right answers, or relative error without labels.",
        valueName: "X"))
    var maxDrop: Double?

    @Option(help: ArgumentHelp(
        "Leave in float an operator (Conv), or nodes by their names or those of their first outputs; * stands for anything. May be repeated.",
        valueName: "NAME"))
    var exclude: [String] = []

    @Option(help: ArgumentHelp("Quantise only these. May be repeated.", valueName: "NAME"))
    var include: [String] = []

    @Option(help: ArgumentHelp("Write a page that shows what came of it: sizes, accuracy, times, errors by layer.", valueName: "FILE.html"))
    var report: String?

    @Flag(help: "Print what came of it as JSON.")
    var json = false

    @OptionGroup(title: "Pictures") var image: ImageOptions
    @OptionGroup(title: "Running") var runtime: RuntimeOptions

    func validate() throws {
        if batch < 1 { throw ValidationError("--batch must be at least 1") }
        if [isStatic, dynamic, weights != nil].filter({ $0 }).count > 1 { throw ValidationError("--static, --dynamic and --weights exclude each other") }
        if calibrate == nil {
            if !dynamic && weights == nil { throw ValidationError("static quantisation needs data to measure activations on: --calibrate DATA") }
            if labels != nil || maxDrop != nil { throw ValidationError("--labels and --max-drop need data: --calibrate DATA") }
        }
        if weights == nil && (block != 0 || zeroPoints || plainScales) {
            throw ValidationError("--block, --zero-points and --plain-scales belong to --weights")
        }
    }

    private func options() -> QuantizationOptions {
        var options = QuantizationOptions()
        options.method = dynamic ? .dynamic : weights == nil ? .static : .weights
        options.weightType = weights == .int4 ? .int4 : .int8
        options.blockSize = block
        options.hasZeroPoints = zeroPoints
        options.searchesScales = !plainScales
        options.equalization =
            switch equalize {
            case .auto: .automatic
            case .on: .always
            case .off: .never
            }
        options.correctsBias = correctBias
        options.maximumDrop = maxDrop
        options.activationType = activations == .u8 ? .uint8 : .int8
        options.isPerChannel = !perTensor
        options.calibration =
            switch calibration {
            case .minMax: .minMax
            case .percentile: .percentile
            case .entropy: .entropy
            }
        options.percentile = percentile
        options.exclude = exclude
        options.include = include
        if Terminal.errorIsTerminal {
            options.progress = { stage, share in
                Terminal.progress(share < 1 ? "\(Terminal.bar(share, width: 24)) \(Format.right("\(Int(share * 100))", 3)) %  \(stage) …" : "")
            }
        }
        return options
    }

    func run() throws {
        let read = try Model.read(model)
        let session = try failing(as: .model) { try Session(read, options: runtime.sessionOptions) }
        let data = try calibrate.map {
            try DataSet($0, session.inputs.map { InputInfo($0) }, image, labels: labels, batchSize: batch).batches
        }
        defer { Terminal.progress("") }
        let options = options()
        let (quantized, result) = try failing(as: .run) { try read.quantized(options, data: data ?? [], session: runtime.sessionOptions) }
        try failing(as: .file) { try quantized.save(to: output) }
        Terminal.progress("")
        let sizes = (before: FileIO.size(model) ?? 0, after: FileIO.size(output) ?? 0)
        if let report { try FileIO.write(Array(QuantizationPage(result, name: model, sizes).html.utf8), to: report) }
        print(json ? result.json : QuantizationSummary(result, sizes).lines.joined(separator: "\n"))
    }
}
