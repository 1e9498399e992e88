"""What is left of a paid generation when the command ends before its result is there."""

from __future__ import annotations

from attrs import evolve, frozen

from diffio_async._text import shell_line
from diffio_async.errors import (
    DiffioError,
    GenerationFailed,
    NotFound,
    TranscriptUnavailable,
    WaitTimeout,
)
from diffio_async.models.generations import DownloadType

#: The API's word where a generation was made without what is asked for.
UNAVAILABLE = "downloadUnavailable"
#: What the library's messages call arguments, and the command's options for them.
_OPTIONS = {
    "on_conflict='overwrite'": "--overwrite",
    "download_type='audio'": "--type audio",
    "pass ClientOptions(ssl=ssl.create_default_context(cafile=…))": "add --cacert FILE",
}


@frozen(kw_only=True)
class ResumeCommand:
    """A generation that goes on, and how `diffio-async download` fetches what it makes.

    `seen`: the service was heard to know it; what was not is not said to go on.
    `output` is the file or folder to write, None for the folder the command is run in;
    `audio_output` the same for the audio, where that is fetched instead.
    """

    generation_id: str
    api_project_id: str
    download_type: DownloadType = "audio"
    output: str | None = None
    audio_output: str | None = None
    idempotency_key: str | None = None
    seen: bool = True

    def lines(self) -> list[str]:
        """How to go on, for people."""
        return [f"  {'pick it up' if self.seen else 'try again'}: {self.command()}"]

    def command(self) -> str:
        """The line to run."""
        words = ["diffio-async", "download", self.generation_id, "--project", self.api_project_id]
        if self.download_type != "audio":
            words += ["--type", self.download_type]
        if self.output is not None:
            words += ["-o", self.output]
        return shell_line(words)

    def for_error(self, error: DiffioError) -> ResumeCommand | None:
        """What can still be fetched when `error` ended the work, None where nothing can."""
        if _was_never_created(error):
            if self.download_type == "audio":
                return None
            return evolve(self, download_type="audio", output=self.audio_output)
        # Such a generation has ended without a result, or is none of this account's.
        return None if isinstance(error, (GenerationFailed, NotFound)) else self


def _was_never_created(error: DiffioError) -> bool:
    return isinstance(error, TranscriptUnavailable) or getattr(error, "code", None) == UNAVAILABLE


def cli_message(error: DiffioError, *, goes_on: bool) -> str:
    """The error in the command's words: options where the library speaks of arguments.

    `goes_on`: the generation outlives the command, and can be waited for again.
    """
    text = str(error)
    if getattr(error, "code", None) == UNAVAILABLE:
        return "there is nothing of this type to fetch: fetch the audio instead (--type audio)"
    if isinstance(error, WaitTimeout):
        text = text.partition("; it continues")[0].partition(": wait again")[0]
        return f"{text}; it goes on" if goes_on else f"{text}: allow more time with --timeout"
    for argument, option in _OPTIONS.items():
        text = text.replace(argument, option)
    return text
