/// Anything that goes wrong in Apus: a code for programs, a message for people, and the node it concerns.
public struct ApusError: Error, Sendable, CustomStringConvertible {
    /// Error codes; the raw values are those of `apus_error_code` in apus.h and never change.
    public enum Code: Int32, Sendable, CaseIterable {
        /// An argument of the call is wrong: a null pointer, an unknown option, an index out of range.
        case invalidArgument = 1
        /// No input, output or other thing has that name.
        case notFound = 2
        /// A value has another element type or kind than the model expects.
        case typeMismatch = 3
        /// A value has another shape than the model or the operator can take.
        case shapeMismatch = 4

        /// The file cannot be opened or read.
        case io = 20
        /// The bytes are not a valid ONNX model, or the graph contradicts itself.
        case invalidModel = 21
        /// The model uses operators, types or versions that Apus does not know.
        case unsupported = 22
        /// External data is missing, outside of the model's directory or of the wrong size.
        case externalData = 23

        /// An operator met values at run time that it cannot work on: an index out of range, say.
        case invalidValue = 40
        /// A function of an operator that the program brought along failed, or made something else than it had inferred.
        case hostOperator = 41

        /// A memory limit would be passed.
        case memoryLimit = 60
        /// The system gave no memory although no limit was passed.
        case outOfMemory = 61

        /// The run was cancelled by the caller.
        case cancelled = 80
        /// The run passed its deadline.
        case deadlineExceeded = 81

        /// A fault of Apus itself.
        case `internal` = 100
    }

    public var code: Code
    public var message: String
    /// Name (or operator and index, where the node has no name) of the node concerned.
    public var node: String?

    @_disfavoredOverload
    public init(_ code: Code, _ message: String, node: String? = nil) {
        self.code = code
        self.message = message
        self.node = node
    }

    package init(_ code: Code, _ message: ErrorText, node: String? = nil) {
        self.code = code
        self.message = message.string
        self.node = node
    }

    public var description: String {
        node.map { "\($0): \(message)" } ?? message
    }

    /// The same error, attributed to `node` unless it already names one.
    package func at(node: String) -> ApusError {
        self.node == nil ? ApusError(code, message, node: node) : self
    }
}

/// Runs `body`; an error it throws is attributed to `node`.
package func attributed<Result>(to node: @autoclosure () -> String, _ body: () throws -> Result) throws -> Result {
    do {
        return try body()
    } catch let error as ApusError {
        throw error.at(node: node())
    }
}

/// The message of an error as it is written: a literal with values in it.
///
/// `String` is put together by code that the compiler lays out in full wherever a message stands; over a thousand of them were a
/// twentieth of the library. This does the same by calls.
package struct ErrorText: ExpressibleByStringInterpolation {
    let string: String

    package init(stringLiteral value: String) { string = value }
    package init(stringInterpolation: StringInterpolation) { string = stringInterpolation.string }

    package struct StringInterpolation: StringInterpolationProtocol {
        var string = ""

        package init(literalCapacity: Int, interpolationCount: Int) {}

        @inline(never)
        package mutating func appendLiteral(_ literal: String) { string += literal }

        @inline(never)
        package mutating func appendInterpolation(_ value: String) { string += value }

        @inline(never)
        package mutating func appendInterpolation(_ value: Int) { string += value.description }

        @inline(never)
        package mutating func appendInterpolation<Value: CustomStringConvertible>(_ value: Value) { string += value.description }
    }
}
