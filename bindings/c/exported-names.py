#!/usr/bin/env python3
"""Lists the functions that include/apus.h declares, the one place that says what libapus.so exports.

  exported-names.py                    one name per line
  exported-names.py --version-script   a linker version script that exports these names and hides all others
  exported-names.py --version          the version the header states, as 1.2.3
"""

import pathlib
import re
import sys

HEADER = pathlib.Path(__file__).resolve().parents[2] / "include" / "apus.h"


def main():
    raw = HEADER.read_text()
    if "--version" in sys.argv:
        parts = [re.search(rf"#define\s+APUS_VERSION_{part}\s+(\d+)", raw) for part in ("MAJOR", "MINOR", "PATCH")]
        if None in parts:
            sys.exit("apus.h states no version")
        print(".".join(part.group(1) for part in parts))
        return
    code = re.sub(r"/\*.*?\*/|//[^\n]*", " ", raw, flags=re.S)
    code = re.sub(r"^\s*#(?:[^\n\\]|\\.|\\\n)*", " ", code, flags=re.M)
    # A declaration reaches from its APUS_API mark to the semicolon; its own name is the first one that opens a parenthesis.
    names = sorted(set(re.findall(r"\bAPUS_API\b[^;{}]*?\b(apus_\w+)\s*\(", code)))
    if not names:
        sys.exit("apus.h declares no functions")
    if "--version-script" in sys.argv:
        print("{\n  global:\n" + "".join(f"    {name};\n" for name in names) + "  local: *;\n};")
    else:
        print("\n".join(names))


if __name__ == "__main__":
    main()
