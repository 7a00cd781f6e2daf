#!/usr/bin/env python3
"""Compiles the kernels for 64-bit Arm and runs their tests under qemu-user, on CPUs with and without the dot products.

The C compiler must be clang with lld (as Swift's toolchain has them); headers and libraries come from Debian's
libc6-dev-arm64-cross, the emulator from qemu-user. Without them nothing runs, and that counts as one skipped test.

What is checked: every kernel against the generic one (harness.c and the files beside it), the levels that are found on
three kinds of CPU, what is chosen under every cap, and that integer kernels give the same bits as on this machine.
The last line printed is `N passed, N failed` (and `, N skipped`).
"""

import argparse
import concurrent.futures
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
KERNELS = ROOT / "Sources" / "CApusKernels"
TESTS = ROOT / "Tests" / "Arm"
OUT = ROOT / "build" / "tests" / "arm"
CROSS = pathlib.Path("/usr/aarch64-linux-gnu")
TARGET = "--target=aarch64-linux-gnu"
# What each CPU must be found to have.
CPUS = {
    "cortex-a53": ["generic", "neon"],
    "cortex-a76": ["generic", "neon", "neondot"],
    "max": ["generic", "neon", "neondot", "neoni8mm"],
}
# What is chosen on the best CPU under each cap: for integer products, and for everything else.
CAPS = {
    "generic": ("generic", "generic"), "neon": ("neon", "neon"), "neondot": ("neondot", "neon"),
    "neoni8mm": ("neoni8mm", "neon"), None: ("neoni8mm", "neon"), "avx512vnni": ("generic", "generic"),
}
PRODUCTS = ("qgemm", "qblocks")
INTEGER_FAMILIES = ["qgemm", "qwinograd", "qdepthwise", "qelementwise", "quantize", "half"]
LIMIT = 600


def missing(cc):
    """What this machine lacks, or None."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return "an x86-64 machine (on others the Swift tests run their kernels)"
    for tool in (cc, "ld.lld", "qemu-aarch64"):
        if not shutil.which(tool):
            return tool
    if not (CROSS / "lib" / "crt1.o").exists():
        return "libc6-dev-arm64-cross"
    probe = subprocess.run([cc, TARGET, "-x", "c", "-fsyntax-only", os.devnull], capture_output=True)
    return None if probe.returncode == 0 else f"a {cc} that compiles for Arm"


def compile_all(cc, folder, sources, flags):
    """Objects of the sources, made again where a source or any header is newer. None if one does not compile."""
    folder.mkdir(parents=True, exist_ok=True)
    shared = max(path.stat().st_mtime for place in (KERNELS, TESTS) for path in place.rglob("*")
                 if path.suffix in (".h", ".def", ".py"))

    def one(source):
        target = folder / (source.stem + ".o")
        if target.exists() and target.stat().st_mtime > max(shared, source.stat().st_mtime):
            return target
        command = [cc, *flags, "-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Wno-unused-function", "-Werror",
                   f"-I{KERNELS / 'include'}", "-c", source, "-o", target]
        done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            print(f"✘ {source.relative_to(ROOT)} does not compile\n{done.stdout}", flush=True)
            target.unlink(missing_ok=True)
        return target if done.returncode == 0 else None

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(one, sources))
    return objects if all(objects) else None


def build(cc):
    """The test for Arm, and that of the integer families for this machine. None for what cannot be built."""
    tests = sorted(TESTS.glob("*.c"))
    kernels = sorted(KERNELS.rglob("*.c"))
    objects = compile_all(cc, OUT / "aarch64", kernels + tests, [TARGET, "-isystem", CROSS / "include"])
    host = compile_all(
        cc, OUT / "host",
        [path for path in kernels if path.parent.name in INTEGER_FAMILIES + ["cpu"]] + [TESTS / "harness.c", TESTS / "integers.c"],
        ["-DAPUS_INTEGERS_ONLY"])
    library = CROSS / "lib"
    # Without a compiler's own start files and run-time library: Debian has those only with a whole cross gcc.
    links = {
        OUT / "kernels-aarch64": objects and [
            cc, TARGET, "-fuse-ld=lld", "-nostdlib", "-no-pie", "-Wl,--dynamic-linker=/lib/ld-linux-aarch64.so.1",
            library / "crt1.o", library / "crti.o", *objects, f"-L{library}", "-lm", "-lc", library / "crtn.o"],
        OUT / "integers-host": host and [cc, *host, "-lm"],
    }
    for program, command in links.items():
        if not command or subprocess.run([str(part) for part in [*command, "-o", program]]).returncode:
            return None
    return list(links)


def run(program, cpu, *arguments, cap=None):
    """Exit status and lines of a program, emulated if a CPU is named."""
    environment = {name: value for name, value in os.environ.items() if name != "APUS_CPU"}
    if cap:
        environment["APUS_CPU"] = cap
    emulator = ["qemu-aarch64", "-L", CROSS, "-cpu", cpu] if cpu else []
    try:
        done = subprocess.run([str(part) for part in [*emulator, program, *arguments]], env=environment, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace", timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return 124, [f"stopped after {LIMIT} s"]
    return done.returncode, done.stdout.splitlines()


def digests(lines):
    return dict(line.split()[1:] for line in lines if line.startswith("digest "))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cc", default="clang")
    cc = parser.parse_args().cc
    lack = missing(cc)
    if lack:
        print(f"the kernels for Arm are not tested here: there is no {lack}")
        print("0 passed, 0 failed, 1 skipped")
        return 0
    programs = build(cc)
    if programs is None:
        print("0 passed, 1 failed")
        return 1
    for_arm, for_host = programs
    passed = failed = 0

    def judge(what, good):
        nonlocal passed, failed
        passed, failed = passed + bool(good), failed + (not good)
        if not good:
            print(f"✘ {what}", flush=True)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        here = pool.submit(run, for_host, None)
        everything = {cpu: pool.submit(run, for_arm, cpu) for cpu in reversed(CPUS)}
        levels = {cpu: pool.submit(run, for_arm, cpu, "levels") for cpu in CPUS}
        choices = {cap: pool.submit(run, for_arm, "max", "select", cap=cap) for cap in CAPS}
    for cpu, found in levels.items():
        judge(f"{cpu} has {found.result()[1]}, not {CPUS[cpu]}", found.result() == (0, CPUS[cpu]))
    for cap, chosen in choices.items():
        products, rest = CAPS[cap]
        families = dict(line.split() for line in chosen.result()[1])
        wrong = {name: level for name, level in families.items() if level != (products if name in PRODUCTS else rest)}
        judge(f"under APUS_CPU={cap} these are wrong: {wrong}", families and not wrong and chosen.result()[0] == 0)
    want = digests(here.result()[1])
    judge("the integer kernels of this machine pass their tests: " + "\n".join(here.result()[1]), here.result()[0] == 0)
    for cpu, done in everything.items():
        status, lines = done.result()
        counts = re.fullmatch(r"(\d+) passed, (\d+) failed", lines[-1] if lines else "")
        print("\n".join(f"{cpu}: {line}" for line in lines if not line.startswith("digest ")), flush=True)
        if counts:
            passed, failed = passed + int(counts[1]), failed + int(counts[2])
        judge(f"{cpu}: ended with status {status}", counts and (status != 0) == (int(counts[2]) > 0))
        got = digests(lines)
        for family in INTEGER_FAMILIES:
            judge(f"{cpu}: {family} gives other bits than here", family in want and got.get(family) == want[family])
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
