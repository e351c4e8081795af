"""The training queue: several trainings one after the other. It is kept in a file, and survives the end of the program."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from train_embedding.engine.config.spec import TrainingSpec
from train_embedding.errors import Conflict, InvalidInput, NotFound, TrainEmbeddingError
from train_embedding.hosts.base import Host
from train_embedding.messages import NOTHING, Message, msg
from train_embedding.services.run_records import RunState
from train_embedding.services.training.queue_file import FOLDER, QueueFile
from train_embedding.services.training.queue_records import MAX_UNFINISHED, QueueContents, QueueEntry
from train_embedding.services.training.queue_worker import QueueWorker
from train_embedding.services.training.runs import Runs

logger = logging.getLogger(__name__)


class Queue:
    """Use cases about the queue. Safe to use from any thread, and from several processes with the same data folder.

    Adding a training does not begin it. A program that stays open calls `serve`, and a command `work` and `begin_next`.

    Args:
        host: The host.
        runs: The service that trains.
    """

    def __init__(self, host: Host, runs: Runs) -> None:
        self._host = host
        self._runs = runs
        self._file = QueueFile(self._folder)
        self._worker = QueueWorker(host, runs, self._file)

    def add(self, spec: TrainingSpec) -> QueueEntry:
        """Check a training, and add it to the end of the queue.

        Raises:
            Conflict: The queue is full.
            StorageFailed: The queue cannot be written.
            TrainEmbeddingError: What `Runs.check` raises.
        """
        spec, notes = self._runs.check(spec)
        info = self._host.info()
        entry = QueueEntry(
            "",
            spec,
            "waiting",
            info.checkpoint_name,
            info.checkpoint_hash,
            datetime.now().isoformat(timespec="seconds"),
            "",
            notes,
        )
        return self._change(lambda contents: _with_added(contents, entry)).entries[-1]

    def contents(self) -> QueueContents:
        """Return the queue. A training whose program was killed is interrupted.

        Raises:
            SystemRefused: Its file cannot be read.
        """
        contents = self._file.read()
        running = contents.running
        if running is None or self._worker.works or self._file.is_worked_on():
            return contents
        return contents.with_entry(replace(running, status="interrupted"))

    def get(self, entry_id: str) -> QueueEntry:
        """Return a training of the queue.

        Raises:
            NotFound: It is not in the queue.
        """
        return _found(self.contents(), entry_id)

    def position(self, entry_id: str) -> int:
        """Return the place of a training among those that wait, from 1; 0 for one that does not wait."""
        ids = [entry.id for entry in self.contents().to_begin]
        return ids.index(entry_id) + 1 if entry_id in ids else 0

    def version(self) -> str:
        """Return a text that changes with what `contents` returns."""
        return f"{hash((self._file.stamp(), self.contents().running is None)) & 0xFFFFFFFFFFFF:012x}"

    def move(self, entry_id: str, position: int) -> QueueEntry:
        """Give a training that waits another place.

        Args:
            entry_id: The training.
            position: Its new place among those that wait, from 1; any larger number for the last.

        Raises:
            NotFound: It is not in the queue.
            InvalidInput: There is no such place.
            Conflict: It does not wait.
        """
        if position < 1:
            raise InvalidInput(
                msg("{position} is not a position in the queue.", position=position), msg("The first position is 1.")
            )
        return _found(self._change(lambda contents: _with_moved(contents, entry_id, position)), entry_id)

    def remove(self, entry_id: str) -> QueueEntry:
        """Remove a training from the queue. Its run, if it had one, stays.

        Raises:
            NotFound: It is not in the queue.
            Conflict: It is in progress.
        """

        def removed(contents: QueueContents) -> QueueContents:
            entry = _found(contents, entry_id)
            if entry.status == "running" and (self._worker.works or self._file.is_worked_on()):
                raise Conflict(
                    msg('The training of "{name}" is in progress.', name=entry.spec.embedding),
                    msg("Stop it first, or wait until it ends."),
                )
            return contents.without([entry])

        return _last_removed(self._change(removed), entry_id)

    def restore(self, entry_id: str) -> QueueEntry:
        """Put a training that was removed at the end of the queue.

        Raises:
            NotFound: It was not removed, or that is too long ago.
            Conflict: The queue is full.
        """

        def restored(contents: QueueContents) -> QueueContents:
            entry = _last_removed(contents, entry_id)
            if entry.unfinished:
                _check_space(contents)
            left = tuple(other for other in contents.removed if other.id != entry_id)
            status = "interrupted" if entry.status == "running" else entry.status
            return replace(contents, entries=(*contents.entries, replace(entry, status=status)), removed=left)

        return _found(self._change(restored), entry_id)

    def retry(self, entry_id: str) -> QueueEntry:
        """Put a training that has failed or was stopped at the end of the queue. If it had begun, it will be resumed.

        Raises:
            NotFound: It is not in the queue.
            Conflict: It is not over yet, or has finished, or the queue is full.
        """

        def retried(contents: QueueContents) -> QueueContents:
            entry = _found(contents, entry_id)
            if entry.status not in ("failed", "stopped"):
                raise Conflict(
                    msg("Job {id} has neither failed nor been stopped.", id=entry_id),
                    msg("Only failed or stopped jobs can be retried."),
                )
            _check_space(contents)
            again = replace(entry, status="interrupted" if entry.run else "waiting", notes=(), error=NOTHING, hint=NOTHING)
            others = (other for other in contents.entries if other.id != entry_id)
            return replace(contents, entries=(*others, again))

        return _found(self._change(retried), entry_id)

    def clear_ended(self) -> int:
        """Remove the trainings that are over, and return their number. Their runs stay.

        Raises:
            StorageFailed: The queue cannot be written.
        """
        ended: list[QueueEntry] = []

        def cleared(contents: QueueContents) -> QueueContents:
            ended.extend(entry for entry in contents.entries if not entry.unfinished)
            return contents.without(ended)

        self._change(cleared)
        return len(ended)

    def removed(self) -> list[QueueEntry]:
        """Return the trainings that were removed, the newest first."""
        return list(reversed(self._file.read().removed))

    def pause(self) -> QueueContents:
        """Let no further training begin; the present one ends as usual."""
        return self._change(lambda contents: replace(contents, paused=True, why_paused=NOTHING))

    def proceed(self) -> QueueContents:
        """End a pause."""
        return self._change(lambda contents: replace(contents, paused=False, why_paused=NOTHING))

    def follow_rename(self, name: str, new_name: str) -> None:
        """Let trainings that have not begun use the new name of their embedding."""

        def renamed(entry: QueueEntry) -> QueueEntry:
            follows = entry.spec.embedding == name and not entry.run and entry.status != "running"
            return replace(entry, spec=replace(entry.spec, embedding=new_name)) if follows else entry

        try:
            if any(entry.spec.embedding == name for entry in self._file.read().entries):
                self._change(lambda contents: contents.map(renamed))
        except TrainEmbeddingError as error:  # the embedding is renamed all the same
            logger.warning('The queue does not know yet that "%s" is now called "%s": %s', name, new_name, error)

    def serve(self) -> None:
        """Work on the queue in a thread until `close`: a program that stays open calls it once it is ready to train.

        Trainings that a program left unfinished when it ended are not begun by themselves: the queue is paused, and says why.
        """
        self._worker.serve()

    def work(self) -> AbstractContextManager[None]:
        """Be the process that works on the queue until exit; a pause ends.

        Raises:
            Conflict: Another process works on it.
        """
        return self._worker.work()

    def begin_next(self) -> RunState | None:
        """Inside `work`: begin or resume the next training; None if there is no training that can begin now.

        A training that cannot be begun has failed, with the reason. One that needs another checkpoint, or whose embedding another
        program is training, goes on waiting.
        """
        return self._worker.begin_next()

    def waiting(self) -> QueueEntry | None:
        """Return the training that this process begins as soon as it can; None if there is none, or something keeps it back.

        Raises:
            SystemRefused: The file of the queue cannot be read.
        """
        contents = self.contents()
        if contents.paused or not self._worker.works:
            return None
        return next((entry for entry in contents.to_begin if not entry.error), None)

    def finish(self) -> None:
        """Inside `work`: wait for the end of the run that `begin_next` has begun, and record it."""
        self._worker.finish()

    def close(self) -> None:
        """Stop the present training after its current step, keep its result, and begin no other.

        The training is resumed when the queue is continued.
        """
        self._worker.close()

    def _change(self, change: Callable[[QueueContents], QueueContents]) -> QueueContents:
        try:
            return self._file.change(change)
        finally:
            self._worker.wake()

    def _folder(self) -> Path:
        return self._host.info().runs_folder.parent / FOLDER


def _with_added(contents: QueueContents, entry: QueueEntry) -> QueueContents:
    _check_space(contents)
    notes = entry.notes
    if any(other.spec.embedding == entry.spec.embedding for other in contents.unfinished):
        notes = (*notes, _continues(entry.spec.embedding))
    added = replace(entry, id=str(contents.next_number), notes=notes)
    return replace(contents, entries=(*contents.entries, added), next_number=contents.next_number + 1)


def _continues(name: str) -> Message:
    return msg('"{name}" is already in the queue. This job continues from the result of the earlier one.', name=name)


def _with_moved(contents: QueueContents, entry_id: str, position: int) -> QueueContents:
    """Move a training among those that wait; all others stay where they are."""
    moved = _found(contents, entry_id)
    if not moved.to_begin:
        raise Conflict(msg("Job {id} is not waiting.", id=entry_id), msg("Only waiting jobs can be moved."))
    waiting = [entry for entry in contents.to_begin if entry.id != entry_id]
    waiting.insert(position - 1, moved)
    order = iter(waiting)
    return contents.map(lambda entry: next(order) if entry.to_begin else entry)


def _check_space(contents: QueueContents) -> None:
    if len(contents.unfinished) >= MAX_UNFINISHED:
        raise Conflict(
            msg("The queue holds at most {limit} jobs.", limit=MAX_UNFINISHED),
            msg("Remove some, or wait until some are done."),
        )


def _found(contents: QueueContents, entry_id: str) -> QueueEntry:
    entry = contents.find(entry_id)
    if entry is None:
        raise NotFound(msg("There is no job {id} in the queue.", id=entry_id))
    return entry


def _last_removed(contents: QueueContents, entry_id: str) -> QueueEntry:
    entry = next((entry for entry in contents.removed if entry.id == entry_id), None)
    if entry is None:
        raise NotFound(msg("Job {id} is not among the removed jobs.", id=entry_id))
    return entry
