"""Uploads and downloads by this package, the published SDK and curl.

    python benchmarks/transfers.py [--quick] [--only "disk,link up"] [--json FILE] [--profile]

The server is a separate process, and so is each run of a contender; they take turns. Every run
warms up with one small file each way first. What each figure means is in docs/benchmarks.md.
"""

from __future__ import annotations

import json
import os
import shutil
import ssl
import sys
import tempfile
import urllib.request
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trustme
from attrs import define, field, frozen
from harness import MIB, Figures, compare, parser, print_table, process, save
from moving.contenders import curl, pieces, ranges, sdk
from moving.profiling import print_profile
from moving.sink import BLOCK, content

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

SMALL = 256 * 1024


@frozen
class Scene:
    """One measurement: `files` files of `size` bytes over one kind of link."""

    group: str
    direction: str
    tls: bool
    files: int
    size: int

    @property
    def name(self) -> str:
        """Return the name in the table."""
        many = " small" if self.files > 1 else ""
        return f"{self.group}{many} {self.direction}{' TLS' if self.tls else ''}"


def scenes(args: argparse.Namespace) -> list[Scene]:
    """Return the scenes of this run."""
    size = args.size * MIB
    many = 20 if args.quick else 200
    both = [(direction, tls) for tls in (False, True) for direction in ("up", "down")]
    every = [
        *(Scene("loopback", direction, tls, 1, size) for direction, tls in both),
        Scene("disk", "down", True, 1, size),
        *(Scene("link", direction, True, 1, size) for direction in ("up", "down")),
        *(Scene("loopback", direction, True, many, SMALL) for direction in ("up", "down")),
        *(Scene("link", direction, True, many, SMALL) for direction in ("up", "down")),
    ]
    return [scene for scene in every if any(word in scene.name for word in args.only.split(","))]


@define
class Testbed:
    """Servers, files and contenders of a run."""

    folder: Path
    memory: Path
    authority: Path
    ports: dict[tuple[str, bool], int]
    python: str | None
    on: set[int] | None
    connections: dict[str, int] = field(factory=dict)
    also: str | None = None

    def base(self, scene: Scene) -> str:
        """Return the URL of the scene's server, or of the link to it."""
        kind = "link" if scene.group == "link" else "sink"
        return f"http{'s' * scene.tls}://localhost:{self.ports[kind, scene.tls]}"

    def run(self, scene: Scene, contender: str) -> Figures:
        """Run one contender, and return its figures."""
        self._at_once(scene)
        found = self._moved(scene, contender)
        total = scene.files * scene.size
        found["connections"] = self._at_once(scene)
        if contender == "diffio_async":
            self.connections[scene.name] = found["connections"]
        found["mb_per_s"] = total / 1e6 / found["seconds"]
        found["cpu_s_per_gb"] = found["cpu_seconds"] / (total / 1e9)
        return found

    def watched(self, scene: Scene, what: str) -> Figures:
        """Run this package untimed, with the meter `lag` or `profile`."""
        self.also = what
        try:
            return self._moved(scene, "diffio_async")
        finally:
            self.also = None

    def _moved(self, scene: Scene, contender: str) -> dict[str, Any]:
        # A real disk would dominate the times, and only this package waits for `fsync`.
        folder = self.folder if scene.group == "disk" else self.memory
        results = folder / "results"
        results.mkdir()
        _memory_at_hand(folder / "balloon", 2 * scene.files * scene.size)
        try:
            with _held_to(self.on):
                moved = self._curl if contender == "curl" else self._sdk
                return moved(scene, contender, results)
        finally:
            shutil.rmtree(results)

    def _sources(self, scene: Scene) -> list[str]:
        paths = [self.folder / f"{scene.size}-{number}" for number in range(scene.files)]
        for path in paths:
            if not path.exists():
                path.write_bytes(content(0, scene.size))
        return [str(path) for path in paths]

    def _sdk(self, scene: Scene, contender: str, results: Path) -> dict[str, Any]:
        up = scene.direction == "up"
        order = {
            "base": self.base(scene),
            "authority": str(self.authority) if scene.tls else None,
            "warm_up": str(self.folder / "warm"),
            "folder": str(results),
            "sources": self._sources(scene) if up else [],
            "results": [] if up else [scene.size] * scene.files,
            "also": self.also,
        }
        own = contender == "diffio_async"
        python, module = (sys.executable, "ours") if own else (self.python or "", "published")
        return sdk(python, module, order, self.authority if scene.tls else None)

    def _curl(self, scene: Scene, _: str, results: Path) -> dict[str, Any]:
        """Use as many connections as this package had on the link, and otherwise one."""
        connections = self.connections.get(scene.name, 1) if scene.group == "link" else 1
        authority = self.authority if scene.tls else None
        base = self.base(scene)
        if scene.direction == "up":
            sources = [Path(path) for path in self._sources(scene)]
            if connections > 1 and scene.files == 1:
                parts = self.folder / "parts"
                parts.mkdir(exist_ok=True)
                sources = sorted(parts.iterdir()) or pieces(sources[0], parts)
            return curl(base, authority, sources=sources, connections=connections)
        spans = [""] * scene.files
        if connections > 1 and scene.files == 1:
            spans = ranges(scene.size, connections)
        targets = [(span, results / str(number)) for number, span in enumerate(spans)]
        return curl(base, authority, results=targets, size=scene.size, connections=connections)

    def _at_once(self, scene: Scene) -> int:
        """Return the maximum number of concurrent bodies since the last call."""
        trust = ssl.create_default_context(cafile=self.authority) if scene.tls else None
        url = f"http{'s' * scene.tls}://localhost:{self.ports['sink', scene.tls]}/stats"
        with urllib.request.urlopen(url, context=trust) as response:  # noqa: S310 - our own sink
            counts: dict[str, int] = json.load(response)
        return counts["at_once"]


