"""What a batch is asked to do, and the key under which each content is paid for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from attrs import asdict, fields, frozen

from diffio_async._protocol.endpoints import create_generation
from diffio_async.errors import ConfigurationError
from diffio_async.models.batches import DEFAULT_IN_FLIGHT


def canonical(value: Mapping[str, object] | None) -> str:
    """One spelling for one JSON object; nothing and `{}` are the same."""
    return json.dumps(value or {}, sort_keys=True, separators=(",", ":"), allow_nan=False)


@frozen
class JobSettings:
    """A model and its settings, in the one spelling that the journal compares."""

    model: str
    sampling: str = "{}"
    params: str = "{}"

    @classmethod
    def validated(
        cls,
        model: str,
        sampling: Mapping[str, object] | None,
        params: Mapping[str, object] | None,
    ) -> JobSettings:
        """Check and spell them.

        Raises:
            ConfigurationError: The model cannot be one, or the settings are no JSON.
        """
        create_generation(
            api_project_id="not yet known", model=model, key="-", sampling=sampling, params=params
        )
        return cls(model, canonical(sampling), canonical(params))

    @property
    def text(self) -> str:
        """Sampling and params, as the journal keeps them."""
        return f'{{"params":{self.params},"sampling":{self.sampling}}}'


def load_settings(text: str) -> tuple[dict[str, object], dict[str, object]]:
    """Sampling and params out of the journal."""
    found = json.loads(text)
    return found["sampling"], found["params"]


def idempotency_key_for(salt: str, digest: str, model: str, settings: str, attempt: int) -> str:
    """The idempotency key: the same for the same content, wherever the salt is the same."""
    text = json.dumps([salt, digest, model, settings, attempt])
    return f"batch-{hashlib.sha256(text.encode()).hexdigest()}"


@frozen(kw_only=True)
class RunOptions:
    """The options of a run that a later command of the same journal takes over.

    What may hold a secret (headers, a key) is not among them.
    """

    on_conflict: str = "error"
    on_error: str = "continue"
    max_in_flight: int = DEFAULT_IN_FLIGHT
    max_spend_seconds: float | None = None
    timeout: float | None = None
    project_params: Mapping[str, object] | None = None

    @property
    def text(self) -> str:
        """The options, as the journal keeps them."""
        return json.dumps(asdict(self, recurse=False))

    @classmethod
    def read(cls, text: str) -> RunOptions:
        """The options out of the journal; one that this version does not know is left out."""
        found = json.loads(text)
        return cls(**{each.name: found[each.name] for each in fields(cls) if each.name in found})


@frozen(kw_only=True)
class JournalIdentity:
    """What all of a journal's files have in common, and may not change under way.

    `to` is the folder of the results, absolute.
    """

    model: str
    sampling: str
    params: str
    to: str
    name: str

    def check(self, recorded: JournalIdentity, journal: str) -> None:
        """Refuse to go on under other terms.

        Raises:
            ConfigurationError: They differ; the message shows where.
        """
        differences = [
            f"{each.name} is {getattr(self, each.name)!r} here and "
            f"{getattr(recorded, each.name)!r} there"
            for each in fields(JournalIdentity)
            if getattr(self, each.name) != getattr(recorded, each.name)
        ]
        if differences:
            raise ConfigurationError(
                f"the journal {journal!r} is of another batch: {'; '.join(differences)}. Ask for "
                "the same again to go on with it, or name another journal for another batch"
            )
