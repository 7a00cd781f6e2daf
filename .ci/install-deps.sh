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
if ! command -v python3 >/dev/null 2>&1; then missing="$missing python3"; fi
if [ "${1:-build}" = test ]; then
    if ! python3 -c 'import venv, ensurepip' >/dev/null 2>&1; then missing="$missing python3-venv"; fi
    if ! command -v pkg-config >/dev/null 2>&1; then missing="$missing pkg-config"; fi
fi

if [ -n "$missing" ]; then
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "Please install with your package manager what these Debian packages hold:$missing" >&2
        exit 1
    fi
    root=
    if [ "$(id -u)" -ne 0 ]; then root=sudo; fi
    echo "installing$missing"
    $root apt-get update -q
    # shellcheck disable=SC2086
    $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
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
