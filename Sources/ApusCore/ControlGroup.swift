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
        let groups = smallFile(membership)
        let unified = least(of: nil, groups) { folder in
            let text = smallFile("\(folder)/cpu.max")
            guard let space = text.firstIndex(of: 32) else { return nil }
            return ControlGroup.wholeCPUs(leadingNumber(text[..<space]), leadingNumber(text[(space + 1)...]))
        }
        let separate = least(of: "cpu", groups) { folder in
            ControlGroup.wholeCPUs(
                firstNumber(inFile: "\(folder)/cpu.cfs_quota_us"), firstNumber(inFile: "\(folder)/cpu.cfs_period_us"))
        }
        return ControlGroup.lesser(unified, separate)
    }

    /// The bytes of memory that the process may use; nil: no limit.
    package var memoryLimit: Int? {
        let groups = smallFile(membership)
        return ControlGroup.lesser(
            least(of: nil, groups) { firstNumber(inFile: "\($0)/memory.max") },
            least(of: "memory", groups) { firstNumber(inFile: "\($0)/memory.limit_in_bytes") })
    }

    private static func lesser(_ a: Int?, _ b: Int?) -> Int? {
        guard let a, let b else { return a ?? b }
        return min(a, b)
    }

    private static func wholeCPUs(_ quota: Int?, _ period: Int?) -> Int? {
        guard let quota, let period, quota > 0, period > 0 else { return nil }
        return quota / period + (quota % period == 0 ? 0 : 1)
    }

    /// The least of what `read` finds in the folders of the process's group and of those around it, in the hierarchy of a
    /// version 1 controller or, for nil, in that of version 2. `groups`: the contents of `membership`.
    ///
    /// Every process that makes a session comes by here: bytes are compared where lists of strings would read better, since what
    /// Swift makes of those when they are first used takes as long as all the rest.
    private func least(of controller: StaticString?, _ groups: [UInt8], _ read: (String) -> Int?) -> Int? {
        // A mixture of the versions has the unified hierarchy in a folder of that name.
        let first = controller.map { "\(root)/\($0)" } ?? root, second = controller == nil ? "\(root)/unified" : nil
        var least = read(first)
        if let second { least = ControlGroup.lesser(least, read(second)) }
        var start = 0
        while start < groups.count {
            let end = groups[start...].firstIndex(of: 10) ?? groups.count
            let line = groups[start..<end]
            start = end + 1
            // "hierarchy:controller,controller:/path", where version 2 names no controllers.
            guard let colon = line.firstIndex(of: 58), let last = line[(colon + 1)...].firstIndex(of: 58),
                ControlGroup.list(line[(colon + 1)..<last], names: controller)
            else { continue }
            // From the end of one name of the path to the end of the next.
            var name = last + 1
            while name < end {
                let stop = line[name...].firstIndex(of: 47) ?? end
                let isUp = stop - name == 2 && line[name] == 46 && line[name + 1] == 46
                // A path out of the visible part of the hierarchy.
                if isUp { break }
                name = stop + 1
            }
            guard name > end else { continue }
            name = last + 1
            while name < end {
                let stop = line[name...].firstIndex(of: 47) ?? end
                if stop > name {
                    let path = String(decoding: line[(last + 1)..<stop], as: UTF8.self)
                    let separator = path.utf8.first == 47 ? "" : "/"
                    least = ControlGroup.lesser(least, read(first + separator + path))
                    if let second { least = ControlGroup.lesser(least, read(second + separator + path)) }
                }
                name = stop + 1
            }
        }
        return least
    }

    /// Whether a list with commas names `controller`; for nil, whether it is empty.
    private static func list(_ controllers: ArraySlice<UInt8>, names controller: StaticString?) -> Bool {
        guard let controller else { return controllers.isEmpty }
        let wanted = UnsafeBufferPointer(start: controller.utf8Start, count: controller.utf8CodeUnitCount)
        var start = controllers.startIndex
        while start <= controllers.endIndex {
            let end = controllers[start...].firstIndex(of: 44) ?? controllers.endIndex
            if controllers[start..<end].elementsEqual(wanted) { return true }
            start = end + 1
        }
        return false
    }
}

/// The decimal number a small text file starts with; nil where the file is absent or starts otherwise ("max").
package func firstNumber(inFile path: String) -> Int? { leadingNumber(smallFile(path)[...]) }

private func leadingNumber(_ text: ArraySlice<UInt8>) -> Int? {
    var number: Int?
    for digit in text {
        guard digit >= 48, digit <= 57 else { break }
        let (tens, passes) = (number ?? 0).multipliedReportingOverflow(by: 10)
        let (sum, passesToo) = tens.addingReportingOverflow(Int(digit) - 48)
        if passes || passesToo { return nil }
        number = sum
    }
    return number
}
