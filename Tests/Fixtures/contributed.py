"""Makes contributed.json: onnxruntime's outputs of com.microsoft operators for RecordedCasesTests.swift."""
import numpy as np
from recorded import Recorder

rng = np.random.default_rng(5)
recorder = Recorder("com.microsoft")
case = recorder.case


def floats(*shape):
    return rng.standard_normal(shape).astype(np.float32)


def half(*shape):
    return floats(*shape).astype(np.float16)


i32 = lambda *v: np.array(v, np.int32)

# Small ones.
for upper in (0, 1):
    case(f"trilu {upper}", "Trilu", dict(upper=upper), [floats(2, 3, 4)])
    case(f"trilu {upper} k", "Trilu", dict(upper=upper), [floats(3, 4).astype(np.float64), np.array(-1)])
case("trilu of integers", "Trilu", {}, [np.arange(9).reshape(3, 3), np.array(1)])
case("range", "Range", {}, [np.array(1.5, np.float32), np.array(4.0, np.float32), np.array(0.5, np.float32)])
case("range without step", "Range", {}, [np.array(3, np.int64), np.array(7, np.int64)])
case("range backwards", "Range", {}, [np.array(3, np.int32), np.array(-4, np.int32), np.array(-2, np.int32)])
case("range of int16", "Range", {}, [np.array(3, np.int16), np.array(9, np.int16), np.array(2, np.int16)])
case("unique", "Unique", {}, [np.array([2, 1, 1, 3, 4, 3], np.float32)], outputs=3)
case("unique of one", "Unique", {}, [np.array([7], np.float32)], outputs=3)
for mode in ("constant", "reflect", "edge"):
    case(f"pad {mode}", "Pad", dict(mode=mode), [floats(3, 4), np.array([1, 0, 2, 1])])
    case(f"pad {mode} by a row", "Pad", dict(mode=mode), [floats(3, 4), np.array([[1, 2, 0, 1]]), np.array([3.5], np.float32)])
case("pad of halves", "Pad", {}, [half(2, 2), np.array([1, 0, 0, 1]), np.array([2], np.float16)])
for shape in ((3, 3), (2, 5, 5), (1, 1)):
    case(f"inverse {shape}", "Inverse", {}, [floats(*shape)], tolerance=1e-4)
    case(f"inverse of doubles {shape}", "Inverse", {}, [floats(*shape).astype(np.float64)], tolerance=1e-9)
case("inverse of halves", "Inverse", {}, [(half(3, 3) + 3 * np.eye(3)).astype(np.float16)], tolerance=2e-3)
image = floats(2, 3, 5, 6)
rois = np.array([[0, 0, 1, 1], [0.1, 0.2, 0.7, 0.9], [-0.2, 0.1, 1.3, 0.8], [0.8, 0.7, 0.2, 0.1]], np.float32)
for mode in ("bilinear", "nearest"):
    for size in ((4, 3), (1, 1), (7, 1)):
        case(f"crop {mode} {size}", "CropAndResize", dict(mode=mode, extrapolation_value=-1.5), [image, rois, i32(0, 1, 1, 0), i32(*size)])
