"""Reference of the command line as Markdown, from the commands themselves."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import typer
from typer.main import get_command

from diffio_async.cli.app import app

if TYPE_CHECKING:
    from collections.abc import Iterator


def commands() -> Iterator[tuple[str, Any, Any]]:
    """Return each command with its full name and its context, groups before their commands."""
    pending = [("diffio-async", get_command(app), None)]
    while pending:
        name, command, parent = pending.pop(0)
        context = typer.Context(command, info_name=name.rpartition(" ")[2], parent=parent)
        yield name, command, context
        pending[:0] = [
            (f"{name} {each.name}", each, context)
            for each in getattr(command, "commands", {}).values()
        ]


def options(command: Any, context: Any) -> list[tuple[str, str]]:
    """Return arguments and options as the help shows them: spelling, and description."""
    shown = command.get_params(context)
    records = [each.get_help_record(context) for each in shown if "--help" not in each.opts]
    # Typer adds the Python type to the name of an argument.
    return [
        (re.sub(r" <(list\[)?str\]?>$", "", name), text) for name, text in filter(None, records)
    ]


def command_reference() -> str:
    """Return one section for each command: usage, description, options, exit codes."""
    return "\n".join(line for each in commands() for line in _section(*each))


def _section(name: str, command: Any, context: Any) -> Iterator[str]:
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield from (f"## {name}", "", "```text", usage, "```", "")
    yield from ((command.help or "").replace("\b\n", ""), "")
    rows = options(command, context)
    if rows:
        yield from ("| option | meaning |", "|---|---|")
        yield from (f"| {_code(spelling)} | {_cell(text)} |" for spelling, text in rows)
        yield ""
    if command.epilog:
        yield from (_cell(command.epilog), "")


def _code(text: str) -> str:
    escaped = text.replace("|", "\\|")
    return f"`{escaped}`"


def _cell(text: str) -> str:
    # Markdown would take these for markup.
    return re.sub(r"[\\*|\[]", r"\\\g<0>", text).replace("  \\[", " \\[")
