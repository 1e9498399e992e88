"""What the user asked `diffio-async restore` for, and what can be known beforehand to be wrong."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from diffio_async._downloads.target import check_target
from diffio_async._protocol.urls import generation_path
from diffio_async._storage.local_paths import local_path
from diffio_async._storage.system_errors import reason_of
from diffio_async._storage.threads import TrackedExecutor
from diffio_async._uploads.open_source import open_source
from diffio_async.cli.environment import check_environment
from diffio_async.cli.pipes import DASH, STDIN, check_stdin, check_stdout
from diffio_async.cli.resume_command import ResumeCommand
from diffio_async.errors import ConfigurationError, InvalidSource, InvalidTarget
from diffio_async.models.generations import DownloadType
from diffio_async.options import ClientOptions
from diffio_async.restoration import check_recording, result_name

if TYPE_CHECKING:
    from diffio_async.events import GenerationStarted


def folder_of(output: str) -> Path:
    """The folder the user named for results.

    Raises:
        ConfigurationError: It is none.
    """
    output = local_path(output, "-o")
    if not output:
        raise ConfigurationError("the path given with -o is empty: name a folder")
    try:
        mode = os.stat(output).st_mode  # noqa: PTH116 - any text
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigurationError(f"there is no folder {output}: make it first") from None
    except (OSError, ValueError) as failure:
        raise ConfigurationError(f"-o {output} cannot be used: {reason_of(failure)}") from failure
    if not stat.S_ISDIR(mode):
        raise ConfigurationError(f"-o {output} is a file: name a folder for the results")
    return Path(output)


def _real(file: str) -> Path:
    try:
        path = Path(os.path.realpath(Path(file).parent), Path(file).name)
    except (OSError, ValueError):  # the current folder is gone: told apart by its spelling
        return Path(file)
    return path


@frozen(kw_only=True)
class RestoreRequest:
    """What the user asked for; `timeout` in seconds, `jobs` is files at once.

    `-` among the files is standard input, called `stdin_name`; as the output it is standard output.
    """

    files: tuple[str, ...]
    output: str | None
    download_type: DownloadType
    model: str
    sandbox: bool
    overwrite: bool
    timeout: float | None
    jobs: int
    stdin_name: str | None = None
    as_json: bool = False

    @property
    def to_stdout(self) -> bool:
        """Whether the result goes to standard output."""
        return self.output == DASH

    def check(self) -> None:
        """Find what is wrong with the order as a whole.

        Raises:
            ConfigurationError: Nothing can be sent as things are.
        """
        generation_path(self.model)
        for file in self.files:
            local_path(file, "the source")
        self._check_pipes()
        if self.output is not None and not self.to_stdout:
            folder_of(self.output)
        results: dict[Path, list[str]] = {}
        for file in self.each_file():
            results.setdefault(self.result(file, self.download_type), []).append(file)
        for result, files in results.items():
            if len(files) > 1:
                raise ConfigurationError(
                    f"{' and '.join(files)} would each become {result}: restore them one by one, "
                    "each with -o DIR and a folder of its own"
                )
        if not self.sandbox:
            check_environment(without="or add --sandbox to restore on this machine, without a key")

    def _check_pipes(self) -> None:
        if DASH in self.files:
            if self.output is None:
                raise ConfigurationError(
                    "say where the result of standard input goes: -o - (standard output) or -o DIR"
                )
            check_stdin()
        elif self.stdin_name is not None:
            raise ConfigurationError("--stdin-name is the name of -, which is not among the files")
        if self.to_stdout:
            if len(self.each_file()) > 1:
                raise ConfigurationError(
                    "-o - takes the result of one recording: name one, or a folder with -o DIR"
                )
            check_stdout(as_json=self.as_json)

    def each_file(self) -> list[str]:
        """The files, each once, however often and in whatever spelling it was named."""
        first: dict[Path | str, str] = {}
        for file in self.files:
            known = file if file in {"", DASH} else _real(file)
            first.setdefault(known, file)
        return [*first.values()]

    def name_of(self, file: str) -> str:
        """The file name of a recording."""
        return (self.stdin_name or STDIN) if file == DASH else Path(file).name

    async def check_file(self, file: str) -> None:
        """Find what is wrong with one file, before any is sent: hours may pass until its turn.

        Raises:
            InvalidSource: It cannot be read, or has not what is asked for.
            InvalidTarget: Its result exists, and may not be replaced.
        """
        if not file:
            raise InvalidSource("the path is empty: name a file")
        if file == DASH:
            check_recording(b"", self.name_of(file), None, self.download_type)
        else:
            async with open_source(file, max_bytes=ClientOptions().max_upload_bytes):
                pass
            name = self.name_of(file)
            await TrackedExecutor().run(check_recording, file, name, None, self.download_type)
        if self.to_stdout:
            return
        result = self.result(file, self.download_type)
        # What cannot be asked is found out, and said, when the target is looked at.
        there = await TrackedExecutor().run(os.path.exists, result)
        if not self.overwrite and there:
            raise InvalidTarget(f"{result} exists: --overwrite replaces it")
        await check_target(result, "overwrite" if self.overwrite else "error")

    def folder(self, file: str) -> Path:
        """Where the result goes."""
        if self.output is None or self.to_stdout:
            return Path(file).parent
        return Path(self.output)

    def result(self, file: str, kind: str) -> Path:
        """The file it becomes; a video's ending may be another, by the service's choice."""
        return self.folder(file) / result_name(self.name_of(file), kind)

    def resume_command(self, file: str, started: GenerationStarted) -> ResumeCommand | None:
        """How to go on with a generation, None where it ends with the command."""
        if self.sandbox:
            return None
        if self.to_stdout and self.download_type != "video":
            output: str | None = result_name(self.name_of(file), self.download_type)
        elif self.download_type == "video":
            # Only its folder is sure; the name is made by the service.
            folder = self.folder(file)
            output = None if folder == Path() else str(folder)
        else:
            output = str(self.result(file, self.download_type))
        return ResumeCommand(
            generation_id=started.generation_id,
            api_project_id=started.api_project_id,
            idempotency_key=started.idempotency_key,
            download_type=self.download_type,
            output=output,
            audio_output=result_name(self.name_of(file), "audio")
            if self.to_stdout
            else str(self.result(file, "audio")),
        )
