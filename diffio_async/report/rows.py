"""Rows of a report, made in a worker process: numbers, pictures and media of one recording."""

from __future__ import annotations

import json
import math
import os
import sys
import traceback
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote

import av.logging

from diffio_async._storage.system_errors import reason_of
from diffio_async._store_url import is_store_url, place_of
from diffio_async.errors import DiffioError
from diffio_async.report.analysis import SoundReader, measure_sound
from diffio_async.report.numbers import Numbers, gain
from diffio_async.report.objects import local_file
from diffio_async.report.pictures import Spectrogram
from diffio_async.report.playback import Media, copy_sound, media_of
from diffio_async.report.workers import Task
from diffio_async.sandbox.audio.decoding import CannotRestore, is_disk_full

#: Columns of the waveform in the list, and of the large one.
_THUMBNAIL, _WAVEFORM = 96, 1200
#: Larger files are embedded as a listening copy.
_MAX_EMBEDDED = 2 * 1024 * 1024
#: Difference between the durations of a recording and its result that is reported, in seconds and
#: as a fraction: encoders pad.
_MAX_DIFFERENCE, _MAX_DIFFERENCE_SHARE = 0.25, 0.01


class Unusable(Exception):
    """A file that is missing, or cannot be decoded; the message is for its owner."""

    def __init__(self, message: str, *, missing: bool = False) -> None:
        super().__init__(message)
        self.missing = missing


def make_row(task: Task) -> dict[str, Any]:
    """Return what is measured of one recording, by the names of the page's data.

    `blocks`, the files to embed by id, and `details` are not part of the row of a linked page.
    """
    row: dict[str, Any] = {"warnings": [], "blocks": {}, "details": {}}
    numbers: dict[str, Numbers] = {}
    for side, path in (("before", task.before), ("after", task.after)):
        row[side] = None
        if path is None:
            continue
        try:
            numbers[side] = _add_side(row, side, path, task)
        except Unusable as error:
            row["warnings"].append(f"{error}")
            if side == "after" and error.missing:
                row["state"] = "missing"
            elif task.after is not None and not error.missing:
                row["state"] = "damaged"
    row["gain"] = None
    change = gain(numbers.get("before"), numbers.get("after"))
    if change is not None:
        row["gain"] = round(change, 1)
    if row["before"] and row["after"]:
        _compare(row)
    row["details"]["words"] = _words(task, row["warnings"])
    if task.folder is not None:
        _write_details(row, task, Path(task.folder))
    return row


def _add_side(row: dict[str, Any], side: str, place: str, task: Task) -> Numbers:
    try:
        with local_file(place, task.copies) as path:
            return _measure_side(row, side, place, path, task)
    except CannotRestore as error:
        raise Unusable(f"{place_of(place).name!r} cannot be played: {error}") from error
    except FileNotFoundError as error:
        raise Unusable(f"there is no file {place!r} any more", missing=True) from error
    except DiffioError as error:  # of the store
        raise Unusable(f"{error}", missing=True) from error
    except OSError as error:
        if is_disk_full(error):  # of the listening copy
            raise
        raise Unusable(f"{place!r} cannot be read: {reason_of(error)}") from error


def _measure_side(row: dict[str, Any], side: str, place: str, path: Path, task: Task) -> Numbers:
    folder, name = None if task.folder is None else Path(task.folder), f"{task.id}-{side}"
    copy, shown = None, place_of(place).name
    media, sound = media_of(path), SoundReader(path)
    blocks = sound.blocks()
    if folder is not None and (is_store_url(place) or _needs_copy(media, path, task)):
        copy = folder / f"{name}.mp3"
        blocks = copy_sound(blocks, sound.channels, copy)
    spectrogram = None if folder is None else Spectrogram(media.seconds)
    measured = measure_sound(sound, blocks, spectrogram)
    row["warnings"] += [f"{shown}: {warning}" for warning in measured.warnings]
    if measured.numbers.speech_level is None:
        row["warnings"].append(f"{shown} is silent, or has no speech")
    row[side] = {
        "path": place,
        "media": None,
        "type": "audio/mpeg" if copy else media.type,
        "kind": "video" if media.has_video and not copy else "audio",
        "duration": round(measured.seconds, 3),
        "numbers": measured.numbers.to_dict(),
        "peaks": measured.peaks.encode(_THUMBNAIL),
        **({"copy": True} if copy else {}),
    }
    if folder is not None and spectrogram is not None:
        picture = folder / f"{name}.png"
        picture.write_bytes(spectrogram.png())
        row[side]["media"] = _reference(row, f"{name}-media", copy or path, task)
        row["details"][side] = {
            "spectrogram": _reference(row, f"{name}-picture", picture, task),
            "peaks": measured.peaks.encode(_WAVEFORM),
        }
    return measured.numbers


