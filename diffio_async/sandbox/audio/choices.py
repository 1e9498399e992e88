"""Choices of a restoration: the sound track, and the denoiser with its strength."""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from attrs import evolve, frozen

from diffio_async.sandbox.audio.clock import RESTART, Clock, packets
from diffio_async.sandbox.audio.decoding import (
    CannotRestore,
    Limits,
    check_encryption,
    find_audio,
    is_decodable,
    is_sound_codec,
    open_media,
)
from diffio_async.sandbox.audio.denoising import (
    aligned_output,
    input_gain,
    installed_engines,
    make_engine,
    without_clicks,
)
from diffio_async.sandbox.audio.sound import RATE, Block, Meter, SoundFile, fit_length, high_pass
from diffio_async.sandbox.audio.structure import Link, read_structure
from diffio_async.sandbox.audio.timeline import Decoder, Track, output_channels

_SILENT = 10 ** (-70 / 20)
_STEREO = 2  # channels


def choose_track(source: Path, limits: Limits) -> Track:
    """Return the main sound track, or if it is silent the first that is not.

    Raises:
        CannotRestore: There is no sound, or it cannot be decoded.
        OSError: The file cannot be read.
    """
    links = read_structure(source).links
    if counts := [*_link_channels(source, links)]:
        return Track((), max(counts), links=links)
    with open_media(source) as container:
        stream = find_audio(container)
        check_encryption(container, stream, source)
        best = stream.index
        others = [
            other
            for other in container.streams.audio
            if other.index != best
            and is_decodable(other)
            and is_sound_codec(other.codec_context.codec.canonical_name)
        ]
        streams = (stream, *others)
        channels = {each.index: output_channels(each) for each in streams}
        many = {each.index for each in streams if each.codec_context.channels > _STEREO}
        names = {s.index: f"track {n}" for n, s in enumerate(container.streams.audio, start=1)}
    if not others and not many:
        return Track((best,), channels[best])
    main = _with_continuations(source, best) if others else (best,)
    candidates = [main, *((index,) for index in channels if index not in main)]
    tracks = [Track(given, max(channels[i] for i in given)) for given in candidates]
    attempts = [
        *tracks,
        *(evolve(t, evenly=True, channels=1) for t in tracks if many.intersection(t.streams)),
    ]
    chosen = next((t for t in attempts if _has_sound(source, t, limits)), tracks[0])
    if len(tracks) == 1:
        return chosen
    warning = (
        f"of the {len(tracks)} sound tracks in this file,"
        f" only {names[chosen.streams[0]]} was restored"
    )
    if chosen.streams != tracks[0].streams:
        warning += f", because {names[best]} is silent"
    return evolve(chosen, warnings=(warning,))


def _link_channels(source: Path, links: Iterable[Link]) -> Iterator[int]:
    for link in links:
        with open_media(source, link) as container:
            if container.streams.audio:
                stream = find_audio(container)
                check_encryption(container, stream, source)
                yield output_channels(stream)


def _with_continuations(source: Path, main: int) -> tuple[int, ...]:
    """Return the main stream, and those of which each begins where the one before ends.

    Recorders of broadcasts give the sound of the next programme another id.
    """
    spans: dict[int, tuple[float, float]] = {}
    with open_media(source) as container:
        clock = Clock(container)
        for packet in packets(container, *container.streams.audio):
            time = clock.adjust(packet)
            if time is not None:
                end = time + float((packet.duration or 0) * packet.time_base)
                first, last = spans.get(packet.stream_index, (time, end))
                spans[packet.stream_index] = min(first, time), max(last, end)
    chain, end = [main], spans.pop(main, (0.0, math.inf))[1]
    while later := {i: span for i, span in spans.items() if span[0] > end - RESTART}:
        following = min(later, key=lambda i: later[i][0])
        chain.append(following)
        end = spans.pop(following)[1]
    return tuple(chain)


