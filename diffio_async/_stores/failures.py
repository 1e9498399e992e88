"""Errors of stores as errors of this package, without credentials."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

from diffio_async._protocol.redaction import message_excerpt
from diffio_async.errors import (
    ConfigurationError,
    ConnectionFailed,
    DiffioError,
    InvalidSource,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diffio_async._store_url import StoreUrl
    from diffio_async.errors import InvalidTarget

_CODE = re.compile(r"<Code>([^<]{1,200})</Code>")
_MESSAGE = re.compile(r"<Message>([^<\n]{1,500})")
_REGION = re.compile(r"<Region>([a-z0-9-]{1,40})</Region>")
_STATUS = re.compile(r"status code: (\d{3})")
#: The deepest cause in obstore's description of an error of the connection.
_CAUSE = re.compile(r'(?:message: |error: |ConnectError\(\s*)"([^"]{1,200})"')
#: Text of obstore before the reason: the request, its duration and its retries.
_REQUEST = re.compile(r"^.*?Error performing .*? - ", re.DOTALL)
_NO_CREDENTIALS = re.compile(
    r"instance credentials|metadata|InvalidCredentials|token request|credential", re.IGNORECASE
)
#: Requests to the service with the credentials of an instance, in place of the store.
_ROLE = re.compile(
    r"Error performing \w+ \S+?/(latest/(api/token|meta-data/)|computeMetadata/|metadata/identity/)"
)
_CREDENTIALS = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; profiles need pip install boto3; for a "
    "public bucket set AWS_SKIP_SIGNATURE=true",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS, or run gcloud auth application-default login",
    "az": "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or a SAS token",
}
#: An address, which may contain any word.
_URL = re.compile(r"https?://\S+")
#: Failures of TLS in obstore's description: an unknown authority, or a server without TLS.
_TLS = re.compile(r"\b(?:InvalidCertificate|InvalidMessage)\(\s*(\w+)")
_NO_BUCKET = frozenset({"NoSuchBucket", "ContainerNotFound"})
_DENIED = frozenset({"401", "403"})
#: Statuses after which the store is tried again later.
_TRANSIENT = frozenset({"408", "429", "500", "502", "503", "504"})


@contextlib.contextmanager
def store_errors(
    url: StoreUrl, error: type[InvalidSource | InvalidTarget], action: str
) -> Iterator[None]:
    """Translate errors of obstore; `action` is what could not be done, such as "be read"."""
    try:
        yield
    except DiffioError:
        raise
    except Exception as failure:
        if not _is_of_store(failure):
            raise
        translated = _translated(url, failure, error, action)
        # The original contains a dump of the request; a log may show it as the context.
        failure.args = (reason_of(failure),)
        raise translated from translated.__cause__


def _is_of_store(failure: Exception) -> bool:
    # FileNotFoundError and ValueError come from obstore's own thread, without a file name.
    of_obstore = type(failure).__module__.startswith("obstore") or _is_crash(failure)
    return of_obstore or isinstance(failure, (FileNotFoundError, ValueError, NotImplementedError))


def _is_crash(failure: Exception) -> bool:
    return type(failure).__name__ == "RustPanic"


def is_missing(failure: BaseException) -> bool:
    """Return whether the store responded that there is no such object or bucket."""
    return isinstance(failure, FileNotFoundError)


def is_upload_missing(failure: BaseException) -> bool:
    """Return whether the store has no such upload in parts: it was completed or aborted."""
    code = _CODE.search(str(failure))
    return code is not None and code[1] == "NoSuchUpload"


def is_unexplained(failure: BaseException) -> bool:
    """Return whether the store refused a request without a reason, as it does for HEAD."""
    status = _STATUS.search(str(failure))
    return status is not None and status[1] not in _TRANSIENT and not _CODE.search(str(failure))


def reason_of(failure: BaseException) -> str:
    """Return why a request failed, as one line without credentials."""
    text = str(failure)
    code, message = _CODE.search(text), _MESSAGE.search(text)
    if code is not None:
        found = f"{code[1]}: {message[1]}" if message is not None else code[1]
    else:
        found = _REQUEST.sub("", text.partition("\n")[0], count=1)
        causes = _CAUSE.findall(text) or [f"TLS failed ({each})" for each in _TLS.findall(text)]
        if causes and "status code" not in found:
            found = f"{found.removeprefix('HTTP error: ')}: {causes[-1]}"
    return message_excerpt(found.strip(" :.")) or type(failure).__name__


def missing_object(url: StoreUrl) -> InvalidSource:
    """Return the error for an object that does not exist."""
    if url.is_web:
        return InvalidSource(f"there is no file at {str(url)!r}: check the address")
    return InvalidSource(
        f"there is no object {str(url)!r}: check its bucket and its key; a folder ends with '/'"
    )


def _translated(
    url: StoreUrl, failure: Exception, error: type[InvalidSource | InvalidTarget], action: str
) -> DiffioError:
    """Return the error, caused by a `ConnectionFailed` if it may be retried."""
    text, name, reason = str(failure), type(failure).__name__, reason_of(failure)
    code = _CODE.search(text)
    no_bucket = code is not None and code[1] in _NO_BUCKET
    if is_upload_missing(failure):
        problem = error(f"{str(url)!r} cannot {action}: its upload in parts was aborted")
        problem.__cause__ = ConnectionFailed(f"the upload in parts of {url} was aborted")
        return problem
    if _is_crash(failure):
        return ConfigurationError(
            f"{str(url)!r} cannot {action}: obstore failed ({reason}). Check the environment "
            "variables of the store"
        )
    # A write needs no object.
    if no_bucket or (is_missing(failure) and action == "be written"):
        return error(
            f"there is no bucket {url.bucket!r} for {url}: create it, or check its name, the "
            "region and the endpoint"
        )
    if is_missing(failure):
        return missing_object(url)
    if name == "AlreadyExistsError":
        return error(
            f"{str(url)!r} exists: choose another name, or replace it with on_conflict='overwrite'"
        )
    if name == "PreconditionError":
        return error(f"{str(url)!r} changed while it was read: try again when nothing writes to it")
    # The texts of the failures above contain the key, which may have any word.
    status = _STATUS.search(text)
    is_transient = status is None or status[1] in _TRANSIENT
    is_of_role = _ROLE.search(text) is not None
    if is_of_role or (status is None and _NO_CREDENTIALS.search(_URL.sub("", text))):
        advice = _CREDENTIALS.get(url.scheme, "configure them as the store's own tools do")
        problem = error(f"there are no valid credentials for {url} ({reason}): {advice}")
        if is_of_role and is_transient:
            problem.__cause__ = ConnectionFailed(f"no credentials for {url} were sent: {reason}")
            return problem
        return ConfigurationError(str(problem))
    region = _REGION.search(text)
    if region is not None or "configured region" in reason:
        where = f"AWS_REGION={region[1]}" if region is not None else "AWS_REGION to its region"
        return ConfigurationError(f"the bucket of {url} is in another region: set {where}")
    if status is not None and status[1] in _DENIED:
        what = "link" if url.is_web else "credentials and the permissions of the bucket"
        return error(f"{str(url)!r} cannot {action}: access is denied ({reason}). Check the {what}")
    problem = error(f"{str(url)!r} cannot {action}: {reason}")
    if "invalid path" in text:
        return error(f"{problem}. Rename that object")
    if is_transient:
        step = "check the network and the endpoint" if status is None else "wait a minute"
        problem = error(f"{problem}. To continue, {step}, and try again")
        problem.__cause__ = ConnectionFailed(f"the store of {url} did not respond: {reason}")
    return problem
