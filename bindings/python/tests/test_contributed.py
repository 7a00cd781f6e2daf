"""Operators of com.microsoft against onnxruntime, with every attribute and optional input that its CPU kernels take."""
import numpy as np
import pytest

ort = pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

import apus  # noqa: E402

RNG = np.random.default_rng(7)


def f32(*shape, scale=1.0):
    return (RNG.standard_normal(shape) * scale).astype(np.float32)


def codes(kind, *shape):
    info = np.iinfo(kind)
    return RNG.integers(info.min, info.max + 1, shape).astype(kind)


def number(value, kind=np.float32):
    return np.array(value, kind)


def i32(*values):
    return np.array(values, np.int32)


class Packed:
    """Codes that lie in a tensor of a type that numpy does not know."""

    def __init__(self, number, values):
        self.proto = helper.make_tensor("", number, values.shape, values.ravel().tolist())


def proto(value, name):
    message = value.proto if isinstance(value, Packed) else numpy_helper.from_array(value, name)
    message.name = name
    return message


def build(op, inputs, outputs, attributes, constant, domain="com.microsoft"):
    names = ["" if value is None else f"i{index}" for index, value in enumerate(inputs)]
    protos = {name: proto(value, name) for name, value in zip(names, inputs) if name}
    initializers = [name for index, name in enumerate(names) if name and (index in constant or isinstance(inputs[index], Packed))]
    node = helper.make_node(op, names, [f"o{index}" if kept else "" for index, kept in enumerate(outputs)], domain=domain, **attributes)
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info(name, protos[name].data_type, list(protos[name].dims)) for name in protos if name not in initializers],
        [helper.make_value_info(f"o{index}", helper.make_tensor_type_proto(kept, None)) for index, kept in enumerate(outputs) if kept],
        [protos[name] for name in initializers])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)], ir_version=10)
    return model.SerializeToString(), {name: value for name, value in zip(names, inputs) if name and name not in initializers}


def reference(raw, feeds):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    return ort.InferenceSession(raw, options, providers=["CPUExecutionProvider"]).run(None, feeds)


def results(raw, feeds, level=99):
    return apus.InferenceSession(raw, apus.SessionOptions(graph_optimization_level=level)).run(None, feeds)


F, U8, I8, I32 = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32
CASES = {}


def case(name, op, inputs, outputs=(F,), constant=(), tolerance=2e-5, **attributes):
    """One node. `outputs` are element types, None: left out; `constant` says which inputs are initializers."""
    assert name not in CASES
    CASES[name] = (op, inputs, outputs, attributes, constant, tolerance)


# Attention: B batches of S words, N heads of H.
B, S, N, H, P = 2, 5, 3, 8, 4
X, W, BIAS = f32(B, S, 16), f32(16, 3 * N * H, scale=0.3), f32(3 * N * H)
PAST, ADDED = f32(2, B, N, P, H), f32(B, N, S, S)
KEPT = (RNG.random((B, S)) < 0.7).astype(np.int32)
KEPT[:, 0] = 1
case("attention", "Attention", [X, W, BIAS], num_heads=N)
case("attention, scaled, constant weights", "Attention", [X, W, BIAS], num_heads=N, scale=0.2, constant=(1,))
case("attention, causal", "Attention", [X, W, BIAS], num_heads=N, unidirectional=1)
case("attention, lengths", "Attention", [X, W, BIAS, i32(3, 5)], num_heads=N)
case("attention, lengths and starts", "Attention", [X, W, BIAS, i32(4, 5, 0, 1)], num_heads=N)
case("attention, mask of keys", "Attention", [X, W, BIAS, KEPT], num_heads=N, mask_filter_value=-5.0)
case("attention, mask of queries and keys", "Attention", [X, W, BIAS, np.tril(np.ones((B, S, S), np.int32))], num_heads=N)
case("attention, cache", "Attention", [X, W, BIAS, None, PAST], (F, F), num_heads=N, unidirectional=1)
case("attention, cache and mask", "Attention", [X, W, BIAS, np.ones((B, S + P), np.int32), PAST], (F, F), num_heads=N)
case("attention, first cache", "Attention", [X, W, BIAS], (F, F), num_heads=N)
case("attention, summands", "Attention", [X, W, BIAS, None, None, ADDED], num_heads=N)
case("attention, one summand for all", "Attention", [X, W, BIAS, KEPT, None, f32(1, 1, S, S)], num_heads=N)
case("attention, wide values", "Attention", [X, f32(16, 2 * 12 + 24, scale=0.3), f32(48)], num_heads=3, qkv_hidden_sizes=[12, 12, 24])

