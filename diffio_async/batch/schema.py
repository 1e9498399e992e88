"""The journal's tables: everything a batch knows, in one SQLite file.

A `file` is a recording; a `work` is a content under a model and its settings, for which one
generation is paid however many files hold it; a `result` is one download type of one file. The
view `everything` has a row for each result with all that is known of it.

Times are seconds since 1970; `due` and `until` are kept by `_engine.database_clock`, which does
not jump. Paths are text, or bytes where they are no valid text. A row is held
by a `runner`, a run of some process, and by no other until that one lets go of it or is dead.

- `file.state`: `draft` (a listing that is not over), `listed` (its turn is to come), `joined` (its
  work carries it), `done`, `failed`, `skipped`. `ended` counts the ends in the order they came.
- `work.state`: `new` (to be uploaded), `uploaded`, `started` (the generation is known),
  `complete`, `failed`. `upload` is how to go on with an upload; it holds the edge's token.
- `result.state`: `wanted`, `ready` (it can be fetched), `done`, `failed`. `begun`: what stands
  under its name is ours.
- `again`, where something failed: 1 where another run may try for nothing, 0 where it would be
  billed.
- `left_out`: what the last listing found and did not take for a recording; `runner` while that
  listing is not over.
- `orphan`: projects made in vain; `project` is null where an answer was lost that may have
  made one.
"""

from __future__ import annotations

from diffio_async._storage.sqlite_open import Schema

#: When a work is due that this run is not to take up again.
NOT_NOW = 1e12

_FIRST = (
    "CREATE TABLE batch (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID",
    """
    CREATE TABLE runner (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        token TEXT NOT NULL,
        place TEXT NOT NULL,
        pid INTEGER NOT NULL,
        born TEXT NOT NULL,
        until REAL NOT NULL
    )
    """,
    """
    CREATE TABLE work (
        id INTEGER PRIMARY KEY,
        digest TEXT NOT NULL,
        model TEXT NOT NULL,
        settings TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        key TEXT NOT NULL UNIQUE,
        state TEXT NOT NULL DEFAULT 'new',
        runner INTEGER,
        tries INTEGER NOT NULL DEFAULT 0,
        due REAL NOT NULL DEFAULT 0,
        asked INTEGER NOT NULL DEFAULT 0,
        reserved INTEGER NOT NULL DEFAULT 0,
        project TEXT,
        upload TEXT,
        generation TEXT,
        error TEXT,
        error_type TEXT,
        again INTEGER NOT NULL DEFAULT 1,
        uploaded_at REAL,
        started_at REAL,
        complete_at REAL,
        UNIQUE (digest, model, settings, attempt)
    )
    """,
    "CREATE INDEX work_free ON work (due, id)"
    " WHERE state IN ('uploaded', 'started') AND runner IS NULL",
    "CREATE INDEX work_held ON work (runner) WHERE runner IS NOT NULL",
    "CREATE INDEX work_going ON work (state) WHERE state IN ('new', 'uploaded', 'started')",
    """
    CREATE TABLE file (
        id INTEGER PRIMARY KEY,
        source NOT NULL,
        model TEXT NOT NULL,
        settings TEXT NOT NULL,
        size INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        state TEXT NOT NULL DEFAULT 'listed',
        work INTEGER REFERENCES work,
        attempt INTEGER NOT NULL DEFAULT 0,
        changed INTEGER NOT NULL DEFAULT 0,
        runner INTEGER,
        tries INTEGER NOT NULL DEFAULT 0,
        due REAL NOT NULL DEFAULT 0,
        error TEXT,
        error_type TEXT,
        again INTEGER NOT NULL DEFAULT 1,
        begun_at REAL,
        ended_at REAL,
        ended INTEGER UNIQUE,
        UNIQUE (source, model, settings)
    )
    """,
    "CREATE INDEX file_free ON file (due, id) WHERE state = 'listed' AND runner IS NULL",
    "CREATE INDEX file_draft ON file (id) WHERE state = 'draft'",
    "CREATE INDEX file_held ON file (runner) WHERE runner IS NOT NULL",
    "CREATE INDEX file_state ON file (state)",
    "CREATE INDEX file_work ON file (work) WHERE work IS NOT NULL",
    """
    CREATE TABLE result (
        file INTEGER NOT NULL REFERENCES file,
        type TEXT NOT NULL,
        path NOT NULL,
        place NOT NULL UNIQUE,
        state TEXT NOT NULL DEFAULT 'wanted',
        runner INTEGER,
        tries INTEGER NOT NULL DEFAULT 0,
        due REAL NOT NULL DEFAULT 0,
        begun INTEGER NOT NULL DEFAULT 0,
        bytes INTEGER,
        error TEXT,
        error_type TEXT,
        again INTEGER NOT NULL DEFAULT 1,
        done_at REAL,
        PRIMARY KEY (file, type)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX result_free ON result (due) WHERE state = 'ready' AND runner IS NULL",
    "CREATE INDEX result_held ON result (runner) WHERE runner IS NOT NULL",
    """
    CREATE TABLE orphan (
        id INTEGER PRIMARY KEY,
        work INTEGER REFERENCES work,
        project TEXT,
        reason TEXT NOT NULL,
        at REAL NOT NULL
    )
    """,
    """
    CREATE VIEW everything AS SELECT
        file.id AS file_id, file.source, result.type, result.path, file.state AS file_state,
        work.state AS work_state, result.state AS result_state,
        file.size, file.mtime_ns, result.bytes, work.digest, file.model, file.settings,
        work.attempt, work.key, work.project, work.upload, work.generation,
        file.tries AS file_tries, work.tries AS work_tries, result.tries AS result_tries,
        coalesce(result.error, file.error, work.error) AS error,
        coalesce(result.error_type, file.error_type, work.error_type) AS error_type,
        file.begun_at, work.uploaded_at, work.started_at, work.complete_at, result.done_at,
        file.ended_at
    FROM file JOIN result ON result.file = file.id LEFT JOIN work ON work.id = file.work
    """,
)

_SECOND = (
    "CREATE TABLE left_out (path NOT NULL, reason TEXT NOT NULL, runner INTEGER)",
    "CREATE INDEX left_out_draft ON left_out (runner) WHERE runner IS NOT NULL",
)

#: "DFba" in ASCII marks the file as ours.
SCHEMA = Schema(
    label="batch journal",
    application_id=0x44466261,
    migrations=(_FIRST, _SECOND),
    # The clock may have been set back meanwhile: nothing waits for longer than it would have.
    after_restart=tuple(
        f"UPDATE {table} SET due = min(due, steady_now()) WHERE due < {NOT_NOW}"  # noqa: S608
        for table in ("file", "work", "result")
    ),
)
