import ApusCore
import ApusGraph
import ApusONNX

/// A model read from ONNX. It keeps the file mapped (or the caller's bytes referenced); sessions made of it share them.
public final class Model: Sendable {
    package let imported: ApusGraph.Model

    package init(imported: ApusGraph.Model) {
        self.imported = imported
    }
}
