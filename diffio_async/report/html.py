"""The HTML file of a report: style, scripts, data and embedded parts in one document."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from importlib import resources
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

#: In the order in which they are loaded; the last one starts the page.
SCRIPTS = (
    *("dom.js", "parts.js", "marks.js", "list.js", "keys.js", "player.js", "pictures.js"),
    *("numbers.js", "transcript.js", "recording.js", "report.js"),
)
STYLE = "page.css"


def write_page(
    file: TextIO,
    data: Mapping[str, Any],
    blocks: Iterable[tuple[str, bytes]] = (),
    *,
    linked: bool = False,
) -> None:
    """Write a report.

    Args:
        file: Receives the document.
        data: The rows of the report and their scales.
        blocks: Ids and contents of the embedded parts. They are read one after the other.
        linked: Allow files beside the page: media, pictures and scripts with details.
    """
    style, scripts = _text(STYLE), [_text(name) for name in SCRIPTS]
    values = {
        "policy": [_policy(style, scripts, linked=linked)],
        "title": [html.escape(f"{data['title']} \u2013 restoration report")],
        "style": [style],
        "data": [_json(data)],
        "scripts": (f"<script>{text}</script>\n" for text in scripts),
        "blocks": _elements(blocks),
    }
    # Names of values are at odd places.
    for index, text in enumerate(re.split(r"\{\{(\w+)\}\}", _text("page.html"))):
        file.writelines(values[text] if index % 2 else [text])


def _text(name: str) -> str:
    return (resources.files("diffio_async.report") / "page" / name).read_text(encoding="utf-8")


def _policy(style: str, scripts: Iterable[str], *, linked: bool) -> str:
    """Return the Content-Security-Policy of a page that loads nothing from a network."""
    beside = ["'self'", "file:"] if linked else []
    policy = {
        "default-src": ["'none'"],
        "script-src": [*map(_hash, scripts), *beside],
        "style-src": [_hash(style)],
        "img-src": ["blob:", *beside],
        "media-src": ["blob:", *beside],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
    }
    return "; ".join(" ".join([name, *sources]) for name, sources in policy.items())


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def _json(data: Mapping[str, Any]) -> str:
    """Return JSON that can be inside a script element: it has no `<` that could end it."""
    return json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _elements(blocks: Iterable[tuple[str, bytes]]) -> Iterator[str]:
    for block, content in blocks:
        encoded = base64.b64encode(content).decode("ascii")
        yield f'<script type="text/plain" id="{html.escape(block)}">{encoded}</script>\n'