Q, K, V = f32(B, S, N * H), f32(B, 7, N * H), f32(B, 7, N * 6)
case("multi-head attention", "MultiHeadAttention", [Q, K, V], num_heads=N)
case("multi-head attention, biases", "MultiHeadAttention", [Q, K, V, f32(2 * N * H + N * 6)], num_heads=N, scale=0.4)
case("multi-head attention, mask", "MultiHeadAttention", [Q, K, V, None, (RNG.random((B, 7)) < 0.8).astype(np.int32)], num_heads=N)
case("multi-head attention, lengths", "MultiHeadAttention", [Q, K, V, None, i32(3, 7)], num_heads=N)
case("multi-head attention, summands", "MultiHeadAttention", [Q, K, V, None, None, f32(B, N, S, 7)], num_heads=N)
case("multi-head attention, keys by head", "MultiHeadAttention", [Q, f32(B, N, 7, H), f32(B, N, 7, H)], num_heads=N)
SELF = f32(B, S, N * H)
case("multi-head attention, cache", "MultiHeadAttention",
     [Q, SELF, SELF, None, None, None, f32(B, N, P, H), f32(B, N, P, H)], (F, F, F), num_heads=N, unidirectional=1)
case("multi-head attention, probabilities", "MultiHeadAttention", [Q, SELF, SELF], (F, F, F, F), num_heads=N)

for kind in (np.uint8, np.int8):
    for columns in (False, True):
        count = 3 * N * H if columns else 1
        scales = np.abs(f32(count, scale=0.01)) + np.float32(0.001) if columns else number(0.01)
        zeros = codes(kind, count) if columns else number(3, kind)
        case(f"qattention {kind.__name__}{' columns' if columns else ''}", "QAttention",
             [codes(np.uint8, B, S, 16), codes(kind, 16, 3 * N * H), BIAS, number(0.02), scales, None, number(7, np.uint8), zeros],
             constant=(1, 3, 4, 6, 7), num_heads=N)
case("qattention, mask, cache", "QAttention",
     [codes(np.uint8, B, S, 16), codes(np.int8, 16, 3 * N * H), BIAS, number(0.02), number(0.01), np.ones((B, S + P), np.int32),
      number(120, np.uint8), number(0, np.int8), PAST], (F, F), constant=(1, 3, 4, 6, 7), num_heads=N, unidirectional=1)
case("qattention, weights in each run", "QAttention",
     [codes(np.uint8, B, S, 16), codes(np.uint8, 16, 3 * N * H), BIAS, number(0.02), number(0.01), i32(2, 5)], num_heads=N,
     constant=(3, 4), scale=0.3)

# Quantised tensors: each with a scale and a zero point.
for kind, element in ((np.uint8, U8), (np.int8, I8)):
    k = kind.__name__
    zero = 128 if kind is np.uint8 else 0
    a, b, c = (codes(kind, *shape) for shape in ((2, 3, 4, 5), (2, 1, 4, 5), (2, 6, 4, 5)))
    sz = [number(0.02), number(zero + 3, kind)]
    tz = [number(0.05), number(zero - 9, kind)]
    case(f"concat {k}", "QLinearConcat", [*tz, a, *sz, b, *tz, c, number(0.01), number(zero, kind)], (element,), constant=(0, 1, 3, 4, 6, 7, 9, 10), axis=1)
    case(f"concat last {k}", "QLinearConcat", [*tz, a, *sz, a, *sz], (element,), constant=(0, 1, 3, 4, 6, 7), axis=-1)
    condition = RNG.random((3, 4, 1)) < 0.5
    case(f"where {k}", "QLinearWhere", [condition, a, *sz, b, *tz, number(0.03), number(zero, kind)], (element,), constant=(2, 3, 5, 6, 7, 8))
    case(f"add {k}", "QLinearAdd", [a, *sz, b, *tz, number(0.06), number(zero, kind)], (element,))
    case(f"multiply {k}", "QLinearMul", [a, *sz, b, *tz, number(0.06), number(zero, kind)], (element,))
    case(f"leaky {k}", "QLinearLeakyRelu", [a, *sz, *tz], (element,), constant=(1, 2, 3, 4), alpha=0.2)
    case(f"sigmoid {k}", "QLinearSigmoid", [a, *sz, number(1 / 256), number(-128 + zero, kind)], (element,), constant=(1, 2, 3, 4))
    case(f"softmax {k}", "QLinearSoftmax", [a, *sz, number(1 / 256), number(-128 + zero, kind)], (element,), constant=(1, 2, 3, 4), opset=13, axis=-1)
    case(f"global average {k}", "QLinearGlobalAveragePool", [a, *sz, *tz], (element,), constant=(1, 2, 3, 4))
    case(f"global average, channels last {k}", "QLinearGlobalAveragePool", [a, *sz, *tz], (element,), constant=(1, 2, 3, 4), channels_last=1)
