"""Run the commands of a page like a reader: its tagged blocks in order, each in its terminal.

`sh terminal=NAME` is typed into that terminal, a shell on a pseudo-terminal; with `keeps-running`
its last line runs until Ctrl-C, which is pressed at the end. `text terminal=NAME` is what is shown
there by then, line by line, where `…` stands for anything. Run as `python -m tests.terminals PAGE`,
in the folder where the reader works.
"""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import sys
import time
from pathlib import Path

_BLOCK = re.compile(
    r"^```(sh|text) terminal=(\w+)( keeps-running)?\n(.*?)^```$", re.MULTILINE | re.DOTALL
)

_ENDED = re.compile(r"<ended (\d+)>")
#: Time limit of each step, in seconds.
SECONDS = 60.0


def flow(page: Path) -> list[tuple[str, str, bool, str]]:
    """Return the tagged blocks of a page: language, terminal, whether it keeps running, text."""
    found = _BLOCK.findall(page.read_text(encoding="utf-8"))
    return [(kind, name, bool(keeps), text) for kind, name, keeps, text in found]


class Terminal:
    """A shell on a pseudo-terminal, and its output."""

    def __init__(self) -> None:
        self.shown = ""
        self.busy = False
        self._pid, self._file = pty.fork()
        if self._pid == 0:
            # Background jobs ignore SIGINT, and the shell would inherit that.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
        self.type("PS1= PS2=; stty -echo")

    def type(self, text: str) -> None:
        """Type text and a newline."""
        os.write(self._file, text.encode() + b"\n")

    def run(self, text: str) -> None:
        """Run lines, and wait for their end.

        Raises:
            AssertionError: The last command failed.
        """
        before = len(_ENDED.findall(self.shown))
        self.type(text.rstrip("\n") + '\nprintf "<ended %s>\\n" "$?"')
        self._until(lambda: len(_ENDED.findall(self.shown)) > before, text)
        assert _ENDED.findall(self.shown)[-1] == "0", self.shown

    def show(self, text: str) -> None:
        """Wait until these lines are shown, possibly with others between them."""
        lines = [re.escape(line).replace("…", ".*") for line in text.splitlines() if line.strip()]
        wanted = re.compile(r"[^\n]*\n(?:.*\n)*?[^\n]*".join(lines))
        self._until(lambda: wanted.search(self.shown.replace("\r", "")) is not None, text)

    def interrupt(self) -> None:
        """Press Ctrl-C, and check that the exit code is 0."""
        os.write(self._file, b"\x03")
        self.run("(exit $?)")

    def close(self) -> None:
        """Close the terminal."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGHUP)
        os.close(self._file)
        os.waitpid(self._pid, 0)

    def _until(self, condition: object, what: str) -> None:
        end = time.monotonic() + SECONDS
        assert callable(condition)
        while not condition():
            left = end - time.monotonic()
            assert left > 0, f"expected:\n{what}\nshown:\n{self.shown}"
            if select.select([self._file], [], [], left)[0]:
                self.shown += os.read(self._file, 65536).decode(errors="replace")


def main(page: Path) -> None:
    """Run the flow of a page."""
    terminals: dict[str, Terminal] = {}
    try:
        for kind, name, keeps_running, text in flow(page):
            terminal = terminals.get(name) or terminals.setdefault(name, Terminal())
            if kind == "text":
                terminal.show(text)
            elif keeps_running:
                terminal.type(text.rstrip("\n"))
                terminal.busy = True
            else:
                terminal.run(text)
        for terminal in reversed(terminals.values()):
            if terminal.busy:
                terminal.interrupt()
    finally:
        for terminal in terminals.values():
            terminal.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
