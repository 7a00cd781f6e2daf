import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

/// Einsum: labels, ellipses, diagonals, and all ways to contract.
/// Expected values come from onnxruntime 1.31 or NumPy.
struct EinsumTests {

    @Test
    func products() throws {
        try expectEvaluates(
            "Einsum", opset: 12, ["equation": .string("ij,jk->ik")],
            [.tensor(try Tensor(.float32, [2, 3], [0, 0, 2, 4, -4, -3] as [Float])), .tensor(try Tensor(.float32, [3, 4], [3, 4, -2, -2, 3, -1, -2, 3, -2, -1, 1, 0] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 4], [-4, -2, 2, 0, 6, 23, -3, -20] as [Float]))])
        try expectEvaluates(
            "Einsum", opset: 12, ["equation": .string("ij,jk")],
            [.tensor(try Tensor(.float32, [2, 3], [-4, -4, 3, 2, 3, 0] as [Float])), .tensor(try Tensor(.float32, [3, 2], [3, -2, 0, 3, -3, -2] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 2], [-21, -10, 6, 5] as [Float]))])
        try expectEvaluates(
            "Einsum", opset: 12, ["equation": .string("bij,bjk->bik")],
            [.tensor(try Tensor(.float32, [2, 2, 3], [-3, 0, 4, -3, -1, -1, 4, -3, 0, -2, -4, 2] as [Float])), .tensor(try Tensor(.float32, [2, 3, 2], [-4, -2, 0, 0, -3, 4, 2, 4, -4, 2, -2, 0] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 2, 2], [0, 22, 15, 2, 20, 10, 8, -16] as [Float]))])
        try expectEvaluates(
            "Einsum", opset: 12, ["equation": .string("bhqd,bkhd->bqhk")],
            [.tensor(try Tensor(.float32, [1, 2, 2, 3], [4, -2, 2, -3, -2, 4, -1, 0, -2, -3, -1, 1] as [Float])), .tensor(try Tensor(.float32, [1, 3, 2, 3], [0, 2, -1, 1, 2, 4, -1, -4, 2, 0, 3, 0, -1, -4, 0, 1, 2, 3] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 2, 2, 3], [-6, 8, 4, -9, 0, -7, -8, 19, 11, -1, -3, -2] as [Float]))])
        try expectEvaluates(
            "Einsum", opset: 12, ["equation": .string("bhqk,bkhd->bqhd")],
            [.tensor(try Tensor(.float32, [1, 2, 2, 3], [-3, 1, 3, -2, -1, 3, 1, 0, 2, 0, 4, 2] as [Float])), .tensor(try Tensor(.float32, [1, 3, 2, 2], [-4, -3, 0, 3, -4, 2, 2, 3, 3, -3, 0, 3] as [Float]))],
            [.tensor(try Tensor(.float32, [1, 2, 2, 2], [17, 2, 0, 9, 21, -5, 8, 18] as [Float]))])
        try expectEvaluates(
            "Einsum", opset: 12, ["equation": .string("ij,kj->ki")],
            [.tensor(try Tensor(.float32, [2, 3], [-1, -3, 0, -4, -3, 3] as [Float])), .tensor(try Tensor(.float32, [4, 3], [2, 3, 3, 3, -2, 0, 1, -2, 4, -4, 3, 1] as [Float]))],
            [.tensor(try Tensor(.float32, [4, 2], [-11, -8, 3, -6, 5, 14, -5, 10] as [Float]))])
        try expectEvaluates(
            "Einsum", opset: 12, ["equation": .string("i,j->ij")],
            [.tensor(try Tensor(.float32, [2], [-2, 2] as [Float])), .tensor(try Tensor(.float32, [3], [-1, 3, 4] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 3], [2, -6, -8, -2, 6, 8] as [Float]))])
        try expectEvaluates(
            "Einsum", opset: 12, ["equation": .string("i,i->")],
            [.tensor(try Tensor(.float32, [4], [-2, 0, -3, 2] as [Float])), .tensor(try Tensor(.float32, [4], [1, 3, 3, 4] as [Float]))],
            [.tensor(try Tensor(.float32, [], [-3] as [Float]))])
        try expectEvaluates(
            "Einsum", opset: 12, ["equation": .string("ij,ij->i")],
            [.tensor(try Tensor(.float32, [2, 3], [4, 4, -3, -4, 0, -1] as [Float])), .tensor(try Tensor(.float32, [2, 3], [4, 3, -1, 1, 1, 4] as [Float]))],
            [.tensor(try Tensor(.float32, [2], [31, -8] as [Float]))])
        try expectEvaluates(
            "Einsum", opset: 12, ["equation": .string("ij,jk,kl->il")],
            [.tensor(try Tensor(.float32, [2, 3], [-4, 0, 2, 0, 4, 4] as [Float])), .tensor(try Tensor(.float32, [3, 2], [3, 0, 3, -4, 1, -2] as [Float])), .tensor(try Tensor(.float32, [2, 2], [-2, 2, 2, 3] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 2], [12, -32, -80, -40] as [Float]))])
        try expectEvaluates(
            "Einsum", opset: 12, ["equation": .string("ij,k->jk")],
            [.tensor(try Tensor(.float32, [2, 2], [-3, 3, 3, -2] as [Float])), .tensor(try Tensor(.float32, [3], [-4, 2, 3] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 3], [0, 0, 0, -4, 2, 3] as [Float]))])
        try expectEvaluates(
            "Einsum", opset: 12, ["equation": .string("ab,bcd->adc")],
            [.tensor(try Tensor(.float32, [2, 3], [0, -3, -3, -1, 2, -2] as [Float])), .tensor(try Tensor(.float32, [3, 2, 2], [-4, 2, 2, -3, 1, -1, 0, -4, 1, -2, 0, -1] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 2, 2], [-6, 0, 9, 15, 4, -2, 0, -3] as [Float]))])
        try expectEvaluates(
            "Einsum", opset: 12, ["equation": .string(" i j , j k -> i k ")],
            [.tensor(try Tensor(.float32, [2, 2], [1, -4, -1, 1] as [Float])), .tensor(try Tensor(.float32, [2, 2], [2, -1, -4, 2] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 2], [18, -9, -6, 3] as [Float]))])
    }

    @Test
    func singleOperands() throws {
        try expectEvaluates(
            "Einsum", opset: 12, ["equation": .string("ij->ji")],
            [.tensor(try Tensor(.float32, [2, 3], [0, 1, -3, -1, 3, 3] as [Float]))],
            [.tensor(try Tensor(.float32, [3, 2], [0, -1, 1, 3, -3, 3] as [Float]))])
        try expectEvaluates(
            "Einsum", opset: 12, ["equation": .string("ij->")],
            [.tensor(try Tensor(.float32, [2, 3], [-2, 1, -4, 3, -2, -1] as [Float]))],
            [.tensor(try Tensor(.float32, [], [-5] as [Float]))])
        try expectEvaluates(
            "Einsum", opset: 12, ["equation": .string("ij->j")],
            [.tensor(try Tensor(.float32, [2, 3], [4, 0, 3, -3, 2, 4] as [Float]))],
            [.tensor(try Tensor(.float32, [3], [1, 2, 7] as [Float]))])
        try expectEvaluates(
            "Einsum", opset: 12, ["equation": .string("ii->i")],
            [.tensor(try Tensor(.float32, [3, 3], [-4, -2, -3, -2, -2, -4, 4, -2, 4] as [Float]))],
            [.tensor(try Tensor(.float32, [3], [-4, -2, 4] as [Float]))])
        try expectEvaluates(
            "Einsum", opset: 12, ["equation": .string("ii")],
            [.tensor(try Tensor(.float32, [3, 3], [2, -3, 2, 2, -3, -3, -1, -4, -1] as [Float]))],
            [.tensor(try Tensor(.float32, [], [-2] as [Float]))])
        try expectEvaluates(
            "Einsum", opset: 12, ["equation": .string("iij->j")],
            [.tensor(try Tensor(.float32, [2, 2, 3], [0, 1, 1, 0, -3, 1, 0, 3, 2, 2, 1, -1] as [Float]))],
            [.tensor(try Tensor(.float32, [3], [2, 2, 0] as [Float]))])
        try expectEvaluates(
            "Einsum", opset: 12, ["equation": .string("ijk->kij")],
            [.tensor(try Tensor(.float32, [1, 2, 3], [-2, 0, 1, -1, -3, -4] as [Float]))],
            [.tensor(try Tensor(.float32, [3, 1, 2], [-2, -1, 0, -3, 1, -4] as [Float]))])
        try expectEvaluates(
            "Einsum", opset: 12, ["equation": .string("ij")],
            [.tensor(try Tensor(.float32, [2, 3], [-4, -3, -1, -2, -3, -2] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 3], [-4, -3, -1, -2, -3, -2] as [Float]))])
        try expectEvaluates(
            "Einsum", opset: 12, ["equation": .string("ba")],
            [.tensor(try Tensor(.float32, [2, 3], [2, -2, 4, 1, -3, 4] as [Float]))],
            [.tensor(try Tensor(.float32, [3, 2], [2, 1, -2, -3, 4, 4] as [Float]))])
    }

    @Test
    func ellipses() throws {
        try expectEvaluates(
            "Einsum", opset: 12, ["equation": .string("...ij,...jk->...ik")],
            [.tensor(try Tensor(.float32, [2, 2, 3], [3, 2, -3, 3, 2, 2, 2, 1, -1, 4, 4, 2] as [Float])), .tensor(try Tensor(.float32, [3, 2], [-1, 0, 1, -4, -4, 0] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 2, 2], [11, -8, -9, -8, 3, -4, -8, -16] as [Float]))])
        try expectEvaluates(
            "Einsum", opset: 12, ["equation": .string("...ij->...ji")],
            [.tensor(try Tensor(.float32, [2, 2, 3], [1, -3, -2, -3, 4, 0, -2, 3, 4, -2, 4, 2] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 3, 2], [1, -3, -3, 4, -2, 0, -2, -2, 3, 4, 4, 2] as [Float]))])
        try expectEvaluates(
            "Einsum", opset: 12, ["equation": .string("...,...->...")],
            [.tensor(try Tensor(.float32, [2, 3], [3, 0, 4, -3, -4, 4] as [Float])), .tensor(try Tensor(.float32, [3], [0, -1, 2] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 3], [0, 0, 8, 0, 4, 8] as [Float]))])
        try expectEvaluates(
            "Einsum", opset: 12, ["equation": .string("...i,i->...")],
            [.tensor(try Tensor(.float32, [2, 2, 3], [-2, 1, 3, 3, -3, 4, 2, 2, -3, 4, -1, 4] as [Float])), .tensor(try Tensor(.float32, [3], [-2, -4, 3] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 2], [9, 18, -21, 8] as [Float]))])
        try expectEvaluates(
            "Einsum", opset: 12, ["equation": .string("i...->...")],
            [.tensor(try Tensor(.float32, [2, 3], [1, -1, 4, 4, -4, 1] as [Float]))],
            [.tensor(try Tensor(.float32, [3], [5, -5, 5] as [Float]))])
        try expectEvaluates(
            "Einsum", opset: 12, ["equation": .string("...ii->...i")],
            [.tensor(try Tensor(.float32, [2, 2, 2], [3, 2, 1, 0, 0, -2, -3, -1] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 2], [3, 0, 0, -1] as [Float]))])
        try expectEvaluates(
            "Einsum", opset: 12, ["equation": .string("...ij,...jk")],
            [.tensor(try Tensor(.float32, [2, 1, 2], [2, 4, 4, -3] as [Float])), .tensor(try Tensor(.float32, [3, 2, 2, 2], [-4, 4, 2, 2, 3, -1, 3, 1, 1, -1, -1, -1, 2, 0, -4, -4, -3, 0, 1, 4, 3, -2, 0, 2] as [Float]))],
            [.tensor(try Tensor(.float32, [3, 2, 1, 2], [0, 16, 3, -7, -2, -6, 20, 12, -2, 16, 12, -14] as [Float]))])
    }

    @Test
    func sizes() throws {
        try expectEvaluates(
            "Einsum", opset: 12, ["equation": .string("ij,jk->ik")],
            [.tensor(try Tensor(.float32, [2, 0], [] as [Float])), .tensor(try Tensor(.float32, [0, 3], [] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 3], [0, 0, 0, 0, 0, 0] as [Float]))])
        try expectEvaluates(
            "Einsum", opset: 12, ["equation": .string("ij,jk->ik")],
            [.tensor(try Tensor(.float32, [0, 2], [] as [Float])), .tensor(try Tensor(.float32, [2, 3], [3, -1, 2, -3, 0, 4] as [Float]))],
            [.tensor(try Tensor(.float32, [0, 3], [] as [Float]))])
        try expectEvaluates(
            "Einsum", opset: 12, ["equation": .string("ij,ij->ij")],
            [.tensor(try Tensor(.float32, [1, 3], [-1, -4, 3] as [Float])), .tensor(try Tensor(.float32, [2, 1], [-2, -1] as [Float]))],
            [.tensor(try Tensor(.float32, [2, 3], [2, 8, -6, 1, 4, -3] as [Float]))])
        try expectEvaluates(
            "Einsum", opset: 12, ["equation": .string(",->")],
            [.tensor(try Tensor(.float32, [], [3] as [Float])), .tensor(try Tensor(.float32, [], [2] as [Float]))],
            [.tensor(try Tensor(.float32, [], [6] as [Float]))])
        try expectEvaluates(
            "Einsum", opset: 12, ["equation": .string("ij,jk->ik")],
            [.tensor(try Tensor(.float32, [20, 33], [4, -1, -2, -2, 3, -3, 1, -2, 3, 2, 1, -1, -1, 4, 2, -1, -4, -3, 0, 0, -1, 4, 0, 3, -3, -1, -2, -3, 1, -3, -1, 2, 3, 1, 1, -2, 3, -3, 2, -4, 1, -2, -2, -1, 3, 3, -2, 0, -4, 4, 4, -1, 0, 0, 2, -4, 0, 3, 1, 1, -4, 4, -3, -1, 2, 0, 1, 1, -3, -4, 4, 3, -3, 2, 0, 2, -3, 2, 2, 4, -2, -1, -3, -4, -4, 0, -3, 2, -3, 1, 0, -2, 0, 4, 4, -2, 4, -3, 3, -1, 2, 1, 3, -1, 4, 3, -4, -4, -3, 1, -1, -3, -4, 4, 1, -4, -2, 1, -2, 2, -2, 1, -4, 3, 2, 0, 1, -4, 1, 0, -4, -4, -1, 2, 2, -3, -3, -2, -1, -3, -4, -1, -4, -3, -3, -1, -1, -4, 0, 4, 3, -3, -2, 1, -4, 1, 3, 3, -4, -2, -4, 0, 4, 3, 2, 2, -1, 4, -3, -3, -1, 0, -1, 0, 3, 0, -1, 1, -4, 4, 4, -4, 1, 4, -3, -3, -3, 4, 0, 4, -4, 2, 1, 0, 1, -3, -4, 1, 3, 4, 3, 0, 4, -4, 2, 0, 2, 3, -3, 3, -4, 0, -4, -2, 4, -1, 1, 4, 4, -4, -1, 4, 2, -1, -4, 1, -3, 4, -2, 0, 0, 0, 1, 3, 0, -1, -1, 3, 1, 0, 4, -2, 0, 4, 3, 1, -4, 1, -1, 4, 1, 1, 1, -1, -2, 0, -1, 3, 4, 0, 1, -3, 1, -3, -4, -3, -4, 3, -3, 4, -3, 2, 4, -4, -4, -2, -1, 0, -4, -4, 1, -4, -4, -1, -4, -3, -4, 0, -2, 3, 1, -2, 3, -3, -2, -3, -2, -1, 3, -1, 2, 3, -3, 2, 3, -1, 3, 3, -3, -3, 1, -1, -3, 4, -2, -3, 0, -1, 0, -2, 0, 0, 0, 4, -3, -1, 3, 4, -2, 4, 4, -2, 0, 2, -2, -3, -3, 0, 0, 2, -1, 0, 1, 2, 0, -3, -4, 0, 3, 1, -4, -4, 3, -2, 3, -3, 4, -3, 1, 0, -3, -1, -1, -2, -1, -3, 1, 4, -1, 0, 2, 4, -3, -3, -1, 4, 0, -4, -1, 4, -3, -2, 4, -4, 2, 0, 3, 4, -1, -2, 4, 1, 3, -4, 4, -1, -3, 1, 0, 2, -1, -2, 1, 4, -2, 1, -4, -3, 0, -4, 1, 1, -1, 2, 4, 4, -1, 1, -2, -4, 3, -1, 0, -1, -2, 2, -2, -4, 4, 2, 4, 3, 1, 4, -2, -3, 2, 2, -3, 4, -2, 4, 0, -3, -1, -3, -1, 0, 4, 4, -3, 2, 1, -1, -4, 0, -4, 3, -3, 2, 4, 0, 2, -1, 3, 2, -4, -1, 2, 0, -1, 0, -1, 0, 2, -2, -2, 0, 0, 0, -2, 2, -1, 1, 0, 3, -3, -3, -2, 4, -1, -4, 0, -2, 3, -4, 1, -4, 1, 3, 3, -3, -3, -3, -4, -4, -1, 0, -3, 3, 1, 3, 1, 0, -3, -1, 2, -2, 1, 1, -1, 4, 4, 1, 3, 3, -3, -2, -3, -3, 4, -1, -3, -2, 2, -1, -2, 1, -1, -1, 0, -1, 4, 2, -4, 3, -3, 0, 2, -2, -1, 4, -2, -3, 4, -1, -2, 4, 2, 2, 4, -4, 2, 1, 2, 1, 2, 2, 3, -1, -2, 0, 1, -1, 3, 2, 3, 1, 4, -1, 4, 2, -4, -2, -1, 2, 0, -1, 4, 4, -1, -2, -2, -2, -4, 1, -2, 1, 3, -2, -4, 1, -3, 1, -2, 3, 0, 2, -1, -1, 3, 1, -3, -4, 1, 3, 3, -4, 4, 2, 3, 4, -3, -4, 3, 4, 2, 3, -1, 4, -4, -4, -3, -2, 2, -2, -4, 4, -2, 4, -2, 2, 2, 1, -1, 1, -4, -1, -1, 3, -2, -3, 2, 0, -2, 3, 2, -2, 0, 4] as [Float])), .tensor(try Tensor(.float32, [33, 17], [3, 3, 2, 1, -1, -3, 0, -1, 0, -3, 3, -3, -3, -1, -1, -3, 0, -2, -1, -3, 1, 1, 0, -2, -1, 3, 2, -4, -2, 1, 1, -4, 2, -4, -3, 2, -2, 2, 4, -2, 4, 1, 4, 3, -4, -1, 3, 3, 4, 3, 4, -4, 2, -2, 2, 3, 2, 3, 1, -1, 3, -3, 0, 4, -2, 2, -4, 4, 4, 1, 2, 1, -3, -1, 3, -2, -2, 2, 1, -1, -1, 3, -3, -1, -3, -2, -4, -2, -4, 1, -4, -4, -4, -3, 3, 2, 0, -1, -3, 0, 0, 0, 0, 0, 0, -4, -3, -4, -1, 1, 3, -1, -1, 4, 0, -1, 4, 1, -2, 3, 2, -3, 0, 0, 3, -1, -1, 1, 0, 1, -1, -3, 3, 3, 4, -4, 1, -2, 4, 1, 2, 1, 3, -3, 4, -1, -2, -1, 4, -3, -1, 3, 0, -3, -3, 4, 3, 2, -1, -4, 2, 3, -3, -4, -1, -2, -1, -1, -2, 4, -4, 2, 2, -1, 4, 4, -2, -3, -3, -4, -1, -3, -4, 0, 1, 3, -1, -2, 1, 0, 4, 0, 3, -4, 4, -1, 4, -3, 1, 0, 0, -2, -4, -3, -4, 1, 0, -1, 3, -1, -1, -4, -4, 4, -3, -3, 2, 3, -3, 0, -3, 1, -2, -2, 1, 4, 3, -4, -3, 4, 1, -2, 0, 4, 0, -4, 1, 3, 3, 2, -3, 0, 0, 2, -4, -4, 0, -4, 3, 0, 4, -2, 0, 3, -2, -2, 1, 1, -1, 3, -3, 2, 0, 4, 3, 3, 4, -4, 4, -3, -1, -2, -2, -4, -4, -2, -1, -2, 3, -4, -2, 4, 3, 3, 2, 0, -3, 3, 1, 3, 3, 4, 4, -4, -3, 1, 3, 3, 2, 3, -2, 3, -2, -4, 4, 1, -1, -1, -2, 2, 2, -1, -3, -2, 0, 3, -1, 0, 0, -3, 1, -1, 1, 2, -1, -1, 3, 2, 3, 2, 4, 3, 0, 4, 2, 2, -1, -1, -2, -4, 1, 4, 4, -1, 3, 2, -2, 1, -2, 4, 2, 1, 2, 4, 3, 0, -3, 4, 3, 1, -1, -3, -2, 4, -1, -3, 4, 3, 4, 1, -4, 4, -2, 3, 2, 4, -4, 4, -4, -3, -4, -2, 3, 4, -1, 2, -2, 4, 3, 0, -2, -3, 2, 1, -1, 4, -2, -4, -1, 0, -3, -2, -4, 4, 3, 0, 3, 4, 0, 3, 2, 2, 3, -2, -1, 0, 2, 1, 2, 2, -4, -1, -3, 4, 2, 0, 2, -3, -3, 1, 3, 2, 3, -1, -2, 0, -1, -2, -4, 3, 0, -1, -4, 4, 0, 1, 1, -3, 1, 1, -4, 2, 1, 3, 2, -1, -3, 3, 1, 2, 3, 1, -3, 0, 4, -3, 4, -3, 2, 1, 3, -2, -2, -3, 1, -2, 4, -2, -4, -2, 3, -3, -2, -3, 3, 2, 1, -1, 3, -3, -1, -3, 0, -1, 4, 0, -4, -2, -3, 1, 4, -3, 4, 4, -3, -4, 4, 4, -2, -3, 4, 2, 4, -3, -4, 1, -4, -2, -2, 4, 4, -1, 3, 4, -1, 4, 3, 1, -2, -2, -1, 4, -3, -1, 4, 2, 3, -4, 0, 2, -2, 3, 4, 0, -1, 0, -3, -4, -1, -1, 2, -3, 2, -3, -4, 4, 4, -2, 2, -3, -4] as [Float]))],
            [.tensor(try Tensor(.float32, [20, 17], [60, -28, 24, 9, 9, 3, -10, -58, 52, -105, -53, -17, 50, -37, 23, -45, 21, -12, -27, -39, 22, 30, -14, 20, -19, -43, 34, 9, -26, 67, -80, -42, 3, 31, 66, -43, 22, -45, -18, 31, -59, -56, -27, -12, 4, -3, 6, 2, -97, -46, -15, -35, 55, 0, -15, -31, 13, -20, 31, -54, -2, 47, 23, -87, 2, 44, -12, -14, 26, -19, 12, -20, -54, -27, 20, 48, 18, -27, -8, -25, 24, -34, 30, 57, 83, -46, 53, 14, 57, 6, -76, -41, -19, 57, -46, -12, 3, -71, 25, -12, 7, 6, -13, -6, 34, 47, 17, 8, 21, 86, 68, 10, -34, -24, -10, 67, -4, -16, -27, -27, -5, -21, 26, 46, 2, -32, 27, -6, 46, -45, 9, 24, -32, -4, 12, 12, -22, -115, -54, -44, 14, 54, 62, -31, -40, -59, -10, -17, 34, -73, -10, -27, 45, -22, 5, -3, -41, -40, 12, 41, -29, -23, -40, 1, 1, 13, 33, 10, 31, 8, -23, 10, -13, 118, 28, -12, -20, 5, 44, -45, -40, -38, -15, -19, -32, -37, 41, 20, -31, -33, -26, 23, -16, 69, 15, -12, 55, 2, 19, -9, -8, -27, 4, -37, 2, 15, -24, 21, -42, -4, 77, 34, 29, -3, 35, 56, -22, -18, 27, -33, -46, 10, 11, 6, 54, 83, 11, 2, -53, 41, 35, -58, -77, 60, 88, -9, 33, -44, -25, 3, 3, -5, -2, 10, 16, 12, 16, -28, -41, 26, 45, 3, 16, -30, 20, 17, 29, -3, -61, -73, -33, 4, -19, -129, 87, 112, 30, 11, 2, -76, 11, 7, -38, 68, 36, -26, 5, -42, -10, 58, 20, -25, -8, 4, 69, 68, 53, 46, 11, 17, -7, -37, 9, 53, 46, -24, 22, 57, 42, 38, 25, 21, -2, -70, 33, -54, 29, 36, -7, 25, -43, 38, -8, 25, -45, 93, -23, 80, 3, -2, -54, 46, 9, -20, 42, -86, -46, 8, -29, 26, -66, -6, -26, -13, -28, -32, 38, 67, 6, -57] as [Float]))])
    }

    @Test
    func types() throws {
        try expectEvaluates(
            "Einsum", opset: 12, ["equation": .string("ij,jk->ki")],
            [.tensor(try Tensor(.float64, [2, 3], [2.0, 7.0, 7.0, 8.0, 7.0, 7.0] as [Double])), .tensor(try Tensor(.float64, [3, 2], [5.0, 0.0, 6.0, 4.0, 7.0, 5.0] as [Double]))],
            [.tensor(try Tensor(.float64, [2, 2], [101.0, 131.0, 63.0, 63.0] as [Double]))])
        try expectEvaluates(
            "Einsum", opset: 12, ["equation": .string("ij,jk->ki")],
            [.tensor(try Tensor(.int32, [2, 3], [3, 7, 5, 4, 2, 0] as [Int32])), .tensor(try Tensor(.int32, [3, 2], [1, 8, 0, 8, 0, 4] as [Int32]))],
            [.tensor(try Tensor(.int32, [2, 2], [3, 4, 100, 48] as [Int32]))])
        try expectEvaluates(
            "Einsum", opset: 12, ["equation": .string("ij,jk->ki")],
            [.tensor(try Tensor(.int64, [2, 3], [3, 0, 8, 7, 5, 6] as [Int64])), .tensor(try Tensor(.int64, [3, 2], [4, 8, 7, 0, 2, 3] as [Int64]))],
            [.tensor(try Tensor(.int64, [2, 2], [28, 75, 48, 74] as [Int64]))])
        try expectEvaluates(
            "Einsum", opset: 12, ["equation": .string("ij,jk->ki")],
            [.tensor(try Tensor(.int8, [2, 3], [5, 2, 5, 0, 5, 6] as [Int8])), .tensor(try Tensor(.int8, [3, 2], [6, 3, 0, 0, 4, 1] as [Int8]))],
            [.tensor(try Tensor(.int8, [2, 2], [50, 24, 20, 6] as [Int8]))])
        try expectEvaluates(
            "Einsum", opset: 12, ["equation": .string("ij,jk->ki")],
            [.tensor(try Tensor(.uint8, [2, 3], [1, 7, 7, 5, 0, 1] as [UInt8])), .tensor(try Tensor(.uint8, [3, 2], [8, 6, 2, 1, 4, 6] as [UInt8]))],
            [.tensor(try Tensor(.uint8, [2, 2], [50, 44, 55, 36] as [UInt8]))])
        try expectEvaluates(
            "Einsum", opset: 12, ["equation": .string("ij,jk->ki")],
            [.tensor(try Tensor(.uint16, [2, 3], [5, 5, 1, 0, 1, 4] as [UInt16])), .tensor(try Tensor(.uint16, [3, 2], [6, 6, 5, 6, 4, 6] as [UInt16]))],
            [.tensor(try Tensor(.uint16, [2, 2], [59, 21, 66, 30] as [UInt16]))])
        try expectEvaluates(
            "Einsum", opset: 12, ["equation": .string("ij,jk->ki")],
            [.tensor(try Tensor(.float16, [2, 3], [0, 18176, 18176, 17920, 18176, 18432] as [UInt16])), .tensor(try Tensor(.float16, [3, 2], [17408, 16896, 17408, 0, 18432, 15360] as [UInt16]))],
            [.tensor(try Tensor(.float16, [2, 2], [21824, 22336, 18176, 20096] as [UInt16]))])
    }

    @Test
    func refuses() throws {
        expectRefuses(
            "Einsum", opset: 12, ["equation": .string("ij->ijk")],
            [.tensor(try Tensor(.float32, [2, 3], [4, -2, 0, -4, -4, -4] as [Float])), .tensor(try Tensor(.float32, [3, 2], [-3, 0, -3, -2, -2, -2] as [Float]))], .invalidModel, "")
        expectRefuses(
            "Einsum", opset: 12, ["equation": .string("ij,jk->zk")],
            [.tensor(try Tensor(.float32, [2, 3], [4, -2, 0, -4, -4, -4] as [Float])), .tensor(try Tensor(.float32, [3, 2], [-3, 0, -3, -2, -2, -2] as [Float]))], .invalidModel, "no operand")
        expectRefuses(
            "Einsum", opset: 12, ["equation": .string("ij,jk,kl->il")],
            [.tensor(try Tensor(.float32, [2, 3], [4, -2, 0, -4, -4, -4] as [Float])), .tensor(try Tensor(.float32, [3, 2], [-3, 0, -3, -2, -2, -2] as [Float]))], .invalidModel, "operands")
        expectRefuses(
            "Einsum", opset: 12, ["equation": .string("i1,jk->ik")],
            [.tensor(try Tensor(.float32, [2, 3], [4, -2, 0, -4, -4, -4] as [Float])), .tensor(try Tensor(.float32, [3, 2], [-3, 0, -3, -2, -2, -2] as [Float]))], .invalidModel, "unexpected")
        expectRefuses(
            "Einsum", opset: 12, ["equation": .string("ij,jk->iik")],
            [.tensor(try Tensor(.float32, [2, 3], [4, -2, 0, -4, -4, -4] as [Float])), .tensor(try Tensor(.float32, [3, 2], [-3, 0, -3, -2, -2, -2] as [Float]))], .invalidModel, "twice")
        expectRefuses(
            "Einsum", opset: 12, ["equation": .string("ij,jk->i->k")],
            [.tensor(try Tensor(.float32, [2, 3], [4, -2, 0, -4, -4, -4] as [Float])), .tensor(try Tensor(.float32, [3, 2], [-3, 0, -3, -2, -2, -2] as [Float]))], .invalidModel, "arrow")
        expectRefuses(
            "Einsum", opset: 12, ["equation": .string("ij,jk-ik")],
            [.tensor(try Tensor(.float32, [2, 3], [4, -2, 0, -4, -4, -4] as [Float])), .tensor(try Tensor(.float32, [3, 2], [-3, 0, -3, -2, -2, -2] as [Float]))], .invalidModel, "arrow")
        expectRefuses(
            "Einsum", opset: 12, ["equation": .string("ij,jk->...")],
            [.tensor(try Tensor(.float32, [2, 3], [4, -2, 0, -4, -4, -4] as [Float])), .tensor(try Tensor(.float32, [3, 2], [-3, 0, -3, -2, -2, -2] as [Float]))], .invalidModel, "ellipsis")
        expectRefuses(
            "Einsum", opset: 12, ["equation": .string("i.j,jk->ik")],
            [.tensor(try Tensor(.float32, [2, 3], [4, -2, 0, -4, -4, -4] as [Float])), .tensor(try Tensor(.float32, [3, 2], [-3, 0, -3, -2, -2, -2] as [Float]))], .invalidModel, "unexpected")
        expectRefuses(
            "Einsum", opset: 12, ["equation": .string("......,jk->k")],
            [.tensor(try Tensor(.float32, [2, 3], [4, -2, 0, -4, -4, -4] as [Float])), .tensor(try Tensor(.float32, [3, 2], [-3, 0, -3, -2, -2, -2] as [Float]))], .invalidModel, "unexpected")
        expectRefuses(
            "Einsum", opset: 12, ["equation": .string("ijk,jk->i")],
            [.tensor(try Tensor(.float32, [2, 3], [4, -2, 0, -4, -4, -4] as [Float])), .tensor(try Tensor(.float32, [3, 2], [-3, 0, -3, -2, -2, -2] as [Float]))], .shapeMismatch, "rank")
        expectRefuses(
            "Einsum", opset: 12, ["equation": .string("ij,ik->i")],
            [.tensor(try Tensor(.float32, [2, 3], [4, -2, 0, -4, -4, -4] as [Float])), .tensor(try Tensor(.float32, [3, 2], [-3, 0, -3, -2, -2, -2] as [Float]))], .shapeMismatch, "sizes")
        expectRefuses(
            "Einsum", opset: 12, [:],
            [.tensor(try Tensor(.float32, [2, 3], [4, -2, 0, -4, -4, -4] as [Float])), .tensor(try Tensor(.float32, [3, 2], [-3, 0, -3, -2, -2, -2] as [Float]))], .invalidModel, "equation")
    }
}
