"""What `make install` and pip put on a machine, used as a program elsewhere would use it: without the repository's paths."""
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODELS = ROOT / "Examples" / "models"
# The release build is there before these tests; what they call `make` for brings it up to date and no more.
pytestmark = pytest.mark.skipif(
    not (ROOT / ".build" / "release" / "libapus.so").exists(), reason="no release build: run `make build`")


def run(*command, **settings):
    """Runs a program without the variables that would lead it back to the repository; returns what it prints."""
    environment = {name: value for name, value in os.environ.items()
                   if name not in ("PYTHONPATH", "LD_LIBRARY_PATH", "MAKEFLAGS") and not name.startswith("APUS_")}
    environment.update(settings.pop("env", {}))
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=1200, env=environment, **settings)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prefix")
    run("make", "-C", ROOT, "install", f"PREFIX={folder}")
    return folder


def test_installed_command_line(prefix):
    shown = run(prefix / "bin" / "apus", "run", MODELS / "digits_cnn.onnx", "--input", ROOT / "Examples" / "images" / "digit_7.png",
                "--top", "1", "--labels", MODELS / "digits_labels.txt", cwd=prefix)
    assert shown.split()[0] == "seven"


@pytest.mark.parametrize("source, compiler, standard", [
    ("Examples/c/classify.c", "cc", "c11"), ("Examples/cpp/classify.cpp", "c++", "c++17")])
def test_programs_by_pkg_config(prefix, tmp_path, source, compiler, standard):
    if not shutil.which("pkg-config") or not shutil.which(compiler):
        pytest.skip(f"no pkg-config or no {compiler}")
    flags = run("pkg-config", "--cflags", "--libs", "apus", env={"PKG_CONFIG_PATH": str(prefix / "lib" / "pkgconfig")}).split()
    program = tmp_path / "classify"
    run(compiler, f"-std={standard}", ROOT / source, *flags, "-o", program)
    shown = run(program, MODELS / "digits_cnn.onnx", cwd=tmp_path, env={"LD_LIBRARY_PATH": str(prefix / "lib")})
    assert "reads a 3" in shown


def test_pkg_config_states_the_version_of_the_header(prefix):
    stated = re.search(r"^Version: (.*)$", (prefix / "lib" / "pkgconfig" / "apus.pc").read_text(), re.M).group(1)
    header = (prefix / "include" / "apus.h").read_text()
    assert stated.split(".") == [re.search(rf"#define APUS_VERSION_{part} (\d+)", header).group(1) for part in ("MAJOR", "MINOR", "PATCH")]


def test_uninstall_leaves_nothing(tmp_path):
    run("make", "-C", ROOT, "install", f"PREFIX={tmp_path}")
    run("make", "-C", ROOT, "uninstall", f"PREFIX={tmp_path}")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_python_package_carries_its_library(tmp_path):
    """As pip installs it, but without the network: the build's own requirements are those of the tests."""
    pytest.importorskip("setuptools", minversion="77")
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check",
        "-w", tmp_path, ROOT / "bindings" / "python")
    wheel, = tmp_path.glob("apus-*-py3-none-linux_*.whl")
    site = tmp_path / "site"
    run(sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--disable-pip-version-check", "--target", site, wheel)
    assert "reads 99" in run(sys.executable, ROOT / "Examples" / "python" / "classify.py", cwd=tmp_path, env={"PYTHONPATH": str(site)})
    needs = run("ldd", site / "apus" / "lib" / "libapus.so")
    for name in ("libonnx_proto.so", "libprotobuf.so"):
        assert re.search(rf"{re.escape(name)}\S* => {re.escape(str(site))}", needs), needs


# ---- what the README and the guides show


def blocks(page, language):
    """The code blocks of a page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text(), re.M | re.S)


def test_shell_commands_of_the_readme(prefix, tmp_path):
    (tmp_path / "Examples").symlink_to(ROOT / "Examples")
    script, = blocks("README.md", "sh")
    shown = run("sh", "-euxc", script, cwd=tmp_path, env={"PATH": f"{prefix / 'bin'}:{os.environ['PATH']}"})
    assert "seven" in shown and "median" in shown and (tmp_path / "out.npz").exists()


def test_c_program_of_the_readme(prefix, tmp_path):
    program, = blocks("README.md", "c")
    (tmp_path / "digit.c").write_text(program)
    flags = run("pkg-config", "--cflags", "--libs", "apus", env={"PKG_CONFIG_PATH": str(prefix / "lib" / "pkgconfig")}).split()
    run("cc", "-std=c11", "-Wall", "-Wextra", "-Werror", tmp_path / "digit.c", *flags, "-o", tmp_path / "digit")
    shown = run(tmp_path / "digit", cwd=ROOT, env={"LD_LIBRARY_PATH": str(prefix / "lib")})
    assert len(shown.splitlines()) == 10


@pytest.mark.parametrize("page, shown", [("README.md", "0.99"), ("docs/python.md", "")])
def test_python_of_the_guides(prefix, tmp_path, page, shown):
    (tmp_path / "Examples").symlink_to(ROOT / "Examples")
    parts = blocks(page, "python")
    assert parts
    assert shown in run(sys.executable, "-c", "\n".join(parts), cwd=tmp_path,
               env={"PYTHONPATH": str(ROOT / "bindings" / "python"), "APUS_LIBRARY": str(prefix / "lib" / "libapus.so")})


def test_links_of_the_guides():
    pages = ["README.md", "Examples/models/README.md", *(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md"))]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)\)", (ROOT / page).read_text()):
            assert (ROOT / page).parent.joinpath(target).exists(), f"{page}: {target}"


@pytest.mark.parametrize("network", ["digits_cnn", "digits_transformer"])
def test_first_difference(prefix, network):
    pytest.importorskip("onnxruntime")
    settings = dict(cwd=ROOT, env={"PYTHONPATH": str(ROOT / "bindings" / "python"), "APUS_LIBRARY": str(prefix / "lib" / "libapus.so")})
    tool = ROOT / "Examples" / "python" / "first_difference.py"
    assert "nodes agree" in run(sys.executable, tool, MODELS / f"{network}.onnx", MODELS / "inputs.npz", **settings)
    # Nothing is equal to the last bit: where the tolerance is nought, the program names a node.
    with pytest.raises(AssertionError, match="relative error"):
        run(sys.executable, tool, MODELS / f"{network}.onnx", "--tolerance", "0", **settings)
