"""`manage.py restore_recordings [FOLDER]`: restore rows that are not, or the files of a folder."""

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from diffio_async import (
    DiffioError,
    GenerationFailed,
    IdempotencyConflict,
    InvalidSource,
    UploadFailed,
)
from diffio_async.sync import Diffio

from ...models import Recording


class Command(BaseCommand):
    """Restore without a server. Every step is stored, so that the next run continues there."""

    help = "Restore all recordings that are not restored yet, or the files of a folder."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the folders."""
        parser.add_argument("folder", nargs="?", type=Path)
        parser.add_argument("--output", type=Path, help="folder for the results of a folder")

    def handle(self, *_: object, **options: Any) -> None:
        """Restore, and fail if something could not be restored."""
        folder: Path | None = options["folder"]
        try:
            with Diffio() as client:
                if folder is None:
                    failed = self.restore_rows(client)
                else:
                    output = options["output"] or folder / "restored"
                    failed = self.restore_folder(client, folder, output)
        except DiffioError as error:  # the key, the account, the network, a full disk
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            self.stderr.write("interrupted; run it again to continue, nothing is billed twice")
            sys.exit(130)
        if failed:
            raise CommandError(f"{failed} recordings were not restored")

    def restore_folder(self, client: Diffio, folder: Path, output: Path) -> int:
        """Restore the files of a folder by a batch, and return how many failed."""
        failed = 0
        for outcome in client.restore_many(folder, output):
            self.stdout.write(f"{outcome.source}: {outcome.error or outcome.state}")
            failed += outcome.state == "failed"
        return failed

    def restore_rows(self, client: Diffio) -> int:
        """Restore the rows without a result, and return how many failed."""
        rows = {row.pk: row for row in Recording.objects.filter(restored="", error="")}
        failed = 0
        started = {}
        for row in rows.values():
            try:
                self.start(client, row)
            except (UploadFailed, IdempotencyConflict) as failure:
                self.stderr.write(f"{row.original.name}: {failure}")
                failed += 1
            else:
                started[row.generation_id] = row
        # All are waited for at once, and each result is downloaded when it is ready.
        for outcome in client.generations.as_completed(list(started.values())):
            row = started[outcome.generation_id]
            if outcome.error is not None:
                self.stderr.write(f"{row.original.name}: {outcome.error}")
                failed += 1
            if isinstance(outcome.error, GenerationFailed):
                row.error = str(outcome.error)
            elif outcome.ok:
                client.generations.download(
                    generation_id=row.generation_id,
                    api_project_id=row.api_project_id,
                    download_file_path=row.target,
                    on_conflict="overwrite",
                )
                row.has_result()
                self.stdout.write(f"{row.original.name}: {row.restored.name}")
            row.save(update_fields=["error", "restored"])
        return failed

    def start(self, client: Diffio, row: Recording) -> None:
        """Upload a recording and start its generation, as far as that is not done yet."""
        if not row.api_project_id:
            project = client.projects.create(row.original.path)
            if not project.size_bytes:
                raise InvalidSource("the file is empty: there is nothing to restore")
            row.api_project_id = project.api_project_id
            row.save(update_fields=["api_project_id"])
        if not row.generation_id:
            generation = client.generations.create(
                api_project_id=row.api_project_id, idempotency_key=row.idempotency_key
            )
            row.generation_id = generation.generation_id
            row.save(update_fields=["generation_id"])
