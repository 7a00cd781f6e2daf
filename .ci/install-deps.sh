#!/bin/sh
# Installs what is missing of the system packages that the build needs, and for tests a virtual environment.
#
#   .ci/install-deps.sh build    compilers' libraries only
#   .ci/install-deps.sh test     and .venv with Tests/requirements.txt
#
# Does nothing, and asks for no rights, where everything is there.
set -eu
cd "$(dirname "$0")/.."

if ! command -v swift >/dev/null 2>&1; then
    echo "Swift 6.3 or later is needed: https://www.swift.org/install/linux" >&2
    exit 1
fi

# package : a file that shows it is there, for systems where it came in another way
missing=
while read -r package file; do
    dpkg -s "$package" >/dev/null 2>&1 && continue
    found=
    for place in /usr/include /usr/local/include "/usr/include/$(uname -m)-linux-gnu"; do
        if [ -e "$place/$file" ]; then found=yes; fi
    done
    if [ -z "$found" ]; then missing="$missing $package"; fi
done <<EOF
libonnx-dev onnx/onnx_pb.h
libprotobuf-dev google/protobuf/message.h
libpng-dev png.h
libturbojpeg0-dev turbojpeg.h
zlib1g-dev zlib.h
EOF
if ! command -v ld.bfd >/dev/null 2>&1; then missing="$missing binutils"; fi
if ! command -v python3 >/dev/null 2>&1; then missing="$missing python3"; fi
if [ "${1:-build}" = test ]; then
    if ! python3 -c 'import venv, ensurepip' >/dev/null 2>&1; then missing="$missing python3-venv"; fi
    if ! command -v pkg-config >/dev/null 2>&1; then missing="$missing pkg-config"; fi
fi

# Debian packages, by their names. Stops at the first failure whatever the caller makes of the status.
install_packages() {
    root=
    if [ "$(id -u)" -ne 0 ]; then root=sudo; fi
    echo "installing $*"
    $root apt-get update -q &&
        $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"
}

if [ -n "$missing" ]; then
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "Please install with your package manager what these Debian packages hold:$missing" >&2
        exit 1
    fi
    # shellcheck disable=SC2086
    install_packages $missing
fi

# The kernels for Arm are tested in an emulator where there is one; without it that suite is skipped.
if [ "${1:-build}" = test ] && [ "$(uname -m)" = x86_64 ] && command -v apt-get >/dev/null 2>&1; then
    missing=
    if ! command -v qemu-aarch64 >/dev/null 2>&1; then missing="$missing qemu-user"; fi
    if [ ! -e /usr/aarch64-linux-gnu/lib/crt1.o ]; then missing="$missing libc6-dev-arm64-cross"; fi
    if [ -n "$missing" ]; then
        # shellcheck disable=SC2086
        install_packages $missing || echo "the kernels for Arm will not be tested: these could not be installed:$missing" >&2
    fi
fi

if [ "${1:-build}" = test ]; then
    stamp=.venv/requirements.txt
    if ! cmp -s Tests/requirements.txt "$stamp"; then
        rm -rf .venv
        python3 -m venv .venv
        if .venv/bin/python -m pip install -q --disable-pip-version-check -r Tests/requirements.txt; then
            cp Tests/requirements.txt "$stamp"
        else
            echo "pip could not install Tests/requirements.txt: the tests run with what this system has of it" >&2
            python3 -m venv --clear --system-site-packages .venv
        fi
    fi
fi
