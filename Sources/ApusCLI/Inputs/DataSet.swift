import Apus
import ApusCore

/// Data to quantise a model with: many runs' worth of inputs, read from an .npz file or a directory.
struct DataSet {
    /// Runs, each with the model's inputs by name.
    private(set) var batches: [QuantizationInput] = []

    private let infos: [InputInfo]
    private let image: ImageOptions
    private let labels: String?
    private let batchSize: Int

    /// - Parameters:
    ///   - path: an .npz or .json file with an array for each input, or a directory of such files, .npy files or pictures.
    ///   - labels: the array of an .npz file that holds the right classes; nil: "label" or "labels" where there is one.
    ///   - batchSize: rows of a run, where the model leaves the first dimension of its inputs open.
    init(_ path: String, _ infos: [InputInfo], _ image: ImageOptions, labels: String?, batchSize: Int) throws {
        (self.infos, self.image, self.labels, self.batchSize) = (infos, image, labels, batchSize)
        if FileIO.isDirectory(path) {
            let files = try FileIO.list(path).filter { ["npz", "npy", "json", "png", "jpg", "jpeg"].contains(FileIO.fileExtension($0)) }
            guard !files.isEmpty else { throw CLIError.file("\(path): holds no .npz, .npy, .json, .png or .jpg files") }
            for file in files { try add("\(path)/\(file)") }
        } else {
            try add(path)
        }
        guard !batches.isEmpty else { throw CLIError.file("\(path): holds no data") }
        let labelled = batches.filter { $0.labels != nil }.count
        guard labelled == 0 || labelled == batches.count else { throw CLIError.file("\(path): only some files have labels") }
        guard labels == nil || labelled > 0 else { throw CLIError.file("\(path): holds no array '\(labels ?? "")' of labels") }
    }

    private mutating func add(_ path: String) throws {
        let source = try InputSource(path)
        switch source {
        case .npz: try at(path) { try addArrays(path) }
        case .npy, .json, .picture:
            var options = InputOptions()
            (options.inputs, options.dimensions, options.shapes) = ([path], [], [])
            try addRows(try options.tensors(for: infos, image), labels: nil)
        case .inline, .fill, .random: throw CLIError.usage("'\(path)' is no file or directory of data")
        }
    }

    private mutating func addArrays(_ path: String) throws {
        var tensors: [String: HostTensor] = [:]
        var classes: [Int]?
        for (name, array) in try NPZ.read(try FileIO.read(path)) {
            if let info = infos.first(where: { $0.name == name }) {
                let type = try info.elementType()
                let tensor = try at(name) { try array.tensor(voidAs: type) }
                guard tensor.type == type else {
                    throw CLIError.file("'\(name)' holds \(tensor.type.numpyName), the model takes \(type.numpyName)")
                }
                tensors[name] = tensor
            } else if labels.map({ $0 == name }) ?? (name == "label" || name == "labels") {
                let tensor = try at(name) { try array.tensor(voidAs: .int64) }
                guard tensor.type.isInteger, tensor.shape.count == 1 else {
                    throw CLIError.file("the labels '\(name)' must be a row of integers, not \(tensor.type.numpyName)\(Format.shape(tensor.shape))")
                }
                classes = tensor.integers().map { Int(clamping: $0) }
            } else {
                throw CLIError.file(
                    "'\(name)' is no input of the model, which has \(infos.map(\.summary).joined(separator: "; ")); labels are named with --labels")
            }
        }
        for info in infos where tensors[info.name] == nil && !info.isOptional {
            throw CLIError.file("holds nothing for the input \(info.summary)")
        }
        try addRows(tensors, labels: classes)
    }

    /// Splits tensors along their first axis into runs, where the model lets or makes it so.
    private mutating func addRows(_ tensors: [String: HostTensor], labels: [Int]?) throws {
        let rows = Set(tensors.values.map { $0.shape.first ?? -1 })
        guard let count = rows.first, rows.count == 1, count > 0, let size = rowsOfRun(tensors, count) else {
            batches.append(QuantizationInput(try tensors.mapValues { try $0.value() }, labels: labels))
            return
        }
        if let labels, labels.count != count { throw CLIError.file("\(labels.count) labels for \(count) rows of inputs") }
        for start in stride(from: 0, to: count, by: size) {
            let end = min(start + size, count)
            let inputs = try tensors.mapValues { try $0.rows(start..<end).value() }
            batches.append(QuantizationInput(inputs, labels: labels.map { Array($0[start..<end]) }))
        }
    }

    /// How many rows one run takes; nil: all that are given, as one.
    private func rowsOfRun(_ tensors: [String: HostTensor], _ count: Int) -> Int? {
        let firsts = infos.filter { tensors[$0.name] != nil }.map { $0.shape?.first }
        var size: Int?
        for first in firsts {
            guard let dimension = first else { return nil }
            switch dimension {
            case .fixed(let fixed):
                guard fixed > 0, count % fixed == 0, size == nil || size == fixed else { return nil }
                size = fixed
            case .named, .unknown: continue
            }
        }
        let mixes = size != nil && firsts.contains { $0?.size == nil }
        return mixes ? nil : size ?? batchSize
    }
}

extension HostTensor {
    /// Some rows along the first axis. Only for types whose rows are whole bytes.
    func rows(_ range: Range<Int>) throws -> HostTensor {
        guard let first = shape.first, first > 0, range.upperBound <= first else { throw CLIError.usage("rows \(range) of \(Format.shape(shape))") }
        let dimensions = [range.count] + shape.dropFirst()
        if type == .string {
            let width = strings.count / first
            return try HostTensor(dimensions, strings: Array(strings[(range.lowerBound * width)..<(range.upperBound * width)]))
        }
        let width = bytes.count / first
        return try HostTensor(type, dimensions, bytes: Array(bytes[(range.lowerBound * width)..<(range.upperBound * width)]))
    }
}
