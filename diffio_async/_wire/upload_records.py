"""Records of uploads as JSON, and back."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import attrs

from diffio_async._wire.codec import camel, structured
from diffio_async.models.resuming import UploadRecord

if TYPE_CHECKING:
    from collections.abc import Mapping


def record_as_json(record: UploadRecord) -> dict[str, Any]:
    """The record as an object of JSON values, credentials included."""
    return {**_plain(record), "etags": etags_as_json(record.etags)}


def etags_as_json(etags: Mapping[int, str]) -> dict[str, str]:
    """JSON has no numbers for keys."""
    return {str(number): etag for number, etag in etags.items()}


def record_from_json(data: object) -> UploadRecord:
    """The record again.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(data, dict):
        raise ValueError("an object is due")  # noqa: TRY004 - one kind for all that is wrong
    etags = etags_from_json(data.get("etags"))
    rest = {name: value for name, value in data.items() if name != "etags"}
    return attrs.evolve(structured(rest, UploadRecord), etags=etags)


def etags_from_json(data: object) -> dict[int, str]:
    """Etags by number.

    Raises:
        ValueError: They are none.
    """
    if not isinstance(data, dict):
        raise ValueError("an object of etags is due")  # noqa: TRY004 - as above
    etags = {}
    for number, etag in data.items():
        if not (isinstance(number, str) and number.isdecimal() and int(number) > 0):
            raise ValueError("parts are numbered from 1")
        if not (isinstance(etag, str) and etag):
            raise ValueError(f"part {number} has no etag")
        etags[int(number)] = etag
    return etags


def _plain(model: Any) -> dict[str, Any]:
    """A model's fields in the API's spelling; what is None is left out, and so is `extra`."""
    said = {}
    for attribute in attrs.fields(type(model)):
        value = getattr(model, attribute.name)
        if value is None or attribute.name == "extra":
            continue
        if isinstance(value, datetime):
            value = value.isoformat()
        elif attrs.has(type(value)):
            value = _plain(value)
        said[camel(attribute.name)] = value
    return said
