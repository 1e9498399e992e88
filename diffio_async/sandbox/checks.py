"""Fields of a request body: present, of the right type, or a 400 that names them."""

from collections.abc import Collection, Mapping
from typing import Any

from diffio_async.sandbox.responses import HttpError


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Fields:
    """A request's JSON object, read field by field."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._body = body

    def unknown(self, known: Collection[str]) -> list[str]:
        """Name the fields that no endpoint of this kind has."""
        return sorted(set(self._body) - set(known))

    def has(self, name: str) -> bool:
        """Tell whether a field was sent."""
        return name in self._body

    def text(self, name: str, *, longest: int | None = None) -> str:
        """Read a required, non-empty string."""
        value = self._body.get(name)
        if name not in self._body:
            raise HttpError(400, f"{name} is required")
        if not isinstance(value, str):
            raise HttpError(400, f"{name} must be a string")
        if not value.strip():
            raise HttpError(400, f"{name} must not be empty")
        if not _is_unicode(value):
            raise HttpError(400, f"{name} has half of a surrogate pair")
        if longest is not None and len(value) > longest:
            raise HttpError(400, f"{name} must have at most {longest} characters")
        return value

    def optional_text(self, name: str, *, longest: int | None = None) -> str | None:
        """Read a string that may be left out."""
        return self.text(name, longest=longest) if name in self._body else None

    def choice(self, name: str, words: Collection[str]) -> str:
        """Read a required string that must be one of a few."""
        value = self.text(name)
        if value not in words:
            raise HttpError(400, f"{name} must be one of {', '.join(sorted(words))}")
        return value

    def count(self, name: str) -> int | None:
        """Read a whole number from 0 up that may be left out."""
        if name not in self._body:
            return None
        value = self._body[name]
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise HttpError(400, f"{name} must be a whole number from 0 up")
        return value

    def mapping(self, name: str) -> dict[str, Any] | None:
        """Read an object that may be left out."""
        if name not in self._body:
            return None
        value = self._body[name]
        if not isinstance(value, dict):
            raise HttpError(400, f"{name} must be an object")
        return dict(value)

    def required_mapping(self, name: str) -> dict[str, Any]:
        """Read a required object."""
        value = self.mapping(name)
        if value is None:
            raise HttpError(400, f"{name} is required")
        return value

    def choices(self, name: str, words: Collection[str], *, least: int = 0) -> list[str]:
        """Read a required list of strings, each one of a few, without repeats."""
        if name not in self._body:
            raise HttpError(400, f"{name} is required")
        value = self._body[name]
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise HttpError(400, f"{name} must be a list of strings")
        strangers = sorted(set(value) - set(words))
        if strangers:
            raise HttpError(400, f"{name} has unknown entries: {', '.join(strangers)}")
        if len(value) < least:
            raise HttpError(400, f"{name} must not be empty")
        return list(dict.fromkeys(value))

    def objects(self, name: str) -> list[dict[str, Any]]:
        """Read a required, non-empty list of objects."""
        value = self._body.get(name)
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise HttpError(400, f"{name} must be a list of objects")
        if not value:
            raise HttpError(400, f"{name} must not be empty")
        return value
