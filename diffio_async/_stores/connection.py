"""Connections to stores through obstore: one for each bucket, configured as the store's own tools.

Credentials come from the standard chain of the store alone: environment, instance role, and for
`s3://` profiles and SSO, which boto3 reads if it is installed.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import os
import re
import time
from datetime import timedelta
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar

from diffio_async._protocol.urls import is_http_url
from diffio_async._storage.threads import TrackedExecutor
from diffio_async._stores.failures import reason_of
from diffio_async.errors import ConfigurationError, ConnectionFailed, DiffioError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from obstore.store import ClientConfig, ObjectStore, RetryConfig

    from diffio_async._store_url import StoreUrl

T = TypeVar("T")

#: Seconds for one request: 4 MiB are read, or at most 64 MiB written. A web server may send an
#: object only as a whole; then each read has its own limit.
_READ_SECONDS, _WRITE_SECONDS, _WEB_SECONDS = 60, 300, 6 * 3600
#: A store that does not respond is retried for about 20 seconds.
_MAX_RETRIES, _RETRY_SECONDS = 8, 120
#: Seconds to leave to the threads of obstore at exit.
_EXIT_SECONDS = 0.05

#: Attempts of a check: obstore repeats a request without a response, but not if that breaks off.
#: That comes soon: a failure after these seconds is one that obstore has retried.
_CHECK_ATTEMPTS, _CHECK_SECONDS = 3, 10

#: Beginnings of the variables that configure stores.
_PREFIXES = ("AWS_", "GOOGLE_", "AZURE_")
#: By scheme: variables of one line, and those with the address of the service.
_ONE_LINE = {
    "s3": ("AWS_",),
    "gs": ("GOOGLE_BEARER_TOKEN",),  # others are JSON, or not read by obstore
    "az": ("AZURE_STORAGE_", "AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"),
}
_ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL",),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

#: Scheme, bucket, purpose, and a hash of the environment that configures the store.
_Key = tuple[str, str, bool, int]
_connections: dict[_Key, ObjectStore] = {}
#: Stores of `memory://`; they live as long as the process.
_memory: dict[_Key, ObjectStore] = {}
#: The process that used obstore first.
_process: int | None = None


def obstore() -> Any:
    """Return the module `obstore`.

    Raises:
        ConfigurationError: It is not installed, or was used before this process was forked.
    """
    global _process  # noqa: PLW0603 - as obstore's threads: one for the process
    try:
        module = import_module("obstore")
    except ImportError:
        raise ConfigurationError(
            "URLs as sources and results need the extra 'stores': run "
            "pip install 'diffio-async[stores]'"
        ) from None
    if _process is None:
        _process = os.getpid()
        # A thread of obstore that ends a cancelled request while Python exits would abort it.
        atexit.register(time.sleep, _EXIT_SECONDS)
    elif _process != os.getpid():
        # The threads of obstore are not in the child, where each call would wait forever.
        raise ConfigurationError(
            "object stores were used before this process was forked, and cannot be used in both: "
            "use them in the child processes only, or start those with the method 'spawn'"
        )
    return module


async def connect(url: StoreUrl, *, writing: bool = False) -> ObjectStore:
    """Return the store of an address; nothing is sent.

    Raises:
        ConfigurationError: obstore is not installed, or the store's configuration is invalid.
    """
    obstore()
    if url.scheme == "memory" or url.is_web or _key(url, writing) in _connections:
        return connect_blocking(url, writing=writing)
    # Profiles are read from disk, and SSO may send requests.
    return await TrackedExecutor().run(connect_blocking, url, writing=writing)


def connect_blocking(url: StoreUrl, *, writing: bool = False) -> ObjectStore:
    """Return the store as `connect` does; blocks."""
    obstore()
    if url.is_web:
        # The address is the base, with its query: a signature covers both as they were given.
        web: ObjectStore = _create(url, writing=False)
        return web
    if url.scheme == "memory":
        connections, key = _memory, ("memory", url.bucket, False, 0)
    else:
        connections, key = _connections, _key(url, writing)
    if key not in connections:
        # Another thread may have created it meanwhile: what is in memory is in one store.
        connections.setdefault(key, _create(url, writing=writing))
    return connections[key]


def retry_lost(
    check: Callable[[StoreUrl], Coroutine[Any, Any, T]],
) -> Callable[[StoreUrl], Coroutine[Any, Any, T]]:
    """Decorate a check of a store: it is repeated if a response broke off."""

    @functools.wraps(check)
    async def repeated(url: StoreUrl) -> T:
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + _CHECK_SECONDS
        for attempt in range(1, _CHECK_ATTEMPTS):
            try:
                return await check(url)
            except DiffioError as failure:
                lost = isinstance(failure.__cause__, ConnectionFailed)
                if not lost or loop.time() > give_up_at:
                    raise
            await asyncio.sleep(attempt)
        return await check(url)

    return repeated


def _key(url: StoreUrl, writing: bool) -> _Key:
    return url.scheme, url.bucket, writing, _environment()


def _environment() -> int:
    names = (*_PREFIXES, "HTTP_PROXY", "HTTPS_PROXY", "HOME")
    return hash(frozenset(each for each in os.environ.items() if each[0].startswith(names)))


def _store_class(name: str) -> Any:
    return getattr(import_module("obstore.store"), f"{name}Store")


def _check_environment(scheme: str) -> None:
    """Check the values that obstore would not: it would crash in a thread of its own.

    Raises:
        ConfigurationError: One is invalid; its value is not shown, as it may be a credential.
    """
    one_line = _ONE_LINE.get(scheme, ())
    for name, value in os.environ.items():
        if name.startswith(one_line) and _CONTROL.search(value):
            raise ConfigurationError(
                f"{name} contains a control character, such as a line break at its end: remove it"
            )
    for name in _ENDPOINTS.get(scheme, ()):
        if (address := os.environ.get(name)) and not is_http_url(address):
            raise ConfigurationError(
                f"{name} is not the address of a service: write https://HOST:PORT, or http:// if "
                "it has no TLS"
            )


def _create(url: StoreUrl, *, writing: bool) -> Any:
    _check_environment(url.scheme)
    seconds = _WRITE_SECONDS if writing else _WEB_SECONDS if url.is_web else _READ_SECONDS
    # Plain HTTP is used only where the user wrote it.
    client: ClientConfig = {
        "timeout": f"{seconds}s",
        "allow_http": url.scheme == "http" or _endpoint(url.scheme).startswith("http:"),
    }
    retry: RetryConfig = {
        "max_retries": _MAX_RETRIES,
        "retry_timeout": timedelta(seconds=_RETRY_SECONDS),
    }
    if url.is_web:
        client["read_timeout"] = f"{_READ_SECONDS}s"
    options: dict[str, Any] = {"client_options": client, "retry_config": retry}
    try:
        match url.scheme:
            case "s3":
                return _store_class("S3")(url.bucket, **options, **_s3_options())
            case "gs":
                return _store_class("GCS")(url.bucket, **options)
            case "memory":
                return _store_class("Memory")()
            case "az":
                return _store_class("Azure")(url.bucket, **options)
            case _:
                return _store_class("HTTP")(url.request_url, **options)
    except ConfigurationError:
        raise
    except Exception as failure:  # noqa: BLE001 - errors of obstore and boto3, which contain secrets
        reason = reason_of(failure)
    raise ConfigurationError(
        f"the store of {url} cannot be used: {reason}. Check its environment variables and "
        "configuration files"
    )


def _endpoint(scheme: str) -> str:
    names = _ENDPOINTS.get(scheme, ())
    return next((os.environ[name] for name in names if os.environ.get(name)), "")


def _s3_options() -> dict[str, Any]:
    """Return the endpoint and the credentials that obstore does not find itself."""
    endpoint = _endpoint("s3")
    options: dict[str, Any] = {"endpoint": endpoint} if endpoint else {}
    if os.environ.get("AWS_ACCESS_KEY_ID") or os.environ.get("AWS_SKIP_SIGNATURE"):
        return options
    if find_spec("boto3") is None:
        if os.environ.get("AWS_PROFILE"):
            raise ConfigurationError(
                "AWS_PROFILE names a profile, which boto3 reads: run pip install boto3, or set "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        return options
    session = import_module("boto3").Session()
    if session.get_credentials() is None:
        raise ConfigurationError(
            "there are no credentials for s3://: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "or AWS_PROFILE, or log in with aws sso login; for a public bucket set "
            "AWS_SKIP_SIGNATURE=true"
        )
    options["credential_provider"] = import_module("obstore.auth.boto3").Boto3CredentialProvider(
        session
    )
    if session.region_name:
        options["region"] = session.region_name
    return options
