"""The signing secrets of the environment; arguments are seen by other users of a machine."""

from __future__ import annotations

import os

from diffio_async.errors import ConfigurationError

VARIABLE = "DIFFIO_WEBHOOK_SECRET"


def secrets() -> list[str]:
    """The secrets, one or several, in the order given.

    Raises:
        ConfigurationError: There is none.
    """
    found = os.environ.get(VARIABLE, "").split()
    if not found:
        raise ConfigurationError(
            f"there is no signing secret: take the endpoint's (whsec_…) from the Diffio dashboard "
            f"and set {VARIABLE}, several separated by spaces"
        )
    return found
