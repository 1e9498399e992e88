"""Handles: a generation's ids as one small string, to be kept and waited on elsewhere."""

from __future__ import annotations

import re

#: What every handle begins with; the number is that of its format.
PREFIX = "dgh1."
#: Characters of a handle, and of one that is shown.
_LONGEST, _SHOWN = 10_000, 200
_RESERVED = re.compile(rb"[^A-Za-z0-9_-]")
_ESCAPED = r"((?:[A-Za-z0-9_-]|~[0-9a-f]{2})+)"
_HANDLE = re.compile(rf"{re.escape(PREFIX)}{_ESCAPED}\.{_ESCAPED}")


def handle_of(generation_id: str, api_project_id: str) -> str:
    """The handle of a generation: it fits in a URL, holds the two ids and no secret."""
    return f"{PREFIX}{_escaped(generation_id)}.{_escaped(api_project_id)}"


def is_handle(text: str) -> bool:
    """Whether a string is meant as a handle; ids do not begin like one."""
    return text.startswith(PREFIX)


def ids_of(handle: str) -> tuple[str, str]:
    """The generation's id and its project's.

    Raises:
        ConfigurationError: It is no handle, or not a whole one.
    """
    from diffio_async._validators import displayed
    from diffio_async.errors import ConfigurationError  # which names models in its annotations

    given: object = handle
    if not isinstance(given, str):
        raise ConfigurationError(f"a generation's handle is a string, not {displayed(given)}")
    found = _HANDLE.fullmatch(handle.strip()) if len(handle) <= _LONGEST else None
    if found is None:
        raise ConfigurationError(
            f"{handle[:_SHOWN]!r} is not a generation's handle: give what `generation.handle` "
            "said, whole"
        )
    return _unescaped(found[1]), _unescaped(found[2])


def _escaped(text: str) -> str:
    return _RESERVED.sub(
        lambda found: b"~%02x" % found[0][0], text.encode("utf-8", "replace")
    ).decode()


def _unescaped(part: str) -> str:
    escaped = re.sub(r"~([0-9a-f]{2})", r"\\x\1", part)
    raw = escaped.encode().decode("unicode_escape").encode("latin-1")
    return raw.decode("utf-8", "replace")


def ids_in(item: object, api_project_id: str | None = None) -> tuple[str, str | None]:
    """The ids in an id, a handle, or anything that has a `generation_id`.

    `api_project_id` is for what has none of its own.

    Raises:
        ConfigurationError: There is no generation's id in it.
    """
    from diffio_async._validators import displayed
    from diffio_async.errors import ConfigurationError

    if isinstance(item, str):
        if is_handle(item.strip()):
            return ids_of(item)
        generation_id: object = item
    else:
        generation_id = getattr(item, "generation_id", None)
        own = getattr(item, "api_project_id", None)
        api_project_id = own if isinstance(own, str) and own else api_project_id
    if not isinstance(generation_id, str) or not generation_id.strip():
        raise ConfigurationError(
            f"{displayed(item)} is no generation: give its id, its handle, or a model that has "
            "its id"
        )
    project: object = api_project_id
    if project is not None and not isinstance(project, str):
        raise ConfigurationError(f"api_project_id must be a string, not {displayed(project)}")
    return generation_id, api_project_id
