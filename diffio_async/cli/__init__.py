"""The command line `diffio-async`, installed with the extra `cli`."""

import sys

from diffio_async.cli.console import INTERRUPTED, USAGE, console


def main() -> None:
    """Run the command line. If the extra is not installed, print how to install it."""
    try:
        from diffio_async.cli.app import app

        try:
            app()
        finally:
            console.close()
    except ModuleNotFoundError as error:
        if error.name not in {"rich", "typer"}:
            raise
        sys.stderr.write(
            f"diffio-async: {error.name} is not installed; install the command line with "
            "pip install 'diffio-async[cli]'\n"
        )
        sys.exit(USAGE)
    except KeyboardInterrupt:
        # Ctrl-C before the command installed its signal handler.
        sys.exit(INTERRUPTED)
