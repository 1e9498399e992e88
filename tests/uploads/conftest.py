"""Fixture of the ways in which a file is read."""

from __future__ import annotations

import pytest

from tests.uploads.scenes import PART

_SOURCES = "diffio_async._uploads.open_source"


@pytest.fixture(params=["in chunks", "at once", "at once, from a network"])
def reading(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How files of some parts are read: in chunks, or when opened, from a local disk or not."""
    how: str = request.param
    monkeypatch.setattr(f"{_SOURCES}.INLINE_LIMIT", PART if how == "in chunks" else 16 * PART)
    monkeypatch.setattr(f"{_SOURCES}.is_local", lambda _: "network" not in how)
    return how
