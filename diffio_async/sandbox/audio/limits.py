"""How much work one recording may make, however small its file is."""

from attrs import frozen

from diffio_async.sandbox.audio.outcome import CannotRestore
from diffio_async.sandbox.audio.sound import RATE

MiB = 1024 * 1024
GiB = 1024 * MiB

# No codec for speech needs fewer bytes: AMR at 4.75 kbit/s grows by 320.
_EXPANSION = 500
_ALWAYS_ALLOWED = 512 * MiB
_LOWEST_RATE = 2000


@frozen(kw_only=True)
class Limits:
    """The most that one recording may take.

    Attributes:
        seconds: Of decoded sound.
        decoded_bytes: Of scratch space: 192 kB per second and channel. What is over 512 MiB must
            also be within 500 times the size of the file.
    """

    seconds: float = 6 * 3600.0
    decoded_bytes: int = 6 * GiB

    def check_rate(self, rate: int) -> None:
        """Refuse a sampling rate that would be blown up to hours.

        Raises:
            CannotRestore: It is below 2 kHz.
        """
        if rate < _LOWEST_RATE:
            raise CannotRestore(
                f"the sound has {rate} samples per second, and no recording has under"
                f" {_LOWEST_RATE}"
            )

    def check(self, *, samples: int, decoded: int, file_size: int) -> None:
        """Refuse a recording that has become too long or too large.

        Args:
            samples: Decoded so far, per channel.
            decoded: Bytes of scratch space so far.
            file_size: Bytes in the recording's file.

        Raises:
            CannotRestore: It is over a limit; the message has the limit.
        """
        if samples > self.seconds * RATE:
            raise CannotRestore(
                f"the recording is longer than {self.seconds:g} s, the limit of this sandbox"
            )
        if decoded > self.decoded_bytes:
            raise CannotRestore(
                f"the recording takes more than {_size(self.decoded_bytes)} when it is decoded,"
                " the limit of this sandbox"
            )
        if decoded > max(_ALWAYS_ALLOWED, _EXPANSION * file_size):
            raise CannotRestore(
                f"the recording takes over {_size(decoded)} when it is decoded, and its file has"
                f" {_size(file_size)}: no speech is that small"
            )


def _size(count: int) -> str:
    return f"{count / GiB:.1f} GiB" if count >= GiB else f"{count / MiB:.1f} MiB"
