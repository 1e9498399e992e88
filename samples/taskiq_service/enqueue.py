"""Enqueue recordings: `python enqueue.py talk.wav …`."""

import asyncio
import sys
import uuid
from pathlib import Path

from tasks import broker, upload


async def main(paths: list[Path]) -> None:
    """Send a task for each recording."""
    await broker.startup()
    for path in paths:
        await upload.kiq(str(path), str(uuid.uuid4()))
    await broker.shutdown()


if __name__ == "__main__":
    recordings = [Path(name).resolve() for name in sys.argv[1:]]
    missing = [str(recording) for recording in recordings if not recording.is_file()]
    if missing or not recordings:
        sys.exit(f"no such file: {', '.join(missing)}" if missing else "name the recordings")
    asyncio.run(main(recordings))
