import CApusKernels
import Glibc

/// Every environment variable that Apus reads, in one place. None is read anywhere else.
package enum Environment {
    /// `APUS_CPU`: the highest instruction-set level to use, one of generic, avx2, avxvnni, avx512, avx512vnni (neon,
    /// neondot, neoni8mm on Arm). A maximum: a level above this CPU's runs the best below. Default: no maximum.
    package static func cpuCap() throws -> CPUCap? {
        guard let name = variable("APUS_CPU"), !name.isEmpty else { return nil }
        return try CPUCap(name: name, source: "APUS_CPU")
    }

    /// `APUS_TRACE`: comma-separated topics whose messages go to the log (`optimizer`: rewrites applied and why not;
    /// `plan`: plans made). Default: none.
    package static func traces(_ topic: String) -> Bool {
        guard let topics = variable("APUS_TRACE") else { return false }
        return topics.split(separator: ",").contains { $0 == topic }
    }

    private static func variable(_ name: String) -> String? {
        getenv(name).map { String(cString: $0) }
    }
}

/// The highest instruction-set level that kernels may use.
package struct CPUCap: Sendable, Hashable {
    package let level: apus_isa

    package init(level: apus_isa) {
        self.level = level
    }

    /// Throws `invalidArgument` for a name that is none; `source` says in the message where it came from.
    package init(name: String, source: String) throws {
        let number = apus_isa_from_name(name)
        guard number >= 0 else {
            throw ApusError(
                .invalidArgument,
                "\(source) is \"\(name)\", which is no CPU level; the levels are generic, avx2, avxvnni, avx512, avx512vnni, neon, neondot, neoni8mm"
            )
        }
        level = apus_isa(UInt32(number))
    }

    /// Bit mask of the levels that kernels may use under `cap` (nil: all that this CPU has).
    package static func levels(_ cap: CPUCap?) -> UInt32 {
        cap.map { apus_cpu_levels_capped($0.level) } ?? apus_cpu_levels()
    }
}

extension apus_isa: @retroactive Hashable {}