def _memory_at_hand(path: Path, size: int) -> None:
    """Make the system keep that much free memory, since a virtual machine returns unused memory.

    Obtaining it again takes up to 1.5 s per GiB (also for file pages), which would be
    attributed to the contender that runs first.
    """
    with path.open("wb") as file:
        for _ in range(-(-size // len(BLOCK))):
            file.write(BLOCK)
    path.unlink()


@contextmanager
def _held_to(cores: set[int] | None) -> Iterator[None]:
    """Restrict child processes that are started meanwhile to these cores."""
    if cores is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def testbed(args: argparse.Namespace) -> Iterator[Testbed]:
    """Provide servers, certificates and files while the body runs."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=args.folder)))
        memory = Path("/dev/shm")  # noqa: S108 - a folder of our own in it
        free = shutil.disk_usage(memory).free if memory.is_dir() else 0
        inside = memory if free > 4 * args.size * MIB else folder
        memory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=inside)))
        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / "authority.pem")
        pem = folder / "sink.pem"
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(pem)
        (folder / "warm").write_bytes(b"warm" * 1000)
        cores = sorted(os.sched_getaffinity(0)) if args.pin else []
        ports: dict[tuple[str, bool], int] = {}
        with _held_to(set(cores[:-1]) or None):
            for tls in (False, True):
                for name in ("sink", "link"):
                    words = [str(pem)] if tls else []
                    if name == "link":
                        words = [str(ports["sink", tls])]
                    command = (sys.executable, "-m", f"moving.{name}", *words)
                    ports[name, tls] = stack.enter_context(process(*command)).read()
        yield Testbed(
            folder=folder,
            memory=memory,
            authority=folder / "authority.pem",
            ports=ports,
            python=args.published,
            on=set(cores[-1:]) or None,
        )


def main() -> None:
    """Measure, and print a table."""
    given = parser(__doc__, published=True)
    given.add_argument("--only", default="", help="words; scenes with one of them in their name")
    given.add_argument("--rounds", type=int, help="runs of each contender (3; --quick: 1)")
    given.add_argument("--size", type=int, help="MiB of the large file (1024; --quick: 64)")
    given.add_argument("--quick", action="store_true", help="a small run, to see that all works")
    given.add_argument("--pin", action="store_true", help="contenders on a core of their own")
    given.add_argument("--folder", type=Path, help="for the files; a temporary one")
    given.add_argument("--profile", action="store_true", help="where ours spends its time")
    args = given.parse_args()
    args.size = args.size or (64 if args.quick else 1024)
    args.rounds = args.rounds or (1 if args.quick else 3)
    present = ["diffio_async", *(["published"] if args.published else [])]
    present += ["curl"] if shutil.which("curl") else []
    rows: list[Figures] = []
    with testbed(args) as place:
        for scene in scenes(args):
            contenders = {name: partial(place.run, scene, name) for name in present}
            found = compare(scene.name, contenders, rounds=args.rounds, against="diffio_async")
            found[0] |= place.watched(scene, "lag")
            print_table(found)
            if args.profile:
                found[0] |= place.watched(scene, "profile")
                print_profile(found[0]["profile"])
            rows += found
    save(rows, args)


if __name__ == "__main__":
    main()
