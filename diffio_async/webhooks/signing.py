"""Signing secrets: their form, what is wrong with it, and what signs with them."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING
from urllib.parse import unquote

from diffio_async._wire.pasted import copying_mistake
from diffio_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from svix.webhooks import Webhook

PREFIX = "whsec_"


def secret_flaw(secret: object) -> str | None:
    """What is wrong with the form of a signing secret, without showing it; None if nothing is."""
    if not isinstance(secret, str):
        return (
            f"is a {type(secret).__name__}, and a str is due (several secrets: one argument each)"
        )
    text = secret.strip()
    if not text.removeprefix(PREFIX):
        return f"is empty: it begins with {PREFIX}"
    for fits, flaw in (
        (text[0] in "'\"`" or text[-1] in "'\"`", "has quotes around it: leave them out"),
        (len(text.split()) > 1, "has white space within: it is several, or was cut in two"),
        (
            text.startswith(("whpk_", "whsk_")),
            f"is a key of the public-key scheme: the one due begins with {PREFIX}",
        ),
        (
            text.startswith(("v1,", "v1a,")),
            f"is a delivery's signature: the secret begins with {PREFIX}",
        ),
        (
            text.startswith(("diffio_", "sk_", "key_")),
            f"is an API key, it seems: the endpoint's signing secret begins with {PREFIX}",
        ),
        (text.startswith(PREFIX * 2), f"has {PREFIX} twice"),
        ((mistake := copying_mistake(text)) is not None, mistake),
        (_key(text) is None, f"is not one: {PREFIX} and then base64, as the dashboard shows it"),
    ):
        if fits:
            return flaw
    return None


def _key(text: str) -> bytes | None:
    """The bytes of a secret; None where its base64 is none. Padding may be left out."""
    body = text.removeprefix(PREFIX).rstrip("=")
    try:
        return base64.b64decode(body + "=" * (-len(body) % 4), validate=True) or None
    except (binascii.Error, ValueError):
        return None


def signer(secret: object) -> Webhook:
    """What signs with a secret, `svix`'s own.

    Raises:
        ConfigurationError: The secret cannot be one; it is not shown.
    """
    flaw = secret_flaw(secret)
    key = _key(secret.strip()) if isinstance(secret, str) else None
    if flaw is not None or key is None:
        raise ConfigurationError(f"a signing secret {flaw}")
    # Half a second and 600 modules: only for those who verify.
    from svix.webhooks import Webhook

    # Decoded here: base64's own errors, and so svix's, have the secret in their text.
    return Webhook(key)


def mended(secret: str) -> Iterator[str]:
    """What a secret of a wrong form may have been before it was quoted, doubled or escaped."""
    text = unquote(secret).strip().strip("'\"`").strip()
    while text.startswith(PREFIX * 2):
        text = text.removeprefix(PREFIX)
    yield text
    yield "".join(text.split())
    yield PREFIX + text.removeprefix(PREFIX).replace("-", "+").replace("_", "/")
    yield from text.split()
