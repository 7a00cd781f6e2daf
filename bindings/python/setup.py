"""Builds libapus with the repository's Makefile, and packs it with the libraries beside it that a system may not have.

The wheel suits any Python 3 on machines of this kind: the package loads the library by ctypes.
"""
import pathlib
import shutil
import subprocess
import sys

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIBRARY = ROOT / ".build" / "release" / "libapus.so"
# libapus looks for what it needs beside itself first ($ORIGIN); the rest is part of every Linux system.
CARRIED = ("libonnx_proto.so", "libprotobuf.so")


def version():
    if not (ROOT / "Makefile").exists():
        sys.exit("apus is built from a checkout of its repository, of which this folder is a part")
    names = ROOT / "bindings" / "c" / "exported-names.py"
    return subprocess.run([sys.executable, names, "--version"], check=True, capture_output=True, text=True).stdout.strip()


class BuildLibrary(build_py):
    """Adds apus/lib to the package."""

    def run(self):
        subprocess.run(["make", "-C", ROOT, "library"], check=True)
        super().run()
        if self.editable_mode:
            return  # The package in the repository finds the release build.
        target = pathlib.Path(self.build_lib) / "apus" / "lib"
        target.mkdir(parents=True, exist_ok=True)
        for path in [LIBRARY, *self.carried()]:
            copy = target / path.name
            shutil.copyfile(path, copy)
            subprocess.run(["strip", "--strip-unneeded", copy], check=True)

    def carried(self):
        listing = subprocess.run(["ldd", LIBRARY], check=True, capture_output=True, text=True).stdout
        found = dict(line.split()[0:3:2] for line in listing.splitlines() if " => /" in line)
        paths = [pathlib.Path(path) for name, path in found.items() if name.startswith(CARRIED)]
        if len(paths) != len(CARRIED):
            sys.exit(f"of {', '.join(CARRIED)} were found only {', '.join(map(str, paths)) or 'none'}")
        return paths


class PlatformWheel(bdist_wheel):
    """A wheel for this platform, for any Python 3."""

    def finalize_options(self):
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self):
        return "py3", "none", super().get_tag()[2]


scratch = ROOT / "build" / "python"
shutil.rmtree(scratch, ignore_errors=True)  # setuptools would pack what an earlier build left there.
scratch.mkdir(parents=True)
setup(version=version(), cmdclass={"build_py": BuildLibrary, "bdist_wheel": PlatformWheel},
      options={"build": {"build_base": str(scratch)}, "egg_info": {"egg_base": str(scratch)}})
