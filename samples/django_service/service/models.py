"""Recordings. Each step of a restoration is stored before the next one begins."""

from pathlib import Path

from django.conf import settings
from django.db import models


class Recording(models.Model):
    """A recording, and how far its restoration is.

    A restoration is billed when its generation is created. The key of that request is the row's, so
    that repeating it, after a crash for example, is the same generation and not a second bill.
    """

    original = models.FileField(upload_to="originals")
    api_project_id = models.CharField(max_length=100, blank=True, db_index=True)
    generation_id = models.CharField(max_length=100, blank=True, db_index=True)
    restored = models.FileField(upload_to="restored", blank=True)
    error = models.TextField(blank=True)

    @property
    def idempotency_key(self) -> str:
        """The key of the row's generation."""
        return f"recording-{self.pk}"

    @property
    def target(self) -> Path:
        """The file for the result."""
        return Path(settings.MEDIA_ROOT) / "restored" / f"{self.pk}.mp3"

    def has_result(self) -> None:
        """Set `restored`, now that the result is in `target`."""
        self.restored.name = f"restored/{self.target.name}"
