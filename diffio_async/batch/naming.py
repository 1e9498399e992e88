"""Where each result goes: a template for the name, the source's sub-folders kept."""

from __future__ import annotations

import re
import string
import unicodedata
from pathlib import Path, PurePath

from attrs import frozen

from diffio_async._engine.file_names import shortened
from diffio_async._engine.local_paths import local_path
from diffio_async.errors import ConfigurationError

#: What a result is called.
DEFAULT_NAME = "{stem}.restored{ext}"
_FIELDS = frozenset({"stem", "name", "ext", "type"})
#: The contract: audio is MP3, the transcript JSON; a video's container is the service's choice.
_ENDINGS = {"audio": ".mp3", "transcript": ".json"}


@frozen
class Naming:
    """A template such as `{stem}.restored{ext}`; `{name}` is the whole name of the source.

    `folds` where the disk takes `A` and `a` for one name.
    """

    template: str
    root: Path
    folds: bool = False

    def check(self) -> None:
        """Find out whether it is a template.

        Raises:
            ConfigurationError: It is none, and why.
        """
        try:
            parts = list(string.Formatter().parse(self.template))
        except ValueError as failure:
            raise ConfigurationError(
                f"the name {self.template!r} is no template: {failure}"
            ) from None
        used = {name for _, name, _, _ in parts if name is not None}
        plain = all(not spec and not conversion for _, _, spec, conversion in parts)
        if used - _FIELDS or not plain:
            raise ConfigurationError(
                f"the name {self.template!r} may hold {{stem}}, {{name}}, {{ext}} and {{type}}"
            )
        if not used & {"stem", "name"} or not self.template.endswith("{ext}"):
            raise ConfigurationError(
                f"the name {self.template!r} must hold {{stem}} or {{name}} and end in {{ext}}: "
                "or else many results had one name"
            )
        path = PurePath(self.template)
        if path.is_absolute() or ".." in path.parts:
            raise ConfigurationError(f"the name {self.template!r} leads out of the folder")

    def result(self, below: PurePath, kind: str, named: str | None = None) -> Path:
        """The result's path for a source that lies `below` its root.

        Args:
            below: The source's path below the folder that was named.
            kind: `audio`, `video` or `transcript`.
            named: A name of its own, without its ending.

        Raises:
            ConfigurationError: The name of its own leads out of the folder.
        """
        ext = _ENDINGS.get(kind, below.suffix)
        if named is not None:
            path = PurePath(local_path(named, "the name of a result"))
            if path.is_absolute() or ".." in path.parts or not path.name:
                raise ConfigurationError(f"the name {named!r} leads out of the folder, or is none")
            return self.root / path.with_name(shortened(path.name, ext))
        return self.root / below.parent / self._filled(below, kind, ext)

    def _filled(self, below: PurePath, kind: str, ext: str) -> PurePath:
        """The template, with a source's name that is cut where the whole is too long for a disk."""
        stem, name = below.stem, below.name
        while True:
            path = PurePath(self.template.format(stem=stem, name=name, ext=ext, type=kind))
            wanted = [shortened(part) for part in path.parts]
            if wanted == [*path.parts] or not (stem or name):
                return PurePath(*wanted)
            stem, name = stem[:-1], name[:-1]

    def place(self, path: Path, kind: str) -> str:
        """What two results may not share: the path, as the disk tells paths apart."""
        # A video's ending is known only when it is made.
        text = f"{path.with_suffix('')}.*" if kind == "video" else str(path)
        if self.folds:
            text = unicodedata.normalize("NFC", text).casefold()
        return text

    def is_result(self, name: str) -> bool:
        """Whether a name looks like one of our results, which are no recordings to restore."""
        pattern = ""
        said = False
        for text, field, _, _ in string.Formatter().parse(PurePath(self.template).name):
            pattern += re.escape(text) + (".+" if field is not None else "")
            said = said or bool(text.strip("."))
        return said and re.fullmatch(pattern, name) is not None


def folds_names(folder: Path) -> bool:
    """Whether the folder's disk takes `A` and `a` for one name; only the disk knows."""
    for path in (folder, *folder.parents):
        other = path.with_name(path.name.swapcase()) if path.name else path
        if other != path:
            try:
                return other.samefile(path)
            except (OSError, ValueError):  # no such name here, or none that can be asked for
                return False
    return False
