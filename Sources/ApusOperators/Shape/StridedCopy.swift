import ApusCore
import CApusKernels

/// A copy of a box of elements between two strided places: what Transpose, Slice, Expand, Concat and others come to.
///
/// Made once for given extents; axes are then merged and reordered so that as much as possible is moved in runs.
final class StridedCopy: Sendable {
    /// Steps in bytes; a source step may be 0 (repeat) or negative, target steps are positive.
    private struct Axis {
        var extent: Int
        var source: Int
        var target: Int
    }

    private enum Inner {
        /// Rows of contiguous bytes.
        case runs
        /// Elements of a width that has a type.
        case elements
    }

    let isEmpty: Bool
    private let sourceStart: Int
    private let targetStart: Int
    /// Loops around the inner two, outermost first.
    private let outer: [Axis]
    private let outerCount: Int
    private let rows: Axis
    private let columns: Axis
    private let inner: Inner
    /// Whether a plane is a matrix of which one side's rows are the other's columns.
    private let isTransposition: Bool
    /// Bytes that are moved at once: of one run, or of one element.
    private let unit: Int
    /// Bytes of a run in the last row: fewer where a row is a piece of a long run.
    private let lastUnit: Int
    private let rowsPerTask: Int
    private let tasksPerPlane: Int
    private let planesPerTask: Int

    /// - Parameters:
    ///   - extents: elements along each axis
    ///   - source, target: steps along each axis in elements; where an extent is 0 or 1 they do not matter
    ///   - sourceStart, targetStart: where the element with all coordinates 0 lies, in elements
    ///   - width: bytes of an element: 1, 2, 4, 8 or 16
    ///
    /// All addresses of the box, if it has any, must lie within the caller's memory, so that no product here can overflow.
    init(extents: [Int], source: [Int], target: [Int], sourceStart: Int = 0, targetStart: Int = 0, width: Int) {
        isEmpty = extents.contains { $0 <= 0 }
        self.sourceStart = sourceStart &* width
        self.targetStart = targetStart &* width
        var axes: [Axis] = []
        // An empty box has no addresses, and nothing bounds its other sides.
        for index in extents.indices where !isEmpty && extents[index] > 1 {
            axes.append(Axis(extent: extents[index], source: source[index] &* width, target: target[index] &* width))
        }
        axes.sort { $0.target > $1.target }
        axes = StridedCopy.merged(axes)

        var unit = width
        var runs = false
        if let last = axes.last, last.source == width, last.target == width {
            axes.removeLast()
            unit = width &* last.extent
            runs = true
        }
        // A run that is as long as a machine word is an element.
        let isElement = [1, 2, 4, 8, 16].contains(unit)
        inner = isElement ? .elements : .runs
        let none = Axis(extent: 1, source: 0, target: 0)
        let piece = StridedCopy.taskByteCount
        if runs, !isElement, unit >= 2 * piece {
            // A long run is cut into pieces, each a row.
            let pieces = unit / piece + (unit % piece == 0 ? 0 : 1)
            rows = Axis(extent: pieces, source: piece, target: piece)
            columns = none
            lastUnit = unit - (pieces - 1) * piece
            unit = piece
        } else {
            lastUnit = unit
            let last = axes.popLast() ?? none
            // Where columns lie apart in the source, rows along the source's own direction share its cache lines.
            if let index = axes.indices.filter({ axes[$0].source != 0 }).min(by: { abs(axes[$0].source) < abs(axes[$1].source) }),
                !runs || isElement, abs(axes[index].source) < abs(last.source)
            {
                (rows, columns) = (axes.remove(at: index), last)
            } else if runs, !isElement, axes.isEmpty {
                // What threads share is rows.
                (rows, columns) = (last, none)
            } else {
                (rows, columns) = (axes.popLast() ?? none, last)
            }
        }
        self.unit = unit
        isTransposition = isElement && unit < 16 && columns.extent >= 2 && rows.extent >= 2 && columns.target == unit
            && rows.source == unit && columns.source >= unit &* rows.extent && columns.source % unit == 0
            && rows.target >= unit &* columns.extent && rows.target % unit == 0
        outer = axes
        outerCount = axes.reduce(1) { $0 &* $1.extent }
        // How the work is cut depends on the shape alone. Tiles of elements have 16 rows.
        let rowBytes = max(1, columns.extent &* unit), least = isElement ? 16 : 1
        let wanted = max(1, piece / rowBytes)
        rowsPerTask = rows.extent <= wanted ? rows.extent : max(least, wanted / least * least)
        tasksPerPlane = (rows.extent + rowsPerTask - 1) / rowsPerTask
        planesPerTask = tasksPerPlane > 1 ? 1 : max(1, wanted / max(1, rows.extent))
    }

