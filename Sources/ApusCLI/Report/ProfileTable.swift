import ApusRuntime

/// What `bench --profile` shows: the operators by their share of the time, then the steps that take the most.
struct ProfileTable {
    private let steps: [(step: RunProfile.Step, times: Statistics)]

    private let clock: String

    init(_ profile: RunProfile) {
        clock = profile.countsProcessorTime ? "processor time" : "time"
        steps = profile.steps.compactMap { step in Statistics(step.times.map { Double($0) / 1e9 }).map { (step, $0) } }
    }

    /// Steps are listed until they make up this share of the time.
    private static let listedShare = 0.98

    private static func rate(_ amount: Int, _ seconds: Double) -> String {
        amount > 0 && seconds > 0 ? Format.number(Double(amount) / seconds / 1e9, digits: 3) : ""
    }

    func lines() -> [String] {
        let total = steps.reduce(0) { $0 + $1.times.median }
        func share(_ seconds: Double) -> String { total > 0 ? Format.fixed(seconds / total * 100, 1) + " %" : "" }

        var groups: [String: (count: Int, seconds: Double, operations: Int, bytes: Int)] = [:]
        for (step, times) in steps {
            let key = step.kernel.isEmpty ? step.operation : "\(step.operation)  \(step.kernel)"
            let group = groups[key] ?? (0, 0, 0, 0)
            groups[key] = (
                group.count + 1, group.seconds + times.median, group.operations &+ 2 &* step.multiplyAccumulates,
                group.bytes &+ step.byteCount
            )
        }
        var rows = [["time", "share", "steps", "GFLOP/s", "GB/s", "operator and kernel"]]
        for (key, group) in groups.sorted(by: { ($1.value.seconds, $0.key) < ($0.value.seconds, $1.key) }) {
            rows.append([
                Format.seconds(group.seconds), share(group.seconds), "\(group.count)", Self.rate(group.operations, group.seconds),
                Self.rate(group.bytes, group.seconds), key,
            ])
        }
        var lines = Format.table(rows, numeric: [0, 1, 2, 3, 4])

        var listed = [["time", "share", "GFLOP/s", "GB/s", "kernel", "output", "step"]]
        var sum = 0.0
        for (step, times) in steps.sorted(by: { $0.times.median > $1.times.median }) {
            if total > 0, sum / total >= Self.listedShare { break }
            let time = times.median
            sum += time
            listed.append([
                Format.seconds(time), share(time), Self.rate(2 &* step.multiplyAccumulates, time), Self.rate(step.byteCount, time),
                step.kernel, step.output, step.name,
            ])
        }
        lines += [""] + Format.table(listed, numeric: [0, 1, 2, 3])
        let rest = steps.count - (listed.count - 1)
        if rest > 0 { lines.append("\(rest) more steps take \(share(total - sum))") }
        lines.append("\(steps.count) steps in \(Format.seconds(total)) of \(clock), medians of \(steps.first?.times.count ?? 0) runs")
        return lines
    }

    /// All steps in the order of the run.
    func report() -> JSONValue {
        .array(steps.map { step, times in
            .object([
                .init("name", .string(step.name)), .init("operator", .string(step.operation)), .init("kernel", .string(step.kernel)),
                .init("output", .string(step.output)), .init("median_ms", .real(times.median * 1e3)),
                .init("min_ms", .real(times.least * 1e3)), .init("runs", .integer(times.count)),
                .init("multiply_accumulates", .integer(step.multiplyAccumulates)), .init("bytes", .integer(step.byteCount)),
            ])
        })
    }
}
