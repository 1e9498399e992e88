"""Output of a notebook's cell that is updated in place."""

from __future__ import annotations

import html
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_REFRESH_SECONDS = 0.4
_COLUMNS = 100


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return getattr(shell, "kernel", None) is not None


class UpdatedOutput:
    """One output of the cell that runs; each `show` replaces it. Elsewhere, nothing is shown."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, text: str, markup: str) -> None:
        """Show plain text and HTML for it."""
        if not in_notebook():
            return
        content = {"text/plain": text, "text/html": markup}
        if self._handle is None:
            self._handle = sys.modules["IPython"].display.display(
                content, raw=True, display_id=True
            )
        else:
            self._handle.update(content, raw=True)


@contextmanager
def live_output(lines: Callable[[int], list[str]]) -> Iterator[None]:
    """Show refreshed lines in the output of the cell during the body, and the last ones after it.

    Args:
        lines: Returns the current lines for a number of columns; called by another thread.
    """
    output, ended = UpdatedOutput(), threading.Event()

    def show() -> None:
        text = "\n".join(lines(_COLUMNS))
        output.show(text, f"<pre>{html.escape(text)}</pre>")

    def run() -> None:
        while not ended.wait(_REFRESH_SECONDS):
            show()

    # The output belongs to the cell that runs: it is created here, and only updated by the thread.
    show()
    thread = threading.Thread(target=run, name="notebook", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        show()
