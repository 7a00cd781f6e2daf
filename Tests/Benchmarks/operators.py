#!/usr/bin/env python3
"""Times models of one operator beside onnxruntime: `operators.py LIBRARY... [--only PATTERN] [--seconds S] [--json FILE] [--all]`.

Each library (a libapus.so) and onnxruntime run in a process of their own and take turns at every model, on one thread; the least CPU
time of all turns counts. The table that is printed has a row for each operator and type, the greatest ratio of the last library to
onnxruntime first (`--all`: those below 1.2, too). Compare ratios within one run, nothing else: machines and their neighbours differ.
"""
import argparse
import json
import math
import os
import pathlib
import pickle
import re
import subprocess
import sys
import tempfile
import time

BINDING = pathlib.Path(__file__).resolve().parent.parent.parent / "bindings" / "python"
NAMES = {"f32": "float", "f64": "double", "f16": "float16", "bf16": "bfloat16", "i8": "int8", "u8": "uint8", "i32": "int32", "i64": "int64", "b": "bool"}
SHAPE = (64, 64, 64)


def models():
    """(name, model, inputs) of every case."""
    import ml_dtypes
    import numpy as np
    import onnx
    from onnx import TensorProto, helper

    kinds = {
        "f32": np.float32, "f64": np.float64, "f16": np.float16, "bf16": ml_dtypes.bfloat16, "i8": np.int8, "u8": np.uint8, "i32": np.int32,
        "i64": np.int64, "b": np.bool_,
    }
    number = {key: helper.np_dtype_to_tensor_dtype(np.dtype(kind)) for key, kind in kinds.items()}
    random = np.random.default_rng(0)

    def array(key, shape):
        if key == "b":
            return random.integers(0, 2, shape).astype(bool)
        return random.integers(1, 100, shape).astype(kinds[key]) if key[0] in "iu" else (random.random(shape) + 0.5).astype(kinds[key])

    def case(name, op, inputs, output, constants=None, opset=21, outputs=1, **attributes):
        """`inputs`: (type, shape) of each; `constants`: those that are initializers, by position."""
        constants = constants or {}
        names = [f"x{i}" for i in range(len(inputs))]
        kind = output if isinstance(output, list) else [output] * outputs
        graph = helper.make_graph(
            [helper.make_node(op, names, [f"y{i}" for i in range(outputs)], **attributes)], "g",
            [helper.make_tensor_value_info(n, number[t], s) for i, (n, (t, s)) in enumerate(zip(names, inputs)) if i not in constants],
            [helper.make_tensor_value_info(f"y{i}", number[k], None) for i, k in enumerate(kind)],
            [onnx.numpy_helper.from_array(value, names[i]) for i, value in constants.items()])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
        return name, model.SerializeToString(), {names[i]: array(t, s) for i, (t, s) in enumerate(inputs) if i not in constants}

    for t in ("f32", "f64", "f16", "bf16", "i8", "u8", "i32", "i64"):
        full, floats, bytes_ = (t, SHAPE), t.endswith(("f32", "f64", "f16")), t in ("i8", "u8")
        for op in ("Add", "Mul", "Sub", "Div", "Max", "Min") + (() if bytes_ else ("Pow",)):
            yield case(f"{op}.{t}", op, [full, full], t)
        yield case(f"Add of rows.{t}", "Add", [full, (t, (64,))], t)
        for op in ("Less", "Equal"):
            yield case(f"{op}.{t}", op, [full, full], "b")
        yield case(f"Where.{t}", "Where", [("b", SHAPE), full, full], t)
        for op in ("ReduceMax",) if bytes_ else ("ReduceSum", "ReduceMax"):
            yield case(f"{op}.{t}", op, [full, ("i64", (1,))], t, {1: np.array([-1])}, keepdims=1)
            yield case(f"{op} of columns.{t}", op, [full, ("i64", (1,))], t, {1: np.array([0])}, keepdims=1)
        for op in ("Abs", "Sign") + (() if t == "u8" else ("Neg",)):
            yield case(f"{op}.{t}", op, [full], t)
        yield case(f"Transpose.{t}", "Transpose", [full], t, perm=[0, 2, 1])
        yield case(f"Gather.{t}", "Gather", [(t, (4096, 64)), ("i64", (2048,))], t, {1: random.integers(0, 4096, 2048)})
        yield case(f"GatherElements.{t}", "GatherElements", [(t, (512, 512)), ("i64", (512, 512))], t, {1: random.integers(0, 512, (512, 512))})
        yield case(f"Expand.{t}", "Expand", [(t, (64, 1, 64)), ("i64", (3,))], t, {1: np.array(SHAPE)})
        yield case(f"Tile.{t}", "Tile", [(t, (64, 64)), ("i64", (2,))], t, {1: np.array([8, 8])})
        cut = {1: np.array([0, 0, 1]), 2: np.array(SHAPE), 3: np.array([0, 1, 2]), 4: np.array([1, 1, 2])}
        yield case(f"Slice.{t}", "Slice", [full] + [("i64", (3,))] * 4, t, cut)
        yield case(f"Pad.{t}", "Pad", [full, ("i64", (6,))], t, {1: np.array([0, 1, 1, 0, 1, 1])})
        yield case(f"Concat.{t}", "Concat", [full, full], t, axis=2)
        if t != "bf16":
            yield case(f"ArgMax.{t}", "ArgMax", [full], "i64", axis=-1)
            yield case(f"ArgMax of columns.{t}", "ArgMax", [full], "i64", axis=1)
            yield case(f"Clip.{t}", "Clip", [full, (t, ()), (t, ())], t, {1: np.array(10, kinds[t]), 2: np.array(60, kinds[t])})
            yield case(f"TopK.{t}", "TopK", [(t, (256, 512)), ("i64", (1,))], [t, "i64"], {1: np.array([10])}, outputs=2)
        if not bytes_ and t != "bf16":
            yield case(f"CumSum.{t}", "CumSum", [full, ("i64", ())], t, {1: np.array(1)})
        for u in ("f32", "f16", "i32", "i64", "u8", "b"):
            if u != t:
                yield case(f"Cast.{t} to {u}", "Cast", [full], u, to=number[u])
        if not floats:
            continue
        for op in ("Exp Tanh Sigmoid Relu Erf Sqrt Softmax Gelu Elu Log Sin Floor Round HardSwish Softplus Mish LeakyRelu Selu").split():
            yield case(f"{op}.{t}", op, [full], t, opset=22)
        yield case(f"LayerNormalization.{t}", "LayerNormalization", [full, (t, (64,)), (t, (64,))], t)
        yield case(f"MaxPool.{t}", "MaxPool", [(t, (1, 16, 64, 64))], t, kernel_shape=[3, 3])
        if t != "bf16":
            yield case(f"AveragePool.{t}", "AveragePool", [(t, (1, 16, 64, 64))], t, kernel_shape=[3, 3])
        scales = {1: np.array([], np.float32), 2: np.array([1, 1, 2, 2], np.float32)}
        yield case(f"Resize.{t}", "Resize", [(t, (1, 16, 64, 64)), ("f32", (1,)), ("f32", (4,))], t, scales, mode="linear")
        yield case(f"MatMul.{t}", "MatMul", [(t, (128, 256)), (t, (256, 128))], t)
        yield case(f"Conv.{t}", "Conv", [(t, (1, 16, 32, 32)), (t, (16, 16, 3, 3))], t)
        yield case(f"InstanceNormalization.{t}", "InstanceNormalization", [(t, (1, 64, 64, 64)), (t, (64,)), (t, (64,))], t, opset=22)
    for op in ("And", "Or", "Xor"):
        yield case(f"{op}.b", op, [("b", SHAPE), ("b", SHAPE)], "b")
    yield case("Not.b", "Not", [("b", SHAPE)], "b")
    for t in ("i32", "i64", "u8"):
        for op in ("Mod", "BitwiseAnd"):
            yield case(f"{op}.{t}", op, [(t, SHAPE), (t, SHAPE)], t)
    yield case("MaxPool.i8", "MaxPool", [("i8", (1, 16, 64, 64))], "i8", kernel_shape=[3, 3])
    yield case(
        "ScatterND.f32", "ScatterND", [("f32", (4096, 64)), ("i64", (512, 1)), ("f32", (512, 64))], "f32",
        {1: random.permutation(4096)[:512].reshape(512, 1)})
    yield case(
        "ScatterElements.f32", "ScatterElements", [("f32", (512, 512)), ("i64", (512, 512)), ("f32", (512, 512))], "f32",
        {1: random.integers(0, 512, (512, 512))}, reduction="add")
    yield case("OneHot.f32", "OneHot", [("i64", (4096,)), ("i64", ()), ("f32", (2,))], "f32", {1: np.array(64), 2: np.array([0, 1], np.float32)})
    yield case("NonZero.f32", "NonZero", [("f32", SHAPE)], "i64")
    yield case("LRN.f32", "LRN", [("f32", (1, 64, 32, 32))], "f32", size=5)
    codes = {1: np.array(0.02, np.float32), 2: np.array(3, np.uint8)}
    yield case("QuantizeLinear.u8", "QuantizeLinear", [("f32", SHAPE), ("f32", ()), ("u8", ())], "u8", codes)
    yield case("DequantizeLinear.u8", "DequantizeLinear", [("u8", SHAPE), ("f32", ()), ("u8", ())], "f32", codes)
    yield case("Einsum.f32", "Einsum", [("f32", (64, 64, 16)), ("f32", (64, 16, 64))], "f32", equation="bij,bjk->bik")
    yield case("ConvTranspose.f32", "ConvTranspose", [("f32", (1, 32, 16, 16)), ("f32", (32, 16, 4, 4))], "f32", strides=[2, 2])
    yield case("GridSample.f32", "GridSample", [("f32", (1, 16, 64, 64)), ("f32", (1, 64, 64, 2))], "f32")
    yield case("Unique.i64", "Unique", [("i64", (65536,))], "i64")
    yield case("Trilu.f32", "Trilu", [("f32", (16, 128, 128))], "f32")
    yield case("DepthToSpace.f32", "DepthToSpace", [("f32", (1, 64, 64, 64))], "f32", blocksize=2)
    yield case("DFT.f32", "DFT", [("f32", (16, 1024, 1))], "f32", onesided=0, opset=17)


