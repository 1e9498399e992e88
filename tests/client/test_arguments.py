"""Accepted forms of arguments, and `ConfigurationError` for all others."""

from __future__ import annotations

import uuid
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from diffio_async import (
    AsyncDiffio,
    ClientOptions,
    ConfigurationError,
    RequestOptions,
    WebhookInbox,
)
from tests.batch.scenes import below, recordings, restored, states

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from diffio_async.sandbox import Sandbox

ITERABLES: dict[str, Callable[[list[str]], Iterable[str]]] = {
    "a deque": deque,
    "a generator": lambda words: (word for word in words),
    "the keys of a dict": lambda words: dict.fromkeys(words).keys(),
    "a set": set,
    "a mapping": dict.fromkeys,
    "an iterator": iter,
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ITERABLES)
async def test_several_strings_may_be_any_iterable(
    kind: str, client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Download types, suffixes, scopes and event types."""
    make_iterable: Any = ITERABLES[kind]
    if kind == "a generator":  # can be iterated only once
        source = recordings(tmp_path / "in", "a.wav", "b.txt")
        found = await restored(
            client,
            source,
            tmp_path / "out",
            download_types=make_iterable(["audio", "transcript"]),
            suffixes=make_iterable([".wav"]),
        )
        assert states(found) == {"a.wav": "done"}
        assert below(tmp_path / "out") == ["a.restored.json", "a.restored.mp3"]
    created = await client.api_keys.create(label="x", scopes=make_iterable(["projects:read"]))
    assert created.scopes == ("projects:read",)
    configured = await client.webhooks.configure(
        mode="test",
        url="https://localhost:1/hooks",
        event_types=make_iterable(["generation.completed", "generation.failed"]),
    )
    assert {*configured.event_types} == {"generation.completed", "generation.failed"}


@pytest.mark.parametrize("odd", ["audio", b"audio", None, 5, [5], [""], [None]])
async def test_arguments_that_are_not_several_strings_are_refused(
    odd: Any, client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """A single string is refused, as it would be iterated by characters."""
    source = recordings(tmp_path / "in", "a.wav")
    for argument in ("download_types", "suffixes"):
        if (argument, odd) == ("suffixes", None):
            continue  # every file
        with pytest.raises(ConfigurationError, match=f"{argument} must be"):
            await restored(client, source, tmp_path / "out", **{argument: odd})
    with pytest.raises(ConfigurationError, match="scopes must be"):
        await client.api_keys.create(label="x", scopes=odd)
    assert sandbox.requests == []


async def test_suffixes_may_lack_the_dot(client: AsyncDiffio, tmp_path: Path) -> None:
    source = recordings(tmp_path / "in", "a.wav", "b.mp3")
    found = await restored(client, source, tmp_path / "out", suffixes=["WAV"])
    assert states(found) == {"a.wav": "done"}


async def test_none_means_the_default_for_every_option(sandbox: Sandbox) -> None:
    """Wrappers often pass None for arguments that their caller omitted."""
    nothing = ClientOptions(headers=None, timeouts=None, retry=None, wait=None, observers=None)
    assert nothing == ClientOptions()
    request = RequestOptions(headers=None, timeout=None, retry=None, api_key=None)
    async with AsyncDiffio(
        sandbox.api_key, base_url=sandbox.base_url, options=None, inbox=None
    ) as client:
        project = await client.projects.create(
            b"x",
            file_name=None,
            content_type=None,
            file_format=None,
            params=None,
            resume=None,
            on_progress=None,
            options=None,
        )
        restoration = await client.restore(
            b"x", None, file_name=None, idempotency_key=None, timeout=None, options=request
        )
        for options in (None, request):
            assert await client.projects.list(options=options)
            assert (
                await client.projects.list_generations(
                    api_project_id=project.api_project_id, options=options
                )
                == []
            )
            progress = await client.generations.get_progress(
                generation_id=restoration.generation.generation_id,
                api_project_id=None,
                options=options,
            )
            assert progress.complete
            await client.usage.summary(api_key_id=None, options=options)


@pytest.mark.parametrize("observers", ["log", [None], 5])
def test_an_observer_that_cannot_be_called_is_refused(observers: Any) -> None:
    """Otherwise each event of a client would log an exception."""
    with pytest.raises(ConfigurationError, match="observers must be functions"):
        ClientOptions(observers=observers)


async def test_observers_may_be_one_or_any_iterable(sandbox: Sandbox) -> None:
    events: list[object] = []
    for observers in (events.append, [events.append], iter([events.append])):
        events.clear()
        options = ClientOptions(observers=observers)
        async with AsyncDiffio(
            sandbox.api_key, base_url=sandbox.base_url, options=options
        ) as client:
            await client.projects.list()
        assert len(events) == 2


@pytest.mark.parametrize("odd", [{"timeout": 5}, ClientOptions(), 5])
async def test_options_of_another_type_are_refused(odd: Any, client: AsyncDiffio) -> None:
    with pytest.raises(ConfigurationError, match="must be RequestOptions, not a"):
        await client.projects.list(options=odd)
    with pytest.raises(ConfigurationError, match="headers must be a mapping"):
        RequestOptions(headers=[("a", "b")])  # type: ignore[arg-type]


def test_asyncio_is_required_under_another_event_loop(tmp_path: Path) -> None:
    """Any first call raises, with and without `async with`; trio runs coroutines like this."""
    client = AsyncDiffio("key", base_url="http://127.0.0.1:1")

    async def entered() -> None:
        async with client:
            pass

    async def followed() -> None:
        async for _ in client.generations.watch(generation_id="g", api_project_id="p"):
            pass

    uses: list[Callable[[], Any]] = [
        entered,
        followed,
        client.projects.list,
        lambda: client.projects.create(b"x"),
        lambda: client.projects.create(tmp_path / "a.wav"),
        lambda: client.projects.create(b"x", resume=tmp_path / "a.resume"),
        lambda: client.restore(tmp_path / "a.wav", tmp_path),
        lambda: client.generations.wait_for_complete(generation_id="g", api_project_id="p"),
        lambda: restored(client, tmp_path, tmp_path / "out"),
        lambda: WebhookInbox(tmp_path / "inbox.db").entries(),
    ]
    for use in uses:
        coroutine = use()
        with pytest.raises(ConfigurationError, match=r"asyncio is needed.*trio"):
            coroutine.send(None)


@pytest.mark.parametrize("wrong", [uuid.uuid4(), Path("x.wav"), b"x", ["x"], 5, {"a": 1}])
async def test_a_wrong_type_is_a_configuration_error(
    client: AsyncDiffio, sandbox: Sandbox, wrong: Any
) -> None:
    """Nothing is sent, and no internal AttributeError or TypeError is raised."""
    attempts: list[Awaitable[object]] = [
        client.restore(b"x", idempotency_key=wrong),
        client.restore(b"x", file_name=wrong),
        client.projects.create(b"x", file_name=wrong),
        client.projects.create(b"x", file_format=wrong),
        client.webhooks.configure(mode="test", url=wrong, event_types=["a"]),
        client.webhooks.configure(mode=wrong, url="https://a.example/", event_types=["a"]),
        client.webhooks.send_test_event(event_type="a", mode="test", api_key_id=wrong),
        client.usage.summary(api_key_id=wrong),
        client.api_keys.create(label=wrong, scopes=["a"]),
        client.generations.attach(wrong),
        client.generations.get_progress(generation_id="g", api_project_id=wrong),
        client.generations.wait_for_complete(generation_id="g", api_project_id=wrong),
    ]
    for attempt in attempts:
        with pytest.raises(ConfigurationError):
            await attempt
    assert sandbox.requests == []


async def test_a_long_argument_is_shortened_in_the_message(client: AsyncDiffio) -> None:
    long: Any = "x" * 100_000
    for attempt in (
        client.generations.create(api_project_id="p", model=long),
        client.restore(b"x", download_type=long),
        client.generations.wait_for_complete(generation_id="g", timeout=long),
        client.webhooks.configure(mode=long, url="https://a.example/", event_types=["a"]),
    ):
        with pytest.raises(ConfigurationError) as caught:
            await attempt
        assert len(str(caught.value)) < 400
