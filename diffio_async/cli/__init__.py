"""The command `diffio-async`, behind the extra `cli`."""

import sys

from diffio_async.cli.exit_codes import INTERRUPTED, USAGE


def main() -> None:
    """Run the command line; a missing extra is named instead of a traceback."""
    try:
        from diffio_async.cli.app import app
        from diffio_async.cli.console import console

        try:
            app()
        finally:
            console.close()
    except ModuleNotFoundError as missing:
        if missing.name not in {"rich", "typer"}:
            raise
        sys.stderr.write(
            f"diffio-async: {missing.name} is not installed; the command line is an extra: "
            "pip install 'diffio-async[cli]'\n"
        )
        sys.exit(USAGE)
    except KeyboardInterrupt:
        # Pressed before a command had begun to listen for it.
        sys.exit(INTERRUPTED)
