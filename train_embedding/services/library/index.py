"""The index: a cache on disk of values read from files. It may be deleted, damaged or locked at any time."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Generator, Iterable, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from train_embedding import __version__
from train_embedding.embeddings.storage import remove_file

FILE_NAME = "index.sqlite"
BUSY_SECONDS = 2.0
"Longest wait for another process that is writing."
LAYOUT = f"6 of {__version__}"
"Version of the index. Values of another release are discarded, because that release may read files differently."

logger = logging.getLogger(__name__)

Known = tuple[str, str]
"The stamp of a file, and its value as JSON."


class Index:
    """A table from paths to `Known`. It is opened for each use, so the file may be deleted at any time.

    No method raises an error: if the index cannot be used, that is logged, and all files are read again.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def load(self) -> dict[str, Known]:
        """Load all values by path; empty if there is no usable index."""
        if not self._file.exists():
            return {}
        try:
            with closing(self._open()) as connection:
                if connection.execute("SELECT name FROM layout").fetchall() != [(LAYOUT,)]:
                    return {}
                rows: list[tuple[bytes, str, str]] = connection.execute("SELECT path, stamp, value FROM known").fetchall()
            return {os.fsdecode(path): (stamp, value) for path, stamp, value in rows}
        except sqlite3.OperationalError as error:  # no table, locked, or it cannot be opened
            logger.info("The index %s cannot be used now: %s", self._file, error)
        except (sqlite3.DatabaseError, TypeError, ValueError) as error:
            self._delete(error)
        return {}

    def store(self, changed: Mapping[str, Known], gone: Iterable[str]) -> None:
        """Store changed values, and remove paths that no longer exist."""
        rows = [(os.fsencode(path), stamp, value) for path, (stamp, value) in changed.items()]
        lost = [(os.fsencode(path),) for path in gone]
        if not rows and not lost:
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with closing(self._open()) as connection, _written(connection):
                _make_table(connection)
                connection.executemany("INSERT OR REPLACE INTO known VALUES (?, ?, ?)", rows)
                connection.executemany("DELETE FROM known WHERE path = ?", lost)
        except (sqlite3.OperationalError, OSError) as error:  # locked, read-only, full, deleted meanwhile
            logger.info("The index %s cannot be written now: %s", self._file, error)
        except sqlite3.DatabaseError as error:
            self._delete(error)

    def _open(self) -> sqlite3.Connection:
        # The rollback journal, not WAL, which would leave files behind when the index is deleted.
        return sqlite3.connect(self._file, timeout=BUSY_SECONDS, isolation_level=None)

    def _delete(self, problem: Exception) -> None:
        logger.warning("The index %s is damaged and is deleted: %s", self._file, problem)
        try:
            remove_file(self._file, missing_ok=True)
        except OSError as error:
            logger.warning("The damaged index %s cannot be removed: %s", self._file, error)


@contextmanager
def _written(connection: sqlite3.Connection) -> Generator[None, None, None]:
    """Open a transaction that locks for writing at once, so that two processes wait for each other instead of failing halfway."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _make_table(connection: sqlite3.Connection) -> None:
    """Create the table if it does not exist, and empty it if it is of another release."""
    connection.execute("CREATE TABLE IF NOT EXISTS layout (name TEXT PRIMARY KEY)")
    connection.execute("CREATE TABLE IF NOT EXISTS known (path BLOB PRIMARY KEY, stamp TEXT, value TEXT) WITHOUT ROWID")
    if connection.execute("SELECT name FROM layout").fetchall() != [(LAYOUT,)]:
        connection.execute("DELETE FROM layout")
        connection.execute("INSERT INTO layout VALUES (?)", (LAYOUT,))
        connection.execute("DELETE FROM known")
