"""Choice of the denoising engine and its strength, by what each does to the recording."""

import numpy as np
from attrs import frozen

from diffio_async.sandbox.audio.denoising import (
    aligned_output,
    input_gain,
    installed_engines,
    make_engine,
)
from diffio_async.sandbox.audio.sound import RATE, Block, Meter, SoundFile, fit_length, high_pass


@frozen
class Choice:
    """An engine, and the share of the unprocessed sound that is mixed into its output."""

    engine: str
    dry: float


_EXCERPT_SECONDS = 4
_EXCERPTS = 4
_MIN_DAMAGE = 0.01
"""Damage of any engine relative to speech, however little is measured: -20 dB."""

_MAX_DRY = 0.8
"""A recording of which more than this share would be kept is left as it is."""

_HANDICAPS = {"deepfilter": 1.0, "rnnoise": 2.0, "afftdn": 4.0}
"""Factor of the predicted error; the estimate misses residual noise that resembles speech."""


def choose(sound: SoundFile, name: str | None = None) -> Choice:
    """Choose an engine and its strength by trying it on excerpts of a recording.

    What an engine removes from speech beyond the steady noise is damage. The share of the
    unprocessed sound that minimises the sum of damage and noise follows from both powers, so that
    a clean recording is hardly changed.

    Args:
        sound: The recording; 16 seconds of it are tried.
        name: An engine, or None for the best that is installed.

    Raises:
        ValueError: There is no engine of that name.
        RuntimeError: The engine is not installed.
    """
    excerpt = _excerpt(sound)
    before = _measured(excerpt)
    filtered = np.concatenate(list(high_pass([excerpt], 1)))
    noise, speech = before.noise, max(before.active - before.noise, 0.0)
    best: tuple[float, Choice] | None = None
    for candidate in installed_engines() if name is None else [name]:
        engine = make_engine(candidate, 1, before)
        try:
            blocks = aligned_output([excerpt], 1, engine, input_gain(before))
            output = np.concatenate(list(fit_length(blocks, len(excerpt), 1)))
        finally:
            engine.close()
        damage = max(_damage(filtered, output), _MIN_DAMAGE * speech)
        total = noise + damage
        error = _HANDICAPS[candidate] * noise * damage / total if total else 0.0
        dry = damage / total if total else 1.0
        choice = Choice(candidate, 1.0 if dry > _MAX_DRY else dry)
        if best is None or error < best[0]:
            best = error, choice
    if best is None:
        raise RuntimeError("no denoiser is installed")
    return best[1]


def _excerpt(sound: SoundFile) -> Block:
    """Return up to 16 seconds of the loudest channel: all of a short recording, or four parts."""
    part = _EXCERPT_SECONDS * RATE
    if sound.length <= _EXCERPTS * part:
        excerpt = sound.read(0, sound.length)
    else:
        step = (sound.length - part) // (_EXCERPTS - 1)
        excerpt = np.concatenate([sound.read(n * step, part) for n in range(_EXCERPTS)])
    channel = int(np.square(excerpt - excerpt.mean(axis=0)).sum(axis=0).argmax())
    return excerpt[:, channel : channel + 1]


def _measured(block: Block) -> Meter:
    meter = Meter()
    meter.add(block)
    return meter


def _damage(filtered: Block, output: Block) -> float:
    """Return the power of the error in an engine's output, by what it removed and what it left."""
    before, removed = _measured(filtered), _measured(filtered - output)
    from_speech = float(removed.powers[before.loud_frames].mean()) - before.noise
    return max(from_speech, 0.0) + _measured(output).noise
