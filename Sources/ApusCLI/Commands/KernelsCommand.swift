import ApusCore
import ArgumentParser
import CApusKernels

struct KernelsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "kernels",
        abstract: "Show what this CPU has, and which kernels it would choose.",
        discussion: """
            A star marks the kernel that is chosen, a minus one that this CPU cannot run or --cpu (APUS_CPU) rules out.
            """)

    @Option(help: ArgumentHelp("Choose as with this highest level; default: APUS_CPU.", valueName: "level"))
    var cpu: String?

    @Flag(help: "Print the result as JSON.")
    var json = false

    func run() throws {
        let cap = try failing(as: .model) { try cpu.map { try CPUCap(name: $0, source: "--cpu") } ?? Environment.cpuCap() }
        let levels = CPUCap.levels(cap)
        let families = KernelFamily.all
        let known = Self.knownLevels()
        let has = apus_cpu_levels()
        if json {
            print(JSONValue.object([
                .init("cpu", Self.processor().map { .string($0) } ?? .null),
                .init("levels", .array(known.filter { has >> UInt32($0.number) & 1 == 1 }.map { .string($0.name) })),
                .init("used", .array(known.filter { levels >> UInt32($0.number) & 1 == 1 }.map { .string($0.name) })),
                .init("threads", .integer(ThreadPool.defaultSize())),
                .init("kernels", .object(families.map { family in
                    .init(family.name, .object([
                        .init("chosen", .string(family.chosen(levels))),
                        .init("available", .array(family.kernels.map { .string($0.name) })),
                    ]))
                })),
            ]).text())
            return
        }
        let threads = ThreadPool.defaultSize()
        print(Format.table([
            ["cpu", Self.processor() ?? "unknown"],
            ["levels", known.filter { has >> UInt32($0.number) & 1 == 1 }.map(\.name).joined(separator: ", ")],
            ["used", ModelCost.levelName(levels) + (cap == nil ? "" : " and below")],
            ["threads", "\(threads)"],
        ]).joined(separator: "\n"))
        print("")
        print(Format.table([["kernels", ""]] + families.map { family in
            let chosen = family.chosen(levels)
            return [family.name, family.kernels.map { kernel in
                let runs = levels >> UInt32(kernel.level) & 1 == 1 || kernel.level == 0
                return (kernel.name == chosen ? "*" : runs ? "" : "-") + kernel.name
            }.joined(separator: "  ")]
        }).joined(separator: "\n"))
    }

    private static func knownLevels() -> [(number: Int32, name: String)] {
        (0..<32).compactMap { number in apus_isa_name(number).map { (number, String(cString: $0)) } }
    }

    /// The model name that the kernel reports of the first processor.
    private static func processor() -> String? {
        guard let bytes = try? FileIO.read("/proc/cpuinfo", atMost: 1 << 24) else { return nil }
        for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n") where line.hasPrefix("model name") {
            return line.split(separator: ":").dropFirst().first.map { String($0.trimmingPrefix(" ")) }
        }
        return nil
    }
}

/// One family of kernels, as its table in CApusKernels lists it.
struct KernelFamily {
    struct Kernel: Equatable {
        let name: String
        let level: UInt32
    }

    let name: String
    let kernels: [Kernel]
    let chosen: (UInt32) -> String

    /// - Parameters:
    ///   - at: the table's lookup by position, nil beyond its end.
    ///   - select: the table's choice for a set of levels.
    private init<Entry>(
        _ name: String, _ at: (Int) -> UnsafePointer<Entry>?, _ select: @escaping (UInt32) -> UnsafePointer<Entry>?,
        _ label: KeyPath<Entry, UnsafePointer<CChar>?>, _ isa: KeyPath<Entry, apus_isa>
    ) {
        self.name = name
        var kernels: [Kernel] = []
        while let entry = at(kernels.count) {
            kernels.append(Kernel(name: entry.pointee[keyPath: label].map { String(cString: $0) } ?? "?", level: entry.pointee[keyPath: isa].rawValue))
        }
        self.kernels = kernels
        chosen = { levels in
            select(levels).flatMap { $0.pointee[keyPath: label] }.map { String(cString: $0) } ?? "none"
        }
    }

    static var all: [KernelFamily] {
        [
            KernelFamily("sgemm", apus_sgemm_kernel_at, apus_sgemm_select, \.name, \.isa),
            KernelFamily("qgemm", apus_qgemm_at, apus_qgemm_select, \.name, \.isa),
            KernelFamily("depthwise", apus_depthwise_kernel_at, apus_depthwise_select, \.name, \.isa),
            KernelFamily("qdepthwise", apus_qdepthwise_at, apus_qdepthwise_select, \.name, \.isa),
            KernelFamily("nbits", apus_nbits_at, apus_nbits_select, \.name, \.isa),
            KernelFamily("qblocks", apus_qblocks_at, apus_qblocks_select, \.name, \.isa),
            KernelFamily("winograd", apus_winograd_kernel_at, { apus_winograd_select($0, 2, 3, 4) }, \.name, \.isa),
            KernelFamily("qwinograd", apus_qwinograd_at, apus_qwinograd_select, \.name, \.isa),
            KernelFamily("qelementwise", apus_qelementwise_at, apus_qelementwise_select, \.name, \.isa),
            KernelFamily("pooling", apus_pooling_kernel_at, apus_pooling_select, \.name, \.isa),
            KernelFamily("elementwise", apus_elementwise_at, apus_elementwise_select, \.name, \.isa),
            KernelFamily("normalization", apus_normalization_at, apus_normalization_select, \.name, \.isa),
            KernelFamily("reduce", apus_reduce_at, apus_reduce_select, \.name, \.isa),
            KernelFamily("rowproduct", apus_rowproduct_at, apus_rowproduct_select, \.name, \.isa),
            KernelFamily("quantize", apus_quantize_at, apus_quantize_select, \.name, \.isa),
            KernelFamily("half", apus_half_at, apus_half_select, \.name, \.isa),
            KernelFamily("softmax", apus_softmax_at, apus_softmax_select, \.name, \.isa),
        ]
    }
}
