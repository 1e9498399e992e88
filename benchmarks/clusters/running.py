"""A cluster of processes, and a batch on it that is measured."""

from __future__ import annotations

import json
import socket
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trustme
from attrs import define, field
from harness import Figures, process, sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from harness import Process

MEMBER = str(Path(__file__).with_name("member.py"))
_SAMPLE_SECONDS = 0.25


@define(kw_only=True)
class Cluster:
    """The processes of a cluster; `environment` is that of its service.

    Attributes:
        prefixes: Commands that start each worker in an environment of its own.
        host: Address at which the members listen.
    """

    stack: ExitStack
    environment: Mapping[str, str]
    folder: Path
    tls: Mapping[str, str] | None = None
    host: str = "127.0.0.1"
    threads: int = 8
    members: dict[str, Process] = field(factory=dict)
    addresses: dict[str, str] = field(factory=dict)

    def start(self, name: str, *prefix: str, host: str | None = None, **settings: Any) -> str:
        """Start a member, whose role is the first word of its name; return its address."""
        given = {
            "tls": self.tls,
            "host": host or self.host,
            "threads": self.threads,
            "folder": str(self.folder),
            "scheduler": self.addresses.get("scheduler"),
            **settings,
        }
        command = (*prefix, sys.executable, MEMBER, name.split(maxsplit=1)[0], json.dumps(given))
        member = self.stack.enter_context(process(*command, variables=self.environment))
        self.members[name], self.addresses[name] = member, member.read()
        return self.addresses[name]

    def start_workers(self, count: int) -> None:
        """Start a scheduler and workers."""
        self.start("scheduler")
        for number in range(count):
            self.start(f"worker {number}")

    def figures(self) -> dict[str, Figures]:
        """Return what each member used so far."""
        return {name: member.request(None) for name, member in self.members.items()}

    def restore(
        self,
        source: Path,
        *,
        files: int,
        in_flight: int = 250,
        until: Callable[[Figures], bool] | None = None,
        on_sample: Callable[[dict[str, Figures]], None] | None = None,
    ) -> dict[str, Figures]:
        """Restore all files; return what each member used for it.

        Args:
            source: The folder of the files.
            files: Their number.
            in_flight: Maximum number of files in flight.
            until: When to stop, by the figures of the coordinator; None: at the end.
            on_sample: Called four times a second with the figures of all members.

        Raises:
            RuntimeError: A file failed.
        """
        to = str(source.with_name("out"))
        self.start("coordinator", source=str(source), to=to, in_flight=in_flight)
        before = self.figures()
        self.members["coordinator"].request(True)
        while True:
            time.sleep(_SAMPLE_SECONDS)
            now = self.figures()
            if now["coordinator"]["failed"]:
                raise RuntimeError(now["coordinator"]["failed"])
            if on_sample is not None:
                on_sample(now)
            if now["coordinator"]["done"] == files or (until and until(now["coordinator"])):
                break
        return {name: used(before[name], each) for name, each in now.items()}


def used(before: Figures, after: Figures) -> Figures:
    """Return what a member used between two samples."""
    return {
        **after,
        "cpu_seconds": after["cpu_seconds"] - before["cpu_seconds"],
        "grown_mib": after["peak_mib"] - before["resident_mib"],
    }


def write_files(folder: Path, count: int, size: int) -> Path:
    """Write recordings, all of them different; return their folder."""
    source = folder / "in"
    source.mkdir()
    for number in range(count):
        (source / f"{number:06}.wav").write_bytes(f"{number:08}".encode() * (size // 8))
    return source


def write_certificates(folder: Path) -> dict[str, str]:
    """Write an authority and a certificate for localhost; return their paths."""
    authority, certificate = folder / "authority.pem", folder / "certificate.pem"
    issuer = trustme.CA()
    issuer.cert_pem.write_to_path(authority)
    issued = issuer.issue_cert("localhost", "127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(certificate)
    return {"authority": str(authority), "certificate": str(certificate)}


def free_port() -> int:
    """Return a port of loopback that is free."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def on_sandbox(
    settings: Mapping[str, object], *, tls: bool = False, threads: int = 8
) -> Iterator[Cluster]:
    """Yield a cluster without members, whose service is a sandbox, over TLS if wanted."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        files = write_certificates(folder) if tls else None
        variables: dict[str, str] = {}
        if files is not None:
            port = free_port()
            command = (sys.executable, MEMBER, "relay", json.dumps({"tls": files, "port": port}))
            url = stack.enter_context(process(*command)).read()
            settings = {**settings, "port": port, "public_url": url}
            variables = {"SSL_CERT_FILE": files["authority"]}
        environment, _ = stack.enter_context(sandbox(settings))
        variables = {**environment, **variables}
        yield Cluster(stack=stack, environment=variables, folder=folder, tls=files, threads=threads)


@contextmanager
def on_sink(*, host: str = "127.0.0.1", threads: int = 8) -> Iterator[Cluster]:
    """Yield a cluster without members, whose service drops uploads and makes results up."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        port = stack.enter_context(
            process(sys.executable, "-m", "moving.sink", "--host", host)
        ).read()
        environment = {
            "DIFFIO_API_KEY": "diffio_live_benchmark",
            "DIFFIO_API_BASE_URL": f"http://{host}:{port}/v1",
            "DIFFIO_ALLOW_INSECURE_HTTP": "1",
        }
        yield Cluster(
            stack=stack, environment=environment, folder=folder, host=host, threads=threads
        )
