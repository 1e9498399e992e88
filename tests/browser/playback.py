"""Record what a page plays, and find the recorded sound in the files."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import av
import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from playwright.async_api import Page

    Sound = NDArray[np.float32]

RATE = 48_000
_RECORD = """() => {
  const context = new AudioContext({ sampleRate: 48000 });
  const merger = context.createChannelMerger(2);
  for (const media of document.querySelectorAll("[data-side]:is(audio, video)")) {
    const channel = media.dataset.side === "before" ? 0 : 1;
    context.createMediaElementSource(media).connect(merger, 0, channel);
  }
  const recorder = context.createScriptProcessor(4096, 2, 1);
  merger.connect(recorder).connect(context.destination);
  const chunks = [[], []];
  recorder.onaudioprocess = ({ inputBuffer }) => {
    for (const side of [0, 1]) chunks[side].push(inputBuffer.getChannelData(side).slice());
  };
  globalThis.recorded = () => chunks.map((parts) => {
    const bytes = new Uint8Array(parts.length * 4096 * 4);
    parts.forEach((part, at) => bytes.set(new Uint8Array(part.buffer), at * 4096 * 4));
    let text = "";
    for (let at = 0; at < bytes.length; at += 8192) {
      text += String.fromCharCode(...bytes.subarray(at, at + 8192));
    }
    return btoa(text);
  });
}"""


async def start_recording(page: Page) -> None:
    """Record both players of a page, after their volume."""
    await page.evaluate(_RECORD)


async def recorded(page: Page) -> tuple[Sound, Sound]:
    """Return what the players before and after the restoration have played, at 48 kHz."""
    before, after = [
        np.frombuffer(base64.b64decode(text), np.float32)
        for text in await page.evaluate("recorded()")
    ]
    return before, after


def decode(path: Path) -> Sound:
    """Return the sound of a mono file at 48 kHz."""
    parts: list[Sound] = []
    resampler = av.AudioResampler("flt", "mono", RATE)
    with av.open(str(path)) as media:
        frames: list[Any] = [*media.decode(audio=0), None]
        for frame in frames:
            parts += [part.to_ndarray()[0] for part in resampler.resample(frame)]
    return np.concatenate(parts)


def level(sound: Sound) -> float:
    """Return the level of a sound in dB."""
    return float(10 * np.log10(np.mean(np.square(sound, dtype=np.float64)) + 1e-20))


def locate(part: Sound, sound: Sound) -> tuple[float, float]:
    """Return where a part is in a sound, in seconds, and their correlation (1 = the same)."""
    size = 1 << (len(sound) + len(part)).bit_length()
    product = np.fft.rfft(sound, size) * np.conj(np.fft.rfft(part, size))
    overlap = len(sound) - len(part)
    similarity = np.fft.irfft(product, size)[:overlap]
    energy = np.concatenate([[0.0], np.cumsum(np.square(sound, dtype=np.float64))])
    norm = np.sqrt((energy[len(part) :] - energy[: -len(part)])[:overlap] + 1e-9)
    scores = similarity / (norm * np.sqrt(np.sum(np.square(part, dtype=np.float64))) + 1e-12)
    best = int(np.argmax(scores))
    return best / RATE, float(scores[best])
