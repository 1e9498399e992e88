"""Cost of the import of this package and of the published SDK, in a new process each time.

python benchmarks/imports.py [--rounds 9] [--published PYTHON] [--json FILE]
"""

from __future__ import annotations

import sys
from functools import partial

from harness import Figures, compare, finish, parser, report


def main() -> None:
    """Measure, and print a table."""
    options = parser(__doc__, rounds=9, published=True).parse_args()
    commands = {
        "python alone": (sys.executable, "pass"),
        "aiohttp": (sys.executable, "import aiohttp"),
        "diffio_async": (sys.executable, "from diffio_async import AsyncDiffio"),
    }
    if options.published:
        commands["published"] = (options.published, "from diffio import DiffioClient")

    def run(python: str, program: str) -> Figures:
        return finish(python, "-c", program)[1]

    contenders = {name: partial(run, *command) for name, command in commands.items()}
    for contender in contenders.values():
        contender()  # caches bytecode
    report(compare("import", contenders, rounds=options.rounds, against="diffio_async"), options)


if __name__ == "__main__":
    main()
