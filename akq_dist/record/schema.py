"""Tables of the ledger, and the version that says which program can read them."""

from __future__ import annotations

from typing import Final

SCHEMA_VERSION: Final = 1

# A trial is clustered by (study, number): a sweep appends at the end, and every view reads in that order.
# The cache looks complete trials up by key over all studies; the index leaves everything else out.
TABLES: Final = (
    """
    CREATE TABLE meta (
        name TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE study (
        sid INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL UNIQUE,
        series TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        base_dir TEXT NOT NULL,
        spec TEXT NOT NULL,
        identity TEXT NOT NULL,
        params TEXT NOT NULL,
        outputs TEXT NOT NULL,
        objectives TEXT NOT NULL,
        seed INTEGER NOT NULL,
        source TEXT NOT NULL,
        budget INTEGER
    )
    """,
    """
    CREATE TABLE session (
        id INTEGER PRIMARY KEY,
        sid INTEGER NOT NULL REFERENCES study (sid),
        started_ms INTEGER NOT NULL,
        build TEXT NOT NULL,
        executor TEXT NOT NULL,
        environment TEXT NOT NULL
    )
    """,
    """
    CREATE TABLE trial (
        sid INTEGER NOT NULL REFERENCES study (sid),
        number INTEGER NOT NULL,
        grp INTEGER NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('asked', 'complete', 'fail', 'pruned')),
        key TEXT NOT NULL,
        params TEXT NOT NULL,
        point BLOB NOT NULL,
        "values" BLOB,
        metrics BLOB,
        reason TEXT,
        hash TEXT,
        n_bars INTEGER,
        cached INTEGER,
        started_ms INTEGER,
        ended_ms INTEGER,
        session INTEGER REFERENCES session (id),
        PRIMARY KEY (sid, number)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX trial_key ON trial (key) WHERE state = 'complete'",
    "CREATE INDEX trial_open ON trial (sid, number) WHERE state = 'asked'",
    """
    CREATE TABLE rejected (
        sid INTEGER NOT NULL REFERENCES study (sid),
        grp INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        point BLOB NOT NULL,
        PRIMARY KEY (sid, grp, seq)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE view (
        sid INTEGER NOT NULL REFERENCES study (sid),
        name TEXT NOT NULL,
        watermark INTEGER NOT NULL,
        info TEXT NOT NULL,
        PRIMARY KEY (sid, name)
    ) WITHOUT ROWID
    """,
)
