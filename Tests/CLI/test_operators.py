"""The operators that Apus has, against all that the installed `onnx` knows of, in all their versions."""

import json
import os
import shutil
import subprocess

import pytest

onnx = pytest.importorskip("onnx")
CLI = os.environ.get("APUS_CLI") or shutil.which("apus")

pytestmark = pytest.mark.skipif(CLI is None, reason="no apus: set APUS_CLI")

# Versions that Apus has besides: exporters wrote LayerNormalization into ai.onnx before opset 17 had it.
ADDED = {("", "LayerNormalization"): {1}}


def known():
    done = subprocess.run([CLI, "operators", "--json"], capture_output=True, text=True, timeout=60, check=True)
    return {(entry["domain"], entry["name"]): entry["since"] for entry in json.loads(done.stdout)}


def defined():
    versions = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        versions.setdefault((schema.domain, schema.name), set()).add(schema.since_version)
    return versions


def test_every_operator_is_registered():
    assert not defined().keys() - known().keys()


def test_every_version_is_known():
    listed = known()
    wrong = {
        ".".join(key): (sorted(versions), listed[key])
        for key, versions in defined().items() if key in listed and versions | ADDED.get(key, set()) != set(listed[key])}
    assert not wrong


def test_listing_by_name():
    done = subprocess.run([CLI, "operators", "Softmax"], capture_output=True, text=True, timeout=60, check=True)
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["ai.onnx", "Softmax", "1", "11", "13"] in rows
    assert all("Softmax" in row[1] for row in rows[1:])
