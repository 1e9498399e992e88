"""The file formats and codecs that recordings have; an upload is given to no others.

FFmpeg also reads formats that are programs (SBaGen makes sound from a few bytes of text), that name
other files or hosts (playlists), and that any text passes for (terminal art). A list of what is
allowed leaves those out, and whatever else a build of FFmpeg has.
"""

from functools import cache
from typing import TYPE_CHECKING

import av
from av.codec import Codec

if TYPE_CHECKING:
    from collections.abc import Iterable

_CONTAINERS = frozenset(
    """aac ac3 aiff amr amrnb amrwb ape asf ast au avi caf dsf dts dtshd dv eac3 flac flv
    g722 g729 gsm ircam ivf loas matroska mlp mov mp3 mpc mpc8 mpeg mpegts mxf nistsphere
    nut oga ogg oma ogv rm sox tak truehd tta voc w64 wav webm wsaud wtv wv xwma""".split()  # noqa: SIM905
)
# Opened only to say that there is no sound in them.
_STILL_PICTURES = frozenset({"bmp_pipe", "gif", "jpeg_pipe", "png_pipe", "tiff_pipe", "webp_pipe"})

_SOUND_CODECS = frozenset(
    """aac aac_latm ac3 alac amr_nb amr_wb ape atrac1 atrac3 atrac3al atrac3p atrac3pal cook
    dss_sp dsd_lsbf dsd_lsbf_planar dsd_msbf dsd_msbf_planar dts eac3 flac g723_1 g729 gsm
    gsm_ms ilbc imc mace3 mace6 mlp mp1 mp2 mp3 musepack7 musepack8 nellymoser opus qcelp
    qdm2 qdmc ra_144 ra_288 shorten sipr speex tak truehd truespeech tta vorbis wavpack
    wmalossless wmapro wmav1 wmav2 wmavoice xma1 xma2""".split()  # noqa: SIM905
)
_SOUND_FAMILIES = ("pcm_", "adpcm_")
# Pictures are copied, not decoded; these are decoded as far as it takes to learn their size.
_PICTURE_CODECS = frozenset(
    """av1 cinepak dnxhd dvvideo ffv1 flv1 h261 h263 h263i h263p h264 hevc indeo3 indeo5
    mjpeg mpeg1video mpeg2video mpeg4 msmpeg4v1 msmpeg4v2 msmpeg4v3 prores rv10 rv20 rv30
    rv40 svq1 svq3 theora vc1 vp3 vp6 vp6f vp8 vp9 vvc wmv1 wmv2 wmv3""".split()  # noqa: SIM905
)


def is_sound_codec(name: str) -> bool:
    """Return whether recordings have their sound in this codec, by FFmpeg's name of it."""
    return name in _SOUND_CODECS or name.startswith(_SOUND_FAMILIES)


@cache
def open_options() -> dict[str, str]:
    """Return the options with which FFmpeg opens an upload: formats, decoders and protocols."""
    formats = (
        name
        for name in av.formats_available
        # One demuxer may have several names: "mov,mp4,m4a,3gp,3g2,mj2".
        if (_CONTAINERS | _STILL_PICTURES).intersection(name.split(","))
    )
    return {
        "format_whitelist": _joined(formats),
        "codec_whitelist": _joined(filter(_is_allowed_decoder, av.codecs_available)),
        "protocol_whitelist": "file",
    }


def _is_allowed_decoder(name: str) -> bool:
    try:
        codec = Codec(name, "r")
    except ValueError:  # an encoder
        return False
    return is_sound_codec(codec.canonical_name) or codec.canonical_name in _PICTURE_CODECS


def _joined(names: "Iterable[str]") -> str:
    return ",".join(sorted(names))
