"""Transfers by the published SDK, in an environment with only that SDK installed."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from harness import metered
from moving.sink import check


def main() -> None:
    """Warm up, then transfer the files one after the other."""
    parameters = json.loads(sys.argv[1])
    client: Any = import_module("diffio").DiffioClient(apiKey="key", baseUrl=parameters["base"])
    folder = Path(parameters["folder"])

    def download(size: int, path: Path) -> None:
        client.generations.download(
            generationId=f"g-{size}", apiProjectId="p-0", downloadFilePath=path, downloadType="mp3"
        )

    client.create_project(filePath=parameters["warm_up"])
    download(1000, folder / "warm")
    with metered() as found:
        for path in parameters["sources"]:
            client.create_project(filePath=path)
        for number, size in enumerate(parameters["results"]):
            download(size, folder / str(number))
    for number, size in enumerate(parameters["results"]):
        check(folder / str(number), size)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
