"""A command that is refused as a whole: why, to people and to programs."""

from diffio_async.cli.console import console
from diffio_async.cli.exit_codes import USAGE


def exit_with_usage_error(error: Exception, *, as_json: bool) -> int:
    """Say why nothing was sent: to people, and to the program that reads stdout."""
    if as_json:
        said = {"error": type(error).__name__, "message": str(error), "exit_code": USAGE}
        console.json({"event": "refused", **said})
    print_error(error)
    return USAGE


def print_error(error: Exception | str) -> None:
    """Say it on stderr, in a line."""
    if isinstance(error, OSError) and error.filename:
        console.note(f"diffio-async: {error.filename}: {error.strerror}")
    else:
        console.note(f"diffio-async: {error}")
