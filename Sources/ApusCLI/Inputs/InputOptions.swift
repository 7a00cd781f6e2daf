import ApusCore
import ArgumentParser

/// The options that say what a model is fed with, and their evaluation.
struct InputOptions: ParsableArguments {
    @Option(name: [.customShort("i"), .customLong("input")], help: ArgumentHelp(
        "What to feed an input with; may be repeated.",
        discussion: """
            NAME= may be left out when the model has one input. SOURCE is
              FILE.npy            an array of numpy
              FILE.npz            its array NAME, or its only one;
                                  without NAME= all arrays by their names
              FILE.png, FILE.jpg  a picture, see the options for pictures
              FILE.json           nested arrays, or {"type", "shape",
                                  "data"}; without NAME= {"NAME": …, …}
              json:TEXT           the same on the command line
              zeros, fill:X       the same number everywhere
              random:SEED         uniform numbers in 0..<1 (integers: 0, 1)
              random:SEED:A:B     uniform numbers from A to B
            """,
        valueName: "NAME=SOURCE"))
    var inputs: [String] = []

    @Option(name: .customLong("dim"), help: ArgumentHelp(
        "Size of a symbolic dimension for zeros, fill and random; 1 unless given. May be repeated.", valueName: "NAME=N"))
    var dimensions: [String] = []

    @Option(name: .customLong("shape"), help: ArgumentHelp(
        "Whole shape of an input for zeros, fill and random. May be repeated.", valueName: "NAME=2x3"))
    var shapes: [String] = []

    /// The contents of every input that the options name, by input name.
    ///
    /// - Parameter fallback: feeds the inputs that are required but not named; without it they are an error.
    func tensors(
        for infos: [InputInfo], _ image: ImageOptions, fallback: InputSource? = nil
    ) throws -> [String: HostTensor] {
        let choices = try ShapeChoices(dimensions: dimensions, shapes: shapes)
        for name in choices.shapes.keys where !infos.contains(where: { $0.name == name }) {
            throw Self.noInput(name, infos)
        }
        var tensors: [String: HostTensor] = [:]
        func feed(_ info: InputInfo, _ tensor: HostTensor) throws {
            guard tensors.updateValue(tensor, forKey: info.name) == nil else {
                throw CLIError.usage("the input '\(info.name)' is given twice")
            }
        }
        for argument in inputs {
            let (name, text) = try Self.split(argument, infos)
            let source = try InputSource(text)
            if let name, let info = infos.first(where: { $0.name == name }) {
                try feed(info, try at("input '\(name)'") { try source.tensor(for: info, choices, image) })
            } else if source.mayHoldSeveral, let named = try source.namedTensors() {
                for (name, load) in named {
                    guard let info = infos.first(where: { $0.name == name }) else { throw Self.noInput(name, infos) }
                    try feed(info, try at("input '\(name)'") { try load(try info.elementType()) })
                }
            } else {
                let candidates = infos.filter { !$0.isOptional }
                guard let only = infos.count == 1 ? infos.first : candidates.count == 1 ? candidates.first : nil else {
                    throw CLIError.usage("'\(argument)' does not say which input it is for: \(Self.list(infos))")
                }
                try feed(only, try at("input '\(only.name)'") { try source.tensor(for: only, choices, image) })
            }
        }
        for info in infos where tensors[info.name] == nil && !info.isOptional {
            guard let fallback else { throw CLIError.usage("nothing feeds the input \(info.summary)\nuse --input \(info.name)=…") }
            tensors[info.name] = try at("input '\(info.name)'") { try fallback.tensor(for: info, choices, image) }
        }
        return tensors
    }

    /// Takes `NAME=` off, if that is the name of an input: names may contain `=` themselves.
    private static func split(_ argument: String, _ infos: [InputInfo]) throws -> (name: String?, source: String) {
        let named = infos.filter { argument.hasPrefix($0.name + "=") }.max { $0.name.utf8.count < $1.name.utf8.count }
        if let named { return (named.name, String(argument.dropFirst(named.name.count + 1))) }
        // `typo=file.npy` must not pass for a file of that name; a file that is there may have such a name.
        if let sign = argument.firstIndex(of: "="), !argument.hasPrefix("json:"), !FileIO.exists(argument) {
            throw noInput(String(argument[..<sign]), infos)
        }
        return (nil, argument)
    }

