import ApusCore
import ApusGraph
import ApusONNX

/// A model read from ONNX. It keeps the file mapped (or the caller's bytes referenced); sessions made of it share them.
public final class Model: Sendable {
    /// Gives the contents of external data by the location that the model names; nil where there are none. They must stay
    /// valid as long as the model and its sessions live.
    public typealias ExternalData = @Sendable (_ location: ByteString) -> UnsafeRawBufferPointer?

    package let imported: ApusGraph.Model

    package init(imported: ApusGraph.Model) {
        self.imported = imported
    }

    /// Reads a file, which is mapped and must not change while the model or a session of it lives. Data outside of the
    /// file come from `externalData`, or from files in the model's directory.
    public init(path: String, externalData: ExternalData? = nil) throws {
        imported = try Model.loader(externalData).load(path: path)
    }

    /// Reads a copy of `bytes`. No file is opened.
    public init(bytes: [UInt8], externalData: ExternalData? = nil) throws {
        imported = try bytes.withUnsafeBytes { try Model.loader(externalData).load(copying: $0) }
    }

    /// Reads `bytes` in place: they must stay valid and unchanged while `owner`, which is kept until then, lives. No file
    /// is opened.
    package init(borrowing bytes: UnsafeRawBufferPointer, owner: AnyObject?, externalData: ExternalData? = nil) throws {
        imported = try Model.loader(externalData).load(borrowing: bytes, owner: owner)
    }

    /// Writes the model, as it was read or made, to a new file: names, metadata and functions are kept.
    public func save(to path: String) throws {
        try ModelWriter.write(imported, to: path)
    }

    private static func loader(_ externalData: ExternalData?) -> ModelLoader {
        ModelLoader(externalData: externalData.map { provide in { location in provide(location).map { ($0, nil) } } })
    }
}