    /// Bytes that a task moves, about.
    private static let taskByteCount = 65536

    /// A copy of a box that lies contiguously in the target.
    convenience init(toContiguous extents: [Int], source: [Int], sourceStart: Int = 0, width: Int) {
        var target = [Int](repeating: 1, count: extents.count)
        var step = 1
        for axis in extents.indices.reversed() {
            target[axis] = step
            step = step &* max(1, extents[axis])
        }
        self.init(extents: extents, source: source, target: target, sourceStart: sourceStart, width: width)
    }

    private static func merged(_ axes: [Axis]) -> [Axis] {
        var result: [Axis] = []
        for axis in axes {
            if let last = result.last, last.source == axis.source &* axis.extent, last.target == axis.target &* axis.extent {
                result[result.count - 1] = Axis(extent: last.extent &* axis.extent, source: axis.source, target: axis.target)
            } else {
                result.append(axis)
            }
        }
        return result
    }

    func run(from source: UnsafeRawPointer, to target: UnsafeMutableRawPointer, pool: ThreadPool) {
        if isEmpty { return }
        let source = source + sourceStart
        let target = target + targetStart
        if tasksPerPlane > 1 {
            pool.parallel(outerCount &* tasksPerPlane) { task in
                let plane = task / tasksPerPlane
                let first = task % tasksPerPlane * rowsPerTask
                move(source, target, planes: plane..<plane + 1, rows: first..<min(rows.extent, first + rowsPerTask))
            }
        } else {
            let tasks = (outerCount + planesPerTask - 1) / planesPerTask
            if tasks == 1 {
                move(source, target, planes: 0..<outerCount, rows: 0..<rows.extent)
            } else {
                pool.parallel(tasks) { task in
                    let first = task * planesPerTask
                    move(source, target, planes: first..<min(outerCount, first + planesPerTask), rows: 0..<rows.extent)
                }
            }
        }
    }

    private func move(_ source: UnsafeRawPointer, _ target: UnsafeMutableRawPointer, planes: Range<Int>, rows rowRange: Range<Int>) {
        let rank = outer.count
        withUnsafeTemporaryAllocation(of: Int.self, capacity: max(1, rank)) { counters in
            outer.withUnsafeBufferPointer { outer in
                var rest = planes.lowerBound
                var from = source
                var to = target
                for axis in stride(from: rank - 1, through: 0, by: -1) {
                    let position = rest % outer[axis].extent
                    rest /= outer[axis].extent
                    counters[axis] = position
                    from += position &* outer[axis].source
                    to += position &* outer[axis].target
                }
                for _ in planes {
                    plane(from, to, rowRange)
                    var axis = rank - 1
                    while axis >= 0 {
                        counters[axis] &+= 1
                        from += outer[axis].source
                        to += outer[axis].target
                        if counters[axis] < outer[axis].extent { break }
                        counters[axis] = 0
                        from -= outer[axis].source &* outer[axis].extent
                        to -= outer[axis].target &* outer[axis].extent
                        axis -= 1
                    }
                }
            }
        }
    }

