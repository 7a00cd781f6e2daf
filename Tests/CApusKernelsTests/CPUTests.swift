import CApusKernels
import TestSupport
import Testing

#if canImport(Glibc)
import Glibc
#endif

@Suite struct CPUTests {
    static let all: [(String, apus_isa)] = [
        ("generic", APUS_ISA_GENERIC), ("avx2", APUS_ISA_AVX2), ("avxvnni", APUS_ISA_AVXVNNI),
        ("avx512", APUS_ISA_AVX512), ("avx512vnni", APUS_ISA_AVX512VNNI), ("neon", APUS_ISA_NEON),
        ("neondot", APUS_ISA_NEONDOT), ("neoni8mm", APUS_ISA_NEONI8MM),
    ]

    @Test func namesAndLevelsAreOneToOne() {
        for (name, isa) in Self.all {
            #expect(apus_isa_from_name(name) == Int32(isa.rawValue))
            #expect(String(cString: apus_isa_name(Int32(isa.rawValue))) == name)
        }
        #expect(apus_isa_from_name("AVX2") == -1)
        #expect(apus_isa_from_name("") == -1)
        #expect(apus_isa_from_name(nil) == -1)
        #expect(apus_isa_name(5) == nil)
        #expect(apus_isa_name(-1) == nil)
    }

    @Test func capsAreMaxima() {
        let levels = apus_cpu_levels()
        #expect(levels & 1 == 1)
        #expect(apus_cpu_levels_capped(APUS_ISA_GENERIC) == 1)
        for (_, cap) in Self.all {
            let capped = apus_cpu_levels_capped(cap)
            #expect(capped & ~levels == 0)
            #expect(capped & 1 == 1)
            for (_, isa) in Self.all where isa.rawValue > cap.rawValue {
                #expect(capped & (1 << isa.rawValue) == 0)
            }
        }
        #if arch(x86_64)
        #expect(apus_cpu_levels_capped(APUS_ISA_AVX512VNNI) == levels)
        #expect(apus_cpu_levels_capped(APUS_ISA_NEONI8MM) == 1)
        #elseif arch(arm64)
        #expect(apus_cpu_levels_capped(APUS_ISA_NEONI8MM) == levels)
        #expect(apus_cpu_levels_capped(APUS_ISA_AVX512VNNI) == 1)
        #endif
    }

    /// The kernel's own list of features, where there is one, says the same.
    @Test func agreesWithTheOperatingSystem() throws {
        #if os(Linux)
        guard let file = fopen("/proc/cpuinfo", "r") else { return }
        defer { fclose(file) }
        var flags = Set<Substring>()
        var line = [CChar](repeating: 0, count: 16384)
        while fgets(&line, Int32(line.count), file) != nil {
            let text = line.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
            if text.hasPrefix("flags") || text.hasPrefix("Features") {
                flags = Set(text.split(whereSeparator: { $0 == " " || $0 == "\t" || $0 == "\n" }))
                break
            }
        }
        try #require(!flags.isEmpty)
        var expected: UInt32 = 1
        #if arch(arm64)
        if flags.contains("asimd") {
            expected |= 1 << APUS_ISA_NEON.rawValue
            if flags.contains("asimddp") {
                expected |= 1 << APUS_ISA_NEONDOT.rawValue
                if flags.contains("i8mm") { expected |= 1 << APUS_ISA_NEONI8MM.rawValue }
            }
        }
        #else
        if flags.isSuperset(of: ["avx2", "fma", "f16c", "bmi2"]) {
            expected |= 1 << APUS_ISA_AVX2.rawValue
            if flags.contains("avx_vnni") { expected |= 1 << APUS_ISA_AVXVNNI.rawValue }
            if flags.isSuperset(of: ["avx512f", "avx512bw", "avx512dq", "avx512vl"]) {
                expected |= 1 << APUS_ISA_AVX512.rawValue
                if flags.contains("avx512_vnni") { expected |= 1 << APUS_ISA_AVX512VNNI.rawValue }
            }
        }
        #endif
        #expect(apus_cpu_levels() == expected)
        #endif
    }

    @Test(arguments: [0, 1, 7, 1024, 5000]) func guardedBufferTouchesItsEdge(count: Int) {
        let page = sysconf(Int32(_SC_PAGESIZE))
        let atEnd = GuardedBuffer<Float>(count: count, guarding: .end)
        #expect(Int(bitPattern: atEnd.pointer + count) % page == 0)
        let atStart = GuardedBuffer<Float>(count: count, guarding: .start)
        #expect(Int(bitPattern: atStart.pointer) % page == 0)
        atEnd.fill(repeating: 1)
        atStart.fill(repeating: 1)
        #expect(atEnd.isIntact && atStart.isIntact)
        #expect(atEnd.elements == [Float](repeating: 1, count: count))
        if count % 1024 != 0 {
            atEnd.pointer[-1] = 0
            atStart.pointer[count] = 0
            #expect(!atEnd.isIntact && !atStart.isIntact)
        }
    }

    // MARK: What this machine leaves untested

    // The test library reports cancelled cases of a parameterised test as passed, so these say what was skipped.

    static func runs(_ isa: apus_isa) -> Bool { apus_cpu_levels() & (1 << isa.rawValue) != 0 }

    func expectQgemmSelects(_ isa: apus_isa) {
        #expect(apus_qgemm_select(apus_cpu_levels_capped(isa)).pointee.isa == isa)
    }

    #if arch(x86_64)
    @Test(.enabled(if: runs(APUS_ISA_AVX2), "AVX2 kernels are not tested: this CPU cannot run them"))
    func avx2KernelsAreTested() { expectQgemmSelects(APUS_ISA_AVX2) }

    @Test(.enabled(if: runs(APUS_ISA_AVXVNNI), "AVX-VNNI kernels are not tested: this CPU cannot run them"))
    func avxvnniKernelsAreTested() { expectQgemmSelects(APUS_ISA_AVXVNNI) }

    @Test(.enabled(if: runs(APUS_ISA_AVX512), "AVX-512 kernels are not tested: this CPU cannot run them"))
    func avx512KernelsAreTested() { expectQgemmSelects(APUS_ISA_AVX512) }

    @Test(.enabled(if: runs(APUS_ISA_AVX512VNNI), "AVX-512 VNNI kernels are not tested: this CPU cannot run them"))
    func avx512vnniKernelsAreTested() { expectQgemmSelects(APUS_ISA_AVX512VNNI) }
    #elseif arch(arm64)
    @Test func neonKernelsAreTested() { expectQgemmSelects(APUS_ISA_NEON) }

    @Test(.enabled(if: runs(APUS_ISA_NEONDOT), "kernels with dot products are not tested: this CPU cannot run them"))
    func neondotKernelsAreTested() { expectQgemmSelects(APUS_ISA_NEONDOT) }

    @Test(.enabled(if: runs(APUS_ISA_NEONI8MM), "kernels with i8mm are not tested: this CPU cannot run them"))
    func neoni8mmKernelsAreTested() { expectQgemmSelects(APUS_ISA_NEONI8MM) }
    #endif
}
