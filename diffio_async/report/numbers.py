"""Numbers of a recording, and their change by a restoration."""

from __future__ import annotations

from attrs import asdict, frozen

#: Decimals of numbers in pages and JSON.
_DECIMALS = 1
_SHARE_DECIMALS = 6


@frozen(kw_only=True)
class Numbers:
    """Measured levels of a recording. A number that cannot be measured is None.

    Attributes:
        noise_floor: Level of the steady noise, in dBFS.
        speech_level: Level of speech without that noise, in dBFS.
        clipped: Fraction of samples that are clipped, from 0 to 1.
        lufs: Integrated loudness by EBU R 128, in LUFS.
        true_peak: True peak by EBU R 128, in dBTP.
    """

    noise_floor: float | None = None
    speech_level: float | None = None
    clipped: float | None = None
    lufs: float | None = None
    true_peak: float | None = None

    @property
    def speech_to_noise(self) -> float | None:
        """The level of speech over the steady noise, in dB."""
        if self.noise_floor is None or self.speech_level is None:
            return None
        return self.speech_level - self.noise_floor

    def to_dict(self) -> dict[str, float]:
        """Return the numbers that could be measured, rounded."""
        return {
            name: round(value, _SHARE_DECIMALS if name == "clipped" else _DECIMALS)
            for name, value in asdict(self).items()
            if value is not None
        }


def gain(before: Numbers | None, after: Numbers | None) -> float | None:
    """Return the change of `speech_to_noise`, in dB; None if it cannot be measured."""
    if before is None or after is None:
        return None
    old, new = before.speech_to_noise, after.speech_to_noise
    return None if old is None or new is None else new - old