    @inline(__always)
    private func plane(_ source: UnsafeRawPointer, _ target: UnsafeMutableRawPointer, _ range: Range<Int>) {
        switch inner {
        case .runs:
            for row in range {
                var from = source + row &* rows.source
                var to = target + row &* rows.target
                let byteCount = row == rows.extent - 1 ? lastUnit : unit
                for _ in 0..<columns.extent {
                    to.copyMemory(from: from, byteCount: byteCount)
                    from += columns.source
                    to += columns.target
                }
            }
        case .elements:
            if isTransposition, range.count >= 2 {
                let first = range.lowerBound
                if apus_transpose_2d(
                    unit, columns.extent, range.count, source + first &* rows.source, columns.source / unit,
                    target + first &* rows.target, rows.target / unit)
                { return }
            }
            withWidth(
                unit,
                Plane(
                    source: source, target: target, range: range, rowSource: rows.source, rowTarget: rows.target,
                    columns: columns.extent, columnSource: columns.source, columnTarget: columns.target))
        }
    }

    /// The inner two loops for elements of one width.
    private struct Plane: WidthVisitor {
        let source: UnsafeRawPointer
        let target: UnsafeMutableRawPointer
        let range: Range<Int>
        let rowSource: Int
        let rowTarget: Int
        let columns: Int
        let columnSource: Int
        let columnTarget: Int

        @inline(__always)
        func visit<Element: BitwiseCopyable>(_: Element.Type) {
            let width = MemoryLayout<Element>.stride
            if columnTarget == width, columnSource == 0 {
                for row in range {
                    let value = (source + row &* rowSource).loadUnaligned(as: Element.self)
                    let to = target + row &* rowTarget
                    for column in 0..<columns { to.storeBytes(of: value, toByteOffset: column &* width, as: Element.self) }
                }
            } else if columnTarget == width, abs(columnSource) <= 4 * width || range.count < 4 {
                for row in range {
                    let from = source + row &* rowSource
                    let to = target + row &* rowTarget
                    for column in 0..<columns {
                        let value = from.loadUnaligned(fromByteOffset: column &* columnSource, as: Element.self)
                        to.storeBytes(of: value, toByteOffset: column &* width, as: Element.self)
                    }
                }
            } else {
                // Tiles that keep the lines of both sides in the first cache.
                let tile = 16
                var first = range.lowerBound
                while first < range.upperBound {
                    let end = min(range.upperBound, first &+ tile)
                    var start = 0
                    while start < columns {
                        let stop = min(columns, start &+ tile)
                        for row in first..<end {
                            let from = source + row &* rowSource
                            let to = target + row &* rowTarget
                            for column in start..<stop {
                                let value = from.loadUnaligned(fromByteOffset: column &* columnSource, as: Element.self)
                                to.storeBytes(of: value, toByteOffset: column &* columnTarget, as: Element.self)
                            }
                        }
                        start = stop
                    }
                    first = end
                }
            }
        }
    }
}

/// Calls `body(position, offset)` for each position of a box in row-major order; `offset` is the sum of the coordinates
/// times `strides`.
@inline(__always)
func forEachPosition(_ extents: [Int], _ strides: [Int], _ body: (Int, Int) throws -> Void) rethrows {
    if extents.contains(where: { $0 <= 0 }) { return }
    let rank = extents.count
    try withUnsafeTemporaryAllocation(of: Int.self, capacity: max(1, rank)) { counters in
        counters.update(repeating: 0)
        var position = 0
        var offset = 0
        while true {
            try body(position, offset)
            position &+= 1
            var axis = rank - 1
            while axis >= 0 {
                counters[axis] &+= 1
                offset &+= strides[axis]
                if counters[axis] < extents[axis] { break }
                counters[axis] = 0
                offset &-= strides[axis] &* extents[axis]
                axis -= 1
            }
            if axis < 0 { return }
        }
    }
}