case("average uint8", "QLinearAveragePool", [codes(np.uint8, 1, 3, 7, 8), *[number(0.02), number(128, np.uint8)] * 2], (U8,),
     constant=(1, 2, 3, 4), kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1])
case("average with padding uint8", "QLinearAveragePool", [codes(np.uint8, 1, 3, 7, 8), *[number(0.02), number(0, np.uint8)] * 2], (U8,),
     constant=(1, 2, 3, 4), kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1, ceil_mode=1, strides=[2, 2])

A8, B8 = codes(np.uint8, 4, 10), codes(np.int8, 10, 6)
case("qgemm", "QGemm", [A8, number(0.02), number(120, np.uint8), B8, number(0.03), number(1, np.int8), codes(np.int8, 6).astype(np.int32),
                        number(0.2), number(100, np.uint8)], (U8,), constant=(1, 2, 3, 4, 5, 6, 7, 8), alpha=1.5)
case("qgemm to float", "QGemm", [A8.T.copy(), number(0.02), number(120, np.uint8), B8.T.copy(), np.abs(f32(6)) + 0.01, codes(np.int8, 6)],
     constant=(1, 2, 3, 4, 5), transA=1, transB=1)
case("integers to float", "MatMulIntegerToFloat", [A8, B8, number(0.02), np.abs(f32(6)), number(120, np.uint8), codes(np.int8, 6), f32(6)])
case("dynamic product", "DynamicQuantizeMatMul", [f32(3, 4, 10), B8, number(0.03), number(2, np.int8), f32(6)])
case("quantize 16", "QuantizeLinear", [f32(3, 4, scale=100), number(0.01), number(300, np.uint16)], (TensorProto.UINT16,))
case("quantize axis", "QuantizeLinear", [f32(3, 4), np.abs(f32(3)) + 0.1, codes(np.int8, 3)], (I8,), axis=0)
case("dequantize 16", "DequantizeLinear", [codes(np.int16, 3, 4), np.abs(f32(4)), codes(np.int16, 4)], axis=1)
case("dequantize 32", "DequantizeLinear", [codes(np.int32, 3, 4), number(1e-6)])

for bits, element, low in ((4, TensorProto.UINT4, 0), (4, TensorProto.INT4, -8)):
    values = RNG.integers(low, low + 16, (6, 40))
    for axis, scales in ((1, (6, 3)), (0, (1, 40))):
        case(f"gather blocks {TensorProto.DataType.Name(element)} axis {axis}", "GatherBlockQuantized",
             [Packed(element, values), np.array([[0, -1], [3, 5]]), np.abs(f32(*scales)), Packed(element, RNG.integers(low, low + 16, scales))],
             constant=(2,), quantize_axis=axis, block_size=16, gather_axis=0)
case("gather blocks along the last axis", "GatherBlockQuantized",
     [Packed(TensorProto.UINT4, RNG.integers(0, 16, (20, 6))), i32(5, 0, 2), np.abs(f32(2, 6))], constant=(2,), gather_axis=1, quantize_axis=0, block_size=16)
case("gather bytes of 4 bits", "GatherBlockQuantized", [codes(np.uint8, 6, 16), i32(5, 0, -2), np.abs(f32(6, 2)), codes(np.uint8, 6, 1)],
     constant=(0, 2, 3), quantize_axis=1, block_size=16)
case("gather bytes of 8 bits", "GatherBlockQuantized", [codes(np.uint8, 6, 32), i32(5, 0, -2), np.abs(f32(6, 2))], constant=(0, 2), bits=8,
     quantize_axis=-1, block_size=16)

