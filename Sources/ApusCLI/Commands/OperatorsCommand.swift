import ApusOperators
import ArgumentParser

struct OperatorsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "operators",
        abstract: "List the operators that models may use, with the versions that changed them.")

    @Argument(help: "Only operators whose name contains this.")
    var name: String?

    @Flag(help: "Print the result as JSON.")
    var json = false

    func run() throws {
        // Domain "apus" holds what only the optimiser makes.
        let schemas = Registry.schemas.filter { schema in
            schema.domain != "apus" && (name.map { schema.opType.contains($0) } ?? true)
        }
        if json {
            print(JSONValue.array(schemas.map { schema in
                .object([
                    .init("domain", .string(schema.domain)),
                    .init("name", .string(schema.opType)),
                    .init("since", .array(schema.since.map { .integer($0) })),
                ])
            }).text())
            return
        }
        print(Format.table([["domain", "operator", "since"]] + schemas.map { schema in
            [schema.domain.isEmpty ? "ai.onnx" : schema.domain, schema.opType, schema.since.map(String.init).joined(separator: " ")]
        }).joined(separator: "\n"))
    }
}
