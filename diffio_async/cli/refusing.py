"""A command that is refused as a whole: why, to people and to programs."""

import json

import typer

from diffio_async.cli.exit_codes import USAGE


def refuse(error: Exception, *, as_json: bool) -> int:
    """Say why nothing was sent: to people, and to the program that reads stdout."""
    if as_json:
        said = {"error": type(error).__name__, "message": str(error), "exit_code": USAGE}
        typer.echo(json.dumps({"event": "refused", **said}))
    complain(error)
    return USAGE


def complain(error: Exception) -> None:
    """Say it on stderr, in a line."""
    if isinstance(error, OSError) and error.filename:
        typer.echo(f"diffio-async: {error.filename}: {error.strerror}", err=True)
    else:
        typer.echo(f"diffio-async: {error}", err=True)
