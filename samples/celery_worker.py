"""Celery, without `await`: `celery -A celery_worker worker`, `python celery_worker.py talk.wav …`.

Celery repeats a task whose worker was killed. The id of the task, which remains the same, is the
key of its generation: the repeated task gets the same generation, which is billed once.
"""

import os
import sys
from functools import cache
from pathlib import Path

from celery import Celery, Task
from celery.signals import worker_process_shutdown

from diffio_async import (
    ConnectionFailed,
    Diffio,
    InvalidSource,
    ResponseLost,
    ServerError,
    WaitTimeout,
)

# For this machine. In a service: redis:// or amqp://, which also repeat the tasks of a machine that
# was switched off.
QUEUE = Path(os.environ.get("QUEUE", "queue"))
RESULTS = Path(os.environ.get("RESULTS", "results")).resolve()
for folder in (QUEUE, RESULTS):
    folder.mkdir(parents=True, exist_ok=True)

app = Celery("recordings", broker="filesystem://")
app.conf.update(
    broker_transport_options={
        "data_folder_in": str(QUEUE),
        "data_folder_out": str(QUEUE),
        "control_folder": str(QUEUE / "control"),
    },
    # A task is taken from the queue when it has ended, not when it begins.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
)

# The client repeats requests on its own; tasks are repeated when it has given up.
TRANSIENT = (ConnectionFailed, ResponseLost, ServerError, WaitTimeout)


@cache
def client() -> Diffio:
    """Return the client of this process, made after the worker was forked."""
    return Diffio()


@worker_process_shutdown.connect
def close(**_: object) -> None:
    """Close the client with its process, if a task used it."""
    if client.cache_info().currsize:
        client().close()


@app.task(name="upload", autoretry_for=TRANSIENT, retry_backoff=True)
def upload(path: str) -> str:
    """Upload a recording, and return its project for the next task."""
    project = client().projects.create(path)
    if not project.size_bytes:
        raise InvalidSource(f"{path} is empty: there is nothing to restore")
    return project.api_project_id


@app.task(name="restore", bind=True, autoretry_for=TRANSIENT, retry_backoff=True)
def restore(self: Task, api_project_id: str, target: str) -> None:
    """Restore an uploaded recording: start the generation, wait for it and download the result."""
    generations = client().generations
    generation = generations.create(
        api_project_id=api_project_id, idempotency_key=str(self.request.id)
    )
    generations.wait_for_complete(
        generation_id=generation.generation_id, api_project_id=api_project_id
    )
    generations.download(
        generation_id=generation.generation_id,
        api_project_id=api_project_id,
        download_file_path=target,
        on_conflict="overwrite",
    )


if __name__ == "__main__":
    recordings = [Path(name) for name in sys.argv[1:]]
    missing = [str(recording) for recording in recordings if not recording.is_file()]
    if missing or not recordings:
        sys.exit(f"no such file: {', '.join(missing)}" if missing else "name the recordings")
    for recording in recordings:
        target = RESULTS / f"{recording.stem}.restored.mp3"
        (upload.s(str(recording.resolve())) | restore.s(str(target))).delay()
