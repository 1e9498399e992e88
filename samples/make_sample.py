"""Create the sample recordings: a synthesised voice, alone and with noise.

It needs flite (Debian and Ubuntu: `apt-get install flite`), NumPy and PyAV, and is run as

    python samples/make_sample.py

The noise is seeded: the same flite, NumPy and ffmpeg make the same files again.
"""

import shutil
import subprocess
import sys
import tempfile
import wave
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).parent
RATE = 16_000
VOICE = "rms"
TEXT = (
    "We met by the river in the morning. The old bridge was closed, and nobody knew why. "
    "I called the office three times before somebody answered the phone."
)
SPEECH_TO_NOISE_DB = 5.0
SEED = 46
PEAK = 0.9

Sound = NDArray[np.float64]


def speak(text: str, voice: str) -> Sound:
    """Return speech at 16 kHz, mono, within ±1, with half a second of silence at both ends."""
    flite = shutil.which("flite")
    if flite is None:
        sys.exit("flite is not installed: apt-get install flite")
    with tempfile.TemporaryDirectory() as folder:
        spoken = Path(folder) / "speech.wav"
        subprocess.run([flite, "-voice", voice, "-t", text, "-o", spoken], check=True)  # noqa: S603
        with wave.open(str(spoken)) as reader:
            if (reader.getframerate(), reader.getnchannels()) != (RATE, 1):
                sys.exit(f"the voice {voice} does not speak at {RATE} Hz, mono")
            samples = np.frombuffer(reader.readframes(reader.getnframes()), np.int16)
    return np.asarray(np.pad(samples / 32768.0, RATE // 2))


def shaped(white: Sound, slope: float, corner: float) -> Sound:
    """Return noise that falls off as (frequency / corner) ** -slope above `corner` hertz."""
    spectrum = np.fft.rfft(white)
    frequency = np.fft.rfftfreq(len(white), 1 / RATE)
    coloured = np.fft.irfft(spectrum / (1 + (frequency / corner) ** slope), len(white))
    return np.asarray(coloured / coloured.std())


def background_noise(length: int, seed: int) -> Sound:
    """Return the noise of an uneven fan, mains hum and the hiss of a cheap microphone."""
    chance = np.random.default_rng(seed)
    time = np.arange(length) / RATE
    fan = shaped(chance.standard_normal(length), 2.0, 200.0)
    fan *= 1 + 0.25 * np.sin(2 * np.pi * 1.7 * time)
    hum = sum(
        (
            np.sin(2 * np.pi * 50 * k * time + chance.uniform(0, 2 * np.pi)) / k
            for k in (1, 2, 3, 5)
        ),
        np.zeros(length),
    )
    hiss = chance.standard_normal(length)
    return 1.0 * fan + 0.4 * hum + 0.5 * hiss


def at_ratio(speech: Sound, noise: Sound, ratio_db: float) -> Sound:
    """Scale the noise to a speech-to-noise ratio over the whole recording."""
    wanted = np.sqrt((speech**2).mean()) / 10 ** (ratio_db / 20)
    return np.asarray(noise * (wanted / np.sqrt((noise**2).mean())))


def as_pcm(sound: Sound) -> NDArray[np.int16]:
    """Convert to 16-bit samples."""
    return np.round(sound * 32767).astype(np.int16)


def write_wav(path: Path, sound: Sound) -> None:
    """Write 16-bit mono PCM."""
    with wave.open(str(path), "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(RATE)
        writer.writeframes(as_pcm(sound).tobytes())


def write_flac(path: Path, sound: Sound) -> None:
    """Write 16-bit mono FLAC."""
    with av.open(str(path), "w", format="flac") as container:
        stream = container.add_stream("flac", rate=RATE)
        stream.layout = "mono"
        stream.format = "s16"
        frame = av.AudioFrame.from_ndarray(as_pcm(sound)[None, :], format="s16", layout="mono")
        frame.sample_rate = RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def main() -> None:
    """Write both recordings beside this file."""
    clean = speak(TEXT, VOICE)
    noise = at_ratio(clean, background_noise(len(clean), SEED), SPEECH_TO_NOISE_DB)
    # One scale for both, so that the clean recording is exactly the speech within the noisy one.
    scale = PEAK / np.abs(clean + noise).max()
    write_flac(HERE / "clean-speech.flac", clean * scale)
    write_wav(HERE / "noisy-speech.wav", (clean + noise) * scale)
    print(f"{len(clean) / RATE:.2f} s of speech at {SPEECH_TO_NOISE_DB:.0f} dB over the noise")


if __name__ == "__main__":
    main()
