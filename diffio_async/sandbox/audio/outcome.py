"""What a restoration hands back, and why it may refuse."""

from pathlib import Path

from attrs import frozen


class CannotRestore(Exception):
    """The recording cannot be restored; the message is a reason a person can read."""


@frozen
class Probed:
    """What a look at a file's headers tells.

    Attributes:
        has_audio: there is sound in it.
        has_video: there is a moving picture in it; cover art is none.
        seconds: how long it says it is, or None where it does not say.
    """

    has_audio: bool
    has_video: bool
    seconds: float | None


@frozen
class Restored:
    """A finished restoration.

    Attributes:
        audio: the restored sound, an MP3.
        video: the picture as it was with the restored sound, or None without a picture.
        transcript: JSON with the words and their times, or None without a recogniser.
        has_video: there is a moving picture in the recording.
        seconds: length of the sound, as decoded.
        noise_floor_db: level between the words in dBFS, before and after, both at the
            recording's own loudness so that the two can be compared.
        speech_to_noise_db: estimated speech over noise in dB, before and after.
        engine: what took the noise away: "rnnoise" or "afftdn".
        transcript_engine: what heard the words, or None.
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
