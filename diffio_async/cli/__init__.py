"""The command line `diffio-async`, installed with the extra `cli`."""

import signal
import sys

#: Exit codes. Succeeded.
OK = 0
#: At least one file or generation failed; each failure was reported.
FAILED = 1
#: Wrong usage or configuration; nothing was sent.
USAGE = 2
#: 128 and the signal number, as shells report it: Ctrl-C (130), SIGTERM (143), SIGHUP (129).
INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM
HUNG_UP = 128 + 1


def main() -> None:
    """Run the command line. If the extra is not installed, print how to install it."""
    try:
        from diffio_async.cli.app import app
        from diffio_async.cli.command import console

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