    private static func noInput(_ name: String, _ infos: [InputInfo]) -> CLIError {
        CLIError.usage("the model has no input '\(name)', only \(list(infos))")
    }

    private static func list(_ infos: [InputInfo]) -> String {
        infos.isEmpty ? "none at all" : infos.map(\.summary).joined(separator: "; ")
    }
}

extension InputInfo {
    /// The element type, or an error for inputs that files cannot describe.
    func elementType() throws -> ElementType {
        guard let type else { throw CLIError.usage("only tensors can be fed from the command line, and '\(name)' is none") }
        return type
    }
}

extension InputSource {
    /// The tensor for one input, of the input's element type.
    func tensor(for info: InputInfo, _ choices: ShapeChoices, _ image: ImageOptions) throws -> HostTensor {
        let type = try info.elementType()
        switch self {
        case .npy(let path): return try at(path) { try Self.checked(try NPY.read(try FileIO.read(path)[...]).tensor(voidAs: type), type) }
        case .npz(let path):
            return try at(path) {
                let arrays = try NPZ.read(try FileIO.read(path))
                guard let array = arrays.first(where: { $0.name == info.name }) ?? (arrays.count == 1 ? arrays.first : nil)
                else { throw CLIError.file("holds no array '\(info.name)', only \(arrays.map(\.name).joined(separator: ", "))") }
                return try Self.checked(try array.array.tensor(voidAs: type), type)
            }
        case .picture(let path):
            return try at(path) { try image.tensor(try Picture(decoding: try FileIO.read(path)), for: info, choices) }
        case .json, .inline:
            switch try document() {
            case .single(let value): return try Self.checked(try JSONTensor.tensor(value, as: type), type)
            case .named(let members):
                guard let member = members.first(where: { $0.name == info.name }) else {
                    throw CLIError.file("the JSON holds no '\(info.name)'")
                }
                return try Self.checked(try JSONTensor.tensor(member.value, as: type), type)
            }
        case .fill(let value): return try HostTensor.filled(type, try choices.shape(of: info), with: value)
        case .random(let seed, let low, let high):
            return try HostTensor.random(type, try choices.shape(of: info), seed: seed, low: low, high: high)
        }
    }

    /// The named tensors of a file that holds several, each to be loaded as an element type; nil if it holds just one.
    func namedTensors() throws -> [(name: String, load: (ElementType) throws -> HostTensor)]? {
        switch self {
        case .npz(let path):
            return try at(path) {
                try NPZ.read(try FileIO.read(path)).map { name, array in
                    (name, { type in try Self.checked(try array.tensor(voidAs: type), type) })
                }
            }
        case .json, .inline:
            guard case .named(let members) = try document() else { return nil }
            return members.map { member in
                (member.name, { type in try Self.checked(try JSONTensor.tensor(member.value, as: type), type) })
            }
        default: return nil
        }
    }

    /// JSON is text a person wrote: more than 256 MB of it is a mistake.
    private static let longestJSON = 1 << 28

    private func document() throws -> JSONTensor.Document {
        switch self {
        case .json(let path): try at(path) { try JSONTensor.document(try FileIO.read(path, atMost: Self.longestJSON)) }
        case .inline(let text): try JSONTensor.document(Array(text.utf8))
        default: throw CLIError.usage("no JSON")
        }
    }

    /// Never converts behind the caller's back: a wrong element type is an error.
    private static func checked(_ tensor: HostTensor, _ type: ElementType) throws -> HostTensor {
        guard tensor.type == type else {
            throw CLIError.usage("holds \(tensor.type.numpyName), the model takes \(type.numpyName)")
        }
        return tensor
    }
}
