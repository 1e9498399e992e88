"""What calls look like under their options: most share a few, which are put together once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diffio_async._wire.requests import Dress, api_dress
from diffio_async.options import RequestOptions, merged

if TYPE_CHECKING:
    from diffio_async.options import CallOptions, ClientOptions

_MOST_KNOWN = 16


class Dressing:
    """The options of one client's calls, and their dress for the API; of any thread."""

    def __init__(self, key: str, options: ClientOptions) -> None:
        self._key, self._options = key, options
        self._known: dict[RequestOptions | None, tuple[CallOptions, Dress]] = {}

    def of(self, options: RequestOptions | None) -> tuple[CallOptions, Dress]:
        """What a call with such options is under, and what it wears to the API.

        Raises:
            ConfigurationError: The key or a header cannot be sent as it is.
        """
        given: object = options
        if not isinstance(given, RequestOptions | None):
            return self._anew(options)  # which refuses it
        if self._options.headers or (options is not None and options.headers is not None):
            # Mappings of the user's, who may change them.
            return self._anew(options)
        try:
            known = self._known.get(options)
        except TypeError:  # a retry hook that cannot be hashed
            return self._anew(options)
        if known is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            known = self._known[options] = self._anew(options)
        return known

    def _anew(self, options: RequestOptions | None) -> tuple[CallOptions, Dress]:
        under = merged(self._options, options)
        return under, api_dress(self._key, under)
