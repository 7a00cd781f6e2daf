/// What Linux control groups allow this process: the least of what its own group and every group around it sets.
///
/// Both hierarchies are read, version 1 and version 2 of cgroups(7), and their mixture. In a container the groups outside of
/// it are not visible; what limits it is then found at the root of the hierarchy.
package struct ControlGroup {
    /// Where the hierarchies are mounted.
    private let root: String
    /// Whose groups: a file in the format of /proc/self/cgroup.
    private let membership: String

    package init(root: String = "/sys/fs/cgroup", membership: String = "/proc/self/cgroup") {
        self.root = root
        self.membership = membership
    }

    /// The CPUs' time that the process may use, as a number of CPUs rounded up; nil: no quota.
    package var cpuQuota: Int? {
        let unified = least(of: nil) { folder in
            let fields = smallFile("\(folder)/cpu.max").split { $0 == 32 || $0 == 10 }
            guard fields.count == 2 else { return nil }
            return ControlGroup.wholeCPUs(leadingNumber(fields[0]), leadingNumber(fields[1]))
        }
        let separate = least(of: "cpu") { folder in
            ControlGroup.wholeCPUs(
                firstNumber(inFile: "\(folder)/cpu.cfs_quota_us"), firstNumber(inFile: "\(folder)/cpu.cfs_period_us"))
        }
        return [unified, separate].compactMap(\.self).min()
    }

    /// The bytes of memory that the process may use; nil: no limit.
    package var memoryLimit: Int? {
        let unified = least(of: nil) { firstNumber(inFile: "\($0)/memory.max") }
        let separate = least(of: "memory") { firstNumber(inFile: "\($0)/memory.limit_in_bytes") }
        return [unified, separate].compactMap(\.self).min()
    }

    private static func wholeCPUs(_ quota: Int?, _ period: Int?) -> Int? {
        guard let quota, let period, quota > 0, period > 0 else { return nil }
        return quota / period + (quota % period == 0 ? 0 : 1)
    }

    /// The least of what `read` finds in the folders of the process's group and of those around it, in the hierarchy of a
    /// version 1 controller or, for nil, in that of version 2.
    private func least(of controller: String?, _ read: (String) -> Int?) -> Int? {
        // A mixture of the versions has the unified hierarchy in a folder of that name.
        let mounts = controller.map { ["\(root)/\($0)"] } ?? [root, "\(root)/unified"]
        var limits = mounts.map(read)
        for line in smallFile(membership).split(separator: 10) {
            // "hierarchy:controller,controller:/path", where version 2 names no controllers.
            let fields = line.split(separator: 58, maxSplits: 2, omittingEmptySubsequences: false)
            guard fields.count == 3 else { continue }
            let controllers = fields[1].split(separator: 44).map { String(decoding: $0, as: UTF8.self) }
            guard controller.map(controllers.contains) ?? controllers.isEmpty else { continue }
            let names = fields[2].split(separator: 47).map { String(decoding: $0, as: UTF8.self) }
            // A path out of the visible part of the hierarchy.
            guard !names.contains("..") else { continue }
            for mount in mounts {
                var folder = mount
                for name in names {
                    folder += "/\(name)"
                    limits.append(read(folder))
                }
            }
        }
        return limits.compactMap(\.self).min()
    }
}

/// The decimal number a small text file starts with; nil where the file is absent or starts otherwise ("max").
package func firstNumber(inFile path: String) -> Int? { leadingNumber(smallFile(path)[...]) }

private func leadingNumber(_ text: ArraySlice<UInt8>) -> Int? {
    let digits = text.prefix { $0 >= 48 && $0 <= 57 }
    return digits.isEmpty ? nil : Int(String(decoding: digits, as: UTF8.self))
}
