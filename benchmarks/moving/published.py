"""Transfers by the published SDK, in an environment with only that SDK installed."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from moving.meter import check, metered, print_result, read_parameters


def main() -> None:
    """Warm up, then transfer the files one after the other."""
    parameters = read_parameters()
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
    print_result(found)


if __name__ == "__main__":
    main()