case("gelu", "Gelu", [f32(3, 5)])
case("gelu by tanh", "FastGelu", [f32(3, 5), f32(5)])
case("gelu by sigmoid", "QuickGelu", [f32(3, 5)], alpha=1.5)
case("gelu with bias", "BiasGelu", [f32(3, 5), f32(5)])
case("product", "FusedMatMul", [f32(2, 3, 4), f32(2, 5, 4)], alpha=0.5, transB=1)
case("product, batches inside", "FusedMatMul", [f32(3, 2, 4), f32(4, 2, 5)], transBatchA=1, transBatchB=1)
case("gemm", "FusedGemm", [f32(4, 3), f32(4, 5), f32(5)], transA=1, alpha=0.5, beta=2.0, activation="LeakyRelu", activation_alpha=0.2)
case("convolution", "FusedConv", [f32(1, 4, 6, 6), f32(8, 2, 3, 3), f32(8), f32(1, 8, 6, 6)], constant=(1, 2), group=2, pads=[1, 1, 1, 1], activation="Relu")
case("skip and normalise", "SkipLayerNormalization", [f32(2, 3, 8), f32(2, 3, 8), f32(8), f32(8), f32(8)], (F, None, None, F), epsilon=1e-5)
case("skip and scale", "SkipSimplifiedLayerNormalization", [f32(2, 3, 8), f32(2, 3, 8), f32(8), f32(8)], (F, None, None, F))
case("embed and normalise", "EmbedLayerNormalization",
     [i32(1, 2, 3, 4).reshape(2, 2), i32(0, 1, 1, 0).reshape(2, 2), f32(6, 8), f32(4, 8), f32(2, 8), f32(8), f32(8), i32(1, 1, 1, 0).reshape(2, 2)],
     (F, I32, F), epsilon=1e-5)
case("rotate", "RotaryEmbedding", [f32(2, 3, 16), np.array([[0, 1, 2], [3, 4, 5]]), f32(8, 4), f32(8, 4)])
case("rotate by heads", "RotaryEmbedding", [f32(2, 2, 3, 8), np.array([2]), f32(8, 4), f32(8, 4)], interleaved=1)
case("inverse", "Inverse", [f32(2, 4, 4)], tolerance=1e-3)
case("triangle", "Trilu", [f32(4, 5), number(1, np.int64)], upper=0)
case("pad", "Pad", [f32(2, 3), np.array([1, 0, 0, 2]), number(7)])
case("range", "Range", [number(1), number(9), number(2.5)])
case("unique", "Unique", [np.array([3, 1, 3, 2, 1], np.float32)], (F, TensorProto.INT64, TensorProto.INT64))
case("crop", "CropAndResize", [f32(1, 2, 6, 6), np.array([[0, 0, 1, 1], [0.2, 0.1, 0.7, 1.2]], np.float32), i32(0, 0), i32(3, 4)],
     extrapolation_value=-1.0)
case("channels last maximum", "NhwcMaxPool", [codes(np.uint8, 1, 6, 6, 3)], (U8,), kernel_shape=[2, 2], strides=[2, 2])
case("n bits", "MatMulNBits", [f32(3, 40), codes(np.uint8, 6, 3, 8), np.abs(f32(18)), codes(np.uint8, 12)], constant=(1, 2, 3), K=40, N=6, block_size=16,
     tolerance=1e-4)
GQA = [f32(B, 1, 64), f32(B, 1, 32), f32(B, 1, 32), f32(B, 2, 6, 16), f32(B, 2, 6, 16), i32(4, 2), number(5, np.int32), f32(8, 8), f32(8, 8)]
case("grouped attention", "GroupQueryAttention", GQA, (F, F, F), num_heads=4, kv_num_heads=2, do_rotary=1)
case("grouped attention, window", "GroupQueryAttention", GQA, (F, F, F), num_heads=4, kv_num_heads=2, do_rotary=1, local_window_size=2, softcap=3.0,
     rotary_interleaved=1)
case("grouped attention, positions and sink", "GroupQueryAttention", GQA + [np.array([[4], [2]]), None, f32(4)], (F, F, F), num_heads=4,
     kv_num_heads=2, do_rotary=1)


