import Apus
import ApusCore
import ApusGraph
import ApusOperators
import ApusRuntime
import CApusKernels

/// What a model asks of the machine.
enum ModelCost {
    /// Multiply-accumulates of one run, as the operators of the file state them (before anything is fused or skipped).
    ///
    /// The bodies of control-flow operators count once, of several branches the largest. Nil where the shapes cannot be
    /// inferred.
    ///
    /// - Parameter inputs: what is known of each input of the session; shapes should be concrete.
    static func multiplyAccumulates(_ graph: Graph, inputs: [ValueInfo?]) -> Int? {
        try? count(graph, inputs: inputs, captures: [])
    }

    private static func count(_ graph: Graph, inputs: [ValueInfo?], captures: [ValueInfo?]) throws -> Int {
        let infos = try GraphInference(graph).run(inputs: inputs, captures: captures)
        var total = 0
        for node in graph.nodes {
            let outputs = node.outputs.compactMap { $0.flatMap { infos[$0.index] } }
            if outputs.count == node.outputs.count {
                let operation = try Registry.make(node, in: graph)
                total = try total.adding(operation.multiplyAccumulates(node.inputs.map { $0.flatMap { infos[$0.index] } }, outputs))
            }
            total = try total.adding(try node.subgraphs.map { body in
                try count(body, inputs: [], captures: body.captures.map { infos[$0.outer.index] })
            }.max() ?? 0)
        }
        return total
    }

    /// Tensors as what inference knows of inputs; the contents of small integer ones may decide about shapes.
    static func infos(_ session: Session, _ tensors: [String: HostTensor]) throws -> [ValueInfo?] {
        try session.inputs.map { input in
            guard let tensor = tensors[input.name.description] else { return nil }
            let value = try tensor.value()
            return tensor.type.isInteger && tensor.count <= 64 ? ValueInfo(constant: value) : ValueInfo(value.type)
        }
    }

    /// The name of the highest of some instruction-set levels.
    static func levelName(_ levels: UInt32) -> String {
        let highest = levels == 0 ? 0 : Int32(31 - levels.leadingZeroBitCount)
        return apus_isa_name(highest).map { String(cString: $0) } ?? "generic"
    }

    /// The most memory this process has had resident, in bytes, as the kernel counts it.
    static func peakMemory() -> Int? {
        guard let status = try? FileIO.read("/proc/self/status", atMost: 1 << 16) else { return nil }
        for line in String(decoding: status, as: UTF8.self).split(separator: "\n") where line.hasPrefix("VmHWM:") {
            return line.split(separator: " ").dropFirst().first.flatMap { Int($0.trimmingPrefix("\t")) }.map { $0 * 1024 }
        }
        return nil
    }
}
