/// A grey tensor drawn with characters, dark background assumed: what the network sees.
enum PictureText {
    private static let shades = Array(" ░▒▓█")

    /// Lines for the last two dimensions of a tensor of one picture; nil when it is none, or too wide to draw.
    static func lines(_ tensor: HostTensor, width: Int) -> [String]? {
        guard tensor.type != .string, !tensor.type.isComplex else { return nil }
        // One channel, first or last.
        let plain = tensor.shape.filter { $0 != 1 }
        guard plain.count == 2, plain[1] * 2 <= width else { return nil }
        let values = tensor.doubles()
        guard let least = values.min(), let most = values.max(), least.isFinite, most.isFinite else { return nil }
        let range = most > least ? most - least : 1
        return (0..<plain[0]).map { y in
            "  " + (0..<plain[1]).map { x in
                let shade = (values[y * plain[1] + x] - least) / range * Double(shades.count - 1)
                // A character is about twice as high as wide.
                return String(repeating: shades[Int(shade.rounded())], count: 2)
            }.joined()
        }
    }
}
