#!/usr/bin/env python3
"""Runs ONNX's own backend tests and writes docs/conformance.md: operators, versions, types, tests passed, greatest error.

  conformance-page.py          write the page
  conformance-page.py --check  run the tests and fail where an operator passes fewer of them than the page says

Needs the packages of Tests/requirements.txt and a built library (see bindings/python).
"""
import argparse
import collections
import pathlib
import re
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "conformance.md"
for folder in ("bindings/python/tests", "bindings/python"):
    sys.path.insert(0, str(ROOT / folder))

import onnx  # noqa: E402

import apus  # noqa: E402
import apus.backend  # noqa: E402
import test_conformance as conformance  # noqa: E402

DOMAINS = ("ai.onnx", "ai.onnx.ml", "ai.onnx.preview.training")


class Row:
    """What is known of one operator."""

    def __init__(self):
        self.versions, self.types = set(), set()
        self.tests = self.passed = 0
        self.error = 0.0


def element_types(value):
    """The element types of a value's type, however it is wrapped."""
    kind = value.WhichOneof("value")
    if kind in ("tensor_type", "sparse_tensor_type"):
        number = getattr(value, kind).elem_type
        return {onnx.TensorProto.DataType.Name(number).lower()} if number else set()
    if kind in ("sequence_type", "optional_type"):
        return element_types(getattr(value, kind).elem_type)
    if kind == "map_type":
        return element_types(value.map_type.value_type)
    return set()


def error(got, want):
    """The greatest difference, relative to the expected number or, if that is greater, to a thousandth of the largest one."""
    if isinstance(want, (list, tuple)):
        return max((error(g, w) for g, w in zip(got, want)), default=0.0)
    want = np.asarray(want) if want is not None and not isinstance(want, dict) else np.zeros(0)
    if want.dtype.kind in "OUSTbiu" or want.size == 0:
        return 0.0
    wide = np.complex128 if want.dtype.kind == "c" else np.float64
    got, want = np.asarray(got).astype(wide), want.astype(wide)
    finite = np.isfinite(want)
    if not finite.any():
        return 0.0
    got, want = got[finite], want[finite]
    size = np.maximum(np.abs(want), np.abs(want).max() / 1000)
    return float(np.max(np.abs(got - want)[size > 0] / size[size > 0], initial=0.0))


def judged(case):
    """Whether the case passes, and its greatest error."""
    greatest = 0.0
    try:
        model, data_sets = conformance.load(case)
        session = apus.backend.prepare(model).session
        names = [argument.name for argument in session.get_inputs()]
        for inputs, outputs in data_sets:
            by_name = dict(zip((argument.name for argument in model.graph.input), inputs))
            got = session.run(None, {name: by_name[name] for name in names if name in by_name})
            assert len(got) == len(outputs)
            for one, other in zip(got, outputs):
                conformance.compare(one, other, case)
                if not case.name.startswith(conformance.RANDOM):
                    greatest = max(greatest, error(one, other))
        return True, greatest
    except Exception:  # whatever goes wrong, the case did not pass
        return False, 0.0


def nodes(graph):
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                yield from nodes(inner)


def collect():
    """Rows by domain and operator, and the verdict of every case."""
    rows, verdicts = collections.defaultdict(Row), {}
    for name, case in sorted(conformance.CASES.items()):
        model, _ = conformance.load(case)
        passes, greatest = judged(case)
        verdicts[name] = passes
        versions = {item.domain or "ai.onnx": item.version for item in model.opset_import}
        functions = {(function.domain, function.name) for function in model.functions}
        used = {(node.domain or "ai.onnx", node.op_type) for node in nodes(model.graph)} - functions
        for domain, operator in used:
            row = rows[domain, operator]
            row.tests += 1
            row.passed += passes
            # Only a model of one node tells what is that node's.
            if len(model.graph.node) == 1:
                row.error = max(row.error, greatest)
                if domain in versions:
                    row.versions.add(versions[domain])
                for value in [*model.graph.input, *model.graph.output]:
                    row.types |= element_types(value.type)
    return rows, verdicts


def untested(rows):
    """Operators of the newest sets that no case uses."""
    newest = {(schema.domain or "ai.onnx", schema.name): schema for schema in onnx.defs.get_all_schemas()}
    return sorted(
        (domain, name) for (domain, name), schema in newest.items()
        if domain in DOMAINS and not schema.deprecated and (domain, name) not in rows)


def page(rows, verdicts):
    passed = sum(verdicts.values())
    lines = [
        "# Conformance", "",
        f"Written by `.ci/conformance-page.py` from the backend tests of onnx {onnx.__version__}: "
        f"**{passed} of {len(verdicts)} pass**. The cases that need the network are left out.", "",
        "Versions are the operator sets that the cases of an operator import, types the element types of their inputs and outputs; "
        "both are taken from models of one node, as is the greatest error: the difference from the expected number, relative to "
        "that number or, if that is greater, to a thousandth of the largest number of the tensor. A case with several operators "
        "counts for each.", ""]
    for domain in sorted({domain for domain, _ in rows}):
        lines += [f"## {domain}", "", "| operator | passed | tests | versions | greatest error | types |", "|---|---:|---:|---|---:|---|"]
        for (own, operator), row in sorted(rows.items()):
            if own == domain:
                lines.append(
                    f"| {operator} | {row.passed} | {row.tests} | {' '.join(map(str, sorted(row.versions)))} | "
                    f"{f'{row.error:.1e}' if row.error else '0'} | {' '.join(sorted(row.types))} |")
        lines.append("")
    failing = sorted(name for name, passes in verdicts.items() if not passes)
    lines += ["## Cases that do not pass", "", *[f"- {name}" for name in failing or ["none"]], ""]
    missing = [f"{domain}.{name}" for domain, name in untested(rows)]
    lines += ["## Operators without a case", "", *[f"- {name}" for name in missing or ["none"]], ""]
    return "\n".join(lines)


def recorded():
    """Passed cases by domain and operator, as the page has them."""
    counts, domain = {}, None
    for line in PAGE.read_text().splitlines():
        if match := re.fullmatch(r"## (\S+)", line):
            domain = match[1]
        elif match := re.match(r"\| (\w+) \| (\d+) \|", line):
            counts[domain, match[1]] = int(match[2])
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the page instead of writing it")
    arguments = parser.parse_args()
    rows, verdicts = collect()
    print(f"{sum(verdicts.values())} of {len(verdicts)} cases pass")
    if not arguments.check:
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(page(rows, verdicts))
        return 0
    worse = [(key, count, rows[key].passed) for key, count in recorded().items() if rows[key].passed < count]
    for (domain, operator), before, now in worse:
        print(f"{domain}.{operator}: {now} cases pass, the page says {before}")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
