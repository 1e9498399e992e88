"""A program of a user of the published `diffio`; run in an environment that has it.

    python published.py FLOW MODEL SOURCE FOLDER

Address and key come from the environment. What happened is printed as one line of JSON.
"""

import json
import sys
import time
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

#: Status of a download whose transcript is not ready.
CONFLICT = 409


def one_call(client: Any, model: str, source: str, folder: Path) -> dict[str, Any]:
    """Restore in one call."""
    content, info = client.audio_isolation.restore_audio(
        filePath=source, model=model, downloadType="mp3", pollInterval=0.2, timeout=120
    )
    if content is not None:
        (folder / "restored.mp3").write_bytes(content)
    return {name: info[name] for name in ("ok", "stage", "status", "error", "mimeType")}


def step_by_step(client: Any, model: str, source: str, folder: Path) -> dict[str, Any]:
    """The steps of the guide, from a project to its files, and the other calls."""
    settings = client.account.get_settings()
    project = client.create_project(filePath=source, fileFormat="wav", params={"source": "guide"})
    generation = client.generations.create(
        apiProjectId=project.apiProjectId,
        model=model,
        sampling={"preset": "balanced"},
        params={"tag": "docs"},
    )
    result: list[str] = []
    progress = client.generations.wait_for_complete(
        generationId=generation.generationId,
        apiProjectId=project.apiProjectId,
        pollInterval=0.2,
        timeout=120,
        onProgress=lambda update: result.append(update.status),
    )
    names = {"generationId": generation.generationId, "apiProjectId": project.apiProjectId}
    client.generations.download(
        **names, downloadFilePath=str(folder / "restored.mp3"), downloadType="mp3"
    )
    projects = client.projects.list().projects
    generations = client.projects.list_generations(apiProjectId=project.apiProjectId).generations
    key = client.api_keys.create(label="worker-key", scopes=["projects:read"])
    listed = client.api_keys.list().keys
    rotated = client.api_keys.rotate(keyId=key.keyId)
    revoked = client.api_keys.revoke(keyId=key.keyId)
    usage = client.usage.summary()
    return {
        "billingPolicy": settings.account["billingPolicy"],
        "status": progress.status,
        "inference": progress.inference.progress,
        "statuses": sorted(set(result)),
        "modelKey": generation.modelKey,
        "projects": [[each.apiProjectId, each.status, each.originalFileName] for each in projects],
        "generations": [[each.generationId, each.status, each.progress] for each in generations],
        "names": names,
        "keys": [each.keyId for each in listed],
        "key": key.keyId,
        "rotated": rotated.key != key.key,
        "revoked": revoked.status,
        "periods": len(usage.usage["periods"]),
    }


def transcript(client: Any, model: str, source: str, folder: Path) -> dict[str, Any]:
    """Restore, then fetch the words: later versions only."""
    result = client.audio_isolation.isolate(filePath=source, model=model)
    names = {
        "generationId": result.generation.generationId,
        "apiProjectId": result.project.apiProjectId,
    }
    progress = client.generations.wait_for_complete(**names, pollInterval=0.2, timeout=120)
    ends_at = time.monotonic() + 120
    while True:
        try:
            client.generations.download(
                **names, downloadFilePath=str(folder / "transcript.json"), downloadType="transcript"
            )
        except Exception as error:
            # On a busy machine, the words take longer than the service waits for them.
            if getattr(error, "statusCode", None) != CONFLICT or time.monotonic() > ends_at:
                raise
        else:
            return {"status": progress.status}


def main() -> None:
    """Run the flow named on the command line."""
    flow, model, source, folder = sys.argv[1:]
    flows = {"one_call": one_call, "step_by_step": step_by_step, "transcript": transcript}
    diffio: Any = import_module("diffio")
    with diffio.DiffioClient() as client:
        happened = flows[flow](client, model, source, Path(folder))
    sys.stdout.write(json.dumps({"version": version("diffio"), **happened}) + "\n")


if __name__ == "__main__":
    main()
