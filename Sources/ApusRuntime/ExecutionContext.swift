import ApusCore
import ApusGraph
import ApusOperators

/// The memory of one run at a time: a frame, an arena for each segment in progress, and a workspace. One thread uses it
/// at a time: `CompiledGraph` hands it out.
final class ExecutionContext: @unchecked Sendable {
    /// It keeps its contexts, and lives while one of them runs.
    private unowned let compiled: CompiledGraph
    private let frame: Frame
    private var arenas: [Storage?] = []
    private var workspace: Storage?
    /// The segments whose places the frame's pointers show, by depth.
    private var shown: [Segment] = []

    init(_ compiled: CompiledGraph) {
        self.compiled = compiled
        frame = Frame(
            valueCount: compiled.graph.values.count, pool: compiled.environment.pool, control: RunControl(),
            budget: compiled.environment.budget)
        for (id, value) in compiled.graph.initializers { frame.set(id.index, value) }
    }

    /// Forgets values of the run that has ended; memory stays for the next one.
    func reset() {
        let graph = compiled.graph
        for (position, _) in shown.enumerated() {
            for index in shown[position].pending { frame.values[index] = nil }
            for output in shown[position].directOutputs {
                for value in output.values { frame.values[value] = nil }
            }
        }
        for input in graph.inputs { frame.values[input.index] = nil }
        for capture in graph.captures { frame.values[capture.inner.index] = nil }
    }

    func run(
        _ inputs: UnsafeBufferPointer<Value>, _ captures: [CaptureBinding], outputs: UnsafeBufferPointer<Tensor?>?,
        control: RunControl, profile: RunProfile?, results: UnsafeMutableBufferPointer<Value?>
    ) throws {
        let graph = compiled.graph
        frame.begin(control)
        for (position, value) in inputs.enumerated() { bind(graph.inputs[position].index, value) }
        for (capture, binding) in zip(graph.captures, captures) {
            frame.values[capture.inner.index] = binding.value
            frame.pointers[capture.inner.index] = binding.pointer
        }
        var segment = try compiled.plan(inputs, captures)
        var depth = 0
        try control.check()
        while true {
            try activate(segment, depth, outputs, results)
            for step in segment.steps {
                do {
                    if let profile {
                        try profile.measure(step, of: compiled) { try step.prepared.run(NodeIO(frame: frame, layout: step.layout)) }
                    } else {
                        try step.prepared.run(NodeIO(frame: frame, layout: step.layout))
                    }
                } catch let error as ApusError {
                    throw error.at(node: step.layout.name)
                }
                // A step may have ended before its work was done.
                try frame.pool.checkControl()
                for value in step.releases { frame.values[value] = nil }
            }
            let next = try segment.successor(in: frame) { [compiled, segment] infos, model in
                try SegmentBuilder.build(compiled, infos: infos, nodes: segment.remaining, like: model)
            }
            guard let next else { break }
            segment = next
            depth += 1
        }
        try collect(inputs, infos: segment.infos, outputs, results)
    }

    /// A dense input is known by its pointer alone: whoever keeps it as a value must copy it.
    private func bind(_ index: Int, _ value: Value) {
        if case .tensor(let tensor) = value {
            frame.pointers[index] = tensor.pointer
            frame.values[index] = nil
        } else {
            frame.values[index] = value
        }
    }

    /// Gives the segment's values their places.
    private func activate(
        _ segment: Segment, _ depth: Int, _ outputs: UnsafeBufferPointer<Tensor?>?, _ results: UnsafeMutableBufferPointer<Value?>
    ) throws {
        let budget = compiled.environment.budget
        if depth == arenas.count { arenas.append(nil) }
        var isNew = !(depth < shown.count && shown[depth] === segment)
        if segment.arenaByteCount > arenas[depth]?.byteCount ?? 0 {
            arenas[depth] = nil
            arenas[depth] = try Storage.allocate(
                byteCount: segment.arenaByteCount, budget: budget, purpose: "the arena of a plan")
            isNew = true
        }
        if segment.workspaceByteCount > workspace?.byteCount ?? 0 {
            workspace = nil
            frame.workspace = nil
            workspace = try Storage.allocate(
                byteCount: segment.workspaceByteCount, budget: budget, purpose: "the workspace of a plan")
            frame.workspace = workspace?.base
        }
        if isNew {
            // Deeper segments of another plan may have used the same values.
            shown.removeSubrange(min(depth, shown.count)...)
            if let base = arenas[depth]?.base {
                for placement in segment.placements {
                    frame.pointers[placement.value] = base + placement.offset
                    frame.values[placement.value] = nil
                }
            }
            for constant in segment.constants { frame.set(constant.value, constant.content) }
            shown.append(segment)
        }
        for direct in segment.directOutputs {
            let tensor: Tensor
            if let given = outputs?[direct.output] {
                try ExecutionContext.check(given, direct.type, direct.shape, compiled.graph.displayName(compiled.graph.outputs[direct.output]))
                tensor = given
            } else {
                tensor = try Tensor.allocate(direct.type, direct.shape, budget: budget)
            }
            results[direct.output] = .tensor(tensor)
            for value in direct.values { frame.pointers[value] = tensor.pointer }
        }
        for alias in segment.aliases {
            frame.pointers[alias.value] = frame.pointers[alias.source]
            frame.values[alias.value] = nil
        }
    }

    private static func check(_ given: Tensor, _ type: ElementType, _ shape: Shape, _ name: @autoclosure () -> String) throws {
        guard given.type == type else {
            throw ApusError(.typeMismatch, "output \"\(name())\" is \(type.name), the given tensor \(given.type.name)")
        }
        guard given.shape == shape else {
            throw ApusError(.shapeMismatch, "output \"\(name())\" has shape \(shape), the given tensor \(given.shape)")
        }
    }

    /// The outputs that no step wrote to their place directly.
    private func collect(
        _ inputs: UnsafeBufferPointer<Value>, infos: [ValueInfo?], _ outputs: UnsafeBufferPointer<Tensor?>?,
        _ results: UnsafeMutableBufferPointer<Value?>
    ) throws {
        let budget = compiled.environment.budget
        for (position, id) in compiled.graph.outputs.enumerated() where results[position] == nil {
            let value: Value
            if let stored = frame.values[id.index] {
                // Constants belong to the session; the caller may write to what it gets.
                let isShared = infos[id.index]?.constant != nil
                if isShared, case .tensor(let tensor) = stored {
                    value = outputs?[position] == nil ? .tensor(try tensor.copied(budget: budget)) : stored
                } else {
                    value = stored
                }
            } else if let same = compiled.graph.outputs.prefix(position).firstIndex(of: id), let earlier = results[same] {
                value = .tensor(try earlier.asTensor().copied(budget: budget))
            } else if let info = infos[id.index], let type = info.type.elementType, let shape = try info.concreteShape(),
                let pointer = frame.pointers[id.index], let bytes = type.byteCount(shape.count)
            {
                value = .tensor(try Tensor(type: type, shape: shape, storage: .borrow(pointer, byteCount: bytes)))
            } else {
                throw ApusError(.internal, "output \"\(compiled.graph.displayName(id))\" was not made")
            }
            guard let given = outputs?[position] else {
                results[position] = try value.owned(budget: budget)
                continue
            }
            let tensor = try value.asTensor()
            try ExecutionContext.check(given, tensor.type, tensor.shape, compiled.graph.displayName(id))
            given.pointer.copyMemory(from: tensor.pointer, byteCount: tensor.byteCount)
            results[position] = .tensor(given)
        }
    }
}
