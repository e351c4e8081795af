"""The measures of images that have not changed since they were measured, in a database next to the runs folder."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from train_embedding.embeddings.storage import remove_file
from train_embedding.messages import decode, encode
from train_embedding.services.datasets.measures import Measures

logger = logging.getLogger(__name__)

VERSION = 1
"Of the table and of what `measures.py` measures; older ones are dropped."
MAX_ROWS = 100_000
"Rows that are kept, about 10 kB each; the oldest are deleted."
_TABLE = """CREATE TABLE IF NOT EXISTS measures (
    path BLOB PRIMARY KEY, stamp TEXT, problem TEXT, sharpness REAL, contrast REAL, digest BLOB, bits BLOB, colours BLOB,
    thumbnail BLOB, mask BLOB)"""
_FACTS = "path, stamp, problem, sharpness, contrast, digest, bits, colours"

Stamp = tuple[int, ...]
"Modification times in nanoseconds and sizes in bytes of the image and its mask, and the sides of the crop if there is one."


@dataclass(frozen=True)
class _Kept:
    stamp: str
    measures: Measures


class MeasureCache:
    """Measures by file. Safe to use from any thread; an error of the database is logged, and the images are measured again.

    Everything but thumbnails is also kept in memory.

    Args:
        file: The database.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None
        self._known: dict[Path, _Kept] = {}
        self._loaded: set[Path] = set()

    def get(self, file: Path, stamp: Stamp) -> Measures | None:
        """Return the measures of a file without its thumbnail; None if it has not been measured since it changed."""
        with self._lock:
            if file.parent not in self._loaded:
                self._loaded.add(file.parent)
                self._load(file.parent)
            kept = self._known.get(file)
        return kept.measures if kept is not None and kept.stamp == _text(stamp) else None

    def put(self, file: Path, stamp: Stamp, measures: Measures) -> None:
        """Keep the measures of a file."""
        row = (
            os.fsencode(file), _text(stamp), json.dumps(encode(measures.problem)), measures.sharpness, measures.contrast,
            measures.digest, measures.bits, measures.colours, measures.thumbnail, measures.mask,
        )  # fmt: skip
        with self._lock:
            self._known[file] = _Kept(_text(stamp), replace(measures, thumbnail=b"", mask=b""))
            self._run("INSERT OR REPLACE INTO measures VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

    def thumbnails(self, stamps: Mapping[Path, Stamp]) -> dict[Path, tuple[bytes, bytes]]:
        """Return the thumbnail and the mask of each of some files, as JPEG files; those that are not kept are left out.

        Args:
            stamps: The files, as they are now.
        """
        found: dict[Path, tuple[bytes, bytes]] = {}
        query = "SELECT thumbnail, mask FROM measures WHERE path = ? AND stamp = ?"
        with self._lock:
            for file, stamp in stamps.items():
                rows = self._run(query, (os.fsencode(file), _text(stamp)))
                if rows and isinstance(rows[0][0], bytes) and isinstance(rows[0][1], bytes):
                    found[file] = rows[0][0], rows[0][1]
        return found

    def trim(self) -> None:
        """Delete the oldest rows beyond MAX_ROWS."""
        with self._lock:
            self._run(
                "DELETE FROM measures WHERE rowid <= (SELECT rowid FROM measures ORDER BY rowid DESC LIMIT 1 OFFSET ?)",
                (MAX_ROWS,),
            )

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None

    def _load(self, folder: Path) -> None:
        start = os.fsencode(folder) + os.fsencode(os.sep)
        end = start[:-1] + bytes([start[-1] + 1])
        for row in self._run(f"SELECT {_FACTS} FROM measures WHERE path >= ? AND path < ?", (start, end)):
            try:
                path, stamp, problem, sharpness, contrast, digest, bits, colours = row
                complete = bool(json.loads(problem)) or (len(bits) == 8 and len(colours) == 768 and len(digest) == 32)
                measures = Measures(decode(json.loads(problem)), float(sharpness), float(contrast), digest, bits, colours)
            except (ValueError, TypeError) as error:
                logger.info("A row of %s is ignored: %s", self._file, error)
                continue
            if complete:
                self._known[Path(os.fsdecode(path))] = _Kept(str(stamp), measures)

    def _run(self, statement: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows; none after an error, which is logged."""
        for attempt in (1, 2):
            try:
                database = self._opened()
                with database:
                    return database.execute(statement, values).fetchall()
            except sqlite3.DatabaseError as error:  # damaged, from another version, locked for long, or the disk is full
                logger.warning("The database %s cannot be used: %s", self._file, error)
                if isinstance(error, sqlite3.OperationalError) or attempt == 2:
                    break
                self._start_anew()
            except OSError as error:
                logger.warning("The database %s cannot be used: %s", self._file, error)
                break
        return []

    def _opened(self) -> sqlite3.Connection:
        if self._database is None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(self._file, timeout=5.0, check_same_thread=False)
            try:
                database.execute("PRAGMA trusted_schema = OFF")
                database.execute("PRAGMA journal_mode = WAL")
                database.execute("PRAGMA synchronous = NORMAL")
                if database.execute("PRAGMA user_version").fetchone()[0] != VERSION:
                    database.execute("DROP TABLE IF EXISTS measures")
                    database.execute(f"PRAGMA user_version = {VERSION}")
                database.execute(_TABLE)
            except BaseException:
                database.close()
                raise
            self._database = database
        return self._database

    def _start_anew(self) -> None:
        """Remove a damaged database."""
        if self._database is not None:
            self._database.close()
            self._database = None
        for suffix in ("", "-wal", "-shm"):
            try:
                remove_file(self._file.with_name(self._file.name + suffix), missing_ok=True)
            except OSError as error:
                logger.info("The damaged database %s cannot be removed: %s", self._file, error)


def _text(stamp: Stamp) -> str:
    return " ".join(map(str, stamp))
