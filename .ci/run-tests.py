#!/usr/bin/env python3
"""Runs every test suite of the repository, streams what they print, and adds up their counts.

The last line printed is `N passed, N failed` (and `, N skipped` where there were any). A suite that crashes, hangs,
reports no count or fails to build is at least one failure: no result is ever taken for a good one.

  .ci/run-tests.py --library .build/release/libapus.so --cli .build/release/apus-cli [--only NAME,...]

Suites, by name:
  swift     every Swift test, kernels included (builds them first), and the Swift example
  header    include/apus.h alone as C11 and C++17; the library's exported symbols against it; what it needs; its size
  programs  the C and C++ programs of Examples and Tests/ABI: built without a warning, run, exit status judged
  arm       the kernels for 64-bit Arm, cross-compiled and run under qemu-user (skipped where that is not installed)
  python    pytest over bindings/python, Tests/CLI and Tests/Install, and the Python example
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "tests"
# The exit status by which a program says that it cannot run here (as in automake and many other harnesses).
SKIPPED = 77
# What libapus.so may need at run time, directly or not; and how large it may be without symbols, in bytes.
NEEDED = {"libonnx_proto.so", "libprotobuf.so", "libz.so", "libstdc++.so", "libgcc_s.so", "libm.so", "libc.so"}
LARGEST = 12_000_000


class Tally:
    """Counts of one or more suites."""

    def __init__(self, passed=0, failed=0, skipped=0):
        self.passed, self.failed, self.skipped = passed, failed, skipped

    def __iadd__(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        return self

    def __str__(self):
        return f"{self.passed} passed, {self.failed} failed" + (f", {self.skipped} skipped" if self.skipped else "")


def run(command, limit, keep=None, **environment):
    """Runs a command, passing its output on as it comes. Returns its exit status, negative for a signal, 124 for a hang.

    `keep` is a predicate for the lines to pass on; a failing command's last 60 other lines are printed too.
    """
    print("$", " ".join(str(part) for part in command), flush=True)
    process = subprocess.Popen(
        [str(part) for part in command], cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, errors="replace")
    hung = threading.Event()

    def stop():
        hung.set()
        process.kill()

    timer = threading.Timer(limit, stop)
    timer.start()
    held = []
    try:
        for line in process.stdout:
            if keep is None or keep(line):
                print(line, end="", flush=True)
            else:
                held = held[-59:] + [line]
        status = process.wait()
    finally:
        timer.cancel()
    if hung.is_set():
        print(f"stopped after {limit} s", flush=True)
        status = 124
    if status not in (0, SKIPPED) and held:
        print("".join(held), end="", flush=True)
    return status


def junit(path, status):
    """The counts of a JUnit file, which a crashed suite did not write; `status` is the suite's exit status."""
    tally = Tally()
    try:
        for suite in xml.etree.ElementTree.parse(path).getroot().iter("testsuite"):
            count = lambda name: int(suite.get(name) or 0)
            failed = count("failures") + count("errors")
            tally += Tally(count("tests") - failed - count("skipped"), failed, count("skipped"))
    except (OSError, xml.etree.ElementTree.ParseError, ValueError) as error:
        print(f"no readable result: {error}", flush=True)
    if tally.passed + tally.failed == 0 or (status != 0 and tally.failed == 0):
        tally.failed += 1
    return tally


def swift(arguments):
    if run(["swift", "build", "--build-tests"], 1500, lambda line: re.search(r"error|warning|Compiling|Build", line)):
        return Tally(failed=1)
    tally = Tally()
    # Some tests ask onnxruntime.
    python = shutil.which(arguments.python) or arguments.python
    result = OUT / "swift.xml"
    actual = OUT / "swift-swift-testing.xml"
    actual.unlink(missing_ok=True)
    # One line per test would bury the failures.
    status = run(["swift", "test", "--skip-build", "--xunit-output", result], 1200,
                 lambda line: "✘" in line or "Test run with" in line or "skipped" in line or "error:" in line,
                 APUS_PYTHON=str(pathlib.Path(python).absolute()))
    tally += junit(actual, status)
    status = run([".build/debug/ClassifyDigit"], 120)
    tally += Tally(passed=1) if status == 0 else Tally(failed=1)
    return tally


def exported(library):
    """The names that a shared library defines for others."""
    listing = subprocess.run(["nm", "-D", "-g", "--defined-only", library], capture_output=True, text=True, check=True).stdout
    return {line.split()[-1] for line in listing.splitlines() if line.split()[-2] != "A"}


def needed(library):
    """The libraries that a shared library needs, directly or not, without their versions; not the loader's own parts."""
    listing = subprocess.run(["ldd", library], capture_output=True, text=True, check=True).stdout
    names = {line.split()[0] for line in listing.splitlines() if line.strip()}
    return {re.sub(r"\.so\b.*", ".so", name) for name in names if not name.startswith(("linux-vdso", "/"))}