def _has_sound(source: Path, track: Track, limits: Limits) -> bool:
    length = 0
    try:
        for block in Decoder(source, track, limits).blocks(lambda _: None):
            if len(block) and float((block - block.mean(axis=0)).std()) > _SILENT:
                return True
            length += len(block)
            limits.check(samples=length, decoded_bytes=0, file_size=0)
    except CannotRestore:
        pass
    return False


@frozen
class Choice:
    """An engine, and the share of the unprocessed sound that is mixed into its output."""

    engine: str
    dry: float


@frozen
class Trial:
    """The trial of an engine on an excerpt.

    Attributes:
        choice: The engine, and the share that makes the error smallest.
        error: The expected power of noise and damage with that share.
        output: The output of the engine alone.
    """

    choice: Choice
    error: float
    output: Block


_EXCERPT_SECONDS = 4
_EXCERPTS = 4
_MIN_DAMAGE = 0.01
"""Damage of any engine relative to speech, however little is measured: -20 dB."""

_MAX_DRY = 0.8
"""A recording of which more than this share would be kept is left as it is."""

_RESIDUES = {"deepfilter": 0.02, "afftdn": 0.05, "rnnoise": 0.2}
"""Share of the steady noise that remains in speech, where it cannot be measured."""

_MIN_CLICKS = 10**-2.5
"""Power of clicks relative to speech: voices have sounds like clicks of -30 dB and less."""

_UNSTEADY = 6
"""Power of the remaining noise relative to its steady part: what remains comes and goes."""


def choose(sound: SoundFile, name: str | None = None) -> Choice:
    """Choose an engine and its strength by trying it on excerpts of a recording.

    Args:
        sound: The recording; 16 seconds of it are tried.
        name: An engine, or None for the best that is installed.

    Raises:
        ValueError: There is no engine of that name.
        RuntimeError: The engine is not installed.
    """
    names = installed_engines() if name is None else [name]
    best = min(try_engines(excerpt_of(sound), names), key=lambda trial: trial.error)
    return best.choice


def has_clicks(excerpt: Block) -> bool:
    """Return whether clicks are louder than the steady noise, and not part of a voice."""
    before = _measured(excerpt)
    cleaned = without_clicks([excerpt], len(excerpt), 1)
    clicks = float(np.square(excerpt - np.concatenate(list(cleaned))).mean())
    return clicks > max(before.noise, _MIN_CLICKS * before.active)


def try_engines(excerpt: Block, names: Iterable[str]) -> Iterator[Trial]:
    """Try each engine on one channel of sound.

    What an engine removes from speech beyond the steady noise is damage. The share of the
    unprocessed sound that minimises the sum of damage and noise follows from both powers, so that
    a clean recording is hardly changed.
    """
    before = _measured(excerpt)
    filtered = np.concatenate(list(high_pass([excerpt], 1)))
    noise, speech = before.noise, max(before.active - before.noise, 0.0)
    for name in names:
        engine = make_engine(name, 1, before)
        try:
            blocks = aligned_output([excerpt], 1, engine, input_gain(before))
            output = np.concatenate(list(fit_length(blocks, len(excerpt), 1)))
        finally:
            engine.close()
        damage = max(_damage(filtered, output), _MIN_DAMAGE * speech) + _RESIDUES[name] * noise
        total = noise + damage
        dry = damage / total if total else 1.0
        choice = Choice(name, 1.0 if dry > _MAX_DRY else dry)
        yield Trial(choice, noise * dry, output)


def excerpt_of(sound: SoundFile) -> Block:
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
    """Return the power of the error in an engine's output, by what it removed and what it left.

    Args:
        filtered: The engine's input, without rumble.
        output: The engine's output.
    """
    before, removed = _measured(filtered), _measured(filtered - output)
    from_speech = float(removed.powers[before.loud_frames].mean()) - before.noise
    return max(from_speech, 0.0) + _UNSTEADY * _measured(output).noise
