"""Signal-to-distortion ratio before and after the sandbox's denoisers, for voices in noise.

    python benchmarks/denoisers.py [--noises KIND ...] [--levels DB ...] [--voice FILE ...]
    python benchmarks/denoisers.py --speed

The first prints, for each kind of noise and each level, the median of the ratio before and after
over all voices, and the least and the greatest change. `choice` is what the sandbox does with all
engines, the other columns are installations with one engine. `chosen` has the first letter of the
engine and the share of the unprocessed sound for each voice. Tests import voices and noises.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import av
import numpy as np
from attrs import frozen
from harness import Figures, parser, print_heading, print_line, print_table, save
from numpy.typing import NDArray

from diffio_async.sandbox.audio.choices import Choice, has_clicks, try_engines
from diffio_async.sandbox.audio.denoising import (
    aligned_output,
    input_gain,
    installed_engines,
    make_engine,
    without_clicks,
)
from diffio_async.sandbox.audio.sound import RATE, Meter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).parents[1]
Signal: TypeAlias = NDArray[np.float64]

#: Voices on which nothing in the sandbox was tuned: two people, flite's rms, and espeak-ng.
VOICES = {
    **{path.stem: path for path in sorted((ROOT / "tests/sandbox/audio/voices").glob("*.flac"))},
    "flite": ROOT / "samples" / "clean-speech.flac",
}
STEADY = ("white", "pink", "brown", "hum")
NOISES = (*STEADY, "babble", "clicks", "cafe")
LEVELS = (40, 20, 10, 5, 0, -5)  # dB
MAX_SECONDS = 4
CEILING = 60.0  # dB; above, differences are of no interest


def load(path: Path) -> Signal:
    """Return a recording as one channel at 48 kHz, cut to four seconds."""
    pieces: list[Signal] = []
    with av.open(str(path)) as container:
        resampler = av.AudioResampler("flt", "mono", RATE)
        for frame in (*container.decode(audio=0), None):
            pieces += [out.to_ndarray()[0].astype(np.float64) for out in resampler.resample(frame)]
    return np.concatenate(pieces)[: MAX_SECONDS * RATE]


def coloured(length: int, slope: float, chance: np.random.Generator) -> Signal:
    """Return noise whose amplitude falls with frequency to the power of `slope`."""
    spectrum = np.fft.rfft(chance.standard_normal(length))
    spectrum /= np.maximum(np.fft.rfftfreq(length, 1 / RATE), 20.0) ** slope
    return np.asarray(np.fft.irfft(spectrum, length))


def babble(length: int, voices: list[Signal], chance: np.random.Generator) -> Signal:
    """Return eight people at once: each voice at several speeds, and so at several pitches."""
    total = np.zeros(length)
    for n in range(8):
        voice, speed = voices[n % len(voices)], 0.8 + 0.06 * n
        positions = np.arange(length) * speed + chance.integers(len(voice))
        total += np.interp(positions % len(voice), np.arange(len(voice)), voice) / voice.std()
    return total


def clicks(length: int, chance: np.random.Generator) -> Signal:
    """Return fifteen clicks a second, of a millisecond each."""
    total, decay = np.zeros(length), np.exp(-np.arange(60) / 12)
    for start in chance.integers(0, length - 60, length * 15 // RATE):
        total[start : start + 60] += decay * chance.standard_normal(60)
    return total


def noise(kind: str, length: int, voices: list[Signal]) -> Signal:
    """Return noise of one kind with a mean power of 1; the same for the same arguments.

    Args:
        kind: One of `NOISES`.
        length: The number of samples.
        voices: The voices of babble.
    """
    chance, seconds = np.random.default_rng(11), np.arange(length) / RATE
    if kind == "hum":
        parts = [np.sin(2 * np.pi * 50 * k * seconds + k) / k for k in (1, 2, 3, 5, 7)]
        sound = np.sum(parts, axis=0)
    elif kind == "babble":
        sound = babble(length, voices, chance)
    elif kind == "clicks":
        sound = clicks(length, chance)
    elif kind == "cafe":  # people, noise that swells, and crockery
        people, hall = babble(length, voices, chance), coloured(length, 0.5, chance)
        hall *= 1 + 0.9 * np.sin(2 * np.pi * 0.7 * seconds)
        sound = people / people.std() + hall / hall.std() + 0.5 * _crockery(length, chance)
    else:
        sound = coloured(length, {"white": 0.0, "pink": 0.5, "brown": 1.0}[kind], chance)
    return np.asarray(sound / np.sqrt(np.square(sound).mean()))


def _crockery(length: int, chance: np.random.Generator) -> Signal:
    total, seconds = np.zeros(length), np.arange(RATE // 5) / RATE
    for start in chance.integers(0, length - len(seconds), max(length * 2 // RATE, 1)):
        pitch = chance.uniform(1500, 5000)
        total[start : start + len(seconds)] += np.sin(2 * np.pi * pitch * seconds) * np.exp(
            -seconds * 25
        )
    return np.asarray(total / total.std())


def mix(voice: Signal, sound: Signal, level: float) -> Signal:
    """Add noise so that speech, without its pauses, is `level` dB louder; peaks stay within ±1."""
    frames = voice[: len(voice) // 4800 * 4800].reshape(-1, 4800)
    powers = np.square(frames).mean(axis=1)
    speech = powers[powers >= np.quantile(powers, 0.99) * 1e-3].mean()
    mixed = voice + sound * np.sqrt(speech) / 10 ** (level / 20)
    return np.asarray(mixed / max(1.0, float(np.abs(mixed).max())))


def mixture(voices: dict[str, Signal], name: str, kind: str, level: float) -> Signal:
    """Return one voice with noise; the other voices are the babble."""
    voice = voices[name]
    others = [other for key, other in voices.items() if key != name] or [voice[::-1]]
    return mix(voice, noise("white" if kind == "clean" else kind, len(voice), others), level)


def si_sdr(clean: Signal, sound: Signal) -> float:
    """Return the scale-invariant signal-to-distortion ratio in dB, 60 at most."""
    clean, sound = clean - clean.mean(), sound - sound.mean()
    wanted = clean * (sound @ clean) / (clean @ clean)
    error = sound - wanted
    ratio = float(wanted @ wanted) / max(float(error @ error), 1e-20)
    return min(CEILING, 10 * float(np.log10(ratio)))


@frozen
class Measured:
    """The ratio in dB after denoising, and what was chosen."""

    after: float
    choice: Choice


def measured(clean: Signal, mixed: Signal, engines: list[str]) -> dict[str, Measured]:
    """Return what each engine makes of a recording if no other is installed, and `choice`.

    Args:
        clean: The voice.
        mixed: The voice with noise: at most 16 seconds, of which the sandbox tries all.
        engines: The engines that are installed.
    """
    block = mixed.astype(np.float32)[:, None]
    if has_clicks(block):
        block = np.concatenate(list(without_clicks([block], len(block), 1)))
    trials = list(try_engines(block, engines))
    results = {}
    for trial in trials:
        after = trial.output + trial.choice.dry * (block - trial.output)
        ratio = si_sdr(clean, after[:, 0].astype(np.float64))
        results[trial.choice.engine] = Measured(ratio, trial.choice)
    best = min(trials, key=lambda trial: trial.error).choice.engine
    return {"choice": results[best], **results}


def cells(
    kinds: Iterable[str] = ("clean", *NOISES), levels: Iterable[int] = LEVELS
) -> Iterator[tuple[str, int]]:
    """Yield each kind of noise at each level; a clean recording is 120 dB of white noise."""
    for kind in kinds:
        yield from ((kind, level) for level in ([120] if kind == "clean" else levels))


def print_grid(
    voices: dict[str, Signal], engines: list[str], rows: Iterable[tuple[str, int]]
) -> list[Figures]:
    """Print one row per cell: the median after, and the worst and the best change; return them."""
    columns, figures = ["choice", *engines], list[Figures]()
    print_heading("noise", "dB", "before", *columns, "chosen")
    for kind, level in rows:
        before, found = [], []
        for name, voice in voices.items():
            mixed = mixture(voices, name, kind, level)
            before.append(si_sdr(voice, mixed))
            found.append(measured(voice, mixed, engines))
        texts = []
        for column in columns:
            after = [results[column].after for results in found]
            changes = np.subtract(after, before)
            texts.append(f"{np.median(after):.1f} ({changes.min():+.1f} … {changes.max():+.1f})")
            ratios = {"before_db": float(np.median(before)), "after_db": float(np.median(after))}
            figures.append({"what": f"{kind} noise at {level} dB", "who": column, **ratios})
        choices = [results["choice"].choice for results in found]
        chosen = " ".join(f"{choice.engine[0]}{choice.dry:.2f}" for choice in choices)
        shown = "" if kind == "clean" else str(level)
        print_line(kind, shown, f"{np.median(before):.1f}", *texts, chosen)
    return figures


def print_speed() -> list[Figures]:
    """Print the CPU time of each engine per second of sound in one channel; return the rows."""
    voice = np.tile(load(VOICES["flite"]), 10)
    mixed = mix(voice, noise("pink", len(voice), []), 10).astype(np.float32)[:, None]
    meter = Meter()
    meter.add(mixed)
    rows: list[Figures] = []
    for name in installed_engines():
        spent = []
        for _ in range(5):
            engine, start = make_engine(name, 1, meter), time.process_time()
            for _ in aligned_output([mixed], 1, engine, input_gain(meter)):
                pass
            spent.append((time.process_time() - start) / len(mixed) * RATE)
            engine.close()
        rows.append({"what": "one second", "who": name, "cpu_seconds": float(np.median(spent))})
    print_table(rows)
    return rows


def main() -> None:
    """Print a table in Markdown."""
    given = parser(__doc__)
    given.add_argument("--voice", type=Path, action="append", help="a clean recording of speech")
    given.add_argument("--engine", action="append", choices=installed_engines())
    given.add_argument("--noises", nargs="+", default=["clean", *NOISES])
    given.add_argument("--levels", type=int, nargs="+", default=list(LEVELS))
    given.add_argument("--speed", action="store_true", help="measure CPU time instead")
    options = given.parse_args()
    if options.speed:
        rows = print_speed()
    else:
        paths = {path.stem: path for path in options.voice} if options.voice else VOICES
        voices = {name: load(path) for name, path in paths.items()}
        engines = options.engine or installed_engines()
        rows = print_grid(voices, engines, cells(options.noises, options.levels))
    save(rows, options)


if __name__ == "__main__":
    main()