nhwc = rng.integers(-128, 128, (2, 6, 7, 3)).astype(np.int8)
for attrs in (dict(kernel_shape=[2, 3]), dict(kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
              dict(kernel_shape=[2, 2], dilations=[2, 1], ceil_mode=1, strides=[2, 2]), dict(kernel_shape=[3, 2], auto_pad="SAME_UPPER", strides=[2, 1])):
    case(f"nhwc pool {attrs}", "NhwcMaxPool", attrs, [nhwc])
    case(f"nhwc pool u8 {attrs}", "NhwcMaxPool", attrs, [nhwc.view(np.uint8)])

# Fused.
x, w, b = floats(1, 4, 6, 5), floats(6, 2, 3, 3), floats(6)
base = dict(kernel_shape=[3, 3], group=2, pads=[1, 1, 1, 1])
z = floats(1, 6, 6, 5)
for name, parameters in (("Relu", None), ("Tanh", None), ("Sigmoid", None), ("LeakyRelu", [0.2]), ("Clip", [-0.5, 0.8]), ("HardSigmoid", [0.3, 0.4])):
    own = dict(base, activation=name, **(dict(activation_params=parameters) if parameters else {}))
    case(f"conv {name}", "FusedConv", own, [x, w, b])
    case(f"conv {name} with a sum", "FusedConv", own, [x, w, b, z])
case("conv without bias", "FusedConv", dict(base, activation="Relu"), [x, w])
for name, more in (("Relu", {}), ("LeakyRelu", dict(activation_alpha=0.3)), ("Sigmoid", {}), ("Tanh", {}), ("Softplus", {}),
                   ("Elu", dict(activation_alpha=0.7)), ("HardSigmoid", dict(activation_alpha=0.3, activation_beta=0.4)), ("Softsign", {}),
                   ("Selu", dict(activation_alpha=1.5, activation_gamma=1.1)), ("ThresholdedRelu", dict(activation_alpha=0.6))):
    case(f"gemm {name}", "FusedGemm", dict(activation=name, alpha=0.5, beta=0.25, transB=1, **more), [floats(3, 4), floats(5, 4), floats(5)])
case("gemm without sum", "FusedGemm", dict(activation="Relu", transA=1), [floats(4, 3), floats(4, 5)])
for attrs in (dict(alpha=0.5), dict(transA=1), dict(transB=1), dict(transA=1, transB=1, alpha=2.0),):
    a = floats(2, 4, 3) if attrs.get("transA") else floats(2, 3, 4)
    c = floats(2, 5, 4) if attrs.get("transB") else floats(2, 4, 5)
    case(f"matmul {attrs}", "FusedMatMul", attrs, [a, c])
for attrs in (dict(transBatchA=1), dict(transBatchB=1), dict(transBatchA=1, transBatchB=1), dict(transBatchA=1, transA=1)):
    a = floats(3, 2, 4) if attrs.get("transBatchA") else floats(2, 3, 4)
    if attrs.get("transA"):
        a = floats(4, 2, 3)
    c = floats(4, 2, 5) if attrs.get("transBatchB") else floats(2, 4, 5)
    case(f"matmul {attrs}", "FusedMatMul", attrs, [a, c])
for op, ins in (("Gelu", [floats(3, 4)]), ("QuickGelu", [floats(3, 4)]), ("FastGelu", [floats(3, 4)]), ("FastGelu", [floats(3, 4), floats(4)]),
                ("BiasGelu", [floats(3, 4), floats(4)])):
    case(f"{op} of {len(ins)}", op, {}, ins)
case("quick gelu alpha", "QuickGelu", dict(alpha=1.5), [floats(3, 4)])

# Attention.
heads, size, hidden = 2, 4, 8
q, k, v = floats(2, 4, hidden), floats(2, 6, hidden), floats(2, 6, hidden)
mha = dict(num_heads=heads)
case("mha value size", "MultiHeadAttention", mha, [q, k, floats(2, 6, 12)])
case("mha mask per batch", "MultiHeadAttention", mha, [q, k, v, None, i32(4, 6)])
case("mha mask matrix", "MultiHeadAttention", mha, [q, k, v, None, rng.integers(0, 2, (2, 4, 6)).astype(np.int32) | (np.arange(6) == 0).astype(np.int32)])
case("mha bias of all heads", "MultiHeadAttention", mha, [q, k, v, None, None, floats(1, 1, 4, 6)])
case("mha bias of all", "MultiHeadAttention", mha, [q, k, v, None, None, floats(2, heads, 4, 6)])
case("mha masks and biases", "MultiHeadAttention", dict(mha, mask_filter_value=-1000.0), [
    q, k, v, floats(3 * hidden), i32([1, 1, 1, 1, 0, 0], [1, 0, 1, 1, 1, 1]), floats(2, heads, 4, 6)])
case("mha past", "MultiHeadAttention", mha, [q, q, q, None, None, None, floats(2, heads, 3, size), floats(2, heads, 3, size)], outputs=3)
case("mha past, mask", "MultiHeadAttention", dict(mha, unidirectional=1), [
    q, q, q, floats(3 * hidden), np.ones((2, 7), np.int32), None, floats(2, heads, 3, size), floats(2, heads, 3, size)], outputs=3)
case("mha present", "MultiHeadAttention", mha, [q, k, v], outputs=3)
X, W, B = floats(2, 5, hidden), floats(hidden, 3 * hidden) / 3, floats(3 * hidden)
for mask in (i32(3, 5), i32(3, 5, 0, 1), i32([1, 1, 1, 0, 0], [1, 0, 1, 1, 1]), rng.integers(0, 2, (2, 5, 5)).astype(np.int32) | np.eye(5, dtype=np.int32)):
    case(f"attention mask {mask.shape} causal", "Attention", dict(num_heads=heads, unidirectional=1), [X, W, B, mask])
    case(f"attention mask {mask.shape} bias", "Attention", dict(num_heads=heads, mask_filter_value=-50.0), [X, W, B, mask, None, floats(2, heads, 5, 5)])
case("attention past, mask", "Attention", dict(num_heads=heads), [
    X, W, B, np.ones((2, 8), np.int32), floats(2, 2, heads, 3, size)], outputs=2)
for name, more in (("plain", {}), ("rotary dim", dict(rotary_embedding_dim=4, num_heads=3)), ("scale", dict(scale=0.5))):
    d = 2 if "rotary_embedding_dim" in more else 3
    for interleaved in (0, 1):
        case(f"rotary {name} {interleaved}", "RotaryEmbedding", dict(interleaved=interleaved, **more), [
            floats(2, 5, 18) if "num_heads" in more else floats(2, 3, 5, 6), rng.integers(0, 10, (2, 5)), floats(10, d), floats(10, d)])


# Grouped heads.
def grouped(name, batch=2, sequence=3, past=0, heads=4, kv=2, size=8, lengths=None, packed=False, rotary=None, bias=None, sink=False,
            ids=False, outputs=3, buffer=None, keep=None, **attrs):
    total = past + sequence
    lengths = lengths or [total] * batch
    own = dict(num_heads=heads, kv_num_heads=kv, **attrs)
    if packed:
        ins = [floats(batch, sequence, (heads + 2 * kv) * size), None, None]
    else:
        ins = [floats(batch, sequence, heads * size), floats(batch, sequence, kv * size), floats(batch, sequence, kv * size)]
    held = buffer or past
    ins += [floats(batch, kv, held, size), floats(batch, kv, held, size)] if held else [None, None]
    ins += [i32(*[n - 1 for n in lengths]), np.array([max(lengths)], np.int32)]
    if rotary:
        own["do_rotary"] = 1
        ins += [floats(20, rotary // 2), floats(20, rotary // 2)]
    else:
        ins += [None, None]
    ins += [rng.integers(0, 20, (batch, sequence)) if ids else None, floats(*bias) if bias else None, floats(heads) if sink else None]
    while ins[-1] is None:
        ins.pop()
    case("grouped " + name, "GroupQueryAttention", own, ins, outputs=outputs, keep=keep)


grouped("prompt")
grouped("prompt, packed", packed=True)
grouped("all heads", kv=4)
grouped("one head", kv=1, heads=3)
grouped("one step", sequence=1, past=5)
grouped("several steps", sequence=3, past=5, batch=1)
grouped("one step, packed, rotary", sequence=1, past=5, packed=True, rotary=16, size=16)
for interleaved in (0, 1):
    grouped(f"rotary {interleaved}", rotary=16, size=16, rotary_interleaved=interleaved)
    grouped(f"rotary {interleaved} of a part", rotary=16, rotary_interleaved=interleaved, size=32)
    grouped(f"rotary {interleaved} after a past", rotary=16, size=16, rotary_interleaved=interleaved, past=4, sequence=2, batch=1)
grouped("rotary by ids", rotary=16, size=16, ids=True, sequence=1, past=5)  # a prompt counts from the first id there
grouped("window", sequence=6, local_window_size=2)
grouped("window after a past", sequence=1, past=7, local_window_size=3)
grouped("softcap", softcap=2.0)
grouped("scale", scale=0.2)
grouped("smooth", smooth_softmax=1)
grouped("sink", sink=True, smooth_softmax=1)
grouped("sink alone", sink=True)
grouped("bias", bias=(2, 4, 3, 3))
grouped("bias of all", bias=(1, 1, 3, 3))
grouped("bias after a past", bias=(1, 4, 1, 6), sequence=1, past=5)
grouped("lengths after a past", sequence=1, past=5, lengths=[6, 4])
grouped("a longer buffer", sequence=1, past=5, buffer=9)
grouped("scores before", qk_output=1, outputs=4)
grouped("scores after", qk_output=2, outputs=4)
grouped("scores after a past", qk_output=2, outputs=4, sequence=1, past=4)
recorder.write("contributed.json")
