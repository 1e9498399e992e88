"""The data folder holds keys and other people's recordings: nobody else may own or change it."""

import os
import stat
from pathlib import Path

from diffio_async.sandbox.settings import SandboxError

_OTHERS_WRITE = 0o022


def check_owned(folder: Path, names: tuple[str, ...]) -> None:
    """Refuse files of a data folder that somebody else may have put there.

    Args:
        folder: The data folder, which exists.
        names: Of its files; those that are missing are passed over.

    Raises:
        SandboxError: A file, or the folder, belongs to another user, is a link, or may be written
            by others.
        OSError: They cannot be looked at.
    """
    if os.name != "posix":
        return
    _check(folder, folder.stat(), is_folder=True)
    for name in names:
        file = folder / name
        try:
            status = file.lstat()
        except FileNotFoundError:
            continue
        _check(file, status, is_folder=False)


def _check(path: Path, status: os.stat_result, *, is_folder: bool) -> None:
    if not is_folder and (not stat.S_ISREG(status.st_mode) or status.st_nlink > 1):
        raise SandboxError(f"{path} is no regular file, or has a second name: remove it")
    # Root may change everything in any case. A folder may be shared, as /tmp is.
    if status.st_uid not in {os.geteuid(), 0}:
        raise SandboxError(
            f"{path} belongs to another user ({status.st_uid}), who may have put anything into it: "
            "choose another folder"
        )
    if not is_folder and status.st_mode & _OTHERS_WRITE:
        raise SandboxError(
            f"others may write to {path} (mode {stat.S_IMODE(status.st_mode):o}): make it yours "
            "alone with chmod 600, or choose another folder"
        )
