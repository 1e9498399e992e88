"""The prose of the project is plain technical English: no file has one of the banned words.

Also a script, which lists the banned words as `file:line: word (write: …)`:

    python tests/test_wording.py diffio_async/batch tests/batch
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).resolve().parent.parent
READ = (
    *("diffio_async", "tests", "benchmarks", "docs", "samples", ".ci", "noxfile.py"),
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "pyproject.toml"),
)
SUFFIXES = {".py", ".md", ".svg", ".toml", ".yaml", ".yml", ""}
# Written by the generator, built by Sphinx, quoted from the published package, or this list.
SKIPPED = re.compile(
    r"(^|/)(\w*_generated\.py$|_build/|__pycache__/)"
    r"|^tests/compat/guide/|^tests/test_wording\.py$"
)

# What not to write, and what to write instead. A pattern is a whole word, also inside snake_case.
# It is read without regard to case, except in the second table.
BANNED = {
    r"told|tells?": "notify, report, specify",
    r"said|says": "state, contain, report; message",
    r"heard": "received",
    r"asks?|asked|asking": "poll, request",
    r"answer(s|ed|ing)?": "response, respond",
    r"questions?": "poll, request",
    r"go(es|ne|ing)? on|went on|goes_on|gone_on": "resume, continue",
    r"anew|afresh": "again, restart",
    r"of late": "recently",
    r"whoever": "the caller, the user",
    r"befalls?|befell": "happen to",
    r"harms nobody|in vain|made whole|twice over|to be had": "state the fact plainly",
    r"for good(?! (reason|measure))": "permanently",
    r"in the air|aloft": "in flight",
    r"weather|storm(s|y)?": "congestion, consecutive failures",
    r"desks?": "scheduler, context",
    r"ears": "push listener",
    r"bears?|born": "create, record_created",
    r"bur(y|ied|ies)": "reclaim, close",
    r"(?<!noise[ _])(?<!math\.)floors?": "minimum",
    r"houses?|rooms?|doors?|workshops?": "context, package, entry point, codegen",
    r"misfortunes?|errands?|guests?|witness(es)?": "fault, callback, waiter, request log",
    r"(the|a) (server|api|service)'s word": "the API decides",
    r"tries(?! (to|the|a|an|each|every|all|it|again|both|another|other)\b)": "attempts",
    r"beats?": "interval, heartbeat",
    r"pushed back|push-?back": "throttled",
    r"(?<!there )is no(?! longer\b)(?= \w)": "is not a, is missing",
}
CASED = {
    r"(is|are|was|were) none": "None if absent; there is no",
    r"none (is|are|was|were)": "nothing is; there is no",
}
# Where such a word is right: the file (a prefix of its path), and the text around the word.
ALLOWED = (
    ("", r"\bAnswer\b(?=[(,`\].:)| ]|$)|\.Answer\b|LoseAnswer"),  # public faults of the sandbox
    ("", r"known[_ -]answers?"),  # known-answer tests are called that in cryptography
    ("", r"(\.|def )tell\("),  # the method of file objects
    ("", r"somebody answered"),  # the text of the sample recording
)


class Hit(NamedTuple):
    """One banned word in one line of a file."""

    file: str
    line: int
    word: str
    instead: str


def _compiled(patterns: dict[str, str], flags: int = 0) -> list[tuple[re.Pattern[str], str]]:
    """Match each pattern as a whole word; an underscore separates words."""
    return [
        (re.compile(rf"(?<![A-Za-z])(?:{pattern})(?![A-Za-z])", flags), instead)
        for pattern, instead in patterns.items()
    ]


PATTERNS = [*_compiled(BANNED, re.IGNORECASE), *_compiled(CASED)]
# One search for all of them in lower case, which is faster, so that most lines are read once.
ANY = re.compile(
    rf"(?<![a-z])(?=[abdefghimnopqrstvw])(?:{'|'.join([*BANNED, *CASED])})(?![a-z])".lower()
)


def hits_in(file: str, text: str) -> Iterator[Hit]:
    """Return the banned words of one file."""
    allowed = [re.compile(around) for prefix, around in ALLOWED if file.startswith(prefix)]
    for number, line in enumerate(text.splitlines(), 1):
        if not ANY.search(line.lower()):
            continue
        spans = [found.span() for around in allowed for found in around.finditer(line)]
        for pattern, instead in PATTERNS:
            for found in pattern.finditer(line):
                if not any(start <= found.start() < end for start, end in spans):
                    yield Hit(file, number, found[0], instead)


def files_under(paths: Iterable[Path]) -> Iterator[Path]:
    """Return the files that are read, sorted."""
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.suffix in SUFFIXES and file.is_file():
                name = file.relative_to(ROOT).as_posix()
                if not SKIPPED.search(name):
                    yield file


def hits_under(paths: Iterable[Path]) -> list[Hit]:
    """Return the banned words of all files under `paths`."""
    return [
        hit
        for file in files_under(paths)
        for hit in hits_in(file.relative_to(ROOT).as_posix(), file.read_text("utf-8"))
    ]


def test_no_banned_words() -> None:
    hits = hits_under(ROOT / name for name in READ if (ROOT / name).exists())
    report = [f"{hit.file}:{hit.line}: {hit.word} (write: {hit.instead})" for hit in hits]
    assert not report, "\n".join(["banned words:", *report])


def test_words_are_found_whole_and_in_snake_case() -> None:
    text = "It goes on.\nassert x is None\nserver_told = bearer\nis no JSON\nthere is no file\n"
    assert [(hit.line, hit.word) for hit in hits_in("x.py", text)] == [
        (1, "goes on"),
        (3, "told"),
        (4, "is no"),
    ]


if __name__ == "__main__":
    found = hits_under([Path(name).resolve() for name in sys.argv[1:]] or [ROOT / n for n in READ])
    for one in found:
        sys.stdout.write(f"{one.file}:{one.line}: {one.word} (write: {one.instead})\n")
    sys.exit(bool(found))
