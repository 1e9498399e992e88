"""`python -m diffio_async._codegen --write` or `--check`."""

from __future__ import annotations

import argparse
import difflib
import sys

from diffio_async._codegen.outputs import outputs


def main() -> int:
    """Write the facades, or say how they differ from what is due; 1 where they do."""
    parser = argparse.ArgumentParser(prog="python -m diffio_async._codegen", description=__doc__)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--write", action="store_true", help="write the facades")
    mode.add_argument("--check", action="store_true", help="fail where they are out of date")
    writes = parser.parse_args().write
    stale = 0
    for path, due in outputs().items():
        present = path.read_text(encoding="utf-8") if path.exists() else ""
        if present == due:
            continue
        stale += 1
        if writes:
            path.write_text(due, encoding="utf-8")
        else:
            lines = difflib.unified_diff(
                present.splitlines(), due.splitlines(), f"{path} (present)", "due", lineterm=""
            )
            sys.stderr.write("\n".join(lines) + "\n")
    if stale and not writes:
        sys.stderr.write("out of date: run python -m diffio_async._codegen --write\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
