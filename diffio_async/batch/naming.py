"""Where each result goes: a template for the name, the source's sub-folders kept."""

from __future__ import annotations

import os
import re
import string
import unicodedata
from functools import cached_property
from pathlib import Path, PurePath, PureWindowsPath
from typing import TYPE_CHECKING

from attrs import define

from diffio_async._storage.local_paths import is_encodable, local_path, truncate_name
from diffio_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What a result is called.
DEFAULT_NAME = "{stem}.restored{ext}"
_FIELDS = ("stem", "name", "ext", "type", "parent")
#: The contract: audio is MP3, the transcript JSON; a video's container is the service's choice.
_ENDINGS = {"audio": ".mp3", "transcript": ".json"}
#: The containers of videos.
VIDEO_ENDINGS = frozenset(
    f".{ending}"
    for ending in (
        *("3gp", "avi", "flv", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "mts", "ogv", "webm"),
        "wmv",
    )
)


_RESULT_ENDINGS = VIDEO_ENDINGS | frozenset(_ENDINGS.values())


@define(eq=False)
class Naming:
    """A template such as `{stem}.restored{ext}`; `{name}` is the whole name of the source.

    `case_insensitive` where the disk takes `A` and `a` for one name.
    """

    template: str
    root: Path
    case_insensitive: bool = False

    def check(self) -> None:
        """Find out whether it is a template.

        Raises:
            ConfigurationError: It is none, and why.
        """
        if not isinstance(self.template, str):
            raise ConfigurationError(f"the name must be text, not {self.template!r}")
        if "\0" in self.template or not is_encodable(self.template):
            raise ConfigurationError(
                f"the name {self.template!r} is not valid text: use another template"
            )
        try:
            parts = list(string.Formatter().parse(self.template))
        except ValueError as failure:
            raise ConfigurationError(
                f"the name {self.template!r} is no template: {failure}"
            ) from None
        used = {name for _, name, _, _ in parts if name is not None}
        plain = all(not spec and not conversion for _, _, spec, conversion in parts)
        if used - set(_FIELDS) or not plain:
            raise ConfigurationError(
                f"the name {self.template!r} may hold {{stem}}, {{name}}, {{ext}}, {{type}} and "
                "{parent}"
            )
        if not used & {"stem", "name"} or not self.template.endswith("{ext}"):
            raise ConfigurationError(
                f"the name {self.template!r} must hold {{stem}} or {{name}} and end in {{ext}}: "
                "or else many results had one name"
            )
        if _leads_out_anywhere(self.template):
            raise ConfigurationError(f"the name {self.template!r} leads out of the folder")

    def result(
        self, below: PurePath, kind: str, named: str | None = None, *, parent: str = ""
    ) -> Path:
        """The result's path for a source that lies `below` its root.

        Args:
            below: The source's path below the folder that was named.
            kind: `audio`, `video` or `transcript`.
            named: A name of its own, without its ending.
            parent: The name of the folder that the source lies in.

        Raises:
            ConfigurationError: The path leads out of the folder, or no file can have it.
        """
        ext = _ENDINGS.get(kind, below.suffix)
        if named is not None:
            local_path(named, "the name of a result")
            if not is_encodable(named):
                raise ConfigurationError(f"the name {named!r} is not valid text: use another one")
            if _leads_out_anywhere(named) or not PurePath(named).name:
                raise ConfigurationError(f"the name {named!r} leads out of the folder, or is none")
            path = PurePath(named)
            named_path = path.with_name(truncate_name(path.name, ext))
            return self._inside(str(named_path), f"the name {named!r}")
        name = self._filled(below, kind, ext, parent)
        return self._inside(
            os.path.join(below.parent, name),  # noqa: PTH118 - as text, so that all parts are seen
            f"{below.name!r} under the name {self.template!r}",
        )

    def _filled(self, below: PurePath, kind: str, ext: str, parent: str) -> PurePath:
        """The template, with a source's name that is cut where the whole is too long for a disk."""
        stem, name, fixed = below.stem, below.name, {"ext": ext, "type": kind}
        fixed["parent"] = parent or "_"
        while True:
            path = PurePath(self.template.format(stem=stem, name=name, **fixed))
            wanted = [truncate_name(part) for part in path.parts]
            if wanted == [*path.parts] or not (stem or name):
                return PurePath(*wanted)
            stem, name = stem[:-1], name[:-1]

    def _inside(self, text: str, what: str) -> Path:
        """The path below the root that `text` spells.

        Raises:
            ConfigurationError: It leads elsewhere, or no file can have it.
        """
        path = self.root / text
        parts = re.split(r"[\\/]" if os.name == "nt" else "/", text)
        inside = os.path.normpath(path).startswith(os.path.join(self.root, ""))  # noqa: PTH118
        if ".." in parts or not inside:
            raise ConfigurationError(f"the result of {what} would lead out of {str(self.root)!r}")
        reserved = os.name == "nt" and any(PureWindowsPath(part).is_reserved() for part in parts)
        if "\0" in text or reserved:
            raise ConfigurationError(f"no file can have the name of the result of {what}")
        return path

    def path_key(self, path: Path, kind: str) -> str:
        """What two results may not share: the path, as the disk tells paths apart."""
        # A video's ending is known only when it is made.
        text = f"{path.with_suffix('')}.*" if kind == "video" else str(path)
        if self.case_insensitive:
            text = unicodedata.normalize("NFC", text).casefold()
        return text

    @cached_property
    def depth(self) -> int:
        """How many parts of a path the template names."""
        return os.path.normpath(self.template).count(os.sep) + 1

    @cached_property
    def telling(self) -> bool:
        """Whether results look different: the stem and the ending alone say nothing."""
        parsed = list(string.Formatter().parse(os.path.normpath(self.template)))
        return any(
            field in {"name", "type"} or text.strip("." + os.sep) for text, field, _, _ in parsed
        )

    def made_of(self, name: str, parent: str) -> Iterator[str]:
        """What the results of a recording may be called, below the folder it lies in."""
        path = PurePath(name)
        for kind in ("audio", "transcript", "video"):
            endings = {_ENDINGS[kind]} if kind in _ENDINGS else {path.suffix, *VIDEO_ENDINGS}
            for ending in endings:
                yield os.path.normpath(self._filled(path, kind, ending, parent))


def _leads_out_anywhere(text: str) -> bool:
    """Whether a path that was written down leads out of its folder, on this system or another."""
    windows = PureWindowsPath(text)
    return (
        PurePath(text).is_absolute()
        or bool(windows.root)
        or ".." in windows.parts
        or ".." in PurePath(text).parts
    )


def looks_usual(name: str) -> bool:
    """Whether a name is one that results have where nobody names a template."""
    stem, ending = os.path.splitext(name)  # noqa: PTH122 - ten thousand of them
    return stem.endswith(".restored") and ending.lower() in _RESULT_ENDINGS


def is_case_insensitive(folder: Path) -> bool:
    """Whether the folder's disk takes `A` and `a` for one name; only the disk knows."""
    for path in (folder, *folder.parents):
        other = path.with_name(path.name.swapcase()) if path.name else path
        if other != path:
            try:
                return other.samefile(path)
            except (OSError, ValueError):  # no such name here, or none that can be asked for
                return False
    return False
