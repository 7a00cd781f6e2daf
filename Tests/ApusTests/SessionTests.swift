import Apus
import Foundation
import Testing

/// The public Swift interface on the example networks.
struct SessionTests {
    static let networks = ["digits_cnn", "digits_cnn_int8", "digits_lstm", "digits_transformer"]
    private static let models = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../Examples/models").standardized

    private static func path(_ network: String) -> String { models.appending(path: "\(network).onnx").path }

    private static func model(_ network: String = "digits_cnn") throws -> Model { try Model(path: path(network)) }

    /// `count` grey pictures that the networks have an opinion on.
    private static func pictures(_ count: Int) throws -> Tensor {
        var pixels: [Float] = []
        for index in 0..<count * 64 {
            let ink: Int = (index * 37 + index / 8 * 11) % 17
            pixels.append(Float(ink) / 16)
        }
        return try Tensor(.float32, [count, 1, 8, 8], pixels)
    }

    private static func read(_ session: Session, _ pictures: Tensor, control: RunControl? = nil) throws -> [Float] {
        try session.run(["image": .tensor(pictures)], control: control)[0].asTensor().array(Float.self)
    }

    @Test(arguments: networks)
    func levelsAndThreadsAgree(network: String) throws {
        let pictures = try Self.pictures(3)
        var reference: [Float]?
        for level in OptimizationLevel.allCases {
            for threads in [1, 2] {
                for cpu in ["generic", "avx2", nil] {
                    var options = SessionOptions()
                    (options.optimizationLevel, options.threads, options.cpu) = (level, threads, cpu)
                    let found = try Self.read(try Session(Self.model(network), options: options), pictures)
                    let expected = reference ?? found
                    reference = expected
                    #expect(found.count == 30)
                    // One step of a quantised value may be rounded the other way.
                    let tolerance: Float = network.hasSuffix("int8") ? 0.02 : 1e-5
                    for (a, b) in zip(found, expected) { #expect(abs(a - b) <= tolerance, "\(level), \(threads) threads, \(cpu ?? "best")") }
                }
            }
        }
    }

    @Test func descriptions() throws {
        let session = try Session(Self.model())
        #expect(session.inputs.map(\.name.description) == ["image"] && session.outputs.map(\.name.description) == ["probabilities"])
        #expect(session.inputs[0].type.description.contains("batch") && !session.inputs[0].isOptional)
    }

    @Test func bytesAndFilesGiveTheSame() throws {
        let bytes = [UInt8](try Data(contentsOf: URL(filePath: Self.path("digits_lstm"))))
        let pictures = try Self.pictures(2)
        #expect(try Self.read(Session(Model(bytes: bytes)), pictures) == Self.read(Session(Self.model("digits_lstm")), pictures))
    }

    @Test func savedModelsGiveTheSame() throws {
        let file = FileManager.default.temporaryDirectory.appending(path: "apus-\(UUID().uuidString).onnx")
        defer { try? FileManager.default.removeItem(at: file) }
        try Self.model("digits_transformer").save(to: file.path)
        let pictures = try Self.pictures(2)
        #expect(try Self.read(Session(Model(path: file.path)), pictures) == Self.read(Session(Self.model("digits_transformer")), pictures))
    }

    @Test func onePoolServesSessionsInManyThreads() async throws {
        var options = SessionOptions()
        options.pool = Pool(size: 2)
        let sessions = try Self.networks.map { try Session(Self.model($0), options: options) }
        let pictures = try Self.pictures(4)
        let expected = try sessions.map { try Self.read($0, pictures) }
        try await withThrowingTaskGroup(of: Bool.self) { group in
            for task in 0..<8 {
                group.addTask {
                    try (0..<20).allSatisfy { _ in try Self.read(sessions[task % 4], pictures) == expected[task % 4] }
                }
            }
            for try await agrees in group { #expect(agrees) }
        }
    }

    private func expectError(_ code: ApusError.Code, _ part: String, _ body: () throws -> Void) {
        do {
            try body()
            Issue.record("no error, \(code) expected")
        } catch let error as ApusError {
            #expect(error.code == code && error.message.contains(part), "\(error)")
        } catch {
            Issue.record("\(error)")
        }
    }

    @Test func errorsSayWhatWasExpected() throws {
        let session = try Session(Self.model())
        expectError(.notFound, "\"image\"") { _ = try session.run(["picture": .tensor(try Self.pictures(1))]) }
        expectError(.invalidArgument, "missing") { _ = try session.run([:]) }
        expectError(.shapeMismatch, "8,8") {
            _ = try session.run(["image": .tensor(try Tensor(.float32, [1, 1, 8, 7], [Float](repeating: 0, count: 56)))])
        }
        expectError(.typeMismatch, "float") {
            _ = try session.run(["image": .tensor(try Tensor(.int32, [1, 1, 8, 8], [Int32](repeating: 0, count: 64)))])
        }
        expectError(.io, "nowhere.onnx") { _ = try Model(path: "nowhere.onnx") }
        expectError(.invalidModel, "not a valid ONNX model") { _ = try Model(bytes: [0x08, 0x07, 0xff]) }
        expectError(.invalidArgument, "z80") {
            var options = SessionOptions()
            options.cpu = "z80"
            _ = try Session(try Self.model(), options: options)
        }
    }

    @Test func limits() throws {
        let session = try Session(Self.model()), pictures = try Self.pictures(1)
        let control = RunControl()
        control.cancel()
        expectError(.cancelled, "cancelled") { _ = try Self.read(session, pictures, control: control) }
        control.reset()
        #expect(try Self.read(session, pictures, control: control).count == 10)
        control.setTimeLimit(nanoseconds: 0)
        expectError(.deadlineExceeded, "deadline") { _ = try Self.read(session, pictures, control: control) }
        var options = SessionOptions()
        options.memoryLimit = 1000
        expectError(.memoryLimit, "1000") { _ = try Self.read(try Session(try Self.model(), options: options), pictures) }
    }

    @Test func everyPassCanBeLeftOut() throws {
        #expect(Session.passNames.contains("ConstantFolding") && Set(Session.passNames).count == Session.passNames.count)
        let pictures = try Self.pictures(2)
        let expected = try Self.read(Session(Self.model("digits_transformer")), pictures)
        for name in Session.passNames {
            var options = SessionOptions()
            options.disabledPasses = [name]
            let found = try Self.read(Session(Self.model("digits_transformer"), options: options), pictures)
            for (a, b) in zip(found, expected) { #expect(abs(a - b) <= 1e-5, "without \(name)") }
        }
    }
}
