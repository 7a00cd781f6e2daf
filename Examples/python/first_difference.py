#!/usr/bin/env python3
"""Finds the first node of a model whose result differs between Apus and onnxruntime.

    Examples/python/first_difference.py model.onnx [inputs.npz] [--cpu generic] [--threads 1] [--tolerance 1e-4]

Every value of the main graph becomes an output of a copy of the model, which both run without optimisation. Inputs that are not
given are random, symbolic dimensions 1. Exit status: 0 where nothing differs, 1 where something does.
"""

import argparse
import sys

import apus
import numpy as np
import onnx
import onnxruntime


def with_all_values(model):
    """The model with the results of all its nodes as outputs, in the order of the nodes."""
    # onnxruntime wants a type for each output: shape inference tells, except for what it does not know.
    inferred = onnx.shape_inference.infer_shapes(model).graph
    known = {info.name: info for info in [*inferred.value_info, *inferred.output] if info.type.WhichOneof("value")}
    names = [name for node in model.graph.node for name in node.output if name]
    del model.graph.output[:]
    model.graph.output.extend(known.get(name, onnx.ValueInfoProto(name=name)) for name in names)
    return model


def random_inputs(session):
    generator = np.random.default_rng(0)
    feed = {}
    for argument in session.get_inputs():
        shape = [size if isinstance(size, int) else 1 for size in argument.shape]
        kind = argument.type.removeprefix("tensor(").removesuffix(")")
        if kind.startswith(("float", "double")):
            dtype = {"float": np.float32, "double": np.float64, "float16": np.float16}[kind]
            feed[argument.name] = generator.random(shape).astype(dtype)
        else:
            feed[argument.name] = np.zeros(shape, np.bool_ if kind == "bool" else kind)
    return feed


def difference(got, want):
    """The largest difference as a share of the largest magnitude; infinity where shape, type or special values differ."""
    if isinstance(want, (list, dict)) or want is None:
        return 0.0 if type(got) is type(want) else np.inf
    if got.shape != want.shape or got.dtype != want.dtype:
        return np.inf
    if want.dtype.kind not in "fiub":
        return 0.0 if np.array_equal(got, want) else np.inf
    got, want = got.astype(np.float64), want.astype(np.float64)
    usual = np.isfinite(want)
    if not np.array_equal(usual, np.isfinite(got)) or not np.array_equal(got[~usual], want[~usual], equal_nan=True):
        return np.inf
    return float(np.abs(got - want)[usual].max(initial=0) / max(np.abs(want[usual]).max(initial=0), 1e-30))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("inputs", nargs="?")
    parser.add_argument("--cpu", help="the highest instruction-set level of Apus")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tolerance", type=float, default=1e-4, help="as a share of the largest magnitude of a value")
    parser.add_argument("--show", type=int, default=5, help="how many nodes to show")
    arguments = parser.parse_args()

    model = with_all_values(onnx.load(arguments.model))
    content = model.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    reference = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    session = apus.InferenceSession(content, apus.SessionOptions(
        graph_optimization_level=0, cpu=arguments.cpu, intra_op_num_threads=arguments.threads))
    feed = dict(np.load(arguments.inputs)) if arguments.inputs else random_inputs(reference)
    names = [output.name for output in model.graph.output]
    values = dict(zip(names, zip(session.run(names, feed), reference.run(names, feed))))

    shown = 0
    for node in model.graph.node:
        for name in filter(None, node.output):
            got, want = values[name]
            error = difference(got, want)
            if error <= arguments.tolerance:
                continue
            print(f"{node.op_type} \"{node.name}\" makes {name}: relative error {error:.3g}")
            for source in node.input:
                known = values.get(source, (feed.get(source),))[0]
                print(f"    from {source}" + (f" {known.dtype}{list(known.shape)}" if hasattr(known, "dtype") else ""))
            print(f"    Apus        {np.ravel(got)[:6]}\n    onnxruntime {np.ravel(want)[:6]}")
            shown += 1
            if shown == arguments.show:
                return 1
    if not shown:
        worst = max((difference(*pair) for pair in values.values()), default=0)
        print(f"the {len(values)} values of {len(model.graph.node)} nodes agree; the largest relative error is {worst:.2g}")
    return 1 if shown else 0


if __name__ == "__main__":
    sys.exit(main())
