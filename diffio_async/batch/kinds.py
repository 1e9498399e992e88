"""What a failure means to a batch: its own file's, the weather's, or everybody's."""

from __future__ import annotations

import errno
from enum import Enum

from diffio_async._engine.system_errors import caused_by, shortage_of
from diffio_async._wire.replay import transient
from diffio_async.errors import (
    AnswerLost,
    ApiError,
    AuthenticationFailed,
    ConfigurationError,
    DiffioError,
    DownloadFailed,
    GenerationFailed,
    NotReached,
    NotReady,
    PaymentRequired,
    PermissionDenied,
    RateLimited,
    ResponseInvalid,
    ServerError,
    SourceUnusable,
    TargetUnusable,
    UploadFailed,
)


class Kind(Enum):
    """What to do about a failure."""

    #: Nothing new is begun: every file would meet it.
    EVERYBODYS = "everybody's"
    #: Wait a little, and try again.
    WEATHER = "the weather"
    #: Try this file again, a few times.
    ODD = "odd"
    #: This file fails, and no other.
    ALONE = "alone"


#: The disk of the results failed: for all of them, where a source has only its own bad blocks.
_DISK_FAILED = frozenset({errno.EIO})
_FOR_GOOD = (SourceUnusable, TargetUnusable, ConfigurationError, GenerationFailed)
_EVERYBODYS = (AuthenticationFailed, PaymentRequired, PermissionDenied)


def root_of(failure: DiffioError) -> DiffioError:
    """What is at the bottom of a failed transfer."""
    while isinstance(failure, (UploadFailed, DownloadFailed)) and isinstance(
        failure.__cause__, DiffioError
    ):
        failure = failure.__cause__
    return failure


def kind_of(failure: DiffioError) -> Kind:
    """What a failure means."""
    root = root_of(failure)
    shortage = shortage_of(failure)
    if shortage is not None:
        return Kind.WEATHER if shortage.passing else Kind.EVERYBODYS
    if isinstance(root, _EVERYBODYS) or (isinstance(root, NotReached) and root.permanent):
        return Kind.EVERYBODYS
    if isinstance(root, _FOR_GOOD):
        return Kind.ALONE
    # A portal's page, where the answer should be, is weather too.
    if transient(root) or isinstance(root, (ResponseInvalid, NotReady, ServerError)):
        return Kind.WEATHER
    if isinstance(root, ApiError):
        # Elsewhere than at the API, 4xx is mostly an offer that expired.
        return Kind.ALONE if type(root) is not ApiError else Kind.ODD
    return Kind.ODD


def short(failure: DiffioError) -> bool:
    """Whether the process is short of something that its work gives back when it ends."""
    shortage = shortage_of(failure)
    return shortage is not None and shortage.passing


def pushed_back(failure: DiffioError) -> bool:
    """Whether less at a time is asked for: by the server, or by what this process is short of."""
    root = root_of(failure)
    return (
        short(failure)
        or isinstance(root, RateLimited)
        or (isinstance(root, ServerError) and root.retry_after is not None)
    )


def may_have_been_done(failure: DiffioError) -> bool:
    """Whether the server may have done what it did not confirm."""
    return isinstance(failure, (AnswerLost, ServerError, ResponseInvalid))


def disk_is_full(failure: DiffioError) -> bool:
    """Whether no result could be written, of any file."""
    shortage = shortage_of(failure)
    if shortage is not None:
        return not shortage.passing
    return caused_by(failure, _DISK_FAILED)
