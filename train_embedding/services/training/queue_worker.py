"""Work on the training queue: begin the next training, and record what became of it; in an open program, in a thread."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace

from train_embedding.errors import BeingTrained, Conflict, HostFailed, NotFound, TrainEmbeddingError, refusal_of
from train_embedding.hosts.base import Host, HostInfo
from train_embedding.messages import NOTHING, Message, msg
from train_embedding.services.run_records import RunState
from train_embedding.services.training.queue_file import QueueFile
from train_embedding.services.training.queue_records import EntryStatus, QueueContents, QueueEntry
from train_embedding.services.training.runs import Runs

TICK = 1.0
"Seconds between looks at the file, which other programs change too."
RETRY_SECONDS = 30.0
"Until a training that has to wait for something else is looked at again."
LOCK_SECONDS = 1.0
"How long to wait for a program that only looks whether the queue is worked on."
RESTARTED = msg("The program was restarted.")
ENDED = msg("The program that was working on the queue has ended.")

logger = logging.getLogger(__name__)


class _Withdrawn(Exception):
    """The training was removed, moved or paused while it was about to begin."""


class QueueWorker:
    """Begins trainings of the queue one after the other. At most one process works on the queue.

    Args:
        host: The host.
        runs: The service that trains.
        file: The file of the queue.
    """

    def __init__(self, host: Host, runs: Runs, file: QueueFile) -> None:
        self._host = host
        self._runs = runs
        self._file = file
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._works = False
        self._begun: tuple[str, str] | None = None
        "The ids of the training in progress and of its run."
        self._found = False
        "Whether the thread has yet to look at trainings that another program left unfinished."
        self._checked: object = None
        "The facts of the last look for a training that can begin."
        self._waited: tuple[object, float] | None = None
        "What every training that has to wait was checked against, and when that is done again."

    @property
    def works(self) -> bool:
        """Whether this process works on the queue."""
        return self._works

    @contextmanager
    def work(self) -> Generator[None, None, None]:
        """As `Queue.work`."""
        with ExitStack() as held:
            try:
                held.enter_context(self._file.working(LOCK_SECONDS))
            except TimeoutError as error:
                raise Conflict(
                    msg("Another program is working on the queue."),
                    msg("Add jobs to the queue, or wait until that program has ended."),
                ) from error
            self._works = True
            try:
                self._recover()
                self._file.change(lambda contents: replace(contents, paused=False, why_paused=NOTHING))
                yield
                self._pause_at_end()
            finally:
                self._works = False

    def begin_next(self) -> RunState | None:
        """As `Queue.begin_next`."""
        tried: set[str] = set()
        while True:
            self._checked = self._facts()  # before reading, so that a change meanwhile is not missed
            contents = self._file.read()
            entry = next((entry for entry in contents.to_begin if entry.id not in tried), None)
            if entry is None or contents.paused or self._closing.is_set() or self._is_busy():
                return None
            tried.add(entry.id)
            state = self._begin(entry)
            if state is not None:
                return state

    def finish(self) -> None:
        """As `Queue.finish`."""
        if self._begun is None:
            return
        entry_id, run_id = self._begun
        with suppress(NotFound):  # it was deleted as soon as it had ended
            self._runs.wait(run_id)
        self._begun = None
        entry = self._file.read().find(entry_id)
        if entry is not None:
            ended = self._recovered(entry)
            self._change(entry_id, lambda _: ended)

    def serve(self) -> None:
        """As `Queue.serve`; more than one call does no harm."""
        with self._lock:
            if self._thread is None:
                self._found = self._has_unfinished()
                self._thread = threading.Thread(target=self._serve, name="train-embedding queue", daemon=True)
                self._thread.start()

    def wake(self) -> None:
        """Let the thread look at the queue now."""
        self._wake.set()

    def close(self) -> None:
        """As `Queue.close`. May be called by the handler of a signal."""
        self._closing.set()
        self._wake.set()
        begun = self._begun  # the thread may forget it meanwhile
        if begun is not None:
            with suppress(NotFound):  # it has ended, and was deleted
                self._runs.stop(begun[1])
        if self._thread is not None:
            self._thread.join()

    def _has_unfinished(self) -> bool:
        try:
            return bool(self._file.read().unfinished)
        except TrainEmbeddingError:  # the thread logs it
            return True

    def _serve(self) -> None:
        logged = ""
        while not self._closing.is_set():
            try:
                self._look()
                logged = ""
            except Exception as error:  # the thread must live on: the disk may be full for a while only
                if logged != repr(error):
                    logger.warning(
                        "The training queue cannot go on: %s", error, exc_info=not isinstance(error, TrainEmbeddingError)
                    )
                logged = repr(error)
            self._wake.wait(TICK)
            self._wake.clear()

    def _look(self) -> None:
        """Begin trainings until there is none that can begin now."""
        contents, found = self._file.read(), self._found
        if not contents.unfinished or (contents.paused and contents.running is None):
            self._found = False
            return
        if self._is_busy():
            self._waited = None
            return
        if not found and self._waited is not None and self._waited[0] == self._facts() and time.monotonic() < self._waited[1]:
            return
        with ExitStack() as held:
            try:
                held.enter_context(self._file.working(LOCK_SECONDS if found else 0.0))
            except TimeoutError:  # another process works on the queue
                self._found = False
                return
            self._works = True
            try:
                self._work_off(found)
            finally:
                self._works = False
        self._waited = (self._checked, time.monotonic() + RETRY_SECONDS)

    def _work_off(self, found: bool) -> None:
        interrupted = self._recover()
        if found or interrupted:
            self._pause(RESTARTED)
        self._found = False
        while self.begin_next() is not None:
            self.finish()
        self._pause_at_end()

    def _facts(self) -> object:
        """Return what changes when a training that has to wait may be able to begin."""
        info = self._host.info()
        return self._file.stamp(), info.checkpoint_name, info.checkpoint_hash, bool(info.why_no_training)

    def _is_busy(self) -> bool:
        """Whether a run of this process is active, which the user may have started by hand."""
        current = self._runs.current()
        return current is not None and current.active

    def _begin(self, entry: QueueEntry) -> RunState | None:
        """Begin or resume a training; None if that is not possible, which is recorded with the reason."""
        try:
            _check_checkpoint(entry, self._runs.loaded_info())
            state = self._resume(entry) if entry.run else self._start(entry)
        except _Withdrawn:
            return None
        except (BeingTrained, HostFailed) as error:
            self._return(entry, "interrupted" if entry.run else "waiting", error)
            return None
        except TrainEmbeddingError as error:
            self._return(entry, "failed", error)
            return None
        except Exception as error:  # last resort: the others must be trained, and this one must say what was wrong
            logger.exception("Training %s of the queue could not begin", entry.id)
            self._return(entry, "failed", refusal_of(error) or _unexpected(error))
            return None
        if state is not None:
            self._begun = (entry.id, state.id)
            if self._closing.is_set():
                self._runs.stop(state.id)
        return state

    def _start(self, entry: QueueEntry) -> RunState:
        """Start the run of a training. The file names the run before the run begins, so that it is never started twice."""
        return self._runs.start(entry.spec, lambda run_id: self._mark_begun(entry, run_id))

    def _resume(self, entry: QueueEntry) -> RunState | None:
        try:
            state = self._runs.get(entry.run)
        except NotFound as error:
            self._return(replace(entry, run=""), "failed", _deleted(entry))
            raise _Withdrawn from error
        if not state.resumable:  # the user has resumed it by hand
            self._change(entry.id, lambda current: self._ended(current, state))
            return None
        self._mark_begun(entry, entry.run)
        return self._runs.resume(entry.run)

    def _mark_begun(self, entry: QueueEntry, run_id: str) -> None:
        def begun(contents: QueueContents) -> QueueContents:
            current = contents.find(entry.id)
            if current is None or not current.to_begin or current.spec != entry.spec or contents.paused or self._closing.is_set():
                raise _Withdrawn
            return contents.with_entry(replace(current, status="running", run=run_id, error=NOTHING, hint=NOTHING))

        self._file.change(begun)

    def _return(self, entry: QueueEntry, status: EntryStatus, error: TrainEmbeddingError) -> None:
        """Record that a training did not begin, and why."""

        def returned(current: QueueEntry) -> QueueEntry:
            return replace(current, status=status, run=entry.run, error=error.message, hint=error.hint)

        self._change(entry.id, returned)

    def _change(self, entry_id: str, change: Callable[[QueueEntry], QueueEntry]) -> None:
        def changed(contents: QueueContents) -> QueueContents:
            entry = contents.find(entry_id)
            return contents if entry is None else contents.with_entry(change(entry))

        self._file.change(changed)

    def _recover(self) -> bool:
        """Find out what became of trainings whose process was killed. Return whether one of them is to be resumed."""
        left = [entry for entry in self._file.read().entries if entry.status == "running"]
        for entry in left:
            recovered = self._recovered(entry)
            self._change(entry.id, lambda _, recovered=recovered: recovered)
        return bool(left) and any(entry.status == "interrupted" for entry in self._file.read().entries)

    def _recovered(self, entry: QueueEntry) -> QueueEntry:
        try:
            state = self._runs.get(entry.run)
        except NotFound:
            if any(deleted.state.id.startswith(entry.run) for deleted in self._runs.trashed()):
                error = _deleted(entry)
                return replace(entry, status="failed", run="", error=error.message, hint=error.hint)
            return replace(entry, status="waiting", run="")  # killed before it began
        return self._ended(entry, state)

    def _ended(self, entry: QueueEntry, state: RunState) -> QueueEntry:
        """Return a training whose run has ended, or was interrupted."""
        if state.status == "interrupted" or (state.status == "stopped" and self._closing.is_set()):
            return replace(entry, status="interrupted", error=NOTHING, hint=NOTHING)
        if state.status in ("finished", "stopped", "failed"):
            return replace(entry, status=state.status, notes=state.notes, error=state.error, hint=state.hint)
        return entry

    def _pause_at_end(self) -> None:
        """Let no program go on by itself with a queue whose program is being ended."""
        if self._closing.is_set():
            self._pause(ENDED)

    def _pause(self, why: Message) -> None:
        def paused(contents: QueueContents) -> QueueContents:
            wanted = contents.unfinished and not contents.paused
            return replace(contents, paused=True, why_paused=why) if wanted else contents

        self._file.change(paused)


def _check_checkpoint(entry: QueueEntry, info: HostInfo) -> None:
    """Raise HostFailed if another checkpoint is loaded than the training was added for."""
    if entry.checkpoint_hash and info.checkpoint_hash:
        same = entry.checkpoint_hash == info.checkpoint_hash
    else:
        same = entry.checkpoint in ("", info.checkpoint_name)
    if not same:
        raise HostFailed(
            msg('This job was added for the checkpoint "{checkpoint}".', checkpoint=entry.checkpoint),
            msg("It waits until that checkpoint is loaded."),
        )


def _deleted(entry: QueueEntry) -> NotFound:
    return NotFound(msg("Its run {run} was deleted.", run=entry.run), msg("Try again to train from the beginning."))


def _unexpected(error: Exception) -> TrainEmbeddingError:
    return TrainEmbeddingError(
        msg("Training failed with an unexpected error: {error}", error=f"{type(error).__name__}: {error}"),
        msg("The log of the program has the details."),
    )
