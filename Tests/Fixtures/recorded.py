"""What classical.py and contributed.py share: runs a node in onnxruntime and keeps its inputs and outputs. Needs onnx, onnxruntime."""
import base64
import json
import pathlib

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto
from onnx import helper as h

ort.set_default_logger_severity(4)


def texts(*items):
    return np.array(items, object)


def coded(a):
    """An array as JSON can hold it; None for an output or input left out."""
    if a is None:
        return None
    a = np.asarray(a)
    if a.dtype == object or a.dtype.kind in "US":
        return dict(type=8, shape=list(a.shape), strings=[str(x) for x in a.reshape(-1)])
    raw = base64.b64encode(np.ascontiguousarray(a).tobytes()).decode()
    return dict(type=int(h.np_dtype_to_tensor_dtype(a.dtype)), shape=list(a.shape), data=raw)


def attribute(name, value):
    if isinstance(value, onnx.TensorProto):
        return dict(name=name, kind="tensor", tensor=coded(onnx.numpy_helper.to_array(value)))
    kinds = {int: "int", float: "float", str: "string"}
    if type(value) in kinds:
        kind = kinds[type(value)]
        return dict(name=name, kind=kind, **{kind + "s": [value]})
    kind = kinds[type(value[0])] + "s"
    return dict(name=name, kind=kind, **{kind: list(value)})


class Recorder:
    """Cases of one domain."""

    def __init__(self, domain):
        self.domain, self.cases = domain, []

    def case(self, name, op, attrs, ins, version=1, outputs=1, tolerance=1e-5, keep=None):
        """Runs `op`; inputs that are None are left out, of the outputs those in `keep` are compared (None: all)."""
        infos = [
            h.make_tensor_value_info(f"i{i}", TensorProto.STRING if a.dtype == object else h.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for i, a in enumerate(ins) if a is not None]
        names = [f"o{i}" for i in range(outputs)]
        node = h.make_node(op, [f"i{i}" if a is not None else "" for i, a in enumerate(ins)], names, domain=self.domain, **attrs)
        graph = h.make_graph([node], "g", infos, [onnx.ValueInfoProto(name=n) for n in names])
        opsets = [h.make_opsetid("", 17), h.make_opsetid(self.domain, version)]
        model = h.make_model(graph, opset_imports=opsets, ir_version=8)
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
            got = session.run(None, {f"i{i}": a for i, a in enumerate(ins) if a is not None})
        except Exception as error:
            print("onnxruntime refuses", name, str(error)[:200])
            return None
        kept = [a if keep is None or i in keep else None for i, a in enumerate(got)]
        self.cases.append(dict(
            name=name, op=op, domain=self.domain, opset=version, attrs=[attribute(k, v) for k, v in attrs.items()],
            inputs=[coded(a) for a in ins], outputs=[coded(a) for a in kept], tolerance=tolerance))
        return got

    def write(self, name):
        # NaN among the attributes is written as JSON5 has it.
        (pathlib.Path(__file__).parent / name).write_text(json.dumps(self.cases))
        print(len(self.cases), "cases")
