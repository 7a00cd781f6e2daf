import ApusCore
import ApusGraph
import ApusOperators
import Testing

@testable import ApusOptimizer

@Suite struct ChannelsFirstInputTests {
    /// A network of one convolution of `channels` channels and another that keeps what is between with channels last.
    private func network(_ channels: Int, group: Int = 1, kernel: Int = 3, axes: Int = 2) throws -> Graph {
        let builder = GraphBuilder()
        var random = Random(3)
        let x = builder.input("x", .float32, [2, channels] + [9, 8, 5].prefix(axes))
        let first = try builder.convolution(x, channels, 8 * group, &random, kernel: kernel, stride: 2, group: group, axes: axes)
        builder.output(try builder.convolution(builder.relu(first), 8 * group, 5, &random, axes: axes), "y")
        return builder.graph
    }

    @Test(arguments: [1, 2]) func theFirstConvolutionReadsWhatTheCallerGives(axes: Int) throws {
        let graph = try network(3, axes: axes)
        let found = try expectSame(graph)
        #expect(found.transposes == 1)
        #expect(found.nodes.filter { $0.attribute("input_first") != nil }.count == 1)
        #expect(try expectSame(graph, without: ["ChannelsFirstInput"]).transposes == 2)
    }

    @Test func othersDoNot() throws {
        for graph in [try network(8), try network(4, group: 2), try network(3, kernel: 1), try network(3, axes: 3)] {
            let found = try expectSame(graph)
            #expect(found.transposes == 2)
            #expect(!found.nodes.contains { $0.attribute("input_first") != nil })
        }
    }
}
