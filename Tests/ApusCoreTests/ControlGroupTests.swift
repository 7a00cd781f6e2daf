import ApusCore
import Foundation
import Testing

@Suite struct ControlGroupTests {
    /// What a process of the groups `membership` sees where `files`, by their paths below the mount point, exist.
    private func limits(_ membership: String, _ files: [String: String]) throws -> ControlGroup {
        let root = FileManager.default.temporaryDirectory.appending(path: "apus-groups-\(UUID().uuidString)")
        for (path, content) in files {
            let file = root.appending(path: path)
            try FileManager.default.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
            try Data(content.utf8).write(to: file)
        }
        try FileManager.default.createDirectory(at: root, withIntermediateDirectories: true)
        try Data(membership.utf8).write(to: root.appending(path: "membership"))
        return ControlGroup(root: root.path, membership: root.appending(path: "membership").path)
    }

    @Test func theLeastOfAGroupAndThoseAroundIt() throws {
        let group = try limits(
            "0::/machine/service/job\n",
            [
                "cpu.max": "max 100000\n", "machine/cpu.max": "350000 100000\n", "machine/service/cpu.max": "150000 100000\n",
                "machine/service/job/cpu.max": "max 100000\n", "machine/memory.max": "8000000\n",
                "machine/service/memory.max": "max\n", "machine/service/job/memory.max": "9000000\n",
                "machine/other/cpu.max": "10000 100000\n",
            ])
        #expect(group.cpuQuota == 2)
        #expect(group.memoryLimit == 8_000_000)
    }

    @Test func aContainerSeesItsLimitsAtTheRoot() throws {
        let group = try limits("0::/system.slice/not/visible\n", ["cpu.max": "50000 100000\n", "memory.max": "123\n"])
        #expect(group.cpuQuota == 1)
        #expect(group.memoryLimit == 123)
    }

    @Test func versionOneAndMixtures() throws {
        let membership = "5:memory:/a\n3:cpu,cpuacct:/b/c\n1:name=systemd:/d\n0::/e\n"
        let group = try limits(
            membership,
            [
                "cpu/b/cpu.cfs_quota_us": "-1\n", "cpu/b/cpu.cfs_period_us": "100000\n",
                "cpu/b/c/cpu.cfs_quota_us": "400000\n", "cpu/b/c/cpu.cfs_period_us": "100000\n",
                "memory/memory.limit_in_bytes": "9223372036854771712\n", "memory/a/memory.limit_in_bytes": "77\n",
                "memory/b/memory.limit_in_bytes": "1\n", "unified/e/cpu.max": "250000 100000\n",
            ])
        #expect(group.cpuQuota == 3)
        #expect(group.memoryLimit == 77)
    }

    @Test(arguments: [
        "", "0::/\n", "0::/../..\n", "nonsense\n0:\n", "0::/a\n",
    ])
    func noLimitsWhereNoneCanBeRead(membership: String) throws {
        let group = try limits(
            membership, ["a/cpu.max": "\n", "a/memory.max": "none", "cpu/cpu.cfs_quota_us": "0", "cpu/cpu.cfs_period_us": "0"])
        #expect(group.cpuQuota == nil)
        #expect(group.memoryLimit == nil)
    }
}
