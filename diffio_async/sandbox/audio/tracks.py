"""The choice of the sound track to restore."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from attrs import evolve

from diffio_async.sandbox.audio.decoding import (
    CannotRestore,
    Limits,
    Link,
    check_encryption,
    find_audio,
    is_decodable,
    is_sound_codec,
    ogg_links,
    open_media,
)
from diffio_async.sandbox.audio.timeline import (
    RESTART,
    Clock,
    Decoder,
    Track,
    output_channels,
    packets,
)

_SILENT = 10 ** (-70 / 20)
_STEREO = 2  # channels


def choose_track(source: Path, limits: Limits) -> Track:
    """Return the main sound track, or if it is silent the first that is not.

    Raises:
        CannotRestore: There is no sound, or it cannot be decoded.
        OSError: The file cannot be read.
    """
    links = tuple(ogg_links(source))
    if links:
        return Track((), max(_link_channels(source, links)), links=links)
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
    candidates: list[tuple[int, ...]] = [(index,) for index in channels]
    after = _continuation(source, best) if others else None
    if after is not None:
        candidates[0] = (best, after)
        candidates.remove((after,))
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
            yield output_channels(find_audio(container))


def _continuation(source: Path, main: int) -> int | None:
    """Return the stream that begins where the main one ends, or None.

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
    if main not in spans:
        return None
    later = [i for i, (first, _) in spans.items() if i != main and first > spans[main][1] - RESTART]
    return min(later, key=lambda i: spans[i][0], default=None)


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