def _needs_copy(media: Media, path: Path, task: Task) -> bool:
    return media.type is None or (task.href is None and path.stat().st_size > _MAX_EMBEDDED)


def _reference(row: dict[str, Any], block: str, path: Path, task: Task) -> dict[str, str]:
    """Return how the page refers to a file, which may be in the folder of its files."""
    if task.href is None:
        row["blocks"][block] = str(path)
        return {"block": block}
    if str(path.parent) == task.folder:
        return {"href": f"{task.href}/{quote(path.name)}"}
    return {"href": link_to(path, Path(task.page))}


def link_to(path: Path, page: Path) -> str:
    """Return the URL of a file, relative to the folder of the page if both are on one drive."""
    try:
        relative = os.path.relpath(path, page)
    except ValueError:
        return path.as_uri()
    # A leading ./ distinguishes a name with a colon from a URL.
    return "./" + quote(os.fsencode(relative.replace(os.sep, "/")))


def _compare(row: dict[str, Any]) -> None:
    before, after = row["before"]["duration"], row["after"]["duration"]
    if abs(after - before) > max(_MAX_DIFFERENCE, _MAX_DIFFERENCE_SHARE * before):
        row["warnings"].append(
            f"the result has another length: {after:.1f} s instead of {before:.1f} s"
        )


def _words(task: Task, warnings: list[str]) -> list[tuple[str, float, float]] | None:
    """Return the words of a transcript with their start and end in seconds; None if absent."""
    place = task.transcript
    if place is None:
        return None
    try:
        with local_file(place, task.copies) as path:
            transcript = json.loads(path.read_text(encoding="utf-8"))
        return [
            (str(word["word"]), float(word["start"]), float(word["end"]))
            for word in transcript["words"]
            if math.isfinite(word["start"]) and math.isfinite(word["end"])
        ]
    except (DiffioError, OSError, ValueError, TypeError, LookupError, RecursionError) as error:
        warnings.append(f"the transcript {place!r} cannot be shown: {type(error).__name__}")
        return None


def _write_details(row: dict[str, Any], task: Task, folder: Path) -> None:
    details = json.dumps(row.pop("details"))
    if task.href is None:
        path = folder / f"{task.id}.json"
        path.write_text(details, encoding="ascii")
    else:
        path = folder / f"{task.id}.js"
        path.write_text(f'diffioDetails("{task.id}", {details});\n', encoding="ascii")
    row["details"] = _reference(row, f"{task.id}-details", path, task)


def main() -> None:
    """Make rows of the tasks on standard input, one JSON object per line, until it ends."""
    av.logging.set_level(av.logging.PANIC)  # FFmpeg prints a line for each damaged packet
    results = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="ascii")
    for line in sys.stdin:
        _respond(Task(**json.loads(line)), results)


def _respond(task: Task, results: TextIO) -> None:
    try:
        row = make_row(task)
    except MemoryError:
        row = {"crashed": "there is not enough memory to measure it"}
    except OSError as error:  # the folder of the report cannot be written
        row = {"failed": reason_of(error)}
    except Exception:  # noqa: BLE001 - one recording must not end the report
        row = {"crashed": traceback.format_exc(limit=-3)}
    results.write(json.dumps(row) + "\n")
    results.flush()
