#if canImport(Glibc)
import Glibc
#else
import Musl
#endif

/// Memory for a kernel test, one end of which touches a page that cannot be read or written: an access beyond it
/// ends the test process instead of passing unseen.
///
/// The other end lies inside the mapping, in bytes filled with a pattern; `isIntact` tells whether they still hold it.
package final class GuardedBuffer<Element: BitwiseCopyable> {
    /// The end of the buffer that touches the unmapped page.
    package enum Edge: CaseIterable, Sendable {
        case start
        case end
    }

    package let count: Int
    package let edge: Edge
    /// The first element. Aligned for `Element`, and to nothing more.
    package let pointer: UnsafeMutablePointer<Element>

    private let mapping: UnsafeMutableRawPointer
    private let mappedBytes: Int
    private let usable: UnsafeMutableRawPointer
    private let usableBytes: Int

    private static var pattern: UInt8 { 0xA5 }

    /// A buffer of `count` elements, all bytes `0xA5`.
    package init(count: Int, guarding edge: Edge = .end) {
        let page = sysconf(Int32(_SC_PAGESIZE))
        let bytes = count * MemoryLayout<Element>.stride
        usableBytes = max(1, (bytes + page - 1) / page) * page
        mappedBytes = usableBytes + 2 * page
        guard let base = mmap(nil, mappedBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), base != MAP_FAILED
        else { fatalError("GuardedBuffer: mmap of \(mappedBytes) bytes failed: errno \(errno)") }
        mapping = base
        usable = base + page
        guard mprotect(usable, usableBytes, PROT_READ | PROT_WRITE) == 0
        else { fatalError("GuardedBuffer: mprotect failed: errno \(errno)") }
        memset(usable, Int32(Self.pattern), usableBytes)
        let first = edge == .end ? usable + (usableBytes - bytes) : usable
        pointer = first.bindMemory(to: Element.self, capacity: max(1, count))
        self.count = count
        self.edge = edge
    }

    /// A buffer holding a copy of `elements`.
    package convenience init(_ elements: some Collection<Element>, guarding edge: Edge = .end) {
        self.init(count: elements.count, guarding: edge)
        fill(with: elements)
    }

    deinit { munmap(mapping, mappedBytes) }

    /// Writes `elements` from the start; there may be fewer than `count`.
    package func fill(with elements: some Collection<Element>) {
        precondition(elements.count <= count, "GuardedBuffer: \(elements.count) elements do not fit \(count)")
        var index = 0
        for element in elements {
            pointer[index] = element
            index += 1
        }
    }

    /// Sets every element to `element`.
    package func fill(repeating element: Element) {
        pointer.update(repeating: element, count: count)
    }

    package subscript(index: Int) -> Element {
        get {
            precondition(index >= 0 && index < count)
            return pointer[index]
        }
        set {
            precondition(index >= 0 && index < count)
            pointer[index] = newValue
        }
    }

    /// A copy of the elements.
    package var elements: [Element] { Array(UnsafeBufferPointer(start: pointer, count: count)) }

    /// The same memory for reading.
    package var constant: UnsafePointer<Element> { UnsafePointer(pointer) }

    /// Whether the mapped bytes on the unguarded side are as they were made.
    package var isIntact: Bool {
        let bytes = count * MemoryLayout<Element>.stride
        let slack = usableBytes - bytes
        let from = edge == .end ? usable : usable + bytes
        return UnsafeRawBufferPointer(start: from, count: slack).allSatisfy { $0 == Self.pattern }
    }
}
