"""Advice on failed calls, where the call or the code is more specific than the status."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_ACCOUNT = "and that the key belongs to the account that made it."
_NO_ENDPOINT = (
    "Check the base URL (DIFFIO_API_BASE_URL): there is no such endpoint at that address."
)
_UPLOAD = (
    "Wait until the upload is complete: projects.create returns then, and projects.complete_upload "
    "confirms an upload that was made otherwise."
)
_KEY_STATE = (
    "The state of the API key does not allow it: see api_keys.list for keys that are active."
)
_GONE = "It was deleted or has expired."

#: By call and status. What is missing here has the advice of its status.
_OF_CALLS: Mapping[str, Mapping[int, str]] = {
    "create_project": {404: _NO_ENDPOINT},
    "complete_project_upload": {
        404: f"Check the id of the project, {_ACCOUNT}",
        409: "Wait until all bytes of the upload have arrived, then ask again.",
        410: f"{_GONE} Upload the recording again.",
    },
    "list_projects": {404: _NO_ENDPOINT},
    "list_project_generations": {404: f"Check the id of the project, {_ACCOUNT}", 410: _GONE},
    "create_generation": {
        404: f"Check the id of the project and the name of the model, {_ACCOUNT}",
        409: _UPLOAD,
    },
    "get_generation_progress": {
        404: f"Check the ids of the generation and its project, {_ACCOUNT}",
        410: _GONE,
    },
    "get_generation_download": {
        409: "Wait for the generation to complete (generations.wait_for_complete), then ask again.",
        410: _GONE,
    },
    "account/settings/get": {404: _NO_ENDPOINT},
    "account/settings/update": {
        404: _NO_ENDPOINT,
        409: "Read the settings (account.get_settings), then try again.",
    },
    "api_keys/create": {
        403: "A key can hand on only the scopes that it has, and needs keys:write for that.",
        404: _NO_ENDPOINT,
        409: "Look at the keys that exist (api_keys.list) before another attempt.",
    },
    "api_keys/list": {404: _NO_ENDPOINT},
    "api_keys/rotate": {
        404: f"Check the id of the key (key_id), {_ACCOUNT}",
        409: _KEY_STATE,
        410: _KEY_STATE,
    },
    "api_keys/revoke": {
        404: f"Check the id of the key (key_id), {_ACCOUNT}",
        409: _KEY_STATE,
        410: _KEY_STATE,
    },
    "usage/summary": {404: f"Check the id of the key (api_key_id), {_ACCOUNT}"},
    "webhooks/configure": {
        404: f"Check the id of the key (api_key_id), {_ACCOUNT}",
        409: "Read the message: the endpoint cannot be changed now.",
    },
    "webhooks/send_test_event": {
        404: "Configure the endpoint of this mode (webhooks.configure), and check api_key_id.",
        409: "Check that the endpoint of this mode is configured (webhooks.configure).",
    },
}
#: By status and code, whatever the call.
_OF_CODES: Mapping[tuple[int, str], str] = {
    (403, "keyNotActive"): "Use a key that is active: this one was rotated or revoked.",
    (409, "keyNotActive"): _KEY_STATE,
    (409, "generationNotComplete"): _OF_CALLS["get_generation_download"][409],
    (409, "generationFailed"): (
        "The generation ended without a result (generations.get_progress has the reason): start "
        "another one."
    ),
}


def hint_for(call: str, status: int, code: str | None, about: str = "") -> str | None:
    """Return what to do about a refused call, None where only the status is known.

    Args:
        call: The name of the call.
        status: The HTTP status.
        code: The machine-readable code of the response, where there is one.
        about: What was requested, such as a download type.
    """
    if call == "get_generation_download" and status == 404:  # noqa: PLR2004 - not found
        return _no_result(about, certain=code == "downloadUnavailable")
    return _OF_CODES.get((status, code or ""), _OF_CALLS.get(call, {}).get(status))


def _no_result(kind: str, *, certain: bool) -> str:
    """The ids of a generation that was waited for are right: its result is what is missing."""
    what = f"The {kind}" if kind else "A result of this type"
    instead = "" if kind == "audio" else ": download the audio instead (download_type='audio')"
    ids = "" if certain else " If the ids were kept elsewhere, check them too."
    return f"{what} is not available for this generation{instead}.{ids}"