def header(arguments):
    tally = Tally()

    def judge(what, good):
        print(what if good else f"✘ {what}", flush=True)
        return Tally(passed=1) if good else Tally(failed=1)

    unit = OUT / "header.c"
    unit.write_text('#include "apus.h"\n')
    for language, standard in (("c", "c11"), ("c++", "c++17")):
        status = run([arguments.cc, "-x", language, f"-std={standard}", "-Wall", "-Wextra", "-pedantic", "-Werror",
                      "-Iinclude", "-fsyntax-only", unit], 60)
        tally += Tally(passed=1) if status == 0 else Tally(failed=1)
    declared = set(subprocess.run(
        [sys.executable, ROOT / "bindings" / "c" / "exported-names.py"], capture_output=True, text=True, check=True).stdout.split())
    symbols = exported(arguments.library)
    for name in sorted(declared ^ symbols):
        print(f"{name}: " + ("declared in apus.h but not exported" if name in declared else "exported but not declared"))
    tally += judge(f"apus.h declares {len(declared)} functions, the library exports {len(symbols)}", declared == symbols and declared)
    libraries = needed(arguments.library)
    tally += judge(f"the library needs {', '.join(sorted(libraries))}", libraries == NEEDED)
    stripped = OUT / "libapus-stripped.so"
    subprocess.run(["strip", "--strip-unneeded", "-o", stripped, arguments.library], check=True)
    size = stripped.stat().st_size
    tally += judge(f"the library without symbols has {size:,} bytes of at most {LARGEST:,}", size <= LARGEST)
    return tally


def programs(arguments):
    tally = Tally()
    sources = sorted(path for folder in ("Examples/c", "Examples/cpp", "Tests/ABI")
                     for pattern in ("*.c", "*.cpp") for path in (ROOT / folder).glob(pattern))
    library = pathlib.Path(arguments.library).resolve().parent
    for source in sources:
        binary = OUT / source.stem
        is_c = source.suffix == ".c"
        build = [arguments.cc if is_c else arguments.cxx, "-std=c11" if is_c else "-std=c++17", "-O1", "-Wall", "-Wextra",
                 "-pedantic", "-Werror", "-Iinclude", source, "-o", binary, f"-L{library}", "-lapus", "-lm", "-pthread",
                 f"-Wl,-rpath,{library}"]
        if run(build, 120):
            tally += Tally(failed=1)
            continue
        status = run([binary], 300)
        print(f"{source.relative_to(ROOT)}: exit status {status}", flush=True)
        tally += Tally(skipped=1) if status == SKIPPED else Tally(passed=1) if status == 0 else Tally(failed=1)
    return tally if sources else Tally(failed=1)


def arm(arguments):
    """Tests/Arm/run.py, whose last line holds its counts."""
    lines = []

    def keep(line):
        lines.append(line)
        return True

    status = run([sys.executable, "Tests/Arm/run.py", "--cc", arguments.cc], 1200, keep)
    counts = re.fullmatch(r"(\d+) passed, (\d+) failed(?:, (\d+) skipped)?\s*", lines[-1]) if lines else None
    if counts is None:
        return Tally(failed=1)
    tally = Tally(*(int(count or 0) for count in counts.groups()))
    if (status != 0) != (tally.failed > 0):
        tally.failed += 1
    return tally


def python(arguments):
    result = OUT / "pytest.xml"
    result.unlink(missing_ok=True)
    folders = [folder for folder in ("bindings/python/tests", "Tests/CLI", "Tests/Install") if (ROOT / folder).is_dir()]
    if not folders:
        print("no Python tests found")
        return Tally(failed=1)
    tally = Tally()
    path = os.pathsep.join(filter(None, [str(ROOT / "bindings" / "python"), os.environ.get("PYTHONPATH")]))
    environment = dict(
        PYTHONPATH=path, PYTHONDONTWRITEBYTECODE="1", APUS_LIBRARY=str(pathlib.Path(arguments.library).resolve()),
        APUS_CLI=str(pathlib.Path(arguments.cli).resolve()))
    status = run([arguments.python, "-m", "pytest", "-q", "-rs", "--tb=short", "-p", "no:cacheprovider",
                  "--import-mode=importlib",
                  f"--junitxml={result}", *folders], 1800, **environment)
    tally += junit(result, status)
    status = run([arguments.python, "Examples/python/classify.py"], 120, **environment)
    tally += Tally(passed=1) if status == 0 else Tally(failed=1)
    return tally


SUITES = {"header": header, "programs": programs, "arm": arm, "python": python, "swift": swift}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", required=True, help="the release libapus.so")
    parser.add_argument("--cli", required=True, help="the release apus-cli")
    parser.add_argument("--python", default=sys.executable, help="an interpreter with Tests/requirements.txt installed")
    parser.add_argument("--cc", default="clang")
    parser.add_argument("--cxx", default="clang++")
    parser.add_argument("--only", help="some suites, separated by commas")
    arguments = parser.parse_args()
    chosen = arguments.only.split(",") if arguments.only else list(SUITES)
    OUT.mkdir(parents=True, exist_ok=True)
    total, lines = Tally(), []
    for name in chosen:
        print(f"\n== {name}", flush=True)
        start = time.monotonic()
        try:
            tally = SUITES[name](arguments)
        except (OSError, subprocess.SubprocessError) as error:
            print(f"{name}: {error}", flush=True)
            tally = Tally(failed=1)
        total += tally
        lines.append(f"{name:9} {tally}   ({time.monotonic() - start:.0f} s)")
    print("\n" + "\n".join(lines))
    (OUT / "tally").write_text(f"{total}\n")
    print(total, flush=True)
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
