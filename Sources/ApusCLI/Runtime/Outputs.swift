/// Writes named tensors to files.
enum OutputFile {
    /// By the path's form: `.npz` and `.json` hold all of them, `.npy` exactly one, anything else is a directory that gets
    /// a .npy file for each.
    static func write(_ tensors: [(name: String, tensor: HostTensor)], to path: String) throws {
        switch FileIO.fileExtension(path) {
        case "npz": try FileIO.write(try NPZ.write(tensors), to: path)
        case "json": try FileIO.write(Array((json(tensors).text() + "\n").utf8), to: path)
        case "npy":
            guard tensors.count == 1, let only = tensors.first else {
                throw CLIError.usage("\(path): a .npy file holds one tensor, the model gives \(tensors.count)")
            }
            try FileIO.write(try NPY.write(only.tensor), to: path)
        default:
            try FileIO.makeDirectory(path)
            var used: Set<String> = []
            for (name, tensor) in tensors {
                let file = fileName(name)
                guard used.insert(file).inserted else {
                    throw CLIError.file("two outputs would both be \(path)/\(file).npy: write an .npz")
                }
                try FileIO.write(try NPY.write(tensor), to: "\(path)/\(file).npy")
            }
        }
    }

    static func json(_ tensors: [(name: String, tensor: HostTensor)]) -> JSONValue {
        .object(tensors.map { .init($0.name, JSONTensor.value($0.tensor)) })
    }

    /// An output's name as that of a file: names come from the model and must not reach out of the directory.
    static func fileName(_ name: String) -> String {
        let clean = String(String.UnicodeScalarView(name.unicodeScalars.map { $0 == "/" || $0 == "\\" || $0.value < 0x20 ? "_" : $0 }))
        return clean.isEmpty || clean.hasPrefix(".") ? "_" + clean : clean
    }
}
