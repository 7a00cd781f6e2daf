import ApusCore
import ArgumentParser

/// How pictures become tensors. Everything has a default that follows from the model's input.
struct ImageOptions: ParsableArguments {
    enum Layout: String, ExpressibleByArgument, CaseIterable { case auto, nchw, nhwc }
    enum Color: String, ExpressibleByArgument, CaseIterable { case auto, grey, rgb, bgr }
    enum Fit: String, ExpressibleByArgument, CaseIterable { case stretch, crop }

    @Option(name: .customLong("size"), help: ArgumentHelp(
        "Resize pictures to this many pixels: WxH, or one number for a square. Default: what the model's input fixes, else the picture's own size.",
        valueName: "WxH"))
    var size: PictureSize?

    @Option(help: "Reach that size by stretching, or by cropping the middle first: stretch, crop.")
    var fit: Fit = .stretch

    @Option(help: "How to interpolate: bilinear (widened when shrinking, so that every pixel counts), nearest.")
    var filter: Picture.Filter = .bilinear

    @Option(help: "Order of the input's dimensions: nchw, nhwc, or auto (by the place of the 1 or 3 channels).")
    var layout: Layout = .auto

    @Option(help: "Channels: grey, rgb, bgr, or auto (grey for one channel, else rgb).")
    var color: Color = .auto

    @Option(help: ArgumentHelp(
        "Multiply samples of 0...255 by this number or fraction. Default: 1/255 for float inputs, 1 for integers.",
        valueName: "factor"))
    var scale: Factor?

    @Option(help: ArgumentHelp(
        "After scaling, subtract this: one number, or one per channel separated by commas.", valueName: "numbers"))
    var mean: NumberList?

    @Option(help: ArgumentHelp("Then divide by this: one number, or one per channel.", valueName: "numbers"))
    var std: NumberList?

    @Flag(help: "Turn light into dark first, for networks that expect white writing on black.")
    var invert = false

    /// The picture as the tensor that `input` takes.
    func tensor(_ picture: Picture, for input: InputInfo, _ choices: ShapeChoices) throws -> HostTensor {
        guard let type = input.type, type != .string, type != .bool, !type.isComplex else {
            throw CLIError.usage("a picture cannot feed \(input.summary)")
        }
        let axes = try self.axes(of: input, choices)
        let channels = try self.channels(axes, input)
        var resized = channels == 1 ? picture.grey : picture
        let (width, height) = try target(axes, resized)
        if fit == .crop { resized = try resized.cropped(toProportionOf: width, height) }
        resized = try resized.resized(width: width, height: height, by: filter)

        let factor = scale?.value ?? (type.isFloatingPoint ? 1 / 255 : 1)
        let means = try perChannel(mean, channels, "--mean") ?? Array(repeating: 0, count: channels)
        let deviations = try perChannel(std, channels, "--std") ?? Array(repeating: 1, count: channels)
        guard !deviations.contains(0) else { throw CLIError.usage("--std must not be 0") }
        // Every sample has one of 256 values: the arithmetic is done once for each.
        let tables = (0..<channels).map { channel in
            (0..<256).map { sample in
                let value = Double(invert ? 255 - sample : sample) * factor
                let normal = (value - means[channel]) / deviations[channel]
                return type.isFloatingPoint ? normal : normal.rounded()
            }
        }
        var writer = ElementWriter(type)
        let source = (0..<channels).map { color == .bgr ? channels - 1 - $0 : $0 }
        if axes.channelsLast {
            for pixel in 0..<width * height {
                for channel in 0..<channels {
                    try writer.append(tables[channel][Int(resized.samples[pixel * channels + source[channel]])])
                }
            }
        } else {
            for channel in 0..<channels {
                for pixel in 0..<width * height {
                    try writer.append(tables[channel][Int(resized.samples[pixel * channels + source[channel]])])
                }
            }
        }
        return try HostTensor(type, axes.shape(channels, height, width), bytes: writer.finish())
    }

    /// Where the input's dimensions are, and what they fix.
    private struct Axes {
        let rank: Int
        let channelsLast: Bool
        let channels: Int?
        let height: Int?
        let width: Int?

        /// The tensor's shape for what was decided.
        func shape(_ channels: Int, _ height: Int, _ width: Int) -> [Int] {
            let picture = rank == 2 ? [height, width] : channelsLast ? [height, width, channels] : [channels, height, width]
            return rank == 4 ? [1] + picture : picture
        }
    }

