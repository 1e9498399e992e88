"""Signed links: the URL is the credential, for one method, one path and a while."""

import hashlib
import hmac
import math
from collections.abc import Callable, Mapping
from urllib.parse import urlencode

from diffio_async.sandbox.responses import HttpError


class Links:
    """Makes and checks links with a secret that outlives a restart."""

    def __init__(self, secret: bytes, ttl: float, clock: Callable[[], float]) -> None:
        self._secret = secret
        self._ttl = ttl
        self._now = clock
        self._issued = 0
        self._void_up_to = 0
        self._void: set[str] = set()

    def sign(self, method: str, path: str, *, content_type: str = "") -> str:
        """Make the query that opens `path` to `method`; a PUT is bound to its content type."""
        self._issued += 1
        expires = math.floor((self._now() + self._ttl) * 1000)
        signature = self._signature(method, path, expires, self._issued, content_type)
        return urlencode({"expires": expires, "issue": self._issued, "signature": signature})

    def forget(self, url: str | None) -> None:
        """Let one link, or all handed out so far, expire now."""
        if url is None:
            self._void_up_to = self._issued
        else:
            self._void.add(url.rpartition("signature=")[2])

    def check(
        self, method: str, path: str, query: Mapping[str, str], *, content_type: str = ""
    ) -> None:
        """Let a request pass or refuse it.

        Raises:
            Refusal: 403, when the link was not made for this, or is no longer good.
        """
        signature = query.get("signature", "")
        try:
            expires, issue = int(query.get("expires", "")), int(query.get("issue", ""))
        except ValueError:
            raise HttpError(403, "the link is not signed", code="AccessDenied") from None
        right = self._signature(method, path, expires, issue, content_type)
        if not hmac.compare_digest(signature.encode(), right.encode()):
            raise HttpError(
                403,
                "the signature does not match the method, path and content type of this request",
                code="SignatureDoesNotMatch",
            )
        expired = self._now() * 1000 >= expires
        if expired or signature in self._void or issue <= self._void_up_to:
            raise HttpError(403, "the link has expired", code="ExpiredToken")

    def _signature(
        self, method: str, path: str, expires: int, issue: int, content_type: str
    ) -> str:
        said = "\n".join((method, path, str(expires), str(issue), content_type))
        return hmac.new(self._secret, said.encode(), hashlib.sha256).hexdigest()
