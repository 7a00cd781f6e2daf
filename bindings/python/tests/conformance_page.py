"""docs/conformance.md, out of what a run of ONNX's backend tests found: operators, versions, types, tests passed, greatest error.

test_conformance.py records every case in every configuration here, and compares with the page, or writes it anew.
"""
import collections
import pathlib
import re

import numpy as np
import onnx

PAGE = pathlib.Path(__file__).resolve().parents[3] / "docs" / "conformance.md"
DOMAINS = ("ai.onnx", "ai.onnx.ml", "ai.onnx.preview.training")
# Another processor may add up in another order: an error counts as worse from this factor on, and above this size.
GROWTH, NOISE = 4.0, 1e-5


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


def nodes(graph):
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                yield from nodes(inner)


class Record:
    """The verdicts of a run: of every case in every configuration."""

    def __init__(self, configurations):
        self.configurations = list(configurations)
        self.passed = {name: set() for name in self.configurations}
        self.rows = collections.defaultdict(Row)
        self._cases = {}
        self._seen = collections.Counter()

    def meet(self, name, model):
        """Notes which operators, versions and types a case is about."""
        if name in self._cases:
            return
        versions = {item.domain or "ai.onnx": item.version for item in model.opset_import}
        functions = {(function.domain, function.name) for function in model.functions}
        used = {(node.domain or "ai.onnx", node.op_type) for node in nodes(model.graph)} - functions
        self._cases[name] = used, len(model.graph.node) == 1
        for domain, operator in used:
            row = self.rows[domain, operator]
            row.tests += 1
            # Only a model of one node tells what is that node's.
            if len(model.graph.node) == 1:
                if domain in versions:
                    row.versions.add(versions[domain])
                for value in [*model.graph.input, *model.graph.output]:
                    row.types |= element_types(value.type)

    def judge(self, name, configuration, greatest):
        """The case passed, or did not (None); `greatest` is its greatest error."""
        self._seen[name] += 1
        if greatest is not None:
            self.passed[configuration].add(name)
            used, is_single = self._cases[name]
            for key in used if is_single else ():
                self.rows[key].error = max(self.rows[key].error, greatest)

    def covers(self, cases):
        """Whether every case was run in every configuration."""
        return all(self._seen[name] >= len(self.configurations) for name in cases)

    def everywhere(self):
        """The cases that pass in every configuration."""
        return set.intersection(*self.passed.values())

    def finish(self):
        """Counts, for each operator, the cases that pass everywhere."""
        passed = self.everywhere()
        for row in self.rows.values():
            row.passed = 0
        for name, (used, _) in self._cases.items():
            for key in used:
                self.rows[key].passed += name in passed

    def page(self, reasons, narrow=(), why_narrow=""):
        """The text of the page; `reasons` says for every case that does not pass why, `why_narrow` why those of `narrow` just pass."""
        self.finish()
        total, passed = len(self._cases), self.everywhere()
        lines = [
            "# Conformance", "",
            f"Written by `bindings/python/tests/test_conformance.py` from the backend tests of onnx {onnx.__version__}: "
            f"**{len(passed)} of {total} pass** in every configuration. The cases that need the network are left out.", "",
            "| configuration | passed | tests |", "|---|---:|---:|"]
        lines += [f"| {name} | {len(self.passed[name])} | {total} |" for name in self.configurations]
        lines += [
            "", "Versions are the operator sets that the cases of an operator import, types the element types of their inputs and outputs; "
            "both are taken from models of one node, as is the greatest error of all configurations: the difference from the expected "
            "number, relative to that number or, if that is greater, to a thousandth of the largest number of the tensor. (A unit in the last "
            "place of float is 6e-08 to 1.2e-07 of a number, of float16 4.9e-04 to 9.8e-04, of bfloat16 3.9e-03 to 7.8e-03.) A case with "
            "several operators counts for each.", ""]
        for domain in sorted({domain for domain, _ in self.rows}):
            lines += [f"## {domain}", "", "| operator | passed | tests | versions | greatest error | types |", "|---|---:|---:|---|---:|---|"]
            for (own, operator), row in sorted(self.rows.items()):
                if own == domain:
                    lines.append(
                        f"| {operator} | {row.passed} | {row.tests} | {' '.join(map(str, sorted(row.versions)))} | "
                        f"{f'{row.error:.1e}' if row.error else '0'} | {' '.join(sorted(row.types))} |")
            lines.append("")
        failing = sorted(self._cases.keys() - passed)
        lines += ["## Cases that do not pass", "", *[f"- {name}: {reasons.get(name, 'not explained yet')}" for name in failing], ""]
        if narrow:
            lines += ["## Cases that pass within two units in the last place of bfloat16", "", why_narrow, "", *[f"- {name}" for name in sorted(narrow)], ""]
        lines += ["## Operators without a case", "", *[f"- {domain}.{name}" for domain, name in untested(self.rows)], ""]
        return "\n".join(lines)

    def worse(self, text):
        """What is worse than the page has it, in words."""
        self.finish()
        counts, rows = recorded(text)
        found = [f"{name}: {len(self.passed[name])} cases pass, the page says {count}"
                 for name, count in counts.items() if name in self.passed and len(self.passed[name]) < count]
        found += [f"configuration {name} is no longer run" for name in counts if name not in self.passed]
        for (domain, operator), (passed, greatest) in rows.items():
            row = self.rows.get((domain, operator), Row())
            if row.passed < passed:
                found.append(f"{domain}.{operator}: {row.passed} cases pass, the page says {passed}")
            if row.error > max(NOISE, GROWTH * greatest):
                found.append(f"{domain}.{operator}: an error of {row.error:.1e}, the page says {greatest:.1e}")
        return found


def untested(rows):
    """Operators of the newest sets that no case uses."""
    newest = {(schema.domain or "ai.onnx", schema.name): schema for schema in onnx.defs.get_all_schemas()}
    return sorted(
        (domain, name) for (domain, name), schema in newest.items()
        if domain in DOMAINS and not schema.deprecated and (domain, name) not in rows)


def recorded(text):
    """What a page says: passed cases by configuration; passed cases and greatest error by domain and operator."""
    counts, rows, domain = {}, {}, None
    for line in text.splitlines():
        if match := re.fullmatch(r"## (\S+)", line):
            domain = match[1]
        elif domain is None and (match := re.fullmatch(r"\| ([\w ,]+) \| (\d+) \| \d+ \|", line)):
            counts[match[1]] = int(match[2])
        elif match := re.fullmatch(r"\| (\w+) \| (\d+) \| \d+ \| [\d ]* \| (\S+) \| .*\|", line):
            rows[domain, match[1]] = int(match[2]), float(match[3])
    return counts, rows