    private func axes(of input: InputInfo, _ choices: ShapeChoices) throws -> Axes {
        // A named dimension that the caller chose counts as fixed; an unknown rank as four open dimensions.
        let sizes: [Int?]
        if let whole = choices.shapes[input.name] {
            sizes = whole
        } else if let shape = input.shape {
            sizes = shape.map { dimension in
                if case .named(let name) = dimension { choices.dimensions[name] } else { dimension.size }
            }
        } else {
            sizes = [nil, nil, nil, nil]
        }
        guard (2...4).contains(sizes.count) else {
            throw CLIError.usage("a picture cannot feed \(input.summary): two to four dimensions are needed")
        }
        if sizes.count == 4, let batch = sizes[0], batch != 1 {
            throw CLIError.usage("\(input.summary) takes \(batch) pictures at once: give them as .npy")
        }
        if sizes.count == 2 { return Axes(rank: 2, channelsLast: false, channels: 1, height: sizes[0], width: sizes[1]) }
        let picture = Array(sizes.suffix(3))
        func looksLikeChannels(_ size: Int?) -> Bool { size == 1 || size == 3 }
        let last = switch layout {
        case .nchw: false
        case .nhwc: true
        case .auto: looksLikeChannels(picture[2]) && !looksLikeChannels(picture[0])
        }
        return last
            ? Axes(rank: sizes.count, channelsLast: true, channels: picture[2], height: picture[0], width: picture[1])
            : Axes(rank: sizes.count, channelsLast: false, channels: picture[0], height: picture[1], width: picture[2])
    }

    private func channels(_ axes: Axes, _ input: InputInfo) throws -> Int {
        let wanted: Int? = switch color {
        case .auto: nil
        case .grey: 1
        case .rgb, .bgr: 3
        }
        let channels = wanted ?? axes.channels ?? 3
        guard channels == 1 || channels == 3, axes.channels == nil || axes.channels == channels else {
            throw CLIError.usage(
                "\(input.summary) has \(axes.channels ?? channels) channels, pictures 1 (grey) or 3 (rgb); see --layout and --color")
        }
        return channels
    }

    private func target(_ axes: Axes, _ picture: Picture) throws -> (width: Int, height: Int) {
        let width = size?.width ?? axes.width ?? picture.width
        let height = size?.height ?? axes.height ?? picture.height
        guard axes.width == nil || axes.width == width, axes.height == nil || axes.height == height else {
            throw CLIError.usage(
                "--size \(width)x\(height) contradicts the model, which takes \(axes.width ?? width)x\(axes.height ?? height)")
        }
        return (width, height)
    }

    private func perChannel(_ list: NumberList?, _ channels: Int, _ option: String) throws -> [Double]? {
        guard let values = list?.values else { return nil }
        if values.count == 1 { return Array(repeating: values[0], count: channels) }
        guard values.count == channels else {
            throw CLIError.usage("\(option) has \(values.count) numbers for \(channels) channels")
        }
        return values
    }
}

extension Picture.Filter: ExpressibleByArgument {}

/// `WxH`, or one number for a square.
struct PictureSize: ExpressibleByArgument, Equatable, Sendable {
    let width: Int
    let height: Int

    init?(argument: String) {
        let parts = argument.split(separator: "x", omittingEmptySubsequences: false).map { Int($0) }
        guard (1...2).contains(parts.count), let first = parts.first ?? nil, let last = parts.last ?? nil,
            (1...65_535).contains(first), (1...65_535).contains(last)
        else { return nil }
        (width, height) = (first, last)
    }
}

/// A number, or a fraction such as `1/255`.
struct Factor: ExpressibleByArgument, Equatable, Sendable {
    let value: Double

    init?(argument: String) {
        let parts = argument.split(separator: "/", omittingEmptySubsequences: false).map { Double($0) }
        guard (1...2).contains(parts.count), let first = parts[0] else { return nil }
        var value = first
        if parts.count == 2 {
            guard let divisor = parts[1], divisor != 0 else { return nil }
            value = first / divisor
        }
        guard value.isFinite else { return nil }
        self.value = value
    }
}

/// Numbers separated by commas.
struct NumberList: ExpressibleByArgument, Equatable, Sendable {
    let values: [Double]

    init?(argument: String) {
        let parts = argument.split(separator: ",", omittingEmptySubsequences: false).map { Double($0) }
        let numbers = parts.compactMap { $0 }
        guard numbers.count == parts.count, !numbers.isEmpty, numbers.allSatisfy(\.isFinite) else { return nil }
        values = numbers
    }
}
