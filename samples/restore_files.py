"""Restore recordings, without `await`: `python restore_files.py talk.wav … [-o FOLDER]`.

The exit code is 0 if all were restored, 1 if some were not, 2 if nothing can be (a missing key, a
refused account), and 130 after Ctrl-C. For thousands of files, see `restore_many`: it resumes.
"""

import argparse
import sys
from pathlib import Path

from diffio_async import (
    AuthenticationFailed,
    ConfigurationError,
    Diffio,
    DiffioError,
    GenerationFailed,
    PaymentRequired,
    PermissionDenied,
)


def restore(client: Diffio, recording: Path, folder: Path) -> bool:
    """Restore one recording into a folder, and return whether that succeeded."""
    try:
        restoration = client.restore(recording, folder / f"{recording.stem}.restored.mp3")
    except (AuthenticationFailed, ConfigurationError, PaymentRequired, PermissionDenied):
        raise  # the next recording would fail alike
    except DiffioError as error:
        print(f"{recording}: {error}", file=sys.stderr)
        print_billed(error)
        return False
    print(f"{recording} -> {restoration.path}")
    return True


def print_billed(error: BaseException) -> None:
    """Print how to get the result of a generation that was started, and so is billed."""
    generation_id = getattr(error, "generation_id", None)
    # A generation that failed has no result.
    if generation_id is not None and not isinstance(error, GenerationFailed):
        project = getattr(error, "api_project_id", None)
        print(
            f"the generation was started, and is billed; to get its result without paying again:\n"
            f"  diffio-async download {generation_id} --project {project}",
            file=sys.stderr,
        )


def main() -> int:
    """Restore what the command line names, and return the exit code."""
    parser = argparse.ArgumentParser(description="Restore recordings.")
    parser.add_argument("recordings", nargs="+", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("restored"), metavar="FOLDER")
    arguments = parser.parse_args()
    try:
        arguments.output.mkdir(parents=True, exist_ok=True)
        with Diffio() as client:
            restored = [
                restore(client, recording, arguments.output) for recording in arguments.recordings
            ]
    except KeyboardInterrupt as interrupt:
        print("interrupted", file=sys.stderr)
        print_billed(interrupt)
        return 130
    except (DiffioError, OSError) as error:
        print(error, file=sys.stderr)
        print_billed(error)
        return 2
    return 0 if all(restored) else 1


if __name__ == "__main__":
    sys.exit(main())
