"""Limits, results and errors of a restoration."""

from pathlib import Path

from attrs import frozen

from diffio_async.sandbox.audio.sound import RATE


class CannotRestore(Exception):
    """The recording cannot be restored; the message is for its owner."""


@frozen
class Probed:
    """The contents of a file by its headers.

    Attributes:
        has_audio: Whether there is an audio stream.
        has_video: Whether there is a video stream; cover art does not count.
        seconds: The declared duration, or None if absent.
    """

    has_audio: bool
    has_video: bool
    seconds: float | None


@frozen
class Restored:
    """A finished restoration.

    Attributes:
        audio: The restored sound, an MP3.
        video: The original video with the restored sound, or None if there is no video.
        transcript: JSON with words and their times, or None without a speech recogniser.
        has_video: Whether the recording has video.
        seconds: Duration of the decoded sound.
        noise_floor_db: Level between words in dBFS, before and after, both at the loudness of the
            recording, so that they can be compared.
        speech_to_noise_db: Estimated signal-to-noise ratio in dB, before and after.
        engine: The denoiser: "rnnoise" or "afftdn".
        transcript_engine: The speech recogniser, or None.
    """

    audio: Path
    video: Path | None
    transcript: Path | None
    has_video: bool
    seconds: float
    noise_floor_db: tuple[float, float]
    speech_to_noise_db: tuple[float, float]
    engine: str
    transcript_engine: str | None


MiB = 1024 * 1024
GiB = 1024 * MiB

# The most compact speech codec, AMR at 4.75 kbit/s, expands by 320 when it is decoded.
_MAX_EXPANSION = 500
_MIN_DECODED_LIMIT = 512 * MiB
_MIN_RATE = 2000


@frozen(kw_only=True)
class Limits:
    """Limits of one recording, however small its file is.

    Attributes:
        seconds: Maximum duration of the decoded sound.
        decoded_bytes: Maximum scratch space: 192 kB per second and channel. Beyond 512 MiB, 500
            times the size of the file is a limit too.
    """

    seconds: float = 6 * 3600.0
    decoded_bytes: int = 6 * GiB

    def check_rate(self, rate: int) -> None:
        """Check the sampling rate; a very low one would expand to hours of sound at 48 kHz.

        Raises:
            CannotRestore: The rate is below 2 kHz.
        """
        if rate < _MIN_RATE:
            raise CannotRestore(
                f"the sound has {rate} samples per second, but at least {_MIN_RATE} are required"
            )

    def check(self, *, samples: int, decoded_bytes: int, file_size: int) -> None:
        """Check the duration and size of a recording while it is decoded.

        Args:
            samples: Samples per channel decoded so far.
            decoded_bytes: Bytes of scratch space so far.
            file_size: Bytes in the file of the recording.

        Raises:
            CannotRestore: A limit is exceeded; the message contains it.
        """
        if samples > self.seconds * RATE:
            raise CannotRestore(
                f"the recording is longer than {self.seconds:g} s, the limit of this sandbox"
            )
        if decoded_bytes > self.decoded_bytes:
            raise CannotRestore(
                f"the recording takes more than {_size(self.decoded_bytes)} when it is decoded,"
                " the limit of this sandbox"
            )
        if decoded_bytes > max(_MIN_DECODED_LIMIT, _MAX_EXPANSION * file_size):
            raise CannotRestore(
                f"the recording takes over {_size(decoded_bytes)} when it is decoded, but its file"
                f" has only {_size(file_size)}"
            )


def _size(count: int) -> str:
    return f"{count / GiB:.1f} GiB" if count >= GiB else f"{count / MiB:.1f} MiB"
