import ApusCore

/// One direction of a recurrent operator: the loop over its steps.
struct RecurrentCell<Math: RecurrentMath>: @unchecked Sendable {
    typealias Number = Math.Number
    typealias Pointer = UnsafeMutablePointer<Number>

    let kind: RecurrentOperator.Kind
    let sizes: RecurrentSizes
    let math: Math
    let direction: Int
    let isReversed: Bool
    let isBatchFirst: Bool
    let functions: [(Pointer, Int) -> Void]
    let clip: Number?

    /// Where the pieces of the workspace lie, in numbers: the input's products of all steps, this step's gates, another row of
    /// them (GRU), states, a row.
    private var counts: [Int] {
        get throws {
            let row = try sizes.gates.multiplied(by: sizes.hidden), state = try sizes.batch.multiplied(by: sizes.hidden)
            let gates = try sizes.batch.multiplied(by: row)
            return [try sizes.steps.multiplied(by: gates), gates, gates, state, state, sizes.hidden]
        }
    }

    func workspaceByteCount() throws -> Int {
        var total = try math.workspaceByteCount.roundedUp(to: Storage.alignment)
        for count in try counts {
            total = try total.adding(count.multiplied(by: MemoryLayout<Number>.stride).roundedUp(to: Storage.alignment))
        }
        return total
    }

    /// Buffers of a run.
    private struct Buffers {
        let inputs: Pointer
        /// Of this step; may lie among the inputs.
        var gates: Pointer
        let other: Pointer
        let h: Pointer
        let c: Pointer
        let row: Pointer
        let scratch: UnsafeMutableRawPointer
    }

    private func buffers(_ workspace: UnsafeMutableRawPointer) -> Buffers {
        var next = workspace
        func take(_ count: Int) -> Pointer {
            defer {
                next += (count * MemoryLayout<Number>.stride + Storage.alignment - 1) / Storage.alignment * Storage.alignment
            }
            return next.assumingMemoryBound(to: Number.self)
        }
        let row = sizes.gates * sizes.hidden, state = sizes.batch * sizes.hidden
        let inputs = take(sizes.steps * sizes.batch * row), gates = take(sizes.batch * row), other = take(sizes.batch * row)
        let h = take(state), c = take(state), spare = take(sizes.hidden)
        return Buffers(inputs: inputs, gates: gates, other: other, h: h, c: c, row: spare, scratch: next)
    }

    func run(_ io: NodeIO, _ workspace: UnsafeMutableRawPointer) {
        var all = buffers(workspace)
        let ownGates = all.gates
        let hidden = sizes.hidden, width = sizes.gates * hidden, batch = sizes.batch, steps = sizes.steps
        math.begin(io, direction, all.scratch)
        project(io, all)
        start(io, 5, all.h)
        start(io, 6, all.c)
        let lengths = io.has(4) ? io.input(4, as: Int32.self) : nil
        let y = io.hasOutput(0) ? io.output(0, as: Number.self) : nil
        let isRegular = lengths == nil && (!isBatchFirst || batch == 1)
        for step in 0..<steps {
            if io.pool.mustStop { return }
            // The inputs of this step: of each sequence its own, as their ends may differ. Where they lie together, the gates are
            // computed in their place.
            var active = isRegular ? batch : 0
            all.gates = isRegular ? all.inputs + (isReversed ? steps - 1 - step : step) * batch * width : ownGates
            for index in 0..<(isRegular ? 0 : batch) {
                let length = lengths.map { Int($0[index]) } ?? steps
                let target = all.gates + index * width
                guard step < length else {
                    target.update(repeating: 0, count: width)
                    continue
                }
                active += 1
                let time = isReversed ? length - 1 - step : step
                target.update(from: all.inputs + (isBatchFirst ? index * steps + time : time * batch + index) * width, count: width)
            }
            if active > 0 { multiply(io, all, step) }
            for index in 0..<batch {
                let length = lengths.map { Int($0[index]) } ?? steps
                let time = step < length ? (isReversed ? length - 1 - step : step) : step
                let place = isBatchFirst
                    ? ((index * steps + time) * sizes.directions + direction) * hidden
                    : ((time * sizes.directions + direction) * batch + index) * hidden
                guard step < length else {
                    y.map { ($0 + place).update(repeating: 0, count: hidden) }
                    continue
                }
                advance(io, all, index)
                y.map { ($0 + place).update(from: all.h + index * hidden, count: hidden) }
            }
        }
        finish(io, 1, all.h)
        finish(io, 2, all.c)
    }