def work(path, runtime):
    """A worker: for each case number and time that it reads, the least CPU time of a run, or what went wrong."""
    with open(path, "rb") as file:
        cases = pickle.load(file)
    if runtime == "onnxruntime":
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 4
        make = lambda model: onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    else:
        sys.path.insert(0, str(BINDING))
        import apus
        options = apus.SessionOptions()
        options.intra_op_num_threads = 1
        make = lambda model: apus.InferenceSession(model, options)
    number, session = None, None
    for line in sys.stdin:
        wanted, seconds = json.loads(line)
        try:
            _, model, inputs = cases[wanted]
            if number != wanted:
                number, session = wanted, make(model)
            session.run(None, inputs)
            times, end = [], time.perf_counter() + seconds
            while len(times) < 3 or time.perf_counter() < end:
                begin = time.process_time()
                session.run(None, inputs)
                times.append(time.process_time() - begin)
            answer = min(times) * 1e6
        except Exception as error:  # what a runtime lacks is part of the answer
            number, answer = None, str(error)[:100]
        print(json.dumps(answer), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("libraries", nargs="+")
    parser.add_argument("--only", default="", help="a regular expression that names must match, such as '^Cast'")
    parser.add_argument("--seconds", type=float, default=0.015, help="for a turn of one model")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--json", help="write all times there")
    parser.add_argument("--all", action="store_true")
    arguments = parser.parse_args()
    cases = [c for c in models() if re.search(arguments.only, c[0])]
    with tempfile.NamedTemporaryFile(suffix=".pickle") as file:
        pickle.dump(cases, file)
        file.flush()
        runtimes = arguments.libraries + ["onnxruntime"]
        workers = [
            subprocess.Popen(
                [sys.executable, __file__, "--worker", file.name, r], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                env=dict(os.environ, APUS_LIBRARY=os.path.abspath(r))) for r in runtimes]
        rows = []
        for number, (name, _, _) in enumerate(cases):
            times = [[] for _ in workers]
            for _ in range(arguments.turns):
                for worker, mine in zip(workers, times):
                    worker.stdin.write(json.dumps([number, arguments.seconds]) + "\n")
                    worker.stdin.flush()
                    answer = json.loads(worker.stdout.readline())
                    if not isinstance(answer, str):
                        mine.append(answer)
            rows.append([name] + [min(mine) if mine else None for mine in times])
        for worker in workers:
            worker.stdin.close()
            worker.wait()
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(rows))
    both = [r for r in rows if r[-1] and all(r[1:])]
    count = len(arguments.libraries)
    print("| operator | type |" + "".join(f" library {i + 1}, µs |" for i in range(count)) + " onnxruntime, µs | ratio |")
    print("|---|---|" + "--:|" * (count + 2))
    for name, *times in sorted(both, key=lambda r: -r[-2] / r[-1]):
        ratio = times[-2] / times[-1]
        if ratio >= 1.2 or arguments.all:
            op, kind = name.split(".", 1)
            words = " to ".join(NAMES[k] for k in kind.split(" to "))
            print(f"| {op} | {words} |" + "".join(f" {t:.0f} |" for t in times) + f" {ratio:.2f} |")
    for index in range(count):
        ratios = [r[1 + index] / r[-1] for r in both]
        mean = math.exp(sum(map(math.log, ratios)) / max(1, len(ratios)))
        slow = sum(x > 2 for x in ratios)
        print(f"\nLibrary {index + 1}: {len(ratios)} pairs that both run, {slow} above twice onnxruntime's time; geometric mean {mean:.2f}")
    print(f"\n{sum(1 for r in rows if r[-2] and not r[-1])} more that onnxruntime does not run.")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(*sys.argv[2:4])
    else:
        main()
