import ApusCore

/// What the command line needs to know about a model's input to feed it.
struct InputInfo: Equatable, Sendable {
    enum Dimension: Equatable, Sendable, CustomStringConvertible {
        case fixed(Int)
        case named(String)
        case unknown

        var description: String {
            switch self {
            case .fixed(let size): "\(size)"
            case .named(let name): name
            case .unknown: "?"
            }
        }

        var size: Int? {
            if case .fixed(let size) = self { size } else { nil }
        }
    }

    let name: String
    /// Nil for inputs that are no tensors: sequences, maps, sparse tensors, and optionals of them.
    let type: ElementType?
    /// Nil when the model does not even say the rank.
    let shape: [Dimension]?
    /// The model runs without it.
    let isOptional: Bool

    init(_ name: String, _ type: ElementType?, _ shape: [Dimension]?, isOptional: Bool = false) {
        (self.name, self.type, self.shape, self.isOptional) = (name, type, shape, isOptional)
    }

    /// `name: float32[batch, 3, 224, 224]`
    var summary: String {
        let dimensions = shape.map { "[" + $0.map(\.description).joined(separator: ", ") + "]" } ?? "[…]"
        return "\(name): \(type.map { $0.numpyName + dimensions } ?? "not a tensor")"
    }
}

/// Sizes that the caller gives for what a model leaves open.
struct ShapeChoices: Equatable, Sendable {
    /// By the name of a symbolic dimension.
    var dimensions: [String: Int] = [:]
    /// By the name of an input: its whole shape.
    var shapes: [String: [Int]] = [:]

    /// Reads `--dim NAME=N` and `--shape NAME=2x3` arguments.
    init(dimensions: [String] = [], shapes: [String] = []) throws {
        for text in dimensions {
            let (name, value) = try Self.split(text, "--dim NAME=N")
            guard let size = Int(value), size >= 0 else { throw CLIError.usage("--dim \(text): '\(value)' is no size") }
            guard self.dimensions.updateValue(size, forKey: name) == nil else {
                throw CLIError.usage("--dim gives '\(name)' twice")
            }
        }
        for text in shapes {
            let (name, value) = try Self.split(text, "--shape NAME=2x3")
            guard self.shapes.updateValue(try Self.shape(value), forKey: name) == nil else {
                throw CLIError.usage("--shape gives '\(name)' twice")
            }
        }
    }

    private static func split(_ text: String, _ form: String) throws -> (String, String) {
        // The last sign: ONNX names may contain it, numbers may not.
        guard let sign = text.lastIndex(of: "="), sign > text.startIndex else {
            throw CLIError.usage("'\(text)' is not of the form \(form)")
        }
        return (String(text[..<sign]), String(text[text.index(after: sign)...]))
    }

    private static func shape(_ text: String) throws -> [Int] {
        if text == "scalar" { return [] }
        return try text.split(separator: "x", omittingEmptySubsequences: false).map { part in
            guard let size = Int(part), size >= 0 else { throw CLIError.usage("'\(text)' is no shape like 1x3x224x224") }
            return size
        }
    }

    /// The concrete shape for generated contents; a dimension that nothing determines is 1.
    func shape(of input: InputInfo) throws -> [Int] {
        if let whole = shapes[input.name] { return whole }
        guard let shape = input.shape else {
            throw CLIError.usage("the model does not say the rank of '\(input.name)': give --shape \(input.name)=1x3x224x224")
        }
        return shape.map { dimension in
            switch dimension {
            case .fixed(let size): size
            case .named(let name): dimensions[name] ?? 1
            case .unknown: 1
            }
        }
    }
}
