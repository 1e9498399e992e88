"""What went wrong when a key or an address was copied: into an `.env` file, a shell, a document."""

from __future__ import annotations

import re

_QUOTES = "'\"`" + "\u201c\u201d\u201e\u2018\u2019\u201a\u00ab\u00bb"
_INVISIBLE = "\ufeff\u200b\u200c\u200d\u2060\u00ad"
_ASSIGNED = re.compile(
    r"(?:export\s+|set\s+)\w+\s*=|DIFFIO_\w+\s*=|(?:export|set)\s", re.IGNORECASE
)
_HEADER = re.compile(r"(?:authorization|x-api-key|xi-api-key)\s*:", re.IGNORECASE)
_SCHEME = re.compile(r"(?:bearer|basic|token)\s", re.IGNORECASE)
_VARIABLE = re.compile(r"\$\w+|\$\{[^}]*\}|\$\([^)]*\)|%\w+%|\{\{.*\}\}")
#: What keys of other services begin with; only prefixes that no other service uses.
_OTHERS = {
    "sk-ant-": "Anthropic",
    "sk-proj-": "OpenAI",
    "ghp_": "GitHub",
    "github_pat_": "GitHub",
    "xoxb-": "Slack",
    "AKIA": "AWS",
}


def copying_mistake(value: str, *, international: bool = False) -> str | None:
    """Return the mistake in a value that should be one visible word, None if it is one.

    The words complete a sentence that begins with the name of the value. They never show it.

    Args:
        value: The value as it was given.
        international: Whether it may hold characters that are not ASCII.
    """
    text = value.strip()
    if not text:
        return "is blank: nothing but white space"
    found = (
        (
            any(c in value for c in _INVISIBLE),
            "holds an invisible character: type it, or copy the plain text",
        ),
        (_ASSIGNED.match(text), "holds the assignment too: give only what follows the ="),
        (_HEADER.match(text), "holds the name of the header too: give only the value"),
        (
            text[0] in _QUOTES or text[-1] in _QUOTES,
            "is in quotes: remove them (docker --env-file "
            "and other readers of .env files keep quotes as part of the value)",
        ),
        (
            _SCHEME.match(text),
            "begins with the word of an Authorization header (Bearer): leave it "
            "out, it is added to each request",
        ),
        (
            _VARIABLE.fullmatch(text),
            "is a reference to a variable that was not expanded: give the value itself",
        ),
        (text[0] == "<" and text[-1] == ">", "is a placeholder: replace it, brackets included"),
        (
            not (international or value.isascii()),
            "holds a character that is not ASCII: a typographic quote, dash or "
            "space from a document, perhaps",
        ),
        (
            value != text and "\n" not in text,
            "has white space around it (a trailing newline from a file, perhaps): pass it stripped",
        ),
        (re.search(r"\s", text), "holds white space: a comment after it, or a second value?"),
        (not value.isprintable(), "holds a control character"),
    )
    return next((mistake for matches, mistake in found if matches), None)


def other_credential(key: str) -> str | None:
    """Return what a key is instead of an API key of Diffio, None where that is not sure."""
    if key.startswith(("https://", "http://")):
        return "is a URL: the address of the API belongs in DIFFIO_API_BASE_URL"
    if key.startswith("whsec_"):
        return "is a signing secret of webhooks: it belongs in DIFFIO_WEBHOOK_SECRET"
    service = next((name for start, name in _OTHERS.items() if key.startswith(start)), None)
    return None if service is None else f"is a key of another service ({service})"
