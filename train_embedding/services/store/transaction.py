"""Changes of several files that happen wholly or not at all, whatever ends the process and whenever."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from train_embedding.embeddings.regular_files import read_regular_file
from train_embedding.embeddings.storage import is_full, remove_file, replace_file, storage_failed, write_atomically
from train_embedding.errors import Conflict, StorageFailed
from train_embedding.services.store.locks import file_lock
from train_embedding.services.store.steps import (
    Change,
    Plan,
    check_free,
    check_within,
    complete,
    discard,
    perform,
    plan_from,
    plan_of,
    stage,
)

__all__ = ["Change", "Changes"]

JOURNAL, LOCK = "change.json", "change.lock"
RESERVE, RESERVE_SIZE = "change.reserve", 64 * 2**10
"A file that is given up when the disk is full, so that there is room to note what is moved or deleted."
WAIT_SECONDS = 30.0
MAX_JOURNAL = 64 * 2**20
"Bytes; a change of 1,000 files takes 0.3 MB."

logger = logging.getLogger(__name__)


class Changes:
    """Carries changes out, one at a time among all processes that share `folder`.

    All data is first written to temporary files beside their targets; then the journal is marked, and from there on only names
    change. A process that finds the journal of one that ended takes its temporary files away, or does what was left to do.

    within: the folders in which files change. A journal may come from anywhere, with the rest of a data folder, so one that names
    other places is set aside.
    """

    def __init__(self, folder: Path, within: Sequence[Path]) -> None:
        self._within = within
        self._journal = folder / JOURNAL
        self._lock = folder / LOCK
        self._reserve = folder / RESERVE

    @contextmanager
    def turn(self) -> Generator[None, None, None]:
        """Waits for the changes of others; inside, what was looked up stays true. Raises Conflict, StorageFailed."""
        try:
            with file_lock(self._lock, WAIT_SECONDS):
                self._remove_unfinished()
                self._finish_interrupted()
                self._make_reserve()
                yield
        except TimeoutError as error:
            raise Conflict("Another program is changing the embeddings folder.", "Try again when it is done.") from error

    def recover(self) -> None:
        """Ends a change that a process left behind, where there is one and nobody is at work."""
        if not self._journal.exists():
            return
        try:
            with file_lock(self._lock):
                self._finish_interrupted()
        except TimeoutError:
            logger.debug("A change is under way.")
        except StorageFailed as error:
            logger.warning("A change that was interrupted is left as it is: %s", error)

    def carry_out(self, change: Change) -> None:
        """Inside `turn`. Raises Conflict where a target is there already, StorageFailed; then everything is as it was.

        What only moves and removes files needs next to no room, and can be done on a full disk.
        """
        try:
            self._carry_out(change)
        except StorageFailed as error:
            if not is_full(error) or change.writes or change.copies or not self._give_up_reserve():
                raise
            self._carry_out(change)

    def _carry_out(self, change: Change) -> None:
        check_free(change)
        if len(change.writes) == 1 and not (change.copies or change.moves or change.removes):
            write_atomically(*change.writes[0])
            return
        plan = plan_of(change)
        made: list[Path] = []
        try:
            if plan.staged:
                self._note(plan, False)
            stage(change, plan, made)
            self._note(plan, True)
        except StorageFailed as error:
            discard(plan, made)
            self._forget()
            if plan.staged or plan.moves or not is_full(error) or self._reserve.exists():
                raise
            logger.warning("Files are deleted without a journal, for which the full disk has no room.")
        except BaseException:
            discard(plan, made)
            self._forget()
            raise
        # Whatever else breaks off, the journal stays, and the next turn completes the change.
        try:
            perform(plan, made)
        except StorageFailed:
            self._forget()
            raise
        except OSError as error:
            raise storage_failed(plan.result, error) from error
        self._forget()

    def _remove_unfinished(self) -> None:
        """Takes away journals that a killed process had not written to the end."""
        try:
            for unfinished in self._journal.parent.glob(f".{self._journal.stem}.*.tmp"):
                remove_file(unfinished, missing_ok=True)
        except OSError as error:
            logger.warning("An unfinished journal cannot be removed: %s", error)

    def _make_reserve(self) -> None:
        """Where there is room. Its bytes are random, so that file systems that compress do not save on them."""
        if self._reserve.exists():
            return
        try:
            write_atomically(self._reserve, os.urandom(RESERVE_SIZE))
        except StorageFailed as error:
            logger.info("There is no reserve for deleting files on a full disk: %s", error)

    def _give_up_reserve(self) -> bool:
        try:
            remove_file(self._reserve)
        except OSError:  # it was given up before, or could not be made
            return False
        return True

    def _forget(self) -> None:
        """Where the journal cannot be removed, the next turn finds that nothing is left to do."""
        try:
            remove_file(self._journal, missing_ok=True)
        except OSError as error:
            logger.warning("The journal of a change that has ended cannot be removed: %s", error)

    def _note(self, plan: Plan, committed: bool) -> None:
        try:
            write_atomically(self._journal, json.dumps({"committed": committed, **plan.to_json()}, indent=1).encode())
        except StorageFailed as error:
            if isinstance(error.__cause__, OSError):  # nobody asked for a journal
                raise storage_failed(plan.result, error.__cause__) from error
            raise

    def _finish_interrupted(self) -> None:
        try:
            values = json.loads(read_regular_file(self._journal, MAX_JOURNAL))
            plan, committed = plan_from(values), bool(values["committed"])
            check_within(plan, self._within)
        except FileNotFoundError:
            return
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            aside = self._journal.with_suffix(".damaged")
            logger.warning("An interrupted change is not completed: %s Its journal was set aside as %s.", error, aside)
            replace_file(self._journal, aside)
            return
        except OSError as error:
            raise storage_failed(self._journal, error) from error
        logger.info("A change was interrupted; it is %s.", "completed" if committed else "taken back")
        try:
            if committed:
                complete(plan)
            else:
                discard(plan, [])
            remove_file(self._journal, missing_ok=True)
        except OSError as error:
            raise storage_failed(self._journal, error) from error
