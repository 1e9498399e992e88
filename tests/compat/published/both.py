"""Run the same calls with both packages, and compare what can be seen of them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from diffio_async import _bridge as bridge
from diffio_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

Package = Any
named = {"published": "diffio", "ours": "diffio_async.compat"}

#: What ours has beyond the published attributes: the guide's era, and what is yet to come.
BEYOND = {"extra", "uploadUrl", "uploadMethod", "bucket"}

_CHANGING = (
    (r"\b(proj|gen|key|session|evt|msg|ep|upload)_[0-9a-zA-Z]{8,}", "id"),
    (r"127\.0\.0\.1:\d+", "host"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "time"),
    (r"(?<=expires=)\d+|(?<=signature=)\w+", "signed"),
    (r"\b(diffio|upl|sbx)_[\w-]{20,}|\bdiffio_\w{6,}", "secret"),
    (r"(?<=uploadToken\": \")[^\"]+", "token"),
)


class Happened(NamedTuple):
    """What a scene returned or raised, and what the sandbox saw of it."""

    result: Any
    sent: list[tuple[str, str, str, Any]]


class Scene(NamedTuple):
    """What a scene has at hand."""

    sdk: Package
    client: Any
    sandbox: Sandbox
    sample: Path

    def uploaded(self) -> str:
        """The id of a project with a recording."""
        project_id: str = self.client.create_project(filePath=self.sample).apiProjectId
        return project_id

    def generated(self) -> dict[str, str]:
        """The names of a generation that is complete."""
        project_id = self.uploaded()
        generation = self.client.generations.create(apiProjectId=project_id, idempotencyKey="once")
        names = {"generationId": generation.generationId, "apiProjectId": project_id}
        self.client.generations.wait_for_complete(**names, pollInterval=0.05)
        return names


def both(
    packages: Mapping[str, Package], sample: Path, scene: Callable[[Scene], Any]
) -> tuple[Happened, Happened]:
    """Play a scene with the published package and with ours, each in a sandbox of its own."""
    return _played(packages["published"], sample, scene), _played(packages["ours"], sample, scene)


def _played(sdk: Package, sample: Path, scene: Callable[[Scene], Any]) -> Happened:
    try:
        with bridge.enter(Sandbox, engine="echo", legacy_models=True) as sandbox:
            with sdk.DiffioClient(apiKey=sandbox.api_key, baseUrl=sandbox.base_url) as client:
                result = scene(Scene(sdk, client, sandbox, sample))
            sent = [(s.origin, s.method, s.path, s.json) for s in sandbox.requests]
            return settled(plain(result), sent)
    finally:
        bridge.stop()


def plain(value: Any) -> Any:
    """A result as dicts and lists, with the published attributes alone."""
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, BaseException):
        return raised(value)
    if hasattr(value, "__dict__"):
        return {name: plain(item) for name, item in vars(value).items() if name not in BEYOND}
    return len(value) if isinstance(value, bytes) else value


def raised(error: BaseException) -> dict[str, Any]:
    """What a program sees of an error."""
    names = ("message", "statusCode", "responseBody")
    return {"str": str(error), **{name: getattr(error, name, None) for name in names}}


def settled(result: Any, sent: list[tuple[str, str, str, Any]]) -> Happened:
    """The same with names for what differs from run to run: the first id, the second, …."""
    known: dict[str, str] = {}
    text = json.dumps({"sent": sent, "result": result})
    for pattern, what in _CHANGING:
        text = re.sub(pattern, _numbered(known, what), text)
    # Small differences in time are ignored.
    whole = json.loads(re.sub(r"time-\d+", "time", text))
    sent = [tuple(each) for each in whole["sent"]]
    # The number of polls depends on the machine.
    once = [each for n, each in enumerate(sent) if n == 0 or each != sent[n - 1]]
    return Happened(whole["result"], once)


def _numbered(known: dict[str, str], what: str) -> Callable[[re.Match[str]], str]:
    """Gives what was found a name: its kind and a number, the same for the same."""
    return lambda found: known.setdefault(found[0], f"{what}-{len(known)}")


def outcome(call: Callable[[], Any]) -> Any:
    """What a call returns, or the error that it raises."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - it is what is compared
        return error
