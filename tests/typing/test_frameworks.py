"""The recipe for FastAPI serves requests, and pydantic takes what is public."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import typing
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import uvicorn
from pydantic import ConfigDict, TypeAdapter, ValidationError, validate_call

from diffio_async import AsyncDiffio, Generation, compat
from tests.test_docs import HERE, blocks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from diffio_async.sandbox import Sandbox

ANY = ConfigDict(arbitrary_types_allowed=True)


@contextlib.asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    """Serve an ASGI application, and yield its URL."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="on", log_level="error"))
    # Signals belong to the test runner.
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    running = asyncio.create_task(server.serve())
    try:
        while not server.started:
            assert not running.done(), "the application did not start"
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await running


async def test_the_recipe_for_fastapi_serves_requests(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An uploaded file is restored, and its progress is returned in the API's spelling."""
    for name, value in sandbox.environment.items():
        monkeypatch.setenv(name, value)
    recipe: dict[str, Any] = {}
    exec(compile(blocks(HERE / "docs" / "frameworks.md", "python")[0], "recipe", "exec"), recipe)
    form = aiohttp.FormData()
    form.add_field("recording", b"RIFF....", filename="talk.wav", content_type="audio/x-own")
    async with serving(recipe["app"]) as url, aiohttp.ClientSession() as browser:
        async with browser.post(f"{url}/recordings", data=form) as response:
            assert response.status == 200, await response.text()
            started = await response.json()
        async with browser.get(f"{url}/generations/{started['generation_id']}") as response:
            assert response.status == 200, await response.text()
            progress = await response.json()
    assert progress["generationId"] == started["generation_id"]
    (project,) = sandbox.state.projects.values()
    assert (project.file_name, project.content_type) == ("talk.wav", "audio/x-own")


def methods() -> dict[str, Any]:
    """Every public coroutine function of the client and of its resources."""
    parts = list(typing.get_type_hints(AsyncDiffio))
    kinds = {"client": AsyncDiffio, **{name: type(getattr(AsyncDiffio, name)) for name in parts}}
    return {
        f"{part}.{name}": member
        for part, kind in kinds.items()
        for name, member in inspect.getmembers(kind, inspect.iscoroutinefunction)
        if not name.startswith("_") and inspect.signature(member).parameters.keys() > {"options"}
    }


METHODS = methods()


@pytest.mark.parametrize("name", METHODS)
async def test_pydantic_checks_calls_of_public_methods(name: str) -> None:
    """`validate_call` takes their signatures, and refuses what does not fit."""
    checked = validate_call(config=ANY)(METHODS[name])
    with pytest.raises(ValidationError):
        await checked(None, options=1)


@pytest.mark.parametrize(
    "kind", [each for name, each in vars(compat).items() if name.endswith("Client")]
)
def test_pydantic_takes_the_signatures_of_the_published_client(kind: type) -> None:
    """Below Python 3.12 it refuses those that name a `typing.TypedDict`."""
    for name, method in inspect.getmembers(kind, inspect.isfunction):
        if not name.startswith("_"):
            validate_call(config=ANY)(method)


def test_pydantic_takes_models_as_they_are() -> None:
    model = Generation(generation_id="g", api_project_id="p", status="queued")
    assert TypeAdapter(Generation, config=ANY).validate_python(model) is model
