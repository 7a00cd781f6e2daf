import Glibc

/// Copies `count` rows of a padded image, from row `first` of the image itself on (which may lie before or beyond it), into lines
/// of `lineBytes`. A line begins with padding, at most `left` bytes, and ends with it where the image's row is shorter; padding
/// consists of `fill`. Padding may be far wider than a line.
func copyPaddedRows(
    _ image: UnsafeRawPointer, rows: Int, rowBytes: Int, first: Int, count: Int, left: Int, lineBytes: Int, fill: UInt8,
    to target: UnsafeMutableRawPointer
) {
    let left = min(left, lineBytes), inside = min(rowBytes, lineBytes - left)
    for index in 0..<count {
        let line = target + index * lineBytes, row = first + index
        guard row >= 0, row < rows else {
            memset(line, Int32(fill), lineBytes)
            continue
        }
        memset(line, Int32(fill), left)
        memcpy(line + left, image + row * rowBytes, inside)
        memset(line + left + inside, Int32(fill), lineBytes - left - inside)
    }
}