case("grouped attention, both ways", "GroupQueryAttention", GQA, (F, F, F), num_heads=4, kv_num_heads=2, causal=0)
for stage in (1, 2):
    # Of what lies beyond a shorter sequence onnxruntime says nothing.
    case(f"grouped attention, scores {stage}", "GroupQueryAttention", GQA[:5] + [i32(4, 4)] + GQA[6:], (F, F, F, F), num_heads=4, kv_num_heads=2, qk_output=stage)
# Caches of codes: what is new is quantised, too, before it is attended to.
for words in (1, 3):
    for columns in (False, True):
        for bits, element in ((8, I8), (4, U8)):
            scales = [np.abs(f32(*((1, 2, 1, 16) if columns else (1,)), scale=0.1)) + np.float32(0.05) for _ in range(2)]
            caches = [codes(np.uint8 if bits == 4 else np.int8, 1, 2, 4, 16 * bits // 8) for _ in range(2)]
            kind = "PER_CHANNEL" if columns else "PER_TENSOR"
            case(f"grouped attention, cache of {bits} bits, {kind}, {words}", "GroupQueryAttention",
                 [f32(1, words, 64), f32(1, words, 32), f32(1, words, 32), *caches, i32(words + 3), number(words + 4, np.int32), f32(8, 8), f32(8, 8),
                  None, None, None, *scales], (F, element, element), num_heads=4, kv_num_heads=2, do_rotary=1, kv_cache_bit_width=bits,
                 k_quant_type=kind, v_quant_type=kind)
# One query, whose history each beam has of its own.
ONE = [f32(4, 1, 24) for _ in range(3)]
BUFFERS = [f32(4, N, 9, H), f32(4, N, 9, H)]
case("decoder attention", "DecoderMaskedMultiHeadAttention", [*ONE, None, None, *BUFFERS, i32(P)], (F, F, F), num_heads=N,
     past_present_share_buffer=1)
case("decoder attention, mask, bias, summands", "DecoderMaskedMultiHeadAttention",
     [*ONE, np.array([[1, 1, 0, 1, 1]] * 4, np.int32), f32(1, N, 1, P + 1), *BUFFERS, i32(P), None, None, f32(72)], (F, F, F), num_heads=N,
     past_present_share_buffer=1)
case("decoder attention, beams", "DecoderMaskedMultiHeadAttention",
     [*ONE, None, None, *BUFFERS, i32(P), i32(2), RNG.integers(0, 2, (2, 2, 9)).astype(np.int32)], (F, F, F), num_heads=N, past_present_share_buffer=1)
case("decoder attention, given keys", "DecoderMaskedMultiHeadAttention", [ONE[0], f32(4, N, 6, H), f32(4, N, 6, H)], (F,), num_heads=N)

case("distances", "CDist", [f32(5, 7), f32(3, 7)])
case("distances, Euclidean", "CDist", [f32(5, 7), f32(3, 7)], metric="euclidean")
case("one axis more", "ExpandDims", [f32(2, 3), number(1, np.int32)], constant=(1,))
case("one axis more, at the end", "ExpandDims", [f32(2, 3), number(-1, np.int32)], constant=(1,))
case("product, the old name", "TransposeMatMul", [f32(2, 5, 4), f32(2, 3, 5)], transA=1, transB=1, alpha=0.5)
case("repeated sequences", "NGramRepeatBlock", [np.array([[1, 2, 3, 1, 2], [4, 4, 4, 4, 4]], np.int64), f32(2, 6)], ngram_size=3)
for dim, step in ((-1, 1), (0, 2), (1, 3)):
    case(f"windows of axis {dim}", "UnfoldTensor", [f32(4, 7, 5)], dim=dim, size=3, step=step)
case("the cheapest way", "DynamicTimeWarping", [f32(9, 14)], (I32,))
case("the cheapest way, of a batch", "DynamicTimeWarping", [f32(1, 14, 9)], (I32,))
for kind in (np.uint8, np.int8):
    case(f"quantised embeddings, {kind.__name__}", "QEmbedLayerNormalization",
         [RNG.integers(0, 9, (2, 5)).astype(np.int32), RNG.integers(0, 2, (2, 5)).astype(np.int32), codes(kind, 9, 16), codes(kind, 6, 16),
          codes(kind, 2, 16), codes(kind, 16), codes(kind, 16), (RNG.random((2, 5)) < 0.7).astype(np.int32), *[number(x) for x in (0.1, 0.2, 0.05, 0.02, 0.03)],
          *[number(x, kind) for x in (3, 100, 7, 0, 120)]], (F, I32))
    case(f"quantised embeddings without segments, {kind.__name__}", "QEmbedLayerNormalization",
         [RNG.integers(0, 9, (2, 5)).astype(np.int32), None, codes(kind, 9, 16), codes(kind, 6, 16), None, codes(kind, 16), codes(kind, 16), None,
          number(0.1), number(0.2), None, number(0.02), number(0.03), number(3, kind), number(100, kind), None, number(0, kind), number(120, kind)],
         (F, I32))


@pytest.mark.parametrize("level", [0, 99])
@pytest.mark.parametrize("name", CASES)
def test_as_onnxruntime(name, level):
    op, inputs, outputs, attributes, constant, tolerance = CASES[name]
    raw, feeds = build(op, inputs, outputs, attributes, constant)
    want, got = reference(raw, feeds), results(raw, feeds, level)
    assert len(got) == len(want)
    for mine, theirs in zip(got, want):
        assert mine.dtype == theirs.dtype and mine.shape == theirs.shape
        if mine.dtype.kind in "iu":
            # A tie may be decided by the last place of a float.
            assert np.abs(mine.astype(int) - theirs.astype(int)).max(initial=0) <= (0 if op in EXACT else 1)
        else:
            np.testing.assert_allclose(mine, theirs, rtol=tolerance, atol=tolerance)


EXACT = {"DynamicTimeWarping", "QEmbedLayerNormalization", "QLinearConcat", "QLinearWhere", "NhwcMaxPool", "Unique", "EmbedLayerNormalization"}


# What onnxruntime has no CPU kernel for.

def attend(raw_inputs, outputs=(F,), **attributes):
    return results(*build("MultiHeadAttention", raw_inputs, outputs, dict(num_heads=N, **attributes), ()))


def test_packed_queries_keys_and_values():
    packed = f32(B, S, N, 3, H)
    parts = [np.ascontiguousarray(packed[:, :, :, index]).reshape(B, S, N * H) for index in range(3)]
    mask = KEPT
    np.testing.assert_allclose(attend([packed])[0], attend(parts)[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        attend([packed, None, None, BIAS, mask], unidirectional=1)[0], attend([*parts, BIAS, mask], unidirectional=1)[0], rtol=1e-5, atol=1e-6)


def test_packed_keys_and_values():
    packed = f32(B, 7, N, 2, H)
    keys, values = (np.ascontiguousarray(packed[:, :, :, index]).reshape(B, 7, N * H) for index in range(2))
    np.testing.assert_allclose(attend([Q, packed])[0], attend([Q, keys, values])[0], rtol=1e-5, atol=1e-6)
    for one, other in zip(attend([Q, packed, None, BIAS], (F, F, F)), attend([Q, keys, values, BIAS], (F, F, F))):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_a_cache_with_room():
    """Buffers of 9 positions, of which P are filled, against a cache of P."""
    past = [f32(B, N, 9, H), f32(B, N, 9, H)]
    cut = [np.ascontiguousarray(part[:, :, :P]) for part in past]
    want = attend([Q, SELF, SELF, None, None, None, *cut], (F, F, F), unidirectional=1)
    got = attend([Q, SELF, SELF, None, None, None, *past, i32(P)], (F, F, F), unidirectional=1)
    np.testing.assert_allclose(got[0], want[0], rtol=1e-5, atol=1e-6)
    for mine, theirs in zip(got[1:], want[1:]):
        assert mine.shape == (B, N, 9, H)
        np.testing.assert_array_equal(mine[:, :, :P + S], theirs)
    both = np.stack(past)
    shared = dict(num_heads=N, unidirectional=1, past_present_share_buffer=1)
    got = results(*build("Attention", [X, W, BIAS, None, both, None, i32(P)], (F, F), shared, ()))
    want = results(*build("Attention", [X, W, BIAS, None, np.stack(cut)], (F, F), dict(num_heads=N, unidirectional=1), ()))
    np.testing.assert_allclose(got[0], want[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got[1][..., :P + S, :], want[1], rtol=1e-5, atol=1e-6)
    with pytest.raises(apus.ApusError, match="past_sequence_length"):
        attend([Q, SELF, SELF, None, None, None, *past, i32(7)], (F, F, F))


def test_beams_of_multi_head_attention():
    """As the decoder's operator has it, which onnxruntime knows."""
    beams = RNG.integers(0, 2, (2, 2, 9)).astype(np.int32)
    got = attend([*ONE, None, None, None, *BUFFERS, i32(P), beams], (F, F, F))
    want = results(*build("DecoderMaskedMultiHeadAttention", [*ONE, None, None, *BUFFERS, i32(P), i32(2), beams], (F, F, F), dict(num_heads=N), ()))
    for mine, theirs in zip(got, want):
        np.testing.assert_array_equal(mine, theirs)
    with pytest.raises(apus.ApusError, match="beam"):
        attend([*ONE, None, None, None, *BUFFERS, i32(P), beams + 2], (F, F, F))


@pytest.mark.parametrize("room, total, words", [(5, 7, 1), (5, 13, 1), (3, 9, 1), (5, 9, 4), (4, 3, 3), (5, 20, 7), (5, 5, 1)])
def test_a_sliding_cache(room, total, words):
    """How many of its rows count follows from the positions so far."""
    window, step = 3, room - 2
    kept = total if total <= room else total - step * -(-(total - room) // step)
    inputs = [f32(1, words, 64), f32(1, words, 32), f32(1, words, 32), f32(1, 2, room, 16), f32(1, 2, room, 16), i32(total - 1), number(total, np.int32),
              f32(32, 8), f32(32, 8), None, f32(1, 4, words, total)]
    raw, feeds = build("GroupQueryAttention", inputs, (F, F, F), dict(
        num_heads=4, kv_num_heads=2, do_rotary=1, sliding_window_cache=1, local_window_size=window), ())
    for index, (mine, theirs) in enumerate(zip(results(raw, feeds), reference(raw, feeds))):
        assert mine.shape == theirs.shape
        rows = np.s_[...] if index == 0 else np.s_[:, :, :kept]
        np.testing.assert_allclose(mine[rows], theirs[rows], rtol=2e-5, atol=2e-5)


def test_packed_decoder_attention():
    got = results(*build("DecoderMaskedMultiHeadAttention", [np.concatenate(ONE, axis=-1), None, None, None, None, *BUFFERS, i32(P)], (F, F, F), dict(num_heads=N), ()))
    want = results(*build("DecoderMaskedMultiHeadAttention", [*ONE, None, None, *BUFFERS, i32(P)], (F, F, F), dict(num_heads=N), ()))
    for mine, theirs in zip(got, want):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("dimension", [0, 4])
def test_attention_that_rotates(dimension):
    """As three products, RotaryEmbedding and MultiHeadAttention."""
    size = dimension or H
    angles = np.arange(S)[:, None] * 10000.0 ** (-np.arange(0, size, 2) / size)
    caches = [np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)]
    parts = np.split(X @ W + BIAS, 3, axis=-1)
    attributes = dict(num_heads=N) | (dict(rotary_embedding_dim=dimension) if dimension else {})
    positions = np.tile(np.arange(S), (B, 1))
    for index in (0, 1):
        parts[index], = results(*build("RotaryEmbedding", [parts[index], positions, *caches], (F,), attributes, ()))
    got, = results(*build("Attention", [X, W, BIAS], (F,), dict(do_rotary=1, **attributes), ()))
    np.testing.assert_allclose(got, attend(parts)[0], rtol=1e-5, atol=1e-5)


def test_normalised_queries_and_keys():
    """As normalisation by itself, and grouped attention behind it."""
    weights = [f32(16), f32(16)]
    apart = list(GQA)
    for index, weight in enumerate(weights):
        heads = GQA[index].reshape(B, 1, -1, 16)
        apart[index] = (heads / np.sqrt((heads**2).mean(-1, keepdims=True) + 1e-5) * weight).reshape(GQA[index].shape).astype(np.float32)
    attributes = dict(num_heads=4, kv_num_heads=2, do_rotary=1)
    got = results(*build("GroupQueryAttention", GQA + [None] * 5 + weights, (F, F, F), dict(qk_norm_epsilon=1e-5, **attributes), ()))
    want = results(*build("GroupQueryAttention", apart, (F, F, F), attributes, ()))
    for mine, theirs in zip(got, want):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5)


def test_a_cache_of_floats_of_8_bits():
    import ml_dtypes

    kind = ml_dtypes.float8_e4m3fn
    scales = [np.abs(f32(1)) + 0.1, np.abs(f32(1)) + 0.1]
    caches = [f32(B, 2, 6, 16).astype(kind) for _ in range(2)]
    inputs = GQA[:3] + caches + GQA[5:7] + [None] * 5 + scales
    attributes = dict(num_heads=4, kv_num_heads=2)
    eight = TensorProto.FLOAT8E4M3FN
    quantized = dict(kv_cache_bit_width=8, k_quant_type="PER_TENSOR", v_quant_type="PER_TENSOR")
    got = results(*build("GroupQueryAttention", inputs, (F, eight, eight), quantized | attributes, ()))
    new = [((GQA[1 + i] / scales[i]).astype(kind).astype(np.float32) * scales[i]).astype(np.float32) for i in range(2)]
    past = [(caches[i].astype(np.float32) * scales[i]).astype(np.float32) for i in range(2)]
    want = results(*build("GroupQueryAttention", [GQA[0], *new, *past, *GQA[5:7]], (F, F, F), attributes, ()))
    np.testing.assert_allclose(got[0], want[0], rtol=1e-5, atol=1e-5)
    for index in range(2):
        np.testing.assert_allclose(got[1 + index].astype(np.float32) * scales[index], want[1 + index], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind, element", [(np.uint8, U8), (np.int8, I8)])
@pytest.mark.parametrize("axes, keep", [([1], 1), ([-1, 0], 0), ([], 0), ([2, 3], 1), ([0, 2], 0)])
def test_means(kind, element, axes, keep):
    x, scale, zero, out, out_zero = codes(kind, 3, 4, 5, 6), number(0.02), number(5, kind), number(0.004), number(9, kind)
    got, = results(*build("QLinearReduceMean", [x, scale, zero, out, out_zero], (element,), dict(keepdims=keep, **({"axes": axes} if axes else {})), (1, 2, 3, 4)))
    real = ((x.astype(np.float64) - 5) * 0.02).mean(axis=tuple(axes) or None, keepdims=bool(keep))
    want = np.clip(np.rint(real / 0.004) + 9, np.iinfo(kind).min, np.iinfo(kind).max)
    assert got.dtype == kind and got.shape == want.shape
    assert np.abs(got.astype(float) - want).max() <= 1


def test_gathered_floats_of_8_bits():
    import ml_dtypes

    data = f32(6, 32).astype(ml_dtypes.float8_e4m3fn)
    for scales, size in ((np.abs(f32(6, 2)), 16), (np.abs(f32(1, 1)), 0)):
        raw, feeds = build("GatherBlockQuantized", [data, i32(5, 0, 9), scales], (F,), dict(block_size=size), (0, 2))
        got, = results(raw, feeds)
        want = (data.astype(np.float32) * np.repeat(np.broadcast_to(scales, (6, scales.shape[1])), 32 // scales.shape[1], axis=1))[[5, 0, 0]]
        want[2] = 0
        np.testing.assert_allclose(got, want, rtol=1e-6)


def test_zero_sized_inputs():
    empty = np.zeros((0, 3, 4), np.uint8)
    sz = [number(0.02), number(3, np.uint8)]
    for raw, feeds in (
            build("QLinearConcat", [*sz, empty, *sz, empty, *sz], (U8,), dict(axis=0), ()),
            build("QLinearWhere", [np.zeros((3, 1), bool), empty, *sz, empty, *sz, *sz], (U8,), {}, ()),
            build("QLinearReduceMean", [empty, *sz, *sz], (U8,), dict(axes=[1], keepdims=1), ())):
        assert results(raw, feeds)[0].size == 0
    zero = build("QLinearReduceMean", [empty, *sz, *sz], (U8,), dict(axes=[0], keepdims=0), ())
    np.testing.assert_array_equal(results(*zero)[0], np.full((3, 4), 3))
    assert results(*build("GatherBlockQuantized", [codes(np.uint8, 6, 16), np.zeros((0, 2), np.int32), f32(6, 2)], (F,), dict(block_size=16), ()))[0].shape == (0, 2, 32)
    assert attend([np.zeros((0, S, N * H), np.float32)] * 3)[0].shape == (0, S, N * H)
    assert attend([Q, np.zeros((B, 0, N * H), np.float32), np.zeros((B, 0, N * H), np.float32)])[0].shape == Q.shape