    /// The products of all inputs with W, plus the biases.
    private func project(_ io: NodeIO, _ all: Buffers) {
        let width = sizes.gates * sizes.hidden
        if sizes.steps == 0 || sizes.batch == 0 { return }
        // The bias of the state goes here, too, but for the part of a GRU that is multiplied by the reset gate.
        var shared = width
        if case .gru(resetsAfter: true) = kind { shared = 2 * sizes.hidden }
        let summands = all.gates
        if io.has(3) {
            let bias = io.input(3, as: Number.self) + direction * 2 * width
            summands.update(from: bias, count: width)
            for column in 0..<shared { summands[column] += bias[width + column] }
        } else {
            summands.update(repeating: 0, count: width)
        }
        math.project(io, direction, io.input(0, as: Number.self), bias: summands, all.inputs, all.scratch)
    }

    private func statePlace(_ index: Int) -> Int {
        (isBatchFirst ? index * sizes.directions + direction : direction * sizes.batch + index) * sizes.hidden
    }

    private func start(_ io: NodeIO, _ input: Int, _ state: Pointer) {
        for index in 0..<sizes.batch {
            let target = state + index * sizes.hidden
            if io.has(input) {
                target.update(from: io.input(input, as: Number.self) + statePlace(index), count: sizes.hidden)
            } else {
                target.update(repeating: 0, count: sizes.hidden)
            }
        }
    }

    private func finish(_ io: NodeIO, _ output: Int, _ state: Pointer) {
        guard io.hasOutput(output) else { return }
        for index in 0..<sizes.batch {
            (io.output(output, as: Number.self) + statePlace(index)).update(from: state + index * sizes.hidden, count: sizes.hidden)
        }
    }

    /// The products of the states with R, as far as they do not wait for gates.
    private func multiply(_ io: NodeIO, _ all: Buffers, _ step: Int) {
        let hidden = sizes.hidden, width = sizes.gates * hidden
        guard case .gru(let resetsAfter) = kind else {
            return math.recur(io, direction, step: step, part: 0, all.h, all.gates, stride: width, all.scratch)
        }
        math.recur(io, direction, step: step, part: 0, all.h, all.gates, stride: width, all.scratch)
        for index in 0..<sizes.batch {
            let gates = all.gates + index * width, other = all.other + index * hidden
            activate(0, gates, 2 * hidden)
            if !resetsAfter {
                for column in 0..<hidden { other[column] = gates[hidden + column] * all.h[index * hidden + column] }
            } else if io.has(3) {
                other.update(from: io.input(3, as: Number.self) + direction * 2 * width + width + 2 * hidden, count: hidden)
            } else {
                other.update(repeating: 0, count: hidden)
            }
        }
        guard resetsAfter else {
            return math.recur(io, direction, step: step, part: 1, all.other, all.gates + 2 * hidden, stride: width, all.scratch)
        }
        math.recur(io, direction, step: step, part: 1, all.h, all.other, stride: hidden, all.scratch)
        for index in 0..<sizes.batch {
            let gates = all.gates + index * width, other = all.other + index * hidden
            for column in 0..<hidden { gates[2 * hidden + column] += gates[hidden + column] * other[column] }
        }
    }

    private func activate(_ function: Int, _ values: Pointer, _ count: Int) {
        if let clip {
            for index in 0..<count { values[index] = min(max(values[index], -clip), clip) }
        }
        functions[function](values, count)
    }

    /// The new state of sequence `index` from its gates.
    private func advance(_ io: NodeIO, _ all: Buffers, _ index: Int) {
        let hidden = sizes.hidden
        let gates = all.gates + index * sizes.gates * hidden, h = all.h + index * hidden
        switch kind {
        case .rnn:
            activate(0, gates, hidden)
            h.update(from: gates, count: hidden)
        case .gru:
            activate(1, gates + 2 * hidden, hidden)
            for column in 0..<hidden {
                h[column] = (1 - gates[column]) * gates[2 * hidden + column] + gates[column] * h[column]
            }
        case .lstm(let couples):
            let c = all.c + index * hidden, output = gates + hidden, forget = gates + 2 * hidden, cell = gates + 3 * hidden
            let peepholes = io.has(7) ? io.input(7, as: Number.self) + direction * 3 * hidden : nil
            if let peepholes {
                for column in 0..<hidden {
                    gates[column] += peepholes[column] * c[column]
                    forget[column] += peepholes[2 * hidden + column] * c[column]
                }
                activate(0, gates, hidden)
                activate(0, forget, hidden)
            } else {
                activate(0, gates, 3 * hidden)
            }
            activate(1, cell, hidden)
            if couples {
                for column in 0..<hidden { forget[column] = 1 - gates[column] }
            }
            for column in 0..<hidden { c[column] = forget[column] * c[column] + gates[column] * cell[column] }
            if let peepholes {
                for column in 0..<hidden { output[column] += peepholes[hidden + column] * c[column] }
                activate(0, output, hidden)
            }
            let bounded = all.row
            bounded.update(from: c, count: hidden)
            functions[2](bounded, hidden)
            for column in 0..<hidden { h[column] = output[column] * bounded[column] }
        }
    }
}
