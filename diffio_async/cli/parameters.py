"""The options that several commands have in common."""

from typing import Annotated

import typer

from diffio_async.models.generations import DownloadType

EXIT_CODES = (
    "Exit codes: 0 all is there; 1 at least one failed; 2 wrong usage or configuration, "
    "nothing was sent; 130 interrupted (Ctrl-C); 143 terminated."
)

KINDS: dict[str, DownloadType] = {
    "audio": "audio",
    "video": "video",
    "transcript": "transcript",
}


def _kind(value: str) -> str:
    if value not in KINDS:
        raise typer.BadParameter(f"choose audio, video or transcript, not {value!r}.")
    return value


KindOption = Annotated[
    str,
    typer.Option(
        "--type",
        metavar="|".join(KINDS),
        help="What to fetch.",
        callback=_kind,
        autocompletion=lambda: [*KINDS],
    ),
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace results that exist.")]
JsonOption = Annotated[
    bool, typer.Option("--json", help="One JSON object per event, a line each, on stdout.")
]
TimeoutOption = Annotated[
    float | None,
    typer.Option(min=0, metavar="SECONDS", help="Wait at most so long for a generation."),
]
ProxyOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="The proxy; if not given, HTTPS_PROXY or ALL_PROXY, but for NO_PROXY. '' is none.",
    ),
]
CacertOption = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Trust the certificates of this PEM file instead."),
]
