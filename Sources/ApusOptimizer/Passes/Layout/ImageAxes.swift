import ApusCore
import ApusGraph

/// The axes of an image of `rank` axes in the two layouts: [N, C, D1, ...] and [N, D1, ..., C].
enum ImageAxes {
    /// The permutation of a Transpose to channels last.
    static func toLast(_ rank: Int) -> [Int] { [0] + Array(2..<rank) + [1] }

    /// The permutation of a Transpose to channels first.
    static func toFirst(_ rank: Int) -> [Int] { [0, rank - 1] + Array(1..<(rank - 1)) }

    /// Where an axis of the channels-first layout lies with channels last.
    static func last(_ axis: Int, rank: Int) -> Int { axis == 0 ? 0 : axis == 1 ? rank - 1 : axis - 1 }

    /// The same for an axis that may count from the end; nil beyond the rank.
    static func last(counting axis: Int, rank: Int) -> Int? {
        let own = axis < 0 ? axis + rank : axis
        return own >= 0 && own < rank ? last(own, rank: rank) : nil
    }

    /// A list with one element for each axis, reordered for channels last.
    static func last<Element>(_ list: [Element]) -> [Element] { toLast(list.count).map { list[$0] } }
}
